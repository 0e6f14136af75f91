"""Overlapping peaks. Truth: sums of Gaussians at known places, and derivatives written out."""

from itertools import product

import numpy as np
import pytest
from ase import Atoms
from numpy.testing import assert_allclose

from aet2dft.config import TraceSettings
from aet2dft.recon.atoms import _kernels_overlaps as overlaps
from aet2dft.recon.atoms import _kernels_peaks as kernels
from aet2dft.recon.atoms.overlaps import neighbors_of, separated
from aet2dft.recon.atoms.peaks import trace
from aet2dft.recon.metrics import match
from aet2dft.recon.tilt_series import Volume

VOXEL = 0.3725
WIDTH = 0.5


def volume(points, heights, size, noise=0.0, seed=0, widths=(WIDTH, WIDTH, WIDTH)):
    """Gaussians of these heights, and white noise."""
    axis = (np.arange(size) - size // 2) * VOXEL
    values = noise * np.random.default_rng(seed).standard_normal((size, size, size))
    for point, height in zip(points, heights, strict=True):
        x, y, z = (np.exp(-0.5 * ((axis - c) / width) ** 2) for c, width in zip(point, widths, strict=True))
        values += height * x[:, None, None] * y[:, None] * z
    return Volume(values=values.astype(np.float32), voxel_size=VOXEL, origin=np.zeros(3))


def pairs_among_others(distance, ratio, seed):
    """Seven pairs in random directions, the second of each fainter, and twenty lone atoms, 7.5 Å apart."""
    random = np.random.default_rng(seed)
    points, heights = [], []
    for number, corner in enumerate(product((-7.5, 0.0, 7.5), repeat=3)):
        middle, axis = corner + random.uniform(-0.3, 0.3, 3), random.standard_normal(3)
        half = 0.5 * distance * axis / np.linalg.norm(axis)
        points += [middle - half, middle + half] if number % 4 == 0 else [middle]
        heights += [1.0, ratio] if number % 4 == 0 else [1.0]
    return np.array(points), np.array(heights)


@pytest.mark.parametrize(
    ("distance", "ratio", "noise", "picometers"),
    [(1.5, 1.0, 0.0, 1.5), (1.5, 1.0, 0.1, 5), (1.7, 0.5, 0.05, 4), (2.0, 0.5, 0.1, 7), (2.4, 0.25, 0.05, 6)],
)
def test_overlapping_atoms_are_all_found_where_they_are(distance, ratio, noise, picometers):
    """Truth: their places. Their maxima lean by 12 pm at 1.5 Å, and the weak one has none at 1.7 Å."""
    points, heights = pairs_among_others(distance, ratio, seed=0)
    settings = TraceSettings(min_distance=0.8 * distance, threshold=0.12 if noise else None)
    atoms, _ = trace(volume(points, heights, 72, noise), settings)
    found = match(atoms, Atoms(f"X{len(points)}", positions=points), radius=0.45 * distance)
    assert found.n_missed == 0
    assert found.n_false == 0
    assert 100 * found.rmsd < picometers


@pytest.mark.parametrize(("distance", "ratio", "noise"), [(1.5, 0.5, 0.0), (1.5, 0.5, 0.05)])
def test_one_maximum_of_two_atoms_is_split(distance, ratio, noise):
    """Truth: the places of two atoms that make one maximum."""
    points, heights = pairs_among_others(distance, ratio, seed=1)
    settings = TraceSettings(min_distance=0.8 * distance, threshold=0.12 if noise else None)
    atoms, result = trace(volume(points, heights, 72, noise), settings)
    assert result.n_split >= 6
    assert match(atoms, Atoms(f"X{len(points)}", positions=points), radius=0.6).n_matched == len(points)


@pytest.mark.parametrize("noise", [0.0, 0.05, 0.15])
def test_lone_atoms_that_are_all_long_in_one_direction_stay_one(noise):
    """Truth: a missing wedge makes all atoms long along z; none of them is two."""
    points = np.array(list(product((-7.5, 0.0, 7.5), repeat=3))) + 0.1
    found = volume(points, np.ones(len(points)), 72, noise, widths=(0.5, 0.5, 0.75))
    atoms, result = trace(found, TraceSettings(min_distance=1.2, threshold=0.2))
    assert result.n_split == 0
    assert len(atoms) == len(points)


def test_what_is_left_of_each_is_as_if_the_others_were_not_there():
    """Truth: each of two atoms alone in a volume, noise-free."""
    points, heights = np.array([[0.1, 0.0, -0.8], [0.0, -0.1, 0.9]]), np.array([1.0, 0.6])
    starts = points / VOXEL + 20
    both = separated(volume(points, heights, 40).values, starts + 0.3, 0.9)
    for k in range(2):
        alone = separated(volume(points[k : k + 1], heights[k : k + 1], 40).values, starts[k : k + 1], 0.9)
        assert_allclose(both.centers[k], alone.centers[0], atol=0.03)
        assert_allclose(both.heights[k], alone.heights[0], rtol=0.02)


def test_derivatives_are_those_of_the_convolved_volume():
    """Truth: a Gaussian convolved with a Gaussian, and its derivatives."""
    width, weight = 1.5, 0.8
    axis = np.arange(31.0)
    points = np.array([[15.0, 15.0, 15.0], [16.2, 14.3, 15.4]])
    x, y, z = (np.exp(-0.5 * ((axis - c) / width) ** 2) for c in (15.3, 14.8, 15.1))
    found = kernels.convolved_derivatives((x[:, None, None] * y[:, None] * z).astype(np.float32), points, weight)
    total = width**2 + weight**2
    expected = overlaps.tails(
        points,
        np.array([0, 1, 2]),
        np.array([0, 0]),
        np.array([[15.3, 14.8, 15.1]]),
        np.array([(width**2 / total) ** 1.5]),
        np.eye(3) / total,
    )
    assert_allclose(found, expected, atol=0.02)


def test_tails_have_the_derivatives_of_their_values():
    """Truth: finite differences."""
    random = np.random.default_rng(0)
    centers, heights, step = random.uniform(-1, 1, (5, 3)), random.uniform(0.5, 1.5, 5), 1e-4
    root = random.uniform(-0.4, 0.4, (3, 3)) + np.eye(3)
    inverse = root @ root.T
    point = np.array([0.2, -0.1, 0.3])
    moves = np.concatenate([np.zeros((1, 3)), step * np.eye(3), -step * np.eye(3)])
    lists = np.arange(0, 36, 5), np.tile(np.arange(5), 7)
    rows = overlaps.tails(point + moves, *lists, centers, heights, inverse)
    value = sum(h * np.exp(-0.5 * (point - c) @ inverse @ (point - c)) for h, c in zip(heights, centers, strict=True))
    assert_allclose(rows[0, 0], value, rtol=1e-12)
    slopes = (rows[1:4] - rows[4:]) / (2 * step)
    assert_allclose(slopes[:, 0], rows[0, 1:4], rtol=1e-6)
    second = rows[0, [4, 7, 8, 7, 5, 9, 8, 9, 6]].reshape(3, 3)
    assert_allclose(slopes[:, 1:4], second, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("itself", [False, True])
def test_neighbors_are_those_within_reach(itself):
    """Truth: all pairs."""
    points = np.random.default_rng(0).uniform(0, 10, (60, 3))
    first, others = neighbors_of(points, points, 2.5, itself=itself)
    near = np.linalg.norm(points[:, None] - points, axis=2) <= 2.5
    np.fill_diagonal(near, itself)
    for k in range(60):
        np.testing.assert_array_equal(others[first[k] : first[k + 1]], np.flatnonzero(near[k]))


def test_a_peak_that_begins_outside_the_volume_begins_at_its_face():
    """Truth: the fit that starts there; the lower of two peaks in place of one may lie outside."""
    values = volume(np.array([[-2.6, 0.0, 0.0]]), [1.0], 16).values
    outside, face = (separated(values, np.array([[first, 8.0, 8.0]]), 1.3) for first in (-20.0, 0.0))
    assert_allclose(outside.centers, face.centers)
    assert_allclose(outside.heights, face.heights)
