"""Images of a model of atoms by the fast linear model: sums of Gaussians, with or without the noise of a dose.

Multiple scattering and the focus of the beam are not in it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from numpy.typing import ArrayLike, NDArray

from aet2dft.errors import InputError
from aet2dft.recon.atoms.image_model import GaussianAtoms, ImageGeometry, images
from aet2dft.recon.tilt_series import TiltSeries

CONTRAST = 1.7
"""Power of the atomic number with which an atom scatters into an annular dark-field detector."""
WIDTH = 0.5
"""Å: standard deviation of the image of an atom, by its heat and the size of the beam."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Noise:
    """Noise of a detector that counts electrons."""

    counts: float
    """Expected electrons at the brightest pixel of the series; Poisson statistics."""
    read_noise: float = 0.0
    """Standard deviation, in electrons, that every pixel gets besides."""
    background: float = 0.0
    """Expected electrons in every pixel without atoms."""

    def __post_init__(self) -> None:
        """Raise InputError for what no detector counts."""
        given = (self.counts, self.read_noise, self.background)
        if not (0 < self.counts < math.inf and all(0 <= value < math.inf for value in given)):
            raise InputError(f"Noise of {given}: counts are above zero, read_noise and background not below; mend them")


def simulate_images(
    atoms: Atoms,
    rotations: ArrayLike,
    *,
    shape: tuple[int, int],
    pixel_size: float,
    center: ArrayLike | None = None,
    intensity: ArrayLike | None = None,
    width: ArrayLike = WIDTH,
) -> NDArray[np.float32]:
    """Noise-free images of a model.

    Parameters
    ----------
    atoms : Atoms
        Positions in Å, measured from the rotation center.
    rotations : array_like, shape (n, 3, 3)
        R of every image; a point x lands at (R^T x)[:2].
    shape : (int, int)
        Rows and columns of an image.
    pixel_size : float
        Å.
    center : array_like, shape (2,) or (n, 2), optional
        Index at which the rotation center lands; default: N // 2.
    intensity : array_like, shape (N,), optional
        Sum over the pixels of the image of every atom; default: the atomic number to the power of `CONTRAST`.
    width : array_like, shape () or (N,)
        Å: standard deviation of the image of every atom; half a pixel where it is less, else atoms would fall between
        the pixels.

    Returns
    -------
    ndarray, shape (n, nx, ny)
        Images.

    Raises
    ------
    InputError
        If a number is not finite, a width or the pixel size not positive, or an atom has neither element nor intensity.

    Notes
    -----
    An image is a sum of Gaussians of two dimensions, sampled at the centers of the pixels: a scanned beam stands at
    points, it does not average over squares. Images are cut off at 3.7 standard deviations around every atom.
    """
    matrices = np.asarray(rotations, dtype=np.float64)
    middle = [size // 2 for size in shape] if center is None else center
    sigma = np.ascontiguousarray(np.broadcast_to(np.asarray(width, dtype=np.float64), len(atoms))) / pixel_size
    heights = _intensities(atoms) if intensity is None else np.asarray(intensity, dtype=np.float64)
    positions = atoms.positions / pixel_size
    if not all(np.isfinite(values).all() for values in (positions, sigma, heights, matrices, middle)):
        raise InputError("a position, width or intensity of an atom, a rotation or a center is not finite; mend it")
    if not (sigma > 0).all():
        raise InputError("the width of an atom or the size of a pixel is not positive; mend it")
    geometry = ImageGeometry(
        axes=np.ascontiguousarray(np.swapaxes(matrices, 1, 2)[:, :2]),
        centers=np.ascontiguousarray(np.broadcast_to(np.asarray(middle, dtype=np.float64), (len(matrices), 2))),
        shape=shape,
    )
    heights = np.broadcast_to(heights, len(atoms))
    return images(
        geometry, GaussianAtoms(positions=positions, heights=heights, kinds=np.arange(len(atoms)), widths=sigma)
    )


def model_images(atoms: Atoms, series: TiltSeries) -> NDArray[np.float32]:
    """Images (n, nx, ny) of a model in the geometry of a series: fitted intensities and widths where it has them."""
    intensity, width = atoms.arrays.get("intensity"), atoms.arrays.get("peak_width")
    if intensity is not None:
        intensity = np.maximum(intensity, 0.0)  # a height that is fitted may be a little below nothing
    return simulate_images(
        atoms,
        series.rotations,
        shape=(series.projections.shape[1], series.projections.shape[2]),
        pixel_size=series.pixel_size,
        center=series.center,
        intensity=intensity if intensity is not None and intensity.any() else None,
        width=width if width is not None and (width > 0).all() else WIDTH,
    )


def simulate(
    atoms: Atoms,
    angles: ArrayLike,
    *,
    shape: tuple[int, int],
    pixel_size: float,
    intensity: ArrayLike | None = None,
    width: ArrayLike = WIDTH,
    noise: Noise | None = None,
    seed: int = 0,
) -> TiltSeries:
    """Tilt series of a model.

    Parameters
    ----------
    atoms : Atoms
        Positions in Å, measured from the rotation center.
    angles : array_like, shape (n,) or (n, 3)
        Degrees: tilts, or phi, theta, psi.
    shape : (int, int)
        Rows and columns of an image.
    pixel_size : float
        Å.
    intensity, width : array_like
        As in `simulate_images`.
    noise : Noise, optional
        Default: none.
    seed : int
        Seed of the noise.

    Returns
    -------
    TiltSeries
        With noise, in electrons.
    """
    empty = np.zeros((len(np.asarray(angles)), *shape), dtype=np.float32)
    geometry = TiltSeries.from_angles(empty, angles, pixel_size=pixel_size)
    exact = simulate_images(
        atoms, geometry.rotations, shape=shape, pixel_size=pixel_size, intensity=intensity, width=width
    )
    return TiltSeries.from_angles(
        exact if noise is None else with_noise(exact, noise, seed=seed), angles, pixel_size=pixel_size
    )


def with_noise(exact: NDArray[np.float32], noise: Noise, *, seed: int) -> NDArray[np.float32]:
    """Images as a counting detector would record them, in electrons.

    Parameters
    ----------
    exact : ndarray, shape (n, nx, ny)
        Noise-free images in any unit.
    noise : Noise
        What is counted, and what is added.
    seed : int
        Seed of the random numbers.

    Raises
    ------
    InputError
        If the images are dark everywhere, or negative somewhere.
    """
    brightest = float(exact.max())
    if not brightest > 0 or exact.min() < 0:
        raise InputError("images without intensity, or with a negative one, cannot be counted; check the intensities")
    random = np.random.default_rng(seed)
    counted = np.empty(exact.shape, dtype=np.float32)
    for k, image in enumerate(exact):
        expected = noise.background + image.astype(np.float64) * (noise.counts / brightest)
        counted[k] = random.poisson(expected) + noise.read_noise * random.standard_normal(image.shape)
    return counted


def brightness(atoms: Atoms) -> NDArray[np.float64]:
    """Relative intensity (N,) of every atom: the measured one, else by its element; alike where that is unknown."""
    by_element = np.maximum(atoms.numbers, 1) ** CONTRAST
    return np.asarray(atoms.arrays.get("intensity", by_element), dtype=np.float64)


def _intensities(atoms: Atoms) -> NDArray[np.float64]:
    """Intensity of every atom by its element."""
    if (atoms.numbers == 0).any():
        raise InputError("some atoms have no element, so that their intensity is not known; run `aet2dft classify`")
    return np.asarray(atoms.numbers**CONTRAST, dtype=np.float64)
