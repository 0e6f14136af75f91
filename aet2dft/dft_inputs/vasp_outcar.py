"""The OUTCAR of a VASP run, read into one record; moments stay in the frame in which VASP prints them.

The verdict on a run, and the frame of the lattice, live with the reader of the whole folder.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from aet2dft.dft_inputs.output_files import OutputError, number, read_ends

_VERSION = re.compile(r"^ *vasp\.(\S+)", re.MULTILINE)
_FATAL = re.compile(r"(VERY BAD NEWS!.*|I REFUSE TO CONTINUE.*|Error EDDDAV.*|ZBRENT: fatal.*|internal error in.*)")
_CPU = re.compile(r"Total CPU time used \(sec\):\s*(\S+)")
_ELAPSED = re.compile(r"Elapsed time \(sec\):\s*(\S+)\n")
_ENERGY = re.compile(r"^ +free  energy +TOTEN +=\s*(\S+) eV", re.MULTILINE)
_BAND_ENERGY = re.compile(r"eigenvalues +EBANDS +=\s*(\S+)")
_SMEARING_ENERGY = re.compile(r"entropy T\*S +EENTRO +=\s*(\S+)")
_FERMI = re.compile(r"E-fermi :\s*(\S+)")
_TOTAL_MOMENT = re.compile(r"^ *number of electron .* magnetization +(\S.*)$", re.MULTILINE)
_EULER = re.compile(r"Euler angles\s+ALPHA=\s*(\S+)\s+BETA=\s*(\S+)")
_FIRST_ITERATION = re.compile(r"Iteration +\d+\( *1\)")
_SYMBOL = re.compile(r"VRHFIN *= *([A-Z][a-z]?) *:")
_COUNTS = re.compile(r"ions per type = *(.+)$", re.MULTILINE)
_MESH = re.compile(r"generate k-points for: *(\d+) +(\d+) +(\d+)")
_N_K_POINTS = re.compile(r"NKPTS = *(\d+)")
_ROW = re.compile(r" *-?[\d.*]")
_CELL_TITLE = "direct lattice vectors"
_INPUT_POSITIONS_TITLE = "position of ions in cartesian coordinates"
_POSITIONS_TITLE = "POSITION   "


@dataclass(frozen=True, kw_only=True, slots=True)
class OutcarValues:
    """What a complete OUTCAR says; moments in the frame of SAXIS."""

    whole: bool
    """Whether the file was small enough to be read whole."""
    calculation: str
    """``scf``, ``nscf``, ``relax`` or ``vc-relax``."""
    converged: bool
    """Whether the last electronic loop reached EDIFF."""
    relaxed: bool
    """Whether the geometry reached EDIFFG."""
    stopped_by_user: bool
    """Whether a STOPCAR ended the run."""
    noncollinear: bool
    """Whether the spins were vectors."""
    spin_orbit: bool
    """Whether spin-orbit coupling was on."""
    euler_angles: tuple[float, float] | None
    """Angles α and β of SAXIS, radians, as VASP used them."""
    energies: NDArray[np.float64]
    """Free energies TOTEN (n,) of the ionic steps, eV."""
    band_energy: float
    """EBANDS, eV."""
    smearing_energy: float
    """EENTRO, eV."""
    fermi_energy: float
    """E-fermi, eV."""
    n_electrons: float
    """NELECT."""
    k_mesh: tuple[int, int, int] | None
    """Divisions of the mesh that VASP generated; None for a list of k-points."""
    n_k_points: int
    """NKPTS."""
    labels: tuple[str, ...]
    """Element of each atom (N)."""
    input_cell: NDArray[np.float64]
    """First cell (3, 3), Å."""
    input_positions: NDArray[np.float64]
    """First positions (N, 3), Å."""
    cell: NDArray[np.float64]
    """Last cell (3, 3), Å."""
    positions: NDArray[np.float64]
    """Last positions (N, 3), Å."""
    moments: NDArray[np.float64] | None
    """Site moments (N,) or (N, 3), μB; None if LORBIT was not set."""
    total_moment: NDArray[np.float64] | None
    """Total moment (1,) or (3,), μB; None without spins."""
    cpu_seconds: float
    """CPU time, s."""
    wall_seconds: float
    """Elapsed time, s."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcar:
    """How one OUTCAR begins and ends."""

    version: str
    """Version of VASP; empty if the file ends before it."""
    fatal: str
    """VASP's own words before it gave up."""
    last_line: str
    """Last line that is not empty."""
    values: OutcarValues | None
    """What it says; None unless it has its account of the time, the last thing that VASP writes."""


def read_outcar(path: Path) -> Outcar:
    """Record of an OUTCAR, plain or gzipped; of a huge one the beginning and the end are read.

    Raises
    ------
    OutputError
        If the file cannot be read, or a complete one lacks a part that every run writes.

    Notes
    -----
    The layout is that of VASP 5.4 and 6 as documented in the VASP wiki (OUTCAR, LORBIT, SAXIS).
    """
    text, whole = read_ends(path)
    version = _VERSION.search(text)
    fatal = _FATAL.search(text)
    accounted = "General timing and accounting" in text and _CPU.search(text) and _ELAPSED.search(text)
    return Outcar(
        version=version.group(1) if version else "",
        fatal=fatal.group(1).strip() if fatal else "",
        last_line=next((line.strip() for line in reversed(text[-2000:].split("\n")) if line.strip()), ""),
        values=_values(text, whole=whole) if accounted and not fatal else None,
    )


