"""Standard errors of atoms that were fitted to images; in pixels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from aet2dft.recon.atoms.atom_fit import Problem, newton_step, ridge
from aet2dft.recon.atoms.image_model import GaussianAtoms, normal_blocks

Floats = NDArray[np.float64]
Images = NDArray[np.float32]

_UNDAMPED = 1e-3
"""The same for standard errors: the steps of a fit together are hardly damped."""
_PROBED, _MOST_PROBES = 2000, 50
"""Atoms, repeats of the noise included, over which the enlargement of the standard errors is averaged; repeats."""


def standard_errors(problem: Problem, atoms: GaussianAtoms, variance: Images, *, products: int, seed: int) -> Floats:
    """Standard errors (N, 4) of positions, pixels, and heights.

    Parameters
    ----------
    problem : Problem
        What was fitted.
    atoms : GaussianAtoms
        The result.
    variance : ndarray, shape (n, nx, ny)
        Variance of `problem.target`.
    products : int
        Products with the normal matrix that the fit of the noise may take.
    seed : int
        Of the noise.

    Notes
    -----
    The inverse of the block of one atom in J^T W J leaves out that neighbors move along. Noise of the right variance
    is therefore fitted like data, to first order, and the blocks of every kind are enlarged by the factor, one for
    each of the four numbers, by which it moves the atoms more than they say. Heights enter as `expected_heights`: an
    atom that noise made brighter is not the better known for it.
    """
    atoms = replace(atoms, heights=expected_heights(problem, atoms))
    alone = _alone_errors(problem, atoms) ** 2
    rng = np.random.default_rng(seed)
    n_probes = probes(len(alone))
    total = np.zeros_like(alone)
    for _ in range(n_probes):
        noise = np.sqrt(variance) * rng.standard_normal(variance.shape, dtype=np.float32)
        total += newton_step(problem, atoms, noise, products, damping=_UNDAMPED) ** 2 / alone
    for kind in np.unique(atoms.kinds):
        members = atoms.kinds == kind
        alone[members] *= total[members].mean(axis=0) / n_probes
    return np.asarray(np.sqrt(alone))


def probes(n_atoms: int) -> int:
    """How often noise is fitted for the standard errors of so many atoms."""
    return int(np.clip(np.ceil(_PROBED / max(n_atoms, 1)), 1, _MOST_PROBES))


def expected_heights(problem: Problem, atoms: GaussianAtoms) -> Floats:
    """Heights (N,) without what the noise adds, as far as the heights of a kind tell.

    Parameters
    ----------
    problem : Problem
        What was fitted.
    atoms : GaussianAtoms
        The result.

    Notes
    -----
    Heights of a kind scatter by its own spread and by their errors; each is moved towards the mean by the part of the
    errors (C. Stein; B. Efron and C. Morris, J. Am. Stat. Assoc. 70, 311 (1975)).
    """
    heights = atoms.heights.copy()
    errors = _alone_errors(problem, atoms)[:, 3] ** 2
    for kind in np.unique(atoms.kinds):
        members = atoms.kinds == kind
        own = max(0.0, float(np.var(heights[members]) - errors[members].mean()))
        mean = float(heights[members].mean())
        heights[members] = mean + (heights[members] - mean) * own / (own + errors[members])
    return heights


def _alone_errors(problem: Problem, atoms: GaussianAtoms) -> Floats:
    """Standard errors (N, 4) of every atom if all others stay."""
    blocks = normal_blocks(problem.geometry, atoms, problem.weights)
    inverse = np.linalg.inv(blocks + ridge(blocks, _UNDAMPED)[:, :, None] * np.eye(4))
    return np.asarray(np.sqrt(np.diagonal(inverse, axis1=1, axis2=2)))
