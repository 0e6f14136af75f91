"""Status of jobs in a deck folder; truth: real pw.x runs of ``tests/data/qe_fept`` laid out as a deck folder.

The decks are the inputs of those runs. What goes wrong is done to them here, one thing at a time.
"""

import gzip
import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from aet2dft.dft_inputs.job_status import assess

FIXTURES = Path(__file__).parents[1] / "data" / "qe_fept"
ANOTHER_DIGEST = "0" * 64
SCALAR = {
    "Fe.pbe-small.UPF": "08b2a7ccb08bc5cd04eb1ed49b1be8fd",
    "Pt.pbe-small.UPF": "0aa0f4244f6914a1b938753259d3bb36",
}
RELATIVISTIC = {
    "Fe.rel-pbe-small.UPF": "270cd657917c70b829ec10702c3f5196",
    "Pt.rel-pbe-small.UPF": "de91d8dfa1cc7c5a22717cc7d517214a",
}
MANIFEST = {
    "code": "espresso",
    "volumes": [],
    "pseudopotentials": [
        {"file": file, "element": file[:2], "relativistic": files is RELATIVISTIC, "sha256": ANOTHER_DIGEST, "md5": md5}
        for files in (SCALAR, RELATIVISTIC)
        for file, md5 in files.items()
    ],
}
AXES = {"ft_x": [1, 0, 0], "ft_z": [0, 0, 1], "ft_xy": [1, 1, 0], "soc_x": [1, 0, 0]}


class Job:
    """One job of a deck folder, whose deck and outputs are those of a fixture."""

    def __init__(self, directory, name, *, outputs=None):
        self.directory, self.name = directory, name
        self.folder = directory / "volumes" / "v00000" / name
        self.folder.mkdir(parents=True)
        shutil.copyfile(FIXTURES / name / "pw.in", self.folder / "pw.in")
        (self.folder / "run.sh").write_text("#!/bin/sh\n")
        axis = AXES.get(name)
        self.row = {
            "id": f"v00000/{name}", "volume": "v00000", "axis": axis, "spin_orbit": axis is not None,
            "calculation": "nscf" if name.startswith("ft") else "relax" if name == "relax" else "scf",
        }  # fmt: skip
        self.sign()
        for file in ("pw.out.gz", "data-file-schema.xml.gz"):
            source = FIXTURES / (outputs or name) / file
            if source.exists():
                (self.folder / file.removesuffix(".gz")).write_bytes(gzip.decompress(source.read_bytes()))

    def sign(self):
        """Record the deck as it is now as the one that was written."""
        digests = {name: hashlib.sha256((self.folder / name).read_bytes()).hexdigest() for name in ("pw.in", "run.sh")}
        self.row["files"] = digests

    def edit(self, file, old, new):
        path = self.folder / file
        text = path.read_bytes()
        assert old.encode() in text
        path.write_bytes(text.replace(old.encode(), new.encode()))

    def clear(self):
        for file in ("pw.out", "data-file-schema.xml"):
            (self.folder / file).unlink()

    def assess(self, **changes):
        return assess(self.directory, MANIFEST | changes.pop("manifest", {}), self.row, **changes)


@pytest.mark.parametrize("name", ["scf", "relax", "ft_x", "ft_z", "ft_xy", "soc_x"])
def test_a_job_with_its_own_outputs_is_ok(name, tmp_path):
    result = Job(tmp_path, name).assess()
    assert (result.status, result.reason) == ("ok", "")
    assert result.band_energy > 0


@pytest.mark.parametrize("name", ["not_converged", "time_limit", "killed", "no_starting_moment", "atoms_overlap"])
def test_a_job_that_went_wrong_keeps_the_status_of_its_outputs(name, tmp_path):
    expected = json.loads((FIXTURES / "reference.json").read_text())["status"][name]["detail"]
    assert Job(tmp_path, name).assess().status == expected


def test_scalar_pseudopotentials_in_a_spin_orbit_job(tmp_path):
    job = Job(tmp_path, "soc_x", outputs="soc_without_soc_pseudo")
    assert job.assess().status == "no_spin_orbit"


def test_one_scalar_pseudopotential_is_found_by_its_check_sum(tmp_path):
    job = Job(tmp_path, "ft_x")
    mixed = [entry | {"relativistic": entry["element"] != "Pt"} for entry in MANIFEST["pseudopotentials"]]
    assert job.assess(manifest={"pseudopotentials": mixed}).status == "no_spin_orbit"


@pytest.mark.parametrize(
    ("started", "ended", "status"),
    [
        ([3.0, 0.4], "0.3225", "ok"), ([3.0, 0.9], "0.0100", "ok"), ([3.0, 1.0], "0.3225", "ok"),
        ([3.0, 2.0], "0.3225", "moment_collapsed"), ([3.0, -2.0], "0.3225", "moment_collapsed"),
        ([[0, 0, 3.0], [0, 2.0, 0]], "0.3225", "moment_collapsed"), ([9.0, 0.4], "0.3225", "ok"),
        ([0.0, 0.0], "0.0000", "ok"), (None, "0.0000", "ok"),
    ],
)  # fmt: skip
def test_a_large_moment_that_is_lost_has_collapsed_and_a_small_one_has_not(started, ended, status, tmp_path):
    job = Job(tmp_path, "scf")
    job.edit("pw.out", "magn:    0.3225", f"magn:    {ended}")
    volumes = [{"id": "v00000"} | ({} if started is None else {"moments": started})]
    result = job.assess(manifest={"volumes": volumes})
    assert (result.status, "Pt at site 1" in result.reason) == (status, status != "ok")


