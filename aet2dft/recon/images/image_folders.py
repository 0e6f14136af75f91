"""A folder with one file per image -> one stack, in the order of the numbers in the names."""

from __future__ import annotations

import re
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aet2dft.errors import InputError
from aet2dft.recon.images.array_files import StoredArray, stored_arrays

_KINDS = {".tif": "tif", ".tiff": "tif", ".mrc": "mrc", ".npy": "npy"}
"""Suffixes of files that may hold one image."""
_UNSIGNED, _SIGNED = re.compile(r"(\d+(?:\.\d+)?)"), re.compile(r"([+-]?\d+(?:\.\d+)?)")
_SIGN = re.compile(r"\+\d|(^|[^0-9A-Za-z])-\d")
"""A plus, or a minus after something that separates already: these are signs, not hyphens."""
_SAME = 0.51
"""Degrees by which the tilt in a name may be rounded."""
Notes = tuple[str, ...]


def image_files(folder: Path) -> list[Path]:
    """Files of single images of a folder, in the order of the numbers in their names; hidden files are left aside.

    Raises
    ------
    InputError
        If they are of several kinds.
    """
    files = [p for p in folder.iterdir() if p.suffix.lower() in _KINDS and p.is_file() and not p.name.startswith(".")]
    kinds = sorted({_KINDS[p.suffix.lower()] for p in files})
    if len(kinds) > 1:
        raise InputError(f"{folder}: holds files of several kinds ({', '.join(kinds)}); keep the images alone in it")
    files.sort(key=lambda p: p.name)
    return [files[k] for k in number_order([p.stem for p in files])]


def number_order(stems: list[str]) -> list[int]:
    """Places of names in the order of the numbers in them, 2 before 10; equal ones stay as they are."""
    numbers = _numbers_of(stems)
    return sorted(range(len(stems)), key=lambda k: _key(stems[k], numbers))


def folder_stack(folder: Path) -> tuple[StoredArray, Notes]:
    """The images of a folder as one array (n, nx, ny).

    Raises
    ------
    InputError
        If the folder holds none, a file holds something else than one image, or they differ in shape or pixel size.
    """
    files = image_files(folder)
    if not files:
        raise InputError(
            f"{folder}: is a folder without images; give a file, or one image per .tif, .mrc or .npy in it"
        )
    images = [_image(file) for file in files]
    (shape, how_many), *_ = Counter(array.shape for array in images).most_common(1)
    if how_many < len(images):
        odd = next(k for k, array in enumerate(images) if array.shape != shape)
        what = f"{files[odd].name} has shape {images[odd].shape}, {how_many} others {shape}"
        raise InputError(f"{folder}: its images differ: {what}; leave in it what belongs together")
    if len({array.spacing for array in images}) > 1:
        raise InputError(f"{folder}: the headers of its images name several sizes of pixels; write them alike")
    spacing = images[0].spacing
    stack = StoredArray(
        shape=(len(images), *shape),
        load=partial(_stacked, images),
        spacing=None if spacing is None else (None, *spacing),
    )
    return stack, (f"{len(files)} files of {folder.name}, {files[0].name} to {files[-1].name}, taken in this order",)


def check_order(folder: Path, angles: NDArray[np.float64]) -> None:
    """Refuse tilts (n,), in degrees, that are in another order than those in the names of the files, if these have any.

    Raises
    ------
    InputError
        If the names hold the same tilts in another order.
    """
    files = image_files(folder)
    numbers = _numbers_of([p.stem for p in files])
    last = [numbers.findall(p.stem)[-1:] for p in files]
    if not all(last) or len(last) != len(angles):
        return
    named = np.array([float(found[0]) for found in last])
    given = angles if numbers is _SIGNED else np.abs(angles)
    if np.abs(named - given).max() > _SAME >= np.abs(np.sort(named) - np.sort(given)).max():
        k = int(np.abs(named - given).argmax())
        raise InputError(
            f"{folder}: by its name {files[k].name} is the image at {named[k]:g} degrees, by its place in the list of "
            f"angles at {angles[k]:g}; put the angles in the order of the names"
        )


def _image(file: Path) -> StoredArray:
    """The one image (nx, ny) of a file."""
    found = stored_arrays(file)
    array = next(iter(found.values()))
    axes = [k for k, length in enumerate(array.shape) if length != 1]
    if len(axes) != 2:
        raise InputError(f"{file}: holds an array of shape {array.shape}, not one image; give such a file by itself")
    shape = tuple(array.shape[axis] for axis in axes)
    spacing = None if array.spacing is None else tuple(array.spacing[axis] for axis in axes)
    return StoredArray(shape=shape, load=lambda: array.load().reshape(shape), spacing=spacing)


def _stacked(images: list[StoredArray]) -> NDArray[Any]:
    return np.stack([image.load() for image in images])


def _numbers_of(stems: list[str]) -> re.Pattern[str]:
    """What a number is in these names: a hyphen that all of them have before it is no minus."""
    some = len({"-" in stem for stem in stems}) > 1
    return _SIGNED if some or any(_SIGN.search(stem) for stem in stems) else _UNSIGNED


def _key(stem: str, numbers: re.Pattern[str]) -> list[tuple[float, str]]:
    """Numbers by their value, other words by their letters."""
    return [(float(part), "") if numbers.fullmatch(part) else (0.0, part) for part in numbers.split(stem)]
