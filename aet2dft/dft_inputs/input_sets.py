"""The verb `inputs`: from ordered atoms to the decks of a DFT code, as data."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from ase import Atoms
from threadpoolctl import threadpool_limits

from aet2dft.atoms import check, require
from aet2dft.config import InputsSettings, validated
from aet2dft.dft_inputs import espresso, vasp
from aet2dft.dft_inputs.deck_plan import plan
from aet2dft.dft_inputs.decks import DeckSet, VolumeDecks
from aet2dft.dft_inputs.directions import Direction, parse_direction
from aet2dft.dft_inputs.protocol import Protocol, load_protocol
from aet2dft.dft_inputs.pseudopotentials import Pseudopotential, find
from aet2dft.dft_inputs.volumes import Box, Cutter, CutVolume, equal_volumes, find_box, windows
from aet2dft.errors import InputError
from aet2dft.structure.lattice import LatticeFit, fit_lattice

SYMMETRY_TOLERANCE = 0.01
"""Å; two atoms this near to each other's image are equivalent for the space group."""

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
        Everything as data; `aet2dft.dft_inputs.decks.write` puts it on disk.

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
    elements = sorted({str(symbol) for model in models for symbol in model.symbols})
    pseudos = _pseudopotentials(elements, chosen, settings) if settings.code == "espresso" else ()
    writer = _writer(chosen, directions, pseudos)
    with threadpool_limits(limits=1):
        rows, volume_decks, notes, frame = (
            _structures(models, settings, writer) if settings.kind == "atoms" else _cut(models, settings, writer)
        )
    warnings = [*notes, *(volume_decks[0].warnings if volume_decks else ())]
    if settings.code == "espresso" and settings.pseudo_dir is None:
        warnings.append(
            "the pseudopotentials of the package are small and soft: not for publication; give your own with --pseudo-dir"
        )
    return DeckSet(
        kind=settings.kind,
        protocol=chosen,
        axes=settings.axes if chosen.needs_axes else (),
        pseudopotentials=tuple(pseudos),
        volumes=tuple(rows),
        decks=tuple(deck for volume in volume_decks for deck in volume.decks),
        source=source or {},
        settings=settings.model_dump(mode="json"),
        frame=frame,
        warnings=tuple(warnings),
    )


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


Made = tuple[list[dict[str, Any]], list[VolumeDecks], list[str], dict[str, Any] | None]


def _cut(models: list[Atoms], settings: InputsSettings, writer: Writer) -> Made:
    """Rows of the manifest, decks, notes and frame of the volumes of one particle."""
    if len(models) != 1:
        raise InputError(f"{settings.kind} volumes are cut from one particle, not from {len(models)} structures")
    atoms = models[0]
    check(atoms)
    require(atoms, "site", "lattice", "site_id")
    fit = fit_lattice(atoms)
    boxes = [find_box(atoms, settings.box, around, fit) for around in dict.fromkeys(settings.around)]
    cutter = Cutter(atoms, fit, settings)
    places = {
        (*origin.tolist(), *size.tolist()): (origin, size) for box in boxes for origin, size in windows(box, settings)
    }
    cuts = [cutter.cut(f"v{k:05d}", origin, size) for k, (origin, size) in enumerate(places.values())]
    same = equal_volumes(cuts) if settings.positions == "ideal" else {}
    rows, made = [], []
    decks_of: dict[str, VolumeDecks] = {}
    for cut in cuts:
        row = _geometry(cut)
        if cut.atoms is None:
            row |= {"status": "rejected", "reason": cut.reason}
        elif cut.name in same:
            first, match = same[cut.name]
            row |= {"status": "same"} | _shared(cut.atoms, decks_of[first], first, match)
        else:
            decks_of[cut.name] = decks = writer(cut.atoms, cut.name)
            made.append(decks)
            row |= {"status": "written", "space_group": space_group(cut.atoms)} | decks.record()
        rows.append(row)
    return rows, made, [*(_box_note(box, settings) for box in boxes), *_notes(rows, len(same))], _frame(fit, boxes)


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
        "order_difference": _number(cut.order_difference),
        "strain": [_number(x) for x in cut.strain],
    }


