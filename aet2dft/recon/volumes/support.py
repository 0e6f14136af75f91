"""Where an object can be at all: the region whose every projection lies in the shadow that the images show."""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from aet2dft.errors import InputError
from aet2dft.recon.fourier import _kernels_volume as kernels
from aet2dft.recon.fourier.columns import BLOCK, take_columns
from aet2dft.recon.fourier.projector import project_volume
from aet2dft.recon.fourier.threads import of_each
from aet2dft.recon.tilt_series import TiltSeries

_BLURS = (1.5, 2.5, 4.0, 6.0)
"""Å: standard deviations of the Gaussian that merges atoms and averages noise before a shadow is cut out."""
_LEVEL, _HIGHEST = 0.03, 0.2
"""Fraction of the brightness of an image above which a pixel is in the shadow, and the most where noise demands it."""
_NOISE = 2.5
"""Standard deviations of the blurred border by which a pixel in the shadow stands out."""
_MARGIN = 3.0
"""Å by which shadows are widened: no atom is cut."""
_BRIGHT, _DARK = 99.0, 1.0
"""Percentiles of an image that count as its brightness and as its ground."""
_COARSE = 2
"""Voxels along each axis of which the first decides for all: far less than the margin."""
_COVERED = 0.1
"""Voxels of the smoothed support in a ray that passes through it."""
_BLUR = 2.0
"""Å: standard deviation of the Gaussian that merges atoms before a support is held against an image."""
_SHOWN = 0.1
"""Fraction of the brightness of an image above which a pixel shows the object rather than a halo."""
_SOME_OUTSIDE, _MOST_OUTSIDE = 0.005, 0.25
"""Part of the brightness of the object outside a support that is noted, and that is refused.

Published masks and balls that touch the outermost atoms leave out 0.07 % at most, half spaces without a tenth of the
atoms 0.5 to 1.6 %, balls half a radius beside a particle, without a third of its atoms, 8 to 19 %.
"""
_FEW_PIXELS = 0.015
"""Part of an image from which no background is estimated: the mean of a few noisy pixels is worth nothing."""
_MANY = 0.25
"""Part of the images that must show their background for the others to be given it."""
_ISOLATED = 3.0
"""How much nearer than to its brightness the border of an image with an isolated object must be to its ground."""


