"""Corrections by hand. Truth: what the lines say, and everything that they do not say stays."""

import numpy as np
import pytest
from ase import Atoms
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from aet2dft.errors import InputError, ParseError
from aet2dft.recon.atoms.edits import Edit, edit, read_edits

ALL_KINDS = """# corrections after looking at the slices
action,site_id,x,y,z,species
add,,10.0,0,0,Fe

remove,2,,,,
move,3,5.5,0,0,
relabel,1,,,,Pt
"""


def chain_of_atoms():
    """Five atoms in a line, 2.5 Å apart, numbered from 1."""
    atoms = Atoms("FeFePtPtFe", positions=[[2.5 * k, 0, 0] for k in range(-1, 4)])
    atoms.set_array("site_id", np.arange(1, 6, dtype=np.int32))
    atoms.set_array("intensity", np.array([1.0, 1.2, 4.0, 4.2, 1.4]))
    atoms.set_array("species_confidence", np.full(5, 0.9))
    atoms.set_array("position_sigma", np.arange(15.0).reshape(5, 3) / 100)
    return atoms


def lines(tmp_path, text):
    path = tmp_path / "edits.csv"
    path.write_text(text)
    return path


def test_an_atom_far_from_all_and_a_new_element_are_said():
    far, other = Edit(line=2, action="add", position=(500.0, 0, 0), species="Fe"), "Au"
    _, log = edit(chain_of_atoms(), [far, Edit(line=3, action="relabel", site_id=1, species=other)])
    assert log.warnings == (
        "1 atom ends farther than 6 Å from all others: line 2",
        "line 3: Au is an element that the model did not have",
    )


def test_the_four_actions_do_what_they_say_and_nothing_else(tmp_path):
    before = chain_of_atoms()
    after, log = edit(before, lines(tmp_path, ALL_KINDS))
    assert_array_equal(after.arrays["site_id"], [1, 3, 4, 5, 6])
    assert list(after.symbols) == ["Pt", "Pt", "Pt", "Fe", "Fe"]
    assert_allclose(after.positions[:, 0], [-2.5, 5.5, 5.0, 7.5, 10.0])
    assert_array_equal(after.arrays["species_confidence"], [1.0, 0.9, 0.9, 0.9, 1.0])
    assert log.counts == {"add": 1, "remove": 1, "move": 1, "relabel": 1}
    assert [change["line"] for change in log.changes] == [3, 5, 6, 7]
    assert log.changes[1]["before"] == {"species": "Fe", "position": (0.0, 0.0, 0.0)}
    assert log.changes[1]["after"] is None
    assert "1 atom ends nearer than 2 Å to another: line 6" in log.warnings
    assert before == chain_of_atoms()


def test_what_a_line_does_not_say_is_the_median_of_the_species(tmp_path):
    after, _ = edit(chain_of_atoms(), read_edits(lines(tmp_path, "action,x,y,z,species\nadd,10,0,0,Fe\n")))
    assert after.arrays["intensity"][-1] == pytest.approx(np.median([1.0, 1.2, 1.4]))
    assert_allclose(
        after.arrays["position_sigma"][-1], np.median(np.arange(15.0).reshape(5, 3)[[0, 1, 4]] / 100, axis=0)
    )
    moved, _ = edit(chain_of_atoms(), [Edit(line=2, action="move", site_id=3, position=(2.6, 0.0, 0.0))])
    assert moved.arrays["intensity"][2] == 4.0
    assert_allclose(moved.arrays["position_sigma"][2], moved.arrays["position_sigma"][3])


def test_an_atom_with_the_number_of_a_removed_one_is_another_atom():
    atoms = chain_of_atoms()
    atoms.set_array("grain", np.arange(5))
    again = Edit(line=3, action="add", site_id=4, position=(10.0, 0.0, 0.0), species="Pt")
    after, _ = edit(atoms, [Edit(line=2, action="remove", site_id=4), again])
    assert_array_equal(after.arrays["site_id"], [1, 2, 3, 5, 4])
    assert [after.arrays[name][-1] for name in ("intensity", "species_confidence", "grain")] == [4.0, 1.0, 0]


def test_a_later_line_sees_what_earlier_ones_did(tmp_path):
    text = "action,site_id,x,y,z,species\nadd,,12,0,0,Fe\nrelabel,6,,,,Pt\nremove,1\nadd,1,-4,0,0,Fe\n"
    after, _ = edit(chain_of_atoms(), read_edits(lines(tmp_path, text)))
    assert dict(zip(after.arrays["site_id"].tolist(), after.symbols, strict=True))[6] == "Pt"
    assert after.positions[after.arrays["site_id"] == 1][0, 0] == -4.0
    again = [Edit(line=1, action="remove", site_id=2), Edit(line=2, action="remove", site_id=2)]
    with pytest.raises(InputError, match="line 2: no atom has site_id 2"):
        edit(chain_of_atoms(), again)


