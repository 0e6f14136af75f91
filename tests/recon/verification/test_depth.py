"""Errors against the depth. Truth: a piece of the measured particle with errors at its surface; balls and planes."""

import tracemalloc

import numpy as np
from ase import Atoms
from numpy.testing import assert_allclose, assert_array_equal

from aet2dft.recon.metrics import match
from aet2dft.recon.verification.depth import depth_profile


def test_layers_hold_every_atom_once_and_errors_where_they_are(ball):
    model = ball.copy()
    radius = np.linalg.norm(ball.positions - ball.positions.mean(axis=0), axis=1)
    outer = radius > 6.5
    model.positions[outer] += np.random.default_rng(0).choice([-0.2, 0.2], (outer.sum(), 3))
    pairs = match(model, ball)
    right = model.numbers[pairs.pairs[:, 0]] == ball.numbers[pairs.pairs[:, 1]]
    profile = depth_profile(ball, pairs, right=right)
    assert profile.n_atoms.sum() == len(ball)
    assert_allclose(np.diff(profile.depth), 2.0)
    assert_allclose(profile.fraction_identified, 1.0)
    assert profile.rmsd[0] > 0.25
    assert profile.rmsd[-1] < 0.05


def test_the_depth_of_many_atoms_takes_little_memory():
    """Truth: a sphere of 3,000 atoms, each a corner of its hull, and its middle; 6,000 faces for 3,001 atoms."""
    random = np.random.default_rng(0).normal(size=(3000, 3))
    points = np.vstack([10.0 * random / np.linalg.norm(random, axis=1, keepdims=True), np.zeros(3)])
    sphere = Atoms("Pt3001", positions=points)
    pairs, right = match(sphere, sphere), np.ones(3001, dtype=bool)
    tracemalloc.start()
    profile = depth_profile(sphere, pairs, right=right)
    needed = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert_array_equal(profile.n_atoms, [3000, 0, 0, 0, 1])
    assert needed < 0.2 * 8 * 3001 * 5996


def test_atoms_in_a_plane_are_all_at_the_surface():
    flat = Atoms("Pt4", positions=[[0, 0, 0], [3, 0, 0], [0, 3, 0], [3, 3, 0]])
    profile = depth_profile(flat, match(flat, flat), right=np.ones(4, dtype=bool))
    assert_array_equal(profile.n_atoms, [4])
