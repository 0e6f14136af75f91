"""Warren-Cowley short-range order of a finite particle, by neighbor shells of the lattice."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from aet2dft.structure.crystal import Crystal
from aet2dft.structure.neighbors import SiteGrid

N_SHELLS = 6


@dataclass(frozen=True, kw_only=True, slots=True)
class WarrenCowley:
    """Short-range order of one pair of species."""

    center: str
    """Species of the centers."""
    other: str
    """Species counted among their neighbors."""
    all_atoms: NDArray[np.float64]
    """(n_shells,): every atom is a center, with the neighbors it has."""
    full_shells: NDArray[np.float64]
    """(n_shells,): only centers whose shell is complete; concentration of those same atoms."""
    all_sigma: NDArray[np.float64]
    """(n_shells,): standard error of `all_atoms` for independent bonds."""
    pooled: NDArray[np.float64]
    """(n_shells,): unlike bonds of all atoms against chance, whatever the center; equal for both roles."""
    full_sigma: NDArray[np.float64]
    """(n_shells,): the same of `full_shells`."""
    n_full: NDArray[np.int64]
    """(n_shells,): centers of `full_shells`, of any species."""


def warren_cowley(crystals: tuple[Crystal, ...], atoms: Atoms, *, n_shells: int = N_SHELLS) -> tuple[WarrenCowley, ...]:
    r"""Warren-Cowley parameters of all ordered pairs of species.

    Parameters
    ----------
    crystals : tuple of Crystal
        The crystals; neighbors are counted within each.
    atoms : Atoms
        The model.
    n_shells : int
        Shells, 1 = the twelve nearest neighbors.

    Notes
    -----
    :math:`\alpha = 1 - p / c` with p the fraction of the other species among the neighbors of the centers and c its
    fraction among all atoms of the set; for equal species :math:`(p - c) / (1 - c)` (Cowley, Phys. Rev. 77, 669
    (1950)). Real neighbors by lattice index are counted, never "the nearest twelve". In a finite particle the two
    roles are not symmetric: where the surface is rich in one species, all-atom values of A-B and B-A differ. A standard
    error is that of p by Bayes' rule with a flat prior, so that it is not zero where all bonds are alike.
    """
    numbers = np.unique(atoms.numbers)
    shells = [_count(crystals, atoms, numbers, shell) for shell in range(1, n_shells + 1)]
    symbols = [str(Atoms(numbers=[z]).symbols) for z in numbers]
    found = []
    for i, center in enumerate(symbols):
        for j, other in enumerate(symbols):
            if i == j:
                continue
            every = [_alpha(bonds, counts, i, j) for bonds, counts, _, _ in shells]
            full = [_alpha(bonds, counts, i, j) for _, _, bonds, counts in shells]
            found.append(
                WarrenCowley(
                    center=center,
                    other=other,
                    all_atoms=np.array([a for a, _ in every]),
                    full_shells=np.array([a for a, _ in full]),
                    all_sigma=np.array([s for _, s in every]),
                    full_sigma=np.array([s for _, s in full]),
                    pooled=np.array([_pooled(b, c, i, j) for b, c, _, _ in shells]),
                    n_full=np.array([c.sum() for _, _, _, c in shells], dtype=np.int64),
                )
            )
    return tuple(found)


def _alpha(bonds: NDArray[np.float64], counts: NDArray[np.float64], i: int, j: int) -> tuple[float, float]:
    """Parameter and standard error from bonds (k, k) and atoms (k,) of the species."""
    total, concentration = bonds[i].sum(), counts[j] / max(counts.sum(), 1)
    if total == 0 or concentration == 0:
        return float("nan"), float("nan")
    unlike = bonds[i, j]
    variance = (unlike + 1) * (total - unlike + 1) / (total + 2) ** 2 / (total + 3)
    return float(1.0 - unlike / total / concentration), float(np.sqrt(variance) / concentration)


def _pooled(bonds: NDArray[np.float64], counts: NDArray[np.float64], i: int, j: int) -> float:
    """1 - (i-j bonds) / (2 c_i c_j bonds), whatever the center."""
    total, all_atoms = bonds.sum(), counts.sum()
    if total == 0 or not counts[i] or not counts[j]:
        return float("nan")
    return float(1.0 - (bonds[i, j] + bonds[j, i]) / total / (2.0 * counts[i] * counts[j] / all_atoms**2))


def _count(
    crystals: tuple[Crystal, ...], atoms: Atoms, numbers: NDArray[np.int64], shell: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Bonds (k, k) and atoms (k,) by species: of all centers, then of those with a complete shell."""
    k = len(numbers)
    bonds, full_bonds = np.zeros((k, k)), np.zeros((k, k))
    counts, full_counts = np.zeros(k), np.zeros(k)
    for crystal in crystals:
        species = np.searchsorted(numbers, atoms.numbers[crystal.members])
        around = SiteGrid.of(crystal.site).neighbors(crystal.site, shell)
        present = around >= 0
        complete = present.all(axis=1)
        pair = (species[:, None] * k + species[around])[present]
        bonds += np.bincount(pair, minlength=k * k).reshape(k, k)
        full_bonds += np.bincount((species[:, None] * k + species[around])[complete].ravel(), minlength=k * k).reshape(
            k, k
        )
        counts += np.bincount(species, minlength=k)
        full_counts += np.bincount(species[complete], minlength=k)
    return bonds, counts, full_bonds, full_counts