def test_a_job_without_folder_or_deck_is_missing(tmp_path):
    job = Job(tmp_path, "scf")
    (job.folder / "pw.in").unlink()
    assert job.assess().status == "missing"
    shutil.rmtree(job.folder)
    assert job.assess().status == "missing"


def test_a_job_that_has_not_run(tmp_path):
    job = Job(tmp_path, "ft_x")
    job.clear()
    assert job.assess().status == "not_started"
    assert job.assess(parent_ok=False).status == "blocked"
    (job.folder / "exit_status").write_text("1\n")
    assert job.assess().status == "failed"


def test_a_job_that_ran_is_not_blocked(tmp_path):
    assert Job(tmp_path, "ft_x").assess(parent_ok=False).status == "ok"


@pytest.mark.parametrize("file", ["pw.in", "run.sh"])
def test_an_edited_deck_is_named_and_its_result_kept_for_display(file, tmp_path):
    job = Job(tmp_path, "scf")
    with (job.folder / file).open("a") as stream:
        stream.write(" ")
    result = job.assess()
    assert (result.status, file in result.reason) == ("input_changed", True)
    assert result.energy == pytest.approx(-1951.0147, abs=1e-4)
    job.clear()
    assert job.assess().status == "input_changed"


def test_another_pseudopotential_of_the_same_name(tmp_path):
    job = Job(tmp_path, "scf")
    job.edit("pw.out", SCALAR["Fe.pbe-small.UPF"], "f" * 32)
    result = job.assess()
    assert (result.status, "Fe.pbe-small.UPF" in result.reason) == ("pseudo_changed", True)


@pytest.mark.parametrize(
    ("old", "new", "status"),
    [
        ("Pt     0.5000000000", "Pt     0.5001000000", "wrong_structure"),
        ("Pt     0.5000000000", "Pt     0.5000300000", "ok"),
        ("Pt     0.5000000000", "Pt     1.5000000000", "ok"),
        ("Fe     0.0000000000", "Pt     0.0000000000", "wrong_structure"),
        ("3.7100000000", "3.7102000000", "wrong_structure"),
        ("CELL_PARAMETERS angstrom", "CELL_PARAMETERS furlong", "wrong_structure"),
    ],
)
def test_the_structure_of_the_output_is_that_of_the_deck_within_a_ten_thousandth(old, new, status, tmp_path):
    job = Job(tmp_path, "scf")
    job.edit("pw.in", old, new)
    job.sign()
    assert job.assess().status == status


@pytest.mark.parametrize(
    ("name", "outputs", "status"),
    [
        ("scf", "l12_scf", "wrong_structure"),
        ("scf", "soc_x", "failed"),
        ("ft_x", "scf", "failed"),
        ("ft_x", "ft_z", "failed"),
        ("ft_x", "ft_xy", "failed"),
    ],
)
def test_outputs_of_another_job_copied_in_are_found(name, outputs, status, tmp_path):
    result = Job(tmp_path, name, outputs=outputs).assess()
    assert (result.status, bool(result.reason)) == (status, True)


def test_the_exit_status_of_the_job_is_heeded(tmp_path):
    job = Job(tmp_path, "vcrelax_aborted")
    assert job.assess().status == "incomplete"
    (job.folder / "exit_status").write_text("52\n")
    assert job.assess().status == "failed"
    (job.folder / "exit_status").write_text("not a number")
    assert job.assess().status == "incomplete"


def locked(job, host, pid):
    (job.folder / ".lock").write_text(json.dumps({"host": host, "pid": pid, "start": "2026-01-01T00:00:00"}))


def test_a_lock_counts_while_its_process_lives(tmp_path):
    job = Job(tmp_path, "scf")
    locked(job, socket.gethostname(), os.getpid())
    assert job.assess().status == "running"
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    locked(job, socket.gethostname(), process.pid)
    assert job.assess().status == "ok"


def test_a_lock_of_another_machine_counts_until_the_job_left_its_exit_status(tmp_path):
    job = Job(tmp_path, "scf")
    locked(job, "elsewhere", 1)
    result = job.assess()
    assert (result.status, "elsewhere" in result.reason) == ("running", True)
    (job.folder / "exit_status").write_text("0\n")
    assert job.assess().status == "ok"


@pytest.mark.parametrize("content", ["", "{", "[]", '{"host": 1}', '{"host": "x", "pid": "many"}'])
def test_a_broken_lock_is_no_lock(content, tmp_path):
    job = Job(tmp_path, "scf")
    (job.folder / ".lock").write_text(content)
    assert job.assess().status == "ok"
