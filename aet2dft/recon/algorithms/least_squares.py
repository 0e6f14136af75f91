"""Least squares of volume and images, solved with the normal operator as a convolution.

With momentum it is the default algorithm, without it the objective and the steps of RESIRE.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from aet2dft.recon.algorithms.descent import Descent, Memory, State
from aet2dft.recon.fourier import _kernels_volume as kernels
from aet2dft.recon.fourier.convolution import Convolution, SliceConvolution, VolumeConvolution
from aet2dft.recon.fourier.projector import line_length, line_lengths, plane_order, projector
from aet2dft.recon.tilt_series import TiltSeries

PLAIN_STEP = 1.9
"""Step without momentum, over the inverse of the largest eigenvalue: about step 2 of RESIRE; 2 would not converge."""


def iterate(
    series: TiltSeries,
    support: NDArray[np.bool_],
    *,
    positivity: bool = True,
    accelerate: bool = True,
    start: Memory | None = None,
) -> Iterator[State]:
    r"""Fit a volume to the images, for as long as the caller wants.

    Parameters
    ----------
    series : TiltSeries
        Images that are fitted.
    support : ndarray of bool, shape (nx, ny, nz)
        Where the density may differ from zero; ny as in the images, its other axes set the box of the volume.
    positivity : bool
        Whether the density is nowhere negative.
    accelerate : bool
        Whether steps gain momentum.
    start : Memory, optional
        Of an earlier state, to go on from there.

    Yields
    ------
    State
        After every iteration.

    Notes
    -----
    Minimizes :math:`\frac12 \sum_k \|A_k f - b_k\|^2` over nonnegative f inside the support (M. Pham et al., Sci. Rep.
    13, 5624 (2023)). For band-limited projections A^T A f is the convolution of f with
    :math:`T(d) = \sum_k D(u_k(d)) D(v_k(d))`, D the Dirichlet kernel, so that an iteration costs one pair of
    transforms whatever the number of images.
    """
    operator = normal_operator(series, support.shape)
    target = projector(series, support.shape[2], support.shape[0]).back_project(series.projections)
    yield from descend(series, support, operator, target, positivity=positivity, accelerate=accelerate, start=start)


def descend(
    series: TiltSeries,
    support: NDArray[np.bool_],
    operator: Convolution,
    target: NDArray[np.float32],
    *,
    positivity: bool,
    accelerate: bool,
    start: Memory | None,
) -> Iterator[State]:
    """Steps down the misfit of the images, for as long as the caller wants.

    Parameters
    ----------
    series : TiltSeries
        Images that are fitted.
    support : ndarray of bool, shape (nx, ny, nz)
        Where the density may differ from zero.
    operator : Convolution
        The projection followed by its adjoint, however that is computed.
    target : ndarray, shape (planes, n1, n2)
        The images, projected back.
    positivity, accelerate, start
        As in `iterate`.

    Yields
    ------
    State
        After every iteration.
    """
    order = plane_order(series)
    descent = Descent(
        target,
        float(np.square(series.projections, dtype=np.float64).sum()),
        np.ascontiguousarray(support.transpose(order)),
        positivity=positivity,
        accelerate=accelerate,
        start=start,
    )
    step = (1.0 if accelerate else PLAIN_STEP) / operator.norm
    while True:
        converged = descent.advance(operator, step)
        yield State(
            iteration=descent.iteration,
            values=descent.values.transpose(order),
            memory=descent.memory,
            converged=converged,
        )


def normal_operator(series: TiltSeries, shape: tuple[int, ...]) -> Convolution:
    """The projection followed by its adjoint.

    Parameters
    ----------
    series : TiltSeries
        Gives rotations and the size of the images.
    shape : tuple of int
        Voxels (nx, ny, nz) of the volume; ny as in the images.
    """
    n_rows, n_columns, depth = shape
    pixels = series.projections.shape[1:]
    if series.is_single_axis:
        kernel = np.empty((2 * n_rows - 1, depth))
        directions = np.ascontiguousarray(series.rotations[:, (0, 2), 0])
        kernels.slice_kernel(directions, line_length(pixels[0], (n_rows, depth)), kernel)
        return SliceConvolution(n_columns, kernel.astype(np.float32))
    sizes = np.array(line_lengths(series, shape))
    axes = np.ascontiguousarray(series.rotations[:, :, :2].swapaxes(1, 2))
    volume = np.empty((2 * n_rows - 1, 2 * n_columns - 1, depth), dtype=np.float32)
    kernels.volume_kernel(axes, sizes, volume)
    return VolumeConvolution(volume)
