"""Outputs of VASP: the folder of one run becomes one record with a status, moments in the frame of the lattice.

Which job the folder belongs to, and whether its deck is still the one written, is judged elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from aet2dft.dft_inputs.directions import euler_rotation, saxis_rotation
from aet2dft.dft_inputs.moment_checks import magnetic_verdict
from aet2dft.dft_inputs.output_files import OutputError, find_output, number, read_ends, was_killed
from aet2dft.dft_inputs.run_result import RunResult
from aet2dft.dft_inputs.vasp_outcar import Outcar, OutcarValues, read_outcar

_SAXIS = re.compile(r"^\s*SAXIS\s*=\s*(\S+)\s+(\S+)\s+([^\s;#!]+)", re.MULTILINE | re.IGNORECASE)
_POTCAR_DIGEST = re.compile(r"[0-9a-f]{64}\b")
_SPIN_ORBIT_ASKED = re.compile(r"^\s*LSORBIT\s*=\s*\.?T", re.MULTILINE | re.IGNORECASE)


def parse(folder: Path, *, exit_status: int | None = None, axis: Sequence[float] | None = None) -> RunResult:
    """Read the output folder of one VASP run; whatever is wrong with it becomes its status.

    Parameters
    ----------
    folder : Path
        Folder with ``OUTCAR``, plain or gzipped, the ``INCAR`` of the run, and ``POTCAR.sha256`` of its ``run.sh``.
    exit_status : int, optional
        Exit status of VASP, if it is known.
    axis : sequence of float, optional
        Direction that the magnetization was asked to keep.

    Returns
    -------
    RunResult
        Never an exception for damaged content. A run that did not end by itself has no energy and no other number.

    Notes
    -----
    *Complete* means that OUTCAR has its "General timing and accounting"; *converged* that the last electronic loop
    says "aborting loop because EDIFF is reached".

    VASP prints all moments in the frame of SAXIS; they are turned into that of the lattice with the Euler angles that
    OUTCAR names, or else with SAXIS from the INCAR (`aet2dft.dft_inputs.directions.saxis_rotation`).

    The reader was written from the documentation (VASP wiki) and not tested on outputs of a licensed VASP, which every
    result says as the warning ``untested_version``.
    """
    outcar = None
    try:
        outcar = read_outcar(_outcar_file(folder))
        values = _complete(outcar, exit_status)
        result = _result(folder, outcar.version, values)
    except OutputError as error:
        version = outcar.version if outcar else ""
        return RunResult(status=error.status, reason=error.reason, code="vasp", version=version)
    return result.judged(*_verdict(folder, values, result, exit_status, axis))


def _outcar_file(folder: Path) -> Path:
    found = find_output(folder, "OUTCAR")
    if found is not None:
        return found
    if not folder.is_dir():
        raise OutputError("missing", f"there is no folder {folder.name}")
    if find_output(folder, "vasprun.xml", "OSZICAR", "vasp.out") is not None:
        raise OutputError("incomplete", "the run began but left no OUTCAR")
    raise OutputError("not_started", "no output yet")


def _complete(outcar: Outcar, exit_status: int | None) -> OutcarValues:
    """Values of the OUTCAR; raise OutputError unless the run ended by itself and without an error."""
    if outcar.fatal:
        raise OutputError("failed", outcar.fatal)
    if outcar.values is not None:
        return outcar.values
    where = f"OUTCAR ends with {outcar.last_line!r}" if outcar.last_line else "OUTCAR is empty"
    if exit_status and not was_killed(exit_status):
        raise OutputError("failed", f"VASP ended with exit status {exit_status}; {where}")
    raise OutputError("incomplete", f"{where}, not with its account of the time")


def _result(folder: Path, version: str, values: OutcarValues) -> RunResult:
    """Numbers of a complete run, before any verdict."""
    rotation = _saxis_frame(folder, values)
    potcar = _POTCAR_DIGEST.match(_text_of(folder, "POTCAR.sha256") or "")
    warnings = [f"untested_version: VASP {version}; the reader is written from the documentation only"]
    if rotation is None:
        warnings.append("saxis_unknown: no Euler angles in OUTCAR and no INCAR; the moments are left out")
    if potcar is None:
        warnings.append("potcar_unknown: no POTCAR.sha256; whether all runs took the same data sets is not known")
    if not values.whole:
        warnings.append("ionic_steps_skipped: OUTCAR is huge; the energies of its ionic steps are left out")
    return RunResult(
        status="ok",
        code="vasp",
        version=version,
        calculation=values.calculation,
        energy=float(values.energies[-1]),
        ionic_energies=values.energies if values.whole else np.empty(0),
        band_energy=values.band_energy,
        smearing_energy=values.smearing_energy,
        free_band_energy=values.band_energy + values.smearing_energy,
        fermi_energy=values.fermi_energy,
        n_electrons=values.n_electrons,
        k_mesh=values.k_mesh,
        n_k_points=values.n_k_points,
        cell=values.cell,
        positions=values.positions,
        input_cell=values.input_cell,
        input_positions=values.input_positions,
        labels=values.labels,
        moments=_in_lattice_frame(values.moments, rotation),
        total_moment=_total_moment(values, rotation),
        start_axis=rotation[:, 2] if values.noncollinear and rotation is not None else None,
        spin_orbit=values.spin_orbit,
        noncollinear=values.noncollinear,
        pseudo_md5={"POTCAR": potcar.group()} if potcar else {},
        cpu_seconds=values.cpu_seconds,
        wall_seconds=values.wall_seconds,
        warnings=tuple(warnings),
    )


def _saxis_frame(folder: Path, values: OutcarValues) -> NDArray[np.float64] | None:
    """Rotation (3, 3) from the frame of SAXIS to that of the lattice; None if nothing tells it."""
    if not values.noncollinear:
        return np.eye(3)
    if values.euler_angles is not None:
        return euler_rotation(*values.euler_angles)
    incar = _text_of(folder, "INCAR")
    if incar is None:
        return None
    saxis = _SAXIS.search(incar)
    return saxis_rotation([number(word, "SAXIS") for word in saxis.groups()]) if saxis else np.eye(3)


def _text_of(folder: Path, name: str) -> str | None:
    path = find_output(folder, name)
    return read_ends(path)[0] if path is not None else None


def _in_lattice_frame(
    moments: NDArray[np.float64] | None, rotation: NDArray[np.float64] | None
) -> NDArray[np.float64] | None:
    if moments is None or moments.ndim == 1:
        return moments
    return None if rotation is None else moments @ rotation.T


def _total_moment(values: OutcarValues, rotation: NDArray[np.float64] | None) -> NDArray[np.float64] | None:
    total = values.total_moment
    if total is None or rotation is None:
        return None
    vector = total if total.size == 3 else np.array([0.0, 0.0, total[0]])
    return rotation @ vector if values.noncollinear else vector


def _verdict(
    folder: Path, values: OutcarValues, result: RunResult, exit_status: int | None, axis: Sequence[float] | None
) -> tuple[str, str]:
    """Status and reason of a run whose OUTCAR is complete; the first thing that is wrong decides."""
    if values.stopped_by_user:
        return "incomplete", "a STOPCAR ended the run"
    if not values.converged:
        return "not_converged", "the last electronic loop did not reach EDIFF; raise NELM or change the mixing"
    if values.calculation in ("relax", "vc-relax") and not values.relaxed:
        return "not_relaxed", "the geometry did not reach EDIFFG; restart from CONTCAR"
    if exit_status:
        return "failed", f"VASP ended with exit status {exit_status} although OUTCAR looks complete"
    incar = _text_of(folder, "INCAR")
    if incar is not None and _SPIN_ORBIT_ASKED.search(incar) and not values.spin_orbit:
        return "no_spin_orbit", "INCAR asks for LSORBIT, but VASP ran without; start vasp_ncl"
    return magnetic_verdict(result, axis)
