"""Arrays of numbers in files of any known kind: what a file holds, and one of them, in the index order of the package.

What an array means is decided in ``readers``; tables of angles are text or arrays.
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from aet2dft import hdf5
from aet2dft.array_headers import npz_headers, open_tiff, tiff_pages, unreadable
from aet2dft.errors import Aet2dftError, InputError
from aet2dft.matlab import mat_array, mat_objects, mat_variables
from aet2dft.mrc import SUFFIXES, mrc_array, mrc_header

T = TypeVar("T")
_SQUARE = 1.01
"""Ratio of two edges up to which a pixel is a square and a voxel a cube."""
_LENGTHS = {"å": 1.0, "a": 1.0, "angstrom": 1.0, "angstroms": 1.0, "nm": 10.0, "pm": 0.01}
"""Å in the units of length of EMD files, without brackets and underscores, in small letters."""
_DEGREES = {"deg": 1.0, "degree": 1.0, "degrees": 1.0, "°": 1.0, "rad": math.degrees(1), "radians": math.degrees(1)}
"""Degrees in the units of angles of EMD files, likewise."""
_TILT = re.compile("tilt|angle|alpha|theta")


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredArray:
    """An array of a file that is not read yet."""

    shape: tuple[int, ...]
    """Its shape; the index of x comes before that of y."""
    load: Callable[[], NDArray[Any]]
    """Reads its values."""
    spacing: tuple[float | None, ...] | None = None
    """Å between values along each axis, where the file says it."""
    tilts: NDArray[np.float64] | None = None
    """(n,), degrees: tilts of the images, where the file says them."""

    def pixel_size(self, axes: Sequence[int], path: Path) -> float | None:
        """Å between values along these axes, which must be one length; None where the file does not say it."""
        if self.spacing is None or not axes:
            return None
        said = [length for length in (self.spacing[axis] for axis in axes) if length is not None]
        if len(said) < len(axes):
            return None
        if max(said) > _SQUARE * min(said):
            sizes = " x ".join(f"{length:.4g}" for length in said)
            raise InputError(f"{path}: its pixels are {sizes} Å; only squares and cubes can be used, resample it")
        return said[0]


def stored_arrays(path: Path) -> dict[str, StoredArray]:
    """Arrays of numbers of a file by their names.

    Parameters
    ----------
    path : Path
        ``.mat`` (5 and 7.3), ``.npy``, ``.npz``, ``.mrc`` (``.map``, ``.rec``, ``.st``, ``.ali``), ``.tif``, ``.emd``,
        ``.h5``, ``.hdf5``.

    Raises
    ------
    InputError
        If the file is not there, of another kind, or damaged.

    Notes
    -----
    MATLAB files keep MATLAB's order of the indices. MRC files, whose x runs fastest, come with x first. NumPy and HDF5
    files are as they are; pages of TIFF files are (page, row, column).
    """
    if not path.is_file():
        problem = "is a folder" if path.is_dir() else "no such file"
        raise InputError(f"{path}: {problem}; give a file of one of the kinds {', '.join(KINDS)}")
    kind = KINDS.get(path.suffix.lower())
    if kind is None:
        raise InputError(f"{path}: is of no known kind; the kinds are {', '.join(KINDS)}")
    return _guarded(path, partial(kind, path))


def _guarded(path: Path, read: Callable[[], T]) -> T:
    """Call `read`; whatever a library raises over a damaged file becomes a ParseError."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what a library doubts is either an error or of no matter
            return read()
    except (Aet2dftError, MemoryError):
        raise
    except Exception as error:
        raise unreadable(path, error) from error


def _mat(path: Path) -> dict[str, StoredArray]:
    shapes = mat_variables(path)
    objects = [] if shapes else mat_objects(path)
    if objects:
        raise InputError(f"{path}: holds no arrays, and {objects[0]} is a MATLAB object; save its arrays as plain ones")
    return {name: StoredArray(shape=shape, load=partial(mat_array, path, name)) for name, shape in shapes.items()}


def _npy(path: Path) -> dict[str, StoredArray]:
    # the memory map fails where the header declares more than the file holds; kept, it would hold the file open
    values = np.load(path, mmap_mode="r", allow_pickle=False)
    _require_numbers(path, path.stem, values.dtype)
    load = partial(_guarded, path, partial(np.load, path, allow_pickle=False))
    return {path.stem: StoredArray(shape=values.shape, load=load)}


def _npz(path: Path) -> dict[str, StoredArray]:
    found = {}
    for name, (shape, dtype) in npz_headers(path).items():
        _require_numbers(path, name, dtype)
        hdf5.check_size(path, name, shape, dtype.itemsize)
        found[name] = StoredArray(shape=shape, load=partial(_npz_member, path, name))
    return found


