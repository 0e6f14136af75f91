"""Locks of folders: one process and its children write a folder at a time, whatever was killed before.

Which status a locked job has is decided in ``job_status``.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from threading import Event

from aet2dft.dft_inputs.job_status import EXIT_STATUS_NAME, LOCK_NAME
from aet2dft.errors import LockedError

_POLL = 0.05
"""Seconds between two tries."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Holder:
    """Who says to work in a folder."""

    host: str
    """Name of the machine."""
    pid: int
    """Process on that machine."""
    start: str
    """When it began, ISO 8601."""

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host} since {self.start}"


@dataclass(frozen=True, kw_only=True, slots=True)
class FolderLock:
    """The lock of a folder, held."""

    descriptor: int
    """Open file that carries the lock; processes that inherit it hold the lock as well."""

    def announce(self) -> None:
        """Write into the lock file who works here from now on, for people, `job_status` and other machines."""
        start = datetime.now(UTC).isoformat("T", "seconds")
        holder = {"host": socket.gethostname(), "pid": os.getpid(), "start": start}
        self.withdraw()
        os.pwrite(self.descriptor, json.dumps(holder).encode(), 0)

    def withdraw(self) -> None:
        """Empty the lock file; the lock is still held."""
        os.ftruncate(self.descriptor, 0)


@contextmanager
def locked(folder: Path, *, patience: float = 0.0, stop: Event | None = None) -> Iterator[FolderLock]:
    """Hold the lock of a folder.

    Parameters
    ----------
    folder : Path
        Existing folder; the file ``.lock`` in it stays there, empty.
    patience : float
        Seconds to wait for a process of this machine that holds it.
    stop : Event, optional
        Ends the waiting when it is set.

    Raises
    ------
    LockedError
        If somebody else holds it.
    OSError
        If the lock file cannot be written.

    Notes
    -----
    The lock is ``flock(2)``: the kernel gives it back when the last process that inherited the open file has ended. A
    killed worker whose DFT code lives on therefore still keeps others out, and a process id that was given to a new
    process keeps nobody out. Where the file names another machine it counts until the job has left its exit status,
    because locks do not reach across all network file systems.
    """
    path = folder / LOCK_NAME
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        _wait_for(descriptor, path, time.monotonic() + patience, stop or Event())
        lock = FolderLock(descriptor=descriptor)
        lock.withdraw()
        try:
            yield lock
        finally:
            lock.withdraw()
    finally:
        os.close(descriptor)


def holder_of(folder: Path) -> Holder | None:
    """Who announced to work in a folder; None if nobody does or it cannot be read."""
    try:
        content = json.loads((folder / LOCK_NAME).read_text(encoding="utf-8"))
        return Holder(host=str(content["host"]), pid=int(content["pid"]), start=str(content["start"]))
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _wait_for(descriptor: int, path: Path, deadline: float, stop: Event) -> None:
    """Take the lock of an open file, or raise LockedError."""
    # not at the top: where there is no POSIX, everything but the execution of jobs still works
    import fcntl

    while True:
        holder = holder_of(path.parent)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() < deadline and not stop.wait(_POLL):
                continue
            who = holder or "a process that an earlier start left behind"
            raise LockedError(f"{path.parent} is in use by {who}; wait for it or end it") from None
        if holder and holder.host != socket.gethostname() and not (path.parent / EXIT_STATUS_NAME).exists():
            raise LockedError(f"{path.parent} is in use by {holder}; if that process is gone, remove {path}")
        return
