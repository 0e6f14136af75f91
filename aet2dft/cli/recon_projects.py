"""What the verbs between images and atoms find in a project or a foreign file, and which step comes before which."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols
from numpy.typing import NDArray

from aet2dft import config, store
from aet2dft.cli.framework import Step
from aet2dft.cli.projects import group_to_write, last_step, load_atoms, read_foreign, save
from aet2dft.config import ImagesSettings
from aet2dft.errors import InputError
from aet2dft.recon.algorithms.catalog import choose
from aet2dft.recon.atoms import workload
from aet2dft.recon.atoms.candidate_frames import in_frame_of
from aet2dft.recon.atoms.edits import Edit, read_edits
from aet2dft.recon.atoms.peaks import Trace
from aet2dft.recon.atoms.placement import place
from aet2dft.recon.images.conventions import is_quick
from aet2dft.recon.images.image_checks import check_support
from aet2dft.recon.images.readers import read_support, read_tilt_series, read_volume
from aet2dft.recon.tilt_series import TiltSeries, Volume
from aet2dft.recon.verification.round_trip import Chain, simulation_seconds
from aet2dft.recon.volumes import forecast
from aet2dft.recon.volumes.preparation import plan
from aet2dft.recon.volumes.reconstruction import Reconstruction
from aet2dft.store import volume_group as volume_group
from aet2dft.structure.readers import load_structures

_FIRST = ("reconstruct", "trace")
"""The two steps from images to candidates."""
_OTHER = {"classify": "refine", "refine": "classify"}
"""The two steps after `trace`, which may come in either order."""
_NOISY = 0.05
"""Fraction of maxima of noise among the candidates from which on they are worth a word."""
_BETWEEN = (*_OTHER, "edit")
"""Steps that outdate what was made of the atoms before them, also where they are new."""


Records = dict[str, Any]


def results(
    step: Step,
    project: Path,
    model: str,
    kinds: dict[str, type[Any]],
    make: Callable[[], Records],
    *,
    keep: Collection[str] = (),
    **extra: Any,
) -> Records:
    """Records of a verb, of the classes `kinds`: those of the same result that is there already, or new ones, saved."""
    with group_to_write(step, project, model) as done:
        if done:
            return {name: store.load(project, step.verb, name, kind) for name, kind in kinds.items()}
        records = make()
        step.warn(*getattr(records["result"], "warnings", ()))
        save(step, project, records, model, keep=keep, between=step.verb in _BETWEEN, **extra)
    return records


def series_and_project(step: Step, source: Path) -> tuple[TiltSeries, Path]:
    """Images of a foreign file or a project, and the project to write to."""
    if store.is_project(source):
        return load_series(source), step.output or source
    project = step.need_output("the project to write, e.g. run.h5")
    series, notes = read_tilt_series(source, step.settings)
    step.inputs += [path for path in (source, step.settings.angles, step.settings.support) if path is not None]
    step.warn(*notes)
    return series, project


def checkpoint_of(step: Step, project: Path) -> Path:
    """File beside a project that keeps a reconstruction while it runs; one that was interrupted is not lost."""
    file = project.with_name(f"{project.name}.checkpoint")
    if file.exists() and step.overwrite and not step.resume:
        file.unlink()
    if file.exists() and not step.resume:
        raise InputError(
            f"{file} holds a reconstruction that was interrupted; go on with --resume, or start anew with --overwrite"
        )
    return file


def is_to_check(step: Step, series: TiltSeries) -> bool:
    """Whether the convention of the angles is checked: as the user says, else where it is quick."""
    asked: bool | None = step.settings.check_conventions
    return is_quick(series) if asked is None else asked


def support_of(step: Step, series: TiltSeries) -> tuple[NDArray[np.bool_] | None, str]:
    """Support that the user gives, and the digest of everything that a reconstruction starts from."""
    file = step.settings.support
    if file is None:
        return None, series.digest
    support = read_support(file, series.projections.shape[1:])
    step.warn(*check_support(series, support))
    return support, f"{series.digest} {store.digest(file)}"


def volume_and_project(step: Step, source: Path) -> tuple[Volume, Path]:
    """Volume of a foreign file or a project, and the project to write to."""
    if store.is_project(source):
        return store.load(source, volume_group(source), "volume", Volume), step.output or source
    project = step.need_output("the project to write, e.g. run.h5")
    volume, notes = read_volume(source, step.settings)
    step.inputs.append(source)
    step.warn(*notes)
    return volume, project


def load_series(project: Path) -> TiltSeries:
    """Images that `reconstruct` left in a project, or `refine` where they came from a file."""
    return store.load(project, series_group(project), "series", TiltSeries)


def series_group(project: Path) -> str:
    """Group of a project that holds its images: `reconstruct`, or `refine` where atoms met images of a file."""
    refined = "refine" in store.groups(project) and store.load_json(project, "refine").get("with_series")
    return "refine" if refined else "reconstruct"


def atoms_and_series(step: Step, source: Path) -> tuple[Atoms, TiltSeries, str, bool]:
    """Atoms, images to refine them against, the step of a project that they are from, whether to keep the images."""
    before = step_before(source, "refine") if store.is_project(source) else ""
    if step.settings.images is None:
        if not before:
            raise InputError(f"{source}: is no project; give the images its atoms are refined against with --images")
        return atoms_of(source, before), load_series(source), before, series_group(source) == "refine"
    if before and "reconstruct" in store.groups(source):
        raise InputError(f"{source}: holds the images that its atoms were found in; leave out --images")
    if not before:
        step.need_output("the project to write, e.g. run.h5")
    atoms = atoms_of(source, before) if before else read_foreign(step, source)
    series = _images(step)
    placed, shift = place(atoms, series)
    if shift.any():
        moved = ", ".join(f"{x:.2f}" for x in shift)
        step.warn(f"atoms moved by ({moved}) Å to where the images show them")
    return placed, series, before, True


def notes_on_refining(series: TiltSeries) -> tuple[str, ...]:
    """What speaks against refining atoms against these images."""
    if not choose(series, config.ReconstructSettings(), has_support=False).extended:
        return ()
    return (
        "the object goes on beyond the images: what lies outside the volume shows in them too, and the fit of atoms "
        "does not know it; the atoms of the steps before may be the better ones",
    )


def _images(step: Step) -> TiltSeries:
    """Images that `refine` is given beside the atoms."""
    images, angles, size = step.settings.images, step.settings.angles, step.settings.pixel_size
    series, notes = read_tilt_series(images, ImagesSettings(angles=angles, pixel_size=size))
    step.inputs += [images, angles]
    step.warn(*notes)
    return series


def candidates_and_volume(step: Step, source: Path) -> tuple[Atoms, Volume | None, str]:
    """What is classified: candidates, the volume unless their heights were fitted, and their step, if of a project."""
    settings = step.settings
    if store.is_project(source):
        if settings.volume is not None:
            raise InputError(f"{source}: a project holds its volume; leave out --volume")
        before = step_before(source, "classify")
        volume = store.load(source, volume_group(source), "volume", Volume) if before == "trace" else None
        return atoms_of(source, before), volume, before
    if settings.volume is None:
        raise InputError(f"{source}: is no project; give the volume that its atoms were traced in with --volume")
    step.need_output("the project to write, e.g. run.h5")
    # elements and units that the file may claim are what is to be found
    candidates = load_structures(source)[0]
    volume, notes = read_volume(settings.volume, config.VolumeSettings(voxel_size=settings.voxel_size))
    step.inputs += [source, settings.volume]
    positions, reading = in_frame_of(volume, candidates.positions)
    atoms = Atoms("X" * len(candidates), positions=positions)
    step.warn(*notes, f"coordinates of {source.name} read as {reading}, where the volume is brightest")
    return atoms, volume, ""


def notes_on_noise(source: Path, before: str, n_rejected: int) -> tuple[str, ...]:
    """How many maxima of noise may be among the candidates of `trace` where `classify` tells none from the atoms."""
    if before != "trace" or n_rejected:
        return ()
    traced = store.load(source, "trace", "result", Trace)
    expected = float(traced.n_noise[0])
    if expected < _NOISY * traced.n_atoms:
        return ()
    return (
        f"noise is expected to make about {expected:.0f} such maxima, which are not told from the faintest atoms; "
        "`refine` drops what the images do not need",
    )


def step_before(project: Path, verb: str) -> str:
    """Step whose atoms `classify` or `refine` takes: the other of the two if that came first, else `trace`."""
    other = _OTHER[verb]
    if other in store.groups(project) and store.load_json(project, other)["from"] in ("trace", ""):
        return other
    return "trace"


def atoms_of(project: Path, verb: str) -> Atoms:
    """Atoms that a step left in a project."""
    return store.load(project, verb, "atoms", Atoms)


def step_edited(project: Path) -> str:
    """Step whose atoms `edit` corrects: the last one, but for `edit` itself, so that corrections do not add up."""
    last = last_step(project)
    return str(store.load_json(project, last)["from"]) if last == "edit" else last


def edits_of(step: Step) -> tuple[tuple[Edit, ...], str]:
    """Corrections that the user gives, and the digest of their file."""
    file = step.settings.apply
    if file is None:
        return (), ""
    edits = read_edits(file)
    step.inputs.append(file)
    return edits, store.digest(file)


def min_distance_of(project: Path) -> float:
    """Å: least distance of two atoms with which a project was traced; the usual one where it was not."""
    traced = project.exists() and store.is_project(project) and "trace" in store.groups(project)
    settings = settings_of(project, "trace") if traced else config.TraceSettings()
    return float(settings.min_distance)


def chain_of(step: Step, project: Path, atoms: Atoms) -> Chain:
    """Settings of the steps that led to the atoms of a project, in their order; the usual ones of steps not in it."""
    last, steps = last_step(project), []
    while last not in ("trace", ""):
        steps += [] if last == "edit" else [settings_of(project, last)]
        last = str(store.load_json(project, last)["from"])
    species = tuple(chemical_symbols[z] for z in np.unique(atoms.numbers) if z)
    if not last and species and not any(isinstance(settings, config.ClassifySettings) for settings in steps):
        steps.append(config.ClassifySettings(species=species))
    have = store.groups(project)
    absent = [verb for verb in _FIRST if verb not in have]
    if absent:
        step.warn(f"{project.name} holds no {' and no '.join(absent)}: the usual settings of these steps are taken")
    first: dict[str, Any] = {
        verb: config.VERBS[verb]() if verb in absent else settings_of(project, verb) for verb in _FIRST
    }
    return Chain(**first, steps=tuple(reversed(steps)))


def to_verify(step: Step, source: Path) -> tuple[Records, Path | None]:
    """What `verify` compares: model, known model, images, chain and support; and the project to write to, if any."""
    truth = None if step.settings.truth is None else read_foreign(step, step.settings.truth)
    if not store.is_project(source):
        atoms = read_foreign(step, source)
        return {"atoms": atoms, "truth": truth}, step.output
    project = step.output or source
    have = store.groups(source)
    atoms = load_atoms(source)
    case: Records = {"atoms": atoms, "truth": truth}
    if "reconstruct" in have or series_group(source) == "refine":
        case["series"] = load_series(source)
        if truth is None:
            case["chain"] = chain_of(step, source, atoms)
            made = "reconstruct" in have
            case["support"] = store.load(source, "reconstruct", "result", Reconstruction).support if made else None
    return case, project


def verification_plan(step: Step, case: Records) -> tuple[dict[str, Any], list[str]]:
    """What `verify` would do, as keys and as lines, with the time that it takes."""
    atoms, series = case["atoms"], case.get("series")
    if case["truth"] is not None or series is None:
        return {}, [f"{len(atoms):,} atoms against a known model"]
    images = simulation_seconds(atoms, series, step.settings)
    again = _chain_seconds(atoms, series, case["chain"], case["support"])
    lines = [f"{len(atoms):,} atoms against the same chain on images simulated by {step.settings.method}"]
    if images:
        lines.append(f"these images take about {images / 60.0:.0f} minutes of one processor; a stopped run goes on")
    lines.append(f"the chain takes about {again:.0f} s")
    return {"predicted_seconds": round(images + again, 1)}, lines


def _chain_seconds(atoms: Atoms, series: TiltSeries, chain: Chain, support: NDArray[np.bool_] | None) -> float:
    """Time of the two long steps of a chain: that of reconstruction, and the most that refinement may take."""
    refined = [settings for settings in chain.steps if isinstance(settings, config.RefineSettings)]
    return forecast.predicted_seconds(plan(series, chain.reconstruct, support)) + sum(
        workload.predicted_seconds(atoms, series, settings) for settings in refined
    )


def settings_of(project: Path, verb: str) -> Any:
    """Settings with which a step of a project was made, an instance of its class in `aet2dft.config.VERBS`."""
    values = store.load_json(project, verb)["settings"]
    return config.validated(config.VERBS[verb], values, where=f"{project} [{verb}]")
