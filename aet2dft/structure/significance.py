"""How often chance makes a grain as large as a small one that was found: surrogate particles without small grains."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from aet2dft.structure.crystal import Crystal
from aet2dft.structure.grains import LARGE_GRAIN, Labeler, Labels, components
from aet2dft.structure.variants import PHASE_OF, VARIANTS

_ORDER_BINS = 10


@dataclass(frozen=True, kw_only=True, slots=True)
class SurrogateSizes:
    """Largest false grain of each phase in every surrogate."""

    l10: NDArray[np.int64]
    """(n_surrogates,): atoms of the largest L1₀ component that is not in the model of the surrogate."""
    l12: NDArray[np.int64]
    """(n_surrogates,): the same for L1₂."""

    def significance(self, phase: str, n_atoms: int) -> float:
        """Fraction of surrogates without a false grain of the phase of `n_atoms` or more; NaN without surrogates."""
        sizes = {"L10": self.l10, "L12": self.l12}[phase]
        return float((sizes < n_atoms).mean()) if sizes.size else float("nan")

    def largest(self, phase: str) -> int:
        """Atoms of the largest false grain of the phase in any surrogate."""
        sizes = {"L10": self.l10, "L12": self.l12}[phase]
        return int(sizes.max(initial=0))


def surrogate_sizes(
    crystal: Crystal, labeler: Labeler, labels: Labels, grain: NDArray[np.int32], *, surrogates: int, seed: int
) -> SurrogateSizes:
    """Largest false grains of particles that hold the large grains of this one and nothing else.

    Parameters
    ----------
    crystal, labeler, labels : Crystal, Labeler, Labels
        The crystal and its labels.
    grain : ndarray of int, (n,)
        Grain of every atom of the crystal.
    surrogates : int
        Number of surrogate particles.
    seed : int
        Seed of the random numbers.

    Notes
    -----
    A random alloy is not the null of a small grain that lies between large ordered ones: their disordered rims make
    false grains. Here every atom belongs to the nearest large grain; the chance of the first species is the rate
    found among the atoms of equal kind, that is equal occupation of its sublattice in the variant of that grain,
    similar leave-one-out S of that variant, and equal surface. Species are drawn independently from these rates,
    labelled with the same recipe, and components are counted that do not overlap the large grain of their own
    variant.
    """
    rng = np.random.default_rng(seed)
    rate, own_variant = _rates(crystal, labels, grain)
    # draw in an order that depends on the sites, not on the numbering of the atoms
    order = np.lexsort(crystal.site.T)
    sizes: dict[str, list[int]] = {"L10": [], "L12": []}
    for _ in range(surrogates):
        species = np.empty(len(rate), dtype=bool)
        species[order] = rng.random(len(rate)) < rate[order]
        variant = labeler.variants(species)
        part = components(variant, crystal.neighbors)
        # components made of the large grains themselves are not false
        real = np.zeros(part.max() + 1, dtype=bool)
        real[part[(variant == own_variant) & (variant > 0)]] = True
        count = np.bincount(part)
        phase = np.empty(part.max() + 1, dtype=PHASE_OF.dtype)
        phase[part] = PHASE_OF[variant]
        for name, found in sizes.items():
            found.append(int(count[(phase == name) & ~real].max(initial=0)))
    return SurrogateSizes(l10=np.array(sizes["L10"], dtype=np.int64), l12=np.array(sizes["L12"], dtype=np.int64))


def _rates(crystal: Crystal, labels: Labels, grain: NDArray[np.int32]) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
    """Chance (n,) of the first species without small grains, and variant (n,) of the nearest large grain."""
    size = np.bincount(grain, minlength=2)
    large = (grain > 0) & (size[grain] >= LARGE_GRAIN)
    own = np.zeros(len(grain), dtype=np.int32)
    if large.any():
        home = np.flatnonzero(large)
        own = labels.variant[home[cKDTree(crystal.positions[home]).query(crystal.positions)[1]]]
    alone = np.where(own > 0, np.nan_to_num(labels.order_without_self[own, np.arange(len(own))]), 0.0)
    edges = np.quantile(alone[own > 0], np.linspace(0, 1, _ORDER_BINS + 1)[1:-1]) if (own > 0).any() else np.zeros(0)
    kind = np.searchsorted(edges, alone) * 2 + crystal.is_skin
    kind = kind * 2 + VARIANTS[own, crystal.sublattice]
    kind = kind * 16 + own
    _, kind = np.unique(kind, return_inverse=True)
    counts = np.bincount(kind)
    return (np.bincount(kind, weights=crystal.is_first) / counts)[kind], own
