"""R factor, shell correlation, match. Truth: sums written out, known noise, and published position errors."""

import numpy as np
import pytest
from ase import Atoms
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.io import loadmat

from aet2dft.errors import InputError
from aet2dft.recon.metrics import ShellCorrelation, fourier_shell_correlation, image_fit, match

SEEDS = st.integers(0, 2**32 - 1)


def grid(n, spacing=3.0):
    """n³ atoms, Fe and Pt in turns."""
    points = spacing * np.stack(np.meshgrid(*[np.arange(n)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    return Atoms(["Fe", "Pt"] * (n**3 // 2) + ["Fe"] * (n**3 % 2), positions=points)


@given(SEEDS, st.floats(0.01, 100))
def test_the_r_factor_is_that_of_the_formula_whatever_the_unit(seed, unit):
    random = np.random.default_rng(seed)
    measured, computed = random.uniform(0, 1, (2, 3, 5, 4))
    fit = image_fit(measured, unit * computed)
    scale = (measured * computed).sum() / (computed**2).sum()
    assert_allclose(fit.scale, scale / unit)
    residual = np.abs(scale * computed - measured)
    assert_allclose(fit.r_factor, residual.sum() / measured.sum())
    assert_allclose(fit.per_image, residual.sum(axis=(1, 2)) / measured.sum(axis=(1, 2)))


def test_equal_images_have_no_residual_and_dark_ones_leave_all_of_it():
    images = np.random.default_rng(0).uniform(0, 1, (3, 5, 4)).astype(np.float32)
    assert image_fit(images, 3 * images).r_factor < 1e-6
    assert image_fit(images, np.zeros_like(images)).r_factor == 1.0


def test_images_that_cannot_be_compared_are_refused():
    with pytest.raises(InputError, match=r"shape \(2, 4, 4\) cannot be compared with \(3, 4, 4\)"):
        image_fit(np.ones((3, 4, 4)), np.ones((2, 4, 4)))
    with pytest.raises(InputError, match="image 1 is zero everywhere"):
        image_fit(np.stack([np.ones((4, 4)), np.zeros((4, 4))]), np.ones((2, 4, 4)))


@pytest.mark.parametrize("shape", [(12, 12, 12), (11, 14, 13)])
def test_shells_hold_every_coefficient_once(shape):
    values = np.random.default_rng(0).normal(size=shape)
    found = fourier_shell_correlation(values, 5 * values, voxel_size=0.4)
    axes = np.meshgrid(*[np.fft.fftfreq(n) * min(shape) for n in shape], indexing="ij")
    shells = np.rint(np.sqrt(sum(axis**2 for axis in axes))).astype(int)
    assert_array_equal(found.n_values, np.bincount(shells.ravel())[1 : min(shape) // 2 + 1])
    assert_allclose(found.correlation, 1.0, atol=1e-6)
    assert_allclose(found.frequency[-1], (min(shape) // 2) / (min(shape) * 0.4))
    assert found.resolution() == pytest.approx(1 / found.frequency[-1])


def test_shell_correlation_equals_the_sum_over_the_whole_space():
    random = np.random.default_rng(1)
    first, second = random.normal(size=(2, 9, 10, 8))
    found = fourier_shell_correlation(first, second, voxel_size=1.0)
    a, b = np.fft.fftn(first), np.fft.fftn(second)
    axes = np.meshgrid(*[np.fft.fftfreq(n) * 8 for n in (9, 10, 8)], indexing="ij")
    shells = np.rint(np.sqrt(sum(axis**2 for axis in axes)))
    for shell, value in enumerate(found.correlation, start=1):
        here = shells == shell
        expected = (a * b.conj())[here].sum().real / np.sqrt((abs(a[here]) ** 2).sum() * (abs(b[here]) ** 2).sum())
        assert_allclose(value, expected, atol=1e-5)


def test_unrelated_volumes_correlate_as_chance_does_and_noise_sets_the_resolution():
    random = np.random.default_rng(2)
    first, second = random.normal(size=(2, 32, 32, 32))
    apart = fourier_shell_correlation(first, second, voxel_size=0.5)
    assert (np.abs(apart.correlation) < 6 / np.sqrt(apart.n_values)).all()
    assert apart.resolution(0.5) == pytest.approx(1 / apart.frequency[0])
    frequency = np.sqrt(sum(np.meshgrid(*[np.fft.fftfreq(32) ** 2] * 3, indexing="ij")))
    signal = np.fft.ifftn(np.fft.fftn(random.normal(size=(32, 32, 32))) * np.exp(-((frequency / 0.15) ** 4))).real
    noise = 0.05 * random.normal(size=(2, 32, 32, 32))
    halves = fourier_shell_correlation(signal + noise[0], signal + noise[1], voxel_size=0.5)
    assert 0.5 / 0.35 < halves.resolution() < halves.resolution(0.5) < 0.5 / 0.15


@pytest.mark.parametrize(
    ("curve", "expected"),
    [
        ((0.9, 0.4, 0.6, 0.9, 0.8, 0.6, 0.4, 0.2, 0.1), 6.5),  # a dip of one shell
        ((0.9, 0.4, 0.4, 0.9, 0.8, 0.6, 0.4, 0.2, 0.1), 6.5),  # of two
        ((0.6, 0.4, 0.4, 0.4, 0.8, 0.8, 0.8, 0.8, 0.8), 1.5),  # three shells are no dip
        ((0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.1), 8.5),  # the end stays below
        ((0.9, 0.4, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9), 9.0),  # it never does
    ],
)
def test_the_resolution_is_where_the_correlation_falls_to_stay(curve, expected):
    shells = np.arange(1, 10)
    found = ShellCorrelation(frequency=shells / 10, correlation=np.array(curve), n_values=shells**2)
    assert 10 / found.resolution(0.5) == pytest.approx(expected)
    assert found.falls_below(0.5) == (expected < 9)


def test_volumes_of_one_voxel_along_an_axis_have_no_shells_and_no_resolution():
    found = fourier_shell_correlation(np.ones((8, 8, 1)), np.ones((8, 8, 1)), voxel_size=1.0)
    assert not found.frequency.size
    assert np.isnan(found.resolution())


def test_volumes_of_different_shapes_are_refused():
    with pytest.raises(InputError, match="cannot be compared"):
        fourier_shell_correlation(np.ones((4, 4, 4)), np.ones((4, 4, 5)), voxel_size=1.0)


@given(SEEDS, st.floats(0, 0.45))
def test_a_model_matches_itself_whatever_its_order_and_common_shift(seed, length):
    random = np.random.default_rng(seed)
    reference = grid(3)
    direction = random.normal(size=3)
    order = random.permutation(len(reference))
    model = reference[order]
    model.positions += length * direction / np.linalg.norm(direction)
    found = match(model, reference)
    assert (found.n_matched, found.n_missed, found.n_false, found.fraction_identified) == (27, 0, 0, 1.0)
    assert found.rmsd < 1e-12
    assert_allclose(np.linalg.norm(found.shift), length, atol=1e-12)
    assert_array_equal(order[found.pairs[:, 0]], found.pairs[:, 1])


def test_known_errors_give_the_rmsd_of_their_size_and_species():
    random = np.random.default_rng(0)
    reference = grid(12)
    model = reference.copy()
    is_iron = reference.symbols == "Fe"
    model.positions += np.where(is_iron, 0.15, 0.05)[:, None] * random.normal(size=(len(model), 3))
    found = match(model, reference)
    assert found.n_matched == 12**3
    assert_allclose([found.rmsd_of["Fe"], found.rmsd_of["Pt"]], np.sqrt(3) * np.array([0.15, 0.05]), rtol=0.05)
    assert_allclose(found.rmsd**2, 0.5 * (found.rmsd_of["Fe"] ** 2 + found.rmsd_of["Pt"] ** 2), rtol=1e-9)


def test_missed_false_and_misnamed_atoms_are_counted():
    reference = grid(3)
    model = reference[4:] + Atoms("Pt2", positions=[[1.5, 1.5, 1.5], [40, 0, 0]])
    model.symbols[0] = "Pt" if model.symbols[0] == "Fe" else "Fe"
    found = match(model, reference)
    assert (found.n_matched, found.n_missed, found.n_false) == (23, 4, 2)
    assert found.fraction_identified == pytest.approx(22 / 27)


def test_atoms_without_species_are_identified_by_their_place():
    model = grid(3)
    model.numbers[:] = 0
    assert match(model, grid(3)).fraction_identified == 1.0


def test_of_two_candidates_at_one_atom_the_nearer_one_counts():
    reference = Atoms("Pt2", positions=[[0, 0, 0], [4, 0, 0]])
    model = Atoms("Pt3", positions=[[0.5, 0, 0], [0.1, 0, 0], [4, 0, 0]])
    found = match(model, reference)
    assert_array_equal(found.pairs, [[1, 0], [2, 1]])
    assert found.n_false == 1


def test_models_without_a_common_atom_have_no_rmsd():
    found = match(Atoms("Pt", positions=[[0, 0, 0]]), Atoms("Pt", positions=[[9, 0, 0]]))
    assert found.n_matched == 0
    assert np.isnan(found.rmsd)


@pytest.mark.parametrize("model", [Atoms(), Atoms("Pt", positions=[[np.nan, 0, 0]])])
def test_models_that_cannot_be_matched_are_refused(model):
    with pytest.raises(InputError, match="the model has no atoms"):
        match(model, grid(2))


@pytest.mark.needs_data
@pytest.mark.parametrize(
    ("dose", "n_found", "picometers"), [("8p0e3", 199, 28.91), ("1p6e4", 208, 17.31), ("1p6e5", 208, 4.24)]
)
def test_the_published_silicon_models_match_the_truth_as_published(data_dir, dose, n_found, picometers):
    """Y. Liao et al., Nature (2026); their variances divide by n - 1."""
    folder = data_dir / "paet_np1_asi208"
    truth = Atoms("Si208", positions=np.loadtxt(folder / "aSi_208atoms_GT.txt", comments="%")[:, [2, 1, 3]])
    pixels = loadmat(folder / f"Model_Dose{dose}_BM3D.mat")["temp_model"].T
    model = Atoms(f"Si{len(pixels)}", positions=(pixels / 3 - 2) * 0.195)
    model.positions += truth.positions.mean(axis=0) - model.positions.mean(axis=0)
    found = match(model, truth, radius=0.9)
    assert (found.n_matched, found.n_false) == (n_found, 0)
    assert 100 * found.rmsd * np.sqrt(n_found / (n_found - 1)) == pytest.approx(picometers, abs=0.01)
