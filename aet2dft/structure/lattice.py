"""Which fcc site every atom sits on: lattices found by marching from a good seed, and their best-fit cells."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import Atoms
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from aet2dft.atoms import require
from aet2dft.errors import InputError
from aet2dft.structure import _kernels
from aet2dft.structure.neighbors import SiteGrid, shell_vectors

MIN_LATTICE = 50
"""Atoms; a smaller set of indexed atoms is not reported as a lattice of its own."""
MIN_INDEXED = 0.5
"""Fraction of atoms that must find a site, or the particle is not fcc."""
MAX_CELL_RATIO = 1.2
MAX_CELL_SHEAR = 8.0
"""A best-fit cell with lengths beyond this ratio or angles beyond 90 ± this many degrees is not fcc."""
MAX_RESIDUAL = 0.22
"""Largest rms distance of indexed atoms from their sites, in nearest-neighbor distances."""
SEED_RESIDUAL = 0.2
"""Largest rms misfit of the neighbors of a seed, in nearest-neighbor distances; hcp has 0.25 (three of twelve miss)."""
_REFIT_EVERY = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class LatticeFit:
    """One fcc lattice and how well the atoms sit on it."""

    lattice: int
    """Number of the lattice, 1 = the one with most atoms."""
    n_indexed: int
    """Atoms on this lattice."""
    cell: NDArray[np.float64]
    """(3, 3), Å: vectors of the best-fit triclinic unit cell as rows, in the frame of the model."""
    origin: NDArray[np.float64]
    """(3,), Å: position of site (0, 0, 0) of the triclinic fit."""
    cubic_a: float
    """Å: edge of the best-fit cubic cell."""
    rotation: NDArray[np.float64]
    """(3, 3): turns a column vector from the lattice frame into the frame of the model (cubic fit)."""
    cubic_origin: NDArray[np.float64]
    """(3,), Å: position of site (0, 0, 0) of the cubic fit."""
    rms_displacement: NDArray[np.float64]
    """(4,), Å: rms distance from the triclinic sites along x, y, z and in 3D."""
    rms_displacement_cubic: NDArray[np.float64]
    """(4,), Å: the same from the cubic sites."""
    misorientation: float
    """Degrees to lattice 1, the smallest of the 24 equivalent ones."""
    nearest_neighbor: float
    """Å: position of the first peak of the pair distances."""

    @property
    def lengths(self) -> NDArray[np.float64]:
        """Lengths a, b, c (3,) of the triclinic cell, Å."""
        return np.asarray(np.linalg.norm(self.cell, axis=1))

    @property
    def angles(self) -> NDArray[np.float64]:
        """Angles alpha, beta, gamma (3,) of the triclinic cell, degrees."""
        unit = self.cell / self.lengths[:, None]
        cosines = np.array([unit[1] @ unit[2], unit[0] @ unit[2], unit[0] @ unit[1]])
        return np.asarray(np.degrees(np.arccos(cosines)))

    def positions(self, site: NDArray[np.integer]) -> NDArray[np.float64]:
        """Positions (..., 3), Å, of triclinic sites (..., 3) in the frame of the model."""
        return np.asarray(np.einsum("...i,ij->...j", site, 0.5 * self.cell) + self.origin)

    def cubic_positions(self, site: NDArray[np.integer]) -> NDArray[np.float64]:
        """Positions (..., 3), Å, of cubic sites (..., 3) in the frame of the model."""
        return np.asarray(np.einsum("...i,ji->...j", site, 0.5 * self.cubic_a * self.rotation) + self.cubic_origin)


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


def index_lattice(atoms: Atoms, *, tolerance: float = 0.35) -> tuple[Atoms, tuple[LatticeFit, ...]]:
    """Give every atom its fcc site.

    Parameters
    ----------
    atoms : Atoms
        A checked model, non-periodic.
    tolerance : float
        An atom takes a site when it is nearer than this fraction of the nearest-neighbor distance to the predicted
        place.

    Returns
    -------
    Atoms
        A copy with the arrays ``site`` (N, 3), ``lattice`` (N,) and ``displacement`` (N, 3) Å.
    tuple of LatticeFit
        The lattices, the one with most atoms first.

    Raises
    ------
    InputError
        If fewer than half of the atoms sit on fcc lattices, or the best-fit cell is far from cubic.

    Notes
    -----
    Marching: from the indexed atoms the places of their twelve neighbors are predicted, r_i + A v_k; predictions of
    one site are averaged and the nearest free atom within the tolerance takes it, until nothing changes. Local
    predictions follow bending and strain that a global fit cannot. What remains is searched for further lattices
    (twins). Axes and origin are chosen so that a turned copy gives the same lattice: axes nearest to those of the
    model, site (0, 0, 0) at the indexed atom nearest to the centroid.
    """
    points = np.ascontiguousarray(atoms.positions, dtype=np.float64)
    if len(points) < 13:
        raise InputError(
            f"{len(points)} atoms are too few for a lattice; an atom and its twelve neighbors are the least"
        )
    spacing = nearest_neighbor_distance(points)
    site = np.zeros((len(points), 3), dtype=np.int32)
    lattice = np.zeros(len(points), dtype=np.int32)
    while (free := np.flatnonzero(lattice == 0)).size >= MIN_LATTICE or not lattice.any():
        found = _march(points[free], spacing, tolerance)
        if found is None or (found[0].size < MIN_LATTICE and lattice.any()):
            break
        members, own_site = found
        site[free[members]] = own_site
        lattice[free[members]] = lattice.max() + 1
    return _finish(atoms, points, site, lattice, spacing)


def _march(
    points: NDArray[np.float64], spacing: float, tolerance: float
) -> tuple[NDArray[np.intp], NDArray[np.int32]] | None:
    """Indices into `points` of the atoms of one lattice, and their sites; None where no atom has an fcc surrounding."""
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
    reach = int(1.6 * np.linalg.norm(points - points[seed], axis=1).max() / spacing) + 8
    grid = SiteGrid(
        atom_at=np.full((2 * reach + 1,) * 3, -1, dtype=np.int32), lowest=np.full(3, -reach, dtype=np.int32)
    )
    grid.atom_at[reach, reach, reach] = seed
    new = np.array([seed])
    for step in range(10 * reach):
        candidates = grid.empty_around(site[new])
        around = grid.neighbors(candidates)
        predicted = _kernels.predict(points, around, -shell_vectors(1).astype(np.float64) @ half)
        new, sites = _nearest_free(tree, predicted, candidates, indexed, tolerance * spacing)
        if not new.size:
            break
        site[new], indexed[new] = sites, True
        grid.atom_at[grid.index(sites)] = new
        if step % _REFIT_EVERY == 0 and indexed.sum() > 30:
            half = affine_fit(points[indexed], site[indexed])[0]
    members = np.flatnonzero(indexed)
    return members, site[members]


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


def _cubic_fit(
    points: NDArray[np.float64], site: NDArray[np.int32]
) -> tuple[float, NDArray[np.float64], NDArray[np.float64]]:
    """Cell edge, rotation (3, 3) and origin (3,) of the least-squares cubic lattice (Procrustes with one scale)."""
    n = site.astype(np.float64)
    mean_n, mean_r = n.mean(axis=0), points.mean(axis=0)
    dn, dr = n - mean_n, points - mean_r
    u, s, vt = np.linalg.svd(np.einsum("ai,aj->ij", dr, dn))
    sign = np.array([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
    rotation = (u * sign) @ vt
    half = float((s * sign).sum() / (dn**2).sum())
    return 2.0 * half, rotation, mean_r - half * rotation @ mean_n


def cubic_rotations() -> NDArray[np.int32]:
    """The 24 proper rotations (24, 3, 3) of the cube."""
    from itertools import permutations, product

    found = []
    for columns in permutations(range(3)):
        for signs in product((1, -1), repeat=3):
            matrix = np.zeros((3, 3), dtype=np.int32)
            matrix[columns, range(3)] = signs
            if round(np.linalg.det(matrix)) == 1:
                found.append(matrix)
    return np.array(found)


def misorientation(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Smallest angle, degrees, between two cubic orientations given as rotation matrices (3, 3)."""
    traces = np.einsum("ij,jkn,ik->n", first, np.moveaxis(cubic_rotations(), 0, -1), second)
    return float(np.degrees(np.arccos(np.clip((traces.max() - 1.0) / 2.0, -1.0, 1.0))))


