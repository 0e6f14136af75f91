"""Weighted back-projection. Truth: a disk of known density; the definition of the weights."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from aet2dft.recon.algorithms.back_projection import angular_weights, iterate, ramp_filtered
from aet2dft.recon.fourier.projector import project_volume
from aet2dft.recon.tilt_series import TiltSeries


def disk(n=48, columns=3, radius=12):
    x, z = np.meshgrid(*[np.arange(n) - n // 2] * 2, indexing="ij")
    plane = 0.5 * (1 - np.tanh((np.hypot(x - 2, z + 3) - radius) / 1.5))
    return np.repeat(plane[:, None], columns, axis=1).astype(np.float32)


def images_of(volume, angles):
    empty = TiltSeries.from_angles(np.zeros((len(angles), *volume.shape[:2]), np.float32), angles, pixel_size=0.4)
    return TiltSeries.from_angles(project_volume(empty, volume), angles, pixel_size=0.4)


@pytest.mark.parametrize("uneven", [False, True])
def test_many_images_give_density_in_its_own_units_however_they_are_spaced(uneven):
    volume = disk()
    tilts = np.linspace(-89, 89, 90)
    tilts = np.sort(90 * np.sin(np.radians(tilts))) * 0.999 if uneven else tilts
    state = next(iterate(images_of(volume, tilts), np.ones(volume.shape, bool), positivity=False))
    assert np.linalg.norm(state.values - volume) < 0.1 * np.linalg.norm(volume)
    assert state.values[24:28, 1, 19:23].mean() == pytest.approx(1, abs=0.03)
    assert state.converged


def test_any_rotations_do_as_well():
    volume = disk(32, 32, 8)
    tilts = np.linspace(-89, 89, 40)
    angles = np.column_stack([0.3 * np.sin(tilts), tilts, 0.3 * np.cos(tilts)])
    values = next(iterate(images_of(volume, angles), np.ones(volume.shape, bool))).values
    assert np.corrcoef(values[:, 4:-4].ravel(), volume[:, 4:-4].ravel())[0, 1] > 0.97
    assert (values >= 0).all()


def test_the_ramp_weights_waves_by_their_frequency():
    lines = np.zeros((1, 2048, 1), np.float32)
    at = np.arange(2048) - 1024
    for frequency in (0.05, 0.2, 0.4):
        lines[0, :, 0] = np.cos(2 * np.pi * frequency * at) * np.exp(-((at / 400) ** 2))
        assert_allclose(
            ramp_filtered(lines)[0, 1014:1034, 0], frequency * lines[0, 1014:1034, 0], atol=0.01 * frequency
        )


def test_weights_add_up_to_the_range_of_tilts_and_doubles_share_theirs():
    even = angular_weights(np.arange(-90.0, 90, 3))
    assert_allclose(even, np.radians(3))
    doubled = angular_weights(np.concatenate([np.arange(-90.0, 90, 3), [0, 180, 3]]))
    assert doubled.sum() == pytest.approx(np.pi)
    assert_allclose(doubled[[30, 60, 61]], np.radians(1))
    assert_allclose(doubled[[31, 62]], np.radians(1.5))
    wedge = angular_weights(np.arange(-60.0, 61, 3))
    assert_allclose(wedge, np.radians(3))
    assert_array_equal(angular_weights(np.zeros(2)), np.pi / 2)


def test_further_iterations_change_nothing():
    states = iterate(images_of(disk(), np.linspace(-60, 60, 20)), np.ones((48, 3, 48), bool))
    first = next(states)
    values = first.values.copy()
    assert [next(states).iteration for _ in range(2)] == [2, 3]
    assert_array_equal(first.values, values)
