"""Frozen dataclasses and Atoms as groups of an HDF5 file and back; the file they live in belongs to ``store``."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import types
import typing
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from aet2dft import hdf5
from aet2dft.errors import ParseError
from aet2dft.hdf5 import Dataset, Group

_FILTERS = {"compression": "gzip", "compression_opts": 4, "shuffle": True, "fletcher32": True}
_LONGEST_ATTRIBUTE = 60_000
"""Bytes; HDF5 keeps no longer ones."""


def write_text(group: Group, name: str, text: str) -> None:
    """Text with its digest: an attribute, or an array of bytes where it is too long for one."""
    raw = text.encode()
    if len(raw) < _LONGEST_ATTRIBUTE:
        group.attrs[name] = text
    else:
        group.create_dataset(f"{name}.utf8", data=np.frombuffer(raw, dtype=np.uint8), **_FILTERS)
    group.attrs[f"{name}.sha256"] = hashlib.sha256(raw).hexdigest()


def read_text(group: Group, name: str, path: Path) -> str:
    """Text that `write_text` wrote; ParseError where its digest is another."""
    try:
        if f"{name}.utf8" in group:
            text = bytes(hdf5.array(hdf5.child(group, f"{name}.utf8", path), path)).decode()
        else:
            text = str(group.attrs[name])
        sound = hashlib.sha256(text.encode()).hexdigest() == group.attrs[f"{name}.sha256"]
    except (KeyError, OSError, UnicodeDecodeError, RuntimeError) as error:
        raise ParseError(path, f"{group.name} {name} cannot be read ({error}); restore the file from a copy") from error
    if not sound:
        raise ParseError(path, f"{group.name} {name} is damaged (checksum differs); restore the file from a copy")
    return text


def _write_array(group: Group, name: str, values: np.ndarray[Any, Any]) -> None:
    if values.dtype.kind == "U":
        values = np.char.encode(values, "utf-8") if values.size else values.astype("S1")
        values = values if values.dtype.itemsize else values.astype("S1")
    filters = _FILTERS if values.size else {}
    group.create_dataset(name, data=values, **filters).attrs["text"] = values.dtype.kind == "S"


def _read_array(dataset: Dataset, path: Path) -> np.ndarray[Any, Any]:
    values = hdf5.array(dataset, path)
    values = np.char.decode(values, "utf-8") if dataset.attrs.get("text") else values
    values.setflags(write=False)
    return values


def write(group: Group, record: Any) -> None:
    """A record: arrays as datasets, records and tuples of records as groups, everything else as one JSON text."""
    if isinstance(record, Atoms):
        record = _AtomsRecord.of(record)
    plain: dict[str, Any] = {}
    for field in dataclasses.fields(record):
        value = getattr(record, field.name)
        if isinstance(value, np.ndarray):
            _write_array(group, field.name, value)
        elif dataclasses.is_dataclass(value):
            write(group.create_group(field.name), value)
        elif isinstance(value, tuple) and value and all(dataclasses.is_dataclass(item) for item in value):
            inner = group.create_group(field.name)
            for number, item in enumerate(value):
                write(inner.create_group(f"{number:05d}"), item)
        elif isinstance(value, dict) and value and all(isinstance(item, np.ndarray) for item in value.values()):
            inner = group.create_group(field.name)
            for name, item in value.items():
                _write_array(inner, name, item)
        else:
            plain[field.name] = value
    write_text(group, "fields", json.dumps(plain, default=_of_numpy))


def read(group: Group, kind: Any, path: Path) -> Any:
    """The record of class `kind` that `write` wrote; ParseError where it is damaged or of another version.

    A field with a default may be missing: it came later than the file.
    """
    if kind is Atoms:
        return typing.cast(_AtomsRecord, read(group, _AtomsRecord, path)).atoms()
    plain = json.loads(read_text(group, "fields", path))
    values: dict[str, Any] = {}
    may_lack = {field.name for field in dataclasses.fields(kind) if field.default is not dataclasses.MISSING}
    for name, hint in _hints(kind).items():
        if name in plain:
            values[name] = _tuples(plain[name])
        elif name in group:
            values[name] = _read_member(hdf5.child(group, name, path), hint, path)
        elif name not in may_lack:
            raise ParseError(path, f"{group.name} lacks {name}; it was written by another version, run the step again")
    return kind(**values)


def _read_member(item: Group | Dataset, hint: Any, path: Path) -> Any:
    if isinstance(item, Dataset):
        return _read_array(item, path)
    if (inner := _record_type(hint)) is not None and typing.get_origin(hint) is not tuple:
        return read(item, inner, path)
    if inner is not None:
        return tuple(read(hdf5.child(item, name, path), inner, path) for name in item)
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


def _of_numpy(value: Any) -> Any:
    """A number or an array of numpy as JSON knows it."""
    if isinstance(value, (np.generic, np.ndarray)):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} is no plain value")


def _is_plain(value: Any) -> bool:
    """Whether JSON can hold a value."""
    try:
        json.dumps(value, default=_of_numpy)
    except (TypeError, ValueError):
        return False
    return True


def _tuples(value: Any) -> Any:
    """JSON gives lists for tuples."""
    if isinstance(value, dict):
        return {name: _tuples(item) for name, item in value.items()}
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class _AtomsRecord:
    """Atoms as arrays: everything that ASE keeps per atom, the cell and what JSON can hold of `info`."""

    arrays: dict[str, np.ndarray[Any, Any]]
    """Per-atom arrays by name, numbers and positions among them."""
    cell: np.ndarray[Any, Any]
    """(3, 3), Å: cell vectors as rows."""
    pbc: np.ndarray[Any, Any]
    """(3,): periodic directions."""
    info: dict[str, Any]
    """Plain values of `Atoms.info`."""

    @classmethod
    def of(cls, atoms: Atoms) -> _AtomsRecord:
        """The record of a model."""
        info = {key: value for key, value in atoms.info.items() if _is_plain(value)}
        return cls(arrays=dict(atoms.arrays), cell=np.asarray(atoms.cell), pbc=np.asarray(atoms.pbc), info=info)

    def atoms(self) -> Atoms:
        """A new Atoms with writable arrays."""
        arrays = {name: np.array(values) for name, values in self.arrays.items()}
        atoms = Atoms(numbers=arrays.pop("numbers"), positions=arrays.pop("positions"), cell=self.cell, pbc=self.pbc)
        for name, values in arrays.items():
            atoms.set_array(name, values)
        atoms.info.update(self.info)
        return atoms
