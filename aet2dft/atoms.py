"""The one table of per-atom arrays, and the checks that every model of atoms passes before anything else sees it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers, chemical_symbols, covalent_radii
from numpy.typing import NDArray

from aet2dft.errors import InputError

MIN_SEPARATION = 0.5
"""Å; two atoms nearer than this cannot both be real."""
BOND_RANGE = (0.65, 1.5)
"""A median nearest-neighbor distance outside this range, in units of the covalent bond length, is in another unit."""
CANDIDATE_RANGE = (0.9, 4.5)
"""Å; range of the median nearest-neighbor distance of candidates whose species are not known."""
_UNITS = {"nm": 10.0, "pm": 0.01}
"""Å of other units that coordinates come in."""
SHORT_BOND = 1.8
"""Å; a bond below this between metal atoms is reported as a problem."""
_LIGHTEST_METAL = 0.9
"""Å; covalent radius below which an element bonds at shorter distances than metals do: H, C, N, O, F."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ArraySpec:
    """One row of the table of per-atom arrays."""

    dtype: str
    """NumPy type: ``i4``, ``f8`` or ``?``."""
    shape: tuple[int, ...] = ()
    """Shape per atom."""
    unit: str = ""
    """Unit; empty for numbers without one."""
    writer: str
    """Verb that writes it."""
    meaning: str
    """What it is."""


