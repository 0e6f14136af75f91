"""Labels of chemical order, grains of equal label, their depth and boundaries."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from aet2dft.structure.crystal import Crystal
from aet2dft.structure.order_parameters import (
    Occupancy,
    WindowSums,
    best_variant,
    null_level,
    sublattice_order,
    sublattice_order_sigma,
)
from aet2dft.structure.variants import ORDERED, PHASE_OF

LARGE_GRAIN = 1000
"""Atoms; grains from here on get a depth profile, smaller ones a significance."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Labels:
    """Chemical order of every atom of a crystal."""

    window: float
    """Standard deviation of the window, unit cells."""
    level: NDArray[np.float64]
    """(n,): least S of a labelled atom."""
    order: NDArray[np.float64]
    """(16, n): S of every variant."""
    sigma: NDArray[np.float64]
    """(16, n): standard error of S."""
    variant: NDArray[np.int32]
    """(n,): label, 0 = A1."""
    variant_without_self: NDArray[np.int32]
    """(n,): label from the neighbors alone, for profiles across grain surfaces."""
    order_without_self: NDArray[np.float64]
    """(16, n): S of every variant from the neighbors alone."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Labeler:
    """Labels of one crystal for any assignment of the species; the geometry is computed once."""

    sums: WindowSums
    """Window sums of the crystal."""
    level: NDArray[np.float64]
    """(n,): least S of a labelled atom."""
    window: float
    """Standard deviation of the window, unit cells."""

    @classmethod
    def of(cls, crystal: Crystal, *, window: float, threshold: float | None, concentration: float) -> Labeler:
        """Prepare the labels of a crystal.

        Notes
        -----
        Without a threshold the level of an atom is the 99 % level of a random alloy of the same composition, for the
        window *as that atom sees it*: at the surface a part of the window is empty, chance reaches further, and the
        level of the full window is scaled by the square root of the effective numbers of atoms. So one atom in a
        hundred of a random alloy is labelled, in the core and at the surface alike (a fixed level would label ten
        times more at the surface).
        """
        sums = WindowSums(crystal.site, window)
        if threshold is not None:
            level = np.full(len(crystal.site), threshold)
        else:
            effective = sums.weight.sum(axis=0) ** 2 / sums.squared.sum(axis=0)
            level = null_level(window, concentration) * np.sqrt(full_window_number(window) / effective)
        return cls(sums=sums, level=level, window=window)

    def order(self, is_first: NDArray[np.bool_]) -> tuple[Occupancy, NDArray[np.float64]]:
        """Window sums and S (16, n) for species (n,)."""
        occupancy = self.sums.occupancy(is_first)
        return occupancy, sublattice_order(occupancy)

    def variants(self, is_first: NDArray[np.bool_]) -> NDArray[np.int32]:
        """Labels (n,) for species (n,)."""
        return self.choose(self.order(is_first)[1])

    def choose(self, order: NDArray[np.float64]) -> NDArray[np.int32]:
        """Labels (n,) of S (16, n)."""
        best = best_variant(order, -2.0)
        return np.where(order[best, np.arange(len(best))] >= self.level, best, 0).astype(np.int32)

    def __call__(self, is_first: NDArray[np.bool_]) -> Labels:
        """Everything about the labels for species (n,)."""
        occupancy, order = self.order(is_first)
        alone = sublattice_order(self.sums.without_self(occupancy, is_first))
        return Labels(
            window=self.window, level=self.level, order=order, sigma=sublattice_order_sigma(occupancy),
            variant=self.choose(order), variant_without_self=self.choose(alone), order_without_self=alone,
        )  # fmt: skip


def full_window_number(window: float) -> float:
    """Effective number of atoms in a Gaussian window of an infinite crystal: 4 (4 pi)^(3/2) sigma^3, sigma in cells."""
    return float(4.0 * (4.0 * np.pi) ** 1.5 * window**3)


def components(variant: NDArray[np.int32], neighbors: NDArray[np.int32]) -> NDArray[np.int32]:
    """Number (n,) of the connected set of nearest neighbors with equal label that every atom belongs to."""
    first = np.repeat(np.arange(len(variant)), neighbors.shape[1])
    second = neighbors.ravel()
    keep = second > first
    first, second = first[keep], second[keep]
    same = variant[first] == variant[second]
    graph = coo_array((np.ones(int(same.sum()), dtype=np.int8), (first[same], second[same])), shape=(len(variant),) * 2)
    return np.asarray(connected_components(graph, directed=False)[1], dtype=np.int32)


def number_grains(parts: list[NDArray[np.int32]], *, min_grain: int) -> list[NDArray[np.int32]]:
    """Components (n,) of all crystals -> grain numbers, 1 = the largest; 0 for components below `min_grain` atoms.

    Ties are broken by the crystal and by the order of the components in it.
    """
    sizes = [np.bincount(part) for part in parts]
    ranked = sorted(
        ((-int(n), c, k) for c, size in enumerate(sizes) for k, n in enumerate(size) if n >= min_grain),
    )
    names = [np.zeros(len(size), dtype=np.int32) for size in sizes]
    for number, (_, c, k) in enumerate(ranked, start=1):
        names[c][k] = number
    return [name[part] for name, part in zip(names, parts, strict=True)]


def signed_depth(
    crystal: Crystal, inside: NDArray[np.bool_], *, free_surface: bool, query: NDArray[np.bool_] | None = None
) -> NDArray[np.float64]:
    """Distance (n,), Å, of atoms below the surface of a grain, negative outside; NaN where `query` is false.

    Inside: distance to the nearest place that is not of the grain, minus half a nearest-neighbor distance; outside:
    minus the distance to the nearest atom of the grain less the same half. With `free_surface` the empty sites around
    the particle are not of the grain. Infinite where there is no other place.
    """
    half = 0.5 * crystal.nearest_neighbor
    query = np.ones(len(inside), dtype=bool) if query is None else query
    depth = np.full(len(inside), np.nan)
    others = np.concatenate([crystal.positions[~inside], crystal.foreign, *([crystal.vacuum] if free_surface else [])])
    mine, rest = inside & query, ~inside & query
    if mine.any():
        depth[mine] = cKDTree(others).query(crystal.positions[mine])[0] - half if len(others) else np.inf
    if rest.any():
        depth[rest] = half - cKDTree(crystal.positions[inside]).query(crystal.positions[rest])[0]
    return depth


@dataclass(frozen=True, kw_only=True, slots=True)
class Boundaries:
    """Nearest-neighbor bonds between grains, counted by kind."""

    first: NDArray[np.int32]
    """(m,): grain."""
    second: NDArray[np.int32]
    """(m,): the other grain, larger number."""
    n_bonds: NDArray[np.int32]
    """(m,): bonds between the two."""
    kind: NDArray[np.str_]
    """(m,): ``antiphase`` (one phase, related by a lattice translation), ``rotation`` (L1₀ with another axis) or
    ``phase``."""
    translation: NDArray[np.float64]
    """(m, 3): a translation between the two in unit cells, a/2<110>, for antiphase boundaries; NaN for the others."""


def boundaries(crystals: tuple[Crystal, ...], grain: NDArray[np.int32], variant_of: NDArray[np.int32]) -> Boundaries:
    """Grain boundaries of all crystals.

    Parameters
    ----------
    crystals : tuple of Crystal
        The crystals.
    grain : ndarray of int, (N,)
        Grain of every atom of the model.
    variant_of : ndarray of int, (n_grains + 1,)
        Variant of every grain; element 0 is not used.
    """
    bonds = []
    for crystal in crystals:
        own = grain[crystal.members]
        a, b = np.repeat(own, 12), np.where(crystal.neighbors.ravel() >= 0, own[crystal.neighbors.ravel()], 0)
        bonds.append(np.stack([a, b], axis=1)[(a > 0) & (b > a)])
    pairs, counts = np.unique(np.concatenate(bonds), axis=0, return_counts=True)
    kinds = [_relation(int(variant_of[a]), int(variant_of[b])) for a, b in pairs]
    return Boundaries(
        first=pairs[:, 0].astype(np.int32), second=pairs[:, 1].astype(np.int32), n_bonds=counts.astype(np.int32),
        kind=np.array([k for k, _ in kinds], dtype="U9"), translation=np.array([t for _, t in kinds]).reshape(-1, 3),
    )  # fmt: skip


_SHIFTS = np.array([[0.0, 0.0, 0.0], [0.0, 0.5, 0.5], [0.5, 0.0, 0.5], [0.5, 0.5, 0.0]])


def _relation(first: int, second: int) -> tuple[str, NDArray[np.float64]]:
    """Kind of boundary between two variants and the translation that carries one into the other."""
    none = np.full(3, np.nan)
    if PHASE_OF[first] != PHASE_OF[second] or first not in ORDERED:
        return "phase", none
    for k in range(1, 4):
        # a shift by the vector of sublattice k exchanges sublattice j with j xor k
        shifted = sum(1 << (j ^ k) for j in range(4) if first >> j & 1)
        if shifted == second:
            return "antiphase", _SHIFTS[k]
    return ("rotation", none) if PHASE_OF[first] == "L10" else ("phase", none)
