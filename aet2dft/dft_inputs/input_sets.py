"""The verb `inputs`: from ordered atoms to the decks of a DFT code, as data."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from aet2dft.atoms import check, digest, neighbor_distances, require, without_element
from aet2dft.config import InputsSettings, validated
from aet2dft.dft_inputs import espresso, vasp
from aet2dft.dft_inputs.boxes import Box, Window, choose_grain, find_box, windows
from aet2dft.dft_inputs.deck_plan import plan
from aet2dft.dft_inputs.decks import DeckSet, VolumeDecks
from aet2dft.dft_inputs.directions import Direction, parse_direction
from aet2dft.dft_inputs.protocol import Protocol, load_protocol
from aet2dft.dft_inputs.pseudopotentials import Pseudopotential, find
from aet2dft.dft_inputs.volumes import Cutter, CutVolume, equal_volumes
from aet2dft.errors import InputError
from aet2dft.structure.lattice import LatticeFit, fit_lattice

SYMMETRY_TOLERANCE = 0.01
"""Å; two atoms this near to each other's image are equivalent for the space group."""
_NO_VOLUME = 1e-6
"""Å³; a cell of less is none."""

Writer = Callable[[Atoms, str], VolumeDecks]


def inputs(
    atoms: Atoms | Sequence[Atoms],
    *,
    kind: str | None = None,
    code: str | None = None,
    protocol: str | None = None,
    axes: Sequence[str] | None = None,
    settings: InputsSettings = InputsSettings(),
    source: dict[str, Any] | None = None,
) -> DeckSet:
    """Volumes of a particle as input files of a DFT code.

    Parameters
    ----------
    atoms : Atoms or sequence of Atoms
        A particle with the arrays that `order` writes; for ``kind="atoms"`` periodic structures.
    kind, code, protocol, axes : optional
        Shorthands for the settings of the same names; they win.
    settings : InputsSettings
        Windows, cells, positions, protocol.
    source : dict, optional
        Where the model came from; goes into the manifest.

    Returns
    -------
    DeckSet
        Everything as data; `aet2dft.dft_inputs.decks.write_decks` puts it on disk.

    Raises
    ------
    InputError
        If the model, the settings, a pseudopotential or an axis cannot be right; nothing has been written then.
    """
    short = {"kind": kind, "code": code, "protocol": protocol, "axes": None if axes is None else tuple(axes)}
    given = settings.model_dump() | {name: value for name, value in short.items() if value is not None}
    settings = validated(InputsSettings, given, where="[inputs]")
    chosen = load_protocol(settings.protocol, code=settings.code, changes=settings.set)
    directions = tuple(parse_direction(word) for word in settings.axes) if chosen.needs_axes else ()
    plan(chosen, directions)
    models = [atoms] if isinstance(atoms, Atoms) else list(atoms)
    if not models:
        raise InputError("there is no model to make volumes of; give at least one")
    for model in models:
        if problem := without_element(model):
            raise InputError(problem)
    elements = sorted({str(symbol) for model in models for symbol in model.symbols})
    pseudos = _pseudopotentials(elements, chosen, settings) if settings.code == "espresso" else ()
    writer = _writer(chosen, directions, pseudos)
    with threadpool_limits(limits=1):
        make = _structures if settings.kind == "atoms" else _cut
        made = make(models, settings, writer)
    return DeckSet(
        kind=settings.kind,
        protocol=chosen,
        axes=settings.axes if chosen.needs_axes else (),
        pseudopotentials=tuple(pseudos),
        volumes=tuple(made.rows),
        decks=tuple(deck for volume in made.decks for deck in volume.decks),
        source=source or {},
        settings=settings.model_dump(mode="json"),
        frame=made.frame,
        warnings=(
            *made.notes,
            *(made.decks[0].warnings if made.decks else ()),
            *(_pseudopotential_warnings(pseudos, chosen, settings) if settings.code == "espresso" else ()),
        ),
    )


def _pseudopotential_warnings(
    pseudos: Sequence[Pseudopotential], protocol: Protocol, settings: InputsSettings
) -> list[str]:
    if settings.pseudo_dir is None:
        return [
            "the pseudopotentials of the package are small and soft: not for publication; "
            "give your own with --pseudo-dir"
        ]
    if any(key.lower() == "ecutwfc" for key in settings.set):
        return []
    named = [f"{pseudo.file} {pseudo.wfc_cutoff:.0f} Ry" for pseudo in pseudos if pseudo.wfc_cutoff > 0]
    headers = f"the headers of yours name {', '.join(named)}" if named else "the headers of yours name no cutoff"
    return [
        f"ecutwfc is {protocol.tags['ecutwfc']:g} Ry, which suits the soft pseudopotentials of the package only; "
        f"{headers}: give --set ecutwfc=RY --set ecutrho=RY, or energies may be wrong"
    ]


