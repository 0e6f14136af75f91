"""Records as the keys of the JSON output, and as the few lines that people read."""

from __future__ import annotations

from typing import Any

import numpy as np
from ase import Atoms

from aet2dft.dft_inputs.run_table import RunTable
from aet2dft.structure.chemical_order import ChemicalOrder, Order
from aet2dft.structure.grain_table import GrainTable
from aet2dft.structure.lattice import LatticeFit

COMPONENTS = ("xx", "yy", "zz", "yz", "xz", "xy")


def composition(atoms: Atoms) -> dict[str, int]:
    """Atoms per chemical symbol, lighter first."""
    numbers, counts = np.unique(atoms.numbers, return_counts=True)
    return {str(Atoms(numbers=[z]).symbols): int(n) for z, n in zip(numbers, counts, strict=True)}


def lattice_keys(fit: LatticeFit) -> dict[str, Any]:
    """Keys of one lattice."""
    return {
        "lattice": fit.lattice, "n_indexed": fit.n_indexed, **dict(zip("abc", fit.lengths.tolist(), strict=True)),
        **dict(zip(("alpha", "beta", "gamma"), fit.angles.tolist(), strict=True)), "cubic_a": fit.cubic_a,
        "rms_displacement": dict(zip(("x", "y", "z", "3d"), fit.rms_displacement.tolist(), strict=True)),
        "rms_displacement_cubic": float(fit.rms_displacement_cubic[3]), "rotation": fit.rotation.tolist(), "origin": fit.origin.tolist(),
    }  # fmt: skip


def grain_keys(table: GrainTable) -> list[dict[str, Any]]:
    """One object per grain, largest first."""
    names = tuple(GrainTable.__dataclass_fields__)
    return [{name: getattr(table, name)[row] for name in names} for row in range(len(table))]


def order_keys(atoms: Atoms, order: Order) -> dict[str, Any]:
    """Keys of the verb `order`."""
    keys: dict[str, Any] = {
        "n_atoms": len(atoms), "composition": composition(atoms), "lattice": lattice_keys(order.lattices[0]),
        "lattices": [lattice_keys(fit) | {"misorientation_deg": fit.misorientation} for fit in order.lattices],
        "warren_cowley": {
            f"{pair.center}-{pair.other}": {
                "all": pair.all_atoms, "all_sigma": pair.all_sigma, "full_shells": pair.full_shells, "n_full": pair.n_full,
                "pooled": pair.pooled,
            }
            for pair in order.warren_cowley
        },
        "strain_rms": dict(zip(COMPONENTS, order.strain.rms.tolist(), strict=True)),
        "strain_floor": dict(zip(COMPONENTS, order.strain.floor.tolist(), strict=True)),
        "strain_cell": dict(zip(COMPONENTS, order.strain.cell.tolist(), strict=True)),
        "strain_reference": order.strain.reference, "position_noise": order.strain.noise, "n_vacancies": len(order.vacancies.site),
        "n_surface": int(atoms.arrays["is_surface"].sum()),
    }  # fmt: skip
    return keys | _chemical_keys(order.chemical)


def _chemical_keys(chemical: ChemicalOrder | None) -> dict[str, Any]:
    if chemical is None:
        return {"grains": [], "antisite_profiles": []}
    recipes = [{name: getattr(r, name) for name in type(r).__dataclass_fields__} for r in chemical.recipes]
    b = chemical.boundaries
    return {
        "species": chemical.species, "null_level": chemical.null_level, "window": chemical.window,
        "grains": grain_keys(chemical.grains),
        "antisite_profiles": [
            {"grain": p.grain, "depth": p.depth, "fraction": p.fraction, "sigma": p.sigma, "order": p.order, "n": p.n}
            for p in chemical.profiles
        ],
        "swaps": [{"grain": s.grain, "found": s.found, "expected": s.expected} for s in chemical.swaps],
        "boundaries": [
            {"grains": [b.first[k], b.second[k]], "n_bonds": b.n_bonds[k], "kind": b.kind[k]} for k in range(len(b.first))
        ],
        "recipes": recipes,
    }  # fmt: skip


def order_lines(atoms: Atoms, order: Order) -> list[str]:
    """The summary of `order`, to be read aloud."""
    fit = order.lattices[0]
    formula = ", ".join(f"{n:,} {s}" for s, n in composition(atoms).items())
    lines = [
        f"{len(atoms):,} atoms ({formula}), {len(order.lattices)} fcc lattice{'s' * (len(order.lattices) > 1)}, a = {fit.cubic_a:.4f} Å; "
        f"{fit.n_indexed:,} atoms on the largest, {fit.rms_displacement[3] * 100:.1f} pm off its sites",
    ]
    if order.chemical is None:
        return lines
    table = order.chemical.grains
    for k in range(min(6, len(table))):
        extra = (
            f", S = {table.order[k]:.2f}"
            if table.variant[k]
            else f", core {100 * table.concentration_core[k]:.0f} % {order.chemical.species[0]}"
        )
        if np.isfinite(table.antisite_fraction_deep[k]):
            extra += f", antisites deep inside {100 * table.antisite_fraction_deep[k]:.1f} %"
        if np.isfinite(table.significance[k]):
            extra += f", not in {100 * table.significance[k]:.0f} % of surrogates"
        lines.append(f"grain {table.grain[k]}: {table.n_atoms[k]:,} atoms, {table.name[k]}{extra}")
    if len(table) > 6:
        lines.append(f"and {len(table) - 6} smaller grains")
    sizes = [r.sizes[0] for r in order.chemical.recipes if r.sizes]
    if sizes:
        lines.append(
            f"the largest ordered grain holds {min(sizes):,} to {max(sizes):,} atoms under neighboring label recipes"
        )
    return lines


def collect_keys(runs: RunTable) -> dict[str, Any]:
    """Keys of the verb `collect`."""
    values = runs.volumes.mae[np.isfinite(runs.volumes.mae)]
    summary = {"n": int(values.size), "min": None, "max": None, "mean": None}
    if values.size:
        summary |= {"min": float(values.min()), "max": float(values.max()), "mean": float(values.mean())}
    keys: dict[str, Any] = {
        "counts": runs.counts, "mae": summary, "mae_axes": runs.mae_axes, "method": runs.method, "n_rows": len(runs.jobs.job),
        "n_volumes": len(runs.volumes.volume), "k_mesh": runs.k_mesh,
    }  # fmt: skip
    if np.isfinite(runs.volumes.anisotropy).any():
        ok = np.isfinite(runs.volumes.anisotropy).all(axis=(1, 2))
        keys["tensor"] = [
            {"volume": name, "meV_per_atom": tensor, "easy_axis": axis}
            for name, tensor, axis in zip(
                runs.volumes.volume[ok], runs.volumes.anisotropy[ok], runs.volumes.easy_axis[ok], strict=True
            )
        ]
    return keys


def collect_lines(runs: RunTable) -> list[str]:
    """The summary of `collect`."""
    counts = ", ".join(f"{n} {name}" for name, n in runs.counts.items() if n)
    lines = [f"{len(runs.jobs.job)} jobs: {counts or 'none'}"]
    values = runs.volumes.mae[np.isfinite(runs.volumes.mae)]
    if values.size and runs.mae_axes:
        first, second = runs.mae_axes
        lines.append(
            f"MAE = E[{first}] - E[{second}] of {values.size} volumes: {values.min():+.3f} to {values.max():+.3f}, "
            f"mean {values.mean():+.3f} meV/atom ({runs.method.replace('_', ' ')}, k-mesh {runs.k_mesh})"
        )
    return lines
