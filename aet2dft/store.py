"""The project file: one HDF5 group per verb, every byte under a checksum, replaced as a whole or not at all.

How a record becomes arrays and attributes is decided in ``records``.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
import json
import os
import typing
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, TypeVar

import h5py
from ase import Atoms

from aet2dft import hdf5, records
from aet2dft.errors import InputError, LockedError, ParseError, ResourceError, remedy

SCHEMA = 1
"""Version of the layout; a file of a newer one is refused."""
STEPS = ("trace", "classify", "refine", "edit")
"""Steps between images and atoms; each leaves atoms."""
MADE_FROM: dict[str, tuple[str, ...]] = {
    "trace": ("reconstruct",),
    "classify": ("trace", "refine", "edit"),
    "refine": ("trace", "classify", "edit"),
    "edit": ("trace", "classify", "refine"),
    "verify": STEPS[1:],
    "order": STEPS[1:],
    "inputs": ("order",),
    "collect": ("inputs",),
    "compare": ("collect",),
}
"""Groups that a group is made from; replacing one removes what was made from it."""
WITH_ATOMS = frozenset((*STEPS, "order"))
"""Groups with atoms that later steps start from."""
_MAGIC = b"aet2dft project"
_MARK = b"; their SHA-256 is "
_HEADER = 512
"""Bytes before the HDF5 data: the name of the format, its version, and the SHA-256 of all that follows."""
_OTHER_FORMATS = (
    *(".mrc", ".map", ".rec", ".npy", ".npz", ".mat", ".tif", ".tiff", ".emd"),
    *(".xyz", ".csv", ".txt", ".html", ".json", ".toml", ".ovf"),
)
"""Suffixes of files that no project is."""
T = TypeVar("T")


def is_project(path: Path) -> bool:
    """Whether a file says that it is a project of this package, at one of two places: the other may be damaged."""
    try:
        with path.open("rb") as file:
            header = file.read(_HEADER)
    except OSError:
        return False
    return header.startswith(_MAGIC) or _MARK in header


def groups(path: Path) -> tuple[str, ...]:
    """Verbs whose results a project holds."""
    with _open(path) as file:
        return tuple(file)


def names(path: Path, verb: str) -> tuple[str, ...]:
    """Records that a verb left in a project; none where it did not run."""
    with _open(path) as file:
        return tuple(hdf5.child(file, verb, path)) if verb in file else ()


def load(path: Path, verb: str, name: str, kind: type[T]) -> T:
    """A record that `save` wrote.

    Parameters
    ----------
    path : Path
        Project file.
    verb, name : str
        Group and name of the record.
    kind : type
        Its class: a frozen dataclass, or Atoms.

    Raises
    ------
    InputError
        If the project has no such record.
    ParseError
        If it is damaged.
    """
    with _open(path) as file:
        group = _group(file, verb, path)
        if name not in group:
            raise InputError(f"{path}: the result of `{verb}` holds no {name}; run `aet2dft {verb}` again")
        return typing.cast(T, records.read(hdf5.child(group, name, path), kind, path))


def load_json(path: Path, verb: str) -> dict[str, Any]:
    """Settings and provenance of a verb.

    Raises
    ------
    InputError
        If the project has no such group.
    """
    with _open(path) as file:
        return typing.cast(dict[str, Any], json.loads(records.read_text(_group(file, verb, path), "provenance", path)))


def load_atoms(path: Path) -> Atoms:
    """Atoms that `order` left in a project, or the ones it would start from.

    Raises
    ------
    InputError
        If the project holds no atoms.
    """
    have = groups(path)
    if "order" in have:
        return load(path, "order", "atoms", Atoms)
    if WITH_ATOMS.isdisjoint(have):
        first = "`aet2dft trace`" if "reconstruct" in have else "`aet2dft order` with a file of atoms"
        raise InputError(f"{path}: holds no atoms (it holds {', '.join(have) or 'nothing'}); run {first} first")
    return load(path, last_step(path), "atoms", Atoms)


def last_step(path: Path) -> str:
    """Step between images and atoms that holds the final ones: the one that no other was made from.

    Raises
    ------
    InputError
        If there is none.
    """
    with _open(path) as file:
        have = [verb for verb in STEPS if verb in file]
        if not have and "order" in file and "reconstruct" not in file:
            raise InputError(
                f"{path}: begins with `order`, and the atoms before it are elsewhere; give the file or project that "
                "holds them"
            )
        if not have:
            _group(file, "trace", path)
    before = {load_json(path, verb)["from"] for verb in have if verb != "trace"}
    return next(verb for verb in reversed(have) if verb not in before)


def lineage(path: Path, verb: str) -> list[str]:
    """A step between images and atoms and those of the project that it was made from, the latest first."""
    found, have = [], set(groups(path))
    while verb in have:
        have.remove(verb)
        found.append(verb)
        verb = "" if verb == "trace" else str(load_json(path, verb)["from"])
    return found


def volume_group(path: Path) -> str:
    """Group of a project that holds its volume: `reconstruct`, or `trace` where a foreign one was traced."""
    traced = "trace" in groups(path) and load_json(path, "trace")["with_volume"]
    return "trace" if traced else "reconstruct"


def series_group(path: Path) -> str:
    """Group of a project that holds its images: `reconstruct`, or `refine` where it brought them."""
    refined = "refine" in groups(path) and load_json(path, "refine").get("with_series")
    return "refine" if refined else "reconstruct"


def save(
    path: Path,
    verb: str,
    results: dict[str, Any],
    provenance: dict[str, Any],
    *,
    overwrite: bool = False,
    keep: Collection[str] = (),
    between: bool = False,
) -> tuple[str, ...]:
    """Write a group of a project, keeping the others; the file is replaced at once, after it is complete on disk.

    Parameters
    ----------
    path : Path
        Project file, created when missing.
    verb : str
        Name of the group.
    results : dict
        Atoms and frozen dataclasses by name.
    provenance : dict
        Settings, versions, digests, times: plain values.
    overwrite : bool
        Whether a group of this name may be replaced.
    keep : collection of str
        Groups that stay although they were made from the replaced one.
    between : bool
        Whether a new group also outdates those that would be made from it: it is put between others.

    Returns
    -------
    tuple of str
        Groups that were made from the replaced one, or before a new one, and are gone.

    Raises
    ------
    InputError
        If the group is there and `overwrite` is false, or the file is no project.
    ParseError
        If the file is damaged.
    ResourceError
        If it cannot be written; the old file is untouched.
    """
    refuse_existing(path, verb, overwrite=overwrite)
    have = groups(path) if path.exists() else ()
    outdated = have if between or verb in have else ()
    removed = tuple(name for name in outdated if verb in _ancestors(name) and name not in keep)
    kept = [name for name in have if name != verb and name not in removed]
    _replace(path, _image(path, kept, verb, results, provenance))
    return removed


def _image(path: Path, kept: list[str], verb: str, results: dict[str, Any], provenance: dict[str, Any]) -> memoryview:
    """Bytes of a new HDF5 file, made in memory: HDF5 does not survive a disk that is full."""
    image = io.BytesIO()
    with h5py.File(image, "w") as new:
        if kept:
            with _open(path) as old:
                for name in kept:
                    old.copy(name, new)
        group = new.create_group(verb)
        records.write_text(group, "provenance", json.dumps(provenance, sort_keys=True))
        for name, result in results.items():
            records.write(group.create_group(name), result)
    return image.getbuffer()


def _replace(path: Path, content: memoryview) -> None:
    """Put a file in the place of another at once, after it is complete on the disk."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(_header(SCHEMA, hashlib.sha256(content).hexdigest()))
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync(path.parent)
    except OSError as error:
        problem, mend = error.strerror or error, remedy(error, "choose another -o")
        raise ResourceError(f"{path}: cannot be written ({problem}); {mend}") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def refuse_existing(path: Path, verb: str, *, overwrite: bool) -> None:
    """Raise InputError where a group cannot be written; called before a long step, not only after it."""
    if not path.exists() and path.suffix.lower() in _OTHER_FORMATS:
        raise InputError(
            f"{path}: would be a project under the name of another format; give -o {path.stem}.h5, and write other "
            "formats from it with `aet2dft export`"
        )
    if path.exists() and not is_project(path):
        raise InputError(f"{path}: is there already and is no project of aet2dft; choose another name with -o")
    if path.exists() and not overwrite and verb in groups(path):
        raise InputError(f"{path}: holds a result of `{verb}` already; give --overwrite to replace it")


