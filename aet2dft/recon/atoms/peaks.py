"""Candidate atoms of a volume: smoothed, its maxima found, fitted together, and thinned.

Which candidates are atoms, and of which species, is decided in ``classification``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from aet2dft.atoms import CANDIDATE_RANGE, neighbor_distances
from aet2dft.config import TraceSettings
from aet2dft.errors import InputError
from aet2dft.recon.atoms import _kernels_peaks as kernels
from aet2dft.recon.atoms.levels import cleared, maxima
from aet2dft.recon.atoms.overlaps import Separated, separated, split
from aet2dft.recon.atoms.peak_noise import noise_maxima, noise_of, unexplained, width_error
from aet2dft.recon.atoms.populations import SPOT, bounded
from aet2dft.recon.tilt_series import Volume

Floats = NDArray[np.float64]

FIT_WIDTH = (0.65, 0.2)
"""Voxels and Å: standard deviation of the weight that finds maxima, whichever is larger; wider ones miss the faint."""
JOINT_WIDTH = (0.65, 0.15)
"""Voxels and minimum distances: the same of the fit of all together, nearly as wide as an atom: less noise."""
FAINTEST = 0.05
"""Least height of a maximum, as a fraction of the strong ones, where no threshold is given."""
CONTROL = 0.8
"""The minimum distance is tried at this fraction as well: how many more there would be."""
_LEAN = 0.9
"""Maxima down to this fraction of the minimum distance are fitted as two: they lean toward each other."""
LEVELS = np.array([0.05, 0.07, 0.1, 0.14, 0.2, 0.28, 0.4, 0.56, 0.8])
"""Fractions of the height of strong maxima at which it is counted how many there are, and how many noise would make."""
_FARTHEST = 3.0
"""Minimum distances beyond which peaks add nothing to each other."""
_ROUGHLY = 0.02
"""Voxels to which maxima are found before they are fitted together."""
_NOISE_SHARE = 0.01
"""Largest part of the maxima that noise may make where they are called free of it."""
_UNCERTAINTY = 1.25
"""Noise of volumes without atoms is this much larger than what their strongest maxima, fitted as atoms, leave."""
_DENSEST = 10.0
"""More candidates than this multiple of the closest packing of the box mean that the threshold lies in the noise."""
_MANY_CLOSE = 0.1
"""Maxima, per atom, too close to a stronger one and no noise, from which on their distances are looked at."""
_SHELL = 0.3
"""Å between a tenth and nine tenths of distances of bonds; noise has none in particular."""
_SHORTER = 0.85
"""Of the shortest of them, the minimum distance that keeps both atoms."""
_REASONS = {kernels.LEFT_BOX: "left the box", kernels.NOT_CONVERGED: "not converged"}
_CLOSE, FAINT = "close to a stronger one", "faint"


@dataclass(frozen=True, kw_only=True, slots=True)
class Rejected:
    """Maxima that are no candidates."""

    positions: Floats
    """(m, 3), Å."""
    heights: Floats
    """(m,): value of the smoothed volume; that of the voxel where the fit failed."""
    reasons: NDArray[np.str_]
    """(m,): ``left the box``, ``not converged``, ``faint`` or ``close to a stronger one``."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Trace:
    """What was found in a volume."""

    n_candidates: int
    """Maxima above the threshold."""
    n_atoms: int
    """Candidates that stay."""
    n_split: int
    """Maxima that are two candidates."""
    threshold: float
    """Least height of a candidate, in units of the smoothed volume, above its ground; so are all heights."""
    strong: float
    """Height of the strong maxima."""
    noise: float
    """Standard deviation of the density at the candidates, convolved as for the fits."""
    levels: Floats
    """(k,): other thresholds, rising, in units of the smoothed volume."""
    n_above: NDArray[np.int64]
    """(k,): candidates as high as each."""
    n_noise: Floats
    """(k,): maxima of that height that noise is expected to make in all voxels that are not zero."""
    noise_threshold: float
    """The lowest of these levels above which at most 1 % of the candidates can be noise."""
    min_distance: float
    """Å: two candidates are never nearer."""
    n_closer: int
    """Maxima that 0.8 of the minimum distance would have kept as well, counted before all are fitted together."""
    median_neighbor_distance: float | None
    """Å; None below two atoms."""
    warnings: tuple[str, ...]
    """What the user should look at."""
    rejected: Rejected
    """Maxima above the threshold that are no candidates."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Maxima:
    """Maxima on their way to candidates."""

    centers: Floats
    """(n, 3): voxels, with fractions."""
    heights: Floats
    """(n,): of the smoothed volume."""
    reasons: NDArray[np.str_]
    """(n,): why each is rejected; empty where it is not."""

    @property
    def n_sound(self) -> int:
        """Those that are not rejected."""
        return int(np.count_nonzero(self.reasons == ""))

    def thinned(self, distance: float) -> _Maxima:
        """The same, with those rejected that are within this distance, voxels, of a stronger one that stays."""
        sound, reasons = np.flatnonzero(self.reasons == ""), self.reasons.copy()
        reasons[sound[~thinned(self.centers[sound], distance)]] = _CLOSE
        return replace(self, reasons=reasons)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Fit:
    """Peaks that were fitted together, in voxels."""

    peaks: Separated
    """By falling height."""
    scale: float
    """Height in the smoothed volume over that in the convolved one."""
    window: float
    """Square voxels: variance of smoothing and weight together."""
    widening: float
    """Square voxels by which they widen a Gaussian."""
    noise: float
    """Standard deviation of the convolved volume at peaks."""
    between: float
    """What is left of it around them."""


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
        Candidates of species X, strongest first, with the arrays `intensity`, `peak_width`, `position_sigma`, and the
        standard errors `intensity_sigma`, `peak_width_sigma`.
    Trace
        How they were found, and the maxima that were rejected, each with its reason.

    Raises
    ------
    InputError
        If the volume is not finite, has no maximum, none that stands out of its noise, or so many that the threshold
        lies in its noise.

    Notes
    -----
    All maxima that may be two atoms are fitted together as Gaussians, see `separated`, in the volume convolved with a
    weight of width w; there a Gaussian atom of width s, in a volume smoothed by l, has the covariance
    :math:`s^2 + l^2 + w^2 = -3 e / \operatorname{tr} Q`, e its height and Q its second derivatives. `intensity` is the
    sum of its density under a Gaussian window of width :math:`\sqrt{l^2 + w^2}`. The position error is that of the
    maximum of a smooth random field, :math:`\sigma / (\sqrt{2 (l^2 + w^2)} |Q|)`.

    Of two maxima nearer than the minimum distance the higher stays, of equals the one that comes first in the volume,
    as in the tracing of Yang et al., Nature 542, 75 (2017); the distance is that of the fitted Gaussians, without the
    lean that overlapping maxima have toward each other. The ground of the volume and single faulty voxels are taken
    off before, see `cleared`.
    """
    given, distance = volume, settings.min_distance / volume.voxel_size
    volume, smooth = cleared(given, settings.smoothing)
    starts, strong = maxima(smooth)
    threshold = FAINTEST * strong if settings.threshold is None else settings.threshold
    starts = starts[smooth[tuple(starts.T)] >= threshold]
    _check_number(len(starts), volume, threshold, settings.min_distance, strong)
    first = _fitted(smooth, starts, max(FIT_WIDTH[0], FIT_WIDTH[1] / volume.voxel_size))
    near = first.thinned(_LEAN * distance)
    fit = _fit_together(smooth, near.centers[near.reasons == ""], volume, settings, threshold)
    heights = fit.scale * fit.peaks.heights
    faint = np.where(heights < threshold, FAINT, np.full(len(heights), "", dtype="U24"))
    last = _Maxima(centers=fit.peaks.centers, heights=heights, reasons=faint).thinned(distance)
    atoms = _candidates(fit, last.reasons == "", volume)
    median = float(np.median(neighbor_distances(atoms)[0])) if len(atoms) > 1 else None
    by_level, rejected = _by_level(LEVELS * strong, fit, last, volume), _rejected(volume, near, last)
    return atoms, Trace(
        n_candidates=len(starts),
        n_atoms=len(atoms),
        n_split=len(heights) - near.n_sound,
        threshold=float(threshold),
        strong=strong,
        noise=fit.noise,
        **by_level,
        min_distance=settings.min_distance,
        n_closer=first.thinned(CONTROL * distance).n_sound - first.thinned(distance).n_sound,
        median_neighbor_distance=median,
        warnings=(
            *volume.history[len(given.history) :],
            *_warnings(median),
            *_spots(atoms),
            *_short_bonds(atoms, rejected, by_level["noise_threshold"], settings.min_distance),
        ),
        rejected=rejected,
    )


