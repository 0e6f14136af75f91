"""Synthetic particles. Truth: what was asked for, counted."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from reference import sublattice_of
from scipy.spatial import cKDTree
from strategies import rotations, seeds, variants

from aet2dft.errors import InputError
from aet2dft.recon.atoms.simulate import model_images
from aet2dft.recon.metrics import image_fit
from aet2dft.recon.tilt_series import TiltSeries
from aet2dft.structure.variants import VARIANTS
from aet2dft.synthetic import (
    FALSE_ATOM_DISTANCE,
    Grain,
    amorphous,
    ball,
    core_shell,
    everywhere,
    fept_twin,
    half_space,
    measured,
    nine_grains,
    ordered_crystal,
    particle,
    tilt_series,
    two_grains,
    uneven_tilts,
)

A = 3.875


@given(variant=variants())
def test_an_ordered_crystal_has_its_species_on_its_sublattices(variant):
    crystal = ordered_crystal(variant, (2, 1, 3), 4.0, species=("Co", "Ni"))
    assert len(crystal) == 4 * 6
    assert_allclose(crystal.cell.lengths(), [8.0, 4.0, 12.0])
    assert crystal.pbc.all()
    assert_allclose(crystal.positions, 2.0 * crystal.arrays["true_site"])
    expected = [VARIANTS[variant][sublattice_of(site)] for site in crystal.arrays["true_site"]]
    assert_array_equal(crystal.symbols == "Co", expected)


def test_the_nine_grains_are_those_of_the_published_particle():
    atoms = particle(nine_grains())
    sizes = np.bincount(atoms.arrays["true_grain"])[1:]
    variants_, counts = np.unique([VARIANTS[g.variant].sum() for g in nine_grains()], return_counts=True)
    assert len(atoms) == 23_196
    assert dict(zip(variants_.tolist(), counts.tolist(), strict=True)) == {0: 1, 1: 5, 2: 3}
    assert np.sort(sizes)[-2:] == pytest.approx([10_300, 11_400], rel=0.02)
    assert sizes.min() >= 80
    assert (atoms.symbols == "Fe").mean() == pytest.approx(0.271, abs=0.006)
    own = atoms.arrays["true_grain"]
    near = [cKDTree(atoms.positions[own != k]).query(atoms.positions[own == k])[0] <= A + 1e-9 for k in range(1, 10)]
    assert np.concatenate(near).mean() == pytest.approx(0.21, abs=0.02)


@given(seed=seeds)
def test_a_particle_is_the_ball_of_the_nearest_sites(seed):
    atoms = particle(two_grains(), n_atoms=300, seed=seed)
    site = atoms.arrays["true_site"]
    assert (site.sum(axis=1) % 2 == 0).all()
    offset = atoms.positions - 0.5 * A * site
    assert_allclose(offset, offset[[0]].repeat(300, axis=0), atol=1e-9)
    grid = np.stack(np.meshgrid(*[np.arange(-12, 13)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    grid = grid[grid.sum(axis=1) % 2 == 0]
    inside = np.linalg.norm(0.5 * A * grid + offset[0], axis=1) < np.linalg.norm(atoms.positions, axis=1).max() + 1e-9
    assert inside.sum() == 300


def test_later_grains_win_and_regions_are_what_they_say():
    grains = (
        Grain(variant=1, region=everywhere),
        Grain(variant=2, region=half_space((0, 0, 2), 0.5)),
        Grain(variant=3, region=ball((0, 0, 1), 1.5)),
    )
    atoms = particle(grains, n_atoms=800)
    points = atoms.positions / A
    expected = np.where(points[:, 2] > 0.5, 2, 1)
    expected[np.linalg.norm(points - [0, 0, 1], axis=1) < 1.5] = 3
    assert_array_equal(atoms.arrays["true_grain"], expected)
    assert_array_equal(atoms.arrays["true_variant"], expected)


def test_atoms_in_no_grain_are_an_error():
    with pytest.raises(InputError, match="in no grain"):
        particle([Grain(variant=1, region=ball((0, 0, 0), 1.0))], n_atoms=500)


def test_antisites_are_as_many_as_asked_and_more_at_boundaries():
    atoms = particle(two_grains(), antisites=0.03, boundary_antisites=0.30)
    wrong, own = atoms.arrays["true_antisite"], atoms.arrays["true_grain"]
    distance = np.empty(len(atoms))
    for k in (1, 2):
        distance[own == k] = cKDTree(atoms.positions[own != k]).query(atoms.positions[own == k])[0] / A
    assert wrong[distance > 5].mean() == pytest.approx(0.03, abs=0.005)
    assert wrong[distance < 0.8].mean() == pytest.approx(0.03 + 0.30 * np.exp(-0.71), abs=0.04)
    pairs = zip(atoms.arrays["true_variant"], atoms.arrays["true_site"], strict=True)
    assert_array_equal(atoms.symbols == "Fe", np.array([VARIANTS[v][sublattice_of(s)] for v, s in pairs]) ^ wrong)


def test_an_a1_grain_is_random_with_its_concentration():
    atoms = particle([Grain(variant=0, region=everywhere, concentration=0.2)], n_atoms=8000)
    assert (atoms.symbols == "Fe").mean() == pytest.approx(0.2, abs=0.02)
    assert not atoms.arrays["true_antisite"].any()


@given(seed=seeds, rotation=rotations())
def test_a_measurement_makes_the_errors_it_was_asked_for(seed, rotation):
    truth = particle(two_grains(), n_atoms=4000, seed=seed)
    seen = measured(truth, noise=0.3, species_error=0.1, missing=0.05, false_atoms=0.02, rotation=rotation, seed=seed)
    real = seen.arrays["true_number"] > 0
    assert (~real).sum() == 80
    assert real.sum() == pytest.approx(3800, abs=60)
    assert (seen.numbers != seen.arrays["true_number"])[real].mean() == pytest.approx(0.1, abs=0.025)
    place = {tuple(s): p for s, p in zip(truth.arrays["true_site"], truth.positions, strict=True)}
    true = np.array([place[tuple(s)] for s in seen.arrays["true_site"][real]]) @ rotation.T
    assert np.sqrt(((seen.positions[real] - true) ** 2).sum(axis=1).mean()) == pytest.approx(0.3, abs=0.02)
    assert cKDTree(seen.positions).query(seen.positions[~real], k=2)[0][:, 1].min() >= FALSE_ATOM_DISTANCE


def test_a_perfect_measurement_only_renumbers():
    truth = particle(two_grains(), n_atoms=500)
    seen = measured(truth, noise=0.0, species_error=0.0, missing=0.0, false_atoms=0.0)
    assert {tuple(p) for p in seen.positions} == {tuple(p) for p in truth.positions}
    assert_array_equal(seen.numbers, seen.arrays["true_number"])


def test_wrong_species_of_three_become_any_of_the_other_two():
    truth = particle(two_grains(), n_atoms=3000)
    truth.numbers[::3] = 46
    seen = measured(truth, species_error=1.0, false_atoms=0.0)
    assert set(np.unique(seen.numbers)) == {26, 46, 78}
    assert_array_equal(np.unique(truth.numbers), [26, 46, 78])


def test_the_seed_decides():
    first, again, other = (measured(particle(two_grains(), n_atoms=400, seed=s), seed=s) for s in (1, 1, 2))
    assert_array_equal(first.positions, again.positions)
    assert_array_equal(first.numbers, again.numbers)
    assert not np.array_equal(first.positions[:100], other.positions[:100])


def test_the_twin_of_the_paper_has_its_grains_composition_and_displacements_at_any_size():
    atoms = fept_twin(seed=3)
    ideal = particle(nine_grains(), seed=3)
    assert len(atoms) == 23_196
    assert (atoms.symbols == "Fe").mean() == pytest.approx(6569 / 23_196, abs=0.02)
    moved = np.linalg.norm(atoms.positions - ideal.positions, axis=1)
    assert np.sqrt((moved**2).mean()) == pytest.approx(0.22, rel=0.02)
    assert cKDTree(atoms.positions).query(atoms.positions, k=2)[0][:, 1].min() >= 2.0
    small = fept_twin(n_atoms=2_000, seed=3)
    shares = [np.bincount(each.arrays["true_grain"])[1:] / len(each) for each in (atoms, small)]
    assert_allclose(shares[0], shares[1], atol=0.01)
    disorder = atoms.arrays["true_antisite"]
    shallow = np.linalg.norm(atoms.positions, axis=1) < 10
    assert disorder[shallow].mean() > 2 * 0.02


@given(seed=seeds, n=st.integers(20, 400))
def test_an_amorphous_particle_has_its_composition_density_and_least_distance(seed, n):
    atoms = amorphous(n, {"Co": 0.25, "Ni": 0.25, "Pd": 0.5}, density=0.06, min_distance=2.4, seed=seed)
    assert len(atoms) == n
    counts = {symbol: int((atoms.symbols == symbol).sum()) for symbol in ("Co", "Ni", "Pd")}
    assert all(abs(counts[symbol] - n * part) <= 1 for symbol, part in (("Co", 0.25), ("Ni", 0.25), ("Pd", 0.5)))
    assert cKDTree(atoms.positions).query(atoms.positions, k=2)[0][:, 1].min() >= 2.4
    radius = (3 * n / (4 * np.pi * 0.06)) ** (1 / 3)
    assert np.linalg.norm(atoms.positions, axis=1).max() <= radius * (1 + 1e-9)
    again = amorphous(n, {"Co": 0.25, "Ni": 0.25, "Pd": 0.5}, density=0.06, min_distance=2.4, seed=seed)
    assert again == atoms


def test_an_amorphous_particle_has_no_lattice():
    glass = amorphous(2_000, {"Pt": 1.0})
    crystal = core_shell(2_000, core="Pt", a=(4 / 0.06) ** (1 / 3))
    spread = []
    for atoms in (glass, crystal):
        inner = atoms.positions[np.linalg.norm(atoms.positions, axis=1) < 8]
        spread.append(cKDTree(atoms.positions).query(inner, k=13)[0][:, 12].std())
    assert spread[0] > 0.1
    assert spread[1] < 1e-6


def test_atoms_that_do_not_fit_and_fractions_that_are_none_are_refused():
    with pytest.raises(InputError, match=r"206 % of the volume"):
        amorphous(100, {"Pt": 1.0}, density=0.2, min_distance=2.7)
    with pytest.raises(InputError, match="add up to 1"):
        amorphous(100, {"Pt": 0.7})
    with pytest.raises(InputError, match="between 0 and 1"):
        core_shell(100, core_fraction=1.2)


@given(seed=seeds, part=st.floats(0, 1))
def test_a_core_is_inside_and_has_the_atoms_that_it_should(seed, part):
    atoms = core_shell(500, core_fraction=part, seed=seed)
    inside = atoms.symbols == "Pd"
    radius = atoms.arrays["true_radius"]
    assert inside.sum() == round(500 * part)
    assert radius[inside].max(initial=0.0) <= radius[~inside].min(initial=np.inf) + 1e-9
    mixed = core_shell(500, core_fraction=part, mixing=2.0, seed=seed)
    assert (mixed.symbols == "Pd").sum() == inside.sum()
    assert_allclose(mixed.positions, atoms.positions)


def test_mixing_blurs_the_interface_by_what_was_asked():
    atoms = core_shell(20_000, mixing=2.0)
    radius = atoms.arrays["true_radius"]
    edge = np.sort(radius)[10_000]
    outside = radius > edge
    crossed = (radius[outside & (atoms.symbols == "Pd")] - edge).mean()
    assert 0.5 < crossed < 2.0


def test_a_tilt_series_is_made_with_the_errors_that_it_reports():
    atoms = core_shell(300, mixing=1.0)
    exact = tilt_series(atoms, counts=None)
    known = tilt_series(atoms, angle_error=0.5, shift_error=0.3, seed=4)
    n = known.series.n_images
    assert (n, exact.series.projections.shape[1] % 2) == (68, 0)
    assert known.series.is_single_axis
    assert_allclose(known.series.tilt_angles, uneven_tilts())
    errors = known.angles - np.stack([0 * uneven_tilts(), uneven_tilts(), 0 * uneven_tilts()], axis=1)
    assert np.sqrt((errors**2).mean()) == pytest.approx(0.5, rel=0.15)
    assert np.sqrt((known.shifts**2).mean()) == pytest.approx(0.3, rel=0.15)
    center = known.series.center + known.shifts
    right = TiltSeries.from_angles(known.series.projections, known.angles, pixel_size=0.3725, center=center)
    r_true, r_nominal = (
        image_fit(known.series.projections, model_images(atoms, each)).r_factor for each in (right, known.series)
    )
    assert r_true < 0.7 * r_nominal
    assert known.series.projections.max() == pytest.approx(300, rel=0.25)
    again = tilt_series(atoms, angle_error=0.5, shift_error=0.3, seed=4)
    assert_array_equal(again.series.projections, known.series.projections)
    assert exact.series.projections[:, :4].max() < 0.01 * exact.series.projections.max()


def test_one_image_has_no_uneven_tilts():
    with pytest.raises(InputError, match="1 images have no steps"):
        uneven_tilts(1)


@given(seed=seeds, n=st.integers(2, 100))
def test_uneven_tilts_are_in_order_and_span_the_range(seed, n):
    tilts = uneven_tilts(n, (-70.0, 60.0), seed=seed)
    assert (tilts[0], tilts[-1], len(tilts)) == (-70.0, 60.0, n)
    assert (np.diff(tilts) > 0).all()
