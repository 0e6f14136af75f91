"""Time and memory of reconstructions beside the transform of the padded cube, each run checked for its answer.

Truth: Gaussians whose images are exact. Run with ``pytest tests/benchmarks --benchmark-enable``.
"""

from itertools import islice

import numpy as np
import pyfftw
import pytest

from aet2dft.config import ReconstructSettings
from aet2dft.recon.algorithms import genfire, least_squares
from aet2dft.recon.fourier.fft import fast_size
from aet2dft.recon.fourier.gridding import grid_slices
from aet2dft.recon.fourier.projector import project_volume
from aet2dft.recon.tilt_series import TiltSeries
from aet2dft.recon.volumes.reconstruction import reconstruct

pytestmark = pytest.mark.slow
N = 96
TILTS = np.linspace(-65.6, 64.3, 68)
KINDS = {"axis": TILTS, "general": np.column_stack([np.sin(TILTS), TILTS, np.cos(TILTS)])}
SUPPORT = np.ones((N, N, N), dtype=bool)


@pytest.fixture(scope="module")
def truth():
    """300 Gaussians in a ball."""
    random = np.random.default_rng(0)
    points = random.normal(size=(300, 3))
    points *= 0.3 * N * random.random((300, 1)) ** (1 / 3) / np.linalg.norm(points, axis=1, keepdims=True)
    waves = [np.exp(-((np.arange(N) - N // 2 - points[:, axis : axis + 1]) ** 2) / 4) for axis in range(3)]
    return np.einsum("ax,ay,az->xyz", *waves, optimize=True).astype(np.float32)


@pytest.fixture(scope="module", params=KINDS)
def series(request, truth):
    """Exact images of it."""
    empty = TiltSeries.from_angles(np.zeros((68, N, N), dtype=np.float32), KINDS[request.param], pixel_size=0.4)
    return TiltSeries.from_angles(project_volume(empty, truth), KINDS[request.param], pixel_size=0.4)


def correlation(values, truth):
    return np.corrcoef(values.ravel(), truth.ravel())[0, 1]


def test_pair_of_transforms_of_the_padded_cube(benchmark):
    size = fast_size(3 * N)
    spectrum = pyfftw.zeros_aligned((size, size, size // 2 + 1), "complex64")
    cube = spectrum.view(np.float32)[:, :, :size]
    plans = [
        pyfftw.FFTW(cube, spectrum, axes=(0, 1, 2), flags=("FFTW_ESTIMATE",)),
        pyfftw.FFTW(spectrum, cube, axes=(0, 1, 2), direction="FFTW_BACKWARD", flags=("FFTW_ESTIMATE",)),
    ]
    cube[0, 0, 0] = 1.0

    def pair():
        for plan in plans:
            plan.execute()
        spectrum.view(np.float32)[...] /= size**3

    benchmark.pedantic(pair, rounds=3)
    assert cube[0, 0, 0] == pytest.approx(1.0, abs=1e-3)


def test_genfire_iteration(benchmark, series, truth):
    states = genfire.iterate(series, SUPPORT, check_every=None)
    next(islice(states, 11, None))
    state = benchmark.pedantic(lambda: next(states), rounds=15)
    benchmark.extra_info["single_axis"] = series.is_single_axis
    assert correlation(state.values, truth) > 0.8


def test_least_squares_iteration(benchmark, series, truth):
    states = least_squares.iterate(series, SUPPORT)
    next(islice(states, 11, None))
    state = benchmark.pedantic(lambda: next(states), rounds=15)
    benchmark.extra_info["single_axis"] = series.is_single_axis
    assert correlation(state.values, truth) > 0.8


def test_least_squares_set_up_and_first_iteration(benchmark, series):
    state = benchmark.pedantic(lambda: next(least_squares.iterate(series, SUPPORT)), rounds=2)
    assert state.memory.misfit[0] == pytest.approx(1.0)


def test_gridding_of_one_tilt_axis(benchmark, truth):
    empty = TiltSeries.from_angles(np.zeros((68, N, N), dtype=np.float32), TILTS, pixel_size=0.4)
    series = TiltSeries.from_angles(project_volume(empty, truth), TILTS, pixel_size=0.4)
    grid = benchmark.pedantic(lambda: grid_slices(series, N, oversampling=3, reach=0.5), rounds=3)
    # zero frequency: the sum of every plane
    assert np.abs(grid.values[grid.index == 0][0]) == pytest.approx(truth.sum(axis=(0, 2)), rel=1e-3)


@pytest.mark.parametrize("algorithm", ["lsq", "genfire"])
def test_whole_reconstruction(benchmark, series, truth, algorithm):
    settings = ReconstructSettings(algorithm=algorithm, iterations=60 if algorithm == "lsq" else 100, held_out=0)
    volume, result = benchmark.pedantic(lambda: reconstruct(series, settings), rounds=1)
    benchmark.extra_info["seconds_per_iteration"] = result.seconds_per_iteration
    assert correlation(volume.values, truth) > 0.95
    assert result.misfit[-1] < 0.1
