"""The parts a page is made of, as values; how they look is up to the templates."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """A figure with what a reader needs beside it."""

    name: str
    """Word that is unique on the page."""
    svg: Markup
    """The drawing, an inline SVG element."""
    alt: str
    """What the picture shows, for those who cannot see it."""
    caption: str
    """What is plotted, with numbers of atoms and errors, and what to look for."""
    width: float
    """Width as drawn, inches."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """A table of texts."""

    title: str
    """What it lists."""
    header: tuple[str, ...]
    """Names of the columns."""
    rows: tuple[tuple[str, ...], ...]
    """Cells."""
    texts: tuple[int, ...] = (0,)
    """Columns that hold words; the others are numbers and stand flush right."""
    note: str = ""
    """What was left out, and how numbers are to be read."""
    folded: bool = False
    """Whether it opens only on a click."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Tile:
    """One number of the summary."""

    label: str
    """What it is."""
    value: str
    """The number with its unit."""
    detail: str
    """Its error, or what it was taken from."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Gate:
    """One check of quality."""

    name: str
    """What was checked."""
    level: str
    """``good``, ``fair`` or ``poor``."""
    reason: str
    """The number that decided, with its limit."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Section:
    """What one verb did."""

    id: str
    """Anchor."""
    title: str
    """Heading."""
    text: str
    """One paragraph: what was done and with which settings."""
    warnings: tuple[str, ...] = ()
    """What the reader must know."""
    pictures: tuple[Picture, ...] = ()
    """Figures."""
    tables: tuple[Table, ...] = ()
    """Tables."""


def level_of(value: float, limits: tuple[float, float]) -> str:
    """Level of a gate, from where good becomes fair and fair becomes poor; the better end is the first limit."""
    good, fair = limits
    if good > fair:
        return "good" if value >= good else "fair" if value >= fair else "poor"
    return "good" if value <= good else "fair" if value <= fair else "poor"


def number(value: float, digits: int = 2, *, unit: str = "") -> str:
    """Write a number with a true minus sign; a dash where there is none."""
    if value != value or value in (float("inf"), float("-inf")):
        return "–"
    # what rounds to zero has no sign
    return f"{value:z,.{digits}f}{unit}".replace("-", "−")


def percent(fraction: float, digits: int = 1) -> str:
    """Write a fraction as a percentage."""
    return number(100.0 * fraction, digits, unit=" %")
