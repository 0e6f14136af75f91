"""Objects larger than the images, as films are: what is outside the box of the images is part of the fit.

Matter outside is turned into the tilted images; a wider box lets it explain itself. Pixels that were not measured are
not compared, so that the normal operator is no convolution here.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from aet2dft.recon.algorithms.descent import Memory, State
from aet2dft.recon.algorithms.least_squares import descend
from aet2dft.recon.fourier.convolution import largest_eigenvalue
from aet2dft.recon.fourier.fft import OnPlane
from aet2dft.recon.fourier.projector import projector
from aet2dft.recon.fourier.threads import in_threads
from aet2dft.recon.tilt_series import TiltSeries

_WIDEST = 1.75
"""Width of the box over that of the images, at most: matter farther away is seen in few images, where they blur it."""
_EDGE = 2
"""Pairs of lines at the edge of the images that tell whether the object reaches it."""
_AS_INSIDE = 0.1
"""Variance at the edge over that inside from which on the object goes on beyond."""
_CLEARLY = 0.2
"""The same from which on images are said to cut it: single atoms that end at the edge do not count."""
_SURE = 3.0
"""Standard errors by which the variance at the edge is larger than that."""


def reaches_edges(series: TiltSeries) -> bool:
    """Whether the object goes on beyond the images across the tilt axis.

    Parameters
    ----------
    series : TiltSeries
        Images.

    Notes
    -----
    At one of the two edges, along the tilt axis, brightness varies about as it does inside: atoms do so, a background
    does not. The product of neighboring lines measures that: noise, which differs from pixel to pixel, has no part in
    its mean, and how it differs from image to image tells the error.
    """
    return any(_cut(series.projections, _AS_INSIDE))


def cut_columns(series: TiltSeries) -> list[int]:
    """Those of the first and the last column of the images at which the object goes on beyond, along the tilt axis.

    Parameters
    ----------
    series : TiltSeries
        Images.

    Notes
    -----
    As of `reaches_edges`, but from twice the variance on.
    """
    cut = _cut(series.projections.swapaxes(1, 2), _CLEARLY)
    return [column for column, there in zip((0, series.projections.shape[2] - 1), cut, strict=True) if there]


def _cut(images: NDArray[np.float32], part: float) -> tuple[bool, bool]:
    """Whether the first lines of images (n, lines, pixels), and the last, vary by this part of what is inside."""
    varying = images - images.mean(axis=2, keepdims=True)
    variance = np.einsum("kxy,kxy->kx", varying[:, 1:], varying[:, :-1], dtype=np.float64)
    if len(images) < 2 or variance.shape[1] <= 2 * _EDGE:
        return False, False
    inside = float(variance[:, _EDGE:-_EDGE].mean())
    edges = np.stack([variance[:, :_EDGE].mean(axis=1), variance[:, -_EDGE:].mean(axis=1)])
    first, last = edges.mean(axis=1) - _SURE * edges.std(axis=1, ddof=1) / np.sqrt(len(images))
    return bool(0 < part * inside < first), bool(0 < part * inside < last)


def slab(series: TiltSeries, thickness: float | None) -> tuple[int, int, int]:
    """Voxels (rows, ny, depth) of the box that an object which is larger than the images fills.

    Parameters
    ----------
    series : TiltSeries
        Images.
    thickness : float or None
        Å along the beam at zero tilt; None: as the images are wide across the tilt axis.

    Notes
    -----
    As many rows as rays through the images cross, but not more than 1.75 times those of the images.
    """
    _, n_rows, n_columns = series.projections.shape
    depth = n_rows if thickness is None else max(1, round(thickness / series.pixel_size))
    sine, cosine = np.abs(series.rotations[:, 0, 2]), np.abs(series.rotations[:, 2, 2])
    reach = float(((n_rows + depth * sine) / np.maximum(cosine, 1e-3)).max())
    # of the same parity: the middle voxel stays the middle one when the rows outside are cut off
    extra = math.ceil((min(reach, _WIDEST * n_rows) - n_rows) / 2)
    return n_rows + 2 * max(0, extra), n_columns, depth


def inside(values: NDArray[np.float32], n_rows: int) -> NDArray[np.float32]:
    """The middle rows of a volume: those of the images.

    Parameters
    ----------
    values : ndarray, shape (rows, ny, nz)
        Volume on the wider box.
    n_rows : int
        Rows that are kept.
    """
    first = values.shape[0] // 2 - n_rows // 2
    return values[first : first + n_rows]


def iterate(
    series: TiltSeries,
    support: NDArray[np.bool_],
    *,
    positivity: bool = True,
    accelerate: bool = True,
    start: Memory | None = None,
) -> Iterator[State]:
    r"""Fit a volume to the measured pixels of the images, for as long as the caller wants.

    Parameters
    ----------
    series : TiltSeries
        Images that are fitted.
    support : ndarray of bool, shape (rows, ny, nz)
        Where the density may differ from zero; more rows than the images have make room for what is outside.
    positivity : bool
        Whether the density is nowhere negative.
    accelerate : bool
        Whether steps gain momentum.
    start : Memory, optional
        Of an earlier state, to go on from there.

    Yields
    ------
    State
        After every iteration; its volume has the shape of the support.

    Notes
    -----
    As `aet2dft.recon.algorithms.least_squares.iterate`, but :math:`A_k` ends with the choice of the measured
    pixels, as in the mode for extended objects of RESIRE (M. Pham et al., Sci. Rep. 13, 5624 (2023)).
    """
    operator = _MeasuredPixels(series, support.shape)
    target = operator.projector.back_project(series.projections)
    yield from descend(series, support, operator, target, positivity=positivity, accelerate=accelerate, start=start)


class _MeasuredPixels:
    """The projection onto the measured pixels, followed by its adjoint; used as a `Convolution`."""

    def __init__(self, series: TiltSeries, shape: tuple[int, ...]) -> None:
        self.projector = projector(series, shape[2], shape[0])
        self.independent = series.is_single_axis
        self._planes = np.empty(self.projector.shape, dtype=np.float32)
        self.norm = largest_eigenvalue(self, self.projector.shape)

    def run(self, fill: OnPlane, take: OnPlane) -> None:
        """Apply it to planes: `fill` writes one, `take` reads what became of it."""

        def gather(_: int, numbers: Iterator[int]) -> None:
            for p in numbers:
                fill(p, self._planes[p])

        in_threads(gather, len(self._planes))
        found = self.projector.back_project(self.projector.project(self._planes))

        def scatter(_: int, numbers: Iterator[int]) -> None:
            for p in numbers:
                take(p, found[p])

        in_threads(scatter, len(found))
