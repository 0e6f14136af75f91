"""Strain of every atom from a local-linear fit of the displacements around it, with its noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aet2dft.structure import _kernels

VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))
"""Components xx, yy, zz, yz, xz, xy; shear is the tensor component."""
TRUNCATE = 3.5
"""The Gaussian window is cut at this many standard deviations."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StrainField:
    """Strain of the atoms of one crystal."""

    strain: NDArray[np.float64]
    """(n, 6): xx, yy, zz, yz, xz, xy; NaN where fewer than four atoms span the window."""
    sigma: NDArray[np.float64]
    """(n, 6): standard error from the position noise."""
    rotation: NDArray[np.float64]
    """(n, 3), degrees: local rotation about x, y, z."""
    smooth: NDArray[np.float64]
    """(n, 3), Å: displacement predicted at an atom from the others in its window."""
    noise: float
    """Å: standard deviation per axis of the displacements about the smooth field, or of the given position errors."""


def local_strain(
    positions: NDArray[np.float64],
    displacement: NDArray[np.float64],
    *,
    sigma: float,
    position_sigma: NDArray[np.float64] | None = None,
) -> StrainField:
    r"""Strain by Gaussian-weighted local-linear fits.

    Parameters
    ----------
    positions : ndarray, (n, 3)
        Measured positions, Å.
    displacement : ndarray, (n, 3)
        Displacement from the reference lattice, Å.
    sigma : float
        Standard deviation of the window, Å.
    position_sigma : ndarray, (n, 3), optional
        Standard errors of the positions, Å; default: the residual about the smooth displacement, equal for all atoms.
        An atom without an error, NaN or all zero, has the rms of the others.

    Notes
    -----
    Around every atom :math:`u(r) = u_0 + G (r - r_0)` is fitted with weights :math:`\exp(-d^2 / 2\sigma^2)`;
    :math:`\varepsilon = (G + G^T)/2`. The fit is exact on affine fields, at the surface too, where smoothing the
    displacements and then differencing (Nadaraya-Watson) is biased towards zero. Errors:
    :math:`\mathrm{cov} = s^2 M^{-1} (\sum w^2 x x^T) M^{-1}` with :math:`M = \sum w x x^T` and s the position error of
    the atom itself, taken to be that of its surroundings.
    """
    ideal = positions - displacement
    order, start, shape = _cells(ideal, 0.5 * TRUNCATE * sigma)
    gradient, unit_variance, smooth = np.empty((len(ideal), 3, 3)), np.empty((len(ideal), 3)), np.empty_like(ideal)
    gradient[order], unit_variance[order], smooth[order] = _kernels.local_linear(
        ideal[order], displacement[order], start, shape, sigma, TRUNCATE
    )
    noise, variance = _errors(position_sigma, displacement - smooth)
    # (n, i, j): variance of d u_i / d x_j
    spread = variance[:, :, None] * unit_variance[:, None, :]
    strain = np.stack([0.5 * (gradient[:, i, j] + gradient[:, j, i]) for i, j in VOIGT], axis=1)
    error = np.sqrt(
        np.stack([spread[:, i, i] if i == j else 0.25 * (spread[:, i, j] + spread[:, j, i]) for i, j in VOIGT], axis=1)
    )
    turn = 0.5 * np.stack([gradient[:, j, i] - gradient[:, i, j] for i, j in ((1, 2), (2, 0), (0, 1))], axis=1)
    return StrainField(strain=strain, sigma=error, rotation=np.degrees(turn), smooth=smooth, noise=noise)


def _errors(
    position_sigma: NDArray[np.float64] | None, residual: NDArray[np.float64]
) -> tuple[float, NDArray[np.float64]]:
    """Noise per axis and variances (n, 3) of the positions, from their errors where there are any."""
    if position_sigma is not None:
        # zeros are the padding of atoms without an estimate
        known = np.asarray(np.isfinite(position_sigma).all(axis=1) & (position_sigma > 0).any(axis=1))
        if known.any():
            noise = float(np.sqrt((position_sigma[known] ** 2).mean()))
            return noise, np.where(known[:, None], position_sigma**2, noise**2)
    # the leave-one-out residual holds the error of the prediction too; that part is below 2 % here
    noise = float(np.sqrt(np.nanmean(residual**2)))
    return noise, np.full_like(residual, noise**2)


def _cells(points: NDArray[np.float64], edge: float) -> tuple[NDArray[np.intp], NDArray[np.int64], NDArray[np.int64]]:
    """Order of the points by cubic cells, first point of every cell, and number of cells along each axis."""
    cell = np.floor((points - points.min(axis=0)) / edge).astype(np.int64)
    shape = cell.max(axis=0) + 1
    flat = np.ravel_multi_index(tuple(cell.T), tuple(shape))
    order = np.lexsort((points[:, 2], points[:, 1], points[:, 0], flat))
    start = np.zeros(int(shape.prod()) + 1, dtype=np.int64)
    np.cumsum(np.bincount(flat, minlength=int(shape.prod())), out=start[1:])
    return order, start, shape