def shadow_support(series: TiltSeries, depth: int) -> NDArray[np.bool_]:
    """Voxels that lie in the shadow of the object in every image.

    Parameters
    ----------
    series : TiltSeries
        Images, bright on dark.
    depth : int
        Voxels along the beam at zero tilt.

    Returns
    -------
    ndarray of bool, shape (nx, ny, depth)
        Loose: the shadows are widened. A voxel that leaves an image sideways counts as its nearest pixel does, so that
        an object larger than the images is not cut.
    """
    masks = np.stack(of_each(partial(_shadow, pixel_size=series.pixel_size), series.projections))
    shape = (*series.projections.shape[1:], depth)
    axes = np.ascontiguousarray(series.rotations[:, :, :2].swapaxes(1, 2))
    coarse = np.empty([-(-size // _COARSE) for size in shape], dtype=np.bool_)
    kernels.intersect_shadows(masks, axes, series.center, np.array(shape) // 2, _COARSE, coarse)
    fine = coarse.repeat(_COARSE, axis=0).repeat(_COARSE, axis=1).repeat(_COARSE, axis=2)
    return np.ascontiguousarray(fine[: shape[0], : shape[1], : shape[2]])


def _shadow(image: NDArray[np.float32], pixel_size: float) -> NDArray[np.bool_]:
    """Pixels of an image that show more than its border does, and their surroundings; all where that is not clear."""
    for blur in _BLURS:
        blurred = ndimage.gaussian_filter(image, blur / pixel_size, mode="nearest")
        ground, noise, dark, bright = _levels(blurred)
        if bright - ground < _ISOLATED * (ground - dark):
            continue
        level = max(_LEVEL * (bright - ground), _NOISE * noise)
        if level < _HIGHEST * (bright - ground):
            inside = blurred > ground + level
            return np.asarray(ndimage.distance_transform_edt(~inside) <= _MARGIN / pixel_size)
    return np.ones(image.shape, dtype=np.bool_)


def _levels(blurred: NDArray[np.float32]) -> tuple[float, float, float, float]:
    """Ground and noise of the border of an image, and how dark and bright it is."""
    border = np.concatenate([blurred[0], blurred[-1], blurred[:, 0], blurred[:, -1]])
    ground = float(np.median(border))
    noise = 1.4826 * float(np.median(np.abs(border - ground)))
    dark, bright = map(float, np.percentile(blurred, (_DARK, _BRIGHT)))
    return ground, noise, dark, bright


def background(series: TiltSeries, support: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Mean of every image where nothing of the support projects to.

    Parameters
    ----------
    series : TiltSeries
        Images.
    support : ndarray of bool, shape (nx, ny, nz)
        Where the object is, or could be.

    Returns
    -------
    ndarray, shape (n,)
        The median of the others where the support covers an image: a series with some backgrounds left in has a shell.
        Zero where it covers most.
    """
    covered = _shadow_of(series, support)
    n_open = (~covered).sum(axis=(1, 2))
    sums = np.where(covered, 0.0, series.projections).sum(axis=(1, 2))
    means, has_ground = sums / np.maximum(n_open, 1), n_open > _FEW_PIXELS * covered[0].size
    common = float(np.median(means[has_ground])) if has_ground.mean() > _MANY else 0.0
    return np.asarray(np.where(has_ground, means, common))


def check_support(series: TiltSeries, support: NDArray[np.bool_]) -> tuple[str, ...]:
    """Refuse a support that leaves out the object, and note one that cuts it.

    Parameters
    ----------
    series : TiltSeries
        Images, bright on dark.
    support : ndarray of bool, shape (nx, ny, nz)
        Where the density may differ from zero.

    Returns
    -------
    tuple of str
        What is unusual but can be worked with.

    Raises
    ------
    InputError
        If much of what the images show lies where nothing of the support projects to.
    """
    shown = np.stack(of_each(partial(_shown, pixel_size=series.pixel_size), series.projections))
    outside = float(shown[~_shadow_of(series, support)].sum() / max(shown.sum(), np.finfo(np.float32).tiny))
    said = f"the support leaves out {100 * outside:.1f} % of the brightness of the images"
    if outside > _MOST_OUTSIDE:
        raise InputError(f"{said}: much of the object is elsewhere; give one in the frame of the images that holds it")
    return (f"{said}: it may cut the object",) if outside > _SOME_OUTSIDE else ()


def _shown(image: NDArray[np.float32], pixel_size: float) -> NDArray[np.float32]:
    """Brightness of the object in an image; zero beside it."""
    blurred = ndimage.gaussian_filter(image, _BLUR / pixel_size)
    ground, noise, dark, bright = _levels(blurred)
    if bright - ground < _ISOLATED * (ground - dark):
        ground, noise = dark, 0.0
    return np.where(blurred > ground + max(_SHOWN * (bright - ground), _NOISE * noise), image - ground, 0.0)


def _shadow_of(series: TiltSeries, support: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Pixels (n, nx, ny) that the support projects to; about one tilt axis by blocks of planes."""
    if not series.is_single_axis:
        return _covered(series, support)
    covered = np.empty(series.projections.shape, dtype=bool)
    for columns in np.array_split(np.arange(support.shape[1]), -(-support.shape[1] // BLOCK)):
        covered[:, :, columns] = _covered(take_columns(series, columns), support[:, columns])
    return covered


def _covered(series: TiltSeries, support: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Pixels (n, nx, ny) that the support projects to."""
    # smooth, or the ringing of the projected edges would look like matter
    return project_volume(series, _smoothed(support)) > _COVERED


def _smoothed(support: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Under a Gaussian of one voxel, axis by axis, plane by plane."""
    values = support.astype(np.float32)

    def smooth(plane: NDArray[np.float32], axes: int | tuple[int, int]) -> None:
        ndimage.gaussian_filter(plane, 1.0, mode="nearest", axes=axes, output=plane)

    of_each(partial(smooth, axes=0), values.swapaxes(0, 1))
    of_each(partial(smooth, axes=(0, 1)), values)
    return values
