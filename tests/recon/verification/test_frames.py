"""Frames of two models. Truth: copies of a piece of the measured particle with known axes, turns and errors."""

import numpy as np
import pytest
from ase import Atoms
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.spatial.transform import Rotation

from aet2dft.config import VerifySettings
from aet2dft.recon.verification.frames import match_any_frame, turn_of
from aet2dft.recon.verification.round_trip import verify


def test_a_model_in_the_frame_of_the_reference_stays_in_it(ball):
    found, frame, notes = match_any_frame(ball[5:], ball, radius=1.0)
    assert found.n_missed == 5
    assert_array_equal(frame, np.eye(3))
    assert notes == ()


@given(st.permutations(range(3)), st.tuples(*[st.sampled_from([-1, 1])] * 3), st.integers(0, 2**32 - 1))
def test_a_reference_with_other_axes_and_origin_is_found_and_a_mirror_image_is_called_one(ball, axes, signs, seed):
    frame = np.diag(signs) @ np.eye(3)[list(axes)]
    random = np.random.default_rng(seed)
    model = ball.copy()
    model.positions = ball.positions @ frame.T + random.uniform(-20, 20, 3) + random.normal(0, 0.05, (len(ball), 3))
    found, orientation, notes = match_any_frame(model, ball, radius=1.0)
    assert found.n_matched == len(ball)
    assert found.rmsd < 0.1
    assert_allclose(orientation, frame)
    if (frame != np.eye(3)).any():
        assert ("mirror" in notes[0]) == (np.linalg.det(frame) < 0)


def test_a_foreign_reference_is_not_turned_until_it_fits_by_chance(ball):
    other = Atoms("Fe300", positions=np.random.default_rng(0).uniform(-8, 8, (300, 3)))
    _, frame, notes = match_any_frame(ball, other, radius=0.3)
    assert_array_equal(frame, np.eye(3))
    assert notes == ()
    for model, truth, name in ((ball, other, "model"), (other, ball, "known model")):
        said = verify(model, VerifySettings(radius=0.3), truth=truth)[1].warnings[-1]
        assert said.startswith("only ")
        assert f" of {len(ball)} atoms of the {name} have" in said


def test_a_small_turn_of_the_whole_model_is_taken_out_and_said(ball):
    """Truth: a turn of 1.5 degrees about an axis between those of the frame, and errors of 2 pm along each."""
    turn = Rotation.from_rotvec(np.radians(1.5) * np.array([0.6, 0.0, 0.8])).as_matrix()
    model = ball[::-1]
    model.positions = model.positions @ turn.T + np.random.default_rng(0).normal(0.3, 0.02, (len(ball), 3))
    found, orientation, notes = match_any_frame(model, ball, radius=1.0)
    assert found.n_matched == len(ball)
    assert found.rmsd == pytest.approx(0.02 * 3**0.5, rel=0.1)
    assert_allclose(orientation, turn, atol=1e-3)
    assert turn_of(orientation) == pytest.approx(1.5, abs=0.05)
    assert f"turned by {turn_of(orientation):.2f} degrees" in notes[0]
    assert turn_of(orientation[[2, 0, 1]] * [[1], [-1], [1]]) == pytest.approx(1.5, abs=0.05)


@pytest.mark.parametrize("degrees", [0.0, 25.0, 32.0, 45.0])
def test_a_turn_is_measured_from_the_nearest_exchange_of_axes(degrees):
    turn = Rotation.from_euler("z", degrees, degrees=True).as_matrix()
    for frame in (np.eye(3), -np.eye(3), np.eye(3)[[2, 0, 1]]):
        assert turn_of(turn @ frame) == pytest.approx(degrees, abs=1e-6)
    diagonal = Rotation.from_rotvec(np.radians(60.0) / 3**0.5 * np.ones(3)).as_matrix()
    assert turn_of(diagonal) == pytest.approx(60.0)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("n", [1, 2, 3, 4, 13, 300])
def test_errors_without_a_turn_are_not_made_smaller_by_one(n, seed):
    random = np.random.default_rng(seed)
    reference = Atoms(f"Pt{n}", positions=random.uniform(-20, 20, (n, 3)))
    model = reference.copy()
    model.positions += random.normal(0, 0.1, (n, 3))
    pairs, orientation, notes = match_any_frame(model, reference, radius=1.0)
    assert_array_equal(orientation, np.eye(3))
    assert (pairs.n_matched, notes) == (n, ())
