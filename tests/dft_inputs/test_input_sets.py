"""The verb `inputs` as a function: rows of the manifest, frames, equal volumes, structures as they are.

Truth: the particle itself, reached again from the text of the decks; the table of deck folders in docs/verbs.
"""

import json

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from deck_examples import card, l10_cell, written_positions
from hypothesis import given
from hypothesis import strategies as st
from small_particle import small, small_order
from strategies import permuted

import aet2dft
from aet2dft.config import InputsSettings
from aet2dft.dft_inputs.decks import Manifest, write_decks
from aet2dft.dft_inputs.input_sets import _notes, inputs, space_group
from aet2dft.dft_inputs.pseudopotentials import find
from aet2dft.errors import InputError

FEW = InputsSettings(box=(6, 6, 7), limit=3)


@pytest.mark.parametrize("code", ["espresso", "vasp"])
def test_positions_in_the_decks_lead_back_to_the_measured_atoms(code):
    atoms, _ = small_order()
    deck_set = inputs(atoms, code=code, settings=FEW)
    frame = deck_set.frame
    place = dict(zip(atoms.arrays["site_id"].tolist(), zip(atoms.positions, atoms.symbols, strict=True), strict=True))
    texts = {deck.id: deck.files for deck in deck_set.decks}
    for volume in deck_set.volumes:
        files = texts[f"{volume['id']}/scf"]
        if code == "espresso":
            written = written_positions(files["pw.in"])
        else:
            lines = files["POSCAR"].splitlines()
            fractional = np.array([line.split()[:3] for line in lines[8 : 8 + len(volume["symbols"])]], dtype=float)
            written = fractional @ np.array([line.split() for line in lines[2:5]], dtype=float)
        back = (written + volume["offset"]) @ np.array(frame["rotation"]).T + frame["origin"]
        for k, site_id in enumerate(volume["site_ids"]):
            position, symbol = place[site_id]
            assert np.abs(back[k] - position).max() < 1e-5
            assert volume["symbols"][k] == symbol


@given(seed=st.integers(0, 2**31 - 1))
def test_the_order_of_the_atoms_does_not_change_a_deck(seed):
    atoms, _ = small_order()
    expected = inputs(atoms, settings=FEW)
    shuffled, _ = permuted(atoms, seed)
    found = inputs(shuffled, settings=FEW)
    assert [deck.files for deck in found.decks] == [deck.files for deck in expected.decks]
    assert [v["site_ids"] for v in found.volumes] == [v["site_ids"] for v in expected.volumes]


@given(seed=st.integers(0, 2**31 - 1))
def test_every_moment_that_is_asked_for_goes_to_its_own_atom(seed):
    atoms, _ = permuted(small_order()[0], seed)
    # three values: a deck of Quantum ESPRESSO holds at most ten kinds of atoms
    palette = np.array([1.0, 2.0, 3.0])
    asked = palette[atoms.arrays["site_id"] % 3]
    atoms.set_array("initial_magmoms", asked)
    moment = dict(zip(atoms.arrays["site_id"].tolist(), asked.tolist(), strict=True))
    for code in ("espresso", "vasp"):
        for volume in inputs(atoms, code=code, settings=FEW).volumes:
            assert volume["moments"] == [moment[i] for i in volume["site_ids"]]
            assert volume["moment_binning_error"] < 1e-4


def test_a_row_of_the_manifest_says_all_that_is_needed(tmp_path):
    atoms, _ = small_order()
    write_decks(tmp_path / "decks", inputs(atoms, settings=FEW, source={"path": "x.xyz", "digest": "d"}))
    manifest = Manifest.read(tmp_path / "decks").content
    keys = {"id", "status", "reason", "same_as", "same_sites", "origin", "size", "center", "site_ids", "permutation"}
    keys |= {"symbols", "labels", "cell", "offset", "k_mesh", "space_group", "n_vacancies", "moments", "strain"}
    keys |= {"moment_binning_error", "order_difference", "shortest_bond"}
    assert all(row.keys() >= keys for row in manifest["volumes"])
    assert manifest["source"] == {"path": "x.xyz", "digest": "d"}
    assert manifest["frame"].keys() >= {"rotation", "origin", "cubic_a"}
    assert manifest["settings"]["box"] == [6, 6, 7]
    assert {p["file"] for p in manifest["pseudopotentials"]} == {
        f"{element}.{kind}pbe-small.UPF" for element in ("Fe", "Pt") for kind in ("", "rel-")
    }
    json.dumps(manifest, allow_nan=False)


def test_equal_volumes_have_one_deck_and_their_sites_correspond():
    atoms, _ = small_order()
    deck_set = inputs(atoms, settings=InputsSettings(box=(6, 6, 7), cells=1, positions="ideal"))
    rows = {row["id"]: row for row in deck_set.volumes}
    decks = {deck.volume for deck in deck_set.decks}
    same = [row for row in rows.values() if row["status"] == "same"]
    assert len(same) > 50
    assert decks == {row["id"] for row in rows.values() if row["status"] == "written"}
    for row in same:
        first = rows[row["same_as"]]
        assert first["status"] == "written"
        assert sorted(row["same_sites"]) == list(range(len(first["site_ids"])))
        assert row["symbols"] == [first["symbols"][k] for k in row["same_sites"]]
    assert any(f"{len(same)} volumes are equal" in text for text in deck_set.warnings)
    assert _notes([{"status": status} for status in ("same", "rejected", "written")]) == [
        "1 of 3 volumes is rejected; the manifest says why",
        "1 volume is equal to another and shares its jobs",
    ]


