"""What happens inside a worker process: one job after the other, each under its lock, until the coordinator is gone.

Which job comes next is decided in ``execution``.
"""

from __future__ import annotations

import os
import shlex
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Lock, Thread
from typing import Any

from aet2dft.dft_inputs.decks import Manifest
from aet2dft.dft_inputs.job_lock import FolderLock, holder_of, locked
from aet2dft.dft_inputs.job_process import run_script
from aet2dft.dft_inputs.job_status import EXIT_STATUS_NAME, assess
from aet2dft.dft_inputs.output_files import was_killed
from aet2dft.dft_inputs.retries import attempt_deck, begin_attempt, next_changes, retry_note
from aet2dft.dft_inputs.run_result import RunResult
from aet2dft.errors import Aet2dftError, LockedError

COMMAND_VARIABLE = "AET2DFT_COMMAND"
"""Environment variable from which ``run.sh`` takes how the code is started."""
_OPEN = frozenset({"not_started", "running", "incomplete", "time_limit", "failed", "pseudo_changed"})
"""Statuses of jobs that a start executes: all without a complete output of their own deck."""
_DENSITY = {"espresso": "out/job.save/charge-density.*", "vasp": "CHGCAR"}
"""Files with the charge density that a job leaves for its children."""
_REFUSED = 3
"""Exit status of ``run.sh`` where it does not start the code; its words say why."""
_POLL = 0.2
"""Seconds between two looks at the coordinator."""
_PATIENCE = 5.0
"""Seconds to wait for a job that the orphan of a killed coordinator is about to give up."""


@dataclass(frozen=True, kw_only=True, slots=True)
class JobOutcome:
    """Where one job stands."""

    job: str
    """Id, ``v00000/axis_100``."""
    status: str
    """One of `aet2dft.dft_inputs.run_result.STATUSES`."""
    reason: str = ""
    """Why it is not ok, or with which tags it was tried again."""
    executed: bool = False
    """Whether it was executed by this start."""
    code_answered: bool = True
    """Whether the code came as far as printing its version; if not, the command does not start it."""


def is_open(folder: Path, result: RunResult) -> bool:
    """Whether a start executes a job of this status: it has no result yet, or another attempt may give one."""
    return result.status in _OPEN or next_changes(folder, result) is not None


def leaves_density(folder: Path, code: str) -> bool:
    """Whether a job that ended well has left what ``run.sh`` of its children asks for."""
    try:
        ended_well = int((folder / EXIT_STATUS_NAME).read_text(encoding="ascii")) == 0
    except (OSError, ValueError):
        return False
    return ended_well and any(folder.glob(_DENSITY[code]))


def start_worker(directory: str, coordinator: int, command: str | None) -> dict[str, Worker]:
    """Make the worker of this process; the engine hands it to every `run_job` under the name given here."""
    return {"worker": Worker(Path(directory), coordinator, command)}


def run_job(job: str, again: bool, worker: Worker) -> JobOutcome:
    """Execute one job if it is not done."""
    return worker.run(job, again=again)


