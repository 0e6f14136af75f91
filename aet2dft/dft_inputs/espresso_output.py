"""Outputs of Quantum ESPRESSO: the folder of one pw.x run becomes one record with a status.

Which job the folder belongs to, and whether its deck is still the one written, is judged elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from aet2dft.dft_inputs.espresso_text import TextRecord, read_text
from aet2dft.dft_inputs.espresso_xml import HARTREE, XmlRecord, read_xml
from aet2dft.dft_inputs.moment_checks import magnetic_verdict
from aet2dft.dft_inputs.output_files import OutputError, find_output, was_killed
from aet2dft.dft_inputs.run_result import RunResult

TESTED_VERSIONS = ("6.7MaX",)
"""Versions of pw.x whose outputs these readers were tested on."""
TEXT_NAME = "pw.out"
"""Text output in a job folder, plain or with ``.gz``."""
XML_NAMES = ("data-file-schema.xml", "out/job.save/data-file-schema.xml")
"""XML file in a job folder, in the order in which it is looked for, plain or with ``.gz``."""
_RELAXATIONS = ("relax", "vc-relax")
_NOT_SELF_CONSISTENT = ("nscf", "bands")
_ELECTRONS_LOST = 1e-5
_MOST_UNCONVERGED = 0.01
"""Share of the occupied eigenvalues of a force-theorem run; with 0.0015 that of cubic FePt₃ is right to 2e-6 meV."""
_SAME_ENERGY = 1e-6
"""Ry; the text has eight decimals."""
_SAME_FERMI_ENERGY = 2e-4
"""eV; the text has four decimals."""


def parse(folder: Path, *, exit_status: int | None = None, axis: Sequence[float] | None = None) -> RunResult:
    """Read the output folder of one pw.x run; whatever is wrong with it becomes its status.

    Parameters
    ----------
    folder : Path
        Folder with ``pw.out`` and ``data-file-schema.xml``, plain or gzipped.
    exit_status : int, optional
        Exit status of pw.x, if it is known.
    axis : sequence of float, optional
        Direction that the magnetization was asked to keep; by default that of the starting moments, from the XML file.

    Returns
    -------
    RunResult
        Never an exception for damaged content. A run that did not end by itself, or whose files contradict each other,
        has no energy and no other number.

    Notes
    -----
    *Complete* means that the text has the line that closes ``JOB DONE`` and the XML file parses to its end.

    *no_spin_orbit*: with ``lspinorb`` and scalar-relativistic pseudopotentials pw.x 6.7 ends well, gives the collinear
    energy and still writes ``spinorbit`` true to the XML file. It does remark "At least one non s.o. pseudo" in its
    text: that line, or an XML file whose output says ``spinorbit`` false where its input asked for it, gives this
    status. Versions that make the remark only when *no* pseudopotential has spin-orbit coupling exist; mixed sets are
    therefore also found by check sum, when the manifest of the deck is at hand.

    *moment_collapsed* and *axis_drifted*: see `aet2dft.dft_inputs.moment_checks`.
    """
    text = None
    try:
        text = read_text(_text_file(folder))
        _require_end(text, exit_status)
        xml = read_xml(_xml_file(folder))
        result = _result(text, xml)
    except OutputError as error:
        return RunResult(
            status=error.status,
            reason=error.reason,
            code="espresso",
            version=text.version if text else "",
            pseudo_md5=text.pseudo_md5 if text else {},
        )
    return result.judged(*_verdict(text, xml, result, exit_status, axis))


def _text_file(folder: Path) -> Path:
    found = find_output(folder, TEXT_NAME)
    if found is not None:
        return found
    if not folder.is_dir():
        raise OutputError("missing", f"there is no folder {folder.name}")
    if find_output(folder, f"{TEXT_NAME}.part", *XML_NAMES) is not None:
        raise OutputError("incomplete", f"the run began but left no {TEXT_NAME}")
    raise OutputError("not_started", "no output yet")


def _xml_file(folder: Path) -> Path:
    found = find_output(folder, *XML_NAMES)
    if found is None:
        raise OutputError("incomplete", f"the text is complete, but {XML_NAMES[0]} is not there")
    return found


def _require_end(text: TextRecord, exit_status: int | None) -> None:
    """Raise OutputError unless the run ended by itself and without an error."""
    if text.error:
        raise OutputError("failed", text.error)
    if text.complete:
        return
    where = f"the text ends with {text.last_line!r}" if text.last_line else "the text is empty"
    if exit_status and not was_killed(exit_status):
        raise OutputError("failed", f"pw.x ended with exit status {exit_status} without a word; {where}")
    raise OutputError("incomplete", f"{where}, not with JOB DONE")


def _result(text: TextRecord, xml: XmlRecord) -> RunResult:
    """Both files in one record, before any verdict."""
    self_consistent = xml.calculation not in _NOT_SELF_CONSISTENT
    if text.moments.size and len(text.moments) != len(xml.labels):
        raise OutputError("failed", f"{TEXT_NAME} has {len(text.moments)} site moments for {len(xml.labels)} atoms")
    return RunResult(
        status="ok",
        code="espresso",
        version=xml.version,
        calculation=xml.calculation,
        energy=xml.energy if self_consistent else None,
        ionic_energies=_ionic_energies(xml) if self_consistent and xml.scf_converged else np.empty(0),
        band_energy=xml.printed_band_energy or xml.band_sum,
        smearing_energy=xml.smearing_energy,
        free_band_energy=xml.band_sum + xml.smearing_energy,
        fermi_energy=xml.fermi_energy,
        n_electrons=xml.n_electrons,
        k_mesh=xml.k_mesh,
        n_k_points=xml.n_k_points,
        cell=xml.cell,
        positions=xml.positions,
        input_cell=xml.input_cell,
        input_positions=xml.input_positions,
        labels=xml.labels,
        moments=text.moments if text.moments.size and self_consistent else None,
        total_moment=_total_moment(text, xml) if self_consistent else None,
        start_axis=xml.axis if xml.noncollinear else None,
        spin_orbit=xml.spin_orbit and not text.scalar_pseudo,
        noncollinear=xml.noncollinear,
        pseudo_md5=text.pseudo_md5,
        cpu_seconds=xml.cpu_seconds,
        wall_seconds=xml.wall_seconds,
        warnings=_warnings(text, xml),
    )


def _ionic_energies(xml: XmlRecord) -> NDArray[np.float64]:
    """Energies of all ionic steps; a vc-relax run ends with one more, on the plane waves of the final cell."""
    steps = xml.ionic_energies
    return steps if steps.size and steps[-1] == xml.energy else np.append(steps, xml.energy)


def _total_moment(text: TextRecord, xml: XmlRecord) -> NDArray[np.float64] | None:
    """Total moment (3,); of a non-collinear run only the text has it, with two decimals."""
    if xml.collinear:
        return np.array([0.0, 0.0, xml.total_moment])
    if xml.noncollinear and text.total_moment is not None and text.total_moment.size == 3:
        return text.total_moment
    return None


def _warnings(text: TextRecord, xml: XmlRecord) -> tuple[str, ...]:
    warnings = []
    if xml.version not in TESTED_VERSIONS:
        warnings.append(f"untested_version: pw.x {xml.version}; tested with {', '.join(TESTED_VERSIONS)}")
    if text.unconverged_bands and xml.calculation in _NOT_SELF_CONSISTENT:
        warnings.append(f"unconverged_bands: {_unconverged(text, xml)}")
    return tuple(warnings)


def _unconverged(text: TextRecord, xml: XmlRecord) -> str:
    """Say how many eigenvalues the diagonalization gave up."""
    n_occupied = round(xml.n_electrons * xml.n_k_points)
    return f"{text.unconverged_bands:,} of about {n_occupied:,} eigenvalues did not converge; take diagonalization=cg"


def _verdict(
    text: TextRecord, xml: XmlRecord, result: RunResult, exit_status: int | None, axis: Sequence[float] | None
) -> tuple[str, str]:
    """Status and reason of a run whose files are complete; the first thing that is wrong decides."""
    # before the numbers are compared: a run stopped within an iteration writes an XML file that is not consistent
    if text.time_exceeded:
        return "time_limit", "max_seconds was reached; restart with more time"
    if text.stopped_by_user:
        return "incomplete", "the run was asked to stop"
    contradiction = _contradiction(text, xml)
    if contradiction:
        return "failed", contradiction
    if not xml.scf_converged and xml.calculation not in _NOT_SELF_CONSISTENT:
        return "not_converged", "the density did not converge; lower mixing_beta or raise electron_maxstep"
    few = _MOST_UNCONVERGED * xml.n_electrons * xml.n_k_points
    if text.unconverged_bands > few and xml.calculation in _NOT_SELF_CONSISTENT:
        # in a self-consistent run the next iteration mends it, here the eigenvalues are the result
        return "not_converged", _unconverged(text, xml)
    if xml.calculation in _RELAXATIONS and (not xml.relaxed or text.relaxation_failed):
        return "not_relaxed", "the geometry did not converge; restart from its last step"
    if exit_status:
        return "failed", f"pw.x ended with exit status {exit_status} although its files look complete"
    if (xml.spin_orbit_asked and not xml.spin_orbit) or (xml.noncollinear and text.scalar_pseudo):
        return "no_spin_orbit", "a pseudopotential has no spin-orbit coupling; use fully relativistic ones"
    return magnetic_verdict(result, axis if axis is not None else xml.axis)


def _contradiction(text: TextRecord, xml: XmlRecord) -> str:
    """Say why text and XML cannot be of one run, or nothing."""
    not_self_consistent = xml.calculation in _NOT_SELF_CONSISTENT
    if abs(xml.occupation_sum - xml.n_electrons) > _ELECTRONS_LOST:
        return f"the occupations sum to {xml.occupation_sum:.6f} electrons instead of {xml.n_electrons:g}"
    if xml.printed_band_energy and abs(xml.printed_band_energy - xml.band_sum) > _SAME_ENERGY * HARTREE:
        return "the band energy in the XML file is not the sum of its eigenvalues"
    if text.version != xml.version:
        return f"the text is of pw.x {text.version}, the XML file of {xml.version}: two different runs"
    if (xml.scf_converged and text.last_energy is None) or (not_self_consistent and text.last_energy is not None):
        return "one of text and XML file is of a self-consistent run, the other is not: two different runs"
    if xml.scf_converged and _differ(text.last_energy, 2 * xml.energy / HARTREE, _SAME_ENERGY):
        return "text and XML file have different total energies: two different runs"
    if _differ(text.fermi_energy, xml.fermi_energy, _SAME_FERMI_ENERGY):
        return "text and XML file have different Fermi energies: two different runs"
    return ""


def _differ(first: float | None, second: float | None, tolerance: float) -> bool:
    return first is not None and second is not None and abs(first - second) > tolerance
