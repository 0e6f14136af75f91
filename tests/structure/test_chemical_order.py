"""The verb `order` as a whole. Truth: synthetic particles whose grains and variants are known, and symmetry."""

import hashlib
import os
import subprocess
import sys

import numpy as np
import pytest
from ase import Atoms
from hypothesis import given, settings
from numpy.testing import assert_allclose, assert_array_equal
from reference import frame_map, mapped_variants
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation
from strategies import particles, permuted, rotated, rotations, seeds, shifted, shifts, sphere

from aet2dft.atoms import ARRAYS
from aet2dft.config import OrderSettings
from aet2dft.errors import InputError
from aet2dft.structure.chemical_order import order
from aet2dft.structure.grain_table import RECIPES
from aet2dft.structure.variants import VARIANTS, sublattice
from aet2dft.synthetic import measured, nine_grains, ordered_crystal, particle, two_grains

A = 3.875
FAST = OrderSettings(surrogates=0)
TURN = Rotation.from_euler("zyx", (21, -33, 57), degrees=True).as_matrix()
WRITTEN = [name for name, spec in ARRAYS.items() if spec.writer == "order"]


def analysed(**changes):
    """A nine-grain particle as tomography would see it, the analysed atoms and the record."""
    model = measured(particle(nine_grains(), **changes), rotation=TURN, shift=(12.0, 34.0, 56.0))
    return (model, *order(model, OrderSettings(surrogates=3)))


@pytest.fixture(scope="module")
def uniform():
    """Three percent of antisites everywhere."""
    return analysed()


@pytest.fixture(scope="module")
def graded():
    """Three percent of antisites in the grains, 33 percent at their boundaries."""
    return analysed(boundary_antisites=0.30)


def label_accuracy(model, atoms):
    """Fraction of real atoms with the right variant: of all, and of those beyond one cell from another grain."""
    real = model.arrays["true_number"] > 0
    found = real & (atoms.arrays["lattice"] == 1)
    turn, move = frame_map(atoms.arrays["site"][found], model.arrays["true_site"][found])
    right = (mapped_variants(turn, move)[model.arrays["true_variant"]] == atoms.arrays["variant"]) & found
    inner = real.copy()
    for number in np.unique(model.arrays["true_grain"][real]):
        own = real & (model.arrays["true_grain"] == number)
        others = cKDTree(model.positions[real & ~own])
        inner[own] = others.query(model.positions[own])[0] > A
    return right[real].mean(), right[inner].mean()


def test_labels_of_a_uniformly_disordered_particle(uniform):
    everywhere, inner = label_accuracy(*uniform[:2])
    assert everywhere >= 0.935
    assert inner >= 0.998


def test_labels_of_a_particle_with_disordered_boundaries(graded):
    everywhere, inner = label_accuracy(*graded[:2])
    assert everywhere >= 0.89
    assert inner >= 0.985


@pytest.mark.parametrize("name", ["uniform", "graded"])
def test_all_nine_grains_are_found_with_the_right_phase(name, request):
    model, atoms, found = request.getfixturevalue(name)
    grains = found.chemical.grains
    for number, grain in enumerate(nine_grains(), start=1):
        own = model.arrays["true_grain"] == number
        held = np.bincount(atoms.arrays["grain"][own], minlength=len(grains) + 1)
        held[0] = 0
        phases = [str(grains.phase[k - 1]) for k in np.flatnonzero(held >= 0.2 * own.sum())]
        expected = {0: "A1", 1: "L12", 2: "L10"}[int(VARIANTS[grain.variant].sum())]
        assert expected in phases, f"grain {number} ({expected}) is held by {phases}"


def test_sizes_of_the_large_grains_are_right_within_three_percent(uniform):
    model, _, found = uniform
    true = np.sort(np.bincount(model.arrays["true_grain"][model.arrays["true_number"] > 0]))[::-1]
    assert found.chemical.grains.n_atoms[:2] == pytest.approx(true[:2], rel=0.03)


