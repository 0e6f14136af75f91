"""The table of grains: sizes, phases, order, antisites and significance, one row each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from aet2dft.config import OrderSettings
from aet2dft.structure.crystal import Crystal
from aet2dft.structure.defects import corrected, fraction_sigma, is_antisite
from aet2dft.structure.grains import LARGE_GRAIN, Labeler, Labels, components, number_grains, signed_depth
from aet2dft.structure.order_parameters import null_level
from aet2dft.structure.significance import surrogate_sizes
from aet2dft.structure.variants import ORDERED, PHASE_OF, describe

DEEP = 1.5
"""Unit cells below the grain surface from where antisites count as deep."""
FEWEST_DEEP = 10
"""Deep atoms below which their antisites are not told outside the table: one atom would make 10 %."""
CORE = 1.0
"""Unit cells below the free surface from where an atom counts as core."""
RECIPES = ((0.5, None), (0.7, None), (0.85, None), (1.0, None), (0.7, 0.3), (0.7, 0.45), (0.7, 0.67))
"""Neighboring recipes (window, threshold) of the labels, to show how far the grains depend on the choice."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GrainTable:
    """One row per grain, largest first; arrays of equal length."""

    grain: NDArray[np.int32]
    """Number, 1 = the largest."""
    lattice: NDArray[np.int32]
    """Lattice the grain is on."""
    variant: NDArray[np.int32]
    """Row of the table of variants, 0 = A1."""
    phase: NDArray[np.str_]
    """``A1``, ``L10`` or ``L12``."""
    name: NDArray[np.str_]
    """The variant in words."""
    n_atoms: NDArray[np.int64]
    """Atoms."""
    concentration: NDArray[np.float64]
    """Atomic fraction of the first species."""
    center: NDArray[np.float64]
    """(n, 3), Å: mean position."""
    order: NDArray[np.float64]
    """Mean S of the grain's variant in the label window; for A1 the mean of the largest S of any variant."""
    order_sigma: NDArray[np.float64]
    """Mean standard error of that S for one atom."""
    antisite_fraction: NDArray[np.float64]
    """Antisites per atom; NaN for A1."""
    n_deep: NDArray[np.int64]
    """Atoms deeper than 1.5 cells below the grain surface."""
    antisite_fraction_deep: NDArray[np.float64]
    """Antisites per deep atom, as found; NaN without deep atoms."""
    antisite_fraction_buried: NDArray[np.float64]
    """The same where only other grains, not the free surface, count as grain surface."""
    antisite_fraction_corrected: NDArray[np.float64]
    """`antisite_fraction_deep` freed of wrongly measured species."""
    significance: NDArray[np.float64]
    """Fraction of surrogates without such a grain by chance; NaN for A1 and for grains of 1,000 atoms and more."""
    largest_by_chance: NDArray[np.int64]
    """Atoms of the largest false grain of the phase in all surrogates, -1 where not asked."""
    n_core: NDArray[np.int64]
    """Atoms deeper than one cell below the free surface."""
    concentration_core: NDArray[np.float64]
    """Atomic fraction of the first species among these."""

    def __len__(self) -> int:
        return len(self.grain)

    @property
    def antisite_sigma_deep(self) -> NDArray[np.float64]:
        """Standard error of `antisite_fraction_deep`; NaN without deep atoms."""
        return fraction_sigma(self.antisite_fraction_deep, self.n_deep)


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """What another choice of window and threshold gives."""

    window: float
    """Standard deviation of the window, unit cells."""
    threshold: float
    """Least S of a labelled atom, in a full window."""
    fixed: bool
    """Whether the threshold is one number for all atoms; else it is the chance level of each."""
    sizes: tuple[int, ...]
    """Atoms of the ordered grains of at least the minimum size, largest first, at most ten."""
    n_l10: int
    """L1₀ grains among all."""
    n_l12: int
    """L1₂ grains among all."""
    n_a1: int
    """Atoms without order."""

    @property
    def largest(self) -> int:
        """Atoms of the largest ordered grain, 0 where there is none."""
        return max(self.sizes, default=0)


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelledCrystal:
    """A crystal with its labels and grains."""

    crystal: Crystal
    """The crystal."""
    labeler: Labeler
    """Makes the labels for any species."""
    labels: Labels
    """Labels."""
    grain: NDArray[np.int32]
    """(n,): grain of every atom, 0 = none."""
    depth: NDArray[np.float64]
    """(n,), Å: below the surface of the atom's own grain; for atoms of no grain minus the distance to the nearest
    grain."""


