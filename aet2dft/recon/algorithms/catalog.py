"""The algorithms of `reconstruct`: how each begins, how long it runs, and which one fits a tilt series.

They are in modules of their own; ``reconstruction`` drives the one that is taken.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aet2dft.config import ReconstructSettings
from aet2dft.errors import InputError
from aet2dft.recon.algorithms import (
    back_projection,
    equal_slope,
    extent,
    genfire,
    least_squares,
    sirt,
    total_variation,
)
from aet2dft.recon.algorithms.descent import Memory, State
from aet2dft.recon.algorithms.extent import reaches_edges
from aet2dft.recon.tilt_series import TiltSeries


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """What an algorithm is asked for, besides images and support."""

    settings: ReconstructSettings
    """Constraints and options."""
    iterations: int
    """Over which a schedule is spread, where there is one."""
    seed: int
    """Of random choices, where there are any."""
    memory: Memory | None
    """Where to go on from; None: from the beginning."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Algorithm:
    """One way from images to a volume."""

    begin: Callable[[TiltSeries, NDArray[np.bool_], Task], Iterator[State]]
    """Its states, from images and a support (nx, ny, nz)."""
    most: int
    """Iterations after which it stops if images that were left out have not stopped it."""
    usual: int
    """Iterations where no images are left out."""
    by_planes: bool = True
    """Whether planes perpendicular to a single tilt axis are problems of their own."""
    extended: bool = False
    """Whether it can do with objects that are larger than the images."""


def _lsq(series: TiltSeries, support: NDArray[np.bool_], task: Task) -> Iterator[State]:
    return _least_squares(task)(series, support, positivity=task.settings.positivity, start=task.memory)


def _resire(series: TiltSeries, support: NDArray[np.bool_], task: Task) -> Iterator[State]:
    return _least_squares(task)(
        series, support, positivity=task.settings.positivity, accelerate=False, start=task.memory
    )


def _least_squares(task: Task) -> Callable[..., Iterator[State]]:
    return extent.iterate if task.settings.extended else least_squares.iterate


def _genfire(series: TiltSeries, support: NDArray[np.bool_], task: Task) -> Iterator[State]:
    return genfire.iterate(
        series,
        support,
        oversampling=task.settings.oversampling,
        reach=task.settings.interpolation_cutoff,
        positivity=task.settings.positivity,
        schedule=task.settings.schedule,
        iterations=task.iterations,
        check_every=None,
        seed=task.seed,
        start=task.memory,
    )


def _sirt(series: TiltSeries, support: NDArray[np.bool_], task: Task) -> Iterator[State]:
    return sirt.iterate(series, support, positivity=task.settings.positivity, start=task.memory)


def _sart(series: TiltSeries, support: NDArray[np.bool_], task: Task) -> Iterator[State]:
    return sirt.iterate(series, support, one_by_one=True, positivity=task.settings.positivity, start=task.memory)


def _tv(series: TiltSeries, support: NDArray[np.bool_], task: Task) -> Iterator[State]:
    settings = task.settings
    return total_variation.iterate(
        series, support, weight=settings.variation, positivity=settings.positivity, start=task.memory
    )


def _est(series: TiltSeries, support: NDArray[np.bool_], task: Task) -> Iterator[State]:
    return equal_slope.iterate(series, support, positivity=task.settings.positivity, start=task.memory)


def _fbp(series: TiltSeries, support: NDArray[np.bool_], task: Task) -> Iterator[State]:
    return back_projection.iterate(series, support, positivity=task.settings.positivity, start=task.memory)


ALGORITHMS = {
    "lsq": Algorithm(begin=_lsq, most=200, usual=60, extended=True),
    "resire": Algorithm(begin=_resire, most=500, usual=200, extended=True),
    "genfire": Algorithm(begin=_genfire, most=200, usual=100),
    "sirt": Algorithm(begin=_sirt, most=300, usual=100, extended=True),
    "sart": Algorithm(begin=_sart, most=50, usual=10, extended=True),
    "tv": Algorithm(begin=_tv, most=200, usual=100, by_planes=False),
    "est": Algorithm(begin=_est, most=200, usual=60),
    "fbp": Algorithm(begin=_fbp, most=1, usual=1),
}
"""By the name that the user gives."""


