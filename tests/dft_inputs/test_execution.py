"""Execution of deck folders; truth: the log of starts and ends of a stand-in for pw.x (``tests/data/fake_pw``).

Its outputs are those of real runs, so that every status is judged by the real readers. One test starts the real pw.x.
"""

import json
import os
import shutil
import subprocess
import tempfile
from concurrent.futures import Future
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path

import pytest
from fake_runs import PW, STEPS, deck_folder, statuses

from aet2dft.config import RunSettings
from aet2dft.dft_inputs.decks import Manifest
from aet2dft.dft_inputs.execution import execute, run
from aet2dft.dft_inputs.job_status import assess
from aet2dft.dft_inputs.job_worker import JobOutcome
from aet2dft.errors import InputError, ResourceError

SETTINGS = RunSettings(command=str(PW), workers=1)
TWO = RunSettings(command=str(PW), workers=2)
NOBODY = 65534


def outcomes(report):
    return {outcome.job: outcome for outcome in report.jobs}


def test_all_jobs_are_executed_parents_before_children_and_progress_is_told(tmp_path, fake):
    decks = deck_folder(tmp_path / "decks", 3)
    seen = []
    report = run(decks, TWO, progress=seen.append)
    assert report.counts == {"done": 9, "failed": 0, "pending": 0, "skipped": 0}
    assert (report.engine, report.workers, report.n_executed, report.warnings) == ("local", 2, 9, ())
    assert set(statuses(decks).values()) == {"ok"}
    assert set(fake.starts.values()) == {1}
    words = [entry[:2] for entry in fake.log]
    for volume in ("v00000", "v00001", "v00002"):
        scf_end = words.index(("end", f"{volume}/scf"))
        assert all(words.index(("start", f"{volume}/{axis}")) > scf_end for axis in STEPS[1:])
    assert [p.n_ended for p in seen] == list(range(1, 10))
    assert seen[-1].seconds_left == 0 < seen[0].seconds_left
    assert [outcome.job for outcome in report.jobs] == [job["id"] for job in Manifest.read(decks).jobs]


