"""Pseudopotential files (UPF): what their headers say, which ones a set of elements needs, and what cannot work.

The package's own small set lies in ``aet2dft/data/pseudo``; another folder is the user's.
"""

from __future__ import annotations

import gzip
import hashlib
import re
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path

from aet2dft.errors import InputError

_KINDS = {"nc": "NC", "sl": "NC", "us": "US", "uspp": "US", "paw": "PAW"}
_FUNCTIONALS = {
    "SLA PW PBX PBC": "PBE",
    "SLA PW PBE PBE": "PBE",
    "SLA PW PSX PSC": "PBESOL",
    "SLA PZ NOGX NOGC": "PZ",
    "SLA PZ": "PZ",
    "SLA PW NOGX NOGC": "PW",
}
"""Long names of functionals in Quantum ESPRESSO and the short ones."""
_MAX_BYTES = 200_000_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Pseudopotential:
    """One UPF file."""

    file: str
    """File name without ``.gz``, as the decks name it."""
    element: str
    """Chemical symbol."""
    relativistic: bool
    """Whether it is fully relativistic: without it, spin-orbit runs give the collinear energy and no error."""
    functional: str
    """Exchange and correlation, short name in capitals: PBE, PBESOL, PZ, ..."""
    kind: str
    """US (ultrasoft), NC (norm-conserving) or PAW."""
    z_valence: float
    """Valence electrons."""
    wfc_cutoff: float
    """Cutoff of the wave functions that its header names, Ry; 0 where it names none."""
    sha256: str
    """Digest of the unpacked file."""
    md5: str
    """The check sum that pw.x prints."""
    path: Path
    """Where it was read."""

    def content(self) -> bytes:
        """Read the file, unpacked."""
        return _content(self.path)


def find(
    elements: Iterable[str],
    *,
    directory: Path | None = None,
    spin_orbit: bool = True,
    scalar: bool = True,
    functional: str = "PBE",
) -> tuple[Pseudopotential, ...]:
    """Find the pseudopotentials that some elements need.

    Parameters
    ----------
    elements : iterable of str
        Chemical symbols.
    directory : Path, optional
        Folder of UPF files (``.UPF``, ``.upf``, also with ``.gz``); default: the package's own small set.
    spin_orbit : bool
        Whether steps with spin-orbit coupling need a fully relativistic file per element.
    scalar : bool
        Whether steps without it need a scalar-relativistic file per element.
    functional : str
        Functional that every file must be made for.

    Returns
    -------
    tuple of Pseudopotential
        By element in the order given, scalar-relativistic first.

    Raises
    ------
    InputError
        If one is missing, is there twice, is for another functional, or the two of an element do not match.
    """
    found: list[Pseudopotential] = []
    for element in dict.fromkeys(elements):
        available = _available(directory, element)
        wanted = [relativistic for relativistic, needed in ((False, scalar), (True, spin_orbit)) if needed]
        pair = [_only(available, element, relativistic=relativistic) for relativistic in wanted]
        _check_family(pair, functional)
        found += pair
    return tuple(found)


def choose(
    pseudos: Sequence[Pseudopotential], element: str, *, spin_orbit: bool, force_theorem: bool = False
) -> Pseudopotential:
    """Choose the pseudopotential of an element for a step.

    Parameters
    ----------
    pseudos : sequence of Pseudopotential
        What `find` gave.
    element : str
        Chemical symbol.
    spin_orbit : bool
        Whether the step has spin-orbit coupling, which needs a fully relativistic file; other steps refuse it.
    force_theorem : bool
        Whether the step is one of the force theorem.

    Raises
    ------
    InputError
        If there is none that can be right.
    """
    chosen = _only(pseudos, element, relativistic=spin_orbit)
    if force_theorem and chosen.kind == "PAW":
        raise InputError(
            f"{chosen.file} is a PAW data set, with which the force theorem of pw.x gives wrong anisotropies; "
            "take an ultrasoft or norm-conserving one, or the protocol mae_scf"
        )
    return chosen