def test_starting_moments_keep_equal_species_apart():
    atoms = small_order()[0].copy()
    atoms.set_array("initial_magmoms", np.where(atoms.arrays["site"][:, 2] % 4 < 2, 1.0, -1.0))
    deck_set = inputs(atoms, settings=InputsSettings(box=(4, 4, 4), cells=1, positions="ideal"))
    assert {row["status"] for row in deck_set.volumes} == {"written"}


def test_two_boxes_give_their_shared_windows_once():
    atoms, _ = small_order()
    both = inputs(atoms, settings=InputsSettings(box=(6, 6, 7), around=("L10", "center", "L10")))
    origins = [(*row["origin"], *row["size"]) for row in both.volumes]
    assert len(set(origins)) == len(origins)
    assert len(both.frame["boxes"]) == 2


def test_grains_of_several_lattices_are_not_mixed():
    atoms = small_order()[0].copy()
    atoms.arrays["lattice"][atoms.arrays["grain"] == 2] = 2
    with pytest.raises(InputError, match="several lattices"):
        inputs(atoms, settings=InputsSettings(box=(2, 2, 2), cells=1, around=("L10", "L12")))


def test_an_odd_supercell_is_warned_about_and_an_even_one_is_not():
    atoms, _ = small_order()
    odd = inputs(atoms, kind="supercell", settings=FEW)
    even = inputs(atoms, kind="supercell", settings=InputsSettings(box=(6, 6, 6)))
    assert any("odd number of half cells along" in text for text in odd.warnings)
    assert not any("odd number" in text for text in even.warnings)


def test_structures_are_taken_as_they_are_and_judged():
    good, short, flat = bulk("Pt", cubic=True), bulk("Pt", cubic=True) * (2, 2, 2), small()
    short.positions[0] += 1.07 / np.sqrt(2) * np.array([1, 1, 0])
    deck_set = inputs([good, short, good], kind="atoms", protocol="scf")
    assert [row["status"] for row in deck_set.volumes] == ["written", "rejected", "same"]
    assert "1.70 Å" in deck_set.volumes[1]["reason"]
    assert deck_set.volumes[0]["space_group"] == "Fm-3m (225)"
    with pytest.raises(InputError, match="no cell"):
        inputs(flat, kind="atoms", protocol="scf")
    with pytest.raises(InputError, match=r"v00001: .*not in Å"):
        inputs([good, bulk("Pt", cubic=True, a=0.4)], kind="atoms", protocol="scf")
    with pytest.raises(InputError, match="no model"):
        inputs([], kind="atoms")
    with pytest.raises(InputError, match="one particle, not from 2"):
        inputs([flat, flat])


def test_space_groups_are_those_of_the_crystals_and_never_a_crash():
    l10 = Atoms("FePt", scaled_positions=[(0, 0, 0), (0.5, 0.5, 0.5)], cell=[2.72, 2.72, 3.71], pbc=True)
    assert space_group(l10) == "P4/mmm (123)"
    l10.positions[0, 0] = np.nan
    with pytest.raises(InputError, match="NaN"):
        space_group(l10)


def test_the_names_of_the_python_interface_are_shorthands():
    atoms, _ = small_order()
    made = aet2dft.inputs(atoms, kind="nested", code="vasp", protocol="mae", axes=("100", "001"), settings=FEW)
    assert (made.kind, made.protocol.code, made.axes) == ("nested", "vasp", ("100", "001"))
    with pytest.raises(InputError, match="kind"):
        aet2dft.inputs(atoms, kind="L10")
    with pytest.raises(InputError, match="aet2dft order"):
        aet2dft.inputs(small())


def test_own_pseudopotentials_without_a_cutoff_are_warned_of(tmp_path):
    for pseudo in find(["Fe", "Pt"]):
        (tmp_path / pseudo.file).write_bytes(pseudo.content())
    own = InputsSettings(kind="atoms", pseudo_dir=tmp_path)
    (warning,) = inputs(l10_cell(), settings=own).warnings
    assert "ecutwfc is 30 Ry" in warning
    assert "Fe.pbe-small.UPF 37 Ry, Fe.rel-pbe-small.UPF 38 Ry, Pt.pbe-small.UPF 163 Ry" in warning
    given = own.model_copy(update={"set": {"ECUTWFC": "50"}})
    assert inputs(l10_cell(), settings=given).warnings == ()


def test_labels_in_the_decks_are_those_of_the_manifest():
    atoms, _ = small_order()
    deck_set = inputs(atoms, settings=FEW)
    for deck in deck_set.decks:
        row = next(row for row in deck_set.volumes if row["id"] == deck.volume)
        assert [words[0] for words in card(deck.files["pw.in"], "ATOMIC_POSITIONS")] == row["labels"]
