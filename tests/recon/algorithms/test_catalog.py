"""The table of algorithms and the choice among them. Truth: an object whose images are exact; the same bytes twice."""

import os
import subprocess
import sys

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from aet2dft.config import ReconstructSettings
from aet2dft.errors import InputError
from aet2dft.recon.algorithms.catalog import ALGORITHMS, choose
from aet2dft.recon.algorithms.checkpoint import Checkpoint
from aet2dft.recon.fourier import columns
from aet2dft.recon.fourier.projector import project_volume
from aet2dft.recon.tilt_series import TiltSeries
from aet2dft.recon.volumes.reconstruction import reconstruct

N = 16
FLAT = np.degrees(np.arctan((np.arange(-6, 6) + 0.5) / 6))
TILTS = np.sort((np.concatenate([FLAT, FLAT + 90]) + 90) % 180 - 90)
"""Equally sloped, so that every algorithm can take them."""
OTHERS = ("sirt", "sart", "tv", "est", "fbp")


@pytest.fixture(scope="module")
def truth():
    random = np.random.default_rng(0)
    grid = np.stack(np.meshgrid(*[np.arange(N) - N // 2] * 3, indexing="ij"), axis=-1)
    points = random.normal(size=(10, 3))
    points *= 5 * random.random((10, 1)) ** (1 / 3) / np.linalg.norm(points, axis=1, keepdims=True)
    return sum(np.exp(-((grid - at) ** 2).sum(axis=-1) / 3) for at in points).astype(np.float32)


@pytest.fixture(scope="module")
def series(truth):
    empty = TiltSeries.from_angles(np.zeros((len(TILTS), N, N), np.float32), TILTS, pixel_size=0.5)
    return TiltSeries.from_angles(project_volume(empty, truth), TILTS, pixel_size=0.5)


def settings_of(algorithm, **others):
    counts = {"sart": 4, "fbp": 1}
    return ReconstructSettings(algorithm=algorithm, iterations=counts.get(algorithm, 30), halves=False, **others)


@pytest.mark.parametrize("algorithm", OTHERS)
def test_every_algorithm_finds_the_object_in_its_own_units(series, truth, algorithm):
    volume, result = reconstruct(series, settings_of(algorithm))
    assert np.corrcoef(volume.values.ravel(), truth.ravel())[0, 1] > 0.95
    assert result.algorithm == algorithm
    assert "chosen by the user" in result.reason
    assert result.scale == pytest.approx(1, abs=0.2)
    assert result.r_free < 0.35


@pytest.mark.parametrize("algorithm", ["lsq", "genfire", "resire", *OTHERS])
def test_dark_margins_are_planes_like_others(series, algorithm, monkeypatch):
    monkeypatch.setattr(columns, "BLOCK", 4)
    images = np.pad(series.projections, ((0, 0), (0, 0), (9, 9)))
    dark = TiltSeries.from_angles(images, TILTS, pixel_size=0.5)
    support = np.ones((N, N + 18, N), bool)
    settings = ReconstructSettings(algorithm=algorithm, iterations=2, held_out=0, halves=False)
    volume, result = reconstruct(dark, settings, support=support)
    assert np.isfinite(result.misfit).all()
    assert np.abs(volume.values[:, 0]).max() < 1e-5 * volume.values.max()


@pytest.mark.parametrize("algorithm", ["tv", "est"])
def test_a_trial_finds_how_many_iterations_are_enough(series, truth, algorithm):
    volume, result = reconstruct(series, ReconstructSettings(algorithm=algorithm, halves=False))
    assert 5 <= result.iterations <= ALGORITHMS[algorithm].most
    assert np.corrcoef(volume.values.ravel(), truth.ravel())[0, 1] > 0.95


def test_the_reason_names_what_decided(series):
    assert choose(series, ReconstructSettings(), has_support=False).reason == (
        "accelerated least squares (one tilt axis, plane by plane): "
        "the object lies inside the images across the tilt axis"
    )
    turned = TiltSeries.from_angles(series.projections, np.full((len(TILTS), 3), 1.0), pixel_size=0.5)
    assert "three dimensions" in choose(turned, ReconstructSettings(), has_support=False).reason
    told = choose(series, ReconstructSettings(extended=True), has_support=False)
    assert (told.algorithm, told.extended) == ("lsq", True)
    assert "an extended object, by the user" in told.reason
    assert choose(series, ReconstructSettings(thickness=5), has_support=False).extended
    assert choose(series, ReconstructSettings(algorithm="tv"), has_support=True).algorithm == "tv"
    with pytest.raises(InputError, match="leave out --thickness or --no-extended"):
        choose(series, ReconstructSettings(thickness=5, extended=False), has_support=False)


@pytest.mark.parametrize("algorithm", ["sart", "tv", "fbp"])
def test_a_killed_run_goes_on_to_the_same_bytes_with_every_algorithm(series, algorithm, tmp_path, monkeypatch):
    monkeypatch.setattr(Checkpoint, "is_due", property(lambda _: True))
    settings = settings_of(algorithm, held_out=0).model_copy(update={"iterations": 4})
    whole, _ = reconstruct(series, settings)

    def killed(done, total):
        if done == 3:
            raise KeyboardInterrupt

    file = tmp_path / "run.checkpoint"
    with pytest.raises(KeyboardInterrupt):
        reconstruct(series, settings, checkpoint=file, progress=killed)
    assert file.exists()
    volume, _ = reconstruct(series, settings, checkpoint=file)
    assert_array_equal(volume.values, whole.values)


_PROBE = """
import hashlib
import numba
import numpy as np
from aet2dft.config import ReconstructSettings
from aet2dft.recon.volumes.reconstruction import reconstruct
from aet2dft.recon.tilt_series import TiltSeries

flat = np.degrees(np.arctan((np.arange(-4, 4) + 0.5) / 4))
tilts = np.sort((np.concatenate([flat, flat + 90]) + 90) % 180 - 90)
images = np.random.default_rng(0).random((16, 12, 12), dtype=np.float32)
general = np.column_stack([np.sin(tilts), tilts, np.cos(tilts)])

def made(algorithm, extended, angles):
    near = np.abs(tilts) < (65 if extended else 91)
    series = TiltSeries.from_angles(images[near], angles[near], pixel_size=0.4)
    settings = ReconstructSettings(algorithm=algorithm, iterations=2, extended=extended, halves=False, held_out=0)
    volume, _ = reconstruct(series, settings, support=None if extended else np.ones((12, 12, 12), bool))
    return hashlib.sha256(volume.values.tobytes()).hexdigest()

cases = [(name, False, angles) for name in ("sirt", "tv") for angles in (tilts, general)]
cases += [("sart", False, tilts), ("fbp", False, general), ("est", False, tilts)]
cases += [("lsq", True, tilts), ("lsq", True, general), ("sirt", True, tilts)]
for threads in (1, 2, 4):
    numba.set_num_threads(threads)
    print(*(made(*case) for case in cases))
"""


def test_one_two_and_four_threads_give_the_same_bytes_with_every_algorithm():
    environment = os.environ | {"NUMBA_NUM_THREADS": "4"}
    done = subprocess.run([sys.executable, "-c", _PROBE], capture_output=True, text=True, check=True, env=environment)
    one, *others = done.stdout.splitlines()
    assert len(one.split()) == 10
    assert others == [one, one]


_MEMORY = """
import sys
import numpy as np
from aet2dft.cli.framework import peak_memory_mb
from aet2dft.config import ReconstructSettings
from aet2dft.recon.volumes.footprint import needed_bytes
from aet2dft.recon.volumes.preparation import plan
from aet2dft.recon.volumes.reconstruction import reconstruct
from aet2dft.recon.tilt_series import TiltSeries

def run(n, general, algorithm):
    theta = np.linspace(-66, 64, 30)
    angles = np.column_stack([np.sin(theta), theta, np.cos(theta)]) if general else theta
    images = np.random.default_rng(0).random((30, n, n), dtype=np.float32)
    series = TiltSeries.from_angles(images, angles, pixel_size=0.4)
    settings = ReconstructSettings(algorithm=algorithm, iterations=2, halves=False, held_out=0)
    support = np.ones((n, n, n), bool)
    before = peak_memory_mb()
    reconstruct(series, settings, support=support)
    used = 1e6 * (peak_memory_mb() - before)
    return used / needed_bytes(plan(series, settings, support))

general, algorithm, n = sys.argv[1] == "general", sys.argv[2], int(sys.argv[3])
run(12, general, algorithm)
print(run(n, general, algorithm))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "algorithm", "n"),
    [("slices", "tv", 160), ("general", "tv", 110), ("slices", "sirt", 160), ("general", "sirt", 100)],
)
def test_the_memory_of_other_algorithms_is_predicted(kind, algorithm, n):
    command = [sys.executable, "-c", _MEMORY, kind, algorithm, str(n)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert float(done.stdout) == pytest.approx(1, abs=0.17)
