"""The project file: one HDF5 group per verb, every array with a checksum, replaced as a whole or not at all."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import json
import os
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import h5py
import numpy as np
from ase import Atoms
from filelock import FileLock, Timeout

from aet2dft import hdf5
from aet2dft.errors import InputError, LockedError, ParseError, ResourceError

SCHEMA = 1
"""Version of the layout; a file of a newer one is refused."""
MADE_FROM: dict[str, tuple[str, ...]] = {"inputs": ("order",), "collect": ("inputs",), "compare": ("collect",)}
"""Groups that a group is made from; replacing one removes what was made from it."""
_FILTERS = {"compression": "gzip", "compression_opts": 4, "shuffle": True, "fletcher32": True}
T = TypeVar("T")


def is_project(path: Path) -> bool:
    """Whether a file is a project of this package."""
    if not path.is_file() or not h5py.is_hdf5(path):
        return False
    with hdf5.open_file(path) as file:
        return "aet2dft_schema" in file.attrs


def groups(path: Path) -> tuple[str, ...]:
    """Verbs whose results a project holds."""
    with _open(path) as file:
        return tuple(file)


def load(path: Path, verb: str, name: str, kind: type[T]) -> T:
    """A record that `save` wrote.

    Parameters
    ----------
    path : Path
        Project file.
    verb, name : str
        Group and name of the record.
    kind : type
        Its class: a frozen dataclass, or Atoms.

    Raises
    ------
    InputError
        If the project has no such record.
    ParseError
        If it is damaged.
    """
    with _open(path) as file:
        if verb not in file or name not in (group := hdf5.child(file, verb, path)):
            have = ", ".join(file) or "nothing"
            raise InputError(
                f"{path}: holds no result of `{verb}` (it holds {have}); run `aet2dft {verb} {path}` first"
            )
        return typing.cast(T, _read(hdf5.child(group, name, path), kind, path))


def load_json(path: Path, verb: str) -> dict[str, Any]:
    """Settings and provenance of a verb."""
    with _open(path) as file:
        if verb not in file:
            raise InputError(f"{path}: holds no result of `{verb}`")
        return typing.cast(dict[str, Any], json.loads(_text(hdf5.child(file, verb, path), "provenance", path)))


def save(
    path: Path, verb: str, records: dict[str, Any], provenance: dict[str, Any], *, overwrite: bool = False
) -> tuple[str, ...]:
    """Write a group of a project, keeping the others; the file is replaced at once, after it is complete on disk.

    Parameters
    ----------
    path : Path
        Project file, created when missing.
    verb : str
        Name of the group.
    records : dict
        Atoms and frozen dataclasses by name.
    provenance : dict
        Settings, versions, digests, times: plain values.
    overwrite : bool
        Whether a group of this name may be replaced.

    Returns
    -------
    tuple of str
        Groups that were made from the replaced one and are gone with it.

    Raises
    ------
    InputError
        If the group is there and `overwrite` is false, or the file is no project.
    ResourceError
        If it cannot be written; the old file is untouched.
    """
    removed: tuple[str, ...] = ()
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with h5py.File(temporary, "w") as new:
            new.attrs["aet2dft_schema"] = SCHEMA
            if path.exists():
                with _open(path) as old:
                    refuse_existing(path, verb, overwrite=overwrite)
                    removed = tuple(name for name in old if verb in _ancestors(name)) if verb in old else ()
                    for name in old:
                        if name != verb and name not in removed:
                            old.copy(name, new)
            group = new.create_group(verb)
            _write_text(group, "provenance", json.dumps(provenance, sort_keys=True))
            for name, record in records.items():
                _write(group.create_group(name), record)
        _sync(temporary)
        os.replace(temporary, path)
        _sync(path.parent)
    except OSError as error:
        raise ResourceError(
            f"{path}: cannot be written ({error.strerror or error}); free space or choose another place with -o"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
    return removed


def refuse_existing(path: Path, verb: str, *, overwrite: bool) -> None:
    """Raise InputError where a project holds a group already; called before a long step, not only after it."""
    if path.exists() and not is_project(path):
        raise InputError(f"{path}: is there already and is no project of aet2dft; choose another name with -o")
    if path.exists() and not overwrite and verb in groups(path):
        raise InputError(f"{path}: holds a result of `{verb}` already; give --overwrite to replace it")


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a project for one process; LockedError where another live process has it."""
    lock = FileLock(path.with_name(f".{path.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise LockedError(f"{path}: another aet2dft process is writing to it; wait for it to end") from error
    except OSError as error:
        raise ResourceError(
            f"{path}: its folder cannot be written ({error.strerror or error}); choose another place with -o"
        ) from error
    try:
        yield
    finally:
        # the lock file stays: removing it while another process opens it would give both the lock
        lock.release()


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _ancestors(verb: str) -> set[str]:
    direct = MADE_FROM.get(verb, ())
    return set(direct).union(*(_ancestors(name) for name in direct))


def _open(path: Path) -> h5py.File:
    file = hdf5.open_file(path)
    schema = file.attrs.get("aet2dft_schema")
    if schema is None or int(schema) > SCHEMA:
        file.close()
        problem = "is no project of aet2dft" if schema is None else f"was written by a newer aet2dft (layout {schema})"
        raise InputError(f"{path}: {problem}")
    return file


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_text(group: h5py.Group, name: str, text: str) -> None:
    """Text with its digest: an attribute, or an array of bytes where it is too long for one."""
    raw = text.encode()
    if len(raw) < 60_000:
        group.attrs[name] = text
    else:
        group.create_dataset(f"{name}.utf8", data=np.frombuffer(raw, dtype=np.uint8), **_FILTERS)
    group.attrs[f"{name}.sha256"] = hashlib.sha256(raw).hexdigest()


def _text(group: h5py.Group, name: str, path: Path) -> str:
    try:
        long = f"{name}.utf8" in group
        text = (
            bytes(hdf5.array(hdf5.child(group, f"{name}.utf8", path), path)).decode()
            if long
            else str(group.attrs[name])
        )
        sound = hashlib.sha256(text.encode()).hexdigest() == group.attrs[f"{name}.sha256"]
    except (KeyError, OSError, UnicodeDecodeError, RuntimeError) as error:
        raise ParseError(path, f"{group.name} {name} cannot be read ({error}); restore the file from a copy") from error
    if not sound:
        raise ParseError(path, f"{group.name} {name} is damaged (checksum differs); restore the file from a copy")
    return text


def _write_array(group: h5py.Group, name: str, values: np.ndarray[Any, Any]) -> None:
    if values.dtype.kind == "U":
        values = np.char.encode(values, "utf-8") if values.size else values.astype("S1")
        values = values if values.dtype.itemsize else values.astype("S1")
    filters = _FILTERS if values.size else {}
    group.create_dataset(name, data=values, **filters).attrs["text"] = values.dtype.kind == "S"


def _read_array(dataset: h5py.Dataset, path: Path) -> np.ndarray[Any, Any]:
    values = hdf5.array(dataset, path)
    values = np.char.decode(values, "utf-8") if dataset.attrs.get("text") else values
    values.setflags(write=False)
    return values


def _write(group: h5py.Group, record: Any) -> None:
    """A record: arrays as datasets, records and tuples of records as groups, everything else as one JSON text."""
    if isinstance(record, Atoms):
        record = _AtomsRecord.of(record)
    plain: dict[str, Any] = {}
    for field in dataclasses.fields(record):
        value = getattr(record, field.name)
        if isinstance(value, np.ndarray):
            _write_array(group, field.name, value)
        elif dataclasses.is_dataclass(value):
            _write(group.create_group(field.name), value)
        elif isinstance(value, tuple) and value and all(dataclasses.is_dataclass(item) for item in value):
            inner = group.create_group(field.name)
            for number, item in enumerate(value):
                _write(inner.create_group(f"{number:05d}"), item)
        elif isinstance(value, dict) and value and all(isinstance(item, np.ndarray) for item in value.values()):
            inner = group.create_group(field.name)
            for name, item in value.items():
                _write_array(inner, name, item)
        else:
            plain[field.name] = value
    _write_text(group, "fields", json.dumps(plain))


def _read(group: h5py.Group, kind: Any, path: Path) -> Any:
    if kind is Atoms:
        return typing.cast(_AtomsRecord, _read(group, _AtomsRecord, path)).atoms()
    plain = json.loads(_text(group, "fields", path))
    values: dict[str, Any] = {}
    for name, hint in _hints(kind).items():
        if name in plain:
            values[name] = _as_hinted(plain[name], hint)
        elif name not in group:
            raise ParseError(path, f"{group.name} lacks {name}; it was written by another version, run the step again")
        else:
            values[name] = _read_member(hdf5.child(group, name, path), hint, path)
    return kind(**values)


def _read_member(item: h5py.Group | h5py.Dataset, hint: Any, path: Path) -> Any:
    if isinstance(item, h5py.Dataset):
        return _read_array(item, path)
    if (inner := _record_type(hint)) is not None and typing.get_origin(hint) is not tuple:
        return _read(item, inner, path)
    if inner is not None:
        return tuple(_read(hdf5.child(item, name, path), inner, path) for name in item)
    return {name: _read_array(hdf5.child(item, name, path), path) for name in item}


@functools.cache
def _hints(kind: Any) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _record_type(hint: Any) -> Any:
    """The dataclass in ``D``, ``D | None`` or ``tuple[D, ...]``."""
    if dataclasses.is_dataclass(hint):
        return hint
    if typing.get_origin(hint) in (tuple, typing.Union, types.UnionType):
        return next((arg for arg in typing.get_args(hint) if dataclasses.is_dataclass(arg)), None)
    return None


def _as_hinted(value: Any, hint: Any) -> Any:
    """JSON gives lists for tuples."""
    return tuple(_as_hinted(item, None) for item in value) if isinstance(value, list) else value


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class _AtomsRecord:
    """Atoms as arrays: everything that ASE keeps per atom, the cell and what JSON can hold of `info`."""

    arrays: dict[str, np.ndarray[Any, Any]]
    cell: np.ndarray[Any, Any]
    pbc: np.ndarray[Any, Any]
    info: dict[str, Any]

    @classmethod
    def of(cls, atoms: Atoms) -> _AtomsRecord:
        info = {
            key: value for key, value in atoms.info.items() if isinstance(value, (str, int, float, bool, tuple, list))
        }
        return cls(arrays=dict(atoms.arrays), cell=np.asarray(atoms.cell), pbc=np.asarray(atoms.pbc), info=info)

    def atoms(self) -> Atoms:
        arrays = {name: np.array(values) for name, values in self.arrays.items()}
        atoms = Atoms(numbers=arrays.pop("numbers"), positions=arrays.pop("positions"), cell=self.cell, pbc=self.pbc)
        for name, values in arrays.items():
            atoms.set_array(name, values)
        atoms.info.update({key: tuple(value) if isinstance(value, list) else value for key, value in self.info.items()})
        return atoms
