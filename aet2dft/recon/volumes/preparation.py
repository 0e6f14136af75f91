"""What is settled before the first iteration: algorithm, box, background, rotation center, brightness."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from aet2dft.config import ReconstructSettings
from aet2dft.errors import InputError
from aet2dft.recon.algorithms.catalog import ALGORITHMS, choose
from aet2dft.recon.algorithms.extent import cut_columns, slab
from aet2dft.recon.algorithms.mapped import applied
from aet2dft.recon.fourier.columns import centered_columns
from aet2dft.recon.images.calibration import divided, find_brightness, find_center, moved
from aet2dft.recon.tilt_series import TiltSeries
from aet2dft.recon.volumes.support import background, shadow_support

FEWEST = 5
"""Images that can be calibrated against each other."""
_NOTHING = 0.01
"""Part of the absolute sum of images, below which what is above zero is nothing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What is going to be done; nothing large is in memory yet."""

    series: TiltSeries
    """Images, the rotation center on a column of pixels."""
    shape: tuple[int, ...]
    """Voxels (nx, ny, nz) of the volume."""
    settings: ReconstructSettings
    """As they are carried out."""
    algorithm: str
    """Key of `aet2dft.recon.algorithms.catalog.ALGORITHMS`."""
    reason: str
    """Why this one."""
    support: NDArray[np.bool_] | None
    """(nx, ny, nz): of the user; None: everywhere in an extended object, else inside all shadows of the object."""

    @property
    def by_planes(self) -> bool:
        """Whether planes perpendicular to the tilt axis are problems of their own."""
        return self.series.is_single_axis and ALGORITHMS[self.algorithm].by_planes

    @property
    def any_box(self) -> bool:
        """Whether the box of the volume may be smaller than the images."""
        return ALGORITHMS[self.algorithm].extended and not self.settings.extended


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """What the iterations start from."""

    series: TiltSeries
    """Images as they are fitted."""
    support: NDArray[np.bool_]
    """(nx, ny, nz): where the density may differ from zero."""
    background: NDArray[np.float64]
    """(n,): subtracted from the images."""
    image_scale: NDArray[np.float64]
    """(n,): their brightness then, 1 in the mean; NaN where it was not looked for."""
    equalized: bool
    """Whether they were divided by it."""
    center_offset: float
    """Pixels by which the rotation center was moved across the tilt axis."""
    warnings: tuple[str, ...]
    """What the user should look at."""


def plan(series: TiltSeries, settings: ReconstructSettings, support: NDArray[np.bool_] | None) -> Plan:
    """Choose algorithm and box.

    Parameters
    ----------
    series : TiltSeries
        Images.
    settings : ReconstructSettings
        Of the user.
    support : ndarray of bool, shape (nx, ny, nz), optional
        Of the user.

    Raises
    ------
    InputError
        If the support does not fit the images or is empty, or settings do not fit each other or the images.
    """
    _, n_rows, n_columns = series.projections.shape
    if settings.center_offset is not None:
        _check_center(series, settings.center_offset)
    choice = choose(series, settings, has_support=support is not None)
    shape: tuple[int, ...] = (n_rows, n_columns, n_rows)
    if support is not None:
        _check_support(support, series)
        shape = support.shape
    elif choice.extended:
        shape = slab(series, settings.thickness)
    planned = Plan(
        series=centered_columns(series),
        shape=shape,
        settings=settings.model_copy(update={"extended": choice.extended}),
        algorithm=choice.algorithm,
        reason=choice.reason,
        support=support,
    )
    if settings.memory_mapped and not planned.by_planes:
        raise InputError(
            f"{planned.algorithm} works on this volume as a whole, not by planes, which a file cannot help; leave out "
            "--memory-mapped, or take lsq and give tilt angles only"
        )
    return planned


def prepare(planned: Plan, scratch: Path | None = None) -> Problem:
    """Settle what the iterations start from.

    Parameters
    ----------
    planned : Plan
        What is going to be done.
    scratch : Path, optional
        Folder for a file that holds the images; default: they are held in memory.

    Raises
    ------
    InputError
        If the shadows of the object have no voxel in common, or a density that is positive explains nothing.
    """
    series, settings, support = planned.series, planned.settings, planned.support
    if settings.center_offset is not None:
        series = moved(series, settings.center_offset)
    if support is None:
        extended = settings.extended
        support = np.ones(planned.shape, dtype=bool) if extended else shadow_support(series, planned.shape[2])
    if not support.any():
        raise InputError(
            "no voxel lies in the shadow of the object in every image: some images are far out of place, or the angles "
            "are others; align the images, look at the angles, or give --support"
        )
    ground = background(series, support)
    series = replace(series, projections=applied(np.subtract, series.projections, ground, scratch))
    if settings.positivity:
        _refuse_dark(series, planned.series)
    problem = Problem(
        series=series,
        support=support,
        background=ground,
        image_scale=np.full(series.n_images, np.nan),
        equalized=False,
        center_offset=settings.center_offset or 0.0,
        warnings=() if planned.settings.extended else _cut(planned.series),
    )
    # an object that is cut by the images has no center of mass in them, and no brightness
    if support.all() or series.n_images < FEWEST:
        return problem
    return _equalized(_centered(problem) if settings.center_offset is None else problem, scratch)


def _centered(problem: Problem) -> Problem:
    """With the rotation center where the images agree that it is."""
    found = find_center(problem.series, problem.support)
    if math.isnan(found.r_factor):
        return problem
    what = (
        f"by the centers of mass the rotation center lies {found.pixels:+.2f} pixels beside the middle of the images "
        f"(R factor {found.r_factor:.4f} -> {found.r_factor_moved:.4f} in a short run)"
    )
    if not found.agreed:
        said = f"{what}, but not all images agree; --center-offset {found.pixels:.2f} takes it"
        return replace(problem, warnings=(*problem.warnings, said))
    return replace(
        problem,
        series=moved(problem.series, found.pixels),
        center_offset=found.pixels,
        warnings=(*problem.warnings, f"{what}; it is taken there"),
    )


def _equalized(problem: Problem, scratch: Path | None) -> Problem:
    """With images of the same brightness, where that makes them agree better."""
    found = find_brightness(problem.series, problem.support)
    if not found.agreed:
        return replace(problem, image_scale=found.scales)
    return replace(
        problem,
        series=divided(problem.series, found.scales, scratch),
        image_scale=found.scales,
        equalized=True,
        warnings=(
            *problem.warnings,
            f"the brightness of the images differs by {100 * found.scales.std():.1f} %; they were made equally bright",
        ),
    )


def _cut(series: TiltSeries) -> tuple[str, ...]:
    """That the object goes on beyond the images along the tilt axis."""
    columns = cut_columns(series)
    if not columns:
        return ()
    where = " and ".join(map(str, columns))
    return (
        f"the images cut the object along the tilt axis, at column {where}: it is reconstructed as far as they show "
        "it, and atoms at the cut are incomplete",
    )


def _refuse_dark(series: TiltSeries, measured: TiltSeries) -> None:
    """Refuse images that are below zero after their background was taken off: the volume would be zero."""
    bright = sum(float(np.maximum(image, 0.0).sum(dtype=np.float64)) for image in series.projections)
    total = sum(float(np.abs(image).sum(dtype=np.float64)) for image in series.projections)
    if bright < _NOTHING * total:
        low, high = measured.projections.min(), measured.projections.max()
        raise InputError(
            f"hardly anything in the images is above zero or brighter than their background (values from {low:.3g} to "
            f"{high:.3g}): are they logarithms, or is an offset in them? give intensities that grow with the "
            "thickness, as in dark field, the vacuum at zero"
        )


def _check_center(series: TiltSeries, offset: float) -> None:
    """Refuse an offset that puts the rotation center beside the images."""
    n, rows = series.projections.shape[1], series.center[:, 0]
    low, high = -rows.min(), n - 1 - rows.max()
    if not low <= offset <= high:
        raise InputError(
            f"--center-offset {offset:g} puts the rotation center beside the images, which have {n} pixels across the "
            f"tilt axis; give one between {low:g} and {high:g}"
        )


def _check_support(support: NDArray[np.bool_], series: TiltSeries) -> None:
    if support.ndim != 3 or support.shape[:2] != series.projections.shape[1:]:
        raise InputError(
            f"a support of shape {support.shape} does not fit images of {series.projections.shape[1:]} pixels; "
            "its first two axes are those of the images"
        )
    if not support.any():
        raise InputError("the support holds no voxel; give one that holds the object")
