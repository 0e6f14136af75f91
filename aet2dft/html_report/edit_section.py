"""The section of the page about corrections by hand, and how they are counted elsewhere on it."""

from __future__ import annotations

from typing import Any

import numpy as np

from aet2dft.html_report.parts import Section, Table, number
from aet2dft.recon.atoms.edits import EditLog
from aet2dft.recon.metrics import format_r

MAX_ROWS = 20
"""Rows of the table; the provenance in the project holds all."""
_DONE = {"add": "added", "remove": "removed", "move": "moved", "relabel": "given another species"}


def counted(log: EditLog) -> str:
    """How many atoms were corrected, by kind: ``2 added, 1 moved``; empty without corrections."""
    return ", ".join(f"{n:,} {_DONE[action]}" for action, n in log.counts.items() if n)


def corrected_r(before: float | None, after: float | None) -> str:
    """Sentence about the R factor of corrected atoms; empty where they were never fitted."""
    if before is None:
        return ""
    if after is None:
        return f" The R factor of the refined atoms, {format_r(before)}, is that before the corrections."
    return f" The R factor is {format_r(after)} with the corrections, {format_r(before)} before."


def edit_section(log: EditLog, r_factors: tuple[float | None, float | None], warnings: tuple[str, ...]) -> Section:
    """What was corrected by hand; R factors of refined atoms before and after it, where these are known."""
    listed = counted(log)
    text = f"Atoms were corrected by hand: {listed}.{corrected_r(*r_factors)}" if listed else "Nothing was corrected."
    return Section(
        id="edit",
        title="Corrections by hand",
        text=text,
        warnings=tuple(dict.fromkeys((*log.warnings, *warnings))),
        tables=(_change_table(log),) if log.changes else (),
    )


def _change_table(log: EditLog) -> Table:
    rows = tuple(_row(change) for change in log.changes[:MAX_ROWS])
    header = ("change", "species", "atom", "line of the file", "x (Å)", "y (Å)", "z (Å)", "moved by (Å)")
    n = len(log.changes)
    cut = f"The first {MAX_ROWS} of {n:,}. " if n > MAX_ROWS else ""
    note = f"{cut}Where the atom is after the change, or was before it was removed. Nothing was fitted to the images."
    return Table(title="Corrections", header=header, rows=rows, texts=(0, 1), note=note)


def _row(change: dict[str, Any]) -> tuple[str, ...]:
    """Cells of one correction."""
    before, after = change["before"], change["after"]
    at = after or before
    names = dict.fromkeys(state["species"] for state in (before, after) if state)
    moved = np.linalg.norm(np.subtract(after["position"], before["position"])) if before and after else 0.0
    return (
        _DONE[change["action"]],
        " → ".join(names),
        str(change["site_id"]),
        str(change["line"]),
        *(number(float(x)) for x in at["position"]),
        number(float(moved)) if moved else "–",
    )
