"""Protocols: named sets of tags for a DFT code, read from TOML files, with changes of the user laid over them.

What a tag does to a deck is decided by the writer of the code, not here.
"""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from types import MappingProxyType
from typing import Any

from aet2dft.atoms import known_symbol
from aet2dft.dft_inputs.kmesh import parse_mesh
from aet2dft.errors import InputError

Tag = bool | int | float | str

CODES = ("espresso", "vasp")
"""DFT codes that decks can be written for."""
_TYPES: dict[str, type] = {"bool": bool, "int": int, "float": float, "str": str}
_PER_ELEMENT = ("moment", "potcar", "zval")
_MAY_BE_ANY_SIGN = ("moment.", "relax.EDIFFG")
_FOLDER = files("aet2dft.dft_inputs") / "protocols"


@dataclass(frozen=True, kw_only=True, slots=True)
class Protocol:
    """A named set of tags for one code."""

    name: str
    """Name: relax, scf, mae, mae_scf, convergence."""
    code: str
    """One of `CODES`."""
    description: str
    """What it computes, one sentence."""
    steps: tuple[str, ...]
    """Kinds of runs per volume, in order: relax, scf, axis (one run per direction of the moments)."""
    force_theorem: bool
    """Whether axis runs are not self-consistent and start from the density of scf."""
    tags: Mapping[str, Tag]
    """Every tag; a dot separates a table: ``relax.EDIFF`` holds in relax steps, ``moment.Fe`` for that element."""

    @property
    def needs_axes(self) -> bool:
        """Whether there is a run per direction of the moments."""
        return "axis" in self.steps

    @property
    def needs_scalar(self) -> bool:
        """Whether some step runs without spin-orbit coupling."""
        return self.steps != ("axis",)

    def of_step(self, kind: str) -> dict[str, Tag]:
        """Tags of the steps of one kind by their plain names; the table of that kind wins."""
        tags = {key: value for key, value in self.tags.items() if "." not in key}
        prefix = f"{kind}."
        return tags | {key.removeprefix(prefix): value for key, value in self.tags.items() if key.startswith(prefix)}

    def of_element(self, table: str, name: str) -> Tag:
        """Entry of a table per element: ``of_element("moment", "Fe")``.

        Raises
        ------
        InputError
            If the protocol does not know it; says how to give it.
        """
        try:
            return self.tags[f"{table}.{name}"]
        except KeyError:
            raise InputError(
                f"protocol {self.name} has no {table} for {name}; give it with --set {table}.{name}=VALUE"
            ) from None

    def record(self, elements: Iterable[str]) -> dict[str, Tag]:
        """Name and tags as plain values, of the tables per element only what concerns `elements`."""
        elements = set(elements)
        used = elements | {str(self.tags.get(f"potcar.{element}", "")) for element in elements}
        kept = {
            key: value
            for key, value in self.tags.items()
            if key.partition(".")[0] not in _PER_ELEMENT or key.partition(".")[2] in used
        }
        return {"name": self.name, **kept}


def protocol_names() -> tuple[str, ...]:
    """Names of the protocols of the package."""
    return tuple(sorted(file.name.removesuffix(".toml") for file in _FOLDER.iterdir() if file.name.endswith(".toml")))


def load_protocol(name: str, *, code: str, changes: Mapping[str, str] | None = None) -> Protocol:
    """Read a protocol of the package, with some tags changed.

    Parameters
    ----------
    name : str
        One of `protocol_names`.
    code : str
        One of `CODES`.
    changes : mapping, optional
        New values of tags, as written on the command line.

    Raises
    ------
    InputError
        If the name, the code or a tag is unknown, or a value cannot be right.
    """
    if name not in protocol_names():
        raise InputError(f"there is no protocol {name!r}; choose one of {', '.join(protocol_names())}")
    if code not in CODES:
        raise InputError(f"there is no code {code!r}; choose one of {', '.join(CODES)}")
    own = _read(f"{name}.toml")
    defaults = {**_read("defaults/general.toml"), **_read(f"defaults/{code}.toml")}
    types = {key: _TYPES[kind] for key, kind in defaults.pop("optional", {}).items()}
    tags = dict(_flat(defaults))
    types |= {key: type(value) for key, value in tags.items()}
    tags |= {**own.get("general", {}), **own.get(code, {})}
    for key, text in (changes or {}).items():
        tag = _canonical(key, types, where=f"protocol {name} of {code}")
        tags[tag] = _parsed(tag, str(text).strip(), types.get(tag) or _type_per_element(tag))
    _check(tags)
    return Protocol(
        name=name,
        code=code,
        description=own["description"],
        steps=tuple(own["steps"]),
        force_theorem=own.get("force_theorem", False),
        tags=MappingProxyType(tags),
    )


def _read(name: str) -> dict[str, Any]:
    return tomllib.loads(_FOLDER.joinpath(name).read_text(encoding="utf-8"))


def _flat(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Tag]]:
    """Leaves of nested tables with dotted keys."""
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _canonical(key: str, types: Mapping[str, type], *, where: str) -> str:
    """Find the tag that the user means: upper and lower case do not matter, elements may be new."""
    by_lower = {known.lower(): known for known in types}
    if key.lower() in by_lower:
        return by_lower[key.lower()]
    table, _, name = key.partition(".")
    symbol, _, variant = name.partition("_")
    tables = {known.partition(".")[0] for known in types if "." in known}
    if table in _PER_ELEMENT and table in tables and known_symbol(symbol) and (table == "zval" or not variant):
        return key
    known = ", ".join(sorted(k for k in types if k.partition(".")[0] not in _PER_ELEMENT))
    per_element = ", ".join(f"{t}.ELEMENT" for t in _PER_ELEMENT if t in tables)
    raise InputError(f"{where} has no tag {key!r}; it knows {known}, {per_element}")


def _type_per_element(tag: str) -> type:
    return str if tag.startswith("potcar.") else float


def _parsed(tag: str, text: str, kind: type) -> Tag:
    """Value of a tag from its text."""
    try:
        if kind is bool:
            return {"true": True, "false": False}[text.lower().strip(".")]
        value: Tag = kind(text)
    except (KeyError, ValueError):
        meant = {bool: "true or false", int: "a whole number", float: "a number"}[kind]
        raise InputError(f"{tag}={text}: give {meant}") from None
    if kind is str and not re.fullmatch(r"[\w.+-]+", text, flags=re.ASCII):
        raise InputError(f"{tag}={text!r}: only letters, digits and . + - _ can be written into a deck")
    return value


def _check(tags: Mapping[str, Tag]) -> None:
    """Raise InputError for values that no run could be right with."""
    for tag, value in tags.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise InputError(f"{tag}={value}: give a finite number")
        if isinstance(value, float) and value <= 0 and not tag.startswith(_MAY_BE_ANY_SIGN):
            raise InputError(f"{tag}={value}: give a number above zero")
    if "ecutwfc" in tags and float(tags["ecutrho"]) < 4.0 * float(tags["ecutwfc"]):
        raise InputError(
            f"ecutrho={tags['ecutrho']} is below four times ecutwfc={tags['ecutwfc']}, which cuts the density off; "
            "raise ecutrho as well"
        )
    if tags["kmesh"] != "auto":
        parse_mesh(str(tags["kmesh"]))
