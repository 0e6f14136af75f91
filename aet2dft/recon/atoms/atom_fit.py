"""Least squares between a tilt series and the images of Gaussian atoms: steps, noise, standard errors; in pixels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from aet2dft.recon.atoms.contacts import ClosePairs
from aet2dft.recon.atoms.image_model import GaussianAtoms, ImageGeometry, adjoint, derivative, growth, normal_blocks

Floats = NDArray[np.float64]
Images = NDArray[np.float32]

LONGEST_STEP = 0.5
"""Pixels; no atom moves farther in one step."""
DAMPING = 0.02
"""Levenberg damping: fraction of the diagonal that is added to the normal matrix."""
_UNDAMPED = 1e-3
"""The same for standard errors: the steps of a fit together are hardly damped."""
NOISE_FLOOR = 0.03
"""No pixel has less variance than one with this fraction of the brightest signal: empty ones would dominate."""
WIDEST_CHANGE = 1.15
"""Largest factor by which a width changes in one step."""
_WIDEST_KIND = 1.6
"""Largest factor between widths of kinds: few faint atoms would grow wide to show what many missing ones leave."""
_SHARPENING = 1.5
"""How much noise sharpens an atom that is fitted to it: rise of the logarithm of the likelihood per narrower width."""
_LEVELS = 32
"""Classes of expected value in which the variance of the residuals is taken."""
_PROBED, _MOST_PROBES = 2000, 50
"""Atoms, repeats of the noise included, over which the enlargement of the standard errors is averaged; repeats."""
_SOLVED = 1e-3
"""Conjugate gradients end where what is left is this fraction of what was there at first."""
_REWEIGHTED = 5
"""Fits of gain and offset, each weighted by the one before."""
_BLANK = 0.1
"""An image whose scale is below this fraction of the median does not show the atoms: it is blank, noise, or another."""
_NO_WEIGHT, _WEIGHTLESS = 1e-4, 1e-3
"""Fraction of the median that it is given, so that it says nothing; of the largest, below which it is known by that."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Calibration:
    """How counts follow from the model of the atoms, image by image, and their noise."""

    scale: Floats
    """(n,): factor of every image; 1 on average, next to nothing for images that do not show the atoms."""
    background: Floats
    """(n,): constant of every image."""
    gain: float
    """Variance of a pixel per unit of what the atoms add to it."""
    offset: float
    """Variance of a pixel without atoms: that of the readout, and of the counts of the background."""

    @property
    def shown(self) -> NDArray[np.bool_]:
        """(n,): which images show the atoms."""
        return np.asarray(self.scale > _WEIGHTLESS * self.scale.max())

    def signal(self, model: Images) -> Images:
        """Part of the images (n, nx, ny) that the atoms make, from those of the atoms."""
        return np.asarray(self.scale[:, None, None] * model, dtype=np.float32)

    def expected(self, model: Images) -> Images:
        """Images (n, nx, ny) as they are measured, from those of the atoms."""
        return np.asarray(self.signal(model) + self.background[:, None, None], dtype=np.float32)

    def variance(self, model: Images) -> Images:
        """Variance (n, nx, ny) of the pixels."""
        return np.asarray(self.gain * np.maximum(self.signal(model), 0.0) + self.offset, dtype=np.float32)

    def above_background(self, measured: Images) -> Images:
        """Images (n, nx, ny) without their constants."""
        return np.asarray(measured - self.background[:, None, None].astype(np.float32), dtype=np.float32)

    def r_factors(self, measured: Images, model: Images) -> Floats:
        """R factor (n,) of every image that shows the atoms: absolute residuals over the counts above the background.

        NaN for the others.
        """
        counts = self.above_background(measured)
        total = np.abs(counts).sum(axis=(1, 2), dtype=np.float64)
        residual = np.abs(counts - self.signal(model)).sum(axis=(1, 2), dtype=np.float64)
        return np.where(self.shown, residual / np.where(total > 0, total, 1.0), np.nan)


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
        floor = NOISE_FLOOR * calibration.gain * float(calibration.signal(model).max())
        return cls(
            geometry=geometry,
            target=np.asarray((measured - background) / scale, dtype=np.float32),
            weights=np.asarray(scale**2 / np.maximum(variance, floor), dtype=np.float32),
        )

    def cost(self, model: Images) -> float:
        """Half the weighted sum of squares of the residuals of a model (n, nx, ny)."""
        return 0.5 * float((self.weights * (self.target - model) ** 2).sum(dtype=np.float64))


def calibrate(measured: Images, model: Images) -> Calibration:
    """Scale and background of every image by least squares, and the noise of what is left.

    Parameters
    ----------
    measured, model : ndarray, shape (n, nx, ny)
        Counts, and the images of the atoms.

    Notes
    -----
    The variance is gain * (scale * model) + offset: that of Poisson counts with read noise, in whatever unit the images
    are. Both are fitted, not negative, to the mean squares of the residuals in classes of scale * model. Background
    does not enter: part of it may be the zero of the camera, which has no noise, and the offset knows the rest. Images
    that do not show the atoms have no part in them, and none in what follows.
    """
    mean_model, mean = model.mean(axis=(1, 2), dtype=np.float64), measured.mean(axis=(1, 2), dtype=np.float64)
    centered = model - mean_model[:, None, None]
    power = (centered.astype(np.float64) ** 2).sum(axis=(1, 2))
    scale = (centered * measured).sum(axis=(1, 2), dtype=np.float64) / np.where(power > 0, power, 1.0)
    scale = scale if (scale > 0).any() else np.ones(len(scale))
    typical = float(np.median(scale[scale > 0]))
    scale = np.where(scale >= _BLANK * typical, scale, _NO_WEIGHT * typical)
    start = Calibration(scale=scale, background=mean - scale * mean_model, gain=1.0, offset=1.0)
    shown = slice(None) if start.shown.all() else start.shown
    gain, offset = _noise(start.above_background(measured)[shown], start.signal(model)[shown])
    return replace(start, gain=gain, offset=offset)


def normalized(atoms: GaussianAtoms, calibration: Calibration) -> tuple[GaussianAtoms, Calibration]:
    """The same images with scales that are 1 on average, where atoms are shown: their mean goes into the heights."""
    mean = float(calibration.scale[calibration.shown].mean())
    return replace(atoms, heights=atoms.heights * mean), replace(calibration, scale=calibration.scale / mean)


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


def _noise(measured: Images, expected: Images) -> tuple[float, float]:
    """Gain and offset of the variance, by non-negative least squares over classes of the expected value."""
    from scipy.optimize import nnls

    top, sums = float(expected.max()), np.zeros((3, _LEVELS))
    for image, model in zip(measured, expected, strict=True):
        level = np.clip((model * np.float32(_LEVELS / top if top > 0 else 0.0)).astype(np.intp), 0, _LEVELS - 1).ravel()
        values = (None, ((image - model) ** 2).ravel(), np.maximum(model, 0).ravel())
        sums += [np.bincount(level, each, _LEVELS) for each in values]
    count, squares, signal = sums[:, sums[0] > 0]
    mean, at = squares / count, signal / count
    smallest = 1e-12 * max(top, 1e-30)
    slopes, line = np.stack([at, np.ones_like(at)], axis=1), np.array([1.0, at.mean()])
    for _ in range(_REWEIGHTED):
        # the standard error of a mean square is proportional to the variance, which the line knows best
        certainty = np.sqrt(count) / np.maximum(slopes @ line, smallest * max(top, 1e-30))
        line, _ = nnls(slopes * certainty[:, None], mean * certainty)
    return max(float(line[0]), smallest), max(float(line[1]), smallest * top)


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
