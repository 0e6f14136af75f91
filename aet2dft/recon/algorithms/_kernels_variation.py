"""Loops of the total variation of a volume, compiled. Arrays in, arrays out; no checks.

They hold no lock and do the planes they are told: a caller can share a volume among threads.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

Singles = NDArray[np.float32]
Flags = NDArray[np.bool_]


@njit(cache=True, nogil=True)
def flatten(
    first: int, end: int, given: Singles, field: Singles, weight: float, support: Flags, floor: float, values: Singles
) -> None:
    """Planes `first` to `end`: `given` plus `weight` times the divergence of `field` (3, n1, n2, n3), constrained."""
    w, least = np.float32(weight), np.float32(floor)
    for x in range(first, end):
        for y in range(given.shape[1]):
            for z in range(given.shape[2]):
                flow = field[0, x, y, z] + field[1, x, y, z] + field[2, x, y, z]
                if x > 0:
                    flow -= field[0, x - 1, y, z]
                if y > 0:
                    flow -= field[1, x, y - 1, z]
                if z > 0:
                    flow -= field[2, x, y, z - 1]
                value = max(given[x, y, z] + w * flow, least)
                values[x, y, z] = value if support[x, y, z] else np.float32(0.0)


@njit(cache=True, nogil=True)
def follow_gradient(
    begin: int, end: int, values: Singles, step: float, momentum: float, dual: Singles, field: Singles
) -> None:
    """A step of `field` along the gradient of the values, cut to unit length; `dual` keeps it, `field` goes on.

    Planes from `begin` to `end` are done.
    """
    s, m, zero, one = np.float32(step), np.float32(momentum), np.float32(0.0), np.float32(1.0)
    n1, n2, n3 = values.shape
    for x in range(begin, end):
        for y in range(n2):
            for z in range(n3):
                here = values[x, y, z]
                # nothing flows out of the box
                first = field[0, x, y, z] + s * (values[x + 1, y, z] - here) if x + 1 < n1 else zero
                second = field[1, x, y, z] + s * (values[x, y + 1, z] - here) if y + 1 < n2 else zero
                third = field[2, x, y, z] + s * (values[x, y, z + 1] - here) if z + 1 < n3 else zero
                scale = one / max(one, np.sqrt(first * first + second * second + third * third))
                first, second, third = first * scale, second * scale, third * scale
                field[0, x, y, z] = first + m * (first - dual[0, x, y, z])
                field[1, x, y, z] = second + m * (second - dual[1, x, y, z])
                field[2, x, y, z] = third + m * (third - dual[2, x, y, z])
                dual[0, x, y, z], dual[1, x, y, z], dual[2, x, y, z] = first, second, third
