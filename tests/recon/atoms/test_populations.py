"""Populations of numbers. Truth: numbers drawn from known distributions, and an exhaustive search for k-means."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from aet2dft.recon.atoms.populations import best_mixture, bounded, fitted_again, k_means, mixture


def drawn(seed, means, sigmas, counts, *, freedom=None):
    """Numbers of populations of known means, in random order, and their labels."""
    random = np.random.default_rng(seed)
    labels = random.permutation(np.repeat(np.arange(len(means)), counts))
    scatter = random.standard_normal(len(labels)) if freedom is None else random.standard_t(freedom, len(labels))
    return np.asarray(means)[labels] + np.asarray(sigmas)[labels] * scatter, labels


def scatter_within(values, classes):
    return sum(((values[classes == c] - values[classes == c].mean()) ** 2).sum() for c in np.unique(classes))


@given(st.lists(st.integers(0, 500), min_size=3, max_size=9, unique=True), st.integers(2, 3))
def test_k_means_finds_the_best_of_all_ways_to_cut(numbers, k):
    values = np.array(numbers, dtype=float)
    order = np.sort(values)
    cuts = itertools.combinations(range(1, len(values)), k - 1)
    ways = [np.searchsorted(np.array(cut), np.arange(len(values)), side="right") for cut in cuts]
    best = min(scatter_within(order, way) for way in ways)
    assert_allclose(scatter_within(values, k_means(values, k).labels), best, rtol=1e-9, atol=1e-9)


def test_a_bad_start_cannot_split_the_large_population():
    values, labels = drawn(1, (3.4, 12.3, 37.9), (2.8, 2.5, 2.9), (1400, 6000, 16000))
    assert (k_means(values[labels > 0], 2).labels == labels[labels > 0] - 1).mean() > 0.999


@pytest.mark.parametrize("n", [60, 3000, 20000])
@pytest.mark.parametrize("freedom", [None, 5])
def test_the_number_of_populations_is_found_with_gaussian_and_with_long_tails(n, freedom):
    for means in ((1.0,), (0.3, 1.0), (0.2, 0.5, 1.0)):
        values, labels = drawn(n, means, [0.04] * len(means), [n // len(means)] * len(means), freedom=freedom)
        best, tried = best_mixture(values, len(means) + 2)
        assert len(best.means) == len(means)
        assert set(tried) == set(range(1, len(means) + 3))
        assert_allclose(best.means, means, atol=0.03)
        assert (best.posterior(values).argmax(axis=1) == labels).mean() > 0.98


def test_a_skewed_population_is_one():
    random = np.random.default_rng(4)
    values = 1.0 + 0.1 * random.gamma(20.0, size=3000)
    assert len(best_mixture(values, 3)[0].means) == 1


def test_a_weak_population_is_found_beside_a_strong_one():
    values, labels = drawn(2, (0.12, 1.0), (0.03, 0.09), (300, 9700))
    best, _ = best_mixture(values, 3)
    assert_allclose(best.means, (0.12, 1.0), atol=0.01)
    assert (best.posterior(values).argmax(axis=1) == labels).all()


def test_known_errors_sharpen_what_they_are_known_of():
    random = np.random.default_rng(6)
    labels, errors = random.integers(0, 2, 6000), random.choice([0.5, 2.0], 6000)
    values = np.array([0.6, 1.0])[labels] + 0.1 * errors * random.standard_normal(6000)
    with_errors, without = (mixture(values, 2, of).posterior(values, of) for of in (errors, None))
    assert (with_errors.argmax(axis=1) == labels).mean() >= (without.argmax(axis=1) == labels).mean()
    exact = (with_errors.max(axis=1) > 0.99) & (errors < 1)
    assert exact.sum() > 2500
    assert (with_errors.argmax(axis=1) == labels)[exact].mean() > 0.999
    # those of large error are not said to be sure
    assert with_errors.max(axis=1)[errors > 1].mean() < 0.9


def test_where_two_populations_overlap_a_narrow_third_does_not_make_them_too_sure():
    """As at a low dose: non-atoms, and two species whose boundary the data hardly tell. Truth: the labels, 16 draws."""
    wrong, stated = np.zeros(6), np.zeros(6)
    for seed in range(16):
        values, labels = drawn(seed, (0.07, 0.775, 1.0), (0.035, 0.095, 0.095), (2000, 1400, 1400))
        sure = mixture(values, 3).posterior(values)
        bins = np.digitize(sure.max(axis=1), (0.6, 0.7, 0.8, 0.9, 0.95))
        wrong += np.bincount(bins, (sure.argmax(axis=1) != labels) & (labels > 0), 6)
        stated += np.bincount(bins, (1.0 - sure.max(axis=1)) * (labels > 0), 6)
    assert wrong.min() > 200
    assert (np.abs(wrong / stated - 1.0)[:5] < 0.05).all()
    # of the surest ones, that there may be outliers makes them too modest
    assert 0.75 < wrong[5] / stated[5] < 1.05


def test_classes_of_many_numbers_give_what_the_numbers_give():
    values, _ = drawn(3, (0.4, 1.0), (0.06, 0.08), (1000, 1000))
    errors = np.random.default_rng(3).uniform(0.8, 1.2, 2000)
    few, many = mixture(values, 2, errors), mixture(np.tile(values, 9), 2, np.tile(errors, 9))
    assert_allclose(many.means, few.means, atol=1e-3)
    assert_allclose(many.sigmas, few.sigmas, rtol=0.05)
    assert_allclose(many.weights, few.weights, atol=2e-3)


def test_beyond_the_outermost_mean_a_wide_neighbor_claims_nothing():
    values, _ = drawn(5, (0.3, 1.0), (0.02, 0.2), (3000, 3000))
    found = mixture(values, 2)
    far = found.posterior(np.array([found.means[0], -1.0]))
    assert far[1, 0] >= far[0, 0] > 0.99


@given(st.integers(0, 200), st.floats(0.1, 10.0))
def test_probabilities_add_up_and_do_not_depend_on_the_unit(seed, unit):
    values, _ = drawn(seed, (0.5, 1.0), (0.1, 0.1), (80, 120))
    here, there = mixture(values, 2), mixture(unit * values, 2)
    assert_allclose(here.posterior(values).sum(axis=1), 1.0)
    assert_allclose(there.means, unit * here.means, rtol=1e-3)


def test_spots_are_bounded_where_there_are_enough_other_numbers_and_few_of_them():
    values = np.r_[np.linspace(1.0, 2.0, 245), 3.0, 7.0, 1e3, 1e4, 1e5]
    assert_allclose(bounded(values), np.minimum(values, 6.0))
    assert (bounded(values[-49:]) == values[-49:]).all()
    assert (bounded(-values) == -values).all()
    many = np.r_[np.ones(200), np.full(6, 50.0)]
    assert (bounded(many) == many).all()


def test_a_fit_that_goes_on_from_its_own_result_stays_there():
    values, _ = drawn(8, (0.5, 1.0), (0.1, 0.1), (500, 700))
    found = mixture(values, 2)
    assert_allclose(fitted_again(found, values).means, found.means, atol=1e-3)


@pytest.mark.parametrize("values", [np.ones(5), np.array([2.0]), np.array([1.0, 2.0])])
def test_too_few_different_numbers_give_fewer_populations(values):
    found = mixture(values, 3)
    assert len(found.means) <= len(set(values))
    assert np.isfinite(found.means).all()