def _fit_together(
    smooth: NDArray[np.float32], centers: Floats, volume: Volume, settings: TraceSettings, threshold: float
) -> _Fit:
    """Peaks at these maxima (n, 3), and their noise; by falling height."""
    if not len(centers):
        raise InputError("the volume has no peaks: every maximum leads out of its box; give a volume with a margin")
    distance, smoothing = (length / volume.voxel_size for length in (settings.min_distance, settings.smoothing))
    width = max(JOINT_WIDTH[0], JOINT_WIDTH[1] * distance)
    window = width**2 + smoothing**2
    # those that are near to each other one after the other: the volume is read in order
    peaks = separated(smooth, centers[np.lexsort(centers.T[::-1].round())], width, farthest=_FARTHEST * distance)
    between, scale = unexplained(smooth, peaks, width), _height_scale(peaks.shape, width)
    _check_noise(peaks, between, window, volume, settings)
    noise, least = noise_of(peaks, between, window), threshold / scale
    peaks = split(smooth, peaks, width, noise=noise, between=between, window=window, least=least, distance=distance)
    return _Fit(
        peaks=peaks.of(np.argsort(-peaks.heights, kind="stable")),
        scale=scale,
        window=window,
        widening=_widening(width, smoothing),
        noise=noise,
        between=between,
    )


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


