"""What a start of `run` will take, as far as a deck folder tells: memory by the atoms, time by the jobs that ended."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from aet2dft.dft_inputs.decks import Manifest
from aet2dft.dft_inputs.local_engine import job_memory_mb, most_atoms
from aet2dft.dft_inputs.run_checks import volumes_of


@dataclass(frozen=True, kw_only=True, slots=True)
class RunForecast:
    """What the jobs that are to be executed will take."""

    n_jobs: int
    """Jobs to execute."""
    n_atoms: int
    """Atoms of the largest of their volumes."""
    memory_mb: float
    """Memory of all workers together, MB: an estimate by the atoms."""
    seconds: float | None
    """Time, s, if every job takes the median of those of its step that ended here; None where none of a step has."""


def forecast(
    manifest: Manifest, jobs: Sequence[Mapping[str, Any]], ended: Mapping[str, float], *, workers: int
) -> RunForecast:
    """Time and memory of jobs.

    Parameters
    ----------
    manifest : Manifest
        Deck folder.
    jobs : sequence of mapping
        Rows of the jobs that are to be executed.
    ended : mapping of str to float
        Elapsed time, s, of the jobs of the folder that are done, by their ids.
    workers : int
        Jobs at a time.
    """
    n_atoms = most_atoms(volumes_of(manifest, jobs))
    workers = min(workers, len(jobs))
    times = defaultdict(list)
    for job in manifest.jobs:
        if job["id"] in ended:
            times[job["step"]].append(ended[job["id"]])
    known = all(job["step"] in times for job in jobs)
    return RunForecast(
        n_jobs=len(jobs),
        n_atoms=n_atoms,
        memory_mb=workers * job_memory_mb(n_atoms),
        seconds=sum(median(times[job["step"]]) for job in jobs) / max(workers, 1) if known else None,
    )
