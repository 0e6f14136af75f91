"""Peaks of a volume, compiled: local maxima, and quadratics fitted around them. Arrays in, arrays out."""

from __future__ import annotations

import math

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
Ints = NDArray[np.int64]

CONVERGED, NO_MAXIMUM, LEFT_BOX, NOT_CONVERGED = 0, 1, 2, 3
"""How the fit of a peak ended."""
_TERMS = np.array(
    [
        (0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1),
        (2, 0, 0), (0, 2, 0), (0, 0, 2), (1, 1, 0), (1, 0, 1), (0, 1, 1),
    ]
)  # fmt: skip
"""Powers of x, y, z in the ten terms of a quadratic."""
REACH = 3.7
"""Least distance, in standard deviations of the weight, at which it ends: half the edge of the cube that is fitted."""
_STEPS = 20
_LONGEST_STEP = 0.5
_CLOSE_ENOUGH = 0.05
"""Voxels: a fit has converged if its center moves less than this in the last step."""


@njit(cache=True)
def local_maxima(values: Singles, threshold: float) -> Ints:
    """Flat indices of inner voxels above the threshold that no neighbor exceeds; of equals the first counts."""
    nx, ny, nz = values.shape
    found = np.empty(1024, np.int64)
    n = 0
    for x in range(1, nx - 1):
        for y in range(1, ny - 1):
            for z in range(1, nz - 1):
                value = values[x, y, z]
                # most voxels fail against one of these
                if (
                    value > threshold
                    and value > values[x, y, z - 1]
                    and value >= values[x, y, z + 1]
                    and value > values[x, y - 1, z]
                    and value >= values[x, y + 1, z]
                    and _is_maximum(values, x, y, z)
                ):
                    if n == found.size:
                        larger = np.empty(2 * n, np.int64)
                        larger[:n] = found
                        found = larger
                    found[n] = (x * ny + y) * nz + z
                    n += 1
    return found[:n].copy()


@njit(cache=True)
def _is_maximum(values: Singles, x: int, y: int, z: int) -> bool:
    value = values[x, y, z]
    for i in range(-1, 2):
        for j in range(-1, 2):
            for k in range(-1, 2):
                other = values[x + i, y + j, z + k]
                earlier = (i * 3 + j) * 3 + k < 0
                if other > value or (other == value and earlier):
                    return False
    return True


@njit(cache=True, parallel=True)
def fit_peaks(
    values: Singles, starts: Floats, width: float, close: float = 1e-4
) -> tuple[Floats, Floats, Floats, Ints]:
    """Maxima of quadratics fitted to the voxels around each start (n, 3), weighted by a Gaussian that moves along.

    Returns centers (n, 3), values (n,) and second derivatives (n, 6: xx, yy, zz, xy, xz, yz) there, and how each fit
    ended. The fit is linear, and its normal matrix is made of moments of the weight along the three axes. It ends when
    its center moves less than `close` voxels.
    """
    n = starts.shape[0]
    centers, heights, curvatures = starts.copy(), np.zeros(n), np.zeros((n, 6))
    ends = np.full(n, NOT_CONVERGED)
    reach = max(2, math.ceil(REACH * width - 0.5))
    for p in prange(n):
        center = centers[p]
        powers = np.empty((3, 2 * reach + 1, 3))
        for attempt in range(_STEPS):
            quadratic = _fit(values, center, width, reach, powers)
            step, definite = _newton(quadratic)
            if not definite:
                ends[p] = NO_MAXIMUM
                break
            longest = max(abs(step[0]), abs(step[1]), abs(step[2]))
            # the cube of voxels changes where the center crosses between two: some go back and forth
            if longest < close or (attempt == _STEPS - 1 and longest < _CLOSE_ENOUGH):
                ends[p] = CONVERGED
                heights[p] = quadratic[0]
                curvatures[p, :3] = 2.0 * quadratic[4:7]
                curvatures[p, 3:] = quadratic[7:]
                break
            scale = min(1.0, _LONGEST_STEP / longest)
            outside = False
            for axis in range(3):
                center[axis] += scale * step[axis]
                outside |= not 0.0 <= center[axis] <= values.shape[axis] - 1.0
            if outside:
                ends[p] = LEFT_BOX
                break
    return centers, heights, curvatures, ends


@njit(cache=True, parallel=True)
def convolved_derivatives(values: Singles, points: Floats, width: float) -> Floats:
    """Value, gradient and second derivatives (n, 10) at points (n, 3) of the volume convolved with the weight.

    Columns: value; x, y, z; xx, yy, zz, xy, xz, yz. They are those of the quadratic that is fitted around the point, by
    Stein's lemma; its value at the center lacks what the curvature adds under the weight.
    """
    found = np.empty((points.shape[0], 10))
    reach = max(2, math.ceil(REACH * width - 0.5))
    for p in prange(points.shape[0]):
        powers = np.empty((3, 2 * reach + 1, 3))
        found[p] = _fit(values, points[p], width, reach, powers)
        found[p, 4:7] *= 2.0
        found[p, 0] += 0.5 * width**2 * (found[p, 4] + found[p, 5] + found[p, 6])
    return found


