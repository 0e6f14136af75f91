"""Energies to magnetic anisotropy: MAE, tensor with easy axis and uniaxial constant, and the map of all volumes.

Everything here is arithmetic on arrays; reading outputs and deciding which of them count lives elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from aet2dft.errors import InputError

MJ_PER_M3 = 160.2176634
"""1 meV/Å³ in MJ/m³ (exact since the SI of 2019)."""
RESOLUTION = 1e-5
"""meV/atom; energies nearer than this are equal (FePt3, cubic by symmetry, comes out at 4e-7 meV/atom)."""
_PARALLEL = 1e-6
_DETERMINED = 1e-8


@dataclass(frozen=True, kw_only=True, slots=True)
class AnisotropyTensor:
    """Second-order magnetic anisotropy of one volume; NaN stands for what the axes do not determine."""

    e0: float
    """Isotropic part of the energy, meV/atom."""
    tensor: NDArray[np.float64]
    """(3, 3), meV/atom: symmetric, traceless K of E(n) = e0 + n·K n, in the frame of the directions."""
    n_axes: int
    """Directions that entered the fit; 2 or 3 give no off-diagonals, the axes are then taken for principal ones."""
    residual: float
    """Rms misfit, meV/atom; NaN where the fit is exactly determined."""
    fourth_order: float
    """Largest |E − fit| over the body diagonals, meV/atom, which are kept out of the fit; NaN without one."""
    eigenvalues: NDArray[np.float64]
    """(3,), meV/atom: principal values of K, ascending."""
    easy_axis: NDArray[np.float64]
    """(3,): unit vector of lowest energy, first component positive; NaN where the two lowest are not told apart."""
    k_uniaxial: float
    """Constant of the nearest uniaxial energy −K (axis·n)², meV/atom: positive easy axis, negative easy plane."""
    axis: NDArray[np.float64]
    """(3,): unit vector that belongs to `k_uniaxial`: the easy axis, or the normal of the easy plane."""
    biaxiality: float
    """(k3 − k2) / (k3 − k1) of the eigenvalues: 0 easy axis, 1 easy plane, both with axial symmetry."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AnisotropyMap:
    """MAE of sliding volumes on the grid of their centers and averaged per site."""

    mae: NDArray[np.float64]
    """(nx, ny, nz), meV/atom: mean over the volumes at this center; NaN where there is none."""
    order_difference: NDArray[np.float64]
    """(nx, ny, nz): |eta_z| − |eta_x| of the volume; NaN where unknown."""
    counts: NDArray[np.int64]
    """(nx, ny, nz): volumes with a MAE at this center."""
    first_center: NDArray[np.float64]
    """(3,), half cells: center that belongs to element [0, 0, 0]; the step is one half cell."""
    size: tuple[int, int, int]
    """Edges of a volume, half cells."""
    sites: NDArray[np.int64]
    """(n_sites, 3), half cells: sites with a local average."""
    site_mae: NDArray[np.float64]
    """(n_sites,), meV/atom: mean over the volumes that hold the site; NaN where none does."""
    site_counts: NDArray[np.int64]
    """(n_sites,): volumes in that mean."""
    sigma_mae: float
    """Numerical error of one MAE, meV/atom, from volumes at two protocols; NaN where not known."""


def mae(energy_first: ArrayLike, energy_second: ArrayLike, n_atoms: ArrayLike) -> Any:
    """Magnetic anisotropy energy, meV/atom.

    Parameters
    ----------
    energy_first, energy_second : array_like
        Energies, eV per cell, with the moments along the first and the second axis.
    n_atoms : array_like
        Atoms that are present in the cell (not sites).

    Returns
    -------
    float or ndarray
        E(first) − E(second) per atom.

    Notes
    -----
    For the axes [100] and [001] positive means that [001] is easier: the sign of Yang et al., Nature 542, 75 (2017),
    Fig. 4. In the force theorem the energies are the sums of band and smearing energy (`free_band_energy`): the free
    energy is the stationary one.
    """
    atoms = np.asarray(n_atoms)
    if (atoms < 1).any():
        raise InputError("the MAE is per atom present, but a volume holds no atoms; leave this volume out")
    return 1e3 * (np.asarray(energy_first) - np.asarray(energy_second)) / atoms


