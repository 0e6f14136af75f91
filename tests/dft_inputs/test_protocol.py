"""Truth: the values of the protocols as their definitions state them, and the rules that values must obey."""

from __future__ import annotations

import numpy as np
import pytest
from ase.build import bulk

from aet2dft.dft_inputs.deck_plan import deck_cell
from aet2dft.dft_inputs.protocol import CODES, load_protocol, protocol_names
from aet2dft.errors import InputError

STEPS = {
    "relax": ("relax",),
    "scf": ("scf",),
    "mae": ("scf", "axis"),
    "mae_scf": ("axis",),
    "convergence": ("scf", "axis"),
}


def test_the_five_protocols_are_there_with_their_steps():
    assert set(protocol_names()) == set(STEPS)
    for code in CODES:
        for name, steps in STEPS.items():
            protocol = load_protocol(name, code=code)
            assert protocol.steps == steps
            assert protocol.force_theorem == (name in ("mae", "convergence"))
            assert protocol.description.endswith(".")


def test_a_step_takes_its_own_value_of_a_tag_and_the_general_one_of_others():
    protocol = load_protocol("mae", code="vasp")
    assert protocol.of_step("scf")["EDIFF"] == 1e-7
    assert protocol.of_step("axis")["EDIFF"] == 1e-8
    assert protocol.of_step("axis")["ENCUT"] == 400.0
    assert "LORBMOM" not in protocol.of_step("scf")


def test_the_convergence_protocol_halves_the_smearing_and_refines_the_mesh_by_half():
    for code, smearing in (("espresso", "degauss"), ("vasp", "SIGMA")):
        mae, fine = (load_protocol(name, code=code).tags for name in ("mae", "convergence"))
        assert fine[smearing] == mae[smearing] / 2
        assert fine["kmesh_spacing"] * fine["kmesh_factor"] == pytest.approx(mae["kmesh_spacing"])


def test_the_mesh_of_the_convergence_protocol_is_denser_for_every_size_of_a_cell():
    mae, fine = (load_protocol(name, code="espresso") for name in ("mae", "convergence"))
    meshes = {}
    for n in range(1, 8):
        cell = bulk("Fe", "fcc", a=3.875, cubic=True) * (n, n, n)
        cell.arrays["site_id"] = np.arange(len(cell))
        meshes[n] = [deck_cell(cell, name="v00000", protocol=protocol).k_mesh[0] for protocol in (mae, fine)]
    assert meshes == {1: [6, 10], 2: [4, 6], 3: [2, 4], 4: [2, 4], 5: [2, 4], 6: [2, 4], 7: [2, 4]}


def test_changes_take_the_type_of_the_tag_and_ignore_upper_and_lower_case():
    changes = {"ecutwfc": "50", "NOSYM": "true", "electron_maxstep": "99", "smearing": "gauss", "moment.Cu": "0"}
    tags = load_protocol("mae", code="espresso", changes=changes).tags
    assert (tags["ecutwfc"], tags["nosym"], tags["electron_maxstep"]) == (50.0, True, 99)
    assert (tags["smearing"], tags["moment.Cu"]) == ("gauss", 0.0)
    assert load_protocol("mae", code="vasp", changes={"encut": "450"}).tags["ENCUT"] == 450.0


def test_new_elements_can_be_given_and_missing_ones_say_how():
    given = {"potcar.Gd": "Gd_3", "zval.Gd_3": "9", "moment.Gd": "7"}
    protocol = load_protocol("scf", code="vasp", changes=given)
    assert protocol.of_element("potcar", "Gd") == "Gd_3"
    assert protocol.of_element("zval", "Gd_3") == 9.0
    assert protocol.of_element("moment", "Gd") == 7.0
    with pytest.raises(InputError, match=r"no moment for Cu; give it with --set moment\.Cu=VALUE"):
        protocol.of_element("moment", "Cu")


def test_the_record_holds_every_tag_but_only_the_elements_that_are_used():
    record = load_protocol("mae", code="vasp").record(["Fe"])
    assert record["name"] == "mae"
    assert record["ENCUT"] == 400.0
    assert {key for key in record if key.startswith(("moment.", "potcar."))} == {"moment.Fe", "potcar.Fe"}
    assert record["zval.Fe_pv"] == 14.0


def test_every_element_with_a_moment_has_a_potcar_with_known_valence():
    tags = load_protocol("mae", code="vasp").tags
    for tag in tags:
        table, _, element = tag.partition(".")
        if table == "moment":
            assert f"zval.{tags[f'potcar.{element}']}" in tags


def test_a_protocol_cannot_be_changed_in_place():
    with pytest.raises(TypeError):
        load_protocol("mae", code="espresso").tags["ecutwfc"] = 1.0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ecutwf": "40"}, "no tag 'ecutwf'; it knows .*ecutwfc"),
        ({"axis.ecutwfc": "40"}, "no tag 'axis.ecutwfc'"),
        ({"moment.Xx": "1"}, "no tag 'moment.Xx'"),
        ({"potcar.Fe": "Fe_pv"}, "no tag 'potcar.Fe'"),
        ({"ecutwfc": "forty"}, "give a number"),
        ({"electron_maxstep": "1.5"}, "give a whole number"),
        ({"nosym": "maybe"}, "give true or false"),
        ({"degauss": "nan"}, "give a finite number"),
        ({"degauss": "-0.02"}, "give a number above zero"),
        ({"ecutwfc": "80"}, "raise ecutrho as well"),
        ({"kmesh": "4x4"}, "kmesh=4x4x3"),
        ({"kmesh": "0x4x4"}, "kmesh=4x4x3"),
        ({"smearing": "mv'\n nspin = 4"}, "can be written into a deck"),
    ],
)
def test_a_change_that_cannot_be_right_is_refused(changes, message):
    with pytest.raises(InputError, match=message):
        load_protocol("mae", code="espresso", changes=changes)


def test_unknown_protocols_and_codes_name_the_known_ones():
    with pytest.raises(InputError, match="convergence, mae, mae_scf, relax, scf"):
        load_protocol("soc", code="espresso")
    with pytest.raises(InputError, match="espresso, vasp"):
        load_protocol("mae", code="siesta")
