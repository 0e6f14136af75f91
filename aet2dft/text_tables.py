"""Small tables of text, as spreadsheets and instruments write them: names, words, and the line of each row."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from aet2dft.errors import InputError, ParseError

_LONGEST = 1 << 28
"""Bytes; a longer text is no table of this kind."""
_COMMENT = re.compile("[#%]")
_MARKS = ";\t,"
_BLANK = f" {_MARKS}"
_ANY = r"[\s,;]+"
"""Between the words of a row."""
_NOT_COMMA = r"[\s;]+"
"""The same where commas are decimal ones."""
_GERMAN = re.compile(r"[+-]?\d+(,\d+)?")
"""A number that may have a decimal comma."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TextTable:
    """Rows of words of equal number."""

    names: tuple[str, ...]
    """Of its columns; empty where the file does not name them."""
    rows: tuple[tuple[str, ...], ...]
    """Words, with decimal points."""
    lines: tuple[int, ...]
    """Line of the file of each row, from 1."""
    notes: tuple[str, ...]
    """What was inferred."""
    comment: tuple[str, ...] = ()
    """Words of a comment in the line before the first row, if there are as many as columns: perhaps their names."""
    by_blanks: bool = False
    """Whether only blanks stand between the names, or the words of the comment: they may be a title."""

    def numbers(self, columns: list[int], path: Path) -> NDArray[np.float64]:
        """Values (n, len(columns)) of some columns.

        Raises
        ------
        ParseError
            If a word is no number.
        """
        values = np.empty((len(self.rows), len(columns)))
        for k, (row, line) in enumerate(zip(self.rows, self.lines, strict=True)):
            try:
                values[k] = [float(row[column]) for column in columns]
            except ValueError as error:
                said = " ".join(row)[:40]
                raise ParseError(path, f"{said!r} are no numbers; mend the line", line=line) from error
        return values


def read_table(path: Path, longest: int = _LONGEST) -> TextTable:
    """Read a table of text.

    Parameters
    ----------
    path : Path
        Columns between blanks, tabs, commas or semicolons, perhaps under a line with their names; what follows ``#`` or
        ``%`` is a comment.
    longest : int, optional
        Bytes up to which the file is read.

    Raises
    ------
    InputError
        If the file is not there or too long, holds no rows, or does not say whether its commas are decimal ones.
    ParseError
        If its rows differ in length, or names and columns in number.

    Notes
    -----
    Commas are decimal ones where semicolons or blanks stand between the columns, or where a column would else be cut.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file; give a table of text")
    if path.stat().st_size > longest:
        raise InputError(f"{path}: {path.stat().st_size / 1e6:.0f} MB is too long for such a table; give another")
    texts = path.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    found = [(k, _COMMENT.split(text)[0].strip(_BLANK)) for k, text in enumerate(texts, start=1)]
    found = [(k, text) for k, text in found if text]
    head = found.pop(0)[1] if found and not all(map(_is_number, _words(found[0][1], _ANY))) else ""
    if not found:
        raise InputError(f"{path}: holds no numbers; give one line per row")
    names = _names(head)
    german = _has_decimal_commas([text for _, text in found], len(names), path)
    between = _NOT_COMMA if german else _ANY
    rows = [tuple(word.replace(",", ".") if german else word for word in _words(text, between)) for _, text in found]
    lines = tuple(line for line, _ in found)
    for row, line in zip(rows, lines, strict=True):
        if len(row) != len(rows[0]):
            raise ParseError(path, f"{len(row)} columns after rows of {len(rows[0])}; mend the line", line=line)
    notes = (f"decimal commas of {path.name} read as points",) if german else ()
    width = len(rows[0])
    if len(names) == width or not names:
        above = texts[lines[0] - 2].strip() if lines[0] > 1 and not names else ""
        comment = _names(above[1:].strip()) if _COMMENT.match(above) else ()
        comment = comment if len(comment) == width else ()
        blanks = not any(mark in (head or above) for mark in _MARKS)
        return TextTable(
            names=names, rows=tuple(rows), lines=lines, notes=notes, comment=comment, by_blanks=blanks and width > 1
        )
    if width > 1 and any(mark in head for mark in _MARKS):
        listed = ", ".join(names)
        raise ParseError(path, f"{len(names)} names ({listed}) stand above {width} columns; give one name for each")
    # words without separators are a name with blanks, or a title
    names, title = ((head,), ()) if width == 1 else ((), (f"{head[:40]!r} of {path.name} taken for a title",))
    return TextTable(names=names, rows=tuple(rows), lines=lines, notes=notes + title)


def counts(values: ArrayLike) -> bool:
    """Whether at least three numbers (n,) are 0, 1, 2 ... or 1, 2, 3 ..., as images are numbered."""
    column = np.asarray(values)
    return len(column) > 2 and column[0] in (0, 1) and bool((np.diff(column) == 1).all())


def _words(text: str, between: str) -> list[str]:
    return [word.strip("\"'") for word in re.split(between, text)]


def _names(head: str) -> tuple[str, ...]:
    """Names of the columns, which may hold blanks where something else stands between them."""
    mark = next((mark for mark in _MARKS if mark in head), None)
    return tuple(word.strip().strip("\"'").strip() for word in head.split(mark)) if head else ()


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _has_decimal_commas(rows: list[str], n_names: int, path: Path) -> bool:
    words = [_words(row, _NOT_COMMA) for row in rows]
    each = [word for row in words for word in row]
    german = [bool(_GERMAN.fullmatch(word)) for word in each]
    cut = [yes and "," in word for yes, word in zip(german, each, strict=True)]
    if any(";" in row for row in rows):
        return any(cut)
    if len(rows) == 1 or not all(german) or not any(cut):
        return False
    if max(map(len, words)) > 1:
        return True
    if n_names or not all(cut):
        return n_names < 2
    if counts([int(word.split(",")[0]) for word in each]):
        what = "may be numbers of images beside angles, or have decimal commas"
        raise InputError(f"{path}: its rows, as {each[0]}, {what}; write a line with the names of the columns above")
    return True
