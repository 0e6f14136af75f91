"""The alpha-shape surface. Truth: all tetrahedra of small sets; published surfaces of two alloy particles."""

import numpy as np
import pytest
from hypothesis import given, settings
from numpy.testing import assert_array_equal
from reference import alpha_shape_surface, neighbors_by_site
from scipy.io import loadmat
from scipy.spatial import ConvexHull
from strategies import rotations, seeds, sphere

from aet2dft.structure.surface import surface_atoms
from aet2dft.synthetic import ordered_crystal

ALPHA = 1.25 * 3.875 / np.sqrt(2.0)


@given(seed=seeds)
@settings(max_examples=6)
def test_the_surface_is_that_of_all_tetrahedra_one_by_one(seed):
    points = np.random.default_rng(seed).normal(scale=3.0, size=(16, 3))
    assert_array_equal(surface_atoms(points, alpha=3.0), alpha_shape_surface(points, 3.0))


@given(seed=seeds)
def test_a_large_alpha_gives_the_convex_hull(seed):
    points = np.random.default_rng(seed).normal(scale=5.0, size=(200, 3))
    assert_array_equal(np.flatnonzero(surface_atoms(points, alpha=1e6)), np.sort(ConvexHull(points).vertices))


def test_a_small_alpha_leaves_every_atom_outside():
    points = np.random.default_rng(0).normal(scale=5.0, size=(50, 3))
    assert surface_atoms(points, alpha=0.01).all()


@given(seed=seeds, rotation=rotations())
def test_turning_and_renumbering_changes_nothing_at_the_noise_of_a_measurement(seed, rotation):
    rng = np.random.default_rng(seed)
    points = sphere(ordered_crystal(1, 8), 700).positions + rng.normal(scale=0.127, size=(700, 3))
    new = rng.permutation(700)
    here = surface_atoms(points, alpha=ALPHA)
    there = surface_atoms(points[new] @ rotation.T, alpha=ALPHA)
    # a circumradius may fall within the tie-breaking shift of alpha
    assert (there != here[new]).sum() <= 1


def test_an_atom_with_all_twelve_neighbors_deep_inside_is_not_surface():
    crystal = sphere(ordered_crystal(1, 12), 2500)
    surface = surface_atoms(crystal.positions, alpha=ALPHA)
    missing = np.array([12 - len(around) for around in neighbors_by_site(crystal.arrays["true_site"])])
    assert surface[missing >= 3].all()
    assert not surface[missing == 0].any()


@pytest.mark.parametrize("n", [1, 3, 4])
def test_fewer_than_five_atoms_are_all_surface(n):
    assert surface_atoms(np.random.default_rng(0).normal(size=(n, 3)), alpha=3.0).all()


def test_atoms_in_one_plane_are_all_surface():
    plane = np.array([[x, y, 0.0] for x in range(5) for y in range(5)], dtype=float)
    assert surface_atoms(plane, alpha=3.0).all()


@pytest.mark.needs_data
@pytest.mark.parametrize(("name", "particle"), [("MEA1", 1), ("MEA4", 4)])
def test_published_surfaces_of_alloy_particles_are_reproduced_atom_by_atom(data_dir, name, particle):
    """Moniri et al., Nature 624, 564 (2023): MATLAB's alphaShape at the published cutoff of each particle."""
    folder = data_dir / "mea_hea_2023"
    points = loadmat(folder / f"model_{name}.mat")["model_refined"].T
    lengths = loadmat(folder / "MEA_bondlength.mat")
    cutoff = next(v for k, v in lengths.items() if not k.startswith("_")).ravel()[particle - 1]
    published = loadmat(folder / f"Chemsro_{name}_excl_surf.mat")["bf"].ravel().astype(int) - 1
    assert_array_equal(np.flatnonzero(surface_atoms(points, alpha=cutoff)), np.sort(published))
