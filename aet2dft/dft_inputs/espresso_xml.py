"""The XML file of a pw.x run, read by streaming into one record.

The text output and the verdict on a run live elsewhere.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
from numpy.typing import NDArray

from aet2dft.dft_inputs.directions import unit_vector
from aet2dft.dft_inputs.output_files import Capped, OutputError, number, opened

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

HARTREE = 27.211386245988
"""eV (CODATA 2018)."""
BOHR = 0.529177210903
"""Å (CODATA 2018)."""
_BULKY = frozenset({"output/symmetries", "output/basis_set", "output/forces"})
_K_POINT = "output/band_structure/ks_energies"


@dataclass(frozen=True, kw_only=True, slots=True)
class XmlRecord:
    """What the XML file of one pw.x run says; energies in eV, lengths in Å, moments in μB."""

    version: str
    """Version of pw.x."""
    calculation: str
    """As in the input: scf, nscf, relax, vc-relax."""
    scf_converged: bool
    """Whether the density converged; always false in a nscf run."""
    relaxed: bool | None
    """Whether the geometry converged; None where it was not relaxed."""
    energy: float
    """Total energy, eV; 0 in a nscf run."""
    ionic_energies: NDArray[np.float64]
    """Total energies (n,) of the ionic steps, eV; empty without ionic steps."""
    printed_band_energy: float
    """Band energy as printed, eV; pw.x writes 0 where it did not print the bands."""
    band_sum: float
    """Sum over k-points and bands of weight, occupation and eigenvalue, eV."""
    smearing_energy: float
    """-TS of the smearing, eV."""
    fermi_energy: float | None
    """Fermi energy, eV; None for fixed occupations."""
    n_electrons: float
    """Electrons asked for."""
    occupation_sum: float
    """Electrons found: sum of weight and occupation."""
    k_mesh: tuple[int, int, int] | None
    """Divisions of the regular mesh; None for a list of k-points."""
    n_k_points: int
    """Number of k-points."""
    labels: tuple[str, ...]
    """Species label of each atom (N)."""
    cell: NDArray[np.float64]
    """Final cell (3, 3), Å."""
    positions: NDArray[np.float64]
    """Final positions (N, 3), Å."""
    input_cell: NDArray[np.float64]
    """Cell (3, 3) of the input, Å."""
    input_positions: NDArray[np.float64]
    """Positions (N, 3) of the input, Å."""
    collinear: bool
    """Whether the run had two spin channels."""
    noncollinear: bool
    """Whether the spins were vectors."""
    spin_orbit: bool
    """Whether spin-orbit coupling was on, as the output says."""
    spin_orbit_asked: bool
    """Whether the input asked for it."""
    total_moment: float
    """Total moment of a collinear run, μB; 0 for all others, of which pw.x 6.7 writes 0 and later versions a vector."""
    axis: NDArray[np.float64] | None
    """Unit vector (3,) along which all starting moments point; None if there is no such direction."""
    cpu_seconds: float
    """CPU time, s."""
    wall_seconds: float
    """Elapsed time, s."""


class _BandSum:
    """Sums over the k-points, added while the file streams by."""

    def __init__(self) -> None:
        self.energy = 0.0
        self.electrons = 0.0

    def add(self, k_point: Element) -> None:
        """Add one ``ks_energies`` element."""
        weight = number(_child(k_point, "k_point").get("weight", ""), "the weight of a k-point")
        occupations = _vector(k_point, "occupations")
        eigenvalues = _vector(k_point, "eigenvalues")
        if occupations.shape != eigenvalues.shape:
            raise OutputError("failed", "a k-point has more eigenvalues than occupations, or fewer")
        self.energy += weight * float(occupations @ eigenvalues)
        self.electrons += weight * float(occupations.sum())


def read_xml(path: Path) -> XmlRecord:
    """Record of the file ``data-file-schema.xml``, plain or gzipped.

    Raises
    ------
    OutputError
        With status ``incomplete`` if the file does not parse to its end; with ``failed`` if it carries a DOCTYPE, lacks
        a part that every run writes, or a number in it is not one.

    Notes
    -----
    The band energy is always Σ_k w_k Σ_i f_ki ε_ki over ``ks_energies``: pw.x writes ``eband`` = 0 when a run has 100
    k-points or more and ``verbosity`` is not high.
    """
    bands, ionic = _BandSum(), []
    with opened(path) as stream:
        for where, element in _ended_elements(stream, path.name):
            if where == _K_POINT:
                bands.add(element)
            elif where == "step":
                ionic.append(HARTREE * _number(element, "total_energy/etot"))
            elif where not in _BULKY:
                continue
            element.clear()
    return _record(element, bands, np.array(ionic))


def _ended_elements(stream: BinaryIO, name: str) -> Iterator[tuple[str, Element]]:
    """Each element as it ends, with its path below the root; the root itself comes last, with an empty path."""
    from defusedxml.common import DefusedXmlException
    from defusedxml.ElementTree import ParseError, iterparse

    trail: list[str] = []
    try:
        for event, element in iterparse(Capped(stream), events=("start", "end"), forbid_dtd=True):
            if event == "start":
                trail.append(element.tag)
            else:
                yield "/".join(trail[1:]), element
                trail.pop()
    except DefusedXmlException as error:
        raise OutputError("failed", f"{name} declares a document type or entities, which pw.x never writes") from error
    except (ParseError, LookupError, ValueError) as error:  # the last two: an encoding that does not exist
        raise OutputError("incomplete", f"{name} is cut off or damaged: {error}") from error


def _record(root: Element, bands: _BandSum, ionic_energies: NDArray[np.float64]) -> XmlRecord:
    labels, cell, positions = _structure(root, "output/atomic_structure")
    _, input_cell, input_positions = _structure(root, "input/atomic_structure")
    relaxed = root.find("output/convergence_info/opt_conv/convergence_achieved")
    fermi_energy = root.find("output/band_structure/fermi_energy")
    collinear = _flag(root, "output/magnetization/lsda")
    return XmlRecord(
        version=_child(root, "general_info/creator").get("VERSION", ""),
        calculation=_text(root, "input/control_variables/calculation"),
        scf_converged=_flag(root, "output/convergence_info/scf_conv/convergence_achieved"),
        relaxed=None if relaxed is None else relaxed.text == "true",
        energy=HARTREE * _number(root, "output/total_energy/etot"),
        ionic_energies=ionic_energies,
        printed_band_energy=HARTREE * _number(root, "output/total_energy/eband"),
        band_sum=HARTREE * bands.energy,
        smearing_energy=HARTREE * _number(root, "output/total_energy/demet") if _is_smeared(root) else 0.0,
        fermi_energy=None if fermi_energy is None else HARTREE * number(fermi_energy.text or "", "the Fermi energy"),
        n_electrons=_number(root, "output/band_structure/nelec"),
        occupation_sum=bands.electrons,
        k_mesh=_mesh(root),
        n_k_points=int(_number(root, "output/band_structure/nks")),
        labels=labels,
        cell=cell,
        positions=positions,
        input_cell=input_cell,
        input_positions=input_positions,
        collinear=collinear,
        noncollinear=_flag(root, "output/magnetization/noncolin"),
        spin_orbit=_flag(root, "output/magnetization/spinorbit"),
        spin_orbit_asked=_flag(root, "input/spin/spinorbit"),
        total_moment=_number(root, "output/magnetization/total") if collinear else 0.0,
        axis=_axis(root),
        cpu_seconds=_number(root, "timing_info/total/cpu"),
        wall_seconds=_number(root, "timing_info/total/wall"),
    )


def _child(element: Element, path: str) -> Element:
    found = element.find(path)
    if found is None:
        raise OutputError("failed", f"the XML file has no {path}")
    return found


def _text(element: Element, path: str) -> str:
    return (_child(element, path).text or "").strip()


def _flag(element: Element, path: str) -> bool:
    return _text(element, path) == "true"


def _number(element: Element, path: str) -> float:
    return number(_text(element, path), path)


def _vector(element: Element, path: str) -> NDArray[np.float64]:
    text = _text(element, path)
    try:
        values = np.array(text.split(), dtype=float)
    except ValueError as error:
        raise OutputError("failed", f"{path} holds what is not a number: {error}") from error
    if not np.isfinite(values).all():
        raise OutputError("failed", f"{path} holds a number that is not finite")
    return values


def _structure(root: Element, path: str) -> tuple[tuple[str, ...], NDArray[np.float64], NDArray[np.float64]]:
    """Labels (N), cell (3, 3) and positions (N, 3), Å."""
    structure = _child(root, path)
    cell = np.concatenate([_vector(structure, f"cell/a{i}") for i in (1, 2, 3)])
    atoms = structure.findall("atomic_positions/atom")
    positions = np.concatenate([_vector(atom, ".") for atom in atoms]) if atoms else np.empty(0)
    if cell.size != 9 or positions.size != 3 * len(atoms) or not atoms:
        raise OutputError("failed", f"{path} does not hold a cell and three coordinates per atom")
    return tuple(atom.get("name", "") for atom in atoms), BOHR * cell.reshape(3, 3), BOHR * positions.reshape(-1, 3)


def _is_smeared(root: Element) -> bool:
    """Whether the run declares a smearing, whose energy it then writes."""
    bands = _child(root, "output/band_structure")
    return bands.findtext("occupations_kind") == "smearing" or bands.find("smearing") is not None


def _mesh(root: Element) -> tuple[int, int, int] | None:
    mesh = root.find("output/band_structure/starting_k_points/monkhorst_pack")
    if mesh is None:
        return None
    n1, n2, n3 = (int(number(mesh.get(key, ""), f"the k-mesh {key}")) for key in ("nk1", "nk2", "nk3"))
    return n1, n2, n3


def _axis(root: Element) -> NDArray[np.float64] | None:
    """Direction that the starting moments of all types share; the XML file has its angles in radians."""
    axes = set()
    for species in root.findall("input/atomic_species/species"):
        if number(species.findtext("starting_magnetization", "0"), "starting_magnetization") != 0:
            theta, phi = (number(species.findtext(key, "0"), key) for key in ("spin_teta", "spin_phi"))
            axes.add((math.degrees(theta), math.degrees(phi)))
    return unit_vector(*axes.pop()) if len(axes) == 1 else None