def _npz_member(path: Path, name: str) -> NDArray[Any]:
    with np.load(path, allow_pickle=False) as archive:
        return _guarded(path, lambda: np.asarray(archive[name]))


def _mrc(path: Path) -> dict[str, StoredArray]:
    header = mrc_header(path)
    load = partial(_guarded, path, partial(mrc_array, path))
    return {path.stem: StoredArray(shape=header.shape, load=load, spacing=header.spacing)}


def _tiff(path: Path) -> dict[str, StoredArray]:
    with open_tiff(path) as file:
        parts, shape = tiff_pages(file)
        dtype = np.dtype(parts[0].dtype)
    _require_numbers(path, path.stem, dtype)
    hdf5.check_size(path, path.stem, shape, dtype.itemsize)
    return {path.stem: StoredArray(shape=shape, load=partial(_guarded, path, partial(_tiff_values, path)))}


def _tiff_values(path: Path) -> NDArray[Any]:
    with open_tiff(path) as file:
        parts, _ = tiff_pages(file)
        values = [part.asarray() for part in parts]
    return np.stack(values) if len(values) > 1 else values[0]


def _hdf5(path: Path) -> dict[str, StoredArray]:
    with hdf5.open_file(path) as file:
        return {
            name: StoredArray(
                shape=tuple(data.shape or ()),
                load=partial(_hdf5_dataset, path, name),
                spacing=tuple(_emd_spacing(data, k, path) for k in range(1, data.ndim + 1)),
                tilts=_emd_tilts(data, path),
            )
            for name, data in hdf5.datasets(file, path).items()
            if data.dtype.kind in "biuf"
        }


def _hdf5_dataset(path: Path, name: str) -> NDArray[Any]:
    with hdf5.open_file(path) as file:
        return hdf5.array(hdf5.datasets(file, path)[name], path)


def _emd_axis(data: hdf5.Dataset, axis: int, path: Path) -> tuple[str, str, NDArray[np.float64]] | None:
    """Name, unit, and places of an axis, from 1: the vector of coordinates that EMD files keep beside an array.

    https://emdatasets.com/format: `dim1`, `dim2`, ... with the attributes `name` and `units`, as in ``[n_m]``.
    """
    dim = f"dim{axis}"
    link = data.parent.get(dim, getlink=True)
    along = hdf5.child(data.parent, dim, path) if link is not None else None
    if not isinstance(along, hdf5.Dataset) or along.shape is None or along.ndim != 1 or along.dtype.kind not in "iuf":
        return None
    words = [along.attrs.get(key, "") for key in ("name", "units")]
    name, unit = (word.decode("utf-8", "replace") if isinstance(word, bytes) else str(word) for word in words)
    return name.strip().lower(), re.sub(r"[\[\]_\s]", "", unit).lower(), hdf5.array(along, path).astype(np.float64)


def _emd_spacing(data: hdf5.Dataset, axis: int, path: Path) -> float | None:
    """Å between values along an axis, from 1."""
    found = _emd_axis(data, axis, path)
    if found is None or found[1] not in _LENGTHS or len(found[2]) < 2:
        return None
    step = _LENGTHS[found[1]] * abs(float(found[2][1] - found[2][0]))
    return step if math.isfinite(step) and step > 0 else None


def _emd_tilts(data: hdf5.Dataset, path: Path) -> NDArray[np.float64] | None:
    """Degrees along the one axis of images that is called tilt or angle and has such a unit."""
    axes = [_emd_axis(data, k, path) for k in range(1, data.ndim + 1)] if data.ndim == 3 else []
    tilts = [
        _DEGREES[axis[1]] * axis[2]
        for axis, length in zip(axes, data.shape or (), strict=False)
        if axis is not None and axis[1] in _DEGREES and len(axis[2]) == length and _TILT.match(axis[0])
    ]
    return tilts[0] if len(tilts) == 1 else None


def _require_numbers(path: Path, name: str, dtype: np.dtype[Any]) -> None:
    if dtype.kind not in "biuf":
        raise InputError(f"{path}: {name} holds values of type {dtype}; give real numbers")


KINDS: dict[str, Callable[[Path], dict[str, StoredArray]]] = {
    ".mat": _mat,
    ".npy": _npy,
    ".npz": _npz,
    **dict.fromkeys(SUFFIXES, _mrc),
    **dict.fromkeys((".tif", ".tiff"), _tiff),
    **dict.fromkeys((".emd", ".h5", ".hdf5"), _hdf5),
}