def _pseudopotentials(elements: list[str], protocol: Protocol, settings: InputsSettings) -> tuple[Pseudopotential, ...]:
    return tuple(
        find(
            elements,
            directory=settings.pseudo_dir,
            spin_orbit=protocol.needs_axes,
            scalar=protocol.needs_scalar,
            functional=str(protocol.tags["functional"]),
        )
    )


def _writer(protocol: Protocol, axes: tuple[Direction, ...], pseudos: Sequence[Pseudopotential]) -> Writer:
    if protocol.code == "vasp":
        return lambda atoms, name: vasp.decks(atoms, name=name, protocol=protocol, axes=axes)
    return lambda atoms, name: espresso.decks(atoms, name=name, protocol=protocol, axes=axes, pseudos=pseudos)


@dataclass(frozen=True, kw_only=True, slots=True)
class Made:
    """What the models have become."""

    rows: list[dict[str, Any]]
    """Rows of the manifest, one per volume."""
    decks: list[VolumeDecks]
    """Decks of the volumes that have some."""
    notes: list[str]
    """What the user should know."""
    frame: dict[str, Any] | None
    """Lattice frame and boxes; None for structures that were not cut from a particle."""


def _cut(models: list[Atoms], settings: InputsSettings, writer: Writer) -> Made:
    """Volumes of one particle."""
    if len(models) != 1:
        raise InputError(f"{settings.kind} volumes are cut from one particle, not from {len(models)} structures")
    atoms = models[0]
    check(atoms)
    require(atoms, "site", "lattice", "site_id")
    choices = [choose_grain(atoms, around) for around in dict.fromkeys(settings.around)]
    if len({choice.lattice for choice in choices}) > 1:
        raise InputError(
            f"--around {','.join(settings.around)}: the grains are on several lattices; give them one by one"
        )
    fit = fit_lattice(atoms, choices[0].lattice)
    boxes = [find_box(atoms, settings.box, choice) for choice in choices]
    cuts = _cut_windows(Cutter(atoms, fit, settings), [w for box in boxes for w in windows(box, settings)])
    # starting moments break the equality that species alone have
    comparable = settings.positions == "ideal" and "initial_magmoms" not in atoms.arrays
    same = equal_volumes(cuts) if comparable else {}
    rows: list[dict[str, Any]] = []
    decks: dict[str, VolumeDecks] = {}
    for cut in cuts:
        row = _geometry(cut)
        if cut.atoms is None:
            row |= {"status": "rejected", "reason": cut.reason}
        elif cut.name in same:
            first, match = same[cut.name]
            row |= {"status": "same"} | _shared(cut.atoms, decks[first], first, match)
        else:
            decks[cut.name] = made = writer(cut.atoms, cut.name)
            row |= {"status": "written", "space_group": space_group(cut.atoms)} | made.record()
        rows.append(row)
    notes = [*(_box_note(box, settings) for box in boxes), *_notes(rows)]
    return Made(rows=rows, decks=list(decks.values()), notes=notes, frame=_frame(fit, boxes))


def _cut_windows(cutter: Cutter, found: list[Window]) -> list[CutVolume]:
    """Volumes v00000 and on; windows that two boxes share are cut once."""
    places = {(*origin.tolist(), *size.tolist()): (origin, size) for origin, size in found}
    return [cutter.cut(f"v{k:05d}", origin, size) for k, (origin, size) in enumerate(places.values())]


def _geometry(cut: CutVolume) -> dict[str, Any]:
    return {
        "id": cut.name,
        "status": "",
        "reason": "",
        "same_as": None,
        "same_sites": None,
        "origin": cut.origin.tolist(),
        "size": cut.size.tolist(),
        "center": cut.center.tolist(),
        "offset": cut.offset.tolist(),
        "n_vacancies": cut.n_vacancies,
        "shortest_bond": _number(cut.shortest_bond),
        "order": [_number(x) for x in cut.order],
        "order_difference": _number(cut.order[2] - cut.order[0]),
        "strain": [_number(x) for x in cut.strain],
    }


def _shared(atoms: Atoms, decks: VolumeDecks, first: str, match: NDArray[np.intp]) -> dict[str, Any]:
    """What a volume that is equal to an earlier one adds to its row: its own atoms, and their deck index there."""
    deck_index = np.empty(len(atoms), dtype=np.intp)
    deck_index[decks.cell.permutation] = np.arange(len(atoms))
    return {
        "same_as": first,
        "same_sites": deck_index[match].tolist(),
        "site_ids": atoms.arrays["site_id"].tolist(),
        "symbols": [str(s) for s in atoms.symbols],
        "cell": np.asarray(atoms.cell).tolist(),
        "k_mesh": list(decks.cell.k_mesh),
        "space_group": space_group(atoms),
    }


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _box_note(box: Box, settings: InputsSettings) -> str:
    """Where a box lies and how it was chosen."""
    size = "x".join(map(str, box.size))
    occupied = f"{box.n_atoms} of {box.n_sites} sites occupied"
    note = f"box of {size} half cells at {box.origin.tolist()} with {occupied}, {box.note}"
    if box.grain:
        note += f"; {box.n_grain} of its atoms are inside"
    if settings.kind == "supercell" and (box.size % 2).any():
        edges = ", ".join("xyz"[k] for k in np.flatnonzero(box.size % 2))
        note += f"; it is an odd number of half cells along {edges}, where its periodic images do not continue the "
        note += "lattice: an even --box does"
    return note


