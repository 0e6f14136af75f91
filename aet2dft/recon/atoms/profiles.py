"""How candidates are drawn in a volume, each compared with the average candidate of its class.

What classes there are is decided in ``classification``; the loops over voxels are in ``_kernels_profiles``.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from aet2dft.recon.atoms import _kernels_profiles as kernels
from aet2dft.recon.tilt_series import Volume

Floats = NDArray[np.float64]

REACH = 1.25
"""Å: radius of a profile; wider ones hold the neighbors, and tell overlapping species less well."""
FINEST = 0.2
"""Å: its points are as far from each other as the voxels are, but no nearer than this."""
_ROUNDS = 20


def drawn(volume: Volume, positions: Floats) -> NDArray[np.float32]:
    """Profiles of candidates: the density at the same points around each.

    Parameters
    ----------
    volume : Volume
        Density.
    positions : ndarray, shape (n, 3)
        Å.

    Returns
    -------
    ndarray, shape (n, m)
        At the points of a cubic grid around the candidate, within `REACH`.
    """
    step = max(volume.voxel_size, FINEST)
    steps = np.arange(-int(REACH / step), int(REACH / step) + 1)
    grid = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(-1, 3)
    inside = grid[np.linalg.norm(grid, axis=1) * step <= REACH]
    along = np.asarray(steps * (step / volume.voxel_size), dtype=np.float64)
    return kernels.interpolated(volume.values, volume.indices(positions), along, inside - steps[0])


def self_consistent(profiles: NDArray[np.float32], classes: Callable[[Floats], Floats]) -> Floats:
    """Brightness of candidates, by averages of the classes that it leads to.

    Parameters
    ----------
    profiles : ndarray, shape (n, m)
        Of the candidates.
    classes : callable
        From the brightness (n,) the probabilities (n, k) of the classes, the faintest first.

    Returns
    -------
    ndarray, shape (n,)
        Brightness; 1 is that of the average of the brightest class.
    """
    shares = np.ones((len(profiles), 1))
    brightness, labels = along_averages(profiles, shares), np.full(len(profiles), -1)
    for _ in range(_ROUNDS):
        shares = classes(brightness)
        before, labels = labels, shares.argmax(axis=1)
        if np.array_equal(before, labels):
            break
        brightness = along_averages(profiles, shares)
    return brightness


def along_averages(profiles: NDArray[np.float32], shares: Floats) -> Floats:
    r"""Brightness of candidates along the difference of two averages.

    Parameters
    ----------
    profiles : ndarray, shape (n, m)
        Of the candidates.
    shares : ndarray, shape (n, k)
        Probability of every class, the faintest first.

    Returns
    -------
    ndarray, shape (n,)
        0 in vacuum, 1 for the average of the brightest class.

    Notes
    -----
    :math:`t = x \cdot (b - f) / b \cdot (b - f)` of a profile x, with the average profiles f of the faintest class, or
    the vacuum where there is one class, and b of the brightest; to compare t with a threshold is to compare the
    distances :math:`|x - f|` and :math:`|x - b|`. A candidate has no part in the averages that it is compared with: the
    products with these follow from those with the sums over all candidates.
    """
    nobody = np.zeros((len(shares), 1))
    ends = shares[:, [0, -1]] if shares.shape[1] > 1 else np.hstack([nobody, shares])
    total = ends.sum(axis=0)
    # the only member of a class stays in its average
    own = np.where(total - ends < 1.0, 0.0, ends)
    others = np.maximum(total - own, np.finfo(float).tiny)
    sums = np.einsum("nc,nm->cm", ends, profiles)
    products = np.einsum("nm,cm->nc", profiles, sums)
    squares = np.einsum("nm,nm->n", profiles, profiles, dtype=np.float64)
    faint_along, bright_along = ((products - own * squares[:, None]) / others).T
    (_, cross), (_, square) = np.einsum("cm,dm->cd", sums, sums)
    square = square + own[:, 1] * (own[:, 1] * squares - 2.0 * products[:, 1])
    cross = cross + own[:, 0] * (own[:, 1] * squares - products[:, 1]) - own[:, 1] * products[:, 0]
    unit = square / others[:, 1] ** 2 - cross / (others[:, 0] * others[:, 1])
    return np.asarray((bright_along - faint_along) / np.maximum(unit, np.finfo(float).tiny))
