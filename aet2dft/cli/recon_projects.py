"""What the verbs between images and atoms find in a project or a foreign file, and which step comes before which."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from aet2dft import config, store
from aet2dft.cli.framework import Step
from aet2dft.cli.projects import group_to_write, last_step, load_atoms, read_foreign, save
from aet2dft.recon.readers import read_support, read_tilt_series, read_volume
from aet2dft.recon.tilt_series import TiltSeries, Volume
from aet2dft.recon.verification import Chain

_OTHER = {"classify": "refine", "refine": "classify"}
"""The two steps after `trace`, which may come in either order."""


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
        save(step, project, records, model, keep=keep, **extra)
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


def support_of(step: Step, series: TiltSeries) -> tuple[NDArray[np.bool_] | None, str]:
    """Support that the user gives, and the digest of everything that a reconstruction starts from."""
    file = step.settings.support
    if file is None:
        return None, series.digest
    return read_support(file, series.projections.shape[1:]), f"{series.digest} {store.digest(file)}"


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
    """Images that `reconstruct` left in a project."""
    return store.load(project, "reconstruct", "series", TiltSeries)


def volume_group(project: Path) -> str:
    """Group of a project that holds its volume: `reconstruct`, or `trace` where a foreign one was traced."""
    traced = "trace" in store.groups(project) and store.load_json(project, "trace")["with_volume"]
    return "trace" if traced else "reconstruct"


def step_before(project: Path, verb: str) -> str:
    """Step whose atoms `classify` or `refine` takes: the other of the two if that came from `trace`, else `trace`."""
    other = _OTHER[verb]
    if other in store.groups(project) and store.load_json(project, other)["from"] == "trace":
        return other
    return "trace"


def atoms_of(project: Path, verb: str) -> Atoms:
    """Atoms that a step left in a project."""
    return store.load(project, verb, "atoms", Atoms)


def chain_of(project: Path) -> Chain:
    """Settings of the steps that led to the atoms of a project, in their order."""
    last = last_step(project)
    verbs = []
    while last != "trace":
        verbs.append(last)
        last = str(store.load_json(project, last)["from"])
    return Chain(
        reconstruct=settings_of(project, "reconstruct"),
        trace=settings_of(project, "trace"),
        steps=tuple(settings_of(project, verb) for verb in reversed(verbs)),
    )


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
    if "reconstruct" in have:
        case["series"] = load_series(source)
        if truth is None:
            case["chain"] = chain = chain_of(source)
            file = chain.reconstruct.support
            case["support"] = None if file is None else read_support(file, case["series"].projections.shape[1:])
    return case, project


def settings_of(project: Path, verb: str) -> Any:
    """Settings with which a step of a project was made, an instance of its class in `aet2dft.config.VERBS`."""
    values = store.load_json(project, verb)["settings"]
    return config.validated(config.VERBS[verb], values, where=f"{project} [{verb}]")
