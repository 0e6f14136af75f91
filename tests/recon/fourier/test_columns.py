"""Parts of a problem. Truth: the whole problem; supports whose boxes are known."""

from itertools import islice

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from slow_projection import random_series

from aet2dft.recon.algorithms.iterations import run
from aet2dft.recon.algorithms.least_squares import iterate
from aet2dft.recon.fourier.columns import BLOCK, column_blocks, reached_columns, shift_columns, take_columns, tight_box


@given(st.integers(2, 12), st.data())
def test_the_tight_box_holds_the_support_and_keeps_the_middle_in_the_middle(n, data):
    reached = data.draw(st.lists(st.integers(0, n - 1), min_size=1))
    support = np.zeros((n, 3, 9), dtype=bool)
    support[reached, 1, 4] = True
    box = tight_box(support)
    assert support[box].sum() == support.sum()
    assert n // 2 - np.arange(n)[box[0]][0] == len(np.arange(n)[box[0]]) // 2
    assert support[box].shape[1:] == (3, 2)


def test_blocks_hold_every_reached_column_once():
    support = np.zeros((4, 3 * BLOCK, 4), dtype=bool)
    support[1, 5:-7:2, 2] = True
    blocks = column_blocks(support)
    assert_array_equal(np.concatenate(blocks), np.arange(5, 3 * BLOCK - 7, 2))
    assert max(map(len, blocks)) <= BLOCK
    assert len(reached_columns(support, 6)) <= 6


def test_columns_move_by_fractions_as_their_frequencies_say():
    x = np.arange(24)
    line = np.exp(-((x - 11.0) ** 2) / 8)
    images = np.tile(line, (2, 3, 1)).astype(np.float32)
    moved = shift_columns(images, np.array([0.5, -1.25]))
    assert_allclose(moved[0, 0], np.exp(-((x - 11.5) ** 2) / 8), atol=2e-3)
    assert_allclose(moved[1, 2], np.exp(-((x - 9.75) ** 2) / 8), atol=2e-3)


@pytest.fixture(scope="module")
def problem():
    series = random_series(np.random.default_rng(1), single_axis=True, shape=(14, 2 * BLOCK + 3), n=6)
    series = take_columns(series, np.arange(2 * BLOCK + 3))
    support = np.zeros((14, 2 * BLOCK + 3, 14), dtype=bool)
    support[3:11, 2:-4, 4:12] = np.random.default_rng(2).random((8, 2 * BLOCK - 3, 8)) < 0.8
    return series, support


def begin(part, inside, *, memory):
    return iterate(part, inside, start=memory)


def test_blocks_of_planes_give_what_the_whole_gives(problem):
    whole = next(islice(iterate(*problem), 6, None))
    done = run(begin, *problem, 7, by_planes=True, any_box=False)
    assert_allclose(done.values, whole.values, atol=2e-5 * whole.values.max())
    assert_allclose(done.misfit[0], 1)
    # the planes that nothing can be in are left out of the data as well
    assert (done.misfit <= whole.memory.misfit + 1e-6).all()


def test_tight_boxes_explain_the_images_at_least_as_well(problem):
    whole = run(begin, *problem, 40, by_planes=True, any_box=False)
    tight = run(begin, *problem, 40, by_planes=True, any_box=True)
    assert (tight.values[~problem[1]] == 0).all()
    assert tight.misfit[-1] <= whole.misfit[-1] + 1e-4
    assert np.abs(tight.values - whole.values).max() < 0.1 * whole.values.max()
