"""MATLAB files, v5 and v7.3, in MATLAB's index order; what the arrays mean is decided elsewhere."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aet2dft import hdf5
from aet2dft.errors import InputError, ParseError

_ITEMSIZES = {"double": 8, "single": 4, "logical": 1}
_ITEMSIZES |= {f"{sign}int{bits}": bits // 8 for sign in ("", "u") for bits in (8, 16, 32, 64)}
"""Bytes of one number of each numeric class of MATLAB."""
_CLASSES = {6: 8, 7: 4} | {8 + k: 1 << k // 2 for k in range(8)}
"""The same by the numbers of the classes in version 5 files: double, single, int8, uint8, int16 to uint64."""
_OBJECT, _PACKED = 17, 15
"""Number of the class of objects; type of a packed element."""
_HEAD = 1024
"""Bytes of a variable that hold its header."""


def mat_variables(path: Path) -> dict[str, tuple[int, ...]]:
    """Numeric variables of a file and their shapes, without reading them."""
    if hdf5.is_hdf5(path):
        with hdf5.open_file(path) as file:
            return {name: tuple(reversed(data.shape or ())) for name, data in _version_7(file, path).items()}
    return {name: shape for name, (shape, _) in _version_5(path).items()}


def mat_array(path: Path, name: str) -> NDArray[Any]:
    """One variable of a file.

    Raises
    ------
    InputError
        If it is not there, or declares more bytes than its file can hold.
    ParseError
        If it cannot be read.
    """
    if hdf5.is_hdf5(path):
        with hdf5.open_file(path) as file:
            found = _version_7(file, path)
            _require(name, found, path)
            return hdf5.array(found[name], path).T
    from scipy.io import loadmat

    variables = _version_5(path)
    _require(name, variables, path)
    hdf5.check_size(path, name, *variables[name])
    try:
        values = np.asarray(loadmat(path, variable_names=[name])[name])
    except Exception as error:
        raise ParseError(path, f"variable {name} cannot be read ({error}); restore the file from a copy") from error
    if np.iscomplexobj(values):
        raise InputError(f"{path}: {name} is complex; give real numbers")
    return values


def mat_objects(path: Path) -> list[str]:
    """Names of the variables of a file that are objects of MATLAB's classes, which are not read."""
    return [] if hdf5.is_hdf5(path) else [name for name, kind, _ in _headers(path) if kind == _OBJECT]


def _version_7(file: hdf5.Group, path: Path) -> dict[str, hdf5.Dataset]:
    """Numeric variables; texts are integers too, and empty ones hold their shape, as their attributes say."""
    return {
        name: data
        for name, data in hdf5.datasets(file, path).items()
        if data.dtype.kind in "fiu" and "MATLAB_empty" not in data.attrs and _class(data) in _ITEMSIZES
    }


def _class(data: hdf5.Dataset) -> str:
    """Class of MATLAB; a number where other software wrote none."""
    said = data.attrs.get("MATLAB_class", b"double")
    return said.decode("ascii", "replace") if isinstance(said, bytes) else str(said)


def _version_5(path: Path) -> dict[str, tuple[tuple[int, ...], int]]:
    """Shape and bytes per number of the numeric variables."""
    from scipy.io import whosmat

    try:
        return {name: (tuple(shape), _ITEMSIZES[kind]) for name, shape, kind in whosmat(path) if kind in _ITEMSIZES}
    except TypeError:  # an object: no shape is found for it
        return {name: (shape, _CLASSES[kind]) for name, kind, shape in _headers(path) if name and kind in _CLASSES}
    except Exception as error:
        raise ParseError(path, f"cannot be read as a MATLAB file ({error}); restore it from a copy") from error


def _headers(path: Path) -> list[tuple[str, int, tuple[int, ...]]]:
    """Name, class and shape of the variables of a version 5 file; the shape of objects is empty.

    MAT-File Format, The MathWorks (2023): elements with a tag of type and length, the variables packed one by one.
    """
    found = []
    try:
        with path.open("rb") as file:
            order = ">" if file.read(128).endswith(b"MI") else "<"
            while len(tag := file.read(8)) == 8:
                packed, length = struct.unpack(f"{order}II", tag)
                after, head = file.tell() + length, file.read(min(length, _HEAD))
                if packed == _PACKED:
                    head = zlib.decompressobj().decompress(head, _HEAD)[8:]
                flags, head = _element(head, order)
                kind = struct.unpack(f"{order}I", flags[:4])[0] & 0xFF
                shape, rest = _element(head, order)
                name = shape if kind == _OBJECT else _element(rest, order)[0]
                lengths = () if kind == _OBJECT else struct.unpack(f"{order}{len(shape) // 4}i", shape)
                found.append((name.decode("ascii", "replace"), kind, lengths))
                file.seek(after)
    except (OSError, struct.error, zlib.error) as error:
        raise ParseError(path, f"cannot be read as a MATLAB file ({error}); restore it from a copy") from error
    return found


def _element(data: bytes, order: str) -> tuple[bytes, bytes]:
    """Content of the first element of these bytes, and what follows it; short ones are within their tag."""
    kind, length = struct.unpack_from(f"{order}II", data)
    if kind >> 16:
        return data[4 : 4 + (kind >> 16)], data[8:]
    return data[8 : 8 + length], data[8 + length + -length % 8 :]


def _require(name: str, found: Any, path: Path) -> None:
    if name not in found:
        raise InputError(f"{path}: holds no variable {name!r}; it holds {', '.join(found) or 'no numbers'}")