def to_energy_density(energy: ArrayLike, volume_per_atom: ArrayLike) -> Any:
    """Anisotropy energy `energy`, meV/atom, in MJ/m³ for `volume_per_atom`, Å³ (FePt, 13.75 Å³: 11.652 per meV)."""
    volume = np.asarray(volume_per_atom)
    if not (volume > 0).all():
        raise InputError(f"{volume.min()} Å³ per atom is impossible; give the volume of the cell over the atoms in it")
    return MJ_PER_M3 * np.asarray(energy) / volume


def sigma_mae(production: ArrayLike, converged: ArrayLike) -> float:
    """Numerical error of a MAE from the same volumes at two protocols.

    Parameters
    ----------
    production, converged : array_like
        (n,) MAE of the same volumes, meV/atom, with the protocol of the map and with the denser one; pairs with a NaN
        do not count.

    Returns
    -------
    float
        Rms difference, meV/atom: the denser protocol stands for the truth. NaN without a pair.
    """
    difference = np.atleast_1d(np.asarray(production, dtype=float) - np.asarray(converged, dtype=float))
    difference = difference[np.isfinite(difference)]
    return float(np.sqrt(np.mean(difference**2))) if difference.size else float("nan")


def anisotropy_tensor(directions: ArrayLike, energies: ArrayLike, *, sigma: float = 0.0) -> AnisotropyTensor:
    r"""Second-order anisotropy from energies along several axes.

    Parameters
    ----------
    directions : array_like
        (n, 3) axes of the moments, of any length: two, three cubic axes, six (and [110], [101], [011]) or nine (both
        diagonals of each face). With the tensor determined, body diagonals serve as a check only.
    energies : array_like
        (n,) energies, meV/atom; a common offset does not matter.
    sigma : float
        Standard error of an energy difference, meV/atom (`sigma_mae`): the easy axis is undefined where the two lowest
        principal values differ by less than two of it.

    Returns
    -------
    AnisotropyTensor
        Tensor, principal values, easy axis and uniaxial constant.

    Raises
    ------
    InputError
        If an axis is zero, two are parallel, an energy is not finite, or the axes determine no anisotropy.

    Notes
    -----
    :math:`E(n) = E_0 + n^T K n` with K symmetric and traceless, by least squares; with six axes this is
    :math:`K_{xy} = E_{110} - (E_{100} + E_{010})/2`, with nine :math:`K_{xy} = (E_{110} - E_{1\bar10})/2`, free of the
    fourth order. Three cubic axes give the diagonal only: easy axis and constant are right where the cubic axes are
    principal axes. Two axes n, m give one difference, taken for uniaxial about the lower one:
    :math:`K = \Delta E / (1 - (n \cdot m)^2)`.

    Principal values k1 ≤ k2 ≤ k3: with k2 − k1 > k3 − k2 an easy axis, K = (k2 + k3)/2 − k1 about e1; else an easy
    plane, K = (k1 + k2)/2 − k3 < 0 about e3: the uniaxial energy nearest to K.
    """
    axes, values = _checked(directions, energies)
    offset = float(values.mean())
    design = _design(axes)
    in_fit = _in_fit(axes, design)
    voigt, determined, residual = _fit(design[in_fit], values[in_fit] - offset)
    voigt[~determined] = np.nan
    isotropic = float(voigt[:3].mean())
    tensor = voigt[[[0, 5, 4], [5, 1, 3], [4, 3, 2]]] - isotropic * np.eye(3)
    misfit = np.abs(values - offset - design @ voigt)[~in_fit]
    if np.isfinite(isotropic):
        # off-diagonals that no axis determines count as zero: the axes given are then taken for principal axes
        eigenvalues, vectors = np.linalg.eigh(np.where(np.isfinite(tensor), tensor, 0.0))
        k_uniaxial, axis, biaxiality = _uniaxial(eigenvalues, vectors)
        easy_axis, gap = vectors[:, 0], eigenvalues[1] - eigenvalues[0]
    elif len(axes) == 2:
        eigenvalues, biaxiality = np.full(3, np.nan), float("nan")
        k_uniaxial, axis = _two_axes(axes, values)
        easy_axis, gap = axis, abs(values[1] - values[0])
    else:
        raise InputError(f"these {len(axes)} axes determine no anisotropy; give two, the three cubic axes, six or nine")
    resolved = gap >= max(2.0 * sigma, RESOLUTION)
    return AnisotropyTensor(
        e0=offset + isotropic,
        tensor=tensor,
        n_axes=int(in_fit.sum()),
        residual=residual,
        fourth_order=float(misfit.max()) if misfit.size else float("nan"),
        eigenvalues=eigenvalues,
        easy_axis=_oriented(easy_axis) if resolved else np.full(3, np.nan),
        k_uniaxial=k_uniaxial,
        axis=_oriented(axis),
        biaxiality=biaxiality,
    )


