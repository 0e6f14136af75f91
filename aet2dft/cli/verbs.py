"""The verbs: load, call, save, summarize; what they share is in `framework` and `projects`."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Annotated, Any

import typer

from aet2dft.cli.framework import Outcome, Step, verb
from aet2dft.errors import UsageError

Source = Annotated[
    Path,
    typer.Argument(help="Project (run.h5) or a file of atoms: xyz, extxyz, cif, POSCAR, pdb, mat.", show_default=False),
]
Types = Annotated[Path | None, typer.Argument(help="Second .mat file with the types of the atoms.", show_default=False)]
Project = Annotated[Path, typer.Argument(help="Project (run.h5).", show_default=False)]
Decks = Annotated[Path, typer.Argument(help="Folder that `inputs` wrote.", show_default=False)]


@verb(reads=True)
def info(
    step: Step,
    source: Annotated[Path, typer.Argument(help="Any file, or a folder of decks.", show_default=False)],
    types: Types = None,
) -> Outcome:
    """What a file is: kind, shapes, units and which were guessed, counts, neighbor distances, what is wrong."""
    from aet2dft import store
    from aet2dft.cli.projects import refuse_reading_atoms
    from aet2dft.cli.summaries import info_lines
    from aet2dft.inspection import inspect

    if store.is_project(source):
        refuse_reading_atoms(step, source, types)
    found = inspect(source, types, step.read)
    step.warn(*found["notes"])
    return Outcome(data=found, lines=info_lines(source.name, found), source=source)


@verb(reads=True, extends=True)
def order(step: Step, source: Source, types: Types = None) -> Outcome:
    """Chemical order of a model: lattice, displacements, strain, variants, grains, antisites, short-range order."""
    from ase import Atoms

    from aet2dft import store
    from aet2dft.atoms import digest
    from aet2dft.cli.projects import atoms_and_project, foretell, group_to_write, refuse_other_atoms, save
    from aet2dft.cli.summaries import order_forecast, order_keys, order_lines
    from aet2dft.structure.chemical_order import Order
    from aet2dft.structure.chemical_order import order as analyze

    atoms, project = atoms_and_project(step, source, types)
    refuse_other_atoms(step, project, atoms)
    model = digest(atoms)
    if step.dry_run:
        foretell(step, project, model)
        data, lines = order_forecast(len(atoms), step.settings)
        return Outcome(data=data, lines=lines, output=project, source=source)
    with group_to_write(step, project, model) as done:
        if done:
            atoms, result = store.load(project, "order", "atoms", Atoms), store.load(project, "order", "result", Order)
        else:
            atoms, result = analyze(atoms, step.settings, seed=step.common.seed)
            step.warn(*result.warnings)
            save(step, project, {"atoms": atoms, "result": result}, model)
    return Outcome(data=order_keys(atoms, result), lines=order_lines(atoms, result), output=project, source=source)


@verb(reads=True)
def inputs(step: Step, source: Source, types: Types = None) -> Outcome:
    """Volumes of a particle as input files of Quantum ESPRESSO or VASP, with a manifest of every file."""
    from aet2dft import store
    from aet2dft.cli.projects import model_for_inputs, note_decks, refusals_are_said, same_decks
    from aet2dft.cli.summaries import inputs_keys, inputs_lines
    from aet2dft.dft_inputs.decks import Manifest, check_target, write_decks
    from aet2dft.dft_inputs.input_sets import inputs as build

    directory = step.need_output("the folder to write the decks to")
    project = store.is_project(source)
    with store.locked(source) if project and not step.dry_run else contextlib.nullcontext():
        models, origin = model_for_inputs(step, source, types)
        if step.resume and same_decks(directory, origin, step):
            step.warn(f"{directory} holds these decks already; --resume leaves them")
            content: Any = Manifest.read(directory).content
        else:
            deck_set = build(_ordered(step, models), settings=step.settings, source=origin)
            step.warn(*deck_set.warnings)
            content = deck_set.manifest()
            if step.dry_run:
                with refusals_are_said(step):
                    check_target(directory, deck_set, overwrite=step.overwrite)
            else:
                write_decks(directory, deck_set, overwrite=step.overwrite)
        if project and not step.dry_run:
            note_decks(step, source, directory)
    data = inputs_keys(content, directory)
    step.status = "partial" if data["rejected"] else "done"
    return Outcome(
        data=data, lines=inputs_lines(data, directory, dry_run=step.dry_run), output=directory, source=source
    )


def _ordered(step: Step, models: list[Any]) -> list[Any]:
    """Models with their order, which is found on the way where volumes are cut from foreign atoms."""
    if step.settings.kind == "atoms" or "site" in models[0].arrays:
        return models
    from aet2dft.structure.chemical_order import order as analyze

    step.warn("the order of the atoms was found with default settings; run `aet2dft order` to keep and see it")
    return [analyze(models[0], seed=step.common.seed)[0]]


@verb()
def run(step: Step, source: Decks) -> Outcome:
    """Execute the jobs of a deck folder that are not done yet."""
    from aet2dft.cli.summaries import run_forecast_keys, run_forecast_lines
    from aet2dft.dft_inputs.execution import run as execute

    with step.progress("jobs") as show:
        report = execute(source, step.settings, dry_run=step.dry_run, progress=lambda p: show(p.n_ended, p.n_jobs))
    step.warn(*report.warnings)
    counts = report.counts
    if not step.dry_run and (counts["failed"] or counts["skipped"]):
        step.status, step.exit_code = "partial", 5
    jobs = [{"job": job.job, "status": job.status, "reason": job.reason} for job in report.jobs]
    listed = ", ".join(f"{n:,} {name}" for name, n in counts.items())
    n_jobs = sum(counts.values())
    lines = [f"{listed} of {n_jobs:,} job{'s' * (n_jobs != 1)} ({report.engine})"]
    lines += [f"{job['job']}: {job['reason']}" for job in jobs if job["status"] == "failed"][:5]
    data = {"engine": report.engine, "counts": counts, "jobs": jobs}
    if report.forecast is not None and report.forecast.n_jobs:
        data |= run_forecast_keys(report.forecast)
        lines += run_forecast_lines(report.forecast, report.workers)
    return Outcome(data=data, lines=lines, output=source, source=source)


@verb()
def collect(step: Step, source: Decks) -> Outcome:
    """Read energies, moments and anisotropy of all jobs of a deck folder into a project."""
    from aet2dft import store
    from aet2dft.cli.projects import manifest_summary, save, warn_other_model
    from aet2dft.cli.summaries import collect_keys, collect_lines
    from aet2dft.dft_inputs.results import collect as gather

    project = step.need_output("the project to write, e.g. run.h5")
    store.refuse_existing(project, "collect", overwrite=True)
    with step.progress("jobs") as show:
        runs = gather(source, step.settings, progress=show)
    step.inputs.append(source / "manifest.json")
    step.warn(*runs.warnings)
    if runs.counts["ok"] < len(runs.jobs.job) or (runs.volumes.status == "rejected").any():
        step.status = "partial"
    if not step.dry_run:
        with store.locked(project):
            summary = manifest_summary(source)
            warn_other_model(step, project, summary)
            save(step, project, {"runs": runs}, str(summary["source"].get("digest", "")), manifest=summary)
    return Outcome(data=collect_keys(runs), lines=collect_lines(runs), output=project, source=source)


@verb(reads=True, extends=True)
def compare(
    step: Step,
    source: Annotated[
        Path, typer.Argument(help="Measured model, or a project with relaxed volumes.", show_default=False)
    ],
    relaxed: Annotated[
        Path | None, typer.Argument(help="Relaxed model: a file of atoms or a project.", show_default=False)
    ] = None,
) -> Outcome:
    """Relaxed against measured positions: rigid offset, rmsd, displacement of every atom."""
    from aet2dft import store
    from aet2dft.atoms import digest
    from aet2dft.cli.projects import (
        foretell,
        group_to_write,
        load_atoms,
        load_runs,
        read_foreign,
        refuse_other_atoms,
        refuse_reading_atoms,
        save,
    )
    from aet2dft.cli.summaries import compare_keys, compare_lines
    from aet2dft.dft_inputs.comparison import compare as measure
    from aet2dft.dft_inputs.comparison import compare_volumes

    in_project = store.is_project(source)
    if relaxed is None and not in_project:
        raise UsageError("compare needs two models, or one project with collected relax runs")
    measured = load_atoms(source) if in_project else read_foreign(step, source, beside=relaxed)
    if relaxed is None:
        refuse_reading_atoms(step, source)
        other = str(store.load_json(source, "collect")["time"])
        atoms, result = compare_volumes(measured, load_runs(source), step.settings)
    else:
        there = load_atoms(relaxed) if store.is_project(relaxed) else read_foreign(step, relaxed, beside=source)
        other = digest(there)
        atoms, result = measure(measured, there, step.settings)
    project = step.output or (source if in_project else None)
    if project is not None:
        refuse_other_atoms(step, project, measured)
    model = f"{digest(measured)} {other}"
    if project is not None and step.dry_run:
        foretell(step, project, model)
    elif project is not None:
        with group_to_write(step, project, model) as done:
            if not done:
                save(step, project, {"atoms": atoms, "result": result}, model)
    return Outcome(data=compare_keys(result), lines=compare_lines(result), output=project, source=source)


@verb()
def export(
    step: Step,
    source: Project,
    target: Annotated[
        Path | None,
        typer.Argument(help="File (atoms, volume, anisotropy) or folder (tables); or -o.", show_default=False),
    ] = None,
) -> Outcome:
    """Results as files of other programs: extended XYZ, MRC volumes, CSV tables, OVF 2.0 fields."""
    from aet2dft.exporting import export as write

    if target is not None and step.output is not None:
        raise UsageError(f"{target} and -o {step.output} both name what is written; give one of them")
    target = target or step.need_output("the file or folder to write, e.g. atoms.xyz")
    what = _what_to_export(step, target)
    files = [] if step.dry_run else write(source, target, what=what, file_format=step.settings.format)
    data = {"what": what, "files": [str(file.resolve()) for file in files]}
    lines = [f"{what} would go to {target}"] if step.dry_run else [f"wrote {file}" for file in files]
    return Outcome(data=data, lines=lines, output=target, source=source)


def _what_to_export(step: Step, target: Path) -> str:
    """What the flags and the suffix of the target ask for; a contradiction is a usage error."""
    formats = {"atoms": ("extxyz",), "volume": ("mrc", "npy"), "tables": ("csv",), "anisotropy": ("ovf",)}
    by_suffix = {"xyz": "extxyz", "map": "mrc"} | {form: form for forms in formats.values() for form in forms}
    asked = step.settings.format or by_suffix.get(target.suffix.lower().removeprefix("."))
    what = next((name for name, forms in formats.items() if asked in forms), "atoms")
    if "what" in step.settings.model_fields_set:
        what = str(step.settings.what)
    if asked is None and target.suffix and what == "atoms":
        step.warn(f"no format is known by {target.suffix}: {target.name} is extended XYZ")
    if asked is not None and asked not in formats[what]:
        listed = " or ".join(formats[what])
        raise UsageError(f"--what {what} is written as {listed}, not as {asked}; give --what or another target")
    if what == "tables" and target.suffix:
        raise UsageError(f"--what tables writes several CSV files into a folder; {target.name} looks like a file")
    return what


@verb()
def report(step: Step, source: Project) -> Outcome:
    """One self-contained HTML page with the figures of the field and a 3D view."""
    from aet2dft.reporting import report as write_report

    target = step.need_output("the page to write, e.g. report.html")
    if step.dry_run:
        return Outcome(data={"files": []}, lines=[f"the page would be {target}"], output=target, source=source)
    write_report(source, target)
    size = round(target.stat().st_size / 1e6, 2)
    data = {"files": [str(target.resolve())], "size_mb": size}
    return Outcome(data=data, lines=[f"wrote {target} ({size:.1f} MB)"], output=target, source=source)


@verb()
def demo(
    step: Step, directory: Annotated[Path, typer.Argument(help="Folder to fill; a new one.", show_default=False)]
) -> Outcome:
    """The whole chain on the measured FePt particle of the package; ends in DIR/report.html."""
    from aet2dft.cli.demonstration import demonstrate

    return demonstrate(step, directory)
