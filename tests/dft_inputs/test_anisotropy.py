"""Truth: random tensors with known eigenvectors, loops over windows, real energies of pw.x 6.7 (L1₀ FePt)."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.spatial.transform import Rotation

from aet2dft.dft_inputs.anisotropy import (
    RESOLUTION,
    anisotropy_map,
    anisotropy_tensor,
    mae,
    on_grid,
    sigma_mae,
    to_energy_density,
)
from aet2dft.errors import InputError

CUBIC = [(1, 0, 0), (0, 1, 0), (0, 0, 1)]
SIX = [*CUBIC, (1, 1, 0), (1, 0, 1), (0, 1, 1)]
NINE = [*SIX, (1, -1, 0), (1, 0, -1), (0, 1, -1)]
HARTREE = 27.211386245988
FORCE_THEOREM = {  # Hartree per two-atom cell, eband and demet of nscf runs at 4x4x3
    (1, 0, 0): (8.180491944872015, 1.830678444251996e-4),
    (0, 1, 0): (8.180491944877339, 1.830678443565701e-4),
    (0, 0, 1): (8.180612547682337, 9.359773959620840e-5),
    (1, 1, 0): (8.180483356227104, 1.961536218708025e-4),
    (1, 0, 1): (8.180547120075273, 1.443779072060311e-4),
    (0, 1, 1): (8.180547120077565, 1.443779071800868e-4),
    (1, 1, 1): (8.180523516869759, 1.645804533075470e-4),
}

finite = st.floats(-3, 3)
voigt = st.lists(finite, min_size=5, max_size=5)
rotations = st.lists(finite, min_size=3, max_size=3).map(Rotation.from_rotvec)


def traceless(components):
    xx, yy, yz, xz, xy = components
    return np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, -xx - yy]])


def energies_of(K, directions, e0=0.0, fourth=0.0):
    n = np.asarray(directions, dtype=float)
    n /= np.linalg.norm(n, axis=1)[:, None]
    return e0 + np.einsum("ni,ij,nj->n", n, K, n) + fourth * (n**4).sum(axis=1)


def force_theorem_energies(directions):
    """meV per atom."""
    return np.array([1e3 * HARTREE * sum(FORCE_THEOREM[d]) / 2 for d in directions])


def test_mae_of_the_real_force_theorem_runs_is_the_published_difference():
    x, z = (HARTREE * sum(FORCE_THEOREM[axis]) for axis in ((1, 0, 0), (0, 0, 1)))
    assert mae(x, z, 2) * 2 == pytest.approx(-0.8471640740446988, abs=1e-9)


def test_mae_is_positive_where_the_second_axis_is_easier_and_counts_atoms_present():
    assert mae(-10.0, -10.031, 31) == pytest.approx(1.0)
    assert_allclose(mae([-10.0, -5.0], [-10.032, -5.0], [32, 31]), [1.0, 0.0], atol=1e-12)
    with pytest.raises(InputError, match="no atoms"):
        mae(-1.0, -1.0, 0)


def test_energy_density_of_fept_is_11_652_mj_per_m3_for_one_mev_per_atom():
    assert to_energy_density(1.0, 13.75) == pytest.approx(11.652, abs=5e-4)
    # published: 0.945 and 1.40 meV/atom
    assert_allclose(to_energy_density([0.945, 1.40], 13.75), [11.0, 16.3], atol=0.05)
    with pytest.raises(InputError, match="impossible"):
        to_energy_density(1.0, 0.0)


def test_sigma_is_the_rms_change_to_the_denser_protocol_and_ignores_missing_pairs():
    assert sigma_mae([1.0, 2.0, np.nan], [1.3, 1.6, 5.0]) == pytest.approx(np.sqrt((0.3**2 + 0.4**2) / 2))
    assert sigma_mae(1.0, 0.9) == pytest.approx(0.1)
    assert np.isnan(sigma_mae([1.0], [np.nan]))


@given(components=voigt, e0=finite, axes=st.sampled_from([SIX, NINE]), scale=st.sampled_from([-4.0, 0.1, 3.0]))
def test_six_and_nine_axes_give_the_tensor_back(components, e0, axes, scale):
    K = traceless(components)
    result = anisotropy_tensor(scale * np.array(axes), energies_of(K, axes, e0))
    assert_allclose(result.tensor, K, atol=1e-12)
    assert result.e0 == pytest.approx(e0, abs=1e-12)
    assert result.n_axes == len(axes)
    assert np.isnan(result.residual) == (len(axes) == 6)
    assert np.isnan(result.fourth_order)


@given(components=voigt, e0=finite, rotation=rotations)
def test_any_six_independent_axes_give_the_tensor_back(components, e0, rotation):
    K = traceless(components)
    axes = rotation.apply(np.array(SIX, dtype=float))
    result = anisotropy_tensor(axes, energies_of(K, axes, e0))
    assert_allclose(result.tensor, K, atol=1e-9)


@given(components=voigt, signs=st.lists(st.sampled_from([-1, 1]), min_size=9, max_size=9), seed=st.randoms())
def test_neither_the_sign_nor_the_order_of_the_axes_matters(components, signs, seed):
    K = traceless(components)
    flipped = (np.array(NINE) * np.array(signs)[:, None]).tolist()
    seed.shuffle(flipped)
    here, there = (anisotropy_tensor(axes, energies_of(K, axes)) for axes in (NINE, flipped))
    assert_allclose(there.tensor, here.tensor, atol=1e-12)
    assert_allclose(there.eigenvalues, here.eigenvalues, atol=1e-12)


def test_six_axes_follow_the_textbook_formulas():
    energy = dict(zip(SIX, [0.3, -0.1, 0.7, 1.1, -0.4, 0.2], strict=True))
    result = anisotropy_tensor(SIX, list(energy.values()))
    mean = (0.3 - 0.1 + 0.7) / 3
    assert result.e0 == pytest.approx(mean)
    assert_allclose(np.diag(result.tensor), [0.3 - mean, -0.1 - mean, 0.7 - mean], atol=1e-12)
    assert result.tensor[0, 1] == pytest.approx(1.1 - (0.3 - 0.1) / 2)
    assert result.tensor[0, 2] == pytest.approx(-0.4 - (0.3 + 0.7) / 2)
    assert result.tensor[1, 2] == pytest.approx(0.2 - (-0.1 + 0.7) / 2)


def test_nine_axes_keep_the_fourth_order_out_of_the_off_diagonals_and_six_do_not():
    K = traceless([0.4, -0.1, 0.05, -0.2, 0.3])
    six, nine = (anisotropy_tensor(axes, energies_of(K, axes, fourth=0.2)) for axes in (SIX, NINE))
    off = ~np.eye(3, dtype=bool)
    assert_allclose(nine.tensor[off], K[off], atol=1e-12)
    assert np.abs(six.tensor - K)[off].min() > 0.05
    assert nine.residual > 0.01


def test_a_body_diagonal_checks_the_fourth_order_and_does_not_enter_the_fit():
    K = traceless([0.4, -0.1, 0.05, -0.2, 0.3])
    axes = [*SIX, (1, 1, 1)]
    energies = energies_of(K, axes)
    assert anisotropy_tensor(axes, energies).fourth_order == pytest.approx(0.0, abs=1e-12)
    energies[-1] += 0.07
    result = anisotropy_tensor(axes, energies)
    assert result.fourth_order == pytest.approx(0.07)
    assert result.n_axes == 6
    assert_allclose(result.tensor, K, atol=1e-12)


def test_real_energies_of_seven_axes_show_the_known_leak_of_the_fourth_order():
    axes = list(FORCE_THEOREM)
    result = anisotropy_tensor(axes, force_theorem_energies(axes))
    per_cell = 2 * result.tensor
    assert_allclose([per_cell[0, 1], per_cell[0, 2], per_cell[1, 2]], [0.122, 0.025, 0.025], atol=5e-4)
    assert 2 * result.fourth_order == pytest.approx(0.041, abs=1e-3)
    assert per_cell[0, 0] - per_cell[2, 2] == pytest.approx(-0.8471640740446988, abs=1e-8)


def test_real_energies_of_the_cubic_axes_give_an_easy_plane_as_the_coarse_mesh_has_it():
    result = anisotropy_tensor(CUBIC, force_theorem_energies(CUBIC))
    assert result.k_uniaxial == pytest.approx(-0.8471640740446988 / 2, abs=1e-7)
    assert_allclose(result.axis, [0, 0, 1], atol=1e-12)
    assert np.isnan(result.easy_axis).all(), "x and y are equal: no easy axis in the plane"
    assert result.biaxiality == pytest.approx(1.0, abs=1e-6)


def test_three_cubic_axes_give_the_diagonal_only():
    K = np.diag([0.3, 0.1, -0.4])
    result = anisotropy_tensor(CUBIC, energies_of(K, CUBIC, e0=2.0))
    assert result.n_axes == 3
    assert_allclose(np.diag(result.tensor), np.diag(K))
    assert np.isnan(result.tensor[~np.eye(3, dtype=bool)]).all()
    assert_allclose(result.easy_axis, [0, 0, 1])


@pytest.mark.parametrize("other", [(1, 0, 0), (1, 1, 0), (1, 0, 1)])
@given(k=st.floats(1e-3, 2))
def test_two_axes_give_the_constant_of_a_uniaxial_crystal(other, k):
    axes = [other, (0, 0, -1)]
    energies = energies_of(-k * np.diag([0.0, 0.0, 1.0]), axes, e0=1.0)
    result = anisotropy_tensor(axes, energies)
    assert result.k_uniaxial == pytest.approx(k)
    assert_allclose(result.axis, [0, 0, 1])
    assert_allclose(result.easy_axis, [0, 0, 1])
    assert result.n_axes == 2
    assert np.isnan(result.tensor).all()
    assert np.isnan(result.e0)


@given(k=st.floats(-2, 2).filter(lambda k: abs(k) > 1e-3), rotation=rotations)
def test_a_uniaxial_tensor_gives_its_constant_and_axis_in_any_frame(k, rotation):
    u = rotation.apply([0.0, 0.0, 1.0])
    K = k * (np.eye(3) / 3 - np.outer(u, u))
    result = anisotropy_tensor(SIX, energies_of(K, SIX))
    assert result.k_uniaxial == pytest.approx(k)
    assert abs(result.axis @ u) == pytest.approx(1.0)
    assert result.axis[np.abs(result.axis) > 1e-6][0] > 0
    assert result.biaxiality == pytest.approx(0.0 if k > 0 else 1.0, abs=1e-9)
    assert np.isnan(result.easy_axis).all() == (k < 0)


@given(components=voigt, rotation=rotations)
def test_principal_values_do_not_depend_on_the_frame(components, rotation):
    K, R = traceless(components), rotation.as_matrix()
    here, there = (anisotropy_tensor(SIX, energies_of(M, SIX)) for M in (K, R @ K @ R.T))
    assert_allclose(there.eigenvalues, here.eigenvalues, atol=1e-9)
    if np.isfinite(here.easy_axis).all() and np.diff(here.eigenvalues)[0] > 1e-3:
        assert abs(there.easy_axis @ R @ here.easy_axis) == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize(
    ("lower_gap", "upper_gap", "k", "axis"),
    [(4.0, 1.0, 4.5, 0), (2.2, 2.0, 3.2, 0), (2.0, 2.2, -3.2, 2), (1.0, 4.0, -4.5, 2)],
)
def test_the_uniaxial_constant_follows_the_larger_gap(lower_gap, upper_gap, k, axis):
    principal = np.cumsum([0.0, lower_gap, upper_gap])
    result = anisotropy_tensor(SIX, energies_of(np.diag(principal - principal.mean()), SIX))
    assert result.k_uniaxial == pytest.approx(k)
    assert_allclose(result.axis, np.eye(3)[axis], atol=1e-12)
    assert result.biaxiality == pytest.approx(upper_gap / (lower_gap + upper_gap))


@given(components=voigt, k=st.floats(-6, 6), rotation=rotations)
def test_no_other_uniaxial_energy_is_nearer_to_the_tensor(components, k, rotation):
    K = traceless(components)
    result = anisotropy_tensor(NINE, energies_of(K, NINE))

    def distance(k, u):
        return np.linalg.norm(K - k * (np.eye(3) / 3 - np.outer(u, u)))

    assert distance(result.k_uniaxial, result.axis) <= distance(k, rotation.apply([0.0, 0.0, 1.0])) + 1e-9


@pytest.mark.parametrize(("sigma", "defined"), [(0.0, True), (0.049, True), (0.051, False)])
def test_the_easy_axis_is_undefined_within_two_sigma(sigma, defined):
    result = anisotropy_tensor(SIX, energies_of(np.diag([-0.5, -0.4, 0.9]), SIX), sigma=sigma)
    assert np.isfinite(result.easy_axis).all() == defined
    pair = anisotropy_tensor([(1, 0, 0), (0, 0, 1)], [0.1, 0.0], sigma=sigma)
    assert np.isfinite(pair.easy_axis).all() == defined


def test_a_cubic_crystal_has_no_easy_axis():
    result = anisotropy_tensor(CUBIC, np.array([0.0, 0.5, 0.2]) * RESOLUTION)
    assert np.isnan(result.easy_axis).all()


@pytest.mark.parametrize(
    ("axes", "energies", "complaint"),
    [
        ([(1, 0, 0), (0, 0, 0)], [0, 1], r"\(0, 0, 0\)"),
        ([(1, 0, 0), (-2, 0, 0)], [0, 1], "parallel"),
        ([(1, 0, 0), (0, 0, 1)], [0, np.nan], "not a number"),
        ([(1, 0, 0), (0, 0, 1)], [0.0], "one energy per axis"),
        ([(1, 0, 0)], [0.0], "determine no anisotropy"),
        ([(1, 0, 0), (0, 1, 0), (1, 1, 0)], [0, 1, 2], "determine no anisotropy"),
    ],
)
def test_axes_that_cannot_work_are_refused(axes, energies, complaint):
    with pytest.raises(InputError, match=complaint):
        anisotropy_tensor(axes, energies)


def windows(box, size):
    return np.array(list(product(*(range(b - s + 1) for b, s in zip(box, size, strict=True)))))


def test_the_box_of_the_2017_paper_gives_a_map_of_1452_volumes():
    origins = windows((14, 14, 15), (4, 4, 4))
    assert len(origins) == 1452
    result = anisotropy_map(origins + 2, np.arange(1452.0), size=(4, 4, 4), order_difference=-np.arange(1452.0))
    assert result.mae.shape == (11, 11, 12)
    assert_array_equal(result.first_center, [2, 2, 2])
    assert_array_equal(result.mae.ravel(), np.arange(1452.0))
    assert_array_equal(result.order_difference, -result.mae)
    assert (result.counts == 1).all()
    assert result.sites.shape == (0, 3)


@given(
    box=st.tuples(*[st.integers(2, 6)] * 3),
    size=st.tuples(*[st.integers(1, 2)] * 3),
    shift=st.tuples(*[st.integers(-9, 9)] * 3),
    seed=st.integers(0, 2**32 - 1),
)
def test_site_averages_equal_the_slow_loop_over_windows(box, size, shift, seed):
    rng = np.random.default_rng(seed)
    origins = windows(box, size) + shift
    values = np.where(rng.random(len(origins)) < 0.2, np.nan, rng.normal(size=len(origins)))
    sites = rng.integers(-12, 16, size=(40, 3))
    order = rng.permutation(len(origins))
    result = anisotropy_map(origins[order] + 0.5 * np.array(size), values[order], size=size, sites=sites)
    for site, average, count in zip(sites, result.site_mae, result.site_counts, strict=True):
        holds = ((origins <= site) & (site < origins + size)).all(axis=1) & np.isfinite(values)
        assert count == holds.sum()
        if count:
            assert average == pytest.approx(values[holds].mean(), abs=1e-12)
        else:
            assert np.isnan(average)


def test_a_deep_site_is_averaged_over_64_windows():
    origins = windows((14, 14, 15), (4, 4, 4))
    result = anisotropy_map(origins + 2, np.ones(1452), size=(4, 4, 4), sites=[(7, 7, 8), (0, 0, 0), (20, 0, 0)])
    assert_array_equal(result.site_counts, [64, 1, 0])
    assert_allclose(result.site_mae, [1.0, 1.0, np.nan])


def test_a_volume_without_mae_leaves_a_hole_and_two_at_one_center_are_averaged():
    result = anisotropy_map([(2, 2, 2), (2, 2, 3), (2, 2, 2)], [1.0, np.nan, 3.0], size=(4, 4, 4))
    assert_array_equal(result.counts[0, 0], [2, 0])
    assert_array_equal(result.mae[0, 0], [2.0, np.nan])


def test_vectors_go_on_the_same_grid_as_scalars():
    centers = [(0, 0, 0), (1, 0, 2)]
    grid, counts, first = on_grid(centers, [(1.0, 2.0, 3.0), (4.0, 5.0, 6.0)])
    assert grid.shape == (2, 1, 3, 3)
    assert_array_equal(grid[1, 0, 2], [4, 5, 6])
    assert np.isnan(grid[0, 0, 1]).all()
    assert counts.sum() == 2
    assert_array_equal(first, [0, 0, 0])


def test_volumes_off_the_grid_are_refused():
    with pytest.raises(InputError, match="whole half cells"):
        on_grid([(0, 0, 0), (0.5, 0, 0)], [1.0, 2.0])
    with pytest.raises(InputError, match="one value for each"):
        on_grid([(0, 0, 0)], [1.0, 2.0])
