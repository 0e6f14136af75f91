"""Published numbers of the measured FePt particle, each asserted by name.

Truth: Y. Yang et al., "Deciphering chemical order/disorder and material properties at the single-atom level", Nature
542, 75 (2017), main text and Fig. 3, on the coordinates published with Yan et al., Nano Lett. 18, 2696 (2018).
Where a number is not in the paper, it comes from an independent analysis of the same file, and the docstring says so.
"""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from aet2dft.atoms import examine
from aet2dft.config import InputsSettings
from aet2dft.dft_inputs.input_sets import inputs
from aet2dft.structure.crystal import crystals
from aet2dft.structure.lattice import index_lattice
from aet2dft.structure.strain import local_strain
from aet2dft.structure.variants import VARIANTS, sublattice

DEEP_CELLS = 1.5


@pytest.fixture(scope="module")
def atoms(fept_order):
    """The analysed particle."""
    return fept_order[0]


@pytest.fixture(scope="module")
def found(fept_order):
    """The record of the analysis."""
    return fept_order[1]


@pytest.fixture(scope="module")
def grains(found):
    """The table of grains."""
    return found.chemical.grains


def test_the_particle_holds_6569_iron_and_16627_platinum_atoms(fept):
    soundness = examine(fept)
    assert soundness.composition == {"Fe": 6_569, "Pt": 16_627}
    assert soundness.min_distance == pytest.approx(2.012, abs=0.001)
    assert soundness.fatal == ()


def test_one_fcc_lattice_holds_nearly_all_atoms(found):
    """At least 23,030 of 23,196 on one lattice, by the independent analysis."""
    assert len(found.lattices) == 1
    assert found.lattices[0].n_indexed >= 23_030
    assert found.lattices[0].cubic_a == pytest.approx(3.8685, abs=0.001)


def test_the_index_of_an_atom_does_not_depend_on_the_tolerance(fept, atoms):
    """Independent analysis: only the number of atoms that find a site changes, never the site."""
    for tolerance in (0.25, 0.30, 0.40, 0.45):
        other, _ = index_lattice(fept, tolerance=tolerance)
        both = (other.arrays["lattice"] == 1) & (atoms.arrays["lattice"] == 1)
        assert both.sum() > 22_900
        assert_array_equal(other.arrays["site"][both], atoms.arrays["site"][both])


def test_the_two_largest_grains_are_antiphase_l12(grains, found):
    assert grains.phase[:2].tolist() == ["L12", "L12"]
    assert VARIANTS[grains.variant[:2]].sum(axis=1).tolist() == [1, 1]
    assert grains.variant[0] != grains.variant[1]
    assert ((grains.n_atoms[:2] > 7_000) & (grains.n_atoms[:2] < 8_300)).all()
    pair = (found.chemical.boundaries.first == 1) & (found.chemical.boundaries.second == 2)
    assert found.chemical.boundaries.kind[pair].tolist() == ["antiphase"]


def test_two_of_four_sublattices_are_pure_platinum_in_both_large_grains_and_two_exchange_iron(atoms, grains):
    deep = atoms.arrays["grain_depth"] > DEEP_CELLS * 3.8685
    own = sublattice(atoms.arrays["site"])

    def fraction(grain, k):
        return (atoms.symbols[deep & (atoms.arrays["grain"] == grain) & (own == k)] == "Fe").mean()

    iron = np.array([[fraction(grain, k) for k in range(4)] for grain in (1, 2)])
    held = [int(np.flatnonzero(VARIANTS[v])[0]) for v in grains.variant[:2]]
    rest = [k for k in range(4) if k not in held]
    assert (iron[:, rest] < 0.05).all()
    assert min(iron[0, held[0]], iron[1, held[1]]) > 0.93
    assert max(iron[0, held[1]], iron[1, held[0]]) < 0.05


def test_small_l12_and_l10_grains_are_found_each_with_its_significance(grains):
    small = (grains.n_atoms < 1_000) & (grains.variant > 0)
    assert (grains.phase[small] == "L12").sum() >= 3
    assert (grains.phase[small] == "L10").sum() >= 3
    assert np.isfinite(grains.significance[small]).all()
    largest = small & (grains.n_atoms >= 100)
    assert (grains.significance[largest] == 1.0).all()
    assert (grains.n_atoms[largest] > grains.largest_by_chance[largest]).all()
    assert sorted(grains.phase[largest])[:3] == ["L10", "L10", "L10"]


def test_the_a1_core_is_rich_in_platinum(grains):
    """Deeper than one cell below the surface; the surface layer is rich in iron and would hide it."""
    core = int(np.flatnonzero(grains.phase == "A1")[0])
    assert grains.n_core[core] > 1_000
    assert grains.concentration_core[core] < 0.2
    assert grains.concentration_core[core] < grains.concentration[core]


def test_an_l10_grain_lies_between_the_two_large_l12_grains_and_shares_a_plane_with_each(grains, found):
    boundary = found.chemical.boundaries
    between = []
    for row in np.flatnonzero(grains.phase == "L10"):
        touched = {int(f) for f, s in zip(boundary.first, boundary.second, strict=True) if s == grains.grain[row]}
        held = VARIANTS[grains.variant[row]]
        shared = all((VARIANTS[grains.variant[k]] & held).any() for k in (0, 1))
        between.append({1, 2} <= touched and shared)
    assert any(between)


