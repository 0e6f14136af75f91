"""Files of atoms -> `ase.Atoms`; what was inferred on the way is kept in ``info["notes"]``.

MATLAB files are opened in ``matlab``.
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers
from numpy.typing import NDArray

from aet2dft.atoms import check, examine, example_species, known_symbol
from aet2dft.config import ReadSettings
from aet2dft.errors import InputError, ParseError
from aet2dft.matlab import mat_array, mat_variables
from aet2dft.text_tables import read_table

_MAX_FILE = 2 << 30
"""Bytes; a larger text file is not a model of atoms."""
_FORMATS = ("xyz", "extxyz", "cif", "vasp", "proteindatabank", "espresso-in", "xsf", "lammps-data")
"""Formats of ASE that are plain text and hold atoms; others run code or unpack objects."""
_MAX_TYPE = 120
"""Types of atoms are small whole numbers."""
_TABLES = (".csv", ".tsv")
_ELEMENT = ("element", "symbol", "species", "atom", "type")
"""Names of the column that says what an atom is, the first of them that is there."""
_PLACE = ("position", "positions", "pos", "coordinate", "coord")
"""What may stand before x, y and z in the names of the others."""
_PACKED = (".gz", ".bz2", ".xz", ".zip", ".zst")


def read(path: str | Path, types: str | Path | None = None, settings: ReadSettings = ReadSettings()) -> Atoms:
    """Read a model of atoms and check it.

    Parameters
    ----------
    path : str or Path
        xyz, extxyz, cif, POSCAR, pdb or another format of ASE; a ``.csv`` table with columns named element (or symbol),
        x, y, z; a ``.mat`` file with coordinates (3, N). ``FILE@N`` is structure N of a file with several.
    types : str or Path, optional
        Second ``.mat`` file with the types 1..n of the atoms.
    settings : ReadSettings
        Elements of the types, voxel size, variable.

    Returns
    -------
    Atoms
        Positions in Å; ``info["notes"]`` says what was inferred.

    Raises
    ------
    InputError
        If the file cannot be read or the model is unsound (`aet2dft.atoms.check`).
    """
    atoms = load_atoms(Path(path), None if types is None else Path(types), settings)
    try:
        check(atoms)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    return atoms


def settings_of_two(path: Path, other: Path, settings: ReadSettings) -> ReadSettings:
    """What of the settings with which two files are read is for the first of them.

    Parameters
    ----------
    path, other : Path
        Files of atoms.
    settings : ReadSettings
        As the user gave them, once.

    Returns
    -------
    ReadSettings
        Without what only the other file needs: one that names its elements needs none, one in Å no voxel size.
    """
    if not settings.model_fields_set:
        return settings
    spared = _not_needed(path) - _not_needed(other)
    return ReadSettings(**settings.model_dump(include=settings.model_fields_set - spared))


def _not_needed(path: Path) -> set[str]:
    """Settings that a file has no use for: it names its elements, and is a sound model as it is."""
    if path.suffix.lower() == ".mat":
        return set()
    atoms = load_structures(path)[0]
    if "type" in atoms.arrays:
        return set()
    return {"species", "variable"} if examine(atoms).fatal else {"species", "variable", "voxel_size"}


def load_atoms(path: Path, types: Path | None = None, settings: ReadSettings = ReadSettings()) -> Atoms:
    """`read` without the check of the model: for looking at what is wrong."""
    found = load_structures(path, types, settings)
    if len(found) > 1:
        raise InputError(f"{path}: holds {len(found)} structures; name one as {path}@0 to {path}@{len(found) - 1}")
    return found[0]


def load_structures(path: Path, types: Path | None = None, settings: ReadSettings = ReadSettings()) -> list[Atoms]:
    """All structures of a file, or the one that ``FILE@N`` names, unchecked."""
    path, index = _indexed(path)
    _require_file(path)
    if path.suffix.lower() == ".mat":
        found = [_read_mat(path, types, settings)]
    elif types is not None:
        raise InputError(
            f"{types}: a second file with types goes with a .mat file; {path.name} names its elements itself"
        )
    else:
        structures, notes = _read_text(path)
        notes = (*notes, *_without_odd_arrays(structures))
        found = [_with_species(atoms, list(notes), settings.species, path) for atoms in structures]
    if index is not None and index >= len(found):
        raise InputError(f"{path}: holds {len(found)} structures, numbered from 0; there is no {index}")
    return [_finished(*each, settings) for each in (found if index is None else [found[index]])]


def _finished(atoms: Atoms, notes: list[str], settings: ReadSettings) -> Atoms:
    """The same atoms in Å, with their notes."""
    if settings.voxel_size is not None:
        atoms.positions *= settings.voxel_size
        atoms.set_cell(np.asarray(atoms.cell) * settings.voxel_size)
        notes.append(f"coordinates multiplied by {settings.voxel_size:g}, the voxel size in Å")
    atoms.info["notes"] = tuple(notes)
    return atoms


def _require_file(path: Path) -> None:
    if not path.is_file():
        problem = "is a folder" if path.is_dir() else "no such file"
        raise InputError(f"{path}: {problem}; give a file of atoms, e.g. particle.xyz")
    if path.suffix.lower() in _PACKED:
        raise InputError(f"{path}: is packed; unpack it first")
    if path.stat().st_size > _MAX_FILE:
        raise InputError(f"{path}: {path.stat().st_size / 1e9:.1f} GB is too large for a model of atoms; cut it down")


def _indexed(path: Path) -> tuple[Path, int | None]:
    match = re.fullmatch(r"(.+)@(\d+)", str(path), re.ASCII)
    return (Path(match[1]), int(match[2])) if match and not path.exists() else (path, None)


def _read_text(path: Path) -> tuple[list[Atoms], tuple[str, ...]]:
    """Structures of a text, and what was inferred."""
    if path.suffix.lower() in _TABLES:
        atoms, notes = _read_table(path)
        return [atoms], notes
    return ([_read_plain_xyz(path)] if _is_plain_xyz(path) else _ase_read(path)), ()


def _read_table(path: Path) -> tuple[Atoms, tuple[str, ...]]:
    """Columns that are named element and x, y, z; others are left alone and said."""
    table = read_table(path)
    names = [re.sub(r"[\[(].*|[\s_-]", "", name.lower()) for name in table.names]
    element = [names.index(name) for name in _ELEMENT if name in names][:1]
    axes = [
        [k for k, name in enumerate(names) if name in (axis, *(f"{word}{axis}" for word in _PLACE))] for axis in "xyz"
    ]
    wanted = {"element": element, **dict(zip("xyz", axes, strict=True))}
    wrong = [name for name, found in wanted.items() if len(found) != 1]
    if wrong:
        listed = f"among its columns {', '.join(table.names)}" if names else "its first line names no columns:"
        said = f"{listed} there is not just one {' and one '.join(wrong)}"
        raise InputError(f"{path}: {said}; name the columns element, x, y, z in the first line")
    columns = [found[0] for found in axes]
    atoms = _named([row[element[0]] for row in table.rows], table.numbers(columns, path), table.lines)
    others = [name for k, name in enumerate(table.names) if k not in (*element, *columns)]
    return atoms, (
        *table.notes,
        *((f"columns of {path.name} that were not read: {', '.join(others)}",) if others else ()),
    )


def _is_plain_xyz(path: Path) -> bool:
    """Whether an xyz file has a free comment, which says neither columns nor cell."""
    if path.suffix.lower() != ".xyz":
        return False
    with path.open(encoding="utf-8", errors="replace") as file:
        file.readline(10_000)
        comment = file.readline(10_000)
    return "Properties=" not in comment and "Lattice=" not in comment


def _ase_read(path: Path) -> list[Atoms]:
    from ase.io import read as ase_read
    from ase.io.formats import UnknownFileTypeError, filetype

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            form = filetype(str(path))
            if form not in _FORMATS:
                raise UnknownFileTypeError(form)
            found = list(ase_read(str(path), index=":", format=form))
    except UnknownFileTypeError as error:
        raise InputError(
            f"{path}: is of no known format of atoms; give xyz, extxyz, cif, POSCAR, pdb, csv or mat"
        ) from error
    except Exception as error:
        words = str(error).strip().split("\n")[0][:200] or type(error).__name__
        raise ParseError(path, f"cannot be read ({words}); the file is damaged or of another format") from error
    if not found:
        raise ParseError(path, "holds no structure; the file is empty or cut")
    for atoms in found:
        atoms.calc = None
        atoms.info = {}
    return found


def _without_odd_arrays(structures: list[Atoms]) -> tuple[str, ...]:
    """Take off arrays that no project can hold, and say which: neither numbers nor texts, or named as paths are."""
    odd: dict[str, None] = {}
    for atoms in structures:
        for name, values in list(atoms.arrays.items()):
            if values.dtype == object and all(isinstance(value, str) for value in values.flat):
                atoms.arrays[name] = values = values.astype(np.str_)
            if values.dtype.kind not in "biufU" or "/" in name or name == ".":
                odd[name] = None
                del atoms.arrays[name]
    return (f"arrays of atoms that no project can hold and that were left out: {', '.join(odd)}",) if odd else ()


def _read_plain_xyz(path: Path) -> Atoms:
    """Count, comment, then element (or type) and x, y, z; further columns are left alone."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ParseError(path, "is not a text file; give one with a line per atom") from error
    if not lines or not lines[0].strip().isdecimal():
        raise ParseError(path, "an xyz file begins with the number of atoms; write it there", line=1)
    n = int(lines[0])
    rows = lines[2 : 2 + n]
    if len(rows) < n:
        problem = f"promises {n} atoms and holds {len(rows)}; the file is cut, take a whole one"
        raise ParseError(path, problem, line=len(lines))
    if any(line.strip() for line in lines[2 + n :]):
        problem = f"holds more lines than its {n} atoms; give one structure in a plain xyz file"
        raise ParseError(path, problem, line=3 + n)
    positions = np.empty((n, 3))
    names = [_read_row(row, positions[k], path, line=k + 3) for k, row in enumerate(rows)]
    return _named(names, positions, range(3, 3 + n))


