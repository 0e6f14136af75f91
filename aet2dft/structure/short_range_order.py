"""Warren-Cowley short-range order of a finite particle, by neighbor shells of the lattice."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations

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
    """(n_shells,): every atom is a center, with the neighbors it has; equal for both orders of the pair."""
    full_shells: NDArray[np.float64]
    """(n_shells,): only centers whose shell is complete."""
    all_sigma: NDArray[np.float64]
    """(n_shells,): standard deviation of `all_atoms` in random alloys."""
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
    :math:`\alpha = 1 - p / c` with p the fraction of the other species among the neighbors of the centers of one
    species and c its fraction among the neighbors of the centers of any species (Cowley, Phys. Rev. 77, 669 (1950)).
    Taken among all atoms instead, c is that of other places than the neighbors, and a surface rich in one species
    looks like short-range order of the core. Real neighbors by lattice index are counted, never "the nearest twelve".

    In a random alloy, N bonds from centers of composition a have a variance of
    :math:`[(1 - a)(1 - c) / (a c) + m] / N`, with m the part of the bonds that are counted from both ends; bonds that
    share an atom are uncorrelated there. Where all centers or all neighbors are of one species, there is no parameter.
    """
    numbers = np.unique(atoms.numbers)
    shells = [_shell(crystals, atoms, numbers, shell) for shell in range(1, n_shells + 1)]
    every, full = (np.array([_alpha(bonds[k], mutual[k]) for bonds, mutual, _ in shells]) for k in (0, 1))
    symbols = [str(Atoms(numbers=[z]).symbols) for z in numbers]
    return tuple(
        WarrenCowley(
            center=symbols[i],
            other=symbols[j],
            all_atoms=every[:, 0, i, j],
            full_shells=full[:, 0, i, j],
            all_sigma=every[:, 1, i, j],
            full_sigma=full[:, 1, i, j],
            n_full=np.array([n for _, _, n in shells], dtype=np.int64),
        )
        for i, j in permutations(range(len(symbols)), 2)
    )


def _alpha(bonds: NDArray[np.float64], mutual: float) -> NDArray[np.float64]:
    """Parameters and their standard deviations by chance (2, k, k) from bonds (k, k), `mutual` counted twice."""
    total = max(bonds.sum(), 1.0)
    center, other = bonds.sum(axis=1) / total, bonds.sum(axis=0) / total
    scatter = np.outer(center * (1.0 - center), other * (1.0 - other))
    chance = np.where(scatter > 0.0, np.outer(center, other), np.nan)
    variance = (scatter / chance**2 + mutual / total) / total
    return np.array([1.0 - bonds / total / chance, np.sqrt(variance)])


def _shell(
    crystals: tuple[Crystal, ...], atoms: Atoms, numbers: NDArray[np.int64], shell: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], int]:
    """Bonds (2, k, k) by species and how many count from both ends (2,), of all centers and of complete ones; these."""
    k = len(numbers)
    bonds, mutual, n_full = np.zeros((2, k, k)), np.zeros(2), 0
    for crystal in crystals:
        species = np.searchsorted(numbers, atoms.numbers[crystal.members])
        around = SiteGrid.of(crystal.site).neighbors(crystal.site, shell)
        pair = species[:, None] * k + species[around]
        complete = (around >= 0).all(axis=1)
        for row, centers in enumerate((np.ones_like(complete), complete)):
            counted = (around >= 0) & centers[:, None]
            bonds[row] += np.bincount(pair[counted], minlength=k * k).reshape(k, k)
            mutual[row] += centers[around[counted]].sum()
        n_full += int(complete.sum())
    return bonds, mutual, n_full
