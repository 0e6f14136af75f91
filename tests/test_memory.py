"""How much memory is free. Truth: files as the kernel writes them, counted by hand."""

import math

import pytest

from aet2dft import memory
from aet2dft.memory import system_memory


@pytest.fixture
def kernel(tmp_path, monkeypatch):
    """Files of a machine with 8192 MB free, and a function that says in which groups the process is."""
    (tmp_path / "meminfo").write_text("MemTotal: 64000000 kB\nMemAvailable:   8000000 kB\n")
    monkeypatch.setattr(memory, "_MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "_GROUPS", tmp_path / "groups")
    monkeypatch.setattr(memory, "_CGROUP", tmp_path / "root")
    return (tmp_path / "groups").write_text


def group(folder, limit, used, cached, *, version=2):
    """A control group of so many MB."""
    names = ("max", "current", "") if version == 2 else ("limit_in_bytes", "usage_in_bytes", "total_")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"memory.{names[0]}").write_text(f"{limit if isinstance(limit, str) else int(limit * 1e6)}\n")
    (folder / f"memory.{names[1]}").write_text(f"{int(used * 1e6)}\n")
    (folder / "memory.stat").write_text(f"anon 5\n{names[2]}inactive_file {int(cached * 1e6)}\n")


def test_a_container_has_what_it_may_still_use_and_can_give_back(tmp_path, kernel):
    kernel("0::/\n")
    assert system_memory() == 8192e6
    group(tmp_path / "root", 3000, 2500, 1500)
    assert system_memory() == 2000e6
    group(tmp_path / "root", "max", 2500, 1500)
    assert system_memory() == 8192e6


@pytest.mark.parametrize(("scope", "job", "free"), [("max", 2000, 1900), (1500, 2000, 1000), ("max", "max", 8192)])
def test_the_least_that_a_batch_job_and_what_it_lies_in_may_use_is_free(tmp_path, kernel, scope, job, free):
    kernel("0::/system.slice/slurmstepd.scope/job_7\n")
    group(tmp_path / "root/system.slice/slurmstepd.scope", scope, 600, 100)
    group(tmp_path / "root/system.slice/slurmstepd.scope/job_7", job, 100, 0)
    assert system_memory() == free * 1e6


def test_groups_of_the_first_version_are_read_as_well(tmp_path, kernel):
    kernel("9:name=systemd:/\n4:cpu,memory:/slurm/job_7\n1:cpu:/slurm\n0::/\n")
    group(tmp_path / "root/memory", 9223372036854, 5000, 100, version=1)
    group(tmp_path / "root/memory/slurm/job_7", 2000, 500, 400, version=1)
    assert system_memory() == 1900e6
    kernel("4:memory:/not/seen/in/a/container\n")
    group(tmp_path / "root/memory", 1000, 500, 400, version=1)
    assert system_memory() == 900e6


def test_a_system_that_does_not_say_has_enough(tmp_path, kernel, monkeypatch):
    monkeypatch.setattr(memory, "_MEMINFO", tmp_path / "nothing")
    assert system_memory() == math.inf
