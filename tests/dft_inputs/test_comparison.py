"""Truth: displacements made on purpose, and their invariance under numbering, translation and lattice vectors."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.geometry import find_mic
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from run_tables import synthetic_runs

from aet2dft.dft_inputs.comparison import compare, compare_volumes
from aet2dft.dft_inputs.run_table import RelaxedTable
from aet2dft.errors import InputError

CELLS = {
    "cubic": np.eye(3) * 7.75,
    "triclinic": np.array([[7.6, 0.0, 0.0], [0.4, 7.9, 0.0], [-0.3, 0.5, 7.7]]),
    "slanted": np.array([[7.7, 0.0, 0.0], [6.0, 5.0, 0.0], [0.5, 3.0, 7.0]]),
}
seeds = st.integers(0, 2**32 - 1)
cells = st.sampled_from(sorted(CELLS))
translations = st.tuples(*[st.floats(-30, 30)] * 3).map(np.array)


def volume(cell="cubic", *, seed=0, pbc=True):
    """32 sites of a 2 x 2 x 2 cell, species at random, numbered at random."""
    rng = np.random.default_rng(seed)
    atoms = bulk("Pt", "fcc", a=2.0, cubic=True) * (2, 2, 2)
    atoms.set_cell(CELLS[cell], scale_atoms=True)
    atoms.pbc = pbc
    atoms.symbols[rng.permutation(32)[:13]] = "Fe"
    atoms.set_array("site_id", rng.permutation(1000)[:32].astype(np.int32))
    return atoms


def centered(displacements):
    return displacements - displacements.mean(axis=0)


def moved(atoms, displacements):
    result = atoms.copy()
    result.positions += displacements
    return result


def random_displacements(seed, scale=0.14):
    return np.random.default_rng(seed).normal(0, scale, size=(32, 3))


@given(seed=seeds, cell=cells, translation=translations, pbc=st.booleans())
def test_made_displacements_come_back_after_translation_lattice_shifts_and_renumbering(seed, cell, translation, pbc):
    rng = np.random.default_rng(seed)
    measured = volume(cell, seed=seed, pbc=pbc)
    truth = centered(random_displacements(seed))
    shifts = rng.integers(-2, 3, size=(32, 3)) @ CELLS[cell] if pbc else 0.0
    relaxed = moved(measured, truth + translation + shifts)[rng.permutation(32)]
    result, comparison = compare(measured, relaxed)
    assert_allclose(result.arrays["relaxation"], truth, atol=1e-9)
    assert comparison.rmsd == pytest.approx(np.sqrt((truth**2).sum(axis=1).mean()))
    assert comparison.max_displacement == pytest.approx(np.linalg.norm(truth, axis=1).max())
    assert comparison.max_index == np.linalg.norm(truth, axis=1).argmax()
    assert_allclose(comparison.rms_by_axis, np.sqrt((truth**2).mean(axis=0)))
    multiple = np.linalg.solve(CELLS[cell].T, comparison.offset - translation)
    assert_allclose(multiple, np.rint(multiple) if pbc else 0.0, atol=1e-9)
    assert comparison.matched_by == "site_id"
    assert (comparison.n, comparison.n_only_measured, comparison.n_only_relaxed) == (32, 0, 0)


@given(seed=seeds, cell=cells)
def test_the_offset_is_the_mean_displacement(seed, cell):
    displacements = random_displacements(seed)
    _, comparison = compare(volume(cell), moved(volume(cell), displacements))
    assert_allclose(comparison.offset, displacements.mean(axis=0), atol=1e-9)


def test_a_shift_by_half_the_cell_that_splits_the_atoms_between_two_images_is_an_offset():
    measured = moved(volume(), np.array([7.75 / 8, 0.0, 0.0]))  # no atom on the border: exactly half of them is wrapped
    displacements = np.where(np.arange(32) % 2, 0.01, -0.01)[:, None] * [1.0, 0.0, 0.0]
    relaxed = moved(measured, displacements + np.array([7.75 / 2, 0.0, 0.0]))
    relaxed.wrap()
    result, comparison = compare(measured, relaxed)
    assert_allclose(result.arrays["relaxation"], displacements, atol=1e-9)
    assert abs(comparison.offset[0]) == pytest.approx(7.75 / 2)


@given(seed=seeds, cell=cells)
def test_even_for_scattered_atoms_the_rest_is_of_minimum_images_and_of_mean_zero(seed, cell):
    scattered = np.random.default_rng(seed).uniform(-1, 1, size=(32, 3)) @ CELLS[cell]
    result, comparison = compare(volume(cell), moved(volume(cell), scattered))
    rest = result.arrays["relaxation"]
    assert_allclose(rest.mean(axis=0), 0.0, atol=1e-9)
    assert_allclose(find_mic(rest, CELLS[cell])[1], np.linalg.norm(rest, axis=1), atol=1e-6)
    multiple = np.linalg.solve(CELLS[cell].T, (scattered - comparison.offset - rest).T)
    assert_allclose(multiple, np.rint(multiple), atol=1e-9)


def test_one_atom_that_left_does_not_spoil_the_images_of_the_others():
    measured = volume()
    displacements = np.zeros((32, 3))
    displacements[5] = [3.5, 0.0, 0.0]
    _, comparison = compare(measured, moved(measured, displacements + np.array([3.0, 0.0, 0.0])))
    assert comparison.max_index == 5
    assert comparison.max_displacement == pytest.approx(3.5 * 31 / 32)


def test_neither_model_is_changed():
    measured, relaxed = volume(), moved(volume(), random_displacements(2))
    before = measured.copy(), relaxed.copy()
    result, _ = compare(measured, relaxed)
    for atoms, copy in zip((measured, relaxed), before, strict=True):
        assert set(atoms.arrays) == set(copy.arrays)
        assert_array_equal(atoms.positions, copy.positions)
    assert_array_equal(result.positions, measured.positions)
    assert_array_equal(result.arrays["site_id"], measured.arrays["site_id"])


def test_atoms_without_a_partner_are_counted_and_marked():
    particle = volume(pbc=False)
    relaxed = moved(particle, random_displacements(3))[4:]
    relaxed.extend(Atoms("Pt", positions=[[50, 0, 0]]))
    relaxed.arrays["site_id"][-1] = 5000
    result, comparison = compare(particle, relaxed)
    assert (comparison.n, comparison.n_only_measured, comparison.n_only_relaxed) == (28, 4, 1)
    assert np.isnan(result.arrays["relaxation"][:4]).all()
    assert np.isfinite(result.arrays["relaxation"][4:]).all()


def test_displacements_are_told_apart_by_species():
    measured = volume()
    is_iron = np.asarray(measured.symbols) == "Fe"
    displacements = np.where(is_iron, 0.3, 0.1)[:, None] * np.where(np.arange(32) % 2, 1, -1)[:, None] * [1.0, 0.0, 0.0]
    offset = displacements.mean(axis=0)
    _, comparison = compare(measured, moved(measured, displacements))
    squared = ((displacements - offset) ** 2).sum(axis=1)
    expected = {"Fe": np.sqrt(squared[is_iron].mean()), "Pt": np.sqrt(squared[~is_iron].mean())}
    assert comparison.rmsd_by_species == pytest.approx(expected)
    assert comparison.rms_by_axis[1] == pytest.approx(0.0, abs=1e-12)


def test_models_without_site_ids_are_matched_by_order_where_the_species_agree():
    measured, relaxed = volume(), moved(volume(), random_displacements(4))
    del relaxed.arrays["site_id"]
    _, comparison = compare(measured, relaxed)
    assert comparison.matched_by == "order"
    assert comparison.n == 32
    with pytest.raises(InputError, match="no site_id in common"):
        compare(measured, relaxed[1:])
    with pytest.raises(InputError, match="no site_id in common"):
        compare(measured, relaxed[::-1])


def test_the_measurement_error_of_the_compared_atoms_is_reported():
    measured = volume()
    sigma = np.full((32, 3), 0.127)
    sigma[30:] = 0.0
    measured.set_array("position_sigma", sigma)
    _, comparison = compare(measured, moved(measured, random_displacements(5))[:])
    assert comparison.measurement_sigma == pytest.approx(0.22, abs=1e-3)
    measured.arrays["position_sigma"][:] = 0.0
    assert compare(measured, volume())[1].measurement_sigma is None
    assert compare(volume(), volume())[1].measurement_sigma is None


@pytest.mark.parametrize("width", [(), (3,)])
def test_the_change_of_the_moments_follows_the_sites(width):
    measured = volume()
    before = np.random.default_rng(6).normal(size=(32, *width))
    measured.set_array("magmoms", before)
    relaxed = measured[::-1]
    relaxed.arrays["magmoms"] += 0.1
    expected = 0.1 * np.sqrt(3 if width else 1)
    assert compare(measured, relaxed)[1].moment_rms == pytest.approx(expected)
    assert compare(volume(), relaxed)[1].moment_rms is None


def test_a_model_equals_itself():
    result, comparison = compare(volume(), volume())
    assert comparison.rmsd == 0.0
    assert_array_equal(comparison.offset, np.zeros(3))
    assert_array_equal(result.arrays["relaxation"], np.zeros((32, 3)))


def exchanged_species(atoms):
    atoms.numbers[[0, 1]] = 26, 26
    atoms.numbers[0] = 78


def stretched_cell(atoms):
    atoms.set_cell(np.asarray(atoms.cell) * 1.001)


def doubled_id(atoms):
    atoms.arrays["site_id"][3] = atoms.arrays["site_id"][4]


def other_ids(atoms):
    atoms.arrays["site_id"] += 10_000


def lost_position(atoms):
    atoms.positions[7, 1] = np.nan


def flat_cell(atoms):
    atoms.cell[2] = atoms.cell[1]


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (
            exchanged_species,
            r"(1 site holds|\d+ sites hold) different species \(first: site \d+, measured (Fe|Pt), relaxed (Fe|Pt)\)",
        ),
        (stretched_cell, "cells differ by up to 0.00775 Å"),
        (doubled_id, "stands twice in the relaxed model"),
        (other_ids, "no site in common"),
        (lost_position, "NaN or infinite"),
        (flat_cell, "no volume"),
    ],
)
def test_models_that_cannot_be_compared_are_refused(damage, complaint):
    measured, relaxed = volume(), volume()
    measured.numbers[[0, 1]] = relaxed.numbers[[0, 1]] = 26, 78
    damage(relaxed)
    with pytest.raises(InputError, match=complaint):
        compare(measured, relaxed)


def test_a_difference_of_cells_below_the_tolerance_is_rounding():
    relaxed = volume()
    relaxed.set_cell(np.asarray(relaxed.cell) + 5e-4)
    assert compare(volume(), relaxed)[1].n == 32


def test_the_box_around_a_particle_is_not_the_cell_of_its_volumes():
    particle, step = volume(pbc=False), random_displacements(1)
    particle.set_cell([60.0, 60.0, 60.0])
    relaxed = RelaxedTable(
        volume=np.full(32, "v00000"), site_id=particle.arrays["site_id"], position=particle.positions + step,
        cells={"v00000": CELLS["cubic"]},
    )  # fmt: skip
    found, result = compare_volumes(particle, replace(synthetic_runs((1, 1, 1)), relaxed=relaxed))
    assert_allclose(found.arrays["relaxation"], centered(step), atol=1e-9)
    assert_allclose(result.rmsd, np.sqrt((centered(step) ** 2).sum(axis=1).mean()))
    assert_array_equal(found.cell.array, particle.cell.array)
