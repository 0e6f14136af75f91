"""How often chance makes a grain as large as a small one that was found: surrogate particles without small grains."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from aet2dft.structure.crystal import Crystal
from aet2dft.structure.grains import LARGE_GRAIN, Labeler, Labels, components
from aet2dft.structure.variants import PHASE_OF

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
    """Largest false grains of particles that hold the other grains of this one and nothing else.

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
    A random alloy is not the null of a small grain that lies between ordered ones: their disordered rims make false
    grains. L1₀ is tested against particles with all L1₂ grains and no L1₀, small L1₂ grains against particles with the
    large grains alone. There, every atom belongs to the nearest of the kept grains; the chance of the first species is
    the rate found among the atoms on the same sublattice of grains of the same variant, with similar leave-one-out S
    of that variant, and equally at the surface or not. Species are drawn independently from these rates, labelled with
    the same recipe, and components are counted that do not overlap a kept grain of their own variant.
    """
    size = np.bincount(grain, minlength=2)
    large = size[grain] >= LARGE_GRAIN
    is_l12 = PHASE_OF[labels.variant] == "L12"
    sizes = {
        phase: _largest_false(crystal, labeler, phase, surrogates, seed, *_rates(crystal, labels, (grain > 0) & kept))
        for phase, kept in (("L10", large | is_l12), ("L12", large))
    }
    return SurrogateSizes(l10=sizes["L10"], l12=sizes["L12"])


def _largest_false(
    crystal: Crystal, labeler: Labeler, phase: str, surrogates: int, seed: int,
    rate: NDArray[np.float64], host: NDArray[np.int32],
) -> NDArray[np.int64]:  # fmt: skip
    """Atoms (surrogates,) of the largest component of a phase that is not part of a host grain."""
    rng = np.random.default_rng(seed)
    # draw in an order that depends on the sites, not on the numbering of the atoms
    order = np.lexsort(crystal.site.T)
    found = np.zeros(surrogates, dtype=np.int64)
    for k in range(surrogates):
        species = np.empty(len(rate), dtype=bool)
        species[order] = rng.random(len(rate)) < rate[order]
        variant = labeler.variants(species)
        part = components(variant, crystal.neighbors)
        false = PHASE_OF[variant] == phase
        false &= ~np.isin(part, part[(variant == host) & (variant > 0)])
        found[k] = np.bincount(part[false]).max(initial=0)
    return found


def _rates(crystal: Crystal, labels: Labels, kept: NDArray[np.bool_]) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
    """Chance (n,) of the first species if only the kept grains were there, and variant (n,) of the nearest of them."""
    host = np.zeros(len(kept), dtype=np.int32)
    if kept.any():
        home = np.flatnonzero(kept)
        host = labels.variant[home[cKDTree(crystal.positions[home]).query(crystal.positions)[1]]]
    alone = np.where(host > 0, np.nan_to_num(labels.order_without_self[host, np.arange(len(host))]), 0.0)
    edges = np.quantile(alone[host > 0], np.linspace(0, 1, _ORDER_BINS + 1)[1:-1]) if (host > 0).any() else np.zeros(0)
    kind = (np.searchsorted(edges, alone) * 2 + crystal.is_skin) * 16 + host
    # without order around it a site is as good as any other
    _, kind = np.unique(kind * 4 + np.where(host > 0, crystal.sublattice, 0), return_inverse=True)
    return (np.bincount(kind, weights=crystal.is_first) / np.bincount(kind))[kind], host