ARRAYS: dict[str, ArraySpec] = {
    "site_id": ArraySpec(dtype="i4", writer="read", meaning="stable for life; survives every cut, sort and round trip"),
    "intensity": ArraySpec(dtype="f8", writer="trace", meaning="integrated peak intensity"),
    "intensity_sigma": ArraySpec(dtype="f8", writer="trace", meaning="standard error of intensity"),
    "peak_width": ArraySpec(dtype="f8", unit="Å", writer="trace", meaning="Gaussian width of the peak"),
    "peak_width_sigma": ArraySpec(dtype="f8", unit="Å", writer="trace", meaning="standard error of peak_width"),
    "species_confidence": ArraySpec(dtype="f8", writer="classify", meaning="probability of the assigned species"),
    "position_sigma": ArraySpec(dtype="f8", shape=(3,), unit="Å", writer="refine", meaning="standard error per axis"),
    "site": ArraySpec(dtype="i4", shape=(3,), writer="order", meaning="fcc site in half cells (indices of even sum)"),
    "lattice": ArraySpec(dtype="i4", writer="order", meaning="crystal lattice the atom is indexed on, 0 = none"),
    "displacement": ArraySpec(
        dtype="f8",
        shape=(3,),
        unit="Å",
        writer="order",
        meaning="measured minus ideal position of the best-fit triclinic lattice, in the frame of the model",
    ),
    "sublattice_order": ArraySpec(
        dtype="f8",
        shape=(16,),
        writer="order",
        meaning="S of every variant in the label window; NaN for the two pure rows",
    ),
    "sublattice_order_sigma": ArraySpec(
        dtype="f8", shape=(16,), writer="order", meaning="standard error of sublattice_order"
    ),
    "variant": ArraySpec(dtype="i4", writer="order", meaning="ordered variant, 0 = none"),
    "grain": ArraySpec(dtype="i4", writer="order", meaning="grain, 0 = none; an A1 grain has variant 0"),
    "grain_depth": ArraySpec(
        dtype="f8", unit="Å", writer="order", meaning="distance below the grain surface, negative outside"
    ),
    "antisite": ArraySpec(dtype="?", writer="order", meaning="species differs from the variant's sublattice"),
    "swap_partner": ArraySpec(dtype="i4", writer="order", meaning="1 + index of the exchanged neighbor, 0 = none"),
    "strain": ArraySpec(dtype="f8", shape=(6,), writer="order", meaning="tensor components xx, yy, zz, yz, xz, xy"),
    "strain_sigma": ArraySpec(dtype="f8", shape=(6,), writer="order", meaning="propagated standard error of strain"),
    "is_surface": ArraySpec(dtype="?", writer="order", meaning="on the alpha-shape surface"),
    "relaxation": ArraySpec(
        dtype="f8", shape=(3,), unit="Å", writer="compare", meaning="relaxed minus measured position"
    ),
    "initial_magmoms": ArraySpec(dtype="f8", unit="μB", writer="inputs", meaning="starting moments, (N,) or (N, 3)"),
    "magmoms": ArraySpec(dtype="f8", unit="μB", writer="collect", meaning="computed moments, (N,) or (N, 3)"),
}
"""Per-atom arrays by name. Labels start at 1; 0 means none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Soundness:
    """What the check of a model found."""

    n_atoms: int
    """Number of atoms."""
    composition: dict[str, int]
    """Atoms per chemical symbol."""
    min_distance: float | None
    """Shortest distance between two atoms, Å; None below two atoms."""
    median_neighbor_distance: float | None
    """Median distance to the nearest neighbor, Å."""
    problems: tuple[str, ...]
    """What is wrong but can be worked with."""
    fatal: tuple[str, ...]
    """What makes the model unusable."""


def require(atoms: Atoms, *names: str) -> None:
    """Raise InputError unless `atoms` carries all the arrays `names`, naming the verb that writes them."""
    for name in names:
        if name not in atoms.arrays:
            writer = ARRAYS[name].writer if name in ARRAYS else "an earlier step"
            raise InputError(f"the atoms carry no array {name!r}; run `aet2dft {writer}` first")


def check_arrays(atoms: Atoms) -> None:
    """Raise InputError where a known array has the wrong shape or kind."""
    for name, spec in ARRAYS.items():
        if name not in atoms.arrays or name in ("initial_magmoms", "magmoms"):
            continue
        array = atoms.arrays[name]
        wanted = (len(atoms), *spec.shape)
        if array.shape != wanted or array.dtype.kind not in "biuf":
            found = f"shape {array.shape} and type {array.dtype}"
            raise InputError(f"array {name!r} has {found}, not {wanted} numbers ({spec.meaning}); mend or remove it")


def neighbor_distances(atoms: Atoms) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Distance (N,), Å, to the nearest other atom and its index (N,); periodic where the cell is."""
    if all(atoms.pbc) and abs(atoms.cell.volume) > 1e-6:
        from ase.geometry import minkowski_reduce

        cell, _ = minkowski_reduce(np.asarray(atoms.cell))
        images = np.stack(np.meshgrid(*[(-1, 0, 1)] * 3, indexing="ij"), axis=-1).reshape(-1, 3) @ cell
        inside = np.linalg.solve(np.asarray(cell).T, atoms.positions.T).T % 1.0 @ cell
        points = (inside[None] + images[:, None]).reshape(-1, 3)
        owner = np.tile(np.arange(len(atoms)), len(images))
    else:
        inside = points = atoms.positions
        owner = np.arange(len(atoms))
    from scipy.spatial import cKDTree

    distance, index = cKDTree(points).query(inside, k=2)
    # an atom at the very place of another may come first in the list: take whichever is not the atom itself
    return distance[:, 1], owner[np.where(owner[index[:, 1]] == np.arange(len(inside)), index[:, 0], index[:, 1])]


def composition(atoms: Atoms) -> dict[str, int]:
    """Number of atoms of each species, by symbol."""
    symbols, counts = np.unique(np.asarray(atoms.symbols, dtype=np.str_), return_counts=True)
    return dict(zip(symbols.tolist(), counts.tolist(), strict=True))


