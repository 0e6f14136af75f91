"""By how much one image is shifted against another, to a fraction of a pixel."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import fft

Floats = NDArray[np.float64]
Image = NDArray[np.float32]


def best_shift(measured: Image, computed: Image) -> tuple[Floats, float]:
    """Where the cross-correlation of two images has its maximum.

    Parameters
    ----------
    measured, computed : ndarray, shape (nx, ny)
        Images without their backgrounds; nothing is beyond their edges.

    Returns
    -------
    ndarray, shape (2,)
        Pixels by which the computed image has to be moved.
    float
        The correlation there: the sum of the products of the pixels.

    Notes
    -----
    The fraction of a pixel is that of the parabola through the maximum and its neighbors, along each axis.
    """
    size = [fft.next_fast_len(2 * n, real=True) for n in measured.shape]
    first, second = (fft.rfft2(image, size) for image in (measured, computed))
    correlation = fft.irfft2(first * second.conj(), size)
    peak = np.unravel_index(int(np.argmax(correlation)), correlation.shape)
    return np.array([_vertex(correlation, peak, axis) for axis in (0, 1)]), float(correlation[peak])


def _vertex(values: Image, peak: tuple[np.intp, ...], axis: int) -> float:
    """Signed position of a maximum along an axis, by the parabola through it and its neighbors."""
    line = np.take(values, peak[1 - axis], axis=1 - axis)
    n, at = len(line), int(peak[axis])
    before, here, after = (float(line[(at + step) % n]) for step in (-1, 0, 1))
    bend = before - 2 * here + after
    fraction = 0.5 * (before - after) / bend if bend < 0 else 0.0
    return (at if at < n // 2 else at - n) + fraction
