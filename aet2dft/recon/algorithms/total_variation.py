"""Least squares with a penalty on the total variation: for objects of constant density with sharp borders.

Atoms are not such objects; for them plain least squares is better.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial

import numpy as np
from numpy.typing import NDArray

from aet2dft.recon.algorithms import _kernels_variation as kernels
from aet2dft.recon.algorithms.descent import Descent, Memory, State
from aet2dft.recon.algorithms.least_squares import normal_operator
from aet2dft.recon.fourier.projector import plane_order, projector
from aet2dft.recon.fourier.threads import in_shares
from aet2dft.recon.tilt_series import TiltSeries

_INNER = 12
"""Steps of the flattening in an iteration: little is left to flatten from one iteration to the next."""
_LARGEST = 12.0
"""Largest eigenvalue of gradient and divergence on a cubic grid."""


def iterate(
    series: TiltSeries,
    support: NDArray[np.bool_],
    *,
    weight: float = 0.0015,
    positivity: bool = True,
    start: Memory | None = None,
) -> Iterator[State]:
    r"""Fit a volume of little total variation to the images, for as long as the caller wants.

    Parameters
    ----------
    series : TiltSeries
        Images that are fitted.
    support : ndarray of bool, shape (nx, ny, nz)
        Where the density may differ from zero; its last axis sets the depth of the volume.
    weight : float
        Of the total variation; its unit makes the answer independent of the units of the images.
    positivity : bool
        Whether the density is nowhere negative.
    start : Memory, optional
        Of an earlier state, to go on from there.

    Yields
    ------
    State
        After every iteration.

    Notes
    -----
    Minimizes :math:`\frac12 \sum_k \|A_k f - b_k\|^2 + \lambda \sum |\nabla f|`, with :math:`\lambda` the weight
    times the largest value of :math:`A^T b`. The steps are those of
    `aet2dft.recon.algorithms.least_squares.iterate` with momentum; after each the volume is flattened by the dual
    method of A. Beck and M. Teboulle, IEEE Trans. Image Process. 18, 2419 (2009), in which the constraints are exact.
    """
    operator, order = normal_operator(series, support.shape), plane_order(series)
    allowed = np.ascontiguousarray(support.transpose(order))
    floor = 0.0 if positivity else float(np.finfo(np.float32).min)
    descent = Descent(
        projector(series, support.shape[2]).back_project(series.projections),
        float(np.square(series.projections, dtype=np.float64).sum()),
        np.ones_like(allowed),
        positivity=False,
        accelerate=True,
        start=start,
    )
    flatness = weight * float(descent.target.max()) / operator.norm
    flattened = partial(flatten, weight=flatness, support=allowed, floor=floor)
    while True:
        converged = descent.advance(operator, 1 / operator.norm, flattened)
        yield State(
            iteration=descent.iteration,
            values=descent.values.transpose(order),
            memory=descent.memory,
            converged=converged,
        )


def flatten(values: NDArray[np.float32], weight: float, support: NDArray[np.bool_], floor: float) -> None:
    r"""Replace a volume by the nearest one of little total variation.

    Parameters
    ----------
    values : ndarray, shape (n1, n2, n3)
        Volume g; becomes the minimum of :math:`\frac12 \|f - g\|^2 + w \sum |\nabla f|` under the constraints.
    weight : float
        w, in the units of the volume.
    support : ndarray of bool, shape (n1, n2, n3)
        Where f may differ from zero.
    floor : float
        f is nowhere less.
    """
    given, field = values.copy(), np.zeros((3, *values.shape), dtype=np.float32)
    dual, t = np.zeros_like(field), 1.0

    def apply(planes: range) -> None:
        kernels.flatten(planes.start, planes.stop, given, field, weight, support, floor, values)

    def follow(planes: range) -> None:
        step, momentum = 1 / (_LARGEST * weight), (t - 1) / following
        kernels.follow_gradient(planes.start, planes.stop, values, step, momentum, dual, field)

    for _ in range(_INNER if weight > 0 else 0):
        following = (1 + math.sqrt(1 + 4 * t * t)) / 2
        in_shares(apply, len(values))
        in_shares(follow, len(values))
        t = following
    field = dual
    in_shares(apply, len(values))
