"""SIRT and SART. Truth: the update written out with matrices; objects whose images are exact."""

from itertools import islice

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from slow_projection import projection_matrix

from aet2dft.recon.algorithms.sirt import _spread, iterate
from aet2dft.recon.fourier.projector import project_volume
from aet2dft.recon.tilt_series import TiltSeries

N = 12
TILTS = np.linspace(-70, 70, 9)
EULER = np.column_stack([2 * np.sin(TILTS), TILTS, 2 * np.cos(TILTS)])


def last(states, iterations):
    return next(islice(states, iterations - 1, None))


def case(angles):
    grid = np.stack(np.meshgrid(*[np.arange(N) - N // 2] * 3, indexing="ij"), axis=-1)
    volume = sum(np.exp(-((grid - at) ** 2).sum(axis=-1) / 3) for at in ((2, 0, 1), (-2, 1, -2))).astype(np.float32)
    empty = TiltSeries.from_angles(np.zeros((len(angles), N, N), np.float32), angles, pixel_size=0.4)
    series = TiltSeries.from_angles(project_volume(empty, volume), angles, pixel_size=0.4)
    return volume, series, (grid**2).sum(axis=-1) < 30


@pytest.mark.parametrize("angles", [TILTS, EULER], ids=["one axis", "any rotation"])
def test_two_iterations_are_those_of_the_formula(angles):
    _, series, support = case(angles)
    matrix = projection_matrix(series, N)
    lengths, seen = matrix @ support.ravel(), matrix.sum(axis=0)
    rays = np.where(lengths > 0.5, 1 / np.maximum(lengths, 1), 0)
    values = np.zeros(N**3)
    for _ in range(2):
        step = matrix.T @ (rays * (series.projections.ravel() - matrix @ values)) / seen
        values = np.maximum(values + np.where(support.ravel(), step, 0), 0)
    found = last(iterate(series, support), 2).values
    assert_allclose(found.ravel(), values, atol=2e-5 * values.max())


def test_an_image_that_is_not_turned_follows_the_formula_among_others_that_are():
    angles = EULER.copy()
    angles[4] = 0
    _, series, support = case(angles)
    matrices = projection_matrix(series, N).reshape(len(angles), -1, N**3)
    values = np.zeros(N**3)
    for k in _spread(series):
        lengths = matrices[k] @ support.ravel()
        rays = np.where(lengths > 0.5, 1 / np.maximum(lengths, 1), 0)
        step = matrices[k].T @ (rays * (series.projections[k].ravel() - matrices[k] @ values))
        values = np.maximum(values + np.where(support.ravel(), step, 0), 0)
    found = last(iterate(series, support, one_by_one=True), 1).values
    assert_allclose(found.ravel(), values, atol=2e-5 * values.max())


@pytest.mark.parametrize("angles", [TILTS, EULER], ids=["one axis", "any rotation"])
def test_the_misfit_falls_and_image_by_image_faster(angles):
    volume, series, support = case(angles)
    together, one_by_one = last(iterate(series, support), 20), last(iterate(series, support, one_by_one=True), 10)
    assert (np.diff(together.memory.misfit) < 0).all()
    assert one_by_one.memory.misfit[9] < together.memory.misfit[9]
    for state in (together, one_by_one):
        assert (state.values >= 0).all()
        assert (state.values[~support] == 0).all()
        assert np.corrcoef(state.values.ravel(), volume.ravel())[0, 1] > 0.95


@pytest.mark.parametrize("one_by_one", [False, True])
def test_ten_iterations_are_four_and_six(one_by_one):
    _, series, support = case(TILTS)
    whole = last(iterate(series, support, one_by_one=one_by_one), 10)
    memory = last(iterate(series, support, one_by_one=one_by_one), 4).memory
    parts = last(iterate(series, support, one_by_one=one_by_one, start=memory), 6)
    assert parts.iteration == 10
    assert_array_equal(parts.values, whole.values)
    assert_array_equal(parts.memory.misfit, whole.memory.misfit)
