"""The verbs from images to atoms: load, call, save, summarize; what is loaded is found in `recon_projects`."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Annotated, Any

import typer

from aet2dft.cli.framework import Outcome, Step, verb

Images = Annotated[
    Path, typer.Argument(help="Images: mat, npy, npz, mrc, tif, emd, h5; or a project.", show_default=False)
]
Density = Annotated[
    Path, typer.Argument(help="Project (run.h5) or a volume: mrc, mat, npy, npz, tif, emd, h5.", show_default=False)
]
Project = Annotated[Path, typer.Argument(help="Project (run.h5).", show_default=False)]
Model = Annotated[Path, typer.Argument(help="Project (run.h5) or a file of atoms.", show_default=False)]


@verb(extends=True)
def reconstruct(step: Step, source: Images) -> Outcome:
    """Volume from aligned images and their tilt angles, with R factors of fitted and left-out images."""
    from aet2dft.cli.projects import checkpoint_of, foretell, refuse_other_images
    from aet2dft.cli.recon_projects import is_to_check, results, series_and_project, support_of
    from aet2dft.cli.recon_summaries import plan_keys, plan_lines, reconstruct_keys, reconstruct_lines
    from aet2dft.memory import require_disk
    from aet2dft.recon.images.calibration import moved
    from aet2dft.recon.images.conventions import ConventionCheck, check_conventions
    from aet2dft.recon.tilt_series import TiltSeries, Volume
    from aet2dft.recon.volumes.footprint import disk_bytes
    from aet2dft.recon.volumes.preparation import Plan, plan
    from aet2dft.recon.volumes.reconstruction import Reconstruction, carry_out

    series, project = series_and_project(step, source)
    refuse_other_images(step, project, series)
    support, model = support_of(step, series)

    def planned() -> Plan:
        found = plan(series, step.settings, support)
        require_disk(disk_bytes(found), project, f"{found.algorithm} on {found.shape} voxels")
        return found

    if step.dry_run:
        foretell(step, project, model)
        data = plan_keys(planned())
        return Outcome(data=data, lines=plan_lines(data), output=project, source=source)

    checks: dict[str, type[Any]] = {"conventions": ConventionCheck} if is_to_check(step, series) else {}

    def run() -> dict[str, Any]:
        intended = planned()
        checked = {name: check_conventions(series) for name in checks}
        step.warn(*(text for check in checked.values() for text in check.warnings))
        kept = checkpoint_of(step, project)
        with step.progress("iterations") as show:
            volume, result = carry_out(intended, seed=step.common.seed, progress=show, checkpoint=kept)
        return {"series": moved(series, result.center_offset), "volume": volume, "result": result} | checked

    kinds: dict[str, type[Any]] = {"series": TiltSeries, "volume": Volume, "result": Reconstruction} | checks
    found = results(step, project, model, kinds, run)
    return Outcome(data=reconstruct_keys(**found), lines=reconstruct_lines(**found), output=project, source=source)


@verb(extends=True)
def trace(step: Step, source: Density) -> Outcome:
    """Candidate atoms of a volume: its maxima, to a fraction of a voxel."""
    from ase import Atoms

    from aet2dft.cli.projects import foretell
    from aet2dft.cli.recon_projects import results, volume_and_project
    from aet2dft.cli.recon_summaries import trace_keys, trace_lines
    from aet2dft.recon.atoms.levels import cleared
    from aet2dft.recon.atoms.peaks import Trace
    from aet2dft.recon.atoms.peaks import trace as find
    from aet2dft.store import volume_group

    volume, project = volume_and_project(step, source)
    if step.dry_run:
        foretell(step, project, volume.digest)
        return Outcome(data={}, lines=[f"maxima of {volume.values.shape} voxels"], output=project, source=source)
    with_volume = not step.in_place or volume_group(source) == "trace"
    smoothing = step.settings.smoothing

    def run() -> dict[str, Any]:
        atoms, result = find(volume, step.settings)
        # the next steps see the volume in which the heights were measured
        return {"atoms": atoms, "result": result} | ({"volume": cleared(volume, smoothing)[0]} if with_volume else {})

    kinds: dict[str, type[Any]] = {"atoms": Atoms, "result": Trace}
    found = results(step, project, volume.digest, kinds, run, with_volume=with_volume)
    return Outcome(data=trace_keys(found["result"]), lines=trace_lines(found["result"]), output=project, source=source)


@verb(extends=True)
def classify(step: Step, source: Model) -> Outcome:
    """Species of candidates by how bright they are; what is too faint is no atom."""
    from ase import Atoms

    from aet2dft.atoms import digest
    from aet2dft.cli.projects import foretell
    from aet2dft.cli.recon_projects import candidates_and_volume, notes_on_noise, results
    from aet2dft.cli.recon_summaries import classify_keys, classify_lines
    from aet2dft.recon.atoms.classification import Classification
    from aet2dft.recon.atoms.classification import classify as tell

    (atoms, volume, before), project = candidates_and_volume(step, source), step.output or source
    model = digest(atoms) if volume is None else f"{digest(atoms)} {volume.digest}"
    if step.dry_run:
        foretell(step, project, model)
        what = f"{len(atoms):,} candidates of `{before or source.name}`"
        return Outcome(data={}, lines=[what], output=project, source=source)

    def run() -> dict[str, Any]:
        found, result = tell(atoms, volume, step.settings)
        step.warn(*notes_on_noise(source, before, result.n_rejected))
        return {"atoms": found, "result": result}

    kinds: dict[str, type[Any]] = {"atoms": Atoms, "result": Classification}
    found = results(step, project, model, kinds, run, **{"from": before})
    lines = classify_lines(found["atoms"], found["result"])
    return Outcome(data=classify_keys(found["result"]), lines=lines, output=project, source=source)


@verb(reads=True, extends=True)
def refine(step: Step, source: Model) -> Outcome:
    """Positions, heights and widths of atoms against the images; missed atoms are added, false ones dropped."""
    from ase import Atoms

    from aet2dft.atoms import digest
    from aet2dft.cli.projects import foretell, refuse_other_images
    from aet2dft.cli.recon_projects import atoms_and_series, min_distance_of, results
    from aet2dft.cli.recon_summaries import refine_keys, refine_lines, workload_keys, workload_line
    from aet2dft.recon.atoms.concerns import beyond_images
    from aet2dft.recon.atoms.refinement import Refinement
    from aet2dft.recon.atoms.refinement import refine as fit

    atoms, series, before, with_series = atoms_and_series(step, source)
    with_series |= not step.in_place
    project, model = step.output or source, f"{digest(atoms)} {series.digest}"
    if with_series:
        refuse_other_images(step, project, series)
    if step.dry_run:
        foretell(step, project, model)
        what = f"{len(atoms):,} atoms of `{before or source.name}` against {series.n_images} images"
        data = workload_keys(atoms, series, step.settings)
        return Outcome(data=data, lines=[what, workload_line(data)], output=project, source=source)

    nearest = min_distance_of(source)
    most = step.settings.iterations * (step.settings.rounds + 4)
    steps = itertools.count(1)

    def run() -> dict[str, Any]:
        step.warn(*beyond_images(series))
        with step.progress("steps, at most") as show:
            found, result = fit(
                atoms,
                series,
                step.settings,
                min_distance=nearest,
                seed=step.common.seed,
                progress=lambda _: show(min(next(steps), most), most),
            )
        return {"atoms": found, "result": result} | ({"series": series} if with_series else {})

    kinds: dict[str, type[Any]] = {"atoms": Atoms, "result": Refinement}
    found = results(step, project, model, kinds, run, with_series=with_series, **{"from": before})
    return Outcome(
        data=refine_keys(found["atoms"], found["result"]),
        lines=refine_lines(found["atoms"], found["result"]),
        output=project,
        source=source,
    )


@verb(extends=True)
def edit(step: Step, source: Project) -> Outcome:
    """Atoms added, removed, moved or relabeled by hand, line by line of a file; undone by running it without one."""
    from ase import Atoms

    from aet2dft.atoms import digest
    from aet2dft.cli.projects import foretell
    from aet2dft.cli.recon_projects import atoms_of, edits_of, min_distance_of, results, step_edited
    from aet2dft.cli.recon_summaries import edit_keys, edit_lines
    from aet2dft.recon.atoms.edits import EditLog
    from aet2dft.recon.atoms.edits import edit as correct

    before, project = step_edited(source), step.output or source
    atoms, (edits, file) = atoms_of(source, before), edits_of(step)
    found, log = correct(atoms, edits, min_distance=min_distance_of(source))
    records: dict[str, Any] = {"atoms": found, "result": log}
    model = f"{digest(atoms)} {file}"
    if step.dry_run:
        step.warn(*log.warnings)
        foretell(step, project, model)
    else:
        kinds: dict[str, type[Any]] = {"atoms": Atoms, "result": EditLog}
        extra = {"from": before, "edits": log.changes}
        records = results(step, project, model, kinds, lambda: records, **extra)
    return Outcome(data=edit_keys(**records), lines=edit_lines(**records), output=project, source=source)


@verb(reads=True, extends=True)
def verify(step: Step, source: Model) -> Outcome:
    """A model against a known one, or found again in its own simulated images: missed, false and misplaced atoms."""
    from ase import Atoms

    from aet2dft.atoms import digest
    from aet2dft.cli.projects import foretell, refuse_other_atoms
    from aet2dft.cli.recon_projects import results
    from aet2dft.cli.recon_summaries import verify_keys, verify_lines
    from aet2dft.cli.verify_projects import to_verify, verification_plan
    from aet2dft.recon.verification.round_trip import Verification
    from aet2dft.recon.verification.round_trip import verify as test

    case, project = to_verify(step, source)
    if project is not None:
        refuse_other_atoms(step, project, case["atoms"])
    model = " ".join(digest(case[name]) for name in ("atoms", "truth") if case[name] is not None)
    if step.dry_run:
        if project is not None:
            foretell(step, project, model)
        data, lines = verification_plan(step, case)
        return Outcome(data=data, lines=lines, output=project, source=source)
    cache = None if project is None else project.with_suffix(f".{step.settings.method}")

    def run() -> dict[str, Any]:
        with step.progress("simulated images") as show:
            found, result = test(settings=step.settings, seed=step.common.seed, cache=cache, progress=show, **case)
        return {"atoms": found, "result": result}

    if project is None:
        found = run()
        step.warn(*found["result"].warnings)
    else:
        kinds: dict[str, type[Any]] = {"atoms": Atoms, "result": Verification}
        found = results(step, project, model, kinds, run)
    return Outcome(data=verify_keys(found["result"]), lines=verify_lines(**found), output=project, source=source)
