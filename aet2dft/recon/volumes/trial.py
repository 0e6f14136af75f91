"""A run that leaves out some images: how many iterations predict what was never seen."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aet2dft.recon.algorithms.checkpoint import Checkpoint, Looks
from aet2dft.recon.algorithms.descent import State, watched
from aet2dft.recon.fourier.columns import ENOUGH, centered_columns, reached_columns, take_columns
from aet2dft.recon.geometry import same_beams
from aet2dft.recon.images.noise import noise_r_factor
from aet2dft.recon.tilt_series import TiltSeries

_CHECK_EVERY = 5
"""Iterations between two looks at the images that were left out."""
_PATIENCE = 6
"""Looks without progress after which a trial ends."""
_PROGRESS = 0.002
"""Relative fall of that R factor that counts as progress."""
_AS_GOOD = 0.08
"""Relative difference of two R factors of left-out images that means nothing: the later iteration is taken.

The gaps that left-out images make are overfitted earlier than the whole series is. What noise alone makes of the
R factor no iteration changes: it does not count.
"""
_FEWEST = 10
"""Images of which some can be left out."""
_FEWEST_FITTED = 3
"""Images that must remain: fewer say nothing of an object in three dimensions."""
_SAME_BEAM = 1e-6
"""Sine squared, roughly, of an angle between beams along which the same is seen."""
Start = Callable[..., Iterator[State]]
"""Takes a series, a support (nx, ny, nz) and the `Memory` of an earlier state or None: the states of an algorithm."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """A run that some images took no part in. About one tilt axis it is made with some of the planes only."""

    held_out: NDArray[np.int64]
    """(m,): images that it left out."""
    iteration: NDArray[np.int64]
    """(k,): iterations after which it was judged."""
    r_free: NDArray[np.float64]
    """(k,): R factor of the images that it left out."""
    noise: float
    """The part of it that the noise of these images makes."""

    def r_free_after(self, iterations: int) -> float:
        """R factor of the left-out images after this many iterations, or after the last judgment before."""
        seen = int(np.searchsorted(self.iteration, iterations, side="right"))
        return float(self.r_free[max(0, seen - 1)])

    @property
    def best(self) -> int:
        """Position of the last judgment that is as good as the best one."""
        return int(np.flatnonzero(self.r_free <= _as_good_as(float(self.r_free.min()), self.noise))[-1])


def leave_out(
    series: TiltSeries,
    support: NDArray[np.bool_],
    start: Start,
    *,
    left_out: NDArray[np.int64],
    most: int,
    stop_early: bool,
    by_planes: bool,
    checkpoint: Checkpoint | None = None,
) -> Trial:
    """Fit the other images and watch how well the left-out ones are predicted.

    Parameters
    ----------
    series : TiltSeries
        All images.
    support : ndarray of bool, shape (nx, ny, nz)
        Where the density may differ from zero.
    start : callable
        Begins the algorithm.
    left_out : ndarray, shape (m,)
        Images that are left out, at least one.
    most : int
        Iterations after which the trial ends.
    stop_early : bool
        Whether it ends before, once more iterations do not help.
    by_planes : bool
        Whether planes perpendicular to a tilt axis are problems of their own: then some of them are enough.
    checkpoint : Checkpoint, optional
        Keeps the state; what it holds already is not done again.
    """
    noise = float(noise_r_factor(series.projections[left_out]).mean())
    if by_planes:
        columns = reached_columns(support, ENOUGH)
        series, support = take_columns(series, columns), support[:, columns]
    # images about one axis may be left of a series that had more
    fitted = centered_columns(series.subset(np.setdiff1d(np.arange(series.n_images), left_out)))
    held_out = series.subset(left_out)
    before = None if checkpoint is None else checkpoint.looks()
    iterations, r_free = ([], []) if before is None else (before.iteration.tolist(), before.r_free.tolist())
    states = start(fitted, support, memory=None if before is None else before.memory)
    for state in watched(states, held_out=held_out, every=min(_CHECK_EVERY, most)):
        if not math.isnan(state.r_free):
            iterations.append(state.iteration)
            r_free.append(state.r_free)
            if stop_early and (state.converged or _stalled(r_free, noise)):
                break
        if state.iteration >= most:
            break
        if checkpoint is not None and checkpoint.is_due:
            looks = Looks(iteration=np.array(iterations), r_free=np.array(r_free), memory=state.memory)
            checkpoint.save_looks(looks)
    return Trial(held_out=left_out, iteration=np.array(iterations), r_free=np.array(r_free), noise=noise)


def _as_good_as(r_free: float, noise: float) -> float:
    """The largest R factor of left-out images that is no worse than this one."""
    return r_free + _AS_GOOD * max(0.0, r_free - noise)


def _stalled(r_free: list[float], noise: float) -> bool:
    """Whether the left-out images are predicted worse than before, or for long no better worth a word."""
    worse = r_free[-1] > _as_good_as(min(r_free), noise)
    return worse or (len(r_free) > _PATIENCE and min(r_free[-_PATIENCE:]) > (1 - _PROGRESS) * min(r_free[:-_PATIENCE]))


def choose_held_out(series: TiltSeries, fraction: float, seed: int) -> NDArray[np.int64]:
    """Images to leave out: spread over the tilts, never the first or the last, with all that look the same way.

    Parameters
    ----------
    series : TiltSeries
        Images.
    fraction : float
        Of the images.
    seed : int
        Of the choice.

    Returns
    -------
    ndarray, shape (m,)
        Indices, rising; empty if the fraction is zero, there are fewer than ten images, or fewer than three of them
        would remain, as where all look the same way.
    """
    count = max(1, round(fraction * series.n_images))
    if fraction == 0 or series.n_images < _FEWEST:
        return np.zeros(0, dtype=np.int64)
    inner = np.argsort(series.tilt_angles, kind="stable")[1:-1]
    random = np.random.default_rng(seed)
    chosen = [random.choice(part) for part in np.array_split(inner, count)]
    alike = same_beams(series.rotations, series.rotations[chosen], _SAME_BEAM)
    out = np.flatnonzero(alike.any(axis=1))
    return out if series.n_images - len(out) >= _FEWEST_FITTED else out[:0]