def _canonical(points: NDArray[np.float64], site: NDArray[np.int32], center: NDArray[np.float64]) -> NDArray[np.int32]:
    """Sites in the frame whose axes lie nearest to those of the model, (0, 0, 0) at the atom nearest to `center`."""
    _, rotation, _ = _cubic_fit(points, site)
    turned = site @ cubic_rotations()[np.argmax(np.einsum("ij,nij->n", rotation, cubic_rotations()))].T
    nearest = np.argmin(((points - center) ** 2).sum(axis=1))
    return np.asarray(turned - turned[nearest], dtype=np.int32)


def _finish(
    atoms: Atoms, points: NDArray[np.float64], site: NDArray[np.int32], lattice: NDArray[np.int32], spacing: float
) -> tuple[Atoms, tuple[LatticeFit, ...]]:
    """Order the lattices by size, put each into its canonical frame, fit and judge it."""
    found = int((lattice > 0).sum())
    if found < MIN_INDEXED * len(points):
        raise InputError(
            f"the lattice is not fcc: only {found} of {len(points)} atoms find a site (nearest-neighbor distance "
            f"{spacing:.3f} Å); this step is for fcc crystals and their ordered phases"
        )
    sizes = np.bincount(lattice)[1:]
    rank = np.empty(len(sizes) + 1, dtype=np.int32)
    rank[0], rank[1 + np.argsort(-sizes, kind="stable")] = 0, np.arange(1, len(sizes) + 1)
    lattice = rank[lattice]
    displacement = np.full(points.shape, np.nan)
    fits: list[LatticeFit] = []
    for number in range(1, len(sizes) + 1):
        own = np.flatnonzero(lattice == number)
        site[own] = _canonical(points[own], site[own], points.mean(axis=0))
        fits.append(_fit(points[own], site[own], number, spacing, fits[0].rotation if fits else None))
        displacement[own] = points[own] - fits[-1].positions(site[own])
    _judge(fits[0])
    result = atoms.copy()
    for name, array in (("site", site), ("lattice", lattice), ("displacement", displacement)):
        result.set_array(name, array)
    return result, tuple(fits)


