"""What `collect` gives back: one row per job, one row per volume, one row per atom and job."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

CUBE_EDGES = ("100", "010", "001")
"""Axes of which the L1₀ order is known."""


@dataclass(frozen=True, kw_only=True, slots=True)
class JobTable:
    """One row per job of the manifest, in its order; arrays of equal length."""

    job: NDArray[np.str_]
    """Volume and step, ``v00000/axis_100``."""
    volume: NDArray[np.str_]
    """Volume."""
    step: NDArray[np.str_]
    """Step: ``scf``, ``relax``, ``axis_100``."""
    status: NDArray[np.str_]
    """One of `aet2dft.dft_inputs.run_result.STATUSES`."""
    counted_as: NDArray[np.str_]
    """ok, not_converged, incomplete, input_changed, missing or failed."""
    reason: NDArray[np.str_]
    """Why it is not ok, in the code's own words where there are any."""
    energy: NDArray[np.float64]
    """eV: total energy; NaN where the run has none."""
    free_band_energy: NDArray[np.float64]
    """eV: band sum plus smearing term, what the force theorem compares; NaN where the run has none."""
    cpu_seconds: NDArray[np.float64]
    """CPU time."""
    wall_seconds: NDArray[np.float64]
    """Wall time."""


@dataclass(frozen=True, kw_only=True, slots=True)
class VolumeTable:
    """One row per volume of the manifest, in its order; arrays of equal length."""

    volume: NDArray[np.str_]
    """Name, ``v00000``."""
    status: NDArray[np.str_]
    """``ok`` where all its jobs are, else ``rejected`` or the first job status that is not ok."""
    reason: NDArray[np.str_]
    """Why there is no result."""
    same_as: NDArray[np.str_]
    """Volume whose jobs it shares, empty = its own."""
    center_site: NDArray[np.float64]
    """(n, 3), half cells: middle of the half-open window, origin plus half its size."""
    size: NDArray[np.int64]
    """(n, 3), half cells: edges of the window; 0 for structures that were not cut from a particle."""
    center: NDArray[np.float64]
    """(n, 3), Å: mean of the sites of the window, half a half cell below its middle, in the frame of the model."""
    n_atoms: NDArray[np.int64]
    """Atoms present."""
    composition: NDArray[np.str_]
    """Chemical formula."""
    order_difference: NDArray[np.float64]
    """abs(eta_z) - abs(eta_x): L1₀ order along [001] minus along [100]."""
    energies: NDArray[np.float64]
    """(n, n_axes), eV per volume: total or free band energy along each axis."""
    mae: NDArray[np.float64]
    """meV/atom: E[100] - E[001] where both are there, else first minus second axis."""
    mae_density: NDArray[np.float64]
    """MJ/m3."""
    easy_axis: NDArray[np.str_]
    """Computed axis of lowest energy, e.g. ``001``, with six axes and more that of the tensor; empty if undefined."""
    anisotropy: NDArray[np.float64]
    """(n, 3, 3), meV/atom: anisotropy tensor; NaN with fewer than six axes."""
    moment: NDArray[np.float64]
    """μB: length of the total moment."""
    order: NDArray[np.float64] | None = None
    """(n, 3): L1₀ order abs(eta) along [100], [010] and [001]; None in projects from before it was kept."""

    @property
    def is_own(self) -> NDArray[np.bool_]:
        """(n,): whether a volume has jobs of its own; the others are copies, and have the results of these."""
        return np.asarray(self.same_as == "")

    @property
    def is_independent(self) -> NDArray[np.bool_]:
        """(n,): whether a volume has a MAE from jobs of its own."""
        return np.asarray(np.isfinite(self.mae) & self.is_own)

    @property
    def mae_count(self) -> str:
        """Number of volumes with a MAE, and of those that are no copies: ``6 volumes (2 different)``."""
        n, own = int(np.isfinite(self.mae).sum()), int(self.is_independent.sum())
        return f"{n:,} volume{'s' * (n != 1)}" + (f" ({own:,} different)" if own < n else "")


@dataclass(frozen=True, kw_only=True, slots=True)
class MomentTable:
    """One row per atom of every job that gives site moments; arrays of equal length.

    A volume that shares a job with an equal one has rows of its own, under the name of that job.
    """

    job: NDArray[np.str_]
    """Job."""
    site_id: NDArray[np.int32]
    """Atom."""
    moment: NDArray[np.float64]
    """(n, 3), μB, lattice frame; collinear moments along z."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RelaxedTable:
    """One row per atom of every relaxed volume; arrays of equal length."""

    volume: NDArray[np.str_]
    """Volume."""
    site_id: NDArray[np.int32]
    """Atom."""
    position: NDArray[np.float64]
    """(n, 3), Å: relaxed position in the frame of the model, rigid offset of the volume not removed."""
    cells: dict[str, NDArray[np.float64]]
    """Cell vectors as rows (3, 3), Å, of every volume in the frame of the model."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RunTable:
    """Everything that a deck folder has to say."""

    code: str
    """``espresso`` or ``vasp``."""
    protocol: str
    """Name of the protocol."""
    method: str
    """``force_theorem`` (free band energies), ``total_energy`` or, without axes, empty."""
    axes: tuple[str, ...]
    """Directions computed."""
    mae_axes: tuple[str, str] | None
    """The two axes whose energies make the MAE, first minus second."""
    counts: dict[str, int]
    """Jobs per class of status."""
    jobs: JobTable
    """Jobs."""
    volumes: VolumeTable
    """Volumes."""
    moments: MomentTable
    """Site moments."""
    relaxed: RelaxedTable
    """Relaxed positions, of relax jobs."""
    frame: NDArray[np.float64]
    """(3, 3): turns a column vector from the lattice frame into the frame of the model; identity for periodic input."""
    k_mesh: str
    """k-meshes used, e.g. ``4x4x4``."""
    shipped: bool
    """Whether results came with the package instead of being computed on this machine."""
    warnings: tuple[str, ...]
    """What the reader should know."""

    @property
    def has_run(self) -> bool:
        """Whether any job was started."""
        return bool((self.jobs.counted_as != "missing").any())

    @property
    def order_difference(self) -> NDArray[np.float64]:
        """(n,): L1₀ order along the second axis of the MAE minus that along the first, as the MAE is positive.

        NaN unless both are edges of the cube; where the orders were not kept, unless they are [100] and [001].
        """
        if self.mae_axes == ("100", "001"):
            return self.volumes.order_difference
        if self.volumes.order is None or self.mae_axes is None or not set(self.mae_axes) <= set(CUBE_EDGES):
            return np.full(len(self.volumes.mae), np.nan)
        first, second = (CUBE_EDGES.index(axis) for axis in self.mae_axes)
        return np.asarray(self.volumes.order[:, second] - self.volumes.order[:, first])
