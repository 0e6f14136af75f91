"""Candidate atoms of a volume: smoothed, its maxima found, fitted to a fraction of a voxel, and thinned.

Which candidates are atoms, and of which species, is decided in ``classification``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from aet2dft.atoms import CANDIDATE_RANGE, neighbor_distances
from aet2dft.config import TraceSettings
from aet2dft.errors import InputError
from aet2dft.recon.atoms import _kernels_peaks as kernels
from aet2dft.recon.atoms.populations import k_means
from aet2dft.recon.tilt_series import Volume

Floats = NDArray[np.float64]

FIT_WIDTH = (0.65, 0.2)
"""Voxels and Å: standard deviation of the weight of the fit, whichever is larger; wider ones feel the neighbors."""
FAINTEST = 0.05
"""Least height of a maximum, as a fraction of the strong ones, where no threshold is given."""
CONTROL = 0.8
"""The minimum distance is tried at this fraction as well: how many more there would be."""
_CALIBRATION = 1.25
"""Position errors of synthetic particles of 2,300 and 23,000 atoms are 1.0 to 1.5 times those of the formula."""
_DENSEST = 10.0
"""More candidates than this multiple of the closest packing of the box mean that the threshold lies in the noise."""
_REASONS = {
    kernels.NO_MAXIMUM: "no maximum",
    kernels.LEFT_BOX: "left the box",
    kernels.NOT_CONVERGED: "not converged",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Rejected:
    """Maxima that are no candidates."""

    positions: Floats
    """(m, 3), Å."""
    heights: Floats
    """(m,): value of the smoothed volume; that of the voxel where the fit failed."""
    reasons: NDArray[np.str_]
    """(m,): ``no maximum``, ``left the box``, ``not converged``, ``faint`` or ``close to a stronger one``."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Trace:
    """What was found in a volume."""

    n_candidates: int
    """Maxima above the threshold."""
    n_atoms: int
    """Candidates that stay."""
    threshold: float
    """Least height of a candidate, in units of the smoothed volume."""
    strong: float
    """Height of the strong maxima."""
    noise: float
    """Standard deviation of the density at the candidates, by the scatter of their widths."""
    min_distance: float
    """Å: two candidates are never nearer."""
    n_closer: int
    """Candidates that 0.8 of the minimum distance would have kept as well."""
    median_neighbor_distance: float | None
    """Å; None below two atoms."""
    warnings: tuple[str, ...]
    """What the user should look at."""
    rejected: Rejected
    """Maxima above the threshold that are no candidates."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Peaks:
    """Fitted maxima, in voxels."""

    centers: Floats
    """(n, 3): index with fractions."""
    heights: Floats
    """(n,): value of the smoothed volume."""
    curvatures: Floats
    """(n, 6): second derivatives xx, yy, zz, xy, xz, yz."""

    def of(self, which: NDArray[np.intp] | NDArray[np.bool_]) -> _Peaks:
        """Some of them, by index or mask."""
        return _Peaks(centers=self.centers[which], heights=self.heights[which], curvatures=self.curvatures[which])


def trace(volume: Volume, settings: TraceSettings = TraceSettings()) -> tuple[Atoms, Trace]:
    r"""Find the candidate atoms of a volume.

    Parameters
    ----------
    volume : Volume
        Density with atoms as maxima.
    settings : TraceSettings
        Smoothing, threshold and minimum distance.

    Returns
    -------
    Atoms
        Candidates of species X, strongest first, with the arrays `intensity`, `peak_width`, `position_sigma`.
    Trace
        How they were found, and the maxima that were rejected, each with its reason.

    Raises
    ------
    InputError
        If the volume is not finite, has no maximum, or so many that the threshold lies in its noise.

    Notes
    -----
    A weighted quadratic is fitted to the voxels around each maximum; the weight, a Gaussian of width w, moves to the
    maximum of the quadratic until that stays. By Stein's lemma the second derivatives of the quadratic are those of
    the volume convolved with the weight, so a Gaussian atom of width s, smoothed by l, has
    :math:`s^2 + l^2 + w^2 = -3 e / \operatorname{tr} Q`, where e is the value of the convolved volume.
    `intensity` is the sum of the voxels under a Gaussian window of width :math:`\sqrt{l^2 + w^2}`. The position error
    is that of the maximum of a smooth random field, :math:`\sigma_e / (\sqrt{2 (l^2 + w^2)} |Q|)`.

    Of two maxima nearer than the minimum distance the higher stays, of equals the one that comes first in the volume,
    as in the tracing of Yang et al., Nature 542, 75 (2017).
    """
    if not np.isfinite(volume.values).all():
        bad = np.argwhere(~np.isfinite(volume.values))
        raise InputError(f"{len(bad)} voxels are NaN or infinite (first: {tuple(bad[0].tolist())}); mend the volume")
    smooth = _smoothed(volume, settings.smoothing)
    starts, strong = _maxima(smooth)
    threshold = FAINTEST * strong if settings.threshold is None else settings.threshold
    starts = starts[smooth[tuple(starts.T)] >= threshold]
    _check_number(len(starts), volume, threshold, settings.min_distance, strong)
    width = max(FIT_WIDTH[0], FIT_WIDTH[1] / volume.voxel_size)
    peaks, reasons = _fitted(smooth, starts, width, threshold)
    distance = settings.min_distance / volume.voxel_size
    sound = np.flatnonzero(reasons == "")
    kept = thinned(peaks.centers[sound], distance)
    reasons[sound[~kept]] = "close to a stronger one"
    atoms, noise = _candidates(peaks.of(sound[kept]), volume, width, settings.smoothing / volume.voxel_size)
    median = float(np.median(neighbor_distances(atoms)[0])) if len(atoms) > 1 else None
    out = np.flatnonzero(reasons != "")
    rejected = Rejected(
        positions=volume.positions(peaks.centers[out]), heights=peaks.heights[out], reasons=reasons[out]
    )
    return atoms, Trace(
        n_candidates=len(starts),
        n_atoms=len(atoms),
        threshold=float(threshold),
        strong=strong,
        noise=noise,
        min_distance=settings.min_distance,
        n_closer=int(thinned(peaks.centers[sound], CONTROL * distance).sum()) - len(atoms),
        median_neighbor_distance=median,
        warnings=_warnings(median),
        rejected=rejected,
    )


def _smoothed(volume: Volume, smoothing: float) -> NDArray[np.float32]:
    from scipy.ndimage import gaussian_filter

    if smoothing == 0:
        return volume.values
    return np.asarray(gaussian_filter(volume.values, smoothing / volume.voxel_size, mode="nearest", truncate=3.0))


def _maxima(smooth: NDArray[np.float32]) -> tuple[NDArray[np.intp], float]:
    """Positive maxima (n, 3) and the height of the strong ones.

    Strong are those above the threshold of Otsu, IEEE Trans. Syst. Man Cybern. 9, 62 (1979).
    """
    flat = kernels.local_maxima(smooth, 0.0)
    if not flat.size:
        raise InputError("the volume has no positive maximum inside; is it the density of atoms, bright on dark?")
    heights = smooth.ravel()[flat].astype(np.float64)
    boundaries = k_means(heights, 2).boundaries
    strong = float(np.percentile(heights[heights >= boundaries[0]] if boundaries.size else heights, 95))
    return np.stack(np.unravel_index(flat, smooth.shape), axis=1), strong


def _check_number(n: int, volume: Volume, threshold: float, min_distance: float, strong: float) -> None:
    """Raise InputError without candidates, or with far more than atoms have room."""
    room = volume.values.size * volume.voxel_size**3 * np.sqrt(2.0) / min_distance**3
    if n == 0:
        raise InputError(f"no maximum above {threshold:.3g}; strong ones are {strong:.3g} high, give a lower threshold")
    if n > _DENSEST * room:
        raise InputError(
            f"{n} maxima above {threshold:.3g}, though the box has room for {room:.0f} atoms {min_distance:g} Å apart; "
            f"they are noise: smooth more, or give a threshold nearer to {strong:.3g}, the height of the strong ones"
        )


def _fitted(
    smooth: NDArray[np.float32], starts: NDArray[np.intp], width: float, threshold: float
) -> tuple[_Peaks, NDArray[np.str_]]:
    """Peaks by falling height, and why each is rejected; empty where it is not."""
    centers, heights, curvatures, ends = kernels.fit_peaks(smooth, starts.astype(np.float64), width)
    failed = ends != kernels.CONVERGED
    heights[failed] = smooth[tuple(starts[failed].T)]
    centers[failed] = starts[failed]
    reasons = np.full(len(starts), "", dtype="U24")
    reasons[heights < threshold] = "faint"
    for end, reason in _REASONS.items():
        reasons[ends == end] = reason
    order = np.argsort(-heights, kind="stable")
    return _Peaks(centers=centers, heights=heights, curvatures=curvatures).of(order), reasons[order]


def thinned(points: Floats, distance: float) -> NDArray[np.bool_]:
    """Which of the points (n, 3), strongest first, have no stronger one that stays within this distance (n,)."""
    from scipy.spatial import cKDTree

    stays = np.ones(len(points), dtype=bool)
    pairs = cKDTree(points).query_pairs(distance, output_type="ndarray")
    for first, second in pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))].tolist():
        if stays[first]:
            stays[second] = False
    return stays


def _candidates(peaks: _Peaks, volume: Volume, width: float, smoothing: float) -> tuple[Atoms, float]:
    """Atoms of species X with what the fits say of them, and the noise; `width` and `smoothing` in voxels."""
    window = width**2 + smoothing**2
    xx, yy, zz, xy, xz, yz = peaks.curvatures.T
    matrices = np.stack([xx, xy, xz, xy, yy, yz, xz, yz, zz], axis=1).reshape(-1, 3, 3)
    # the quadratic at its center is the convolved volume less what its curvature adds under the weight
    convolved = np.maximum(peaks.heights + 0.5 * width**2 * (xx + yy + zz), np.finfo(float).tiny)
    squared = -3.0 * convolved / (xx + yy + zz)
    noise = _noise(convolved, squared, window)
    inverse = np.linalg.inv(matrices)
    spread = noise / np.sqrt(2.0 * window) * np.sqrt(np.einsum("nij,nij->ni", inverse, inverse))
    atoms = Atoms("X" * len(peaks.centers), positions=volume.positions(peaks.centers))
    atoms.set_array("intensity", convolved * (2.0 * np.pi * window) ** 1.5)
    atoms.set_array("peak_width", np.sqrt(np.maximum(squared - window, 0.0)) * volume.voxel_size)
    atoms.set_array("position_sigma", spread * volume.voxel_size)
    atoms.set_array("site_id", np.arange(1, len(atoms) + 1, dtype=np.int32))
    return atoms, noise


def _noise(convolved: Floats, squared: Floats, window: float) -> float:
    r"""Standard deviation of the density at peaks (n,), by the scatter of their squared widths (n,).

    Atoms of one kind are equally wide; noise of correlation length L, :math:`L^2 = 2 (l^2 + w^2)`, changes the
    logarithm of :math:`S^2 = 3 e / |\operatorname{tr} Q|` by
    :math:`(\sigma_e / e) \sqrt{1 - 2 q + 5 q^2 / 3}, q = S^2 / L^2`.
    """
    logarithm = np.log(squared)
    middle = float(np.median(logarithm))
    q = np.exp(middle) / (2.0 * window)
    deviation = 1.4826 * float(np.median(np.abs(logarithm - middle) * convolved))
    return _CALIBRATION * deviation / float(np.sqrt(1.0 - 2.0 * q + 5.0 * q**2 / 3.0))


def _warnings(median: float | None) -> tuple[str, ...]:
    low, high = CANDIDATE_RANGE
    if median is None or low <= median <= high:
        return ()
    return (f"the median distance of neighbors is {median:.3g}, outside {low} to {high} Å: is the voxel size right?",)