def fit_lattice(atoms: Atoms, lattice: int = 1) -> LatticeFit:
    """The fit of one lattice from the arrays ``site`` and ``lattice`` that `index_lattice` left on the atoms."""
    require(atoms, "site", "lattice")
    own = atoms.arrays["lattice"] == lattice
    if own.sum() < 4:
        raise InputError(f"no lattice {lattice}: the atoms are on lattices 1 to {atoms.arrays['lattice'].max()}")
    return _fit(
        atoms.positions[own], atoms.arrays["site"][own], lattice, nearest_neighbor_distance(atoms.positions), None
    )


def _fit(
    points: NDArray[np.float64],
    site: NDArray[np.int32],
    number: int,
    spacing: float,
    reference: NDArray[np.float64] | None,
) -> LatticeFit:
    half, origin = affine_fit(points, site)
    cubic_a, rotation, cubic_origin = _cubic_fit(points, site)
    triclinic = points - site @ half - origin
    cubic = points - 0.5 * cubic_a * site @ rotation.T - cubic_origin
    return LatticeFit(
        lattice=number, n_indexed=len(points), cell=2.0 * half, origin=origin, cubic_a=cubic_a, rotation=rotation,
        cubic_origin=cubic_origin, rms_displacement=_rms(triclinic), rms_displacement_cubic=_rms(cubic),
        misorientation=0.0 if reference is None else misorientation(reference, rotation), nearest_neighbor=spacing,
    )  # fmt: skip


def _rms(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Root mean square along x, y, z and in 3D."""
    squared = (vectors**2).mean(axis=0)
    return np.asarray(np.sqrt(np.append(squared, squared.sum())))


def _judge(fit: LatticeFit) -> None:
    """Raise InputError unless the best-fit cell is near cubic and the atoms near their sites."""
    ratio = fit.lengths.max() / fit.lengths.min()
    shear = np.abs(fit.angles - 90.0).max()
    residual = fit.rms_displacement[3] / fit.nearest_neighbor
    if ratio > MAX_CELL_RATIO or shear > MAX_CELL_SHEAR or residual > MAX_RESIDUAL:
        raise InputError(
            f"the lattice is not fcc: the best cell is {fit.lengths.round(3)} Å, {fit.angles.round(1)} degrees "
            f"with atoms {fit.rms_displacement[3]:.2f} Å off its sites; this step is for fcc crystals "
            "and their ordered phases"
        )
