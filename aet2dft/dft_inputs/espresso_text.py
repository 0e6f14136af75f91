"""The text output of a pw.x run: how it ended, and what only the text says, such as site moments and check sums.

The XML file and the verdict on a run live elsewhere.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from aet2dft.dft_inputs.output_files import OutputError, number, read_ends

_VERSION = re.compile(r"Program PWSCF v\.?(\S+) starts")
_PSEUDO = re.compile(r"PseudoPot\. #.*read from file:\s*(.+)\n\s*MD5 check sum:\s*([0-9a-f]{32})")
_ERROR = re.compile(r"%%%%\s*\n(.*?)\n\s*%%%%", re.DOTALL)
_CLOSING = re.compile(r"JOB DONE\.\n=-{78}=")
_ENERGY = re.compile(r"^! +total energy +=\s*(.+?)\s*Ry *$", re.MULTILINE)
_FERMI = re.compile(r"the Fermi energy is\s*(.+?)\s*ev", re.IGNORECASE)
_TOTAL_MOMENT = re.compile(r"^ +total magnetization +=\s*(.+?)\s*Bohr mag/cell", re.MULTILINE)
_END_OF_SCF = "End of self-consistent calculation"
_ITERATION = "iteration #"
# the number of an atom has four places: from 1000 on no blank stands before it, from 10000 on it is stars
_COLLINEAR_MOMENT = re.compile(r"^ +atom:? *[\d*]+.*?magn[:=]\s*(\S+)", re.MULTILINE)
_VECTOR_MOMENT = re.compile(r"^ +magnetization +:(.+)$", re.MULTILINE)
_UNCONVERGED_BANDS = re.compile(r"c_bands:\s+(\d+) eigenvalues not converged")


@dataclass(frozen=True, kw_only=True, slots=True)
class TextRecord:
    """What the text output of one pw.x run says; the values are empty unless it is complete."""

    version: str
    """Version of pw.x; empty if the text ends before it."""
    complete: bool
    """Whether the text has its closing line."""
    error: str
    """What pw.x wrote between two lines of ``%`` before it stopped, on one line."""
    last_line: str
    """Last line that is not empty."""
    pseudo_md5: dict[str, str]
    """md5 of each pseudopotential, by file name."""
    time_exceeded: bool = False
    """Whether ``max_seconds`` ended the run."""
    stopped_by_user: bool = False
    """Whether a file or a signal asked the run to stop."""
    relaxation_failed: bool = False
    """Whether the geometry optimizer gave up."""
    scalar_pseudo: bool = False
    """Whether pw.x remarks on a pseudopotential without spin-orbit coupling."""
    unconverged_bands: int = 0
    """Eigenvalues that the diagonalization left unconverged, of all k-points and iterations."""
    last_energy: float | None = None
    """Last converged total energy, Ry."""
    fermi_energy: float | None = None
    """Last Fermi energy, eV."""
    total_moment: NDArray[np.float64] | None = None
    """Last total moment, μB: (3,), or (1,) of a collinear run."""
    moments: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    """Site moments at the end of the last self-consistent calculation, (N,) or (N, 3) μB; empty if not printed."""


def read_text(path: Path) -> TextRecord:
    """Record of the text output, plain or gzipped; of a huge one the beginning and the end are read.

    Raises
    ------
    OutputError
        If the file cannot be read, or a number in a complete text is not one.
    """
    text, _ = read_ends(path)
    version = _VERSION.search(text)
    error = _ERROR.search(text)
    start = TextRecord(
        version=version.group(1) if version else "",
        complete=_is_complete(text),
        error=" ".join(error.group(1).split()) if error else "",
        last_line=next((line.strip() for line in reversed(text[-2000:].split("\n")) if line.strip()), ""),
        pseudo_md5={name.strip().rpartition("/")[2]: md5 for name, md5 in _PSEUDO.findall(text)},
    )
    return _with_values(start, text) if start.complete else start


def _is_complete(text: str) -> bool:
    """Whether the last thing that pw.x wrote is the line that closes ``JOB DONE``.

    What a launcher or the Fortran runtime adds below (``STOP 2``) does not matter, another start of pw.x does.
    """
    closing = _CLOSING.search(text, max(text.rfind("JOB DONE."), 0))
    return closing is not None and _VERSION.search(text, closing.end()) is None


def _with_values(start: TextRecord, text: str) -> TextRecord:
    energies, fermi_energies = _ENERGY.findall(text), _FERMI.findall(text)
    totals = _TOTAL_MOMENT.findall(text)
    return TextRecord(
        version=start.version,
        complete=True,
        error=start.error,
        last_line=start.last_line,
        pseudo_md5=start.pseudo_md5,
        time_exceeded="Maximum CPU time exceeded" in text,
        stopped_by_user="Program stopped by user request" in text or "Signal Received, stopping" in text,
        relaxation_failed="bfgs failed after" in text or "The maximum number of steps has been reached" in text,
        scalar_pseudo="At least one non s.o. pseudo" in text,
        unconverged_bands=sum(map(int, _UNCONVERGED_BANDS.findall(text))),
        last_energy=number(energies[-1], "the total energy") if energies else None,
        fermi_energy=number(fermi_energies[-1], "the Fermi energy") if fermi_energies else None,
        total_moment=_numbers(totals[-1], "the total magnetization") if totals else None,
        moments=_moments(text),
    )


def _moments(text: str) -> NDArray[np.float64]:
    """Site moments of the last iteration before the last end of a self-consistent calculation.

    pw.x prints them at the first and at the last iteration; those of the first are not a result.
    """
    end = max(text.rfind(_END_OF_SCF), 0)
    block = text[max(text.rfind(_ITERATION, 0, end), 0) : end]
    vectors = _VECTOR_MOMENT.findall(block)
    if vectors:
        rows = [_numbers(row, "a site moment") for row in vectors]
        if any(row.size != 3 for row in rows):
            raise OutputError("failed", "a site moment does not have three components")
        return np.array(rows)
    return np.array([number(value, "a site moment") for value in _COLLINEAR_MOMENT.findall(block)])


def _numbers(text: str, what: str) -> NDArray[np.float64]:
    return np.array([number(word, what) for word in text.split()])
