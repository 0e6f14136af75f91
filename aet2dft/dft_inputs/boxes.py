"""Where volumes lie: the box around a grain, and the windows of a kind inside it.

Atoms are cut out in ``volumes``.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations, product

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from aet2dft.atoms import require
from aet2dft.config import InputsSettings
from aet2dft.errors import InputError
from aet2dft.structure.neighbors import SiteGrid
from aet2dft.structure.variants import PHASE_OF

NESTED_CELLS = (2, 3, 4, 5, 6, 7)
"""Edges of nested cubes, unit cells."""
Window = tuple[NDArray[np.int32], NDArray[np.int32]]
"""Origin and size (3,) of a window, half cells."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Box:
    """A box of lattice sites."""

    lattice: int
    """Lattice of the sites."""
    origin: NDArray[np.int32]
    """(3,), half cells: lowest corner."""
    size: NDArray[np.int32]
    """(3,), half cells."""
    n_sites: int
    """fcc sites inside."""
    n_atoms: int
    """Sites with an atom."""
    grain: int
    """Grain that it was placed around, 0 = the center of the particle."""
    n_grain: int
    """Atoms of that grain inside."""
    note: str
    """How it was chosen, in words, with the runners-up."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GrainChoice:
    """What a box is put around."""

    grain: int
    """Number of the grain, 0 = the center of the particle."""
    lattice: int
    """Lattice of the grain."""
    note: str
    """How it was chosen, in words, with the runners-up."""


def choose_grain(atoms: Atoms, around: str) -> GrainChoice:
    """Grain that a box is put around: the largest of a phase, one by number, or none for ``center``.

    Raises
    ------
    InputError
        If there is no such grain; the message lists those that are.
    """
    if around.lower() == "center":
        return GrainChoice(grain=0, lattice=1, note="around the center of the particle")
    require(atoms, "lattice")
    if "grain" not in atoms.arrays and len(set(atoms.symbols)) != 2:
        raise InputError(f"there is no grain for --around {around}: grains need two species; give --around center")
    require(atoms, "grain", "variant")
    grain = atoms.arrays["grain"]
    sizes = np.bincount(grain, minlength=1)[1:]
    first_atom = [int(np.argmax(grain == g)) for g in range(1, len(sizes) + 1)]
    phases = [str(PHASE_OF[atoms.arrays["variant"][k]]) for k in first_atom]
    rows = enumerate(zip(phases, sizes, strict=True), start=1)
    listed = ", ".join(f"{g} ({phase}, {n:,} atoms)" for g, (phase, n) in rows) or "none"
    if around.isdecimal():
        number = int(around)
        if not 1 <= number <= len(sizes):
            raise InputError(f"there is no grain {around}; give another --around, the grains are: {listed}")
        note = f"around grain {number} ({phases[number - 1]}, {sizes[number - 1]:,} atoms)"
    else:
        phase = around.upper()
        own = sorted((g for g, p in enumerate(phases, start=1) if p == phase), key=lambda g: (-sizes[g - 1], g))
        if not own:
            raise InputError(f"there is no grain of phase {around}; give --around center or a grain: {listed}")
        number = own[0]
        note = f"around grain {number}, the largest of phase {phase} with {sizes[number - 1]:,} atoms"
        if others := ", ".join(f"grain {g} with {sizes[g - 1]:,}" for g in own[1:4]):
            note += f"; next: {others}"
    return GrainChoice(grain=number, lattice=int(atoms.arrays["lattice"][first_atom[number - 1]]), note=note)


def find_box(atoms: Atoms, size: tuple[int, int, int], choice: GrainChoice) -> Box:
    """The box of `size` half cells that holds most of a grain.

    Among the boxes with every site occupied the one with most atoms of the grain, then the nearest to its center, is
    taken; all orientations of the box are tried. Where no box is full, those with the fewest empty sites compete, and
    the note says so.

    Raises
    ------
    InputError
        If the particle is smaller than the box.
    """
    members = np.flatnonzero(atoms.arrays["lattice"] == choice.lattice)
    grid = SiteGrid.of(atoms.arrays["site"], members)
    own = members[atoms.arrays["grain"][members] == choice.grain] if choice.grain else members
    wanted = atoms.arrays["site"][own]
    of_grain = np.zeros(grid.atom_at.shape, dtype=np.int32)
    # around the center of the particle nothing but the distance decides
    of_grain[grid.index(wanted)] = bool(choice.grain)
    empty = (grid.sites() & (grid.atom_at < 0)).astype(np.int32)
    center = wanted.mean(axis=0) - grid.lowest
    extent = np.ptp(atoms.arrays["site"][members], axis=0) + 1
    shapes = [(x, y, z) for x, y, z in sorted(set(permutations(size))) if (np.array((x, y, z)) <= extent).all()]
    if not shapes:
        words = "x".join(map(str, size))
        raise InputError(f"the particle is smaller than the box of {words} half cells; give a smaller --box")
    best = min((_place(empty, of_grain, shape, center) for shape in shapes), key=lambda place: place.rank)
    n_sites = int(grid.sites()[tuple(slice(c, c + s) for c, s in zip(best.corner, best.shape, strict=True))].sum())
    missing = best.rank[0]
    note = choice.note + (f"; no box is full, this one lacks {missing} of {n_sites} sites" if missing else "")
    return Box(
        lattice=choice.lattice,
        origin=(np.array(best.corner) + grid.lowest).astype(np.int32),
        size=np.array(best.shape, dtype=np.int32),
        n_sites=n_sites,
        n_atoms=n_sites - missing,
        grain=choice.grain,
        n_grain=best.n_inside,
        note=note,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Place:
    """The best place of a box in one orientation."""

    shape: tuple[int, int, int]
    """Half cells."""
    corner: tuple[int, ...]
    """Index of the lowest corner in the grid."""
    n_inside: int
    """Atoms of the grain inside."""
    rank: tuple[int, int, float, tuple[int, int, int]]
    """Missing sites, minus the atoms of the grain, squared distance to its center, shape: the least is the best."""


def _place(
    empty: NDArray[np.int32], of_grain: NDArray[np.int32], shape: tuple[int, int, int], center: NDArray[np.float64]
) -> _Place:
    """Fewest missing sites, then most atoms of the grain, then nearest to its center."""
    missing, inside = _box_sums(empty, shape), _box_sums(of_grain, shape)
    fullest = missing == missing.min()
    corners = np.argwhere(fullest & (inside == inside[fullest].max()))
    distance = ((corners + 0.5 * (np.array(shape) - 1) - center) ** 2).sum(axis=1)
    nearest = int(distance.argmin())
    corner = tuple(int(c) for c in corners[nearest])
    n_inside = int(inside[corner])
    rank = (int(missing[corner]), -n_inside, float(distance[nearest]), shape)
    return _Place(shape=shape, corner=corner, n_inside=n_inside, rank=rank)


def _box_sums(field: NDArray[np.int32], shape: tuple[int, ...]) -> NDArray[np.int64]:
    """Sum of a field over the box at every corner, from its summed-area table."""
    table = np.pad(field.cumsum(0).cumsum(1).cumsum(2).astype(np.int64), ((1, 0),) * 3)
    total = np.zeros([n - s + 1 for n, s in zip(field.shape, shape, strict=True)], dtype=np.int64)
    for corner in product((0, 1), repeat=3):
        part = tuple(slice(s * c, n + 1 - s * (1 - c)) for s, n, c in zip(shape, field.shape, corner, strict=True))
        total += (-1) ** (3 - sum(corner)) * table[part]
    return total


def windows(box: Box, settings: InputsSettings) -> list[Window]:
    """Every window of a kind in a box: moved by half cells, nested cubes, or the box itself.

    Raises
    ------
    InputError
        If the box is smaller than the window.
    """
    if settings.kind == "supercell":
        found: list[Window] = [(box.origin, box.size)]
    elif settings.kind == "nested":
        sizes = [np.full(3, 2 * n, dtype=np.int32) for n in NESTED_CELLS if 2 * n <= box.size.min()]
        found = [(box.origin + (box.size - size) // 2, size) for size in sizes]
    else:
        size = np.full(3, 2 * settings.cells, dtype=np.int32)
        steps = [range(int(n - s) + 1) for n, s in zip(box.size, size, strict=True)]
        found = [(box.origin + np.array(step, dtype=np.int32), size) for step in product(*steps)]
    if not found:
        words, cells = "x".join(map(str, box.size)), NESTED_CELLS[0] if settings.kind == "nested" else settings.cells
        raise InputError(f"a box of {words} half cells holds no window of {cells} cells; give a larger --box")
    if settings.limit is None or settings.limit >= len(found):
        return found
    middle = box.origin + 0.5 * box.size
    distance = [float(((origin + 0.5 * size - middle) ** 2).sum()) for origin, size in found]
    nearest = sorted(np.argsort(distance, kind="stable")[: settings.limit].tolist())
    return [found[k] for k in nearest]
