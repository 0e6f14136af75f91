"""Rows of a table of angles -> the order of the images, as numbers and names of files beside them say."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePath

import numpy as np
from numpy.typing import ArrayLike

from aet2dft.errors import InputError
from aet2dft.recon.images.image_folders import number_order
from aet2dft.text_tables import TextTable, is_number

_NUMBERING = re.compile(
    r"#?(image|frame|section|slice|view|projection|tilt|file|z)?(#|number|num|no|nr|n|index|idx|id|name|value)?[.#]?"
)
"""Plain names, also none, of a column that numbers the images or names their files."""
_WHOLE = re.compile(r"[+-]?\d+(\.0*)?")
_MEND = "put the rows in the order of the images and leave that column out"


def rows_by_numbers(
    table: TextTable, names: Sequence[str], angles: list[int], path: Path
) -> tuple[TextTable, int | None]:
    """A table with its rows in the order of the images.

    Parameters
    ----------
    table : TextTable
        One row per image.
    names : sequence of str
        Of its columns, in small letters, without units, blanks, hyphens and underscores.
    angles : list of int
        Its columns with angles.
    path : Path
        Its file, for messages.

    Returns
    -------
    table : TextTable
        With sorted rows where a column numbers the images in another order, from any number on and without gaps.
    by : int or None
        The column that it was sorted by.

    Raises
    ------
    InputError
        If it is not clear which order is that of the images.
    """
    numbering = [k for k, name in enumerate(names) if k not in angles and _NUMBERING.fullmatch(name)]
    orders = {k: order for k in numbering if (order := _order(table, k, path))}
    as_given = list(range(len(table.rows)))
    others = [k for k, order in orders.items() if order != as_given]
    if not others:
        return table, None
    by, order = others[0], orders[others[0]]
    beside = [k for k in orders if orders[k] != order]
    if beside:
        raise InputError(
            f"{path}: its columns {_named(table, by)} and {_named(table, beside[0])} number its rows differently; "
            "leave out what is not the place of the image"
        )
    tilts = table.numbers(angles, path)
    tilt = tilts[:, np.ptp(tilts, axis=0).argmax()]
    if one_way(tilt) and not one_way(tilt[order]):
        raise InputError(
            f"{path}: its rows are in the order of the tilt, but not of its column {_named(table, by)}, "
            f"which may number the images as they were taken; {_MEND}"
        )
    rows, lines = tuple(table.rows[k] for k in order), tuple(table.lines[k] for k in order)
    return replace(table, rows=rows, lines=lines), by


def one_way(values: ArrayLike) -> bool:
    """Whether numbers (n,) never fall, or never rise."""
    steps = np.diff(np.asarray(values, dtype=np.float64))
    return bool((steps >= 0).all() or (steps <= 0).all())


def _named(table: TextTable, column: int) -> str:
    return table.names[column] or "unnamed"


def _order(table: TextTable, column: int, path: Path) -> list[int]:
    """Places of the rows in the order of this column; empty where it does not number images."""
    words = [row[column] for row in table.rows]
    if len(set(words)) == 1:
        return []
    unclear = None
    if all(map(_WHOLE.fullmatch, words)):
        numbers = np.array(words, dtype=np.float64)
        order = [int(k) for k in numbers.argsort(kind="stable")]
        if (np.diff(numbers) < 0).any() and (np.diff(numbers[order]) != 1).any():
            unclear = "neither rises nor counts without gaps"
    elif any(map(is_number, words)):
        return []
    else:
        order = number_order([PurePath(word).stem for word in words])
        if order != list(range(len(words))):
            unclear = "is not in the order of the numbers in it"
    if unclear:
        said = f"its column {_named(table, column)} ({words[0]}, {words[1]} ...) {unclear}"
        raise InputError(f"{path}: {said}: the order of the images is not clear; {_MEND}")
    return order
