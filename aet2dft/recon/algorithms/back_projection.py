"""Weighted back-projection: a volume at once, for a quick look."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from aet2dft.recon.algorithms.descent import Memory, State
from aet2dft.recon.fourier.fft import fast_size
from aet2dft.recon.fourier.projector import plane_order, projector
from aet2dft.recon.tilt_series import TiltSeries


def iterate(
    series: TiltSeries,
    support: NDArray[np.bool_],
    *,
    positivity: bool = True,
    start: Memory | None = None,
) -> Iterator[State]:
    r"""The back-projection of the images, each weighted by its frequencies and its neighbors in tilt.

    Parameters
    ----------
    series : TiltSeries
        Images.
    support : ndarray of bool, shape (nx, ny, nz)
        Where the density may differ from zero; its last axis sets the depth of the volume.
    positivity : bool
        Whether negative density is cut.
    start : Memory, optional
        Of an earlier state, whose number of iterations is gone on from.

    Yields
    ------
    State
        The same volume, for as long as the caller wants.

    Notes
    -----
    :math:`f = \sum_k \Delta\theta_k A_k^T (h * b_k)`: the ramp h has the frequencies :math:`|q|`, perpendicular to the
    tilt axis, and :math:`\Delta\theta_k` is half the distance of the neighbors of an image in tilt (A. C. Kak and
    M. Slaney, Principles of Computerized Tomographic Imaging, IEEE Press (1988), chapter 3). The ramp is that of a
    line of pixels, whose mean is right.
    """
    order = plane_order(series)
    filtered = ramp_filtered(series.projections) * angular_weights(series.tilt_angles)[:, None, None]
    planes = projector(series, support.shape[2]).back_project(filtered.astype(np.float32))
    planes *= support.transpose(order)
    if positivity:
        np.maximum(planes, 0, out=planes)
    done = 0 if start is None else start.iteration
    while True:
        done += 1
        empty = np.zeros((0, 0, 0), dtype=np.float32)
        memory = Memory(iteration=done, values=planes, previous=empty, momentum=np.zeros(0), misfit=np.ones(1))
        yield State(iteration=done, values=planes.transpose(order), memory=memory, converged=True)


def ramp_filtered(images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Images with their frequencies along the first axis weighted by their magnitude.

    Parameters
    ----------
    images : ndarray, shape (n, nx, ny)
        Images, dark outside.

    Returns
    -------
    ndarray, shape (n, nx, ny)
        In units of the images per pixel.
    """
    n_rows = images.shape[1]
    size = fast_size(2 * n_rows)
    ramp = np.zeros(size)
    odd = np.arange(1, size // 2, 2)
    ramp[0], ramp[odd] = 0.25, -1 / (np.pi * odd) ** 2
    ramp[-odd] = ramp[odd]
    response = fft.rfft(ramp).real.astype(np.float32)
    return np.asarray(fft.irfft(fft.rfft(images, size, axis=1) * response[:, None], size, axis=1)[:, :n_rows])


def angular_weights(tilt_angles: NDArray[np.float64]) -> NDArray[np.float64]:
    """Radians of tilt that each image stands for.

    Parameters
    ----------
    tilt_angles : ndarray, shape (n,)
        Degrees, in any order; images of one tilt share what it stands for.

    Returns
    -------
    ndarray, shape (n,)
        Half the distance of the neighbors; the first and the last image count as in the middle of a usual step unless
        they are nearer to each other, across 180 degrees.
    """
    folded = np.radians(tilt_angles) % np.pi
    tilts, which, counts = np.unique(np.round(folded, 9), return_inverse=True, return_counts=True)
    if len(tilts) == 1:
        return np.full(len(folded), np.pi / len(folded))
    gaps = np.diff(tilts, append=tilts[0] + np.pi)
    # the missing wedge belongs to no image
    usual = np.median(gaps)
    gaps = np.where(gaps > 3 * usual, usual, gaps)
    return np.asarray(((gaps + np.roll(gaps, 1)) / 2 / counts)[which])
