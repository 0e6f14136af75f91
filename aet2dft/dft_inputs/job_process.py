"""Runs the script of a job in a process group of its own, which ends as a whole when it is told to."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from threading import Event

from aet2dft.dft_inputs.decks import SCRIPT

_POLL = 0.05
"""Seconds between two looks at a running script."""
_GRACE = 1.0
"""Seconds between the request to end and the kill: a launcher like mpirun ends its processes on other cores first."""


def run_script(folder: Path, *, environment: Mapping[str, str], keep_open: int, stop: Event) -> tuple[int, str]:
    """Run ``run.sh`` of a job to its end, or until `stop` is set.

    Parameters
    ----------
    folder : Path
        Folder of the job.
    environment : mapping
        Environment of the script.
    keep_open : int
        Open file that all processes of the job inherit: the one that carries the lock of the folder.
    stop : Event
        When it is set, the script and everything that it started is ended.

    Returns
    -------
    tuple of int and str
        Exit status of the script (negative: the signal that ended it) and its own last words, mostly none.
    """
    with tempfile.TemporaryFile() as stderr:
        process = subprocess.Popen(
            ["sh", SCRIPT], cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=stderr, start_new_session=True, pass_fds=(keep_open,),
        )  # fmt: skip
        try:
            while process.poll() is None and not stop.wait(_POLL):
                pass
        finally:
            if process.returncode is None or process.returncode < 0:
                _end_group(process)
        stderr.seek(0)
        words = stderr.read().decode(errors="replace").strip().splitlines()
    return process.returncode, words[-1] if words else ""


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """End a process and all of its group; return when they are gone."""
    deadline = time.monotonic() + _GRACE
    _signal(process.pid, signal.SIGTERM)
    while _signal(process.pid, 0) and time.monotonic() < deadline:
        process.poll()
        time.sleep(_POLL / 5)
    _signal(process.pid, signal.SIGKILL)
    process.wait()


def _signal(group: int, number: int) -> bool:
    """Send a signal to a process group; whether it is still there."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True
