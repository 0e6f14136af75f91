"""Files of tilt angles -> degrees per image, and what was inferred on the way."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from aet2dft.errors import InputError, ParseError
from aet2dft.recon.images.array_files import KINDS, stored_arrays
from aet2dft.recon.images.row_order import one_way, rows_by_numbers
from aet2dft.text_tables import MARKS, TextTable, column_names, counts, read_table

TEXT = (".txt", ".csv", ".tsv", ".dat", ".tlt", ".rawtlt", ".ang")
_LONGEST = 1 << 24
"""Bytes; a longer text is no list of angles."""
_EULER = ("phi", "theta", "psi")
_TILT = ("tilt", "theta", "angle", "alpha", "tiltangle", "stagetilt", "stagealpha", "alphatilt", "tiltalpha", "θ", "α")
"""Names of the column with the tilt, without units, blanks, hyphens and underscores."""
_TURNS = ("phi", "psi", "beta", "gamma", "φ", "ψ", "β", "γ")
"""Names of columns that turn the object about other axes, unless they are zero."""
_BESIDE = ("image", "frame", "index", "number", "no", "n", "id", "file", "dose", "time", "exposure")
"""Names of other columns, which are known as such even if only blanks stand between the names."""
_KNOWN = {*_TILT, *_TURNS, *_BESIDE}
_OF_TURNS = re.compile(r"tilt|angle|stage|holder|axis")
"""What else stands in names of turns, as ``Beta tilt``."""
_SECOND = ("x", "y", "b", "2", "second")
"""What makes a tilt a second one, beside the column that is called tilt."""
_UNIT = re.compile(r"[\s_,/]*([\[(].*[\])]|(?<=[\s_,/])(in\s+)?(deg|degrees?|rad|radians?)|°)$")
"""At the end of a name."""
_SERIES = re.compile(r"tilt[\s_-]*series")
"""Is no column with the tilt."""
_FULL_TURN = 360.0
_RADIANS = 3.2
"""Angles that differ and all lie within ± this many degrees are radians: such a range tells nothing of the depth."""
_FEW = 2
"""Number of images up to which so small a range is possible in degrees."""
_WIDE = 15.0
"""Degrees: a column of three that varies more is a tilt. Corrections of its axis vary by 9 in published series."""
_UNEVEN = 0.1
"""Part of a step by which rounding makes even steps of a dose differ."""
_MOST = 0.5
"""Part of the rows beyond a full turn in radians from which on their unit is another one."""
Notes = tuple[str, ...]


def read_angles(
    path: Path, *, unit: str | None = None, variable: str | None = None
) -> tuple[NDArray[np.float64], Notes]:
    """Angles of a tilt series.

    Parameters
    ----------
    path : Path
        Text or CSV with one (tilt) or three (phi, theta, psi) columns, or with names above, among them one like tilt or
        these three, or with the numbers of the images before the tilt; or a file of arrays.
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
        values, lines, named, notes = _read_text(path)
    else:
        values, notes = _read_array(path, variable)
        lines, named = (), False
    angles, more = _one_row_per_image(values, path, rows_are_images=named)
    if unit == "radians":
        if (np.abs(angles).reshape(len(angles), -1).max(axis=1) > 2.0 * np.pi).mean() > _MOST:
            raise InputError(f"{path}: most of its angles are beyond a full turn in radians; leave out --angle-unit")
        angles = np.degrees(angles)
    check_angles(angles, path, lines, assume_degrees=unit is not None)
    return angles, notes + more


def _read_text(path: Path) -> tuple[NDArray[np.float64], tuple[int, ...], bool, Notes]:
    """Angles (rows, columns), the line of each row, whether names say what they are, and what was inferred."""
    if not path.is_file():
        raise InputError(f"{path}: no such file; give the angles as text, .csv, .mat or .npy")
    table = read_table(path, _LONGEST)
    _refuse_degree_signs(table, path)
    table = table if table.names else _named_above(table)
    if table.names:
        columns = _named_columns(table, path)
        _refuse_cut_decimals(table, columns, path)
        table, by = rows_by_numbers(table, [_plain(name) for name in table.names], columns, path)
        notes = table.notes + _said_of(table, columns, by, path)
        return table.numbers(columns, path), table.lines, True, notes
    _refuse_cut_decimals(table, [], path)
    values = table.numbers(list(range(len(table.rows[0]))), path)
    if values.shape[1] == len(_EULER):
        _refuse_other_names(table, path)
    if values.shape[1] == 2 and counts(values[:, 0]):
        said = f"first column of {path.name} taken for the numbers of the images, the second for their angles"
        return values[:, 1:], table.lines, True, (*table.notes, said)
    return values, table.lines, False, table.notes


