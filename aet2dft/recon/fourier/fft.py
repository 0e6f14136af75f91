"""Transforms of small objects in large empty grids: only lines that hold something are transformed.

Which frequencies a tilt series measures is in ``projector`` and ``gridding``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pyfftw
from numpy.typing import NDArray

from aet2dft.recon.fourier._kernels_volume import thread_count
from aet2dft.recon.fourier.threads import in_threads

OnPlane = Callable[[int, NDArray[np.float32]], None]
"""Writes or reads the samples (n1, n2) of the plane of this number."""
OnSpectrum = Callable[[int, NDArray[np.complex64]], None]
"""Reads or changes, in place, the frequencies of this number."""
_FLAGS = ("FFTW_ESTIMATE", "FFTW_DESTROY_INPUT")
"""Plans that are measured differ from run to run, and so do the last bits of their results."""
_PRIMES = (2, 3, 5)
_QUICK = (
    *(16, 20, 32, 48, 64, 80, 100, 128, 144, 160, 180, 192, 200, 240, 256, 288, 300, 320, 324, 384, 400, 432, 500),
    *(512, 576, 640, 648, 768, 800, 864, 972, 1024, 1280),
)
"""Sizes of planes that no larger plane is transformed in a tenth less time than (measured)."""


def fast_size(least: int) -> int:
    """Smallest even size that is not less than `least` and has no prime factor above five.

    Parameters
    ----------
    least : int
        Samples that have to fit.
    """
    size = least + least % 2
    while not _is_smooth(size):
        size += 2
    return size


def quick_size(least: int) -> int:
    """Size, not less than `least`, of a plane that is transformed in the least time: often not the smallest.

    Parameters
    ----------
    least : int
        Samples that have to fit.
    """
    return next((size for size in _QUICK if size >= least), fast_size(least))


def _is_smooth(size: int) -> bool:
    for prime in _PRIMES:
        while size % prime == 0:
            size //= prime
    return size == 1


class PlaneTransform:
    """Real planes (n1, n2) in a corner of an empty grid (N1, N2), to frequencies (N1, N2 // 2 + 1) and back.

    Parameters
    ----------
    shape : tuple of int
        Samples of a plane.
    padded : tuple of int
        Samples of the grid, even.

    Notes
    -----
    Both ways are in place and not normalized: back and forth multiplies by N1 * N2. Rows that are empty are not
    transformed, and rows that nobody asks for are not transformed back.
    """

    def __init__(self, shape: tuple[int, int], padded: tuple[int, int]) -> None:
        rows, columns = shape
        self.spectrum: NDArray[np.complex64] = pyfftw.zeros_aligned((padded[0], padded[1] // 2 + 1), "complex64")
        lines = self.spectrum.view(np.float32)[:rows, : padded[1]]
        self.plane: NDArray[np.float32] = lines[:, :columns]
        self._margin = lines[:, columns:]
        self._below = self.spectrum[rows:]
        filled = self.spectrum[:rows]
        self._row = pyfftw.FFTW(lines, filled, axes=(1,), flags=_FLAGS)
        self._row_back = pyfftw.FFTW(filled, lines, axes=(1,), direction="FFTW_BACKWARD", flags=_FLAGS)
        self._column, self._column_back = _complex_pair(self.spectrum, 0)

    def forward(self) -> None:
        """Frequencies of what stands in `plane`, into `spectrum`; the plane is lost."""
        self._margin[...] = 0
        self._row.execute()
        self._below[...] = 0
        self._column.execute()

    def inverse(self) -> None:
        """Samples of what stands in `spectrum`, into `plane`; the frequencies are lost."""
        self._column_back.execute()
        self._row_back.execute()


class SliceTransform:
    """Independent planes, one after the other in every thread.

    Parameters
    ----------
    count : int
        Number of planes.
    shape, padded : tuple of int
        Samples of a plane and of the grid around it, as of `PlaneTransform`.
    """

    def __init__(self, count: int, shape: tuple[int, int], padded: tuple[int, int]) -> None:
        self.count = count
        self._transforms = [PlaneTransform(shape, padded) for _ in range(min(thread_count(), count))]

    def run(self, visit: OnSpectrum, *, fill: OnPlane | None = None, take: OnPlane | None = None) -> None:
        """Transform every plane, do something with its frequencies, transform back.

        Parameters
        ----------
        visit : callable
            Reads or changes the frequencies (N1, N2 // 2 + 1) of a plane; they are zero without `fill`.
        fill : callable, optional
            Writes a plane.
        take : callable, optional
            Reads what became of it; without, nothing is transformed back.
        """

        def work(worker: int, numbers: Iterator[int]) -> None:
            transform = self._transforms[worker]
            for number in numbers:
                if fill is None:
                    transform.spectrum[...] = 0
                else:
                    fill(number, transform.plane)
                    transform.forward()
                visit(number, transform.spectrum)
                if take is not None:
                    transform.inverse()
                    take(number, transform.plane)

        in_threads(work, self.count)


class VolumeTransform:
    """A real volume (n1, n2, n3) in a corner of an empty grid (N1, N2, N3).

    Parameters
    ----------
    shape, padded : tuple of int
        Samples of the volume and of the grid around it, the latter even.
    kept : ndarray, shape (n1, N2, N3 // 2 + 1), optional
        Where half-transformed planes are kept; default: memory of its own. `visit` may overwrite what belongs to its
        frequency.

    Notes
    -----
    Planes of constant first index are transformed and kept, (n1, N2, N3 // 2 + 1) in all; then, for one frequency of
    the second axis at a time, the first axis, in a plane (N1, N3 // 2 + 1) that fits the cache. The grid itself is
    nowhere in memory.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        padded: tuple[int, int, int],
        kept: NDArray[np.complex64] | None = None,
    ) -> None:
        workers = range(thread_count())
        half = (shape[0], padded[1], padded[2] // 2 + 1)
        self._kept = np.empty(half, dtype=np.complex64) if kept is None else kept
        self._planes = [PlaneTransform(shape[1:], padded[1:]) for _ in workers]
        self._columns = [pyfftw.empty_aligned((padded[0], self._kept.shape[2]), "complex64") for _ in workers]
        self._plans = [_complex_pair(columns, 0) for columns in self._columns]

    def run(self, visit: OnSpectrum, *, fill: OnPlane | None = None, take: OnPlane | None = None) -> None:
        """Transform the volume, do something with its frequencies, transform back.

        Parameters
        ----------
        visit : callable
            Reads or changes the frequencies (N1, N3 // 2 + 1) of one frequency of the second axis; they are zero
            without `fill`.
        fill : callable, optional
            Writes plane i (n2, n3) of the volume.
        take : callable, optional
            Reads plane i of what became of it; without, nothing is transformed back.
        """
        if fill is not None:
            self._to_planes(fill)

        def work(worker: int, numbers: Iterator[int]) -> None:
            columns, (forward, inverse) = self._columns[worker], self._plans[worker]
            filled = len(self._kept)
            for number in numbers:
                if fill is None:
                    columns[...] = 0
                else:
                    columns[:filled] = self._kept[:, number]
                    columns[filled:] = 0
                    forward.execute()
                visit(number, columns)
                if take is not None:
                    inverse.execute()
                    self._kept[:, number] = columns[:filled]

        in_threads(work, self._kept.shape[1])
        if take is not None:
            self._from_planes(take)

    def _to_planes(self, fill: OnPlane) -> None:
        def work(worker: int, numbers: Iterator[int]) -> None:
            transform = self._planes[worker]
            for number in numbers:
                fill(number, transform.plane)
                transform.forward()
                self._kept[number] = transform.spectrum

        in_threads(work, len(self._kept))

    def _from_planes(self, take: OnPlane) -> None:
        def work(worker: int, numbers: Iterator[int]) -> None:
            transform = self._planes[worker]
            for number in numbers:
                transform.spectrum[...] = self._kept[number]
                transform.inverse()
                take(number, transform.plane)

        in_threads(work, len(self._kept))


def _complex_pair(array: NDArray[np.complex64], axis: int) -> tuple[pyfftw.FFTW, pyfftw.FFTW]:
    """Plans of the transform along one axis, in place, and of its inverse."""
    forward = pyfftw.FFTW(array, array, axes=(axis,), flags=_FLAGS)
    return forward, pyfftw.FFTW(array, array, axes=(axis,), direction="FFTW_BACKWARD", flags=_FLAGS)
