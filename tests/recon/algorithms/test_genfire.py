"""GENFIRE. Truth: measured frequencies replaced in the padded transform, written out; the published R factor."""

from itertools import islice

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from slow_projection import published, random_series

from aet2dft.recon.algorithms import genfire
from aet2dft.recon.fourier.gridding import grid_slices, grid_volume
from aet2dft.recon.fourier.projector import project_volume
from aet2dft.recon.geometry import tilt_rotations
from aet2dft.recon.tilt_series import TiltSeries

DEPTH = 10


def replaced(series, iterations):
    """Density and R factors of iterations in which the measured frequencies of the padded transform are replaced."""
    _, rows, columns = series.projections.shape
    density, r_factors = np.zeros((rows, columns, DEPTH)), []
    if series.is_single_axis:
        grid = grid_slices(series, DEPTH, oversampling=3, reach=0.5)
        padded, axes = (grid.size, grid.size), (0, 2)
        planes, points = np.repeat(np.arange(columns), len(grid.index)), np.tile(grid.index, columns)
        values = grid.values.T.ravel()
    else:
        grid = grid_volume(series, DEPTH, oversampling=3, reach=0.5)
        padded, axes = (grid.size,) * 3, (0, 1, 2)
        planes, points, values = np.repeat(np.arange(grid.size), np.diff(grid.start)), grid.index, grid.values
    for _ in range(iterations):
        frequencies = np.fft.rfftn(density, padded, axes=axes).transpose(1, 0, 2).copy()
        flat = frequencies.reshape(len(frequencies), -1)
        found, measured = flat[planes, points], values
        if series.is_single_axis:
            found, measured = (np.fft.fft(part.reshape(columns, -1), axis=0) for part in (found, measured))
        r_factors.append(np.abs(np.abs(found) - np.abs(measured)).sum() / np.abs(measured).sum())
        flat[planes, points] = values
        density = np.fft.irfftn(frequencies.transpose(1, 0, 2), padded, axes=axes)[:rows, :columns, :DEPTH]
        density = np.maximum(density, 0)
    return density, r_factors


@pytest.mark.parametrize("single_axis", [True, False])
def test_the_steps_are_those_of_replaced_frequencies(single_axis):
    series = random_series(np.random.default_rng(1), single_axis=single_axis)
    support = np.ones((10, 9, DEPTH), dtype=bool)
    states = list(islice(genfire.iterate(series, support, withhold=0, check_every=1), 6))
    density, r_factors = replaced(series, 6)
    assert_allclose(states[-1].values, density, atol=1e-6 * density.max())
    # the R factor of a state is that of its own density: what the next replacement finds
    assert_allclose([state.r_fourier for state in states[:-1]], r_factors[1:], rtol=1e-5)
    assert np.isnan(states[0].r_free_fourier)


def test_an_object_of_which_everything_is_measured_is_found_at_once():
    random = np.random.default_rng(2)
    angles = np.linspace(-90, 90, 180, endpoint=False)
    volume = np.zeros((16, 4, 16), dtype=np.float32)
    x, z = np.meshgrid(np.arange(16) - 8, np.arange(16) - 8, indexing="ij")
    for y in range(4):
        volume[:, y] = np.exp(-((x - random.uniform(-2, 2)) ** 2 + (z - random.uniform(-2, 2)) ** 2) / 4)
    empty = TiltSeries.from_angles(np.zeros((180, 16, 4), dtype=np.float32), angles, pixel_size=0.4)
    series = TiltSeries.from_angles(project_volume(empty, volume), angles, pixel_size=0.4)
    state = next(genfire.iterate(series, np.ones(volume.shape, dtype=bool), withhold=0, check_every=1))
    # points near the border of the circle have an image near but not through them
    assert np.linalg.norm(state.values - volume) < 0.03 * np.linalg.norm(volume)


@pytest.mark.parametrize("single_axis", [True, False])
def test_ten_iterations_are_four_and_six(single_axis):
    series = random_series(np.random.default_rng(3), single_axis=single_axis)
    support = np.ones((10, 9, DEPTH), dtype=bool)
    settings = {"schedule": "extend", "iterations": 8, "check_every": 5}
    *_, whole = islice(genfire.iterate(series, support, **settings), 10)
    *_, first = islice(genfire.iterate(series, support, **settings), 4)
    *_, parts = islice(genfire.iterate(series, support, start=first.memory, **settings), 6)
    assert_array_equal(parts.values, whole.values)
    assert parts.r_fourier == whole.r_fourier
    assert parts.r_free_fourier == whole.r_free_fourier


def test_low_frequencies_come_first_and_withheld_ones_are_never_used():
    series = random_series(np.random.default_rng(4), single_axis=True, shape=(20, 6))
    support = np.ones((20, 6, 20), dtype=bool)
    states = genfire.iterate(series, support, schedule="extend", iterations=16, positivity=False)
    spectra = [np.abs(np.fft.rfft2(s.values, (60, 60), axes=(0, 2))).sum(axis=1) for s in islice(states, 16)]
    high = [spectrum[25:35, :28].sum() / spectrum.sum() for spectrum in spectra]
    assert high[1] < 0.7 * high[-1]
    free = list(islice(genfire.iterate(series, support, withhold=0.3, check_every=30), 30))[-1]
    assert free.r_free_fourier > free.r_fourier


def test_a_repeated_image_changes_nothing():
    one = random_series(np.random.default_rng(5), single_axis=True, n=3)
    twice = TiltSeries(
        projections=np.concatenate([one.projections, one.projections]),
        rotations=tilt_rotations(np.tile(one.tilt_angles, 2)),
        tilt_angles=np.tile(one.tilt_angles, 2),
        pixel_size=0.4,
        center=np.tile(one.center, (2, 1)),
    )
    support = np.ones((10, 9, DEPTH), dtype=bool)
    here, there = (list(islice(genfire.iterate(series, support), 5))[-1].values for series in (one, twice))
    assert_allclose(there, here, atol=1e-5 * here.max())


@pytest.mark.needs_data
@pytest.mark.parametrize(("schedule", "iterations", "expected"), [("all", 50, 0.19), ("extend_suppress", 100, 0.22)])
def test_the_published_r_factor_of_the_workshop_particle_is_reproduced(data_dir, schedule, iterations, expected):
    folder = data_dir / "genfire_workshop_fept"
    series = published(folder, "projections_FePt.mat", "projections", "angles.mat", pixel_size=0.35)
    support = np.ones((68, 68, 68), dtype=bool)
    states = genfire.iterate(series, support, schedule=schedule, iterations=iterations, check_every=iterations)
    *_, state = islice(states, iterations)
    assert state.r_fourier == pytest.approx(expected, abs=0.01)
