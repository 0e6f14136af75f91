"""A volume from a tilt series: which algorithm, how many iterations, how good.

The algorithms are in ``least_squares`` and ``genfire``; here they are driven.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from aet2dft.config import ReconstructSettings
from aet2dft.errors import InputError
from aet2dft.recon import genfire, least_squares
from aet2dft.recon.checkpoint import Checkpoint
from aet2dft.recon.descent import Memory, State
from aet2dft.recon.fft import fast_size
from aet2dft.recon.footprint import require
from aet2dft.recon.gridding import grid_size
from aet2dft.recon.metrics import image_fit
from aet2dft.recon.projector import project_volume
from aet2dft.recon.support import background, shadow_support
from aet2dft.recon.tilt_series import TiltSeries, Volume
from aet2dft.recon.trial import Trial, choose_held_out, leave_out

_MOST_ITERATIONS = {"lsq": 200, "resire": 500, "genfire": 200}
"""Iterations after which an algorithm stops if the images that were left out have not stopped it."""
_WITHOUT_TRIAL = {"lsq": 60, "resire": 200, "genfire": 100}
"""Iterations where no images are left out."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reconstruction:
    """How a volume was made from a tilt series, and how well it explains it."""

    algorithm: str
    """lsq, resire or genfire."""
    reason: str
    """Why this algorithm and this number of iterations."""
    iterations: int
    """Iterations behind the volume."""
    grid_shape: tuple[int, ...]
    """Samples of the padded grid whose frequencies are compared with those of the images."""
    support_fraction: float
    """Part of the voxels that may differ from zero."""
    background: NDArray[np.float64]
    """(n,): subtracted from every image first, in its units."""
    scale: float
    """Factor by which projections of the volume fit the images best; near 1 where the volume fits."""
    r_factor: float
    """R factor of all images, with this common scale."""
    r_factor_per_image: NDArray[np.float64]
    """(n,): of every image."""
    r_free: float | None
    """R factor of images that were left out, in the trial at about this number of iterations; None without a trial."""
    r_fourier: float | None
    """R factor of the measured frequencies; None but for GENFIRE."""
    r_free_fourier: float | None
    """R factor of frequencies that were withheld; None but for GENFIRE."""
    trial: Trial | None
    """The run without some of the images; None where there was none."""
    misfit: NDArray[np.float64]
    """(iterations,): norm of data minus model over the norm of the data, before every iteration."""
    seconds_per_iteration: float
    """Of wall-clock time, preparation not counted."""


def reconstruct(
    series: TiltSeries,
    settings: ReconstructSettings = ReconstructSettings(),
    *,
    support: NDArray[np.bool_] | None = None,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
    checkpoint: Path | None = None,
) -> tuple[Volume, Reconstruction]:
    """Make a volume from aligned images.

    Parameters
    ----------
    series : TiltSeries
        Aligned images, bright on dark.
    settings : ReconstructSettings
        Algorithm, iterations, constraints; its `support` is a file that the caller reads.
    support : ndarray of bool, shape (nx, ny, nz), optional
        Where the object is; nx and ny as in the images, nz sets the depth. Default: inside all shadows of the object,
        as deep as the images are wide.
    seed : int
        Of the choice of the images that are left out.
    progress : callable, optional
        Told the iterations done and their total.
    checkpoint : Path, optional
        File that keeps the state every few minutes; if it is there already, the reconstruction goes on from it, to the
        same bytes as without a break. It is removed at the end.

    Returns
    -------
    Volume
        Density per voxel: its sums along the beam are the images. The rotation center is at zero.
    Reconstruction
        How it was made and how good it is.

    Raises
    ------
    InputError
        If the support does not fit the images or is empty, or the checkpoint belongs to another reconstruction.
    ResourceError
        If memory does not suffice; nothing was started.

    Notes
    -----
    Without a number of iterations, a trial run leaves out some images and stops when it predicts them no better
    (A. T. Brünger, Nature 355, 472 (1992)); the volume then comes from all images and as many iterations. About one
    tilt axis the trial takes every so-manieth plane only: planes are problems of their own.
    """
    series = centered_columns(series)
    if support is None:
        support = shadow_support(series, series.projections.shape[1])
    _check_support(support, series)
    algorithm = "lsq" if settings.algorithm == "auto" else settings.algorithm
    require(series, support.shape, algorithm, settings.oversampling)
    ground = background(series, support)
    series = replace(series, projections=series.projections - ground[:, None, None].astype(np.float32))
    start = partial(_start, settings=settings, algorithm=algorithm, seed=seed)
    judged = _judge(series, support, start, settings, algorithm, seed)
    iterations, reason = _stop(settings, algorithm, judged)
    kept = None if checkpoint is None else Checkpoint(checkpoint, _origin(series, support, settings, seed))
    state, seconds = _last_state(partial(start, series, support, iterations=iterations), iterations, kept, progress)
    fit = image_fit(series.projections, project_volume(series, state.values))
    made = f"{algorithm}, {iterations} iterations, R factor {fit.r_factor:.4f}"
    volume = Volume(values=state.values, voxel_size=series.pixel_size, origin=np.zeros(3), history=(made,))
    return volume, Reconstruction(
        algorithm=algorithm,
        reason=reason,
        iterations=iterations,
        grid_shape=_grid_shape(series, support.shape, settings, algorithm),
        support_fraction=float(support.mean()),
        background=ground,
        scale=fit.scale,
        r_factor=fit.r_factor,
        r_factor_per_image=fit.per_image,
        r_free=None if judged is None else judged.r_free_after(iterations),
        r_fourier=None if math.isnan(state.r_fourier) else state.r_fourier,
        r_free_fourier=None if math.isnan(state.r_free_fourier) else state.r_free_fourier,
        trial=judged,
        misfit=state.memory.misfit,
        seconds_per_iteration=seconds,
    )


