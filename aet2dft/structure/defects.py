"""Antisites, swaps and vacancies: species on the wrong sublattice, exchanged neighbors, empty sites."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import Atoms
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from aet2dft.structure.crystal import Crystal
from aet2dft.structure.grains import Labels, components, signed_depth
from aet2dft.structure.neighbors import SiteGrid
from aet2dft.structure.variants import VARIANTS

VACANCY_NEIGHBORS = 9
"""An empty site with at least so many of its twelve neighbors present is a vacancy."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AntisiteProfile:
    """Antisites and order of one variant against the depth below the surface of its grain."""

    grain: int
    """Number of the grain."""
    depth: NDArray[np.float64]
    """(m,), Å: bin centers, positive inside."""
    fraction: NDArray[np.float64]
    """(m,): antisites per atom, NaN in an empty bin."""
    sigma: NDArray[np.float64]
    """(m,): standard error of `fraction` (Wilson interval, half width)."""
    order: NDArray[np.float64]
    """(m,): mean S of the variant in the label window."""
    n: NDArray[np.int64]
    """(m,): atoms per bin."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Swaps:
    """Exchanged neighbors of one grain, and how many chance alone gives."""

    grain: int
    """Number of the grain."""
    found: int
    """Pairs of nearest neighbors that are antisites of opposite kind."""
    expected: float
    """The same count if antisites were placed at random, with their rates at each depth."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Vacancies:
    """Empty sites inside the particle."""

    lattice: NDArray[np.int32]
    """(m,): lattice of the site."""
    site: NDArray[np.int32]
    """(m, 3): half-cell index."""
    position: NDArray[np.float64]
    """(m, 3), Å: place of the site."""
    n_neighbors: NDArray[np.int32]
    """(m,): atoms on its twelve neighbor sites."""


def is_antisite(crystal: Crystal, variant: NDArray[np.int32] | int) -> NDArray[np.bool_]:
    """Whether every atom (n,) is of another species than `variant` puts on its sublattice; variant 0 has none."""
    expected = VARIANTS[variant, crystal.sublattice]
    return np.asarray((expected != crystal.is_first) & (np.asarray(variant) > 0))


def corrected(fraction: float, species_error: float) -> float:
    """Antisite fraction freed of wrongly measured species, (p - eta) / (1 - 2 eta), not below zero; NaN stays NaN."""
    return float(np.maximum(0.0, (fraction - species_error) / (1.0 - 2.0 * species_error)))


def fraction_sigma(fraction: NDArray[np.float64], n: NDArray[np.int64]) -> NDArray[np.float64]:
    """Standard errors (m,) of fractions (m,) of `n` (m,) atoms: half widths of Wilson intervals, not 0 for 0 of n."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.sqrt(fraction * (1 - fraction) / n + 0.25 / n**2) / (1 + 1 / n))


def antisite_profile(
    crystal: Crystal, labels: Labels, grain: NDArray[np.int32], number: int, *, free_surface: bool
) -> AntisiteProfile | None:
    """Antisite fraction and order of a grain's variant against depth; None where nothing bounds the grain.

    Parameters
    ----------
    crystal, labels : Crystal, Labels
        The crystal and its labels.
    grain : ndarray of int, (n,)
        Grain of every atom of the crystal.
    number : int
        The grain.
    free_surface : bool
        Whether the free surface counts as surface of the grain.

    Notes
    -----
    Bins are half a unit cell. The grain is delimited by the labels that the neighbors alone give: a label that sees the
    atom's own species would move antisites from just inside to just outside. Far outside an L1₂ grain half the sites of
    another L1₂ variant disagree: 0.5.
    """
    variant = int(labels.variant[np.flatnonzero(grain == number)[0]])
    inside = _grain_without_self(crystal, labels, grain == number, variant)
    depth = signed_depth(crystal, inside, free_surface=free_surface)
    if np.isinf(depth).any():
        return None
    wrong = is_antisite(crystal, variant)
    width = 0.5 * crystal.fit.cubic_a
    low, high = np.floor(depth.min() / width), np.floor(depth.max() / width) + 1
    bins = (np.floor(depth / width) - low).astype(np.intp)
    n_bins = int(high - low)
    n = np.bincount(bins, minlength=n_bins)
    with np.errstate(invalid="ignore", divide="ignore"):
        fraction = np.bincount(bins, weights=wrong, minlength=n_bins) / n
        order = np.bincount(bins, weights=labels.order[variant], minlength=n_bins) / n
    centers, sigma = (low + 0.5 + np.arange(n_bins)) * width, fraction_sigma(fraction, n)
    return AntisiteProfile(grain=number, depth=centers, fraction=fraction, sigma=sigma, order=order, n=n)


def _grain_without_self(crystal: Crystal, labels: Labels, member: NDArray[np.bool_], variant: int) -> NDArray[np.bool_]:
    """The connected set of leave-one-out labels that shares most atoms with a grain."""
    part = components(labels.variant_without_self, crystal.neighbors)
    of_variant = labels.variant_without_self == variant
    shared = np.bincount(part[member & of_variant], minlength=part.max() + 1)
    return np.asarray((part == shared.argmax()) & of_variant) if shared.any() else member


def swap_partners(crystal: Crystal, grain: NDArray[np.int32], antisite: NDArray[np.bool_]) -> NDArray[np.int32]:
    """1 + local index (n,) of the one exchanged neighbor, 0 = none; nearest pairs first."""
    first, second = _opposite_pairs(crystal, grain, antisite)
    distance = np.linalg.norm(crystal.positions[first] - crystal.positions[second], axis=1)
    partner = np.zeros(len(grain), dtype=np.int32)
    for k in np.argsort(distance, kind="stable"):
        i, j = first[k], second[k]
        if not partner[i] and not partner[j]:
            partner[i], partner[j] = j + 1, i + 1
    return partner


def _opposite_pairs(
    crystal: Crystal, grain: NDArray[np.int32], antisite: NDArray[np.bool_]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Neighbors of one grain that are antisites of opposite kind."""
    first = np.repeat(np.arange(len(grain)), 12)
    second = crystal.neighbors.ravel().astype(np.intp)
    keep = (second > first) & antisite[first] & antisite[second]
    first, second = first[keep], second[keep]
    opposite = (
        (crystal.is_first[first] != crystal.is_first[second]) & (grain[first] == grain[second]) & (grain[first] > 0)
    )
    return first[opposite], second[opposite]