def test_antisites_are_about_three_percent_deep_inside(grains):
    assert ((grains.antisite_fraction_deep[:2] > 0.018) & (grains.antisite_fraction_deep[:2] < 0.038)).all()
    assert (grains.antisite_fraction_buried[:2] >= grains.antisite_fraction_deep[:2]).all()


def test_antisites_are_about_one_half_far_outside_and_below_forty_percent_at_the_surface(found):
    assert [profile.grain for profile in found.chemical.profiles] == [1, 2]
    for profile in found.chemical.profiles:
        cells = profile.depth / found.lattices[0].cubic_a
        far = cells < -DEEP_CELLS
        assert 0.465 < np.average(profile.fraction[far], weights=profile.n[far]) < 0.51
        assert profile.fraction[np.argmin(np.abs(cells))] < 0.40


def test_order_is_close_to_one_in_the_core_and_negative_outside(found):
    for profile in found.chemical.profiles:
        cells = profile.depth / found.lattices[0].cubic_a
        core, far = (cells > 1.5) & (profile.n > 50), cells < -DEEP_CELLS
        assert np.average(profile.order[core], weights=profile.n[core]) > 0.9
        assert np.average(profile.order[far], weights=profile.n[far]) == pytest.approx(-0.23, abs=0.03)


def test_short_range_order_of_the_first_shell(found):
    """Independent analysis: not symmetric where the surface is rich in iron, symmetric in full shells."""
    pairs = {(w.center, w.other): w for w in found.warren_cowley}
    assert pairs["Fe", "Pt"].all_atoms[0] == pytest.approx(-0.146, abs=0.003)
    assert pairs["Pt", "Fe"].all_atoms[0] == pytest.approx(-0.051, abs=0.003)
    assert pairs["Fe", "Pt"].full_shells[0] == pytest.approx(-0.193, abs=0.003)
    assert pairs["Pt", "Fe"].full_shells[0] == pytest.approx(-0.193, abs=0.003)


def test_atoms_lie_32_pm_from_one_lattice_and_22_8_pm_from_a_smooth_one(atoms, found):
    """The paper's 21.6 pm is near the second; both by the independent analysis."""
    assert found.lattices[0].rms_displacement[3] == pytest.approx(0.32, abs=0.005)
    (crystal,) = crystals(atoms, found.lattices)
    displacement = atoms.arrays["displacement"][crystal.members]
    smooth = local_strain(crystal.positions, displacement, sigma=3.89).smooth
    residual = np.sqrt(((displacement - smooth) ** 2).sum(axis=1).mean())
    assert residual == pytest.approx(0.228, abs=0.005)
    assert found.strain.noise == pytest.approx(residual / np.sqrt(3.0), abs=1e-4)


def test_large_grains_depend_on_the_recipe_within_the_published_range(found):
    """Independent analysis: 5,900 to 9,700 atoms over windows of 0.5 to 1 cell and levels of 0.3 to 0.67."""
    for recipe in found.chemical.recipes:
        assert all(5_500 < size < 9_800 for size in recipe.sizes[:2])


def test_swaps_are_no_more_than_chance_gives(found):
    """Independent analysis: found over expected between 0.45 and 1.6 under every labelling."""
    for swaps in found.chemical.swaps:
        assert 0.45 < swaps.found / swaps.expected < 1.6


@pytest.mark.parametrize(
    ("kind", "n_atoms"),
    [
        pytest.param("supercell", [1470], id="a supercell of 1,470 atoms"),
        pytest.param("sliding", [32] * 1452, id="1,452 volumes of 32 atoms"),
        pytest.param("nested", [32, 108, 256, 500, 864, 1372], id="six nested cubes of 32 to 1,372 atoms"),
    ],
)
def test_the_volumes_of_the_paper_are_cut_around_the_l10_grain(kind, n_atoms, atoms):
    decks = inputs(atoms, kind=kind, protocol="scf", settings=InputsSettings(min_bond=1.5))
    assert [len(volume["site_ids"]) for volume in decks.volumes] == n_atoms
    assert len(decks.decks) == len(n_atoms)
    assert all(volume["status"] == "written" for volume in decks.volumes)


def test_every_atom_of_every_volume_is_where_it_was_measured(atoms):
    decks = inputs(atoms, kind="sliding", protocol="scf", settings=InputsSettings(limit=50))
    rotation, origin = np.array(decks.frame["rotation"]), np.array(decks.frame["origin"])
    row_of = {int(site): row for row, site in enumerate(atoms.arrays["site_id"])}
    for volume, deck in zip(decks.volumes, decks.decks, strict=True):
        lines = deck.files["pw.in"].splitlines()
        first = lines.index("ATOMIC_POSITIONS crystal") + 1
        fractional = np.array([line.split()[1:4] for line in lines[first : first + 32]], dtype=float)
        there = (fractional @ np.array(volume["cell"]) + volume["offset"]) @ rotation.T + origin
        rows = [row_of[site] for site in volume["site_ids"]]
        assert_allclose(there, atoms.positions[rows], atol=2e-5)  # the cell edge is rounded to 1e-5 Å
        assert [atoms.symbols[row] for row in rows] == volume["symbols"]
