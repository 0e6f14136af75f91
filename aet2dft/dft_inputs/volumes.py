"""Periodic cells cut from a particle on the integer sites of its lattice; where they lie is decided in ``boxes``."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import Atoms
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from aet2dft.atoms import neighbor_distances, require
from aet2dft.config import InputsSettings
from aet2dft.errors import InputError
from aet2dft.structure.lattice import LatticeFit
from aet2dft.structure.marching import affine_fit
from aet2dft.structure.neighbors import SiteGrid, shell_vectors
from aet2dft.structure.order_parameters import concentration_waves
from aet2dft.structure.variants import VARIANTS, sublattice

_EDGE_DECIMALS = 5
"""Cell vectors are rounded to 1e-5 Å, so that decks do not depend on the last bits of a fit."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CutVolume:
    """A periodic cell cut from a particle, or the reason why it cannot be used."""

    name: str
    """``v00000`` and on."""
    atoms: Atoms | None
    """Periodic cell in the lattice frame with ``site_id`` and ``site``; None where rejected."""
    reason: str
    """Why it is rejected; empty otherwise."""
    origin: NDArray[np.int32]
    """(3,), half cells: lowest corner of the window."""
    size: NDArray[np.int32]
    """(3,), half cells."""
    center: NDArray[np.float64]
    """(3,), Å: center of the window in the frame of the model."""
    offset: NDArray[np.float64]
    """(3,), Å: what was subtracted from the positions in the lattice frame, relative to the origin of the cubic fit."""
    n_vacancies: int
    """Empty sites of the window."""
    shortest_bond: float
    """Å, periodic images included; NaN where not known."""
    order: NDArray[np.float64]
    """(3,): L1₀ order abs(eta) along x, y and z of the species on the sites; NaN unless there are two species."""
    strain: NDArray[np.float64]
    """(6,): strain of the window's own lattice against the cubic fit, lattice frame."""


