"""The verb `collect`: what a deck folder has to say, one row per job and per volume; nothing in a folder raises."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aet2dft.config import CollectSettings
from aet2dft.dft_inputs.anisotropy import RESOLUTION, anisotropy_tensor, mae, to_energy_density
from aet2dft.dft_inputs.decks import Manifest
from aet2dft.dft_inputs.directions import direction_name, parse_direction
from aet2dft.dft_inputs.job_status import assess
from aet2dft.dft_inputs.kmesh import k_mesh
from aet2dft.dft_inputs.moment_checks import different_states
from aet2dft.dft_inputs.run_result import COUNTED_AS, RunResult
from aet2dft.dft_inputs.run_table import JobTable, MomentTable, RelaxedTable, RunTable, VolumeTable
from aet2dft.errors import InputError

COUNTS = ("ok", "not_converged", "incomplete", "input_changed", "missing", "failed")
"""The six classes of `counts`."""
SHIPPED = "outputs_of_the_package.txt"
"""File in a deck folder whose outputs were not computed there but came with the package."""
_COMPARED = ("version", "k_mesh", "pseudo_md5", "n_electrons")
"""What must be equal in two runs for their energies to be compared."""
_TENSOR_AXES = 6
"""Axes that a whole anisotropy tensor needs."""


@dataclass(slots=True)
class _Gathered:
    """What is kept of the jobs while they stream by."""

    results: dict[str, RunResult] = field(default_factory=dict)
    moments: list[tuple[str, NDArray[np.int32], NDArray[np.float64]]] = field(default_factory=list)
    relaxed: dict[str, NDArray[np.float64]] = field(default_factory=dict)


def collect(
    directory: Path,
    settings: CollectSettings = CollectSettings(),  # noqa: ARG001  the form of every verb; this one needs none yet
    *,
    progress: Callable[[int, int], None] | None = None,
) -> RunTable:
    """Read everything that the jobs of a deck folder left behind.

    Parameters
    ----------
    directory : Path
        Folder that `inputs` wrote.
    settings : CollectSettings
        Settings of the verb.
    progress : callable, optional
        Called with the number of jobs read and the number of all.

    Returns
    -------
    RunTable
        One row per job, always; energies, moments and anisotropy where runs are whole and their own.

    Raises
    ------
    InputError
        If the folder holds no manifest, or it is damaged.

    Notes
    -----
    A volume has a MAE where all its axes are ok with equal k-mesh, pseudopotentials, electrons and version, and ended
    in the same magnetic state. In the force theorem the energies are the free band energies; see
    `aet2dft.dft_inputs.anisotropy`.
    """
    manifest = Manifest.read(directory)
    gathered = _read_jobs(manifest, progress)
    axes = tuple(manifest.content["axes"])
    force_theorem = any(job["calculation"] == "nscf" for job in manifest.jobs)
    runs_of: dict[str, dict[str, RunResult]] = {}
    for job in manifest.jobs:
        runs_of.setdefault(job["volume"], {})[job["step"]] = gathered.results[job["id"]]
    rows = [
        _volume_row(volume, axes, runs_of.get(volume["same_as"] or volume["id"], {})) for volume in manifest.volumes
    ]
    counted = Counter(result.counted_as for result in gathered.results.values())
    meshes = {"x".join(map(str, v["k_mesh"])) for v in manifest.volumes if "k_mesh" in v}
    return RunTable(
        code=str(manifest.content["code"]),
        protocol=str(manifest.content["protocol"]["name"]),
        method=("force_theorem" if force_theorem else "total_energy") if axes else "",
        axes=axes,
        mae_axes=mae_axes(axes),
        counts={name: counted.get(name, 0) for name in COUNTS},
        jobs=_job_table(manifest, gathered),
        volumes=_volume_table(rows, len(axes)),
        moments=_moment_table(manifest, gathered),
        relaxed=_relaxed_table(manifest, gathered),
        frame=_rotation(manifest),
        k_mesh=", ".join(sorted(meshes)),
        shipped=(directory / SHIPPED).is_file(),
        warnings=tuple(_warnings(manifest, gathered)),
    )


def mae_axes(axes: Sequence[str]) -> tuple[str, str] | None:
    """The two axes of the MAE: [100] and [001] where both are there, else the first two; None with fewer."""
    if "100" in axes and "001" in axes:
        return "100", "001"
    return (axes[0], axes[1]) if len(axes) >= 2 else None


def _read_jobs(manifest: Manifest, progress: Callable[[int, int], None] | None) -> _Gathered:
    """Read all jobs, parents first; only numbers are kept."""
    gathered = _Gathered()
    volumes = {volume["id"]: volume for volume in manifest.volumes}
    for number, job in enumerate(manifest.jobs, start=1):
        parent = gathered.results.get(job["parent"]) if job["parent"] else None
        result = assess(manifest.directory, manifest.content, job, parent_ok=parent is None or parent.status == "ok")
        ids = np.asarray(volumes[job["volume"]]["site_ids"], dtype=np.int32)
        if result.status == "ok" and result.moments is not None and len(result.moments) == len(ids):
            gathered.moments.append((job["id"], ids, _vectors(result.moments)))
        if result.status == "ok" and job["calculation"] == "relax" and result.positions is not None:
            gathered.relaxed[job["volume"]] = result.positions
        gathered.results[job["id"]] = _slim(result)
        if progress is not None:
            progress(number, len(manifest.jobs))
    return gathered


def _slim(result: RunResult) -> RunResult:
    """Without the arrays that were taken out already, so that thousands of results stay small."""
    return replace(result, cell=None, positions=None, input_cell=None, input_positions=None, labels=())


def _vectors(moments: NDArray[np.float64]) -> NDArray[np.float64]:
    """Collinear moments (N,) as vectors (N, 3) along z."""
    return moments if moments.ndim == 2 else np.stack([np.zeros_like(moments), np.zeros_like(moments), moments], axis=1)


def _job_table(manifest: Manifest, gathered: _Gathered) -> JobTable:
    results = [gathered.results[job["id"]] for job in manifest.jobs]

    def numbers(name: str) -> NDArray[np.float64]:
        return np.array([_or_nan(getattr(result, name)) for result in results], dtype=np.float64)

    return JobTable(
        job=_text(job["id"] for job in manifest.jobs),
        volume=_text(job["volume"] for job in manifest.jobs),
        step=_text(job["step"] for job in manifest.jobs),
        status=_text(r.status for r in results),
        counted_as=_text(COUNTED_AS[r.status] for r in results),
        reason=_text(r.reason for r in results),
        energy=numbers("energy"),
        free_band_energy=numbers("free_band_energy"),
        cpu_seconds=numbers("cpu_seconds"),
        wall_seconds=numbers("wall_seconds"),
    )


def _or_nan(value: float | None) -> float:
    return float("nan") if value is None else float(value)


def _text(values: Iterator[str]) -> NDArray[np.str_]:
    listed = list(values)
    return np.array(listed, dtype=np.str_) if listed else np.zeros(0, dtype="U1")


def _volume_row(volume: Mapping[str, Any], axes: tuple[str, ...], runs: Mapping[str, RunResult]) -> dict[str, Any]:
    """One row of the table of volumes; `runs`, by step, are those of the volume or of the one it shares jobs with."""
    symbols = list(volume.get("symbols", ()))
    size = np.array(volume.get("size", [0, 0, 0]))
    row: dict[str, Any] = {
        "volume": volume["id"],
        "status": "ok",
        "reason": "",
        "same_as": volume["same_as"] or "",
        "center_site": np.array(volume.get("origin", [np.nan] * 3)) + 0.5 * size,
        "size": size,
        "center": volume["center"],
        "n_atoms": len(symbols),
        "composition": "".join(f"{s}{symbols.count(s)}" for s in sorted(set(symbols))),
        "order": [_or_nan(x) for x in volume.get("order", [None] * 3)],  # folders from before lack it
        "order_difference": _or_nan(volume["order_difference"]),
        "energies": [np.nan] * len(axes),
        "mae": np.nan,
        "mae_density": np.nan,
        "easy_axis": "",
        "anisotropy": np.full((3, 3), np.nan),
        "moment": np.nan,
    }
    if volume["status"] == "rejected":
        return row | {"status": "rejected", "reason": volume["reason"]}
    bad = next(((step, run) for step, run in runs.items() if run.status != "ok"), None)
    if bad is not None:
        row |= {"status": bad[1].status, "reason": f"{bad[0]}: {bad[1].reason or bad[1].status}"}
    moment = next((r.total_moment for r in runs.values() if r.status == "ok" and r.total_moment is not None), None)
    row["moment"] = _or_nan(None if moment is None else float(np.linalg.norm(moment)))
    along = [runs.get(f"axis_{direction_name(parse_direction(word))}") for word in axes]
    row["energies"] = [_energy(run) for run in along]
    if bad is None and axes:
        row |= _anisotropy(
            axes, row["energies"], len(symbols), volume["cell"], [run for run in along if run is not None]
        )
    return row


def _energy(result: RunResult | None) -> float:
    """The energy that axes are compared by: the free band energy of a force-theorem run, else the total energy."""
    if result is None or result.status != "ok":
        return float("nan")
    return _or_nan(result.free_band_energy if result.calculation == "nscf" else result.energy)


def _anisotropy(
    axes: tuple[str, ...], energies: list[float], n_atoms: int, cell: Sequence[Sequence[float]], runs: list[RunResult]
) -> dict[str, Any]:
    """MAE, easy axis and tensor of a volume whose runs are all ok."""
    for name in _COMPARED:
        if any(getattr(run, name) != getattr(runs[0], name) for run in runs[1:]):
            return {"status": "failed", "reason": f"the runs of the axes differ in {name}; energies cannot be compared"}
    if not np.isfinite(energies).all():
        missing = axes[int(np.argmin(np.isfinite(energies)))]
        return {"status": "failed", "reason": f"the output of axis {missing} holds no energy to compare"}
    directions = [parse_direction(word) for word in axes]
    if differ := different_states(runs, directions):
        return {"status": "failed", "reason": differ}
    per_atom = 1e3 * np.array(energies) / n_atoms
    found: dict[str, Any] = {"easy_axis": _lowest(axes, per_atom)}
    pair = mae_axes(axes)
    if pair is not None:
        found["mae"] = float(mae(energies[axes.index(pair[0])], energies[axes.index(pair[1])], n_atoms))
        found["mae_density"] = float(to_energy_density(found["mae"], abs(np.linalg.det(cell)) / n_atoms))
    if len(axes) >= _TENSOR_AXES:
        with contextlib.suppress(InputError):  # six axes in one plane determine no tensor
            tensor = anisotropy_tensor(directions, per_atom)
            found["anisotropy"] = tensor.tensor
            known = np.isfinite(tensor.easy_axis).all()
            found["easy_axis"] = " ".join(f"{x:.3f}" for x in tensor.easy_axis) if known else ""
    return found


def _lowest(axes: tuple[str, ...], per_atom: NDArray[np.float64]) -> str:
    """Axis of lowest energy (meV/atom); empty where a second one is as low within the numerical resolution."""
    order = np.argsort(per_atom, kind="stable")
    apart = len(axes) < 2 or per_atom[order[1]] - per_atom[order[0]] >= RESOLUTION
    return axes[order[0]] if apart else ""


def _volume_table(rows: list[dict[str, Any]], n_axes: int) -> VolumeTable:
    columns: dict[str, Any] = {}
    for name in VolumeTable.__dataclass_fields__:
        values = [row[name] for row in rows]
        columns[name] = _text(iter(values)) if values and isinstance(values[0], str) else np.array(values)
    columns["energies"] = np.array(columns["energies"], dtype=np.float64).reshape(len(rows), n_axes)
    return VolumeTable(**columns)


def _moment_table(manifest: Manifest, gathered: _Gathered) -> MomentTable:
    """Moments of every job, then those of the volumes that share it, by their own site ids."""
    parts = []
    sharing: dict[str, list[Mapping[str, Any]]] = {}
    for volume in manifest.volumes:
        if volume["same_as"] is not None:
            sharing.setdefault(volume["same_as"], []).append(volume)
    for job, ids, moments in gathered.moments:
        parts.append((job, ids, moments))
        for volume in sharing.get(job.partition("/")[0], ()):
            own = np.asarray(volume["site_ids"], dtype=np.int32)
            parts.append((job, own, moments[volume["same_sites"]]))
    return MomentTable(
        job=np.repeat(_text(job for job, _, _ in parts), [len(ids) for _, ids, _ in parts]),
        site_id=np.concatenate([ids for _, ids, _ in parts]) if parts else np.zeros(0, dtype=np.int32),
        moment=np.concatenate([m for _, _, m in parts]) if parts else np.zeros((0, 3)),
    )


def _rotation(manifest: Manifest) -> NDArray[np.float64]:
    frame = manifest.content["frame"]
    return np.eye(3) if frame is None else np.array(frame["rotation"])


def _relaxed_table(manifest: Manifest, gathered: _Gathered) -> RelaxedTable:
    """Relaxed positions, turned back from the lattice frame into the frame of the model."""
    frame = manifest.content["frame"]
    rotation, origin = _rotation(manifest), np.zeros(3) if frame is None else np.array(frame["origin"])
    volumes = [v for v in manifest.volumes if (v["same_as"] or v["id"]) in gathered.relaxed and v["same_as"] is None]
    positions = [(gathered.relaxed[v["id"]] + _window_origin(v, frame)) @ rotation.T + origin for v in volumes]
    ids = [np.asarray(v["site_ids"], dtype=np.int32) for v in volumes]
    return RelaxedTable(
        volume=np.repeat(_text(v["id"] for v in volumes), [len(i) for i in ids]),
        site_id=np.concatenate(ids) if ids else np.zeros(0, dtype=np.int32),
        position=np.concatenate(positions) if positions else np.zeros((0, 3)),
        cells={v["id"]: np.array(v["cell"]) @ rotation.T for v in volumes},
    )


def _window_origin(volume: Mapping[str, Any], frame: Mapping[str, Any] | None) -> NDArray[np.float64]:
    """What was subtracted from the positions of a window in the lattice frame, (3,) Å."""
    return np.zeros(3) if frame is None else np.array(volume["offset"])


def _coarse_meshes(manifest: Manifest) -> list[str]:
    """k-meshes whose points are further apart than the default spacing."""
    meshes = {(tuple(v["k_mesh"]), tuple(map(tuple, v["cell"]))) for v in manifest.volumes if "k_mesh" in v}
    return sorted(
        {
            "x".join(map(str, mesh))
            for mesh, cell in meshes
            if any(n < d for n, d in zip(mesh, k_mesh(cell), strict=True))
        }
    )


def _warnings_of_jobs(results: Iterable[RunResult]) -> list[str]:
    """One line for each kind of warning, which is the word before its colon: the most frequent text."""
    kinds: dict[str, Counter[str]] = {}
    for text in (text for result in results for text in result.warnings):
        kinds.setdefault(text.partition(":")[0], Counter())[text] += 1
    lines = []
    for texts in sorted(kinds.values(), key=Counter.total, reverse=True):
        (text, n), total = texts.most_common(1)[0], texts.total()
        others = f", {total - n} of them with other values" if n < total else ""
        lines.append(f"{text} ({total} job{'s' * (total != 1)}{others})")
    return lines


def _warnings(manifest: Manifest, gathered: _Gathered) -> list[str]:
    warnings = _warnings_of_jobs(gathered.results.values())
    computed = any(result.status == "ok" for result in gathered.results.values())
    if computed and manifest.content["axes"] and manifest.content["protocol"]["name"] != "convergence":
        warnings.append(
            "the MAE depends on the k-mesh: run the protocol convergence on a sample of the volumes before quoting it"
        )
    if coarse := _coarse_meshes(manifest):
        warnings.append(f"unconverged: the k-mesh {', '.join(coarse)} is coarser than the default spacing of 0.30 1/Å")
    if (manifest.directory / SHIPPED).is_file():
        warnings.append("the outputs of these jobs came with the package; they were not computed on this machine")
    return warnings
