"""Parts of a problem: columns of pixels about one tilt axis, whose planes are problems of their own; smaller boxes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from aet2dft.recon.fourier.fft import fast_size
from aet2dft.recon.tilt_series import TiltSeries

ENOUGH = 48
"""Planes that are enough to judge all by."""
BLOCK = 32
"""Planes that are reconstructed together: enough for every thread, few enough for the cache."""


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
    center = np.column_stack([series.center[:, 0], np.full(series.n_images, middle)])
    return replace(series, projections=shift_columns(series.projections, shifts), center=center)


def shift_columns(images: NDArray[np.float32], by: NDArray[np.float64]) -> NDArray[np.float32]:
    """Images (n, nx, ny), each moved along its second axis by so many pixels (n,)."""
    columns = images.shape[2]
    size = fast_size(2 * columns)
    phases = np.exp(-2j * np.pi * by[:, None] * fft.rfftfreq(size)).astype(np.complex64)
    moved = fft.irfft(fft.rfft(images, size, axis=2) * phases[:, None], size, axis=2)
    return np.ascontiguousarray(moved[:, :, :columns])


def take_columns(series: TiltSeries, columns: NDArray[np.intp]) -> TiltSeries:
    """Some columns of the images about one tilt axis, as a series of its own.

    Parameters
    ----------
    series : TiltSeries
        As `centered_columns` leaves it.
    columns : ndarray, shape (m,)
        Indices of the columns.
    """
    center = np.column_stack([series.center[:, 0], np.full(series.n_images, len(columns) // 2)])
    return replace(series, projections=series.projections[:, :, columns], center=center)


def reached_columns(support: NDArray[np.bool_], most: int | None = None) -> NDArray[np.intp]:
    """Columns whose planes the support (nx, ny, nz) reaches into; evenly spaced ones, at most `most`."""
    reached = np.flatnonzero(support.any(axis=(0, 2)))
    return reached if most is None else reached[:: -(-len(reached) // most)]


def column_blocks(support: NDArray[np.bool_]) -> list[NDArray[np.intp]]:
    """The columns that the support (nx, ny, nz) reaches, some at a time."""
    reached = reached_columns(support)
    return np.array_split(reached, -(-len(reached) // BLOCK))


def tight_box(support: NDArray[np.bool_]) -> tuple[slice, slice, slice]:
    """The smallest box around a support that keeps all columns and the middle voxel in the middle.

    Parameters
    ----------
    support : ndarray of bool, shape (nx, ny, nz)
        Not empty.
    """
    rows, depth = (_around_middle(np.asarray(support.any(axis=axes))) for axes in ((1, 2), (0, 1)))
    return rows, slice(None), depth


def _around_middle(reached: NDArray[np.bool_]) -> slice:
    """Shortest range of an axis that holds all reached points and whose middle is that of the axis."""
    middle, points = len(reached) // 2, np.flatnonzero(reached)
    half = max(middle - int(points[0]), int(points[-1]) - middle + 1)
    return slice(middle - half, middle + half) if half <= middle else slice(None)
