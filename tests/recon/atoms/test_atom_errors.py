"""Standard errors of fitted atoms. Truth: the scatter of repeats of the noise."""

from dataclasses import replace

import numpy as np
from small_crystal import FLAT, fitted, lattice, problem_of
from small_crystal import LATTICE_GEOMETRY as GEOMETRY

from aet2dft.recon.atoms import atom_errors
from aet2dft.recon.atoms.image_model import images


def test_standard_errors_are_the_scatter_of_50_repeats_of_the_noise():
    """Truth: the scatter itself, in the mean over atoms, of every axis and the height within 15 %."""
    truth = lattice()
    exact = images(GEOMETRY, truth)
    found = []
    for seed in range(50):
        rng = np.random.default_rng(seed)
        noisy = (rng.poisson(exact) + rng.normal(size=exact.shape)).astype(np.float32)
        atoms, problem = fitted(noisy, truth, 3)
        found.append(np.column_stack([atoms.positions, atoms.heights]))
    scatter = np.std(found, axis=0, ddof=1)
    stated = atom_errors.standard_errors(problem, truth, FLAT.variance(exact), products=20, seed=0)
    ratio = np.sqrt((scatter**2).mean(axis=0) / (stated**2).mean(axis=0))
    np.testing.assert_allclose(ratio, 1.0, atol=0.15)
    # the beam at zero tilt is the worst known axis
    assert stated[:, 2].mean() > stated[:, 0].mean()


def test_few_atoms_are_not_probed_thousands_of_times():
    """Truth: 2,000 atoms, repeats included, as long as that is no more than 50 repeats."""
    assert [atom_errors.probes(n) for n in (0, 1, 40, 200, 5000)] == [50, 50, 50, 10, 1]


def test_expected_heights_are_the_mean_where_only_noise_spreads_them():
    """Truth: two kinds; heights that noise spread become alike, heights that truly differ stay."""
    truth = lattice()
    exact = images(GEOMETRY, truth)
    problem = problem_of(exact, exact)
    errors = atom_errors.standard_errors(problem, truth, FLAT.variance(exact), products=10, seed=0)[:, 3]
    rng = np.random.default_rng(3)
    noisy = replace(truth, heights=truth.heights + 0.7 * errors * rng.standard_normal(27))
    calmer = atom_errors.expected_heights(problem, noisy)
    assert np.abs(calmer - truth.heights).max() < 0.5 * np.abs(noisy.heights - truth.heights).max()
    different = replace(truth, heights=truth.heights * rng.uniform(0.5, 1.5, 27))
    np.testing.assert_allclose(atom_errors.expected_heights(problem, different), different.heights, rtol=0.05)
