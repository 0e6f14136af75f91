"""What the verbs between images and atoms find in a project or a foreign file, and which step comes before which."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from aet2dft import config, store
from aet2dft.atoms import numbered
from aet2dft.cli.framework import Step
from aet2dft.cli.projects import (
    group_to_write,
    is_project,
    last_step,
    read_foreign,
    refuse_reading,
    refuse_reading_atoms,
    save,
)
from aet2dft.config import ImagesSettings
from aet2dft.errors import InputError
from aet2dft.recon.atoms.candidate_frames import doubts, in_frame_of
from aet2dft.recon.atoms.edits import Edit, read_edits
from aet2dft.recon.atoms.image_poses import corrected, rms
from aet2dft.recon.atoms.peaks import Trace
from aet2dft.recon.atoms.placement import place
from aet2dft.recon.atoms.refinement import Refinement
from aet2dft.recon.images.calibration import moved
from aet2dft.recon.images.conventions import is_quick
from aet2dft.recon.images.image_folders import image_files
from aet2dft.recon.images.readers import read_support, read_tilt_series, read_volume
from aet2dft.recon.tilt_series import TiltSeries, Volume
from aet2dft.recon.volumes.reconstruction import Reconstruction
from aet2dft.recon.volumes.support import check_support
from aet2dft.store import series_group, volume_group
from aet2dft.structure.readers import load_structures

_OTHER = {"classify": "refine", "refine": "classify"}
"""The two steps after `trace`, which may come in either order."""
_NOISY = 0.05
"""Fraction of candidates that are as low as noise and stay, or higher and go, from which on they are worth a word."""
_BETWEEN = store.STEPS[1:]
"""Steps that outdate what was made of the atoms before them, also where they are new."""
_FLAG = re.compile(r"--[a-z-]+")
_ANY_SIZE = re.compile(r", or --any-[a-z-]+")
"""An option in a sentence, and one of those that let any size pass."""
_DIGITS = 9
"""Decimals of a pixel to which a rotation center that was moved and moved back is the one that it was."""
Records = dict[str, Any]


def results(
    step: Step,
    project: Path,
    model: str,
    kinds: dict[str, type[Any]],
    make: Callable[[], Records],
    **extra: Any,
) -> Records:
    """Records of a verb, of the classes `kinds`: those of the same result that is there already, or new ones, saved."""
    with group_to_write(step, project, model) as done:
        if done:
            return {name: store.load(project, step.verb, name, kind) for name, kind in kinds.items()}
        records = make()
        step.warn(*getattr(records["result"], "warnings", ()))
        keep: list[str] = []
        if "from" in extra:
            keep = _steps_before(step, project, extra["from"])
            extra["from"] = keep[0] if keep else ""
        save(step, project, records, model, keep=keep, between=step.verb in _BETWEEN, **extra)
    return records


def _steps_before(step: Step, project: Path, before: str) -> list[str]:
    """Steps of a project that the result of another one is made from; none where they are in another project."""
    found = store.lineage(project, before) if project.exists() else []
    return [] if step.verb in found else found


def series_and_project(step: Step, source: Path) -> tuple[TiltSeries, Path]:
    """Images of a foreign file or a project, and the project to write to."""
    if is_project(source, "images"):
        refuse_reading(step, source, step.settings, set(ImagesSettings.model_fields) - {"check_conventions"})
        series, notes = _as_read(source)
        step.warn(*notes)
        return series, step.output or source
    project = step.need_output("the project to write, e.g. run.h5")
    series, notes = read_tilt_series(source, step.settings)
    files = image_files(source) if source.is_dir() else [source]
    step.inputs += files + [path for path in (step.settings.angles, step.settings.support) if path is not None]
    step.warn(*notes)
    return series, project


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
    if is_project(source, "a volume"):
        refuse_reading(step, source, step.settings, config.VolumeSettings.model_fields)
        return store.load(source, volume_group(source), "volume", Volume), step.output or source
    project = step.need_output("the project to write, e.g. run.h5")
    volume, notes = read_volume(source, step.settings)
    step.inputs.append(source)
    step.warn(*notes)
    return volume, project


def load_series(project: Path) -> TiltSeries:
    """Images that `reconstruct` left in a project, or `refine` where they came from a file."""
    return store.load(project, series_group(project), "series", TiltSeries)


def _as_read(project: Path) -> tuple[TiltSeries, Sequence[str]]:
    """Images of a project as they came from their file, or as `refine` shifted and turned them, which is said."""
    series = load_series(project)
    if "refine" in store.groups(project):
        fitted = store.load(project, "refine", "result", Refinement)
        if fitted.shifts.any() or fitted.rotations.any():
            away = f"{rms(fitted.shifts):.1f} pixels and {rms(fitted.rotations):.1f} degrees (rms) away"
            note = f"images are taken where `refine` found them, {away}"
            return corrected(series, fitted.shifts, fitted.rotations), (note,)
    if series_group(project) != "reconstruct":
        return series, ()
    # `reconstruct` moves the rotation center, once
    offset = store.load(project, "reconstruct", "result", Reconstruction).center_offset
    return replace(series, center=np.round(moved(series, -offset).center, _DIGITS)), ()


def atoms_and_series(step: Step, source: Path) -> tuple[Atoms, TiltSeries, str, bool]:
    """Atoms, images to refine them against, the step of a project that they are from, whether to keep the images."""
    before = step_before(source, "refine") if is_project(source, "atoms") else ""
    if before:
        refuse_reading_atoms(step, source)
    if before and step.settings.images is None:
        refuse_reading(step, source, step.settings, {"angles", "pixel_size"})
    if step.settings.images is None:
        if not before:
            raise InputError(f"{source}: is no project; give the images its atoms are refined against with --images")
        if series_group(source) not in store.groups(source):
            raise InputError(f"{source}: holds no images; give those its atoms are refined against with --images")
        return atoms_of(source, before), load_series(source), before, series_group(source) == "refine"
    if before and "reconstruct" in store.groups(source):
        raise InputError(f"{source}: holds the images that its atoms were found in; leave out --images")
    if not before:
        step.need_output("the project to write, e.g. run.h5")
    atoms = atoms_of(source, before) if before else numbered(read_foreign(step, source))
    series = _images(step)
    placed, shift = place(atoms, series)
    if shift.any():
        moved = ", ".join(f"{x:.2f}" for x in shift)
        step.warn(f"atoms moved by ({moved}) Å to where the images show them")
    return placed, series, before, True


def _images(step: Step) -> TiltSeries:
    """Images that `refine` is given beside the atoms."""
    images, angles, size = step.settings.images, step.settings.angles, step.settings.pixel_size
    with _in_words_of(step.verb, "images as .npy and the angles as text in degrees", has=("--angles", "--pixel-size")):
        series, notes = read_tilt_series(images, ImagesSettings(angles=angles, pixel_size=size))
    step.inputs += [*(image_files(images) if images.is_dir() else [images]), *([angles] if angles is not None else [])]
    step.warn(*notes)
    return series


@contextlib.contextmanager
def _in_words_of(verb: str, how: str, *, has: Collection[str]) -> Iterator[None]:
    """What is wrong with a file, without the advice to take options of reading that a verb does not have."""
    try:
        yield
    except InputError as error:
        problem, _, advice = _ANY_SIZE.sub("", str(error)).rpartition("; ")
        if set(_FLAG.findall(advice)) - set(has):
            advice = f"`{verb}` cannot be told which: save the {how}, as they are to be read"
        raise InputError(f"{problem}; {advice}" if problem else advice) from error


def candidates_and_volume(step: Step, source: Path) -> tuple[Atoms, Volume | None, str]:
    """What is classified: candidates, the volume unless their heights were fitted, and their step, if of a project."""
    settings = step.settings
    if is_project(source, "candidates"):
        if settings.volume is not None:
            raise InputError(f"{source}: a project holds its volume; leave out --volume")
        refuse_reading(step, source, settings, {"voxel_size"})
        before = step_before(source, "classify")
        fitted = "refine" in store.lineage(source, before)
        volume = None if fitted else store.load(source, volume_group(source), "volume", Volume)
        return atoms_of(source, before), volume, before
    if settings.volume is None:
        raise InputError(f"{source}: is no project; give the volume that its atoms were traced in with --volume")
    step.need_output("the project to write, e.g. run.h5")
    # elements and units that the file may claim are what is to be found
    with _in_words_of(step.verb, "coordinates alone, e.g. as .xyz or as a (3, N) array in .mat", has=()):
        candidates = load_structures(source)[0]
    volume, notes = _volume_beside(step)
    step.inputs += [source, settings.volume]
    positions, reading = in_frame_of(volume, candidates.positions)
    atoms = Atoms("X" * len(candidates), positions=positions)
    atoms.set_array("site_id", numbered(candidates).arrays["site_id"])
    said = f"coordinates of {source.name} read as {reading}, where the volume is brightest"
    step.warn(*notes, said, *doubts(volume, positions))
    return atoms, volume, ""


def _volume_beside(step: Step) -> tuple[Volume, Sequence[str]]:
    """The volume that `classify` is given beside candidates: that of a project, or of a foreign file."""
    file, size = step.settings.volume, step.settings.voxel_size
    if is_project(file, "volume"):
        refuse_reading(step, file, step.settings, {"voxel_size"})
        return store.load(file, volume_group(file), "volume", Volume), ()
    with _in_words_of(step.verb, "volume alone, e.g. as .npy", has=("--voxel-size",)):
        return read_volume(file, config.VolumeSettings(voxel_size=size))


def notes_on_noise(source: Path, before: str, n_rejected: int) -> tuple[str, ...]:
    """How many candidates of `trace` are as low as noise but all stay, or higher than noise but no atoms."""
    if before != "trace":
        return ()
    traced = store.load(source, "trace", "result", Trace)
    higher = int(traced.n_above[traced.levels >= traced.noise_threshold].max(initial=0))
    as_low, kept = traced.n_atoms - higher, traced.n_atoms - n_rejected
    if higher - kept >= _NOISY * higher:
        return (
            f"{higher} candidates are higher than maxima of noise, but only {kept} are atoms: does --species leave out "
            "an element, or are atoms faint, as at a surface? `refine` finds those of the species that are named",
        )
    if n_rejected or as_low < _NOISY * traced.n_atoms:
        return ()
    return (
        f"{as_low} candidates are as low as maxima of noise, which are not told from the faintest atoms; `refine` "
        "drops what the images do not need",
    )


def step_before(project: Path, verb: str) -> str:
    """Step whose atoms `classify` or `refine` takes: the other of the two if it was before, or the first; corrected."""
    first, other = _first_step(project, verb), _OTHER[verb]
    came_first = other in store.groups(project) and verb not in store.lineage(project, other)
    before = other if came_first else first
    return "edit" if _corrected_step(project) == before else before


def _first_step(project: Path, verb: str) -> str:
    """Step that the atoms of a project begin with: `trace`, or one whose atoms came from elsewhere, but not `verb`."""
    first = store.lineage(project, last_step(project))[-1]
    if first == verb:
        raise InputError(
            f"{project}: begins with `{verb}`, and the atoms before it are elsewhere; give the file or project that "
            f"holds them, with -o {project.name} --overwrite"
        )
    return first


def _corrected_step(project: Path) -> str:
    """Step whose atoms were corrected by hand; none where nothing was, or it was in another project."""
    edited = store.load_json(project, "edit") if "edit" in store.groups(project) else {}
    return str(edited["from"]) if edited.get("edits") else ""


def atoms_of(project: Path, verb: str) -> Atoms:
    """Atoms that a step left in a project."""
    return store.load(project, verb, "atoms", Atoms)


def step_edited(project: Path) -> str:
    """Step whose atoms `edit` corrects: the same as before, so that corrections do not add up, else the last one."""
    _first_step(project, "edit")
    last = last_step(project)
    return _corrected_step(project) or (str(store.load_json(project, last)["from"]) if last == "edit" else last)


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


def settings_of(project: Path, verb: str) -> Any:
    """Settings with which a step of a project was made, an instance of its class in `aet2dft.config.VERBS`."""
    values = store.load_json(project, verb)["settings"]
    return config.validated(config.VERBS[verb], values, where=f"{project} [{verb}]")