_NEARLY_ONE_AXIS = 1.0
"""Degrees by which images may be off one tilt axis for that to be worth a try."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """What fits a tilt series."""

    algorithm: str
    """Key of `ALGORITHMS`."""
    extended: bool
    """Whether the object is larger than the images."""
    reason: str
    """Why."""


def start(
    series: TiltSeries,
    support: NDArray[np.bool_],
    *,
    algorithm: str,
    settings: ReconstructSettings,
    iterations: int,
    seed: int,
    memory: Memory | None = None,
) -> Iterator[State]:
    """States of an algorithm after each of its iterations.

    Parameters
    ----------
    series : TiltSeries
        Images.
    support : ndarray of bool, shape (nx, ny, nz)
        Where the density may differ from zero.
    algorithm : str
        Key of `ALGORITHMS`.
    settings : ReconstructSettings
        Constraints and options.
    iterations : int
        Over which a schedule is spread, where there is one; the caller ends the iterations.
    seed : int
        Of random choices, where there are any.
    memory : Memory, optional
        Of an earlier state, to go on from there.
    """
    task = Task(settings=settings, iterations=iterations, seed=seed, memory=memory)
    return ALGORITHMS[algorithm].begin(series, support, task)


def choose(series: TiltSeries, settings: ReconstructSettings, *, has_support: bool) -> Choice:
    """Algorithm and box for a series, by what the user asks for and, where nothing is asked for, by the images.

    Parameters
    ----------
    series : TiltSeries
        Images.
    settings : ReconstructSettings
        Of the user.
    has_support : bool
        Whether the user says where the object is.

    Raises
    ------
    InputError
        If an algorithm is asked for that cannot do with an extended object, or a support for one.
    """
    name = "lsq" if settings.algorithm == "auto" else settings.algorithm
    extended, seen = _whether_extended(series, settings, able=ALGORITHMS[name].extended and not has_support)
    if extended and not ALGORITHMS[name].extended:
        able = ", ".join(key for key, value in ALGORITHMS.items() if value.extended)
        raise InputError(f"{name} cannot reconstruct objects larger than the images; take one of {able}")
    if extended and has_support:
        raise InputError("an extended object fills its box, no support applies; leave out --support or --extended")
    why = "chosen by the user" if settings.algorithm != "auto" else f"accelerated least squares ({_rotations(series)})"
    return Choice(algorithm=name, extended=extended, reason=f"{why}: {seen}")


def _rotations(series: TiltSeries) -> str:
    """How the object was turned, and where that costs time that a choice of the user could spare."""
    if series.is_single_axis:
        return "one tilt axis, plane by plane"
    off = math.degrees(math.acos(min(1.0, float(series.rotations[:, 1, 1].min()))))
    hint = f", {off:.1f}° off one tilt axis: the tilt angles alone would take a tenth of the time"
    return f"rotations in three dimensions{hint * (off < _NEARLY_ONE_AXIS)}"


def _whether_extended(series: TiltSeries, settings: ReconstructSettings, *, able: bool) -> tuple[bool, str]:
    """Whether the object is larger than the images, and what says so; they are not asked if nothing could be done."""
    if settings.extended is False and settings.thickness is not None:
        raise InputError("a thickness is that of an extended object; leave out --thickness or --no-extended")
    if settings.extended is not None:
        return settings.extended, "an extended object, by the user" if settings.extended else "no extended object"
    if settings.thickness is not None:
        return True, "an extended object, since its thickness is given"
    if not able:
        return False, "no extended object"
    if reaches_edges(series):
        return True, "the object goes on beyond the images, so only measured pixels are compared"
    return False, "the object lies inside the images across the tilt axis"
