"""Local-linear strain. Truth: affine fields, weighted least squares point by point, noise of known size."""

import numpy as np
import pytest
from hypothesis import given, settings
from numpy.testing import assert_allclose
from reference import local_linear, neighbors_by_site
from scipy.spatial import cKDTree
from strategies import seeds, sphere

from aet2dft.structure import _kernels
from aet2dft.structure.strain import TRUNCATE, VOIGT, _cells, local_strain
from aet2dft.synthetic import ordered_crystal

SIGMA = 3.89


@pytest.fixture(scope="module")
def crystal():
    """Positions of a perfect sphere of 900 atoms, Å."""
    return sphere(ordered_crystal(1, 8), 900).positions


def strained(ideal, gradient, shift=(0.0, 0.0, 0.0)):
    displacement = ideal @ np.asarray(gradient).T + shift
    return local_strain(ideal + displacement, displacement, sigma=SIGMA)


@given(seed=seeds)
def test_affine_fields_are_found_exactly_at_every_atom(seed, crystal):
    rng = np.random.default_rng(seed)
    gradient = rng.uniform(-0.03, 0.03, size=(3, 3))
    field = strained(crystal, gradient, rng.uniform(-1, 1, size=3))
    symmetric, turn = (gradient + gradient.T) / 2, (gradient - gradient.T) / 2
    assert_allclose(field.strain, np.tile([symmetric[i, j] for i, j in VOIGT], (len(crystal), 1)), atol=1e-9)
    expected = np.degrees([turn[2, 1], turn[0, 2], turn[1, 0]])
    assert_allclose(field.rotation, np.tile(expected, (len(crystal), 1)), atol=1e-7)
    assert_allclose(field.smooth, crystal @ gradient.T + (field.smooth - crystal @ gradient.T)[0], atol=1e-9)


def test_components_are_in_voigt_order_and_shear_is_the_tensor_component(crystal):
    gradient = np.zeros((3, 3))
    gradient[1, 2] = 0.02
    assert_allclose(strained(crystal, gradient).strain[0], [0, 0, 0, 0.01, 0, 0], atol=1e-10)


def test_a_rigid_turn_is_no_strain_to_first_order(crystal):
    angle = 1e-4
    gradient = np.array([[0, -angle, 0], [angle, 0, 0], [0, 0, 0]])
    field = strained(crystal, gradient)
    assert_allclose(field.strain, 0.0, atol=1e-9)
    assert_allclose(field.rotation[:, 2], np.degrees(angle), atol=1e-9)


@given(seed=seeds)
@settings(max_examples=5)
def test_fits_are_those_of_weighted_least_squares(seed, crystal):
    rng = np.random.default_rng(seed)
    ideal, displacement = crystal[:400], rng.normal(size=(400, 3))
    field = local_strain(ideal + displacement, displacement, sigma=SIGMA)
    for i in rng.integers(0, 400, size=6):
        _, gradient = local_linear(ideal, displacement, SIGMA, TRUNCATE, i)
        expected = [(gradient[a, b] + gradient[b, a]) / 2 for a, b in VOIGT]
        assert_allclose(field.strain[i], expected, atol=1e-8)
        predicted, _ = local_linear(ideal, displacement, SIGMA, TRUNCATE, i, leave_out=True)
        assert_allclose(field.smooth[i], predicted, atol=1e-8)


def test_the_kernel_is_the_same_compiled_or_not():
    points = sphere(ordered_crystal(1, 4), 60).positions
    values = np.random.default_rng(0).normal(size=points.shape)
    order, start, shape = _cells(points, 0.5 * TRUNCATE * SIGMA)
    compiled = _kernels.local_linear(points[order], values[order], start, shape, SIGMA, TRUNCATE)
    plain = _kernels.local_linear.py_func(points[order], values[order], start, shape, SIGMA, TRUNCATE)
    for fast, slow in zip(compiled, plain, strict=True):
        assert_allclose(fast, slow, atol=1e-10)


