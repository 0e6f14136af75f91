"""Truth: the order of atoms and runs worked out by hand; every bad cell of the list of bad inputs is refused."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from deck_examples import espresso_decks, l10_cell, vasp_decks

from aet2dft.dft_inputs.deck_plan import deck_cell, plan
from aet2dft.dft_inputs.protocol import load_protocol
from aet2dft.errors import InputError

MAE = load_protocol("mae", code="espresso")


def test_atoms_stand_in_blocks_of_an_element_and_inside_by_site_id():
    atoms = Atoms("PtFePtFe", scaled_positions=np.arange(12).reshape(4, 3) / 12, cell=np.eye(3) * 6, pbc=True)
    atoms.arrays["site_id"] = np.array([5, 900, 2, 7])
    cell = deck_cell(atoms, name="v00001", protocol=MAE)
    assert cell.symbols == ("Fe", "Fe", "Pt", "Pt")
    assert cell.site_ids.tolist() == [7, 900, 2, 5]
    assert cell.permutation.tolist() == [3, 1, 2, 0]
    assert cell.elements == ("Fe", "Pt")


def test_the_force_theorem_runs_follow_their_scf_and_others_stand_alone():
    axes = ((1, 0, 0), (1, -1, 0))
    steps = plan(MAE, axes)
    assert [(s.name, s.parent, s.calculation) for s in steps] == [
        ("scf", None, "scf"),
        ("axis_100", "scf", "nscf"),
        ("axis_1m10", "scf", "nscf"),
    ]
    alone = plan(load_protocol("mae_scf", code="vasp"), axes)
    assert [(s.name, s.parent, s.calculation) for s in alone] == [("axis_100", None, "scf"), ("axis_1m10", None, "scf")]
    assert [s.calculation for s in plan(load_protocol("relax", code="vasp"), ())] == ["relax"]


@pytest.mark.parametrize("axes", [((1, 0, 0), (1, 0, 0)), ((1, 0, 0), (2, 0, 0)), ((0, 0, 1), (0, 1, 0), (0, 0, -1))])
def test_parallel_and_antiparallel_axes_are_refused(axes):
    with pytest.raises(InputError, match="parallel or antiparallel"):
        plan(MAE, axes)


def test_a_protocol_that_needs_axes_refuses_none():
    with pytest.raises(InputError, match="--axes"):
        plan(MAE, ())


def bad_cells() -> dict[str, Atoms]:
    """One cell per kind of fault, by the word that its message must hold."""
    words = ("NaN", "infinite", "no volume", "left-handed", "site id", "no atoms", "site_id")
    cells = {word: l10_cell() for word in words}
    cells["NaN"].positions[1, 2] = np.nan
    cells["infinite"].cell[0, 0] = np.inf
    cells["no volume"].cell[2] = cells["no volume"].cell[1]
    cells["left-handed"].cell[2] *= -1
    cells["site id"].arrays["site_id"][:] = 3
    cells["no atoms"] = cells["no atoms"][:0]
    del cells["site_id"].arrays["site_id"]
    return cells


@pytest.mark.parametrize("writer", [espresso_decks, vasp_decks])
@pytest.mark.parametrize("word", bad_cells())
def test_a_cell_that_cannot_be_right_is_refused(writer, word):
    with pytest.raises(InputError, match=word):
        writer(bad_cells()[word])


@pytest.mark.parametrize("writer", [espresso_decks, vasp_decks])
def test_a_zero_cell_is_refused(writer):
    atoms = l10_cell()
    atoms.cell[:] = 0
    with pytest.raises(InputError, match="no volume"):
        writer(atoms)


@pytest.mark.parametrize("writer", [espresso_decks, vasp_decks])
def test_a_moment_beyond_the_valence_is_refused(writer):
    atoms = l10_cell()
    atoms.arrays["initial_magmoms"] = np.array([0.4, 30.0])
    with pytest.raises(InputError, match="30 μB on Fe"):
        writer(atoms)


@pytest.mark.parametrize("writer", [espresso_decks, vasp_decks])
def test_the_force_theorem_refuses_vectors_off_a_line_and_takes_those_on_one(writer):
    atoms = l10_cell()
    atoms.arrays["initial_magmoms"] = np.array([[0, 0.3, 0.4], [0, 1.8, 2.4]])
    assert np.allclose(writer(atoms).cell.moments, [3.0, 0.5])
    atoms.arrays["initial_magmoms"][0] = [0.5, 0, 0]
    with pytest.raises(InputError, match="not along one line"):
        writer(atoms)


@pytest.mark.parametrize("writer", [espresso_decks, vasp_decks])
def test_self_consistent_runs_off_the_symmetry_axes_and_from_equal_states_are_warned_of(writer):
    assert writer(l10_cell(), "mae_scf").warnings == ()
    assert writer(l10_cell(), "mae", ((1, 0, 0), (1, 0, 1))).warnings == ()
    assert "101" in writer(l10_cell(), "mae_scf", ((1, 0, 0), (1, 0, 1))).warnings[0]
    atoms = l10_cell()
    atoms.arrays["initial_magmoms"] = np.array([[0.4, 0, 0], [0, 0, 3.0]])
    assert "same state" in writer(atoms, "mae_scf").warnings[0]


@pytest.mark.parametrize("writer", [espresso_decks, vasp_decks])
def test_the_given_atoms_are_left_as_they_are(writer):
    atoms = l10_cell()
    before = atoms.copy()
    writer(atoms)
    assert before == atoms
    assert set(before.arrays) == set(atoms.arrays)


def test_a_volume_name_that_is_no_folder_name_is_refused():
    with pytest.raises(InputError, match="folder name"):
        deck_cell(l10_cell(), name="../v1", protocol=MAE)
