"""What must be there before the first job starts: the code, its pseudopotentials, room on the disk."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from aet2dft.dft_inputs.decks import SCRIPT, Manifest
from aet2dft.dft_inputs.job_worker import COMMAND_VARIABLE, command_words
from aet2dft.errors import InputError, ResourceError

_PROGRAM = re.compile(rf"{COMMAND_VARIABLE}:-([\w.]+)")
"""The program that a ``run.sh`` starts by default."""
_VASP = re.compile(r"vasp_(std|ncl)$")
_LEAST_DISK = 256 * 2**20
"""Bytes; a small job writes a few tens of MB while it runs."""
_INSTALL = {
    "espresso": "install Quantum ESPRESSO (e.g. `apt install quantum-espresso` or `conda install -c conda-forge qe`)",
    "vasp": "load the module of your VASP",
}


def usable_command(given: str | None) -> str | None:
    """How the code is started, from the option or the environment; None leaves it to ``run.sh``.

    Every job starts it from its own folder, so a relative path of a program is made absolute.

    Raises
    ------
    InputError
        If that gives a path with a space followed by arguments, which a shell would take apart.
    """
    command = given or os.environ.get(COMMAND_VARIABLE)
    if not command or not command.strip():
        return None
    words = command_words(command)
    absolute = [str(Path(word).resolve()) if "/" in word and Path(word).is_file() else word for word in words]
    if len(absolute) > 1 and any(" " in word for word in absolute):
        raise InputError(f"command {command!r}: a path with a space takes no arguments; make a link to it elsewhere")
    return " ".join(absolute)


def volumes_of(manifest: Manifest, jobs: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Rows of the volumes of jobs, in the order of the manifest."""
    ids = {job["volume"] for job in jobs}
    return [volume for volume in manifest.volumes if volume["id"] in ids]


def check_requirements(manifest: Manifest, jobs: Iterable[Mapping[str, Any]], command: str | None) -> None:
    """Raise before anything starts if the jobs cannot run here.

    Parameters
    ----------
    manifest : Manifest
        Deck folder.
    jobs : iterable of mapping
        Rows of the jobs that are to be executed.
    command : str, optional
        What `usable_command` gave.

    Raises
    ------
    InputError
        If the code or a pseudopotential is missing, or a pseudopotential is not the one of the manifest.
    ResourceError
        If the disk is full.
    """
    jobs = list(jobs)
    code = str(manifest.content["code"])
    for program in sorted({_program(manifest.folder(job["id"]) / SCRIPT) for job in jobs}):
        _check_program(program, command, code)
    if code == "vasp":
        _check_potcars({manifest.folder(job["id"]) / "POTCAR.spec" for job in jobs})
    for pseudo in manifest.content["pseudopotentials"]:
        _check_pseudo(manifest.directory / "pseudo" / pseudo["file"], pseudo["sha256"])
    free = shutil.disk_usage(manifest.directory).free
    if free < _LEAST_DISK:
        raise ResourceError(f"{manifest.directory}: the disk has {free / 1e6:.0f} MB left; free some and start again")


def _program(script: Path) -> str:
    found = _PROGRAM.search(script.read_text(encoding="utf-8"))
    if found is None:
        raise InputError(f"{script} does not say which program it starts; write the decks again")
    return found.group(1)


def _check_program(program: str, command: str | None, code: str) -> None:
    """Raise InputError unless all programs of the command are there; a launcher like mpirun is one of them."""
    words = [program] if command is None else command_words(command)
    # run.sh exchanges vasp_std and vasp_ncl in the same way
    words = [_VASP.sub(program, word) if _VASP.search(program) else word for word in words]
    needed = {words[0], *(word for word in words if Path(word).name == program)}
    for word in sorted(needed):
        if shutil.which(word) is None:
            how = "" if command is None else f" of the command {command!r}"
            raise InputError(
                f"{word}{how} is not on this machine; {_INSTALL[code]}, or say how it is started with "
                f"--command 'mpirun -n 4 /path/to/{program}'"
            )


def _check_potcars(specs: Iterable[Path]) -> None:
    """Raise InputError unless VASP_PP_PATH holds the data sets, at the places where ``run.sh`` looks for them."""
    root = os.environ.get("VASP_PP_PATH")
    if not root:
        raise InputError("VASP_PP_PATH is not set; set it to the folder of Fe_pv/POTCAR or potpaw_PBE/Fe_pv/POTCAR")
    names = {name for spec in specs for name in spec.read_text(encoding="utf-8").split()}
    for name in sorted(names):
        if not any((Path(root) / folder / name / "POTCAR").is_file() for folder in ("", "potpaw_PBE")):
            raise InputError(f"VASP_PP_PATH={root} has no {name}/POTCAR; copy it there or set another folder")


def _check_pseudo(path: Path, digest: str) -> None:
    # pw.x looks for a missing file in its own folder, and may find another one of the same name
    try:
        unchanged = hashlib.sha256(path.read_bytes()).hexdigest() == digest
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); bring it back or write the decks again") from error
    if not unchanged:
        raise InputError(f"{path} is not the file of the manifest; bring that back or write the decks again")
