"""Second and third attempts at a job: for which endings, with which other tags, and the record that they leave.

The deck of a job is never touched: attempt 2 has its own in ``try2/pw.in``, the outputs of attempt 1 move to ``try1``,
and ``retries.json`` names what was changed. What lies in the job's folder is always of the last attempt.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aet2dft.dft_inputs.protocol import Tag
from aet2dft.dft_inputs.run_result import RunResult
from aet2dft.errors import ParseError

MAX_ATTEMPTS = 3
"""Attempts at one job, the first included."""
RECORD = "retries.json"
"""File in a job folder; only there after a second attempt began."""
_DECK = "pw.in"
_OUTPUTS = ("exit_status", "pw.out", "data-file-schema.xml", "CRASH")
_SILENT = "without a word"
_DEFAULTS = {"mixing_beta": "0.7", "electron_maxstep": "100", "diagonalization": "'david'"}
"""What pw.x takes where the deck does not say."""


def next_changes(folder: Path, result: RunResult) -> dict[str, Tag] | None:
    """Tags of &ELECTRONS with which a job should be tried once more; None if that would not help.

    Parameters
    ----------
    folder : Path
        Folder of the job.
    result : RunResult
        How its last attempt ended.

    Notes
    -----
    The Davidson diagonalization of pw.x 6.7 dies now and then without an error text (exit status 49, 51, 52, 74 or
    173, in 5 of about 55 runs of small cells); conjugate gradients then gave the same energy. A density that does not
    converge is mixed more slowly, and if that is not enough given twice as many iterations. A run of the force theorem
    has no density to converge: where it is not converged, its eigenvalues are not, and conjugate gradients are tried.
    """
    if result.code != "espresso" or result.status not in ("failed", "not_converged"):
        return None
    try:
        attempts = _read(folder)
    except ParseError:
        return None  # `attempt_deck` says so when the job is to be executed
    if len(attempts) >= MAX_ATTEMPTS:
        return None
    changed = dict(attempts[-1]["changed"]) if attempts else {}
    deck = (folder / _DECK).read_text(encoding="utf-8")
    if result.status == "failed" or result.calculation == "nscf":
        may_help = result.status == "not_converged" or (result.version and _SILENT in result.reason)
        has_changed = "diagonalization" in changed or _value(deck, "diagonalization").strip("'") == "cg"
        return {**changed, "diagonalization": "cg"} if may_help and not has_changed else None
    if "mixing_beta" not in changed:
        slower = float(_value(deck, "mixing_beta").replace("d", "e")) / 3
        return {**changed, "mixing_beta": round(slower, 4)}
    if "electron_maxstep" not in changed:
        return {**changed, "electron_maxstep": 2 * int(_value(deck, "electron_maxstep"))}
    return None


def begin_attempt(folder: Path, result: RunResult, changed: Mapping[str, Tag]) -> None:
    """Put the outputs of the last attempt aside and write the deck of the next one."""
    attempts = _read(folder) or [{"changed": {}}]
    attempts[-1] |= {"status": result.status, "reason": result.reason}
    aside, following = folder / f"try{len(attempts)}", folder / f"try{len(attempts) + 1}"
    for path in (aside, following):
        path.mkdir(exist_ok=True)
    for name in _OUTPUTS:
        for output in (folder / name, folder / f"{name}.gz"):
            if output.exists():
                output.replace(aside / output.name)
    deck = (folder / _DECK).read_text(encoding="utf-8")
    (following / _DECK).write_text(changed_deck(deck, changed), encoding="utf-8", newline="")
    # last: a process killed before this line leaves a job that was not started, not a record of what did not happen
    record = {"attempts": [*attempts, {"changed": dict(changed)}]}
    part = folder / f"{RECORD}.part"
    part.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    part.replace(folder / RECORD)


def attempt_deck(folder: Path) -> str:
    """Path, from the job's folder, of the deck that its current attempt runs; empty for the first."""
    attempts = _read(folder)
    return f"try{len(attempts)}/{_DECK}" if attempts else ""


def retry_note(folder: Path) -> str:
    """Say with which tags the result in a folder was computed where they are not those of its deck; else nothing.

    Meant for the warnings of a result; never an exception.
    """
    try:
        attempts = _read(folder)
    except ParseError as error:
        return f"retried: {error}"
    if not attempts:
        return ""
    tags = ", ".join(f"{key} = {_fortran(value)}" for key, value in attempts[-1]["changed"].items())
    return f"retried: attempt {len(attempts)} with {tags} in place of the deck's values"


def changed_deck(deck: str, changed: Mapping[str, Tag]) -> str:
    """Text of a pw.x input with other values of tags in &ELECTRONS."""
    for key, value in changed.items():
        line = f"  {key} = {_fortran(value)}\n"
        deck, n_replaced = re.subn(rf"^[ \t]*{key}[ \t]*=.*\n", line, deck, flags=re.MULTILINE)
        if not n_replaced:
            deck = deck.replace("&ELECTRONS\n", f"&ELECTRONS\n{line}", 1)
    return deck


def _read(folder: Path) -> list[dict[str, Any]]:
    """Attempts so far, the current one last; empty as long as there was but one."""
    path = folder / RECORD
    if not path.exists():
        return []
    try:
        attempts = [dict(attempt) for attempt in json.loads(path.read_text(encoding="utf-8"))["attempts"]]
        known = all(attempt["changed"].keys() <= _DEFAULTS.keys() for attempt in attempts)
        if not known or not 2 <= len(attempts) <= MAX_ATTEMPTS:
            raise ValueError("it has other attempts than this version makes")
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ParseError(path, f"no record of attempts ({error}); remove it to begin with the first attempt") from error
    return attempts


def _value(deck: str, key: str) -> str:
    found = re.search(rf"^[ \t]*{key}[ \t]*=[ \t]*(\S+)", deck, flags=re.MULTILINE)
    return found.group(1).rstrip(",") if found else _DEFAULTS[key]


def _fortran(value: Tag) -> str:
    return f"'{value}'" if isinstance(value, str) else str(value)
