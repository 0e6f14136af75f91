"""A crystal of 64 Gaussians of two kinds and its images, all in pixels, that are fitted in a moment."""

from __future__ import annotations

import functools

import numpy as np

from aet2dft.recon.atoms.image_model import GaussianAtoms, ImageGeometry, images
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
