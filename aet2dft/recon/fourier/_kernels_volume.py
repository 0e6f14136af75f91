"""Loops over voxels, compiled: descent, kernels of normal operators, shadows. Arrays in, arrays out; no checks.

A loop is either shared by the threads of numba over outputs that do not share a number, or it holds no lock and is
shared by its caller: the bytes do not depend on the threads.
"""

from __future__ import annotations

import math

import numpy as np
from numba import get_num_threads, njit, prange
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
Complexes = NDArray[np.complex64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

_FLAT = 3e-6
"""Below this sine the Dirichlet kernel is 1 to single precision, and its quotient would lose digits."""


def thread_count() -> int:
    """Threads that may work at once."""
    return int(get_num_threads())


@njit(cache=True, nogil=True, fastmath=True)
def extrapolate(values: Singles, previous: Singles, factor: float, ahead: Singles) -> None:
    """Go on from `previous` over `values` (n1, n2) by a fraction of the last step, into `ahead`."""
    f = np.float32(factor)
    for i in range(values.shape[0]):
        for j in range(values.shape[1]):
            ahead[i, j] = values[i, j] + f * (values[i, j] - previous[i, j])


@njit(cache=True, nogil=True, fastmath=True)
def descend(
    values: Singles, previous: Singles, factor: float, smooth: Singles, target: Singles, support: Flags,
    step: float, floor: float,
) -> tuple[float, float, float, float]:  # fmt: skip
    """One gradient step from the extrapolated plane, then the constraints; `previous` becomes `values`.

    `smooth` is the normal operator applied to the extrapolated plane z. Returns <z - new, new - old>, which is positive
    where the momentum leads uphill; <z, smooth / 2 - target>, the misfit at z but for a constant; and the squares of
    new - old and of new.
    """
    f, s, least = np.float32(factor), np.float32(step), np.float32(floor)
    uphill = misfit = change = size = 0.0
    for i in range(values.shape[0]):
        for j in range(values.shape[1]):
            old = values[i, j]
            ahead = old + f * (old - previous[i, j])
            new = max(ahead - s * (smooth[i, j] - target[i, j]), least)
            new = new if support[i, j] else np.float32(0.0)
            # in double precision: squares of tiny or huge units leave single precision
            moved = np.float64(new - old)
            uphill += np.float64(ahead - new) * moved
            misfit += np.float64(ahead) * np.float64(np.float32(0.5) * smooth[i, j] - target[i, j])
            change += moved * moved
            size += np.float64(new) * np.float64(new)
            previous[i, j] = old
            values[i, j] = new
    return uphill, misfit, change, size


@njit(cache=True, nogil=True, fastmath=True)
def progress(ahead: Singles, values: Singles, previous: Singles) -> tuple[float, float, float]:
    """What `descend` tells of a step from `ahead`, where `previous` became `values`, but for the misfit."""
    uphill = change = size = 0.0
    for i in range(values.shape[0]):
        for j in range(values.shape[1]):
            new = np.float64(values[i, j])
            moved = new - np.float64(previous[i, j])
            uphill += (np.float64(ahead[i, j]) - new) * moved
            change += moved * moved
            size += new * new
    return uphill, change, size


@njit(cache=True, nogil=True)
def multiply(spectrum: Complexes, factor: Singles) -> None:
    """Frequencies (n1, n2) times real numbers (n1, n2)."""
    for i in range(spectrum.shape[0]):
        for j in range(spectrum.shape[1]):
            spectrum[i, j] *= factor[i, j]


@njit(cache=True, parallel=True, fastmath=True)
def slice_kernel(directions: Floats, size: int, kernel: Floats) -> None:
    """Sum of Dirichlet kernels of period `size` along the directions (n, 2), at distances (i - middle, j).

    `kernel` has shape (2 n1 - 1, n3): the other half follows from symmetry.
    """
    n, depth, middle = len(directions), kernel.shape[1], kernel.shape[0] // 2
    rates = np.array([math.pi * (size - 1) / size, math.pi / size])
    cosines, sines = np.empty((n, 2, depth)), np.empty((n, 2, depth))
    for k in range(n):
        for wave in range(2):
            for z in range(depth):
                angle = rates[wave] * z * directions[k, 1]
                cosines[k, wave, z], sines[k, wave, z] = math.cos(angle), math.sin(angle)
    for i in prange(kernel.shape[0]):
        total = np.zeros(depth)
        for k in range(n):
            at = (i - middle) * directions[k, 0]
            c0, s0 = math.cos(rates[0] * at), math.sin(rates[0] * at)
            c1, s1 = math.cos(rates[1] * at), math.sin(rates[1] * at)
            for z in range(depth):
                # sin(a + b) = sin(a) cos(b) + cos(a) sin(b)
                above = s0 * cosines[k, 0, z] + c0 * sines[k, 0, z]
                below = s1 * cosines[k, 1, z] + c1 * sines[k, 1, z]
                total[z] += size - 1.0 if abs(below) < _FLAT else above / below
        kernel[i] = total / size


@njit(cache=True, inline="always")
def _add_line(starts: Floats, cosines: Floats, sines: Floats, first: float, second: float, total: Floats) -> None:
    """Products of two quotients of sines along a line of voxels: sin(a + b) = sin(a) cos(b) + cos(a) sin(b).

    `starts` (8,): cosine and sine at its beginning of each of the four; `first`, `second`: limits of the quotients.
    """
    for z in range(len(total)):
        above = starts[1] * cosines[0, z] + starts[0] * sines[0, z]
        below = starts[3] * cosines[1, z] + starts[2] * sines[1, z]
        row = first if abs(below) < _FLAT else above / below
        above = starts[5] * cosines[2, z] + starts[4] * sines[2, z]
        below = starts[7] * cosines[3, z] + starts[6] * sines[3, z]
        total[z] += row * (second if abs(below) < _FLAT else above / below)


@njit(cache=True, parallel=True, fastmath=True)
def volume_kernel(axes: Floats, sizes: Ints, kernel: Singles) -> None:
    """Sum of products of Dirichlet kernels along both axes of the images (n, 2, 3), at distances (i - m, j - m, k).

    `sizes` (2,) are their periods; `kernel` has shape (2 n1 - 1, 2 n2 - 1, n3): symmetry gives the other half.
    """
    n, depth = len(axes), kernel.shape[2]
    first, second = kernel.shape[0] // 2, kernel.shape[1] // 2
    rates = np.empty((2, 2))
    cosines, sines = np.empty((n, 4, depth)), np.empty((n, 4, depth))
    for axis in range(2):
        rates[axis, 0], rates[axis, 1] = math.pi * (sizes[axis] - 1) / sizes[axis], math.pi / sizes[axis]
        for half in range(2):
            for k in range(n):
                for z in range(depth):
                    angle = rates[axis, half] * z * axes[k, axis, 2]
                    cosines[k, 2 * axis + half, z], sines[k, 2 * axis + half, z] = math.cos(angle), math.sin(angle)
    for line in prange(kernel.shape[0] * kernel.shape[1]):
        i, j = line // kernel.shape[1], line % kernel.shape[1]
        starts, total = np.empty(8), np.zeros(depth)
        for k in range(n):
            for wave in range(4):
                axis = wave // 2
                distance = (i - first) * axes[k, axis, 0] + (j - second) * axes[k, axis, 1]
                angle = rates[axis, wave % 2] * distance
                starts[2 * wave], starts[2 * wave + 1] = math.cos(angle), math.sin(angle)
            _add_line(starts, cosines[k], sines[k], sizes[0] - 1.0, sizes[1] - 1.0, total)
        for z in range(depth):
            kernel[i, j, z] = total[z] / (sizes[0] * sizes[1])


@njit(cache=True, nogil=True)
def unfold(kernel: Singles, x: int, plane: Singles) -> None:
    """Plane x of a symmetric kernel, wrapped around a grid whose plane (N2, N3) is given.

    `kernel` (2 n1 - 1, 2 n2 - 1, n3) holds the distances whose third component is not negative; x is a distance too.
    """
    first, second = kernel.shape[0] // 2, kernel.shape[1] // 2
    plane[:] = 0
    for y in range(-second, second + 1):
        for z in range(kernel.shape[2]):
            plane[y, z] = kernel[first + x, second + y, z]
            plane[y, -z] = kernel[first - x, second - y, z]


@njit(cache=True, parallel=True)
def intersect_shadows(masks: Flags, axes: Floats, centers: Floats, middle: Ints, step: int, support: Flags) -> None:
    """Every voxel of `step` along each axis whose nearest pixel is set in all masks (n, nx, ny).

    Outside an image its edge counts. `axes` (n, 2, 3): image axes in the frame of the volume; `centers` (n, 2): where
    its voxel `middle` lands.
    """
    n, rows, columns = masks.shape
    for x in prange(support.shape[0]):
        a = float(x * step - middle[0])
        for y in range(support.shape[1]):
            b = float(y * step - middle[1])
            for z in range(support.shape[2]):
                c = float(z * step - middle[2])
                inside = True
                for k in range(n):
                    row = centers[k, 0] + a * axes[k, 0, 0] + b * axes[k, 0, 1] + c * axes[k, 0, 2]
                    column = centers[k, 1] + a * axes[k, 1, 0] + b * axes[k, 1, 1] + c * axes[k, 1, 2]
                    i = min(max(round(row), 0), rows - 1)
                    j = min(max(round(column), 0), columns - 1)
                    if not masks[k, i, j]:
                        inside = False
                        break
                support[x, y, z] = inside
