"""Where errors are: against the depth below the surface of a particle."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from aet2dft.recon.metrics import Match

_LAYER = 2.0
"""Å: thickness of the layers below the surface in which errors are counted."""
_AT_ONCE = 100
"""Atoms whose distances to all faces of the hull are held together."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DepthProfile:
    """What was found of the reference, layer by layer below its surface."""

    depth: NDArray[np.float64]
    """(n,), Å: middle of every layer, from the convex hull inward."""
    n_atoms: NDArray[np.int64]
    """(n,): atoms of the reference in the layer."""
    fraction_identified: NDArray[np.float64]
    """(n,): those found with the right species."""
    rmsd: NDArray[np.float64]
    """(n,), Å: of those found; NaN where there are none."""


def depth_profile(reference: Atoms, pairs: Match, *, right: NDArray[np.bool_]) -> DepthProfile:
    """Errors in layers below the convex hull of the reference.

    Parameters
    ----------
    reference : Atoms
        Positions in Å.
    pairs : Match
        With this reference.
    right : ndarray of bool, shape (n,)
        Pairs whose species is right.
    """
    layer = np.floor(_depth(reference.positions) / _LAYER).astype(np.int64)
    n = int(layer.max()) + 1
    of_pairs = layer[pairs.pairs[:, 1]]
    squares = np.square(pairs.differences).sum(axis=1)
    total, matched = np.bincount(layer, minlength=n), np.bincount(of_pairs, minlength=n)
    with np.errstate(invalid="ignore", divide="ignore"):
        rmsd = np.sqrt(np.bincount(of_pairs, weights=squares, minlength=n) / matched)
        fraction = np.bincount(of_pairs, weights=right, minlength=n) / total
    return DepthProfile(
        depth=np.arange(0.5, n) * _LAYER, n_atoms=total.astype(np.int64), fraction_identified=fraction, rmsd=rmsd
    )


def _depth(positions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Å (N,): distance below the convex hull; zero for atoms that span no volume."""
    from scipy.spatial import ConvexHull, QhullError

    try:
        planes = ConvexHull(positions).equations
    except (QhullError, ValueError):
        return np.zeros(len(positions))
    blocks = np.array_split(positions, len(positions) // _AT_ONCE + 1)
    outward = [(block @ planes[:, :3].T + planes[:, 3]).max(axis=1) for block in blocks]
    return np.asarray(np.maximum(0.0, -np.concatenate(outward)))
