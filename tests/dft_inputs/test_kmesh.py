"""Truth: meshes worked out by hand from the definition of the rule, and its invariants."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aet2dft.dft_inputs.kmesh import k_mesh, parse_mesh
from aet2dft.errors import InputError


@pytest.mark.parametrize(
    ("lengths", "mesh"),
    [
        ((3.85 / np.sqrt(2), 3.85 / np.sqrt(2), 3.71), (8, 8, 6)),
        ((3.85, 3.85, 3.85), (6, 6, 6)),
        ((7.7, 7.7, 7.7), (4, 4, 4)),
        ((100.0, 7.7, 7.7), (2, 4, 4)),
    ],
)
def test_known_cells_get_their_mesh(lengths, mesh):
    assert k_mesh(np.diag(lengths)) == mesh


@given(seed=st.integers(0, 2**32 - 1), spacing=st.floats(0.1, 1.0))
def test_points_are_even_and_no_farther_apart_than_asked(seed, spacing):
    cell = np.eye(3) * 6.0 + np.random.default_rng(seed).uniform(-1.5, 1.5, (3, 3))
    mesh = np.array(k_mesh(cell, spacing=spacing))
    distances = 2 * np.pi * np.linalg.norm(np.linalg.inv(cell).T, axis=1) / mesh
    assert not (mesh % 2).any()
    assert (distances <= spacing * (1 + 1e-5)).all()
    assert ((distances * mesh / np.maximum(mesh - 2, 1) > spacing) | (mesh == 2)).all()


def test_rounding_of_the_cell_does_not_change_the_mesh():
    exact = 2 * np.pi / (4 * 0.30)
    assert {k_mesh(np.eye(3) * (exact + error)) for error in (-1e-9, 0.0, 1e-9)} == {(4, 4, 4)}


def test_a_mesh_in_words_is_read_and_nonsense_refused():
    assert parse_mesh("4x4x3") == (4, 4, 3)
    for word in ("4x4", "4 4 3", "0x4x4", "-1x4x4", "4x4x3x2", ""):
        with pytest.raises(InputError, match="kmesh=4x4x3"):
            parse_mesh(word)
