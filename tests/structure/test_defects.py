"""Antisites, swaps, vacancies. Truth: what was placed in synthetic particles, and counts by hand."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from reference import NEAREST, frame_map, neighbors_by_site
from strategies import seeds, variants

from aet2dft.config import OrderSettings
from aet2dft.structure.chemical_order import order
from aet2dft.structure.crystal import crystals
from aet2dft.structure.defects import corrected, count_swaps, find_vacancies, is_antisite, swap_partners
from aet2dft.structure.lattice import index_lattice
from aet2dft.synthetic import Grain, everywhere, measured, particle, two_grains

A = 3.875
NO_SURROGATES = OrderSettings(surrogates=0)


def one_grain(variant, n_atoms=1200, antisites=0.05, seed=0):
    """A particle of one grain at ideal places, and its crystal in the frame of its true sites."""
    atoms = particle([Grain(variant=variant, region=everywhere)], n_atoms=n_atoms, antisites=antisites, seed=seed)
    indexed, fits = index_lattice(atoms)
    indexed.arrays["site"] = atoms.arrays["true_site"]
    return atoms, crystals(indexed, fits)[0]


@pytest.fixture(scope="module")
def two():
    """Two antiphase L12 grains as tomography would see them: model, analysed model, record."""
    model = measured(particle(two_grains()))
    return (model, *order(model, NO_SURROGATES))


@given(variant=variants(), seed=seeds)
def test_antisites_are_exactly_those_that_were_placed(variant, seed):
    atoms, crystal = one_grain(variant, n_atoms=500, seed=seed)
    assert_array_equal(is_antisite(crystal, variant), atoms.arrays["true_antisite"])
    assert_array_equal(is_antisite(crystal, 15 - variant), ~atoms.arrays["true_antisite"])
    assert not is_antisite(crystal, 0).any()


@given(true=st.floats(0.0, 0.5), error=st.floats(0.0, 0.2))
def test_the_correction_undoes_wrongly_measured_species(true, error):
    seen = true * (1 - error) + (1 - true) * error
    assert corrected(seen, error) == pytest.approx(true, abs=1e-12)


def test_the_correction_is_never_negative_and_keeps_what_is_unknown_unknown():
    assert corrected(0.005, 0.01) == 0.0
    assert np.isnan(corrected(float("nan"), 0.01))


def test_deep_antisites_are_right_within_three_tenths_of_a_percent(two):
    model, atoms, found = two
    grains = found.chemical.grains
    assert (grains.n_atoms[:2] > 10_000).all()
    for row in range(2):
        deep = (atoms.arrays["grain"] == grains.grain[row]) & (atoms.arrays["grain_depth"] > 1.5 * A)
        true = model.arrays["true_antisite"][deep & (model.arrays["true_number"] > 0)].mean()
        assert grains.antisite_fraction_corrected[row] == pytest.approx(true, abs=0.003)
        assert grains.antisite_fraction_deep[row] > grains.antisite_fraction_corrected[row]


def test_far_outside_one_of_two_grains_half_of_the_atoms_are_antisites(two):
    _, _, found = two
    assert len(found.chemical.profiles) == 2
    for profile in found.chemical.profiles:
        far = profile.depth < -1.5 * A
        assert np.average(profile.fraction[far], weights=profile.n[far]) == pytest.approx(0.50, abs=0.02)
        assert np.average(profile.order[far], weights=profile.n[far]) == pytest.approx(-1 / 3, abs=0.04)
        assert profile.n.sum() == found.lattices[0].n_indexed


def test_antisites_fall_from_outside_to_inside(two):
    _, _, found = two
    for profile in found.chemical.profiles:
        zones = [(-np.inf, -1.5), (-1.0, 0.0), (0.0, 1.0), (1.0, np.inf)]
        level = []
        for low, high in zones:
            use = (profile.depth > low * A) & (profile.depth < high * A) & (profile.n > 0)
            level.append(np.average(profile.fraction[use], weights=profile.n[use]))
        assert level[0] > level[1] > level[2] > level[3] - 0.005
        assert level[0] > 0.45
        assert level[3] < 0.05


def test_bins_hold_the_error_of_their_counts(two):
    _, _, found = two
    profile = found.chemical.profiles[0]
    many = profile.n > 500
    expected = np.sqrt(profile.fraction * (1 - profile.fraction) / profile.n)
    assert profile.sigma[many] == pytest.approx(expected[many], rel=0.03)
    assert (profile.sigma[profile.n > 0] > 0).all()


def test_swaps_of_random_antisites_are_as_many_as_chance_expects(two):
    _, _, found = two
    for swaps in found.chemical.swaps:
        assert swaps.found == pytest.approx(swaps.expected, abs=3.5 * np.sqrt(swaps.expected))
        assert swaps.expected > 20


def test_placed_swaps_are_found_and_exceed_chance():
    _, crystal = one_grain(1, n_atoms=2500, antisites=0.0)
    rng = np.random.default_rng(0)
    first, around = crystal.is_first.copy(), neighbors_by_site(crystal.site)
    placed, taken = [], set()
    for i in rng.permutation(np.flatnonzero(first)):
        partners = [j for j in around[i] if not first[j]]
        zone = {int(i), *around[i]}
        zone |= {k for j in around[i] for k in around[j]}
        if partners and not zone & taken and len(placed) < 12:
            j = int(rng.choice(partners))
            first[[i, j]] = first[[j, i]]
            placed.append(frozenset((int(i), j)))
            taken |= {int(i), j}
    crystal = replace(crystal, is_first=first)
    grain, wrong = np.ones(len(first), dtype=np.int32), is_antisite(crystal, 1)
    partner = swap_partners(crystal, grain, wrong)
    assert {frozenset((int(i), int(partner[i]) - 1)) for i in np.flatnonzero(partner)} == set(placed)
    depth = np.full(len(first), 5.0)
    swaps = count_swaps(crystal, grain, 1, 1, depth)
    assert swaps.found == len(placed) == 12
    assert swaps.expected < 2.0


def test_swap_partners_are_mutual_neighbors_of_opposite_kind(two):
    _, atoms, _ = two
    partner, site = atoms.arrays["swap_partner"], atoms.arrays["site"]
    paired = np.flatnonzero(partner)
    other = partner[paired] - 1
    assert paired.size > 20
    assert_array_equal(partner[other] - 1, paired)
    assert ((site[paired] - site[other]) ** 2).sum(axis=1).tolist() == [2] * paired.size
    assert (atoms.numbers[paired] != atoms.numbers[other]).all()
    assert_array_equal(atoms.arrays["grain"][paired], atoms.arrays["grain"][other])
    assert atoms.arrays["antisite"][paired].all()


def test_vacancies_are_found_with_high_recall_and_precision(two):
    model, atoms, found = two
    real = model.arrays["true_number"] > 0
    use = real & (atoms.arrays["lattice"] == 1)
    turn, move = frame_map(atoms.arrays["site"][use], model.arrays["true_site"][use])
    whole = {tuple(s) for s in particle(two_grains()).arrays["true_site"]}
    gone = whole - {tuple(s) for s in model.arrays["true_site"][real]}
    claimed = {tuple(turn.T @ (s - move)) for s in found.vacancies.site}
    assert len(gone) > 200
    assert len(claimed & gone) / len(gone) >= 0.9
    assert len(claimed & gone) / len(claimed) >= 0.98
    inside = {s for s in gone if sum(tuple(np.add(s, step)) in whole for step in NEAREST) == 12}
    assert len(claimed & inside) / len(inside) >= 0.98


@given(seed=seeds)
def test_removed_atoms_are_the_vacancies_of_a_perfect_crystal(seed):
    atoms, whole = one_grain(1, n_atoms=900)
    rng = np.random.default_rng(seed)
    inner = np.flatnonzero(np.linalg.norm(atoms.positions, axis=1) < 8.0)
    lost = []
    for i in rng.permutation(inner):
        if all(np.linalg.norm(atoms.positions[i] - atoms.positions[j]) > 2 * A for j in lost) and len(lost) < 4:
            lost.append(int(i))
    kept = np.delete(np.arange(len(atoms)), lost)
    crystal = crystals(*index_lattice(atoms[kept]))[0]
    found = find_vacancies(crystal, atoms[kept])
    places = {tuple(p) for p in np.round(atoms.positions[lost], 3) + 0.0}
    assert {tuple(p) for p in np.round(found.position, 3) + 0.0} == places
    assert (found.n_neighbors == 12).all()
    assert find_vacancies(whole, atoms).site.size == 0


def test_an_atom_beside_its_site_still_fills_it():
    atoms, _ = one_grain(1, n_atoms=900)
    center = int(np.argmin(np.linalg.norm(atoms.positions, axis=1)))
    atoms.positions[center] += np.array([1.2, 0.0, 0.0])
    indexed, fits = index_lattice(atoms)
    assert indexed.arrays["lattice"][center] == 0
    assert find_vacancies(crystals(indexed, fits)[0], indexed).site.size == 0
