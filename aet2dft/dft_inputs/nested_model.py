"""Sphere in a cube: the MAE of nested cubes explained by one spherical ordered grain in their common center.

Nothing here cuts cubes or reads energies.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from aet2dft.errors import InputError

STARTS = (5.0, 8.0, 11.0)
"""Å; radii from which the fit starts: with scattered data a single start may end in a side minimum."""
SMALLEST_CUBE = 2
"""Unit cells along the edge of the 32-atom cube, whose MAE stands for the grain."""
MIN_CUBES = 4
"""Two unknowns, the cube that stands for the grain, and one more to tell the misfit."""
_FLAT = 1e-6
"""meV/atom per Å; a curve that changes less with the radius does not determine it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SphereInCube:
    """A spherical grain in the center of nested cubes, fitted to their MAE."""

    radius: float
    """Radius of the grain, Å."""
    radius_sigma: float
    """Standard error of `radius`, Å."""
    k10: float
    """MAE of the grain, meV/atom; fixed, not fitted."""
    k12: float
    """MAE of what surrounds it, meV/atom."""
    k12_sigma: float
    """Standard error of `k12`, meV/atom."""
    cubic_a: float
    """Edge of the unit cell, Å."""
    n_cubes: int
    """Cubes in the fit."""
    rms: float
    """Rms misfit, meV/atom."""
    warnings: tuple[str, ...]
    """What makes the result doubtful."""


def sphere_in_cube(radius: ArrayLike, edge: ArrayLike) -> Any:
    r"""Volume, Å³, that a sphere and a cube with a common center share.

    Parameters
    ----------
    radius, edge : array_like
        Radius R of the sphere and edge L of the cube, Å.

    Notes
    -----
    Inclusion and exclusion with h = L/2: the sphere, minus six caps :math:`\pi (R-h)^2 (2R+h)/3` beyond the faces once
    R > h, plus the twelve wedges (beyond two faces at once) that were taken off twice once :math:`R > \sqrt2 h`,

    .. math:: W = \tfrac23 h^2 s - 2h (R^2 - \tfrac13 h^2) \arcsin\frac{s}{\sqrt{R^2 - h^2}}
                  + \tfrac43 R^3 \arctan\frac{s}{R}, \qquad s = \sqrt{R^2 - 2h^2},

    the integral of the area beyond two faces over the length 2s of the wedge. From :math:`R = \sqrt3 h` on it is L³.
    """
    R, h = np.broadcast_arrays(np.asarray(radius, dtype=float), 0.5 * np.asarray(edge, dtype=float))
    cap = np.pi / 3.0 * np.maximum(R - h, 0.0) ** 2 * (2.0 * R + h)
    s = np.sqrt(np.maximum(R**2 - 2.0 * h**2, 0.0))
    # where there is no wedge s = 0, and any positive number does for the denominators
    across = np.sqrt(np.where(s > 0, R**2 - h**2, 1.0))
    sine = np.minimum(s / across, 1.0)
    wedge = (
        2.0 / 3.0 * h**2 * s
        - 2.0 * h * (R**2 - h**2 / 3.0) * np.arcsin(sine)
        + 4.0 / 3.0 * R**3 * np.arctan(s / np.where(R > 0, R, 1.0))
    )
    volume = 4.0 / 3.0 * np.pi * R**3 - 6.0 * cap + 12.0 * wedge
    return np.where(h > R / np.sqrt(3.0), volume, (2.0 * h) ** 3)[()]


def nested_mae(edge: ArrayLike, *, radius: float, k10: float, k12: float) -> Any:
    """MAE, meV/atom, of cubes of edge `edge`, Å, around a grain of `radius`, Å, with `k10` inside and `k12` outside."""
    fraction = sphere_in_cube(radius, edge) / np.asarray(edge) ** 3
    return fraction * k10 + (1.0 - fraction) * k12


