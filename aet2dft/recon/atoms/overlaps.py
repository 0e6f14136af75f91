"""Peaks that overlap: Gaussians of one shape fitted together, and a peak too long to be one atom split into two."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aet2dft.recon.atoms import _kernels_overlaps as overlaps
from aet2dft.recon.atoms import _kernels_peaks as kernels

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
Ints = NDArray[np.int64]

STRONG = 0.5
"""Peaks above this fraction of the 95th percentile of all heights say what shape peaks have."""
_ROUNDS = 4
"""Steps that all peaks take together: two atoms at twice the width of the shape need so many."""
_FAR = 4.0
"""Standard deviations, along the longest axis of the shape, beyond which a peak adds nothing to another."""
_LONGEST_STEP = 0.15
"""Standard deviations of the shape that a peak moves at most in one round, along each axis."""
_FARTHEST = 0.75
"""Standard deviations of the shape that a peak ends at most from where it began, along each axis."""
_LEAST_CURVATURE = 0.3
"""Fraction of the curvature of the common shape below which a peak is taken to have the common one."""
_LONGER = 2.5
"""Standard errors by which a peak is longer than the others before it is looked at whether it is two."""
_EVIDENCE = 5.0
"""Multiple of what peaks leave unexplained around them above which a second one is there."""
_RAY = np.arange(1.0, 3.1, 0.25)
"""Standard deviations of the common shape along which a second peak is looked for."""
_XX, _YY, _ZZ, _XY, _XZ, _YZ = range(4, 10)
_MATRIX = [_XX, _XY, _XZ, _XY, _YY, _YZ, _XZ, _YZ, _ZZ]
"""Columns of second derivatives, row by row of the matrix."""
_OF_EACH = ("centers", "heights", "curvatures", "measured")
"""Fields with one row per peak."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Separated:
    """Peaks of a convolved volume, each without what the others add to it; in voxels."""

    centers: Floats
    """(n, 3): index with fractions."""
    heights: Floats
    """(n,): value of the convolved volume; zero where the others explain it all."""
    curvatures: Floats
    """(n, 3, 3): second derivatives; those of the common shape where they are not those of a maximum."""
    measured: Floats
    """(n, 3, 3): second derivatives as they are."""
    shape: Floats
    """(3, 3): covariance of the Gaussian that all are taken for where they reach into each other."""
    reach: float
    """Distance beyond which a peak adds nothing to another."""

    @property
    def inverse(self) -> Floats:
        """(3, 3): of the shape."""
        return _inverse(self.shape)

    def of(self, which: NDArray[np.intp] | NDArray[np.bool_]) -> Separated:
        """Some of them, by index or mask."""
        some: dict[str, Any] = {name: getattr(self, name)[which] for name in _OF_EACH}
        return replace(self, **some)

    def and_(self, others: Separated) -> Separated:
        """These and others."""
        both: dict[str, Any] = {n: np.concatenate([getattr(self, n), getattr(others, n)]) for n in _OF_EACH}
        return replace(self, **both)


def separated(
    volume: Singles, starts: Floats, width: float, *, farthest: float = np.inf, shape: Floats | None = None
) -> Separated:
    r"""Gaussians at these starts, fitted together.

    Parameters
    ----------
    volume : ndarray, shape (nx, ny, nz)
        Density.
    starts : ndarray, shape (n, 3)
        Where the peaks are about, voxels.
    width : float
        Voxels: standard deviation of the weight of the fits.
    farthest : float
        Voxels beyond which peaks add nothing to each other, however wide they are: hills are no atoms.
    shape : ndarray, shape (3, 3), optional
        Covariance of the tails; default: that of the strong peaks.

    Returns
    -------
    Separated
        In the order of the starts.

    Notes
    -----
    A quadratic under a Gaussian weight has the value, gradient g and second derivatives of the volume convolved with
    the weight. From these ten numbers at the center of every peak, those of the Gaussians at the other centers are
    taken away; what is left is its own height e and curvature Q, and the step :math:`-Q^{-1} g` leads to its own
    center. All peaks take the step together, so that in the end the sum of the Gaussians has the measured values,
    gradients and curvatures. The tails have one covariance, the median of :math:`-e Q^{-1}` of the strong peaks: a
    missing wedge makes all atoms long in one direction. A plain maximum, in contrast, leans toward its neighbors, and a
    weak one on the slope of a strong one has none.
    """
    # of two peaks in place of one at a face of the box the lower may begin outside
    starts = np.clip(starts, 0.0, np.array(volume.shape) - 1.0)
    centers = starts.copy()
    measured = kernels.convolved_derivatives(volume, centers, width)
    heights, curvatures, tail = _taken_apart(measured, np.zeros((3, 3)), shape)
    reach = min(farthest, _FAR * float(np.sqrt(np.linalg.eigvalsh(tail)[-1])))
    near = neighbors_of(starts, starts, reach, itself=False)
    limit = np.sqrt(np.diag(tail))
    for number in range(_ROUNDS):
        if number:
            measured = kernels.convolved_derivatives(volume, centers, width)
        own = measured - overlaps.tails(centers, *near, centers, heights, _inverse(tail))
        heights, curvatures, tail = _taken_apart(own, _inverse(tail), shape)
        step = np.where(heights[:, None] > 0, -np.linalg.solve(curvatures, own[:, 1:4, None])[..., 0], 0.0)
        moved = centers + np.clip(step, -_LONGEST_STEP * limit, _LONGEST_STEP * limit) - starts
        centers = starts + np.clip(moved, -_FARTHEST * limit, _FARTHEST * limit)
        centers = np.clip(centers, 0.0, np.array(volume.shape) - 1.0)
    return Separated(
        centers=centers,
        heights=heights,
        curvatures=curvatures,
        measured=own[:, _MATRIX].reshape(-1, 3, 3),
        shape=tail,
        reach=reach,
    )


