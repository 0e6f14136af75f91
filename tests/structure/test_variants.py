"""The table of variants. Truth: the sixteen colorings of the four fcc sublattices, counted by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference import sublattice_of
from strategies import variants

from aet2dft.structure.variants import (
    ORDERED,
    PHASE_OF,
    PURE,
    VARIANTS,
    describe,
    layered_along,
    phase,
    sublattice,
    variants_of,
)


def test_there_are_six_l10_eight_l12_and_two_pure_variants():
    assert VARIANTS.shape == (16, 4)
    assert len({tuple(row) for row in VARIANTS.tolist()}) == 16
    assert [PHASE_OF.tolist().count(name) for name in ("A1", "L10", "L12")] == [2, 6, 8]
    assert set(ORDERED) == set(range(16)) - set(PURE)


def test_phases_list_their_own_variants():
    assert variants_of("L10").tolist() == [3, 5, 6, 9, 10, 12]
    assert variants_of("L12").tolist() == [1, 2, 4, 7, 8, 11, 13, 14]
    assert variants_of("A1").size == 0
    assert [v for v in range(16) if layered_along(v)] == variants_of("L10").tolist()


@given(site=st.tuples(*[st.integers(-1000, 1000)] * 2), third=st.integers(-500, 500))
def test_sublattice_is_read_off_the_parities(site, third):
    full = (*site, 2 * third + (site[0] + site[1]) % 2)
    assert sublattice(np.array([full]))[0] == sublattice_of(full)


@given(variant=variants())
def test_exchanging_the_species_keeps_the_phase(variant):
    assert phase(15 - variant) == phase(variant)
    np.testing.assert_array_equal(VARIANTS[15 - variant], ~VARIANTS[variant])


@pytest.mark.parametrize(
    ("variant", "words"),
    [
        (0, "A1"),
        (1, "L12 (FePt3), Fe on sublattice 0"),
        (14, "L12 (Fe3Pt), Pt on sublattice 0"),
        (3, "L10 along x, Fe on sublattices 0 and 1"),
        (10, "L10 along y, Fe on sublattices 1 and 3"),
        (6, "L10 along z, Fe on sublattices 1 and 2"),
    ],
)
def test_a_variant_is_described_in_words(variant, words):
    assert describe(variant, "Fe", "Pt") == words


@given(variant=st.sampled_from([3, 5, 6, 9, 10, 12]))
def test_the_axis_of_l10_is_the_normal_of_its_pure_planes(variant):
    axis = "xyz".index(layered_along(variant))
    corners = np.array([[0, 0, 0], [0, 1, 1], [1, 0, 1], [1, 1, 0]])
    first = VARIANTS[variant][sublattice(corners)]
    assert len(set(corners[first][:, axis])) == 1
    assert len(set(corners[~first][:, axis])) == 1
