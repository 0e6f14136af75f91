"""Angles and projections.

Truth: SciPy's rotations, hand-worked cases of the conventions, and published projections of a published object (data).
"""

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.io import loadmat
from scipy.spatial.transform import Rotation

from aet2dft.errors import InputError
from aet2dft.recon.geometry import compose, euler_angles, euler_rotations, project, tilt_rotations

EULER = hnp.arrays(np.float64, (4, 3), elements=st.floats(-180, 180, width=32))
POINTS = hnp.arrays(np.float64, (5, 3), elements=st.floats(-50, 50, width=32))
X, Y, Z = np.eye(3)


@given(EULER)
def test_euler_rotations_are_those_of_scipy(angles):
    assert_allclose(euler_rotations(angles), Rotation.from_euler("ZYX", angles, degrees=True).as_matrix(), atol=1e-12)


@given(EULER)
def test_angles_found_from_rotations_give_the_same_rotations(angles):
    found = euler_angles(euler_rotations(angles))
    assert (np.abs(found[:, 1]) <= 90).all()
    assert_allclose(euler_rotations(found), euler_rotations(angles), atol=1e-7)


@pytest.mark.parametrize("angles", [(30.0, 90.0, 12.0), (-75.0, -90.0, 20.0), (0.0, 90.0 - 1e-7, 5.0)])
def test_at_the_pole_the_rotation_comes_back_though_the_angles_do_not(angles):
    rotation = euler_rotations(angles)
    assert_allclose(euler_rotations(euler_angles(rotation)), rotation, atol=2e-8)


@given(POINTS, EULER)
def test_projection_keeps_distances_and_handedness(points, angles):
    rotations = euler_rotations(angles)
    seen = project(points, rotations)
    assert seen.shape == (4, 5, 3)
    assert_allclose(np.linalg.norm(seen, axis=-1), np.broadcast_to(np.linalg.norm(points, axis=1), (4, 5)), atol=1e-9)
    assert_allclose(np.linalg.det(rotations), 1.0, atol=1e-12)


@given(POINTS, EULER)
def test_turning_a_projected_point_back_gives_the_point(points, angles):
    rotations = euler_rotations(angles)
    back = np.einsum("kij,knj->kni", rotations, project(points, rotations))
    assert_allclose(back, np.broadcast_to(points, back.shape), atol=1e-9)


@given(st.floats(-90, 90))
def test_a_tilt_alone_is_theta_and_leaves_the_second_image_axis(theta):
    assert_allclose(tilt_rotations(theta), euler_rotations((0.0, theta, 0.0)), atol=0)
    assert_allclose(project([Y], tilt_rotations(theta))[0], Y, atol=1e-15)


@given(POINTS, EULER)
def test_the_center_of_rotation_never_moves(points, angles):
    origin = np.zeros((1, 3))
    assert (project(np.concatenate([origin, points]), euler_rotations(angles))[:, 0] == 0).all()


def test_untilted_image_shows_x_as_row_y_as_column_along_the_beam_z():
    assert_allclose(project([X, Y, Z], tilt_rotations(0.0)), np.eye(3), atol=0)


def test_a_quarter_turn_of_each_angle_moves_the_axes_as_the_convention_says():
    # R^T x: the columns of R are where the image axes point in the object
    assert_allclose(project([X, Y, Z], euler_rotations((90, 0, 0))), [-Y, X, Z], atol=1e-15)
    assert_allclose(project([X, Y, Z], euler_rotations((0, 90, 0))), [Z, Y, -X], atol=1e-15)
    assert_allclose(project([X, Y, Z], euler_rotations((0, 0, 90))), [X, -Z, Y], atol=1e-15)


def test_the_order_of_the_turns_is_z_y_x():
    about_z, about_y, about_x = (euler_rotations(angles) for angles in ((20, 0, 0), (0, 30, 0), (0, 0, 40)))
    assert_allclose(euler_rotations((20, 30, 40)), about_z @ about_y @ about_x, atol=1e-15)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: tilt_rotations([0.0, np.nan]), r"1 tilt angles are NaN.*first: \(1,\)"),
        (lambda: euler_rotations([[0.0, 1.0]]), r"shape \(1, 2\)"),
        (lambda: euler_rotations(3.0), "phi, theta, psi"),
        (lambda: project([[0.0, np.inf, 0.0]], np.eye(3)), "1 points are NaN or infinite"),
        (lambda: project(np.zeros(3), np.eye(3)), r"points of shape \(3,\)"),
        (lambda: project(np.zeros((1, 3)), np.eye(2)), r"shape \(2, 2\)"),
        (lambda: euler_angles(np.diag([1.0, 1.0, -1.0])), "reflection"),
        (lambda: euler_angles(1.01 * np.eye(3)), "not orthonormal"),
    ],
)
def test_input_that_is_no_geometry_is_refused_with_what_is_wrong(call, message):
    with pytest.raises(InputError, match=message):
        call()


@pytest.mark.needs_data
def test_published_projections_are_those_of_this_convention(data_dir):
    folder = data_dir / "angle_refinement_fept64"
    volume = loadmat(folder / "FePt_Vol_64_asymmetric.mat")["finalvol"]
    images = loadmat(folder / "pj_new_Turbu3_1015.mat")["pj_new_Turbu3_1015"]
    angles = loadmat(folder / "GroundTruth_angles_Turbu3_1015.mat")["angles_Turbu3_1015"]
    chosen = [0, 10, 20, 30, 40]
    right = [_correlation(volume, images[..., k], euler_rotations(angles[k])) for k in chosen]
    mirrored = [_correlation(volume, images[..., k], euler_rotations(angles[k]).T) for k in chosen]
    assert min(right) > 0.99
    assert np.mean(mirrored) < 0.9


def _correlation(volume, image, rotation):
    """Correlation of an image with the projection of a volume, every voxel shared by the four pixels it falls on."""
    filled = np.argwhere(volume > 0)
    seen = project(filled - np.array(volume.shape) // 2, rotation)[:, :2] + np.array(image.shape) // 2
    corner = np.floor(seen).astype(int)
    projected = np.zeros(image.shape)
    for step in np.ndindex(2, 2):
        at = corner + step
        weight = (1 - np.abs(seen - at)).prod(axis=1) * volume[tuple(filled.T)]
        inside = ((at >= 0) & (at < image.shape)).all(axis=1)
        np.add.at(projected, tuple(at[inside].T), weight[inside])
    return np.corrcoef(projected.ravel(), image.ravel())[0, 1]


@pytest.mark.parametrize(("order", "axes"), [((0, 1, 2), (2, 1, 2)), ((2, 1, 0), (0, 1, 2)), ((1, 0, 2), (0, 1, 2))])
def test_products_of_rotations_are_those_of_scipy(order, axes):
    angles = np.random.default_rng(1).uniform(-180, 180, (4, 3))
    sequence = "".join("XYZ"[axes[k]] for k in order)
    expected = Rotation.from_euler(sequence, angles[:, list(order)], degrees=True).as_matrix()
    assert_allclose(compose(angles, order=order, axes=axes), expected, atol=1e-12)
