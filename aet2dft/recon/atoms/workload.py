"""Memory and time that `refine` takes, from one projection of its atoms."""

from __future__ import annotations

import time

import numpy as np
from ase import Atoms

from aet2dft.config import RefineSettings
from aet2dft.memory import require_memory
from aet2dft.recon.atoms.atom_errors import probes
from aet2dft.recon.atoms.image_model import GaussianAtoms, ImageGeometry, images
from aet2dft.recon.tilt_series import TiltSeries

_COPIES = 16
"""Arrays of the size of the images at a time: weights, residuals and directions of the fit, the residual volume."""
_BASE = 20e6
"""Bytes of tables and buffers, whatever the size."""
_STEP, _ROUND, _END, _PROBE = 30, 40, 75, 45
"""Times of one projection that a Gauss-Newton step, a search for missing atoms, the end, and one fit of noise take."""
_USUAL_ROUNDS = 3
"""Searches for missing atoms until, as a rule, none is found."""
_TYPICAL = 0.5
"""Å: width of an atom; the projections take longer the wider it is."""


def needed_bytes(series: TiltSeries) -> float:
    """Memory, besides the images themselves, of a refinement against them."""
    return _BASE + _COPIES * series.projections.nbytes


def require(series: TiltSeries) -> None:
    """Raise ResourceError where memory does not suffice for a refinement against these images."""
    require_memory(
        needed_bytes(series),
        f"refining against {series.n_images} images of {' x '.join(map(str, series.projections.shape[1:]))} pixels",
        "free some, crop the images to the particle, or bin them",
    )


def predicted_seconds(atoms: Atoms, series: TiltSeries, settings: RefineSettings) -> float:
    """Wall-clock time of a refinement of a few rounds with all the steps they may take; few particles need more.

    Parameters
    ----------
    atoms : Atoms
        Positions in Å from the rotation center.
    series : TiltSeries
        Images.
    settings : RefineSettings
        Steps and rounds.
    """
    gaussians = GaussianAtoms(
        positions=atoms.positions / series.pixel_size,
        heights=np.ones(len(atoms)),
        kinds=np.zeros(len(atoms), dtype=np.intp),
        widths=np.array([_TYPICAL / series.pixel_size]),
    )
    seconds = []
    for _ in range(3):  # the first may compile
        begun = time.perf_counter()
        images(ImageGeometry.of(series), gaussians)
        seconds.append(time.perf_counter() - begun)
    rounds = min(settings.rounds, _USUAL_ROUNDS)
    steps, searches = settings.iterations * (rounds + 4), rounds + 1
    return min(seconds) * (_STEP * steps + _ROUND * searches + _END + _PROBE * probes(len(atoms)))
