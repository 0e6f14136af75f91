"""How near the atoms of a particle come to each other, and what keeps fitted ones from coming nearer; in pixels."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aet2dft.recon.atoms.image_model import GaussianAtoms
from aet2dft.recon.atoms.residuals import SHELL

Floats = NDArray[np.float64]

TAIL = 0.01
"""Fraction of the neighbors of the best known pair of kinds that are nearer than its contact."""
_DEVIATIONS = 2.326
"""Standard deviations by which a normal number lies below its median with this probability."""
_NEVER = 5.0
"""Standard deviations below the median of neighbors at which no two atoms are, errors of their places included."""
_SHARPEST = 0.93
"""Of the median at most: atoms that start on an ideal lattice do not say that bonds never scatter."""
_FEWEST = 200
"""Neighbors of two kinds below which nothing is learned from them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Contacts:
    """Distances below which hardly any neighbors are, by their kinds."""

    distances: Floats
    """(k, k), pixels: nearer pairs are pushed apart; 0 where too few are known."""
    widths: Floats
    """(k, k), pixels: by how much nearer a pair is at a depth of one standard deviation."""

    @classmethod
    def none(cls, n_kinds: int) -> Contacts:
        """Atoms come as near to each other as they like."""
        return cls(distances=np.zeros((n_kinds, n_kinds)), widths=np.ones((n_kinds, n_kinds)))

    @classmethod
    def of(cls, atoms: GaussianAtoms) -> Contacts:
        r"""Those that the distances of the atoms themselves show.

        Notes
        -----
        The errors of a fit widen the distribution of the distances of neighbors, and hardly move its median
        :math:`d_{ab}` for kinds a and b. The distribution that is sharpest relative to its median is therefore nearest
        to the truth. Its lowest hundredth ends at a fraction q; each contact is :math:`q d_{ab}`, and its width that
        of a normal distribution with this median and this lowest hundredth. Where all atoms are badly known, q is
        small and hardly anything is pushed; on an ideal lattice it would be 1 and hold all in their places: it is
        0.93 at most.
        """
        kinds, distances = _neighbors(atoms)
        n_kinds = len(atoms.widths)
        medians, fraction = np.zeros((n_kinds, n_kinds)), 0.0
        for a, b in itertools.combinations_with_replacement(range(n_kinds), 2):
            of_these = distances[(kinds == (a, b)).all(axis=1)]
            if len(of_these) >= _FEWEST:
                medians[a, b] = medians[b, a] = np.median(of_these)
                fraction = max(fraction, float(np.quantile(of_these, TAIL) / medians[a, b]))
        fraction = min(fraction, _SHARPEST)
        widths = np.where(medians > 0, (1.0 - fraction) / _DEVIATIONS * medians, 1.0)
        return cls(distances=fraction * medians, widths=widths)

    def by_name(self, names: list[str], pixel_size: float) -> dict[str, float]:
        """Distances in Å by names of the kinds, as Fe-Pt; of pairs of kinds of which enough are known."""
        pairs = itertools.combinations_with_replacement(range(len(names)), 2)
        known = ((a, b) for a, b in pairs if self.distances[a, b] > 0)
        return {f"{names[a]}-{names[b]}": float(self.distances[a, b]) * pixel_size for a, b in known}

    def pairs(self, atoms: GaussianAtoms) -> ClosePairs:
        """The pairs of these atoms that are nearer than their contact."""
        from scipy.spatial import cKDTree

        pairs = cKDTree(atoms.positions).query_pairs(float(self.distances.max()), output_type="ndarray")
        apart = atoms.positions[pairs[:, 0]] - atoms.positions[pairs[:, 1]]
        lengths = np.linalg.norm(apart, axis=1)
        first, second = atoms.kinds[pairs].T
        depths = (self.distances[first, second] - lengths) / self.widths[first, second]
        # two atoms at one place have no direction
        close = (depths > 0) & (lengths > 0)
        scales = (lengths * self.widths[first, second])[close, None]
        return ClosePairs(
            pairs=pairs[close], slopes=apart[close] / scales, depths=depths[close], n_atoms=len(atoms.heights)
        )

    def false(self, atoms: GaussianAtoms, covariances: Floats) -> NDArray[np.bool_]:
        """Which atoms (N,) are nearer to a higher one than two ever are, for covariances (N, 3, 3) of their places."""
        close = self.pairs(atoms)
        both = covariances[close.pairs].sum(axis=1)
        spread = np.sqrt(1.0 + np.einsum("mi,mij,mj->m", close.slopes, both, close.slopes))
        never = close.pairs[close.depths + _DEVIATIONS > _NEVER * spread]
        by_height = np.lexsort((np.arange(close.n_atoms), -atoms.heights))
        rank = np.empty_like(by_height)
        rank[by_height] = np.arange(close.n_atoms)
        gone = np.zeros(close.n_atoms, dtype=np.bool_)
        pairs = np.sort(rank[never], axis=1)
        # from the highest down: what is gone itself takes no other with it
        for higher, lower in by_height[pairs[np.argsort(pairs[:, 1], kind="stable")]]:
            gone[lower] |= not gone[higher]
        return gone