def label_crystals(crystals: tuple[Crystal, ...], settings: OrderSettings) -> tuple[LabelledCrystal, ...]:
    """Labels and grains of all crystals; grains are numbered by size over all of them."""
    concentration = _concentration(crystals)
    labelers = [
        Labeler.of(c, window=settings.window, threshold=settings.threshold, concentration=concentration)
        for c in crystals
    ]
    labels = [labeler(crystal.is_first) for labeler, crystal in zip(labelers, crystals, strict=True)]
    parts = [components(label.variant, crystal.neighbors) for label, crystal in zip(labels, crystals, strict=True)]
    grains = number_grains(parts, min_grain=settings.min_grain)
    return tuple(
        LabelledCrystal(
            crystal=crystal, labeler=labeler, labels=label, grain=grain,
            depth=_own_depth(crystal, grain, free_surface=settings.free_surface),
        )
        for crystal, labeler, label, grain in zip(crystals, labelers, labels, grains, strict=True)
    )  # fmt: skip


def _concentration(crystals: tuple[Crystal, ...]) -> float:
    return float(np.concatenate([c.is_first for c in crystals]).mean())


def _own_depth(crystal: Crystal, grain: NDArray[np.int32], *, free_surface: bool) -> NDArray[np.float64]:
    depth = np.full(len(grain), np.nan)
    for number in np.unique(grain[grain > 0]):
        own = grain == number
        depth[own] = signed_depth(crystal, own, free_surface=free_surface, query=own)[own]
    if (grain == 0).any() and (grain > 0).any():
        none = grain == 0
        depth[none] = signed_depth(crystal, ~none, free_surface=free_surface, query=none)[none]
    return depth


def grain_table(
    parts: tuple[LabelledCrystal, ...], species: tuple[str, str], settings: OrderSettings, *, seed: int
) -> GrainTable:
    """Rows of all grains of all crystals, largest first."""
    rows = [row for part in parts for row in _rows(part, species, settings, seed)]
    rows.sort(key=lambda row: row["grain"])
    kinds = {"phase": "U3", "name": "U48", **dict.fromkeys(("grain", "lattice", "variant"), "i4")}
    kinds |= dict.fromkeys(("n_atoms", "n_deep", "n_core", "largest_by_chance"), "i8")
    columns = {
        name: np.array([row[name] for row in rows], dtype=kinds.get(name, "f8"))
        for name in GrainTable.__dataclass_fields__
    }
    return GrainTable(**columns | {"center": columns["center"].reshape(-1, 3)})


def _rows(part: LabelledCrystal, species: tuple[str, str], settings: OrderSettings, seed: int) -> list[dict[str, Any]]:
    """Rows of the grains of one crystal."""
    crystal = part.crystal
    sizes = np.bincount(part.grain, minlength=2)
    variants = {int(g): int(part.labels.variant[part.grain == g][0]) for g in np.unique(part.grain[part.grain > 0])}
    small = {g for g, v in variants.items() if v > 0 and sizes[g] < LARGE_GRAIN and settings.surrogates > 0}
    chance = surrogate_sizes(
        crystal, part.labeler, part.labels, part.grain,
        surrogates=settings.surrogates if small else 0, seed=seed + crystal.fit.lattice,
    )  # fmt: skip
    below_surface = cKDTree(crystal.vacuum).query(crystal.positions)[0] - 0.5 * crystal.nearest_neighbor
    core = below_surface > CORE * crystal.fit.cubic_a
    rows = []
    for number, variant in variants.items():
        row = _size_and_order(part, number, variant, core)
        row |= {"name": describe(variant, *species), "significance": np.nan, "largest_by_chance": -1}
        row |= _antisites(part, number, variant, settings.species_error)
        if number in small:
            row["significance"] = chance.significance(row["phase"], row["n_atoms"])
            row["largest_by_chance"] = chance.largest(row["phase"])
        rows.append(row)
    return rows