def _refuse_degree_signs(table: TextTable, path: Path) -> None:
    for row, line in zip(table.rows, table.lines, strict=True):
        signed = [word for word in row if word.endswith("°")]
        if signed:
            raise ParseError(path, f"{signed[0]!r} has a degree sign; write the numbers alone", line=line)


def _named_above(table: TextTable) -> TextTable:
    """The table with the names that a comment above its rows gives."""
    width = len(table.rows[0])
    for line in reversed(table.above):
        names = column_names(line, width)
        plain = {_plain(name) for name in names}
        tilt = any(mark in line for mark in MARKS) and not plain.isdisjoint(_TILT)
        if len(names) == width and (tilt or plain <= _KNOWN or plain.issuperset(_EULER)):
            return replace(table, names=names, by_blanks=False)
    return table


def _refuse_other_names(table: TextTable, path: Path) -> None:
    """Three columns are three angles unless a line above them may name something else."""
    for line in table.above:
        words = [_plain(word) for word in re.findall(r"\w+", _SERIES.sub("", line.lower()))]
        if any(tuple(words[k : k + 3]) == _EULER for k in range(len(words))):
            continue
        names = len(column_names(line, 3)) == 3 and any(mark in line for mark in MARKS)
        if names or not set(words).isdisjoint(_TILT) or len(_KNOWN.intersection(words)) > 1:
            raise InputError(
                f"{path}: {line[:60]!r} above three columns may name others than {', '.join(_EULER)}; write one name "
                f"for each above them, as {','.join(_EULER)} or image,tilt,dose"
            )


def _plain(name: str) -> str:
    """The name of a column without unit, blanks, hyphens and underscores, in small letters."""
    return re.sub(r"[\s_-]", "", _UNIT.sub("", name.lower()))


def _named_columns(table: TextTable, path: Path) -> list[int]:
    """Columns with phi, theta and psi, or the one with the tilt, by their names."""
    names = [_plain(name) for name in table.names]
    if len(names) == 1 and names[0] not in _BESIDE:
        return [0]
    if all(names.count(name) == 1 for name in _EULER):
        return [names.index(name) for name in _EULER]
    chosen = [k for k, name in enumerate(names) if name in _TILT]
    if len(chosen) != 1:
        like = [said for said, name in zip(table.names, names, strict=True) if any(word in name for word in _TILT)]
        what = "several may be the tilt" if chosen else "none is called tilt"
        what += f", though {' and '.join(like)} may be" if like and not chosen else ""
        listed = ", ".join(table.names)
        raise InputError(f"{path}: of its columns {listed} {what}; call one tilt, or three phi, theta, psi")
    if table.by_blanks and not set(names) <= _KNOWN:
        said = " ".join(table.names)
        raise InputError(f"{path}: {said!r} may be a title or names of columns; put commas between names, or a # first")
    turns = [k for k, name in enumerate(names) if k not in chosen and _turns(name) and table.numbers([k], path).any()]
    if turns:
        name = table.names[turns[0]]
        raise InputError(f"{path}: its column {name} turns the object too; give three columns phi, theta, psi")
    return chosen


def _turns(name: str) -> bool:
    """Whether a column of this plain name turns the object, beside the one with the tilt."""
    rest = _OF_TURNS.sub("", name)
    return rest in _TURNS or ("tilt" in name and "axis" not in name and rest in _SECOND)


def _said_of(table: TextTable, chosen: list[int], by: int | None, path: Path) -> Notes:
    """What names do not make sure, the column that the rows were sorted by, and which columns are not read."""
    names = [name or "unnamed" for name in table.names]
    said = ", ".join(names[k] for k in chosen)
    if len(names) == 1:
        known = _plain(said) in _TILT and "rad" not in said.lower()
        taken = f"column {said} of {path.name} taken for the tilt, in degrees unless --angle-unit says radians"
        return () if known else (taken,)
    ordered = () if by is None else (f"rows of {path.name} put in the order of its column {names[by]}",)
    others = ", ".join(name for k, name in enumerate(names) if k not in (*chosen, by))
    return (*ordered, f"angles: {said} of {path.name}; {others} not read") if others else ordered


