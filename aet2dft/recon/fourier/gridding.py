"""Frequencies that a tilt series measures, on the grid of a volume that is padded by GENFIRE's oversampling ratio.

What is done with them is in ``genfire``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft
from threadpoolctl import threadpool_limits

from aet2dft.recon.fourier import _kernels_fourier as kernels
from aet2dft.recon.fourier._kernels_fourier import MARGIN
from aet2dft.recon.fourier.fft import fast_size
from aet2dft.recon.fourier.interpolation import as_pairs, centering, doubled_size, taper
from aet2dft.recon.fourier.threads import in_threads
from aet2dft.recon.tilt_series import TiltSeries

_CLOSEST = 0.05
"""Distance of a plane from a grid point, in grid steps, below which it gains no more weight over the others."""

TOGETHER = 8
"""Images whose frequencies are held at a time."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SliceGrid:
    """Measured frequencies of planes perpendicular to the tilt axis, the same points in every plane."""

    size: int
    """N: samples along both axes of the padded planes."""
    index: NDArray[np.int32]
    """(m,): measured points in the half grid (N, N // 2 + 1), flat, rising."""
    values: NDArray[np.complex64]
    """(m, ny): frequencies, for the object in the corner of the grid."""


@dataclass(frozen=True, kw_only=True, slots=True)
class VolumeGrid:
    """Measured frequencies of a volume, ordered by the frequency along its second axis."""

    size: int
    """N: samples along every axis of the padded volume."""
    start: NDArray[np.int64]
    """(N + 1,): where the points of every frequency of the second axis begin."""
    index: NDArray[np.int32]
    """(m,): measured points in the half planes (N, N // 2 + 1), flat, rising."""
    values: NDArray[np.complex64]
    """(m,): frequencies, for the object in the corner of the grid."""


def grid_size(shape: tuple[int, ...], oversampling: int) -> int:
    """Samples along every axis of the padded grid.

    Parameters
    ----------
    shape : tuple of int
        Voxels of the object along the axes that are padded.
    oversampling : int
        Ratio of padded to plain.
    """
    return fast_size(oversampling * max(shape))


