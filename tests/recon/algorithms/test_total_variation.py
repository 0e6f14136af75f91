"""Total variation. Truth: the minimum of a small problem; a phantom of constant pieces."""

from itertools import islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from aet2dft.recon.algorithms import total_variation
from aet2dft.recon.algorithms.least_squares import iterate as plain
from aet2dft.recon.algorithms.total_variation import flatten, iterate
from aet2dft.recon.fourier.projector import project_volume
from aet2dft.recon.tilt_series import TiltSeries

ANGLES = np.linspace(-81, 81, 20)


def variation(values):
    """Sum of the lengths of the gradients, by forward differences that vanish at the end."""
    steps = [np.diff(values, axis=axis, append=values.take([-1], axis=axis)) for axis in range(3)]
    return float(np.sqrt(sum(step.astype(float) ** 2 for step in steps)).sum())


def pieces(n=64, columns=2):
    """An ellipsoid with holes and inclusions: constant in pieces."""
    x, _, z = np.meshgrid(*(np.arange(m) - m // 2 for m in (n, columns, n)), indexing="ij")
    volume = 1.0 * ((x / 0.36) ** 2 + (z / 0.30) ** 2 < n**2)
    for i, k, radius, value in ((-9, 4, 5, -1.0), (8, -5, 6, 1.0), (3, 9, 3, -0.5), (-4, -10, 3, 0.7)):
        volume[(x - i) ** 2 + (z - k) ** 2 < radius**2] += value
    return volume.astype(np.float32)


def images_of(volume, noise=0.0):
    empty = TiltSeries.from_angles(np.zeros((len(ANGLES), *volume.shape[:2]), np.float32), ANGLES, pixel_size=0.4)
    images = project_volume(empty, volume)
    images += noise * images.max() * np.random.default_rng(0).normal(size=images.shape).astype(np.float32)
    return TiltSeries.from_angles(images, ANGLES, pixel_size=0.4)


@given(seed=st.integers(0, 2**32 - 1), weight=st.floats(0.01, 0.3))
@settings(max_examples=5)
def test_flattening_comes_near_the_minimum_of_its_objective(seed, weight):
    random = np.random.default_rng(seed)
    given_values = random.normal(size=(5, 4, 6)).astype(np.float32)
    support = random.random(given_values.shape) < 0.8
    found = given_values.copy()
    flatten(found, weight, support, 0.0)

    def objective(values):
        return 0.5 * float(((values - given_values) ** 2).sum()) + weight * variation(values)

    assert (found[~support] == 0).all()
    assert (found >= 0).all()
    best = given_values.copy()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(total_variation, "_INNER", 2000)
        flatten(best, weight, support, 0.0)
    for _ in range(20):
        step = np.where(support, random.normal(size=found.shape), 0) * random.choice([0.1, 0.01])
        assert objective(np.maximum(best + step, 0)) > objective(best) - 1e-6
    start = objective(np.where(support, np.maximum(given_values, 0), 0))
    assert start - objective(found) > 0.95 * (start - objective(best))


def error(state, truth):
    return float(np.linalg.norm(state.values - truth))


@pytest.mark.parametrize(("noise", "weight"), [(0.0, 0.0015), (0.02, 0.004)])
def test_constant_pieces_come_out_at_half_the_error_from_twenty_images(noise, weight):
    truth = pieces()
    series, support = images_of(truth, noise), np.ones(truth.shape, bool)
    without = [error(state, truth) for state in islice(plain(series, support), 80)]
    state = next(islice(iterate(series, support, weight=weight), 79, None))
    assert error(state, truth) < 0.5 * without[-1]
    # the best moment to stop, which only the truth tells
    assert error(state, truth) < 0.6 * min(without)
    assert variation(state.values) < 1.2 * variation(truth)


def test_it_converges_and_says_so():
    series, support = images_of(pieces(24, 4), noise=0.02), np.ones((24, 4, 24), bool)
    states = list(islice(iterate(series, support), 200))
    assert not states[20].converged
    assert states[-1].converged
    change = np.linalg.norm(states[-1].memory.values - states[-1].memory.previous)
    assert change < 1e-4 * np.linalg.norm(states[-1].values)


def test_without_a_weight_it_is_plain_least_squares():
    series, support = images_of(pieces(24, 4)), np.ones((24, 4, 24), bool)
    flat = next(islice(iterate(series, support, weight=0.0), 99, None)).memory.misfit[-1]
    assert flat == pytest.approx(next(islice(plain(series, support), 99, None)).memory.misfit[-1], abs=0.01)


def test_ten_iterations_are_four_and_six():
    series, support = images_of(pieces(24, 4)), np.ones((24, 4, 24), bool)
    whole = next(islice(iterate(series, support), 9, None))
    memory = next(islice(iterate(series, support), 3, None)).memory
    assert_array_equal(next(islice(iterate(series, support, start=memory), 5, None)).values, whole.values)
