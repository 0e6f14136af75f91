"""Minutes of work at the size of the measured particle: what the tests are too short for.

Truth: the 23,196 atoms that the images were made of. Run with ``pytest tests/benchmarks/test_long_benchmarks.py -m ""
--benchmark-enable``, with NUMBA_NUM_THREADS=1 for the CPU seconds of one thread; these, megabytes and the answers are
in the extra information of the benchmark.
"""

import json
import resource
import subprocess
import sys
import time

import numpy as np
import pyfftw
import pytest
from ase.io import write
from measured_twin import PIXEL, measured_angles, noisy_images, particle

from aet2dft.config import ReconstructSettings
from aet2dft.recon.fourier.fft import fast_size
from aet2dft.recon.tilt_series import TiltSeries
from aet2dft.recon.volumes.preparation import plan
from aet2dft.recon.volumes.reconstruction import carry_out

pytestmark = pytest.mark.slow
SIDE = 180


@pytest.fixture(autouse=True)
def only_timed(benchmark):
    """Others test the same in less time."""
    if benchmark.disabled:
        pytest.skip("taken by `make bench`")


def seconds_of_a_pair():
    """CPU seconds of one transform of the padded cube and its inverse, in place."""
    size = fast_size(3 * SIDE)
    spectrum = pyfftw.zeros_aligned((size, size, size // 2 + 1), "complex64")
    cube = spectrum.view(np.float32)[:, :, :size]
    there = pyfftw.FFTW(cube, spectrum, axes=(0, 1, 2), flags=("FFTW_ESTIMATE",))
    back = pyfftw.FFTW(spectrum, cube, axes=(0, 1, 2), direction="FFTW_BACKWARD", flags=("FFTW_ESTIMATE",))
    begun = time.process_time()
    there.execute()
    back.execute()
    return time.process_time() - begun


@pytest.mark.parametrize("kind", ["axis", "general"])
def test_500_iterations_of_genfire(benchmark, kind):
    tilts = np.linspace(-65.6, 64.3, 68)
    angles = np.column_stack([np.sin(tilts), tilts, np.cos(tilts)]) if kind == "general" else tilts
    window = np.exp(-(((np.arange(SIDE) - SIDE // 2) / (0.31 * SIDE)) ** 2)).astype(np.float32)
    images = np.random.default_rng(0).random((68, SIDE, SIDE), dtype=np.float32) * np.outer(window, window)
    settings = ReconstructSettings(algorithm="genfire", iterations=500, held_out=0, halves=False, center_offset=0.0)
    planned = plan(TiltSeries.from_angles(images, angles, pixel_size=0.4), settings, None)
    begun = time.process_time()
    _, result = benchmark.pedantic(lambda: carry_out(planned), rounds=1)
    taken = time.process_time() - begun
    benchmark.extra_info |= {"CPU seconds": round(taken, 1), "over the pair": round(taken / seconds_of_a_pair(), 1)}
    assert result.misfit[-1] < result.misfit[0]


@pytest.mark.needs_data
@pytest.mark.parametrize("counts", [300, 80])
def test_the_chain_of_the_measured_particle(benchmark, fept, data_dir, tmp_path, counts):
    truth = particle(fept)
    series = noisy_images(truth, measured_angles(data_dir), 270, counts, 1.0)
    np.save(tmp_path / "images.npy", series.projections)
    np.savetxt(tmp_path / "angles.txt", measured_angles(data_dir))
    write(tmp_path / "truth.xyz", truth)
    images = ["images.npy", "--angles", "angles.txt", "--pixel-size", PIXEL, "-o", "run.h5"]
    chain = [
        ["reconstruct", *images],
        ["trace", "run.h5"],
        ["classify", "run.h5", "--species", "Fe,Pt"],
        ["refine", "run.h5"],
    ]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    made = benchmark.pedantic(lambda: [_answer(tmp_path, words) for words in chain], rounds=1)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    found = _answer(tmp_path, ["verify", "run.h5", "--truth", "truth.xyz"])
    benchmark.extra_info |= {
        "CPU seconds": round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 1),
        "MB": {step["verb"]: step["peak_memory_mb"] for step in made},
        **{name: found[name] for name in ("fraction_identified", "n_false", "rmsd")},
    }
    assert found["fraction_identified"] > 0.97


def _answer(folder, words):
    """What a command in a folder prints."""
    command = [sys.executable, "-m", "aet2dft", *map(str, words), "--json"]
    return json.loads(subprocess.run(command, cwd=folder, capture_output=True, check=True).stdout)
