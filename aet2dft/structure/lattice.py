"""Which fcc site every atom sits on: lattices found by marching from a good seed, and their best-fit cells."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from aet2dft.atoms import neighbor_distances, require
from aet2dft.errors import InputError
from aet2dft.structure.marching import affine_fit, march, nearest_neighbor_distance

MIN_ATOMS = 19
"""An fcc atom with its 12 nearest and 6 second neighbors: less shows no axes."""
NARROWER = (0.25, 0.2)
"""Tolerances that are tried after the one asked for."""
MIN_LATTICE = 50
"""Atoms; a smaller set of indexed atoms is not reported as a lattice of its own."""
MIN_INDEXED = 0.5
"""Fraction of atoms that must find a site, or the particle is not fcc."""
MAX_CELL_RATIO = 1.2
MAX_CELL_SHEAR = 8.0
"""A best-fit cell with lengths beyond this ratio or angles beyond 90 ± this many degrees is not fcc."""
MAX_RESIDUAL = 0.22
"""Largest rms distance of indexed atoms from their sites, in nearest-neighbor distances."""


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
    tolerance: float
    """Fraction of that distance within which atoms took their sites; NaN for a fit to sites that were there already."""

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
    Marching: from the indexed atoms the places of their twelve neighbors are predicted, r_i + A v_k; predictions of one
    site are averaged and the nearest free atom within the tolerance takes it, until nothing changes. Local predictions
    follow bending and strain that a global fit cannot. What remains is searched for further lattices (twins); one whose
    best-fit cell is far from cubic, as a bcc grain, is none, and its atoms have no site. Axes and origin are chosen so
    that a turned copy gives the same lattice: axes nearest to those of the model, site (0, 0, 0) at the indexed atom
    nearest to the centroid. Where strained twins run into each other at the tolerance that was asked for, the narrower
    ones of `NARROWER` are tried before the model is refused; `LatticeFit.tolerance` says which one it was.
    """
    points = np.ascontiguousarray(atoms.positions, dtype=np.float64)
    if len(points) < MIN_ATOMS:
        raise InputError(
            f"{len(points)} atoms are too few for a lattice; "
            f"an atom with its first and second neighbors, {MIN_ATOMS} atoms, is the least"
        )
    spacing = nearest_neighbor_distance(points)
    tolerances = [tolerance, *(t for t in NARROWER if t < tolerance)]
    for attempt in tolerances:
        site, lattice = _all_lattices(points, spacing, attempt)
        try:
            return _finish(atoms, points, site, lattice, spacing, attempt)
        except InputError:
            if attempt == tolerances[-1]:
                raise
    raise AssertionError("the last tolerance returns or raises")


def _all_lattices(
    points: NDArray[np.float64], spacing: float, tolerance: float
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Sites (N, 3) and lattice numbers (N,), 0 = none, lattice after lattice until no further one is found."""
    site = np.zeros((len(points), 3), dtype=np.int32)
    lattice = np.zeros(len(points), dtype=np.int32)
    while (free := np.flatnonzero(lattice == 0)).size >= MIN_LATTICE or not lattice.any():
        found = march(points[free], spacing, tolerance)
        if found is None or (found[0].size < MIN_LATTICE and lattice.any()):
            break
        members, own_site = found
        site[free[members]] = own_site
        lattice[free[members]] = lattice.max() + 1
    return site, lattice


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
    atoms: Atoms,
    points: NDArray[np.float64],
    site: NDArray[np.int32],
    lattice: NDArray[np.int32],
    spacing: float,
    tolerance: float,
) -> tuple[Atoms, tuple[LatticeFit, ...]]:
    """Order the lattices by size, put each into its canonical frame, fit and judge it; further ones may be no fcc."""
    sizes = np.bincount(lattice)[1:]
    rank = np.empty(len(sizes) + 1, dtype=np.int32)
    rank[0], rank[1 + np.argsort(-sizes, kind="stable")] = 0, np.arange(1, len(sizes) + 1)
    lattice = rank[lattice]
    displacement = np.full(points.shape, np.nan)
    fits: list[LatticeFit] = []
    for number in range(1, len(sizes) + 1):
        own = np.flatnonzero(lattice == number)
        site[own] = _canonical(points[own], site[own], points.mean(axis=0))
        reference = fits[0].rotation if fits else None
        fit = _fit(points[own], site[own], len(fits) + 1, spacing, reference, tolerance)
        if fits and _is_far_from_cubic(fit):
            site[own], lattice[own] = 0, 0
            continue
        fits.append(fit)
        lattice[own], displacement[own] = fit.lattice, points[own] - fit.positions(site[own])
    _require_fcc(atoms, fits, spacing)
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
        atoms.positions[own], atoms.arrays["site"][own], lattice, nearest_neighbor_distance(atoms.positions), None,
        float("nan"),
    )  # fmt: skip


def _fit(
    points: NDArray[np.float64],
    site: NDArray[np.int32],
    number: int,
    spacing: float,
    reference: NDArray[np.float64] | None,
    tolerance: float,
) -> LatticeFit:
    half, origin = affine_fit(points, site)
    cubic_a, rotation, cubic_origin = _cubic_fit(points, site)
    triclinic = points - site @ half - origin
    cubic = points - 0.5 * cubic_a * site @ rotation.T - cubic_origin
    return LatticeFit(
        lattice=number, n_indexed=len(points), cell=2.0 * half, origin=origin, cubic_a=cubic_a, rotation=rotation,
        cubic_origin=cubic_origin, rms_displacement=_rms(triclinic), rms_displacement_cubic=_rms(cubic),
        misorientation=0.0 if reference is None else misorientation(reference, rotation), nearest_neighbor=spacing,
        tolerance=tolerance,
    )  # fmt: skip


def _rms(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Root mean square along x, y, z and in 3D."""
    squared = (vectors**2).mean(axis=0)
    return np.asarray(np.sqrt(np.append(squared, squared.sum())))


def _is_far_from_cubic(fit: LatticeFit) -> bool:
    """Whether the cell is far from cubic or the atoms are far from their sites."""
    ratio = fit.lengths.max() / fit.lengths.min()
    shear = np.abs(fit.angles - 90.0).max()
    residual = fit.rms_displacement[3] / fit.nearest_neighbor
    return bool(ratio > MAX_CELL_RATIO or shear > MAX_CELL_SHEAR or residual > MAX_RESIDUAL)


def _require_fcc(atoms: Atoms, fits: list[LatticeFit], spacing: float) -> None:
    """Raise InputError unless half of the atoms are on lattices and the first of them is fcc."""
    found = sum(fit.n_indexed for fit in fits)
    if found < MIN_INDEXED * len(atoms):
        median = float(np.median(neighbor_distances(atoms)[0]))
        raise InputError(
            f"the lattice is not fcc: only {found} of {len(atoms)} atoms find a site (pair distances peak at "
            f"{spacing:.3f} Å, the median of nearest neighbors is {median:.3f} Å); this step is for fcc crystals and "
            "their ordered phases"
        )
    if _is_far_from_cubic(fits[0]):
        raise InputError(
            f"the lattice is not fcc: the best cell is {fits[0].lengths.round(3)} Å, {fits[0].angles.round(1)} degrees "
            f"with atoms {fits[0].rms_displacement[3]:.2f} Å off its sites; this step is for fcc crystals "
            "and their ordered phases"
        )