def _shared(atoms: Atoms, decks: VolumeDecks, first: str, match: np.ndarray[Any, Any]) -> dict[str, Any]:
    """Row of a volume that is a translation of an earlier one: its own site ids, in the order of its atoms, and the
    deck index there."""
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
    note = f"box of {size} half cells at {box.origin.tolist()} with {box.n_atoms} of {box.n_sites} sites occupied, {box.note}"
    if box.grain:
        note += f"; {box.n_grain} of its atoms are inside"
    if settings.kind == "supercell" and (box.size % 2).any():
        edges = ", ".join("xyz"[k] for k in np.flatnonzero(box.size % 2))
        note += f"; it is an odd number of half cells along {edges}, where its periodic images do not continue the lattice: an even --box does"
    return note


def _notes(rows: list[dict[str, Any]], n_same: int) -> list[str]:
    notes = []
    rejected = sum(row["status"] == "rejected" for row in rows)
    if rejected:
        notes.append(f"{rejected} of {len(rows)} volumes are rejected; the manifest says why")
    if n_same:
        notes.append(f"{n_same} volumes are translations of others and share their jobs")
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
    """Rows, decks and notes of periodic structures as they are."""
    rows, made = [], []
    known: dict[str, str] = {}
    for k, atoms in enumerate(models):
        name = f"v{k:05d}"
        cell = _prepared(atoms, name)
        bond, reason = _too_short(cell, settings.min_bond)
        row: dict[str, Any] = {
            "id": name,
            "status": "written",
            "reason": "",
            "same_as": None,
            "same_sites": None,
            "n_vacancies": 0,
            "center": [0.0, 0.0, 0.0],
            "shortest_bond": _number(bond),
            "order_difference": None,
        }
        digest = hashlib.sha256(
            cell.positions.tobytes() + cell.numbers.tobytes() + np.asarray(cell.cell).tobytes()
        ).hexdigest()
        if reason:
            row |= {"status": "rejected", "reason": reason}
        elif digest in known:
            decks = next(d for d in made if d.cell.name == known[digest])
            row |= {"status": "same"} | _shared(cell, decks, known[digest], np.arange(len(cell)))
        else:
            known[digest] = name
            made.append(writer(cell, name))
            row |= {"space_group": space_group(cell)} | made[-1].record()
        rows.append(row)
    rejected = sum(row["status"] == "rejected" for row in rows)
    return (
        rows,
        made,
        [f"{rejected} of {len(rows)} structures are rejected; the manifest says why"] if rejected else [],
        None,
    )


def _prepared(atoms: Atoms, name: str) -> Atoms:
    """A copy with site ids; InputError unless it is sound and periodic."""
    if not np.isfinite(np.asarray(atoms.cell)).all() or abs(atoms.cell.volume) < 1e-6:
        raise InputError(
            f"{name}: --kind atoms needs periodic structures, this one has no cell; cut volumes from particles with --kind sliding"
        )
    check(atoms)
    cell = atoms.copy()
    cell.pbc = True
    if "site_id" not in cell.arrays:
        cell.set_array("site_id", np.arange(1, len(cell) + 1, dtype=np.int32))
    return cell


def _too_short(atoms: Atoms, min_bond: float) -> tuple[float, str]:
    from aet2dft.atoms import neighbor_distances

    if len(atoms) < 2:
        return float("nan"), ""
    distance, partner = neighbor_distances(atoms)
    k = int(distance.argmin())
    if distance[k] >= min_bond:
        return float(distance[k]), ""
    return (
        float(distance[k]),
        f"bond of {distance[k]:.2f} Å between atoms {k} and {partner[k]}, periodic images included, is below {min_bond:g} Å",
    )


def space_group(atoms: Atoms) -> str:
    """International symbol and number of the space group of a periodic cell, ``P4/mmm (123)``; positions are checked
    first."""
    import spglib

    if not np.isfinite(atoms.positions).all():
        raise InputError("a position is NaN or infinite: no space group")
    cell = (np.asarray(atoms.cell), atoms.get_scaled_positions(), atoms.numbers)
    return str(spglib.get_spacegroup(cell, symprec=SYMMETRY_TOLERANCE) or "P1 (1)")
