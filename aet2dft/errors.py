"""The errors that users see: one sentence each, with what went wrong, where, and what to do."""

from __future__ import annotations

import errno
from pathlib import Path

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Aet2dftError(Exception):
    """Base of every error that this package raises on purpose."""

    exit_code = 1


class UsageError(Aet2dftError):
    """The command line is not one that can be carried out."""

    exit_code = 2


class InputError(Aet2dftError):
    """The input cannot be used as it is."""

    exit_code = 3


class ParseError(InputError):
    """A file is damaged or is not what its name says."""

    def __init__(self, path: str | Path, problem: str, *, line: int | None = None) -> None:
        where = f"{path}, line {line}" if line is not None else f"{path}"
        super().__init__(f"{where}: {problem}")
        self.path = Path(path)
        self.line = line


class ResourceError(Aet2dftError):
    """Memory, disk or permissions do not suffice; nothing was started."""

    exit_code = 4


class LockedError(Aet2dftError):
    """Another live process works on the same project or folder."""

    exit_code = 7


def remedy(error: OSError, elsewhere: str) -> str:
    """What to do where a file cannot be written: space is freed only where it is what lacks."""
    return f"free space or {elsewhere}" if error.errno in _FULL else elsewhere
