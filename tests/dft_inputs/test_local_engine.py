"""How many jobs fit into the memory; truth: the estimate counted by hand, and the two runs that it was made from."""

import math

import pytest

from aet2dft.dft_inputs import local_engine
from aet2dft.dft_inputs.local_engine import workers_that_fit


def volumes(*sizes):
    return [{"symbols": ["Fe"] * n} for n in sizes]


@pytest.fixture
def free(monkeypatch):
    return lambda megabytes: monkeypatch.setattr(local_engine, "free_memory_mb", lambda: megabytes)


@pytest.mark.parametrize(("megabytes", "workers"), [(math.inf, 4), (2817.0, 4), (2815.0, 3), (1408.0, 2), (705.0, 1)])
def test_as_many_jobs_as_fit_are_executed_at_a_time(free, megabytes, workers):
    free(megabytes)
    found, warning = workers_that_fit(volumes(2, 32), 4)
    assert found == workers
    assert bool(warning) == (workers < 4)


def test_the_warning_says_why(free):
    free(1000.0)
    _, warning = workers_that_fit(volumes(32), 2)
    assert warning == (
        "1 instead of 2 workers: a job of 32 atoms takes about 704 MB (22 MB per atom, an estimate) "
        "and 1000 MB are free"
    )


def test_one_worker_starts_even_where_the_estimate_says_no_and_is_warned_about(free):
    free(300.0)
    workers, warning = workers_that_fit(volumes(32), 1)
    assert workers == 1
    assert "704 MB" in warning


@pytest.mark.parametrize(("n_atoms", "measured"), [(2, 114.0), (32, 708.0)])
def test_the_estimate_is_near_measured_runs(free, n_atoms, measured):
    free(2 * measured * 1.15)
    assert workers_that_fit(volumes(n_atoms), 2)[0] == 2
    free(2 * measured * 0.8)
    assert workers_that_fit(volumes(n_atoms), 2)[0] == 1