def _refuse_cut_decimals(table: TextTable, chosen: list[int], path: Path) -> None:
    """No whole number behind a comma may be the decimals of the one before it.

    Such begin with a zero, or have two digits behind a whole tilt that neither rise nor fall, as a dose would.
    """
    for k in range(1, len(table.rows[0]) if table.by_commas else 0):
        pairs = [(row[k - 1], row[k]) for row in table.rows]
        if not all(re.fullmatch(r"[+-]?\d+", before) and re.fullmatch(r"\d+", after) for before, after in pairs):
            continue
        zeros = any(re.fullmatch(r"0\d+", after) for _, after in pairs)
        two = k - 1 in chosen and all(len(after) == 2 for _, after in pairs)
        if zeros or (two and not one_way([float(after) for _, after in pairs])):
            before, after = pairs[0]
            raise InputError(
                f"{path}: {before},{after} in its line {table.lines[0]} may be {before}.{after} with a decimal comma; "
                "write decimal points, or semicolons between the columns"
            )


def _read_array(path: Path, variable: str | None) -> tuple[NDArray[np.float64], Notes]:
    """The one array of the file that has the shape of angles, or the one that is named."""
    if path.is_file() and path.suffix.lower() not in KINDS:
        raise InputError(f"{path}: is of no known kind; angles come as {', '.join((*TEXT, *KINDS))}")
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
    if shape in ((3, 2), (3, 3)) and not rows_are_images:
        count, names = ("two", "three")[shape[1] - 2], ",".join(_EULER)
        raise InputError(
            f"{path}: three rows and {count} columns do not say which are images; give text that begins with {names}"
        )
    if values.ndim == 2 and shape[1] == 3:
        if not rows_are_images:
            _refuse_counts_and_doses(values, path)
        return values, ()
    if values.ndim == 2 and shape[0] == 3:
        _refuse_counts_and_doses(values.T, path)
        return values.T, (f"angles of {path.name} are transposed, {shape}: its rows were taken for phi, theta, psi",)
    raise InputError(f"{path}: angles of shape {shape} are neither (n,) nor (n, 3); give one or three per image")


def _refuse_counts_and_doses(values: NDArray[np.float64], path: Path) -> None:
    """No angle (n, 3) beside the tilt counts or grows as numbers of images and accumulated doses do."""
    for k, name in enumerate(_EULER) if len(values) > _FEW else ():
        column = values[:, k]
        steps = np.diff(np.sort(column))
        even = np.ptp(steps) <= _UNEVEN * steps.mean()
        grows = column.min() >= 0 and steps.all() and (even or one_way(column))
        if grows and np.ptp(np.delete(values, k, axis=1), axis=0).max() > _WIDE:
            raise InputError(
                f"{path}: column {k + 1} of its three, {column[0]:g}, {column[1]:g}, {column[2]:g} ..., looks like "
                f"numbers of images or a dose, and would be {name}; give text with names above, as {','.join(_EULER)} "
                "or image,tilt,dose"
            )


def check_angles(
    angles: NDArray[np.float64], path: Path, lines: tuple[int, ...] = (), *, assume_degrees: bool = False
) -> None:
    """Raise InputError for angles (n,) or (n, 3) that are not finite, beyond a full turn, or radians."""
    bad = np.flatnonzero(~(np.abs(angles) <= _FULL_TURN).reshape(len(angles), -1).all(axis=1))
    if bad.size:
        where = f"{path}, line {lines[bad[0]]}" if len(lines) == len(angles) else f"{path}, row {bad[0]}"
        raise InputError(f"{where}: {angles[bad[0]]} is no angle within ±360 degrees; mend or remove it")
    if not assume_degrees and look_like_radians(angles):
        raise InputError(
            f"{path}: all {len(angles)} angles lie within ±{_RADIANS}: these look like radians; "
            "give --angle-unit radians, or --angle-unit degrees if they are not"
        )


def look_like_radians(angles: NDArray[np.float64]) -> bool:
    """Whether angles (n,) or (n, 3) differ, and so little that they can hardly be degrees."""
    return len(angles) > _FEW and bool(np.abs(angles).max() <= _RADIANS and np.ptp(angles, axis=0).any())
