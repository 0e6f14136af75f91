"""Gaussian atoms and images, compiled: splat, its adjoint, its squares; peaks of a volume. Arrays in, arrays out.

Every loop runs in parallel over outputs that do not share a number, so the bytes do not depend on the threads.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
Ints = NDArray[np.int64]

REACH = 3.7
"""Half width, in standard deviations, of the square of pixels that an atom reaches."""
FAST = {"reassoc", "contract", "arcp", "nsz"}
"""Freedoms of the compiler: sums in any order; but what is not finite stays so, and outside all images."""
BLOCK = 512
"""Atoms that are gathered together, image by image: their pixels stay in the cache."""


@njit(cache=True, inline="always")
def _window(center: float, sigma: float, size: int) -> tuple[int, int]:
    """First pixel and number of pixels along one axis within reach of an atom; none where it is far outside."""
    if not -1e6 < center < 1e6:
        return 0, 0
    reach = math.ceil(REACH * sigma)
    middle = math.floor(center + 0.5)
    first = max(0, middle - reach)
    return first, max(0, min(size, middle + reach + 1) - first)


@njit(cache=True, inline="always")
def _profile(start: float, count: int, sigma: float, norm: float, heights: Singles, moments: Singles) -> None:
    """Gaussian at start, start + 1, ... from its center, times `norm`; and the same times the distance.

    Two exponentials per axis: the ratio of neighbors is itself a geometric series.
    """
    inverse = 1.0 / (sigma * sigma)
    value = norm * math.exp(-0.5 * start * start * inverse)
    ratio = math.exp(-(start + 0.5) * inverse)
    change = math.exp(-inverse)
    for i in range(count):
        heights[i] = value
        moments[i] = value * (start + i)
        value *= ratio
        ratio *= change


@njit(cache=True, inline="always")
def _footprint(
    position: Floats, sigma: float, axes: Floats, center: Floats, shape: tuple[int, int],
    row: Singles, row_moment: Singles, column: Singles, column_moment: Singles,
) -> tuple[int, int, int, int]:  # fmt: skip
    """First row, rows, first column and columns of an image that an atom reaches, and its profiles along both.

    The product of both profiles has unit area. No row or no column: neither, and no profiles.
    """
    u, v = center[0], center[1]
    for axis in range(3):
        u += axes[0, axis] * position[axis]
        v += axes[1, axis] * position[axis]
    first_row, rows = _window(u, sigma, shape[0])
    first_column, columns = _window(v, sigma, shape[1])
    if rows == 0 or columns == 0:
        return 0, 0, 0, 0
    _profile(first_row - u, rows, sigma, 1.0 / (2.0 * math.pi * sigma * sigma), row, row_moment)
    _profile(first_column - v, columns, sigma, 1.0, column, column_moment)
    return first_row, rows, first_column, columns


@njit(cache=True, fastmath=FAST, parallel=True)
def splat(
    positions: Floats,
    sigma: Floats,
    amplitudes: Floats,
    moments: Floats,
    axes: Floats,
    centers: Floats,
    images: Singles,
) -> None:
    """Add sum_j G_j(u) (a_j + m_j . A_k^T (u - u_kj)) to every image k; pixels.

    G is a Gaussian of unit area at u_kj = A_k x_j + c_k. With m = 0 these are images of atoms, with a = dH and
    m = H dx / sigma^2 their derivative.
    """
    n_images, n_rows, n_columns = images.shape
    longest = 2 * math.ceil(REACH * sigma.max()) + 1 if sigma.size else 1
    for k in prange(n_images):
        row, row_moment = np.empty(longest, np.float32), np.empty(longest, np.float32)
        column, column_moment = np.empty(longest, np.float32), np.empty(longest, np.float32)
        image = images[k]
        for j in range(positions.shape[0]):
            first_row, rows, first_column, columns = _footprint(
                positions[j], sigma[j], axes[k], centers[k], (n_rows, n_columns), row, row_moment, column, column_moment
            )
            along_u = along_v = 0.0
            for axis in range(3):
                along_u += axes[k, 0, axis] * moments[j, axis]
                along_v += axes[k, 1, axis] * moments[j, axis]
            for i in range(rows):
                flat = np.float32(amplitudes[j] * row[i] + along_u * row_moment[i])
                slope = np.float32(along_v * row[i])
                line = image[first_row + i]
                for c in range(columns):
                    line[first_column + c] += flat * column[c] + slope * column_moment[c]


@njit(cache=True, fastmath=FAST, parallel=True)
def gather(positions: Floats, sigma: Floats, axes: Floats, centers: Floats, images: Singles) -> tuple[Floats, Floats]:
    """Adjoint of `splat`: sums of G_j (N,) and of G_j A_k^T (u - u_kj) (N, 3) over the pixels of all images."""
    n = positions.shape[0]
    n_images, n_rows, n_columns = images.shape
    amplitudes, moments = np.zeros(n), np.zeros((n, 3))
    longest = 2 * math.ceil(REACH * sigma.max()) + 1 if n else 1
    for block in prange((n + BLOCK - 1) // BLOCK):
        row, row_moment = np.empty(longest, np.float32), np.empty(longest, np.float32)
        column, column_moment = np.empty(longest, np.float32), np.empty(longest, np.float32)
        sums, row_sums = np.empty(longest, np.float32), np.empty(longest, np.float32)
        for k in range(n_images):
            image = images[k]
            for j in range(block * BLOCK, min(n, (block + 1) * BLOCK)):
                first_row, rows, first_column, columns = _footprint(
                    positions[j],
                    sigma[j],
                    axes[k],
                    centers[k],
                    (n_rows, n_columns),
                    row,
                    row_moment,
                    column,
                    column_moment,
                )
                sums[:columns] = 0.0
                row_sums[:columns] = 0.0
                for i in range(rows):
                    line = image[first_row + i]
                    for c in range(columns):
                        sums[c] += row[i] * line[first_column + c]
                        row_sums[c] += row_moment[i] * line[first_column + c]
                total = along_u = along_v = np.float32(0.0)
                for c in range(columns):
                    total += column[c] * sums[c]
                    along_u += column[c] * row_sums[c]
                    along_v += column_moment[c] * sums[c]
                amplitudes[j] += total
                for axis in range(3):
                    moments[j, axis] += axes[k, 0, axis] * along_u + axes[k, 1, axis] * along_v
    return amplitudes, moments


@njit(cache=True, fastmath=FAST, parallel=True)
def gather_squares(positions: Floats, sigma: Floats, axes: Floats, centers: Floats, weights: Singles) -> Floats:
    """Sums over pixels of w G_j^2 d d^T, d = (1, A_k^T (u - u_kj)): the 4 x 4 blocks of the normal matrix (N, 4, 4)."""
    n = positions.shape[0]
    n_images, n_rows, n_columns = weights.shape
    blocks = np.zeros((n, 4, 4))
    longest = 2 * math.ceil(REACH * sigma.max()) + 1 if n else 1
    for block in prange((n + BLOCK - 1) // BLOCK):
        row, row_moment = np.empty(longest, np.float32), np.empty(longest, np.float32)
        column, column_moment = np.empty(longest, np.float32), np.empty(longest, np.float32)
        for k in range(n_images):
            image = weights[k]
            for j in range(block * BLOCK, min(n, (block + 1) * BLOCK)):
                first_row, rows, first_column, columns = _footprint(
                    positions[j],
                    sigma[j],
                    axes[k],
                    centers[k],
                    (n_rows, n_columns),
                    row,
                    row_moment,
                    column,
                    column_moment,
                )
                s = s_u = s_v = s_uu = s_uv = s_vv = np.float32(0.0)
                for i in range(rows):
                    line = image[first_row + i]
                    flat = slope = square = np.float32(0.0)
                    for c in range(columns):
                        weighted = line[first_column + c] * column[c]
                        flat += weighted * column[c]
                        slope += weighted * column_moment[c]
                        square += line[first_column + c] * column_moment[c] * column_moment[c]
                    s += row[i] * row[i] * flat
                    s_u += row[i] * row_moment[i] * flat
                    s_v += row[i] * row[i] * slope
                    s_uu += row_moment[i] * row_moment[i] * flat
                    s_uv += row[i] * row_moment[i] * slope
                    s_vv += row[i] * row[i] * square
                blocks[j, 0, 0] += s
                for a in range(3):
                    e_u, e_v = axes[k, 0, a], axes[k, 1, a]
                    first = e_u * s_u + e_v * s_v
                    blocks[j, 0, a + 1] += first
                    blocks[j, a + 1, 0] += first
                    for b in range(3):
                        f_u, f_v = axes[k, 0, b], axes[k, 1, b]
                        blocks[j, a + 1, b + 1] += e_u * f_u * s_uu + (e_u * f_v + e_v * f_u) * s_uv + e_v * f_v * s_vv
    return blocks


@njit(cache=True, fastmath=FAST, parallel=True)
def back_project(images: Singles, axes: Floats, centers: Floats, first: Floats, volume: Singles) -> None:
    """Add to every voxel what it lands on in the images, linearly interpolated; voxel 0, 0, 0 lies at `first`."""
    n_images, n_rows, n_columns = images.shape
    nx, ny, nz = volume.shape
    for x in prange(nx):
        for y in range(ny):
            for k in range(n_images):
                image = images[k]
                du, dv = axes[k, 0, 2], axes[k, 1, 2]
                u = centers[k, 0] + axes[k, 0, 0] * (first[0] + x) + axes[k, 0, 1] * (first[1] + y) + du * first[2]
                v = centers[k, 1] + axes[k, 1, 0] * (first[0] + x) + axes[k, 1, 1] * (first[1] + y) + dv * first[2]
                for z in range(nz):
                    i, j = math.floor(u), math.floor(v)
                    if 0 <= i < n_rows - 1 and 0 <= j < n_columns - 1:
                        s, t = np.float32(u - i), np.float32(v - j)
                        upper = image[i, j] + t * (image[i, j + 1] - image[i, j])
                        lower = image[i + 1, j] + t * (image[i + 1, j + 1] - image[i + 1, j])
                        volume[x, y, z] += upper + s * (lower - upper)
                    u += du
                    v += dv
