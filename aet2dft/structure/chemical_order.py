"""The verb `order`: from the atoms of a model to lattice, variants, grains, defects and strain."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import Atoms
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from aet2dft.atoms import ARRAYS, check, numbered
from aet2dft.config import OrderSettings
from aet2dft.structure.crystal import Crystal, crystals, species_pair
from aet2dft.structure.defects import (
    AntisiteProfile,
    Swaps,
    Vacancies,
    antisite_profile,
    count_swaps,
    find_vacancies,
    is_antisite,
    swap_partners,
)
from aet2dft.structure.grain_table import (
    GrainTable,
    LabelledCrystal,
    Recipe,
    grain_table,
    label_crystals,
    neighboring_recipes,
)
from aet2dft.structure.grains import LARGE_GRAIN, Boundaries, boundaries
from aet2dft.structure.lattice import LatticeFit, index_lattice
from aet2dft.structure.order_parameters import null_level
from aet2dft.structure.short_range_order import WarrenCowley, warren_cowley
from aet2dft.structure.strain import local_strain
from aet2dft.structure.surface import surface_atoms

SURFACE_ALPHA = 1.25
"""Alpha of the surface in nearest-neighbor distances: near the first minimum of the pair distances of fcc."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StrainSummary:
    """Strain of a particle in six numbers."""

    reference: str
    """Lattice against which strain is measured, ``triclinic`` or ``cubic``."""
    window: float
    """Standard deviation of the Gaussian window, Å."""
    rms: NDArray[np.float64]
    """(6,): rms of xx, yy, zz, yz, xz, xy over the atoms."""
    floor: NDArray[np.float64]
    """(6,): rms that position noise alone gives."""
    cell: NDArray[np.float64]
    """(6,): strain of the best-fit triclinic cell of lattice 1 against its best-fit cubic cell."""
    noise: float
    """Å: position noise per axis behind the errors."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ChemicalOrder:
    """Variants, grains and their defects; absent unless the particle holds two species."""

    species: tuple[str, str]
    """Chemical symbols, lighter first: variants say where the first sits."""
    null_level: float
    """The S that one atom in a hundred of a random alloy reaches in a full window."""
    window: float
    """Standard deviation of the label window, unit cells."""
    grains: GrainTable
    """Grains."""
    profiles: tuple[AntisiteProfile, ...]
    """Depth profiles of the ordered grains of 1,000 atoms and more that have a surface."""
    swaps: tuple[Swaps, ...]
    """Swaps of the ordered grains of 1,000 atoms and more."""
    boundaries: Boundaries
    """Bonds between grains."""
    recipes: tuple[Recipe, ...]
    """What neighboring recipes of the labels give."""
    n_surrogates: int = 0
    """Surrogate particles behind the significance of the grains; 0 where these were not counted."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Order:
    """What `order` finds."""

    lattices: tuple[LatticeFit, ...]
    """Lattices, the one with most atoms first."""
    strain: StrainSummary
    """Strain."""
    vacancies: Vacancies
    """Empty sites inside."""
    warren_cowley: tuple[WarrenCowley, ...]
    """Short-range order of all ordered pairs of species."""
    chemical: ChemicalOrder | None
    """Variants and grains; None unless there are two species."""
    warnings: tuple[str, ...]
    """What the reader should know."""


def order(atoms: Atoms, settings: OrderSettings = OrderSettings(), *, seed: int = 0) -> tuple[Atoms, Order]:
    """Chemical order of a particle: lattice, displacements, strain, variants, grains, antisites, short-range order.

    Parameters
    ----------
    atoms : Atoms
        A model of an fcc particle; positions in Å.
    settings : OrderSettings
        Windows, thresholds and errors.
    seed : int
        Seed of the surrogates.

    Returns
    -------
    Atoms
        A copy with the arrays of `aet2dft.atoms.ARRAYS` that this verb writes.
    Order
        The record.

    Raises
    ------
    InputError
        If the model is unsound or not fcc.

    Notes
    -----
    Each line calls the function that holds the definition and its source. BLAS runs on one thread: the same input,
    settings and seed give the same bytes on any number of threads.
    """
    atoms = numbered(atoms)  # first, so that problems name atoms as the result does
    warnings = list(check(atoms).problems)
    with threadpool_limits(limits=1):
        atoms, lattices = index_lattice(_without_earlier_order(atoms), tolerance=settings.tolerance)
        atoms = _with(
            atoms, is_surface=surface_atoms(atoms.positions, alpha=SURFACE_ALPHA * lattices[0].nearest_neighbor)
        )
        parts = crystals(atoms, lattices)
        atoms, strain = _add_strain(atoms, parts, settings)
        atoms, chemical = _add_chemical_order(atoms, parts, settings, seed)
        vacancies = _joined([find_vacancies(part, atoms) for part in parts])
        pairs = warren_cowley(parts, atoms)
    warnings += _remarks(atoms, lattices, settings)
    if chemical is None:
        n = len(set(atoms.symbols) - {"X"})
        warnings.append(f"variants and grains need two species, these atoms are of {n or 'none'}: left out")
    if left := int((atoms.arrays["lattice"] == 0).sum()):
        find, belong = ("finds", "it belongs") if left == 1 else ("find", "they belong")
        warnings.append(f"{left:,} of {len(atoms):,} atoms {find} no lattice site; {belong} to no grain")
    return atoms, Order(
        lattices=lattices,
        strain=strain,
        vacancies=vacancies,
        warren_cowley=pairs,
        chemical=chemical,
        warnings=tuple(warnings),
    )


