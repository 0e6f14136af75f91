"""The verbs: load, call, save, summarize; what they share is in `framework`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from aet2dft.cli.framework import Outcome, Step, UsageError, verb
from aet2dft.config import (
    CollectSettings,
    CompareSettings,
    DemoSettings,
    ExportSettings,
    InputsSettings,
    OrderSettings,
    ReportSettings,
    RunSettings,
    Settings,
)

Source = Annotated[
    Path,
    typer.Argument(help="Project (run.h5) or a file of atoms: xyz, extxyz, cif, POSCAR, pdb, mat.", show_default=False),
]
Types = Annotated[Path | None, typer.Argument(help="Second .mat file with the types of the atoms.", show_default=False)]
Project = Annotated[Path, typer.Argument(help="Project (run.h5).", show_default=False)]
Decks = Annotated[Path, typer.Argument(help="Folder that `inputs` wrote.", show_default=False)]


@verb(Settings)
def info(
    step: Step,
    source: Annotated[Path, typer.Argument(help="Any file, or a folder of decks.", show_default=False)],
    types: Types = None,
) -> Outcome:
    """What a file is: kind, shapes, units and which were guessed, counts, shortest and median neighbor distance, what
    is wrong."""
    from aet2dft.inspection import inspect

    found = inspect(source, types, step.read)
    step.warn(*found["notes"])
    lines = [f"{source.name}: {found['kind']}"]
    if "composition" in found:
        formula = ", ".join(f"{n:,} {s}" for s, n in found["composition"].items())
        lines.append(f"{found['n_atoms']:,} atoms: {formula}")
        if found["min_distance"] is not None:
            lines.append(
                f"nearest neighbors: shortest {found['min_distance']:.3f} Å, median {found['median_neighbor_distance']:.3f} Å"
            )
    lines += [
        f"{key}: {found[key]}"
        for key in ("shape", "groups", "code", "protocol", "n_volumes", "n_jobs", "status")
        if key in found
    ]
    lines += [f"problem: {text}" for text in found["problems"]] or ["no problems found"]
    return Outcome(data=found, lines=lines, source=source)


@verb(OrderSettings)
def order(step: Step, source: Source, types: Types = None) -> Outcome:
    """Chemical order of a model: lattice, displacements, strain, variants, grains, antisites, short-range order."""
    from aet2dft import store
    from aet2dft.cli.summaries import order_keys, order_lines
    from aet2dft.structure.chemical_order import order as analyze

    atoms, project = _atoms_and_project(step, source, types)
    if step.dry_run:
        seconds, memory = 2 + 1.3e-4 * len(atoms) * (1 + 0.06 * step.settings.surrogates), 250 + 2e-3 * len(atoms)
        data = {"n_atoms": len(atoms), "predicted_seconds": round(seconds, 1), "predicted_memory_mb": round(memory)}
        return Outcome(
            data=data,
            lines=[f"{len(atoms):,} atoms: about {seconds:.0f} s and {memory:.0f} MB"],
            output=project,
            source=source,
        )
    with store.locked(project):
        store.refuse_existing(project, "order", overwrite=step.overwrite or step.resume)
        atoms, result = analyze(atoms, step.settings, seed=step.seed)
        step.warn(*result.warnings)
        _save(step, project, "order", {"atoms": atoms, "result": result}, overwrite=step.overwrite or step.resume)
    return Outcome(data=order_keys(atoms, result), lines=order_lines(atoms, result), output=project, source=source)


@verb(InputsSettings)
def inputs(step: Step, source: Source, types: Types = None) -> Outcome:
    """Volumes of a particle as input files of Quantum ESPRESSO or VASP, with a manifest of every file."""
    from collections import Counter

    from aet2dft.dft_inputs.decks import write
    from aet2dft.dft_inputs.input_sets import inputs as build

    directory = step.need_output("the folder to write the decks to")
    model, origin = _model_for_inputs(step, source, types)
    deck_set = build(model, settings=step.settings, source=origin)
    step.warn(*deck_set.warnings)
    status = Counter(str(volume["status"]) for volume in deck_set.volumes)
    rejected = [{"volume": v["id"], "reason": v["reason"]} for v in deck_set.volumes if v["status"] == "rejected"]
    step.status = "partial" if rejected else "done"
    manifest = directory / "manifest.json"
    if not step.dry_run:
        write(directory, deck_set, overwrite=step.overwrite or step.resume)
        _note_decks(step, source, directory, deck_set.manifest())
    data = {
        "n_volumes": len(deck_set.volumes), "n_jobs": len(deck_set.decks), "kind": deck_set.kind, "code": step.settings.code,
        "protocol": step.settings.protocol, "axes": list(deck_set.axes), "manifest": str(manifest.resolve()), "rejected": rejected,
        "n_same": status.get("same", 0),
    }  # fmt: skip
    lines = [
        f"{len(deck_set.volumes):,} volumes, {len(deck_set.decks):,} jobs for {step.settings.code} ({step.settings.protocol}) in {directory}"
    ]
    lines += (
        [f"{len(rejected)} volumes rejected, first: {rejected[0]['volume']}: {rejected[0]['reason']}"]
        if rejected
        else []
    )
    return Outcome(data=data, lines=lines, output=directory, source=source)


@verb(RunSettings)
def run(step: Step, source: Decks) -> Outcome:
    """Execute the jobs of a deck folder that are not done yet."""
    from aet2dft.dft_inputs.execution import run as execute

    with step.progress("jobs") as show:
        report = execute(source, step.settings, dry_run=step.dry_run, progress=lambda p: show(p.n_ended, p.n_jobs))
    step.warn(*report.warnings)
    counts = report.counts
    if counts["failed"] or counts["skipped"]:
        step.status, step.exit_code = "partial", 5
    listed = [{"job": job.job, "status": job.status, "reason": job.reason} for job in report.jobs]
    lines = [
        ", ".join(f"{n} {name}" for name, n in counts.items()) + f" of {sum(counts.values())} jobs ({report.engine})"
    ]
    lines += [f"{job['job']}: {job['reason']}" for job in listed if job["status"] == "failed"][:5]
    return Outcome(
        data={"engine": report.engine, "counts": counts, "jobs": listed}, lines=lines, output=source, source=source
    )


@verb(CollectSettings)
def collect(step: Step, source: Decks) -> Outcome:
    """Read energies, moments and anisotropy of all jobs of a deck folder into a project."""
    from aet2dft import store
    from aet2dft.cli.summaries import collect_keys, collect_lines
    from aet2dft.dft_inputs.decks import Manifest
    from aet2dft.dft_inputs.results import collect as gather

    project = step.need_output("the project to write, e.g. run.h5")
    if project.exists() and not store.is_project(project):
        store.refuse_existing(project, "collect", overwrite=True)
    with step.progress("jobs") as show:
        runs = gather(source, step.settings, progress=show)
    step.inputs.append(source / "manifest.json")
    step.warn(*runs.warnings)
    if runs.counts["ok"] < len(runs.jobs.job) or (runs.volumes.status == "rejected").any():
        step.status = "partial"
    if not step.dry_run:
        with store.locked(project):
            _warn_other_model(step, project, Manifest.read(source).content)
            _save(
                step, project, "collect", {"runs": runs}, overwrite=True, extra={"manifest": _manifest_summary(source)}
            )
    return Outcome(data=collect_keys(runs), lines=collect_lines(runs), output=project, source=source)


@verb(CompareSettings)
def compare(
    step: Step,
    source: Annotated[
        Path, typer.Argument(help="Measured model, or a project with relaxed volumes.", show_default=False)
    ],
    relaxed: Annotated[Path | None, typer.Argument(help="Relaxed model.", show_default=False)] = None,
) -> Outcome:
    """Relaxed against measured positions: rigid offset, rmsd, displacement of every atom."""
    from aet2dft import store
    from aet2dft.dft_inputs.comparison import compare as measure
    from aet2dft.dft_inputs.comparison import compare_volumes
    from aet2dft.structure.readers import read

    project = step.output
    if relaxed is None:
        if not store.is_project(source):
            raise UsageError("compare needs two models, or one project with collected relax runs")
        project = project or source
        atoms, result = compare_volumes(_load_atoms(source), _load_runs(source), step.settings)
    else:
        if store.is_project(source):
            project = project or source
            measured = _load_atoms(source)
        else:
            measured = read(source, None, step.read)
        step.inputs += [source, relaxed]
        atoms, result = measure(measured, read(relaxed, None, step.read), step.settings)
    if project is not None and not step.dry_run:
        with store.locked(project):
            store.refuse_existing(project, "compare", overwrite=step.overwrite or step.resume)
            _save(step, project, "compare", {"atoms": atoms, "result": result}, overwrite=step.overwrite or step.resume)
    data = {name: getattr(result, name) for name in type(result).__dataclass_fields__}
    lines = [
        f"{result.n:,} atoms (matched by {result.matched_by}): rmsd {100 * result.rmsd:.1f} pm, largest {100 * result.max_displacement:.1f} pm "
        f"after a rigid offset of {[round(float(x), 4) for x in result.offset]} Å was taken off"
    ]
    return Outcome(data=data, lines=lines, output=project, source=source)


@verb(ExportSettings)
def export(
    step: Step,
    source: Project,
    target: Annotated[Path, typer.Argument(help="File (atoms, anisotropy) or folder (tables).", show_default=False)],
) -> Outcome:
    """Results as files of other programs: extended XYZ, CSV tables, OVF 2.0 fields."""
    from aet2dft.exporting import export as write

    what = _what_to_export(step, target)
    files = [] if step.dry_run else write(source, target, what=what)
    return Outcome(
        data={"files": [str(f.resolve()) for f in files]},
        lines=[f"wrote {f}" for f in files],
        output=target,
        source=source,
    )


def _what_to_export(step: Step, target: Path) -> str:
    """What the flags and the suffix of the target ask for; a contradiction is a usage error."""
    by_suffix = {".xyz": "extxyz", ".extxyz": "extxyz", ".csv": "csv", ".ovf": "ovf"}.get(target.suffix.lower())
    form = step.settings.format or by_suffix
    formats = {"atoms": "extxyz", "tables": "csv", "anisotropy": "ovf"}
    what: str = (
        step.settings.what
        if "what" in step.settings.model_fields_set
        else {v: k for k, v in formats.items()}.get(form or "", "atoms")
    )
    if form is not None and form != formats[what]:
        raise UsageError(f"--what {what} is written as {formats[what]}, not as {form}; give --what or another target")
    if what == "tables" and target.suffix:
        raise UsageError(f"--what tables writes several CSV files into a folder; {target.name} looks like a file")
    return what


@verb(ReportSettings)
def report(step: Step, source: Project) -> Outcome:
    """One self-contained HTML page with the figures of the field and a 3D view."""
    from aet2dft.reporting import report as write_report

    target = step.need_output("the page to write, e.g. report.html")
    if not step.dry_run:
        write_report(source, target)
    size = target.stat().st_size / 1e6 if target.exists() else 0.0
    return Outcome(
        data={"files": [str(target.resolve())], "size_mb": round(size, 2)},
        lines=[f"wrote {target} ({size:.1f} MB)"],
        output=target,
        source=source,
    )


@verb(DemoSettings)
def demo(
    step: Step, directory: Annotated[Path, typer.Argument(help="Folder to fill; a new one.", show_default=False)]
) -> Outcome:
    """The whole chain on the measured FePt particle of the package; ends in DIR/report.html."""
    from aet2dft.cli.demonstration import demonstrate

    return demonstrate(step, directory)


# what several verbs need ------------------------------------------------------------------------------------------------


def _atoms_and_project(step: Step, source: Path, types: Path | None) -> tuple[Any, Path]:
    """Atoms of a foreign file or a project, and the project to write to."""
    from aet2dft import store
    from aet2dft.structure.readers import read

    if source.suffix.lower() in (".h5", ".hdf5") and store.is_project(source):
        return _load_atoms(source), step.output or source
    project = step.need_output("the project to write, e.g. run.h5")
    atoms = read(source, types, step.read)
    step.inputs += [path for path in (source, types) if path is not None]
    step.warn(*atoms.info["notes"])
    return atoms, project


def _model_for_inputs(step: Step, source: Path, types: Path | None) -> tuple[Any, dict[str, Any]]:
    """Atoms with their order, or structures as they are, and where they came from."""
    from aet2dft import store
    from aet2dft.atoms import digest
    from aet2dft.structure.chemical_order import order as analyze
    from aet2dft.structure.readers import load_structures, read

    step.inputs.append(source)
    if step.settings.kind == "atoms":
        structures = [_load_atoms(source)] if store.is_project(source) else load_structures(source)
        return structures, {"path": source.name, "digest": store.digest(source), "structures": len(structures)}
    if store.is_project(source):
        atoms = _load_atoms(source)
    else:
        atoms = read(source, types, step.read)
        step.warn(
            *atoms.info["notes"],
            "the order of the atoms was found on the way with default settings; run `aet2dft order` to keep and see it",
        )
        atoms, _ = analyze(atoms, seed=step.seed)
    return atoms, {"path": source.name, "digest": digest(atoms), "structures": 1}


def _load_atoms(project: Path) -> Any:
    from ase import Atoms

    from aet2dft import store

    return store.load(project, "order", "atoms", Atoms)


def _load_runs(project: Path) -> Any:
    from aet2dft import store
    from aet2dft.dft_inputs.run_table import RunTable

    return store.load(project, "collect", "runs", RunTable)


def _save(
    step: Step,
    project: Path,
    verb_name: str,
    records: dict[str, Any],
    *,
    overwrite: bool,
    extra: dict[str, Any] | None = None,
) -> None:
    from aet2dft import store

    removed = store.save(project, verb_name, records, step.provenance() | (extra or {}), overwrite=overwrite)
    if removed:
        step.warn(f"results made from the replaced `{verb_name}` are gone: {', '.join(removed)}")


def _manifest_summary(directory: Path) -> dict[str, Any]:
    """What a project keeps of a deck folder."""
    from collections import Counter

    from aet2dft.dft_inputs.decks import Manifest
    from aet2dft.store import digest

    content = Manifest.read(directory).content
    return {
        "directory": str(directory.resolve()), "sha256": digest(directory / "manifest.json"), "kind": content["kind"], "code": content["code"],
        "protocol": content["protocol"], "axes": content["axes"], "n_volumes": len(content["volumes"]), "n_jobs": len(content["jobs"]),
        "volumes": dict(Counter(v["status"] for v in content["volumes"])), "source": content["source"], "settings": content["settings"],
        "rejected": [{"volume": v["id"], "reason": v["reason"]} for v in content["volumes"] if v["status"] == "rejected"][:100],
        "pseudopotentials": [p["file"] for p in content["pseudopotentials"]],
    }  # fmt: skip


def _note_decks(step: Step, source: Path, directory: Path, manifest: dict[str, Any]) -> None:
    """Remember in the project which decks were made from it; a folder written anew replaces its own note."""
    from aet2dft import store

    if not store.is_project(source):
        return
    with store.locked(source):
        known = store.load_json(source, "inputs").get("sets", []) if "inputs" in store.groups(source) else []
        summary = _manifest_summary(directory)
        sets = [item for item in known if item["directory"] != summary["directory"]] + [summary]
        store.save(source, "inputs", {}, step.provenance() | {"sets": sets}, overwrite=True)


def _warn_other_model(step: Step, project: Path, manifest: dict[str, Any]) -> None:
    """Say so where the decks were cut from other atoms than the project holds."""
    from aet2dft import store
    from aet2dft.atoms import digest

    if project.exists() and "order" in store.groups(project) and manifest["kind"] != "atoms":
        if digest(_load_atoms(project)) != manifest["source"].get("digest"):
            step.warn(f"the decks were cut from other atoms than {project.name} holds now; sites may not correspond")