def _size_and_order(part: LabelledCrystal, number: int, variant: int, core: NDArray[np.bool_]) -> dict[str, Any]:
    """Columns of a grain that say where it is, how large, of what and how well ordered."""
    crystal, labels, own = part.crystal, part.labels, part.grain == number
    order = labels.order[variant] if variant else labels.order[ORDERED].max(axis=0)
    sigma = labels.sigma[variant] if variant else labels.sigma[ORDERED].mean(axis=0)
    return {
        "grain": number,
        "lattice": crystal.fit.lattice,
        "variant": variant,
        "phase": str(PHASE_OF[variant]),
        "n_atoms": int(own.sum()),
        "concentration": _mean(crystal.is_first, own),
        "center": crystal.positions[own].mean(axis=0),
        "order": float(np.nanmean(order[own])),
        "order_sigma": float(np.nanmean(sigma[own])),
        "n_core": int((own & core).sum()),
        "concentration_core": _mean(crystal.is_first, own & core),
    }


def _antisites(part: LabelledCrystal, number: int, variant: int, species_error: float) -> dict[str, Any]:
    """Columns of a grain that count its antisites; NaN for A1, which has none."""
    crystal, own = part.crystal, part.grain == number
    far = DEEP * crystal.fit.cubic_a
    deep = own & (part.depth > far)
    buried = own & (signed_depth(crystal, own, free_surface=False, query=own) > far)
    wrong = is_antisite(crystal, variant)
    fractions = [_mean(wrong, where) if variant else np.nan for where in (own, deep, buried)]
    return {
        "antisite_fraction": fractions[0],
        "n_deep": int(deep.sum()),
        "antisite_fraction_deep": fractions[1],
        "antisite_fraction_buried": fractions[2],
        "antisite_fraction_corrected": corrected(fractions[1], species_error),
    }


def _mean(values: NDArray[np.bool_], where: NDArray[np.bool_]) -> float:
    return float(values[where].mean()) if where.any() else float("nan")


def neighboring_recipes(crystals: tuple[Crystal, ...], *, min_grain: int) -> tuple[Recipe, ...]:
    """Grains under other windows and thresholds than the ones chosen."""
    concentration = _concentration(crystals)
    found = []
    for window, threshold in RECIPES:
        variants, parts = [], []
        for crystal in crystals:
            labeler = Labeler.of(crystal, window=window, threshold=threshold, concentration=concentration)
            variants.append(labeler.variants(crystal.is_first))
            parts.append(components(variants[-1], crystal.neighbors))
        size = np.concatenate([np.bincount(part) for part in parts])
        first = np.concatenate([v[np.unique(p, return_index=True)[1]] for v, p in zip(variants, parts, strict=True)])
        kept = (size >= min_grain) & (first > 0)
        found.append(
            Recipe(
                window=window,
                threshold=null_level(window, concentration) if threshold is None else threshold,
                fixed=threshold is not None,
                sizes=tuple(int(n) for n in np.sort(size[kept])[::-1][:10]),
                n_l10=int((PHASE_OF[first[kept]] == "L10").sum()),
                n_l12=int((PHASE_OF[first[kept]] == "L12").sum()),
                n_a1=int(size[first == 0].sum()),
            )
        )
    return tuple(found)
