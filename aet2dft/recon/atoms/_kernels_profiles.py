"""Density between the voxels, around many centers, compiled. Arrays in, arrays out."""

from __future__ import annotations

import math

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
Ints = NDArray[np.int64]


@njit(cache=True, parallel=True)
def interpolated(values: Singles, centers: Floats, along: Floats, points: Ints) -> Singles:
    """Values (n, m) around `centers` (n, 3), in voxels, by cubic convolution.

    Point q lies `along[points[q]]` from the center on the three axes. Outside of the volume the nearest voxel counts.
    """
    found = np.empty((centers.shape[0], points.shape[0]), np.float32)
    for p in prange(centers.shape[0]):
        voxels, weights = np.empty((3, along.size, 4), np.int64), np.empty((3, along.size, 4))
        for axis in range(3):
            for i in range(along.size):
                _cubic(centers[p, axis] + along[i], values.shape[axis], voxels[axis, i], weights[axis, i])
        for q in range(points.shape[0]):
            x, y, z = points[q]
            total = 0.0
            for i in range(4):
                for j in range(4):
                    line = 0.0
                    for k in range(4):
                        line += weights[2, z, k] * values[voxels[0, x, i], voxels[1, y, j], voxels[2, z, k]]
                    total += weights[0, x, i] * weights[1, y, j] * line
            found[p, q] = total
    return found


@njit(cache=True)
def _cubic(at: float, size: int, voxels: Ints, weights: Floats) -> None:
    """The four voxels around a coordinate, and their weights (R. Keys, IEEE Trans. Acoust. 29, 1153 (1981))."""
    first = math.floor(at)
    t = at - first
    weights[0] = t * (-0.5 + t * (1.0 - 0.5 * t))
    weights[1] = 1.0 + t * t * (1.5 * t - 2.5)
    weights[2] = t * (0.5 + t * (2.0 - 1.5 * t))
    weights[3] = t * t * (0.5 * t - 0.5)
    for i in range(4):
        voxels[i] = min(max(first - 1 + i, 0), size - 1)