def read_upf(path: Path) -> Pseudopotential:
    """Read what the header of a UPF file (version 2, ``.gz`` or not) says.

    Raises
    ------
    InputError
        If it cannot be read or its header is not complete.
    """
    content = _content(path)
    header = re.search(rb"<PP_HEADER\s([^>]*?)/?>", content)
    if header is None:
        raise InputError(f"{path}: no header of a UPF file of version 2; convert it with upfconv.x of Quantum ESPRESSO")
    text = header[1].decode("utf-8", errors="replace")
    given = {key: value.strip() for key, value in re.findall(r'(\w+)\s*=\s*"([^"]*)"', text)}
    try:
        return Pseudopotential(
            file=path.name.removesuffix(".gz"),
            element=given["element"].capitalize(),
            relativistic=_true(given["has_so"]),
            functional=_short_name(given["functional"]),
            kind=_KINDS[given["pseudo_type"].lower()],
            z_valence=_float(given["z_valence"]),
            wfc_cutoff=_float(given.get("wfc_cutoff", "0")),
            sha256=hashlib.sha256(content).hexdigest(),
            md5=hashlib.md5(content, usedforsecurity=False).hexdigest(),
            path=path,
        )
    except (KeyError, ValueError) as error:
        raise InputError(f"{path}: its header lacks or garbles {error}; take an undamaged file") from error


def _available(directory: Path | None, element: str) -> list[Pseudopotential]:
    """Read the UPF files of an element: names begin with its symbol, as those of all published sets do."""
    if directory is None:
        with as_file(files("aet2dft") / "data" / "pseudo") as folder:
            return _available(folder, element)
    if not directory.is_dir():
        raise InputError(f"{directory} is not a folder; give the folder of the UPF files with --pseudo-dir")
    name = re.compile(rf"{element}(?![a-z]).*\.upf(\.gz)?", flags=re.IGNORECASE)
    paths = sorted(path for path in directory.iterdir() if name.fullmatch(path.name))
    if not paths:
        raise InputError(
            f"{directory} holds no UPF file of {element} (named {element}*.UPF); "
            "add it, or give another folder with --pseudo-dir"
        )
    return [read_upf(path) for path in paths]


def _only(pseudos: Sequence[Pseudopotential], element: str, *, relativistic: bool) -> Pseudopotential:
    """Pick the one file of an element with or without spin-orbit coupling."""
    of_element = [pseudo for pseudo in pseudos if pseudo.element == element]
    matching = [pseudo for pseudo in of_element if pseudo.relativistic == relativistic]
    if len(matching) == 1:
        return matching[0]
    wanted = "fully relativistic" if relativistic else "scalar-relativistic"
    if matching:
        raise InputError(f"{element} has {len(matching)} {wanted} UPF files ({_names(matching)}); keep one of them")
    if of_element:
        raise InputError(f"{element} has no {wanted} UPF file, only {_names(of_element)}; add one of the same family")
    raise InputError(f"{element} has no pseudopotential among {_names(pseudos) or 'none at all'}; find it with `find`")


def _check_family(pair: Sequence[Pseudopotential], functional: str) -> None:
    """Raise InputError where files are of another functional or differ in what must be equal."""
    for pseudo in pair:
        if pseudo.functional != functional.upper():
            raise InputError(
                f"{pseudo.file} is made for the functional {pseudo.functional}, the protocol for {functional}; "
                "take another file, or --set functional=NAME for all"
            )
    first, last = pair[0], pair[-1]
    if (first.kind, first.z_valence) != (last.kind, last.z_valence):
        raise InputError(
            f"{first.file} ({first.kind}, {first.z_valence:g} valence electrons) and {last.file} ({last.kind}, "
            f"{last.z_valence:g}) are not of one family and cannot share a density; take two that match"
        )


def _content(path: Path) -> bytes:
    try:
        if path.suffix != ".gz":
            return path.read_bytes()
        with gzip.open(path) as stream:
            content = stream.read(_MAX_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: cannot be read ({error}); take an undamaged file") from error
    if len(content) > _MAX_BYTES:
        raise InputError(f"{path}: unpacks to more than {_MAX_BYTES // 10**6} MB, which no pseudopotential has")
    return content


def _short_name(functional: str) -> str:
    words = " ".join(re.split(r"[\s+-]+", functional.upper()))
    return _FUNCTIONALS.get(words, words)


def _float(word: str) -> float:
    return float(word.lower().replace("d", "e"))


def _true(word: str) -> bool:
    return word.strip(".").lower() in ("true", "t")


def _names(pseudos: Sequence[Pseudopotential]) -> str:
    return ", ".join(pseudo.file for pseudo in pseudos)
