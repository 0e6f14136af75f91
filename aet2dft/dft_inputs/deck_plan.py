"""What both codes share before a deck is written: the checked cell in deck order, and the runs of a protocol."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from aet2dft.atoms import require
from aet2dft.dft_inputs.directions import Direction, direction_name
from aet2dft.dft_inputs.kmesh import Mesh, k_mesh, parse_mesh
from aet2dft.dft_inputs.moments import along_one_line, starting_moments
from aet2dft.dft_inputs.protocol import Protocol
from aet2dft.errors import InputError

_NAME = re.compile(r"[a-z0-9_]+")


@dataclass(frozen=True, kw_only=True, slots=True)
class DeckCell:
    """A periodic cell as the decks hold it: atoms in blocks of one element, inside a block by site id."""

    name: str
    """Name of the volume."""
    permutation: NDArray[np.intp]
    """(N,) index in the given atoms of every atom of the deck."""
    site_ids: NDArray[np.int_]
    """(N,) site ids in deck order."""
    symbols: tuple[str, ...]
    """(N,) chemical symbols in deck order."""
    elements: tuple[str, ...]
    """Elements in deck order, by atomic number."""
    cell: NDArray[np.float64]
    """(3, 3) cell vectors as rows, Å."""
    fractional: NDArray[np.float64]
    """(N, 3) positions in units of the cell vectors, not wrapped."""
    moments: NDArray[np.float64]
    """(N,) or (N, 3) starting moments, μB, Cartesian in the frame of the cell."""
    k_mesh: Mesh
    """Gamma-centered mesh of k-points, equal in all runs."""

    @property
    def has_vectors(self) -> bool:
        """Whether the moments are vectors."""
        return self.moments.ndim == 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """One run of a volume."""

    name: str
    """Folder: scf, relax, axis_100, axis_1m10."""
    kind: str
    """scf, relax or axis: the table of the protocol that holds for it."""
    axis: Direction | None
    """Direction of the moments; None without spin-orbit coupling."""
    parent: str | None
    """Step whose density it starts from."""

    @property
    def spin_orbit(self) -> bool:
        """Whether spin-orbit coupling is on."""
        return self.kind == "axis"

    @property
    def force_theorem(self) -> bool:
        """Whether the density stays that of the parent."""
        return self.parent is not None

    @property
    def calculation(self) -> str:
        """scf, nscf or relax, as pw.x calls it."""
        return "nscf" if self.force_theorem else self.kind.replace("axis", "scf")


def plan(protocol: Protocol, axes: Sequence[Direction]) -> tuple[Step, ...]:
    """List the runs of a volume, each after the one whose density it needs.

    Raises
    ------
    InputError
        If the protocol needs axes and there are none, or two of them are parallel or antiparallel.
    """
    if protocol.needs_axes:
        _check_axes(axes, protocol)
    parent = "scf" if protocol.force_theorem else None
    steps: list[Step] = []
    for kind in protocol.steps:
        if kind == "axis":
            steps += [Step(name=f"axis_{direction_name(a)}", kind=kind, axis=a, parent=parent) for a in axes]
        else:
            steps.append(Step(name=kind, kind=kind, axis=None, parent=None))
    return tuple(steps)


def plan_warnings(protocol: Protocol, axes: Sequence[Direction], *, has_vectors: bool) -> tuple[str, ...]:
    """List what a user should know before running these steps."""
    warnings: list[str] = []
    self_consistent = protocol.needs_axes and not protocol.force_theorem
    oblique = [direction_name(axis) for axis in axes if np.count_nonzero(axis) > 1]
    if self_consistent and oblique:
        warnings.append(
            f"self-consistent runs along {', '.join(oblique)}: moments may drift off an axis that is not one of "
            "symmetry and the run then does not converge; the protocol mae (force theorem) holds them"
        )
    if self_consistent and has_vectors and len(axes) > 1:
        warnings.append(
            "the starting moments are vectors, so the runs of all axes start from the same state; "
            "give one number per atom to have the moments along each axis"
        )
    return tuple(warnings)


def deck_cell(atoms: Atoms, *, name: str, protocol: Protocol) -> DeckCell:
    """Check a periodic cell and bring it into deck order.

    Parameters
    ----------
    atoms : Atoms
        Cell with the array ``site_id`` and optionally ``initial_magmoms``, (N,) or (N, 3), μB.
    name : str
        Name of the volume, a folder name.
    protocol : Protocol
        Gives the mesh of k-points, and moments where the atoms have none.

    Raises
    ------
    InputError
        If a number is not finite, the cell is singular or left-handed, site ids repeat, or moments are missing.
    """
    if not _NAME.fullmatch(name):
        raise InputError(f"volume name {name!r} cannot be a folder name; use a-z, 0-9 and _")
    require(atoms, "site_id")
    _check_geometry(atoms, name)
    site_ids = np.asarray(atoms.arrays["site_id"])
    permutation = np.lexsort((site_ids, atoms.numbers))
    moments = starting_moments(atoms, protocol)[permutation]
    cell = np.array(atoms.cell, dtype=float)
    fractional: NDArray[np.float64] = np.linalg.solve(cell.T, atoms.positions[permutation].T).T
    symbols = tuple(str(symbol) for symbol in atoms.symbols[permutation])
    return DeckCell(
        name=name,
        permutation=permutation,
        site_ids=site_ids[permutation],
        symbols=symbols,
        elements=tuple(dict.fromkeys(symbols)),
        cell=cell,
        # the last two digits of a double depend on the linear algebra library: equal cells must give equal decks
        fractional=np.asarray(np.round(fractional, 14) + 0.0),
        moments=along_one_line(moments) if protocol.force_theorem else moments,
        k_mesh=_mesh(cell, protocol),
    )


def _mesh(cell: NDArray[np.float64], protocol: Protocol) -> Mesh:
    tags = protocol.tags
    if tags["kmesh"] != "auto":
        return parse_mesh(str(tags["kmesh"]))
    return k_mesh(cell, spacing=float(tags["kmesh_spacing"]), factor=float(tags["kmesh_factor"]))


def _check_axes(axes: Sequence[Direction], protocol: Protocol) -> None:
    if not axes:
        raise InputError(f"protocol {protocol.name} computes energies along axes; give at least one, as --axes 100,001")
    for i, one in enumerate(axes):
        for other in axes[i + 1 :]:
            if not np.cross(one, other).any():
                raise InputError(
                    f"axes {direction_name(one)} and {direction_name(other)} are parallel or antiparallel, "
                    "which is one energy; give each direction once"
                )


def _check_geometry(atoms: Atoms, name: str) -> None:
    """Raise InputError for an empty cell, numbers that are not finite, a bad cell or repeated site ids."""
    if not len(atoms):
        raise InputError(f"{name}: the cell holds no atoms")
    if not (np.isfinite(atoms.positions).all() and np.isfinite(np.asarray(atoms.cell)).all()):
        raise InputError(f"{name}: a position or a cell vector is NaN or infinite; mend the model")
    cell = np.asarray(atoms.cell)
    determinant = float(np.linalg.det(cell))
    if abs(determinant) <= 1e-6 * float(np.prod(np.linalg.norm(cell, axis=1))):
        raise InputError(f"{name}: the cell has no volume; give three independent cell vectors")
    if determinant < 0:
        raise InputError(f"{name}: the cell vectors are left-handed; exchange two of them")
    if np.unique(atoms.arrays["site_id"]).size != len(atoms):
        raise InputError(f"{name}: a site id is there twice; every atom needs its own")
