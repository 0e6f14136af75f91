"""The surface of a particle as its alpha shape."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import Delaunay, QhullError

_JITTER = 1e-4
"""Å; breaks the ties of perfect crystals, whose cospherical points Qhull would drop."""


def surface_atoms(positions: NDArray[np.float64], *, alpha: float) -> NDArray[np.bool_]:
    """Whether an atom (n,) is on the alpha-shape surface.

    Parameters
    ----------
    positions : ndarray, (n, 3)
        Positions, Å.
    alpha : float
        Largest circumradius, Å, of the Delaunay tetrahedra that make the shape; the first minimum of the pair
        distances is usual.

    Notes
    -----
    Edelsbrunner and Mücke, ACM Trans. Graph. 13, 43 (1994): tetrahedra with a circumradius below alpha are kept; the
    surface are the faces that belong to one of them only. Atoms in no tetrahedron lie outside and count as surface.
    """
    if len(positions) < 5:
        return np.ones(len(positions), dtype=bool)
    # a tie-breaking shift that goes with the atom, not with its number
    shifted = (
        positions
        + _JITTER
        * (np.modf(np.sin(positions @ np.array([12.9898, 78.233, 37.719])[:, None] + np.arange(3)) * 43758.5453)[0])
    )
    try:
        tetrahedra = Delaunay(shifted).simplices
    except QhullError:
        return np.ones(len(positions), dtype=bool)
    kept = tetrahedra[_circumradius_squared(shifted, tetrahedra) < alpha**2]
    faces = np.sort(np.concatenate([np.delete(kept, k, axis=1) for k in range(4)]), axis=1)
    _, first, count = np.unique(faces @ _radix(len(positions)), return_index=True, return_counts=True)
    on_surface = np.ones(len(positions), dtype=bool)
    on_surface[kept] = False
    on_surface[faces[first[count == 1]]] = True
    return on_surface


def _radix(n: int) -> NDArray[np.int64]:
    """Weights that turn sorted triples of numbers below n into one number each (n below two million)."""
    return np.array([n * n, n, 1], dtype=np.int64)


def _circumradius_squared(points: NDArray[np.float64], tetrahedra: NDArray[np.integer]) -> NDArray[np.float64]:
    """Squared circumradii (m,) of tetrahedra (m, 4)."""
    a, b, c = (points[tetrahedra[:, k]] - points[tetrahedra[:, 0]] for k in (1, 2, 3))
    ab, bc, ca = np.cross(a, b), np.cross(b, c), np.cross(c, a)
    volume6 = (a * bc).sum(axis=1)
    weighted = (a**2).sum(1)[:, None] * bc + (b**2).sum(1)[:, None] * ca + (c**2).sum(1)[:, None] * ab
    with np.errstate(divide="ignore", invalid="ignore"):
        center = weighted / (2 * volume6[:, None])
    return np.asarray(np.nan_to_num((center**2).sum(axis=1), nan=np.inf))
