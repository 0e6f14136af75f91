"""The verbs from images to atoms: load, call, save, summarize; what they load is found in `recon_projects`."""

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
    Path, typer.Argument(help="Project (run.h5) or a volume: mrc, mat, npy, npz, tif, h5.", show_default=False)
]
Project = Annotated[Path, typer.Argument(help="Project (run.h5).", show_default=False)]
Model = Annotated[Path, typer.Argument(help="Project (run.h5) or a file of atoms.", show_default=False)]


@verb()
def reconstruct(step: Step, source: Images) -> Outcome:
    """Volume from aligned images and their tilt angles, with R factors of fitted and left-out images."""
    from aet2dft.cli.recon_projects import results, series_and_project, support_of
    from aet2dft.cli.recon_summaries import reconstruct_keys, reconstruct_lines
    from aet2dft.recon.reconstruction import Reconstruction
    from aet2dft.recon.reconstruction import reconstruct as make
    from aet2dft.recon.tilt_series import TiltSeries, Volume

    series, project = series_and_project(step, source)
    support, model = support_of(step, series)
    if step.dry_run:
        what = f"{series.n_images} images of {series.projections.shape[1]} x {series.projections.shape[2]} pixels"
        return Outcome(data={}, lines=[what], output=project, source=source)

    def run() -> dict[str, Any]:
        with step.progress("iterations") as show:
            volume, result = make(series, step.settings, support=support, seed=step.common.seed, progress=show)
        return {"series": series, "volume": volume, "result": result}

    kinds: dict[str, type[Any]] = {"series": TiltSeries, "volume": Volume, "result": Reconstruction}
    found = results(step, project, model, kinds, run)
    return Outcome(data=reconstruct_keys(**found), lines=reconstruct_lines(**found), output=project, source=source)


@verb()
def trace(step: Step, source: Density) -> Outcome:
    """Candidate atoms of a volume: its maxima, to a fraction of a voxel."""
    from ase import Atoms

    from aet2dft.cli.recon_projects import results, volume_and_project, volume_group
    from aet2dft.cli.recon_summaries import trace_keys, trace_lines
    from aet2dft.recon.peaks import Trace
    from aet2dft.recon.peaks import trace as find

    volume, project = volume_and_project(step, source)
    if step.dry_run:
        return Outcome(data={}, lines=[f"maxima of {volume.values.shape} voxels"], output=project, source=source)
    with_volume = project != source or volume_group(source) == "trace"

    def run() -> dict[str, Any]:
        atoms, result = find(volume, step.settings)
        return {"atoms": atoms, "result": result} | ({"volume": volume} if with_volume else {})

    kinds: dict[str, type[Any]] = {"atoms": Atoms, "result": Trace}
    found = results(step, project, volume.digest, kinds, run, with_volume=with_volume)
    return Outcome(data=trace_keys(found["result"]), lines=trace_lines(found["result"]), output=project, source=source)


@verb()
def classify(step: Step, source: Project) -> Outcome:
    """Species of candidates by how bright they are; what is too faint is no atom."""
    from ase import Atoms

    from aet2dft import store
    from aet2dft.atoms import digest
    from aet2dft.cli.recon_projects import atoms_of, results, step_before, volume_group
    from aet2dft.cli.recon_summaries import classify_keys, classify_lines
    from aet2dft.recon.classification import Classification
    from aet2dft.recon.classification import classify as tell
    from aet2dft.recon.tilt_series import Volume

    before, project = step_before(source, "classify"), step.output or source
    atoms = atoms_of(source, before)
    volume = store.load(source, volume_group(source), "volume", Volume) if before == "trace" else None
    if step.dry_run:
        return Outcome(data={}, lines=[f"{len(atoms):,} candidates of `{before}`"], output=project, source=source)

    def run() -> dict[str, Any]:
        found, result = tell(atoms, volume, step.settings)
        return {"atoms": found, "result": result}

    kinds: dict[str, type[Any]] = {"atoms": Atoms, "result": Classification}
    model = digest(atoms) if volume is None else f"{digest(atoms)} {volume.digest}"
    found = results(step, project, model, kinds, run, keep=(before,), **{"from": before})
    return Outcome(
        data=classify_keys(found["result"]), lines=classify_lines(found["result"]), output=project, source=source
    )


@verb()
def refine(step: Step, source: Project) -> Outcome:
    """Positions, heights and widths of atoms against the images; missed atoms are added, false ones dropped."""
    from ase import Atoms

    from aet2dft.atoms import digest
    from aet2dft.cli.recon_projects import atoms_of, load_series, results, settings_of, step_before
    from aet2dft.cli.recon_summaries import refine_keys, refine_lines
    from aet2dft.recon.refinement import Refinement
    from aet2dft.recon.refinement import refine as fit

    before, project = step_before(source, "refine"), step.output or source
    atoms, series = atoms_of(source, before), load_series(source)
    if step.dry_run:
        what = f"{len(atoms):,} atoms of `{before}` against {series.n_images} images"
        return Outcome(data={}, lines=[what], output=project, source=source)

    nearest = settings_of(source, "trace").min_distance
    most = step.settings.iterations * (step.settings.rounds + 2)
    steps = itertools.count(1)

    def run() -> dict[str, Any]:
        with step.progress("steps, at most") as show:
            found, result = fit(
                atoms,
                series,
                step.settings,
                min_distance=nearest,
                seed=step.common.seed,
                progress=lambda _: show(min(next(steps), most), most),
            )
        return {"atoms": found, "result": result}

    kinds: dict[str, type[Any]] = {"atoms": Atoms, "result": Refinement}
    model = f"{digest(atoms)} {series.digest}"
    found = results(step, project, model, kinds, run, keep=(before,), **{"from": before})
    return Outcome(data=refine_keys(**found), lines=refine_lines(**found), output=project, source=source)


@verb(reads=True)
def verify(step: Step, source: Model) -> Outcome:
    """A model against a known one, or found again in its own simulated images: missed, false and misplaced atoms."""
    from ase import Atoms

    from aet2dft.atoms import digest
    from aet2dft.cli.recon_projects import results, to_verify
    from aet2dft.cli.recon_summaries import verify_keys, verify_lines
    from aet2dft.recon.verification import Verification
    from aet2dft.recon.verification import verify as test

    case, project = to_verify(step, source)
    if step.dry_run:
        what = "a known model" if case["truth"] is not None else "the same chain on simulated images"
        return Outcome(data={}, lines=[f"{len(case['atoms']):,} atoms against {what}"], output=project, source=source)

    def run() -> dict[str, Any]:
        found, result = test(settings=step.settings, seed=step.common.seed, **case)
        return {"atoms": found, "result": result}

    if project is None:
        found = run()
    else:
        known = [case[name] for name in ("atoms", "truth") if case[name] is not None]
        kinds: dict[str, type[Any]] = {"atoms": Atoms, "result": Verification}
        found = results(step, project, " ".join(map(digest, known)), kinds, run)
    return Outcome(
        data=verify_keys(found["result"]), lines=verify_lines(found["result"]), output=project, source=source
    )