class Worker:
    """Runs jobs in this process, and ends them and itself when the coordinator is gone.

    Parameters
    ----------
    directory : Path
        Deck folder, locked by the coordinator.
    coordinator : int
        Process that started this one.
    command : str, optional
        How the code is started; default: as ``run.sh`` says.
    """

    def __init__(self, directory: Path, coordinator: int, command: str | None) -> None:
        self._directory = directory
        self._coordinator = coordinator
        self._command = command
        self._manifest = Manifest.read(directory)
        self._jobs = {job["id"]: job for job in self._manifest.jobs}
        self._stop = Event()
        self._busy = Lock()
        # Ctrl-C reaches all processes of a terminal; the coordinator alone decides what it means
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, lambda *_: self._stop.set())
        Thread(target=self._watch, daemon=True).start()

    def run(self, job_id: str, *, again: bool) -> JobOutcome:
        """Execute one job, with further attempts where they may help.

        Parameters
        ----------
        job_id : str
            Id of the job.
        again : bool
            Execute it even if it is done, unless it has left the density that its children need.
        """
        folder = self._manifest.folder(job_id)
        with self._busy:
            try:
                with locked(folder, patience=_PATIENCE, stop=self._stop) as lock:
                    return self._run_locked(self._jobs[job_id], folder, lock, again=again)
            except LockedError as error:
                return JobOutcome(job=job_id, status="running", reason=str(error))
            except (OSError, Aet2dftError) as error:
                return JobOutcome(job=job_id, status="failed", reason=str(error))

    def _run_locked(self, job: Mapping[str, Any], folder: Path, lock: FolderLock, *, again: bool) -> JobOutcome:
        result = self._assess(job)
        repeat = again and result.status == "ok" and not leaves_density(folder, result.code)
        wanted = repeat or is_open(folder, result)
        exit_status, words, executed = 0, "", False
        while not self._stop.is_set():
            changes = next_changes(folder, result)
            if changes is not None:
                begin_attempt(folder, result, changes)
            elif executed or not wanted:
                break
            exit_status, words = self._execute(folder, lock)
            executed = True
            result = self._assess(job)
        return _outcome(job["id"], folder, result, exit_status=exit_status, words=words, executed=executed)

    def _assess(self, job: Mapping[str, Any]) -> RunResult:
        return assess(self._directory, self._manifest.content, job)

    def _execute(self, folder: Path, lock: FolderLock) -> tuple[int, str]:
        """Run the script of a job once, with the deck of its current attempt."""
        environment = {"OMP_NUM_THREADS": "1", **os.environ}
        deck = attempt_deck(folder)
        if deck:
            environment[COMMAND_VARIABLE] = _start_script(folder, deck, self._command or "pw.x")
        elif self._command:
            environment[COMMAND_VARIABLE] = self._command
        lock.announce()
        try:
            return run_script(folder, environment=environment, keep_open=lock.descriptor, stop=self._stop)
        finally:
            lock.withdraw()

    def _watch(self) -> None:
        """Stop the job in hand when the coordinator gives the deck folder up, and leave when it is gone."""
        while os.getppid() == self._coordinator:
            holder = holder_of(self._directory)
            if holder is None or holder.pid != self._coordinator:
                self._stop.set()
            time.sleep(_POLL)
        self._stop.set()
        # the main thread ends the code and gives its lock back first
        self._busy.acquire(timeout=_PATIENCE)
        os._exit(1)


def command_words(command: str) -> list[str]:
    """Program and arguments of a command, as ``run.sh`` takes it: a path with spaces is one program."""
    return [command] if os.access(command, os.X_OK) else command.split()


def _start_script(folder: Path, deck: str, command: str) -> str:
    """Write how the code is started with the deck of another attempt; returns the command that does it."""
    script = f"{deck.rpartition('/')[0]}/start.sh"
    how = f'# From the folder above: {COMMAND_VARIABLE}="sh {script}" sh run.sh'
    start = f"exec {shlex.join(command_words(command))} -in {deck}"
    (folder / script).write_text(f"#!/bin/sh\n{how}\n{start}\n", encoding="utf-8", newline="")
    return f"sh {script}"


def _outcome(job: str, folder: Path, result: RunResult, *, exit_status: int, words: str, executed: bool) -> JobOutcome:
    """What is said about a job that was looked at or executed; `words` are those of its script."""
    if executed and exit_status == _REFUSED and words:
        return JobOutcome(job=job, status="failed", reason=words, executed=True)
    ended_by_itself = executed and exit_status >= 0 and not was_killed(exit_status)
    return JobOutcome(
        job=job, status=result.status, reason=result.reason or retry_note(folder), executed=executed,
        code_answered=bool(result.version) or not ended_by_itself,
    )  # fmt: skip
