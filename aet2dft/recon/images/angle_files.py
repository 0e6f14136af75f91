"""Files of tilt angles -> degrees per image, and what was inferred on the way."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from aet2dft.errors import InputError, ParseError
from aet2dft.recon.images.array_files import stored_arrays

TEXT = (".txt", ".csv", ".tsv", ".dat", ".tlt", ".rawtlt", ".ang")
_LONGEST = 1 << 24
"""Bytes; a longer text is no list of angles."""
_EULER = ("phi", "theta", "psi")
_FULL_TURN = 360.0
_RADIANS = 3.2
"""Angles that differ and all lie within ± this many degrees are radians: such a range tells nothing of the depth."""
_FEW = 2
"""Number of images up to which so small a range is possible in degrees."""
Notes = tuple[str, ...]


def read_angles(
    path: Path, *, unit: str | None = None, variable: str | None = None
) -> tuple[NDArray[np.float64], Notes]:
    """Angles of a tilt series.

    Parameters
    ----------
    path : Path
        Text or CSV with one (tilt) or three (phi, theta, psi) columns, perhaps under a line with their names; or a file
        of arrays.
    unit : {"degrees", "radians"}, optional
        Default: degrees, and what looks like radians is refused.
    variable : str, optional
        Name of the array, where a file has several.

    Returns
    -------
    angles : ndarray, shape (n,) or (n, 3)
        Degrees.
    notes : tuple of str
        What was inferred.

    Raises
    ------
    InputError
        If the file cannot be read or holds no angles, or they are not finite, beyond 360 degrees or of another unit.
    """
    if path.suffix.lower() in TEXT:
        values, lines, named = _read_text(path)
        notes: Notes = ()
    else:
        values, notes = _read_array(path, variable)
        lines, named = [], False
    angles, more = _one_row_per_image(values, path, rows_are_images=named)
    angles = np.degrees(angles) if unit == "radians" else angles
    _check(angles, path, lines, assume_degrees=unit is not None)
    return angles, notes + more


def _read_text(path: Path) -> tuple[NDArray[np.float64], list[int], bool]:
    """Numbers (rows, columns), the line of each row, and whether the columns are named phi, theta and psi."""
    if not path.is_file():
        raise InputError(f"{path}: no such file; give the angles as text, .csv, .mat or .npy")
    if path.stat().st_size > _LONGEST:
        raise InputError(f"{path}: {path.stat().st_size / 1e6:.0f} MB is too long for a list of angles; give another")
    rows: list[list[float]] = []
    lines: list[int] = []
    names: list[str] = []
    for number, line in enumerate(path.read_text(encoding="utf-8-sig", errors="replace").splitlines(), start=1):
        words = re.split(r"[\s,;]+", re.split("[#%]", line)[0].strip(" \t,;"))
        if words == [""]:
            continue
        try:
            row = [float(word) for word in words]
        except ValueError as error:
            if rows or names:
                raise ParseError(path, f"{line.strip()[:40]!r} are no numbers; mend the line", line=number) from error
            names = [word.strip("\"'").lower() for word in words]
            continue
        if rows and len(row) != len(rows[0]):
            raise ParseError(path, f"{len(row)} columns after rows of {len(rows[0])}; mend the line", line=number)
        rows.append(row)
        lines.append(number)
    if not rows:
        raise InputError(f"{path}: holds no numbers; give one line per image")
    values = np.array(rows)
    named = sorted(names) == sorted(_EULER) and values.shape[1] == 3
    return values[:, [names.index(name) for name in _EULER]] if named else values, lines, named


def _read_array(path: Path, variable: str | None) -> tuple[NDArray[np.float64], Notes]:
    """The one array of the file that has the shape of angles, or the one that is named."""
    found = stored_arrays(path)
    if variable is not None and variable not in found:
        raise InputError(f"{path}: holds no {variable!r}; it holds {', '.join(found) or 'no numbers'}")
    fitting = [name for name, array in found.items() if _is_table(array.shape)]
    chosen = [variable] if variable is not None else fitting
    if len(chosen) != 1:
        listed = ", ".join(f"{name} {array.shape}" for name, array in found.items()) or "no numbers"
        problem = "no array of angles (n,) or (n, 3)" if not chosen else "several arrays that may be angles"
        raise InputError(f"{path}: holds {problem}: {listed}; name one with --angles-variable")
    note = (f"angles: {chosen[0]} of {path.name}",) if len(found) > 1 else ()
    return np.asarray(found[chosen[0]].load(), dtype=np.float64), note


def _is_table(shape: tuple[int, ...]) -> bool:
    return (len(shape) == 1 and shape[0] > 0) or (len(shape) == 2 and min(shape) in (1, 3) and max(shape) > 1)


def _one_row_per_image(
    values: NDArray[np.float64], path: Path, *, rows_are_images: bool
) -> tuple[NDArray[np.float64], Notes]:
    """Angles (n,) or (n, 3) of a table of any accepted shape."""
    shape = values.shape
    if values.ndim == 1 or (values.ndim == 2 and (shape[1] == 1 or (shape[0] == 1 and shape[1] != 3))):
        return values.ravel(), ()
    if shape == (3, 3) and not rows_are_images:
        names = ",".join(_EULER)
        raise InputError(
            f"{path}: three rows and three columns do not say which are images; give text that begins with {names}"
        )
    if values.ndim == 2 and shape[1] == 3:
        return values, ()
    if values.ndim == 2 and shape[0] == 3:
        return values.T, (f"angles of {path.name} are transposed, {shape}: its rows were taken for phi, theta, psi",)
    raise InputError(f"{path}: angles of shape {shape} are neither (n,) nor (n, 3); give one or three per image")


def _check(angles: NDArray[np.float64], path: Path, lines: list[int], *, assume_degrees: bool) -> None:
    """Raise InputError for angles that are not finite, beyond a full turn, or radians."""
    bad = np.flatnonzero(~(np.abs(angles) <= _FULL_TURN).reshape(len(angles), -1).all(axis=1))
    if bad.size:
        where = f"{path}, line {lines[bad[0]]}" if lines else f"{path}, row {bad[0]}"
        raise InputError(f"{where}: {angles[bad[0]]} is no angle within ±360 degrees; mend or remove it")
    if not assume_degrees and look_like_radians(angles):
        raise InputError(
            f"{path}: all {len(angles)} angles lie within ±{_RADIANS}: these look like radians; "
            "give --angle-unit radians, or --angle-unit degrees if they are not"
        )


def look_like_radians(angles: NDArray[np.float64]) -> bool:
    """Whether angles (n,) or (n, 3) differ, and so little that they can hardly be degrees."""
    return len(angles) > _FEW and bool(np.abs(angles).max() <= _RADIANS and np.ptp(angles, axis=0).any())
