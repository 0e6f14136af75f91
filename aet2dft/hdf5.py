"""HDF5 files from outside are untrusted: links out of the file and declared sizes are looked at before anything is
read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from aet2dft.errors import InputError, ParseError

MAX_EXPANSION = 400
"""A dataset may declare at most so many times the bytes of its file (compression has limits; a bomb has not)."""
_SMALL = 1 << 20


def open_file(path: Path) -> h5py.File:
    """Open for reading; ParseError where it is no HDF5 file or is damaged."""
    try:
        return h5py.File(path, "r")
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except OSError as error:
        raise ParseError(path, f"is not a readable HDF5 file ({error}); it is damaged or of another kind") from error


def child(group: h5py.Group, name: str, path: Path) -> h5py.Group | h5py.Dataset:
    """Member of a group; InputError for links that lead out of the file."""
    if not isinstance(group.get(name, getlink=True), h5py.HardLink):
        raise InputError(f"{path}: {group.name}/{name} is a link; links are not followed, copy the data into the file")
    return group[name]


def array(dataset: h5py.Dataset, path: Path) -> NDArray[Any]:
    """Values of a dataset that lives in its own file and has an honest size.

    Raises
    ------
    InputError
        External storage, virtual datasets, sizes beyond `MAX_EXPANSION` times the file.
    ParseError
        Damaged values (checksum).
    """
    if dataset.external or dataset.is_virtual:
        raise InputError(f"{path}: {dataset.name} takes its values from another file; copy the data into this one")
    if dataset.dtype.hasobject:
        raise InputError(f"{path}: {dataset.name} holds objects, not numbers")
    size = int(np.prod(dataset.shape, dtype=np.int64)) * dataset.dtype.itemsize
    if size > max(_SMALL, MAX_EXPANSION * path.stat().st_size):
        raise InputError(
            f"{path}: {dataset.name} declares {size / 1e9:.1f} GB in a file of {path.stat().st_size / 1e6:.1f} MB"
        )
    try:
        return np.asarray(dataset[()])
    except (OSError, RuntimeError) as error:
        raise ParseError(path, f"{dataset.name} is damaged ({error}); restore the file from a copy") from error


def datasets(group: h5py.Group, path: Path) -> dict[str, h5py.Dataset]:
    """Datasets by their path in the file, sub-groups included; links are refused."""
    found: dict[str, h5py.Dataset] = {}
    for name in group:
        item = child(group, name, path)
        if isinstance(item, h5py.Dataset):
            found[item.name.lstrip("/")] = item
        elif not item.name.startswith("/#"):
            found.update(datasets(item, path))
    return found
