"""The sections of the page about decks, their results, and relaxed against measured positions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from aet2dft.dft_inputs.comparison import Comparison
from aet2dft.dft_inputs.nested_model import SphereInCube, fit_nested
from aet2dft.dft_inputs.run_table import RunTable
from aet2dft.errors import InputError
from aet2dft.html_report.figures import picture
from aet2dft.html_report.gates import mesh_is_unconverged
from aet2dft.html_report.parts import Picture, Section, Table, number
from aet2dft.structure.chemical_order import Order

CODES = {"espresso": "Quantum ESPRESSO", "vasp": "VASP"}
MAX_ROWS = 60
"""Rows of a table; the export of the tables holds all."""


def inputs_section(inputs: Mapping[str, Any], warnings: tuple[str, ...]) -> Section:
    """What `inputs` wrote."""
    sets = deck_sets(inputs)
    tables = [_set_table(sets)]
    for decks in sets:
        where = f" of {Path(str(decks['directory'])).name}" if len(sets) > 1 and "directory" in decks else ""
        if tags := protocol_tags(decks):
            rows = tuple((key, str(value)) for key, value in tags.items())
            tables.append(
                Table(title=f"Protocol{where}", header=("tag", "value"), rows=rows, texts=(0, 1), folded=True)
            )
        if rejected := list(decks.get("rejected") or ()):
            tables.append(_rejected_table(rejected, where))
    text = (
        "Volumes were cut from the model by lattice index and written as input files; the folder's manifest holds "
        "the site of every atom, so that results return to where they belong."
    )
    return Section(id="inputs", title="DFT inputs", text=text, warnings=warnings, tables=tuple(tables))


def deck_sets(inputs: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Summaries of the deck folders, the one whose results were collected first."""
    return list(inputs["sets"]) if "sets" in inputs else [inputs]


def _set_table(sets: Sequence[Mapping[str, Any]]) -> Table:
    rows = tuple(
        (
            Path(str(decks.get("directory", "–"))).name,
            str(decks.get("kind", "–")),
            CODES.get(str(decks.get("code")), str(decks.get("code", "–"))),
            protocol_name(decks),
            ", ".join(f"[{axis}]" for axis in decks.get("axes") or ()) or "–",
            f"{decks.get('n_volumes', 0):,}",
            f"{decks.get('n_jobs', 0):,}",
            f"{len(decks.get('rejected') or ()):,}",
        )
        for decks in sets
    )
    header = ("folder", "kind", "code", "protocol", "axes", "volumes", "jobs", "rejected")
    return Table(title="Deck folders", header=header, rows=rows, texts=(0, 1, 2, 3, 4))


def _rejected_table(rejected: Sequence[Mapping[str, Any]], where: str) -> Table:
    rows = tuple((str(r.get("volume", "")), str(r.get("reason", ""))) for r in rejected[:MAX_ROWS])
    note = f"The first {MAX_ROWS} of {len(rejected):,}." if len(rejected) > MAX_ROWS else ""
    return Table(
        title=f"Rejected volumes{where}",
        header=("volume", "reason"),
        rows=rows,
        texts=(0, 1),
        note=note,
        folded=len(rejected) > 8,
    )


def protocol_name(decks: Mapping[str, Any]) -> str:
    """Name of the protocol, which a summary gives as a word or as the record of the manifest."""
    protocol = decks.get("protocol", "–")
    return str(protocol.get("name", "–")) if isinstance(protocol, Mapping) else str(protocol)


def protocol_tags(decks: Mapping[str, Any]) -> dict[str, Any]:
    """Tags of the protocol, where the summary holds them."""
    protocol = decks.get("protocol", {})
    return {key: value for key, value in protocol.items() if key != "name"} if isinstance(protocol, Mapping) else {}


def results_section(
    runs: RunTable, order: Order | None, inputs: Mapping[str, Any] | None, warnings: tuple[str, ...]
) -> Section:
    """What `collect` read."""
    pictures = [*_job_pictures(runs), *_anisotropy_pictures(runs)]
    if inputs is not None and deck_sets(inputs)[0].get("kind") == "nested" and order is not None:
        pictures += _nested_picture(runs, order.lattices[0].cubic_a)
    found = dict.fromkeys((*_prominent(runs), *runs.warnings, *warnings))
    return Section(
        id="results", title="DFT results", text=_results_text(runs), warnings=tuple(found), pictures=tuple(pictures),
        tables=(_volume_table(runs), *_failed_jobs(runs)) if runs.has_run else (),
    )  # fmt: skip


