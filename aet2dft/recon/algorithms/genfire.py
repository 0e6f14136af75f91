r"""GENFIRE: the density whose measured frequencies are those of the images, by alternating projections.

An iteration replaces the measured frequencies of f and applies the constraints. Inside the box of the object that is
:math:`f + g - h * f`, where g holds the measured frequencies alone and h is the transform of the set of measured
points: a gradient step of length one, done by `aet2dft.recon.algorithms.descent` on a doubled grid, whatever the
oversampling.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from aet2dft.recon.algorithms.descent import Descent, Memory, State
from aet2dft.recon.fourier.convolution import Convolution, SliceConvolution, VolumeConvolution
from aet2dft.recon.fourier.fft import SliceTransform, VolumeTransform
from aet2dft.recon.fourier.gridding import grid_slices, grid_volume, withheld
from aet2dft.recon.fourier.projector import plane_order
from aet2dft.recon.tilt_series import TiltSeries

_EXTEND = tuple(0.95 - 0.15 * level for level in range(8))
_SUPPRESS = tuple(-0.15 + 0.1 * level for level in range(11))
SCHEDULES = {"all": (-1.0,), "extend": _EXTEND, "extend_suppress": _EXTEND + _SUPPRESS}
"""Levels, one after the other, above which 1 - |k| / k_max of a frequency must lie for it to be enforced."""
_SHARES = 4
"""Parts of the measured points of slices that are compared one after the other, to save memory."""


class _Measured(Protocol):
    """Measured frequencies and what is done with them."""

    radius: NDArray[np.float32]
    """(m,): of the points, in units of the highest one."""
    free: NDArray[np.bool_]
    """(m,): points that are never enforced."""

    def problem(self, enforced: NDArray[np.bool_]) -> tuple[Convolution, NDArray[np.float32], float]:
        """The kernel h, g and the square norm of the frequencies of the enforced points (m,)."""
        ...

    def r_factors(self, planes: NDArray[np.float32], enforced: NDArray[np.bool_]) -> tuple[float, float]:
        """R factors of the amplitudes of enforced and of withheld points (m,)."""
        ...


def iterate(
    series: TiltSeries,
    support: NDArray[np.bool_],
    *,
    oversampling: int = 3,
    reach: float = 0.5,
    positivity: bool = True,
    withhold: float = 0.05,
    seed: int = 0,
    schedule: str = "all",
    iterations: int = 100,
    check_every: int | None = 10,
    start: Memory | None = None,
) -> Iterator[State]:
    """Impose the measured frequencies and the constraints in turn.

    Parameters
    ----------
    series : TiltSeries
        Images.
    support : ndarray of bool, shape (nx, ny, nz)
        Where the density may differ from zero; its last axis sets the depth of the volume.
    oversampling : int
        Ratio of the padded grid, on whose points frequencies are measured, to the object.
    reach : float
        Grid steps that a measured point may be away from the plane of an image.
    positivity : bool
        Whether the density is nowhere negative.
    withhold : float
        Fraction of the measured points that are compared, not enforced.
    seed : int
        Of the choice of these points.
    schedule : str
        Key of `SCHEDULES`: all measured points at once, low frequencies first, or these and back.
    iterations : int
        Over which the schedule is spread; its last level stays.
    check_every : int, optional
        Iterations between R factors, which take about the time of four iterations; None: never.
    start : Memory, optional
        Of an earlier state, to go on from there.

    Yields
    ------
    State
        After every iteration, with R factors of the frequencies.

    Notes
    -----
    A. Pryor et al., Sci. Rep. 7, 10409 (2017); R_free for frequencies as there.
    """
    order = plane_order(series)
    measured = _measured(series, support.shape[2], oversampling, reach, withhold, seed)
    levels, level = SCHEDULES[schedule], -1
    descent = Descent(
        np.zeros([support.shape[axis] for axis in order], dtype=np.float32),
        1.0,
        np.ascontiguousarray(support.transpose(order)),
        positivity=positivity,
        accelerate=False,
        start=start,
    )
    while True:
        due = min(descent.iteration * len(levels) // iterations, len(levels) - 1)
        if due != level:
            level = due
            enforced = _enforced(measured, levels[level])
            operator, descent.target, descent.norm = measured.problem(enforced)
        converged = descent.advance(operator, 1.0)
        r_factor = r_free = math.nan
        if check_every is not None and descent.iteration % check_every == 0:
            r_factor, r_free = measured.r_factors(descent.values, enforced)
        yield State(
            iteration=descent.iteration,
            values=descent.values.transpose(order),
            memory=descent.memory,
            converged=converged and level == len(levels) - 1,
            r_fourier=r_factor,
            r_free_fourier=r_free,
        )


def r_factors(
    series: TiltSeries,
    values: NDArray[np.float32],
    *,
    oversampling: int = 3,
    reach: float = 0.5,
    withhold: float = 0.05,
    seed: int = 0,
    schedule: str = "all",
) -> tuple[float, float]:
    r"""R factors of a volume in the measured frequencies.

    Parameters
    ----------
    series : TiltSeries
        Images.
    values : ndarray, shape (nx, ny, nz)
        Density.
    oversampling, reach, withhold, seed, schedule
        As of `iterate`.

    Returns
    -------
    enforced, free : float
        Of the frequencies that the end of the schedule enforces, and of those that are withheld; NaN without any.

    Notes
    -----
    :math:`\sum ||F(f)| - |M|| / \sum |M|`: of amplitudes, with no scale.
    """
    measured = _measured(series, values.shape[2], oversampling, reach, withhold, seed)
    return measured.r_factors(values.transpose(plane_order(series)), _enforced(measured, SCHEDULES[schedule][-1]))


def _measured(series: TiltSeries, depth: int, oversampling: int, reach: float, withhold: float, seed: int) -> _Measured:
    kind = _Slices if series.is_single_axis else _Volume
    return kind(series, depth, oversampling, reach, withhold, seed)


def _enforced(measured: _Measured, level: float) -> NDArray[np.bool_]:
    return ~measured.free & (1 - measured.radius > level)


class _Slices:
    """Frequencies of planes perpendicular to the tilt axis."""

    def __init__(
        self, series: TiltSeries, depth: int, oversampling: int, reach: float, withhold: float, seed: int
    ) -> None:
        self._grid = grid_slices(series, depth, oversampling=oversampling, reach=reach)
        size = self._grid.size
        self._shape = (series.projections.shape[2], series.projections.shape[1], depth)
        self._transform = SliceTransform(self._shape[0], self._shape[1:], (size, size))
        self.radius, self.free = _describe(self._grid.index, 0, size, withhold, seed)

    def problem(self, enforced: NDArray[np.bool_]) -> tuple[Convolution, NDArray[np.float32], float]:
        """The kernel h, g and the square norm of the frequencies of the enforced points (m,)."""
        size, index, values = self._grid.size, self._grid.index[enforced], self._grid.values[enforced]
        _, rows, depth = self._shape
        mask = np.zeros((size, size // 2 + 1), dtype=np.float32)
        mask.flat[index] = 1
        spread = fft.irfft2(mask, (size, size))
        kernel = spread[np.arange(1 - rows, rows), :depth]
        target = np.empty(self._shape, dtype=np.float32)

        def visit(y: int, spectrum: NDArray[np.complex64]) -> None:
            spectrum.reshape(-1)[index] = values[:, y] * np.float32(1 / size**2)

        def take(y: int, plane: NDArray[np.float32]) -> None:
            target[y] = plane

        self._transform.run(visit, take=take)
        norm = _square_norm(index, values, size) / size**2
        return SliceConvolution(self._shape[0], kernel.astype(np.float32)), target, norm

    def r_factors(self, planes: NDArray[np.float32], enforced: NDArray[np.bool_]) -> tuple[float, float]:
        """R factors of the amplitudes of enforced and of withheld points (m,)."""
        index, values = self._grid.index, self._grid.values
        differences, amplitudes = np.empty((2, len(index)))
        for some in np.array_split(np.arange(len(index)), _SHARES):
            measured = np.abs(fft.fft(values[some], axis=1))
            computed = np.abs(fft.fft(self._frequencies(planes, index[some]), axis=1))
            differences[some] = np.abs(computed - measured).sum(axis=1, dtype=np.float64)
            amplitudes[some] = measured.sum(axis=1, dtype=np.float64)
        return _ratios(differences, amplitudes, (enforced, self.free))

    def _frequencies(self, planes: NDArray[np.float32], index: NDArray[np.int32]) -> NDArray[np.complex64]:
        """Some frequencies (m, ny) of all planes."""
        found = np.empty((len(index), len(planes)), dtype=np.complex64)

        def fill(y: int, plane: NDArray[np.float32]) -> None:
            plane[...] = planes[y]

        def visit(y: int, spectrum: NDArray[np.complex64]) -> None:
            found[:, y] = spectrum.reshape(-1)[index]

        self._transform.run(visit, fill=fill)
        return found


class _Volume:
    """Frequencies of a volume."""

    def __init__(
        self, series: TiltSeries, depth: int, oversampling: int, reach: float, withhold: float, seed: int
    ) -> None:
        self._grid = grid_volume(series, depth, oversampling=oversampling, reach=reach)
        self._shape = (*series.projections.shape[1:], depth)
        size = self._grid.size
        self.radius = np.empty(len(self._grid.index), dtype=np.float32)
        self.free = np.empty(len(self._grid.index), dtype=np.bool_)
        for y in range(size):
            here = self._here(y)
            of_plane = self._grid.index[here], y if y < size // 2 else y - size
            self.radius[here], self.free[here] = _describe(*of_plane, size, withhold, seed)

    def problem(self, enforced: NDArray[np.bool_]) -> tuple[Convolution, NDArray[np.float32], float]:
        """The kernel h, g and the square norm of the frequencies of the enforced points (m,)."""
        size = self._grid.size
        target = np.empty(self._shape, dtype=np.float32)

        def visit(y: int, spectrum: NDArray[np.complex64]) -> None:
            here = self._here(y)
            index, chosen = self._grid.index[here], enforced[here]
            spectrum.reshape(-1)[index[chosen]] = self._grid.values[here][chosen] * np.float32(1 / size**3)

        def take(x: int, plane: NDArray[np.float32]) -> None:
            target[x] = plane

        VolumeTransform(self._shape, (size, size, size)).run(visit, take=take)
        norm = _square_norm(self._grid.index[enforced], self._grid.values[enforced], size) / size**3
        return VolumeConvolution(self._kernel(enforced)), target, norm

    def _kernel(self, enforced: NDArray[np.bool_]) -> NDArray[np.float32]:
        """The kernel h (2 nx - 1, 2 ny - 1, nz), from its symmetric half, shifted so that no distance is negative."""
        size = self._grid.size
        first, second, third = self._shape
        half = (first, 2 * second - 1, 2 * third - 1)
        turns = np.exp(-2j * np.pi * fft.fftfreq(size)[:, None] * (second - 1))
        waves = np.exp(-2j * np.pi * fft.rfftfreq(size) * (third - 1)) / size**3
        kernel = np.empty((2 * first - 1, 2 * second - 1, third), dtype=np.float32)

        def visit(y: int, spectrum: NDArray[np.complex64]) -> None:
            here = self._here(y)
            index = self._grid.index[here][enforced[here]]
            spectrum.reshape(-1)[index] = turns[y] * waves[index % (size // 2 + 1)]

        def take(x: int, plane: NDArray[np.float32]) -> None:
            kernel[first - 1 + x] = plane[:, third - 1 :]
            kernel[first - 1 - x] = plane[::-1, third - 1 :: -1]

        VolumeTransform(half, (size, size, size)).run(visit, take=take)
        return kernel

    def r_factors(self, planes: NDArray[np.float32], enforced: NDArray[np.bool_]) -> tuple[float, float]:
        """R factors of the amplitudes of enforced and of withheld points (m,)."""
        size, amplitudes = self._grid.size, np.abs(self._grid.values)
        differences = np.empty_like(amplitudes)

        def fill(x: int, plane: NDArray[np.float32]) -> None:
            plane[...] = planes[x]

        def visit(y: int, spectrum: NDArray[np.complex64]) -> None:
            here = self._here(y)
            differences[here] = np.abs(np.abs(spectrum.reshape(-1)[self._grid.index[here]]) - amplitudes[here])

        VolumeTransform(self._shape, (size, size, size)).run(visit, fill=fill)
        return _ratios(differences, amplitudes, (enforced, self.free))

    def _here(self, y: int) -> slice:
        """Points of one frequency of the second axis."""
        return slice(int(self._grid.start[y]), int(self._grid.start[y + 1]))


def _describe(
    index: NDArray[np.int32], y: int, size: int, withhold: float, seed: int
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Radii of points of the half plane y (N, N // 2 + 1) over the largest, and which of them are withheld."""
    x, z = np.divmod(index.astype(np.int64), size // 2 + 1)
    x = np.where(x < size // 2, x, x - size)
    radius = np.sqrt(x * x + y * y + z * z) * 2 / size
    # of two mates in the plane z = 0 the one counts that comes first
    mate = (z == 0) & ((x < 0) | ((x == 0) & (y < 0)))
    number = (np.where(mate, -x, x) + size) * 2 * size + np.where(mate, -y, y) + size
    return radius.astype(np.float32), withheld(number * size + z, withhold, seed)


def _square_norm(index: NDArray[np.int32], values: NDArray[np.complex64], size: int) -> float:
    """Sum of squares over the whole grid of frequencies (m, ...) of half of it."""
    twice = np.where(index % (size // 2 + 1) > 0, 2.0, 1.0)
    amplitudes = np.abs(values).reshape(len(index), -1)
    return float((twice * np.einsum("ij,ij->i", amplitudes, amplitudes, dtype=np.float64)).sum())


def _ratios(
    differences: NDArray[Any], amplitudes: NDArray[Any], groups: tuple[NDArray[np.bool_], NDArray[np.bool_]]
) -> tuple[float, float]:
    """Sums of differences over sums of amplitudes; NaN for a group without points."""
    one, other = (
        float(differences[group].sum(dtype=np.float64) / amplitudes[group].sum(dtype=np.float64))
        if group.any()
        else math.nan
        for group in groups
    )
    return one, other
