"""How good a result is: R factor of images, Fourier shell correlation of volumes, match of two models of atoms."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from numpy.typing import ArrayLike, NDArray

from aet2dft.errors import InputError

_MOST_ROUNDS = 30
"""Rounds after which the common shift of two models has settled, or never will."""
SHELL_THRESHOLDS = (0.143, 0.5)
"""Usual thresholds of the shell correlation: for independent halves, and against a known volume."""

_LASTING = 3
"""Shells below a threshold that are no dip."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageFit:
    """Agreement of computed with measured images."""

    r_factor: float
    """Sum of |scale x computed - measured| over all pixels of all images, over the sum of |measured|."""
    per_image: NDArray[np.float64]
    """(n,): the same for every image, with the common scale."""
    scale: float
    """Factor of the computed images: least squares over all pixels."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ShellCorrelation:
    """Fourier shell correlation of two volumes."""

    frequency: NDArray[np.float64]
    """(n,), 1/Å: middle of every shell, up to the Nyquist frequency."""
    correlation: NDArray[np.float64]
    """(n,): 1 for equal shells, 0 for unrelated ones."""
    n_values: NDArray[np.int64]
    """(n,): Fourier coefficients in the shell."""

    def falls_below(self, threshold: float) -> bool:
        """Whether the correlation falls below the threshold to stay there, so that there is a resolution."""
        return self._crossing(threshold) is not None

    def resolution(self, threshold: float = SHELL_THRESHOLDS[0]) -> float:
        """Å: where the correlation first falls below the threshold, between shells; the Nyquist period if never.

        A dip of fewer than three shells after which it is above again does not count. NaN without shells.
        """
        if not self.frequency.size:  # one voxel along an axis
            return math.nan
        first = self._crossing(threshold)
        if first is None:
            return float(1.0 / self.frequency[-1])
        if first == 0:
            return float(1.0 / self.frequency[0])
        high, low = self.correlation[first - 1], self.correlation[first]
        part = (high - threshold) / (high - low)
        return float(1.0 / (self.frequency[first - 1] + part * (self.frequency[first] - self.frequency[first - 1])))

    def _crossing(self, threshold: float) -> int | None:
        """First shell from which on all are below, for `_LASTING` shells or to the end; None if there is none.

        The first crossing is what the field quotes (van Heel and Schatz, J. Struct. Biol. 151, 250 (2005)), but shells
        near the origin hold few coefficients and the curve of an ordered particle dips where it has no reflections.
        """
        below = self.correlation < threshold
        return next((int(k) for k in np.flatnonzero(below) if below[k : k + _LASTING].all()), None)


@dataclass(frozen=True, kw_only=True, slots=True)
class Match:
    """Atoms of a model and of a reference, one to one."""

    pairs: NDArray[np.int64]
    """(n, 2): index in the model and in the reference of every matched atom, by the index in the reference."""
    differences: NDArray[np.float64]
    """(n, 3), Å: position in the model minus position in the reference, without the common shift."""
    shift: NDArray[np.float64]
    """(3,), Å: common shift of the model against the reference."""
    radius: float
    """Å: largest distance of a pair."""
    n_model: int
    """Atoms of the model."""
    n_reference: int
    """Atoms of the reference."""
    n_right: int
    """Pairs of one species; all pairs where the model or the reference has no species."""
    rmsd: float
    """Å: root mean square length of `differences`; NaN without pairs."""
    rmsd_of: dict[str, float]
    """Å: the same for the atoms of every species of the reference that has pairs."""

    @property
    def n_matched(self) -> int:
        """Number of pairs."""
        return len(self.pairs)

    @property
    def n_missed(self) -> int:
        """Atoms of the reference that are not in the model."""
        return self.n_reference - len(self.pairs)

    @property
    def n_false(self) -> int:
        """Atoms of the model that are not in the reference."""
        return self.n_model - len(self.pairs)

    @property
    def fraction_identified(self) -> float:
        """Atoms found with the right species over the atoms of the reference."""
        return self.n_right / self.n_reference


def correlations(measured: NDArray[np.float32], computed: NDArray[np.float32]) -> NDArray[np.float64]:
    """Pearson's correlation of every image with the computed one.

    Parameters
    ----------
    measured, computed : ndarray, shape (n, nx, ny)
        Images.

    Returns
    -------
    ndarray, shape (n,)
        Zero where an image is constant.
    """
    first, second = (each - each.mean(axis=(1, 2), keepdims=True, dtype=np.float64) for each in (measured, computed))
    power = (first**2).sum(axis=(1, 2)) * (second**2).sum(axis=(1, 2))
    return np.asarray((first * second).sum(axis=(1, 2)) / np.sqrt(np.maximum(power, np.finfo(float).tiny)))


def image_fit(measured: ArrayLike, computed: ArrayLike) -> ImageFit:
    r"""R factor of computed images, with one fitted scale.

    Parameters
    ----------
    measured, computed : array_like, shape (n, nx, ny)
        Images.

    Raises
    ------
    InputError
        If the shapes differ or an image is zero everywhere.

    Notes
    -----
    :math:`R_1 = \sum |s P - b| / \sum |b|` with :math:`s = \sum P b / \sum P^2`: absolute values, as in A. Pryor
    et al., Sci. Rep. 7, 10409 (2017). The scale makes images in different units comparable; it hides no pattern.
    """
    b, p = np.asarray(measured), np.asarray(computed)
    if b.shape != p.shape or b.ndim != 3:
        raise InputError(f"images of shape {p.shape} cannot be compared with {b.shape}; give stacks of one shape")
    product, norm = (float(np.einsum("kij,kij->", p, other, dtype=np.float64)) for other in (b, p))
    scale = product / norm if norm > 0 else 0.0
    residual = np.array([np.abs(scale * x - y).sum(dtype=np.float64) for x, y in zip(p, b, strict=True)])
    total = np.abs(b).sum(axis=(1, 2), dtype=np.float64)
    if not (total > 0).all():
        raise InputError(f"image {int(np.argmin(total))} is zero everywhere; leave it out")
    return ImageFit(r_factor=float(residual.sum() / total.sum()), per_image=residual / total, scale=scale)


def format_r(r_factor: float) -> str:
    """An R factor as text: three decimals, or two digits that count where it is small; a dash where there is none."""
    if np.isnan(r_factor):
        return "–"
    return f"{r_factor:.3f}" if r_factor >= 0.01 or r_factor == 0 else f"{r_factor:.2g}"


def fourier_shell_correlation(first: ArrayLike, second: ArrayLike, *, voxel_size: float) -> ShellCorrelation:
    """Correlation of two volumes in shells of the reciprocal space.

    Parameters
    ----------
    first, second : array_like, shape (nx, ny, nz)
        Volumes on one grid.
    voxel_size : float
        Å.

    Raises
    ------
    InputError
        If the shapes differ.

    Notes
    -----
    Shells are as wide as one reciprocal voxel of the shortest axis. Half of the space is transformed; coefficients
    that have their Friedel mate in the other half count twice. M. van Heel and M. Schatz, J. Struct. Biol. 151, 250
    (2005).
    """
    from scipy.fft import rfftn

    a, b = np.asarray(first, dtype=np.float32), np.asarray(second, dtype=np.float32)
    if a.shape != b.shape or a.ndim != 3:
        raise InputError(f"volumes of shape {a.shape} and {b.shape} cannot be compared; give two of one shape")
    n = min(a.shape) // 2 + 1
    spectra, halves, sums = (rfftn(a), rfftn(b)), _halves(a.shape[2]), np.zeros((4, n))
    for radius, plane, other in zip(_radii(a.shape), *spectra, strict=True):
        shell = np.rint(radius).astype(np.intp).ravel()
        plane, other = plane.astype(np.complex128), other.astype(np.complex128)
        products = ((plane * other.conj()).real, np.abs(plane) ** 2, np.abs(other) ** 2, np.ones(plane.shape))
        for total, values in zip(sums, products, strict=True):
            total += np.bincount(shell, weights=(halves * values).ravel(), minlength=n)[:n]
    together, power, other_power, n_values = sums[:, 1:]
    return ShellCorrelation(
        frequency=np.arange(1, n) / (min(a.shape) * voxel_size),
        correlation=together / np.maximum(np.sqrt(power * other_power), np.finfo(np.float64).tiny),
        n_values=n_values.astype(np.int64),
    )


def _radii(shape: tuple[int, ...]) -> Iterator[NDArray[np.float64]]:
    """Radius, in shells, of every coefficient of a real transform, plane by plane along the first axis."""
    shortest = min(shape)
    first, second = (np.fft.fftfreq(size) * shortest for size in shape[:-1])
    within = second[:, None] ** 2 + (np.fft.rfftfreq(shape[-1]) * shortest) ** 2
    return (np.sqrt(x * x + within) for x in first)


def _halves(last: int) -> NDArray[np.float64]:
    """In how many halves of the space the coefficients along the last axis, of this size, stand."""
    twice = np.full(last // 2 + 1, 2.0)
    twice[0] = 1.0
    twice[-1] = 1.0 if last % 2 == 0 else 2.0
    return twice


def match(model: Atoms, reference: Atoms, *, radius: float = 1.0, shift: ArrayLike = (0.0, 0.0, 0.0)) -> Match:
    """Pair the atoms of two models one to one and measure how far they are apart.

    Parameters
    ----------
    model, reference : Atoms
        Positions in Å, in one frame up to a shift.
    radius : float
        Å: atoms farther apart do not match.
    shift : array_like, shape (3,)
        Å: first guess of the shift of the model against the reference.

    Raises
    ------
    InputError
        If one of them is empty or has a position that is not finite.

    Notes
    -----
    The nearest pairs come first; each atom is used once. The mean difference of the pairs is the next shift, until the
    pairs stay the same. The rmsd is that of the differences without their mean. It falls when weak atoms are missed:
    it means nothing without the numbers of missed and false atoms.
    """
    for name, atoms in (("model", model), ("reference", reference)):
        if not len(atoms) or not np.isfinite(atoms.positions).all():
            raise InputError(f"the {name} has no atoms, or a position that is not finite; give another")
    offset, pairs = np.asarray(shift, dtype=np.float64), np.zeros((0, 2), dtype=np.int64)
    for _ in range(_MOST_ROUNDS):
        before, pairs = pairs, _nearest_pairs(model.positions - offset, reference.positions, radius)
        if not len(pairs) or np.array_equal(before, pairs):
            break
        offset = (model.positions[pairs[:, 0]] - reference.positions[pairs[:, 1]]).mean(axis=0)
    differences = model.positions[pairs[:, 0]] - offset - reference.positions[pairs[:, 1]]
    here, there = model.numbers[pairs[:, 0]], reference.numbers[pairs[:, 1]]
    kinds = np.array(reference.symbols)[pairs[:, 1]]
    return Match(
        pairs=pairs,
        differences=differences,
        shift=offset,
        radius=radius,
        n_model=len(model),
        n_reference=len(reference),
        n_right=int((here == there).sum()) if model.numbers.any() and reference.numbers.any() else len(pairs),
        rmsd=_rms(differences),
        rmsd_of={str(kind): _rms(differences[kinds == kind]) for kind in np.unique(kinds)},
    )


def _nearest_pairs(positions: NDArray[np.float64], reference: NDArray[np.float64], radius: float) -> NDArray[np.int64]:
    """(n, 2): pairs of the two sets, nearest first and each point once; ordered by the second."""
    from scipy.spatial import cKDTree

    near = cKDTree(positions).sparse_distance_matrix(cKDTree(reference), radius, output_type="ndarray")
    order = np.lexsort((near["j"], near["i"], near["v"]))
    free_here, free_there = np.ones(len(positions), dtype=bool), np.ones(len(reference), dtype=bool)
    pairs = []
    for i, j in zip(near["i"][order].tolist(), near["j"][order].tolist(), strict=True):
        if free_here[i] and free_there[j]:
            free_here[i] = free_there[j] = False
            pairs.append((j, i))
    return np.array(sorted(pairs), dtype=np.int64).reshape(-1, 2)[:, ::-1]


def _rms(differences: NDArray[np.float64]) -> float:
    return float(np.sqrt(np.square(differences).sum(axis=1).mean())) if len(differences) else float("nan")
