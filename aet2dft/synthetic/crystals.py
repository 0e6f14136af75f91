"""Crystalline particles whose every grain, antisite, vacancy and false atom is known.

What tomography does to a particle is a second step, `measured`; images are made in ``image_series``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from ase import Atoms
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from aet2dft.errors import InputError
from aet2dft.structure.variants import VARIANTS, sublattice

LATTICE_CONSTANT = 3.875
"""Å; of the measured FePt particle of Yang et al., Nature 542, 75 (2017)."""
PAPER_ATOMS = 23_196
"""Atoms of that particle."""
SHORTEST = 2.0
"""Å; displaced atoms of a twin stay at least so far apart, as the measured ones are."""
FALSE_ATOM_DISTANCE = 1.2
"""Å; false atoms keep this distance from all others, as peaks of a reconstruction do."""

Region = Callable[[NDArray[np.float64]], NDArray[np.bool_]]
"""Which of the points (n, 3), in unit cells from the center of the particle, are inside."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Grain:
    """One grain of a synthetic particle."""

    variant: int
    """Row of `aet2dft.structure.variants.VARIANTS`, 0 = A1 (random)."""
    region: Region
    """Where it is; of overlapping grains the later one wins."""
    concentration: float = 0.1
    """Atomic fraction of the first species, of an A1 grain only."""


