"""A reconstruction that was interrupted goes on: what its next iterations depend on, in a file."""

from __future__ import annotations

import os
import time
import zipfile
from dataclasses import asdict
from pathlib import Path

import numpy as np

from aet2dft.errors import InputError, ParseError
from aet2dft.recon.descent import Memory

_SECONDS = 300.0
"""Between two writes."""


class Checkpoint:
    """The file that keeps a reconstruction.

    Parameters
    ----------
    path : Path
        File; it is replaced as a whole or not at all.
    origin : dict
        Digests of everything that the reconstruction starts from, by name.
    """

    def __init__(self, path: Path, origin: dict[str, str]) -> None:
        self._path, self._origin = path, origin
        self._last = time.monotonic()

    def load(self) -> Memory | None:
        """What to go on from; None if there is no file.

        Raises
        ------
        ParseError
            If the file is damaged.
        InputError
            If it belongs to another reconstruction.
        """
        if not self._path.exists():
            return None
        try:
            with np.load(self._path, allow_pickle=False) as content:
                found = dict(zip(content["names"].tolist(), content["digests"].tolist(), strict=True))
                arrays = {name: content[name] for name in ("values", "previous", "momentum", "misfit")}
                memory = Memory(iteration=int(content["iteration"]), **arrays)
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise ParseError(self._path, f"no checkpoint ({error}); remove it to start from the beginning") from error
        if other := [name for name, digest in self._origin.items() if found.get(name) != digest]:
            raise InputError(
                f"{self._path} belongs to another reconstruction ({', '.join(other)} differ); remove it to start anew"
            )
        return memory

    def save_if_due(self, memory: Memory) -> None:
        """Write the file if the last time is long enough ago."""
        if time.monotonic() - self._last < _SECONDS:
            return
        unfinished = self._path.with_name(f"{self._path.name}.part")
        with unfinished.open("wb") as file:
            np.savez(
                file, allow_pickle=False, names=list(self._origin), digests=list(self._origin.values()), **asdict(memory)
            )
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, self._path)
        self._last = time.monotonic()

    def remove(self) -> None:
        """Remove the file: the reconstruction is complete."""
        self._path.unlink(missing_ok=True)