def on_grid(
    centers: ArrayLike, values: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.float64]]:
    """Values of volumes on the grid of their centers, one half cell per element.

    Parameters
    ----------
    centers : array_like
        (n, 3) centers, half cells, apart by whole half cells.
    values : array_like
        (n,) or (n, k) values; a volume with a NaN does not count.

    Returns
    -------
    grid : ndarray
        (nx, ny, nz) or (nx, ny, nz, k): mean over the volumes at a center, NaN where there is none.
    counts : ndarray
        (nx, ny, nz): volumes in that mean.
    first_center : ndarray
        (3,), half cells: center of element [0, 0, 0].
    """
    points = np.asarray(centers, dtype=float).reshape(-1, 3)
    value = np.asarray(values, dtype=float)
    if not len(points) or len(value) != len(points):
        raise InputError(f"{len(value)} values for {len(points)} centers; a map needs one value for each volume")
    first = points.min(axis=0)
    steps = points - first
    index = np.rint(steps).astype(np.int64)
    if not np.allclose(steps, index, atol=1e-6):
        raise InputError("the centers of the volumes are not whole half cells apart; a map takes volumes of one kind")
    shape = tuple(index.max(axis=0) + 1)
    keep = np.isfinite(value).reshape(len(value), -1).all(axis=1)
    at = tuple(index[keep].T)
    counts = np.zeros(shape, dtype=np.int64)
    np.add.at(counts, at, 1)
    grid = np.zeros(shape + value.shape[1:])
    np.add.at(grid, at, value[keep])
    grid /= np.where(counts, counts, np.nan).reshape(shape + (1,) * (value.ndim - 1))
    return grid, counts, first


def anisotropy_map(
    centers: ArrayLike,
    mae: ArrayLike,
    *,
    size: tuple[int, int, int],
    sites: ArrayLike | None = None,
    order_difference: ArrayLike | None = None,
    sigma_mae: float = float("nan"),
) -> AnisotropyMap:
    """Map of the local MAE.

    Parameters
    ----------
    centers : array_like
        (n, 3) centers of the volumes, half cells: origin + size / 2.
    mae : array_like
        (n,) MAE, meV/atom; NaN where a volume has none.
    size : tuple of int
        Edges of a volume, half cells.
    sites : array_like, optional
        (n_sites, 3) lattice sites, half cells, that get a local average.
    order_difference : array_like, optional
        (n,) order-parameter difference |eta_z| − |eta_x| of the volumes.
    sigma_mae : float
        Numerical error of one MAE, meV/atom.

    Notes
    -----
    A volume is half-open: it holds the sites with origin ≤ site < origin + size. A site deep inside is held by
    size_x · size_y · size_z volumes (64 for 32-atom cubes), summed at once with a summed-area table.
    """
    grid, counts, first = on_grid(centers, mae)
    order = np.full(np.shape(mae), np.nan) if order_difference is None else order_difference
    held = np.zeros((0, 3), dtype=np.int64) if sites is None else np.asarray(sites, dtype=np.int64).reshape(-1, 3)
    offset = held - (first - 0.5 * np.asarray(size))
    low = np.clip(np.floor(offset - size).astype(np.int64) + 1, 0, grid.shape)
    high = np.clip(np.floor(offset).astype(np.int64) + 1, 0, grid.shape)
    site_counts = _box_sums(counts, low, high)
    total = _box_sums(np.where(counts > 0, grid * counts, 0.0), low, high)
    return AnisotropyMap(
        mae=grid,
        order_difference=on_grid(centers, order)[0],
        counts=counts,
        first_center=first,
        size=size,
        sites=held,
        site_mae=total / np.where(site_counts, site_counts, np.nan),
        site_counts=site_counts,
        sigma_mae=sigma_mae,
    )