def _taken_apart(own: Floats, inverse: Floats, shape: Floats | None) -> tuple[Floats, Floats, Floats]:
    """Heights (n,), curvatures (n, 3, 3) and covariance (3, 3) of peaks, of what is measured at each (n, 10).

    Where this is no maximum, or far flatter than the last inverse covariance says, it is taken for one of the shape.
    """
    heights, measured = np.maximum(own[:, 0], 0.0), own[:, _MATRIX].reshape(-1, 3, 3)
    definite = _positive(-measured - _LEAST_CURVATURE * heights[:, None, None] * inverse) & (heights > 0)
    if shape is None:
        strong = np.flatnonzero(definite)
        strong = strong[strong_peaks(heights[strong])]
        shape = np.eye(3)
        if strong.size:
            shape = np.median(-heights[strong, None, None] * np.linalg.inv(measured[strong]), axis=0)
    usual = -np.where(heights > 0, heights, 1.0)[:, None, None] * _inverse(shape)
    return heights, np.where(definite[:, None, None], measured, usual), shape


def strong_peaks(heights: Floats) -> NDArray[np.intp]:
    """Indices of peaks above half of the 95th percentile of the heights (n,)."""
    return np.flatnonzero(heights >= STRONG * np.percentile(heights, 95)) if heights.size else np.arange(0)


def _inverse(shape: Floats) -> Floats:
    return np.asarray(np.linalg.inv(shape), dtype=np.float64)


def _positive(matrices: Floats) -> NDArray[np.bool_]:
    """Which symmetric matrices (n, 3, 3) are positive definite (n,), by their minors."""
    a, b, c = (matrices[:, i, i] for i in range(3))
    d, e, f = matrices[:, 0, 1], matrices[:, 0, 2], matrices[:, 1, 2]
    minor = a * b - d * d
    return np.asarray((a > 0) & (minor > 0) & (minor * c + 2.0 * d * e * f - a * f * f - b * e * e > 0))


def neighbors_of(points: Floats, centers: Floats, reach: float, *, itself: bool) -> tuple[Ints, Ints]:
    """Centers (m, 3) within reach of each point (n, 3): where the list of each starts (n + 1,), and all lists.

    Without `itself`, the points are the centers and none is its own neighbor. Lists are by rising index.
    """
    from scipy.spatial import cKDTree

    tree = cKDTree(centers)
    if itself:
        lists = tree.query_ball_point(points, reach, return_sorted=True)
        counts = np.array([len(each) for each in lists], dtype=np.int64)
        others = np.concatenate([np.asarray(each, dtype=np.int64) for each in lists]) if len(lists) else counts
    else:
        pairs = tree.query_pairs(reach, output_type="ndarray")
        both = np.concatenate([pairs, pairs[:, ::-1]])
        both = both[np.lexsort((both[:, 1], both[:, 0]))]
        counts, others = np.bincount(both[:, 0], minlength=len(points)), both[:, 1].astype(np.int64)
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64), np.ascontiguousarray(others)


