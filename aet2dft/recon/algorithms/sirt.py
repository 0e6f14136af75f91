"""SIRT and SART: steps weighted by the lengths of rays, with all images at once or one after the other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aet2dft.recon.algorithms.descent import SETTLED, TINY, Memory, State
from aet2dft.recon.fourier.projector import Projector, plane_order, projector
from aet2dft.recon.tilt_series import TiltSeries

_SHORTEST = 1.0
"""Voxels: shorter rays, which touch the support at a corner, count as if they were this long."""
_LEAST_SEEN = 1.0
"""Images: a voxel at the rim of the only image that sees it counts as if that saw all of it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Block:
    """Images that are compared together."""

    operator: Projector
    """A."""
    images: NDArray[np.float32]
    """(m, nx, ny): b."""
    rays: NDArray[np.float32]
    """(m, nx, ny): R, one over the voxels of the support in every ray."""
    voxels: NDArray[Any]
    """(planes, n1, n2): C, one over the rays through every voxel, 1 for a single image; 0 outside the support."""


def iterate(
    series: TiltSeries,
    support: NDArray[np.bool_],
    *,
    one_by_one: bool = False,
    relaxation: float = 1.0,
    positivity: bool = True,
    start: Memory | None = None,
) -> Iterator[State]:
    r"""Fit a volume to the images, for as long as the caller wants.

    Parameters
    ----------
    series : TiltSeries
        Images that are fitted.
    support : ndarray of bool, shape (rows, ny, nz)
        Where the density may differ from zero; it may have more rows than the images.
    one_by_one : bool
        Whether the volume follows every image by itself (SART), else all together (SIRT).
    relaxation : float
        Length of the steps, below 2.
    positivity : bool
        Whether the density is nowhere negative.
    start : Memory, optional
        Of an earlier state, to go on from there.

    Yields
    ------
    State
        After every iteration, in which each image took part once.

    Notes
    -----
    :math:`f \leftarrow f + C A^T R (b - A f)` with R and C one over the sums of rows and columns of A (P. Gilbert,
    J. Theor. Biol. 36, 105 (1972); A. H. Andersen and A. C. Kak, Ultrason. Imaging 6, 81 (1984)). Images follow each
    other by the golden ratio, so that neighbors in time look along different directions.
    """
    order = plane_order(series)
    allowed = np.ascontiguousarray(support.transpose(order))
    sets = [np.array([k]) for k in _spread(series)] if one_by_one else [np.arange(series.n_images)]
    single_axis = series.is_single_axis  # which one image may be that is part of another series
    blocks = [_block(series.subset(chosen), support, allowed, single_axis) for chosen in sets]
    values = np.zeros(allowed.shape, dtype=np.float32) if start is None else start.values.copy()
    misfit = [] if start is None else start.misfit.tolist()
    norm = float(np.square(series.projections, dtype=np.float64).sum())
    while True:
        before, squared = values.copy(), 0.0
        for block in blocks:
            residual = block.images - block.operator.project(values)
            squared += float(np.square(residual, dtype=np.float64).sum())
            values += np.float32(relaxation) * block.voxels * block.operator.back_project(block.rays * residual)
            if positivity:
                np.maximum(values, 0, out=values)
        misfit.append((squared / max(norm, TINY)) ** 0.5)
        before -= values
        change, size = (float(np.square(array, dtype=np.float64).sum()) for array in (before, values))
        yield State(
            iteration=len(misfit),
            values=values.transpose(order),
            memory=Memory(
                iteration=len(misfit),
                values=values,
                previous=np.zeros((0, 0, 0), dtype=np.float32),
                momentum=np.zeros(0),
                misfit=np.array(misfit),
                norm=norm,
            ),
            converged=change < SETTLED**2 * size,
        )


def _block(series: TiltSeries, support: NDArray[np.bool_], allowed: NDArray[np.bool_], single_axis: bool) -> _Block:
    operator = projector(series, support.shape[2], support.shape[0], single_axis=single_axis)
    lengths = operator.project(allowed.astype(np.float32))
    rays = np.where(lengths > 0.5 * _SHORTEST, 1 / np.maximum(lengths, _SHORTEST), 0).astype(np.float32)
    voxels: NDArray[Any] = allowed
    if series.n_images > 1:
        seen = operator.back_project(np.ones_like(lengths))
        voxels = np.where(allowed, 1 / np.maximum(seen, _LEAST_SEEN), 0).astype(np.float32)
    return _Block(operator=operator, images=series.projections, rays=rays, voxels=voxels)


def _spread(series: TiltSeries) -> NDArray[np.intp]:
    """Images (n,) in an order in which successive ones are far apart in tilt."""
    by_tilt = np.argsort(series.tilt_angles, kind="stable")
    golden = (np.arange(series.n_images) * (5**0.5 - 1) / 2) % 1
    return by_tilt[np.argsort(golden, kind="stable")]
