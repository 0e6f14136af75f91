"""Corrections of a model by hand: a list of atoms to add, remove, move or relabel, checked whole and then applied."""

from __future__ import annotations

import csv
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers, chemical_symbols
from numpy.typing import NDArray

from aet2dft.atoms import MIN_SEPARATION, known_symbol, numbered
from aet2dft.errors import InputError, ParseError

COLUMNS = ("action", "site_id", "x", "y", "z", "species")
_NEEDS: dict[str, tuple[str, ...]] = {
    "add": ("x", "y", "z"),
    "remove": ("site_id",),
    "move": ("site_id", "x", "y", "z"),
    "relabel": ("site_id", "species"),
}
"""Columns that an action must have."""
_MAY: dict[str, tuple[str, ...]] = {"add": ("site_id", "species")}
"""Columns that it may have besides."""
_ALONE = 3.0
"""Least distances of two atoms from which on an atom is far from all others."""
_LAST = 999_999_999
"""Largest number of an added atom: projects keep 32 bits of it, and later steps count on from the largest."""
_LONGEST = 1 << 26
"""Bytes; a longer file is no list of corrections made by hand."""
N = TypeVar("N", int, float)


@dataclass(frozen=True, kw_only=True, slots=True)
class Edit:
    """One line of a list of corrections."""

    line: int
    """Number of the line in its file."""
    action: str
    """``add``, ``remove``, ``move`` or ``relabel``."""
    site_id: int | None = None
    """Atom that is meant; of an added one, the number that it is to have."""
    position: tuple[float, float, float] | None = None
    """Å: where an atom is added or moved to."""
    species: str | None = None
    """Element of an added or relabeled atom."""
    file: Path | None = None
    """File of the line; None where a program made the correction."""

    def problem(self, text: str) -> InputError:
        """Error that names the line, and its file where it is known."""
        if self.file is None:
            return InputError(f"line {self.line}: {text}")
        return ParseError(self.file, text, line=self.line)


@dataclass(frozen=True, kw_only=True, slots=True)
class EditLog:
    """What corrections did to a model."""

    counts: dict[str, int]
    """Lines by action."""
    changes: tuple[dict[str, Any], ...]
    """Of every line: its number, the action, ``site_id``, and species and position before and after (None: no atom)."""
    warnings: tuple[str, ...]
    """What the user should look at."""