def _notes(rows: list[dict[str, Any]]) -> list[str]:
    status = Counter(row["status"] for row in rows)
    notes = []
    if status["rejected"]:
        are = "is" if status["rejected"] == 1 else "are"
        notes.append(f"{status['rejected']} of {len(rows)} volumes {are} rejected; the manifest says why")
    if status["same"]:
        many = f"{status['same']} volumes are equal to others and share their jobs"
        notes.append(many if status["same"] > 1 else "1 volume is equal to another and shares its jobs")
    return notes


def _frame(fit: LatticeFit, boxes: list[Box]) -> dict[str, Any]:
    return {
        "rotation": fit.rotation.tolist(),
        "origin": fit.cubic_origin.tolist(),
        "cubic_a": fit.cubic_a,
        "boxes": [
            {"origin": b.origin.tolist(), "size": b.size.tolist(), "grain": b.grain, "n_grain": b.n_grain}
            for b in boxes
        ],
    }


def _structures(models: list[Atoms], settings: InputsSettings, writer: Writer) -> Made:
    """Periodic structures as they are."""
    rows: list[dict[str, Any]] = []
    decks: dict[str, VolumeDecks] = {}
    known: dict[str, str] = {}
    for k, atoms in enumerate(models):
        name = f"v{k:05d}"
        cell = _prepared(atoms, name)
        bond, reason = _too_short(cell, settings.min_bond)
        row: dict[str, Any] = {"id": name, "status": "written", "reason": reason, "same_as": None, "same_sites": None}
        row |= {"n_vacancies": 0, "center": [0.0] * 3, "shortest_bond": _number(bond)}
        row |= {"order": [None] * 3, "order_difference": None}
        key = digest(cell) + str(np.asarray(cell.arrays.get("initial_magmoms", ())).tolist())
        if reason:
            row["status"] = "rejected"
        elif key in known:
            row |= {"status": "same"} | _shared(cell, decks[known[key]], known[key], np.arange(len(cell)))
        else:
            known[key] = name
            decks[name] = made = writer(cell, name)
            row |= {"space_group": space_group(cell)} | made.record()
        rows.append(row)
    return Made(rows=rows, decks=list(decks.values()), notes=_notes(rows), frame=None)


def _prepared(atoms: Atoms, name: str) -> Atoms:
    """A copy with site ids; InputError unless it is sound and periodic."""
    if not abs(atoms.cell.volume) > _NO_VOLUME:
        raise InputError(
            f"{name}: --kind atoms needs periodic structures and this one has no cell; "
            "cut volumes from a particle with --kind sliding"
        )
    cell: Atoms = atoms.copy()
    cell.pbc = True
    try:
        check(cell)
    except InputError as error:
        raise InputError(f"{name}: {error}") from error
    if "site_id" not in cell.arrays:
        cell.set_array("site_id", np.arange(1, len(cell) + 1, dtype=np.int32))
    return cell


def _too_short(atoms: Atoms, min_bond: float) -> tuple[float, str]:
    """Shortest distance, and why the structure cannot be used if that is too short."""
    if len(atoms) < 2:
        return float("nan"), ""
    distance, partner = neighbor_distances(atoms)
    k = int(distance.argmin())
    bond = float(distance[k])
    pair = f"atoms {k} and {partner[k]}, periodic images included"
    return bond, f"bond of {bond:.2f} Å between {pair}, is below {min_bond:g} Å" if bond < min_bond else ""


def space_group(atoms: Atoms) -> str:
    """International symbol and number of the space group of a periodic cell, ``P4/mmm (123)``."""
    import spglib

    if not (np.isfinite(atoms.positions).all() and np.isfinite(np.asarray(atoms.cell)).all()):
        # spglib ends the process
        raise InputError("a position or a cell vector is NaN or infinite, it has no space group; mend the model")
    cell: Any = (np.asarray(atoms.cell), atoms.get_scaled_positions(), atoms.numbers)
    with warnings.catch_warnings():
        # it speaks of the way to tell a failure, which is None in every version so far
        warnings.simplefilter("ignore", DeprecationWarning)
        return str(spglib.get_spacegroup(cell, symprec=SYMMETRY_TOLERANCE) or "P1 (1)")
