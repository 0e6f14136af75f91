"""Files of a DFT run as they lie in its folder: plain or gzipped, whole or cut off, small or huge.

What stands in them is read elsewhere.
"""

from __future__ import annotations

import gzip
import math
import signal
import zlib
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

HEAD = 8 * 2**20
"""Bytes read from the beginning of a huge text."""
TAIL = 24 * 2**20
"""Bytes read from the end of a huge text."""
_LARGEST = 2**30
_CHUNK = 2**20
_KILLING_SIGNALS = frozenset(
    {signal.SIGHUP, signal.SIGINT, signal.SIGKILL, signal.SIGTERM, signal.SIGXCPU, signal.SIGXFSZ}
)


class OutputError(Exception):
    """An output that gives no result; the readers turn it into a status and never let it out."""

    def __init__(self, status: str, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


def find_output(folder: Path, *names: str) -> Path | None:
    """First file of these names in a folder, plain before gzipped; None if there is none."""
    candidates = (folder / (name + ending) for name in names for ending in ("", ".gz"))
    try:
        return next((path for path in candidates if path.is_file()), None)
    except OSError as error:
        raise OutputError("failed", f"{folder.name} cannot be read: {error.strerror}") from error


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """Open a plain or gzipped file for reading; what goes wrong while reading it becomes an `OutputError`."""
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as stream:
            yield cast(BinaryIO, stream)
    except EOFError as error:
        raise OutputError("incomplete", f"{path.name} is cut off inside its compressed data") from error
    except (OSError, zlib.error) as error:
        raise OutputError("failed", f"{path.name} cannot be read: {error}") from error


class Capped:
    """A stream that refuses to give more than a GiB, so that a few compressed bytes cannot fill the memory."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._given = 0

    def read(self, size: int = _CHUNK) -> bytes:
        """Next bytes, at most `size`."""
        data = self._stream.read(size)
        self._given += len(data)
        if self._given > _LARGEST:
            raise OutputError("failed", f"more than {_LARGEST // 2**20} MiB of output; read it by hand")
        return data


def read_ends(path: Path) -> tuple[str, bool]:
    """Text of an output and whether it is all there: of a huge one only `HEAD` and `TAIL` bytes are read.

    Lines end with a newline whatever the system that wrote them.
    """
    with opened(path) as stream:
        head = stream.read(HEAD)
        tail, whole = _compressed_tail(stream) if path.suffix == ".gz" else _plain_tail(stream, path.stat().st_size)
    data = head + tail if whole else head + b"\n" + tail
    return data.replace(b"\r\n", b"\n").decode("latin-1"), whole


def was_killed(exit_status: int) -> bool:
    """Whether a shell's exit status says that somebody else ended the program: it was killed, or the disk was full."""
    return exit_status - 128 in _KILLING_SIGNALS


def number(text: str, what: str) -> float:
    """Float from the text of an output; stars and NaN, which Fortran writes for a lost number, are refused."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise OutputError("failed", f"{what} reads {text.strip()!r}, which is not a number")
    return value


def _plain_tail(stream: BinaryIO, size: int) -> tuple[bytes, bool]:
    whole = size <= HEAD + TAIL
    if not whole:
        stream.seek(size - TAIL)
    return stream.read(TAIL), whole


def _compressed_tail(stream: BinaryIO) -> tuple[bytes, bool]:
    capped, last = Capped(stream), deque[bytes](maxlen=TAIL // _CHUNK)
    n_chunks = 0
    while chunk := capped.read():
        last.append(chunk)
        n_chunks += 1
    return b"".join(last), n_chunks == len(last)
