"""The verb `demo`: the commands of the whole chain, carried out one after the other on the data of the package."""

from __future__ import annotations

import shlex
import shutil
import sys
import time
from pathlib import Path

from aet2dft.cli.framework import Outcome, Step, execute
from aet2dft.config import DemoSettings
from aet2dft.errors import InputError

MESH = "4x4x4"
"""k-mesh of the demonstration; too coarse for numbers to quote."""
_MINUTES_PER_RUN = 2.5
"""Rough time of the three runs of one small volume on one core."""


def demo(directory: Path, settings: DemoSettings = DemoSettings()) -> Path:
    """Run the chain on the measured FePt particle: order, 1,452 volumes for two codes, pw.x on a few, report.

    Parameters
    ----------
    directory : Path
        New folder to fill.
    settings : DemoSettings
        How many volumes are computed and by whom.

    Returns
    -------
    Path
        The report.

    Raises
    ------
    InputError
        If the folder holds other things already.
    """
    from aet2dft.datasets import FEPT_2017, path_of

    directory.mkdir(parents=True, exist_ok=True)
    project, decks = directory / "fept.h5", directory / "decks_demo"
    if any(directory.iterdir()) and not project.exists():
        raise InputError(f"{directory}: is not empty; give a new folder")
    particle = str(path_of(FEPT_2017))
    again = ["--overwrite"]
    few = [
        "--cells",
        "1",
        "--positions",
        "ideal",
        "--box",
        "4,4,4",
        "--around",
        "L10,L12",
        "--limit",
        str(settings.volumes),
    ]
    computed = settings.pwx and shutil.which("pw.x") is not None
    runs = [["run", str(decks), "--workers", str(settings.workers)]] if computed else []
    commands = [
        ["info", particle],
        ["order", particle, "-o", str(project), *again],
        ["inputs", str(project), "--code", "espresso", "-o", str(directory / "decks_espresso"), *again],
        ["inputs", str(project), "--code", "vasp", "-o", str(directory / "decks_vasp"), *again],
        ["inputs", str(project), *few, "--set", f"kmesh={MESH}", "-o", str(decks), *again],
        *runs,
        ["collect", str(decks), "-o", str(project)],
        ["export", str(project), str(directory / "fept.xyz")],
        ["export", str(project), str(directory / "tables"), "--what", "tables"],
        ["report", str(project), "-o", str(directory / "report.html")],
    ]
    begun = time.perf_counter()
    for number, command in enumerate(commands, start=1):
        if command[0] == "collect" and not computed:
            _place_shipped_outputs(decks, asked=settings.pwx)
        sys.stderr.write(
            f"\n[{number}/{len(commands)}, {time.perf_counter() - begun:.0f} s] $ {shlex.join(['aet2dft', *command])}\n"
        )
        if command[0] == "run":
            sys.stderr.write("pw.x runs now; this is the long step, some minutes\n")
        execute(command)
    return directory / "report.html"


def _place_shipped_outputs(decks: Path, *, asked: bool) -> None:
    """Put the outputs that ship with the package beside the decks they belong to, and say so."""
    from aet2dft.datasets import shipped_outputs
    from aet2dft.dft_inputs.decks import Manifest
    from aet2dft.dft_inputs.results import SHIPPED

    why = "pw.x is not on this machine" if asked else "pw.x was not wanted"
    manifest = Manifest.read(decks)
    placed = []
    for job in manifest.jobs:
        outputs = shipped_outputs(job["files"]["pw.in"])
        for name, content in (outputs or {}).items():
            (manifest.folder(job["id"]) / name).write_bytes(content)
        placed += [job["id"]] if outputs else []
    (decks / SHIPPED).write_text("\n".join(placed) + "\n", encoding="utf-8")
    sys.stderr.write(
        f"\n{why}: the outputs that ship with the package are taken for {len(placed)} of {len(manifest.jobs)} jobs "
        "(matched by the digest of their decks)\n"
    )


def demonstrate(step: Step, directory: Path) -> Outcome:
    """`demo` as a verb."""
    if step.dry_run:
        minutes = 1 + 2 * step.settings.volumes * _MINUTES_PER_RUN / step.settings.workers
        return Outcome(
            data={"predicted_minutes": minutes}, lines=[f"about {minutes:.0f} minutes at most"], output=directory
        )
    page = demo(directory, step.settings)
    return Outcome(data={"report": str(page.resolve())}, lines=[f"the report is {page.resolve()}"], output=page)
