"""Quality gates: what a reader should trust, with the number that decided.

Every limit stands in `LIMITS`, once.
"""

from __future__ import annotations

import numpy as np

from aet2dft.atoms import Soundness
from aet2dft.dft_inputs.comparison import Comparison
from aet2dft.dft_inputs.run_table import RunTable
from aet2dft.html_report.parts import Gate, level_of, number, percent
from aet2dft.structure.chemical_order import ChemicalOrder, Order
from aet2dft.structure.grain_notes import least_certain_note, recipe_note
from aet2dft.structure.variants import layered_along

LIMITS = {
    "indexed": (0.99, 0.95),
    "distortion": (0.01, 0.03),
    "recipes": (1.5, 2.5),
    "noise": (2.0, 1.0),
    "significance": (0.95, 0.8),
    "jobs": (1.0, 0.9),
}
"""Where good becomes fair and fair becomes poor."""


def gates(
    soundness: Soundness | None, order: Order | None, runs: RunTable | None, comparison: Comparison | None
) -> tuple[Gate, ...]:
    """All checks that apply."""
    found = [] if soundness is None else [_sound(soundness)]
    if order is not None:
        found += [_indexed(order, soundness), _distortion(order), _strain(order)]
        if order.chemical is not None and len(order.chemical.grains):
            found += [_recipes(order.chemical), *_significance(order.chemical)]
    if runs is not None:
        found += [*_jobs(runs), *_mesh(runs), *_origin(runs)]
    if comparison is not None and comparison.measurement_sigma is not None:
        found.append(_relaxation(comparison))
    return tuple(found)


def _sound(soundness: Soundness) -> Gate:
    problems = (*soundness.fatal, *soundness.problems)
    level = "poor" if soundness.fatal else "fair" if problems else "good"
    return Gate(
        name="model", level=level, reason=problems[0] if problems else "finite, in Å, no two atoms nearer than any bond"
    )


def _indexed(order: Order, soundness: Soundness | None) -> Gate:
    n = sum(fit.n_indexed for fit in order.lattices)
    total = soundness.n_atoms if soundness else n
    share = n / max(total, 1)
    return Gate(
        name="lattice",
        level=level_of(share, LIMITS["indexed"]),
        reason=f"{percent(share, 2)} of the atoms sit on a lattice site",
    )


def _distortion(order: Order) -> Gate:
    """How far the largest lattice is from cubic, or from tetragonal where it is mostly L1₀ of one axis."""
    along, lengths = _layered_axis(order), order.lattices[0].lengths
    edges = np.delete(lengths, along)
    spread = float(edges.max() / edges.min() - 1.0)
    which, ratio = "the edges of the best-fit cell", ""
    if along:
        which, ratio = f"{which} in the layers of L1₀", f"; c/a = {lengths[along[0]] / edges.mean():.3f}"
    reason = f"{which} differ by {percent(spread, 2)}{ratio}"
    return Gate(name="cell", level=level_of(spread, LIMITS["distortion"]), reason=reason)


def _layered_axis(order: Order) -> list[int]:
    """Axis of the largest lattice along which most of its atoms are layered as in L1₀, if there is one."""
    if order.chemical is None:
        return []
    fit, grains = order.lattices[0], order.chemical.grains
    axes = np.array([layered_along(variant) for variant in grains.variant], dtype=np.str_)
    there = grains.lattice == fit.lattice
    return [k for k, axis in enumerate("xyz") if 2 * grains.n_atoms[there & (axes == axis)].sum() > fit.n_indexed]


def _strain(order: Order) -> Gate:
    ratio = float(np.nanmin(order.strain.rms / np.maximum(order.strain.floor, 1e-12)))
    level = level_of(ratio, LIMITS["noise"])
    only = "" if level == "good" else "only "
    times = f"{only}{number(ratio, 1)} times what the noise of the positions alone gives"
    return Gate(name="strain", level=level, reason=f"rms strain of the weakest component is {times}")


def _recipes(chemical: ChemicalOrder) -> Gate:
    if not chemical.recipes:
        return Gate(name="recipe", level="fair", reason="no other window or threshold of the labels was tried")
    largest = [recipe.largest for recipe in chemical.recipes]
    ratio = max(largest) / max(min(largest), 1)
    return Gate(name="recipe", level=level_of(ratio, LIMITS["recipes"]), reason=recipe_note(chemical.recipes))


def _significance(chemical: ChemicalOrder) -> list[Gate]:
    asked = chemical.grains.significance[np.isfinite(chemical.grains.significance)]
    if not asked.size:
        return []
    return [
        Gate(
            name="small grains",
            level=level_of(float(asked.min()), LIMITS["significance"]),
            reason=least_certain_note(chemical.grains, chemical.n_surrogates),
        )
    ]


def _jobs(runs: RunTable) -> list[Gate]:
    total = sum(runs.counts.values())
    if not total:
        return []
    ok = runs.counts.get("ok", 0)
    rest = ", ".join(f"{n:,} {name.replace('_', ' ')}" for name, n in runs.counts.items() if n and name != "ok")
    return [
        Gate(
            name="jobs",
            level=level_of(ok / total, LIMITS["jobs"]),
            reason=f"{ok:,} of {total:,} ok{f'; {rest}' if rest else ''}",
        )
    ]


def mesh_is_unconverged(runs: RunTable) -> bool:
    """Whether the results say of themselves that their k-mesh is too coarse."""
    return any(warning.startswith("unconverged:") for warning in runs.warnings)


def _mesh(runs: RunTable) -> list[Gate]:
    if not runs.axes or not runs.counts.get("ok"):
        return []
    if mesh_is_unconverged(runs):
        level, reason = "poor", f"unconverged k-mesh ({runs.k_mesh}): not a number to quote"
    elif any("k-mesh" in warning for warning in runs.warnings):
        level, reason = "fair", f"{runs.k_mesh}; no denser mesh was tried, so the error is not known"
    else:
        level, reason = "good", f"{runs.k_mesh}, nothing speaks against it"
    return [Gate(name="k-mesh", level=level, reason=reason)]


def _origin(runs: RunTable) -> list[Gate]:
    if not runs.shipped:
        return []
    return [Gate(name="results", level="fair", reason="came with the package; they were not computed on this machine")]


def _relaxation(comparison: Comparison) -> Gate:
    sigma = comparison.measurement_sigma or 0.0
    return Gate(
        name="relaxation", level="good" if comparison.rmsd <= 1.5 * sigma else "fair",
        reason=f"RMSD {number(100 * comparison.rmsd, 1)} pm, error of the measurement {number(100 * sigma, 1)} pm",
    )  # fmt: skip