def _checked(directions: ArrayLike, energies: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Normalize the axes (n, 3); refuse what cannot be used."""
    given = np.asarray(directions, dtype=float).reshape(-1, 3)
    values = np.asarray(energies, dtype=float)
    if values.shape != (len(given),):
        raise InputError(f"{values.size} energies for {len(given)} axes; give one energy per axis")
    if not np.isfinite(values).all() or not np.isfinite(given).all():
        raise InputError("an axis or its energy is not a number; an anisotropy needs every axis converged")
    length = np.linalg.norm(given, axis=1)
    if (length == 0).any():
        raise InputError("the axis (0, 0, 0) has no direction; name another")
    axes = given / length[:, None]
    i, j = np.nonzero(np.triu(np.abs(axes @ axes.T) > 1.0 - _PARALLEL, k=1))
    if i.size:
        raise InputError(f"the axes {given[i[0]]} and {given[j[0]]} are parallel and have one energy; give each once")
    return axes, values


def _design(axes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Factors (n, 6) of the components xx, yy, zz, yz, xz, xy in n·M n."""
    x, y, z = axes.T
    return np.stack([x * x, y * y, z * z, 2 * y * z, 2 * x * z, 2 * x * y], axis=1)


def _in_fit(axes: NDArray[np.float64], design: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Axes that enter the fit: all but the body diagonals, where these are not needed."""
    others = np.asarray(np.ptp(np.abs(axes), axis=1) > _PARALLEL)
    if np.linalg.matrix_rank(design[others]) == design.shape[1]:
        return others
    return np.ones(len(axes), dtype=bool)


def _fit(
    design: NDArray[np.float64], values: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.bool_], float]:
    """Least-squares components (6,), which of them the axes determine, and the rms misfit."""
    _, singular, right = np.linalg.svd(design)
    rank = int((singular > _DETERMINED * singular[0]).sum())
    # a component is determined where no combination that leaves all energies unchanged contains it
    determined = np.asarray((np.abs(right[rank:]) < _DETERMINED).all(axis=0))
    solution = np.asarray(np.linalg.lstsq(design, values, rcond=_DETERMINED)[0], dtype=float)
    misfit = float(np.sqrt(np.mean((design @ solution - values) ** 2)))
    return solution, determined, misfit if len(values) > rank else float("nan")


def _uniaxial(
    eigenvalues: NDArray[np.float64], vectors: NDArray[np.float64]
) -> tuple[float, NDArray[np.float64], float]:
    """Constant, axis and biaxiality of the uniaxial energy nearest to a tensor."""
    k1, k2, k3 = (float(k) for k in eigenvalues)
    biaxiality = (k3 - k2) / (k3 - k1) if k3 > k1 else float("nan")
    if k2 - k1 > k3 - k2:
        return 0.5 * (k2 + k3) - k1, vectors[:, 0], biaxiality
    return 0.5 * (k1 + k2) - k3, vectors[:, 2], biaxiality


def _two_axes(axes: NDArray[np.float64], values: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
    """Constant and axis where only two energies are known."""
    lower = int(np.argmin(values))
    return float(abs(values[0] - values[1]) / (1.0 - (axes[0] @ axes[1]) ** 2)), axes[lower]


def _oriented(axis: NDArray[np.float64]) -> NDArray[np.float64]:
    """Choose the one of ±axis whose first component that is not zero is positive."""
    first = axis[np.abs(axis) > _PARALLEL][0]
    return np.asarray(axis * np.sign(first)) + 0.0  # + 0.0: no negative zeros


def _box_sums(values: NDArray[Any], low: NDArray[np.int64], high: NDArray[np.int64]) -> NDArray[Any]:
    """Sum `values` (nx, ny, nz) over the boxes [low, high) (n, 3), from the corners of a summed-area table."""
    table = np.pad(values, ((1, 0), (1, 0), (1, 0))).cumsum(axis=0).cumsum(axis=1).cumsum(axis=2)
    total = np.zeros(len(low), dtype=table.dtype)
    for corner in product((False, True), repeat=3):
        sign = 1 if sum(corner) % 2 else -1
        total += sign * table[tuple(np.where(corner, high, low).T)]
    return total
