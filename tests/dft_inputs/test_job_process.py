"""Scripts in process groups of their own; truth: what small shell scripts leave behind, and the process table."""

import os
import threading
import time
from pathlib import Path

import pytest

from aet2dft.dft_inputs.job_process import run_script


@pytest.fixture
def start(tmp_path):
    """Write a script and run it; `stop_after` seconds it is told to end."""

    def run(script: str, *, stop_after: float | None = None) -> tuple[int, str]:
        (tmp_path / "run.sh").write_text(script)
        stop = threading.Event()
        timer = threading.Timer(stop_after or 0.0, stop.set)
        if stop_after is not None:
            timer.start()
        with (tmp_path / "lock").open("w") as lock:
            return run_script(tmp_path, environment=os.environ, keep_open=lock.fileno(), stop=stop)

    return run


def test_exit_status_and_last_words_come_back(start):
    assert start("exit 0\n") == (0, "")
    assert start("echo first >&2\necho last >&2\necho output\nexit 3\n") == (3, "last")


def test_it_runs_in_its_folder_without_input(tmp_path, start):
    assert start("cat > copy\npwd > where\n") == (0, "")
    assert (tmp_path / "copy").read_text() == ""
    assert (tmp_path / "where").read_text().strip() == str(tmp_path.resolve())


@pytest.mark.parametrize("first", ["", "trap '' TERM\n"])
def test_a_stop_ends_the_whole_group_even_if_it_does_not_listen(tmp_path, start, first):
    begin = time.monotonic()
    # the child inherits that the signal is ignored
    exit_status, _ = start(f"{first}sh -c 'echo $$ > child; sleep 60; sleep 60' &\nsleep 60; wait\n", stop_after=0.3)
    assert exit_status < 0
    assert time.monotonic() - begin < 3.0
    child = int((tmp_path / "child").read_text())
    with pytest.raises(ProcessLookupError):
        _require_working(child)


def test_what_a_killed_script_leaves_behind_is_ended_as_well(tmp_path, start):
    exit_status, _ = start("sleep 60 & echo $! > child\nkill -9 $$\n")
    assert exit_status == -9
    with pytest.raises(ProcessLookupError):
        _require_working(int((tmp_path / "child").read_text()))


def _require_working(pid: int) -> None:
    """Raise ProcessLookupError if there is no such process, or only its entry that nobody has collected yet."""
    deadline = time.monotonic() + 1.0
    while time.monotonic() < deadline:
        os.kill(pid, 0)
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                raise ProcessLookupError
        except FileNotFoundError:
            raise ProcessLookupError from None
        time.sleep(0.02)
