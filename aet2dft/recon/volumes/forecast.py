"""Time that a reconstruction takes, from small pieces of it that are carried out."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from aet2dft.recon.algorithms.catalog import ALGORITHMS, start
from aet2dft.recon.fourier.columns import BLOCK, ENOUGH, take_columns
from aet2dft.recon.images.calibration import COARSE
from aet2dft.recon.tilt_series import TiltSeries
from aet2dft.recon.volumes.footprint import BY_PROJECTION
from aet2dft.recon.volumes.preparation import FEWEST, Plan

_FEW, _MORE = 4, 16
"""Columns of the two pieces about one tilt axis: their difference does not hold what is done once."""
_EDGE = 48
"""Pixels along the longer side of the images of the piece that stands for those in any orientation."""
_TIMED = 3
"""Iterations of a piece that are timed."""
_TRIAL = 1.3
"""Iterations of a trial over those of the volume."""
_SHORT_RUNS, _SHORT = 6, 20
"""Runs on coarse images by which these are calibrated, 3 to 11 and at times two on fine ones; iterations of each."""
Seconds = tuple[float, float]
"""Of the preparation with the first iteration, and of every further one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Pace:
    """Time of a run that grows with two measures of its size: with planes or images, or with neither."""

    base: Seconds
    """What is the same for any size."""
    slope: Seconds
    """What comes with every unit of the size."""

    @classmethod
    def between(cls, few: int, low: Seconds, more: int, high: Seconds) -> _Pace:
        """The straight line through two measured times, nowhere falling and nowhere negative."""
        slope = [max(0.0, b - a) / (more - few) if more > few else b / more for a, b in zip(low, high, strict=True)]
        base = [max(0.0, b - s * more) for b, s in zip(high, slope, strict=True)]
        return cls(base=(base[0], base[1]), slope=(slope[0], slope[1]))

    def seconds(self, iterations: float, *, size: float, of_base: float = 1.0) -> float:
        """Of a run of this size, where what is the same for any size takes `of_base` times as long as measured."""
        once, each = (of_base * base + size * slope for base, slope in zip(self.base, self.slope, strict=True))
        return once + iterations * each


def predicted_seconds(planned: Plan) -> float:
    """Time of a reconstruction, its trial and its halves, on a machine that does nothing else.

    Parameters
    ----------
    planned : Plan
        What is going to be done. Where the number of iterations is left to the trial, the usual number counts.
    """
    iterations = planned.settings.iterations or ALGORITHMS[planned.algorithm].usual
    trial = _TRIAL * iterations if planned.settings.held_out else 0.0
    run = _by_planes if planned.by_planes else _whole
    # what is larger than its images is not calibrated by them
    if planned.settings.extended or planned.series.n_images < FEWEST:
        return run(planned, iterations, trial)
    return run(planned, iterations, trial) + _calibration(planned)


def _by_planes(planned: Plan, iterations: int, trial: float) -> float:
    columns = planned.shape[1]
    pace = _pace_of_planes(planned)
    blocks = -(-columns // BLOCK)
    total = blocks * pace.seconds(iterations, size=columns / blocks)
    if trial:
        total += pace.seconds(trial, size=min(ENOUGH, columns))
    if planned.settings.halves is not False:
        total += _both_halves(planned) * pace.seconds(iterations, size=min(BLOCK, columns))
    return total


def _pace_of_planes(planned: Plan) -> _Pace:
    """By the number of planes."""
    few, more = min(_FEW, planned.shape[1]), min(_MORE, planned.shape[1])
    middle = (planned.shape[1] - more) // 2  # there is something to see
    low, high = (
        _timed(planned, take_columns(planned.series, middle + np.arange(n)), (planned.shape[0], n, planned.shape[2]))
        for n in (few, more)
    )
    return _Pace.between(few, low, more, high)


def _whole(planned: Plan, iterations: int, trial: float) -> float:
    scale = min(1.0, _EDGE / max(planned.series.projections.shape[1:]))
    piece, shape = _corner(planned.series, scale), _scaled(planned.shape, scale)
    high = _timed(planned, piece, shape)
    more = _work(planned.shape) / _work(shape)
    if not _follows_images(planned):
        # of transforms; the preparation sums over images for every voxel
        once, each = high[0] * math.prod(planned.shape) / math.prod(shape), high[1] * more
        pace = _Pace(base=(once, each), slope=(0.0, 0.0))
        runs = [iterations, trial, *[iterations] * (_both_halves(planned) if planned.settings.halves else 0)]
        return sum(pace.seconds(n, size=0.0) for n in runs if n)
    n = piece.n_images
    pace = _Pace.between(1, _timed(planned, piece.subset([0]), shape), n, high)
    size = n * math.prod(planned.series.projections.shape[1:]) / math.prod(piece.projections.shape[1:])
    runs = [iterations, trial, *[iterations] * bool(planned.settings.halves)]
    return sum(pace.seconds(count, size=size, of_base=more) for count in runs if count)


def _calibration(planned: Plan) -> float:
    """Short runs of least squares on binned images."""
    by = -(-max(planned.series.projections.shape[1:]) // COARSE)
    settings = planned.settings.model_copy(update={"algorithm": "lsq", "iterations": _SHORT})
    shape = _scaled(planned.shape, 1.0 / by)
    coarse = replace(
        planned, series=_corner(planned.series, 1.0 / by), shape=shape, settings=settings, algorithm="lsq", support=None
    )
    if coarse.by_planes:
        return _SHORT_RUNS * _pace_of_planes(coarse).seconds(_SHORT, size=shape[1])
    return _SHORT_RUNS * _whole(coarse, _SHORT, 0.0)


def _follows_images(planned: Plan) -> bool:
    """Whether most of an iteration in three dimensions is done for every image, not for every voxel."""
    return bool(planned.settings.extended or planned.algorithm in BY_PROJECTION) and planned.algorithm != "sart"


def _both_halves(planned: Plan) -> int:
    """Time of both halves over that of the whole: a convolution takes as long for half of the images."""
    return 1 if planned.settings.extended or planned.algorithm in BY_PROJECTION else 2


def _corner(series: TiltSeries, scale: float) -> TiltSeries:
    """Images cut to a part of their edges, the rotation center in the middle of what is left."""
    rows, columns = _scaled(series.projections.shape[1:], scale)
    center = np.tile([rows // 2, columns // 2], (series.n_images, 1))
    return replace(series, projections=series.projections[:, :rows, :columns], center=center)


def _scaled(shape: tuple[int, ...], scale: float) -> tuple[int, ...]:
    return tuple(max(1, round(scale * size)) for size in shape)


def _work(shape: tuple[int, ...]) -> float:
    """Of a Fourier transform."""
    return math.prod(shape) * math.log(max(2, math.prod(shape)))


def _timed(planned: Plan, series: TiltSeries, shape: tuple[int, ...]) -> Seconds:
    """Seconds that a piece takes; nothing is compiled in them."""
    support = np.ones(shape, dtype=bool)
    for _ in range(2):
        states = start(
            series, support, algorithm=planned.algorithm, settings=planned.settings, iterations=_TIMED + 1, seed=0
        )
        begun = _clocks()
        next(states)
        first = _clocks()
        for _ in range(_TIMED):
            next(states)
        end = _clocks()
    return min(first - begun), min(end - first) / _TIMED


def _clocks() -> NDArray[np.float64]:
    """Wall-clock and processor time: the shorter one is that of a machine that does nothing else, with all threads."""
    return np.array([time.perf_counter(), time.process_time()])
