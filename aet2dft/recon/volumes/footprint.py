"""Memory and disk that a reconstruction takes, known before its first large array."""

from __future__ import annotations

import math
from dataclasses import replace

from aet2dft.memory import as_text, require_memory
from aet2dft.recon.fourier.columns import BLOCK, ENOUGH, tight_box
from aet2dft.recon.fourier.fft import quick_size
from aet2dft.recon.fourier.gridding import TOGETHER, grid_size
from aet2dft.recon.fourier.interpolation import doubled_size
from aet2dft.recon.fourier.projector import line_lengths
from aet2dft.recon.images.calibration import binned
from aet2dft.recon.volumes.preparation import Plan
from aet2dft.recon.volumes.support import shadow_support

_SINGLE, _COMPLEX = 4, 8
"""Bytes of a real and of a complex number."""
_DESCENT = 3 * _SINGLE + 2
"""Bytes per voxel of density, its predecessor and right-hand side, and of the support in two orders."""
_STATES = {"tv": _DESCENT + 8 * _SINGLE + 1, "sirt": 6 * _SINGLE, "sart": 4 * _SINGLE, "fbp": 2 * _SINGLE}
"""Bytes per voxel that an algorithm keeps, where they are not those of descent."""
BY_PROJECTION = ("sirt", "sart", "fbp")
"""Algorithms without a convolution."""
_FREED = 1.25
"""With what the allocator keeps of freed blocks."""
_BASE, _BASE_OF_PLANES = 8e6, 3.5e6
"""Bytes of plans, tables and buffers, whatever the size: of a volume, of planes."""


def needed_bytes(planned: Plan) -> float:
    """Largest memory of a reconstruction on top of its images.

    Parameters
    ----------
    planned : Plan
        What is going to be done.
    """
    if planned.by_planes:
        return _BASE_OF_PLANES + _by_planes(planned)
    return _BASE + _whole(planned)


def _by_planes(planned: Plan) -> float:
    """A volume that grows by blocks of planes, after a trial with some of them."""
    images, columns = planned.series.projections.nbytes, planned.shape[1]
    voxels, (rows, depth) = math.prod(planned.shape), _box(planned)
    per_voxel = max(_DESCENT, _STATES.get(planned.algorithm, 0))
    points = _slice_points(planned) * _COMPLEX

    def some(n: int, of_images: float = 1.0) -> float:
        """Of so many planes with their images, and what is measured in them."""
        return min(1.0, n / columns) * (columns * rows * depth * per_voxel + 2 * of_images * images + 2 * points)

    mapped = planned.settings.memory_mapped
    # the images without their background, and the volume, are in files then
    corrected, kept = (0.0, voxels) if mapped else (images, voxels * (1 + _SINGLE) + images)
    # the support and the images of a half, and the first half while the second is made; to compare them takes less
    half = voxels * (planned.support is None) + images / 2 + _FREED * min(1.0, BLOCK / columns) * voxels * _SINGLE
    halves = kept + half + some(BLOCK, 0.5) if planned.settings.halves is not False else 0.0
    # the grid of GENFIRE is made and compared as a whole at the end
    end = kept + images + 1.75 * points + (TOGETHER * 1.5 * _grid_size(planned) * columns * _COMPLEX if points else 0.0)
    return max(corrected + voxels + some(ENOUGH), kept + some(BLOCK), halves, end)


