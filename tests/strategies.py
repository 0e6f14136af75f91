"""Hypothesis strategies of the physics: variants, rotations, seeds, small particles with known truth."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from aet2dft.structure.variants import ORDERED
from aet2dft.synthetic import Grain, ball, everywhere, half_space, measured, particle

seeds = st.integers(min_value=0, max_value=2**31 - 1)


def variants():
    """One of the fourteen ordered variants."""
    return st.sampled_from(ORDERED.tolist())


@st.composite
def rotations(draw):
    """Proper rotation (3, 3), uniform over all orientations."""
    return Rotation.random(random_state=np.random.RandomState(draw(seeds))).as_matrix()


@st.composite
def shifts(draw):
    """Translation (3,), Å."""
    return np.array(draw(st.tuples(*[st.floats(-200.0, 200.0)] * 3)))


@st.composite
def concentrations(draw):
    """Atomic fraction of one species."""
    return draw(st.floats(0.1, 0.9))


@st.composite
def particles(draw, n_atoms=1500):
    """Measured-like particle of two antiphase or otherwise different grains and a ball of a third."""
    first, second, third = draw(st.lists(st.integers(0, 14), min_size=3, max_size=3, unique=True))
    grains = (
        Grain(variant=first, region=everywhere, concentration=0.3),
        Grain(variant=second, region=half_space((1.0, 0.4, 0.2), 0.3), concentration=0.3),
        Grain(variant=third, region=ball((0.4, 0.3, -1.2), 2.0), concentration=0.3),
    )
    seed = draw(seeds)
    return measured(particle(grains, n_atoms=n_atoms, antisites=0.05, seed=seed), seed=seed)


def rotated(atoms: Atoms, rotation) -> Atoms:
    """A turned copy, about the origin."""
    result = atoms.copy()
    result.positions = atoms.positions @ np.asarray(rotation).T
    return result


def shifted(atoms: Atoms, shift) -> Atoms:
    """A moved copy."""
    result = atoms.copy()
    result.positions += shift
    return result


def permuted(atoms: Atoms, seed: int) -> tuple[Atoms, np.ndarray]:
    """A renumbered copy, and the old number of every atom of it."""
    old = np.random.default_rng(seed).permutation(len(atoms))
    return atoms[old], old


def sphere(crystal: Atoms, n_atoms: int) -> Atoms:
    """The `n_atoms` atoms of a crystal nearest to a general point near its center, not periodic."""
    center = crystal.positions.mean(axis=0) + np.array([0.31, 0.17, 0.53])
    nearest = np.argsort(np.linalg.norm(crystal.positions - center, axis=1))[:n_atoms]
    cut = crystal[np.sort(nearest)]
    cut.set_pbc(False)
    cut.set_cell(None)
    return cut
