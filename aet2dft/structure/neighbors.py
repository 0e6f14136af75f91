"""Neighbors by lattice index: a grid of half cells that says which atom sits on which site."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

MARGIN = 8
"""Half cells of empty grid around the atoms: every shell and window up to this reach stays inside."""


@cache
def shell_vectors(shell: int) -> NDArray[np.int32]:
    """Half-cell vectors (n, 3) of an fcc neighbor shell, 1 = the twelve nearest."""
    reach = np.arange(-8, 9)
    grid = np.stack(np.meshgrid(reach, reach, reach, indexing="ij"), axis=-1).reshape(-1, 3)
    grid = grid[grid.sum(axis=1) % 2 == 0]
    squared = (grid**2).sum(axis=1)
    vectors: NDArray[np.int32] = grid[squared == np.unique(squared)[shell]].astype(np.int32)
    vectors.setflags(write=False)
    return vectors


@dataclass(frozen=True, kw_only=True, slots=True)
class SiteGrid:
    """Which atom sits on which fcc site, for one lattice."""

    atom_at: NDArray[np.int32]
    """(nx, ny, nz): index of the atom on the site, -1 = empty or not an fcc site."""
    lowest: NDArray[np.int32]
    """(3,): half-cell index of grid element (0, 0, 0)."""

    @classmethod
    def of(cls, site: NDArray[np.int32], members: NDArray[np.intp] | None = None, *, margin: int = MARGIN) -> SiteGrid:
        """Grid of the atoms `members` (default: all) with half-cell indices `site` (N, 3)."""
        members = np.arange(len(site)) if members is None else members
        own = site[members]
        lowest = (own.min(axis=0) - margin).astype(np.int32)
        atom_at = np.full(own.max(axis=0) - lowest + margin + 1, -1, dtype=np.int32)
        atom_at[tuple((own - lowest).T)] = members
        return cls(atom_at=atom_at, lowest=lowest)

    def holds(self, site: NDArray[np.int32], *, margin: int) -> bool:
        """Whether sites (n, 3) lie inside by at least `margin` half cells."""
        highest = self.lowest + self.atom_at.shape - 1
        return bool((site.min(axis=0) - margin >= self.lowest).all() and (site.max(axis=0) + margin <= highest).all())

    def index(self, site: NDArray[np.integer]) -> tuple[NDArray[np.intp], ...]:
        """Grid indices of half-cell indices (..., 3)."""
        return tuple(np.moveaxis(np.asarray(site, dtype=np.intp) - self.lowest, -1, 0))

    def atoms(self, site: NDArray[np.integer]) -> NDArray[np.int32]:
        """Atoms (...) on sites (..., 3), -1 where empty; sites must lie within the margin."""
        return np.asarray(self.atom_at[self.index(site)])

    def neighbors(self, site: NDArray[np.int32], shell: int = 1) -> NDArray[np.int32]:
        """Atoms (N, n) of a neighbor shell of sites (N, 3), -1 where a site is empty."""
        strides = np.array(self.atom_at.strides) // self.atom_at.itemsize
        flat = (np.asarray(site, dtype=np.intp) - self.lowest) @ strides
        return np.asarray(self.atom_at.ravel()[flat[:, None] + shell_vectors(shell) @ strides])

    def empty_around(self, site: NDArray[np.int32]) -> NDArray[np.int32]:
        """Empty sites (m, 3) next to the given ones (n, 3), each once."""
        near = (site[:, None] + shell_vectors(1)[None]).reshape(-1, 3) - self.lowest
        flat = np.unique(np.ravel_multi_index(tuple(near.T), self.atom_at.shape))
        flat = flat[self.atom_at.ravel()[flat] < 0]
        return np.stack(np.unravel_index(flat, self.atom_at.shape), axis=-1).astype(np.int32) + self.lowest

    def sites(self) -> NDArray[np.bool_]:
        """(nx, ny, nz): which grid elements are fcc sites (indices of even sum)."""
        parity = sum(
            np.ix_(*[(np.arange(n) + low) & 1 for n, low in zip(self.atom_at.shape, self.lowest, strict=True)])
        )
        return np.asarray(parity % 2 == 0)