def _read_row(row: str, position: NDArray[np.float64], path: Path, *, line: int) -> str:
    """Name of the atom of a line; its coordinates go into `position` (3,)."""
    words = row.split(None, 4)
    try:
        x, y, z = (float(word) for word in words[1:4])
    except ValueError as error:
        problem = f"{row.strip()[:60]!r} is not an element and three numbers; mend the line"
        raise ParseError(path, problem, line=line) from error
    position[:] = x, y, z
    return words[0]


def _named(names: list[str], positions: NDArray[np.float64], lines: Sequence[int]) -> Atoms:
    """Atoms by the names in a file: elements, or numbers 1..n, which stay in the array ``type`` as species X."""
    kinds = dict.fromkeys(names)
    if kinds and all(name.isdecimal() and int(name) < _MAX_TYPE for name in kinds):
        atoms = Atoms(np.zeros(len(names), dtype=np.int64), positions=positions)
        atoms.set_array("type", np.array([int(name) for name in names], dtype=np.int32))
        return atoms
    number = {name: atomic_numbers.get(name.capitalize(), 0) for name in kinds}
    atoms = Atoms([number[name] for name in names], positions=positions)
    unknown = [name for name in kinds if number[name] == 0 and name != "X"]
    if unknown:
        first = names.index(unknown[0])
        atoms.info["unknown"] = f"{unknown[0]!r} (line {lines[first]}) is not a chemical element; mend the file"
    return atoms


