"""Labels, grains, depth, boundaries. Truth: flooding, all distances, the lattice translations of the variants."""

import numpy as np
import pytest
from ase import Atoms
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from reference import components as flooded
from reference import mapped_variants, neighbors_by_site
from scipy.spatial.distance import cdist
from strategies import seeds, variants

from aet2dft.structure.crystal import crystals, species_pair
from aet2dft.structure.grains import (
    Labeler,
    boundaries,
    components,
    full_window_number,
    number_grains,
    signed_depth,
)
from aet2dft.structure.lattice import index_lattice
from aet2dft.structure.neighbors import SiteGrid
from aet2dft.structure.order_parameters import WindowSums, null_level
from aet2dft.structure.variants import PHASE_OF
from aet2dft.synthetic import measured, ordered_crystal, particle, two_grains

CORNERS = ((0, 1, 1), (1, 0, 1), (1, 1, 0))


@pytest.fixture(scope="module")
def crystal():
    """The one crystal of a particle of two grains, 1,500 atoms, ideal positions."""
    atoms = measured(particle(two_grains(), n_atoms=1500), noise=0.0, missing=0.01, false_atoms=0.0)
    return crystals(*index_lattice(atoms))[0]


def cluster(seed, n=150):
    rng = np.random.default_rng(seed)
    site = rng.integers(-4, 5, size=(6 * n, 3))
    site = np.unique(site[site.sum(axis=1) % 2 == 0], axis=0)
    return rng.permutation(site)[:n].astype(np.int32)


@given(seed=seeds)
def test_components_are_those_of_flooding(seed):
    site = cluster(seed)
    label = np.random.default_rng(seed).integers(0, 3, size=len(site)).astype(np.int32)
    part = components(label, SiteGrid.of(site).neighbors(site))
    found = {frozenset(np.flatnonzero(part == k)) for k in np.unique(part)}
    assert found == flooded(label, neighbors_by_site(site))


def test_grains_are_numbered_by_size_over_all_crystals():
    parts = [np.array([0, 0, 1, 1, 1]), np.array([0, 1, 1, 1, 1, 2, 2])]
    first, second = number_grains(parts, min_grain=2)
    assert_array_equal(first, [3, 3, 2, 2, 2])
    assert_array_equal(second, [0, 1, 1, 1, 1, 4, 4])


@given(seed=seeds, least=st.integers(1, 12))
def test_every_component_of_the_least_size_is_a_grain_and_no_smaller_one(seed, least):
    part = np.random.default_rng(seed).integers(0, 12, size=80)
    part = np.unique(part, return_inverse=True)[1]
    (grain,) = number_grains([part], min_grain=least)
    sizes = np.bincount(part)
    assert grain.max() == (sizes >= least).sum()
    assert_array_equal(grain > 0, sizes[part] >= least)
    assert (np.diff(np.bincount(grain)[1:]) <= 0).all()


@pytest.mark.parametrize("free_surface", [True, False])
def test_depth_is_the_distance_to_the_nearest_place_outside(crystal, free_surface):
    inside = crystal.positions[:, 0] > crystal.positions[:, 0].mean()
    depth = signed_depth(crystal, inside, free_surface=free_surface)
    half = 0.5 * crystal.nearest_neighbor
    others = np.vstack([crystal.positions[~inside], crystal.vacuum]) if free_surface else crystal.positions[~inside]
    assert_allclose(depth[inside], cdist(crystal.positions[inside], others).min(axis=1) - half, atol=1e-9)
    outward = cdist(crystal.positions[~inside], crystal.positions[inside]).min(axis=1)
    assert_allclose(depth[~inside], half - outward, atol=1e-9)


def test_depth_is_asked_only_where_it_is_wanted(crystal):
    inside = np.arange(len(crystal.site)) % 2 == 0
    query = np.arange(len(crystal.site)) < 10
    depth = signed_depth(crystal, inside, free_surface=True, query=query)
    assert np.isfinite(depth[query]).all()
    assert np.isnan(depth[~query]).all()


def test_a_grain_that_fills_everything_is_bounded_by_the_free_surface_alone():
    crystal = stand_in(particle(two_grains(), n_atoms=1500).arrays["true_site"])
    everything = np.ones(len(crystal.site), dtype=bool)
    assert np.isinf(signed_depth(crystal, everything, free_surface=False)).all()
    depth = signed_depth(crystal, everything, free_surface=True)
    missing = np.array([12 - len(around) for around in neighbors_by_site(crystal.site)])
    assert_allclose(depth[missing >= 3], 0.5 * crystal.nearest_neighbor, atol=1e-3)
    assert depth.max() > 3 * crystal.fit.cubic_a


def test_vacuum_touches_the_particle_from_outside_and_vacancies_are_not_vacuum(crystal):
    distance = cdist(crystal.vacuum, crystal.positions).min(axis=1)
    assert_allclose(distance, crystal.nearest_neighbor, atol=1e-3)
    radius = np.linalg.norm(crystal.positions - crystal.positions.mean(axis=0), axis=1).max()
    assert np.linalg.norm(crystal.vacuum - crystal.positions.mean(axis=0), axis=1).min() > radius - crystal.fit.cubic_a


