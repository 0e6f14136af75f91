"""Truth: stored decks (``tests/data/decks``) written after the documentation of VASP, and pymatgen's readers.

VASP itself is not at hand: nothing here shows that it runs.
"""

from __future__ import annotations

import numpy as np
import pytest
from deck_examples import (
    AXES,
    DATA,
    espresso_decks,
    incar,
    l10_cell,
    listing,
    magmom,
    shuffled_cells,
    vasp_decks,
    written_moments,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from aet2dft.dft_inputs.directions import saxis_rotation
from aet2dft.dft_inputs.vasp import default_bands
from aet2dft.errors import InputError

DIRECTIONS = st.tuples(*[st.integers(-9, 9)] * 3).filter(any)


@pytest.mark.parametrize("protocol", ["scf", "relax", "mae", "mae_scf", "convergence"])
def test_the_decks_of_a_protocol_are_those_stored(protocol):
    axes = ((1, 0, 0), (1, -1, 0)) if protocol == "mae" else AXES
    golden = (DATA / "decks" / f"vasp_{protocol}.txt").read_text(encoding="utf-8")
    assert listing(vasp_decks(l10_cell(), protocol, axes)) == golden


def test_decks_with_vector_moments_are_those_stored():
    atoms = l10_cell()
    atoms.arrays["initial_magmoms"] = np.array([[0.3, 0, 0], [0, -2.0, 2.0]])
    golden = (DATA / "decks" / "vasp_vectors.txt").read_text(encoding="utf-8")
    assert listing(vasp_decks(atoms, "mae_scf", ((1, 0, 0),))) == golden


def test_axis_runs_read_the_density_of_an_scf_with_the_same_settings():
    scf, along_x, _ = (incar(deck.files["INCAR"]) for deck in vasp_decks(l10_cell()).decks)
    assert along_x["ICHARG"] == "11"
    assert along_x["SAXIS"] == "1 0 0"
    assert scf["LCHARG"] == ".TRUE."
    for tag in ("ENCUT", "PREC", "LMAXMIX", "ISMEAR", "SIGMA", "ISYM", "GGA_COMPAT", "LASPH"):
        assert scf[tag] == along_x[tag]
    assert scf["LMAXMIX"] == "4"
    assert scf["ISYM"] == "-1"


def test_self_consistent_axis_runs_do_not_read_a_density():
    for deck in vasp_decks(l10_cell(), "mae_scf").decks:
        assert "ICHARG" not in incar(deck.files["INCAR"])
        assert deck.parent is None


@settings(max_examples=200, deadline=None)
@given(atoms=shuffled_cells(vectors=False))
def test_positions_and_scalar_moments_return_to_their_sites(atoms):
    from pymatgen.io.vasp.inputs import Poscar

    volume = vasp_decks(atoms, "scf")
    files = volume.decks[0].files
    at_site = {int(site): i for i, site in enumerate(atoms.arrays["site_id"])}
    index = np.array([at_site[site] for site in volume.record()["site_ids"]])
    assert_allclose(magmom(files["INCAR"]), atoms.arrays["initial_magmoms"][index], atol=1e-10)
    structure = Poscar.from_str(files["POSCAR"]).structure
    assert [site.specie.symbol for site in structure] == list(atoms.symbols[index])
    assert_allclose(structure.lattice.matrix, atoms.cell, atol=1e-14)
    difference = structure.frac_coords - atoms.get_scaled_positions(wrap=False)[index]
    assert_allclose(difference - np.round(difference), 0, atol=1e-12)


@settings(max_examples=200, deadline=None)
@given(atoms=shuffled_cells(vectors=True), axis=DIRECTIONS)
def test_vector_moments_return_to_their_sites_from_the_frame_of_saxis(atoms, axis):
    volume = vasp_decks(atoms, "mae_scf", (axis,))
    tags = incar(volume.decks[0].files["INCAR"])
    frame = saxis_rotation([float(word) for word in tags["SAXIS"].split()])
    moments = magmom(volume.decks[0].files["INCAR"]).reshape(-1, 3) @ frame.T
    assert_allclose(moments, atoms.arrays["initial_magmoms"][volume.cell.permutation], atol=1e-9)


@settings(max_examples=200, deadline=None)
@given(atoms=shuffled_cells(vectors=False), axis=DIRECTIONS)
def test_both_codes_start_an_axis_run_from_the_same_moments(atoms, axis):
    ours = vasp_decks(atoms, "mae_scf", (axis,)).decks[0].files["INCAR"]
    theirs = espresso_decks(atoms, "mae_scf", (axis,)).decks[0].files["pw.in"]
    moments = magmom(ours).reshape(-1, 3) @ saxis_rotation(axis).T
    assert_allclose(moments, written_moments(theirs), atol=1e-6)


def test_equal_neighbors_are_counted_and_others_written_one_by_one():
    atoms = l10_cell().repeat((2, 2, 1))
    atoms.arrays["site_id"] = np.arange(8)
    assert incar(vasp_decks(atoms).decks[0].files["INCAR"])["MAGMOM"] == "4*3.0 4*0.4"
    atoms.arrays["initial_magmoms"] = np.where(atoms.numbers == 26, 3.0, np.arange(8) / 10)
    assert incar(vasp_decks(atoms).decks[0].files["INCAR"])["MAGMOM"] == "4*3.0 0 0.2 0.4 0.6"
    assert magmom(vasp_decks(atoms).decks[1].files["INCAR"]).shape == (24,)


def test_the_number_of_bands_follows_the_rule_of_the_documentation():
    assert default_bands(24, 2) == 16
    assert default_bands(10, 1, moments=np.array([1.0]), noncollinear=True) == 24
    # 16 Fe_pv and 16 Pt: 384 electrons, 193 + 16 = 209 < 0.6 * 384 = 231; 54.4 μB add 28; 2 * 259 = 518
    moments = np.repeat([3.0, 0.4], 16)
    assert default_bands(384, 32, moments=moments, noncollinear=True) == 520
    atoms = l10_cell().repeat((2, 2, 4))
    atoms.arrays["site_id"] = np.arange(32)
    assert incar(vasp_decks(atoms).decks[1].files["INCAR"])["NBANDS"] == "520"
    assert incar(vasp_decks(atoms, NBANDS="600").decks[1].files["INCAR"])["NBANDS"] == "600"
    assert "NBANDS" not in incar(vasp_decks(atoms).decks[0].files["INCAR"])


def test_the_data_sets_are_named_in_the_order_of_the_species():
    files = vasp_decks(l10_cell()).decks[0].files
    assert files["POTCAR.spec"].split() == ["Fe_pv", "Pt"]
    assert files["POSCAR"].splitlines()[5:7] == ["Fe Pt", "1 1"]
    assert "POTCAR" not in files


def test_an_element_without_a_data_set_says_how_to_give_one():
    atoms = l10_cell()
    atoms.symbols[0] = "Gd"
    with pytest.raises(InputError, match=r"--set moment\.Gd"):
        vasp_decks(atoms)
    with pytest.raises(InputError, match=r"--set potcar\.Gd"):
        vasp_decks(atoms, moment__Gd="7")
    with pytest.raises(InputError, match=r"--set zval\.Gd_3"):
        vasp_decks(atoms, moment__Gd="7", potcar__Gd="Gd_3")
    assert vasp_decks(atoms, moment__Gd="7", potcar__Gd="Gd_3", zval__Gd_3="9").decks


def test_pymatgen_reads_the_incar():
    from pymatgen.io.vasp.inputs import Incar

    tags = Incar.from_str(vasp_decks(l10_cell()).decks[1].files["INCAR"])
    assert tags["LSORBIT"] is True
    assert tags["EDIFF"] == 1e-8
    assert tags["SAXIS"] == [1, 0, 0]
    assert tags["NBANDS"] == 40
