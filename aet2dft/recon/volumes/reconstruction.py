"""A volume from a tilt series: which algorithm, how many iterations, how good.

The algorithms are listed in ``algorithms``; here they are driven.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from aet2dft.config import ReconstructSettings
from aet2dft.recon.algorithms import genfire
from aet2dft.recon.algorithms.catalog import ALGORITHMS, start
from aet2dft.recon.algorithms.checkpoint import Checkpoint
from aet2dft.recon.algorithms.extent import inside
from aet2dft.recon.algorithms.iterations import Run, Tell, run
from aet2dft.recon.fourier.columns import centered_columns, reached_columns, take_columns, tight_box
from aet2dft.recon.fourier.fft import quick_size
from aet2dft.recon.fourier.gridding import grid_size
from aet2dft.recon.fourier.interpolation import doubled_size
from aet2dft.recon.fourier.projector import project_volume
from aet2dft.recon.images.noise import noise_r_factor, unexplained
from aet2dft.recon.metrics import ShellCorrelation, format_r, fourier_shell_correlation, image_fit
from aet2dft.recon.tilt_series import TiltSeries, Volume
from aet2dft.recon.volumes.footprint import BY_PROJECTION, require
from aet2dft.recon.volumes.preparation import Plan, Problem, plan, prepare
from aet2dft.recon.volumes.quality import Coverage, coverage
from aet2dft.recon.volumes.support import shadow_support
from aet2dft.recon.volumes.trial import Trial, choose_held_out, leave_out

_DOUBTFUL = 0.3
"""Part of the R factor without the noise from which on something is wrong: multiple scattering leaves 0.1 to 0.15."""
_HALF_COLUMNS = 32
"""Neighboring planes about one tilt axis of which halves are compared."""
_FEWEST_HALVED = 10
"""Images whose halves are still tilt series."""
_THINNEST = 4
"""Voxels along each axis of volumes that have shells to correlate."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reconstruction:
    """How a volume was made from a tilt series, and how well it explains it."""

    algorithm: str
    """Key of `aet2dft.recon.algorithms.catalog.ALGORITHMS`."""
    reason: str
    """Why this algorithm and this number of iterations."""
    iterations: int
    """Iterations behind the volume."""
    grid_shape: tuple[int, ...]
    """Samples of the grid of the transforms: of the frequencies of genfire, else of a convolution or projection."""
    support: NDArray[np.bool_] | None
    """(nx, ny, nz): that of the user; None: by the shadows."""
    support_fraction: float
    """Part of the voxels that may differ from zero."""
    background: NDArray[np.float64]
    """(n,): subtracted from every image first, in its units."""
    image_scale: NDArray[np.float64]
    """(n,): brightness of every image, 1 in the mean; NaN where it was not looked for."""
    equalized: bool
    """Whether the images were divided by it: where that predicts left-out images better."""
    center_offset: float
    """Pixels by which the rotation center was moved across the tilt axis, against what the series says."""
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
    fsc: ShellCorrelation | None
    """Shell correlation of volumes from every other image, each with a support of its own; None where not asked for."""
    coverage: Coverage
    """What the tilts measure at all."""
    misfit: NDArray[np.float64]
    """(iterations,): norm of data minus model over the norm of the data, before every iteration."""
    seconds_per_iteration: float
    """Of wall-clock time, preparation not counted."""
    warnings: tuple[str, ...]
    """What the user should look at."""


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
        File that keeps the state now and then; if it is there already, the reconstruction goes on from it, to the
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
    return carry_out(plan(series, settings, support), seed=seed, progress=progress, checkpoint=checkpoint)