def test_two_jobs_work_at_a_time_and_their_codes_get_one_thread(tmp_path, fake, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    threads = tmp_path / "threads.sh"
    threads.write_text(f'#!/bin/sh\necho "$OMP_NUM_THREADS" >> {tmp_path}/threads\nexec {PW} "$@"\n')
    decks = deck_folder(tmp_path / "decks", 3)
    # neither ends before the other has started
    fake.behaves("meet 2", "v00000/scf", "v00001/scf")
    run(decks, RunSettings(command=f"sh {threads}"))
    at_work = list(accumulate(1 if word == "start" else -1 for word, _, _ in fake.log))
    assert max(at_work) == 2
    assert set((tmp_path / "threads").read_text().split()) == {"1"}


def test_a_dry_run_says_what_would_run_and_writes_nothing(decks, fake):
    before = sorted(path for path in decks.rglob("*"))
    report = run(decks, SETTINGS, dry_run=True)
    assert report.counts == {"done": 0, "failed": 0, "pending": 3, "skipped": 0}
    assert [outcome.job for outcome in report.jobs] == [f"v00000/{step}" for step in STEPS]
    assert sorted(path for path in decks.rglob("*")) == before
    assert not fake.log
    assert (report.forecast.n_jobs, report.forecast.n_atoms, report.forecast.memory_mb) == (3, 2, 100.0)
    assert report.forecast.seconds is None
    missing = run(decks, RunSettings(command="no_such_program"), dry_run=True)
    assert "no_such_program" in missing.warnings[0]


def test_a_dry_run_tells_the_time_once_jobs_of_every_step_have_ended(tmp_path, fake):
    decks = deck_folder(tmp_path / "decks", 3)
    for step in STEPS:
        fake.behaves("error", *(f"v0000{volume}/{step}" for volume in (1, 2)))
    run(decks, SETTINGS)
    manifest = Manifest.read(decks)
    taken = [assess(decks, manifest.content, job).wall_seconds for job in manifest.jobs[:3]]
    for settings in (SETTINGS, TWO):
        told = run(decks, settings, dry_run=True).forecast
        assert (told.n_jobs, told.seconds) == (6, pytest.approx(2 * sum(taken) / settings.workers))


def test_done_jobs_are_not_repeated_and_need_no_code(decks, fake, monkeypatch):
    run(decks, SETTINGS)
    monkeypatch.setenv("PATH", "/nonexistent")
    report = run(decks)
    assert report.counts["done"] == 3
    assert (report.n_executed, report.workers) == (0, 0)
    assert set(fake.starts.values()) == {1}


def test_a_start_goes_on_after_jobs_that_run_sh_executed_without_us(decks, fake):
    script = decks / "volumes" / "v00000" / "scf" / "run.sh"
    subprocess.run(["sh", script], env={**os.environ, "AET2DFT_COMMAND": str(PW)}, check=True)
    report = run(decks, SETTINGS)
    assert (report.counts["done"], report.n_executed) == (3, 2)
    assert set(fake.starts.values()) == {1}


def test_an_scf_without_its_density_is_repeated_for_the_axes_that_still_need_it(decks, fake):
    fake.behaves("killed", "v00000/axis_001")
    run(decks, SETTINGS)
    shutil.rmtree(decks / "volumes" / "v00000" / "scf" / "out")
    fake.behaves("ok", "v00000/axis_001")
    assert run(decks, SETTINGS).counts["done"] == 3
    assert fake.starts == {"v00000/scf": 2, "v00000/axis_100": 1, "v00000/axis_001": 2}


def test_a_job_killed_after_its_output_but_before_its_exit_status_still_gets_its_children(decks, fake):
    fake.behaves("killed", "v00000/axis_100", "v00000/axis_001")
    run(decks, SETTINGS)
    (decks / "volumes" / "v00000" / "scf" / "exit_status").unlink()
    fake.behaves("ok", "v00000/axis_100", "v00000/axis_001")
    assert run(decks, SETTINGS).counts["done"] == 3


def test_failed_jobs_are_data_their_children_are_skipped_and_the_code_speaks(tmp_path, fake):
    decks = deck_folder(tmp_path / "decks", 2)
    fake.behaves("error", "v00000/scf")
    report = run(decks, SETTINGS)
    assert report.counts == {"done": 3, "failed": 1, "pending": 0, "skipped": 2}
    found = outcomes(report)
    assert found["v00000/scf"].status == "failed"
    assert "atoms # 1 and # 2 overlap" in found["v00000/scf"].reason
    assert found["v00000/axis_001"].status == "blocked"
    assert fake.starts["v00000/axis_001"] == 0
    fake.behaves("ok", "v00000/scf")
    assert run(decks, SETTINGS).counts["done"] == 6
    assert fake.starts["v00001/scf"] == 1


def test_a_full_disk_leaves_an_incomplete_job_that_the_next_start_repeats(decks, fake):
    fake.behaves("full", "v00000/scf")
    report = run(decks, SETTINGS)
    assert outcomes(report)["v00000/scf"].status == "incomplete"
    assert report.counts == {"done": 0, "failed": 1, "pending": 0, "skipped": 2}
    fake.behaves("ok", "v00000/scf")
    assert run(decks, SETTINGS).counts["done"] == 3


def test_a_silent_death_is_tried_again_with_conjugate_gradients_and_the_result_says_so(decks, fake):
    fake.behaves("silent", "v00000/scf", "v00000/axis_100")
    report = run(decks, SETTINGS)
    assert report.counts["done"] == 3
    folder = decks / "volumes" / "v00000" / "scf"
    assert "diagonalization = 'cg'" in (folder / "try2" / "pw.in").read_text()
    assert (folder / "try1" / "exit_status").read_text() == "52\n"
    assert "diagonalization = 'cg'" in outcomes(report)["v00000/scf"].reason
    first = json.loads((folder / "retries.json").read_text())["attempts"][0]
    assert "without a word" in first["reason"]
    # the deck in the manifest is untouched, so the result counts
    assert set(statuses(decks).values()) == {"ok"}
    assert outcomes(run(decks, SETTINGS))["v00000/scf"].reason.startswith("retried: attempt 2")


def test_a_silent_death_with_conjugate_gradients_too_is_given_up(decks, fake):
    fake.behaves("mute", "v00000/scf")
    report = run(decks, SETTINGS)
    assert report.counts == {"done": 0, "failed": 1, "pending": 0, "skipped": 2}
    assert fake.starts == {"v00000/scf": 2}


def test_an_unconverged_density_is_mixed_slower_then_given_twice_the_steps(decks, fake):
    fake.behaves("unconverged", "v00000/scf")
    assert run(decks, SETTINGS).counts["done"] == 3
    tried = [(decks / "volumes/v00000/scf" / f"try{n}" / "pw.in").read_text() for n in (2, 3)]
    assert all("mixing_beta = 0.1\n" in deck for deck in tried)
    assert ["electron_maxstep = 120" in deck for deck in tried] == [False, True]


def test_a_density_that_never_converges_takes_three_attempts_and_is_not_repeated_later(decks, fake):
    fake.behaves("hopeless", "v00000/scf")
    for _ in range(2):
        report = run(decks, SETTINGS)
        assert report.counts == {"done": 0, "failed": 1, "pending": 0, "skipped": 2}
        assert fake.starts == {"v00000/scf": 3}
    assert outcomes(report)["v00000/scf"].status == "not_converged"


def test_a_job_that_died_silently_without_us_begins_with_its_second_attempt(decks, fake):
    folder = decks / "volumes" / "v00000" / "scf"
    fake.behaves("silent", "v00000/scf")
    subprocess.run(["sh", folder / "run.sh"], env={**os.environ, "AET2DFT_COMMAND": str(PW)}, check=False)
    assert run(decks, SETTINGS).counts["done"] == 3
    assert fake.starts["v00000/scf"] == 2


def test_a_damaged_record_of_attempts_fails_its_job_only(tmp_path, fake):
    decks = deck_folder(tmp_path / "decks", 2)
    (decks / "volumes" / "v00000" / "scf" / "retries.json").write_text("{")
    report = run(decks, SETTINGS)
    assert report.counts == {"done": 3, "failed": 1, "pending": 0, "skipped": 2}
    assert "retries.json" in outcomes(report)["v00000/scf"].reason


def test_edited_decks_are_not_run(tmp_path, fake):
    decks = deck_folder(tmp_path / "decks", 3)
    with (decks / "volumes" / "v00000" / "scf" / "pw.in").open("a") as stream:
        stream.write("\n")
    (decks / "volumes" / "v00001" / "axis_001" / "pw.in").unlink()
    report = run(decks, SETTINGS)
    assert report.counts == {"done": 5, "failed": 0, "pending": 0, "skipped": 4}
    found = outcomes(report)
    assert found["v00000/scf"].status == "input_changed"
    assert found["v00001/axis_001"].status == "missing"
    assert fake.starts["v00000/scf"] == fake.starts["v00000/axis_100"] == 0


def test_a_command_that_is_not_the_code_stops_after_its_first_job(tmp_path, fake):
    decks = deck_folder(tmp_path / "decks", 20)
    report = run(decks, RunSettings(command="true", workers=1))
    assert report.counts == {"done": 0, "failed": 1, "pending": 59, "skipped": 0}
    assert "does not start the code" in report.warnings[0]


@pytest.mark.parametrize(
    ("command", "name"),
    [(None, "pw.x"), ("mpirun_of_nobody -n 4 pw.x", "mpirun_of_nobody"), ("sh /nowhere/pw.x", "/nowhere/pw.x")],
)
def test_a_missing_code_is_named_before_anything_starts(decks, fake, monkeypatch, command, name):
    if command is None:
        monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(InputError, match=rf"^{name}.* is not on this machine; install Quantum ESPRESSO.*--command"):
        run(decks, RunSettings(command=command))
    assert not list(decks.rglob("pw.out*"))


def test_a_changed_pseudopotential_is_refused_before_anything_starts(decks, fake):
    with (decks / "pseudo" / "Fe.pbe-small.UPF").open("a") as stream:
        stream.write("\n")
    with pytest.raises(InputError, match=r"Fe\.pbe-small\.UPF is not the file of the manifest"):
        run(decks, SETTINGS)
    assert not fake.log


def test_a_folder_without_decks_is_refused(tmp_path):
    with pytest.raises(InputError, match="holds no manifest"):
        run(tmp_path)


def test_a_read_only_folder_is_refused(fake):
    with tempfile.TemporaryDirectory() as folder, _without_superuser(Path(folder)):
        decks = deck_folder(Path(folder) / "decks")
        decks.chmod(0o555)
        with pytest.raises(ResourceError, match="decks cannot be written") as refused:
            run(decks, SETTINGS)
        assert refused.value.exit_code == 4
        assert not (decks / ".lock").exists()
        decks.chmod(0o755)


class CountingEngine:
    """Executes nothing: ends each job at once as it is told, and notes how many were at hand."""

    def __init__(self, workers, statuses=None):
        self.workers, self.statuses, self.order, self.again = workers, statuses or {}, [], {}

    def submit(self, job, *, again):
        self.order.append(job)
        self.again[job] = again
        future = Future()
        future.set_result(JobOutcome(job=job, status=self.statuses.get(job, "ok")))
        return future


def test_children_start_before_other_volumes_and_only_parents_are_asked_for_their_density():
    jobs = [{"id": f"{v}/{s}", "parent": None if s == "scf" else f"{v}/scf"} for v in "abc" for s in STEPS]
    engine = CountingEngine(workers=1)
    assert [outcome.job for outcome in execute(jobs, engine)] == [job["id"] for job in jobs]
    assert engine.again == {job["id"]: job["parent"] is None for job in jobs}


def test_a_chain_of_children_is_blocked_as_a_whole_but_not_by_a_parent_that_runs_elsewhere():
    chain = [{"id": "relax", "parent": None}, {"id": "scf", "parent": "relax"}, {"id": "axis", "parent": "scf"}]
    failed = list(execute(chain, CountingEngine(2, {"relax": "failed"})))
    assert [(o.job, o.status) for o in failed] == [("relax", "failed"), ("scf", "blocked"), ("axis", "blocked")]
    elsewhere = list(execute(chain, CountingEngine(2, {"relax": "running"})))
    assert [(o.job, o.status) for o in elsewhere] == [("relax", "running")]


@pytest.mark.needs_pwx
@pytest.mark.skipif(shutil.which("pw.x") is None, reason="pw.x is not installed")
def test_the_real_code_computes_one_small_cell(tmp_path, monkeypatch):
    monkeypatch.delenv("AET2DFT_COMMAND", raising=False)
    decks = deck_folder(tmp_path / "decks", kmesh="2x2x2", ecutwfc="20", ecutrho="120")
    report = run(decks, RunSettings(workers=2))
    assert report.counts == {"done": 3, "failed": 0, "pending": 0, "skipped": 0}
    manifest = Manifest.read(decks)
    scf, along_x, along_z = (assess(decks, manifest.content, job) for job in manifest.jobs)
    # too coarse for physics, but the right state: 3.35 μB at 30 Ry on a mesh of 4x4x3
    assert scf.total_moment[2] == pytest.approx(3.35, abs=0.3)
    assert abs(along_x.free_band_energy - along_z.free_band_energy) < 0.02
    assert along_x.spin_orbit
    assert along_z.spin_orbit


@contextmanager
def _without_superuser(folder: Path):
    """Work as nobody where the tests are run by the superuser, who may write everywhere."""
    user = os.geteuid()
    if user == 0:
        os.chown(folder, NOBODY, -1)
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(user)