def _prominent(runs: RunTable) -> list[str]:
    """What must not be overlooked."""
    if mesh_is_unconverged(runs) and runs.has_run:
        return ["Unconverged k-mesh: do not quote this MAE without a second, denser mesh."]
    return []


def _results_text(runs: RunTable) -> str:
    method = {
        "force_theorem": "The MAE is the difference of the free band energies of two axes (force theorem)",
        "total_energy": "The MAE is the difference of the total energies of two self-consistent runs",
    }.get(runs.method)
    text = f"{sum(runs.counts.values()):,} jobs of {CODES.get(runs.code, runs.code)}, protocol {runs.protocol}"
    text += f", k-mesh {runs.k_mesh}." if runs.k_mesh else "."
    if not runs.has_run:
        return f"{text} None of them was started, so there is no result yet."
    if method and runs.mae_axes and np.isfinite(runs.volumes.mae).any():
        first, second = runs.mae_axes
        text += f" {method}, E[{first}] − E[{second}] per atom: positive where [{second}] is the easier axis."
    return text


def _job_pictures(runs: RunTable) -> list[Picture]:
    from aet2dft.plot.jobs import plot_jobs

    if not runs.has_run:
        return []
    total, ok = sum(runs.counts.values()), runs.counts.get("ok", 0)
    return [
        picture(
            plot_jobs(runs),
            name="jobs",
            alt="Volumes against steps, colored by the status of the job, and the wall times.",
            caption=(
                f"Status and wall time of {total:,} jobs, {ok:,} of them ok; bars mark the medians. Look for whole "
                "columns or rows that failed."
            ),
        )
    ]


def _anisotropy_pictures(runs: RunTable) -> list[Picture]:
    from aet2dft.plot.anisotropy import (
        MIN_REGRESSION,
        has_line,
        mae_label,
        plot_anisotropy,
        plot_anisotropy_map,
        plot_easy_axes,
    )

    if not np.isfinite(runs.volumes.mae).any():
        return []
    n = runs.volumes.mae_count
    doubt = " The k-mesh is unconverged." if mesh_is_unconverged(runs) else ""
    line = f"a line needs {MIN_REGRESSION} volumes of different order. Numerical"
    if has_line(runs):
        line = "the line is a least-squares fit: look whether it goes through the origin. Numerical"
    found = [
        picture(
            plot_easy_axes(runs),
            name="easy-axes",
            alt="Number of volumes with each easy axis.",
            caption=f"Easy axes of {n} among the axes computed: {', '.join(f'[{a}]' for a in runs.axes)}.",
        )
    ]
    if np.isfinite(runs.order_difference).any():
        against = picture(
            plot_anisotropy(runs),
            name="mae",
            alt="Magnetic anisotropy energy of the volumes against their difference of L1₀ order.",
            caption=(
                f"{mae_label(runs)} of {n} against the difference of their L1₀ order along the two axes; {line} errors "
                f"of single volumes are not known.{doubt}"
            ),
        )
        found.insert(0, against)
    if _is_grid(runs):
        found.append(
            picture(
                plot_anisotropy_map(runs),
                name="mae-map",
                alt="Magnetic anisotropy energy in three slices through the volumes.",
                caption=(
                    f"{mae_label(runs)} at the centers of {n} that slide through the model, in the slices that most "
                    f"of them lie in; gray where there is no value.{doubt}"
                ),
            )
        )
    return found


def _is_grid(runs: RunTable) -> bool:
    """Whether enough volumes of one size lie side by side for a map."""
    center = runs.volumes.center_site
    one_size = len(np.unique(runs.volumes.size, axis=0)) == 1
    return bool(one_size and np.isfinite(center).all() and (np.ptp(center, axis=0) >= 1).sum() >= 2)