def examine(atoms: Atoms) -> Soundness:
    """Look a model over: finite, known elements, unit, separations.

    Parameters
    ----------
    atoms : Atoms
        Any model; species ``X`` stands for candidates that are not classified, ``info["unknown"]`` for names that a
        reader could not make an element of.

    Notes
    -----
    The unit is judged by the median nearest-neighbor distance against the sum of the covalent radii (Cordero et al.,
    Dalton Trans. 2832 (2008)) of the composition. Separations are looked at where the unit is right.
    """
    counts = composition(atoms)
    fatal, problems = _not_usable(atoms), []
    if counts.get("X"):
        problems.append(without_element(atoms))
    shortest = median = None
    if len(atoms) > 1 and np.isfinite(atoms.positions).all() and np.isfinite(np.asarray(atoms.cell)).all():
        distance, partner = neighbor_distances(atoms)
        shortest, median = float(distance.min()), float(np.median(distance))
        wrong_unit = _unit_problem(atoms.numbers, median)
        if "X" in counts:
            problems += wrong_unit
        else:
            fatal += wrong_unit
        if not wrong_unit:
            fatal += _coincident(atoms, distance, partner)
            problems += [] if "X" in counts else _short_bonds(atoms, distance, partner)
    return Soundness(
        n_atoms=len(atoms),
        composition=counts,
        min_distance=shortest,
        median_neighbor_distance=median,
        problems=tuple(problems),
        fatal=tuple(fatal),
    )


def _not_usable(atoms: Atoms) -> list[str]:
    """Too few atoms, numbers that are none, names that are no elements."""
    found = []
    if not len(atoms):
        found.append("the model holds no atoms; give one with at least two")
    bad = np.flatnonzero(~np.isfinite(atoms.positions).all(axis=1))
    if bad.size:
        have = "1 atom has" if bad.size == 1 else f"{bad.size} atoms have"
        found.append(f"{have} a coordinate that is NaN or infinite (first: atom {bad[0]}); remove or mend them")
    if not np.isfinite(np.asarray(atoms.cell)).all():
        found.append("a cell vector is NaN or infinite; mend the cell")
    if "unknown" in atoms.info:
        found.append(str(atoms.info["unknown"]))
    if len(atoms) == 1 and not atoms.pbc.all():
        found.append("the model holds one atom; distances, lattice and order need at least two")
    return found


def example_species(types: Sequence[int | str]) -> str:
    """What ``--species`` could be for the types of a file, as ``1=Fe,2=Pt``."""
    return ",".join(f"{t}={e}" for t, e in zip(types, ("Fe", "Pt", "Ni", "Pd", "Co"), strict=False))


def without_element(atoms: Atoms) -> str:
    """Sentence on the atoms of a model that have no element, and how they get one; empty where all have."""
    unnamed = int((atoms.numbers == 0).sum())
    # candidates of `trace` carry their brightness; other atoms come from a file with numbers as types
    if "intensity" in atoms.arrays:
        how = "run `aet2dft classify` with e.g. --species Fe,Pt"
    else:
        types = np.unique(atoms.arrays.get("type", [1, 2])).tolist()
        how = f"give --species, e.g. --species {example_species(types)}"
    have = "1 atom has" if unnamed == 1 else f"{unnamed:,} atoms have"
    return f"{have} no element; {how}" if unnamed else ""


def check(atoms: Atoms) -> Soundness:
    """`examine`, raising InputError with the first fatal problem."""
    soundness = examine(atoms)
    if soundness.fatal:
        raise InputError(soundness.fatal[0])
    check_arrays(atoms)
    return soundness


def known_symbol(symbol: str) -> bool:
    """Whether `symbol` is a chemical element."""
    return symbol in atomic_numbers and symbol != "X"


def names_of(atoms: Atoms) -> tuple[str, NDArray[np.integer]]:
    """By what atoms are named, and their names (N,): lasting numbers, or their rows where they have none."""
    if "site_id" in atoms.arrays:
        return "by site_id", atoms.arrays["site_id"]
    return "counted from 0", np.arange(len(atoms))


