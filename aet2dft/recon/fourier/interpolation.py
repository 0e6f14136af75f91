"""Frequencies between the points of a grid: the window, what undoes it in real space, and where its middle lies.

The loops are in ``_kernels_fourier``; who needs such frequencies is in ``projector`` and ``gridding``.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from aet2dft.recon.fourier import _kernels_fourier as kernels
from aet2dft.recon.fourier._kernels_fourier import WIDTH
from aet2dft.recon.fourier.fft import fast_size

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(64)
"""Of the integral over the window, more than single precision needs."""


def windows(at: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Windows around frequencies.

    Parameters
    ----------
    at : ndarray, shape (n,)
        Frequencies in steps of the grid.

    Returns
    -------
    first : ndarray, shape (n,)
        First grid points that the windows cover.
    weights : ndarray, shape (n, WIDTH)
        Of the grid points from there on.

    Notes
    -----
    exp(b sqrt(1 - (2 t / w)^2) - b) with b = 2.3 w: A. H. Barnett, J. Magland and L. af Klinteberg, SIAM J. Sci.
    Comput. 41, C479 (2019).
    """
    first = np.empty(len(at), dtype=np.int64)
    weights = np.empty((len(at), WIDTH), dtype=np.float32)
    kernels.windows(np.ascontiguousarray(at), first, weights)
    return first, weights


def doubled_size(samples: int) -> int:
    """Points of the grid in which an object is interpolated: it fills half at most, and a window fits.

    Parameters
    ----------
    samples : int
        Of the object.
    """
    return fast_size(max(2 * samples, WIDTH + 1))


def taper(samples: int, size: int) -> NDArray[np.float32]:
    """Factors of the samples of an object that undo the window: one over its Fourier transform.

    Parameters
    ----------
    samples : int
        Of the object, whose middle is sample N // 2.
    size : int
        Points of the grid.
    """
    window = np.exp(kernels.SHARPNESS * (np.sqrt(1 - _NODES**2) - 1))
    at = (np.arange(samples) - samples // 2) / size
    transform = np.cos(np.pi * WIDTH * np.outer(at, _NODES)) @ (window * _WEIGHTS) * WIDTH / 2
    return (1 / transform).astype(np.float32)


def centering(samples: int, size: int) -> NDArray[np.complex64]:
    """Phases of the frequencies, in the order of the transform, that move the middle of an object to the origin.

    Parameters
    ----------
    samples : int
        Of the object, from the corner of the grid on.
    size : int
        Points of the grid.
    """
    return np.asarray(np.exp(2j * np.pi * fft.fftfreq(size) * (samples // 2)), dtype=np.complex64)


def as_pairs(frequencies: NDArray[np.complex64]) -> NDArray[np.float32]:
    """Frequencies as their real and imaginary parts, one after the other: a view.

    Parameters
    ----------
    frequencies : ndarray, shape (..., n)
        Contiguous along the last axis.

    Returns
    -------
    ndarray, shape (..., 2 n)
        As compiled loops over them want it.
    """
    return frequencies.view(np.float32)
