"""Worker processes on this machine, kept by executorlib: how many fit, how they get their jobs, how they end.

Truth about jobs is in their folders, never in the engine: it keeps no cache.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from aet2dft.dft_inputs.job_lock import FolderLock
from aet2dft.dft_inputs.job_worker import JobOutcome, run_job, start_worker
from aet2dft.errors import ResourceError
from aet2dft.memory import system_memory

MB_PER_ATOM = 22.0
"""Memory of one serial job: 708 MB were measured for 32 atoms at 30 Ry and one k-point, 114 MB for 2 atoms with 18."""
_LEAST_MB = 100.0


class LocalEngine:
    """Worker processes on this machine, alive inside a ``with`` block.

    Parameters
    ----------
    directory : Path
        Deck folder.
    lock : FolderLock
        Its lock, announced; withdrawing the announcement stops the workers.
    workers : int
        Jobs at a time.
    command : str, optional
        How the code is started.
    """

    def __init__(self, directory: Path, lock: FolderLock, *, workers: int, command: str | None) -> None:
        # imported here: only those who execute jobs pay for it
        from executorlib import SingleNodeExecutor

        self.workers = workers
        self._lock = lock
        self._executor = SingleNodeExecutor(
            max_workers=workers, block_allocation=True, disable_dependencies=True, hostname_localhost=True,
            init_function=partial(start_worker, str(directory.resolve()), os.getpid(), command),
        )  # fmt: skip

    def submit(self, job: str, *, again: bool) -> Future[JobOutcome]:
        """Give a job to the next free worker."""
        future: Future[JobOutcome] = self._executor.submit(run_job, job, again)
        return future

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        from executorlib.api import ExecutorlibSocketError

        self._lock.withdraw()
        self._executor.shutdown(wait=True, cancel_futures=True)
        if isinstance(error, ExecutorlibSocketError):
            raise ResourceError(
                "the worker processes were killed, perhaps for lack of memory; start again with fewer --workers"
            ) from error


def workers_that_fit(volumes: Iterable[Mapping[str, Any]], wanted: int) -> tuple[int, str]:
    """How many jobs at a time the memory allows, and a sentence if that is fewer than wanted.

    Parameters
    ----------
    volumes : iterable of mapping
        Rows of the manifest of the volumes that are to be computed.
    wanted : int
        Workers asked for.

    Notes
    -----
    An estimate: `MB_PER_ATOM` times the atoms of the largest volume. It grows with the cutoff, the number of k-points
    and, with ``mpirun``, of processes, which it does not know.
    """
    n_atoms = most_atoms(volumes)
    per_job, free = job_memory_mb(n_atoms), free_memory_mb()
    workers = max(1, min(wanted, int(free // per_job) if math.isfinite(free) else wanted))
    if workers == wanted and per_job * workers <= free:
        return workers, ""
    return workers, (
        f"{workers} instead of {wanted} workers: a job of {n_atoms} atoms takes about {per_job:.0f} MB "
        f"({MB_PER_ATOM:.0f} MB per atom, an estimate) and {free:.0f} MB are free"
    )


def most_atoms(volumes: Iterable[Mapping[str, Any]]) -> int:
    """Atoms of the largest of some volumes; 0 without any."""
    return max((len(volume["symbols"]) for volume in volumes), default=0)


def job_memory_mb(n_atoms: int) -> float:
    """Memory of a job of so many atoms, MB: an estimate."""
    return max(MB_PER_ATOM * n_atoms, _LEAST_MB)


def free_memory_mb() -> float:
    """Memory that this machine or container can still give, MB; infinite where the system does not say."""
    return system_memory() / 1e6
