"""Anisotropy as input of micromagnetic codes: OVF 2.0 files of the constant K and of its axis, written and read.

What the numbers are and which grid they are on is decided elsewhere.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from aet2dft.errors import InputError, ParseError, ResourceError

Representation = Literal["binary 8", "text"]

CHECK_VALUE = 123456789012345.0
"""First number of 8-byte binary data: tells the byte order and a damaged file."""
ENERGY = "uniaxial anisotropy energy E = -K (u.m)^2, m the direction of the magnetization, u the axis"
"""Sign convention that stands in every file."""
OUTSIDE_AXIS = (0.0, 0.0, 1.0)
"""Axis of cells without a value, where K = 0: some codes refuse an axis of length zero."""
_FIRST_LINE = "# OOMMF OVF 2.0"
_DATA = re.compile(rb"^#\s*Begin:\s*Data\s+(text|binary\s+8)[ \t]*\r?\n", re.IGNORECASE | re.MULTILINE)
_END = re.compile(rb"\s*#\s*End:\s*Data[^\n]*\n\s*#\s*End:\s*Segment\s*", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True, slots=True)
class OvfField:
    """Contents of an OVF file on a rectangular mesh."""

    field: NDArray[np.float64]
    """(nx, ny, nz) for scalars or (nx, ny, nz, d), in `units`."""
    step: NDArray[np.float64]
    """(3,), m: edges of a cell."""
    origin: NDArray[np.float64]
    """(3,), m: center of cell [0, 0, 0]."""
    title: str
    """Title of the segment."""
    labels: tuple[str, ...]
    """(d,) names of the components."""
    units: str
    """Unit of all components."""
    comments: tuple[str, ...]
    """Description, line by line."""


def write_ovf(
    path: Path,
    field: NDArray[np.float64],
    *,
    step: ArrayLike,
    origin: ArrayLike,
    title: str,
    units: str,
    labels: Sequence[str],
    comments: Sequence[str] = (),
    representation: Representation = "binary 8",
) -> None:
    """Write a field on a rectangular mesh as OVF 2.0, under its final name only when it is complete.

    Parameters
    ----------
    path : Path
        File to write; replaced where it exists.
    field : ndarray
        (nx, ny, nz) or (nx, ny, nz, d) values.
    step, origin : array_like
        (3,), m: edges of a cell and center of cell [0, 0, 0].
    title, units : str
        Title, and unit of all components (``1`` for pure numbers).
    labels : sequence of str
        Name of each component.
    comments : sequence of str
        Lines of description.
    representation : {"binary 8", "text"}
        Little-endian doubles, or numbers that read back exactly.

    Raises
    ------
    InputError
        If the field is not finite or has another number of dimensions, or a text cannot stand in a header.
    ResourceError
        If the file cannot be written.

    Notes
    -----
    OOMMF User's Guide, "The OVF 2.0 format": x runs fastest, then y, then z; binary data begin with a check value.
    """
    values = np.asarray(field, dtype=float)
    if values.ndim == 3:
        values = values[..., None]
    if values.ndim != 4 or not values.size or len(labels) != values.shape[3]:
        raise InputError(f"{title}: {len(labels)} labels for shape {np.shape(field)}, not (nx, ny, nz[, d])")
    if not np.isfinite(values).all():
        raise InputError(f"{title}: {(~np.isfinite(values)).sum()} values are not finite; set cells outside to zero")
    texts = {"Title": title, "valuelabels": " ".join(map(_word, labels)), "valueunits": _word(units)}
    header = _header(values.shape, np.asarray(step, dtype=float), np.asarray(origin, dtype=float), texts, comments)
    # x fastest: with the axes reversed, C order is the order of the file
    records = np.ascontiguousarray(values.transpose(2, 1, 0, 3))
    if representation == "text":
        rows = records.reshape(-1, values.shape[3]).tolist()
        body = "".join(" ".join(map(repr, row)) + "\n" for row in rows).encode()
    else:
        body = np.concatenate([[CHECK_VALUE], records.ravel()]).astype("<f8").tobytes() + b"\n"
    name = representation.capitalize()
    _replace(path, f"{header}# Begin: Data {name}\n".encode() + body + f"# End: Data {name}\n# End: Segment\n".encode())


def read_ovf(path: Path) -> OvfField:
    """Read one segment of an OVF 2.0 file, text or 8-byte binary, on a rectangular mesh.

    Raises
    ------
    ParseError
        If the file is of another kind, cut off or damaged.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise ParseError(path, f"cannot be read ({error.strerror}); check name and permissions") from error
    begin = _DATA.search(raw)
    if not raw.startswith(_FIRST_LINE.encode()) or begin is None:
        raise ParseError(path, "is not an OVF 2.0 file with text or 8-byte binary data")
    entries, comments = _entries(raw[: begin.start()].decode("utf-8", errors="replace"))
    try:
        if entries["meshtype"] != "rectangular" or entries["meshunit"] != "m":
            raise ParseError(path, "its mesh is not rectangular in m")
        shape = tuple(int(entries[f"{axis}nodes"]) for axis in "xyz")
        step, origin = (np.array([float(entries[axis + key]) for axis in "xyz"]) for key in ("stepsize", "base"))
        n_values = int(entries["valuedim"])
        if min(*shape, n_values) < 1:
            raise ValueError("a number of nodes below one")
    except (KeyError, ValueError) as error:
        raise ParseError(path, f"its header lacks a usable entry ({error})") from error
    is_text = begin.group(1).lower() == b"text"
    values = (_text if is_text else _binary)(path, raw[begin.end() :], math.prod(shape) * n_values)
    field = values.reshape(*shape[::-1], n_values).transpose(2, 1, 0, 3)
    return OvfField(
        field=np.ascontiguousarray(field[..., 0] if n_values == 1 else field),
        step=step,
        origin=origin,
        title=entries.get("title", ""),
        labels=_words(entries.get("valuelabels", "")),
        units=" ".join(_words(entries.get("valueunits", ""))),
        comments=comments,
    )