class Cutter:
    """Cuts windows from a particle into periodic cells.

    Parameters
    ----------
    atoms : Atoms
        Particle with the arrays that `order` writes.
    fit : LatticeFit
        Lattice that the sites belong to.
    settings : InputsSettings
        Cell, positions, vacancies and shortest bond.
    """

    def __init__(self, atoms: Atoms, fit: LatticeFit, settings: InputsSettings) -> None:
        require(atoms, "site", "lattice", "site_id")
        self._atoms, self._fit, self._settings = atoms, fit, settings
        self._grid = SiteGrid.of(atoms.arrays["site"], np.flatnonzero(atoms.arrays["lattice"] == fit.lattice))
        self._cell = half_cell(fit, settings.cell)
        # row vectors: r @ R turns from the frame of the model into the lattice frame
        self._lattice_frame = (atoms.positions - fit.cubic_origin) @ fit.rotation
        self._numbers = np.unique(atoms.numbers)
        # atoms of a twin are not among them: they have sites of their own, beyond the boundary
        self._strays = np.flatnonzero(atoms.arrays["lattice"] == 0)
        self._stray_place = self._places(self._strays)

    def _places(self, index: NDArray[np.intp]) -> NDArray[np.float64]:
        """Half-cell coordinates (n, 3) of atoms without a site, counted from the nearest atom that has one."""
        own = np.flatnonzero(self._atoms.arrays["lattice"] == self._fit.lattice)
        near = own[cKDTree(self._lattice_frame[own]).query(self._lattice_frame[index])[1]]
        away = self._lattice_frame[index] - self._lattice_frame[near]
        return np.asarray(self._atoms.arrays["site"][near] + away @ np.linalg.inv(self._cell))

    def cut(self, name: str, origin: NDArray[np.int32], size: NDArray[np.int32]) -> CutVolume:
        """One window as a periodic cell."""
        site = np.argwhere(_site_mask(origin, size)).astype(np.int32) + origin
        found = self._grid.atoms(site)
        present = found >= 0
        kept, index, empty = site[present], found[present], site[~present]
        ideal = (kept - origin) @ self._cell
        shift = self._lattice_frame[index] - ideal
        offset = shift.mean(axis=0) if len(kept) else np.zeros(3)
        cell = np.round(size[:, None] * self._cell, _EDGE_DECIMALS)
        # fractions of the rounded cell: equal windows must give equal decks
        measured = self._settings.positions == "measured"
        atoms = self._periodic(kept, index, ideal + shift - offset if measured else (kept - origin) / size @ cell, cell)
        reason = self._empty_sites(site, empty) or self._stray_atoms(origin, size)
        if len(empty) and not reason and self._settings.vacancies == "fill":
            atoms = self._filled(atoms, empty, (empty - origin) / size @ cell)
        bond, pair = _shortest_bond(atoms)
        if not reason and bond < self._settings.min_bond:
            reason = (
                f"bond of {bond:.2f} Å between sites {pair[0]} and {pair[1]}, periodic images included, "
                f"is below {self._settings.min_bond:g} Å"
            )
        return CutVolume(
            name=name,
            atoms=None if reason else atoms,
            reason=reason,
            origin=origin,
            size=size,
            center=self._fit.positions(origin + 0.5 * (size - 1)),
            offset=offset,
            n_vacancies=len(empty),
            shortest_bond=bond,
            order=self._order(kept, index),
            strain=self._strain(kept, index),
        )

    def _empty_sites(self, site: NDArray[np.int32], empty: NDArray[np.int32]) -> str:
        """Why a window with these empty sites cannot be used, if it cannot."""
        if len(empty) == len(site):
            return "every site is empty"
        if len(empty) and self._settings.vacancies == "reject":
            are = "is" if len(empty) == 1 else "are"
            return f"{len(empty)} of {len(site)} sites {are} empty (first: site {empty[0].tolist()})"
        return ""

    def _stray_atoms(self, origin: NDArray[np.int32], size: NDArray[np.int32]) -> str:
        """Why atoms without a site forbid a window, if they do: the cell would lack them."""
        place = self._stray_place - origin + 0.5
        inside = self._strays[((place >= 0) & (place < size)).all(axis=1)]
        if not len(inside):
            return ""
        first = f"{self._atoms.symbols[inside[0]]}, site_id {self._atoms.arrays['site_id'][inside[0]]}"
        return f"atoms inside that are on no site of a lattice: {len(inside)} (first: {first})"

    def _periodic(
        self,
        site: NDArray[np.int32],
        index: NDArray[np.int32],
        positions: NDArray[np.float64],
        cell: NDArray[np.float64],
    ) -> Atoms:
        atoms = Atoms(numbers=self._atoms.numbers[index], positions=positions, cell=cell, pbc=True)
        atoms.set_array("site_id", self._atoms.arrays["site_id"][index])
        atoms.set_array("site", site)
        if "initial_magmoms" in self._atoms.arrays:
            moments = self._atoms.arrays["initial_magmoms"][index]
            atoms.set_array("initial_magmoms", moments @ self._fit.rotation if moments.ndim == 2 else moments)
        return atoms

    def _filled(self, atoms: Atoms, empty: NDArray[np.int32], positions: NDArray[np.float64]) -> Atoms:
        """With the species that the surroundings ask for on the empty sites, under new site ids."""
        if "initial_magmoms" in atoms.arrays:
            raise InputError("--vacancies fill cannot invent starting moments; take off initial_magmoms or use keep")
        first_new = int(self._atoms.arrays["site_id"].max()) + 1
        flat = np.ravel_multi_index(tuple((empty - self._grid.lowest).T), self._grid.atom_at.shape)
        filled: Atoms = atoms.copy()
        filled.extend(Atoms(numbers=[self._ideal_number(site) for site in empty], positions=positions))
        filled.arrays["site_id"][len(atoms) :] = first_new + flat
        filled.arrays["site"][len(atoms) :] = empty
        return filled

    def _ideal_number(self, site: NDArray[np.int32]) -> int:
        """Species of the most frequent variant among the neighbors of a site; without order, the most frequent one."""
        around = self._grid.atoms(site + shell_vectors(1))
        around = around[around >= 0]
        if not len(around):
            return int(np.bincount(self._atoms.numbers).argmax())
        variant = self._atoms.arrays.get("variant", np.zeros(len(self._atoms), dtype=np.int32))[around]
        common = int(np.bincount(variant).argmax())
        if common == 0 or len(self._numbers) != 2:
            return int(np.bincount(self._atoms.numbers[around]).argmax())
        return int(self._numbers[0] if VARIANTS[common, sublattice(site)] else self._numbers[1])

    def _order(self, site: NDArray[np.int32], index: NDArray[np.int32]) -> NDArray[np.float64]:
        if len(self._numbers) != 2:
            return np.full(3, np.nan)
        first = self._atoms.numbers[index] == self._numbers[0]
        own = sublattice(site)
        counts = np.bincount(own, minlength=4)
        if (counts == 0).any():
            return np.full(3, np.nan)
        return np.abs(concentration_waves(np.bincount(own, weights=first, minlength=4) / counts))

    def _strain(self, site: NDArray[np.int32], index: NDArray[np.int32]) -> NDArray[np.float64]:
        centered = site - site.mean(axis=0) if len(site) else np.zeros((0, 3))
        if np.linalg.matrix_rank(centered) < 3:
            return np.full(6, np.nan)
        half, _ = affine_fit(self._lattice_frame[index], site)
        tensor = 0.5 * (half + half.T) / (0.5 * self._fit.cubic_a) - np.eye(3)
        return np.asarray(tensor[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]])