def count_swaps(
    crystal: Crystal, grain: NDArray[np.int32], number: int, variant: int, depth: NDArray[np.float64]
) -> Swaps:
    """Swaps of one grain beside their chance expectation; `grain` (n,) and `depth` (n,), Å, as in `LabelledCrystal`.

    Notes
    -----
    Expected: the sum over nearest-neighbor pairs of an alpha and a beta site of f_alpha f_beta, with the antisite
    rates f of either kind at the depth of each atom, so that rates which rise towards the surface do not look like
    pairing.
    """
    own = grain == number
    wrong = is_antisite(crystal, variant) & own
    alpha = VARIANTS[variant, crystal.sublattice]
    # an infinite depth, where nothing bounds the grain, is the deepest layer
    layer = np.clip(depth / (0.5 * crystal.fit.cubic_a), 0, 12).astype(int)
    rate = np.zeros(len(grain))
    for kind in (alpha, ~alpha):
        members = own & kind
        counts = np.bincount(layer[members], minlength=13)
        wrongs = np.bincount(layer[members], weights=wrong[members], minlength=13)
        rate[members] = (wrongs / np.maximum(counts, 1))[layer[members]]
    first = np.repeat(np.arange(len(grain)), 12)
    second = crystal.neighbors.ravel()
    keep = (second > first) & own[first] & own[second] & (alpha[first] != alpha[second])
    expected = float((rate[first[keep]] * rate[second[keep]]).sum())
    found = len(_opposite_pairs(crystal, np.where(own, grain, 0), wrong)[0])
    return Swaps(grain=number, found=found, expected=expected)


def find_vacancies(crystal: Crystal, atoms: Atoms) -> Vacancies:
    """Empty sites with at least nine of their twelve neighbors present and no atom of any kind in place.

    Notes
    -----
    An atom too far from the site to be indexed still fills it: a site with an atom within half a nearest-neighbor
    distance is not empty.
    """
    grid = SiteGrid.of(crystal.site)
    empty = grid.empty_around(crystal.site)
    around = grid.neighbors(empty)
    count = (around >= 0).sum(axis=1)
    inside = count >= VACANCY_NEIGHBORS
    empty, around, count = empty[inside], around[inside], count[inside]
    # the mean displacement of the neighbors says where the site really is in a bent or strained crystal
    shift = crystal.positions[around] - crystal.fit.positions(crystal.site[around])
    mean_shift = np.where((around >= 0)[..., None], shift, 0.0).sum(axis=1) / count[:, None]
    position = crystal.fit.positions(empty) + mean_shift
    free = cKDTree(atoms.positions).query(position)[0] > 0.5 * crystal.fit.nearest_neighbor
    return Vacancies(
        lattice=np.full(int(free.sum()), crystal.fit.lattice, dtype=np.int32),
        site=empty[free],
        position=position[free],
        n_neighbors=count[free].astype(np.int32),
    )
