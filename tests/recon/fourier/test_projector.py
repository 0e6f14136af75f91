"""Projections and their adjoint. Truth: the projection as a matrix of Dirichlet kernels, in double precision."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from slow_projection import projection_matrix, random_series

from aet2dft.recon.fourier.projector import line_length, line_lengths, plane_order, project_volume, projector
from aet2dft.recon.tilt_series import TiltSeries

DEPTH = 8


def assert_those_of_the_matrix(random, series, depth, tolerance):
    """Projections of a random volume, and the images projected back, are products with the matrix."""
    volume = random.normal(size=(*series.projections.shape[1:], depth)).astype(np.float32)
    matrix = projection_matrix(series, depth)
    expected = (matrix @ volume.ravel().astype(float)).reshape(series.projections.shape)
    assert_allclose(project_volume(series, volume), expected, atol=tolerance * np.abs(expected).max())
    back = projector(series, depth).back_project(series.projections).transpose(plane_order(series))
    expected = (series.projections.ravel().astype(float) @ matrix).reshape(volume.shape)
    assert_allclose(back, expected, atol=tolerance * np.abs(expected).max())


@pytest.mark.parametrize("single_axis", [True, False])
@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=8)
def test_projections_and_their_adjoint_are_those_of_the_matrix(single_axis, seed):
    random = np.random.default_rng(seed)
    assert_those_of_the_matrix(random, random_series(random, single_axis=single_axis), DEPTH, 2e-6)


@pytest.mark.parametrize("single_axis", [True, False])
@pytest.mark.parametrize(("shape", "depth"), [((10, 9), 1), ((2, 9), 3), ((7, 1), 8), ((1, 1), 1)])
def test_objects_narrower_than_a_window_are_projected_as_well(shape, depth, single_axis):
    random = np.random.default_rng(4)
    assert_those_of_the_matrix(random, random_series(random, single_axis=single_axis, shape=shape), depth, 3e-6)


@pytest.mark.parametrize("single_axis", [True, False])
def test_back_projection_is_the_adjoint_of_projection(single_axis):
    random = np.random.default_rng(5)
    series = random_series(random, single_axis=single_axis, n=7, shape=(24, 22))
    operator = projector(series, 20)
    planes = random.uniform(size=operator.shape).astype(np.float32)
    images = random.uniform(size=series.projections.shape).astype(np.float32)
    one = (operator.project(planes).astype(float) * images).sum()
    other = (planes.astype(float) * operator.back_project(images)).sum()
    assert one == pytest.approx(other, rel=1e-6)


@pytest.mark.parametrize("single_axis", [True, False])
def test_the_total_of_an_image_is_that_of_the_volume(single_axis):
    random = np.random.default_rng(6)
    series = random_series(random, single_axis=single_axis, shape=(40, 40))
    x, y, z = np.meshgrid(*[np.arange(40) - 20] * 3, indexing="ij")
    blob = np.exp(-((x - 2) ** 2 + (y + 1) ** 2 + (z - 3) ** 2) / 18).astype(np.float32)
    assert_allclose(project_volume(series, blob).sum(axis=(1, 2)), blob.sum(), rtol=1e-4)


def test_lines_hold_the_projected_volume_in_any_orientation():
    assert line_length(10, (10, 10)) == 20
    assert line_length(10, (10, 40)) >= np.hypot(10, 40) + 1


def test_lines_are_no_longer_than_the_rotations_need_and_nothing_comes_in_from_the_other_side():
    tilts = np.linspace(-60, 60, 9)
    angles = np.column_stack([0.4 * np.cos(tilts), tilts, 0.4 * np.sin(tilts)])
    series = TiltSeries.from_angles(np.zeros((9, 16, 12), dtype=np.float32), angles, pixel_size=0.4)
    shape = (48, 12, 32)
    assert line_lengths(series, shape) == (60, 24)
    x, y, z = np.meshgrid(*[np.arange(n) - n // 2 for n in shape], indexing="ij")
    at = np.array([-21.0, 3.0, 13.0])
    blob = np.exp(-((x - at[0]) ** 2 + (y - at[1]) ** 2 + (z - at[2]) ** 2) / 3).astype(np.float32)
    images = project_volume(series, blob)
    away = np.abs(series.rotations[:, :, 0] @ at) > 8 + 6
    assert 3 < away.sum() < 9
    assert np.abs(images[away]).max() < 1e-3 * np.abs(images[~away]).max()
