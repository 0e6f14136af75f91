"""The way from images to atoms, whole, with the settings of its steps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols
from numpy.typing import NDArray

from aet2dft.config import ClassifySettings, ReconstructSettings, RefineSettings, TraceSettings
from aet2dft.recon.atoms.refinement import Refinement
from aet2dft.recon.tilt_series import TiltSeries


@dataclass(frozen=True, kw_only=True, slots=True)
class Chain:
    """Settings of the steps between images and atoms."""

    reconstruct: ReconstructSettings = ReconstructSettings()
    """Images to volume."""
    trace: TraceSettings = TraceSettings()
    """Volume to candidates."""
    steps: tuple[ClassifySettings | RefineSettings, ...] = ()
    """What comes after tracing, in its order."""


def usual_chain(atoms: Atoms, refinement: Refinement | None = None) -> Chain:
    """The steps that atoms show to have gone through, with their usual settings.

    Parameters
    ----------
    atoms : Atoms
        With species where they were classified, with `position_sigma` where they were refined.
    refinement : Refinement, optional
        How they were refined; tells whether the geometry of the images was fitted.
    """
    species = tuple(chemical_symbols[z] for z in np.unique(atoms.numbers) if z)
    steps: tuple[ClassifySettings | RefineSettings, ...] = (ClassifySettings(species=species),) if species else ()
    if refinement is not None or "position_sigma" in atoms.arrays:
        posed = refinement is not None and bool(refinement.shifts.any() or refinement.rotations.any())
        steps += (RefineSettings(fit_geometry=posed),)
    return Chain(steps=steps)


def run_chain(series: TiltSeries, chain: Chain, *, support: NDArray[np.bool_] | None = None, seed: int = 0) -> Atoms:
    """From images to atoms: reconstruct, trace, and the steps that follow.

    Parameters
    ----------
    series : TiltSeries
        Images.
    chain : Chain
        Settings of the steps.
    support : ndarray of bool, shape (nx, ny, nz), optional
        Where the object is.
    seed : int
        Of the choice of left-out images.
    """
    from aet2dft.recon.atoms.classification import classify
    from aet2dft.recon.atoms.peaks import trace
    from aet2dft.recon.atoms.refinement import refine
    from aet2dft.recon.volumes.reconstruction import reconstruct

    volume, _ = reconstruct(series, chain.reconstruct, support=support, seed=seed)
    atoms, _ = trace(volume, chain.trace)
    fitted = False
    for settings in chain.steps:
        if isinstance(settings, ClassifySettings):
            atoms, _ = classify(atoms, None if fitted else volume, settings)
        else:
            atoms, _ = refine(atoms, series, settings, min_distance=chain.trace.min_distance, seed=seed)
            fitted = True
    return atoms
