"""Measured frequencies. Truth: the sum over pixels at the foot of every perpendicular, written out."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from slow_projection import random_series

from aet2dft.recon.fourier.gridding import grid_size, grid_slices, grid_volume, withheld
from aet2dft.recon.fourier.projector import project_volume
from aet2dft.recon.tilt_series import TiltSeries

DEPTH, REACH = 10, 0.5


def signed(index, size):
    """Frequencies (x, z) of flat indices in half a plane."""
    x, z = np.divmod(index.astype(int), size // 2 + 1)
    return np.where(x < size // 2, x, x - size), z


def points_of(grid):
    """Frequencies (m, 3) of the points of a volume grid."""
    x, z = signed(grid.index, grid.size)
    y = np.repeat(np.fft.fftfreq(grid.size, 1 / grid.size).astype(int), np.diff(grid.start))
    return np.column_stack([x, y, z])


def near(points, series, size):
    """Whether some image plane comes near enough, for points (m, 3) inside the sphere."""
    distances = np.abs(np.einsum("pi,ki->pk", points, series.rotations[:, :, 2]))
    return (distances <= REACH).any(axis=1) & ((points**2).sum(axis=1) < (size / 2) ** 2)


def averaged(points, series, size, corner):
    """Values of points (m, 3): images at the feet, weighted by the inverse distance, object in the corner."""
    sums, total = 0, 0
    for image, rotation, center in zip(series.projections, series.rotations, series.center, strict=True):
        u, v, distance = (points @ rotation).T
        waves = [
            np.exp(-2j * np.pi / size * np.outer(q, np.arange(n) - c))
            for q, n, c in zip((u, v), image.shape, center, strict=True)
        ]
        weight = np.where(np.abs(distance) <= REACH, 1 / np.maximum(np.abs(distance), 0.05), 0)
        sums = sums + weight * np.einsum("pu,uv,pv->p", waves[0], image.astype(float), waves[1])
        total = total + weight
    return sums / total * np.exp(-2j * np.pi / size * (points @ corner))


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=8)
def test_frequencies_of_a_volume_are_the_sums_over_the_pixels(seed):
    series = random_series(np.random.default_rng(seed), single_axis=False, n=3)
    grid = grid_volume(series, DEPTH, oversampling=3, reach=REACH)
    points = points_of(grid)
    x, y, z = np.meshgrid(
        *[np.arange(1 - grid.size // 2, grid.size // 2)] * 2, np.arange(grid.size // 2), indexing="ij"
    )
    everything = np.column_stack([x.ravel(), y.ravel(), z.ravel()])
    assert near(points, series, grid.size).all()
    assert len(points) == near(everything, series, grid.size).sum()
    expected = averaged(points, series, grid.size, np.array([10, 9, DEPTH]) // 2)
    assert_allclose(grid.values, expected, atol=1e-5 * np.abs(expected).max())


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=8)
def test_frequencies_of_slices_are_the_sums_over_the_lines(seed):
    series = random_series(np.random.default_rng(seed), single_axis=True, n=3)
    grid = grid_slices(series, DEPTH, oversampling=3, reach=REACH)
    x, z = signed(grid.index, grid.size)
    points = np.column_stack([x, np.zeros_like(x), z])
    assert near(points, series, grid.size).all()
    for column in (0, 5):
        line = series.projections[:, :, column : column + 1]
        one = TiltSeries.from_angles(
            line, series.tilt_angles, pixel_size=0.4, center=np.column_stack([series.center[:, 0], np.zeros(3)])
        )
        expected = averaged(points, one, grid.size, np.array([5, 0, DEPTH // 2]))
        assert_allclose(grid.values[:, column], expected, atol=1e-5 * np.abs(expected).max())


def test_a_point_at_the_center_gives_a_constant_and_a_shifted_one_a_phase():
    volume = np.zeros((12, 12, 12), dtype=np.float32)
    series = random_series(np.random.default_rng(3), single_axis=False, n=4, shape=(12, 12))
    series = TiltSeries(
        projections=series.projections, rotations=series.rotations, tilt_angles=series.tilt_angles, pixel_size=0.4,
        center=np.full((4, 2), 6.0),
    )  # fmt: skip
    for at in ((6, 6, 6), (7, 5, 8)):
        volume[...] = 0
        volume[at] = 1
        images = TiltSeries(
            projections=project_volume(series, volume), rotations=series.rotations, tilt_angles=series.tilt_angles,
            pixel_size=0.4, center=series.center,
        )  # fmt: skip
        grid = grid_volume(images, 12, oversampling=4, reach=0.01)
        points = points_of(grid)
        low = np.linalg.norm(points, axis=1) < grid.size / 8
        expected = np.exp(-2j * np.pi / grid.size * (points[low] @ np.array(at)))
        # the band-limited images of the point reach beyond their border
        assert_allclose(grid.values[low], expected, atol=0.1)


def test_friedel_mates_are_withheld_together_and_in_the_fraction_asked_for():
    numbers = np.arange(20_000) // 2
    chosen = withheld(numbers, 0.05, seed=4)
    assert_array_equal(chosen[::2], chosen[1::2])
    assert chosen.mean() == pytest.approx(0.05, abs=0.01)
    assert not withheld(numbers, 0.0, seed=4).any()
    assert (withheld(numbers, 0.05, seed=5) != chosen).any()


def test_the_grid_is_as_large_as_asked_for():
    assert grid_size((60, 50), 3) == 180
    assert grid_size((68, 68), 3) >= 204
