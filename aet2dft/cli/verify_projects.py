"""What `verify` compares, and the steps that it repeats, found in a project or in foreign files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols
from numpy.typing import NDArray

from aet2dft import config, store
from aet2dft.cli.framework import Step
from aet2dft.cli.projects import is_project, last_step, load_atoms, read_foreign, refuse_reading_atoms
from aet2dft.cli.recon_projects import load_series, settings_of
from aet2dft.recon.atoms import workload
from aet2dft.recon.atoms.refinement import Refinement
from aet2dft.recon.tilt_series import TiltSeries
from aet2dft.recon.verification.chain import Chain
from aet2dft.recon.verification.round_trip import simulation_seconds
from aet2dft.recon.volumes import forecast
from aet2dft.recon.volumes.preparation import plan
from aet2dft.recon.volumes.reconstruction import Reconstruction
from aet2dft.store import series_group

Records = dict[str, Any]

_FIRST = ("reconstruct", "trace")
"""The two steps from images to candidates."""
_THEN = ("classify", "refine")
"""The two that may follow, in either order."""


def chain_of(step: Step, project: Path, atoms: Atoms) -> Chain:
    """Settings of the steps that led to the atoms of a project, in their order; the usual ones of steps not in it."""
    made_by = store.lineage(project, last_step(project))
    steps = [settings_of(project, verb) for verb in made_by if verb in _THEN]
    species = tuple(chemical_symbols[z] for z in np.unique(atoms.numbers) if z)
    if species and not {"trace", "classify"}.intersection(made_by):
        steps.append(config.ClassifySettings(species=species))
    have = store.groups(project)
    absent = [verb for verb in _FIRST if verb not in have]
    if absent:
        step.warn(f"{project.name} holds no {' and no '.join(absent)}: the usual settings of these steps are taken")
    first: dict[str, Any] = {
        verb: config.VERBS[verb]() if verb in absent else settings_of(project, verb) for verb in _FIRST
    }
    if first["reconstruct"].center_offset is not None:  # the images of the project have it already
        first["reconstruct"] = first["reconstruct"].model_copy(update={"center_offset": 0.0})
    return Chain(**first, steps=tuple(reversed(steps)))


def to_verify(step: Step, source: Path) -> tuple[Records, Path | None]:
    """What `verify` compares: model, known model, images, chain and support; and the project to write to, if any."""
    project_given = is_project(source, "atoms")
    if project_given and step.settings.truth is None:
        refuse_reading_atoms(step, source)
    known = step.settings.truth
    truth = None if known is None else _known_model(step, known, beside=source)
    if not project_given:
        atoms = read_foreign(step, source, beside=known)
        return {"atoms": atoms, "truth": truth}, step.output
    project = step.output or source
    have = store.groups(source)
    atoms = load_atoms(source)
    case: Records = {"atoms": atoms, "truth": truth}
    if "reconstruct" in have or series_group(source) == "refine":
        case["series"] = load_series(source)
        if "refine" in have:
            case["refinement"] = store.load(source, "refine", "result", Refinement)
        if truth is None:
            case["chain"] = chain_of(step, source, atoms)
            made = "reconstruct" in have
            case["support"] = store.load(source, "reconstruct", "result", Reconstruction).support if made else None
    return case, project


def _known_model(step: Step, file: Path, *, beside: Path) -> Atoms:
    """The model that another one is compared with: the last atoms of a project, or of a foreign file."""
    if not is_project(file, "atoms"):
        return read_foreign(step, file, beside=beside)
    step.inputs.append(file)
    return load_atoms(file)


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
