"""Loops over frequencies, compiled: between the points of a grid, and near images. Arrays in, arrays out; no checks.

They hold no lock and are shared by their callers.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
Complexes = NDArray[np.complex64]
Ints = NDArray[np.int64]

WIDTH = 7
"""Grid points that the window of an interpolation covers; the error is 1e-6 where the grid is twice the object."""
SHARPNESS = 2.3 * WIDTH
"""Exponent of the window."""
MARGIN = WIDTH // 2 + 1
"""Columns beyond the stored half of the frequencies that a window can reach."""
_DEGREE = 12


def _polynomials() -> Singles:
    """Polynomials, highest power first, of the window exp(b sqrt(1 - (2 t / w)^2) - b) between grid points.

    Column i holds the weight of its grid point i; the argument runs from -1 to 1 as that point moves by one step.
    """
    x = np.cos(np.pi * (np.arange(4 * _DEGREE) + 0.5) / (4 * _DEGREE))
    powers = np.vander(x, _DEGREE + 1)
    t = np.arange(WIDTH) - 0.5 * WIDTH + 0.5 * (x[:, None] + 1)
    values = np.exp(SHARPNESS * (np.sqrt(np.maximum(1 - (2 * t / WIDTH) ** 2, 0)) - 1))
    return np.asarray(np.linalg.lstsq(powers, values, rcond=None)[0], dtype=np.float32)


POLYNOMIALS = _polynomials()
NO_POINTS = (np.empty(0, dtype=np.int32), np.empty(0, dtype=np.complex64))
"""What `measured_plane` gives where nothing is measured."""


@njit(cache=True, nogil=True)
def place(spectrum: Complexes, rows: Complexes, columns: Complexes, factor: complex, wide: Complexes) -> None:
    """Frequencies (N1, N3 // 2 + 1) times phases, into the middle of a plane with margins left and right."""
    for i in range(spectrum.shape[0]):
        phase = rows[i] * np.complex64(factor)
        for j in range(spectrum.shape[1]):
            wide[i, MARGIN + j] = spectrum[i, j] * phase * columns[j]


@njit(cache=True, nogil=True)
def collect(wide: Complexes, rows: Complexes, columns: Complexes, factor: complex, spectrum: Complexes) -> None:
    """Adjoint of `place`."""
    for i in range(spectrum.shape[0]):
        phase = np.conj(rows[i] * np.complex64(factor))
        for j in range(spectrum.shape[1]):
            spectrum[i, j] = wide[i, MARGIN + j] * phase * np.conj(columns[j])


@njit(cache=True, nogil=True)
def mirror(wide: Complexes) -> None:
    """Fill the margins of the frequencies (N1, N2, ...) of a real volume: the value at -k is the conjugate."""
    last = wide.shape[2] - 1 - MARGIN
    for x in range(wide.shape[0]):
        for y in range(wide.shape[1]):
            for j in range(1, MARGIN + 1):
                wide[x, y, MARGIN - j] = np.conj(wide[-x, -y, MARGIN + j])
                wide[x, y, last + j] = np.conj(wide[-x, -y, last - j])


@njit(cache=True, nogil=True)
def fold(wide: Complexes) -> None:
    """Add to every frequency (N1, N2, ...) the conjugate of what lies at -k: the frequencies of a real volume."""
    last = wide.shape[2] - 1 - MARGIN
    for x in range(wide.shape[0]):
        for y in range(wide.shape[1]):
            for j in range(1, MARGIN + 1):
                wide[x, y, MARGIN + j] += np.conj(wide[-x, -y, MARGIN - j])
                wide[x, y, last - j] += np.conj(wide[-x, -y, last + j])
            mate_x, mate_y = -x % wide.shape[0], -y % wide.shape[1]
            if (x, y) <= (mate_x, mate_y):
                for j in (MARGIN, last):
                    total = wide[x, y, j] + np.conj(wide[mate_x, mate_y, j])
                    wide[x, y, j] = total
                    wide[mate_x, mate_y, j] = np.conj(total)


@njit(cache=True, inline="always")
def _window(at: float, weights: Singles) -> int:
    """First grid point that a window around `at` reaches, and its weights."""
    first = math.ceil(at - 0.5 * WIDTH)
    x = np.float32(2.0 * (first - at) + WIDTH - 1.0)
    weights[:] = POLYNOMIALS[0]
    for power in range(1, len(POLYNOMIALS)):
        for i in range(WIDTH):
            weights[i] = weights[i] * x + POLYNOMIALS[power, i]
    return first


@njit(cache=True, inline="always")
def _wrapped(first: int, size: int, points: Ints) -> None:
    """Grid points of a window on a periodic axis."""
    for i in range(WIDTH):
        at = first + i
        points[i] = at + size if at < 0 else at - size if at >= size else at


@njit(cache=True)
def windows(at: Floats, first: Ints, weights: Singles) -> None:
    """Windows around the points `at` (n,): their first grid points (n,) and weights (n, width)."""
    for i in range(len(at)):
        first[i] = _window(at[i], weights[i])


@njit(cache=True, inline="always")
def _gather_row(line: Singles, first: int, weight: np.float32, sums: Singles) -> None:
    """Add to `sums` as many pairs of real and imaginary part as the window is wide, from a line of such pairs."""
    for c in range(2 * WIDTH):
        sums[c] += weight * line[2 * first + c]


@njit(cache=True, inline="always")
def _scatter_row(line: Singles, first: int, weight: np.float32, values: Singles) -> None:
    """Adjoint of `_gather_row`."""
    for c in range(2 * WIDTH):
        line[2 * first + c] += weight * values[c]


@njit(cache=True, inline="always")
def _together(sums: Singles, weights: Singles) -> tuple[np.float32, np.float32]:
    """Real and imaginary part of a window's row of pairs, weighted."""
    real = imag = np.float32(0.0)
    for k in range(WIDTH):
        real += weights[k] * sums[2 * k]
        imag += weights[k] * sums[2 * k + 1]
    return real, imag


@njit(cache=True, inline="always")
def _spread(value: complex, weights: Singles, values: Singles) -> None:
    """Adjoint of `_together`."""
    for k in range(WIDTH):
        values[2 * k] = weights[k] * value.real
        values[2 * k + 1] = weights[k] * value.imag


@njit(cache=True, nogil=True, fastmath=True)
def gather_slice(
    wide: Singles, rows: Ints, row_weights: Singles, columns: Ints, column_weights: Singles, found: Complexes
) -> None:
    """Frequencies between the grid points of a plane (N1, pairs), by windows (n, width) along rows and columns."""
    sums = np.empty(2 * WIDTH, dtype=np.float32)
    for p in range(len(rows)):
        sums[:] = 0
        for i in range(WIDTH):
            _gather_row(wide[(rows[p] + i) % wide.shape[0]], columns[p], row_weights[p, i], sums)
        real, imag = _together(sums, column_weights[p])
        found[p] = complex(real, imag)


@njit(cache=True, nogil=True, fastmath=True)
def scatter_slice(
    wide: Singles, rows: Ints, row_weights: Singles, columns: Ints, column_weights: Singles, found: Complexes
) -> None:
    """Adjoint of `gather_slice`: adds to the plane."""
    values = np.empty(2 * WIDTH, dtype=np.float32)
    for p in range(len(rows)):
        _spread(found[p], column_weights[p], values)
        for i in range(WIDTH):
            _scatter_row(wide[(rows[p] + i) % wide.shape[0]], columns[p], row_weights[p, i], values)


@njit(cache=True, inline="always")
def _frequency(u: int, v: int, axes: Floats, depth: int) -> tuple[float, float, float, bool]:
    """Grid point of image frequency (u, v), or of its mate where only that one is stored, and whether it is.

    The corners of an image lie beyond the highest frequency of a volume of `depth` points; it is periodic.
    """
    x = u * axes[0, 0] + v * axes[1, 0]
    y = u * axes[0, 1] + v * axes[1, 1]
    z = u * axes[0, 2] + v * axes[1, 2]
    if abs(z) > depth / 2:
        z -= math.copysign(depth, z)
    if z < 0.0:
        return -x, -y, -z, True
    return x, y, z, False


@njit(cache=True, nogil=True, fastmath=True)
def gather_image(wide: Singles, axes: Floats, found: Complexes) -> None:
    """Frequencies of one image (M1, M2 // 2 + 1), zero at the Nyquist ones, out of those of a volume (N1, N2, pairs).

    `axes` (2, 3): grid steps of the volume per frequency of the image.
    """
    wx, wy, wz = np.empty((3, WIDTH), dtype=np.float32)
    at_x, at_y = np.empty((2, WIDTH), dtype=np.int64)
    sums = np.empty(2 * WIDTH, dtype=np.float32)
    half, depth = found.shape[0] // 2, wide.shape[2] - 2 - 4 * MARGIN
    found[:] = 0
    for u in range(1 - half, half):
        for v in range(found.shape[1] - 1):
            x, y, z, flip = _frequency(u, v, axes, depth)
            first_x, first_y, first_z = _window(x, wx), _window(y, wy), _window(z, wz) + MARGIN
            sums[:] = 0
            _wrapped(first_x, wide.shape[0], at_x)
            _wrapped(first_y, wide.shape[1], at_y)
            for i in range(WIDTH):
                for j in range(WIDTH):
                    _gather_row(wide[at_x[i], at_y[j]], first_z, wx[i] * wy[j], sums)
            real, imag = _together(sums, wz)
            found[u, v] = complex(real, -imag if flip else imag)


@njit(cache=True, nogil=True, fastmath=True)
def scatter_image(found: Complexes, axes: Floats, start: int, stop: int, wide: Singles) -> None:
    """Adjoint of `gather_image`, restricted to the planes start..stop of the volume: adds to its frequencies."""
    wx, wy, wz = np.empty((3, WIDTH), dtype=np.float32)
    at_x, at_y = np.empty((2, WIDTH), dtype=np.int64)
    values = np.empty(2 * WIDTH, dtype=np.float32)
    half, depth = found.shape[0] // 2, wide.shape[2] - 2 - 4 * MARGIN
    for u in range(1 - half, half):
        for v in range(found.shape[1] - 1):
            x, y, z, flip = _frequency(u, v, axes, depth)
            if (x - start + 0.5 * WIDTH) % wide.shape[0] > stop - start + WIDTH:
                continue
            first_x, first_y, first_z = _window(x, wx), _window(y, wy), _window(z, wz) + MARGIN
            _spread(np.conj(found[u, v]) if flip else found[u, v], wz, values)
            _wrapped(first_x, wide.shape[0], at_x)
            _wrapped(first_y, wide.shape[1], at_y)
            for i in range(WIDTH):
                if start <= at_x[i] < stop:
                    for j in range(WIDTH):
                        _scatter_row(wide[at_x[i], at_y[j]], first_z, wx[i] * wy[j], values)


@njit(cache=True, inline="always")
def _depths(base: float, slope: float, reach: float, last: int) -> tuple[int, int]:
    """First and last z of 0..last with abs(base + slope z) <= reach."""
    if abs(slope) * (last + 1) < 1e-9:
        return (0, last) if abs(base) <= reach else (0, -1)
    one, other = (-reach - base) / slope, (reach - base) / slope
    return max(0, math.ceil(min(one, other))), min(last, math.floor(max(one, other)))


@njit(cache=True, inline="always")
def _last_depth(size: int, squares: int) -> int:
    """Largest z with squares + z^2 < (size / 2)^2; -1 if there is none."""
    left = size * size // 4 - 1 - squares
    return math.floor(math.sqrt(left)) if left >= 0 else -1


@njit(cache=True)
def points_near_line(cosine: float, slope: float, size: int, reach: float) -> tuple[Ints, Floats, Floats]:
    """Points of the half grid (N, N // 2 + 1) near a line through the origin along (cosine, slope), inside the circle.

    Returns flat indices, the feet of their perpendiculars and their distances.
    """
    half = size // 2
    points, feet, distances = [0 for _ in range(0)], [0.0 for _ in range(0)], [0.0 for _ in range(0)]
    for x in range(1 - half, half):
        low, high = _depths(-slope * x, cosine, reach, _last_depth(size, x * x))
        for z in range(low, high + 1):
            points.append(x % size * (half + 1) + z)
            feet.append(x * cosine + z * slope)
            distances.append(abs(z * cosine - x * slope))
    return np.array(points), np.array(feet), np.array(distances)


@njit(cache=True, inline="always")
def _between(spectrum: Singles, u: float, v: float, wu: Singles, wv: Singles, sums: Singles) -> complex:
    """Frequency of an image (M1, pairs) between its grid points."""
    flip = v < 0.0
    u, v = (-u, -v) if flip else (u, v)
    first_u, first_v = _window(u, wu), _window(v, wv) + MARGIN
    sums[:] = 0
    for i in range(WIDTH):
        _gather_row(spectrum[(first_u + i) % spectrum.shape[0]], first_v, wu[i], sums)
    real, imag = _together(sums, wv)
    return complex(real, -imag if flip else imag)


@njit(cache=True, nogil=True)
def measured_plane(
    y: int, spectra: Singles, rotations: Floats, offset: Floats, corner: Ints, steps: Floats,
    size: int, reach: float, closest: float,
) -> tuple[NDArray[np.int32], Complexes]:  # fmt: skip
    """Measured points of the half plane y (N, N // 2 + 1) inside the sphere: flat indices and values.

    `spectra` (n, M1, pairs) around the middle of the images, `offset` (n, 2) of the rotation center
    from there, `corner` (3,) of the object from the center of rotation, `steps` (2,) of an image per step of the grid.
    """
    half = size // 2
    sums, total = np.zeros((size, half + 1), dtype=np.complex128), np.zeros((size, half + 1))
    wu, wv = np.empty((2, WIDTH), dtype=np.float32)
    pairs = np.empty(2 * WIDTH, dtype=np.float32)
    turn = 2.0 * math.pi / size
    for k in range(len(spectra)):
        axes = rotations[k]
        for x in range(1 - half, half):
            base = axes[0, 2] * x + axes[1, 2] * y
            low, high = _depths(base, axes[2, 2], reach, _last_depth(size, x * x + y * y))
            for z in range(low, high + 1):
                u = axes[0, 0] * x + axes[1, 0] * y + axes[2, 0] * z
                v = axes[0, 1] * x + axes[1, 1] * y + axes[2, 1] * z
                weight = 1.0 / max(abs(base + axes[2, 2] * z), closest)
                angle = turn * (u * offset[k, 0] + v * offset[k, 1])
                value = _between(spectra[k], u * steps[0], v * steps[1], wu, wv, pairs)
                sums[x, z] += weight * value * complex(math.cos(angle), math.sin(angle))
                total[x, z] += weight
    points = np.flatnonzero(total).astype(np.int32)
    values = np.empty(len(points), dtype=np.complex64)
    for p in range(len(points)):
        x, z = points[p] // (half + 1), points[p] % (half + 1)
        angle = -turn * (x * corner[0] + y * corner[1] + z * corner[2])
        values[p] = sums[x, z] / total[x, z] * complex(math.cos(angle), math.sin(angle))
    return points, values
