"""Tilt series and volumes as values. Truth: the conventions, worked by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from aet2dft.errors import InputError
from aet2dft.recon.geometry import project
from aet2dft.recon.tilt_series import TiltSeries, Volume


def series(n=3, shape=(4, 5), angles=None, **kwargs):
    tilts = np.linspace(-60, 60, n) if angles is None else angles
    return TiltSeries.from_angles(np.arange(n * np.prod(shape)).reshape(n, *shape), tilts, pixel_size=0.35, **kwargs)


def test_arrays_are_read_only_and_those_of_the_caller_stay_writable():
    images = np.ones((2, 4, 4), dtype=np.float32)
    made = TiltSeries.from_angles(images, [0.0, 1.0], pixel_size=0.35)
    for name in ("projections", "rotations", "tilt_angles", "center"):
        with pytest.raises(ValueError, match="read-only"):
            getattr(made, name)[0] = 0
    images[0] = 0


def test_the_rotation_center_is_the_pixel_half_the_length_along_each_axis():
    assert_array_equal(series(shape=(4, 5)).center, [[2, 2]] * 3)
    assert_array_equal(series(center=(1.5, 2.5)).center, [[1.5, 2.5]] * 3)


def test_tilts_about_the_second_image_axis_are_a_single_axis_series():
    assert series().is_single_axis
    assert series(angles=[[0, -60, 0], [0, 0, 0], [0, 60, 0]]).is_single_axis
    assert not series(angles=[[0, -60, 0], [0.01, 0, 0], [0, 60, 0]]).is_single_axis


def test_euler_angles_keep_theta_as_the_tilt():
    made = series(angles=[[1, -60, 2], [3, 0, 4], [5, 60, 6]])
    assert_array_equal(made.tilt_angles, [-60, 0, 60])
    assert_allclose(series(angles=[[-60.0], [0.0], [60.0]]).rotations, series(angles=[-60, 0, 60]).rotations)


def test_a_subset_keeps_every_image_with_its_geometry():
    whole = series(n=5)
    part = whole.subset([3, 1])
    assert part.n_images == 2
    assert_array_equal(part.projections, whole.projections[[3, 1]])
    assert_array_equal(part.rotations, whole.rotations[[3, 1]])
    assert_array_equal(whole.subset(whole.tilt_angles > 0).tilt_angles, [30, 60])


@pytest.mark.parametrize("angles", [[0.0, 1.0], [[0.0, 1.0, 2.0]] * 2, 0.0])
def test_angles_that_are_not_one_row_per_image_are_refused(angles):
    with pytest.raises(InputError, match="one row per image"):
        series(angles=angles)


@pytest.mark.parametrize("shape", [(3,), (3, 3), (0, 4, 4), (2, 2, 2, 2)])
def test_what_is_no_stack_of_images_is_refused(shape):
    with pytest.raises(InputError, match="no stack"):
        TiltSeries.from_angles(np.zeros(shape), np.zeros(shape[0]), pixel_size=0.35)


def test_fields_that_do_not_fit_the_images_are_refused():
    with pytest.raises(InputError, match="rotations of shape"):
        TiltSeries(
            projections=np.zeros((2, 4, 4)),
            rotations=np.zeros((3, 3, 3)),
            tilt_angles=np.zeros(2),
            pixel_size=1.0,
            center=np.zeros((2, 2)),
        )


@given(st.tuples(*[st.integers(1, 9)] * 3), st.floats(0.1, 2.0), st.integers(0, 2**32 - 1))
def test_positions_and_indices_of_a_volume_are_inverse(shape, voxel, seed):
    random = np.random.default_rng(seed)
    volume = Volume(values=np.ones(shape), voxel_size=voxel, origin=random.uniform(-5, 5, 3))
    points = random.uniform(-20, 20, (7, 3))
    assert_allclose(volume.positions(volume.indices(points)), points, atol=1e-12)
    assert_allclose(volume.positions(volume.center), volume.origin, atol=1e-12)


def test_voxels_land_at_the_pixels_of_the_untilted_image():
    made, volume = series(shape=(6, 5)), Volume(values=np.ones((6, 5, 6)), voxel_size=0.35, origin=np.zeros(3))
    seen = project(volume.positions([[1, 4, 3], [3, 2, 0]]), np.eye(3))[:, :2] / made.pixel_size + made.center[0]
    assert_allclose(seen, [[1, 4], [3, 2]], atol=1e-12)


def test_the_digest_follows_the_numbers_and_nothing_else():
    assert series().digest == series().digest != series(angles=[-60, 0, 59]).digest
    made = [Volume(values=np.ones((3, 3, 3)), voxel_size=v, origin=np.zeros(3), history=(h,)) for v, h in _VOLUMES]
    assert made[0].digest == made[1].digest != made[2].digest
    values = np.arange(24.0)
    first, other = (
        Volume(values=values.reshape(shape), voxel_size=0.4, origin=np.zeros(3)) for shape in ((2, 3, 4), (4, 3, 2))
    )
    assert first.digest != other.digest


_VOLUMES = [(0.3, "a"), (0.3, "b"), (0.4, "a")]


@pytest.mark.parametrize("values", [np.zeros((3, 3)), np.zeros((3, 0, 3))])
def test_what_is_no_volume_is_refused(values):
    with pytest.raises(InputError, match="no volume"):
        Volume(values=values, voxel_size=0.35, origin=np.zeros(3))


@pytest.mark.parametrize("size", [0.0, -1.0, np.nan, np.inf])
def test_pixels_and_voxels_have_a_size(size):
    with pytest.raises(InputError, match="is no size"):
        TiltSeries.from_angles(np.ones((2, 4, 4)), [0.0, 1.0], pixel_size=size)
    with pytest.raises(InputError, match="is no size"):
        Volume(values=np.ones((4, 4, 4)), voxel_size=size, origin=np.zeros(3))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_images_are_finite(value):
    images = np.ones((2, 4, 5))
    images[1, 2, 3] = value
    with pytest.raises(InputError, match=r"1 pixels are NaN or infinite \(first: \(1, 2, 3\)\)"):
        TiltSeries.from_angles(images, [0.0, 1.0], pixel_size=0.3)
