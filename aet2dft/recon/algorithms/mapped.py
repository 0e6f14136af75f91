"""Arrays that live in a file instead of memory, for volumes and images that memory cannot hold."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from aet2dft.errors import ResourceError
from aet2dft.memory import as_text

_WRITTEN = 1 << 20
"""Bytes that are written at a time."""


def zeros(shape: tuple[int, ...], folder: Path | None) -> NDArray[np.float32]:
    """Zeros in memory or in a file without a name.

    Parameters
    ----------
    shape : tuple of int
        Of the array.
    folder : Path or None
        Where the file is; None: in memory. The file is gone with the last reference to the array, and with the process
        however that ends.

    Raises
    ------
    ResourceError
        If the file cannot be written, as on a full disk.
    """
    if folder is None:
        return np.zeros(shape, dtype=np.float32)
    # all of it is written before it is mapped: a page that finds no room later ends the process
    size = math.prod(shape) * np.dtype(np.float32).itemsize
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            for start in range(0, size, _WRITTEN):
                file.write(bytes(min(_WRITTEN, size - start)))
            file.flush()
            return np.asarray(np.memmap(file, dtype=np.float32, mode="r+", shape=shape))
    except OSError as error:
        raise ResourceError(
            f"{folder}: volume and images take files there, this one {as_text(size)} ({error.strerror}); free space, "
            "choose another place with -o, or leave out --memory-mapped"
        ) from error


def applied(
    operation: np.ufunc, images: NDArray[np.float32], numbers: NDArray[np.float64], folder: Path | None
) -> NDArray[np.float32]:
    """Images after an operation with one number each, in memory or in a file without a name.

    Parameters
    ----------
    operation : ufunc
        Of an image and its number.
    images : ndarray, shape (n, nx, ny)
        They stay as they are.
    numbers : ndarray, shape (n,)
        Of every image.
    folder : Path or None
        As of `zeros`.

    Raises
    ------
    ResourceError
        If the file cannot be written.
    """
    found = zeros(images.shape, folder)
    operation(images, numbers[:, None, None].astype(np.float32), out=found)
    return found
