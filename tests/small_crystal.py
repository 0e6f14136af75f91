"""Small crystals of Gaussians of two kinds and their images, all in pixels, that are fitted in a moment."""

from __future__ import annotations

import functools

import numpy as np

from aet2dft.recon.atoms.atom_fit import Problem, moved, newton_step
from aet2dft.recon.atoms.image_model import GaussianAtoms, ImageGeometry, images
from aet2dft.recon.atoms.image_noise import Calibration
from aet2dft.recon.geometry import tilt_rotations
from aet2dft.recon.tilt_series import TiltSeries

TILTS = np.linspace(-68, 68, 30)
SPACING = 7.0
"""Between neighbors."""


def crystal() -> GaussianAtoms:
    """Atoms near the points of a cubic lattice, of one kind and the other in turn."""
    places = SPACING * (np.indices((4, 4, 4)).reshape(3, -1).T - 1.5)
    kinds = np.arange(64) % 2
    return GaussianAtoms(
        positions=places + np.random.default_rng(0).uniform(-0.3, 0.3, places.shape),
        heights=np.array([80.0, 320.0])[kinds],
        kinds=kinds,
        widths=np.array([1.35, 1.35]),
    )


@functools.cache
def crystal_series() -> TiltSeries:
    """Images of the crystal, Poisson noise."""
    geometry = ImageGeometry(
        axes=np.ascontiguousarray(np.swapaxes(tilt_rotations(TILTS), 1, 2)[:, :2]),
        centers=np.full((30, 2), 32.0),
        shape=(64, 64),
    )
    exact = images(geometry, crystal())
    noisy = np.random.default_rng(0).poisson(exact) + np.random.default_rng(1).normal(size=exact.shape)
    return TiltSeries.from_angles(noisy.astype(np.float32), TILTS, pixel_size=0.4)


LATTICE_GEOMETRY = ImageGeometry(
    axes=np.ascontiguousarray(np.swapaxes(tilt_rotations(np.linspace(-66, 66, 16)), 1, 2)[:, :2]),
    centers=np.full((16, 2), 22.0),
    shape=(44, 44),
)
FLAT = Calibration(scale=np.ones(16), background=np.zeros(16), gain=1.0, offset=1.0)
"""Images of one scale, no background, the variance of Poisson counts and one more."""


def lattice(spacing: float = 6.5) -> GaussianAtoms:
    """27 atoms of two heights on a jittered cube, pixels."""
    rng = np.random.default_rng(0)
    places = spacing * (np.indices((3, 3, 3)).reshape(3, -1).T - 1.0)
    kinds = np.arange(27) % 2
    return GaussianAtoms(
        positions=places + rng.uniform(-0.3, 0.3, (27, 3)),
        heights=np.array([200.0, 500.0])[kinds],
        kinds=kinds,
        widths=np.array([1.3, 1.4]),
    )


def problem_of(measured: np.ndarray, model: np.ndarray) -> Problem:
    """What is fitted to images of the lattice whose scale, background and noise are known."""
    return Problem.of(LATTICE_GEOMETRY, measured, model, FLAT)


def fitted(measured: np.ndarray, atoms: GaussianAtoms, steps: int) -> tuple[GaussianAtoms, Problem]:
    """The atoms after some Gauss-Newton steps of positions and heights, and the last problem."""
    for _ in range(steps):
        model = images(LATTICE_GEOMETRY, atoms)
        problem = problem_of(measured, model)
        atoms = moved(atoms, newton_step(problem, atoms, problem.target - model, 15))
    return atoms, problem