def fit_nested(
    cells: ArrayLike,
    mae: ArrayLike,
    *,
    cubic_a: float,
    k10: float | None = None,
    sigma: float | None = None,
) -> SphereInCube:
    """Radius of the ordered grain and MAE of its surroundings from nested cubes.

    Parameters
    ----------
    cells : array_like
        (n,) edges of the cubes, unit cells.
    mae : array_like
        (n,) their MAE, meV/atom; cubes with a NaN do not count.
    cubic_a : float
        Edge of the unit cell, Å.
    k10 : float, optional
        MAE of the grain, meV/atom; default: that of the 32-atom cube.
    sigma : float, optional
        Standard error of a MAE, meV/atom; default: from the misfit.

    Raises
    ------
    InputError
        If fewer than four cubes have a MAE, or the 32-atom cube has none and `k10` is not given.

    Notes
    -----
    MAE(L) = f k10 + (1 − f) k12 with the fraction f of the cube inside the sphere: the model of Yang et al., Nature
    542, 75 (2017), Fig. 4a. Errors come from the covariance at the minimum, σ² P Pᵀ with P = (JᵀJ)⁻¹ Jᵀ. Where k10 is
    the value of the 32-atom cube its error moves the curve too: P becomes P (1 − f eᵀ), e the unit vector of that cube.
    """
    edges, values = _usable(cells, mae)
    is_grain = _is_grain(edges) if k10 is None else np.zeros(len(edges), dtype=bool)
    grain = float(values[is_grain][0]) if k10 is None else k10
    lengths = edges * cubic_a
    largest = 0.5 * np.sqrt(3.0) * float(lengths.max())

    def misfit(parameters: NDArray[np.float64]) -> NDArray[np.float64]:
        radius, k12 = parameters
        return np.asarray(nested_mae(lengths, radius=radius, k10=grain, k12=k12) - values)

    from scipy.optimize import least_squares

    outside = float(values[np.argmax(edges)])
    bounds = ([0.0, -np.inf], [largest, np.inf])
    fits = [least_squares(misfit, [min(start, 0.9 * largest), outside], bounds=bounds) for start in STARTS]
    best = min(fits, key=lambda fit: float(fit.cost))
    radius, k12 = (float(x) for x in best.x)
    variance = sigma**2 if sigma is not None else 2.0 * float(best.cost) / (len(values) - 2 - is_grain.sum())
    fraction = sphere_in_cube(radius, lengths) / lengths**3
    noise = np.eye(len(values)) - np.outer(fraction, is_grain)
    radius_sigma, k12_sigma = np.sqrt(variance) * _error_factors(np.asarray(best.jac), noise)
    return SphereInCube(
        radius=radius,
        radius_sigma=float(radius_sigma),
        k10=grain,
        k12=k12,
        k12_sigma=float(k12_sigma),
        cubic_a=cubic_a,
        n_cubes=len(values),
        rms=float(np.sqrt(np.mean(best.fun**2))),
        warnings=_warnings(radius, radius_sigma, cubic_a, largest),
    )


def _usable(cells: ArrayLike, mae: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Edges in unit cells and MAE of the cubes that have one."""
    edges, values = np.asarray(cells, dtype=float), np.asarray(mae, dtype=float)
    if edges.shape != values.shape or edges.ndim != 1:
        raise InputError(f"{values.size} values for {edges.size} nested cubes; give one MAE per cube")
    keep = np.isfinite(values)
    if keep.sum() < MIN_CUBES:
        raise InputError(f"{keep.sum()} nested cubes have a MAE; the sphere model needs {MIN_CUBES} or more")
    return edges[keep], values[keep]


def _is_grain(edges: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Flag the 32-atom cube."""
    found = np.asarray(edges == SMALLEST_CUBE)
    if found.sum() != 1:
        raise InputError(f"the 32-atom cube has {found.sum()} values of its MAE; it needs one, or give k10")
    return found


def _error_factors(jacobian: NDArray[np.float64], noise: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the standard errors (2,) for data of standard error 1; infinite where the data determine nothing."""
    if np.linalg.matrix_rank(jacobian, tol=_FLAT) < 2:
        return np.full(2, np.inf)
    return np.asarray(np.linalg.norm(np.linalg.pinv(jacobian) @ noise, axis=1))


def _warnings(radius: float, radius_sigma: float, cubic_a: float, largest: float) -> tuple[str, ...]:
    """List what makes a fit doubtful."""
    found = []
    whole = np.sqrt(3.0) * cubic_a
    if radius < whole:
        found.append(f"R = {radius:.1f} Å does not fill the 32-atom cube ({whole:.1f} Å would): its MAE is diluted")
    if radius > 0.999 * largest or not np.isfinite(radius_sigma):
        found.append("the MAE of the cubes does not change with their size as in the model: no radius is determined")
    return tuple(found)
