"""MRC files, of MRC2014 and older, as (x, y, z); what the arrays mean is decided elsewhere."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aet2dft.errors import InputError, ParseError

SUFFIXES = (".mrc", ".map", ".rec", ".st", ".ali")
"""Of files of this kind; the last two are those of tilt series."""
_BYTES = {0: 1.0, 1: 2.0, 2: 4.0, 6: 2.0, 12: 2.0, 101: 0.5}
"""Bytes of one number of each mode that holds real ones."""
_COMPLEX = (3, 4)
"""Modes of Fourier transforms."""
_HEADER = 1024
"""Bytes before the extended header."""
_AXES = (1, 2, 3)


@dataclass(frozen=True, kw_only=True, slots=True)
class MrcHeader:
    """What the header of a file says of its array."""

    shape: tuple[int, ...]
    """Its shape as (x, y, z)."""
    order: tuple[int, ...]
    """Which of (column, row, section) runs along x, y and z."""
    spacing: tuple[float, ...] | None
    """Å between values along x, y and z; None where it is not said."""
    is_complex: bool
    """Whether its values are complex."""


def mrc_header(path: Path) -> MrcHeader:
    """Header of a file, after a check that the file holds what it declares.

    Raises
    ------
    ParseError
        If it is no MRC file, or is cut off.

    Notes
    -----
    A. Cheng et al., J. Struct. Biol. 192, 146 (2015). Files of older software lack the stamp "MAP "; they are taken
    where mode and size agree.
    """
    import mrcfile

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the stamp; what matters is looked at here
        with mrcfile.open(path, permissive=True, header_only=True) as file:
            header, cell, plain = file.header, file.voxel_size, type(file) is mrcfile.mrcfile.MrcFile
    stored = int(header.nx), int(header.ny), int(header.nz)
    mode = int(header.mode)
    if min(stored) < 1 or mode not in (*_BYTES, *_COMPLEX):
        raise ParseError(path, f"cannot be read as MRC (shape {stored}, mode {mode}); it is damaged or of another kind")
    if mode in _BYTES and plain:
        rows = math.ceil(stored[0] * _BYTES[mode]) * stored[1] * stored[2]
        needed, size = _HEADER + int(header.nsymbt) + rows, path.stat().st_size
        if size < needed:
            what = f"is cut off: {size} bytes, its header declares {stored} values in {needed}"
            raise ParseError(path, f"{what}; restore it from a copy")
    axes = tuple(int(axis) for axis in (header.mapc, header.mapr, header.maps))
    order = tuple(axes.index(axis) for axis in _AXES) if sorted(axes) == list(_AXES) else (0, 1, 2)
    spacing = tuple(float(length) for length in (cell.x, cell.y, cell.z))
    return MrcHeader(
        shape=tuple(stored[axis] for axis in order),
        order=order,
        spacing=spacing if all(math.isfinite(s) and s > 0 for s in spacing) else None,
        is_complex=mode in _COMPLEX,
    )


def mrc_array(path: Path) -> NDArray[Any]:
    """Values of a file as (x, y, z).

    Raises
    ------
    InputError
        If they are complex.
    ParseError
        If they cannot be read.
    """
    import mrcfile

    header = mrc_header(path)
    if header.is_complex:
        raise InputError(f"{path}: its values are complex, a Fourier transform; give the images or the volume itself")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with mrcfile.open(path, permissive=True) as file:
            values = file.data
    if values is None:
        raise ParseError(path, "holds no values that its header fits; restore it from a copy")
    values = np.asarray(values)
    return values.reshape(-1, *values.shape[-2:]).T.transpose(header.order)
