"""A reconstruction that was interrupted goes on: what its next iterations depend on, in a file."""

from __future__ import annotations

import os
import time
import zipfile
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aet2dft.errors import InputError, ParseError
from aet2dft.recon.algorithms.descent import Memory

_SECONDS = 10.0
"""Between two writes, at least."""
_SHARE = 0.05
"""Part of the time that may go into writing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """How far a reconstruction is that goes from one block of planes to the next."""

    block: int
    """Blocks that are complete."""
    finished: NDArray[np.float32]
    """(nx, m, nz): density of their planes."""
    misfit: NDArray[np.float64]
    """(iterations,): sum over them of the square norm of data minus model before every iteration; one zero without."""
    norm: float
    """Sum over them of the square norm of the data."""
    memory: Memory
    """What the next block goes on from."""


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
        self.found = self._load()
        """What to go on from; None if there is no file."""

    def _load(self) -> Progress | None:
        if not self._path.exists():
            return None
        try:
            with np.load(self._path, allow_pickle=False) as content:
                found = dict(zip(content["origin"].tolist(), content["digests"].tolist(), strict=True))
                progress = _progress({name: content[name] for name in content.files})
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise ParseError(self._path, f"no checkpoint ({error}); remove it to start from the beginning") from error
        if other := [name for name, digest in self._origin.items() if found.get(name) != digest]:
            raise InputError(
                f"{self._path} belongs to another reconstruction ({', '.join(other)} differ); remove it to start anew"
            )
        return progress

    @property
    def is_due(self) -> bool:
        """Whether the last write is long enough ago."""
        return time.monotonic() >= self._due

    def save(self, progress: Progress) -> None:
        """Write the file."""
        begun = time.monotonic()
        memory = {f"memory_{field.name}": getattr(progress.memory, field.name) for field in fields(Memory)}
        unfinished = self._path.with_name(f"{self._path.name}.part")
        with unfinished.open("wb") as file:
            np.savez(
                file,
                allow_pickle=False,
                origin=list(self._origin),
                digests=list(self._origin.values()),
                block=progress.block,
                finished=progress.finished,
                misfit=progress.misfit,
                norm=progress.norm,
                **memory,
            )
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(self._path)
        now = time.monotonic()
        self._due = now + max(_SECONDS, (now - begun) / _SHARE)

    def remove(self) -> None:
        """Remove the file: the reconstruction is complete."""
        self._path.unlink(missing_ok=True)


def _progress(arrays: dict[str, NDArray[Any]]) -> Progress:
    memory = Memory(
        iteration=int(arrays["memory_iteration"]),
        values=arrays["memory_values"],
        previous=arrays["memory_previous"],
        momentum=arrays["memory_momentum"],
        misfit=arrays["memory_misfit"],
        norm=float(arrays["memory_norm"]),
    )
    return Progress(
        block=int(arrays["block"]),
        finished=arrays["finished"],
        misfit=arrays["misfit"],
        norm=float(arrays["norm"]),
        memory=memory,
    )
