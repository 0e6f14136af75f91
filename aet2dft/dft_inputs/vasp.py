"""Decks for VASP: INCAR, POSCAR, KPOINTS and the names of the PAW data sets; POTCAR is licensed and never written.

Its outputs are read in ``vasp_output``.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from itertools import groupby

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from aet2dft.dft_inputs.deck_plan import DeckCell, Step, deck_cell, plan, plan_warnings
from aet2dft.dft_inputs.decks import SCRIPT, Deck, VolumeDecks
from aet2dft.dft_inputs.directions import Direction, saxis_rotation
from aet2dft.dft_inputs.protocol import Protocol, Tag
from aet2dft.dft_inputs.run_scripts import vasp_script
from aet2dft.errors import InputError

_NOT_IN_INCAR = frozenset({"kmesh", "kmesh_spacing", "kmesh_factor", "allow_nonmagnetic", "NBANDS"})
_BANDS_MULTIPLE = 8
"""NBANDS is a multiple of it, so that the same number serves runs on 1, 2, 4 and 8 groups of cores."""


def decks(atoms: Atoms, *, name: str, protocol: Protocol, axes: Sequence[Direction] = ()) -> VolumeDecks:
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

    Raises
    ------
    InputError
        If a number, the cell or a moment cannot be right, or the protocol names no data set for an element.

    Notes
    -----
    VASP reads and writes every moment in the frame of SAXIS (VASP wiki, SAXIS): one number per atom becomes
    ``0 0 m`` along the axis, and a Cartesian vector m becomes Rᵀ m with R of `saxis_rotation`. An axis run of the
    force theorem reads the collinear CHGCAR (ICHARG = 11).
    """
    cell = deck_cell(atoms, name=name, protocol=protocol)
    potcars = [str(protocol.of_element("potcar", element)) for element in cell.elements]
    shared = {
        "POSCAR": _poscar(cell),
        "KPOINTS": "{} mesh\n0\nGamma\n{} {} {}\n0 0 0\n".format(name, *cell.k_mesh),
        "POTCAR.spec": "".join(f"{potcar}\n" for potcar in potcars),
    }
    bands = int(protocol.tags.get("NBANDS", 0)) or default_bands(
        _valence(cell, protocol), len(cell.symbols), moments=cell.moments, noncollinear=True
    )
    written: list[Deck] = []
    for step in plan(protocol, axes):
        script = vasp_script(parent=step.parent, noncollinear=step.spin_orbit or cell.has_vectors)
        written.append(Deck.of(cell, step, {"INCAR": _incar(cell, step, protocol, bands), **shared, SCRIPT: script}))
    return VolumeDecks(
        cell=cell,
        decks=tuple(written),
        labels=cell.symbols,
        moment_binning_error=0.0,
        warnings=plan_warnings(protocol, axes, has_vectors=cell.has_vectors),
    )


