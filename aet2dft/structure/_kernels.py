"""Loops over atoms, compiled. Arrays in, arrays out; no checks, no units, no names."""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@njit(cache=True)
def fcc_frames(points: Floats, indptr: Ints, indices: NDArray[np.int32], spacing: float) -> tuple[Floats, Floats]:
    """Best cube axes around every atom and the rms misfit of its twelve neighbors.

    For every pair of nearly perpendicular second neighbors the third axis is their cross product; the twelve
    neighbors lie at (± a_i ± a_j) / 2. A predicted neighbor without an atom counts as half a spacing off.
    """
    n = points.shape[0]
    residual = np.full(n, np.inf)
    axes = np.zeros((n, 3, 3))
    near = np.empty((64, 3))
    second = np.empty((64, 3))
    trial = np.empty((3, 3))
    half_spacing = (0.5 * spacing) ** 2
    for i in range(n):
        n_near = n_second = 0
        for j in indices[indptr[i] : indptr[i + 1]]:
            x = points[j, 0] - points[i, 0]
            y = points[j, 1] - points[i, 1]
            z = points[j, 2] - points[i, 2]
            d = math.sqrt(x * x + y * y + z * z) / spacing
            if d < 1.25 and n_near < 64:
                near[n_near, 0], near[n_near, 1], near[n_near, 2] = x, y, z
                n_near += 1
            if 1.2 < d < 1.65 and n_second < 64:
                second[n_second, 0], second[n_second, 1], second[n_second, 2] = x, y, z
                n_second += 1
        if n_near < 9:
            continue
        for p in range(n_second):
            for q in range(p):
                trial[0] = second[p]
                trial[1] = second[q]
                lp = math.sqrt((trial[0] ** 2).sum())
                lq = math.sqrt((trial[1] ** 2).sum())
                if abs((trial[0] * trial[1]).sum()) > 0.2 * lp * lq:
                    continue
                scale = 2.0 / (lp + lq)
                trial[2, 0] = (trial[0, 1] * trial[1, 2] - trial[0, 2] * trial[1, 1]) * scale
                trial[2, 1] = (trial[0, 2] * trial[1, 0] - trial[0, 0] * trial[1, 2]) * scale
                trial[2, 2] = (trial[0, 0] * trial[1, 1] - trial[0, 1] * trial[1, 0]) * scale
                total = 0.0
                for a in range(2):
                    for b in range(a + 1, 3):
                        for sa in (-0.5, 0.5):
                            for sb in (-0.5, 0.5):
                                best = half_spacing
                                for m in range(n_near):
                                    miss = 0.0
                                    for c in range(3):
                                        miss += (near[m, c] - sa * trial[a, c] - sb * trial[b, c]) ** 2
                                    best = min(best, miss)
                                total += best
                rms = math.sqrt(total / 12.0)
                if rms < residual[i]:
                    residual[i] = rms
                    axes[i] = trial
    return residual, axes


@njit(cache=True)
def predict(points: Floats, around: NDArray[np.int32], steps: Floats) -> Floats:
    """Mean over the atoms around each site (m, 12), -1 = none, of their position plus the step (12, 3) to the site."""
    m = around.shape[0]
    predicted = np.zeros((m, 3))
    for s in range(m):
        count = 0
        for k in range(around.shape[1]):
            j = around[s, k]
            if j >= 0:
                count += 1
                for c in range(3):
                    predicted[s, c] += points[j, c] + steps[k, c]
        for c in range(3):
            predicted[s, c] /= count
    return predicted