def everywhere(points: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Region of all points (n, 3)."""
    return np.ones(len(points), dtype=bool)


def ball(center: Sequence[float], radius: float) -> Region:
    """Region within `radius` of `center`, unit cells."""
    return lambda points: np.asarray(((points - np.asarray(center)) ** 2).sum(axis=1) < radius**2)


def half_space(normal: Sequence[float], offset: float = 0.0) -> Region:
    """Region beyond the plane at `offset` unit cells along `normal`."""
    unit = np.asarray(normal, dtype=np.float64) / np.linalg.norm(normal)
    return lambda points: np.asarray((points * unit).sum(axis=1) > offset)


def two_grains() -> tuple[Grain, ...]:
    """Two L1₂ halves, antiphase to each other; the plane between them is not a lattice plane."""
    return Grain(variant=1, region=everywhere), Grain(variant=2, region=half_space((0.8, 0.5, 0.33)))


def nine_grains() -> tuple[Grain, ...]:
    """Two large and three small L1₂, three L1₀ and one A1 grain, as in Yang et al., Nature 542, 75 (2017).

    Sized for a particle of about 23,000 atoms; the L1₀ grains have three different axes and lie between the two large
    grains, the A1 grain is rich in the second species.
    """
    return (
        Grain(variant=1, region=everywhere),
        Grain(variant=2, region=half_space((1.0, 0.25, 0.1), -0.3)),
        Grain(variant=4, region=ball((-5.5, 5.0, 2.0), 2.6)),
        Grain(variant=8, region=ball((5.0, -5.5, 3.5), 2.3)),
        Grain(variant=4, region=ball((0.5, 1.0, -8.0), 2.0)),
        Grain(variant=3, region=ball((-0.3, 0.0, 0.5), 2.5)),
        Grain(variant=5, region=ball((1.0, -6.5, -1.5), 2.2)),
        Grain(variant=9, region=ball((-2.0, 6.5, -2.5), 2.0)),
        Grain(variant=0, region=ball((-0.8, 1.2, 6.5), 2.7), concentration=0.1),
    )


def ordered_crystal(
    variant: int,
    cells: int | tuple[int, int, int] = 1,
    a: float = LATTICE_CONSTANT,
    *,
    species: tuple[str, str] = ("Fe", "Pt"),
) -> Atoms:
    """Perfect periodic crystal of one variant.

    Parameters
    ----------
    variant : int
        Row of the table of variants: where the first species sits.
    cells : int or tuple of int
        Unit cells along x, y, z.
    a : float
        Edge of the cubic cell, Å.
    species : tuple of str
        Chemical symbols, first and second.

    Returns
    -------
    Atoms
        Periodic, with the array ``true_site`` (N, 3) of half-cell indices.
    """
    edges = np.array([cells] * 3 if isinstance(cells, int) else cells)
    site = _sites(np.zeros(3, dtype=np.int64), 2 * edges)
    first = VARIANTS[variant][sublattice(site)]
    atoms = Atoms(np.where(first, *species), positions=0.5 * a * site, cell=a * edges, pbc=True)
    atoms.set_array("true_site", site.astype(np.int32))
    return atoms


def particle(
    grains: Sequence[Grain],
    *,
    n_atoms: int = PAPER_ATOMS,
    a: float = LATTICE_CONSTANT,
    species: tuple[str, str] = ("Fe", "Pt"),
    antisites: float = 0.03,
    boundary_antisites: float = 0.0,
    seed: int = 0,
) -> Atoms:
    """Sphere of an fcc crystal made of grains; its center is a random place of the unit cell, put at the origin.

    Parameters
    ----------
    grains : sequence of Grain
        Grains, painted one over the other; together they must fill the sphere.
    n_atoms : int
        Number of atoms.
    a : float
        Edge of the cubic cell, Å.
    species : tuple of str
        Chemical symbols, first and second.
    antisites : float
        Chance of an atom of an ordered grain to be of the wrong species.
    boundary_antisites : float
        Added chance at a grain boundary; it falls off as exp(-d), d the distance in unit cells to the nearest atom of
        another grain.
    seed : int
        Seed of the center and of the species.

    Returns
    -------
    Atoms
        Not periodic, with the truth: ``true_site`` (N, 3); ``true_grain`` (N,), from 1 in the order of `grains`;
        ``true_variant`` (N,); ``true_antisite`` (N,); ``true_number`` (N,), the atomic number.

    Raises
    ------
    InputError
        If an atom is in none of the grains.
    """
    rng = np.random.default_rng(seed)
    site, points = fcc_ball(n_atoms, rng.random(3))
    grain = np.zeros(n_atoms, dtype=np.int32)
    for number, each in enumerate(grains, start=1):
        grain[each.region(points)] = number
    if not grain.all():
        lost = int((grain == 0).sum())
        raise InputError(f"{lost} of {n_atoms} atoms are in no grain; start with a grain that is `everywhere`")
    variant = np.array([0] + [each.variant for each in grains], dtype=np.int32)[grain]
    concentration = np.array([0.0] + [each.concentration for each in grains])[grain]
    chance = antisites + boundary_antisites * np.exp(-_boundary_distance(points, grain))
    antisite = (variant > 0) & (rng.random(n_atoms) < chance)
    random = rng.random(n_atoms) < concentration
    first = np.where(variant > 0, VARIANTS[variant, sublattice(site)] ^ antisite, random)
    atoms = Atoms(np.where(first, *species), positions=a * points)
    truth = {"site": site.astype(np.int32), "grain": grain, "variant": variant, "antisite": antisite}
    for name, array in (truth | {"number": atoms.numbers}).items():
        atoms.set_array(f"true_{name}", array)
    return atoms


def fept_twin(*, n_atoms: int = PAPER_ATOMS, displacement: float = 0.22, seed: int = 0) -> Atoms:
    """Particle like the one of Yang et al., Nature 542, 75 (2017): nine grains, graded disorder, displaced atoms.

    Parameters
    ----------
    n_atoms : int
        Number of atoms; the grains are scaled with the particle.
    displacement : float
        Root mean square, in 3D, of the displacements from the lattice, Å.
    seed : int
        Seed of the center, the species and the displacements.

    Returns
    -------
    Atoms
        With the truth of `particle`. No two atoms are nearer than 2 Å.
    """
    scale = (PAPER_ATOMS / n_atoms) ** (1 / 3)
    grains = [replace(grain, region=_scaled(grain.region, scale)) for grain in nine_grains()]
    atoms = particle(grains, n_atoms=n_atoms, antisites=0.02, boundary_antisites=0.4, seed=seed)
    rng = np.random.default_rng((seed, 1))
    ideal = atoms.positions.copy()
    close = np.arange(n_atoms)
    while close.size:
        atoms.positions[close] = ideal[close] + rng.normal(scale=displacement / np.sqrt(3.0), size=(close.size, 3))
        close = np.unique(cKDTree(atoms.positions).query_pairs(SHORTEST, output_type="ndarray"))
    return atoms


def _scaled(region: Region, scale: float) -> Region:
    return lambda points: region(scale * points)


def measured(
    atoms: Atoms,
    *,
    noise: float = 0.22,
    species_error: float = 0.01,
    missing: float = 0.01,
    false_atoms: float = 0.005,
    rotation: NDArray[np.float64] | None = None,
    shift: Sequence[float] = (0.0, 0.0, 0.0),
    seed: int = 0,
) -> Atoms:
    """Make of a particle what tomography finds of it.

    Parameters
    ----------
    atoms : Atoms
        A particle with its truth.
    noise : float
        Root mean square of the position errors in 3D, Å.
    species_error : float
        Fraction of atoms whose element is measured wrong.
    missing, false_atoms : float
        Fractions of atoms that are lost, and that are added at random places between the others.
    rotation : ndarray, (3, 3), optional
        Turns the particle about the origin.
    shift : sequence of float
        Moves it afterwards, Å.
    seed : int
        Seed of all of these.

    Returns
    -------
    Atoms
        With the arrays of `atoms`, in a random order. A false atom has 0 in all of them: ``true_number`` 0 tells it.
    """
    rng = np.random.default_rng(seed)
    kept = atoms[rng.random(len(atoms)) >= missing]
    species, kind = np.unique(kept.numbers, return_inverse=True)
    wrong = rng.random(len(kept)) < species_error
    other = (kind + rng.integers(1, max(2, len(species)), size=len(kept))) % len(species)
    kept.numbers = species[np.where(wrong, other, kind)]
    kept.positions += rng.normal(scale=noise / np.sqrt(3.0), size=kept.positions.shape)
    places = _between(kept.positions, round(false_atoms * len(atoms)), rng)
    kept += Atoms(numbers=rng.choice(species, size=len(places)), positions=places)
    result: Atoms = kept[rng.permutation(len(kept))]
    if rotation is not None:
        result.positions = (result.positions[:, None, :] * rotation).sum(axis=2)
    result.positions += np.asarray(shift)
    return result


def _sites(low: NDArray[np.int64], high: NDArray[np.int64]) -> NDArray[np.int64]:
    """List the fcc sites (n, 3), half cells of even sum, from `low` up to but without `high`."""
    axes = [np.arange(first, last) for first, last in zip(low, high, strict=True)]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    return np.asarray(grid[grid.sum(axis=1) % 2 == 0])


def fcc_ball(n: int, offset: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Sites (n, 3), half cells, of the `n` nearest to `offset` (3,), and their places (n, 3) from there in cells."""
    reach = int(2.0 * (3.0 * n / (16.0 * np.pi)) ** (1 / 3)) + 4
    site = _sites(np.full(3, -reach), np.full(3, reach + 1))
    points = 0.5 * site - offset
    nearest = np.sort(np.argsort((points**2).sum(axis=1), kind="stable")[:n])
    return site[nearest], points[nearest]


def _boundary_distance(points: NDArray[np.float64], grain: NDArray[np.int32]) -> NDArray[np.float64]:
    """Distance (n,) of every atom to the nearest atom of another grain; infinite where there is one grain only."""
    distance = np.full(len(points), np.inf)
    for number in np.unique(grain):
        own = grain == number
        if not own.all():
            distance[own] = cKDTree(points[~own]).query(points[own])[0]
    return distance


def _between(positions: NDArray[np.float64], n: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Random places (n, 3) inside the ball around the atoms, away from them and from each other."""
    center = positions.mean(axis=0)
    radius = np.linalg.norm(positions - center, axis=1).max()
    tree = cKDTree(positions)
    found = np.empty((0, 3))
    while len(found) < n:
        place = center + radius * rng.uniform(-1.0, 1.0, size=3)
        gap = min(tree.query(place)[0], np.linalg.norm(found - place, axis=1).min(initial=np.inf))
        if np.linalg.norm(place - center) <= radius and gap > FALSE_ATOM_DISTANCE:
            found = np.vstack([found, place])
    return found
