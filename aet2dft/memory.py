"""How much memory and disk this process can still take; predictions are made by those who need it."""

from __future__ import annotations

import math
import os
import resource
import shutil
from itertools import accumulate
from pathlib import Path

from aet2dft.errors import ResourceError

_MEMINFO = Path("/proc/meminfo")
_GROUPS = Path("/proc/self/cgroup")
_CGROUP = Path("/sys/fs/cgroup")
_VERSION_1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
_VERSION_2 = ("memory.max", "memory.current", "inactive_file")
"""Files of a control group with its limit and use of memory, and what in memory.stat it gives back."""
_STATUS = Path("/proc/self/status")
_LIBRARIES = 520e6
_PER_THREAD = 100e6
"""Bytes of address space that the numerical libraries take with one thread, and for each more (measured)."""


def free_memory() -> float:
    """Bytes that machine, container and limits of the process still allow; infinite where nobody says."""
    free = system_memory()
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit != resource.RLIM_INFINITY:
        free = min(free, limit - _number(_STATUS, "VmSize:") * 1024)
    return free


def system_memory() -> float:
    """Bytes that machine and container still allow; infinite where nobody says."""
    return min(_number(_MEMINFO, "MemAvailable:") * 1024, *_allowed_by_groups())


def used_memory() -> float:
    """Bytes that this process has in memory now; NaN where nobody says."""
    used = _number(_STATUS, "VmRSS:") * 1024
    return used if math.isfinite(used) else math.nan


def as_text(size: float) -> str:
    """Bytes as GB, or as MB where that would be 0.00."""
    return f"{size / 1e9:.2f} GB" if size >= 5e6 else f"{size / 1e6:.1f} MB"


def require_address_space(threads: int) -> None:
    """Refuse to load the numerical libraries where they do not fit: one ends in a loop in compiled code, not an error.

    Raises
    ------
    ResourceError
        If the limit of address space of the process (``ulimit -v``) is too low for so many threads.
    """
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    needed = _LIBRARIES + _PER_THREAD * (min(threads, os.cpu_count() or 1) - 1)
    if limit != resource.RLIM_INFINITY and limit < needed:
        raise ResourceError(
            f"the numerical libraries take {as_text(needed)} of address space and the limit of this process is "
            f"{as_text(limit)}; {'give --threads 1, or ' if limit >= _LIBRARIES else ''}raise it (`ulimit -v`)"
        )


def require_memory(needed: float, what: str, remedies: str) -> None:
    """Refuse work that does not fit.

    Parameters
    ----------
    needed : float
        Bytes.
    what : str
        What needs them.
    remedies : str
        The cheapest ways to need less.

    Raises
    ------
    ResourceError
        If fewer are free.
    """
    free = free_memory()
    if needed > free:
        raise ResourceError(f"{what} needs {as_text(needed)} and {as_text(max(free, 0.0))} are free; {remedies}")


def require_disk(needed: float, target: Path, what: str) -> None:
    """Refuse to start what could not be written.

    Parameters
    ----------
    needed : float
        Bytes.
    target : Path
        File that they go to; its folder exists.
    what : str
        What needs them.

    Raises
    ------
    ResourceError
        If fewer are free.
    """
    free = shutil.disk_usage(target.resolve().parent).free
    if needed > free:
        raise ResourceError(
            f"{what} needs {as_text(needed)} for {target} and {as_text(free)} are free; "
            "free space, choose another place with -o, or bin the images"
        )


def _allowed_by_groups() -> list[float]:
    """Bytes that each control group of this process still allows, and each that it lies in, as batch systems make them.

    https://docs.kernel.org/admin-guide/cgroup-v2.html; in containers only the root may be seen.
    """
    free = [math.inf]
    for line in _lines(_GROUPS):
        _, controllers, place = line.split(":", 2)
        old = "memory" in controllers.split(",")
        root, (limit, usage, cached) = (_CGROUP / "memory", _VERSION_1) if old else (_CGROUP, _VERSION_2)
        for group in accumulate(place.split("/"), Path.joinpath, initial=root):
            used = _number(group / usage) - _number(group / "memory.stat", cached)
            if math.isfinite(used):
                free.append(_number(group / limit) - used)
    return free


def _number(path: Path, key: str = "") -> float:
    """Number in a file of the kernel, after `key` where it has several; infinite if there is none."""
    try:
        return next(float(line.removeprefix(key).split()[0]) for line in _lines(path) if line.startswith(key))
    except (ValueError, StopIteration):
        return math.inf


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
