"""Particles without grains: a dense random packing, as a metallic glass, and a crystal with a core and a shell."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from ase import Atoms
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from aet2dft.errors import InputError
from aet2dft.synthetic.crystals import fcc_ball

_STEPS = 1000
"""Steps after which a packing that still overlaps is too dense."""
_BEYOND = 1.001
"""Atoms are pushed apart to this times the minimum distance, so that the last overlaps end after few steps."""


def amorphous(
    n_atoms: int,
    composition: Mapping[str, float],
    *,
    density: float = 0.06,
    min_distance: float = 2.35,
    seed: int = 0,
) -> Atoms:
    """Sphere of atoms at random places, none nearer than a minimum distance to another.

    Parameters
    ----------
    n_atoms : int
        Number of atoms.
    composition : mapping of str to float
        Fraction of every species; the numbers of atoms are these to within one.
    density : float
        Atoms per Å³.
    min_distance : float
        Å.
    seed : int
        Seed of places and species.

    Returns
    -------
    Atoms
        Not periodic, its center at the origin.

    Raises
    ------
    InputError
        If the fractions are negative or do not add up to one, or atoms of this size do not fit at this density.

    Notes
    -----
    Atoms begin at random places of the ball and are pushed apart, pair by pair, until no pair is too near: the
    radial distribution is that of a dense random packing, without bond angles of any chemistry.
    """
    rng = np.random.default_rng(seed)
    symbols = _symbols(n_atoms, composition)
    radius = (3.0 * n_atoms / (4.0 * np.pi * density)) ** (1 / 3)
    direction = rng.normal(size=(n_atoms, 3))
    places = direction / np.linalg.norm(direction, axis=1, keepdims=True)
    places *= radius * rng.random((n_atoms, 1)) ** (1 / 3)
    for _ in range(_STEPS):
        pairs = cKDTree(places).query_pairs(min_distance, output_type="ndarray")
        if not len(pairs):
            return Atoms(rng.permutation(symbols), positions=places)
        _push_apart(places, pairs[np.lexsort(pairs.T)], _BEYOND * min_distance)
        places *= np.minimum(1.0, radius / np.linalg.norm(places, axis=1, keepdims=True))
    filled = np.pi / 6.0 * density * min_distance**3
    raise InputError(
        f"{100 * filled:.0f} % of the volume would be filled by atoms {min_distance:g} Å wide at {density:g} per Å³, "
        "more than places at random can be; take a lower density or minimum distance"
    )


def core_shell(
    n_atoms: int,
    *,
    core: str = "Pd",
    shell: str = "Pt",
    core_fraction: float = 0.5,
    mixing: float = 0.0,
    a: float = 3.9,
    seed: int = 0,
) -> Atoms:
    """Sphere of an fcc crystal of one species inside and another outside.

    Parameters
    ----------
    n_atoms : int
        Number of atoms.
    core, shell : str
        Chemical symbols.
    core_fraction : float
        Fraction of the atoms that are of the core species.
    mixing : float
        Å: standard deviation of the distance by which atoms have crossed the interface.
    a : float
        Edge of the cubic cell, Å.
    seed : int
        Seed of the center of the particle and of the mixing.

    Returns
    -------
    Atoms
        Not periodic, its center at the origin; array ``true_radius`` (N,), Å: distance from it.

    Raises
    ------
    InputError
        If the fraction is not between 0 and 1.
    """
    if not 0.0 <= core_fraction <= 1.0:
        raise InputError(f"a core fraction of {core_fraction:g} is not between 0 and 1; give the part of the core")
    rng = np.random.default_rng(seed)
    places = a * fcc_ball(n_atoms, rng.random(3))[1]
    radius = np.linalg.norm(places, axis=1)
    order = np.argsort(radius + mixing * rng.standard_normal(n_atoms), kind="stable")
    symbols = np.full(n_atoms, shell, dtype=object)
    symbols[order[: round(core_fraction * n_atoms)]] = core
    atoms = Atoms(symbols.tolist(), positions=places)
    atoms.set_array("true_radius", radius)
    return atoms


def _push_apart(places: NDArray[np.float64], pairs: NDArray[np.intp], distance: float) -> None:
    """Move both atoms of every pair (m, 2) of the places (n, 3), in turn, so that alone they would just not overlap."""
    apart = places[pairs[:, 1]] - places[pairs[:, 0]]
    length = np.linalg.norm(apart, axis=1)
    apart *= (0.5 * (distance - length) / np.maximum(length, 1e-9))[:, None]
    np.subtract.at(places, pairs[:, 0], apart)
    np.add.at(places, pairs[:, 1], apart)


def _symbols(n_atoms: int, composition: Mapping[str, float]) -> list[str]:
    """As many of every species as its fraction says, rounded so that the sum is right."""
    fractions = np.array(list(composition.values()), dtype=np.float64)
    if not len(fractions) or (fractions < 0).any() or not np.isclose(fractions.sum(), 1.0, atol=1e-6):
        raise InputError(f"the fractions {dict(composition)} are not a composition; give numbers that add up to 1")
    ends = np.rint(n_atoms * np.cumsum(fractions)).astype(int)
    counts = np.diff(ends, prepend=0)
    return [symbol for symbol, count in zip(composition, counts, strict=True) for _ in range(count)]