def _check_support(support: NDArray[np.bool_], series: TiltSeries) -> None:
    if support.ndim != 3 or support.shape[:2] != series.projections.shape[1:]:
        raise InputError(
            f"a support of shape {support.shape} does not fit images of {series.projections.shape[1:]} pixels; "
            "its first two axes are those of the images"
        )
    if not support.any():
        raise InputError("the support holds no voxel; give one that holds the object")


def _start(
    series: TiltSeries,
    support: NDArray[np.bool_],
    *,
    settings: ReconstructSettings,
    algorithm: str,
    iterations: int,
    seed: int,
    memory: Memory | None = None,
) -> Iterator[State]:
    """The states of an algorithm; GENFIRE spreads its schedule over the iterations."""
    if algorithm != "genfire":
        accelerate = algorithm == "lsq"
        return least_squares.iterate(
            series, support, positivity=settings.positivity, accelerate=accelerate, start=memory
        )
    return genfire.iterate(
        series,
        support,
        oversampling=settings.oversampling,
        reach=settings.interpolation_cutoff,
        positivity=settings.positivity,
        schedule=settings.schedule,
        iterations=iterations,
        check_every=iterations,
        seed=seed,
        start=memory,
    )


def _judge(
    series: TiltSeries,
    support: NDArray[np.bool_],
    start: Callable[..., Iterator[State]],
    settings: ReconstructSettings,
    algorithm: str,
    seed: int,
) -> Trial | None:
    """The run without some of the images; None where none can be spared."""
    left_out = choose_held_out(series, settings.held_out, seed)
    if not left_out.size:
        return None
    most = settings.iterations or _MOST_ITERATIONS[algorithm]
    begin, early = partial(start, iterations=most), settings.iterations is None
    return leave_out(series, support, begin, left_out=left_out, most=most, stop_early=early)


def centered_columns(series: TiltSeries) -> TiltSeries:
    """The same images, moved along the tilt axis until the rotation center of each lands on its middle column.

    Parameters
    ----------
    series : TiltSeries
        Any; only one about a single axis is changed, where planes perpendicular to the axis are columns of pixels.
    """
    middle = series.projections.shape[2] // 2
    shifts = middle - series.center[:, 1]
    if not series.is_single_axis or not shifts.any():
        return series
    size = fast_size(2 * series.projections.shape[2])
    phases = np.exp(-2j * np.pi * shifts[:, None] * fft.rfftfreq(size)).astype(np.complex64)
    moved = fft.irfft(fft.rfft(series.projections, size, axis=2) * phases[:, None], size, axis=2)
    center = np.column_stack([series.center[:, 0], np.full(series.n_images, middle)])
    return replace(series, projections=moved[:, :, : series.projections.shape[2]], center=center)


def _stop(settings: ReconstructSettings, algorithm: str, trial: Trial | None) -> tuple[int, str]:
    """Number of iterations, and why."""
    chosen = "chosen by the user"
    why = "least squares, accelerated: fits most data" if settings.algorithm == "auto" else chosen
    if settings.iterations is not None:
        return settings.iterations, f"{why}; iterations {chosen}"
    if trial is None:
        return _WITHOUT_TRIAL[algorithm], f"{why}; the usual number of iterations"
    iterations = int(trial.iteration[trial.best])
    return iterations, f"{why}; more iterations predict {len(trial.held_out)} left-out images no better"


def _last_state(
    start: Callable[..., Iterator[State]],
    iterations: int,
    checkpoint: Checkpoint | None,
    progress: Callable[[int, int], None] | None,
) -> tuple[State, float]:
    """State after the last iteration, with values of its own, and seconds for every iteration."""
    memory = None if checkpoint is None else checkpoint.load()
    times = []
    for state in start(memory=memory):
        times.append(time.perf_counter())
        if progress is not None:
            progress(state.iteration, iterations)
        if state.iteration >= iterations:
            break
        if checkpoint is not None:
            checkpoint.save_if_due(state.memory)
    if checkpoint is not None:
        checkpoint.remove()
    seconds = (times[-1] - times[0]) / max(1, len(times) - 1)
    return replace(state, values=np.ascontiguousarray(state.values)), seconds


def _origin(series: TiltSeries, support: NDArray[np.bool_], settings: ReconstructSettings, seed: int) -> dict[str, str]:
    """Digests of all that the volume depends on."""
    chosen = settings.model_dump_json(exclude={"support"})
    return {
        "images": series.digest,
        "support": hashlib.sha256(np.packbits(support).tobytes()).hexdigest(),
        "settings": hashlib.sha256(f"{chosen} {seed}".encode()).hexdigest(),
    }


def _grid_shape(
    series: TiltSeries, shape: tuple[int, ...], settings: ReconstructSettings, algorithm: str
) -> tuple[int, ...]:
    turned = (shape[0], shape[2]) if series.is_single_axis else shape
    if algorithm == "genfire":
        size = grid_size(turned, settings.oversampling)
        return (size, shape[1] if series.is_single_axis else size, size)
    rows, *rest = (fast_size(2 * n - 1) for n in turned)
    return (rows, shape[1], *rest) if series.is_single_axis else (rows, *rest)
