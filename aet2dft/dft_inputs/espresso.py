"""Decks for pw.x of Quantum ESPRESSO.

Its outputs are read in ``espresso_output``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from ase import Atoms
from ase.data import atomic_masses, atomic_numbers
from numpy.typing import NDArray

from aet2dft.dft_inputs.deck_plan import DeckCell, Step, deck_cell, plan, plan_warnings
from aet2dft.dft_inputs.decks import SCRIPT, Deck, VolumeDecks
from aet2dft.dft_inputs.directions import Direction, angles
from aet2dft.dft_inputs.moments import AtomTypes, group_by_moment
from aet2dft.dft_inputs.protocol import Protocol, Tag
from aet2dft.dft_inputs.pseudopotentials import Pseudopotential, choose
from aet2dft.dft_inputs.run_scripts import espresso_script
from aet2dft.errors import InputError

_CONTROL = ("verbosity", "disk_io", "forc_conv_thr", "etot_conv_thr", "max_seconds")
_SYSTEM = ("ecutwfc", "ecutrho", "occupations", "smearing", "degauss", "nbnd", "nosym", "noinv")
_ELECTRONS = ("electron_maxstep", "mixing_beta", "mixing_mode", "diagonalization", "startingwfc")

Line = tuple[str, Tag]
"""Name and value in a namelist."""


def decks(
    atoms: Atoms,
    *,
    name: str,
    protocol: Protocol,
    axes: Sequence[Direction] = (),
    pseudos: Sequence[Pseudopotential],
) -> VolumeDecks:
    """Decks of one periodic cell.

    Parameters
    ----------
    atoms : Atoms
        Cell with the array ``site_id`` and optionally ``initial_magmoms``, (N,) or (N, 3), μB, Cartesian.
    name : str
        Name of the volume, a folder name.
    protocol : Protocol
        Steps and tags.
    axes : sequence of Direction
        Directions of the moments, for protocols that need them.
    pseudos : sequence of Pseudopotential
        What `pseudopotentials.find` gave for the elements of the cell.

    Raises
    ------
    InputError
        If a number, the cell, a moment or a pseudopotential cannot be right; nothing is written before that is known.

    Notes
    -----
    A starting moment is written per type of atom, as a fraction of the valence (INPUT_PW, ``starting_magnetization``),
    so that atoms are grouped by moment. An axis run of the force theorem takes the density of the collinear ``scf``
    turned along the axis; ``lforcet`` stands in &SYSTEM.
    """
    cell = deck_cell(atoms, name=name, protocol=protocol)
    types = group_by_moment(cell.symbols, cell.moments)
    structure = _structure_cards(cell, types)
    written: list[Deck] = []
    for step in plan(protocol, axes):
        chosen = {
            element: choose(pseudos, element, spin_orbit=step.spin_orbit, force_theorem=step.force_theorem)
            for element in cell.elements
        }
        text = _namelists(cell, types, step, protocol, chosen) + _species_card(types, chosen) + structure
        written.append(Deck.of(cell, step, {"pw.in": text, SCRIPT: espresso_script(parent=step.parent)}))
    return VolumeDecks(
        cell=cell,
        decks=tuple(written),
        labels=tuple(types.labels[t] for t in types.index),
        moment_binning_error=types.error,
        warnings=plan_warnings(protocol, axes, has_vectors=cell.has_vectors),
    )


def _namelists(
    cell: DeckCell, types: AtomTypes, step: Step, protocol: Protocol, pseudos: Mapping[str, Pseudopotential]
) -> str:
    """Text of &CONTROL, &SYSTEM, &ELECTRONS and, for a relaxation, &IONS."""
    tags = protocol.of_step(step.kind)
    control: list[Line] = [
        ("calculation", step.calculation),
        ("prefix", "job"),
        ("outdir", "./out"),
        ("pseudo_dir", "../../../pseudo"),
        *_chosen(tags, _CONTROL),
    ]
    system: list[Line] = [
        ("ibrav", 0),
        ("nat", len(cell.symbols)),
        ("ntyp", len(types.labels)),
        *_chosen({**tags, "occupations": "smearing"}, _SYSTEM),
        *_magnetism(types, step, pseudos),
    ]
    threshold = float(tags["conv_thr_per_atom"]) * len(cell.symbols)
    electrons: list[Line] = [("conv_thr", threshold), *_chosen(tags, _ELECTRONS)]
    text = ""
    if step.calculation == "relax":
        control.append(("tprnfor", True))
        text = _namelist("IONS", [("ion_dynamics", "bfgs")])
    return _namelist("CONTROL", control) + _namelist("SYSTEM", system) + _namelist("ELECTRONS", electrons) + text


def _magnetism(types: AtomTypes, step: Step, pseudos: Mapping[str, Pseudopotential]) -> list[Line]:
    """Spin tags of &SYSTEM: collinear, vectors without spin-orbit coupling, or an axis run."""
    vectors = types.moments.ndim == 2
    lines: list[Line] = [("noncolin", True)] if vectors or step.spin_orbit else [("nspin", 2)]
    if step.spin_orbit:
        lines.append(("lspinorb", True))
    if step.force_theorem:
        lines.append(("lforcet", True))
    for number, (element, moment) in enumerate(zip(types.elements, types.moments, strict=True), start=1):
        size = float(np.linalg.norm(moment)) if vectors else float(moment)
        lines.append((f"starting_magnetization({number})", _fraction(size, pseudos[element])))
        direction = moment if vectors else step.axis
        if direction is not None:
            # a zero moment points nowhere: any angles do
            polar, azimuth = angles(direction) if np.any(direction) else (0.0, 0.0)
            lines += [(f"angle1({number})", round(polar, 10)), (f"angle2({number})", round(azimuth, 10))]
    return lines


def _fraction(moment: float, pseudo: Pseudopotential) -> float:
    """Moment, μB, over the valence electrons: the starting magnetization."""
    if abs(moment) > pseudo.z_valence:
        raise InputError(
            f"a starting moment of {moment:g} μB on {pseudo.element} is more than the {pseudo.z_valence:g} valence "
            f"electrons of {pseudo.file}; give a smaller one"
        )
    return round(moment / pseudo.z_valence, 10) + 0.0


def _species_card(types: AtomTypes, pseudos: Mapping[str, Pseudopotential]) -> str:
    lines = [
        f"  {label} {_number(float(atomic_masses[atomic_numbers[element]]))} {pseudos[element].file}"
        for label, element in zip(types.labels, types.elements, strict=True)
    ]
    return "\n".join(["ATOMIC_SPECIES", *lines, ""])


def _structure_cards(cell: DeckCell, types: AtomTypes) -> str:
    """Cell, positions and mesh: the same text in all decks of a volume."""
    labels = [types.labels[t] for t in types.index]
    vectors = [f"  {_ten_decimals(row)}" for row in cell.cell]
    positions = [f"  {label:<3}  {_ten_decimals(row)}" for label, row in zip(labels, cell.fractional, strict=True)]
    mesh = "  {} {} {} 0 0 0".format(*cell.k_mesh)
    structure = ["CELL_PARAMETERS angstrom", *vectors, "ATOMIC_POSITIONS crystal", *positions]
    return "\n".join([*structure, "K_POINTS automatic", mesh, ""])


def _ten_decimals(row: NDArray[np.float64]) -> str:
    # adding zero turns -0.0 into 0.0
    return " ".join([f"{x:14.10f}" for x in (np.round(row, 10) + 0.0).tolist()])


def _chosen(tags: Mapping[str, Tag], names: Iterable[str]) -> list[Line]:
    return [(name, tags[name]) for name in names if name in tags]


def _namelist(name: str, lines: Iterable[Line]) -> str:
    return "\n".join([f"&{name}", *(f"  {key} = {_fortran(value)}" for key, value in lines), "/", ""])


def _fortran(value: Tag) -> str:
    """Text of a value as Fortran reads it in a namelist."""
    if isinstance(value, bool):
        return ".true." if value else ".false."
    if isinstance(value, float):
        return _number(value)
    return f"'{value}'" if isinstance(value, str) else str(value)


def _number(value: float) -> str:
    """Text of at most twelve digits: 30, 0.02, 1.0d-9."""
    if value == 0 or abs(value) >= 1e-2:
        return f"{value:.12g}"
    mantissa, exponent = f"{value:.11e}".split("e")
    return f"{float(mantissa)!r}d{int(exponent)}"