def _remarks(atoms: Atoms, lattices: tuple[LatticeFit, ...], settings: OrderSettings) -> list[str]:
    """What is unusual about the model or its lattices."""
    remarks = []
    if atoms.pbc.any():
        remarks.append("the model is periodic; it is analyzed as a particle with a free surface at its cell")
    if (used := lattices[0].tolerance) < settings.tolerance:
        remarks.append(f"lattices run into each other at a tolerance of {settings.tolerance:g}; {used:g} was taken")
    return remarks


def _without_earlier_order(atoms: Atoms) -> Atoms:
    """A copy without what this verb wrote before: grains of other species must not outlive them."""
    result: Atoms = atoms.copy()
    for name in [name for name, spec in ARRAYS.items() if spec.writer == "order" and name in atoms.arrays]:
        del result.arrays[name]
    return result


def _with(atoms: Atoms, **arrays: NDArray[np.generic]) -> Atoms:
    """A copy with more arrays."""
    result: Atoms = atoms.copy()
    for name, array in arrays.items():
        result.set_array(name, array)
    return result


def _add_strain(atoms: Atoms, parts: tuple[Crystal, ...], settings: OrderSettings) -> tuple[Atoms, StrainSummary]:
    strain, error = np.full((len(atoms), 6), np.nan), np.full((len(atoms), 6), np.nan)
    noise = []
    for part in parts:
        reference = part.fit.cubic_positions if settings.strain_reference == "cubic" else part.fit.positions
        ideal = reference(part.site)
        sigma = atoms.arrays["position_sigma"][part.members] if "position_sigma" in atoms.arrays else None
        field = local_strain(part.positions, part.positions - ideal, sigma=settings.strain_sigma, position_sigma=sigma)
        strain[part.members], error[part.members] = field.strain, field.sigma
        noise.append(field.noise)
    summary = StrainSummary(
        reference=settings.strain_reference, window=settings.strain_sigma, rms=np.sqrt(np.nanmean(strain**2, axis=0)),
        floor=np.sqrt(np.nanmean(error**2, axis=0)), cell=_cell_strain(parts[0].fit), noise=noise[0],
    )  # fmt: skip
    return _with(atoms, strain=strain, strain_sigma=error), summary


def _cell_strain(fit: LatticeFit) -> NDArray[np.float64]:
    """Strain (6,) of the triclinic against the cubic cell, in the frame of the model."""
    deformation = fit.cell.T @ np.linalg.inv(fit.cubic_a * fit.rotation)
    tensor = 0.5 * (deformation + deformation.T) - np.eye(3)
    return tensor[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]


def _add_chemical_order(
    atoms: Atoms, parts: tuple[Crystal, ...], settings: OrderSettings, seed: int
) -> tuple[Atoms, ChemicalOrder | None]:
    species = species_pair(atoms)
    if species is None:
        return atoms, None
    labelled = label_crystals(parts, settings)
    atoms = _annotated(atoms, labelled)
    table = grain_table(labelled, species, settings, seed=seed)
    large = [(part, int(g), int(v)) for part in labelled for g, v in _ordered_grains(part, table)]
    large.sort(key=lambda item: item[1])
    variant_of = np.zeros(len(table) + 1, dtype=np.int32)
    variant_of[table.grain] = table.variant
    profiles = [
        antisite_profile(p.crystal, p.labels, p.grain, g, free_surface=settings.free_surface) for p, g, _ in large
    ]
    return atoms, ChemicalOrder(
        species=species,
        null_level=null_level(settings.window, float((atoms.symbols == species[0]).mean())),
        window=settings.window,
        grains=table,
        profiles=tuple(profile for profile in profiles if profile is not None),
        swaps=tuple(count_swaps(p.crystal, p.grain, g, v, p.depth) for p, g, v in large),
        boundaries=boundaries(parts, atoms.arrays["grain"], variant_of),
        recipes=neighboring_recipes(parts, min_grain=settings.min_grain), n_surrogates=settings.surrogates,
    )  # fmt: skip


def _ordered_grains(part: LabelledCrystal, table: GrainTable) -> list[tuple[int, int]]:
    """Number and variant of the large ordered grains of a crystal."""
    keep = (table.lattice == part.crystal.fit.lattice) & (table.variant > 0) & (table.n_atoms >= LARGE_GRAIN)
    return list(zip(table.grain[keep].tolist(), table.variant[keep].tolist(), strict=True))


def _annotated(atoms: Atoms, parts: tuple[LabelledCrystal, ...]) -> Atoms:
    """A copy with the arrays of chemical order."""
    n = len(atoms)
    variant, grain, partner = (np.zeros(n, dtype=np.int32) for _ in range(3))
    depth, antisite = np.full(n, np.nan), np.zeros(n, dtype=bool)
    s, sigma = np.full((n, 16), np.nan), np.full((n, 16), np.nan)
    for part in parts:
        members = part.crystal.members
        wrong = is_antisite(part.crystal, part.labels.variant)
        local = swap_partners(part.crystal, part.grain, wrong)
        variant[members], grain[members] = part.labels.variant, part.grain
        depth[members] = np.where(np.isinf(part.depth), np.nan, part.depth)
        s[members], sigma[members], antisite[members] = part.labels.order.T, part.labels.sigma.T, wrong
        partner[members] = np.where(local > 0, members[local - 1] + 1, 0)
    return _with(
        atoms, variant=variant, grain=grain, grain_depth=depth, sublattice_order=s, sublattice_order_sigma=sigma,
        antisite=antisite, swap_partner=partner,
    )  # fmt: skip


def _joined(found: list[Vacancies]) -> Vacancies:
    return Vacancies(
        **{name: np.concatenate([getattr(v, name) for v in found]) for name in Vacancies.__dataclass_fields__}
    )