def numbered(atoms: Atoms) -> Atoms:
    """Atoms with a `site_id` each: those that they have, or a copy with 1 to N in their order."""
    if "site_id" in atoms.arrays:
        return atoms
    result: Atoms = atoms.copy()
    result.set_array("site_id", np.arange(1, len(atoms) + 1, dtype=np.int32))
    return result


def _coincident(atoms: Atoms, distance: NDArray[np.float64], partner: NDArray[np.intp]) -> list[str]:
    near = np.flatnonzero(distance < MIN_SEPARATION)
    if not near.size:
        return []
    i = int(near[np.argmin(distance[near])])
    what, names = names_of(atoms)
    first, second = sorted((names[i], names[partner[i]]))
    return [
        f"{near.size} atoms are nearer than {MIN_SEPARATION} Å to another (atoms {first} and {second}, {what}: "
        f"{distance[i]:.3f} Å); two atoms cannot be at one place, remove one of them"
    ]


def _short_bonds(atoms: Atoms, distance: NDArray[np.float64], partner: NDArray[np.intp]) -> list[str]:
    numbers, (what, names) = atoms.numbers, names_of(atoms)
    radius, other = covalent_radii[numbers], covalent_radii[numbers[partner]]
    with_light = np.minimum(radius, other) < _LIGHTEST_METAL
    limit = np.where(with_light, BOND_RANGE[0] * (radius + other), SHORT_BOND)
    short = np.flatnonzero((distance < limit) & (distance >= MIN_SEPARATION))
    if not short.size:
        return []
    lengths = {tuple(sorted((int(names[i]), int(names[partner[i]])))): float(distance[i]) for i in short}
    pairs = sorted(lengths, key=lambda pair: (lengths[pair], pair))
    listed = ", ".join(f"{i}-{j} {lengths[i, j]:.2f} Å" for i, j in pairs[:5])
    more = f" and {len(pairs) - 5} more" if len(pairs) > 5 else ""
    return [f"bonds too short for a DFT input (between metal atoms: below {SHORT_BOND} Å): {listed}{more} ({what})"]


def _unit_problem(numbers: NDArray[np.integer], median: float) -> list[str]:
    """What is wrong with the unit, if anything."""
    if median < 1e-6:  # atoms in pairs at one place say nothing about the unit
        return []
    if (numbers == 0).any():
        low, high = CANDIDATE_RANGE
        outside = f"the median nearest-neighbor distance of the candidates is {median:.3g}, outside {low} to {high} Å"
        return [] if low <= median <= high else [f"{outside}: is the unit Å?"]
    bond = 2.0 * float(np.mean(covalent_radii[numbers]))
    ratio = median / bond
    if BOND_RANGE[0] <= ratio <= BOND_RANGE[1]:
        return []
    names = "-".join(chemical_symbols[z] for z in np.unique(numbers))
    unit, factor = next(((name, size) for name, size in _UNITS.items() if 0.65 <= ratio * size <= 1.5), ("", 0.0))
    if unit:
        advice = f"it looks like {unit}, a factor of {factor:g}: give --voxel-size {factor:g}"
    else:
        factor = bond / median
        what = "voxels" if ratio > 1 else "another unit"
        advice = f"it looks like {what} of about {factor:.3g} Å: give their exact size, as --voxel-size {factor:.3g}"
    return [
        f"coordinates are not in Å: the median nearest-neighbor distance is {median:.4g}, but {names} bonds are near "
        f"{bond:.2f} Å; {advice}"
    ]


def digest(atoms: Atoms) -> str:
    """SHA-256 of species, positions and cell: the identity of a model, whatever arrays it carries."""
    content = hashlib.sha256()
    for array, kind in ((atoms.numbers, "<i8"), (atoms.positions, "<f8"), (np.asarray(atoms.cell), "<f8")):
        content.update(np.ascontiguousarray(array, dtype=kind).tobytes())
    return content.hexdigest()