def refuse_target(project: Path, target: Path) -> None:
    """Raise InputError where a page or an export would replace a project, or a file that this one was made from."""
    if not target.is_file():
        return
    if is_project(target):
        raise InputError(f"{target}: is a project and would be lost; choose another name")
    made_from = {Path(entry["path"]) for verb in groups(project) for entry in load_json(project, verb)["inputs"]}
    if any(path.is_file() and path.samefile(target) for path in made_from):
        raise InputError(f"{target}: is what {project} was made from and would be lost; choose another name")


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a project for one process.

    Raises
    ------
    LockedError
        If another live process has it.
    ResourceError
        If its folder cannot be written.
    """
    place = path.with_name(f".{path.name}.lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = _take(place)
    except BlockingIOError as error:
        raise LockedError(f"{path}: another aet2dft process is writing to it; wait for it to end") from error
    except OSError as error:
        problem = error.strerror or error
        raise ResourceError(
            f"{path}: its folder cannot be written ({problem}); choose another place with -o"
        ) from error
    try:
        yield
    finally:
        # removed while it is held: whoever opened it meanwhile sees that the file of this name is another one
        with contextlib.suppress(OSError):
            place.unlink()
        os.close(descriptor)


def _take(place: Path) -> int:
    """Descriptor of a lock file that this process holds; the kernel gives it back when the process ends."""
    # not at the top: where there is no POSIX, everything that writes no project still works
    import fcntl

    while True:
        descriptor = os.open(place, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(descriptor), place.stat()):
                return descriptor
        except FileNotFoundError:
            pass
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _ancestors(verb: str) -> set[str]:
    found: set[str] = set()
    waiting = [verb]
    while waiting:  # classify, refine and edit may come in any order: the table has cycles
        new = set(MADE_FROM.get(waiting.pop(), ())) - found
        found |= new
        waiting += new
    return found - {verb}


def _open(path: Path) -> h5py.File:
    """Open a project for reading, after all its bytes were found to be those that were written."""
    try:
        state = path.stat()
        version = _checked(path, (state.st_ino, state.st_size, state.st_mtime_ns))
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; give a project, e.g. run.h5") from error
    if version > SCHEMA:
        raise InputError(f"{path}: was written by a newer aet2dft (layout {version}); update this one")
    return hdf5.open_file(path)


@functools.lru_cache(maxsize=16)
def _checked(path: Path, state: tuple[int, ...]) -> int:  # noqa: ARG001  a file in another state is read anew
    """Version of the layout of a project whose checksum is right."""
    with path.open("rb") as file:
        header = file.read(_HEADER)
        content = hashlib.file_digest(file, "sha256").hexdigest()
    if not (header.startswith(_MAGIC) or _MARK in header):
        raise InputError(f"{path}: is no project of aet2dft; give one that a verb wrote with -o")
    version = header.decode("ascii", "replace").removeprefix(f"{_MAGIC.decode()}, layout ").partition(";")[0]
    if not version.isdecimal() or header != _header(int(version), content):
        mend = "restore it from a copy, or delete it and run the steps again"
        raise ParseError(path, f"is damaged (its checksum differs); {mend}")
    return int(version)


def _header(version: int, content: str) -> bytes:
    text = f"{_MAGIC.decode()}, layout {version}; the HDF5 data begin at byte {_HEADER}{_MARK.decode()}{content}\n"
    return text.encode("ascii").ljust(_HEADER - 1) + b"\n"


def _group(file: h5py.File, verb: str, path: Path) -> h5py.Group:
    if verb not in file:
        have = ", ".join(file) or "nothing"
        raise InputError(f"{path}: holds no result of `{verb}` (it holds {have}); run `aet2dft {verb}` first")
    return hdf5.child(file, verb, path)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
