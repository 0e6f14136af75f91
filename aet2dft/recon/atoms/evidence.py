"""Which fitted atoms are real: the odds of each against an empty place, by its images, its height and its neighbors.

What is fitted, dropped and added is decided in ``atom_rounds``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aet2dft.recon.atoms.atom_fit import Problem, ridge
from aet2dft.recon.atoms.image_model import GaussianAtoms, normal_blocks
from aet2dft.recon.atoms.model_error import misfit
from aet2dft.recon.atoms.residuals import DISTANCE, neighborhood

Floats = NDArray[np.float64]
Images = NDArray[np.float32]

_STEPS = 20
"""Turns in which heights, places and odds are brought into agreement."""
_LEAST_SPREAD = 0.03
"""Heights of a kind scatter by this fraction of their mean at least, besides their errors."""
_GRID = 0.25
"""Distance of the points at which empty space is measured, as a fraction of the reach of a neighborhood."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Places:
    """Places by their number of neighbors: those that the atoms take, and the empty ones."""

    neighbors: NDArray[np.intp]
    """(N,): other atoms around each atom."""
    empty: Floats
    """(m,), pixels³: volume where one more atom would have that many neighbors, none of them too near."""
    room: float
    """Pixels³: that of one atom in the closest packing."""

    @classmethod
    def of(cls, positions: Floats, min_distance: float) -> Places:
        """Those in and around atoms (N, 3), of which none comes nearer to others than about `min_distance`; pixels."""
        from scipy.spatial import cKDTree

        tree, (nearest, reach) = cKDTree(positions), neighborhood(positions, min_distance)
        neighbors = tree.query_ball_point(positions, reach, return_length=True) - 1
        step = _GRID * reach
        low, high = positions.min(axis=0) - reach, positions.max(axis=0) + reach
        axes = [np.arange(start, end, step) for start, end in zip(low, high, strict=True)]
        points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
        away = tree.query(points, distance_upper_bound=reach)[0]
        near = points[(away >= DISTANCE * min_distance) & (away < reach)]
        counts = np.bincount(tree.query_ball_point(near, reach, return_length=True), minlength=int(neighbors.max()) + 1)
        counts[0] += np.count_nonzero(~np.isfinite(away))
        return cls(
            neighbors=neighbors,
            empty=np.asarray(counts * step**3, dtype=np.float64),
            room=float(nearest**3 / np.sqrt(2.0)),
        )

    def log_densities(self, real: Floats) -> Floats:
        """Logarithm (N,) of atoms, of which each is real with a probability (N,), per empty volume of such places.

        Half an atom in half the room of one is added to both, for places of which hardly any are known.
        """
        atoms = np.bincount(self.neighbors, real, minlength=len(self.empty))
        return np.asarray(np.log((atoms + 0.5) / (self.empty + 0.5 * self.room))[self.neighbors])


@dataclass(frozen=True, kw_only=True, slots=True)
class Heights:
    """How the heights of real atoms are distributed: one Gaussian for every kind."""

    means: Floats
    """(k,)."""
    variances: Floats
    """(k,): without what the errors of the heights add."""
    weights: Floats
    """(k,): fractions of all atoms."""

    @classmethod
    def of(cls, heights: Floats, errors: Floats, shares: Floats) -> Heights:
        """Of atoms with heights (N,), their variances of error (N,), and how much each counts for every kind (N, k)."""
        total = shares.sum(axis=0) + np.finfo(float).tiny
        means = (shares * heights[:, None]).sum(axis=0) / total
        own = (shares * ((heights[:, None] - means) ** 2 - errors[:, None])).sum(axis=0) / total
        return cls(means=means, variances=np.maximum(own, (_LEAST_SPREAD * means) ** 2), weights=total / total.sum())

    def log_densities(self, heights: Floats, errors: Floats) -> Floats:
        """Logarithm (N, k) of the density of each kind, its weight included, at heights (N,) with these errors (N,)."""
        variances = self.variances + errors[:, None]
        deviations = (heights[:, None] - self.means) ** 2 / variances
        return np.asarray(np.log(self.weights) - 0.5 * (np.log(2.0 * np.pi * variances) + deviations))


def log_odds(problem: Problem, atoms: GaussianAtoms, residual: Images, *, costs: Floats, min_distance: float) -> Floats:
    r"""Logarithm (N,) of the probability that an atom is real over the probability that its place is empty.

    Parameters
    ----------
    problem : Problem
        What was fitted.
    atoms : GaussianAtoms
        The atoms, each at its best height.
    residual : ndarray, shape (n, nx, ny)
        Target minus a model; how much of it is no noise.
    costs : ndarray, shape (N,)
        What an atom costs besides, in units of half chi-square.
    min_distance : float
        Pixels: least distance of two atoms.

    Notes
    -----
    By Bayes' theorem, in the approximation of Laplace,

    .. math::
        \ln \frac{p}{1 - p} = \tfrac12 I_{hh} h^2 - c + \ln \frac{(2 \pi)^2}{\sqrt{\det I}}
        + \ln \sum_k w_k N(h; \mu_k, s_k^2 + \sigma_h^2) + \ln \varrho_n .

    The first term is the rise of half chi-square without the atom, at height h; the third the volume of positions and
    heights that explain the images as well, which is the price of a search everywhere; the fourth the density of such
    a height among real atoms; the last the number of real atoms with n neighbors over the empty volume where an atom
    would have n of them. I is the 4 x 4 information of the atom, with the neighbors at rest, over the factors of
    `misfit`. Heights and densities are those of the atoms themselves, each counted with its p, which is found by
    repetition (empirical Bayes: B. Efron, Large-Scale Inference, Cambridge (2010)).
    """
    from scipy.special import expit, logsumexp

    known = information(problem, atoms, residual)
    errors = np.asarray(np.linalg.inv(known)[:, 3, 3], dtype=np.float64)
    by_images = 0.5 * known[:, 3, 3] * atoms.heights**2 - costs
    by_images += 2.0 * np.log(2.0 * np.pi) - 0.5 * np.linalg.slogdet(known)[1]
    places = Places.of(atoms.positions, min_distance)
    real, shares = np.ones(len(errors)), np.eye(len(atoms.widths))[atoms.kinds]
    for _ in range(_STEPS):
        heights = Heights.of(atoms.heights, errors, real[:, None] * shares)
        by_kind = heights.log_densities(atoms.heights, errors)
        by_height = logsumexp(by_kind, axis=1)
        odds = np.where(atoms.heights > 0, by_images + by_height + places.log_densities(real), -np.inf)
        real, shares = expit(odds), np.exp(by_kind - by_height[:, None])
    return np.asarray(odds)


def information(problem: Problem, atoms: GaussianAtoms, residual: Images) -> Floats:
    """Information (N, 4, 4) of each atom if all others stay, over what the residuals show beyond the noise."""
    blocks = normal_blocks(problem.geometry, atoms, problem.weights)
    scale = 1.0 / np.sqrt(misfit(problem, atoms, residual))[atoms.kinds]
    blocks *= scale[:, :, None] * scale[:, None, :]
    return np.asarray(blocks + ridge(blocks, 0.0)[:, :, None] * np.eye(4))