def default_bands(
    n_electrons: float, n_ions: int, *, moments: NDArray[np.float64] | None = None, noncollinear: bool = False
) -> int:
    """VASP's own number of bands of a run, rounded up to a multiple of eight.

    Parameters
    ----------
    n_electrons : float
        Valence electrons of the cell.
    n_ions : int
        Atoms in the cell.
    moments : ndarray, shape (N,) or (N, 3), optional
        Starting moments, μB.
    noncollinear : bool
        Whether a band holds one electron instead of two.

    Notes
    -----
    VASP's own default (VASP wiki, NBANDS): max(⌈(NELECT + 2)/2⌉ + max(⌊NIONS/2⌋, 3), ⌈0.6 NELECT⌉), plus half the sum
    of the starting moments for a magnetic cell, times two for a non-collinear one.
    """
    bands = max(math.ceil((n_electrons + 2) / 2) + max(n_ions // 2, 3), math.ceil(0.6 * n_electrons))
    if moments is not None:
        sizes = np.linalg.norm(moments.reshape(n_ions, -1), axis=1)
        bands += math.ceil(float(sizes.sum()) / 2 - 1e-9)
    if noncollinear:
        bands *= 2
    return _BANDS_MULTIPLE * math.ceil(bands / _BANDS_MULTIPLE)


def _incar(cell: DeckCell, step: Step, protocol: Protocol, bands: int) -> str:
    tags = protocol.of_step(step.kind)
    general = {key: value for key, value in tags.items() if key not in _NOT_IN_INCAR}
    own: dict[str, Tag] = {}
    if step.spin_orbit or cell.has_vectors:
        own |= {"LNONCOLLINEAR": True, "NBANDS": bands, "MAGMOM": _triples(_in_frame_of(step.axis, cell.moments))}
    else:
        own |= {"ISPIN": 2, "MAGMOM": _run_lengths(cell.moments)}
    if step.axis is not None:
        own |= {"LSORBIT": True, "SAXIS": " ".join(map(str, step.axis))}
    if step.force_theorem:
        own |= {"ICHARG": 11}
    own |= {"LWAVE": False, "LCHARG": not step.spin_orbit}
    lines = {"SYSTEM": f"{cell.name} {step.name}", **general, **own}
    return "".join(f"{key} = {_value(value)}\n" for key, value in lines.items())


def _valence(cell: DeckCell, protocol: Protocol) -> float:
    """Valence electrons of the cell; raises InputError for an atom whose moment is larger than its own."""
    of_element = {e: float(protocol.of_element("zval", str(protocol.of_element("potcar", e)))) for e in cell.elements}
    valence = np.array([of_element[symbol] for symbol in cell.symbols])
    sizes = np.linalg.norm(cell.moments.reshape(len(valence), -1), axis=1)
    too_large = np.flatnonzero(sizes > valence)
    if too_large.size:
        i = int(too_large[0])
        raise InputError(
            f"a starting moment of {sizes[i]:g} μB on {cell.symbols[i]} (site {cell.site_ids[i]}) is more than its "
            f"{valence[i]:g} valence electrons; give a smaller one"
        )
    return float(valence.sum())


def _in_frame_of(axis: Direction | None, moments: NDArray[np.float64]) -> NDArray[np.float64]:
    """Moments (N, 3) in the frame of SAXIS: scalars along it, Cartesian vectors turned into it."""
    if moments.ndim == 1:
        return np.column_stack([np.zeros((len(moments), 2)), moments])
    return moments if axis is None else moments @ saxis_rotation(axis)


def _run_lengths(moments: NDArray[np.float64]) -> str:
    """``16*3.0 16*0.4``: a count only where neighbors in the list are equal."""
    runs = [(len(list(run)), _decimal(value)) for value, run in groupby(moments.tolist())]
    return " ".join(f"{count}*{text}" if count > 1 else text for count, text in runs)


def _triples(moments: NDArray[np.float64]) -> str:
    return " ".join(_decimal(value) for value in moments.ravel().tolist())


def _decimal(value: float) -> str:
    rounded = round(value, 10)
    return "0" if rounded == 0 else repr(rounded)


def _poscar(cell: DeckCell) -> str:
    """Species blocks, direct coordinates; the first line ends with the digest of the rest."""
    counts = [cell.symbols.count(element) for element in cell.elements]
    lines = ["1.0", *map(_sixteen_decimals, cell.cell), " ".join(cell.elements), " ".join(map(str, counts)), "Direct"]
    body = "\n".join([*lines, *map(_sixteen_decimals, cell.fractional), ""])
    return f"{cell.name} {hashlib.sha256(body.encode()).hexdigest()[:16]}\n{body}"


def _sixteen_decimals(row: NDArray[np.float64]) -> str:
    # adding zero turns -0.0 into 0.0
    return " ".join([f"{x:20.16f}" for x in (row + 0.0).tolist()])


def _value(value: Tag) -> str:
    """Text of a value as INCAR has it."""
    if isinstance(value, bool):
        return ".TRUE." if value else ".FALSE."
    if not isinstance(value, float):
        return str(value)
    mantissa, _, exponent = f"{value:.12g}".partition("e")
    return f"{mantissa}E{int(exponent)}" if exponent else mantissa
