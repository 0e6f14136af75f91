"""Sublattice order. Truth: exact rationals for perfect phases, triple loops, Monte Carlo for chance levels."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from reference import mapped_variants, order_parameter, sublattice_fractions
from strategies import concentrations, seeds, variants

from aet2dft.structure.lattice import cubic_rotations
from aet2dft.structure.order_parameters import (
    Occupancy,
    WindowSums,
    best_variant,
    concentration_waves,
    null_level,
    simulate_null,
    sublattice_order,
    sublattice_order_sigma,
)
from aet2dft.structure.variants import ORDERED, PHASE_OF, VARIANTS, sublattice
from aet2dft.synthetic import ordered_crystal

L12, L12_OTHER, L10_HOLDS, L10_OPPOSITE, L10_OTHER_AXIS = 1, 2, 3, 12, 5


def perfect(variant):
    """Sites and species of a perfect crystal of 4 x 4 x 4 cells."""
    site = ordered_crystal(variant, 4).arrays["true_site"]
    return site, VARIANTS[variant][sublattice(site)]


def order_of(site, is_first, sigma=0.7):
    return sublattice_order(WindowSums(site, sigma).occupancy(is_first))


def cluster(seed, n=90, x=0.4):
    rng = np.random.default_rng(seed)
    site = rng.integers(-4, 5, size=(6 * n, 3))
    site = np.unique(site[site.sum(axis=1) % 2 == 0], axis=0)
    site = rng.permutation(site)[:n].astype(np.int32)
    return site, rng.random(n) < x


def uniform_occupancy(site, is_first):
    """The whole crystal as one window."""
    own = sublattice(site)
    weight, first = (np.bincount(own[keep], minlength=4).astype(float)[:, None] for keep in (own >= 0, is_first))
    return Occupancy(weight=weight, squared=weight, first=first)


@pytest.mark.parametrize(
    ("structure", "template", "expected"),
    [
        (L12, L12, 1.0),
        (L12, L12_OTHER, -1 / 3),
        (L12, L10_HOLDS, 1 / 2),
        (L12, L10_OPPOSITE, -1 / 2),
        (L10_HOLDS, L10_HOLDS, 1.0),
        (L10_HOLDS, L10_OPPOSITE, -1.0),
        (L10_HOLDS, L10_OTHER_AXIS, 0.0),
        (L10_HOLDS, L12, 2 / 3),
        (L10_HOLDS, 4, -2 / 3),
        (14, L12, -1.0),
    ],
)
def test_cross_table_of_perfect_phases_is_exact(structure, template, expected):
    order = order_of(*perfect(structure))
    assert_allclose(order[template], expected, atol=1e-12)


@given(structure=variants(), template=variants(), sigma=st.sampled_from([0.5, 0.7, 1.0]))
@settings(max_examples=30)
def test_perfect_phases_have_the_order_of_the_definition_in_any_window(structure, template, sigma):
    fraction = VARIANTS[structure].astype(float)
    expected = order_parameter(fraction, set(np.flatnonzero(VARIANTS[template])))
    assert_allclose(order_of(*perfect(structure), sigma)[template], expected, atol=1e-12)


@given(structure=variants())
def test_a_perfect_phase_is_labelled_as_itself(structure):
    order = order_of(*perfect(structure))
    assert_array_equal(best_variant(order, 0.99), structure)
    assert np.isnan(order[[0, 15]]).all()


def test_placed_antisites_lower_the_order_by_their_fractions():
    site, first = perfect(L12)
    rng = np.random.default_rng(0)
    alpha, beta = np.flatnonzero(first), np.flatnonzero(~first)
    wrong = np.concatenate([rng.choice(alpha, 7, replace=False), rng.choice(beta, 11, replace=False)])
    changed = first.copy()
    changed[wrong] = ~changed[wrong]
    expected = 1.0 - 7 / len(alpha) - 11 / len(beta)
    assert_allclose(sublattice_order(uniform_occupancy(site, changed))[L12], expected, atol=1e-12)


def test_three_percent_of_random_antisites_give_an_order_of_094():
    site = ordered_crystal(L12, 18).arrays["true_site"]
    first = VARIANTS[L12][sublattice(site)] ^ (np.random.default_rng(1).random(len(site)) < 0.03)
    assert order_of(site, first, 1.0)[L12].mean() == pytest.approx(0.940, abs=0.005)


def test_wrongly_measured_species_scale_the_order():
    site, _ = perfect(L12)
    site = ordered_crystal(L12, 12).arrays["true_site"]
    true = VARIANTS[L12][sublattice(site)] ^ (np.random.default_rng(2).random(len(site)) < 0.1)
    seen = true ^ (np.random.default_rng(3).random(len(site)) < 0.04)
    ratio = sublattice_order(uniform_occupancy(site, seen))[L12] / sublattice_order(uniform_occupancy(site, true))[L12]
    assert ratio[0] == pytest.approx(1 - 2 * 0.04, abs=0.015)


@given(seed=seeds, sigma=st.sampled_from([0.5, 0.7, 1.0]))
@settings(max_examples=5)
def test_windows_are_those_of_a_triple_loop(seed, sigma):
    site, first = cluster(seed)
    sums = WindowSums(site, sigma)
    occupancy = sums.occupancy(first)
    assert_allclose(occupancy.fraction, sublattice_fractions(site, first, sigma), atol=1e-10)
    alone = sums.without_self(occupancy, first).fraction
    for i in (0, 17, 41):
        others = np.arange(len(site)) != i
        loop = sublattice_fractions(np.vstack([site[i], site[others]]), np.append(False, first[others]), sigma)
        with_first = sublattice_fractions(np.vstack([site[i], site[others]]), np.append(True, first[others]), sigma)
        # what does not depend on the atom itself must agree with the loop; its own sublattice lies between the two
        own = sublattice(site[i : i + 1])[0]
        rest = [k for k in range(4) if k != own]
        assert_allclose(alone[rest, i], loop[rest, 0], atol=1e-10)
        assert loop[own, 0] - 1e-9 <= alone[own, i] <= with_first[own, 0] + 1e-9


@given(seed=seeds, x=concentrations())
def test_leaving_an_atom_out_removes_its_own_species(seed, x):
    site, first = cluster(seed, x=x)
    sums = WindowSums(site, 0.7)
    flipped = first.copy()
    flipped[5] = ~flipped[5]
    here = sums.without_self(sums.occupancy(first), first).fraction[:, 5]
    there = sums.without_self(sums.occupancy(flipped), flipped).fraction[:, 5]
    assert_allclose(here, there, atol=1e-9)


@given(seed=seeds, turn=st.integers(0, 23), shift=st.sampled_from([(0, 0, 0), (0, 1, 1), (1, 0, 1), (1, 1, 0)]))
def test_turning_and_shifting_the_frame_permutes_the_variants(seed, turn, shift):
    site, first = cluster(seed)
    rotation = cubic_rotations()[turn]
    here = order_of(site, first)
    there = order_of((site @ rotation.T + np.array(shift)).astype(np.int32), first)
    assert_allclose(there[mapped_variants(rotation, np.array(shift))], here, atol=1e-12)
    assert_allclose(np.sort(there[ORDERED], axis=0), np.sort(here[ORDERED], axis=0), atol=1e-12)


@given(seed=seeds)
def test_exchanging_the_species_exchanges_the_variants(seed):
    site, first = cluster(seed)
    assert_allclose(order_of(site, ~first)[15 - ORDERED], order_of(site, first)[ORDERED], atol=1e-12)


def test_the_error_bar_is_the_spread_of_independent_crystals():
    site = ordered_crystal(L12, 8).arrays["true_site"]
    chance = np.where(VARIANTS[L12][sublattice(site)], 0.8, 0.15)
    inner = np.abs(site - 7.5).max(axis=1) < 3
    rng = np.random.default_rng(0)
    sums = WindowSums(site, 0.7)
    drawn = [sums.occupancy(rng.random(len(site)) < chance) for _ in range(300)]
    spread = np.std([sublattice_order(o)[L12] for o in drawn], axis=0)
    claimed = np.sqrt(np.mean([sublattice_order_sigma(o)[L12] ** 2 for o in drawn], axis=0))
    assert np.median((claimed / spread)[inner] ** 2) == pytest.approx(1, abs=0.04)
    assert ((claimed / spread) > 0.7).all()


def test_error_bars_are_finite_and_vanish_in_perfect_crystals():
    occupancy = WindowSums(perfect(L10_HOLDS)[0], 0.7).occupancy(perfect(L10_HOLDS)[1])
    assert_allclose(sublattice_order_sigma(occupancy)[ORDERED], 0.0, atol=1e-12)


def test_a_window_without_a_sublattice_has_no_order_and_no_label():
    site = np.array([[0, 0, 0], [2, 0, 0], [40, 1, 1]], dtype=np.int32)
    order = order_of(site, np.array([True, False, True]), 0.5)
    assert np.isnan(order[ORDERED]).all()
    assert_array_equal(best_variant(order, 0.0), 0)


@pytest.mark.parametrize(
    ("variant", "waves"), [(3, (1, 0, 0)), (12, (-1, 0, 0)), (5, (0, 1, 0)), (9, (0, 0, 1)), (1, (0.5, 0.5, 0.5))]
)
def test_concentration_waves_of_the_phases(variant, waves):
    assert_allclose(concentration_waves(VARIANTS[variant].astype(float)), waves, atol=1e-15)


@given(variant=variants())
def test_order_and_waves_are_the_same_numbers(variant):
    waves = np.abs(concentration_waves(VARIANTS[variant].astype(float)))
    assert waves.max() == (1.0 if PHASE_OF[variant] == "L10" else 0.5)
    assert waves.sum() == (1.0 if PHASE_OF[variant] == "L10" else 1.5)


@pytest.mark.parametrize(("sigma", "x"), [(0.5, 0.5), (0.7, 0.28), (0.7, 0.5), (1.0, 0.28)])
def test_the_chance_level_is_passed_by_one_atom_in_a_hundred(sigma, x):
    drawn = simulate_null(sigma, x, seed=77, edge=64)
    assert (drawn >= null_level(sigma, x)).mean() == pytest.approx(0.01, abs=0.004)


def test_the_chance_level_is_that_of_an_independent_simulation():
    """Fresh random alloys, with windows from the triple loop's definition on a finite crystal, deep inside it."""
    rng = np.random.default_rng(5)
    site = ordered_crystal(L12, 14).arrays["true_site"]
    inner = np.abs(site - 13.5).max(axis=1) < 7
    largest = [np.nanmax(order_of(site, rng.random(len(site)) < 0.3)[ORDERED][:, inner], axis=0) for _ in range(12)]
    assert np.quantile(np.concatenate(largest), 0.99) == pytest.approx(null_level(0.7, 0.3), abs=0.02)


@given(x=concentrations(), sigma=st.floats(0.5, 1.5))
def test_the_chance_level_does_not_care_which_species_comes_first_and_falls_with_the_window(x, sigma):
    assert null_level(sigma, x) == pytest.approx(null_level(sigma, 1.0 - x))
    assert null_level(sigma, x) >= null_level(min(1.5, sigma + 0.1), x)
    assert 0.0 < null_level(sigma, x) < 0.7
