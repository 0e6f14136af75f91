"""Files of atoms -> `ase.Atoms`; what was inferred on the way is kept in ``info["notes"]``."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers
from numpy.typing import NDArray

from aet2dft import hdf5
from aet2dft.atoms import check, known_symbol
from aet2dft.config import ReadSettings
from aet2dft.errors import InputError, ParseError

_MAX_FILE = 2 << 30
"""Bytes; a larger text file is not a model of atoms."""


def read(path: str | Path, types: str | Path | None = None, settings: ReadSettings = ReadSettings()) -> Atoms:
    """Read a model of atoms and check it.

    Parameters
    ----------
    path : str or Path
        xyz, extxyz, cif, POSCAR, pdb or another format of ASE; a ``.mat`` file with coordinates (3, N). ``FILE@N`` is
        structure N of a file with several.
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
    check(atoms)
    return atoms


def load_atoms(path: Path, types: Path | None = None, settings: ReadSettings = ReadSettings()) -> Atoms:
    """`read` without the check of the model: for looking at what is wrong."""
    path, index = _indexed(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file; give a file of atoms, e.g. particle.xyz")
    if path.stat().st_size > _MAX_FILE:
        raise InputError(f"{path}: {path.stat().st_size / 1e9:.1f} GB is too large for a model of atoms")
    if path.suffix.lower() == ".mat":
        atoms, notes = _read_mat(path, types, settings)
    elif types is not None:
        raise InputError(
            f"{types}: a second file with types goes with a .mat file; {path.name} names its elements itself"
        )
    else:
        atoms, notes = _read_text(path, index)
        atoms, notes = _with_species(atoms, notes, settings.species, path)
    if settings.voxel_size is not None:
        atoms.positions *= settings.voxel_size
        atoms.set_cell(np.asarray(atoms.cell) * settings.voxel_size)
        notes.append(f"coordinates multiplied by {settings.voxel_size:g} Å")
    atoms.info["notes"] = tuple(notes)
    return atoms


def load_structures(path: Path) -> list[Atoms]:
    """All structures of a file, unchecked."""
    path, index = _indexed(path)
    if index is not None or path.suffix.lower() == ".mat":
        return [load_atoms(path if index is None else Path(f"{path}@{index}"))]
    found = _ase_read(path, ":") if _is_extended(path) else [load_atoms(path)]
    return found if isinstance(found, list) else [found]


def _indexed(path: Path) -> tuple[Path, int | None]:
    match = re.fullmatch(r"(.+)@(\d+)", str(path))
    return (Path(match[1]), int(match[2])) if match and not path.exists() else (path, None)


def _is_extended(path: Path) -> bool:
    """Whether an xyz file says its columns or cell in the comment line, or the file is of another ASE format."""
    if path.suffix.lower() not in (".xyz", ".extxyz"):
        return True
    with path.open(encoding="utf-8", errors="replace") as file:
        file.readline()
        return any(word in file.readline(10_000) for word in ("Properties=", "Lattice="))


def _read_text(path: Path, index: int | None) -> tuple[Atoms, list[str]]:
    if path.suffix.lower() == ".xyz" and not _is_extended(path):
        return _read_plain_xyz(path), []
    found = _ase_read(path, ":")
    if index is None and len(found) > 1:
        raise InputError(f"{path}: holds {len(found)} structures; name one as {path}@0 to {path}@{len(found) - 1}")
    if index is not None and index >= len(found):
        raise InputError(f"{path}: holds {len(found)} structures, numbered from 0; there is no {index}")
    atoms = found[index or 0]
    atoms.calc = None
    notes = []
    if path.suffix.lower() == ".pdb" and "occupancy" in atoms.arrays:
        notes.append("elements taken from the element column of the pdb file")
    return atoms, notes


def _ase_read(path: Path, index: str) -> list[Atoms]:
    from ase.io import read as ase_read
    from ase.io.formats import UnknownFileTypeError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return list(ase_read(path, index=index))
    except (UnknownFileTypeError, ImportError) as error:
        raise InputError(
            f"{path}: not a known format of atoms ({error}); give xyz, extxyz, cif, POSCAR, pdb or .mat"
        ) from error
    except Exception as error:
        words = str(error).strip().split("\n")[0][:200] or type(error).__name__
        raise ParseError(path, f"cannot be read ({words}); the file is damaged or of another format") from error


def _read_plain_xyz(path: Path) -> Atoms:
    """Count, comment, then element (or type) and x, y, z; further columns are left alone."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ParseError(path, "is not a text file") from error
    if not lines or not lines[0].strip().isdigit():
        raise ParseError(path, "an xyz file begins with the number of atoms", line=1)
    n = int(lines[0])
    rows = lines[2 : 2 + n]
    if len(rows) < n:
        raise ParseError(path, f"promises {n} atoms and holds {len(rows)}; the file is cut", line=len(lines))
    if any(line.strip() for line in lines[2 + n :]):
        raise ParseError(
            path,
            f"holds more lines than its {n} atoms; several structures in one plain xyz file are not read",
            line=3 + n,
        )
    symbols, positions = [], np.empty((n, 3))
    for number, row in enumerate(rows):
        words = row.split(None, 4)
        try:
            positions[number] = [float(word) for word in words[1:4]]
        except ValueError as error:
            raise ParseError(
                path, f"{row.strip()[:60]!r} is not an element and three numbers", line=number + 3
            ) from error
        if len(words) < 4:
            raise ParseError(path, f"{row.strip()[:60]!r} is not an element and three numbers", line=number + 3)
        symbols.append(words[0])
    return _named(symbols, positions, path)


def _named(symbols: list[str], positions: NDArray[np.float64], path: Path) -> Atoms:
    """Atoms whose names are elements, atomic numbers or types 1..n; types stay in the array ``type`` and are species
    X."""
    names = sorted(set(symbols))
    if names and all(name.isdigit() for name in names):
        kinds = np.array(symbols, dtype=np.int64)
        atoms = Atoms(f"X{len(symbols)}", positions=positions)
        atoms.set_array("type", kinds.astype(np.int32))
        return atoms
    clean = {name: name.capitalize() for name in names}
    for name, element in clean.items():
        if not known_symbol(element) and element != "X":
            line = symbols.index(name) + 3
            raise ParseError(path, f"{name!r} is not a chemical element", line=line)
    return Atoms([clean[name] for name in symbols], positions=positions)


def _with_species(atoms: Atoms, notes: list[str], species: dict[str, str], path: Path) -> tuple[Atoms, list[str]]:
    """Elements for the numbers of the array ``type``; elements that the file names itself are not changed."""
    if "type" not in atoms.arrays:
        if species:
            raise InputError(
                f"{path}: names its elements itself ({atoms.symbols.formula._formula}); leave out --species"
            )
        return atoms, notes
    types = atoms.arrays["type"]
    present = [str(t) for t in np.unique(types)]
    if not species:
        notes.append(f"types {', '.join(present)} have no elements; give --species, e.g. {_example(present)}")
        return atoms, notes
    numbers = _species_numbers(species, present, path)
    atoms.set_atomic_numbers([numbers[str(t)] for t in types])
    del atoms.arrays["type"]
    notes.append("types named by --species: " + ", ".join(f"{t} = {species[t]}" for t in present))
    return atoms, notes


def _example(present: list[str]) -> str:
    return ",".join(f"{t}={e}" for t, e in zip(present, ("Fe", "Pt", "Ni", "Pd", "Co"), strict=False))


def _species_numbers(species: dict[str, str], present: list[str], path: Path) -> dict[str, int]:
    for name, element in species.items():
        if not known_symbol(element):
            raise InputError(f"--species {name}={element}: {element!r} is not a chemical element")
    missing = [t for t in present if t not in species]
    extra = [t for t in species if t not in present]
    if missing or extra:
        raise InputError(
            f"{path}: the types are {', '.join(present)}, but --species names {', '.join(species)}; give {_example(present)}"
        )
    return {t: atomic_numbers[species[t]] for t in present}


# MATLAB ---------------------------------------------------------------------------------------------------------------


def mat_variables(path: Path) -> dict[str, tuple[int, ...]]:
    """Numeric variables of a MATLAB file (v5 or v7.3) and their shapes in MATLAB's order, without reading them."""
    if hdf5.h5py.is_hdf5(path):
        with hdf5.open_file(path) as file:
            return {
                name: tuple(reversed(d.shape)) for name, d in hdf5.datasets(file, path).items() if d.dtype.kind in "fiu"
            }
    from scipy.io import whosmat

    try:
        listed = whosmat(path)
    except Exception as error:
        raise ParseError(path, f"cannot be read as a MATLAB file ({error})") from error
    numeric = ("double", "single", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "logical")
    return {name: tuple(shape) for name, shape, kind in listed if kind in numeric}


def mat_array(path: Path, name: str) -> NDArray[Any]:
    """One variable of a MATLAB file in MATLAB's index order."""
    if hdf5.h5py.is_hdf5(path):
        with hdf5.open_file(path) as file:
            return hdf5.array(hdf5.datasets(file, path)[name], path).T
    from scipy.io import loadmat

    declared = 8 * int(np.prod(mat_variables(path)[name], dtype=np.int64))
    if declared > max(1 << 24, hdf5.MAX_EXPANSION * path.stat().st_size):
        raise InputError(
            f"{path}: {name} declares {declared / 1e9:.1f} GB in a file of {path.stat().st_size / 1e6:.1f} MB"
        )
    try:
        return np.asarray(loadmat(path, variable_names=[name])[name])
    except Exception as error:
        raise ParseError(path, f"variable {name} cannot be read ({error}); restore the file from a copy") from error


def _read_mat(path: Path, types: Path | None, settings: ReadSettings) -> tuple[Atoms, list[str]]:
    shapes = mat_variables(path)
    name = _pick_coordinates(path, shapes, settings.variable)
    coordinates = np.asarray(mat_array(path, name), dtype=np.float64)
    positions = np.ascontiguousarray(coordinates.T if coordinates.shape[0] == 3 else coordinates)
    notes = [f"coordinates taken from variable {name!r} {shapes[name]}"]
    if settings.voxel_size is None:
        notes.append("the file names no unit: coordinates taken as Å")
    atoms = Atoms(f"X{len(positions)}", positions=positions)
    found = _pick_types(path, types, len(positions), exclude=name)
    if found is None:
        notes.append("no variable with types was found: atoms have no element")
        return atoms, notes
    notes.append(f"types taken from variable {found[0]!r} of {found[1].name}")
    atoms.set_array("type", found[2])
    return _with_species(atoms, notes, settings.species, found[1])


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
        problem = (
            "holds no coordinates: no variable has the shape (3, N)" if not right else "holds several arrays (3, N)"
        )
        raise InputError(f"{path}: {problem}; it holds {listed}; name one with --variable")
    return right[0]


def _pick_types(path: Path, types: Path | None, n: int, *, exclude: str) -> tuple[str, Path, NDArray[np.int32]] | None:
    """Variable with one small whole number per atom, from the second file or the same one."""
    source = types or path
    if types is not None and not types.is_file():
        raise InputError(f"{types}: no such file; the second file holds the types of the atoms")
    right = []
    for name, shape in mat_variables(source).items():
        if (name != exclude or types is not None) and int(np.prod(shape)) == n and max(shape, default=0) == n:
            values = np.asarray(mat_array(source, name)).ravel()
            if (
                np.isfinite(values).all()
                and (values == np.round(values)).all()
                and values.min() >= 0
                and values.max() < 120
            ):
                right.append((name, source, values.astype(np.int32)))
    if len(right) > 1:
        raise InputError(
            f"{source}: several variables could be the types ({', '.join(r[0] for r in right)}); keep one in a file"
        )
    if not right and types is not None:
        raise InputError(f"{types}: holds no types: no variable has one whole number for each of the {n} atoms")
    return right[0] if right else None