def test_order_of_the_large_grains_is_what_their_disorder_leaves(uniform):
    _, atoms, found = uniform
    grains = found.chemical.grains
    for row in range(2):
        deep = (atoms.arrays["grain"] == grains.grain[row]) & (atoms.arrays["grain_depth"] > 2 * A)
        # three percent of antisites, seen with one percent of wrong species
        expected = (1 - 2 * 0.03) * (1 - 2 * 0.01)
        assert atoms.arrays["sublattice_order"][deep, grains.variant[row]].mean() == pytest.approx(expected, abs=0.015)


@given(particle=particles(), rotation=rotations(), shift=shifts(), seed=seeds)
@settings(max_examples=10)
def test_order_does_not_depend_on_frame_or_numbering(particle, rotation, shift, seed):
    moved, old = permuted(shifted(rotated(particle, rotation), shift), seed)
    (atoms, here), (other, there) = order(particle, FAST), order(moved, FAST)
    assert_array_equal(there.chemical.grains.n_atoms, here.chemical.grains.n_atoms)
    assert_array_equal(np.sort(there.chemical.grains.phase), np.sort(here.chemical.grains.phase))
    assert_allclose(there.lattices[0].cubic_a, here.lattices[0].cubic_a, atol=1e-6)
    assert_allclose(there.lattices[0].rms_displacement[3], here.lattices[0].rms_displacement[3], atol=1e-6)
    assert len(there.vacancies.site) == len(here.vacancies.site)
    for name in ("lattice", "antisite"):
        assert_array_equal(other.arrays[name], atoms.arrays[name][old])
    assert_allclose(other.arrays["grain_depth"], atoms.arrays["grain_depth"][old], atol=1e-6)
    sorted_order = [np.sort(a.arrays["sublattice_order"][:, 1:15], axis=1) for a in (other, atoms)]
    assert_allclose(sorted_order[0], sorted_order[1][old], atol=1e-9)
    volume_strain = [a.arrays["strain"][:, :3].sum(axis=1) for a in (other, atoms)]
    assert_allclose(volume_strain[0], volume_strain[1][old], atol=1e-8)
    for one, two in zip(here.warren_cowley, there.warren_cowley, strict=True):
        assert_allclose(two.all_atoms, one.all_atoms, atol=1e-9)


@given(rotation=rotations())
@settings(max_examples=5)
def test_displacement_and_strain_turn_with_the_particle(rotation):
    model = measured(particle(two_grains(), n_atoms=900, seed=4), seed=4, false_atoms=0.0)
    atoms, _ = order(model, FAST)
    turned, _ = order(rotated(model, rotation), FAST)
    assert_allclose(turned.arrays["displacement"], atoms.arrays["displacement"] @ rotation.T, atol=1e-6)
    xx, yy, zz, yz, xz, xy = atoms.arrays["strain"].T
    tensor = np.moveaxis(np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]]), -1, 0)
    expected = rotation @ tensor @ rotation.T
    assert_allclose(turned.arrays["strain"][:, 3], expected[:, 1, 2], atol=1e-8)
    assert_allclose(turned.arrays["strain"][:, 0], expected[:, 0, 0], atol=1e-8)


def test_the_arrays_are_those_of_the_table_and_the_model_is_untouched():
    model = measured(particle(two_grains(), n_atoms=900))
    before = {name: array.copy() for name, array in model.arrays.items()}
    atoms, _ = order(model, FAST)
    assert set(model.arrays) == set(before)
    assert all((model.arrays[name] == array).all() for name, array in before.items())
    for name in [*WRITTEN, "site_id"]:
        array, spec = atoms.arrays[name], ARRAYS[name]
        assert array.shape == (len(atoms), *spec.shape)
        assert array.dtype == np.dtype(spec.dtype)
    assert sorted(atoms.arrays["site_id"]) == list(range(1, len(atoms) + 1))