@njit(cache=True)
def _fit(values: Singles, center: Floats, width: float, reach: int, powers: Floats) -> Floats:
    """Coefficients (10,) of the quadratic around `center`."""
    first, count = np.empty(3, np.int64), np.empty(3, np.int64)
    sums = np.zeros((3, 5))
    # the weight ends at zero: no jump where a voxel comes in
    end = math.exp(-0.5 * ((reach + 0.5) / width) ** 2)
    for axis in range(3):
        middle = math.floor(center[axis] + 0.5)
        first[axis] = max(0, middle - reach)
        count[axis] = min(values.shape[axis], middle + reach + 1) - first[axis]
        for i in range(count[axis]):
            distance = first[axis] + i - center[axis]
            weight = max(0.0, math.exp(-0.5 * (distance / width) ** 2) - end)
            for power in range(5):
                sums[axis, power] += weight * distance**power
                if power < 3:
                    powers[axis, i, power] = weight * distance**power
    normal, right = np.empty((10, 10)), np.zeros(10)
    for a in range(10):
        for b in range(a + 1):
            product = 1.0
            for axis in range(3):
                product *= sums[axis, _TERMS[a, axis] + _TERMS[b, axis]]
            normal[a, b] = product
    plane = np.empty((3, 3))
    for i in range(count[0]):
        plane[:] = 0.0
        for j in range(count[1]):
            plain = linear = square = 0.0
            for k in range(count[2]):
                value = values[first[0] + i, first[1] + j, first[2] + k]
                plain += powers[2, k, 0] * value
                linear += powers[2, k, 1] * value
                square += powers[2, k, 2] * value
            plane[0, 0] += powers[1, j, 0] * plain
            plane[0, 1] += powers[1, j, 0] * linear
            plane[0, 2] += powers[1, j, 0] * square
            plane[1, 0] += powers[1, j, 1] * plain
            plane[1, 1] += powers[1, j, 1] * linear
            plane[2, 0] += powers[1, j, 2] * plain
        for a in range(10):
            right[a] += powers[0, i, _TERMS[a, 0]] * plane[_TERMS[a, 1], _TERMS[a, 2]]
    _solve(normal, right)
    return right


@njit(cache=True)
def _solve(normal: Floats, right: Floats) -> None:
    """Replace the right side (m,) by the solution, and the positive definite matrix (m, m) by its Cholesky factor.

    For ten unknowns this is twice as fast as a call of LAPACK.
    """
    m = right.size
    for a in range(m):
        for b in range(a + 1):
            total = normal[a, b]
            for c in range(b):
                total -= normal[a, c] * normal[b, c]
            normal[a, b] = total / normal[b, b] if b < a else math.sqrt(total)
        for c in range(a):
            right[a] -= normal[a, c] * right[c]
        right[a] /= normal[a, a]
    for a in range(m - 1, -1, -1):
        for c in range(a + 1, m):
            right[a] -= normal[c, a] * right[c]
        right[a] /= normal[a, a]


@njit(cache=True)
def _newton(quadratic: Floats) -> tuple[Floats, bool]:
    """Step to the maximum of a quadratic; False where it has none."""
    step = np.zeros(3)
    xx, yy, zz = -2.0 * quadratic[4], -2.0 * quadratic[5], -2.0 * quadratic[6]
    xy, xz, yz = -quadratic[7], -quadratic[8], -quadratic[9]
    minor = xx * yy - xy * xy
    determinant = xx * (yy * zz - yz * yz) - xy * (xy * zz - yz * xz) + xz * (xy * yz - yy * xz)
    if xx <= 0.0 or minor <= 0.0 or determinant <= 0.0:
        return step, False
    gx, gy, gz = quadratic[1], quadratic[2], quadratic[3]
    step[0] = ((yy * zz - yz * yz) * gx + (xz * yz - xy * zz) * gy + (xy * yz - xz * yy) * gz) / determinant
    step[1] = ((xz * yz - xy * zz) * gx + (xx * zz - xz * xz) * gy + (xy * xz - xx * yz) * gz) / determinant
    step[2] = ((xy * yz - xz * yy) * gx + (xy * xz - xx * yz) * gy + minor * gz) / determinant
    return step, True


@njit(cache=True)
def without_close(n: int, pairs: Ints) -> NDArray[np.bool_]:
    """Which of n points stay (n,), where of each pair (m, 2), in rising order, the second goes if the first stays."""
    stays = np.ones(n, np.bool_)
    for pair in range(pairs.shape[0]):
        if stays[pairs[pair, 0]]:
            stays[pairs[pair, 1]] = False
    return stays


@njit(cache=True, parallel=True)
def sphere_sums(values: Singles, centers: Floats, radius: float) -> Floats:
    """Sums (n,) of the voxels in spheres around centers (n, 3); voxels at the edge count in part."""
    totals = np.zeros(centers.shape[0])
    reach = math.ceil(radius + 0.5)
    for p in prange(centers.shape[0]):
        x, y, z = centers[p]
        i0, j0, k0 = math.floor(x + 0.5), math.floor(y + 0.5), math.floor(z + 0.5)
        for i in range(max(0, i0 - reach), min(values.shape[0], i0 + reach + 1)):
            for j in range(max(0, j0 - reach), min(values.shape[1], j0 + reach + 1)):
                for k in range(max(0, k0 - reach), min(values.shape[2], k0 + reach + 1)):
                    distance = math.sqrt((i - x) ** 2 + (j - y) ** 2 + (k - z) ** 2)
                    totals[p] += min(1.0, max(0.0, radius + 0.5 - distance)) * values[i, j, k]
    return totals
