"""Truth: exhaustive search for the best grouping of few atoms, and the limits that pw.x 6.7 was seen to impose."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from deck_examples import l10_cell
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from aet2dft.dft_inputs.moments import along_one_line, group_by_moment, starting_moments
from aet2dft.dft_inputs.protocol import load_protocol
from aet2dft.errors import InputError

PROTOCOL = load_protocol("scf", code="espresso")


def best_error(values: np.ndarray, n_types: int) -> float:
    """Smallest possible largest error of sorted values in `n_types` groups, by trying every cut."""
    ends = range(1, len(values))
    cuts = (np.split(values, list(cut)) for cut in combinations(ends, n_types - 1))
    return min(max(np.ptp(part) / 2 for part in parts) for parts in cuts)


@given(values=st.lists(st.floats(-4, 4).map(lambda x: round(x, 3)), min_size=5, max_size=9, unique=True))
def test_scalar_moments_are_grouped_as_well_as_possible(values):
    moments = np.array(values)
    types = group_by_moment(["Fe"] * len(values), moments, max_types=4)
    assert len(types.labels) <= 4
    assert_allclose(types.error, best_error(np.sort(moments), 4), atol=1e-9)
    assert_allclose(types.error, np.abs(moments - types.moments[types.index]).max(), atol=1e-15)


@given(seed=st.integers(0, 2**32 - 1), n=st.integers(2, 60), vectors=st.booleans())
def test_types_are_at_most_ten_with_short_labels_and_one_element_each(seed, n, vectors):
    rng = np.random.default_rng(seed)
    symbols = rng.choice(["Fe", "Pt", "V"], n)
    moments = rng.normal(size=(n, 3) if vectors else n)
    types = group_by_moment(symbols, moments)
    assert len(set(types.labels)) == len(types.labels) <= 10
    assert all(len(label) <= 3 for label in types.labels)
    assert [types.elements[t] for t in types.index] == list(symbols)
    assert set(types.index) == set(range(len(types.labels)))
    error = np.linalg.norm((moments - types.moments[types.index]).reshape(n, -1), axis=1).max()
    assert_allclose(types.error, error)
    if len(np.unique(moments, axis=0)) <= 10:
        assert types.error == 0.0


def test_labels_count_the_types_of_an_element_from_the_largest_moment():
    types = group_by_moment(["Fe", "Fe", "Pt", "Fe"], np.array([2.9, 3.1, 0.4, 2.9]))
    assert types.labels == ("Fe", "Fe1", "Pt")
    assert types.moments.tolist() == [3.1, 2.9, 0.4]
    assert types.index.tolist() == [1, 0, 2, 1]


def test_vectors_in_two_bundles_are_told_apart():
    rng = np.random.default_rng(5)
    bundles = np.array([[3.0, 0, 0], [0, 0, -3.0]])
    moments = np.repeat(bundles, 20, axis=0) + rng.normal(0, 0.01, (40, 3))
    types = group_by_moment(["Fe"] * 40, moments, max_types=2)
    assert len(types.labels) == 2
    assert types.error < 0.12


def test_more_elements_than_types_are_refused():
    with pytest.raises(InputError, match="11 elements"):
        group_by_moment(["H", "He", "Li", "Be", "B", "C", "N", "O", "F", "Ne", "Na"], np.ones(11))


def test_moments_come_from_the_atoms_or_else_from_the_protocol():
    cell = l10_cell()
    assert starting_moments(cell, PROTOCOL).tolist() == [0.4, 3.0]
    cell.arrays["initial_magmoms"] = np.array([-0.1, 2.0])
    assert starting_moments(cell, PROTOCOL).tolist() == [-0.1, 2.0]


@pytest.mark.parametrize(("moments", "message"), [([0.0, 0.0], "ends non-magnetic"), ([np.nan, 1.0], "first: atom 0")])
def test_moments_that_spoil_the_run_are_refused(moments, message):
    cell = l10_cell()
    cell.arrays["initial_magmoms"] = np.array(moments)
    with pytest.raises(InputError, match=message):
        starting_moments(cell, PROTOCOL)


def test_all_zero_moments_are_allowed_on_request():
    cell = l10_cell()
    cell.arrays["initial_magmoms"] = np.zeros(2)
    protocol = load_protocol("scf", code="espresso", changes={"allow_nonmagnetic": "true"})
    assert not starting_moments(cell, protocol).any()


def test_an_element_without_a_default_moment_is_refused():
    cell = l10_cell()
    cell.symbols[0] = "Cu"
    with pytest.raises(InputError, match=r"--set moment\.Cu=VALUE"):
        starting_moments(cell, PROTOCOL)


@given(seed=st.integers(0, 2**32 - 1))
def test_vectors_along_a_line_become_signed_sizes(seed):
    rng = np.random.default_rng(seed)
    direction = rng.normal(size=3)
    direction /= np.linalg.norm(direction)
    sizes = rng.uniform(-3, 3, 6)
    sizes *= np.sign(sizes[np.argmax(np.abs(sizes))])
    assert_allclose(along_one_line(np.outer(sizes, direction)), sizes, atol=1e-12)


def test_vectors_off_a_line_are_refused():
    with pytest.raises(InputError, match="mae_scf"):
        along_one_line(np.array([[3.0, 0, 0], [0, 0.4, 0]]))