def _nested_picture(runs: RunTable, cubic_a: float) -> list[Picture]:
    from aet2dft.plot.anisotropy import plot_nested

    cells, mae = 0.5 * runs.volumes.size[:, 0], runs.volumes.mae
    fit: SphereInCube | None
    try:
        fit = fit_nested(cells, mae, cubic_a=cubic_a)
        note = f" R = {number(fit.radius, 1)} ± {number(fit.radius_sigma, 1)} Å. {' '.join(fit.warnings)}"
    except InputError as error:
        fit, note = None, f" No model: {error}."
    return [
        picture(
            plot_nested(cells, mae, fit, cubic_a=cubic_a),
            name="nested",
            alt="MAE of nested cubes against their edge.",
            caption=(
                f"MAE of {int(np.isfinite(mae).sum())} nested cubes; the curve is an ordered sphere in a cube.{note}"
            ),
        )
    ]


def _volume_table(runs: RunTable) -> Table:
    v, difference = runs.volumes, runs.order_difference
    order = np.argsort(np.where(np.isfinite(v.mae), -np.abs(v.mae), np.inf), kind="stable")[:MAX_ROWS]
    rows = tuple(
        (
            str(v.volume[k]),
            str(v.composition[k]),
            number(difference[k]),
            number(v.mae[k], 3),
            number(v.mae_density[k]),
            f"[{v.easy_axis[k]}]" if v.easy_axis[k] else "–",
            number(v.moment[k], 1),
            str(v.status[k]).replace("_", " "),
        )
        for k in order
    )
    header = ("volume", "composition", "Δη", "MAE (meV/atom)", "MAE (MJ/m³)", "easy axis", "moment (μB)", "status")
    note = f"The {MAX_ROWS} of {len(v.volume):,} volumes with the largest MAE." if len(v.volume) > MAX_ROWS else ""
    return Table(title="Volumes", header=header, rows=rows, texts=(0, 1, 7), note=note, folded=len(v.volume) > 15)


def _failed_jobs(runs: RunTable) -> list[Table]:
    bad = np.flatnonzero(runs.jobs.counted_as != "ok")
    if not bad.size:
        return []
    rows = tuple(
        (str(runs.jobs.job[k]), str(runs.jobs.status[k]).replace("_", " "), str(runs.jobs.reason[k]))
        for k in bad[:MAX_ROWS]
    )
    note = f"The first {MAX_ROWS} of {bad.size:,}." if bad.size > MAX_ROWS else ""
    return [
        Table(
            title="Jobs that are not ok",
            header=("job", "status", "reason"),
            rows=rows,
            texts=(0, 1, 2),
            note=note,
            folded=bad.size > 8,
        )
    ]


def comparison_section(atoms: Atoms | None, comparison: Comparison, warnings: tuple[str, ...]) -> Section:
    """What `compare` found."""
    from aet2dft.plot.fields import plot_relaxation

    pictures = []
    if atoms is not None and "relaxation" in atoms.arrays:
        pictures.append(
            picture(
                plot_relaxation(atoms, comparison),
                name="relaxation",
                alt=(
                    "Histogram of the lengths of the displacements from measured to relaxed positions, and arrows in "
                    "a slab."
                ),
                caption=(
                    f"Relaxed minus measured positions of {comparison.n:,} atoms without their common offset; dashed: "
                    "RMSD. Look for atoms that move much farther than the error of the measurement."
                ),
            )
        )
    sigma = comparison.measurement_sigma
    rows = (
        ("RMSD (3D)", f"{number(100 * comparison.rmsd, 1)} pm"),
        ("error of the measurement (3D)", "not known" if sigma is None else f"{number(100 * sigma, 1)} pm"),
        ("longest displacement", f"{number(comparison.max_displacement)} Å"),
        ("rms along x, y, z", f"{', '.join(number(100 * x, 1) for x in comparison.rms_by_axis)} pm"),
        *((f"RMSD of {s}", f"{number(100 * x, 1)} pm") for s, x in comparison.rmsd_by_species.items()),
        ("common offset, taken off", f"{', '.join(number(x, 3) for x in comparison.offset)} Å"),
        ("without partner, measured and relaxed", f"{comparison.n_only_measured:,} and {comparison.n_only_relaxed:,}"),
    )
    text = (
        f"{comparison.n:,} atoms were matched by {comparison.matched_by.replace('_', ' ')}; the cell is fixed and no "
        "rotation is removed."
    )
    table = Table(title="Relaxed against measured", header=("quantity", "value"), rows=rows, texts=(0, 1))
    return Section(
        id="compare",
        title="Relaxed against measured",
        text=text,
        warnings=warnings,
        pictures=tuple(pictures),
        tables=(table,),
    )
