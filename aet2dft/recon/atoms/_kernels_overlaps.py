"""Overlapping peaks, compiled: what the neighbors of each peak add to it. Arrays in, arrays out."""

from __future__ import annotations

import math

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@njit(cache=True, parallel=True)
def tails(points: Floats, first: Ints, others: Ints, centers: Floats, heights: Floats, inverse: Floats) -> Floats:
    """Value, gradient and second derivatives (n, 10) at points (n, 3) of the Gaussians listed for each.

    Those of point p are `others[first[p] : first[p + 1]]`, with centers (m, 3), heights (m,), and one inverse
    covariance (3, 3). Columns: value; x, y, z; xx, yy, zz, xy, xz, yz.
    """
    found = np.zeros((points.shape[0], 10))
    for p in prange(points.shape[0]):
        for k in range(first[p], first[p + 1]):
            other = others[k]
            x, y, z = (
                points[p, 0] - centers[other, 0],
                points[p, 1] - centers[other, 1],
                points[p, 2] - centers[other, 2],
            )
            u = inverse[0, 0] * x + inverse[0, 1] * y + inverse[0, 2] * z
            v = inverse[0, 1] * x + inverse[1, 1] * y + inverse[1, 2] * z
            w = inverse[0, 2] * x + inverse[1, 2] * y + inverse[2, 2] * z
            value = heights[other] * math.exp(-0.5 * (x * u + y * v + z * w))
            found[p, 0] += value
            found[p, 1] -= value * u
            found[p, 2] -= value * v
            found[p, 3] -= value * w
            found[p, 4] += value * (u * u - inverse[0, 0])
            found[p, 5] += value * (v * v - inverse[1, 1])
            found[p, 6] += value * (w * w - inverse[2, 2])
            found[p, 7] += value * (u * v - inverse[0, 1])
            found[p, 8] += value * (u * w - inverse[0, 2])
            found[p, 9] += value * (v * w - inverse[1, 2])
    return found
