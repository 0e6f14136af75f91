"""Profiles of candidates against the averages of their classes. Truth: known densities, and loops written out."""

import numba
import numpy as np
import pytest
from ase import Atoms
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from aet2dft.config import ClassifySettings
from aet2dft.recon.atoms.classification import classify
from aet2dft.recon.atoms.profiles import FINEST, REACH, along_averages, drawn, self_consistent
from aet2dft.recon.tilt_series import Volume


def lattice(edge, *, ratio, noise, seed=0, elongation=1.0):
    """Volume of faint and bright Gaussians near the points of a lattice; where they are, and which are bright."""
    random = np.random.default_rng(seed)
    sites = np.stack(np.meshgrid(*[np.arange(6.0, edge - 6, 7.0)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    sites += random.uniform(-0.5, 0.5, sites.shape)
    bright = random.random(len(sites)) < 0.5
    values, near = noise * random.standard_normal((edge, edge, edge)), np.arange(-5, 6)
    for site, height in zip(sites, np.where(bright, 1.0, ratio), strict=True):
        corner = np.round(site).astype(int)
        offsets = (corner[:, None] + near - site[:, None]) / np.array([1.4, 1.4, 1.4 * elongation])[:, None]
        x, y, z = np.exp(-0.5 * offsets**2)
        values[np.ix_(*(corner[:, None] + near))] += height * x[:, None, None] * y[:, None] * z
    volume = Volume(values=values.astype(np.float32), voxel_size=0.35, origin=np.zeros(3))
    return volume, Atoms("X" * len(sites), positions=volume.positions(sites)), bright


@pytest.mark.parametrize("voxel_size", [0.1, 0.35])
def test_a_profile_holds_the_density_around_its_candidate(voxel_size):
    """Truth: a quadratic, which cubic convolution passes on without error."""
    size = 64
    axis = (np.arange(size) - size // 2) * voxel_size
    x, y, z = np.meshgrid(axis, axis, axis, indexing="ij")
    quadratic = lambda x, y, z: 2.0 + 0.3 * x - 0.2 * y * z + 0.1 * z**2 + 0.05 * x * y  # noqa: E731
    volume = Volume(values=quadratic(x, y, z).astype(np.float32), voxel_size=voxel_size, origin=np.zeros(3))
    centers = np.random.default_rng(1).uniform(-0.5, 0.5, (5, 3))
    step = max(voxel_size, FINEST)
    along = np.arange(-int(REACH / step), int(REACH / step) + 1) * step
    points = np.stack(np.meshgrid(along, along, along, indexing="ij"), axis=-1).reshape(-1, 3)
    points = points[np.linalg.norm(points, axis=1) <= REACH]
    expected = [quadratic(*(center + points).T) for center in centers]
    assert_allclose(drawn(volume, centers), expected, rtol=1e-5)


def test_no_candidate_has_a_part_in_the_averages_that_it_is_compared_with():
    random = np.random.default_rng(2)
    profiles = random.random((12, 7)).astype(np.float32)
    shares = random.dirichlet(np.ones(3), 12)
    for j, found in enumerate(along_averages(profiles, shares)):
        others = np.arange(12) != j
        faint, bright = (np.average(profiles[others], axis=0, weights=shares[others, c]) for c in (0, 2))
        expected = profiles[j] @ (bright - faint) / (bright @ (bright - faint))
        assert found == pytest.approx(expected, rel=1e-5)


def test_a_class_of_one_keeps_its_only_member():
    profiles = np.outer([9.0, 1.0, 1.1, 0.9, 1.0], np.arange(1.0, 5.0)).astype(np.float32)
    shares = np.array([[0.0, 1.0], [1.0, 1e-300], [1.0, 0.0], [1.0, 0.0], [1.0, 0.0]])
    assert_allclose(along_averages(profiles, shares), profiles[:, 0] / 9.0, rtol=1e-5)
    assert_allclose(along_averages(profiles[:1], shares[:1]), 1.0)


@settings(max_examples=10)
@given(st.integers(0, 1000), st.floats(0.01, 100.0))
def test_brightness_depends_neither_on_the_unit_nor_on_the_order(seed, unit):
    random = np.random.default_rng(seed)
    heights = np.where(random.random(40) < 0.5, 1.0, 0.4)
    profiles = (heights[:, None] * random.random(9) + 0.02 * random.random((40, 9))).astype(np.float32)
    classes = lambda brightness: np.stack([brightness < 0.7, brightness >= 0.7], axis=1).astype(float)  # noqa: E731
    found, order = self_consistent(profiles, classes), random.permutation(40)
    assert_array_equal(found > 0.7, heights > 0.7)
    assert_allclose(self_consistent(np.float32(unit) * profiles, classes), found, rtol=1e-4)
    assert_allclose(self_consistent(profiles[order], classes), found[order], rtol=1e-6)


def test_the_classes_give_back_the_averages_that_they_came_from():
    volume, atoms, _ = lattice(60, ratio=0.6, noise=0.15)
    profiles = drawn(volume, atoms.positions)
    seen = []

    def classes(brightness):
        seen.append(np.stack([brightness < 0.8, brightness >= 0.8], axis=1).astype(float))
        return seen[-1]

    found = self_consistent(profiles, classes)
    assert 1 < len(seen) < 10
    assert_allclose(along_averages(profiles, seen[-1]), found)


def test_elongated_atoms_in_noise_are_told_as_well_as_by_sums():
    """Truth: species of Gaussians that overlap in brightness, three halves as long along z."""
    wrong = {"profile": 0, "intensity": 0}
    for seed in (0, 2):
        volume, atoms, bright = lattice(70, ratio=0.75, noise=0.2, elongation=1.5, seed=seed)
        for method in wrong:
            found, _ = classify(atoms, volume, ClassifySettings(species=("Co", "Pd"), method=method))
            assert len(found) == len(bright)
            wrong[method] += int(((found.symbols == "Pd") != bright).sum())
    assert 0 < wrong["profile"] <= wrong["intensity"] < 12


def test_threads_do_not_change_a_byte():
    volume, atoms, _ = lattice(40, ratio=0.5, noise=0.1)
    before, results = numba.get_num_threads(), set()
    try:
        for threads in sorted({1, 2, numba.config.NUMBA_NUM_THREADS}):
            numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))
            results.add(drawn(volume, atoms.positions).tobytes())
    finally:
        numba.set_num_threads(before)
    assert len(results) == 1