def _box(planned: Plan) -> tuple[int, int]:
    """Rows and depth of the box around the support; around the shadows of binned images where there is none yet."""
    rows, _, depth = planned.shape
    if not planned.any_box:
        return rows, depth
    support, by = planned.support, 1
    if support is None:
        coarse = binned(planned.series)
        by = round(coarse.pixel_size / planned.series.pixel_size)
        support = shadow_support(coarse, -(-depth // by))
        if not support.any():
            return rows, depth
    box = tight_box(support)
    along, _, deep = (by * len(range(*part.indices(size))) for part, size in zip(box, support.shape, strict=True))
    return min(rows, along), min(depth, deep)


def _slice_points(planned: Plan) -> float:
    """Measured points of all planes; none but for GENFIRE."""
    if planned.algorithm != "genfire":
        return 0.0
    return _points_in_half_disk(planned.series.n_images, _grid_size(planned) / 2) * planned.shape[1]


def _grid_size(planned: Plan) -> int:
    return grid_size((planned.shape[0], planned.shape[2]), planned.settings.oversampling)


def _whole(planned: Plan) -> float:
    """A volume in three dimensions."""
    shape, series = planned.shape, planned.series
    voxels, images = math.prod(shape), 3 * series.projections.nbytes
    state = voxels * _STATES.get(planned.algorithm, _DESCENT)
    if series.is_single_axis:
        # planes that are neighbors depend on each other, their transforms do not
        return images + state
    padded, doubled = [quick_size(2 * n - 1) for n in shape], [doubled_size(n) for n in shape]
    spectrum = padded[1] * (padded[2] // 2 + 1)
    kernel = 2 * shape[0] * 2 * shape[1] * shape[2] * _SINGLE
    response = padded[0] * spectrum * _SINGLE
    set_up = kernel + padded[0] * spectrum * _COMPLEX + response
    descend = response + shape[0] * spectrum * _COMPLEX
    wide = doubled[0] * doubled[1] * (doubled[2] // 2 + 1) * _COMPLEX
    lines = math.prod(line_lengths(series, shape)) // 2 * _COMPLEX * series.n_images
    if planned.algorithm in BY_PROJECTION:
        return images + state + wide + lines
    if planned.algorithm != "genfire":
        plain = voxels * _DESCENT
        return images + max(wide + lines, plain + max(set_up, descend + wide), state + descend)
    size = grid_size(shape, planned.settings.oversampling)
    half = range(-size // 2, size // 2)
    points = sum(_points_in_half_disk(series.n_images, math.sqrt(size**2 / 4 - y * y)) for y in half)
    points *= 2 * _COMPLEX + 2 * _SINGLE + 1
    half_padded = shape[0] * size * (size // 2 + 1) * _COMPLEX
    return images + points + state + max(kernel + half_padded, set_up, descend + max(half_padded, wide))


def _points_in_half_disk(n_images: int, radius: float) -> float:
    """Points within half a step of some of the lines through the center, evenly turned: all there are near it."""
    inside = min(radius, n_images / math.pi)
    return math.pi * inside**2 / 2 + n_images * (radius - inside)


def disk_bytes(planned: Plan) -> float:
    """Largest files beside each other while a reconstruction runs: project, checkpoint, and the volume if mapped.

    Parameters
    ----------
    planned : Plan
        What is going to be done.
    """
    volume = math.prod(planned.shape) * _SINGLE
    kept = volume * (1 + 3 * BLOCK / planned.shape[1]) if planned.by_planes else 2 * volume
    images = planned.series.projections.nbytes
    # brightness is taken off corrected images, which leaves both for a moment
    return images + volume + kept + (volume + 2 * images if planned.settings.memory_mapped else 0)


def require(planned: Plan) -> None:
    """Refuse a reconstruction that does not fit into memory.

    Parameters
    ----------
    planned : Plan
        What is going to be done.

    Raises
    ------
    ResourceError
        With the cheapest ways to need less.
    """
    oversampling = planned.settings.oversampling
    ways = ["bin the images", "crop them to the object"]
    if not planned.series.is_single_axis:
        ways.insert(0, "give tilt angles only, so that planes are reconstructed one by one")
    if planned.algorithm == "genfire":
        ways.insert(0, "take --algorithm lsq")
        ways.insert(0, f"lower --oversampling ({oversampling})") if oversampling > 2 else None
    if planned.by_planes and not planned.settings.memory_mapped:
        mapped = replace(planned, settings=planned.settings.model_copy(update={"memory_mapped": True}))
        ways.insert(0, f"take --memory-mapped ({as_text(needed_bytes(mapped))})")
    what = f"{planned.algorithm} on {' x '.join(map(str, planned.shape))} voxels"
    require_memory(needed_bytes(planned), what, "; or ".join(ways))
