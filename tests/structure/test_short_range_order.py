"""Warren-Cowley parameters. Truth: all pairs of a cluster, exact values of ordered phases, chance in random alloys."""

import numpy as np
import pytest
from ase import Atoms
from hypothesis import given, settings
from reference import pair_fractions
from scipy.io import loadmat
from strategies import seeds, sphere

from aet2dft.structure.chemical_order import order
from aet2dft.structure.crystal import crystals
from aet2dft.structure.lattice import index_lattice
from aet2dft.structure.short_range_order import warren_cowley
from aet2dft.synthetic import ordered_crystal

A = 3.875
SHELLS = [(0.6, 0.85), (0.9, 1.1), (1.15, 1.3), (1.35, 1.48)]
"""Distances, unit cells, that bracket the first four shells."""
CUTOFF = 3.49
"""Å; first minimum of the pair distances of MEA1, published with it (Moniri et al., Nature 624, 564 (2023))."""


def analysed(atoms):
    indexed, fits = index_lattice(atoms)
    return warren_cowley(crystals(indexed, fits), indexed)


def random_alloy(symbols, n_atoms, seed):
    atoms = sphere(ordered_crystal(1, 16), n_atoms)
    atoms.symbols = np.random.default_rng(seed).choice(symbols, size=n_atoms)
    return atoms


@given(seed=seeds)
@settings(max_examples=4)
def test_parameters_are_those_of_counting_all_pairs(seed):
    atoms = random_alloy(["Ni", "Pd", "Pt"], 700, seed)
    found = {tuple(Atoms([w.center, w.other]).numbers): w for w in analysed(atoms)}
    assert len(found) == 6
    for shell, (near, far) in enumerate(SHELLS):
        expected = pair_fractions(atoms.positions, atoms.numbers, near * A, far * A)
        for pair, alpha in expected.items():
            assert found[pair].all_atoms[shell] == pytest.approx(alpha, abs=1e-12)


@pytest.mark.parametrize(("variant", "first"), [(1, -1 / 3), (3, -1 / 3)])
def test_perfect_phases_have_unlike_first_and_like_second_neighbors(variant, first):
    atoms = sphere(ordered_crystal(variant, 16), 10_000)
    iron = next(w for w in analysed(atoms) if w.center == "Fe")
    assert iron.full_shells[0] == pytest.approx(first, abs=0.005)
    assert iron.full_shells[1] == pytest.approx(1.0, abs=1e-12)
    if variant == 1:
        assert iron.all_atoms[:2] == pytest.approx([1 - 1 / np.mean(atoms.symbols == "Pt"), 1.0], abs=1e-12)


def test_a_random_alloy_has_none_within_its_error():
    for pair in analysed(random_alloy(["Fe", "Pt"], 8000, 1)):
        assert np.abs(pair.all_atoms[:3] / pair.all_sigma[:3]).max() < 4.0
        assert np.abs(pair.full_shells[:3]).max() < 0.02


def test_the_error_is_the_spread_of_random_alloys():
    draws = [analysed(random_alloy(["Fe", "Pt"], 800, seed))[0] for seed in range(25)]
    spread = np.std([d.all_atoms[1] for d in draws])
    assert np.mean([d.all_sigma[1] for d in draws]) == pytest.approx(spread, rel=0.5)


def test_the_two_roles_differ_where_the_surface_is_rich_in_one_species():
    atoms = random_alloy(["Fe", "Pt"], 3000, 2)
    radius = np.linalg.norm(atoms.positions - atoms.positions.mean(axis=0), axis=1)
    atoms.symbols[np.argsort(radius)[-1200:]] = "Fe"
    iron, platinum = sorted(analysed(atoms), key=lambda w: w.center)
    assert abs(iron.all_atoms[0] - platinum.all_atoms[0]) > 0.1


def test_an_atom_with_an_incomplete_shell_does_not_enter_full_shells():
    atoms = random_alloy(["Fe", "Pt"], 900, 3)
    pair = analysed(atoms)[0]
    distance = np.linalg.norm(atoms.positions[:, None] - atoms.positions[None], axis=2) / A
    for shell, ((near, far), whole) in enumerate(zip(SHELLS, (12, 6, 24, 12), strict=True)):
        assert pair.n_full[shell] == (((distance > near) & (distance < far)).sum(axis=1) == whole).sum()


def test_a_shell_without_bonds_is_not_a_number():
    atoms = sphere(ordered_crystal(1, 6), 20)
    pair = analysed(atoms)[0]
    assert np.isnan(pair.full_shells[5])
    assert np.isnan(pair.full_sigma[5])


def test_the_error_is_that_of_the_bonds_and_not_zero_where_all_are_alike():
    iron = next(w for w in analysed(sphere(ordered_crystal(1, 16), 2000)) if w.center == "Fe")
    assert 0 < iron.all_sigma[0] < iron.full_sigma[0] < 0.01


@pytest.mark.needs_data
def test_three_species_get_all_pairs_and_no_variants(data_dir):
    folder = data_dir / "mea_hea_2023"
    kinds = loadmat(folder / "atoms_MEA1.mat")["atom_type"].ravel().astype(int)
    atoms = Atoms(
        np.array(["", "Ni", "Pd", "Pt"])[kinds], positions=loadmat(folder / "model_MEA1.mat")["model_refined"].T
    )
    _, found = order(atoms)
    assert found.chemical is None
    assert any("two species" in text for text in found.warnings)
    assert any("bonds too short" in text for text in found.warnings)
    pairs = {(w.center, w.other): w for w in found.warren_cowley}
    assert set(pairs) == {(a, b) for a in ("Ni", "Pd", "Pt") for b in ("Ni", "Pd", "Pt") if a != b}
    by_distance = pair_fractions(atoms.positions, atoms.numbers, 0.0, CUTOFF)
    for (center, other), alpha in pairs.items():
        expected = by_distance[tuple(Atoms([center, other]).numbers)]
        assert alpha.all_atoms[0] == pytest.approx(expected, abs=0.03)