@given(seed=seeds)
def test_small_matrices_are_inverted(seed):
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(4, 4))
    inverse = np.empty((4, 4))
    assert _kernels._invert4(root @ root.T + 0.01 * np.eye(4), inverse)
    assert_allclose(inverse, np.linalg.inv(root @ root.T + 0.01 * np.eye(4)), rtol=1e-7, atol=1e-9)
    assert not _kernels._invert4(np.outer(root[0], root[0]), inverse)
    assert not _kernels._invert4.py_func(np.outer(root[0], root[0]), inverse)


def test_noise_of_22_pm_gives_the_published_floor():
    """Core and surface as in Kim et al., Science 368, 60 (2020): by the distance from an atom with a broken bond."""
    crystal = sphere(ordered_crystal(1, 26), 23_196)
    noise = np.random.default_rng(0).normal(scale=0.22 / np.sqrt(3), size=crystal.positions.shape)
    field = local_strain(crystal.positions + noise, noise, sigma=SIGMA)
    neighbors = neighbors_by_site(crystal.arrays["true_site"])
    broken = np.array([len(around) < 12 for around in neighbors])
    depth = cKDTree(crystal.positions[broken]).query(crystal.positions)[0]
    assert np.sqrt((field.strain[depth > 8.0, :3] ** 2).mean(axis=0)).max() <= 0.0020
    assert np.sqrt((field.strain[depth < 3.0, :3] ** 2).mean(axis=0)).max() <= 0.0035
    assert field.noise == pytest.approx(0.22 / np.sqrt(3), rel=0.02)
    # neighbors share their windows, so few of the 23,196 errors are independent
    assert_allclose(np.sqrt(np.mean((field.strain / field.sigma) ** 2, axis=0)), 1.0, atol=0.15)


def test_given_position_errors_replace_the_estimated_noise(crystal):
    noise = np.random.default_rng(0).normal(scale=0.1, size=crystal.shape)
    estimated = local_strain(crystal + noise, noise, sigma=SIGMA)
    given_errors = local_strain(crystal + noise, noise, sigma=SIGMA, position_sigma=np.full_like(crystal, 0.2))
    assert given_errors.noise == pytest.approx(0.2)
    assert_allclose(given_errors.sigma / estimated.sigma, 0.2 / estimated.noise)
    assert_allclose(given_errors.strain, estimated.strain)


@pytest.mark.parametrize("unknown", [0.0, np.nan])
def test_an_atom_without_an_error_has_that_of_the_others(crystal, unknown):
    noise = np.random.default_rng(0).normal(scale=0.1, size=crystal.shape)
    errors = np.full_like(crystal, 0.2)
    complete = local_strain(crystal + noise, noise, sigma=SIGMA, position_sigma=errors)
    errors[7] = unknown
    partial = local_strain(crystal + noise, noise, sigma=SIGMA, position_sigma=errors)
    assert partial.noise == pytest.approx(0.2)
    assert_allclose(partial.sigma, complete.sigma)
    none = local_strain(crystal + noise, noise, sigma=SIGMA, position_sigma=np.full_like(crystal, unknown))
    assert_allclose(none.sigma, local_strain(crystal + noise, noise, sigma=SIGMA).sigma)


def test_atoms_that_span_no_volume_have_no_strain(crystal):
    plane = np.array([[x, y, 300.0] for x in range(0, 9, 3) for y in range(0, 9, 3)], dtype=float)
    lonely = np.array([[200.0, 0.0, 0.0]])
    ideal = np.vstack([crystal, plane, lonely])
    field = local_strain(ideal, np.zeros_like(ideal), sigma=SIGMA)
    assert np.isnan(field.strain[-10:]).all()
    assert np.isnan(field.sigma[-10:]).all()
    assert_allclose(field.strain[:-10], 0.0, atol=1e-12)


@given(seed=seeds)
def test_the_numbering_does_not_matter(seed, crystal):
    rng = np.random.default_rng(seed)
    noise, new = rng.normal(scale=0.1, size=crystal.shape), rng.permutation(len(crystal))
    here = local_strain(crystal + noise, noise, sigma=SIGMA)
    there = local_strain((crystal + noise)[new], noise[new], sigma=SIGMA)
    assert_allclose(there.strain, here.strain[new], atol=1e-12)