def _fitted(smooth: NDArray[np.float32], starts: NDArray[np.intp], width: float) -> _Maxima:
    """Each maximum by itself, by falling height.

    One on the slope of another, where a quadratic has no maximum, stays at its voxel.
    """
    centers, heights, _, ends = kernels.fit_peaks(smooth, starts.astype(np.float64), width, _ROUGHLY)
    failed = ends != kernels.CONVERGED
    heights[failed] = smooth[tuple(starts[failed].T)]
    centers[failed] = starts[failed]
    reasons = np.full(len(starts), "", dtype="U24")
    for end, reason in _REASONS.items():
        reasons[ends == end] = reason
    order = np.argsort(-heights, kind="stable")
    return _Maxima(centers=centers[order], heights=heights[order], reasons=reasons[order])


def _height_scale(shape: Floats, width: float) -> float:
    """Height of a peak of this covariance (3, 3), without the weight of the fit, over its height with it."""
    variances = np.linalg.eigvalsh(shape)
    return float(np.sqrt(np.prod(variances / np.maximum(variances - width**2, 0.25 * variances))))


def _check_noise(peaks: Separated, between: float, window: float, volume: Volume, settings: TraceSettings) -> None:
    """Raise InputError where noise would make maxima as high as the strong ones."""
    high = float(np.percentile(peaks.heights, 95))
    n_found = np.count_nonzero(peaks.heights >= high)
    n_voxels = int(np.count_nonzero(volume.values))
    expected = noise_maxima(np.array([high]), _UNCERTAINTY * between, window, n_voxels)[0]
    if expected > _NOISE_SHARE * n_found:
        usual, advice = TraceSettings(), "look at the volume"
        if settings.smoothing > usual.smoothing:
            advice = f"leave out --smoothing {settings.smoothing:g} (default {usual.smoothing:g}), or {advice}"
        if settings.min_distance < usual.min_distance:
            advice = f"leave out --min-distance {settings.min_distance:g} (default {usual.min_distance:g}), or {advice}"
        raise InputError(
            f"the volume has no peaks: its {len(peaks.heights)} maxima are as noise makes them, strong ones only "
            f"{high / max(between, np.finfo(float).tiny):.1f} times as high as what is left between them (atoms: 7 and "
            f"more); {advice}"
        )


def _rejected(volume: Volume, *steps: _Maxima) -> Rejected:
    """What was rejected in several steps."""
    out = [step.reasons != "" for step in steps]
    return Rejected(
        positions=volume.positions(np.concatenate([step.centers[o] for step, o in zip(steps, out, strict=True)])),
        heights=np.concatenate([step.heights[o] for step, o in zip(steps, out, strict=True)]),
        reasons=np.concatenate([step.reasons[o] for step, o in zip(steps, out, strict=True)]),
    )


def thinned(points: Floats, distance: float) -> NDArray[np.bool_]:
    """Which of the points (n, 3), strongest first, have no stronger one that stays within this distance (n,)."""
    from scipy.spatial import cKDTree

    pairs = cKDTree(points).query_pairs(distance, output_type="ndarray").astype(np.int64)
    return np.asarray(kernels.without_close(len(points), pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]))