def write_anisotropy(
    target: Path,
    k_uniaxial: ArrayLike,
    axis: ArrayLike,
    *,
    step: ArrayLike,
    origin: ArrayLike,
    source: str,
    comments: Sequence[str] = (),
    representation: Representation = "binary 8",
) -> tuple[Path, ...]:
    """Write the anisotropy field of a particle: constant, axis and mask, one OVF file each.

    Parameters
    ----------
    target : Path
        File of the constant, ``map.ovf``; the axis and the mask go into ``map_axis.ovf`` and ``map_mask.ovf`` beside
        it.
    k_uniaxial : array_like
        (nx, ny, nz), J/m³, in E = −K (u·m)²; NaN marks the cells without a value.
    axis : array_like
        (nx, ny, nz, 3) unit vectors u; anything where K is NaN.
    step, origin : array_like
        (3,), m: edges of a cell and center of cell [0, 0, 0].
    source : str
        Digest of what the field was made from.
    comments : sequence of str
        More lines of description: resampling, errors.
    representation : {"binary 8", "text"}
        How numbers are written.

    Returns
    -------
    tuple of Path
        The files.
    """
    k, u = np.asarray(k_uniaxial, dtype=float), np.asarray(axis, dtype=float)
    if k.ndim != 3 or u.shape != (*k.shape, 3):
        raise InputError(f"K of shape {k.shape} and axes of shape {u.shape} are not on one grid (nx, ny, nz)")
    inside = np.isfinite(k)
    wrong = inside & ~np.isclose(np.linalg.norm(u, axis=-1), 1.0, atol=1e-6)
    if wrong.any():
        raise InputError(f"{wrong.sum()} cells have a K but no axis of length 1; give the axis of every cell with a K")
    texts = (ENERGY, "cells without a value: K = 0 and mask = 0", f"source: {source}", *comments)
    fields = (
        ("", np.where(inside, k, 0.0), "uniaxial anisotropy constant K", "J/m^3", ("K",)),
        ("_axis", np.where(inside[..., None], u, OUTSIDE_AXIS), "axis u", "1", ("u_x", "u_y", "u_z")),
        ("_mask", inside.astype(float), "mask: 1 where there is a value, 0 elsewhere", "1", ("mask",)),
    )
    written = []
    for suffix, field, title, units, labels in fields:
        written.append(target.with_name(f"{target.stem}{suffix}.ovf"))
        write_ovf(
            written[-1],
            field,
            step=step,
            origin=origin,
            title=title,
            units=units,
            labels=labels,
            comments=texts,
            representation=representation,
        )
    return tuple(written)


