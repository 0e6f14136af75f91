"""MATLAB files, v5 and v7.3, in MATLAB's index order; what the arrays mean is decided elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aet2dft import hdf5
from aet2dft.errors import InputError, ParseError

_ITEMSIZES = {"double": 8, "single": 4, "logical": 1}
_ITEMSIZES |= {f"{sign}int{bits}": bits // 8 for sign in ("", "u") for bits in (8, 16, 32, 64)}
"""Bytes of one number of each numeric class of MATLAB."""


def mat_variables(path: Path) -> dict[str, tuple[int, ...]]:
    """Numeric variables of a file and their shapes, without reading them."""
    if hdf5.is_hdf5(path):
        with hdf5.open_file(path) as file:
            found = hdf5.datasets(file, path)
            return {name: tuple(reversed(d.shape or ())) for name, d in found.items() if d.dtype.kind in "fiu"}
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
            found = hdf5.datasets(file, path)
            _require(name, found, path)
            return hdf5.array(found[name], path).T
    from scipy.io import loadmat

    variables = _version_5(path)
    _require(name, variables, path)
    hdf5.check_size(path, name, *variables[name])
    try:
        return np.asarray(loadmat(path, variable_names=[name])[name])
    except Exception as error:
        raise ParseError(path, f"variable {name} cannot be read ({error}); restore the file from a copy") from error


def _version_5(path: Path) -> dict[str, tuple[tuple[int, ...], int]]:
    """Shape and bytes per number of the numeric variables."""
    from scipy.io import whosmat

    try:
        listed = whosmat(path)
    except Exception as error:
        raise ParseError(path, f"cannot be read as a MATLAB file ({error}); restore it from a copy") from error
    return {name: (tuple(shape), _ITEMSIZES[kind]) for name, shape, kind in listed if kind in _ITEMSIZES}


def _require(name: str, found: Any, path: Path) -> None:
    if name not in found:
        raise InputError(f"{path}: holds no variable {name!r}; it holds {', '.join(found) or 'no numbers'}")
