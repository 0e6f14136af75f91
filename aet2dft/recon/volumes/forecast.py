"""Time that a reconstruction takes, from small pieces of it that are carried out."""

from __future__ import annotations

import math
import time
from dataclasses import replace

import numpy as np

from aet2dft.recon.algorithms.catalog import ALGORITHMS, start
from aet2dft.recon.fourier.columns import BLOCK, take_columns
from aet2dft.recon.images.calibration import COARSE
from aet2dft.recon.tilt_series import TiltSeries
from aet2dft.recon.volumes.footprint import BY_PROJECTION
from aet2dft.recon.volumes.preparation import Plan
from aet2dft.recon.volumes.trial import COLUMNS

_FEW, _MORE = 2, 10
"""Columns of the two pieces about one tilt axis: their difference does not hold what is done once."""
_EDGE = 48
"""Pixels along each side of the piece that stands for images in any orientation."""
_TIMED = 3
"""Iterations of a piece that are timed."""
_TRIAL = 1.3
"""Iterations of a trial over those of the volume."""
_SHORT_RUNS, _SHORT = 6, 20
"""Runs on coarse images by which these are calibrated, and their iterations: 3 where images are even, else 11."""


def predicted_seconds(planned: Plan) -> float:
    """Wall-clock time of a reconstruction, its trial and its halves.

    Parameters
    ----------
    planned : Plan
        What is going to be done. Where the number of iterations is left to the trial, the usual number counts.
    """
    iterations = planned.settings.iterations or ALGORITHMS[planned.algorithm].usual
    trial = _TRIAL if planned.settings.held_out else 0.0
    return _by_planes(planned, iterations, trial) if planned.by_planes else _whole(planned, iterations, trial)


def _by_planes(planned: Plan, iterations: int, trial: float) -> float:
    columns = planned.shape[1]
    few, more = min(_FEW, columns), min(_MORE, columns)
    (low, _), (high, each) = (
        _timed(planned, take_columns(planned.series, np.arange(n)), (planned.shape[0], n, planned.shape[2]))
        for n in (few, more)
    )
    per_plane = max(0.0, high - low) / max(1, more - few)
    once = max(0.0, low - few * per_plane)
    halves = 0 if planned.settings.halves is False else _both_halves(planned) * min(BLOCK, columns)
    planes = columns + halves + trial * min(COLUMNS, columns)
    coarse = min(COARSE, planned.shape[0])
    planes += _SHORT_RUNS * _SHORT * coarse / iterations * (coarse / planned.shape[0]) ** 2
    return once * (-(-columns // BLOCK) + 3) + planes * (per_plane + iterations * each / more)


def _whole(planned: Plan, iterations: int, trial: float) -> float:
    edges = [min(_EDGE, size) for size in planned.shape]
    piece = replace(
        planned.series,
        projections=planned.series.projections[:, : edges[0], : edges[1]],
        center=np.tile(np.array(edges[:2]) // 2, (planned.series.n_images, 1)),
    )
    once, each = _timed(planned, piece, (edges[0], edges[1], edges[2]))
    small = math.prod(edges)

    def run(iterations: int, voxels: int) -> float:
        # of transforms; the preparation sums over images for every voxel
        more = voxels * math.log(voxels) / (small * math.log(small))
        return once * voxels / small + iterations * each * more

    runs = 1 + trial + (_both_halves(planned) if planned.settings.halves else 0)
    by = -(-max(planned.shape) // COARSE)
    calibration = _SHORT_RUNS * run(_SHORT, math.prod(max(1, size // by) for size in planned.shape))
    return runs * run(iterations, math.prod(planned.shape)) + calibration


def _both_halves(planned: Plan) -> int:
    """Time of both halves over that of the whole: a convolution takes as long for half of the images."""
    return 1 if planned.algorithm in BY_PROJECTION else 2


def _timed(planned: Plan, series: TiltSeries, shape: tuple[int, int, int]) -> tuple[float, float]:
    """Seconds of preparation with the first iteration, and of every further one; nothing is compiled in them."""
    support = np.ones(shape, dtype=bool)
    seconds = []
    for _ in range(2):
        states = start(
            series, support, algorithm=planned.algorithm, settings=planned.settings, iterations=_TIMED + 1, seed=0
        )
        begun = time.perf_counter()
        next(states)
        first = time.perf_counter()
        for _ in range(_TIMED):
            next(states)
        seconds.append((first - begun, (time.perf_counter() - first) / _TIMED))
    return seconds[-1]