@dataclass(frozen=True, kw_only=True, slots=True)
class ClosePairs:
    """Pairs within their contact, as terms of a least-squares problem."""

    pairs: NDArray[np.intp]
    """(m, 2): numbers of the atoms."""
    slopes: Floats
    """(m, 3), 1/pixel: by how much the depth falls with the first atom, and rises with the second."""
    depths: Floats
    """(m,): by how much they are too near, in standard deviations."""
    n_atoms: int
    """Atoms in all."""

    @property
    def cost(self) -> float:
        """Half the sum of the squares of the depths."""
        return 0.5 * float((self.depths**2).sum())

    def costs(self, heights: Floats) -> Floats:
        """Cost (N,) of the pairs in which each atom is the lower one: what would not be there without it."""
        first, second = self.pairs.T
        lower = np.where(heights[first] < heights[second], first, second)
        return np.bincount(lower, 0.5 * self.depths**2, minlength=self.n_atoms).astype(np.float64)

    def forces(self) -> Floats:
        """Negative gradient (N, 3) of the cost."""
        return self._on_atoms(self.depths[:, None] * self.slopes, -1.0)

    def blocks(self) -> Floats:
        """Diagonal blocks (N, 3, 3) of the curvature of the cost, the depths taken as linear."""
        return self._on_atoms(self.slopes[:, :, None] * self.slopes[:, None, :], 1.0)

    def curved(self, step: Floats) -> Floats:
        """Product (N, 3) of the curvature with a step (N, 3)."""
        falls = ((step[self.pairs[:, 0]] - step[self.pairs[:, 1]]) * self.slopes).sum(axis=1)
        return self._on_atoms(falls[:, None] * self.slopes, -1.0)

    def _on_atoms(self, values: Floats, sign: float) -> Floats:
        """Sums (N, ...) of values (m, ...) on the first atoms of the pairs, and of `sign` times them on the second."""
        total = np.zeros((self.n_atoms, *values.shape[1:]))
        np.add.at(total, self.pairs[:, 0], values)
        np.add.at(total, self.pairs[:, 1], sign * values)
        return total


def _neighbors(atoms: GaussianAtoms) -> tuple[NDArray[np.intp], Floats]:
    """Kinds (m, 2), the lower number first, and distances (m,), pixels, of neighbors."""
    from scipy.spatial import cKDTree

    tree = cKDTree(atoms.positions)
    # the nearest of an atom alone is infinitely far
    nearest = float(np.median(tree.query(atoms.positions, k=2)[0][:, 1]))
    pairs = tree.query_pairs(SHELL * nearest, output_type="ndarray")
    first, second = pairs.T
    lengths = np.linalg.norm(atoms.positions[first] - atoms.positions[second], axis=1)
    return np.sort(atoms.kinds[pairs], axis=1), lengths
