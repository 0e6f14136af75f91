"""Records as the keys of the JSON output, and as the few lines that people read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:  # `info` answers without them
    from ase import Atoms

    from aet2dft.config import OrderSettings
    from aet2dft.dft_inputs.comparison import Comparison
    from aet2dft.dft_inputs.run_forecast import RunForecast
    from aet2dft.dft_inputs.run_table import RunTable
    from aet2dft.structure.chemical_order import ChemicalOrder, Order
    from aet2dft.structure.grain_table import GrainTable
    from aet2dft.structure.lattice import LatticeFit

COMPONENTS = ("xx", "yy", "zz", "yz", "xz", "xy")


def info_lines(name: str, found: Mapping[str, Any]) -> list[str]:
    """The summary of `info`."""
    lines = [f"{name}: {found['kind']}"]
    if found.get("composition"):
        lines.append(f"{found['n_atoms']:,} atoms: {_formula(found['composition'])}")
    if found.get("min_distance") is not None:
        shortest, median = found["min_distance"], found["median_neighbor_distance"]
        lines.append(f"nearest neighbors: shortest {shortest:.3f} Å, median {median:.3f} Å")
    names = ("shape", "groups", "code", "protocol", "n_volumes", "n_jobs", "status")
    lines += [f"{key}: {_listed(found[key])}" for key in names if found.get(key) is not None]
    if found.get("pixel_size") is not None:
        lines.append(f"{'voxels' if found['kind'] == 'volume' else 'pixels'} of {found['pixel_size']:.4g} Å")
    if "tilt_range" in found:
        lines.append("tilts from {:g} to {:g} degrees".format(*found["tilt_range"]))
    return lines + ([f"problem: {text}" for text in found["problems"]] or ["no problems found"])


def _listed(value: Any) -> str:
    """Lengths of the axes of an array as a product, names with commas, numbers with theirs."""
    if isinstance(value, list):
        return (" x " if all(isinstance(item, int) for item in value) else ", ").join(map(str, value))
    return f"{value:,}" if isinstance(value, int) else str(value)


def _formula(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{n:,} {symbol}" for symbol, n in counts.items())


def composition(atoms: Atoms) -> dict[str, int]:
    """Atoms per chemical symbol, lighter first."""
    from ase.data import chemical_symbols

    numbers, counts = np.unique(atoms.numbers, return_counts=True)
    return {chemical_symbols[z]: int(n) for z, n in zip(numbers, counts, strict=True)}


def lattice_keys(fit: LatticeFit) -> dict[str, Any]:
    """Keys of one lattice."""
    return {
        "lattice": fit.lattice,
        "n_indexed": fit.n_indexed,
        **dict(zip("abc", fit.lengths.tolist(), strict=True)),
        **dict(zip(("alpha", "beta", "gamma"), fit.angles.tolist(), strict=True)),
        "cubic_a": fit.cubic_a,
        "rms_displacement": dict(zip(("x", "y", "z", "3d"), fit.rms_displacement.tolist(), strict=True)),
        "rms_displacement_cubic": float(fit.rms_displacement_cubic[3]),
        "rotation": fit.rotation.tolist(),
        "origin": fit.origin.tolist(),
    }


def grain_keys(table: GrainTable) -> list[dict[str, Any]]:
    """One object per grain, largest first."""
    names = tuple(type(table).__dataclass_fields__)
    return [{name: getattr(table, name)[row] for name in names} for row in range(len(table))]


def order_keys(atoms: Atoms, order: Order) -> dict[str, Any]:
    """Keys of the verb `order`."""
    keys: dict[str, Any] = {
        "n_atoms": len(atoms),
        "composition": composition(atoms),
        "lattice": lattice_keys(order.lattices[0]),
        "lattices": [lattice_keys(fit) | {"misorientation_deg": fit.misorientation} for fit in order.lattices],
        "warren_cowley": {
            f"{pair.center}-{pair.other}": {
                "all": pair.all_atoms,
                "all_sigma": pair.all_sigma,
                "full_shells": pair.full_shells,
                "full_sigma": pair.full_sigma,
                "n_full": pair.n_full,
                "pooled": pair.pooled,
            }
            for pair in order.warren_cowley
        },
        "strain_rms": dict(zip(COMPONENTS, order.strain.rms.tolist(), strict=True)),
        "strain_floor": dict(zip(COMPONENTS, order.strain.floor.tolist(), strict=True)),
        "strain_cell": dict(zip(COMPONENTS, order.strain.cell.tolist(), strict=True)),
        "strain_reference": order.strain.reference,
        "position_noise": order.strain.noise,
        "n_vacancies": len(order.vacancies.site),
        "n_surface": int(atoms.arrays["is_surface"].sum()),
    }
    return keys | _chemical_keys(order.chemical)


def _chemical_keys(chemical: ChemicalOrder | None) -> dict[str, Any]:
    if chemical is None:
        return {"grains": [], "antisite_profiles": []}
    recipes = [{name: getattr(r, name) for name in type(r).__dataclass_fields__} for r in chemical.recipes]
    b = chemical.boundaries
    return {
        "species": chemical.species,
        "null_level": chemical.null_level,
        "window": chemical.window,
        "grains": grain_keys(chemical.grains),
        "antisite_profiles": [
            {"grain": p.grain, "depth": p.depth, "fraction": p.fraction, "sigma": p.sigma, "order": p.order, "n": p.n}
            for p in chemical.profiles
        ],
        "swaps": [{"grain": s.grain, "found": s.found, "expected": s.expected} for s in chemical.swaps],
        "boundaries": [
            {"grains": [b.first[k], b.second[k]], "n_bonds": b.n_bonds[k], "kind": b.kind[k]}
            for k in range(len(b.first))
        ],
        "recipes": recipes,
    }


def order_forecast(n_atoms: int, settings: OrderSettings) -> tuple[dict[str, Any], list[str]]:
    """Keys and summary of a dry run of `order`: time and memory, from runs on particles of 2,000 to 23,000 atoms."""
    seconds = 2.0 + 1.3e-4 * n_atoms * (1 + 0.06 * settings.surrogates)
    memory = 250 + 4e-3 * n_atoms
    data = {"n_atoms": n_atoms, "predicted_seconds": round(seconds, 1), "predicted_memory_mb": round(memory)}
    return data, [f"{n_atoms:,} atoms: about {seconds:.0f} s and {memory:.0f} MB"]


def order_lines(atoms: Atoms, order: Order) -> list[str]:
    """The summary of `order`, to be read aloud."""
    from aet2dft.structure.grain_notes import recipe_note

    fit = order.lattices[0]
    lattices = f"{len(order.lattices)} fcc lattice{'s' * (len(order.lattices) > 1)}, a = {fit.cubic_a:.4f} Å"
    lines = [
        f"{len(atoms):,} atoms ({_formula(composition(atoms))}), {lattices}; "
        f"{fit.n_indexed:,} atoms on the largest, {100 * fit.rms_displacement[3]:.1f} pm off its sites"
    ]
    if order.chemical is None:
        return lines
    table = order.chemical.grains
    lines += [_grain_line(order.chemical, row) for row in range(min(6, len(table)))]
    if (more := len(table) - 6) > 0:
        lines.append(f"and {more:,} smaller grain{'s' * (more > 1)}")
    return [*lines, recipe_note(order.chemical.recipes)]


def _grain_line(chemical: ChemicalOrder, row: int) -> str:
    from aet2dft.structure.grain_notes import surrogate_note
    from aet2dft.structure.grain_table import FEWEST_DEEP

    table = chemical.grains
    line = f"grain {table.grain[row]}: {table.n_atoms[row]:,} atoms, {table.name[row]}"
    if table.variant[row]:
        line += f", S = {table.order[row]:.2f}"
    elif np.isfinite(table.concentration_core[row]):
        line += f", core {100 * table.concentration_core[row]:.0f} % {chemical.species[0]}"
    if table.variant[row] and table.n_deep[row] >= FEWEST_DEEP:
        percent, error = 100 * table.antisite_fraction_deep[row], 100 * table.antisite_sigma_deep[row]
        line += f", antisites deep inside {percent:.1f} ± {error:.1f} %"
    if np.isfinite(table.significance[row]):
        line += f", {surrogate_note(float(table.significance[row]), chemical.n_surrogates)}"
    return line


def inputs_keys(manifest: Mapping[str, Any], directory: Path) -> dict[str, Any]:
    """Keys of the verb `inputs`."""
    from aet2dft.cli.projects import rejected
    from aet2dft.dft_inputs.decks import MANIFEST

    status = Counter(volume["status"] for volume in manifest["volumes"])
    return {
        "n_volumes": len(manifest["volumes"]),
        "n_jobs": len(manifest["jobs"]),
        "kind": manifest["kind"],
        "code": manifest["code"],
        "protocol": manifest["protocol"]["name"],
        "axes": manifest["axes"],
        "manifest": str((directory / MANIFEST).resolve()),
        "rejected": rejected(manifest["volumes"]),
        "n_same": status["same"],
    }


def inputs_lines(data: Mapping[str, Any], directory: Path, *, dry_run: bool) -> list[str]:
    """The summary of `inputs`."""
    n, m = data["n_volumes"], data["n_jobs"]
    jobs = f"{n:,} volume{'s' * (n != 1)}, {m:,} job{'s' * (m != 1)} for {data['code']} ({data['protocol']})"
    lines = [f"{jobs} {'would go to' if dry_run else 'in'} {directory}"]
    if data["rejected"]:
        first = data["rejected"][0]
        n = len(data["rejected"])
        lines.append(f"{n} volume{'s' * (n != 1)} rejected, first: {first['volume']}: {first['reason']}")
    return lines


def run_forecast_keys(told: RunForecast) -> dict[str, Any]:
    """Keys of `run --dry-run`."""
    return {"predicted_seconds": told.seconds, "predicted_memory_mb": told.memory_mb}


def run_forecast_lines(told: RunForecast, workers: int) -> list[str]:
    """What `run --dry-run` says of them."""
    jobs = f"{told.n_jobs:,} job{'s' * (told.n_jobs != 1)} of up to {told.n_atoms} atoms"
    size = f"{jobs}, {workers} at a time: {told.memory_mb:,.0f} MB, roughly"
    if told.seconds is None:
        return [size, "how long is not known before jobs of every step have ended here; tens of atoms take hours a job"]
    return [size, f"about {told.seconds / 3600.0:,.1f} hours, if all take as long as those that ended here"]


def compare_keys(result: Comparison) -> dict[str, Any]:
    """Keys of the verb `compare`."""
    return {name: getattr(result, name) for name in type(result).__dataclass_fields__}


def compare_lines(result: Comparison) -> list[str]:
    """The summary of `compare`."""
    offset = ", ".join(f"{x:.4f}" for x in result.offset)
    return [
        f"{result.n:,} atoms (matched by {result.matched_by}): rmsd {100 * result.rmsd:.1f} pm, "
        f"largest {100 * result.max_displacement:.1f} pm, after a rigid offset of ({offset}) Å was taken off"
    ]


def collect_keys(runs: RunTable) -> dict[str, Any]:
    """Keys of the verb `collect`."""
    values = runs.volumes.mae[np.isfinite(runs.volumes.mae)]
    summary: dict[str, float | None] = {"n": values.size, "min": None, "max": None, "mean": None}
    if values.size:
        summary |= {"min": float(values.min()), "max": float(values.max()), "mean": float(values.mean())}
    keys: dict[str, Any] = {
        "counts": runs.counts,
        "mae": summary,
        "mae_axes": runs.mae_axes,
        "method": runs.method,
        "n_rows": len(runs.jobs.job),
        "n_volumes": len(runs.volumes.volume),
        "k_mesh": runs.k_mesh,
    }
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
    counts = ", ".join(f"{n:,} {name}" for name, n in runs.counts.items() if n)
    n = len(runs.jobs.job)
    lines = [f"{n:,} job{'s' * (n != 1)}: {counts or 'none'}"]
    values = runs.volumes.mae[np.isfinite(runs.volumes.mae)]
    if values.size and runs.mae_axes:
        first, second = runs.mae_axes
        lines.append(
            f"MAE = E[{first}] - E[{second}] of {runs.volumes.mae_count}: {values.min():+z.3f} to "
            f"{values.max():+z.3f}, mean {values.mean():+z.3f} meV/atom "
            f"({runs.method.replace('_', ' ')}, k-mesh {runs.k_mesh})"
        )
    return lines
