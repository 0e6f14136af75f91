"""Rotation center and brightness. Truth: Gaussians projected at known angles, moved and dimmed by known amounts."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose

from aet2dft.recon.images.calibration import binned, divided, find_brightness, find_center, moved
from aet2dft.recon.tilt_series import TiltSeries

N = 40
ANGLES = np.linspace(-66, 64, 34)
EULER = np.column_stack([0.5 * np.sin(ANGLES), ANGLES, 0.5 * np.cos(ANGLES)])


def atoms_images(offset=0.0, noise=0.01, tilts=ANGLES, brightness=1.0):
    """Images of 60 Gaussians about the second axis, the center so many pixels off the middle; and where they can be."""
    random = np.random.default_rng(3)
    grid = np.arange(N) - N // 2
    points = random.normal(size=(60, 3))
    points *= 9 * random.random((60, 1)) ** (1 / 3) / np.linalg.norm(points, axis=1, keepdims=True)
    images = []
    for theta in np.radians(ANGLES):
        u = points[:, 0] * np.cos(theta) - points[:, 2] * np.sin(theta) + offset
        rows, columns = (np.exp(-((grid - at[:, None]) ** 2) / 3) for at in (u, points[:, 1]))
        images.append(rows.T @ columns)
    images = np.array(images) * np.reshape(brightness, (-1, 1, 1))
    images += noise * images.max() * random.normal(size=images.shape)
    distance = np.sqrt(sum(np.square(np.meshgrid(grid, grid, grid, indexing="ij"))))
    return TiltSeries.from_angles(images.astype(np.float32), tilts, pixel_size=0.4), distance < 13


def test_an_offset_of_the_rotation_center_is_found_and_all_images_agree():
    found = find_center(*atoms_images(offset=0.4))
    assert found.pixels == pytest.approx(0.4, abs=3 * found.error)
    assert found.error < 0.1
    assert found.agreed
    assert found.r_factor_moved < found.r_factor


def test_a_center_where_it_should_be_costs_no_run():
    found = find_center(*atoms_images())
    assert abs(found.pixels) < 3 * found.error + 0.05
    assert np.isnan(found.r_factor)
    assert not found.agreed


def test_images_without_mass_or_with_it_far_off_have_no_center():
    series, support = atoms_images(offset=0.4)
    ground = series.projections.mean(axis=(1, 2), keepdims=True)
    for taken in (ground, 1.01 * ground, 0.99 * ground):
        found = find_center(replace(series, projections=series.projections - taken), support)
        assert np.isnan(found.r_factor)
        assert not found.agreed


def test_rotations_in_three_dimensions_have_an_offset_too():
    series, support = atoms_images(offset=-0.5, noise=0.0, tilts=np.column_stack([0 * ANGLES, ANGLES, 1e-3 * ANGLES]))
    assert not series.is_single_axis
    assert find_center(series, support).pixels == pytest.approx(-0.5, abs=0.05)


def test_images_of_different_brightness_are_told_apart_and_made_equal():
    true = 1 + 0.2 * np.random.default_rng(5).uniform(-1, 1, len(ANGLES))
    series, support = atoms_images(brightness=true)
    found = find_brightness(series, support)
    assert found.agreed
    assert_allclose(found.scales, true / true.mean(), rtol=0.03)
    even = divided(series, found.scales)
    assert np.ptp(even.projections.sum(axis=(1, 2))) < 0.2 * np.ptp(series.projections.sum(axis=(1, 2)))


def test_equally_bright_images_stay_as_they_are():
    found = find_brightness(*atoms_images())
    assert found.scales.std() < 0.015
    assert not found.agreed


def test_a_center_is_moved_across_the_tilt_axis_only():
    series, _ = atoms_images()
    assert_allclose(moved(series, 0.25).center - series.center, np.tile([0.25, 0.0], (len(ANGLES), 1)))
    assert moved(series, 0.0) is series


@pytest.mark.parametrize("shape", [(200, 3), (3, 200), (130, 70)])
def test_long_narrow_images_are_binned_to_square_pixels(shape):
    """Truth: the sums of the images; centering them moves a fraction of a pixel out."""
    images = np.random.default_rng(0).random((5, *shape)).astype(np.float32)
    coarse = binned(TiltSeries.from_angles(images, np.linspace(-60, 60, 5), pixel_size=0.4))
    by = -(-max(shape) // 64)
    assert coarse.pixel_size == pytest.approx(0.4 * by)
    rows, columns = (max(1, size // by) * by for size in shape)
    assert_allclose(coarse.projections.sum(axis=(1, 2)), images[:, :rows, :columns].sum(axis=(1, 2)), rtol=0.06)
