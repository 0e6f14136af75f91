"""Least squares between a tilt series and the images of Gaussian atoms: the problem, and its steps; in pixels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from aet2dft.recon.atoms.contacts import ClosePairs
from aet2dft.recon.atoms.image_model import GaussianAtoms, ImageGeometry, adjoint, derivative, growth, normal_blocks
from aet2dft.recon.atoms.image_noise import Calibration

Floats = NDArray[np.float64]
Images = NDArray[np.float32]

LONGEST_STEP = 0.5
"""Pixels; no atom moves farther in one step."""
DAMPING = 0.02
"""Levenberg damping: fraction of the diagonal that is added to the normal matrix."""
NOISE_FLOOR = 0.03
"""No pixel has less variance than one with this fraction of the brightest signal: empty ones would dominate."""
_OUTSHINES = 3.0
"""An image brighter than so many typical ones, in other units, does not count there: it would take all weights."""
WIDEST_CHANGE = 1.15
"""Largest factor by which a width changes in one step."""
_WIDEST_KIND = 1.6
"""Largest factor between widths of kinds: few faint atoms would grow wide to show what many missing ones leave."""
_SHARPENING = 1.5
"""How much noise sharpens an atom that is fitted to it: rise of the logarithm of the likelihood per narrower width."""
_SOLVED = 1e-3
"""Conjugate gradients end where what is left is this fraction of what was there at first."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """Weighted least squares of the atoms alone: scale, background and noise are known."""

    geometry: ImageGeometry
    """Where atoms land."""
    target: Images
    """(n, nx, ny): what the images of the atoms should be."""
    weights: Images
    """(n, nx, ny): inverse variance of `target`."""

    @classmethod
    def of(cls, geometry: ImageGeometry, measured: Images, model: Images, calibration: Calibration) -> Problem:
        """The problem next to a model (n, nx, ny) of measured images (n, nx, ny)."""
        scale, background = calibration.scale[:, None, None], calibration.background[:, None, None]
        variance = calibration.variance(model)
        brightest = calibration.signal(model).max(axis=(1, 2))
        floor = NOISE_FLOOR * calibration.gain * float(min(brightest.max(), _OUTSHINES * np.median(brightest)))
        return cls(
            geometry=geometry,
            target=np.asarray((measured - background) / scale, dtype=np.float32),
            weights=np.asarray(scale**2 / np.maximum(variance, floor), dtype=np.float32),
        )

    def cost(self, model: Images) -> float:
        """Half the weighted sum of squares of the residuals of a model (n, nx, ny)."""
        return 0.5 * float((self.weights * (self.target - model) ** 2).sum(dtype=np.float64))


def newton_step(
    problem: Problem,
    atoms: GaussianAtoms,
    residual: Images,
    products: int,
    *,
    damping: float = DAMPING,
    close: ClosePairs | None = None,
) -> Floats:
    """Gauss-Newton step (N, 4) of positions and heights: `products` conjugate gradients with the residual images.

    Parameters
    ----------
    problem : Problem
        What is fitted.
    atoms : GaussianAtoms
        Where the model is taken linear.
    residual : ndarray, shape (n, nx, ny)
        Target minus model, or noise of which the effect is wanted.
    products : int
        Products with the normal matrix.
    damping : float
        Of Levenberg: fraction of the diagonal that is added to the normal matrix.
    close : ClosePairs, optional
        Pairs of these atoms that are pushed apart besides.

    Notes
    -----
    Preconditioned by the 4 x 4 block of each atom. Sums are NumPy's own, not BLAS: the same bytes on any number of
    threads.
    """
    blocks = normal_blocks(problem.geometry, atoms, problem.weights)
    diagonal = ridge(blocks, damping)
    right = adjoint(problem.geometry, atoms, problem.weights * residual)
    if close is not None:
        blocks[:, :3, :3] += close.blocks()
        right[:, :3] += close.forces()
    inverse = np.asarray(np.linalg.inv(blocks + diagonal[:, :, None] * np.eye(4)), dtype=np.float64)

    def product(step: Floats) -> Floats:
        seen = derivative(problem.geometry, atoms, step)
        total = adjoint(problem.geometry, atoms, problem.weights * seen) + diagonal * step
        if close is not None:
            total[:, :3] += close.curved(step[:, :3])
        return total

    return _conjugate_gradients(product, right, inverse, products)


def moved(atoms: GaussianAtoms, step: Floats) -> GaussianAtoms:
    """The atoms after a step (N, 4), of which no atom goes farther than `LONGEST_STEP`."""
    length = np.linalg.norm(step[:, :3], axis=1)
    shorter = np.minimum(1.0, LONGEST_STEP / np.maximum(length, LONGEST_STEP))
    return replace(
        atoms, positions=atoms.positions + shorter[:, None] * step[:, :3], heights=atoms.heights + step[:, 3]
    )


def fitted_widths(problem: Problem, atoms: GaussianAtoms, model: Images) -> GaussianAtoms:
    """The atoms with the width of every kind, and the mean height with it, moved one Gauss-Newton step, all together.

    Width and height are coupled: one without the other would creep. False atoms, which are the low ones of the faintest
    kind, are wide; they are left out.

    Parameters
    ----------
    problem : Problem
        What is fitted.
    atoms : GaussianAtoms
        The atoms.
    model : ndarray, shape (n, nx, ny)
        Their images.

    Notes
    -----
    Atoms that may move and grow follow the noise, which makes the best common width too small, however many atoms
    there are (J. Neyman and E. Scott, Econometrica 16, 1 (1948)). The likelihood of the width is therefore that of
    D. Cox and N. Reid, J. R. Stat. Soc. B 49, 1 (1987): less half the logarithm of the determinant of the curvature in
    position and height. Where an atom was fitted, that falls as one over the width along each of three axes, and in
    height, at constant height over width, not at all, so that every atom adds 3/2 to the slope in log width.
    """
    known = atoms.typical
    by_kind = [known & (atoms.kinds == kind) for kind in range(len(atoms.widths))]
    slopes = [slope for kind in by_kind for slope in growth(problem.geometry, atoms.of_atoms(kind))]
    weighted, others = (problem.weights * slope for slope in slopes), [*slopes, problem.target - model]
    sums = np.array([[(a * b).sum(dtype=np.float64) for b in others] for a in weighted])
    matrix, right = sums[:, :-1], sums[:, -1]
    right[::2] += _SHARPENING * np.bincount(atoms.kinds[known], minlength=len(atoms.widths))
    matrix += np.diag(1e-6 * np.diagonal(matrix) + np.finfo(float).tiny)
    factors = np.clip(1.0 + np.linalg.solve(matrix, right), 1.0 / WIDEST_CHANGE, WIDEST_CHANGE)
    widths = atoms.widths * factors[::2]
    best_seen = widths[np.bincount(atoms.kinds, atoms.heights**2, minlength=len(widths)).argmax()]
    widths = np.clip(widths, best_seen / _WIDEST_KIND, best_seen * _WIDEST_KIND)
    return replace(atoms, widths=widths, heights=atoms.heights * np.where(known, factors[1::2][atoms.kinds], 1.0))


def alone(problem: Problem, atoms: GaussianAtoms, residual: Images) -> tuple[Floats, Floats, NDArray[np.intp]]:
    """Best height of each atom if all others stay (N,), how much it lowers the cost, and in how many images (N,).

    Parameters
    ----------
    problem : Problem
        What is fitted.
    atoms : GaussianAtoms
        Atoms in question; their heights do not enter.
    residual : ndarray, shape (n, nx, ny)
        Target minus a model without these atoms.
    """
    slopes, curvatures = np.zeros((2, len(problem.target), len(atoms.heights)))
    for k in range(len(slopes)):
        one = problem.geometry.of_images(np.array([k]))
        weights = problem.weights[k : k + 1]
        slopes[k] = adjoint(one, atoms, weights * residual[k : k + 1])[:, 3]
        curvatures[k] = normal_blocks(one, atoms, weights)[:, 3, 3]
    total = np.maximum(curvatures.sum(axis=0), np.finfo(float).tiny)
    heights = slopes.sum(axis=0) / total
    gains = heights * slopes - 0.5 * heights**2 * curvatures
    return heights, gains.sum(axis=0), np.count_nonzero(gains > 0, axis=0)


def ridge(blocks: Floats, fraction: float) -> Floats:
    """What is added to the diagonals of blocks; never nothing, though an atom be outside all images.

    Parameters
    ----------
    blocks : ndarray, shape (N, 4, 4)
        Of the normal matrix.
    fraction : float
        Of the diagonal.

    Returns
    -------
    ndarray, shape (N, 4)
        One number for each of the four of an atom.
    """
    diagonal = np.diagonal(blocks, axis1=1, axis2=2)
    return np.asarray(fraction * diagonal + 1e-6 * diagonal.max(axis=0) + np.finfo(float).tiny)


def _conjugate_gradients(product: Callable[[Floats], Floats], right: Floats, inverse: Floats, n_steps: int) -> Floats:
    solution, residual = np.zeros_like(right), right
    direction = preconditioned = np.einsum("nij,nj->ni", inverse, residual)
    energy = (residual * preconditioned).sum()
    enough = _SOLVED**2 * energy
    for _ in range(n_steps):
        if energy <= enough:
            break
        image = product(direction)
        length = energy / (direction * image).sum()
        solution = solution + length * direction
        residual = residual - length * image
        preconditioned = np.einsum("nij,nj->ni", inverse, residual)
        previous, energy = energy, (residual * preconditioned).sum()
        direction = preconditioned + (energy / previous) * direction
    return solution
