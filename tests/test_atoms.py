"""The table of per-atom arrays and the check of models.

Truth: the rules for models in docs/conventions.md; distances against all pairs and all 27 images, written out here.
"""

from itertools import product

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from hypothesis import given
from hypothesis import strategies as st
from small_particle import small, small_order

from aet2dft.atoms import (
    ARRAYS,
    check,
    check_arrays,
    digest,
    examine,
    known_symbol,
    neighbor_distances,
    require,
    without_element,
)
from aet2dft.errors import InputError

RESERVED = {"energy", "energies", "forces", "stress", "stresses", "dipole", "charges", "magmom", "free_energy"}


@st.composite
def cells(draw):
    """A skewed periodic cell with 1 to 12 atoms."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n = draw(st.integers(1, 12))
    cell = np.diag(rng.uniform(3, 8, 3)) + rng.uniform(-2, 2, (3, 3))
    return Atoms(f"Fe{n}", scaled_positions=rng.uniform(-1, 2, (n, 3)), cell=cell, pbc=True)


@given(cells())
def test_periodic_neighbor_distances_are_the_shortest_of_all_images(atoms):
    distance, partner = neighbor_distances(atoms)
    cell, images = np.asarray(atoms.cell), np.array(list(product(range(-3, 4), repeat=3)))
    inside = atoms.get_scaled_positions() @ cell
    vectors = inside[None, :, None] + images @ cell - inside[:, None, None]
    lengths = np.linalg.norm(vectors, axis=-1)
    lengths[np.arange(len(atoms)), np.arange(len(atoms)), (images == 0).all(axis=1)] = np.inf
    assert np.allclose(distance, lengths.min(axis=(1, 2)), atol=1e-9)
    assert np.allclose(distance, lengths.min(axis=2)[np.arange(len(atoms)), partner], atol=1e-9)


def test_two_atoms_at_one_place_are_each_other_s_neighbors():
    distance, partner = neighbor_distances(Atoms("Fe4", positions=[(0, 0, 0), (3, 0, 0), (0, 0, 0), (3, 0, 0)]))
    assert distance.tolist() == [0, 0, 0, 0]
    assert partner.tolist() == [2, 3, 0, 1]


def test_the_unit_is_looked_at_before_the_separations():
    found = examine(Atoms(small().numbers, small().positions / 10))
    assert len(found.fatal) == 1
    assert "nm" in found.fatal[0]


@pytest.mark.parametrize(("scale", "sound"), [(0.6, False), (0.8, True), (1.0, True), (1.3, True), (1.7, False)])
def test_the_median_distance_decides_about_the_unit(scale, sound):
    found = examine(Atoms(small().numbers, small().positions * scale))
    assert (not any("not in Å" in text for text in found.fatal)) == sound


@given(factor=st.floats(0.05, 50.0))
def test_the_factor_that_is_named_makes_the_unit_right(factor):
    atoms = Atoms(small().numbers, small().positions / factor)
    wrong = [text for text in examine(atoms).fatal if "not in Å" in text]
    if wrong:
        atoms.positions *= float(wrong[0].rpartition(" ")[2])
        assert not any("not in Å" in text for text in examine(atoms).fatal)


def test_candidates_without_species_are_warned_about_only():
    atoms = small()
    atoms.numbers[:] = 0
    assert examine(atoms).fatal == ()
    assert examine(atoms).problems[0].endswith("have no element; give --species, e.g. --species 1=Fe,2=Pt")
    assert without_element(atoms[:1]).startswith("1 atom has no element; ")
    atoms.set_array("type", 1 + np.arange(len(atoms)) % 3)
    assert examine(atoms).problems[0].endswith("e.g. --species 1=Fe,2=Pt,3=Ni")
    atoms.positions *= 10
    found = examine(atoms)
    assert found.fatal == ()
    assert any("is the unit Å?" in text for text in found.problems)


def test_short_bonds_are_problems_that_name_the_atoms_and_not_fatal():
    atoms = small()
    _, partner = neighbor_distances(atoms)
    toward = atoms.positions[4] - atoms.positions[partner[4]]
    atoms.positions[4] = atoms.positions[partner[4]] + 1.2 * toward / np.linalg.norm(toward)
    found = check(atoms)
    assert f"{min(4, partner[4])}-{max(4, partner[4])} 1.20 Å" in found.problems[0]


def test_light_elements_may_bond_at_their_own_distances():
    water = Atoms(
        "OH2Pt4", positions=[(0, 0, 0), (0.96, 0, 0), (-0.24, 0.93, 0), *((9 + 2.8 * k, 9, 9) for k in range(4))]
    )
    assert examine(water).problems == ()


def test_one_atom_is_no_particle_but_may_be_a_crystal():
    assert examine(Atoms("Pt")).fatal
    assert check(bulk("Pt")).fatal == ()


def test_arrays_that_a_step_needs_are_named_with_the_verb_that_writes_them():
    with pytest.raises(InputError, match=r"'grain'.*aet2dft order"):
        require(small(), "grain")
    require(small_order()[0], "site_id", "site", "grain")


@pytest.mark.parametrize("wrong", [np.zeros(1500), np.full((1500, 3), "a")])
def test_a_known_array_of_another_shape_or_kind_is_refused(wrong):
    atoms = small()
    atoms.set_array("displacement", wrong)
    with pytest.raises(InputError, match="displacement"):
        check_arrays(atoms)


def test_order_writes_arrays_as_the_table_says():
    atoms, _ = small_order()
    for name, spec in ARRAYS.items():
        if spec.writer in ("read", "order"):
            array = atoms.arrays[name]
            assert array.dtype == np.dtype(spec.dtype), name
            assert array.shape == (len(atoms), *spec.shape), name
    assert not RESERVED & set(ARRAYS)


def test_the_digest_is_that_of_species_positions_and_cell():
    atoms = small()
    same = atoms.copy()
    same.set_array("grain", np.ones(len(atoms), dtype=int))
    assert digest(same) == digest(atoms)
    for change in ("positions", "numbers", "cell"):
        other = atoms.copy()
        if change == "positions":
            other.positions[3, 1] += 1e-12
        elif change == "numbers":
            other.numbers[3] += 1
        else:
            other.set_cell(np.eye(3))
        assert digest(other) != digest(atoms)


def test_symbols_of_elements_are_known_and_x_is_none():
    assert known_symbol("Fe")
    assert not known_symbol("X")
    assert not known_symbol("fe")