def _header(
    shape: tuple[int, ...],
    step: NDArray[np.float64],
    origin: NDArray[np.float64],
    texts: dict[str, str],
    comments: Sequence[str],
) -> str:
    """Compose everything before the data."""
    if step.shape != (3,) or origin.shape != (3,) or not (step > 0).all() or not np.isfinite([step, origin]).all():
        raise InputError(f"cells of edges {step} m around {origin} m make no mesh; give three edges above zero")
    for text in (*texts.values(), *comments):
        # '##' begins a comment of the format, a line break would begin another entry
        if "##" in text or len(text.splitlines()) > 1:
            raise InputError(f"{text!r} cannot stand in an OVF header; leave out '##' and line breaks")
    entries = [("Title", texts["Title"]), *(("Desc", text) for text in comments)]
    entries += [("meshtype", "rectangular"), ("meshunit", "m")]
    for axis, n, edge, first in zip("xyz", shape[:3], step.tolist(), origin.tolist(), strict=True):
        entries += [(f"{axis}nodes", str(n)), (f"{axis}stepsize", repr(edge)), (f"{axis}base", repr(first))]
        entries += [(f"{axis}min", repr(first - 0.5 * edge)), (f"{axis}max", repr(first + (n - 0.5) * edge))]
    entries += [("valuedim", str(shape[3])), *((key, texts[key]) for key in ("valuelabels", "valueunits"))]
    begin, end = ("# Segment count: 1", "# Begin: Segment", "# Begin: Header"), ("# End: Header",)
    return "\n".join([_FIRST_LINE, *begin, *(f"# {key}: {value}" for key, value in entries), *end]) + "\n"


def _word(text: str) -> str:
    """Quote a label as one element of a Tcl list."""
    if not text or set(text) & set('{}"\\'):
        raise InputError(f"{text!r} cannot be a label of an OVF file; use letters, digits and spaces")
    return f"{{{text}}}" if " " in text else text


def _words(text: str) -> tuple[str, ...]:
    """Split a Tcl list of plain and braced words."""
    return tuple(braced or plain for braced, plain in re.findall(r"\{([^}]*)\}|(\S+)", text))


def _entries(header: str) -> tuple[dict[str, str], tuple[str, ...]]:
    """Split a header into entries, keys in lower case, and the lines of its description."""
    lines = [line.lstrip("# ").partition(":") for line in header.splitlines() if not line.startswith("##")]
    pairs = [(key.strip().lower(), value.partition("##")[0].strip()) for key, colon, value in lines if colon]
    return dict(pairs), tuple(value for key, value in pairs if key == "desc")


def _binary(path: Path, raw: bytes, n: int) -> NDArray[np.float64]:
    """Read `n` doubles after their check value."""
    size = 8 * (n + 1)
    if n < 1 or len(raw) < size or not _END.fullmatch(raw[size:]):
        raise ParseError(path, f"does not hold the {n} numbers that its header announces; it is cut off or damaged")
    values = np.frombuffer(raw[:size], dtype="<f8")
    if values[0] != CHECK_VALUE:
        raise ParseError(path, f"its check value is {values[0]!r}; it is damaged or has another byte order")
    return values[1:].astype(float)


def _text(path: Path, raw: bytes, n: int) -> NDArray[np.float64]:
    """Read `n` numbers written as text."""
    body, hash_sign, tail = raw.partition(b"#")
    words = body.split()
    if n < 1 or len(words) != n or not _END.fullmatch(hash_sign + tail):
        raise ParseError(path, f"does not hold the {n} numbers that its header announces; it is cut off or damaged")
    try:
        return np.array(words, dtype=float)
    except ValueError as error:
        raise ParseError(path, f"holds something that is not a number ({error})") from error


def _replace(path: Path, data: bytes) -> None:
    """Write a file so that its final name never holds half of it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        raise ResourceError(f"{path}: cannot be written ({error.strerror}); name another folder") from error
