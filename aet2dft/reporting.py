"""The verb `report`: what a project holds, handed to the page that shows it."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, TypeVar

from ase import Atoms

from aet2dft import store
from aet2dft.dft_inputs.comparison import Comparison
from aet2dft.dft_inputs.run_table import RunTable
from aet2dft.errors import InputError, ResourceError
from aet2dft.html_report import Chapter
from aet2dft.html_report import report as write_page
from aet2dft.html_report.tomography import Tomography
from aet2dft.recon.atoms.classification import Classification
from aet2dft.recon.atoms.edits import EditLog
from aet2dft.recon.atoms.peaks import Trace
from aet2dft.recon.atoms.refinement import Refinement
from aet2dft.recon.images.conventions import ConventionCheck
from aet2dft.recon.tilt_series import TiltSeries, Volume
from aet2dft.recon.verification.round_trip import Verification
from aet2dft.recon.volumes.reconstruction import Reconstruction
from aet2dft.structure.chemical_order import Order

T = TypeVar("T")
VERBS = ("reconstruct", *store.STEPS, "verify", "order", "inputs", "collect", "compare")
"""Groups that the page shows, in the order of the flow; those from `classify` to `edit` may come in another one."""


def report(project: str | Path, target: str | Path) -> Path:
    """One self-contained HTML page of a project.

    Parameters
    ----------
    project : str or Path
        Project file.
    target : str or Path
        Page to write; replaced when it is there.

    Raises
    ------
    InputError
        If the project holds nothing to show, or the target is a project or a file that this one was made from.
    ResourceError
        If the page cannot be written.
    """
    project, target = Path(project), Path(target)
    have = _in_order(project)
    if not have:
        raise InputError(f"{project}: holds nothing to report; run `aet2dft reconstruct` or `aet2dft order` first")
    store.refuse_target(project, target)
    _make_place(target)
    provenance = {verb: store.load_json(project, verb) for verb in have}
    return write_page(
        target,
        title=_title(provenance, project),
        atoms=_atoms(project),
        tomography=_tomography(project),
        order=_load(project, "order", "result", Order),
        runs=_load(project, "collect", "runs", RunTable),
        comparison=_load(project, "compare", "result", Comparison),
        inputs=_inputs(provenance),
        chapters=tuple(_chapter(verb, record) for verb, record in provenance.items()),
    )


def _in_order(project: Path) -> list[str]:
    """Verbs that ran, as they followed each other."""
    have = [verb for verb in VERBS if verb in store.groups(project)]
    if not set(store.STEPS).isdisjoint(have):
        made_by = store.lineage(project, store.last_step(project))[::-1]
        have = [verb for verb in have if verb not in made_by]
        at = have.count("reconstruct")
        have[at:at] = made_by
    return have


def _load(project: Path, verb: str, name: str, kind: type[T]) -> T | None:
    """A record of a verb; None where it did not run, or left no such record."""
    return store.load(project, verb, name, kind) if name in store.names(project, verb) else None


def _atoms(project: Path) -> Atoms | None:
    """The final atoms, with what `compare` wrote on them; None where there are none."""
    have = set(store.groups(project))
    if {"order", "compare"} <= have:
        return store.load(project, "compare", "atoms", Atoms)
    if have & store.WITH_ATOMS:
        return store.load_atoms(project)
    return _load(project, "verify", "atoms", Atoms)


def _tomography(project: Path) -> Tomography:
    """What the verbs between images and atoms left."""
    group, log = store.volume_group(project), _load(project, "edit", "result", EditLog)
    return Tomography(
        series=_load(project, store.series_group(project), "series", TiltSeries),
        volume=_load(project, group, "volume", Volume),
        reconstruction=_load(project, "reconstruct", "result", Reconstruction) if group == "reconstruct" else None,
        conventions=_load(project, "reconstruct", "conventions", ConventionCheck),
        trace=_load(project, "trace", "result", Trace),
        classified=_load(project, "classify", "atoms", Atoms),
        classification=_load(project, "classify", "result", Classification),
        refined=_load(project, "refine", "atoms", Atoms),
        refinement=_load(project, "refine", "result", Refinement),
        corrections=log,
        corrected_after_fit=bool(log and log.changes and "refine" in store.lineage(project, "edit")),
        found=_load(project, "verify", "atoms", Atoms),
        verification=_load(project, "verify", "result", Verification),
    )


def _make_place(target: Path) -> None:
    """Refuse a page that cannot be written before the figures are drawn."""
    if target.is_dir():
        raise InputError(f"{target}: is a folder; give the name of a page, e.g. report.html")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=target.parent):
            pass
    except OSError as error:
        raise ResourceError(f"{target}: cannot be written ({error.strerror}); choose another place with -o") from error


def _title(provenance: dict[str, dict[str, Any]], project: Path) -> str:
    """Name of the file that the project began with; what it was only compared with is none."""
    files = [item["path"] for verb, record in provenance.items() if verb != "verify" for item in record["inputs"]]
    return Path(files[0]).stem if files else project.stem


def _inputs(provenance: dict[str, dict[str, Any]]) -> dict[str, Any] | None:
    """Deck folders that were made from the project; the collected one is the first."""
    sets = list(provenance.get("inputs", {}).get("sets", []))
    if (collected := provenance.get("collect", {}).get("manifest")) is not None:
        sets = [collected, *(item for item in sets if item["directory"] != collected["directory"])]
    return {"sets": sets} if sets else None


def _chapter(verb: str, record: dict[str, Any]) -> Chapter:
    return Chapter(verb=verb, settings=record["settings"], provenance=record, warnings=tuple(record["warnings"]))
