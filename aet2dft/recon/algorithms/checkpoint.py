"""A reconstruction that was interrupted goes on: what its next iterations depend on, in a file."""

from __future__ import annotations

import os
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from aet2dft.errors import InputError, ParseError
from aet2dft.recon.algorithms.descent import Memory

_SECONDS = 10.0
"""Between two writes, at least."""
_SHARE = 0.05
"""Part of the time that may go into writing."""
_TRIAL, _LOOKS, _MEMORY = "trial_", "looks_", "memory_"
"""How names begin: of what a trial said, of what an unfinished one has seen, of what iterations go on from."""
Arrays = dict[str, NDArray[Any]]
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """How far a reconstruction is that goes from one block of planes to the next."""

    block: int
    """Blocks that are complete."""
    finished: NDArray[np.float32]
    """(nx, m, nz): density from the first of their planes to the last."""
    misfit: NDArray[np.float64]
    """(iterations,): sum over them of the square norm of data minus model before every iteration; one zero without."""
    norm: float
    """Sum over them of the square norm of the data."""
    memory: Memory
    """What the next block goes on from."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Looks:
    """How far a trial is."""

    iteration: NDArray[np.int64]
    """(k,): iterations after which it was judged."""
    r_free: NDArray[np.float64]
    """(k,): R factor of the images that it leaves out."""
    memory: Memory
    """What it goes on from."""


class Checkpoint:
    """The file that keeps a reconstruction.

    Parameters
    ----------
    path : Path
        File; it is replaced as a whole or not at all.
    origin : dict
        Digests of everything that the reconstruction starts from, by name.

    Raises
    ------
    ParseError
        If the file is there and damaged.
    InputError
        If it belongs to another reconstruction.
    """

    def __init__(self, path: Path, origin: dict[str, str]) -> None:
        self._path, self._origin = path, origin
        self._due = time.monotonic() + _SECONDS
        self.trial: Arrays | None = self._read(_trial)
        """What a trial before the iterations said; None: it was not made yet."""

    def progress(self) -> Progress | None:
        """What to go on from; None: from the beginning."""
        return self._read(_progress)

    def looks(self) -> Looks | None:
        """Where a trial goes on; None: at its beginning."""
        return self._read(_looks)

    def _read(self, take: Callable[[Arrays], T | None]) -> T | None:
        """Part of the file; None if there is no file, or not this part in it."""
        if not self._path.exists():
            return None
        try:
            with np.load(self._path, allow_pickle=False) as content:
                found = dict(zip(content["origin"].tolist(), content["digests"].tolist(), strict=True))
                other = [name for name, digest in self._origin.items() if found.get(name) != digest]
                taken = None if other else take(content)
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise ParseError(self._path, f"no checkpoint ({error}); remove it to start from the beginning") from error
        if other:
            raise InputError(
                f"{self._path} belongs to another reconstruction ({', '.join(other)} differ); remove it to start anew"
            )
        return taken

    @property
    def is_due(self) -> bool:
        """Whether the last write is long enough ago."""
        return time.monotonic() >= self._due

    def keep_trial(self, trial: Arrays) -> None:
        """Write what a trial said, so that it is not made again."""
        self.trial = trial
        self._write({})

    def save(self, progress: Progress) -> None:
        """Write how far the iterations are."""
        self._save({name: getattr(progress, name) for name in ("block", "finished", "misfit", "norm")}, progress.memory)

    def save_looks(self, looks: Looks) -> None:
        """Write how far a trial is."""
        self._save({f"{_LOOKS}{name}": getattr(looks, name) for name in ("iteration", "r_free")}, looks.memory)

    def _save(self, arrays: Arrays, memory: Memory) -> None:
        begun = time.monotonic()
        self._write(arrays | {f"{_MEMORY}{field.name}": getattr(memory, field.name) for field in fields(Memory)})
        now = time.monotonic()
        self._due = now + max(_SECONDS, (now - begun) / _SHARE)

    def _write(self, arrays: dict[str, Any]) -> None:
        trial = {f"{_TRIAL}{name}": value for name, value in (self.trial or {}).items()}
        origin = {"origin": list(self._origin), "digests": list(self._origin.values())}
        unfinished = self._path.with_name(f"{self._path.name}.part")
        with unfinished.open("wb") as file:
            np.savez(file, allow_pickle=False, **origin, **trial, **arrays)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(self._path)

    def remove(self) -> None:
        """Remove the file: the reconstruction is complete."""
        self._path.unlink(missing_ok=True)


def _trial(content: Arrays) -> Arrays | None:
    names = [name for name in content if name.startswith(_TRIAL)]
    return {name.removeprefix(_TRIAL): content[name] for name in names} if names else None


def _looks(content: Arrays) -> Looks | None:
    if f"{_LOOKS}iteration" not in content:
        return None
    return Looks(iteration=content[f"{_LOOKS}iteration"], r_free=content[f"{_LOOKS}r_free"], memory=_memory(content))


def _progress(content: Arrays) -> Progress | None:
    if "block" not in content:
        return None
    return Progress(
        block=int(content["block"]),
        finished=content["finished"],
        misfit=content["misfit"],
        norm=float(content["norm"]),
        memory=_memory(content),
    )


def _memory(content: Arrays) -> Memory:
    return Memory(
        iteration=int(content["memory_iteration"]),
        values=content["memory_values"],
        previous=content["memory_previous"],
        momentum=content["memory_momentum"],
        misfit=content["memory_misfit"],
        norm=float(content["memory_norm"]),
    )
