"""Noise of peaks: how widely those of equal atoms differ, what lies between them, and how many maxima it makes."""

from __future__ import annotations

from itertools import product

import numpy as np
from numpy.typing import NDArray

from aet2dft.recon.atoms import _kernels_overlaps as overlaps
from aet2dft.recon.atoms import _kernels_peaks as kernels
from aet2dft.recon.atoms.overlaps import Separated, neighbors_of, strong_peaks

Floats = NDArray[np.float64]

FEWEST = 12
"""Strong peaks whose widths say how large the noise is."""
_MOST = 100
"""Strong peaks around which the volume is looked at."""
_BESIDE = 1.5
"""Standard deviations of the common shape from a peak to where it is looked at: less is noise that the fit took in."""
_DIRECTIONS = np.array([d for d in product((-1.0, 0.0, 1.0), repeat=3) if any(d)])


def noise_of(found: Separated, between: float, window: float) -> float:
    r"""Standard deviation of the convolved volume at its peaks.

    Parameters
    ----------
    found : Separated
        Peaks.
    between : float
        What `unexplained` says; taken where there are too few peaks.
    window : float
        Square voxels: variance of everything that the noise was smoothed with.

    Notes
    -----
    Atoms of one kind are equally wide; noise of correlation length L, L² twice the window, changes the logarithm of
    :math:`S^2 = 3 e / |\operatorname{tr} Q|` by :math:`(\sigma / e) \sqrt{1 - 2 q + 5 q^2 / 3}, q = S^2 / L^2`. The
    scatter is that of the strong peaks, by the median of its absolute value. Positivity makes it larger than what lies
    between the atoms.
    """
    strong = found.of(strong_peaks(found.heights))
    if len(strong.heights) < FEWEST:
        return between
    squared = -3.0 * strong.heights / np.trace(strong.curvatures, axis1=1, axis2=2)
    logarithm = np.log(squared)
    middle = float(np.median(logarithm))
    deviation = 1.4826 * float(np.median(np.abs(logarithm - middle) * strong.heights))
    return deviation / float(width_error(np.exp(np.array(middle)), window))


def width_error(squared: Floats, window: float) -> Floats:
    """Relative error of squared widths, in units of that of the height."""
    q = squared / (2.0 * window)
    return np.asarray(np.sqrt(1.0 - 2.0 * q + 5.0 * q**2 / 3.0))


def unexplained(volume: NDArray[np.float32], found: Separated, width: float) -> float:
    """Typical deviation from zero of the convolved volume around strong peaks, less what the peaks put there.

    1.4826 times the median of its absolute value: the standard deviation, were it noise alone.

    Parameters
    ----------
    volume : ndarray, shape (nx, ny, nz)
        Density.
    found : Separated
        Its peaks.
    width : float
        Voxels: standard deviation of the weight of the fits.
    """
    strong = strong_peaks(found.heights)
    chosen = strong[np.linspace(0, len(strong) - 1, min(len(strong), _MOST)).astype(int)]
    away = _BESIDE * (_DIRECTIONS / np.linalg.norm(_DIRECTIONS, axis=1)[:, None]) @ np.linalg.cholesky(found.shape).T
    points = (found.centers[chosen, None] + away).reshape(-1, 3)
    points = points[((points >= 0) & (points <= np.array(volume.shape) - 1.0)).all(axis=1)]
    if not len(points):
        return 0.0
    near = neighbors_of(points, found.centers, found.reach, itself=True)
    there = kernels.convolved_derivatives(volume, points, width)
    there -= overlaps.tails(points, *near, found.centers, found.heights, found.inverse)
    return 1.4826 * float(np.median(np.abs(there[:, 0])))


def noise_maxima(levels: Floats, noise: float, window: float, n_voxels: int) -> Floats:
    r"""Expected number (k,) of maxima of smooth noise above levels (k,).

    Parameters
    ----------
    levels : ndarray, shape (k,)
        Heights.
    noise : float
        Standard deviation.
    window : float
        Square voxels: variance of the Gaussian that white noise was smoothed with.
    n_voxels : int
        Voxels with noise.

    Notes
    -----
    :math:`V / (4 \pi^2 L^3) (\nu^2 - 1) e^{-\nu^2/2}` for :math:`\nu` standard deviations and the correlation length
    :math:`L = \sqrt{2 \cdot window}` (R. J. Adler, The Geometry of Random Fields, Wiley, 1981), which holds for high
    levels; below its largest value, at :math:`\sqrt 3`, that is taken.
    """
    nu = np.clip(levels / max(noise, np.finfo(float).tiny), np.sqrt(3.0), 30.0)
    density = (nu**2 - 1.0) * np.exp(-0.5 * nu**2) / (4.0 * np.pi**2 * (2.0 * window) ** 1.5)
    return np.asarray(n_voxels * density)
