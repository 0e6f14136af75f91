"""Which site an atom sits on: marching over an fcc lattice from one good seed."""

from __future__ import annotations

from itertools import count

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from aet2dft.structure import _kernels
from aet2dft.structure.neighbors import SiteGrid, shell_vectors

SEED_RESIDUAL = 0.2
"""Largest rms misfit of the neighbors of a seed, in nearest-neighbor distances; hcp has 0.25 (three of twelve miss)."""
_REFIT_EVERY = 3
_LOOK = 2
"""Half cells: neighbors of the neighbors of an atom are looked up."""


def nearest_neighbor_distance(points: NDArray[np.float64]) -> float:
    """First peak, Å, of the pair distances of points (N, 3)."""
    tree = cKDTree(points)
    nearest = tree.query(points, k=2)[0][:, 1]
    reach = 1.7 * float(np.median(nearest))
    pairs = tree.query_pairs(reach, output_type="ndarray")
    distance = np.linalg.norm(points[pairs[:, 0]] - points[pairs[:, 1]], axis=1)
    edges = np.linspace(0.7, 1.7, 61) * float(np.median(nearest))
    # per shell area, smoothed over 5 bins: the first shell stands out whatever the binning
    density = np.histogram(distance, edges)[0] / (0.5 * (edges[1:] + edges[:-1])) ** 2
    smooth = np.convolve(density, np.array([1, 2, 3, 2, 1]) / 9.0, mode="same")
    first = int(np.argmax(smooth[: int(0.65 * len(smooth))]))
    near = np.abs(distance - 0.5 * (edges[first] + edges[first + 1])) < 0.12 * edges[first]
    return float(distance[near].mean()) if near.any() else float(np.median(nearest))


def march(
    points: NDArray[np.float64], spacing: float, tolerance: float
) -> tuple[NDArray[np.intp], NDArray[np.int32]] | None:
    """Indices into `points` (N, 3), Å, of the atoms of one lattice, and their sites; None where there is none."""
    tree = cKDTree(points)
    pairs = tree.query_pairs(1.7 * spacing, output_type="ndarray").astype(np.int32)
    indptr, indices = _csr(pairs, len(points))
    residual, axes = _kernels.fcc_frames(points, indptr, indices, spacing)
    seed = int(np.argmin(residual)) if len(points) else 0
    if not len(points) or residual[seed] > SEED_RESIDUAL * spacing:
        return None
    half = 0.5 * axes[seed]
    site = np.zeros((len(points), 3), dtype=np.int32)
    indexed = np.zeros(len(points), dtype=bool)
    indexed[seed] = True
    new = np.array([seed])
    grid = SiteGrid.of(site, new)
    for step in count():
        if not grid.holds(site[new], margin=_LOOK):
            # a grid around what is indexed so far: a rod or a film needs no cube, a stray atom no grid that reaches it
            grid = SiteGrid.of(site, np.flatnonzero(indexed))
        candidates = grid.empty_around(site[new])
        around = grid.neighbors(candidates)
        predicted = _kernels.predict(points, around, -shell_vectors(1).astype(np.float64) @ half)
        new, sites = _nearest_free(tree, predicted, candidates, indexed, tolerance * spacing)
        if not new.size:
            break
        site[new], indexed[new] = sites, True
        grid.atom_at[grid.index(sites)] = new
        if step % _REFIT_EVERY == 0 and indexed.sum() > 30 and _spans_space(site[indexed]):
            half = affine_fit(points[indexed], site[indexed])[0]
    members = np.flatnonzero(indexed)
    return (members, site[members]) if _spans_space(site[members]) else None


def _spans_space(site: NDArray[np.int32]) -> bool:
    """Whether sites (n, 3) do not all lie in one plane."""
    return int(np.linalg.matrix_rank(site - site[0])) == 3


def _csr(pairs: NDArray[np.int32], n: int) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Half list of pairs (m, 2) -> full neighbor list in CSR form, neighbors in ascending order."""
    first = np.concatenate([pairs[:, 0], pairs[:, 1]])
    second = np.concatenate([pairs[:, 1], pairs[:, 0]])
    order = np.lexsort((second, first))
    indptr = np.zeros(n + 1, dtype=np.int64)
    np.cumsum(np.bincount(first, minlength=n), out=indptr[1:])
    return indptr, np.ascontiguousarray(second[order], dtype=np.int32)


def _nearest_free(
    tree: cKDTree,
    predicted: NDArray[np.float64],
    candidates: NDArray[np.int32],
    indexed: NDArray[np.bool_],
    limit: float,
) -> tuple[NDArray[np.intp], NDArray[np.int32]]:
    """Atoms that take a candidate site, and the sites; of two sites that want one atom the nearer gets it."""
    distance, atom = tree.query(predicted, k=2, distance_upper_bound=limit)
    taken = np.append(indexed, True)
    choice = np.where(taken[atom[:, 0]], 1, 0)
    rows = np.arange(len(atom))
    atom, distance = atom[rows, choice], distance[rows, choice]
    keep = np.flatnonzero(~taken[atom] & np.isfinite(distance))
    keep = keep[np.argsort(distance[keep], kind="stable")]
    _, first = np.unique(atom[keep], return_index=True)
    keep = keep[first]
    return atom[keep], candidates[keep]


def affine_fit(
    points: NDArray[np.float64], site: NDArray[np.integer]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Half-cell vectors as rows (3, 3) and origin (3,) of the least-squares lattice, r = n H + t."""
    n = site.astype(np.float64)
    mean_n, mean_r = n.mean(axis=0), points.mean(axis=0)
    dn = n - mean_n
    # einsum, not BLAS: the same bytes whatever the number of threads
    moment, cross = np.einsum("ai,aj->ij", dn, dn), np.einsum("ai,aj->ij", dn, points - mean_r)
    half = np.linalg.solve(moment, cross)
    return half, mean_r - mean_n @ half