@given(st.permutations(range(5)), st.integers(1, 5))
def test_lines_about_different_atoms_may_come_in_any_order(order, n):
    edits = [Edit(line=k, action="move", site_id=k + 1, position=(2.5 * k, 3.0, 0.0)) for k in range(5)][:n]
    one, _ = edit(chain_of_atoms(), edits)
    other, _ = edit(chain_of_atoms(), [edits[k] for k in order if k < n])
    assert one == other


def test_candidates_without_species_and_numbers_can_be_corrected():
    atoms = Atoms("X3", positions=[[0, 0, 0], [3, 0, 0], [6, 0, 0]])
    after, _ = edit(atoms, [Edit(line=2, action="remove", site_id=2), Edit(line=3, action="add", position=(9, 0, 0))])
    assert_array_equal(after.arrays["site_id"], [1, 3, 4])
    assert not after.numbers.any()


def test_no_corrections_leave_the_model_and_its_bytes():
    after, log = edit(chain_of_atoms(), ())
    assert after == chain_of_atoms()
    assert log.changes == ()


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ("action,site_id\nremove\n", 2, "remove needs site_id"),
        ("action,site_id,x,y,z\nmove,1,2,3\n", 2, "move needs z"),
        ("action,site_id,x\n\nremove,1,2\n", 3, "remove takes no x"),
        ("action,site_id\ndelete,1\n", 2, "'delete'"),
        ("action,site_id\nremove,1.5\n", 2, "site_id is '1.5'; give a whole number"),
        ("action,site_id,x,y,z\nmove,1,0,b,0\n", 2, "y is 'b'; give a number, Å"),
        ("action,site_id\nremove,0\n", 2, "below 1"),
        ("action,x,y,z,species\nadd,1,nan,3,Fe\n", 2, "not finite"),
        ("action,x,y,z,species\nadd,1,2,3,Qq\n", 2, "no chemical element"),
        ("action,site_id\nremove,1\nremove,2,3\n", 3, "3 cells under 2 columns"),
        ("action,number\nremove,1\n", 1, "'number' is none"),
        ("action,x,x\nadd,1,1\n", 1, "'x' is there twice"),
        ("action;site_id\nremove;1\n", 1, "'action;site_id' is none.*put commas"),
        ("site_id,x,y,z\n1,2,3,4\n", 1, "action is not there"),
        (f"action,site_id\nremove,{'1' * 140_000}\n", 2, "field larger than field limit"),
    ],
)
def test_every_line_is_checked_and_named_before_anything_is_applied(tmp_path, text, line, what):
    with pytest.raises(ParseError, match=what) as caught:
        read_edits(lines(tmp_path, text))
    assert caught.value.line == line


def test_a_file_without_lines_or_no_file_is_refused(tmp_path):
    with pytest.raises(ParseError, match="holds no line"):
        read_edits(lines(tmp_path, "# nothing\n\n"))
    with pytest.raises(InputError, match="no such file"):
        read_edits(tmp_path / "none.csv")


@pytest.mark.parametrize(
    ("edits", "what"),
    [
        ([Edit(line=4, action="add", position=(0.0, 0.0, 0.3), species="Fe")], "line 4: this atom is 0.30 Å"),
        ([Edit(line=2, action="add", position=(9.0, 9.0, 9.0))], "line 2: an added atom needs a species"),
        ([Edit(line=2, action="add", site_id=3, position=(9.0, 9.0, 9.0), species="Fe")], "line 2: there is an atom"),
        ([Edit(line=9, action="relabel", site_id=77, species="Fe")], "line 9: no atom has site_id 77"),
        ([Edit(line=2, action="add", site_id=1 << 31, position=(9.0, 9.0, 9.0), species="Fe")], "above 999999999"),
    ],
)
def test_corrections_that_the_model_cannot_take_name_their_line(edits, what):
    with pytest.raises(InputError, match=what):
        edit(chain_of_atoms(), edits)


def test_a_correction_that_the_model_cannot_take_names_its_file_and_the_last_atom_stays(tmp_path):
    path = lines(tmp_path, "action,site_id\nremove,1\nremove,77\n")
    for given_as in (path, str(path)):
        with pytest.raises(ParseError, match=r"edits\.csv, line 3: no atom has site_id 77"):
            edit(chain_of_atoms(), given_as)
    path = lines(tmp_path, "action,site_id\n" + "".join(f"remove,{k}\n" for k in range(1, 6)))
    with pytest.raises(InputError, match=r"edits\.csv, line 6: no atom is left"):
        edit(chain_of_atoms(), path)


def test_two_atoms_of_one_number_cannot_be_corrected():
    atoms = chain_of_atoms()
    atoms.arrays["site_id"][1] = 1
    with pytest.raises(InputError, match="two atoms have one site_id"):
        edit(atoms, ())