def carry_out(
    planned: Plan,
    *,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
    checkpoint: Path | None = None,
) -> tuple[Volume, Reconstruction]:
    """Make the volume that was planned.

    Parameters
    ----------
    planned : Plan
        Images, algorithm and box.
    seed, progress, checkpoint
        As of `reconstruct`.

    Returns
    -------
    volume, reconstruction
        As of `reconstruct`.

    Raises
    ------
    InputError
        If the checkpoint belongs to another reconstruction.
    ResourceError
        If memory does not suffice; nothing was started.
    """
    require(planned)
    kept = None if checkpoint is None else Checkpoint(checkpoint, _origin(planned, seed))
    scratch = None
    if planned.settings.memory_mapped:
        scratch = Path(tempfile.gettempdir()) if checkpoint is None else checkpoint.resolve().parent
    problem = prepare(planned, scratch)
    judged = _judged(planned, problem, seed, kept)
    iterations, reason = _stop(planned, judged)
    done = _solve(planned, problem.series, problem.support, iterations, seed, scratch, kept, progress)
    fit = image_fit(problem.series.projections, project_volume(problem.series, done.values))
    made = f"{planned.algorithm}, {iterations} iterations, R factor {fit.r_factor:.4f}"
    volume = Volume(
        values=inside(done.values, planned.series.projections.shape[1]),
        voxel_size=planned.series.pixel_size,
        origin=np.zeros(3),
        history=(made,),
    )
    r_fourier, r_free_fourier = _fourier_r_factors(planned, problem, done.values, seed)
    result = Reconstruction(
        algorithm=planned.algorithm,
        reason=reason,
        iterations=iterations,
        grid_shape=_grid_shape(planned),
        support=planned.support,
        support_fraction=float(problem.support.mean()),
        background=problem.background,
        image_scale=problem.image_scale,
        equalized=problem.equalized,
        center_offset=problem.center_offset,
        scale=fit.scale,
        r_factor=fit.r_factor,
        r_factor_per_image=fit.per_image,
        r_free=None if judged is None else judged.r_free_after(iterations),
        r_fourier=r_fourier,
        r_free_fourier=r_free_fourier,
        trial=judged,
        fsc=_halves(planned, problem, iterations, seed),
        coverage=coverage(problem.series, max(volume.values.shape)),
        misfit=done.misfit,
        seconds_per_iteration=done.seconds,
        warnings=(*problem.warnings, *_doubts(planned, problem, fit.r_factor)),
    )
    if kept is not None:
        kept.remove()
    return volume, result


def _doubts(planned: Plan, problem: Problem, r_factor: float) -> tuple[str, ...]:
    """Whether the images fit one object at all, after as many iterations as that takes."""
    if planned.settings.iterations is not None or planned.algorithm == "fbp":
        return ()
    noise = float(noise_r_factor(problem.series.projections).mean())
    if unexplained(r_factor, noise) < _DOUBTFUL:
        return ()
    inside = "" if planned.support is None else " inside the support; see whether it cuts the object, else"
    return (
        f"R factor {format_r(r_factor)}, of which noise explains {format_r(noise)}: the images do not fit one object"
        f"{inside or ';'} look at their alignment and angles, or see whether `refine --fit-geometry` mends them",
    )


def _judged(planned: Plan, problem: Problem, seed: int, kept: Checkpoint | None) -> Trial | None:
    """What the trial said, before a break or now."""
    known = None if kept is None else kept.trial
    if known is not None:
        return Trial(**{name: known[name] for name in ("held_out", "iteration", "r_free")}, noise=float(known["noise"]))
    judged = _judge(planned, problem, seed, kept)
    if kept is not None and judged is not None:
        kept.keep_trial({name: np.asarray(value) for name, value in asdict(judged).items()})
    return judged


def _judge(planned: Plan, problem: Problem, seed: int, kept: Checkpoint | None) -> Trial | None:
    """The run without some of the images; None where none can be spared."""
    left_out = choose_held_out(problem.series, planned.settings.held_out, seed)
    if not left_out.size:
        return None
    most = planned.settings.iterations or ALGORITHMS[planned.algorithm].most
    return leave_out(
        problem.series,
        problem.support[tight_box(problem.support)] if planned.any_box else problem.support,
        partial(start, algorithm=planned.algorithm, settings=planned.settings, seed=seed, iterations=most),
        left_out=left_out,
        most=most,
        stop_early=planned.settings.iterations is None,
        by_planes=planned.by_planes,
        checkpoint=kept,
    )


