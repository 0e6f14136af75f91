"""The verb `run`: execute what is not done yet of a deck folder.

How one job runs is the business of its ``run.sh`` and of ``job_worker``; results are read by `collect`.
"""

from __future__ import annotations

import logging
import os
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from aet2dft.config import RunSettings
from aet2dft.dft_inputs.decks import Manifest
from aet2dft.dft_inputs.job_lock import FolderLock, locked
from aet2dft.dft_inputs.job_status import assess
from aet2dft.dft_inputs.job_worker import JobOutcome, is_open, leaves_density
from aet2dft.dft_inputs.local_engine import LocalEngine, workers_that_fit
from aet2dft.dft_inputs.retries import retry_note
from aet2dft.dft_inputs.run_checks import check_requirements, usable_command, volumes_of
from aet2dft.dft_inputs.run_forecast import RunForecast, forecast
from aet2dft.errors import InputError, ResourceError

_log = logging.getLogger(__name__)
_SKIPPED = frozenset({"blocked", "input_changed", "missing"})
"""Statuses of jobs that cannot be started: what they start from is not ok, or their deck is not the one written."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """What is known each time a job has ended."""

    outcome: JobOutcome
    """The job that ended."""
    n_ended: int
    """Jobs that ended since the start."""
    n_jobs: int
    """Jobs that this start has to execute."""
    seconds: float
    """Time since the start, s."""
    seconds_left: float
    """Time that the others will take if they take as long as those that ended, s."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RunReport:
    """How far a deck folder is after a start, or before it with `dry_run`."""

    engine: str
    """What executed the jobs."""
    workers: int
    """Jobs at a time; 0 if nothing had to be executed."""
    counts: dict[str, int]
    """All jobs: done (ok, by whatever start), failed, pending (not executed yet), skipped (cannot be executed)."""
    n_executed: int
    """Jobs executed by this start."""
    seconds: float
    """Elapsed time, s."""
    jobs: tuple[JobOutcome, ...]
    """Where every job stands, in the order in which they are executed."""
    warnings: tuple[str, ...]
    """What a user should know."""
    forecast: RunForecast | None = None
    """What the jobs that are to be executed will take; None after a start."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What a start has to do."""

    jobs: tuple[Mapping[str, Any], ...]
    """Rows of the manifest of the jobs to execute, parents before their children."""
    standing: dict[str, JobOutcome]
    """Where every job of the manifest stands."""
    seconds: dict[str, float]
    """Elapsed time, s, of the jobs that are ok, where their outputs tell it."""


class Engine(Protocol):
    """What executes jobs."""

    workers: int
    """Jobs at a time."""

    def submit(self, job: str, *, again: bool) -> Future[JobOutcome]:
        """Execute a job as soon as a worker is free; `again` even if it is done but has left no charge density."""


def run(
    directory: str | Path,
    settings: RunSettings = RunSettings(),
    *,
    dry_run: bool = False,
    progress: Callable[[Progress], None] | None = None,
) -> RunReport:
    """Execute the jobs of a deck folder that are not done yet.

    Parameters
    ----------
    directory : str or Path
        Folder that `inputs` wrote.
    settings : RunSettings
        Engine, workers, how the code is started.
    dry_run : bool
        Only say what would be executed, in which order; nothing is written.
    progress : callable, optional
        Called each time a job has ended.

    Returns
    -------
    RunReport
        Jobs that failed are data, not errors.

    Raises
    ------
    InputError
        If the folder holds no decks, or the code or a pseudopotential is missing; nothing was started.
    LockedError
        If another process executes jobs of the folder.
    ResourceError
        If the folder cannot be written, the disk is full, or the worker processes are killed.

    Notes
    -----
    What is done is read from the outputs each time, so that a start after any interruption, or after jobs that ran on
    a cluster, goes on where they ended. A job whose run ended well by its files but with a wrong state (not converged,
    moment collapsed, ...) is not repeated, except with other tags where `aet2dft.dft_inputs.retries` knows some. All
    other jobs without a result are executed, also those that failed before.
    """
    start = time.monotonic()
    directory = Path(directory)
    manifest = Manifest.read(directory)
    if os.name != "posix":
        raise InputError("jobs are executed by shell scripts; start `aet2dft run` on Linux, macOS or in WSL")
    if dry_run:
        plan = _plan(manifest)
        warnings = _what_is_missing(manifest, plan, settings)
        report = _report(plan, settings, start, workers=settings.workers, warnings=warnings)
        return replace(report, forecast=forecast(manifest, plan.jobs, plan.seconds, workers=settings.workers))
    with _coordinator_lock(directory) as lock:
        plan = _plan(manifest)
        if not plan.jobs:
            return _report(plan, settings, start)
        command = usable_command(settings.command)
        check_requirements(manifest, plan.jobs, command)
        volumes = volumes_of(manifest, plan.jobs)
        workers, warning = workers_that_fit(volumes, min(settings.workers, len(plan.jobs)))
        _log.info("%d of %d jobs to execute, %d at a time", len(plan.jobs), len(manifest.jobs), workers)
        lock.announce()
        with LocalEngine(directory, lock, workers=workers, command=command) as engine:
            ended, stopped = _drive(plan, engine, progress, start)
    warnings = tuple(text for text in (warning, stopped) if text)
    return _report(plan, settings, start, ended=ended, workers=workers, warnings=warnings)


