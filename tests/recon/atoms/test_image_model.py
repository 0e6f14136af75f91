"""Images of Gaussian atoms: the derivative, its adjoint, the blocks of the normal matrix. Truth: the definitions."""

from dataclasses import replace

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aet2dft.recon.atoms.image_model import (
    NARROWEST,
    GaussianAtoms,
    ImageGeometry,
    adjoint,
    derivative,
    growth,
    images,
    normal_blocks,
)
from aet2dft.recon.geometry import tilt_rotations


def geometry(n_images=4, shape=(40, 36), seed=0):
    """Images at random tilts, the rotation center not at a pixel."""
    rng = np.random.default_rng(seed)
    axes = np.swapaxes(tilt_rotations(rng.uniform(-70, 70, n_images)), 1, 2)[:, :2]
    centers = np.array(shape) / 2 + rng.uniform(-1, 1, (n_images, 2))
    return ImageGeometry(axes=np.ascontiguousarray(axes), centers=centers, shape=shape)


def cloud(n=12, seed=0):
    """Atoms of two widths, near enough to overlap."""
    rng = np.random.default_rng(seed)
    return GaussianAtoms(
        positions=rng.uniform(-9, 9, (n, 3)),
        heights=rng.uniform(1.0, 3.0, n),
        kinds=rng.integers(0, 2, n),
        widths=np.array([1.2, 1.5]),
    )


def exact(where, atoms):
    """Images by the formula, pixel by pixel, without a cut."""
    rows, columns = np.indices(where.shape)
    found = np.zeros((len(where.axes), *where.shape))
    for k, (axes, center) in enumerate(zip(where.axes, where.centers, strict=True)):
        for x, height, sigma in zip(atoms.positions, atoms.heights, atoms.sigma, strict=True):
            u, v = axes @ x + center
            square = (rows - u) ** 2 + (columns - v) ** 2
            found[k] += height / (2 * np.pi * sigma**2) * np.exp(-0.5 * square / sigma**2)
    return found


def stepped(atoms, step):
    return replace(atoms, positions=atoms.positions + step[:, :3], heights=atoms.heights + step[:, 3])


def test_images_are_sums_of_gaussians_up_to_the_cut():
    """Truth: the formula; the cut at 3.7 standard deviations leaves out 1e-3 of a maximum."""
    atoms, where = cloud(), geometry()
    wanted = exact(where, atoms)
    assert np.abs(images(where, atoms) - wanted).max() < 2e-3 * wanted.max()


def test_the_sum_of_an_image_is_the_height_of_its_atom():
    one = replace(cloud(1), positions=np.array([[0.3, -0.2, 0.1]]))
    np.testing.assert_allclose(images(geometry(), one).sum(axis=(1, 2)), one.heights[0], rtol=3e-3)


@pytest.mark.parametrize("seed", range(3))
def test_the_derivative_is_that_of_finite_differences(seed):
    """Truth: central differences of the formula, to 1e-5 of the step; both have the pixels of the inner windows only.

    Pixels beyond 3 standard deviations of every atom are left out: there the cut of the window steps.
    """
    atoms, where = cloud(seed=seed), geometry(seed=seed)
    step = np.random.default_rng(seed).normal(size=(len(atoms.heights), 4))
    small = 1e-3
    difference = (exact(where, stepped(atoms, small * step)) - exact(where, stepped(atoms, -small * step))) / (
        2 * small
    )
    found = derivative(where, atoms, step)
    # what the cut leaves out is the largest difference of the two; it is known, and taken from the images of the cut
    cut = exact_derivative(where, atoms, step) - exact_derivative(where, atoms, step, reach=3.7)
    np.testing.assert_allclose(found + cut, difference, atol=1e-5 * np.abs(difference).max())


