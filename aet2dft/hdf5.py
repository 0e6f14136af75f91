"""HDF5 files from outside are untrusted: links and declared sizes are looked at before anything is read."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from h5py import Dataset as Dataset
from h5py import Group as Group
from h5py import is_hdf5 as is_hdf5
from numpy.typing import NDArray

from aet2dft.errors import InputError, ParseError

MAX_EXPANSION = 900
"""An array may declare at most so many times the bytes of its file: a published mask has 860, zeros alone 1030."""
_SMALL = 1 << 24
"""Bytes that any file may declare."""


def open_file(path: Path) -> h5py.File:
    """Open for reading; ParseError where it is no HDF5 file or is damaged."""
    try:
        return h5py.File(path, "r")
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; give another path") from error
    except OSError as error:
        raise ParseError(path, f"is not a readable HDF5 file ({error}); it is damaged or of another kind") from error


def child(group: Group, name: str, path: Path) -> Any:
    """Member of a group; InputError for links, which may lead out of the file."""
    if not isinstance(group.get(name, getlink=True), h5py.HardLink):
        raise InputError(f"{path}: {group.name}/{name} is a link; links are not followed, copy the data into the file")
    return group[name]


def array(dataset: Dataset, path: Path) -> NDArray[Any]:
    """Values of a dataset that lives in its own file and has an honest size.

    Raises
    ------
    InputError
        External storage, virtual datasets, other things than numbers and texts of fixed length, sizes beyond
        `MAX_EXPANSION` times the file.
    ParseError
        Damaged values (checksum).
    """
    if not isinstance(dataset, Dataset):
        raise ParseError(path, f"{dataset.name} is no array; the file is damaged or of another kind")
    if dataset.external or dataset.is_virtual:
        raise InputError(f"{path}: {dataset.name} takes its values from another file; copy the data into this one")
    if dataset.dtype.kind not in "biufS" or dataset.shape is None:
        raise InputError(f"{path}: {dataset.name} holds no plain numbers; give an array of numbers")
    check_size(path, dataset.name, dataset.shape, dataset.dtype.itemsize)
    try:
        return np.asarray(dataset[()])
    except (OSError, RuntimeError) as error:
        raise ParseError(path, f"{dataset.name} is damaged ({error}); restore the file from a copy") from error


def check_size(path: Path, name: str, shape: tuple[int, ...], itemsize: int) -> None:
    """Raise InputError for an array that declares far more bytes than its file can hold."""
    size = math.prod(shape) * itemsize  # Python's integers: the product of a hostile shape overflows 64 bits
    if size > max(_SMALL, MAX_EXPANSION * path.stat().st_size):
        here = path.stat().st_size / 1e6
        raise InputError(f"{path}: {name} declares {size / 1e9:.1f} GB in a file of {here:.1f} MB; it is not read")


def datasets(group: Group, path: Path) -> dict[str, Dataset]:
    """Datasets by their path in the file, sub-groups included.

    Links are not followed: what a soft link leads to inside the file is found at its own place.

    Raises
    ------
    InputError
        If a link leads to another file, and no stack or volume is in this one.
    """
    found: dict[str, Dataset] = {}
    waiting, seen, elsewhere = [group], set(), ""
    while waiting:
        here = waiting.pop()
        for name in here:
            link = here.get(name, getlink=True)
            if not isinstance(link, h5py.HardLink):
                elsewhere = elsewhere or (f"{here.name}/{name}" if isinstance(link, h5py.ExternalLink) else "")
                continue
            item = here[name]
            place = h5py.h5o.get_info(item.id).addr
            if place in seen:  # a second name, or a group that holds itself
                continue
            seen.add(place)
            if isinstance(item, Dataset):
                found[item.name.lstrip("/")] = item
            elif isinstance(item, Group) and not item.name.startswith("/#"):
                waiting.append(item)
    if elsewhere and not any(len(data.shape or ()) > 2 for data in found.values()):
        raise InputError(f"{path}: {elsewhere} is a link to another file, which is not followed; give that file")
    return found
