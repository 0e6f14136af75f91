"""Convolution of planes or of a volume with a symmetric kernel: the form that normal operators of projections have.

Where kernels come from is in ``least_squares`` and ``genfire``, what is done with them in ``descent``.
"""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from aet2dft.recon.fourier import _kernels_volume as kernels
from aet2dft.recon.fourier.fft import OnPlane, PlaneTransform, SliceTransform, VolumeTransform, quick_size

_POWERS, _MOST_POWERS = 4, 40
"""Applications of an operator that give its norm, mostly to better than the safety factor, and the most of them."""
_RISE = 1.005
"""Factor by which another application may still raise it."""
_SAFE = 1.02


class Convolution(Protocol):
    """What descent needs to know of a normal operator."""

    norm: float
    """Largest eigenvalue, or up to 2 % more."""
    independent: bool
    """Whether every plane is convolved for itself."""

    def run(self, fill: OnPlane, take: OnPlane) -> None:
        """Convolve planes: `fill` writes one, `take` reads what became of it."""
        ...


class SliceConvolution:
    """Planes (n1, n2), each convolved with the same kernel.

    Parameters
    ----------
    count : int
        Number of planes.
    kernel : ndarray, shape (2 n1 - 1, n2)
        Kernel at distances (i - n1 + 1, j); the other half follows from symmetry.
    """

    independent = True

    def __init__(self, count: int, kernel: NDArray[np.float32]) -> None:
        rows, columns = (kernel.shape[0] + 1) // 2, kernel.shape[1]
        padded = quick_size(2 * rows - 1), quick_size(2 * columns - 1)
        whole = PlaneTransform(padded, padded)
        kernels.unfold(kernel[None], 0, whole.plane)
        whole.forward()
        self._response = np.ascontiguousarray(whole.spectrum.real) / np.float32(math.prod(padded))
        self._transform = SliceTransform(1, (rows, columns), padded)
        self.norm = largest_eigenvalue(self, (1, rows, columns))
        self._transform = SliceTransform(count, (rows, columns), padded)

    def run(self, fill: OnPlane, take: OnPlane) -> None:
        """Convolve planes (n1, n2)."""
        self._transform.run(lambda _, spectrum: kernels.multiply(spectrum, self._response), fill=fill, take=take)


class VolumeConvolution:
    """A volume (n1, n2, n3) convolved with a kernel.

    Parameters
    ----------
    kernel : ndarray, shape (2 n1 - 1, 2 n2 - 1, n3)
        Kernel at distances (i - n1 + 1, j - n2 + 1, k); the other half follows from symmetry.
    """

    independent = False

    def __init__(self, kernel: NDArray[np.float32]) -> None:
        shape = (kernel.shape[0] + 1) // 2, (kernel.shape[1] + 1) // 2, kernel.shape[2]
        padded = quick_size(2 * shape[0] - 1), quick_size(2 * shape[1] - 1), quick_size(2 * shape[2] - 1)
        self._response = _response(kernel, padded)
        self._transform = VolumeTransform(shape, padded)
        self.norm = largest_eigenvalue(self, shape)

    def run(self, fill: OnPlane, take: OnPlane) -> None:
        """Convolve the volume, given and read as its planes (n2, n3)."""
        self._transform.run(lambda y, spectrum: kernels.multiply(spectrum, self._response[y]), fill=fill, take=take)


def _response(kernel: NDArray[np.float32], padded: tuple[int, int, int]) -> NDArray[np.float32]:
    """Frequencies (N2, N1, N3 // 2 + 1) of a kernel around the grid, over the number of its points."""
    reach = kernel.shape[0] // 2
    response = np.empty((padded[1], padded[0], padded[2] // 2 + 1), dtype=np.float32)

    def fill(x: int, plane: NDArray[np.float32]) -> None:
        distance = x if x <= reach else x - padded[0]
        if abs(distance) <= reach:
            kernels.unfold(kernel, distance, plane)
        else:
            plane[...] = 0

    def visit(y: int, spectrum: NDArray[np.complex64]) -> None:
        np.multiply(spectrum.real, 1 / math.prod(padded), out=response[y])

    VolumeTransform(padded, padded).run(visit, fill=fill)
    return response


def largest_eigenvalue(operator: Convolution, shape: tuple[int, int, int]) -> float:
    """Largest eigenvalue, or up to 2 % more, by repeated application, of a constant first.

    Parameters
    ----------
    operator : Convolution
        Symmetric, with no negative eigenvalue; its own `norm` plays no part.
    shape : tuple of int
        Planes that it works on.
    """
    vector, found, length, before = np.ones(shape, dtype=np.float32), np.empty(shape, dtype=np.float32), 0.0, 0.0

    def fill(p: int, plane: NDArray[np.float32]) -> None:
        plane[...] = vector[p]

    def take(p: int, plane: NDArray[np.float32]) -> None:
        found[p] = plane

    for power in range(_MOST_POWERS):
        if power >= _POWERS and length <= _RISE * before:
            break
        vector /= np.float32(_length(vector))
        operator.run(fill, take)
        vector, found = found, vector
        before, length = length, _length(vector)
    return _SAFE * length


def _length(planes: NDArray[np.float32]) -> float:
    # einsum, not BLAS: the same bytes whatever the number of threads
    return math.sqrt(sum(float(np.einsum("ij,ij->", plane, plane, dtype=np.float64)) for plane in planes))
