"""Equal-slope tomography: images at equally spaced tangents of the tilt fill a pseudo-polar grid of frequencies.

Its transform needs no interpolation. For work that repeats older measurements; other tilts are for ``least_squares``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft
from threadpoolctl import threadpool_limits

from aet2dft.errors import InputError
from aet2dft.recon.algorithms.descent import Descent, Memory, State
from aet2dft.recon.fourier.convolution import SliceConvolution
from aet2dft.recon.fourier.fft import fast_size
from aet2dft.recon.fourier.projector import plane_order
from aet2dft.recon.fourier.threads import in_threads
from aet2dft.recon.tilt_series import TiltSeries

_OFF = 0.1
"""Pixels by which the slope that is meant may displace the edge of an image from where its tilt does."""


class PseudoPolar:
    r"""Frequencies of a plane on lines through the origin whose slopes are equally spaced.

    Parameters
    ----------
    shape : tuple of int
        Samples (n1, n2) of the plane, whose middle is sample N // 2.
    size : int
        M, even: frequencies are k / M along the first axis, k = 0 .. M / 2 - 1.
    first, step : float
        Slope of the first line and what is added from one to the next, at most 1 in magnitude.
    count : int
        Number of lines.

    Notes
    -----
    :math:`F(k, j) = \sum f(x, z) e^{-2 \pi i k (x - s_j z) / M}` with :math:`s_j = s_0 + j \delta` (A. Averbuch et al.,
    SIAM J. Sci. Comput. 30, 764 (2008)): a transform along x, then along z for every k one whose frequencies are
    :math:`k \delta / M` apart. This chirp-z transform is a convolution, by
    :math:`2 j z = j^2 + z^2 - (j - z)^2` (L. I. Bluestein, IEEE Trans. Audio Electroacoust. 18, 451 (1970)).
    """

    def __init__(self, shape: tuple[int, int], size: int, first: float, step: float, count: int) -> None:
        self.shape, self._size, self._count = shape, size, count
        k = np.arange(size // 2)[:, None]
        z = np.arange(shape[1]) - shape[1] // 2
        rate = np.pi * step / size
        self._turn = np.exp(2j * np.pi * k * (shape[0] // 2) / size)
        self._before = np.exp(1j * k * (2 * np.pi * first / size * z + rate * z**2))
        self._after = np.exp(1j * k * rate * np.arange(count) ** 2)
        self._length = fast_size(shape[1] + count - 1)
        # distances j - z, wrapped around
        distance = np.arange(self._length)
        distance = np.where(distance < count - z[0], distance, distance - self._length)
        self._chirp = fft.fft(np.exp(-1j * k * rate * distance**2), axis=1)
        self._shift = np.exp(-2j * np.pi * fft.fftfreq(self._length) * z[0])

    def forward(self, plane: NDArray[np.float64]) -> NDArray[np.complex128]:
        """Frequencies (M / 2, count) of a plane (n1, n2)."""
        lines = fft.rfft(plane, self._size, axis=0)[:-1] * self._turn * self._before
        spectrum = fft.fft(lines, self._length, axis=1) * self._shift * self._chirp
        return np.asarray(fft.ifft(spectrum, axis=1)[:, : self._count] * self._after)

    def adjoint(self, frequencies: NDArray[np.complex128]) -> NDArray[np.float64]:
        """Plane (n1, n2): the adjoint of `forward`, for the real part of the product of frequencies (M / 2, count)."""
        spectrum = fft.fft(frequencies * self._after.conj(), self._length, axis=1)
        lines = fft.ifft(spectrum * (self._chirp * self._shift).conj(), axis=1)[:, : self.shape[1]]
        lines *= (self._before * self._turn).conj()
        half = np.zeros((self._size // 2 + 1, self.shape[1]), dtype=np.complex128)
        half[:-1] = lines
        # the inverse of a real transform counts every frequency but the zeroth twice
        half[1:] /= 2
        return np.asarray(fft.irfft(half, self._size, axis=0)[: self.shape[0]] * self._size)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Fan:
    """Images whose lines of frequencies rise from one axis by equally spaced slopes, at most 1."""

    images: NDArray[np.intp]
    """(m,): which they are."""
    position: NDArray[np.intp]
    """(m,): number of the line of each."""
    first: float
    """Slope of line 0."""
    step: float
    """Slope from one line to the next."""
    stretch: NDArray[np.float64]
    """(m,): frequency of the image over that along the axis."""
    flipped: bool
    """Whether the axis is the second of the planes, else the first."""

    def transform(self, shape: tuple[int, int], size: int) -> PseudoPolar:
        """Of planes (n1, n2)."""
        turned = shape[::-1] if self.flipped else shape
        return PseudoPolar(turned, size, self.first, self.step, int(self.position.max()) + 1)

    def weights(self, size: int) -> NDArray[np.float64]:
        """(M / 2, m): area of the plane of frequencies around every point, in samples; zero beyond the images'."""
        k = np.arange(size // 2)[:, None]
        area = np.where(k == 0, 0.25, 2.0 * k) * self.step / size**2
        return np.where(k * np.abs(self.stretch) < size / 2, area, 0.0)


def iterate(
    series: TiltSeries,
    support: NDArray[np.bool_],
    *,
    positivity: bool = True,
    start: Memory | None = None,
) -> Iterator[State]:
    r"""Fit a volume to the frequencies of the images on a pseudo-polar grid, for as long as the caller wants.

    Parameters
    ----------
    series : TiltSeries
        Images about one axis, their tilts equally sloped.
    support : ndarray of bool, shape (nx, ny, nz)
        Where the density may differ from zero; its last axis sets the depth of the volume.
    positivity : bool
        Whether the density is nowhere negative.
    start : Memory, optional
        Of an earlier state, to go on from there.

    Yields
    ------
    State
        After every iteration.

    Raises
    ------
    InputError
        If there is more than one tilt axis, or the tilts are not equally sloped.

    Notes
    -----
    J. Miao, F. Förster and O. Levi, Phys. Rev. B 72, 052103 (2005); E. Lee et al., J. Struct. Biol. 164, 221 (2008).
    There constraints and measured frequencies are imposed in turn; here the frequencies are weighted by the area they
    stand for, which makes :math:`P^T W P` a convolution that is nearly 1, and are fitted with momentum.
    """
    fans = equal_slopes(series)
    shape = (support.shape[0], support.shape[2])
    size = fast_size(2 * max(shape))
    order = plane_order(series)
    target, norm = _back_projected(series, fans, shape, size)
    kernel = _kernel(fans, shape, size)
    # no eigenvalue is larger than the largest frequency
    largest = float(np.abs(fft.rfft2(kernel, [fast_size(n) for n in kernel.shape])).max())
    operator = SliceConvolution(support.shape[1], kernel[:, shape[1] - 1 :].astype(np.float32))
    descent = Descent(
        target,
        norm,
        np.ascontiguousarray(support.transpose(order)),
        positivity=positivity,
        accelerate=True,
        start=start,
    )
    while True:
        converged = descent.advance(operator, 1 / largest)
        yield State(
            iteration=descent.iteration,
            values=descent.values.transpose(order),
            memory=descent.memory,
            converged=converged,
        )


def equal_slopes(series: TiltSeries) -> list[_Fan]:
    """The two fans of lines of an equally sloped series; one where no image is in the other.

    Parameters
    ----------
    series : TiltSeries
        Images.

    Raises
    ------
    InputError
        If there is more than one tilt axis, or an image is too far from the equally spaced slopes that fit best.
    """
    if not series.is_single_axis:
        raise InputError("est needs a single tilt axis, but the rotations have more; take --algorithm lsq")
    # the frequencies of an image lie along this direction in the plane
    direction = series.rotations[:, (0, 2), 0]
    flat = np.abs(direction[:, 1]) <= np.abs(direction[:, 0])
    fans = []
    for axis, members in enumerate((np.flatnonzero(flat), np.flatnonzero(~flat))):
        if not members.size:
            continue
        along, across = direction[members, axis], direction[members, 1 - axis]
        slopes = -across / along
        first, step, position = _progression(slopes)
        off = np.degrees(np.abs(slopes - first - step * position) * along**2)
        worst, allowed = int(np.argmax(off)), np.degrees(2 * _OFF / series.projections.shape[1])
        if off[worst] > allowed:
            raise InputError(
                f"the tilts are not equally sloped: image {members[worst]} at "
                f"{series.tilt_angles[members[worst]]:.2f} degrees is {off[worst]:.2f} degrees off "
                f"({allowed:.2f} allowed); est needs equal steps of the tangent, beyond 45 degrees of the cotangent: "
                "take --algorithm lsq"
            )
        fans.append(
            _Fan(images=members, position=position, first=first, step=step, stretch=1 / along, flipped=axis == 1)
        )
    return fans


def _progression(slopes: NDArray[np.float64]) -> tuple[float, float, NDArray[np.intp]]:
    """Least slope, step and number of every slope (m,) in the progression that fits best; gaps are allowed."""
    rising = np.sort(slopes)
    steps = np.diff(rising)
    steps = steps[steps > 1e-6]
    if not steps.size:
        return float(rising[0]), 1.0, np.zeros(len(slopes), dtype=np.intp)
    first, step = float(rising[0]), float(np.median(steps))
    for _ in range(3):
        position = np.rint((slopes - first) / step)
        step, first = (float(value) for value in np.polyfit(position, slopes, 1))
    return first, step, position.astype(np.intp)


def _back_projected(
    series: TiltSeries, fans: list[_Fan], shape: tuple[int, int], size: int
) -> tuple[NDArray[np.float32], float]:
    """Planes (ny, n1, n2) by the adjoint from the weighted frequencies of images, and the square norm of these."""
    n_columns = series.projections.shape[2]
    planes, norm = np.zeros((n_columns, *shape), dtype=np.float32), 0.0
    for fan in fans:
        transform, weights = fan.transform(shape, size), fan.weights(size)
        measured = _frequencies(series, fan, size)
        norm += float(np.einsum("kj,kjy->", weights, np.abs(measured) ** 2))
        measured *= weights[:, :, None]

        def work(
            _: int,
            numbers: Iterator[int],
            fan: _Fan = fan,
            transform: PseudoPolar = transform,
            measured: NDArray[np.complex128] = measured,
        ) -> None:
            for y in numbers:
                plane = transform.adjoint(_on_lines(fan, measured[:, :, y]))
                planes[y] += plane.T if fan.flipped else plane

        in_threads(work, n_columns)
    return planes, norm


def _kernel(fans: list[_Fan], shape: tuple[int, int], size: int) -> NDArray[np.float64]:
    """Kernel (2 n1 - 1, 2 n2 - 1) of the convolution that the transform, the weights and the adjoint are."""
    doubled = (2 * shape[0] - 1, 2 * shape[1] - 1)
    kernel = np.zeros(doubled)
    for fan in fans:
        plane = fan.transform(doubled, size).adjoint(_on_lines(fan, fan.weights(size).astype(np.complex128)))
        kernel += plane.T if fan.flipped else plane
    return kernel


def _on_lines(fan: _Fan, frequencies: NDArray[np.complex128]) -> NDArray[np.complex128]:
    """Frequencies (M / 2, count) of all lines from those (M / 2, m) of the images; images of one line add up."""
    lines = np.zeros((len(frequencies), int(fan.position.max()) + 1), dtype=np.complex128)
    for line, values in zip(fan.position, frequencies.T, strict=True):
        lines[:, line] += values
    return lines


def _frequencies(series: TiltSeries, fan: _Fan, size: int) -> NDArray[np.complex128]:
    """Frequencies (M / 2, m, ny) of images at the points of their lines, about their rotation centers."""
    found = np.empty((size // 2, len(fan.images), series.projections.shape[2]), dtype=np.complex128)
    k = np.arange(size // 2)[:, None]
    rows = np.arange(series.projections.shape[1])
    # one thread: the bytes of a product depend on their number
    with threadpool_limits(1, user_api="blas"):
        for number, (image, stretch) in enumerate(zip(fan.images, fan.stretch, strict=True)):
            waves = np.exp(-2j * np.pi * stretch / size * k * (rows - series.center[image, 0]))
            found[:, number] = waves @ series.projections[image].astype(np.float64)
    return found