def _values(text: str, *, whole: bool) -> OutcarValues:
    header = text[: text.find("Iteration ")]
    labels = _labels(header)
    vectors = _flag(header, "LNONCOLLINEAR")
    last_loop = text[max((match.start() for match in _FIRST_ITERATION.finditer(text)), default=len(text)) :]
    totals = _TOTAL_MOMENT.findall(text)
    return OutcarValues(
        whole=whole,
        calculation=_calculation(header),
        converged="aborting loop because EDIFF is reached" in last_loop and "EDIFF was not reached" not in last_loop,
        relaxed="reached required accuracy - stopping structural energy minimisation" in text,
        stopped_by_user="soft stop encountered" in text or "hard stop encountered" in text,
        noncollinear=vectors,
        spin_orbit=_flag(header, "LSORBIT"),
        euler_angles=_euler_angles(text),
        energies=_energies(text),
        band_energy=_last(_BAND_ENERGY, text, "EBANDS"),
        smearing_energy=_last(_SMEARING_ENERGY, text, "EENTRO"),
        fermi_energy=_last(_FERMI, text, "E-fermi"),
        n_electrons=number(_tag(header, "NELECT"), "NELECT"),
        k_mesh=_mesh(header),
        n_k_points=int(_last(_N_K_POINTS, header, "NKPTS")),
        labels=labels,
        input_cell=_rows(header, header.find(_CELL_TITLE), 3, "the cell"),
        input_positions=_rows(header, header.find(_INPUT_POSITIONS_TITLE), len(labels), "the first positions"),
        cell=_rows(text, text.rfind(_CELL_TITLE), 3, "the cell"),
        positions=_rows(text, text.rfind(_POSITIONS_TITLE), len(labels), "the positions"),
        moments=_moments(text, len(labels), vectors=vectors),
        total_moment=_numbers(totals[-1], "the total magnetization") if totals else None,
        cpu_seconds=_last(_CPU, text, "the CPU time"),
        wall_seconds=_last(_ELAPSED, text, "the elapsed time"),
    )


def _tag(header: str, name: str, default: str | None = None) -> str:
    """Value of a tag: the last one, because VASP 6 first echoes the INCAR and then lists what it uses."""
    values = re.findall(rf"^ +{name} *= *([^\s;]+)", header, re.MULTILINE)
    if not values and default is None:
        raise OutputError("failed", f"OUTCAR does not list {name}")
    return str(values[-1]) if values else str(default)


def _flag(header: str, name: str) -> bool:
    return _tag(header, name, "F").strip(".").upper().startswith("T")


def _calculation(header: str) -> str:
    steps, moves = (int(number(_tag(header, name), name)) for name in ("NSW", "IBRION"))
    if steps > 0 and moves >= 0:
        return "vc-relax" if number(_tag(header, "ISIF"), "ISIF") >= 3 else "relax"
    return "nscf" if number(_tag(header, "ICHARG"), "ICHARG") >= 10 else "scf"


def _last(pattern: re.Pattern[str], text: str, what: str) -> float:
    values = pattern.findall(text)
    if not values:
        raise OutputError("failed", f"OUTCAR does not say {what}")
    return number(values[-1], what)


def _numbers(text: str, what: str) -> NDArray[np.float64]:
    return np.array([number(word, what) for word in text.split()])


def _energies(text: str) -> NDArray[np.float64]:
    energies = np.array([number(value, "TOTEN") for value in _ENERGY.findall(text)])
    if not energies.size:
        raise OutputError("failed", "OUTCAR does not say TOTEN")
    return energies


def _mesh(header: str) -> tuple[int, int, int] | None:
    match = _MESH.search(header)
    return (int(match[1]), int(match[2]), int(match[3])) if match else None


def _euler_angles(text: str) -> tuple[float, float] | None:
    match = _EULER.search(text)
    return (number(match[1], "ALPHA"), number(match[2], "BETA")) if match else None


def _labels(header: str) -> tuple[str, ...]:
    symbols = _SYMBOL.findall(header)
    counts = _COUNTS.search(header)
    numbers = [int(number(word, "ions per type")) for word in counts.group(1).split()] if counts else []
    if not symbols or len(symbols) != len(numbers) or sum(numbers) > len(header):
        raise OutputError("failed", f"OUTCAR names {len(symbols)} elements for {len(numbers)} types of ions")
    return tuple(symbol for symbol, n in zip(symbols, numbers, strict=True) for _ in range(n))


def _rows(text: str, start: int, n: int, what: str, column: slice | int = slice(3)) -> NDArray[np.float64]:
    """Columns of the `n` rows of numbers below a title; lines of words or dashes above the first do not count."""
    rows: list[NDArray[np.float64]] = []
    # a title that is missing gives no rows; the tables have no row of more than 200 characters
    for line in text[start : start + 200 * (n + 6)].split("\n")[1:] if start >= 0 else ():
        if _ROW.match(line):
            rows.append(_numbers(line, what))
        elif rows:
            break
        if len(rows) == n:
            break
    if len(rows) != n or len({row.size for row in rows}) != 1 or rows[0].size < 3:
        raise OutputError("failed", f"OUTCAR does not hold {what} as {n} rows of numbers")
    return np.array(rows)[:, column]


def _moments(text: str, n: int, *, vectors: bool) -> NDArray[np.float64] | None:
    """Last column of the last tables ``magnetization (x)``, and of (y) and (z) where spins are vectors."""
    starts = [text.rfind(f"magnetization ({component})") for component in ("xyz" if vectors else "x")]
    if min(starts) < 0:
        return None
    tables = [_rows(text, start, n, "the moments", -1) for start in starts]
    return np.column_stack(tables) if vectors else tables[0]
