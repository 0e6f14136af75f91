"""Small tables of text, as spreadsheets and instruments write them: names, words, and the line of each row."""

from __future__ import annotations

import codecs
import csv
import re
from dataclasses import dataclass
from pathlib import Path
from statistics import mode

import numpy as np
from numpy.typing import ArrayLike, NDArray

from aet2dft.errors import InputError, ParseError

_LONGEST = 1 << 28
"""Bytes; a longer text is no table of this kind."""
_LONGEST_HEAD = 1 << 12
"""Characters of the line with the names that are looked at."""
MARKS = ";\t,"
"""What stands between columns, where it is not blanks."""
_BLANK = f" {MARKS}"
_COMMENT = re.compile(rf"(?:^|(?<=[{_BLANK}]))[#%].*")
"""Not after a letter or a digit, as in ``a#1.tif`` and ``80%``."""
_AFTER_NAMES = re.compile(rf"\s[#%][^{MARKS}]*$")
"""A comment after the last name; before another name, ``#`` and ``%`` are part of one, as in ``Frame #,Tilt``."""
_NAME = re.compile(r'"[^"]*"|(?:[^\s\[(]|\s*[\[(][^\])]*[\])])+')
"""A name between blanks, with its unit in brackets."""
_ANY = r"[\s,;]+"
"""Between the words of a row."""
_NOT_COMMA = r"[\s;]+"
"""The same where commas are decimal ones."""
_SEPARATOR = re.compile(r"\"?sep=.\"?")
"""The first line of tables from spreadsheets that say what stands between columns."""
_EMPTY = re.compile(rf"(?:^|[{MARKS}]) *[{MARKS}]|[{MARKS}]\s*$")
"""A cell without a word."""
_GERMAN = re.compile(r"[+-]?\d+(,\d+)?([eE][+-]?\d+)?")
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
    above: tuple[str, ...] = ()
    """Comments before the first row, and a line there that is taken for a title: perhaps they name the columns."""
    by_blanks: bool = False
    """Whether only blanks stand between the names: they may be a title."""
    by_commas: bool = False
    """Whether only commas stand between the columns: some of them may be decimal ones."""

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
        Columns between blanks, tabs, commas or semicolons, perhaps under a line with their names; ``#`` and ``%`` begin
        a comment at the start of a line and after the last column.
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
    texts = _text(path, longest).splitlines()
    if texts and _SEPARATOR.fullmatch(texts[0].strip()):
        texts[0] = ""
    found = [(k, _COMMENT.sub("", text).strip(_BLANK)) for k, text in enumerate(texts, start=1)]
    found = [(k, text) for k, text in found if text]
    head = ""
    if found and not all(map(is_number, _words(found[0][1], _ANY))):
        head = texts[found.pop(0)[0] - 1][:_LONGEST_HEAD].strip(" ")
    if not found:
        raise InputError(f"{path}: holds no numbers; give one line per row")
    named = _AFTER_NAMES.sub("", head)
    german = _has_decimal_commas([text for _, text in found], len(_split(named)), path)
    rows, lines = _rows(found, german, path, empty={k for k, _ in found if _EMPTY.search(texts[k - 1])})
    width = len(rows[0])
    by_commas = width > 1 and not german and not any(re.search(r"[;\s]", text) for _, text in found)
    names = column_names(named, width)
    separated = any(mark in head for mark in MARKS)
    if head and len(names) != width:
        if width > 1 and separated:
            listed = ", ".join(names)
            mend = "give one name for each" + (", and decimal points where commas are" if by_commas else "")
            raise ParseError(path, f"{len(names)} names ({listed}) stand above {width} columns; {mend}")
        # words without separators are a name with blanks, or a title
        names = (named.strip(_BLANK),) if width == 1 else ()
    titles = [head] if head and not names else []
    notes = [f"decimal commas of {path.name} read as points"] if german else []
    notes += [f"{title[:40]!r} of {path.name} taken for a title" for title in titles]
    above = [text.strip() for text in texts[: lines[0] - 1]]
    comments = [text.lstrip("#% ")[:_LONGEST_HEAD] for text in above if _COMMENT.match(text)]
    return TextTable(
        names=names,
        rows=rows,
        lines=lines,
        notes=tuple(notes),
        above=(*comments, *titles),
        by_blanks=width > 1 and not separated,
        by_commas=by_commas,
    )


def column_names(line: str, width: int) -> tuple[str, ...]:
    """Names in a line, which may hold blanks where something else stands between them.

    Parameters
    ----------
    line : str
        Without comments.
    width : int
        Number of columns: where as many names as that need it, what stands before the first separator is an empty name.
    """
    names = _split(line.strip(_BLANK))
    padded = _split(line.strip(" "))
    return padded if len(names) != width == len(padded) else names


def counts(values: ArrayLike) -> bool:
    """Whether at least three numbers (n,) are 0, 1, 2 ... or 1, 2, 3 ..., as images are numbered."""
    column = np.asarray(values)
    return len(column) > 2 and column[0] in (0, 1) and bool((np.diff(column) == 1).all())


def _text(path: Path, longest: int) -> str:
    if not path.is_file():
        raise InputError(f"{path}: no such file; give a table of text")
    if path.stat().st_size > longest:
        raise InputError(f"{path}: {path.stat().st_size / 1e6:.0f} MB is too long for such a table; give another")
    data = path.read_bytes()
    encoding = "utf-16" if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
    return data.decode(encoding, errors="replace")


def _rows(
    found: list[tuple[int, str]], german: bool, path: Path, *, empty: set[int]
) -> tuple[tuple[tuple[str, ...], ...], tuple[int, ...]]:
    """Words of the rows, and their lines; some of these have empty cells."""
    between = _NOT_COMMA if german else _ANY
    rows = tuple(
        tuple(word.replace(",", ".") if german else word for word in _words(text, between)) for _, text in found
    )
    lines = tuple(line for line, _ in found)
    width = mode(map(len, rows))
    for row, line in zip(rows, lines, strict=True):
        if len(row) < width and line in empty:
            raise ParseError(path, "a cell of this line is empty; fill it or remove the line", line=line)
        if len(row) != width:
            raise ParseError(path, f"{len(row)} columns, where most rows have {width}; mend the line", line=line)
    return rows, lines


def _words(text: str, between: str) -> list[str]:
    return [word.strip("\"'") for word in re.split(between, text)]


def _split(line: str) -> tuple[str, ...]:
    mark = next((mark for mark in MARKS if mark in line), None)
    words = next(csv.reader([line], delimiter=mark, skipinitialspace=True)) if mark else _NAME.findall(line)
    return tuple(word.strip().strip("\"'").strip() for word in words)


def is_number(word: str) -> bool:
    """Whether a word is a number, with a decimal point."""
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
