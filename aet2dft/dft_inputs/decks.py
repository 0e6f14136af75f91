"""Decks as data, the folder that holds them with its manifest, and the check that nothing in it was changed since.

How a deck of a code looks is decided in ``espresso`` and ``vasp``; results are read elsewhere.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aet2dft import __version__
from aet2dft.dft_inputs.deck_plan import DeckCell, Step
from aet2dft.dft_inputs.directions import Direction
from aet2dft.dft_inputs.protocol import Protocol
from aet2dft.dft_inputs.pseudopotentials import Pseudopotential
from aet2dft.dft_inputs.run_scripts import ARRAY_SCRIPT, array_script
from aet2dft.errors import InputError, ParseError, ResourceError, remedy

SCHEMA = 1
"""Schema number of the manifest."""
MANIFEST = "manifest.json"
SCRIPT = "run.sh"
INPUTS = frozenset({"pw.in", "INCAR", "POSCAR", "KPOINTS", "POTCAR.spec", SCRIPT})
"""Files of decks; anything else in a job folder is an output of its job."""
_CSV_COLUMNS = ("job", "volume", "step", "axis", "parent", "calculation", "spin_orbit", "n_atoms", "k_mesh", "folder")
_NAME = re.compile(r"[a-z0-9_]+")
_FILE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*")


@dataclass(frozen=True, kw_only=True, slots=True)
class Deck:
    """The input files of one job."""

    volume: str
    """Name of the volume."""
    step: str
    """Name of the run: scf, relax, axis_100."""
    axis: Direction | None
    """Direction of the moments; None without spin-orbit coupling."""
    parent: str | None
    """Id of the job whose charge density it starts from."""
    calculation: str
    """scf, nscf or relax."""
    spin_orbit: bool
    """Whether spin-orbit coupling is on."""
    files: Mapping[str, str]
    """Text by file name, ``run.sh`` included."""

    @property
    def id(self) -> str:
        """Id of the job: ``v00000/scf``."""
        return f"{self.volume}/{self.step}"

    @classmethod
    def of(cls, cell: DeckCell, step: Step, files: Mapping[str, str]) -> Deck:
        """Deck of a step of a volume."""
        return cls(
            volume=cell.name,
            step=step.name,
            axis=step.axis,
            parent=None if step.parent is None else f"{cell.name}/{step.parent}",
            calculation=step.calculation,
            spin_orbit=step.spin_orbit,
            files=files,
        )

    def record(self) -> dict[str, Any]:
        """Row of the manifest."""
        return {
            "id": self.id,
            "volume": self.volume,
            "step": self.step,
            "axis": None if self.axis is None else list(self.axis),
            "parent": self.parent,
            "calculation": self.calculation,
            "spin_orbit": self.spin_orbit,
            "files": {name: _sha256(text.encode()) for name, text in self.files.items()},
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class VolumeDecks:
    """The decks of one volume, and what must be known to bring results back to its atoms."""

    cell: DeckCell
    """The atoms in deck order: permutation, site ids, symbols, moments asked for, mesh."""
    decks: tuple[Deck, ...]
    """One per run, parents first."""
    labels: tuple[str, ...]
    """(N,) label of every atom in the deck: Fe, Fe1, Pt."""
    moment_binning_error: float
    """Largest difference between the moment asked for and the one written, μB."""
    warnings: tuple[str, ...]
    """What a user should know before running them; equal for all volumes of a set."""

    def record(self) -> dict[str, Any]:
        """Columns that the decks contribute to the volume's row of the manifest."""
        cell = self.cell
        return {
            "site_ids": cell.site_ids.tolist(),
            "permutation": cell.permutation.tolist(),
            "symbols": list(cell.symbols),
            "labels": list(self.labels),
            "cell": cell.cell.tolist(),
            "k_mesh": list(cell.k_mesh),
            "moments": cell.moments.tolist(),
            "moment_binning_error": self.moment_binning_error,
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class DeckSet:
    """All decks made from one model, as data: nothing is on disk yet."""

    kind: str
    """sliding, nested, supercell or atoms."""
    protocol: Protocol
    """Tags that all decks share."""
    axes: tuple[str, ...]
    """Directions of the moments as words, in the order of the MAE: 100, 001."""
    pseudopotentials: tuple[Pseudopotential, ...] = ()
    """Files that go into ``pseudo``; none for VASP."""
    volumes: tuple[Mapping[str, Any], ...]
    """Rows of the manifest: id, status, reason, and where written what `VolumeDecks.record` gives."""
    decks: tuple[Deck, ...]
    """All jobs, parents before their children."""
    source: Mapping[str, Any] = field(default_factory=dict)
    """Where the model came from: path, digest."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Settings of the verb."""
    frame: Mapping[str, Any] | None = None
    """Rotation (3, 3) from lattice to particle frame, origin (3,) Å, cubic_a Å."""
    warnings: tuple[str, ...] = ()
    """What a user should know before running the decks."""

    def manifest(self) -> dict[str, Any]:
        """Everything but the texts, as plain values."""
        elements = {symbol for volume in self.volumes for symbol in volume.get("symbols", ())}
        return {
            "schema": SCHEMA,
            "digest": "sha256",
            "version": __version__,
            "code": self.protocol.code,
            "kind": self.kind,
            "protocol": self.protocol.record(elements),
            "axes": list(self.axes),
            "source": dict(self.source),
            "settings": dict(self.settings),
            "frame": None if self.frame is None else dict(self.frame),
            "pseudopotentials": [
                {key: getattr(p, key) for key in ("file", "element", "relativistic", "sha256", "md5")}
                for p in self.pseudopotentials
            ],
            "volumes": [dict(volume) for volume in self.volumes],
            "jobs": [deck.record() for deck in self.decks],
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """What a deck folder says about itself."""

    directory: Path
    """The deck folder."""
    content: Mapping[str, Any]
    """The whole manifest as plain values."""

    @property
    def volumes(self) -> Sequence[Mapping[str, Any]]:
        """One row per volume."""
        rows: list[Mapping[str, Any]] = self.content["volumes"]
        return rows

    @property
    def jobs(self) -> Sequence[Mapping[str, Any]]:
        """One row per job, parents before their children."""
        rows: list[Mapping[str, Any]] = self.content["jobs"]
        return rows

    def folder(self, job: str) -> Path:
        """Folder of a job by its id."""
        return self.directory / "volumes" / job

    @classmethod
    def read(cls, directory: Path) -> Manifest:
        """Read and check ``manifest.json`` of a deck folder.

        Raises
        ------
        InputError
            If there is none, it is damaged or was edited by hand.
        """
        path = directory / MANIFEST
        if not path.is_file():
            raise InputError(f"{directory} holds no {MANIFEST}; give the folder that `aet2dft inputs -o` wrote")
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            checksum = content.pop("checksum")
            unchanged = content["schema"] == SCHEMA and _sha256(_manifest_text(content).encode()) == checksum
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ParseError(path, f"not a whole manifest ({error}); restore it or write the decks again") from error
        if content["schema"] != SCHEMA:
            raise ParseError(path, f"schema {content['schema']}, this version reads {SCHEMA}; write the decks again")
        if not unchanged:
            raise ParseError(path, "changed since it was written (its checksum differs); restore it or write it again")
        _check_names(path, content)
        return cls(directory=directory, content=content)


def write_decks(directory: Path, deck_set: DeckSet, *, overwrite: bool = False) -> Path:
    """Write a deck set; returns the path of its manifest.

    Parameters
    ----------
    directory : Path
        Folder to make. Everything is written beside it under another name first, the manifest takes its name last.
    deck_set : DeckSet
        What to write.
    overwrite : bool
        Replace decks that are there, unless the folder holds outputs of different ones.

    Raises
    ------
    InputError
        If the folder holds decks already, or, with `overwrite`, outputs that do not belong to the new decks.
    ResourceError
        If the disk is full or the place cannot be written; nothing is then left under its final name.
    """
    content = deck_set.manifest()
    _check_names(directory / MANIFEST, content)
    check_target(directory, deck_set, overwrite=overwrite)
    # inside an existing folder, because that may be a mount point
    part = (directory if directory.is_dir() else directory.parent) / f".aet2dft-part-{os.getpid()}"
    try:
        part.mkdir(parents=True)
        _stage(part, deck_set, content)
        if overwrite:
            _remove_inputs(directory)
        _move(part, directory)
    except OSError as error:
        problem, mend = error.strerror or error, remedy(error, "take another folder")
        raise ResourceError(f"{directory}: cannot be written ({problem}); {mend}") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return directory / MANIFEST


def verify(directory: Path) -> tuple[str, ...]:
    """Paths, relative to a deck folder, of files that are missing or differ from the manifest."""
    manifest = Manifest.read(directory)
    wanted = {f"pseudo/{pseudo['file']}": pseudo["sha256"] for pseudo in manifest.content["pseudopotentials"]}
    for job in manifest.jobs:
        wanted |= {f"volumes/{job['id']}/{name}": digest for name, digest in job["files"].items()}
    return tuple(name for name, digest in wanted.items() if _digest_of(directory / name) != digest)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _digest_of(path: Path) -> str | None:
    return _sha256(path.read_bytes()) if path.is_file() else None


def _check_names(path: Path, content: Mapping[str, Any]) -> None:
    """Raise ParseError unless names are unique, stay inside the folder, and parents come before their children."""
    volumes = {volume["id"] for volume in content["volumes"]}
    if len(volumes) != len(content["volumes"]):
        raise ParseError(path, "a volume is there twice; every volume needs its own name")
    seen: set[str] = set()
    for job in content["jobs"]:
        plain = all(map(_NAME.fullmatch, (job["volume"], job["step"]))) and all(map(_FILE.fullmatch, job["files"]))
        if not plain or job["id"] != f"{job['volume']}/{job['step']}":
            raise ParseError(path, f"job {job['id']} has a name that is no folder or file name of a deck")
        if job["id"] in seen or job["volume"] not in volumes or job["parent"] not in {None, *seen}:
            raise ParseError(path, f"job {job['id']} is there twice, or its volume or parent is not there before it")
        seen.add(job["id"])
    if not all(_FILE.fullmatch(pseudo["file"]) for pseudo in content["pseudopotentials"]):
        raise ParseError(path, "a pseudopotential has a name that is no file name; use letters, digits and . + - _")


def check_target(directory: Path, deck_set: DeckSet, *, overwrite: bool) -> None:
    """Raise InputError where writing would replace decks unasked, or part outputs from the decks they belong to."""
    if directory.exists() and not directory.is_dir():
        raise InputError(f"{directory} is a file; give a folder")
    if not any((directory / name).exists() for name in (MANIFEST, "volumes")):
        return
    if not overwrite:
        raise InputError(f"{directory} holds decks already; give --overwrite or another folder")
    files = {deck.id: deck.files for deck in deck_set.decks}
    used = {f"{f.parent.name}/{f.name}": f for f in _job_folders(directory) if _names_in(f) - INPUTS}
    pseudos = {f"pseudo/{p.file}": p.sha256 for p in deck_set.pseudopotentials}
    changed = [job for job, folder in used.items() if not _same_inputs(folder, files.get(job, {}))]
    changed += [name for name, digest in pseudos.items() if used and _digest_of(directory / name) not in (None, digest)]
    if changed:
        raise InputError(f"{directory} holds outputs of different decks (first: {changed[0]}); take another folder")


def _job_folders(directory: Path) -> list[Path]:
    return sorted(path for path in directory.glob("volumes/*/*") if path.is_dir())


def _same_inputs(folder: Path, files: Mapping[str, str]) -> bool:
    """Whether a job folder holds just these input files; a new version of its script makes no other deck."""
    there = (_names_in(folder) & INPUTS) - {SCRIPT}
    same = (_digest_of(folder / name) == _sha256(files.get(name, "").encode()) for name in there)
    return there == files.keys() - {SCRIPT} and all(same)


def _names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def _remove_inputs(directory: Path) -> None:
    """Take away the manifest first, then all decks; folders with outputs stay."""
    (directory / MANIFEST).unlink(missing_ok=True)
    for folder in _job_folders(directory):
        for name in _names_in(folder) & INPUTS:
            (folder / name).unlink()
        for empty in (folder, folder.parent):
            if not any(empty.iterdir()):
                empty.rmdir()


def _stage(part: Path, deck_set: DeckSet, content: Mapping[str, Any]) -> None:
    """Write all files of a deck set into an empty folder, the manifest last."""
    for pseudo in deck_set.pseudopotentials:
        (part / "pseudo").mkdir(exist_ok=True)
        (part / "pseudo" / pseudo.file).write_bytes(pseudo.content())
    for deck in deck_set.decks:
        folder = f"{part}/volumes/{deck.id}"
        os.makedirs(folder)  # noqa: PTH103  a Path per file costs more than the file
        for name, text in deck.files.items():
            with open(f"{folder}/{name}", "wb", opener=_executable if name == SCRIPT else None) as stream:
                stream.write(text.encode())
    n_volumes = len({deck.volume for deck in deck_set.decks})
    (part / ARRAY_SCRIPT).write_text(array_script(n_volumes), encoding="utf-8", newline="")
    (part / "manifest.csv").write_text(_csv_text(content), encoding="utf-8", newline="")
    with (part / MANIFEST).open("w", encoding="utf-8", newline="") as stream:
        stream.write(_manifest_text({**content, "checksum": _sha256(_manifest_text(content).encode())}))
        stream.flush()
        os.fsync(stream.fileno())


def _executable(path: str, flags: int) -> int:
    return os.open(path, flags, 0o777)


def _move(source: Path, target: Path) -> None:
    """Rename a file or folder, merging folders that exist; the manifest of a folder moves last."""
    if not (source.is_dir() and target.is_dir()):
        source.replace(target)
        return
    for child in sorted(source.iterdir(), key=lambda path: (path.name == MANIFEST, path.name)):
        _move(child, target / child.name)


def _manifest_text(content: Mapping[str, Any]) -> str:
    """JSON with a line per volume and job, so that two manifests can be compared by eye."""
    return "{\n" + ",\n".join(f'"{key}": {_json_text(value)}' for key, value in content.items()) + "\n}\n"


def _json_text(value: Any) -> str:
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return "[\n" + ",\n".join(json.dumps(row, allow_nan=False, ensure_ascii=False) for row in value) + "\n]"
    return json.dumps(value, allow_nan=False, ensure_ascii=False)


def _csv_text(content: Mapping[str, Any]) -> str:
    """One row per job."""
    volumes = {volume["id"]: volume for volume in content["volumes"]}
    stream = io.StringIO()
    table = csv.writer(stream, lineterminator="\n")
    table.writerow(_CSV_COLUMNS)
    for job in content["jobs"]:
        volume = volumes[job["volume"]]
        table.writerow(
            (
                job["id"],
                job["volume"],
                job["step"],
                " ".join(map(str, job["axis"] or ())),
                job["parent"] or "",
                job["calculation"],
                str(job["spin_orbit"]).lower(),
                len(volume["site_ids"]),
                "x".join(map(str, volume["k_mesh"])),
                f"volumes/{job['id']}",
            )
        )
    return stream.getvalue()
