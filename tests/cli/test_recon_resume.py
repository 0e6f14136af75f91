"""A reconstruction that is killed. Truth: the same command without a break, byte by byte."""

import json
import signal
import subprocess
import sys

import numpy as np
import pytest
from commands import done

from aet2dft import store
from aet2dft.recon.fourier.projector import project_volume
from aet2dft.recon.tilt_series import TiltSeries, Volume
from aet2dft.recon.volumes import preparation

N = 24
ANGLES = np.linspace(-66, 64, 12)
RUN = "import sys; from aet2dft.cli import main; sys.exit(main())"
KILLED = """
import os, signal
from aet2dft.recon.algorithms import checkpoint
checkpoint._SECONDS, checkpoint._SHARE = 0.0, 1e9
save, saved = checkpoint.Checkpoint.save, []
def save_and_die(self, progress):
    save(self, progress)
    saved.append(progress)
    if len(saved) == 5:
        os.kill(os.getpid(), signal.SIGKILL)
checkpoint.Checkpoint.save = save_and_die
"""


def command(folder, project, *flags, code=RUN):
    """A run of its own process, its exit code and JSON object."""
    arguments = ["reconstruct", "images.npy", "--angles", "angles.txt", "--pixel-size", "0.5", "--iterations", "9"]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments, "-o", project, "--json", *flags],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.returncode, json.loads(done.stdout) if done.stdout.startswith("{") else done.stderr


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("resume")
    grid = np.stack(np.meshgrid(*[np.arange(N) - N // 2] * 3, indexing="ij"), axis=-1)
    points = np.random.default_rng(0).normal(scale=3, size=(20, 3))
    volume = sum(np.exp(-((grid - at) ** 2).sum(axis=-1) / 3) for at in points).astype(np.float32)
    series = TiltSeries.from_angles(np.zeros((len(ANGLES), N, N), dtype=np.float32), ANGLES, pixel_size=0.5)
    np.save(folder / "images.npy", project_volume(series, volume))
    np.savetxt(folder / "angles.txt", ANGLES)
    return folder


@pytest.mark.slow
def test_a_killed_command_goes_on_to_the_same_bytes(folder):
    code, whole = command(folder, "whole.h5")
    assert code == 0
    code, _ = command(folder, "run.h5", code=KILLED + RUN)
    assert code == -signal.SIGKILL
    assert not (folder / "run.h5").exists()
    assert (folder / "run.h5.checkpoint").exists()
    code, refused = command(folder, "run.h5")
    assert code == 3
    assert "go on with --resume" in refused["error"]["message"]
    code, other = command(folder, "run.h5", "--resume", "--seed", "3")
    assert code == 3
    assert "belongs to another reconstruction (settings differ)" in other["error"]["message"]
    code, resumed = command(folder, "run.h5", "--resume")
    assert code == 0
    one, two = (store.load(folder / name, "reconstruct", "volume", Volume) for name in ("whole.h5", "run.h5"))
    assert one.values.tobytes() == two.values.tobytes()
    assert resumed["r_factor"] == whole["r_factor"]
    assert not (folder / "run.h5.checkpoint").exists()


def test_a_volume_in_a_file_is_that_in_memory_and_is_planned_once(folder, monkeypatch):
    planned, plan = [], preparation.plan
    monkeypatch.setattr(preparation, "plan", lambda *given: planned.append(given) or plan(*given))
    monkeypatch.chdir(folder)
    given = ("images.npy", "--angles", "angles.txt", "--pixel-size", "0.5", "--iterations", "2", "--no-halves")
    done("reconstruct", *given, "-o", "plain.h5")
    done("reconstruct", *given, "--memory-mapped", "-o", "mapped.h5")
    assert len(planned) == 2
    one, two = (store.load(folder / name, "reconstruct", "volume", Volume) for name in ("plain.h5", "mapped.h5"))
    assert one.values.tobytes() == two.values.tobytes()
    assert not [path for path in folder.iterdir() if "mapped" in path.name and path.suffix != ".h5"]
    (folder / "plain.h5.checkpoint").write_bytes(b"")
    said = done("reconstruct", *given, "-o", "plain.h5", "--resume")
    assert any("holds this result already" in text for text in said["warnings"])
    assert any("plain.h5.checkpoint beside it" in text for text in said["warnings"])
    assert len(planned) == 2


def test_a_dry_run_tells_memory_disk_and_time_and_writes_nothing(folder):
    code, found = command(folder, "dry.h5", "--dry-run")
    assert code == 0
    assert found["status"] == "dry_run"
    assert found["shape"] == [N, N, N]
    assert 0 < found["predicted_seconds"] < 60
    assert 1 < found["predicted_memory_mb"] < 100
    assert found["predicted_disk_mb"] > N**3 * 4e-6
    assert not list(folder.glob("dry.h5*"))


@pytest.mark.slow
def test_the_peak_of_the_process_is_predicted(folder):
    _, told = command(folder, "dry.h5", "--dry-run")
    _, found = command(folder, "peak.h5")
    # the program itself is most of it
    assert found["peak_memory_mb"] == pytest.approx(told["predicted_peak_memory_mb"], rel=0.15)