def split(
    volume: Singles,
    found: Separated,
    width: float,
    *,
    noise: float,
    between: float,
    window: float,
    least: float,
    distance: float,
) -> Separated:
    r"""The peaks, with those in two that are too long to be one.

    Parameters
    ----------
    volume : ndarray, shape (nx, ny, nz)
        Density.
    found : Separated
        Its peaks.
    width : float
        Voxels: standard deviation of the weight of the fits.
    noise : float
        Standard deviation of the convolved volume.
    between : float
        What is left of it around peaks, less what they put there.
    window : float
        Square voxels: variance of everything that the noise was smoothed with.
    least : float
        Least height of each of two.
    distance : float
        Voxels: least distance of two.

    Notes
    -----
    A peak may be two where its curvature along some axis is less than that of the common shape by 2.5 standard errors,
    :math:`\sqrt 3 \sigma / L^2` each (L is the correlation length of the noise). Along this axis the volume, less all
    peaks, is looked at; where it is highest, as high as a peak must be and five times as high as what peaks usually
    leave around them, a second one is put. All are fitted together again, and the two stay where both are high enough
    and far enough apart.
    """
    least = max(least, _EVIDENCE * between)
    one, two, which = _ends(volume, found, width, _too_long(found, noise, window), least, distance)
    while which.size:
        near, local = _refitted(volume, found, width, which, one, two)
        first, second = (local.of(len(near) + half * len(which) + np.arange(len(which))) for half in range(2))
        apart = np.linalg.norm(first.centers - second.centers, axis=1) >= distance
        sound = apart & (np.minimum(first.heights, second.heights) >= least)
        if sound.all():
            kept = found.of(np.setdiff1d(np.arange(len(found.heights)), np.concatenate([near, which])))
            return kept.and_(local)
        one, two, which = one[sound], two[sound], which[sound]
    return found


def _refitted(
    volume: Singles, found: Separated, width: float, which: Ints, one: Floats, two: Floats
) -> tuple[Ints, Separated]:
    """Peaks near those that are two, by index (k,), and these peaks fitted again together with both of each pair.

    Those still farther away, whose tails reach the near ones, take part, but stay as they were.
    """
    from scipy.spatial import cKDTree

    others = np.setdiff1d(np.arange(len(found.heights)), which)
    away = cKDTree(np.concatenate([one, two])).query(found.centers[others])[0]
    near, far = others[away <= found.reach], others[(away > found.reach) & (away <= 2.0 * found.reach)]
    starts = np.concatenate([found.centers[near], one, two, found.centers[far]])
    for _ in range(2):
        fitted = separated(volume, starts, width, farthest=found.reach, shape=found.shape)
        starts = fitted.centers
    return near, fitted.of(np.arange(len(near) + 2 * len(which)))


def _ends(
    volume: Singles, found: Separated, width: float, too_long: tuple[Ints, Floats], least: float, distance: float
) -> tuple[Floats, Floats, Ints]:
    """Where two peaks may be, (m, 3) each, in place of one that is too long, and which ones these are (m,)."""
    long, along = too_long
    arms = np.concatenate([_RAY, -_RAY])[:, None] * along[:, None]
    points = (found.centers[long, None] + arms).reshape(-1, 3)
    inside = ((points >= 0) & (points <= np.array(volume.shape) - 1.0)).all(axis=1)
    near = neighbors_of(points[inside], found.centers, found.reach, itself=True)
    rest = np.full(len(points), -np.inf)
    rest[inside] = kernels.convolved_derivatives(volume, points[inside], width)[:, 0]
    rest[inside] -= overlaps.tails(points[inside], *near, found.centers, found.heights, found.inverse)[:, 0]
    by_peak = rest.reshape(arms.shape[:2])
    best = (np.arange(len(long)), by_peak.argmax(axis=1))
    # the middle of both stays where the one was
    share = np.clip(by_peak[best] / found.heights[long], 0.0, 1.0)[:, None]
    one, two = found.centers[long] - share * arms[best], found.centers[long] + arms[best]
    tried = (by_peak[best] >= least) & (np.linalg.norm(two - one, axis=1) >= distance)
    return one[tried], two[tried], long[tried]


def _too_long(found: Separated, noise: float, window: float) -> tuple[Ints, Floats]:
    """Peaks (m,) that are longer than the common shape, and their long axes (m, 3), one standard deviation of it."""
    high = np.flatnonzero(found.heights > _LONGER * noise)
    root = np.linalg.cholesky(found.shape)
    # curvature in units of that of the common shape: 1 for a single atom, along every axis
    relative = -root.T @ found.measured[high] @ root / found.heights[high, None, None]
    eigenvalues, axes = np.linalg.eigh(relative)
    along = axes[:, :, 0] @ root.T
    error = np.sqrt(3.0) * noise / (2.0 * window) * (along**2).sum(axis=1) / found.heights[high]
    long = 1.0 - eigenvalues[:, 0] > _LONGER * error
    return high[long], along[long]
