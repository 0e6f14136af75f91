"""Tilt series of a particle as a microscope would record them: uneven angles, mis-set in part, shifts and a dose."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from ase import Atoms
from numpy.typing import ArrayLike, NDArray

from aet2dft.errors import InputError

if TYPE_CHECKING:
    from aet2dft.recon.tilt_series import TiltSeries

_BORDER = 3.0
"""Å: empty border around the particle in images whose size is not given."""
_TILTS = (-65.6, 64.3)
"""Degrees: range of the 68 images of Yang et al., Nature 542, 75 (2017)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class KnownSeries:
    """A tilt series and what its owner would not know."""

    series: TiltSeries
    """Images, with the nominal angles."""
    angles: NDArray[np.float64]
    """(n, 3), degrees: phi, theta, psi that the images were made with."""
    shifts: NDArray[np.float64]
    """(n, 2), pixels: where the rotation center lands, from the pixel where it should."""


def uneven_tilts(
    n_images: int = 68, tilt_range: tuple[float, float] = _TILTS, *, unevenness: float = 0.4, seed: int = 0
) -> NDArray[np.float64]:
    """Tilts as a stage sets them: nearly equal steps, in order.

    Parameters
    ----------
    n_images : int
        Number of images, at least two.
    tilt_range : (float, float)
        First and last tilt, degrees.
    unevenness : float
        Largest change of a tilt, as a part of the mean step; below 0.5 they stay in order.
    seed : int
        Seed of the changes.

    Returns
    -------
    ndarray, shape (n_images,)
        Degrees.

    Raises
    ------
    InputError
        For fewer than two images.
    """
    if n_images < 2:
        raise InputError(f"{n_images} images have no steps between them; take two at least")
    tilts = np.linspace(*tilt_range, n_images)
    step = tilts[1] - tilts[0]
    tilts[1:-1] += unevenness * step * np.random.default_rng(seed).uniform(-1.0, 1.0, n_images - 2)
    return tilts


def tilt_series(
    atoms: Atoms,
    tilts: ArrayLike | None = None,
    *,
    pixel_size: float = 0.3725,
    shape: tuple[int, int] | None = None,
    counts: float | None = 300.0,
    read_noise: float = 1.0,
    angle_error: float = 0.0,
    shift_error: float = 0.0,
    intensity: ArrayLike | None = None,
    width: ArrayLike = 0.5,
    seed: int = 0,
) -> KnownSeries:
    """Linear images of a particle, with the errors of an experiment.

    Parameters
    ----------
    atoms : Atoms
        Positions in Å, measured from the rotation center.
    tilts : array_like, shape (n,), optional
        Nominal tilts, degrees; default: `uneven_tilts`.
    pixel_size : float
        Å.
    shape : (int, int), optional
        Rows and columns of an image; default: square, the particle with an empty border of 3 Å at every tilt.
    counts : float, optional
        Expected electrons at the brightest pixel; None makes images without noise.
    read_noise : float
        Standard deviation, in electrons, that every pixel gets besides.
    angle_error : float
        Root mean square, in degrees, by which each of the three angles differs from the nominal one.
    shift_error : float
        Root mean square, in pixels, of the shift of every image along each axis.
    intensity : array_like, shape (N,), optional
        Brightness of every atom; default: by its element.
    width : array_like, shape () or (N,)
        Å: standard deviation of the image of an atom.
    seed : int
        Seed of noise and errors.

    Returns
    -------
    KnownSeries
        The series with nominal angles, and the true ones.
    """
    from aet2dft.recon.atoms.simulate import Noise, simulate_images, with_noise
    from aet2dft.recon.geometry import euler_rotations
    from aet2dft.recon.tilt_series import TiltSeries

    nominal = uneven_tilts() if tilts is None else np.asarray(tilts, dtype=np.float64)
    size = shape or (_square(atoms, pixel_size),) * 2
    rng = np.random.default_rng((seed, 1))
    angles = np.zeros((len(nominal), 3))
    angles[:, 1] = nominal
    angles += angle_error * rng.standard_normal(angles.shape)
    shifts = shift_error * rng.standard_normal((len(nominal), 2))
    center = np.array([size[0] // 2, size[1] // 2]) + shifts
    images = simulate_images(
        atoms,
        euler_rotations(angles),
        shape=size,
        pixel_size=pixel_size,
        center=center,
        intensity=intensity,
        width=width,
    )
    if counts is not None:
        images = with_noise(images, Noise(counts=counts, read_noise=read_noise), seed=seed)
    series = TiltSeries.from_angles(images, nominal, pixel_size=pixel_size)
    return KnownSeries(series=series, angles=angles, shifts=shifts)


def _square(atoms: Atoms, pixel_size: float) -> int:
    """Even number of pixels that hold the particle however it is turned."""
    radius = float(np.linalg.norm(atoms.positions, axis=1).max(initial=0.0)) + _BORDER
    return 2 * int(np.ceil(radius / pixel_size))
