"""Second starts, signals, kills; truth: the log of a stand-in for pw.x (``tests/data/fake_pw``), the process table."""

import json
import os
import signal
import time
from pathlib import Path

import pytest
from fake_runs import PW, coordinator, deck_folder, statuses, with_status

from aet2dft.config import RunSettings
from aet2dft.dft_inputs.decks import Manifest
from aet2dft.dft_inputs.execution import run
from aet2dft.errors import LockedError

SETTINGS = RunSettings(command=str(PW), workers=1)
TWO = RunSettings(command=str(PW), workers=2)


def test_a_second_start_is_refused_while_the_first_is_at_work(decks, fake):
    fake.behaves("hang", "v00000/scf")
    first = coordinator(decks, workers=1)
    try:
        fake.wait_for_starts(1)
        with pytest.raises(LockedError, match=f"in use by process {first.pid} on ") as refused:
            run(decks, SETTINGS)
        assert refused.value.exit_code == 7
        assert statuses(decks)["v00000/scf"] == "running"
        assert run(decks, SETTINGS, dry_run=True).counts["pending"] == 3
    finally:
        first.kill()
        first.wait()
    assert fake.starts == {"v00000/scf": 1}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_everything_within_two_seconds_and_a_start_goes_on(tmp_path, fake, number):
    decks = deck_folder(tmp_path / "decks", 2)
    fake.behaves("hang", "v00000/scf", "v00001/scf")
    process = coordinator(decks)
    fake.wait_for_starts(2)
    begin = time.monotonic()
    # Ctrl-C in a terminal reaches the workers as well
    os.killpg(process.pid, number) if number == signal.SIGINT else process.send_signal(number)
    process.communicate(timeout=10)
    while fake.alive() and time.monotonic() < begin + 5:
        time.sleep(0.02)
    assert time.monotonic() - begin < 2.0
    assert process.returncode in (-number, 128 + number)
    fake.behaves("ok", "v00000/scf", "v00001/scf")
    report = run(decks, TWO)
    assert report.counts["done"] == 6
    assert fake.starts["v00000/scf"] == fake.starts["v00001/scf"] == 2


def test_any_exception_of_the_caller_ends_the_jobs_in_hand(tmp_path, fake):
    decks = deck_folder(tmp_path / "decks", 2)
    fake.behaves("hang", "v00001/scf")

    def interrupt(progress):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(decks, TWO, progress=interrupt)
    assert not fake.alive()
    fake.behaves("ok", "v00001/scf")
    assert run(decks, TWO).counts["done"] == 6


@pytest.mark.slow
def test_kill_9_of_the_coordinator_at_many_moments_loses_and_doubles_nothing(tmp_path, fake):
    decks = deck_folder(tmp_path / "decks", 5)
    jobs = [job["id"] for job in Manifest.read(decks).jobs]
    fake.behaves("slow 0.15", *jobs)
    n_kills = 0
    for more_starts, delay in [(1, 0.0), (2, 0.05), (3, 0.14), (2, 0.1)]:
        done = with_status(decks, "ok")
        before = fake.starts
        process = coordinator(decks)
        fake.wait_for_starts(sum(before.values()) + more_starts)
        time.sleep(delay)
        process.kill()
        process.wait()
        n_kills += 1
        assert not any(fake.starts[job] > before[job] for job in done)
    # at once, while the orphans of the last one are still ending their codes
    report = run(decks, TWO)
    assert report.counts["done"] == len(jobs)
    fake.assert_never_two_in_one_folder()
    assert set(fake.starts) == set(jobs)
    assert sum(fake.starts.values()) <= len(jobs) + 2 * n_kills


def test_the_orphans_of_a_killed_coordinator_end_by_themselves(decks, fake):
    fake.behaves("hang", "v00000/scf")
    process = coordinator(decks, workers=1)
    fake.wait_for_starts(1)
    worker = _worker_of(decks, "v00000/scf")
    process.kill()
    process.wait()
    deadline = time.monotonic() + 2.0
    while (fake.alive() or _exists(worker)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not fake.alive()
    assert not _exists(worker)


def test_the_code_of_a_killed_worker_keeps_its_folder_until_it_ends(decks, fake):
    fake.behaves("slow 3", "v00000/scf")
    process = coordinator(decks, workers=1)
    fake.wait_for_starts(1)
    worker = _worker_of(decks, "v00000/scf")
    os.kill(worker, signal.SIGKILL)
    process.kill()
    process.wait()
    assert fake.alive()
    # the new worker waits for the orphan, and finds its result
    assert run(decks, SETTINGS).counts["done"] == 3
    assert fake.starts["v00000/scf"] == 1
    fake.assert_never_two_in_one_folder()


def test_a_start_whose_only_worker_is_killed_ends_with_a_resource_error(decks, fake):
    fake.behaves("hang", "v00000/scf")
    process = coordinator(decks, workers=1)
    fake.wait_for_starts(1)
    os.kill(_worker_of(decks, "v00000/scf"), signal.SIGKILL)
    _, errors = process.communicate(timeout=20)
    for pid in fake.alive():
        os.killpg(os.getpgid(pid), signal.SIGKILL)
    assert "ResourceError: the worker processes were killed" in errors


def _worker_of(decks: Path, job: str) -> int:
    return json.loads((decks / "volumes" / job / ".lock").read_text())["pid"]


def _exists(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status")
    return status.exists() and "State:\tZ" not in status.read_text()
