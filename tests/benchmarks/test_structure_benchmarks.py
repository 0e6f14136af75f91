"""Time and memory of the structure layer, each run checked for its answer.

Truth: synthetic particles of 23,196 atoms and, marked slow, of 1.5 million; scipy and ase on the same particle.
Run with ``pytest tests/benchmarks --benchmark-enable``.
"""

import resource

import numpy as np
import pytest
from ase.neighborlist import neighbor_list
from numpy.testing import assert_array_equal
from scipy.spatial import cKDTree

from aet2dft.structure.chemical_order import order
from aet2dft.structure.lattice import index_lattice
from aet2dft.structure.neighbors import SiteGrid
from aet2dft.structure.order_parameters import WindowSums, sublattice_order
from aet2dft.structure.strain import local_strain
from aet2dft.structure.surface import surface_atoms
from aet2dft.synthetic import measured, nine_grains, particle, two_grains

pytestmark = pytest.mark.slow

A = 3.875
CUTOFF = 3.31
"""Å; between the first two shells."""


@pytest.fixture(scope="module")
def truth():
    """Ideal particle: the index is known."""
    return particle(nine_grains())


@pytest.fixture(scope="module")
def model(truth):
    """The same as tomography would see it."""
    return measured(truth)


def record(benchmark, atoms):
    """Keep the size of the problem and the memory of the process with the times."""
    benchmark.extra_info["n_atoms"] = len(atoms)
    benchmark.extra_info["peak_memory_mb"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def test_index_lattice(benchmark, model):
    indexed, fits = benchmark.pedantic(index_lattice, args=(model,), rounds=3)
    record(benchmark, model)
    assert fits[0].n_indexed > 0.995 * len(model)
    assert abs(fits[0].cubic_a - A) < 3e-4
    assert (indexed.arrays["lattice"] > 0).sum() == fits[0].n_indexed


def test_neighbors_by_site(benchmark, truth):
    site = truth.arrays["true_site"]
    around = benchmark.pedantic(lambda: SiteGrid.of(site).neighbors(site), rounds=3)
    record(benchmark, truth)
    assert (around >= 0).sum() == 2 * len(cKDTree(truth.positions).query_pairs(CUTOFF))


def test_neighbors_by_scipy(benchmark, truth):
    pairs = benchmark.pedantic(lambda: cKDTree(truth.positions).query_pairs(CUTOFF, output_type="ndarray"), rounds=3)
    record(benchmark, truth)
    site = truth.arrays["true_site"]
    assert ((site[pairs[:, 0]] - site[pairs[:, 1]]) ** 2).sum(axis=1).tolist() == [2] * len(pairs)


def test_neighbors_by_ase(benchmark, truth):
    # without a cell ase sizes its bins by a unit cube and needs gigabytes
    boxed = truth.copy()
    boxed.center(vacuum=CUTOFF)
    first = benchmark.pedantic(lambda: neighbor_list("i", boxed, CUTOFF), rounds=1)
    record(benchmark, truth)
    around = SiteGrid.of(truth.arrays["true_site"]).neighbors(truth.arrays["true_site"])
    assert_array_equal(np.bincount(first, minlength=len(truth)), (around >= 0).sum(axis=1))


def test_sublattice_order_maps(benchmark, truth):
    site, first = truth.arrays["true_site"], np.array(truth.symbols == "Fe")
    maps = benchmark.pedantic(lambda: sublattice_order(WindowSums(site, 1.0).occupancy(first)), rounds=3)
    record(benchmark, truth)
    own = truth.arrays["true_variant"]
    ordered = own > 0
    assert maps[own[ordered], np.flatnonzero(ordered)].mean() > 0.75


def test_local_strain(benchmark, truth):
    noise = np.random.default_rng(0).normal(scale=0.22 / np.sqrt(3), size=truth.positions.shape)
    field = benchmark.pedantic(lambda: local_strain(truth.positions + noise, noise, sigma=3.89), rounds=3)
    record(benchmark, truth)
    assert np.sqrt((field.strain[:, :3] ** 2).mean()) < 0.0030


def test_surface(benchmark, model):
    surface = benchmark.pedantic(lambda: surface_atoms(model.positions, alpha=1.25 * A / np.sqrt(2)), rounds=2)
    record(benchmark, model)
    radius = np.linalg.norm(model.positions, axis=1)
    assert surface[radius > radius.max() - 1.0].mean() > 0.9
    assert surface[radius < radius.max() - 6.0].mean() < 0.05


def test_order_of_the_measured_particle(benchmark, fept):
    _, found = benchmark.pedantic(order, args=(fept,), rounds=1)
    record(benchmark, fept)
    assert found.chemical.grains.phase[:2].tolist() == ["L12", "L12"]


def test_index_and_maps_of_one_and_a_half_million_atoms(benchmark):
    truth = particle(two_grains(), n_atoms=1_500_000)
    model = measured(truth, missing=0.0, false_atoms=0.0)

    def run():
        indexed, fits = index_lattice(model)
        sums = WindowSums(indexed.arrays["site"], 0.7)
        return fits, sublattice_order(sums.occupancy(np.array(model.symbols == "Fe")))

    fits, maps = benchmark.pedantic(run, rounds=1)
    record(benchmark, model)
    assert fits[0].n_indexed == 1_500_000
    assert np.nanmax(maps, axis=0).mean() > 0.8
    assert benchmark.extra_info["peak_memory_mb"] < 6_000
