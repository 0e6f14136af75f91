"""Noise of images, told from what they hold beyond the frequencies that atoms can put there."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from aet2dft.recon.fourier.threads import of_each

_BLUR = 0.7
"""Pixels: standard deviation of the Gaussian that gives the expected value of a pixel from the measured ones."""


def noise_deviation(images: ArrayLike) -> NDArray[np.float64]:
    r"""Mean absolute value of the noise of a pixel, of each image.

    Parameters
    ----------
    images : array_like, shape (n, nx, ny)
        Images as they were recorded; of denoised ones only what is left of the noise is found.

    Returns
    -------
    ndarray, shape (n,)
        In units of the images.

    Notes
    -----
    Noise that is independent in every pixel has the same power at all frequencies. The image I is filtered to the
    corners of its transform, farther from zero than the Nyquist frequency of an axis, where an atom of standard
    deviation 0.5 Å has 1e-4 of its amplitude left in pixels of 0.37 Å. What remains is noise, and its square is on
    average the variance :math:`a + g I` of the pixels, as for counted electrons and a detector's own noise, convolved
    with the square of the filter: a and g follow by least squares from all images. The mean deviation is
    :math:`\sqrt{2/\pi}` times the mean standard deviation.
    """
    stack = np.asarray(images)
    rows, columns = (np.fft.fftfreq(n) for n in stack.shape[1:])
    radius = np.hypot(rows[:, None], columns)
    corners = radius > 0.5
    if not corners.any():  # a single row or column has none
        return np.zeros(len(stack))
    filters = _Filters(
        corners=corners,
        squared=np.fft.fft2(np.square(np.fft.ifft2(corners).real)),
        blur=np.exp(-2.0 * (np.pi * _BLUR * radius) ** 2),
    )
    noise, signal, both, alone = np.array(of_each(partial(_moments, filters=filters), stack)).mean(axis=0)
    spread = alone - signal**2
    gain = max(0.0, (both - noise * signal) / spread) if spread > 0 else 0.0
    constant = (noise - gain * signal) / filters.squared[0, 0].real
    return np.array(of_each(partial(_deviation, filters=filters, constant=constant, gain=gain), stack))


@dataclass(frozen=True, kw_only=True, slots=True)
class _Filters:
    """What images are multiplied with in Fourier space, all (nx, ny)."""

    corners: NDArray[np.bool_]
    """Frequencies that hold noise only."""
    squared: NDArray[np.complex128]
    """Transform of the square of that filter."""
    blur: NDArray[np.float64]
    """Gaussian."""


def _moments(image: NDArray[Any], filters: _Filters) -> tuple[float, ...]:
    """Means of the squared noise in the corners, of what it is per unit of gain, their product, the square of that."""
    transform = np.fft.fft2(np.asarray(image, dtype=np.float64))
    noise = np.square(np.fft.ifft2(transform * filters.corners).real)
    signal = np.fft.ifft2(transform * filters.squared).real
    return tuple(float(values.mean()) for values in (noise, signal, noise * signal, signal**2))


def _deviation(image: NDArray[Any], filters: _Filters, constant: float, gain: float) -> float:
    variance = constant + gain * np.fft.ifft2(np.fft.fft2(np.asarray(image, dtype=np.float64)) * filters.blur).real
    return float(np.sqrt(2.0 / np.pi) * np.sqrt(np.maximum(variance, 0.0)).mean())


def noise_r_factor(
    images: ArrayLike, background: ArrayLike = 0.0, *, deviation: ArrayLike | None = None
) -> NDArray[np.float64]:
    """R factor that the true model of each image has, because of the noise.

    Parameters
    ----------
    images : array_like, shape (n, nx, ny)
        Images as they were recorded.
    background : array_like, shape () or (n,)
        What is subtracted from each before its R factor is taken.
    deviation : array_like, shape (n,), optional
        What `noise_deviation` finds in these images, where it is known.
    """
    stack = np.asarray(images)
    level = np.broadcast_to(np.asarray(background, dtype=np.float64), len(stack))
    size = np.array([np.abs(image - ground).mean(dtype=np.float64) for image, ground in zip(stack, level, strict=True)])
    known = noise_deviation(stack) if deviation is None else np.asarray(deviation)
    return np.asarray(known / np.where(size > 0, size, 1.0))


def unexplained(r_factor: float, noise: float) -> float:
    """Part of an R factor that noise does not explain; deviations that know nothing of each other add in squares."""
    return float(np.sqrt(max(0.0, r_factor**2 - noise**2)))
