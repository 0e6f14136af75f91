"""Synthetic results of DFT runs: made up, with a known slope of the MAE, for tests of figures and pages only."""

from __future__ import annotations

import numpy as np

from aet2dft.dft_inputs.run_table import JobTable, MomentTable, RelaxedTable, RunTable, VolumeTable

SLOPE = 0.9
"""meV/atom: MAE of the synthetic volumes per unit of the difference of order, without noise."""
STEPS = ("scf", "axis_100", "axis_001")


def synthetic_runs(grid=(3, 4, 5), *, failed=(), without_jobs=(), shipped=False, warnings=()) -> RunTable:
    """Runs of sliding volumes on a grid of half cells.

    `failed` are numbers of volumes whose last job failed, `without_jobs` such that were rejected.
    """
    center = np.stack(np.meshgrid(*[2.0 + np.arange(n) for n in grid], indexing="ij"), axis=-1).reshape(-1, 3)
    n = len(center)
    difference = np.linspace(-0.8, 0.8, n) if n > 1 else np.zeros(n)
    mae = SLOPE * difference
    mae[[*failed, *without_jobs]] = np.nan
    names = np.array([f"v{k:05d}" for k in range(n)], dtype="U6")
    status = np.full(n, "ok", dtype="U16")
    status[list(failed)], status[list(without_jobs)] = "failed", "rejected"
    jobs = _jobs(names, set(failed), set(without_jobs))
    return RunTable(
        code="espresso", protocol="mae", method="force_theorem", axes=("100", "001"), mae_axes=("100", "001"),
        counts={s: int((jobs.counted_as == s).sum()) for s in ("ok", "not_converged", "missing", "failed")},
        jobs=jobs, k_mesh="4x4x4", shipped=shipped, warnings=tuple(warnings), frame=np.eye(3),
        volumes=VolumeTable(
            volume=names, status=status, reason=np.full(n, "", dtype="U1"), same_as=np.full(n, "", dtype="U6"),
            center_site=center, size=np.full((n, 3), 4), center=1.93 * center, n_atoms=np.full(n, 32),
            composition=np.full(n, "Fe12Pt20"), order_difference=difference, energies=np.zeros((n, 2)), mae=mae,
            mae_density=11.65 * mae, easy_axis=np.where(np.nan_to_num(mae) >= 0, "001", "100"),
            anisotropy=np.full((n, 3, 3), np.nan), moment=np.full(n, 36.0),
        ),
        moments=MomentTable(job=np.zeros(0, "U1"), site_id=np.zeros(0, np.int32), moment=np.zeros((0, 3))),
        relaxed=RelaxedTable(
            volume=np.zeros(0, "U1"), site_id=np.zeros(0, np.int32), position=np.zeros((0, 3)), cells={}
        ),
    )  # fmt: skip


def _jobs(names, failed, without_jobs) -> JobTable:
    rows = [(k, step) for k in range(len(names)) if k not in without_jobs for step in STEPS]
    bad = np.array([k in failed and step == STEPS[-1] for k, step in rows], dtype=bool)
    status = np.where(bad, "failed", "ok").astype("U16")
    n = len(rows)
    return JobTable(
        job=np.array([f"{names[k]}/{step}" for k, step in rows], dtype="U20"),
        volume=np.array([names[k] for k, _ in rows], dtype="U6"), step=np.array([s for _, s in rows], dtype="U10"),
        status=status, counted_as=status, reason=np.where(bad, "synthetic: <b>crashed</b>", ""), energy=np.zeros(n),
        free_band_energy=np.zeros(n), cpu_seconds=np.full(n, 60.0), wall_seconds=np.where(bad, np.nan, 120.0),
    )  # fmt: skip