def half_cell(fit: LatticeFit, kind: str) -> NDArray[np.float64]:
    """Half-cell vectors as rows (3, 3), Å, in the lattice frame.

    Parameters
    ----------
    fit : LatticeFit
        The lattice.
    kind : {"cubic", "tetragonal", "fitted"}
        Edges of the cubic fit; mean of a and b and an own c, at right angles; vectors of the triclinic fit.
    """
    if kind == "cubic":
        return 0.5 * fit.cubic_a * np.eye(3)
    triclinic = 0.5 * fit.cell @ fit.rotation
    if kind == "fitted":
        return np.asarray(triclinic)
    a, b, c = np.linalg.norm(triclinic, axis=1)
    return np.diag([0.5 * (a + b), 0.5 * (a + b), c])


def _site_mask(origin: NDArray[np.int32], size: NDArray[np.int32]) -> NDArray[np.bool_]:
    axes = np.ix_(*[(np.arange(n) + o) & 1 for n, o in zip(size, origin, strict=True)])
    return np.asarray(sum(axes) % 2 == 0)


def _shortest_bond(atoms: Atoms) -> tuple[float, tuple[int, int]]:
    """Shortest distance, periodic images included, and the site ids of the pair; NaN below two atoms."""
    if len(atoms) < 2:
        return float("nan"), (0, 0)
    distance, partner = neighbor_distances(atoms)
    k = int(distance.argmin())
    ids = atoms.arrays["site_id"]
    return float(distance[k]), (int(ids[k]), int(ids[partner[k]]))


def equal_volumes(volumes: list[CutVolume]) -> dict[str, tuple[str, NDArray[np.intp]]]:
    """Volumes with ideal positions that are translations of an earlier one.

    Returns
    -------
    dict
        Name -> (the earlier one, (N,) index there of every atom here).

    Notes
    -----
    Only translations are used: they keep every axis and every site of the periodic cell; a rotation would exchange
    the axes.
    """
    known: dict[bytes, tuple[str, dict[tuple[int, ...], int]]] = {}
    same: dict[str, tuple[str, NDArray[np.intp]]] = {}
    for volume in volumes:
        if volume.atoms is None:
            continue
        key, places = _canonical_pattern(volume)
        if key in known:
            name, there = known[key]
            same[volume.name] = (name, np.array([there[place] for place in places], dtype=np.intp))
        else:
            known[key] = (volume.name, {place: k for k, place in enumerate(places)})
    return same


def _canonical_pattern(volume: CutVolume) -> tuple[bytes, list[tuple[int, ...]]]:
    """Species on the sites of the translation that sorts first, and the place of every atom in it."""
    assert volume.atoms is not None
    site = volume.atoms.arrays["site"] - volume.origin
    pattern = np.zeros(volume.size, dtype=np.uint8)
    pattern[tuple(site.T)] = volume.atoms.numbers
    best: tuple[bytes, tuple[int, ...]] | None = None
    for shift in np.ndindex(*volume.size.tolist()):
        rolled = np.roll(pattern, shift, axis=(0, 1, 2)).tobytes()
        if best is None or rolled < best[0]:
            best = (rolled, shift)
    assert best is not None
    places = (site + best[1]) % volume.size
    return volume.size.tobytes() + best[0], [tuple(place) for place in places.tolist()]
