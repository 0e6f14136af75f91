"""Truth: inputs with which pw.x 6.7 really ran (``tests/data/qe_fept``), and stored decks (``tests/data/decks``).

Texts are read back by f90nml and by a reader in ``deck_examples`` that shares no code with the writer.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess

import numpy as np
import pytest
from deck_examples import (
    AXES,
    DATA,
    PSEUDOS,
    card,
    deck_set,
    espresso_decks,
    l10_cell,
    listing,
    namelists,
    real_text,
    shuffled_cells,
    written_moments,
    written_positions,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from aet2dft.dft_inputs import espresso
from aet2dft.dft_inputs.decks import write_decks
from aet2dft.dft_inputs.directions import unit_vector
from aet2dft.dft_inputs.espresso_output import parse
from aet2dft.dft_inputs.protocol import load_protocol
from aet2dft.errors import InputError

REAL = {"kmesh": "4x4x3", "moment__Fe": "3.2", "moment__Pt": "0.5"}
"""What the stored runs were made with."""


@pytest.mark.parametrize("protocol", ["scf", "relax", "mae", "mae_scf", "convergence"])
def test_the_decks_of_a_protocol_are_those_stored(protocol):
    axes = ((1, 0, 0), (1, -1, 0)) if protocol == "mae" else AXES
    golden = (DATA / "decks" / f"espresso_{protocol}.txt").read_text(encoding="utf-8")
    assert listing(espresso_decks(l10_cell(), protocol, axes)) == golden


def test_decks_with_vector_moments_are_those_stored():
    atoms = l10_cell()
    atoms.arrays["initial_magmoms"] = np.array([[0.3, 0, 0], [0, -2.0, 2.0]])
    golden = (DATA / "decks" / "espresso_vectors.txt").read_text(encoding="utf-8")
    assert listing(espresso_decks(atoms, "mae_scf", ((1, 0, 0),))) == golden


@pytest.mark.parametrize(
    ("folder", "protocol", "step"),
    [
        ("scf", "mae", "scf"),
        ("ft_x", "mae", "axis_100"),
        ("ft_z", "mae", "axis_001"),
        ("ft_xy", "mae", "axis_110"),
        ("ft_y", "mae", "axis_010"),
        ("ft_xyz", "mae", "axis_111"),
        ("soc_x", "mae_scf", "axis_100"),
        ("soc_z", "mae_scf", "axis_001"),
    ],
)
def test_a_deck_says_the_same_as_the_input_of_a_real_run(folder, protocol, step):
    real = real_text(folder, "pw.in").replace("'../pseudo'", "'../../../pseudo'")
    axes = (*AXES, (0, 1, 0), (1, 1, 0), (1, 1, 1))
    verbosity = str(namelists(real)["control"]["verbosity"])
    volume = espresso_decks(l10_cell(), protocol, axes, verbosity=verbosity, **REAL)
    ours = next(deck.files["pw.in"] for deck in volume.decks if deck.step == step)
    assert_same_namelists(namelists(ours), namelists(real))
    assert ours[ours.index("ATOMIC_SPECIES") :] == real[real.index("ATOMIC_SPECIES") :]


def assert_same_namelists(ours, real):
    """Equal groups, names and values; numbers to the digits of the real input."""
    assert ours.keys() == real.keys()
    for name, group in real.items():
        assert ours[name].keys() == group.keys()
        for key, value in group.items():
            if isinstance(value, str):
                assert ours[name][key] == value
            else:
                assert_allclose(ours[name][key], value, rtol=1e-6)


def test_the_threshold_grows_with_the_number_of_atoms():
    small = namelists(espresso_decks(l10_cell()).decks[0].files["pw.in"])
    atoms = l10_cell().repeat((2, 2, 4))
    atoms.arrays["site_id"] = np.arange(32)
    large = namelists(espresso_decks(atoms).decks[0].files["pw.in"])
    assert_allclose(large["electrons"]["conv_thr"], 16 * small["electrons"]["conv_thr"])
    assert large["system"]["nat"] == 32


def test_optional_tags_go_into_their_namelists():
    changes = {"nosym": "true", "max_seconds": "3600", "diagonalization": "cg", "nbnd": "40"}
    lists = namelists(espresso_decks(l10_cell(), **changes).decks[1].files["pw.in"])
    assert lists["system"]["nosym"] is True
    assert lists["system"]["nbnd"] == 40
    assert lists["control"]["max_seconds"] == 3600
    assert lists["electrons"]["diagonalization"] == "cg"


@settings(max_examples=200, deadline=None)
@given(atoms=shuffled_cells(vectors=False))
def test_positions_and_scalar_moments_return_to_their_sites(atoms):
    volume = espresso_decks(atoms, "scf")
    assert_returns_to_sites(atoms, volume, volume.decks[0].files["pw.in"])
    assert np.array_equal(volume.cell.moments, atoms.arrays["initial_magmoms"][volume.cell.permutation])


@settings(max_examples=200, deadline=None)
@given(atoms=shuffled_cells(vectors=True))
def test_positions_and_vector_moments_return_to_their_sites(atoms):
    for deck in (volume := espresso_decks(atoms, "mae_scf")).decks:
        assert_returns_to_sites(atoms, volume, deck.files["pw.in"])


def assert_returns_to_sites(atoms, volume, text):
    """What stands in the text is what the atom with that site id has."""
    at_site = {int(site): i for i, site in enumerate(atoms.arrays["site_id"])}
    index = np.array([at_site[site] for site in volume.record()["site_ids"]])
    assert np.array_equal(index, volume.cell.permutation)
    labels = [words[0] for words in card(text, "ATOMIC_POSITIONS")]
    assert labels == list(volume.labels)
    assert [label[:2] for label in labels] == list(atoms.symbols[index])
    assert_allclose(written_positions(text), atoms.positions[index], atol=2e-9)
    assert_allclose(written_moments(text), atoms.arrays["initial_magmoms"][index], atol=5e-9)
    assert len(card(text, "ATOMIC_SPECIES")) <= 10


def test_positions_are_exact_to_the_written_digits():
    atoms = l10_cell()
    atoms.set_scaled_positions([[0.5123456789, -0.0123456789, 0.5], [0.0, 1.0123456789, 0.3333333333]])
    text = espresso_decks(atoms).decks[0].files["pw.in"]
    assert card(text, "ATOMIC_POSITIONS") == [
        ["Fe", "0.0000000000", "1.0123456789", "0.3333333333"],
        ["Pt", "0.5123456789", "-0.0123456789", "0.5000000000"],
    ]


@given(axis=st.tuples(*[st.integers(-9, 9)] * 3).filter(any))
def test_an_axis_run_points_all_moments_along_its_axis(axis):
    moments = written_moments(espresso_decks(l10_cell(), "mae", (axis,)).decks[1].files["pw.in"])
    unit = np.array(axis) / np.linalg.norm(axis)
    assert_allclose(moments, [3.0 * unit, 0.4 * unit], atol=1e-8)
    system = namelists(espresso_decks(l10_cell(), "mae", (axis,)).decks[1].files["pw.in"])["system"]
    assert_allclose(unit_vector(system["angle1"][0], system["angle2"][0]), unit, atol=1e-9)


def test_many_different_moments_are_binned_and_the_error_is_told():
    atoms = l10_cell().repeat((2, 2, 4))
    atoms.arrays["site_id"] = np.arange(32)
    moments = np.random.default_rng(3).uniform(0.1, 3.0, 32)
    atoms.arrays["initial_magmoms"] = moments
    volume = espresso_decks(atoms)
    written = written_moments(volume.decks[0].files["pw.in"])
    error = np.abs(written - moments[volume.cell.permutation]).max()
    assert 0.01 < volume.record()["moment_binning_error"] < 0.4
    assert_allclose(error, volume.record()["moment_binning_error"], atol=1e-8)


def test_vector_moments_without_spin_orbit_coupling_need_no_relativistic_file():
    atoms = l10_cell()
    atoms.arrays["initial_magmoms"] = np.array([[0.3, 0, 0], [0, 0, 3.0]])
    text = espresso_decks(atoms, "scf").decks[0].files["pw.in"]
    system = namelists(text)["system"]
    assert system["noncolin"] is True
    assert not {"nspin", "lspinorb"} & system.keys()
    assert card(text, "ATOMIC_SPECIES")[0][2] == "Fe.pbe-small.UPF"


def test_a_spin_orbit_step_never_takes_a_scalar_relativistic_file():
    scalar = [pseudo for pseudo in PSEUDOS if not pseudo.relativistic]
    with pytest.raises(InputError, match="no fully relativistic UPF file"):
        espresso.decks(l10_cell(), name="v0", protocol=load_protocol("mae", code="espresso"), axes=AXES, pseudos=scalar)


def test_an_element_without_a_pseudopotential_is_refused():
    only_iron = [pseudo for pseudo in PSEUDOS if pseudo.element == "Fe"]
    with pytest.raises(InputError, match="Pt has no pseudopotential"):
        espresso.decks(l10_cell(), name="v0", protocol=load_protocol("scf", code="espresso"), pseudos=only_iron)


@pytest.mark.slow
@pytest.mark.needs_pwx
@pytest.mark.skipif(shutil.which("pw.x") is None, reason="pw.x is not installed")
def test_the_written_decks_run_and_give_the_stored_anisotropy(tmp_path):
    volume = espresso_decks(l10_cell(), kmesh="4x4x3")
    protocol = load_protocol("mae", code="espresso", changes={"kmesh": "4x4x3"})
    folder = tmp_path / "with a space"
    write_decks(folder, deck_set(volume, protocol))
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    for deck in volume.decks:
        subprocess.run(["sh", folder / "volumes" / deck.id / "run.sh"], check=True, env=environment, timeout=300)
    scf, along_x, along_z = (parse(folder / "volumes" / deck.id) for deck in volume.decks)
    assert {scf.status, along_x.status, along_z.status} == {"ok"}
    reference = json.loads((DATA / "qe_fept" / "reference.json").read_text())
    rydberg = 13.605693122994
    assert_allclose(scf.energy / rydberg, reference["jobs"]["scf"]["last_energy_Ry"], atol=2e-6)
    assert_allclose(scf.moments, reference["jobs"]["scf"]["site_moments_muB"], atol=0.005)
    anisotropy = 1e3 * (along_x.free_band_energy - along_z.free_band_energy)
    assert_allclose(anisotropy, reference["E_x_minus_E_z"]["k443"]["band_sum_plus_demet"], atol=0.02)
