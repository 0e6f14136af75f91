"""The atoms of one lattice with their sites, neighbors and species: what the analysis of chemical order works on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols
from numpy.typing import NDArray
from scipy.ndimage import label
from scipy.spatial import cKDTree

from aet2dft.structure.lattice import LatticeFit
from aet2dft.structure.neighbors import SiteGrid, shell_vectors
from aet2dft.structure.variants import sublattice

# two half cells of equal parity touch along an edge of the cube of half cells
_TWELVE = np.zeros((3, 3, 3), dtype=bool)
_TWELVE[tuple((shell_vectors(1) + 1).T)] = True
_TWELVE[1, 1, 1] = True


@dataclass(frozen=True, kw_only=True, slots=True)
class Crystal:
    """Atoms of one lattice; "local" indices count these atoms only."""

    fit: LatticeFit
    """The lattice."""
    members: NDArray[np.intp]
    """(n,): indices of the atoms in the model."""
    site: NDArray[np.int32]
    """(n, 3): half-cell indices."""
    positions: NDArray[np.float64]
    """(n, 3), Å: measured positions."""
    neighbors: NDArray[np.int32]
    """(n, 12): local indices of the nearest neighbors, -1 where a site is empty."""
    sublattice: NDArray[np.int8]
    """(n,): 0 to 3."""
    is_first: NDArray[np.bool_]
    """(n,): whether the atom is of the first species."""
    vacuum: NDArray[np.float64]
    """(m, 3), Å: empty sites outside the particle that touch one of its atoms."""
    foreign: NDArray[np.float64]
    """(k, 3), Å: positions of the atoms of other lattices."""

    @property
    def nearest_neighbor(self) -> float:
        """Nearest-neighbor distance of the cubic lattice, Å."""
        return float(self.fit.cubic_a / np.sqrt(2.0))

    @property
    def is_skin(self) -> NDArray[np.bool_]:
        """Whether an atom (n,) has fewer than twelve neighbors."""
        return np.asarray((self.neighbors < 0).any(axis=1))


def species_pair(atoms: Atoms) -> tuple[str, str] | None:
    """The two species, lighter first; None unless there are two and all atoms have one."""
    numbers = np.unique(atoms.numbers)
    known = len(numbers) == 2 and numbers[0] > 0
    return (chemical_symbols[numbers[0]], chemical_symbols[numbers[1]]) if known else None


def crystals(atoms: Atoms, fits: tuple[LatticeFit, ...]) -> tuple[Crystal, ...]:
    """One `Crystal` per lattice of indexed atoms."""
    first = atoms.numbers == np.unique(atoms.numbers)[0]
    tree, lattice = cKDTree(atoms.positions), atoms.arrays["lattice"]
    found = []
    for fit in fits:
        members = np.flatnonzero(lattice == fit.lattice)
        site = np.ascontiguousarray(atoms.arrays["site"][members])
        grid = SiteGrid.of(site)
        found.append(
            Crystal(
                fit=fit,
                members=members,
                site=site,
                positions=atoms.positions[members],
                neighbors=grid.neighbors(site),
                sublattice=sublattice(site),
                is_first=first[members],
                vacuum=_vacuum(grid, fit, tree),
                foreign=atoms.positions[(lattice > 0) & (lattice != fit.lattice)],
            )
        )
    return tuple(found)


def _vacuum(grid: SiteGrid, fit: LatticeFit, atoms: cKDTree) -> NDArray[np.float64]:
    """Positions (m, 3) of empty sites that touch an atom and are connected with the outside, unlike vacancies."""
    empty = grid.sites() & (grid.atom_at < 0)
    domains, _ = label(empty, structure=_TWELVE)
    outside = np.unique(domains[0, 0, :])
    touching = _touches(grid.atom_at >= 0) & np.isin(domains, outside[outside > 0])
    sites = np.argwhere(touching) + grid.lowest
    places = fit.positions(sites)
    # a site of this lattice inside another crystal, or beside an atom without a site, is not free
    distance, _ = atoms.query(places, k=1)
    return np.asarray(places[distance > 0.5 * fit.nearest_neighbor])


def _touches(occupied: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Grid elements with an occupied site among their twelve neighbors; the margin keeps the rolls from wrapping."""
    near = np.zeros_like(occupied)
    for vector in shell_vectors(1):
        near |= np.roll(occupied, tuple(vector), axis=(0, 1, 2))
    return near
