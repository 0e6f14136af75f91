"""Directions; truth: the documented conventions of pw.x (angle1, angle2) and of VASP (SAXIS), and plain geometry."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from aet2dft.dft_inputs.directions import angles, direction_name, parse_direction, saxis_rotation, unit_vector
from aet2dft.errors import InputError

digits = st.integers(-9, 9)
directions = st.tuples(digits, digits, digits).filter(any)
component = st.floats(-10, 10)
axes = st.tuples(component, component, component).filter(lambda axis: np.linalg.norm(axis) > 1e-3)
moments = st.tuples(st.floats(-8, 8), st.floats(-8, 8), st.floats(-8, 8))


@pytest.mark.parametrize(
    ("word", "direction", "name"),
    [
        ("100", (1, 0, 0), "100"), ("1-10", (1, -1, 0), "1m10"),
        ("-110", (-1, 1, 0), "m110"), ("00-1", (0, 0, -1), "00m1"),
    ],
)  # fmt: skip
def test_words_and_names_of_directions(word, direction, name):
    assert parse_direction(word) == direction
    assert direction_name(direction) == name


@pytest.mark.parametrize("word", ["000", "0-00", "10", "1000", "1,0,0", "x00", "--100", "", "١٠٠x"])
def test_a_word_that_is_no_direction_is_refused(word):
    with pytest.raises(InputError):
        parse_direction(word)


@pytest.mark.parametrize("direction", [(0, 0, 0), (1, 0), (float("nan"), 0, 1), (float("inf"), 0, 1)])
def test_a_direction_without_length_has_no_angles(direction):
    with pytest.raises(InputError):
        angles(direction)


def test_a_component_of_two_digits_has_no_name():
    with pytest.raises(InputError, match="one digit"):
        direction_name((10, 0, 1))


@given(direction=directions)
def test_every_direction_survives_its_word_and_has_its_own_name(direction):
    assert parse_direction("".join(str(digit) for digit in direction)) == direction
    name = direction_name(direction)
    assert parse_direction(name.replace("m", "-")) == direction
    assert set(name) <= set("0123456789m")


@pytest.mark.parametrize(
    ("direction", "expected"),
    [
        ((0, 0, 1), (0, 0)), ((1, 0, 0), (90, 0)), ((0, 1, 0), (90, 90)), ((1, 1, 0), (90, 45)),
        ((1, 0, 1), (45, 0)), ((0, 1, 1), (45, 90)), ((0, 0, -1), (180, 0)), ((1, -1, 0), (90, -45)),
    ],
)  # fmt: skip
def test_angles_of_the_usual_axes(direction, expected):
    assert_allclose(angles(direction), expected, atol=1e-12)


@given(axis=axes)
def test_the_angles_lead_back_to_the_direction(axis):
    assert_allclose(unit_vector(*angles(axis)), np.array(axis) / np.linalg.norm(axis), atol=1e-12)


@settings(max_examples=200)
@given(axis=axes, moment=moments)
def test_moments_return_from_the_frame_of_any_saxis(axis, moment):
    rotation = saxis_rotation(axis)
    assert_allclose(rotation @ (rotation.T @ np.array(moment)), moment, atol=1e-12)
    assert np.linalg.det(rotation) == pytest.approx(1)


@settings(max_examples=200)
@given(axis=axes)
def test_a_moment_along_z_of_the_saxis_frame_points_along_saxis(axis):
    assert_allclose(saxis_rotation(axis) @ [0, 0, 1], np.array(axis) / np.linalg.norm(axis), atol=1e-12)


@settings(max_examples=200)
@given(axis=axes)
def test_both_codes_mean_the_same_direction(axis):
    assert_allclose(saxis_rotation(axis)[:, 2], unit_vector(*angles(axis)), atol=1e-12)


def test_the_saxis_frame_of_x_is_the_documented_matrix():
    # VASP prints for SAXIS = 1 0 0: m_x = m_3, m_y = m_2, m_z = -m_1
    assert_allclose(saxis_rotation((1, 0, 0)), [[0, 0, 1], [0, 1, 0], [-1, 0, 0]], atol=1e-15)
