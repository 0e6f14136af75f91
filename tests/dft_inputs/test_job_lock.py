"""Locks of folders; truth: what two processes may do at a time, tried with real processes."""

import json
import os
import subprocess
import time
from threading import Event

import pytest

from aet2dft.dft_inputs.job_lock import holder_of, locked
from aet2dft.errors import LockedError


def test_a_lock_is_held_once_and_free_again(tmp_path):
    with locked(tmp_path) as lock:
        with pytest.raises(LockedError, match="an earlier start left behind"), locked(tmp_path):
            pass
        lock.announce()
        assert holder_of(tmp_path).pid == os.getpid()
        with pytest.raises(LockedError, match=f"in use by process {os.getpid()} on "), locked(tmp_path):
            pass
    assert holder_of(tmp_path) is None
    with locked(tmp_path):
        pass


def test_a_child_that_inherits_the_open_file_keeps_the_lock_after_its_parent_let_go(tmp_path):
    with locked(tmp_path) as lock:
        child = subprocess.Popen(["sleep", "0.5"], pass_fds=(lock.descriptor,))
    with pytest.raises(LockedError), locked(tmp_path):
        pass
    with locked(tmp_path, patience=10.0):
        assert child.poll() is not None or child.wait(1.0) == 0


def test_other_children_do_not_keep_it(tmp_path):
    with locked(tmp_path):
        child = subprocess.Popen(["sleep", "5"])
    with locked(tmp_path):
        child.kill()
    child.wait()


def test_patience_ends_by_itself_or_when_it_is_told_to(tmp_path):
    with locked(tmp_path):
        begin = time.monotonic()
        with pytest.raises(LockedError), locked(tmp_path, patience=0.2):
            pass
        assert time.monotonic() - begin >= 0.2
        stop = Event()
        stop.set()
        with pytest.raises(LockedError), locked(tmp_path, patience=60.0, stop=stop):
            pass
        assert time.monotonic() - begin < 10.0


def test_the_word_of_another_machine_counts_until_the_job_has_its_exit_status(tmp_path):
    elsewhere = {"host": "node17.cluster", "pid": os.getpid(), "start": "2026-01-01T00:00:00+00:00"}
    (tmp_path / ".lock").write_text(json.dumps(elsewhere))
    with pytest.raises(LockedError, match=r"node17\.cluster .* if that process is gone, remove"), locked(tmp_path):
        pass
    assert holder_of(tmp_path).host == "node17.cluster"
    (tmp_path / "exit_status").write_text("0\n")
    with locked(tmp_path):
        pass


@pytest.mark.parametrize("content", ["", "{", "[]", '{"host": "x", "pid": "many", "start": ""}', "\xff"])
def test_a_damaged_lock_file_locks_nobody_out(tmp_path, content):
    (tmp_path / ".lock").write_text(content, encoding="latin-1")
    assert holder_of(tmp_path) is None
    with locked(tmp_path):
        pass