def _with_species(atoms: Atoms, notes: list[str], species: dict[str, str], path: Path) -> tuple[Atoms, list[str]]:
    """Elements for the numbers of the array ``type``; elements that the file names itself are not changed."""
    if "type" not in atoms.arrays or atoms.numbers.all():
        if species:
            formula = atoms.get_chemical_formula(empirical=False)
            raise InputError(f"{path}: names its elements itself ({formula}); leave out --species")
        return atoms, notes
    types = atoms.arrays["type"]
    present = [str(t) for t in np.unique(types)]
    if not species:
        have = f"types {', '.join(present)} have no elements" if present[1:] else f"type {present[0]} has no element"
        notes.append(f"{have}; give --species, e.g. {example_species(present)}")
        return atoms, notes
    numbers = _species_numbers(species, present, path)
    atoms.set_atomic_numbers([numbers[str(t)] for t in types])
    del atoms.arrays["type"]
    notes.append("types named by --species: " + ", ".join(f"{t} = {species[t]}" for t in present))
    return atoms, notes


def _species_numbers(species: dict[str, str], present: list[str], path: Path) -> dict[str, int]:
    for name, element in species.items():
        if not known_symbol(element):
            raise InputError(
                f"--species {name}={element}: {element!r} is not a chemical element; give one, as {name}=Fe"
            )
    if set(species) != set(present):
        listed, named = ", ".join(present), ", ".join(species)
        raise InputError(
            f"{path}: its types are {listed}, but --species names {named}; give {example_species(present)}"
        )
    return {t: atomic_numbers[species[t]] for t in present}


