"""What verbs load from a project or a foreign file, and how they save: with a lock, and not twice the same."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from aet2dft import store
from aet2dft.atoms import digest
from aet2dft.cli.compiling import said_while_compiling
from aet2dft.cli.framework import Step
from aet2dft.config import ReadSettings, Settings
from aet2dft.dft_inputs.run_table import RunTable
from aet2dft.errors import InputError, UsageError
from aet2dft.recon.tilt_series import TiltSeries
from aet2dft.store import last_step as last_step
from aet2dft.store import load_atoms as load_atoms
from aet2dft.structure.readers import load_structures, read, settings_of_two

_SAME_PLACE = 1e-6
"""Å: farthest that an atom lies from itself after it was written to a text and read again."""


def is_project(source: Path, other: str) -> bool:
    """Whether a source is a project and not a file of something else; InputError where it is not there."""
    if not source.exists():
        raise InputError(f"{source}: no such file; give a project, e.g. run.h5, or a file of {other}")
    return store.is_project(source)


def load_runs(project: Path) -> RunTable:
    """Table that `collect` left in a project."""
    return store.load(project, "collect", "runs", RunTable)


def refuse_reading(step: Step, source: Path, settings: Settings, names: Collection[str]) -> None:
    """Refuse settings that say how a file is read where nothing is read: they would stand in the record in vain."""
    given = [f"--{name.replace('_', '-')}" for name in sorted(settings.model_fields_set.intersection(names))]
    if given:
        raise UsageError(
            f"{', '.join(given)} {'say' if len(given) > 1 else 'says'} how a file is read, and {source} is a project "
            f"that was read already; leave out {given[0] if len(given) == 1 else 'these'}, or give {step.verb} the file"
        )


def refuse_reading_atoms(step: Step, source: Path, types: Path | None = None) -> None:
    """Refuse beside a project whatever says how a file of atoms is read."""
    refuse_reading(step, source, step.read, ReadSettings.model_fields)
    if types is not None:
        raise UsageError(
            f"{source}: a project holds its types; leave out {types}, or give {step.verb} the file of atoms"
        )


def atoms_and_project(step: Step, source: Path, types: Path | None) -> tuple[Atoms, Path]:
    """Atoms of a foreign file or a project, and the project to write to."""
    if is_project(source, "atoms"):
        refuse_reading_atoms(step, source, types)
        return load_atoms(source), step.output or source
    project = step.need_output("the project to write, e.g. run.h5")
    return read_foreign(step, source, types), project


def read_foreign(step: Step, source: Path, types: Path | None = None, *, beside: Path | None = None) -> Atoms:
    """Atoms of a foreign file; what was inferred is said, and of which file where another is read `beside` it."""
    other = None if beside is None or store.is_project(beside) else beside
    atoms = read(source, types, step.read if other is None else settings_of_two(source, other, step.read))
    step.inputs += [path for path in (source, types) if path is not None]
    step.warn(*(note if other is None else f"{source.name}: {note}" for note in atoms.info["notes"]))
    return atoms


def refuse_other_atoms(step: Step, project: Path, atoms: Atoms) -> None:
    """Refuse to put what was found of other atoms into a project that holds its own: a page would mix them."""
    have = set(store.groups(project)) - {step.verb} if store.is_project(project) else set()
    if have.isdisjoint(store.WITH_ATOMS):
        return
    holder = "order" if "order" in have else last_step(project)
    own = store.load(project, holder, "atoms", Atoms)
    moved = np.inf if len(atoms) != len(own) else np.abs(atoms.positions - own.positions).max(initial=0.0)
    if moved > _SAME_PLACE or (atoms.numbers != own.numbers).any():
        raise InputError(f"{project}: holds other atoms, those of `{holder}`; give another project with -o")


def refuse_other_images(step: Step, project: Path, series: TiltSeries) -> None:
    """Refuse to put images beside those that another step left in a project: a page would pair them wrongly."""
    other = "refine" if step.verb == "reconstruct" else "reconstruct"
    if not store.is_project(project) or "series" not in store.names(project, other):
        return
    if step.verb == "reconstruct" and step.verb in store.groups(project):
        return  # all that was made of its images goes with it
    there = store.load(project, other, "series", TiltSeries)
    names = ("projections", "rotations", "pixel_size")
    if not all(np.array_equal(getattr(series, name), getattr(there, name)) for name in names):
        raise InputError(f"{project}: holds other images, those of `{other}`; give another project with -o")


def checkpoint_of(step: Step, project: Path) -> Path:
    """File beside a project that keeps a reconstruction while it runs; one that was interrupted is not lost."""
    file = _checkpoint(project)
    if file.exists() and step.overwrite and not step.resume:
        file.unlink()
    if file.exists() and not step.resume:
        raise InputError(
            f"{file} holds a reconstruction that was interrupted; go on with --resume, or start anew with --overwrite"
        )
    return file


def _checkpoint(project: Path) -> Path:
    return project.with_name(f"{project.name}.checkpoint")


def model_for_inputs(step: Step, source: Path, types: Path | None) -> tuple[list[Atoms], dict[str, Any]]:
    """Models that volumes are cut from, or structures as they are, and where they came from."""
    project = is_project(source, "atoms")
    if project:
        refuse_reading_atoms(step, source, types)
    if step.settings.kind == "atoms" and not project:
        structures = load_structures(source)
        step.inputs.append(source)
        return structures, {"path": source.name, "digest": store.digest(source), "structures": len(structures)}
    atoms = load_atoms(source) if project else read_foreign(step, source, types)
    return [atoms], {"path": source.name, "digest": digest(atoms), "structures": 1}


@contextlib.contextmanager
def group_to_write(step: Step, project: Path, model: str) -> Iterator[bool]:
    """Hold a project while a verb computes, if it is not held; gives whether to leave the same result that is there.

    Raises
    ------
    InputError
        If another result is there and may not be replaced.
    """
    lock = contextlib.nullcontext() if step.in_place else store.locked(project)
    with lock, said_while_compiling(quiet=step.quiet):
        yield _is_done(step, project, model)


@contextlib.contextmanager
def refusals_are_said(step: Step) -> Iterator[None]:
    """In a dry run: a warning that the run would be refused, where it would be."""
    try:
        yield
    except InputError as error:
        step.warn(f"the run would be refused: {error}")


def foretell(step: Step, project: Path, model: str) -> None:
    """In a dry run: say whether the same result is left, or another one in the way."""
    with refusals_are_said(step):
        _is_done(step, project, model)


def _is_done(step: Step, project: Path, model: str) -> bool:
    """Whether to leave the same result that is there already; InputError where another may not be replaced."""
    if step.resume and project.exists() and step.verb in store.groups(project):
        known = store.load_json(project, step.verb)
        if _identity(step, known) == _identity(step, step.identity(model)):
            step.warn(*known["warnings"], f"{project.name} holds this result already; --resume leaves it")
            if step.verb == "reconstruct" and (file := _checkpoint(project)).exists():
                step.warn(f"{file.name} beside it is of a run that was interrupted, and may be removed")
            return True
    store.refuse_existing(project, step.verb, overwrite=step.overwrite)
    return False


def _identity(step: Step, record: Mapping[str, Any]) -> dict[str, Any]:
    """What of a record makes a result the same: not the names of files, whose content is in the digest of the model."""
    return {
        **{name: record.get(name) for name in ("seed", "model", "version")},
        "settings": _without_files(step, record["settings"]),
    }


def _without_files(step: Step, settings: Mapping[str, Any]) -> dict[str, Any]:
    files = step.settings.files()
    return {name: value for name, value in settings.items() if name not in files}


def save(
    step: Step,
    project: Path,
    records: dict[str, Any],
    model: str,
    *,
    keep: Collection[str] = (),
    between: bool = False,
    **extra: Any,
) -> None:
    """Write the group of a verb; what was made from an older one, but for `keep`, is gone with it, and that is said."""
    # collect reads a folder that changes while jobs run, inputs adds to a list: their groups are always new ones
    overwrite = step.overwrite or step.verb in ("collect", "inputs")
    provenance = step.provenance() | step.identity(model) | extra
    removed = store.save(project, step.verb, records, provenance, overwrite=overwrite, keep=keep, between=between)
    if removed:
        step.warn(f"results made without this `{step.verb}` are gone: {', '.join(removed)}")


def manifest_summary(directory: Path) -> dict[str, Any]:
    """What a project keeps of a deck folder."""
    from aet2dft.dft_inputs.decks import MANIFEST, Manifest

    content = Manifest.read(directory).content
    same = ("kind", "code", "protocol", "axes", "source", "settings")
    return {name: content[name] for name in same} | {
        "directory": str(directory.resolve()),
        "sha256": store.digest(directory / MANIFEST),
        "n_volumes": len(content["volumes"]),
        "n_jobs": len(content["jobs"]),
        "volumes": dict(Counter(v["status"] for v in content["volumes"])),
        "rejected": rejected(content["volumes"])[:100],
        "pseudopotentials": [p["file"] for p in content["pseudopotentials"]],
    }


def rejected(volumes: Any) -> list[dict[str, str]]:
    """Volumes that have no decks, and why."""
    return [{"volume": v["id"], "reason": v["reason"]} for v in volumes if v["status"] == "rejected"]


def note_decks(step: Step, project: Path, directory: Path) -> None:
    """Remember in a project which decks were made from it; results of the same folder's older decks are gone."""
    summary = manifest_summary(directory)
    have = store.groups(project)
    known = store.load_json(project, "inputs").get("sets", []) if "inputs" in have else []
    made = summary | {"command": step.command}
    sets = [item for item in known if item["directory"] != summary["directory"]] + [made]
    collected = store.load_json(project, "collect")["manifest"] if "collect" in have else summary
    outdated = collected["directory"] == summary["directory"] and collected["sha256"] != summary["sha256"]
    save(step, project, {}, summary["source"]["digest"], keep=() if outdated else ("collect", "compare"), sets=sets)


