"""What one output folder of a DFT run says: the record that both readers return, and the statuses it can carry.

Reading the outputs lives with each code; which job a folder belongs to lives with the job status.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace

import numpy as np
from numpy.typing import NDArray

COUNTED_AS: dict[str, str] = {
    "ok": "ok",
    "not_started": "missing",
    "running": "incomplete",
    "missing": "missing",
    "incomplete": "incomplete",
    "not_converged": "not_converged",
    "not_relaxed": "not_converged",
    "failed": "failed",
    "input_changed": "input_changed",
    "pseudo_changed": "input_changed",
    "wrong_structure": "failed",
    "no_spin_orbit": "failed",
    "moment_collapsed": "failed",
    "axis_drifted": "failed",
    "time_limit": "incomplete",
    "blocked": "missing",
}
"""Each status and the one of six groups in which it is counted."""

STATUSES = tuple(COUNTED_AS)
"""All statuses that a job can have."""

_WITHOUT_NUMBERS = frozenset({"not_started", "running", "missing", "incomplete", "failed", "time_limit", "blocked"})


@dataclass(frozen=True, kw_only=True, slots=True)
class RunResult:
    """One DFT run as its output folder tells it; None where the output does not say."""

    status: str
    """One of `STATUSES`."""
    reason: str = ""
    """Why the status is not ok, in one sentence; where the code left words, its own."""
    code: str
    """``espresso`` or ``vasp``."""
    version: str = ""
    """Version of the code, as it prints it."""
    calculation: str = ""
    """``scf``, ``nscf``, ``relax`` or ``vc-relax``."""
    energy: float | None = None
    """Total free energy, eV: the total energy of Quantum ESPRESSO (none in a nscf run), TOTEN of VASP."""
    ionic_energies: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    """Energies (n,) of the ionic steps, eV."""
    band_energy: float | None = None
    """Sum of the occupied eigenvalues, eV."""
    smearing_energy: float | None = None
    """-TS of the smearing, eV."""
    free_band_energy: float | None = None
    """Band sum with its smearing energy, eV: what the force theorem compares."""
    fermi_energy: float | None = None
    """Fermi energy, eV."""
    n_electrons: float | None = None
    """Number of valence electrons."""
    k_mesh: tuple[int, int, int] | None = None
    """Divisions of the regular k-mesh."""
    n_k_points: int | None = None
    """Number of k-points after reduction by symmetry."""
    cell: NDArray[np.float64] | None = None
    """Cell vectors (3, 3) as rows, at the end of the run, Å."""
    positions: NDArray[np.float64] | None = None
    """Cartesian positions (N, 3) at the end of the run, Å, in the order of the deck."""
    input_cell: NDArray[np.float64] | None = None
    """Cell vectors (3, 3) with which the run began, Å."""
    input_positions: NDArray[np.float64] | None = None
    """Cartesian positions (N, 3) with which the run began, Å."""
    labels: tuple[str, ...] = ()
    """Species label of each atom (N), in the order of the deck."""
    moments: NDArray[np.float64] | None = None
    """Site moments (N,) of a collinear or (N, 3) of a non-collinear run, Cartesian in the lattice frame, μB."""
    total_moment: NDArray[np.float64] | None = None
    """Total moment (3,), Cartesian in the lattice frame, μB; (0, 0, m) for a collinear run."""
    start_axis: NDArray[np.float64] | None = None
    """Unit vector (3,), lattice frame, along which the vector moments started; None if they had no one direction."""
    spin_orbit: bool = False
    """Whether the run says that spin-orbit coupling was on."""
    noncollinear: bool = False
    """Whether the spins were vectors."""
    pseudo_md5: dict[str, str] = field(default_factory=dict)
    """Check sum of each pseudopotential that was read, by file name: md5 of UPF files, SHA-256 of a POTCAR."""
    cpu_seconds: float | None = None
    """CPU time, s."""
    wall_seconds: float | None = None
    """Elapsed time, s."""
    warnings: tuple[str, ...] = ()
    """Remarks that do not change the status."""

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if isinstance(value, np.ndarray):
                value.setflags(write=False)

    @property
    def counted_as(self) -> str:
        """The one of six groups in which this job is counted."""
        return COUNTED_AS[self.status]

    def judged(self, status: str, reason: str = "") -> RunResult:
        """Return the same run under another status, without its numbers where the status makes them meaningless."""
        if status not in _WITHOUT_NUMBERS:
            return replace(self, status=status, reason=reason)
        return RunResult(
            status=status,
            reason=reason,
            code=self.code,
            version=self.version,
            calculation=self.calculation,
            spin_orbit=self.spin_orbit,
            noncollinear=self.noncollinear,
            pseudo_md5=self.pseudo_md5,
            warnings=self.warnings,
        )