def read_edits(path: Path) -> tuple[Edit, ...]:
    """Corrections from a CSV file.

    Parameters
    ----------
    path : Path
        Columns ``action,site_id,x,y,z,species`` under a line with their names, in any order; those that no line needs
        may be absent, and lines that begin with ``#`` are comments.

    Raises
    ------
    InputError
        If there is no such file.
    ParseError
        If a line is not one of the four actions with just what it needs; the message has its number.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file; give a CSV file with the columns {','.join(COLUMNS)}")
    if path.stat().st_size > _LONGEST:
        raise InputError(f"{path}: {path.stat().st_size / 1e6:.0f} MB is too long for a list of corrections")
    text = path.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    lines = [(number, line) for number, line in enumerate(text, start=1) if line.strip() and line.lstrip()[0] != "#"]
    if not lines:
        raise ParseError(path, f"holds no line; the first must be {','.join(COLUMNS)}")
    (first, header), *rest = lines
    names = [name.strip().lower() for name in _cells(path, first, header)]
    wrong = [name for name in names if name not in COLUMNS or names.count(name) > 1]
    if wrong or "action" not in names:
        listed = ", ".join(COLUMNS)
        what = "there twice" if wrong and wrong[0] in COLUMNS else "none of them"
        said = f"{wrong[0][:60]!r} is {what}" if wrong else "action is not there"
        mend = "; put commas between them" if wrong and any(mark in wrong[0] for mark in ";\t") else ""
        raise ParseError(path, f"the columns must be among {listed}, each once: {said}{mend}", line=first)
    return tuple(_edit(path, number, names, _cells(path, number, line)) for number, line in rest)


def edit(atoms: Atoms, edits: Sequence[Edit] | Path | str, *, min_distance: float = 2.0) -> tuple[Atoms, EditLog]:
    """Apply corrections to a model, one after the other.

    Parameters
    ----------
    atoms : Atoms
        The model; it stays as it is. Without ``site_id`` its atoms are numbered from 1, as `order` does.
    edits : sequence of Edit, Path or str
        Corrections, or the file that `read_edits` reads; a later one sees what earlier ones did.
    min_distance : float
        Å: added and moved atoms that end nearer than this to another are said.

    Returns
    -------
    atoms : Atoms
        The corrected model. An atom that was added has the medians of its species in the arrays of numbers that
        measure something (intensity, width, standard error), zero in others, and 1 as ``species_confidence``.
    log : EditLog
        Every change.

    Raises
    ------
    InputError
        If a line means an atom that is not there, adds one that is, gives no species where the others have one, or
        puts an atom nearer than 0.5 Å to another, or if no atom is left. Nothing is applied then.
    """
    listed = read_edits(Path(edits)) if isinstance(edits, (Path, str)) else edits
    draft = _Draft(numbered(atoms))
    changes = tuple(draft.apply(item) for item in listed)
    if listed and not draft.places:
        raise listed[-1].problem(f"no atom is left after these {len(listed)} corrections; keep one at least")
    touched = {
        change["site_id"]: item for change, item in zip(changes, listed, strict=True) if item.action in ("add", "move")
    }
    warnings = (*_odd_places(draft, touched, min_distance), *_new_elements(atoms, listed))
    counts = Counter(item.action for item in listed)
    return draft.atoms(), EditLog(
        counts={action: counts[action] for action in _NEEDS}, changes=changes, warnings=warnings
    )


class _Draft:
    """A model while corrections are applied to it: species, position and origin of every atom by its site_id."""

    __slots__ = ("_added", "_given", "_moved", "_named", "_next", "places", "species")

    def __init__(self, atoms: Atoms) -> None:
        ids = atoms.arrays["site_id"].tolist()
        if len(set(ids)) < len(ids):
            raise InputError("two atoms have one site_id, so that a correction cannot name them; number them anew")
        self._given = atoms
        self._named = not len(atoms) or bool(atoms.numbers.any())
        self._next = max(ids, default=0) + 1
        self.species: dict[int, int] = dict(zip(ids, atoms.numbers.tolist(), strict=True))
        self.places: dict[int, tuple[float, ...]] = dict(zip(ids, map(tuple, atoms.positions.tolist()), strict=True))
        self._added: set[int] = set()
        self._moved: set[int] = set()

    def apply(self, item: Edit) -> dict[str, Any]:
        """Carry out one correction; gives its row of the log."""
        site = self._site(item)
        before = self._state(site)
        if item.action == "remove":
            del self.species[site], self.places[site]
        if item.action == "add":
            self._added.add(site)
        if item.position is not None:
            self.places[site] = item.position
            self._moved.add(site)
        if item.action in ("add", "relabel"):
            self.species[site] = atomic_numbers[item.species or "X"]
        return {
            "line": item.line,
            "action": item.action,
            "site_id": site,
            "before": before,
            "after": self._state(site),
        }

    def _site(self, item: Edit) -> int:
        """Number of the atom that a correction is about."""
        if item.action == "add":
            if self._named and item.species is None:
                raise item.problem("an added atom needs a species, since the others have one")
            if item.site_id in self.places:
                raise item.problem(f"there is an atom with site_id {item.site_id} already; leave it out")
            site = self._next if item.site_id is None else item.site_id
            if site > _LAST:
                raise item.problem(f"an added atom cannot be number {site}, which is above {_LAST}")
            self._next = max(self._next, site + 1)
            return site
        if item.site_id is None or item.site_id not in self.places:
            raise item.problem(f"no atom has site_id {item.site_id} (any more); see `aet2dft export --what tables`")
        return item.site_id

    def _state(self, site: int) -> dict[str, Any] | None:
        if site not in self.places:
            return None
        return {"species": chemical_symbols[self.species[site]], "position": self.places[site]}

    def atoms(self) -> Atoms:
        """The corrected model, in the order of the given one; added atoms follow."""
        given = self._given.arrays["site_id"].tolist()
        kept = [k for k, site in enumerate(given) if site in self.places and site not in self._added]
        added = [site for site in self.places if site in self._added]
        result: Atoms = self._given[kept]
        if added:
            result.extend(Atoms(numbers=[self.species[site] for site in added], positions=np.zeros((len(added), 3))))
            result.arrays["site_id"][len(kept) :] = added
        sites = result.arrays["site_id"].tolist()
        result.positions = np.array([self.places[site] for site in sites]).reshape(-1, 3)
        renamed = np.array([self.species[site] for site in sites], dtype=int) != result.numbers
        result.numbers = [self.species[site] for site in sites]
        new = np.arange(len(result)) >= len(kept)
        if "species_confidence" in result.arrays:
            result.arrays["species_confidence"][renamed | new] = 1.0
        _fill(result, "position_sigma", np.isin(sites, list(self._moved)))
        for name, values in result.arrays.items():
            if values.dtype.kind == "f" and name not in ("positions", "position_sigma", "species_confidence"):
                _fill(result, name, new)
        return result


def _fill(atoms: Atoms, name: str, unknown: NDArray[np.bool_]) -> None:
    """Give atoms whose value is not known the median of the others of their species, or of all others."""
    if name not in atoms.arrays or unknown.all():
        return
    values = atoms.arrays[name]
    for number in np.unique(atoms.numbers[unknown]):
        own = atoms.numbers == number
        known = own & ~unknown if (own & ~unknown).any() else ~unknown
        values[own & unknown] = np.median(values[known], axis=0)


def _odd_places(draft: _Draft, touched: dict[int, Edit], min_distance: float) -> tuple[str, ...]:
    """Refuse atoms that corrections, by site, put at the place of another; say those near one, or far from all."""
    from scipy.spatial import cKDTree

    sites = [site for site in touched if site in draft.places]
    if not sites or len(draft.places) < 2:
        return ()
    distance = cKDTree(list(draft.places.values())).query([draft.places[site] for site in sites], k=2)[0][:, 1]
    nearest = int(distance.argmin())
    if distance[nearest] < MIN_SEPARATION:
        raise touched[sites[nearest]].problem(
            f"this atom is {distance[nearest]:.2f} Å from another; two atoms cannot be at one place, remove one of them"
        )
    lines = np.array([touched[site].line for site in sites])
    said = {
        f"nearer than {min_distance:g} Å to another": lines[distance < min_distance],
        f"farther than {_ALONE * min_distance:g} Å from all others": lines[distance > _ALONE * min_distance],
    }
    return tuple(
        f"1 atom ends {where}: line {some[0]}"
        if len(some) == 1
        else f"{len(some)} atoms end {where}: lines {_listed(some)}"
        for where, some in said.items()
        if len(some)
    )


def _new_elements(atoms: Atoms, edits: Sequence[Edit]) -> tuple[str, ...]:
    """Say which elements were not in the model before."""
    known = {"X", *atoms.symbols}
    new = {item.species: item.line for item in edits if item.species is not None and item.species not in known}
    return tuple(f"line {line}: {symbol} is an element that the model did not have" for symbol, line in new.items())


def _listed(lines: NDArray[np.intp]) -> str:
    return ", ".join(map(str, np.sort(lines)[:5])) + (" ..." if len(lines) > 5 else "")


def _cells(path: Path, number: int, line: str) -> list[str]:
    try:
        return next(csv.reader([line]))
    except csv.Error as error:
        raise ParseError(path, f"is no line of a table ({error})", line=number) from error


def _edit(path: Path, number: int, names: Sequence[str], cells: Sequence[str]) -> Edit:
    """One line, checked by itself."""
    if len(cells) > len(names):
        raise ParseError(path, f"{len(cells)} cells under {len(names)} columns; quote or remove commas", line=number)
    given = {name: cell.strip() for name, cell in zip(names, cells, strict=False) if cell.strip()}
    action = given.pop("action", "").lower()
    if action not in _NEEDS:
        raise ParseError(path, f"the action is {action!r}, not add, remove, move or relabel", line=number)
    missing = [name for name in _NEEDS[action] if name not in given]
    more = [name for name in given if name not in (*_NEEDS[action], *_MAY.get(action, ()))]
    if missing or more:
        problem = f"needs {', '.join(missing)}" if missing else f"takes no {', '.join(more)}"
        raise ParseError(path, f"{action} {problem}", line=number)
    site = _number(path, number, given, "site_id", int) if "site_id" in given else None
    place = tuple(_number(path, number, given, axis, float) for axis in "xyz") if "x" in given else None
    if (place is not None and not all(map(math.isfinite, place))) or (site is not None and site < 1):
        raise ParseError(path, "a coordinate is not finite, or site_id is below 1", line=number)
    species = given.get("species")
    if species is not None and not known_symbol(species):
        raise ParseError(path, f"{species!r} is no chemical element", line=number)
    return Edit(line=number, action=action, site_id=site, position=_triple(place), species=species, file=path)


def _number(path: Path, line: int, given: dict[str, str], name: str, kind: type[N]) -> N:
    """A cell as a number."""
    try:
        return kind(given[name])
    except ValueError as error:
        wanted = "a whole number, the name of an atom" if kind is int else "a number, Å"
        raise ParseError(path, f"{name} is {given[name]!r}; give {wanted}", line=line) from error


def _triple(values: tuple[float, ...] | None) -> tuple[float, float, float] | None:
    return None if values is None else (values[0], values[1], values[2])
