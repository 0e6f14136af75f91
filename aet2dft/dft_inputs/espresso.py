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
    """The decks of one periodic cell.

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
    written = [
        Deck.of(cell, step, {"pw.in": _deck(cell, types, step, protocol, pseudos, structure), SCRIPT: _script(step.parent)})
        for step in plan(protocol, axes)
    ]
    return VolumeDecks(
        cell=cell, decks=tuple(written), labels=tuple(types.labels[t] for t in types.index),
        moment_binning_error=types.error,
        warnings=plan_warnings(protocol, axes, has_vectors=cell.has_vectors),
    )  # fmt: skip