def test_arrays_agree_with_each_other(uniform):
    _, atoms, found = uniform
    arrays = atoms.arrays
    grains = found.chemical.grains
    indexed = arrays["lattice"] > 0
    assert (arrays["grain"][~indexed] == 0).all()
    assert_array_equal(np.bincount(arrays["grain"])[1:], grains.n_atoms)
    for row in range(len(grains)):
        own = arrays["grain"] == grains.grain[row]
        assert (arrays["variant"][own] == grains.variant[row]).all()
        assert (arrays["grain_depth"][own] > 0).all()
        assert_allclose(grains.concentration[row], (atoms.symbols[own] == "Fe").mean())
        assert_allclose(grains.center[row], atoms.positions[own].mean(axis=0))
    expected = VARIANTS[arrays["variant"], sublattice(arrays["site"])] != (atoms.symbols == "Fe")
    assert_array_equal(arrays["antisite"], expected & (arrays["variant"] > 0))
    ideal = found.lattices[0].positions(arrays["site"][indexed])
    assert_allclose(atoms.positions[indexed] - arrays["displacement"][indexed], ideal, atol=1e-9)


def test_neighboring_recipes_are_told_and_one_of_them_is_the_default(uniform):
    _, _, found = uniform
    recipes = found.chemical.recipes
    assert [(r.window, r.fixed) for r in recipes] == [(w, t is not None) for w, t in RECIPES]
    default = next(r for r in recipes if r.window == 0.7 and not r.fixed)
    ordered = found.chemical.grains.n_atoms[found.chemical.grains.variant > 0]
    assert default.sizes == tuple(ordered[:10])
    # a higher level labels fewer atoms
    fixed = [r for r in recipes if r.fixed]
    assert [r.n_a1 for r in fixed] == sorted(r.n_a1 for r in fixed)


def test_settings_reach_the_steps_they_belong_to():
    model = measured(particle(two_grains(), n_atoms=3000))
    _, usual = order(model, FAST)
    _, strict = order(model, OrderSettings(surrogates=0, threshold=0.7, min_grain=5))
    assert strict.chemical.grains.n_atoms.min() >= 5
    assert strict.chemical.grains.n_atoms[0] < usual.chemical.grains.n_atoms[0]
    _, cubic = order(model, OrderSettings(surrogates=0, strain_reference="cubic", strain_sigma=5.0))
    assert (cubic.strain.reference, cubic.strain.window) == ("cubic", 5.0)
    assert cubic.strain.floor.mean() < usual.strain.floor.mean()
    _, buried = order(model, OrderSettings(surrogates=0, free_surface=False))
    assert buried.chemical.grains.n_deep[0] > usual.chemical.grains.n_deep[0]


@pytest.mark.parametrize("n_atoms", [900, 1200])
def test_without_the_free_surface_nothing_bounds_a_particle_of_one_grain(n_atoms):
    model = sphere(ordered_crystal(5, 10), n_atoms)
    atoms, found = order(model, OrderSettings(surrogates=0, threshold=0.3, free_surface=False))
    assert found.chemical.grains.n_atoms.tolist() == [n_atoms]
    assert np.isnan(atoms.arrays["grain_depth"]).all()
    assert found.chemical.profiles == ()
    assert found.chemical.grains.antisite_fraction_buried.tolist() == [0.0]
    assert [s.found for s in found.chemical.swaps] == [0] * (n_atoms >= 1000)


def test_strain_is_measured_against_the_lattice_that_was_asked_for():
    model = sphere(ordered_crystal(1, 8), 900)
    model.positions *= np.array([1.0, 1.0, 1.02])
    atoms, triclinic = order(model, FAST)
    assert_allclose(atoms.arrays["strain"], 0.0, atol=1e-9)
    atoms, cubic = order(model, OrderSettings(surrogates=0, strain_reference="cubic"))
    expected = 0.02 * A / cubic.lattices[0].cubic_a
    # the cubic axes of a particle that is no perfect sphere are turned by a second-order angle
    assert_allclose(atoms.arrays["strain"][:, 2] - atoms.arrays["strain"][:, 0], expected, atol=1e-6)
    assert_allclose(cubic.strain.cell[2] - cubic.strain.cell[0], expected, atol=1e-6)
    assert triclinic.strain.rms.max() < 1e-9


