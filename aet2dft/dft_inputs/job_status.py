"""Status of one job of a deck folder: is its deck the one written, did it run, and are the outputs its own.

Reading the outputs lives with each code; starting jobs lives with the execution.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aet2dft.dft_inputs import espresso_output, vasp_output
from aet2dft.dft_inputs.deck_structure import read_deck_structure
from aet2dft.dft_inputs.moment_checks import collapsed_moment
from aet2dft.dft_inputs.retries import retry_note
from aet2dft.dft_inputs.run_result import RunResult

LOCK_NAME = ".lock"
"""File in a job folder while the job runs: host, pid and start time as JSON."""
EXIT_STATUS_NAME = "exit_status"
"""File in a job folder with the exit status of the code, written last."""
_READERS = {"espresso": espresso_output.parse, "vasp": vasp_output.parse}
_SAME_AXIS = 0.1
"""Degrees."""


def assess(
    directory: Path, manifest: Mapping[str, Any], job: Mapping[str, Any], *, parent_ok: bool = True
) -> RunResult:
    """Status and results of one job.

    Parameters
    ----------
    directory : Path
        Deck folder, which holds ``manifest.json``.
    manifest : mapping
        Content of the manifest.
    job : mapping
        One of its ``jobs``.
    parent_ok : bool
        Whether the job that this one starts from is ok.

    Returns
    -------
    RunResult
        Never an exception for damaged content. Where the deck was changed, or a complete output is not that of the
        deck, the result keeps its numbers for display and its status says that they must not be used.
    """
    folder = directory / "volumes" / str(job["id"])
    code = str(manifest["code"])
    absent = _absent_file(folder, job)
    if absent:
        return RunResult(status="missing", reason=f"{absent} of the deck is not in {job['id']}", code=code)
    holder = _lock_holder(folder)
    if holder:
        return RunResult(status="running", reason=holder, code=code)
    exit_status = _exit_status(folder)
    result = _READERS[code](folder, exit_status=exit_status, axis=job["axis"])
    changed = _changed_file(folder, job)
    if changed:
        return result.judged("input_changed", f"{changed} is not the file that was written; write the decks again")
    if result.status == "not_started":
        return _not_run(result, exit_status, parent_ok=parent_ok)
    if note := retry_note(folder):
        result = replace(result, warnings=(*result.warnings, note))
    if result.counted_as in ("ok", "not_converged"):
        return result.judged(*_identity(folder, manifest, job, result))
    return result


def _absent_file(folder: Path, job: Mapping[str, Any]) -> str:
    """Name of the first file of the deck that is not there or not to be reached."""
    for name in job["files"]:
        try:
            if (folder / name).is_file():
                continue
        except OSError:
            pass
        return str(name)
    return ""


def _lock_holder(folder: Path) -> str:
    """Say who works in a folder, or nothing if nobody does.

    A process on another machine cannot be looked at from here: its lock counts until the job has left an exit status,
    so that two machines never write one folder at once.
    """
    try:
        lock = json.loads((folder / LOCK_NAME).read_text(encoding="utf-8"))
        host, pid = str(lock["host"]), int(lock["pid"])
    except (OSError, ValueError, TypeError, KeyError):
        return ""
    if host != socket.gethostname():
        if (folder / EXIT_STATUS_NAME).exists():
            return ""
        return f"locked by process {pid} on {host}; remove {LOCK_NAME} if that process is gone"
    return f"process {pid} works on it" if _is_alive(pid) else ""


def _is_alive(pid: int) -> bool:
    if pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):
        return False
    return True


def _exit_status(folder: Path) -> int | None:
    try:
        return int((folder / EXIT_STATUS_NAME).read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def _changed_file(folder: Path, job: Mapping[str, Any]) -> str:
    """Name of the first file of the deck whose digest is not that of the manifest."""
    for name, digest in job["files"].items():
        try:
            if hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest:
                continue
        except OSError:
            pass
        return str(name)
    return ""


def _not_run(result: RunResult, exit_status: int | None, *, parent_ok: bool) -> RunResult:
    if not parent_ok:
        return result.judged("blocked", "the job that it starts from is not ok")
    if exit_status:
        return result.judged("failed", f"run.sh ended with exit status {exit_status} before the code wrote a line")
    return result


def _identity(folder: Path, manifest: Mapping[str, Any], job: Mapping[str, Any], result: RunResult) -> tuple[str, str]:
    """Status and reason of a complete run once it is compared with the deck that it should belong to."""
    pseudo = _foreign_pseudopotential(manifest, result)
    if pseudo:
        return "pseudo_changed", f"{pseudo} is not the file of the manifest; check pseudo_dir and run the job again"
    structure = _foreign_structure(folder, str(manifest["code"]), result)
    if structure:
        return "wrong_structure", structure
    if result.calculation != job["calculation"]:
        return "failed", f"the output is of a {result.calculation} run, the deck asks for {job['calculation']}"
    if job["spin_orbit"] and (not result.spin_orbit or _scalar_pseudopotential(manifest, result)):
        return "no_spin_orbit", "the deck asks for spin-orbit coupling, the run had none or not for all elements"
    if result.spin_orbit and not job["spin_orbit"]:
        return "failed", "the run had spin-orbit coupling, the deck asks for none"
    if job["axis"] is not None and result.start_axis is not None and _differ(result.start_axis, job["axis"]):
        return "failed", f"the moments of the output did not start along the axis {job['axis']} of the deck"
    if result.status == "ok" and (collapsed := _collapsed(manifest, job, result)):
        return "moment_collapsed", collapsed
    return result.status, result.reason


def _collapsed(manifest: Mapping[str, Any], job: Mapping[str, Any], result: RunResult) -> str:
    """Say which site lost the moment that the deck gave it, or nothing."""
    if result.moments is None or len(result.moments) != len(result.labels):
        return ""
    started = next((volume.get("moments") for volume in manifest["volumes"] if volume["id"] == job["volume"]), None)
    return collapsed_moment(result.labels, result.moments, started)


def _foreign_pseudopotential(manifest: Mapping[str, Any], result: RunResult) -> str:
    expected = {entry["file"]: entry["md5"] for entry in manifest["pseudopotentials"]}
    if not expected:  # of VASP: which POTCAR it takes is known when it runs
        return ""
    return next((name for name, md5 in result.pseudo_md5.items() if expected.get(name) != md5), "")


def _scalar_pseudopotential(manifest: Mapping[str, Any], result: RunResult) -> bool:
    scalar = {entry["md5"] for entry in manifest["pseudopotentials"] if not entry["relativistic"]}
    return not scalar.isdisjoint(result.pseudo_md5.values())


def _foreign_structure(folder: Path, code: str, result: RunResult) -> str:
    if result.input_cell is None or result.input_positions is None:
        return "the output does not say which structure it is of"
    try:
        deck = read_deck_structure(folder, code)
    except (OSError, ValueError) as error:
        return f"the structure of the deck cannot be read ({error})"
    return deck.difference(result.labels, result.input_cell, result.input_positions)


def _differ(first: NDArray[np.float64], second: Sequence[float]) -> bool:
    """Whether two directions (3,) are not the same."""
    other = np.asarray(second, dtype=float)
    angle = np.arctan2(np.linalg.norm(np.cross(first, other)), first @ other)
    return bool(np.degrees(angle) > _SAME_AXIS)
