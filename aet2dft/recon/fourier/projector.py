"""Projections of a volume that are exact for band-limited images, and their adjoint; any rotations.

The images of atoms are in ``simulate``, algorithms that fit a volume to images in ``least_squares``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from aet2dft.recon.fourier import _kernels_fourier as kernels
from aet2dft.recon.fourier._kernels_fourier import MARGIN
from aet2dft.recon.fourier.columns import shift_columns
from aet2dft.recon.fourier.fft import SliceTransform, VolumeTransform, fast_size
from aet2dft.recon.fourier.interpolation import as_pairs, centering, doubled_size, taper, windows
from aet2dft.recon.fourier.threads import in_shares, in_threads
from aet2dft.recon.tilt_series import TiltSeries


class Projector(Protocol):
    """What both forms of the projection do; a volume is given as its planes."""

    shape: tuple[int, int, int]
    """Planes of the volume: (ny, nx, nz) for one tilt axis, else (nx, ny, nz)."""

    def project(self, planes: NDArray[np.float32]) -> NDArray[np.float32]:
        """Images (n, nx, ny) of a volume."""
        ...

    def back_project(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Adjoint of `project`: planes of a volume from images (n, nx, ny)."""
        ...


class SliceProjector:
    """Projections about one tilt axis: every plane perpendicular to it is a problem of its own.

    Parameters
    ----------
    series : TiltSeries
        Gives rotations, centers and the size of the images.
    depth : int
        Voxels of the volume along the beam at zero tilt.
    rows : int, optional
        Voxels of the volume along its first axis; default: as many as pixels.

    Notes
    -----
    A plane f(x, z) has the line b(u) = sum f(x, z) D(u - x cos(theta) + z sin(theta)); D is the Dirichlet kernel whose
    period M holds the plane in any orientation, without its Nyquist frequency. The frequencies of b are those of f on
    a line through the origin; they are interpolated on a doubled grid with the window of A. H. Barnett, J. Magland
    and L. af Klinteberg, SIAM J. Sci. Comput. 41, C479 (2019).
    """

    def __init__(self, series: TiltSeries, depth: int, rows: int | None = None) -> None:
        _, self._n_rows, n_columns = series.projections.shape
        n_rows = rows or self._n_rows
        self.shape = (n_columns, n_rows, depth)
        self._length = line_length(self._n_rows, (n_rows, depth))
        self._padded = (doubled_size(n_rows), doubled_size(depth))
        directions = series.rotations[:, (0, 2), 0]
        frequencies = np.arange(self._length // 2)
        points = directions[:, None, :] * frequencies[:, None] * np.array(self._padded) / self._length
        self._flip = points[..., 1] < 0
        points = np.where(self._flip[..., None], -points, points).reshape(-1, 2)
        first, second = windows(points[:, 0]), windows(points[:, 1])
        self._windows = (*first, second[0] + MARGIN, second[1])
        self._phase = np.exp(-2j * np.pi * frequencies * series.center[:, :1] / self._length).astype(np.complex64)
        turns = [centering(n, size) for n, size in zip((n_rows, depth), self._padded, strict=True)]
        self._to_center = turns[0], turns[1][: self._padded[1] // 2 + 1]
        self._taper = np.outer(*(taper(n, size) for n, size in zip((n_rows, depth), self._padded, strict=True)))

    def project(self, planes: NDArray[np.float32]) -> NDArray[np.float32]:
        """Images of a volume.

        Parameters
        ----------
        planes : ndarray, shape (ny, nx, nz)
            Planes perpendicular to the tilt axis.

        Returns
        -------
        ndarray, shape (n, nx, ny)
            Sums along the beam.
        """
        images = np.empty((len(self._phase), self._n_rows, len(planes)), dtype=np.float32)

        def fill(y: int, plane: NDArray[np.float32]) -> None:
            np.multiply(planes[y], self._taper, out=plane)

        def visit(y: int, spectrum: NDArray[np.complex64]) -> None:
            wide = self._wide()
            found = np.empty(self._phase.size, dtype=np.complex64)
            kernels.place(spectrum, *self._to_center, 1.0, wide[:, 0])
            kernels.mirror(wide)
            kernels.gather_slice(as_pairs(wide)[:, 0], *self._windows, found)
            lines = found.reshape(self._phase.shape)
            lines = np.where(self._flip, lines.conj(), lines) * self._phase
            images[:, :, y] = fft.irfft(lines, self._length)[:, : self._n_rows]

        self._transform(len(planes)).run(visit, fill=fill)
        return images

    def back_project(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Adjoint of `project`.

        Parameters
        ----------
        images : ndarray, shape (n, nx, ny)
            Any images.

        Returns
        -------
        ndarray, shape (ny, nx, nz)
            Planes perpendicular to the tilt axis.
        """
        planes = np.empty((images.shape[2], *self._taper.shape), dtype=np.float32)

        def visit(y: int, spectrum: NDArray[np.complex64]) -> None:
            lines = fft.rfft(np.ascontiguousarray(images[:, :, y]), self._length)[:, : self._phase.shape[1]]
            lines = lines * self._phase.conj() / self._length
            lines[:, 0] *= 0.5
            lines = np.where(self._flip, lines.conj(), lines).ravel()
            wide = self._wide()
            kernels.scatter_slice(as_pairs(wide)[:, 0], *self._windows, lines)
            kernels.fold(wide)
            kernels.collect(wide[:, 0], *self._to_center, 1.0, spectrum)

        def take(y: int, plane: NDArray[np.float32]) -> None:
            np.multiply(plane, self._taper, out=planes[y])

        self._transform(len(planes)).run(visit, take=take)
        return planes

    def _transform(self, count: int) -> SliceTransform:
        return SliceTransform(count, self._taper.shape, self._padded)

    def _wide(self) -> NDArray[np.complex64]:
        return np.zeros((self._padded[0], 1, self._padded[1] // 2 + 1 + 2 * MARGIN), dtype=np.complex64)


class VolumeProjector:
    """Projections along any direction: the images share a three-dimensional transform.

    Parameters
    ----------
    series : TiltSeries
        Gives rotations, centers and the size of the images.
    depth : int
        Voxels of the volume along the beam at zero tilt.
    rows : int, optional
        Voxels of the volume along its first axis; default: as many as pixels.

    Notes
    -----
    As `SliceProjector`, with a Dirichlet kernel along each axis of the images: the frequencies of an image are those
    of the volume on a plane through the origin.
    """

    def __init__(self, series: TiltSeries, depth: int, rows: int | None = None) -> None:
        _, n_rows, n_columns = series.projections.shape
        self.shape = (rows or n_rows, n_columns, depth)
        self._image_shape = (n_rows, n_columns)
        self._lengths = line_lengths(series, self.shape)
        self._padded = (doubled_size(self.shape[0]), doubled_size(n_columns), doubled_size(depth))
        lengths, padded = np.array(self._lengths), np.array(self._padded)
        self._axes = np.ascontiguousarray(series.rotations[:, :, :2].swapaxes(1, 2) * padded / lengths[:, None])
        self._centers = series.center
        across, along, columns = (centering(n, size) for n, size in zip(self.shape, self._padded, strict=True))
        self._to_center = across, along, columns[: self._padded[2] // 2 + 1]
        tapers = [taper(n, size) for n, size in zip(self.shape, self._padded, strict=True)]
        self._taper, self._taper_along = np.outer(tapers[1], tapers[2]), tapers[0]

    def project(self, planes: NDArray[np.float32]) -> NDArray[np.float32]:
        """Images of a volume.

        Parameters
        ----------
        planes : ndarray, shape (nx, ny, nz)
            The volume.

        Returns
        -------
        ndarray, shape (n, nx, ny)
            Sums along the beam.
        """
        wide = self._wide()

        def fill(x: int, plane: NDArray[np.float32]) -> None:
            np.multiply(planes[x], self._taper * self._taper_along[x], out=plane)

        def visit(y: int, spectrum: NDArray[np.complex64]) -> None:
            rows, along, columns = self._to_center
            kernels.place(spectrum, rows, columns, along[y], wide[:, y])

        VolumeTransform(self.shape, self._padded, self._inside(wide)).run(visit, fill=fill)
        kernels.mirror(wide)
        images = np.empty((len(self._axes), *self._image_shape), dtype=np.float32)

        def work(_: int, numbers: Iterator[int]) -> None:
            found = np.empty((self._lengths[0], self._lengths[1] // 2 + 1), dtype=np.complex64)
            for k in numbers:
                kernels.gather_image(as_pairs(wide), self._axes[k], found)
                image = fft.irfft2(found * self._phase(k), self._lengths)
                images[k] = image[: self._image_shape[0], : self._image_shape[1]]

        in_threads(work, len(images))
        return images

    def back_project(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Adjoint of `project`.

        Parameters
        ----------
        images : ndarray, shape (n, nx, ny)
            Any images.

        Returns
        -------
        ndarray, shape (nx, ny, nz)
            The volume.
        """
        wide = self._wide()
        frequencies = np.empty((len(images), self._lengths[0], self._lengths[1] // 2 + 1), dtype=np.complex64)

        def transform(_: int, numbers: Iterator[int]) -> None:
            for k in numbers:
                frequencies[k] = fft.rfft2(images[k], self._lengths) * self._phase(k).conj()
                frequencies[k, :, 0] *= 0.5

        def scatter(numbers: range) -> None:
            # a thread owns planes of the volume and adds to them image by image
            for k in range(len(images)):
                kernels.scatter_image(frequencies[k], self._axes[k], numbers.start, numbers.stop, as_pairs(wide))

        in_threads(transform, len(images))
        in_shares(scatter, len(wide))
        kernels.fold(wide)
        planes = np.empty(self.shape, dtype=np.float32)
        norm = np.float32(1 / np.prod(self._lengths))

        def visit(y: int, spectrum: NDArray[np.complex64]) -> None:
            rows, along, columns = self._to_center
            kernels.collect(wide[:, y], rows, columns, along[y], spectrum)

        def take(x: int, plane: NDArray[np.float32]) -> None:
            np.multiply(plane, self._taper * (norm * self._taper_along[x]), out=planes[x])

        VolumeTransform(self.shape, self._padded, self._inside(wide)).run(visit, take=take)
        return planes

    def _phase(self, k: int) -> NDArray[np.complex64]:
        """Moves an image (M1, M2 // 2 + 1 frequencies) so that the rotation center lands where it is measured."""
        rows = np.exp(-2j * np.pi * fft.fftfreq(self._lengths[0]) * self._centers[k, 0])
        columns = np.exp(-2j * np.pi * fft.rfftfreq(self._lengths[1]) * self._centers[k, 1])
        return np.outer(rows, columns).astype(np.complex64)

    def _wide(self) -> NDArray[np.complex64]:
        return np.zeros((*self._padded[:2], self._padded[2] // 2 + 1 + 2 * MARGIN), dtype=np.complex64)

    def _inside(self, wide: NDArray[np.complex64]) -> NDArray[np.complex64]:
        """Part of the frequencies in which half-transformed planes are kept: they are read before they are replaced."""
        return wide[: self.shape[0], :, MARGIN:-MARGIN]


def projector(series: TiltSeries, depth: int, rows: int | None = None, *, single_axis: bool | None = None) -> Projector:
    """The projection for the rotations of a series.

    Parameters
    ----------
    series : TiltSeries
        Images; their values play no part.
    depth : int
        Voxels of the volume along the beam at zero tilt.
    rows : int, optional
        Voxels of the volume along its first axis; default: as many as pixels.
    single_axis : bool, optional
        Whether planes perpendicular to the tilt axis are projected by themselves; default: as the rotations are.
    """
    by_planes = series.is_single_axis if single_axis is None else single_axis
    return SliceProjector(series, depth, rows) if by_planes else VolumeProjector(series, depth, rows)


def plane_order(series: TiltSeries) -> tuple[int, int, int]:
    """Axes of a volume by which it is held as planes, and of the planes by which it is a volume.

    Parameters
    ----------
    series : TiltSeries
        With one tilt axis planes are perpendicular to it.
    """
    return (1, 0, 2) if series.is_single_axis else (0, 1, 2)


def project_volume(series: TiltSeries, values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Images of a volume in the orientations of a series.

    Parameters
    ----------
    series : TiltSeries
        Gives rotations, centers and the size of the images.
    values : ndarray, shape (nx, ny, nz)
        Density; ny as in the images, nx at least. What lands outside an image is not in it.

    Returns
    -------
    ndarray, shape (n, nx, ny)
        Sums along the beam.
    """
    images = projector(series, values.shape[2], values.shape[0]).project(values.transpose(plane_order(series)))
    offsets = series.center[:, 1] - values.shape[1] // 2
    # planes about one tilt axis know nothing of the columns beside them
    return shift_columns(images, offsets) if series.is_single_axis and offsets.any() else images


def line_length(pixels: int, extent: tuple[float, ...]) -> int:
    """Period of the lines of an image: a projected volume overlaps neither its copies nor the next period's image.

    Parameters
    ----------
    pixels : int
        Measured pixels of the line.
    extent : tuple of float
        Voxels of the volume along every axis that is turned, or its width alone.
    """
    return fast_size(max(2 * pixels, math.ceil(math.hypot(*extent)) + 1))


def line_lengths(series: TiltSeries, shape: tuple[int, ...]) -> tuple[int, int]:
    """Periods of rows and columns of the images in these rotations, as `line_length` in all.

    Parameters
    ----------
    series : TiltSeries
        Gives rotations and the size of the images.
    shape : tuple of int
        Voxels (nx, ny, nz) of the volume.
    """
    # width of the box seen along its images' axes: that is its diagonal at most
    widths = np.einsum("kia,i->ka", np.abs(series.rotations[:, :, :2]), shape).max(axis=0)
    rows, columns = (
        line_length(pixels, (float(width),)) for pixels, width in zip(series.projections.shape[1:], widths, strict=True)
    )
    return rows, columns
