"""Which atoms are real. Truth: simulated images of a crystal, and places where the crystal has no atom."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial import cKDTree

from aet2dft.recon.atoms import atom_fit, image_noise
from aet2dft.recon.atoms.atom_fit import Problem
from aet2dft.recon.atoms.evidence import Heights, Places, log_odds
from aet2dft.recon.atoms.image_model import GaussianAtoms, ImageGeometry, images
from aet2dft.recon.geometry import tilt_rotations

SPACING = 7.0
NEAREST = 5.4
GEOMETRY = ImageGeometry(
    axes=np.ascontiguousarray(np.swapaxes(tilt_rotations(np.linspace(-68, 68, 30)), 1, 2)[:, :2]),
    centers=np.full((30, 2), 32.0),
    shape=(64, 64),
)


def crystal():
    """64 atoms of two species in layers, pixels."""
    kinds = np.arange(64) % 2
    return GaussianAtoms(
        positions=SPACING * (np.indices((4, 4, 4)).reshape(3, -1).T - 1.5),
        heights=np.array([20.0, 80.0])[kinds],
        kinds=kinds,
        widths=np.array([1.35, 1.35]),
    )


def joined(atoms, positions, heights):
    """The atoms and some of the faint kind."""
    return replace(
        atoms,
        positions=np.vstack([atoms.positions, positions]),
        heights=np.append(atoms.heights, heights),
        kinds=np.append(atoms.kinds, np.zeros(len(heights), dtype=np.intp)),
    )


@pytest.fixture(scope="module")
def fitted():
    """The problem of noisy images, the crystal with fitted heights, and what is left of the images."""
    atoms = crystal()
    exact = images(GEOMETRY, atoms)
    noisy = np.random.default_rng(0).poisson(exact).astype(np.float32)
    noisy += np.random.default_rng(1).normal(size=exact.shape).astype(np.float32)
    problem = Problem.of(GEOMETRY, noisy, exact, image_noise.calibrate(noisy, exact))
    heights = atoms.heights + atom_fit.alone(problem, atoms, problem.target - exact)[0]
    atoms = replace(atoms, heights=heights)
    return problem, atoms, problem.target - images(GEOMETRY, atoms)


def test_real_atoms_and_places_without_one_are_told_apart(fitted):
    """Truth: the crystal, and 40 places between and around its atoms, each with the height that suits it best."""
    problem, atoms, residual = fitted
    places = np.random.default_rng(2).uniform(-17, 17, (4000, 3))
    places = places[cKDTree(atoms.positions).query(places)[0] > 0.75 * NEAREST][:40]
    empty = joined(atoms, places, np.ones(40)).of_atoms(np.arange(64, 104))
    heights = atom_fit.alone(problem, empty, residual)[0]
    odds = log_odds(problem, joined(atoms, places, heights), residual, costs=np.zeros(104), min_distance=NEAREST)
    assert (odds[:64] > 3).all()
    assert (odds[64:] < -3).all()
    assert (odds[64:][heights <= 0] == -np.inf).all()


def test_costs_are_taken_off_the_odds(fitted):
    problem, atoms, residual = fitted
    costs = np.zeros(64)
    free = log_odds(problem, atoms, residual, costs=costs, min_distance=NEAREST)
    costs[5] = 4.0
    assert log_odds(problem, atoms, residual, costs=costs, min_distance=NEAREST)[5] == pytest.approx(
        free[5] - 4.0, abs=0.5
    )


def test_empty_space_around_an_atom_is_a_shell():
    """Truth: the volume of the shell between the least distance and the reach of 1.35 times 2 least distances."""
    places = Places.of(np.zeros((1, 3)), 5.0)
    inner, outer = 0.85 * 5.0, 1.35 * 10.0
    assert places.neighbors.tolist() == [0]
    assert places.empty[1] == pytest.approx(4 / 3 * np.pi * (outer**3 - inner**3), rel=0.1)


def test_places_with_more_neighbors_are_more_often_taken_in_a_crystal():
    """Truth: inner atoms of a cube have six neighbors, corners three; there is no room inside."""
    places = Places.of(crystal().positions, NEAREST)
    densities = places.log_densities(np.ones(64))
    assert set(places.neighbors) == {3, 4, 5, 6}
    assert densities[places.neighbors == 6].min() > densities[places.neighbors == 3].max() + 1


def test_heights_have_the_means_and_the_spread_that_errors_do_not_explain():
    """Truth: two populations of known mean and spread, seen with errors."""
    rng = np.random.default_rng(0)
    kinds = np.arange(20_000) % 2
    errors = rng.uniform(1.0, 9.0, 20_000)
    heights = np.array([20.0, 80.0])[kinds] + np.array([2.0, 4.0])[kinds] * rng.standard_normal(20_000)
    heights += np.sqrt(errors) * rng.standard_normal(20_000)
    found = Heights.of(heights, errors, np.eye(2)[kinds])
    assert found.means == pytest.approx([20.0, 80.0], rel=0.01)
    assert np.sqrt(found.variances) == pytest.approx([2.0, 4.0], rel=0.05)
    assert found.weights == pytest.approx([0.5, 0.5])
