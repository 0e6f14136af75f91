"""Shapes of images and volumes from the headers of their files; the values are not read."""

from __future__ import annotations

import contextlib
import io
import logging
import math
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aet2dft import hdf5
from aet2dft.errors import InputError, ParseError
from aet2dft.matlab import mat_variables
from aet2dft.mrc import SUFFIXES, mrc_header

if TYPE_CHECKING:
    import numpy as np
    import tifffile

Shapes = dict[str, tuple[int, ...]]
_LEAST_EDGE = 4
"""A three-dimensional array that is shorter along one axis is a table, not a stack of images."""
_NPY_HEADER = 1 << 16
"""Bytes of a .npy file that are looked at; an honest header is shorter."""


def shapes(path: Path) -> Shapes | None:
    """Shapes of the arrays of a file by their names, as in the file; None where it is of no known kind.

    Raises
    ------
    InputError
        If the file is damaged.
    """
    read = _READERS.get(path.suffix.lower())
    if read is None:
        return None
    try:
        return read(path)
    except InputError:
        raise
    except Exception as error:
        raise unreadable(path, error) from error


def unreadable(path: Path, error: Exception) -> ParseError:
    """What a library said of a file that it could not read, as one sentence."""
    words = str(error).strip().split("\n")[0] or type(error).__name__
    if "pickle" in words:
        words = "no array of numbers, but text or objects of Python"
    return ParseError(path, f"cannot be read ({words}); the file is damaged, or of another kind")


def largest(found: Shapes) -> tuple[str, tuple[int, ...]] | None:
    """The stack of images or the volume with most values, if there is one."""
    three = [(name, shape) for name, shape in found.items() if len(shape) == 3 and min(shape) >= _LEAST_EDGE]
    return max(three, key=lambda item: math.prod(item[1]), default=None)


def _npy(path: Path) -> Shapes:
    import numpy as np

    # the memory map fails where the header declares more than the file holds
    return {path.name: tuple(np.load(path, mmap_mode="r", allow_pickle=False).shape)}


def npz_headers(path: Path) -> dict[str, tuple[tuple[int, ...], np.dtype[Any]]]:
    """Shape and type of the arrays of an .npz file by their names."""
    import numpy as np

    found: dict[str, tuple[tuple[int, ...], np.dtype[Any]]] = {}
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            with archive.open(name) as member:
                head = io.BytesIO(member.read(_NPY_HEADER))
            version = np.lib.format.read_magic(head)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, _, dtype = read(head)
            found[name.removesuffix(".npy")] = tuple(shape), dtype
    return found


def _npz(path: Path) -> Shapes:
    return {name: shape for name, (shape, _) in npz_headers(path).items()}


def _tiff(path: Path) -> Shapes:
    with open_tiff(path) as file:
        return {path.name: tiff_pages(file)[1]}


@contextlib.contextmanager
def open_tiff(path: Path) -> Iterator[tifffile.TiffFile]:
    """Open a TIFF file; what its library logs is said by the error that follows, or of no matter."""
    import tifffile

    logger = logging.getLogger("tifffile")
    before, logger.disabled = logger.disabled, True
    try:
        with tifffile.TiffFile(path) as file:
            yield file
    finally:
        logger.disabled = before


def tiff_pages(file: tifffile.TiffFile) -> tuple[list[tifffile.TiffPageSeries], tuple[int, ...]]:
    """Parts of the first array of a file, and its shape: images that were written one by one are parts of one.

    Raises
    ------
    ParseError
        If the place that ends the chain of its images names another one, which is not in the file.
    """
    first, n_images = file.series[0], len(file.pages)
    file.filehandle.seek(file.pages.next_page_offset or 0)
    if file.pages.next_page_offset and any(file.filehandle.read(file.tiff.offsetsize)):
        raise ParseError(Path(file.filehandle.path), f"is cut off after image {n_images}; restore it from a copy")
    shape = tuple(first.shape)
    like = [part for part in file.series if (part.shape, part.dtype) == (first.shape, first.dtype)]
    return (like, (len(like), *shape)) if len(shape) == 2 and len(like) > 1 else ([first], shape)


def _mrc(path: Path) -> Shapes:
    return {path.name: mrc_header(path).shape}


def _hdf5(path: Path) -> Shapes:
    with hdf5.open_file(path) as file:
        found = hdf5.datasets(file, path)
        return {name: tuple(data.shape or ()) for name, data in found.items() if data.dtype.kind in "biuf"}


_READERS: dict[str, Callable[[Path], Shapes]] = {
    **dict.fromkeys((".h5", ".hdf5", ".emd"), _hdf5),
    **dict.fromkeys(SUFFIXES, _mrc),
    **dict.fromkeys((".tif", ".tiff"), _tiff),
    ".mat": mat_variables,
    ".npy": _npy,
    ".npz": _npz,
}
