"""What the images of an isolated object are off by: a common shift of the rotation center, a brightness each."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from aet2dft.recon.algorithms import least_squares
from aet2dft.recon.algorithms.mapped import applied
from aet2dft.recon.fourier.columns import ENOUGH, centered_columns, reached_columns, take_columns
from aet2dft.recon.fourier.projector import project_volume
from aet2dft.recon.metrics import image_fit
from aet2dft.recon.tilt_series import TiltSeries

_ITERATIONS = 20
"""Of the least squares by which a calibration is judged."""
_CERTAIN = 3.0
"""Standard errors from which on an offset of the centers of mass is worth a look."""
_SMALLEST = 0.05
"""Pixels of offset that change nothing."""
_LARGEST = 0.25
"""Part of the rows beyond which an offset is none: aligned images have the object about their middle."""
_AGREED = 4.0
"""Standard errors by which the R factors of the images must fall, taken in pairs, for an offset to be believed."""
COARSE = 64
"""Pixels along each side of the images that are enough for their brightness."""
_ROUNDS = 3
"""Rounds in which the brightness of the images settles."""
_EVEN = 0.015
"""Standard deviation of the brightness that is no more than its error."""
_FOLDS = 4
"""Every so-manieth image is left out to see whether equal brightness predicts it better."""
_PREDICTED = 1.0
"""Standard errors by which R factors of left-out images must fall for that to be believed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CenterOffset:
    """A common shift of the rotation center across the tilt axis."""

    pixels: float
    """By the centers of mass of the images: the center lands at so many pixels more than the series says."""
    error: float
    """Pixels: standard error, from the scatter of the centers of mass."""
    r_factor: float
    """Mean R factor of the images in a short run as the series says; NaN where the offset is not worth one."""
    r_factor_moved: float
    """The same with the offset; NaN likewise."""
    agreed: bool
    """Whether the R factors of the images fell together, not just in the mean."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Brightness:
    """How bright the images are against each other."""

    scales: NDArray[np.float64]
    """(n,): 1 in the mean."""
    agreed: bool
    """Whether images that are divided by them predict left-out ones better."""


def find_center(series: TiltSeries, support: NDArray[np.bool_]) -> CenterOffset:
    """Look for an offset of the rotation center that all images have in common.

    Parameters
    ----------
    series : TiltSeries
        Images of an isolated object without background.
    support : ndarray of bool, shape (nx, ny, nz)
        Where the object can be.

    Notes
    -----
    The center of mass of an object turns about the rotation center; what is left of the centers of mass of the images
    is the offset. No translation of the volume can make up for it: the R factors of two short runs tell whether the
    images agree.
    """
    pixels, error = _offset_of_mass(series)
    if not max(_SMALLEST, _CERTAIN * error) <= abs(pixels) <= _LARGEST * series.projections.shape[1]:
        return CenterOffset(pixels=pixels, error=error, r_factor=math.nan, r_factor_moved=math.nan, agreed=False)
    if series.is_single_axis:
        columns = reached_columns(support, ENOUGH)
        series, support = take_columns(series, columns), support[:, columns]
    before, after = (_image_r_factors(moved(series, by), support) for by in (0.0, pixels))
    return CenterOffset(
        pixels=pixels,
        error=error,
        r_factor=float(before.mean()),
        r_factor_moved=float(after.mean()),
        agreed=_is_common(before - after, _AGREED),
    )


def moved(series: TiltSeries, pixels: float) -> TiltSeries:
    """The series whose rotation center lands at so many pixels more across the tilt axis."""
    return series if pixels == 0 else replace(series, center=series.center + np.array([pixels, 0.0]))


def _offset_of_mass(series: TiltSeries) -> tuple[float, float]:
    """Offset and its standard error: least squares of the centers of mass, of three coordinates and the offset.

    NaN where an image has no mass: its background, taken where a wrong support leaves out the object, is too large.
    """
    images = series.projections
    total = images.sum(axis=(1, 2), dtype=np.float64)
    if not (total > 0).all():
        return math.nan, math.nan
    masses = [
        images.sum(axis=3 - axis, dtype=np.float64) @ np.arange(images.shape[axis]) / total - series.center[:, axis - 1]
        for axis in (1, 2)
    ]
    shift = np.repeat([1.0, 0.0], len(images))
    system = np.column_stack([np.concatenate(series.rotations[:, :, :2].transpose(2, 0, 1)), shift])
    found, _, rank, _ = np.linalg.lstsq(system, np.concatenate(masses), rcond=1e-6)
    residual = np.concatenate(masses) - system @ found
    across = residual[: len(images)]
    variance = float(across @ across) / max(1, len(images) - rank + 1)
    return float(found[3]), math.sqrt(variance * float(np.linalg.pinv(system.T @ system)[3, 3]))


def _image_r_factors(series: TiltSeries, support: NDArray[np.bool_]) -> NDArray[np.float64]:
    return image_fit(series.projections, project_volume(series, _short_run(series, support))).per_image


def _short_run(series: TiltSeries, support: NDArray[np.bool_]) -> NDArray[np.float32]:
    """The volume after a few iterations."""
    return next(islice(least_squares.iterate(series, support), _ITERATIONS - 1, None)).values


def _is_common(fall: NDArray[np.float64], errors: float) -> bool:
    """Whether the mean of what images (n,) gain is so many standard errors above zero."""
    return bool(fall.mean() > errors * fall.std() / math.sqrt(len(fall)))


def find_brightness(series: TiltSeries, support: NDArray[np.bool_]) -> Brightness:
    """Fit the brightness of every image to the volume that all of them have in common.

    Parameters
    ----------
    series : TiltSeries
        Images of an isolated object without background.
    support : ndarray of bool, shape (nx, ny, nz)
        Where the object can be.

    Notes
    -----
    Found on binned images: brightness is a matter of low frequencies. Strong scattering along zone axes changes it
    too, and then the volume is no better for equal images: they are believed if they predict left-out ones better.
    """
    coarse = binned(series)
    inside = _on_grid_of(coarse, series, support)
    scales = np.ones(series.n_images)
    for _ in range(_ROUNDS):
        computed = project_volume(coarse, _short_run(divided(coarse, scales), inside))
        scales = _brightness(computed, coarse.projections)
        scales /= scales.mean()
    agreed = False
    if scales.std() > _EVEN:
        fall = _left_out_r_factors(coarse, inside) - _left_out_r_factors(divided(coarse, scales), inside)
        agreed = _is_common(fall, _PREDICTED)
    return Brightness(scales=scales, agreed=agreed)


def divided(series: TiltSeries, scales: NDArray[np.float64], folder: Path | None = None) -> TiltSeries:
    """The series with every image divided by its brightness (n,), held in a file of this folder if one is given."""
    return replace(series, projections=applied(np.multiply, series.projections, 1 / scales, folder))


def _brightness(computed: NDArray[np.float32], measured: NDArray[np.float32]) -> NDArray[np.float64]:
    """Least-squares factors of the computed images (n, nx, ny)."""
    product, norm = (np.einsum("kij,kij->k", computed, other, dtype=np.float64) for other in (measured, computed))
    return np.asarray(product / np.maximum(norm, np.finfo(np.float64).tiny))


def _left_out_r_factors(series: TiltSeries, support: NDArray[np.bool_]) -> NDArray[np.float64]:
    """R factor (n,) of every image, its brightness free, in runs that leave out every fourth one."""
    found = np.empty(series.n_images)
    for fold in range(_FOLDS):
        out = np.arange(series.n_images) % _FOLDS == fold
        left_out = series.subset(out)
        computed = project_volume(left_out, _short_run(centered_columns(series.subset(~out)), support))
        computed *= _brightness(computed, left_out.projections)[:, None, None].astype(np.float32)
        difference = np.abs(computed - left_out.projections).sum(axis=(1, 2), dtype=np.float64)
        found[out] = difference / np.abs(left_out.projections).sum(axis=(1, 2), dtype=np.float64)
    return found


def binned(series: TiltSeries) -> TiltSeries:
    """Sums over squares of pixels, so many that `COARSE` along each side are left at most.

    Parameters
    ----------
    series : TiltSeries
        Images.
    """
    return centered_columns(added_up(series, -(-max(series.projections.shape[1:]) // COARSE)))


def added_up(series: TiltSeries, by: int) -> TiltSeries:
    """Sums over squares of so many pixels; what is left over at the ends is cut off.

    Parameters
    ----------
    series : TiltSeries
        Images.
    by : int
        Pixels along each edge that become one.
    """
    whole = at_least(series.projections, by)
    n, *shape = whole.shape
    rows, columns = (size // by for size in shape)
    kept = whole[:, : rows * by, : columns * by]
    sums = kept.reshape(n, rows, by, columns, by).sum(axis=(2, 4))
    middles = (series.center - (by - 1) / 2) / by
    return replace(series, projections=sums, center=middles, pixel_size=by * series.pixel_size)


def at_least(images: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    """Images (n, nx, ny) with at least so many rows and columns; what was narrower ends in zeros."""
    rows, columns = (max(0, size - length) for length in images.shape[1:])
    return np.pad(images, ((0, 0), (0, rows), (0, columns))) if rows or columns else images


def _on_grid_of(coarse: TiltSeries, series: TiltSeries, support: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Every so-manieth voxel of a support: those on the grid of the binned series."""
    by = round(coarse.pixel_size / series.pixel_size)
    sizes = (*coarse.projections.shape[1:], -(-support.shape[2] // by))
    voxels = [
        np.clip((np.arange(size) - size // 2) * by + whole // 2, 0, whole - 1)
        for size, whole in zip(sizes, support.shape, strict=True)
    ]
    return support[np.ix_(*voxels)]