def _stop(planned: Plan, trial: Trial | None) -> tuple[int, str]:
    """Number of iterations, and why: the reason for the algorithm and that for the number."""
    if planned.settings.iterations is not None:
        return planned.settings.iterations, f"{planned.reason}; iterations chosen by the user"
    algorithm = ALGORITHMS[planned.algorithm]
    if trial is None or algorithm.most == 1:
        return algorithm.usual, f"{planned.reason}; the usual number of iterations"
    iterations, n_out = int(trial.iteration[trial.best]), len(trial.held_out)
    left_out = f"{n_out} left-out image{'s' * (n_out > 1)}"
    if iterations >= algorithm.most:
        return iterations, f"{planned.reason}; the most that are made, still better at predicting {left_out}"
    return iterations, f"{planned.reason}; the last number that predicts {left_out} as well as the best"


def _solve(
    planned: Plan,
    series: TiltSeries,
    support: NDArray[np.bool_],
    iterations: int,
    seed: int,
    scratch: Path | None = None,
    checkpoint: Checkpoint | None = None,
    progress: Tell | None = None,
) -> Run:
    """All iterations with these images."""
    return run(
        partial(start, algorithm=planned.algorithm, settings=planned.settings, seed=seed, iterations=iterations),
        series,
        support,
        iterations,
        by_planes=planned.by_planes,
        any_box=planned.any_box,
        scratch=scratch,
        checkpoint=checkpoint,
        progress=progress,
    )


def _fourier_r_factors(
    planned: Plan, problem: Problem, values: NDArray[np.float32], seed: int
) -> tuple[float | None, float | None]:
    """R factors of measured and of withheld frequencies; None but for GENFIRE."""
    if planned.algorithm != "genfire":
        return None, None
    settings = planned.settings
    return genfire.r_factors(
        problem.series,
        values,
        oversampling=settings.oversampling,
        reach=settings.interpolation_cutoff,
        seed=seed,
        schedule=settings.schedule,
    )


def _halves(planned: Plan, problem: Problem, iterations: int, seed: int) -> ShellCorrelation | None:
    """Shell correlation of what every other image gives; the support of a half is its own if none is given."""
    wanted = planned.by_planes if planned.settings.halves is None else planned.settings.halves
    if not wanted or problem.series.n_images < _FEWEST_HALVED or min(planned.shape) < _THINNEST:
        return None
    order, volumes = np.argsort(problem.series.tilt_angles, kind="stable"), []
    reached = reached_columns(problem.support)
    some = reached[max(0, (len(reached) - _HALF_COLUMNS) // 2) :][:_HALF_COLUMNS]
    for part in (order[::2], order[1::2]):
        half, support = centered_columns(problem.series.subset(np.sort(part))), problem.support
        if planned.support is None and not planned.settings.extended:
            support = shadow_support(half, planned.shape[2])
        if planned.by_planes:
            half, support = take_columns(half, some), support[:, some]
        volumes.append(
            inside(_solve(planned, half, support, iterations, seed).values, planned.series.projections.shape[1])
        )
    return fourier_shell_correlation(*volumes, voxel_size=problem.series.pixel_size)


def _origin(planned: Plan, seed: int) -> dict[str, str]:
    """Digests of all that the volume depends on."""
    chosen, support = planned.settings.model_dump_json(exclude={"support", "halves", "memory_mapped"}), planned.support
    return {
        "images": planned.series.digest,
        "support": "" if support is None else hashlib.sha256(np.packbits(support).tobytes()).hexdigest(),
        "settings": hashlib.sha256(f"{chosen} {seed}".encode()).hexdigest(),
    }


def _grid_shape(planned: Plan) -> tuple[int, ...]:
    shape, single = planned.shape, planned.series.is_single_axis
    turned = (shape[0], shape[2]) if single else shape
    if planned.algorithm == "genfire":
        size = grid_size(turned, planned.settings.oversampling)
        return (size, shape[1] if single else size, size)
    by_projection = planned.algorithm in BY_PROJECTION
    rows, *rest = (doubled_size(n) if by_projection else quick_size(2 * n - 1) for n in turned)
    return (rows, shape[1], *rest) if single else (rows, *rest)
