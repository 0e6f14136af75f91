"""Sublattice order S of every atom and variant, its error bar, and the level that chance reaches in a random alloy."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib import resources

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import correlate1d

from aet2dft.structure.neighbors import SiteGrid
from aet2dft.structure.variants import N_SUBLATTICES, ORDERED, PURE, VARIANTS, sublattice

TRUNCATE = 4.0
"""The Gaussian window is cut at this many standard deviations."""
NULL_QUANTILE = 0.99
"""Chance level: the fraction of atoms of a random alloy whose largest S stays below it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Occupancy:
    """Windowed sums around every atom, by sublattice."""

    weight: NDArray[np.float64]
    """(4, N): sum of the window weights of the atoms on each sublattice."""
    squared: NDArray[np.float64]
    """(4, N): sum of the squared weights."""
    first: NDArray[np.float64]
    """(4, N): sum of the weights of atoms of the first species."""

    @property
    def fraction(self) -> NDArray[np.float64]:
        """(4, N): local fraction of the first species on each sublattice; NaN where a window holds no site of it."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(self.weight > 1e-12, self.first / self.weight, np.nan)


def _smooth(field: NDArray[np.float64], kernel: NDArray[np.float64], *, periodic: bool = False) -> NDArray[np.float64]:
    for axis in range(3):
        field = correlate1d(field, kernel, axis=axis, mode="wrap" if periodic else "constant")
    return field


def window_kernel(sigma: float) -> NDArray[np.float64]:
    """Gaussian window along one axis, on half cells and 1 at its center, for `sigma` unit cells."""
    half_cells = 2.0 * sigma
    reach = int(TRUNCATE * half_cells + 0.5)
    return np.exp(-0.5 * (np.arange(-reach, reach + 1) / half_cells) ** 2)


class WindowSums:
    """Gaussian windows over the sites of one lattice; the weights are summed once, species can change.

    Parameters
    ----------
    site : ndarray of int, (N, 3)
        Half-cell indices of the atoms.
    sigma : float
        Standard deviation of the window, unit cells.
    """

    def __init__(self, site: NDArray[np.int32], sigma: float) -> None:
        self._kernel = window_kernel(sigma)
        grid = SiteGrid.of(site, margin=1)
        self._shape = grid.atom_at.shape
        self._index = grid.index(site)
        self.sublattice = sublattice(site)
        ones = np.ones(len(site))
        self.weight = self._sums(ones, self._kernel)
        self.squared = self._sums(ones, self._kernel**2)

    def _sums(self, values: NDArray[np.float64], kernel: NDArray[np.float64]) -> NDArray[np.float64]:
        sums = np.empty((N_SUBLATTICES, len(values)))
        for k in range(N_SUBLATTICES):
            field = np.zeros(self._shape)
            own = self.sublattice == k
            field[tuple(axis[own] for axis in self._index)] = values[own]
            sums[k] = _smooth(field, kernel)[self._index]
        return sums

    def occupancy(self, is_first: NDArray[np.bool_]) -> Occupancy:
        """Windowed sums for one assignment of the species (N,)."""
        first = self._sums(is_first.astype(np.float64), self._kernel)
        return Occupancy(weight=self.weight, squared=self.squared, first=first)

    def without_self(self, occupancy: Occupancy, is_first: NDArray[np.bool_]) -> Occupancy:
        """The sums with every atom left out of its own window (its weight there is 1)."""
        own = np.arange(N_SUBLATTICES)[:, None] == self.sublattice
        return Occupancy(
            weight=np.where(own, occupancy.weight - 1.0, occupancy.weight),
            squared=np.where(own, occupancy.squared - 1.0, occupancy.squared),
            first=np.where(own, occupancy.first - is_first, occupancy.first),
        )


def sublattice_order(occupancy: Occupancy) -> NDArray[np.float64]:
    r"""Order parameter S (16, N) of every variant; NaN for the two pure rows.

    Notes
    -----
    :math:`S_v = \langle x_k \rangle_{k \in v} - \langle x_k \rangle_{k \notin v}` with :math:`x_k` the local fraction
    of the first species on sublattice k: the Bragg-Williams long-range order parameter :math:`r_\alpha + r_\beta - 1`
    (Warren, X-ray Diffraction (1990), ch. 12) in a window, without need of the composition. 1 for the perfect
    variant, 0 for a random alloy; against the perfect L1₂ variant of another sublattice -1/3; an L1₀ variant that
    holds the sublattice of a perfect L1₂: 1/2, an L1₂ within a perfect L1₀: 2/3.
    """
    x = occupancy.fraction
    held = VARIANTS[ORDERED].astype(np.float64)
    order = np.full((len(VARIANTS), x.shape[1]), np.nan)
    order[ORDERED] = _dot(
        held / held.sum(axis=1, keepdims=True) - (1 - held) / (1 - held).sum(axis=1, keepdims=True), x
    )
    return order


def sublattice_order_sigma(occupancy: Occupancy) -> NDArray[np.float64]:
    r"""Standard error (16, N) of S for independent sites; NaN for the two pure rows.

    Notes
    -----
    :math:`\mathrm{var}\,S = x_\alpha(1-x_\alpha)/(N_\alpha-1) + x_\beta(1-x_\beta)/(N_\beta-1)` with the effective
    numbers
    :math:`N = (\sum w)^2 / \sum w^2` of the sublattices, averaged with equal weight.
    """
    x = occupancy.fraction
    with np.errstate(invalid="ignore", divide="ignore"):
        # 1 / (N - 1), not 1 / N: the fraction comes from the same atoms
        variance = x * (1 - x) * occupancy.squared / (occupancy.weight**2 - occupancy.squared)
    held = VARIANTS[ORDERED].astype(np.float64)
    sigma = np.full((len(VARIANTS), x.shape[1]), np.nan)
    alpha, beta = held / held.sum(axis=1, keepdims=True), (1 - held) / (1 - held).sum(axis=1, keepdims=True)
    sigma[ORDERED] = np.sqrt(_dot(alpha**2 + beta**2, variance))
    return sigma


def _dot(rows: NDArray[np.float64], columns: NDArray[np.float64]) -> NDArray[np.float64]:
    """(m, 4) times (4, N), added in a fixed order: the same bytes whatever the number of threads."""
    return np.asarray(sum(rows[:, k, None] * columns[k] for k in range(N_SUBLATTICES)))


def concentration_waves(fraction: NDArray[np.float64]) -> NDArray[np.float64]:
    """Amplitudes eta_x, eta_y, eta_z (3, ...) of sublattice fractions (4, ...).

    ±1 for L1₀ along the axis, ±1/2 each for L1₂.
    """
    x0, x1, x2, x3 = fraction
    return 0.5 * np.stack([x0 + x1 - x2 - x3, x0 - x1 + x2 - x3, x0 - x1 - x2 + x3])


def best_variant(order: NDArray[np.float64], threshold: float) -> NDArray[np.int32]:
    """Variant (N,) of the largest S (16, N) where that reaches the threshold, else 0 (A1)."""
    ordered = np.nan_to_num(order[ORDERED], nan=-1.0)
    best = ordered.argmax(axis=0)
    return np.where(ordered[best, np.arange(ordered.shape[1])] >= threshold, ORDERED[best], PURE[0]).astype(np.int32)


@cache
def _null_table() -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    table = json.loads(resources.files("aet2dft.structure").joinpath("null_levels.json").read_text())
    return np.array(table["sigma"]), np.array(table["concentration"]), np.array(table["level"])


def null_level(sigma: float, concentration: float) -> float:
    """The S that the best variant of one atom in a hundred reaches in a random alloy.

    Parameters
    ----------
    sigma : float
        Standard deviation of the Gaussian window, unit cells (0.5 to 1.5).
    concentration : float
        Atomic fraction of one species; that of the other gives the same.

    Notes
    -----
    99 % quantile of the largest S over the fourteen ordered variants, tabulated from `simulate_null` on infinite
    crystals and interpolated linearly: it depends on window and composition only, never on the particle at hand.
    """
    sigmas, concentrations, level = _null_table()
    x = float(np.clip(min(concentration, 1.0 - concentration), concentrations[0], concentrations[-1]))
    by_x = [np.interp(x, concentrations, row) for row in level]
    return float(np.interp(sigma, sigmas, by_x))


def simulate_null(sigma: float, concentration: float, *, seed: int, edge: int = 96) -> NDArray[np.float64]:
    """Largest S of every atom (n,) of a random alloy on a periodic crystal of `edge` half cells, for `null_level`."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*[np.arange(edge)] * 3, indexing="ij"), axis=-1)
    own = sublattice(grid)
    is_site = grid.sum(axis=-1) % 2 == 0
    first = is_site & (rng.random(is_site.shape) < concentration)
    kernel = window_kernel(sigma)
    sums = [_smooth(((own == k) & is_site).astype(float), kernel, periodic=True)[is_site] for k in range(N_SUBLATTICES)]
    firsts = [_smooth(((own == k) & first).astype(float), kernel, periodic=True)[is_site] for k in range(N_SUBLATTICES)]
    weight = np.array(sums)
    order = sublattice_order(Occupancy(weight=weight, squared=weight, first=np.array(firsts)))
    return np.asarray(order[ORDERED].max(axis=0))