def grid_slices(series: TiltSeries, depth: int, *, oversampling: int, reach: float) -> SliceGrid:
    """Frequencies that images about one tilt axis measure.

    Parameters
    ----------
    series : TiltSeries
        Images about their second axis.
    depth : int
        Voxels of the volume along the beam at zero tilt.
    oversampling : int
        Ratio of the padded size to that of the object.
    reach : float
        Grid steps that a point may be away from the line of an image.

    Notes
    -----
    A point takes the value of the image at the foot of its perpendicular on the line of the image, a sum over the
    pixels; several images are averaged with the inverse distance as weight (A. Pryor et al., Sci. Rep. 7, 10409
    (2017), the form that they call DFT). Points outside the circle that all images cover stay free.
    """
    n, rows, columns = series.projections.shape
    size = grid_size((rows, depth), oversampling)
    found = [kernels.points_near_line(axes[0], axes[2], size, reach) for axes in series.rotations[:, :, 0]]
    index, position = np.unique(np.concatenate([points for points, _, _ in found]), return_inverse=True)
    places = np.split(position, np.cumsum([len(points) for points, _, _ in found])[:-1])
    weights = [1 / np.maximum(distance, _CLOSEST) for _, _, distance in found]
    sums, total = np.zeros((len(index), columns), dtype=np.complex64), np.zeros(len(index))
    for group in np.split(np.arange(n), range(TOGETHER, n, TOGETHER)):
        lines = _lines(series, group, [found[k][1] for k in group], size)
        for k, line in zip(group, lines, strict=True):
            sums[places[k]] += weights[k][:, None].astype(np.float32) * line
            total[places[k]] += weights[k]
    x, z = np.divmod(index, size // 2 + 1)
    corner = np.exp(-2j * np.pi / size * (x * (rows // 2) + z * (depth // 2)))
    sums *= (corner / total)[:, None].astype(np.complex64)
    return SliceGrid(size=size, index=index.astype(np.int32), values=sums)


def _lines(
    series: TiltSeries, images: NDArray[np.intp], feet: list[NDArray[np.float64]], size: int
) -> list[NDArray[np.complex64]]:
    """Frequencies (points, columns) of some images, at steps of a grid of this size from the middle of each."""
    lines = [kernels.NO_POINTS[1]] * len(images)
    rows = np.arange(series.projections.shape[1])

    def work(_: int, numbers: Iterator[int]) -> None:
        for number in numbers:
            k = images[number]
            angle = 2 * np.pi / size * np.outer(feet[number], rows - series.center[k, 0])
            real, imag = (wave.astype(np.float32) @ series.projections[k] for wave in (np.cos(angle), -np.sin(angle)))
            lines[number] = real + 1j * imag

    with threadpool_limits(1, user_api="blas"):
        in_threads(work, len(images))
    return lines


def grid_volume(series: TiltSeries, depth: int, *, oversampling: int, reach: float) -> VolumeGrid:
    """Frequencies that images in any orientation measure.

    Parameters
    ----------
    series : TiltSeries
        Images.
    depth : int
        Voxels of the volume along the beam at zero tilt.
    oversampling : int
        Ratio of the padded size to that of the object.
    reach : float
        Grid steps that a point may be away from the plane of an image.

    Notes
    -----
    As `grid_slices`, with planes for lines; the frequencies of an image between its own grid points are interpolated
    as in `aet2dft.recon.fourier.projector`, to a relative error of 1e-6.
    """
    shape = (*series.projections.shape[1:], depth)
    size = grid_size(shape, oversampling)
    doubled = doubled_size(shape[0]), doubled_size(shape[1])
    spectra = _image_spectra(series, doubled)
    offset = series.center - np.array(shape[:2]) // 2
    steps = np.array(doubled) / size

    def work(_: int, numbers: Iterator[int]) -> None:
        for number in numbers:
            planes[number] = kernels.measured_plane(
                number if number < size // 2 else number - size, spectra, series.rotations, offset,
                np.array(shape) // 2, steps, size, reach, _CLOSEST,
            )  # fmt: skip

    planes: list[tuple[NDArray[np.int32], NDArray[np.complex64]]] = [kernels.NO_POINTS] * size
    in_threads(work, size)
    return VolumeGrid(
        size=size,
        start=np.cumsum([0, *(len(index) for index, _ in planes)]),
        index=np.concatenate([index for index, _ in planes]),
        values=np.concatenate([values for _, values in planes]),
    )


def _image_spectra(series: TiltSeries, size: tuple[int, int]) -> NDArray[np.float32]:
    """Frequencies (n, M1, pairs) with margins of the images on a grid of this size, ready for interpolation."""
    n, rows, columns = series.projections.shape
    flat = np.outer(taper(rows, size[0]), taper(columns, size[1]))
    row_phase, column_phase = centering(rows, size[0]), centering(columns, size[1])[: size[1] // 2 + 1]
    spectra = np.empty((n, size[0], 1, size[1] // 2 + 1 + 2 * MARGIN), dtype=np.complex64)
    for k, image in enumerate(series.projections):
        spectrum = fft.rfft2(image * flat, size)
        kernels.place(spectrum, row_phase, column_phase, 1.0, spectra[k, :, 0])
        kernels.mirror(spectra[k])
    return as_pairs(spectra[:, :, 0])


def withheld(points: NDArray[np.int64], fraction: float, seed: int) -> NDArray[np.bool_]:
    """Points chosen at random, the same for the same number, whatever stands beside it.

    Parameters
    ----------
    points : ndarray, shape (m,)
        A number for every point; Friedel mates have the same one.
    fraction : float
        Of the points that are chosen.
    seed : int
        Of the choice.

    Notes
    -----
    The numbers are scattered by the finalizer of SplitMix64 (G. L. Steele, D. Lea and C. H. Flood, OOPSLA 2014).
    """
    with np.errstate(over="ignore"):
        word = points.astype(np.uint64) + np.uint64(seed + 1) * np.uint64(0x9E3779B97F4A7C15)
        word = (word ^ (word >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        word = (word ^ (word >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray((word ^ (word >> np.uint64(31))) < np.uint64(fraction * 2**64))