def execute(jobs: Sequence[Mapping[str, Any]], engine: Engine) -> Iterator[JobOutcome]:
    """Outcomes of jobs as they end; children start when their parent is ok, before jobs of other volumes.

    Parameters
    ----------
    jobs : sequence of mapping
        Rows of the manifest, parents before their children.
    engine : Engine
        Never has more jobs at hand than workers, so that nothing waits in it when the caller stops.
    """
    ids = {job["id"] for job in jobs}
    children: dict[str, list[str]] = defaultdict(list)
    for job in jobs:
        if job["parent"] in ids:
            children[job["parent"]].append(job["id"])
    ready = deque(job["id"] for job in jobs if job["parent"] not in ids)
    running: dict[Future[JobOutcome], str] = {}
    while ready or running:
        while ready and len(running) < engine.workers:
            job_id = ready.popleft()
            running[engine.submit(job_id, again=bool(children[job_id]))] = job_id
        for future in wait(running, return_when=FIRST_COMPLETED).done:
            job_id = running.pop(future)
            outcome = future.result()
            yield outcome
            if outcome.status == "ok":
                ready.extendleft(reversed(children[job_id]))
            elif outcome.status != "running":
                yield from _blocked(children, job_id)


def _blocked(children: Mapping[str, Sequence[str]], parent: str) -> Iterator[JobOutcome]:
    """Outcomes of all jobs that would have started from one that is not ok."""
    for child in children.get(parent, ()):
        yield JobOutcome(job=child, status="blocked", reason=f"{parent}, from which it starts, is not ok")
        yield from _blocked(children, child)


def _drive(
    plan: Plan, engine: Engine, progress: Callable[[Progress], None] | None, start: float
) -> tuple[dict[str, JobOutcome], str]:
    """Outcomes by job, and why it stopped early if it did."""
    ended: dict[str, JobOutcome] = {}
    answered = False
    for outcome in execute(plan.jobs, engine):
        ended[outcome.job] = outcome
        _log.info("%s: %s %s", outcome.job, outcome.status, outcome.reason)
        if progress is not None:
            seconds, n_left = time.monotonic() - start, len(plan.jobs) - len(ended)
            progress(Progress(
                outcome=outcome, n_ended=len(ended), n_jobs=len(plan.jobs), seconds=seconds,
                seconds_left=seconds / len(ended) * n_left,
            ))  # fmt: skip
        answered = answered or (outcome.executed and outcome.code_answered)
        if not answered and not outcome.code_answered:
            # all the others would fail in the same way
            return ended, f"stopped after {outcome.job}: the command does not start the code ({outcome.reason})"
    return ended, ""


def _plan(manifest: Manifest) -> Plan:
    """Look at every job; what is to be executed comes parents first."""
    code = str(manifest.content["code"])
    standing: dict[str, JobOutcome] = {}
    seconds: dict[str, float] = {}
    chosen: set[str] = set()
    for job in manifest.jobs:
        parent = job["parent"]
        parent_ok = parent is None or parent in chosen or standing[parent].status == "ok"
        folder = manifest.folder(job["id"])
        result = assess(manifest.directory, manifest.content, job, parent_ok=parent_ok)
        status, reason = result.status, result.reason or (retry_note(folder) if result.status == "ok" else "")
        if is_open(folder, result):
            if not parent_ok:
                status, reason = "blocked", f"{parent}, from which it starts, is not ok"
            else:
                chosen.add(job["id"])
                if parent is not None and not leaves_density(manifest.folder(parent), code):
                    chosen.add(parent)
        standing[job["id"]] = JobOutcome(job=job["id"], status=status, reason=reason)
        if status == "ok" and result.wall_seconds is not None:
            seconds[job["id"]] = result.wall_seconds
    return Plan(jobs=tuple(job for job in manifest.jobs if job["id"] in chosen), standing=standing, seconds=seconds)


def _report(
    plan: Plan,
    settings: RunSettings,
    start: float,
    *,
    ended: Mapping[str, JobOutcome] | None = None,
    workers: int = 0,
    warnings: tuple[str, ...] = (),
) -> RunReport:
    ended = ended or {}
    pending = {job["id"] for job in plan.jobs} - ended.keys()
    jobs = tuple(ended.get(job, standing) for job, standing in plan.standing.items())
    counts = dict.fromkeys(("done", "failed", "pending", "skipped"), 0)
    for outcome in jobs:
        counts["pending" if outcome.job in pending else _group(outcome.status)] += 1
    return RunReport(
        engine=settings.engine, workers=workers if plan.jobs else 0, counts=counts,
        n_executed=sum(outcome.executed for outcome in jobs), seconds=time.monotonic() - start, jobs=jobs,
        warnings=warnings,
    )  # fmt: skip


def _group(status: str) -> str:
    if status in _SKIPPED:
        return "skipped"
    # held by another machine, or by the code that a killed worker left behind
    return {"ok": "done", "running": "pending"}.get(status, "failed")


def _what_is_missing(manifest: Manifest, plan: Plan, settings: RunSettings) -> tuple[str, ...]:
    """Warnings of a dry run: what a start would be refused for."""
    try:
        check_requirements(manifest, plan.jobs, usable_command(settings.command))
    except (InputError, ResourceError) as error:
        return (str(error),)
    return ()


@contextmanager
def _coordinator_lock(directory: Path) -> Iterator[FolderLock]:
    """Hold the lock of the whole deck folder."""
    with ExitStack() as stack:
        try:
            lock = stack.enter_context(locked(directory))
        except OSError as error:
            raise ResourceError(f"{directory} cannot be written ({error.strerror}); copy it elsewhere") from error
        yield lock