@given(variant=variants())
def test_a_perfect_particle_is_one_grain_of_its_variant(variant):
    site = ordered_crystal(variant, 5).arrays["true_site"]
    crystal = stand_in(site)
    labeler = Labeler.of(crystal, window=0.7, threshold=None, concentration=0.3)
    first = np.array(ordered_crystal(variant, 5).symbols == "Fe")
    labels = labeler(first)
    # a corner atom sees so few others that even perfect order there may be chance
    assert (labels.variant == variant).mean() > 0.98
    assert set(labels.variant) <= {0, variant}
    assert_array_equal(labels.variant, labeler.variants(first))


def stand_in(site):
    """An indexed perfect crystal of these sites."""
    atoms = Atoms(["Pt"] * len(site), positions=1.9375 * site)
    return crystals(*index_lattice(atoms))[0]


def test_the_level_is_the_chance_level_in_the_core_and_rises_to_the_surface(crystal):
    labeler = Labeler.of(crystal, window=0.7, threshold=None, concentration=0.3)
    depth = signed_depth(crystal, np.ones(len(crystal.site), dtype=bool), free_surface=True)
    core = labeler.level[depth > 2.5 * crystal.fit.cubic_a]
    assert_allclose(core, null_level(0.7, 0.3), rtol=0.03)
    assert labeler.level[depth < 2.0].min() > 1.1 * null_level(0.7, 0.3)
    assert_allclose(Labeler.of(crystal, window=0.7, threshold=0.4, concentration=0.3).level, 0.4)


def test_one_atom_in_a_hundred_of_a_random_alloy_is_labelled_in_the_core_and_at_the_surface():
    site = particle(two_grains(), n_atoms=12_000).arrays["true_site"]
    crystal = stand_in(site)
    labeler = Labeler.of(crystal, window=0.7, threshold=None, concentration=0.3)
    rng = np.random.default_rng(0)
    labelled = np.mean([labeler.variants(rng.random(len(site)) < 0.3) > 0 for _ in range(8)], axis=0)
    assert labelled[~crystal.is_skin].mean() == pytest.approx(0.01, abs=0.005)
    assert labelled[crystal.is_skin].mean() == pytest.approx(0.01, abs=0.01)


@pytest.mark.parametrize("window", [0.5, 0.7, 1.0])
def test_the_effective_number_of_a_full_window_is_that_of_the_sums(window):
    site = ordered_crystal(1, 12).arrays["true_site"]
    sums = WindowSums(site, window)
    middle = np.argmin(np.abs(site - 12).sum(axis=1))
    effective = sums.weight.sum(axis=0)[middle] ** 2 / sums.squared.sum(axis=0)[middle]
    assert full_window_number(window) == pytest.approx(effective, rel=0.01)


def relation(first, second):
    """Kind and translation of the one boundary between two blocks of these variants."""
    site = ordered_crystal(1, 3).arrays["true_site"]
    grain = np.where(site[:, 0] < 3, 1, 2).astype(np.int32)
    found = boundaries((stand_in(site),), grain, np.array([0, first, second], dtype=np.int32))
    assert (found.first[0], found.second[0]) == (1, 2)
    return str(found.kind[0]), found.translation[0]


@pytest.mark.parametrize(
    ("first", "second", "kind"),
    [
        (1, 2, "antiphase"),
        (7, 14, "antiphase"),
        (3, 12, "antiphase"),
        (3, 5, "rotation"),
        (1, 3, "phase"),
        (1, 14, "phase"),
        (0, 1, "phase"),
        (0, 3, "phase"),
    ],
)
def test_boundaries_are_named_by_what_relates_the_two_variants(first, second, kind):
    assert relation(first, second)[0] == kind


@given(first=variants(), second=variants())
def test_a_translation_is_given_exactly_where_one_carries_one_variant_into_the_other(first, second):
    if first == second:
        return
    kind, translation = relation(first, second)
    no_turn = np.eye(3, dtype=int)
    carried = [step for step in CORNERS if mapped_variants(no_turn, np.array(step))[first] == second]
    assert (kind == "antiphase") == bool(carried)
    if carried:
        assert tuple(2 * translation) in carried
        assert PHASE_OF[first] == PHASE_OF[second]
    else:
        assert np.isnan(translation).all()


def test_bonds_between_grains_are_counted_once(crystal):
    grain = np.where(crystal.positions[:, 0] > crystal.positions[:, 0].mean(), 1, 2).astype(np.int32)
    found = boundaries((crystal,), grain, np.array([0, 1, 2], dtype=np.int32))
    around = neighbors_by_site(crystal.site)
    assert found.n_bonds.tolist() == [sum(grain[j] == 2 for i in np.flatnonzero(grain == 1) for j in around[i])]


def test_a_particle_of_one_grain_has_no_boundaries(crystal):
    found = boundaries((crystal,), np.ones(len(crystal.site), dtype=np.int32), np.array([0, 1], dtype=np.int32))
    assert found.n_bonds.size == 0
    assert found.translation.shape == (0, 3)


def test_species_come_lighter_first_and_only_in_pairs():
    assert species_pair(Atoms("PtFePt")) == ("Fe", "Pt")
    assert species_pair(Atoms("PtPt")) is None
    assert species_pair(Atoms("NiPdPt")) is None
