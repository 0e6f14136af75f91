"""Memory that a reconstruction takes, known before its first large array."""

from __future__ import annotations

import math

from aet2dft.memory import require_memory
from aet2dft.recon.fft import fast_size
from aet2dft.recon.gridding import grid_size
from aet2dft.recon.projector import line_length
from aet2dft.recon.tilt_series import TiltSeries

_SINGLE, _COMPLEX = 4, 8
"""Bytes of a real and of a complex number."""
_DESCENT = 3 * _SINGLE + 2
"""Bytes per voxel of density, its predecessor and right-hand side, and of the support in two orders."""


def needed_bytes(series: TiltSeries, shape: tuple[int, ...], algorithm: str, oversampling: int) -> float:
    """Largest memory of a reconstruction on top of its images.

    Parameters
    ----------
    series : TiltSeries
        Images.
    shape : tuple of int
        Voxels (nx, ny, nz) of the volume.
    algorithm : str
        lsq, resire or genfire.
    oversampling : int
        Of genfire.
    """
    images = 3 * series.projections.nbytes
    voxels = math.prod(shape)
    if not series.is_single_axis:
        return images + _general(series, shape, oversampling if algorithm == "genfire" else None)
    points = 0.0
    if algorithm == "genfire":
        size = grid_size((shape[0], shape[2]), oversampling)
        # values, amplitudes, and both of the model
        points = _points_in_plane(series.n_images, size) * shape[1] * (3 * _COMPLEX + _SINGLE)
    return images + voxels * (_DESCENT + _SINGLE) + points


def _general(series: TiltSeries, shape: tuple[int, ...], oversampling: int | None) -> float:
    voxels = math.prod(shape)
    padded = [fast_size(2 * n) for n in shape]
    spectrum = padded[1] * (padded[2] // 2 + 1)
    kernel = 2 * shape[0] * 2 * shape[1] * shape[2] * _SINGLE
    response = padded[0] * spectrum * _SINGLE
    set_up = kernel + padded[0] * spectrum * _COMPLEX + response
    descend = response + shape[0] * spectrum * _COMPLEX
    wide = padded[0] * spectrum * _COMPLEX
    if oversampling is None:
        lines = line_length(shape[0], shape) * line_length(shape[1], shape) // 2 * _COMPLEX * series.n_images
        return max(wide + lines, voxels * _DESCENT + max(set_up, descend + wide))
    size = grid_size(shape, oversampling)
    points = _points_in_plane(series.n_images, size) * size * (2 * _COMPLEX + 2 * _SINGLE + 1)
    half_padded = shape[0] * size * (size // 2 + 1) * _COMPLEX
    return points + voxels * _DESCENT + max(kernel + half_padded, set_up, descend + max(half_padded, wide))


def _points_in_plane(n_images: int, size: int) -> float:
    """Measured points of half a plane, at most: a strip of one step for every image, but no more than the half disk."""
    return min(n_images * size * 2 / math.pi, math.pi * size**2 / 8)


def require(series: TiltSeries, shape: tuple[int, ...], algorithm: str, oversampling: int) -> None:
    """Refuse a reconstruction that does not fit into memory.

    Parameters
    ----------
    series : TiltSeries
        Images.
    shape : tuple of int
        Voxels (nx, ny, nz) of the volume.
    algorithm : str
        lsq, resire or genfire.
    oversampling : int
        Of genfire.

    Raises
    ------
    ResourceError
        With the cheapest ways to need less.
    """
    ways = ["bin the images", "crop them to the object"]
    if not series.is_single_axis:
        ways.insert(0, "give tilt angles only, so that planes are reconstructed one by one")
    if algorithm == "genfire":
        ways.insert(0, "take --algorithm lsq")
        ways.insert(0, f"lower --oversampling ({oversampling})") if oversampling > 2 else None
    what = f"{algorithm} on {' x '.join(map(str, shape))} voxels"
    require_memory(needed_bytes(series, shape, algorithm, oversampling), what, "; or ".join(ways))
