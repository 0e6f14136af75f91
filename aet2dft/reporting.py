"""The verb `report`: what a project holds, handed to the page that shows it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ase import Atoms

from aet2dft import store
from aet2dft.dft_inputs.comparison import Comparison
from aet2dft.dft_inputs.run_table import RunTable
from aet2dft.errors import InputError, ResourceError
from aet2dft.html_report import Chapter
from aet2dft.html_report import report as write_page
from aet2dft.structure.chemical_order import Order

VERBS = ("order", "inputs", "collect", "compare")
"""Groups that the page shows, in the order of the flow."""


def report(project: Path, target: Path) -> Path:
    """One self-contained HTML page of a project.

    Parameters
    ----------
    project : Path
        Project file.
    target : Path
        Page to write; replaced when it is there.

    Raises
    ------
    InputError
        If the project holds nothing to show.
    ResourceError
        If the page cannot be written.
    """
    have = [verb for verb in VERBS if verb in store.groups(project)]
    if not have:
        raise InputError(f"{project}: holds nothing to report; run `aet2dft order` first")
    _make_place(target)
    provenance = {verb: store.load_json(project, verb) for verb in have}
    atoms = (
        store.load(project, "compare" if "compare" in have else "order", "atoms", Atoms) if "order" in have else None
    )
    return write_page(
        target,
        title=_title(provenance, project),
        atoms=atoms,
        order=store.load(project, "order", "result", Order) if "order" in have else None,
        runs=store.load(project, "collect", "runs", RunTable) if "collect" in have else None,
        comparison=store.load(project, "compare", "result", Comparison) if "compare" in have else None,
        inputs=_inputs(provenance),
        chapters=tuple(_chapter(verb, record) for verb, record in provenance.items()),
    )


def _make_place(target: Path) -> None:
    """Refuse a page that cannot be written before the figures are drawn."""
    if target.is_dir():
        raise InputError(f"{target}: is a folder; give the name of a page, e.g. report.html")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ResourceError(f"{target}: cannot be written ({error.strerror}); choose another place with -o") from error


def _title(provenance: dict[str, dict[str, Any]], project: Path) -> str:
    """Name of the file that the project began with."""
    files = [item["path"] for record in provenance.values() for item in record["inputs"]]
    return Path(files[0]).stem if files else project.stem


def _inputs(provenance: dict[str, dict[str, Any]]) -> dict[str, Any] | None:
    """Deck folders that were made from the project; the collected one is the first."""
    sets = list(provenance.get("inputs", {}).get("sets", []))
    if (collected := provenance.get("collect", {}).get("manifest")) is not None:
        sets = [collected, *(item for item in sets if item["directory"] != collected["directory"])]
    return {"sets": sets} if sets else None


def _chapter(verb: str, record: dict[str, Any]) -> Chapter:
    return Chapter(verb=verb, settings=record["settings"], provenance=record, warnings=tuple(record["warnings"]))