@pytest.mark.parametrize(("species", "count"), [("Pt", "1"), ("X", "none")])
def test_one_species_has_lattice_and_strain_but_no_chemical_order(species, count):
    model = sphere(ordered_crystal(1, 8, species=(species, species)), 900)
    atoms, found = order(model)
    assert found.chemical is None
    assert found.warren_cowley == ()
    assert "strain" in atoms.arrays
    assert "variant" not in atoms.arrays
    assert f"variants and grains need two species, these atoms are of {count}: left out" in found.warnings


def test_grains_of_an_earlier_result_do_not_outlive_their_species():
    atoms, _ = order(sphere(ordered_crystal(1, 8), 600), FAST)
    atoms.symbols[0] = "Ni"
    again, found = order(atoms, FAST)
    assert found.chemical is None
    chemical = {"variant", "grain", "grain_depth", "sublattice_order", "sublattice_order_sigma", "antisite"}
    assert set(again.arrays) == set(atoms.arrays) - chemical - {"swap_partner"}


def test_atoms_without_a_site_are_counted_in_a_warning():
    model = measured(particle(two_grains(), n_atoms=900), false_atoms=0.02)
    atoms, found = order(model, FAST)
    left = int((atoms.arrays["lattice"] == 0).sum())
    assert left > 5
    assert any(text.startswith(f"{left:,} of {len(atoms):,} atoms find no lattice site") for text in found.warnings)
    sound = particle(two_grains(), n_atoms=900)
    far = sound.positions.max(axis=0) + np.array([1.1, 1.3, 0.7])
    lone = Atoms([*sound.numbers, 26], positions=[*sound.positions, far])
    assert "1 of 901 atoms finds no lattice site; it belongs to no grain" in order(lone, FAST)[1].warnings


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda p: np.where(np.arange(len(p))[:, None] == 7, np.nan, p), "NaN"),
        (lambda p: p / 10.0, "Å"),
        (lambda p: np.vstack([p[:-1], p[:1] + 0.01]), "one place"),
    ],
)
def test_an_unsound_model_is_refused(spoil, words):
    model = sphere(ordered_crystal(1, 6), 400)
    with pytest.raises(InputError, match=words):
        order(Atoms(model.symbols, positions=spoil(model.positions)))


@given(seed=seeds)
@settings(max_examples=3)
def test_the_same_seed_gives_the_same_record(seed):
    model = measured(particle(two_grains(), n_atoms=1500), seed=1)
    chosen = OrderSettings(surrogates=2, min_grain=5)
    (atoms, first), (again, second) = order(model, chosen, seed=seed), order(model, chosen, seed=seed)
    assert repr(first) == repr(second)
    assert digest(atoms) == digest(again)


def digest(atoms):
    """One number for all bytes of all arrays."""
    total = hashlib.sha256()
    for name in sorted(atoms.arrays):
        total.update(atoms.arrays[name].tobytes())
    return total.hexdigest()


THREADS_SCRIPT = """
import hashlib
from aet2dft.structure.chemical_order import order
from aet2dft.synthetic import measured, particle, two_grains
atoms, found = order(measured(particle(two_grains(), n_atoms=3000)))
total = hashlib.sha256(repr(found).encode())
for name in sorted(atoms.arrays):
    total.update(atoms.arrays[name].tobytes())
print(total.hexdigest())
"""


@pytest.mark.slow
def test_one_two_and_four_threads_give_the_same_bytes():
    digests = set()
    for threads in ("1", "2", "4"):
        names = ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS", "OPENBLAS_NUM_THREADS")
        environment = os.environ | dict.fromkeys(names, threads)
        done = subprocess.run(
            [sys.executable, "-c", THREADS_SCRIPT], env=environment, capture_output=True, text=True, check=True
        )
        digests.add(done.stdout)
    assert len(digests) == 1
    assert len(digests.pop().strip()) == 64