def _widening(width: float, smoothing: float) -> float:
    """Square voxels by which smoothing and fit, which end at some voxel, widen a Gaussian: looked up on known ones."""
    from scipy.ndimage import gaussian_filter

    half = int(np.ceil(5.0 * (width + smoothing)))
    axis = np.arange(-half, half + 1.0)
    found = []
    for offset in (np.zeros(3), np.array([0.5, 0.25, 0.0]), np.array([0.25, 0.5, 0.5])):
        x, y, z = (np.exp(-0.5 * ((axis - shift) / width) ** 2) for shift in offset)
        values = gaussian_filter((x[:, None, None] * y[:, None] * z).astype(np.float32), smoothing, truncate=3.0)
        there = kernels.convolved_derivatives(values, offset[None] + half, width)[0]
        found.append(-3.0 * there[0] / there[4:7].sum() - width**2)
    return float(np.mean(found))


def _candidates(fit: _Fit, which: NDArray[np.bool_], volume: Volume) -> Atoms:
    """Atoms of species X at some of the peaks (n,), with what the fits say of them, and its errors."""
    peaks = fit.peaks.of(which)
    squared = -3.0 * peaks.heights / np.trace(peaks.curvatures, axis1=1, axis2=2)
    widths = np.sqrt(np.maximum(squared - fit.widening, 0.0))
    # to first order the error of the square over twice the width; an atom without a width has one too
    spread = np.sqrt(widths**2 + squared * width_error(squared, fit.window) * fit.noise / peaks.heights) - widths
    inverse = np.linalg.inv(peaks.curvatures)
    errors = fit.noise / np.sqrt(2.0 * fit.window) * np.sqrt(np.einsum("nij,nij->ni", inverse, inverse))
    sums = (2.0 * np.pi * fit.window) ** 1.5
    atoms = Atoms(np.zeros(len(peaks.centers), dtype=np.intp), positions=volume.positions(peaks.centers))
    for name, values in {
        "intensity": peaks.heights * sums,
        "intensity_sigma": np.full(len(atoms), fit.noise * sums),
        "peak_width": widths * volume.voxel_size,
        "peak_width_sigma": spread * volume.voxel_size,
        "position_sigma": errors * volume.voxel_size,
        "site_id": np.arange(1, len(atoms) + 1, dtype=np.int32),
    }.items():
        atoms.set_array(name, values)
    return atoms


def _by_level(levels: Floats, fit: _Fit, found: _Maxima, volume: Volume) -> dict[str, Any]:
    """How many candidates there are above levels (k,), how many maxima noise would make, and from where on few."""
    stays = found.reasons == ""
    n_above = np.array([np.count_nonzero(found.heights[stays] >= level) for level in levels])
    n_voxels = int(np.count_nonzero(volume.values))
    n_noise = noise_maxima(levels / fit.scale, max(fit.noise, fit.between), fit.window, n_voxels)
    dirty = np.flatnonzero(n_noise > _NOISE_SHARE * n_above)
    clean = levels[min(dirty[-1] + 1, len(levels) - 1)] if dirty.size else levels[0]
    return {"levels": levels, "n_above": n_above, "n_noise": n_noise, "noise_threshold": float(clean)}


def _warnings(median: float | None) -> tuple[str, ...]:
    low, high = CANDIDATE_RANGE
    if median is None or low <= median <= high:
        return ()
    return (f"the median distance of neighbors is {median:.3g}, outside {low} to {high} Å: is the voxel size right?",)


def _spots(atoms: Atoms) -> tuple[str, ...]:
    """Whether a few of the atoms, strongest first, are far above all others."""
    heights = atoms.arrays["intensity"]
    n = int(np.count_nonzero(heights > bounded(heights)))
    if not n:
        return ()
    place = ", ".join(f"{x:.1f}" for x in atoms.positions[0])
    said = "1 maximum is" if n == 1 else f"{n} maxima are"
    return (
        f"{said} more than {SPOT:g} times as high as all others (the highest at {place} Å): contamination, faults of "
        "images, or an element far heavier than the rest?",
    )


def _short_bonds(atoms: Atoms, rejected: Rejected, noise_threshold: float, min_distance: float) -> tuple[str, ...]:
    """Whether the minimum distance cuts bonds: what it left out is no noise and lies in one shell around atoms."""
    from scipy.spatial import cKDTree

    hidden = rejected.positions[(rejected.reasons == _CLOSE) & (rejected.heights >= noise_threshold)]
    if len(hidden) < max(1.0, _MANY_CLOSE * len(atoms)):
        return ()
    low, high = np.quantile(cKDTree(atoms.positions).query(hidden)[0], (0.1, 0.9))
    if high - low > _SHELL:
        return ()
    return (
        f"{len(hidden)} maxima that are no noise lie {low:.2f} to {high:.2f} Å from a higher one and were left out: if "
        f"bonds are shorter than {min_distance:g} Å, take --min-distance {_SHORTER * low:.1f}",
    )