def _read_mat(path: Path, types: Path | None, settings: ReadSettings) -> tuple[Atoms, list[str]]:
    shapes = mat_variables(path)
    name = _pick_coordinates(path, shapes, settings.variable)
    values = mat_array(path, name).astype(np.float64)
    positions = np.ascontiguousarray(values.T if values.shape[0] == 3 else values)
    notes = [f"coordinates taken from variable {name!r} {shapes[name]}"]
    if settings.voxel_size is None:
        notes.append("the file names no unit: coordinates taken as Å")
    atoms = Atoms(np.zeros(len(positions), dtype=np.int64), positions=positions)
    found = _pick_types(path, types, len(positions), exclude=name)
    if found is not None:
        notes.append(f"types taken from variable {found[0]!r} of {found[1].name}")
        atoms.set_array("type", found[2])
    elif settings.species:
        notes.append("no variable with types was found: all atoms are of type 1")
        atoms.set_array("type", np.ones(len(positions), dtype=np.int32))
    else:
        notes.append("no variable with types was found: atoms have no element; give --species, e.g. --species 1=Pt")
        return atoms, notes
    return _with_species(atoms, notes, settings.species, path if found is None else found[1])


def _pick_coordinates(path: Path, shapes: dict[str, tuple[int, ...]], wanted: str | None) -> str:
    """Name of the variable of shape (3, N); (N, 3) only where the user names it."""
    listed = ", ".join(f"{name} {shape}" for name, shape in shapes.items()) or "no numbers"
    if wanted is not None:
        shape = shapes.get(wanted)
        if shape is None or len(shape) != 2 or 3 not in shape:
            raise InputError(
                f"{path}: variable {wanted!r} is not an array of coordinates (3, N); the file holds {listed}"
            )
        return wanted
    right = [name for name, shape in shapes.items() if len(shape) == 2 and shape[0] == 3 and shape[1] > 3]
    if len(right) != 1:
        problem = "holds several arrays (3, N)" if right else "holds no coordinates: no variable has the shape (3, N)"
        raise InputError(f"{path}: {problem}; it holds {listed}; name one with --variable")
    return right[0]


def _pick_types(path: Path, types: Path | None, n: int, *, exclude: str) -> tuple[str, Path, NDArray[np.int32]] | None:
    """Variable with one small whole number per atom, from the second file or the same one."""
    source = types or path
    if types is not None and not types.is_file():
        raise InputError(f"{types}: no such file; give a second .mat file with the types of the atoms")
    right: dict[str, NDArray[np.int32]] = {}
    for name, shape in mat_variables(source).items():
        if (name != exclude or types is not None) and math.prod(shape) == max(shape, default=0) == n:
            values = mat_array(source, name).ravel()
            if np.isin(values, np.arange(_MAX_TYPE)).all():
                right[name] = values.astype(np.int32)
    if len(right) > 1:
        raise InputError(f"{source}: several variables could be the types ({', '.join(right)}); keep one in a file")
    if not right and types is not None:
        raise InputError(f"{types}: holds no types, one whole number for each of the {n} atoms; give another file")
    return next(((name, source, values) for name, values in right.items()), None)
