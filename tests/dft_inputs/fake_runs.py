"""Deck folders of L1₀ FePt, and a stand-in for pw.x that gives the stored outputs of real runs."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from deck_examples import AXES, DATA, PSEUDOS, l10_cell

from aet2dft.dft_inputs import espresso, vasp
from aet2dft.dft_inputs.decks import DeckSet, Manifest, write_decks
from aet2dft.dft_inputs.job_status import assess
from aet2dft.dft_inputs.protocol import load_protocol

PW = DATA / "fake_pw" / "pw.x"
STEPS = ("scf", "axis_100", "axis_001")
COORDINATOR = """
import sys
from pathlib import Path
from aet2dft.config import RunSettings
from aet2dft.dft_inputs.execution import run
report = run(Path(sys.argv[1]), RunSettings(command=sys.argv[2], workers=int(sys.argv[3])))
print(report.counts)
"""


def deck_folder(directory: Path, n_volumes: int = 1, *, code: str = "espresso", **changes: str) -> Path:
    """Decks of equal two-atom cells, one scf and two axes each: those of the stored runs unless tags are changed."""
    chosen = load_protocol("mae", code=code, changes={"kmesh": "4x4x3", **changes})
    volumes, decks = [], []
    for number in range(n_volumes):
        name = f"v{number:05d}"
        if code == "vasp":
            made = vasp.decks(l10_cell(), name=name, protocol=chosen, axes=AXES)
        else:
            made = espresso.decks(l10_cell(), name=name, protocol=chosen, axes=AXES, pseudos=PSEUDOS)
        volumes.append({"id": name, "status": "written", "reason": "", **made.record()})
        decks += made.decks
    pseudos = PSEUDOS if code == "espresso" else ()
    deck_set = DeckSet(
        kind="atoms", protocol=chosen, axes=("100", "001"), pseudopotentials=pseudos, volumes=tuple(volumes),
        decks=tuple(decks),
    )  # fmt: skip
    write_decks(directory, deck_set)
    return directory


class FakePw:
    """What the stand-in is told to do, and what it did; lives in an environment variable while a test runs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "behavior").mkdir(parents=True)
        for name in ("scf", "ft_x", "ft_z", "not_converged", "atoms_overlap"):
            target = folder / "outputs" / name
            target.mkdir(parents=True)
            for packed in (DATA / "qe_fept" / name).glob("*.gz"):
                (target / packed.stem).write_bytes(gzip.decompress(packed.read_bytes()))
        self._log = folder / "log"
        self._log.touch()

    def behaves(self, behavior: str, *jobs: str) -> None:
        """Tell it what to do with some jobs."""
        for job in jobs:
            (self.folder / "behavior" / job.replace("/", ".")).write_text(f"{behavior}\n")

    @property
    def log(self) -> list[tuple[str, str, int]]:
        """What happened: start, end or clash; the job; the process."""
        entries = [line.split() for line in self._log.read_text().splitlines()]
        return [(word, job, int(pid)) for word, job, pid in entries]

    @property
    def starts(self) -> Counter[str]:
        """How often each job was started."""
        return Counter(job for word, job, _ in self.log if word == "start")

    def wait_for_starts(self, n: int, *, timeout: float = 20.0) -> None:
        deadline = time.monotonic() + timeout
        while sum(self.starts.values()) < n:
            assert time.monotonic() < deadline, f"{n} starts expected: {self.log}"
            time.sleep(0.01)

    def alive(self) -> list[int]:
        """Its processes that still work."""
        return [pid for word, _, pid in self.log if word == "start" and _is_working(pid)]

    def assert_never_two_in_one_folder(self) -> None:
        assert not [entry for entry in self.log if entry[0] == "clash"]


def coordinator(directory: Path, *, workers: int = 2) -> subprocess.Popen[str]:
    """Execute a deck folder in another process."""
    return subprocess.Popen(
        [sys.executable, "-c", COORDINATOR, str(directory), str(PW), str(workers)], stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip


def statuses(directory: Path) -> dict[str, str]:
    """Status of every job, read from its outputs."""
    manifest = Manifest.read(directory)
    return {job["id"]: assess(directory, manifest.content, job).status for job in manifest.jobs}


def with_status(directory: Path, status: str) -> set[str]:
    return {job for job, found in statuses(directory).items() if found == status}


def _is_working(pid: int) -> bool:
    """Whether a process is there and is not only waiting to be collected by its parent."""
    try:
        os.kill(pid, 0)
        status = Path(f"/proc/{pid}/status")
        return not (status.exists() and "State:\tZ" in status.read_text())
    except (ProcessLookupError, FileNotFoundError):
        return False