@pytest.mark.parametrize("width", [NARROWEST, 1.4])
def test_the_growth_with_the_width_is_that_of_the_formula_at_the_narrowest_width_too(width):
    """Truth: height (r**2 / sigma**2 - 2) times the Gaussian, pixel by pixel, for an atom alone."""
    one, where = replace(cloud(1), widths=np.full(2, width)), geometry()
    square = np.empty((4, *where.shape))
    for k, (axes, center) in enumerate(zip(where.axes, where.centers, strict=True)):
        row, column = axes @ one.positions[0] + center
        square[k] = ((np.indices(where.shape) - np.array([row, column])[:, None, None]) ** 2).sum(axis=0) / width**2
    wider, brighter = growth(where, one)
    wanted = (square - 2.0) * exact(where, one)
    assert np.abs(wider - wanted).max() < 0.01 * np.abs(wanted).max()
    np.testing.assert_allclose(brighter, exact(where, one), atol=4e-3 * brighter.max())


def exact_derivative(where, atoms, step, reach=np.inf):
    """The analytic derivative by the formula, in the square of pixels within reach."""
    rows, columns = np.indices(where.shape)
    found = np.zeros((len(where.axes), *where.shape))
    for k, (axes, center) in enumerate(zip(where.axes, where.centers, strict=True)):
        for x, height, sigma, change in zip(atoms.positions, atoms.heights, atoms.sigma, step, strict=True):
            u, v = axes @ x + center
            half = np.ceil(reach * sigma)
            near = (np.abs(rows - np.floor(u + 0.5)) <= half) & (np.abs(columns - np.floor(v + 0.5)) <= half)
            du, dv = rows - u, columns - v
            shape = near * np.exp(-0.5 * (du**2 + dv**2) / sigma**2) / (2 * np.pi * sigma**2)
            along = axes @ change[:3]
            found[k] += shape * (change[3] + height / sigma**2 * (along[0] * du + along[1] * dv))
    return found


@given(seed=st.integers(0, 1000))
def test_the_adjoint_is_the_transpose_of_the_derivative(seed):
    """Truth: <J s, r> = <s, J^T r>."""
    atoms, where = cloud(seed=seed), geometry(seed=seed)
    rng = np.random.default_rng(seed)
    step, values = rng.normal(size=(12, 4)), rng.normal(size=(4, 40, 36)).astype(np.float32)
    seen = derivative(where, atoms, step).astype(np.float64)
    scale = np.linalg.norm(seen) * np.linalg.norm(values)
    assert abs((seen * values).sum() - (step * adjoint(where, atoms, values)).sum()) < 1e-6 * scale


def test_the_blocks_are_those_of_the_normal_matrix():
    """Truth: products of the derivatives along the unit steps of one atom, weighted."""
    atoms, where = cloud(), geometry()
    weights = np.random.default_rng(1).uniform(0.5, 2, (4, 40, 36)).astype(np.float32)
    blocks = normal_blocks(where, atoms, weights)
    for j in (0, 7):
        slopes = []
        for number in range(4):
            step = np.zeros((12, 4))
            step[j, number] = 1.0
            slopes.append(derivative(where, atoms, step).astype(np.float64))
        wanted = np.array([[(weights * a * b).sum() for b in slopes] for a in slopes])
        np.testing.assert_allclose(blocks[j], wanted, rtol=1e-4, atol=1e-6 * wanted.max())


def test_atoms_outside_the_images_leave_no_trace():
    far = replace(cloud(), positions=cloud().positions + np.array([0, 500, 0]))
    assert not images(geometry(), far).any()
    assert not adjoint(geometry(), far, np.ones((4, 40, 36), dtype=np.float32)).any()
    assert not images(geometry(), replace(far, positions=np.full((12, 3), np.nan))).any()


def test_threads_do_not_change_a_byte():
    """Truth: one thread."""
    atoms, where = cloud(700), geometry()
    values = np.random.default_rng(2).normal(size=(4, 40, 36)).astype(np.float32)
    before, results = numba.get_num_threads(), []
    try:
        for threads in sorted({1, 2, numba.config.NUMBA_NUM_THREADS}):
            numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))
            results.append((images(where, atoms).tobytes(), adjoint(where, atoms, values).tobytes()))
    finally:
        numba.set_num_threads(before)
    assert len(set(results)) == 1