def same_decks(directory: Path, source: Mapping[str, Any], step: Step) -> bool:
    """Whether a folder holds, unchanged, the decks that these settings make of this model."""
    from aet2dft import __version__
    from aet2dft.dft_inputs.decks import MANIFEST, Manifest, verify

    if not (directory / MANIFEST).is_file():
        return False
    content = Manifest.read(directory).content
    asked = (_without_files(step, step.settings.model_dump(mode="json")), source["digest"], __version__)
    written = (_without_files(step, content["settings"]), content["source"].get("digest"), content["version"])
    return written == asked and _same_pseudopotentials(content, step.settings.pseudo_dir) and not verify(directory)


def _same_pseudopotentials(content: Mapping[str, Any], folder: Path | None) -> bool:
    """Whether a folder, or the package where none is given, gives decks the pseudopotentials that a manifest lists."""
    from aet2dft.dft_inputs.pseudopotentials import find

    known = content["pseudopotentials"]
    kinds = {pseudo["relativistic"] for pseudo in known}
    found = find(
        (pseudo["element"] for pseudo in known),
        directory=folder,
        spin_orbit=True in kinds,
        scalar=False in kinds,
        functional=str(content["protocol"].get("functional", "")),
    )
    return {pseudo.sha256 for pseudo in found} == {pseudo["sha256"] for pseudo in known}


def warn_other_model(step: Step, project: Path, manifest: Mapping[str, Any]) -> None:
    """Say so where the decks were cut from other atoms than the project holds."""
    if not project.exists() or "order" not in store.groups(project) or manifest["kind"] == "atoms":
        return
    if digest(load_atoms(project)) != manifest["source"].get("digest"):
        step.warn(f"the decks were cut from other atoms than {project.name} holds now; sites may not correspond")
