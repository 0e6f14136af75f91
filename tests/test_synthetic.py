"""Synthetic particles. Truth: what was asked for, counted."""

import numpy as np
import pytest
from hypothesis import given
from numpy.testing import assert_allclose, assert_array_equal
from reference import sublattice_of
from scipy.spatial import cKDTree
from strategies import rotations, seeds, variants

from aet2dft.errors import InputError
from aet2dft.structure.variants import VARIANTS
from aet2dft.synthetic import (
    FALSE_ATOM_DISTANCE,
    Grain,
    ball,
    everywhere,
    half_space,
    measured,
    nine_grains,
    ordered_crystal,
    particle,
    two_grains,
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