@njit(cache=True)
def _invert4(matrix: Floats, inverse: Floats) -> bool:
    """Inverse of a symmetric positive 4 x 4 matrix by Gauss-Jordan with pivoting; false where it is singular."""
    work = matrix.copy()
    scale = np.abs(work).max()
    inverse[:] = 0.0
    for i in range(4):
        inverse[i, i] = 1.0
    for i in range(4):
        pivot = i
        for j in range(i + 1, 4):
            if abs(work[j, i]) > abs(work[pivot, i]):
                pivot = j
        if abs(work[pivot, i]) <= 1e-12 * scale:
            return False
        for c in range(4):
            work[i, c], work[pivot, c] = work[pivot, c], work[i, c]
            inverse[i, c], inverse[pivot, c] = inverse[pivot, c], inverse[i, c]
        factor = 1.0 / work[i, i]
        for c in range(4):
            work[i, c] *= factor
            inverse[i, c] *= factor
        for j in range(4):
            if j != i:
                factor = work[j, i]
                for c in range(4):
                    work[j, c] -= factor * work[i, c]
                    inverse[j, c] -= factor * inverse[i, c]
    return True


@njit(cache=True)
def local_linear(
    points: Floats, values: Floats, start: Ints, shape: Ints, sigma: float, truncate: float
) -> tuple[Floats, Floats, Floats]:
    """Local-linear fits: gradients (n, 3, 3), their variance per unit variance (n, 3), leave-one-out values (n, 3).

    Points are ordered by cubic cells of half the cutoff; `start` holds the first point of every cell. Distances are
    measured in sigma, so that the moment matrix is well scaled.
    """
    n = points.shape[0]
    gradient = np.full((n, 3, 3), np.nan)
    variance = np.full((n, 3), np.nan)
    alone = np.full((n, 3), np.nan)
    moment = np.empty((4, 4))
    squared = np.empty((4, 4))
    cross = np.empty((4, 3))
    inverse = np.empty((4, 4))
    x = np.empty(4)
    x[0] = 1.0
    limit = truncate * truncate
    for ca in range(shape[0]):
        for cb in range(shape[1]):
            for cc in range(shape[2]):
                cell = (ca * shape[1] + cb) * shape[2] + cc
                for i in range(start[cell], start[cell + 1]):
                    moment[:] = 0.0
                    squared[:] = 0.0
                    cross[:] = 0.0
                    for a in range(max(0, ca - 2), min(shape[0], ca + 3)):
                        for b in range(max(0, cb - 2), min(shape[1], cb + 3)):
                            row = (a * shape[1] + b) * shape[2]
                            first = start[row + max(0, cc - 2)]
                            last = start[row + min(shape[2], cc + 3)]
                            for j in range(first, last):
                                x[1] = (points[j, 0] - points[i, 0]) / sigma
                                x[2] = (points[j, 1] - points[i, 1]) / sigma
                                x[3] = (points[j, 2] - points[i, 2]) / sigma
                                d2 = x[1] * x[1] + x[2] * x[2] + x[3] * x[3]
                                if d2 > limit:
                                    continue
                                w = math.exp(-0.5 * d2)
                                for p in range(4):
                                    wp = w * x[p]
                                    for q in range(p + 1):
                                        moment[p, q] += wp * x[q]
                                        squared[p, q] += w * wp * x[q]
                                    for c in range(3):
                                        cross[p, c] += wp * values[j, c]
                    for p in range(4):
                        for q in range(p):
                            moment[q, p] = moment[p, q]
                            squared[q, p] = squared[p, q]
                    if not _invert4(moment, inverse):
                        continue
                    for c in range(3):
                        fitted = 0.0
                        for p in range(4):
                            fitted += inverse[0, p] * cross[p, c]
                            if p > 0:
                                total = 0.0
                                for q in range(4):
                                    total += inverse[p, q] * cross[q, c]
                                gradient[i, c, p - 1] = total / sigma
                        leverage = inverse[0, 0]
                        if leverage < 1.0 - 1e-9:
                            alone[i, c] = (fitted - leverage * values[i, c]) / (1.0 - leverage)
                    for p in range(1, 4):
                        total = 0.0
                        for q in range(4):
                            for r in range(4):
                                total += inverse[p, q] * squared[q, r] * inverse[p, r]
                        variance[i, p - 1] = total / (sigma * sigma)
    return gradient, variance, alone
