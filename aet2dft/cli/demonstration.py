"""The verb `demo`: the commands of the whole chain, carried out one after the other on the data of the package.

The images are simulated from a piece of the measured particle, so that the atoms found in them can be compared with it.
"""

from __future__ import annotations

import contextlib
import shlex
import shutil
import sys
import time
from pathlib import Path

from aet2dft.cli.framework import Outcome, Step, execute
from aet2dft.config import DemoSettings
from aet2dft.errors import InputError

PROJECT, DECKS, REPORT = "fept.h5", "decks_demo", "report.html"
"""What the folder holds in the end, beside the decks of all volumes and the exported files."""
TWIN, TWIN_PROJECT, TWIN_REPORT = "twin", "twin.h5", "twin.html"
"""Folder with the simulated images and the atoms behind them, the project made from them, and its page."""
TWIN_RADIUS, TWIN_PIXELS, TWIN_PIXEL = 12.3, 88, 0.3725
"""Å: the piece of the particle; rows and columns of an image; Å: one of them."""
TWIN_TILTS = (-65.6, 64.0, 40)
"""Degrees: the range of the published series; and the number of images."""
TWIN_COUNTS = 300
"""Electrons at the brightest pixel."""
MESH = "4x4x4"
"""k-mesh of the demonstration; too coarse for numbers to quote."""
_MINUTES = (1.0, 3.0)
"""Time of all but pw.x: on a quiet machine, and shared with others on a first run, when functions are compiled."""
_MINUTES_OF_PWX = (8.0, 24.0)
"""The same of pw.x on one core: six runs, however many volumes there are, since equal ones are computed once."""
_AT_A_TIME = 2
"""Of these, how many keep a worker busy from the beginning."""


def demo(directory: Path, settings: DemoSettings = DemoSettings()) -> Path:
    """Run the chain: images of a piece of the measured FePt particle to atoms, then the whole one to DFT and a report.

    Parameters
    ----------
    directory : Path
        New folder to fill, or that of a demonstration that was stopped.
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
    if directory.is_dir() and any(directory.iterdir()) and not (directory / TWIN).is_dir():
        raise InputError(f"{directory}: is not empty; give a new folder")
    _write_twin(directory / TWIN)
    computed = _is_computed(settings)
    commands = _commands(directory, settings, computed=computed)
    begun = time.perf_counter()
    for number, command in enumerate(commands, start=1):
        if command[0] == "collect" and not computed:
            _place_shipped_outputs(directory / DECKS, asked=settings.pwx)
        place = f"[{number}/{len(commands)}, {time.perf_counter() - begun:.0f} s]"
        _say(f"\n{place} $ {shlex.join(['aet2dft', *command])}")
        if command[0] == "run":
            _say("pw.x runs now; this is the long step, some 4 to 12 minutes")
        # stdout belongs to the one object of --json
        with contextlib.redirect_stdout(sys.stderr):
            execute(command)
    return directory / REPORT


def _is_computed(settings: DemoSettings) -> bool:
    return settings.pwx and shutil.which("pw.x") is not None


def _commands(directory: Path, settings: DemoSettings, *, computed: bool) -> list[list[str]]:
    """Command lines of the demonstration; what a stopped one has done is left alone."""
    from aet2dft.datasets import FEPT_2017, path_of

    particle, project, decks = str(path_of(FEPT_2017)), str(directory / PROJECT), str(directory / DECKS)
    again = ["--resume", "--overwrite"]
    few = ["--cells", "1", "--positions", "ideal", "--box", "4,4,4", "--around", "L10,L12"]
    few += ["--limit", str(settings.volumes), "--set", f"kmesh={MESH}"]
    return [
        *_twin_commands(directory),
        ["info", particle],
        ["order", particle, "-o", project, *again],
        ["inputs", project, "--code", "espresso", "-o", str(directory / "decks_espresso"), *again],
        ["inputs", project, "--code", "vasp", "-o", str(directory / "decks_vasp"), *again],
        ["inputs", project, *few, "-o", decks, *again],
        *([["run", decks, "--workers", str(settings.workers)]] if computed else []),
        ["collect", decks, "-o", project],
        ["export", project, str(directory / "fept.xyz")],
        ["export", project, str(directory / "tables"), "--what", "tables"],
        ["report", project, "-o", str(directory / REPORT)],
    ]


def _write_twin(folder: Path) -> None:
    """Images of a piece of the measured particle with the noise of a dose, their angles, and the atoms behind them."""
    import numpy as np
    from ase.io import write

    from aet2dft.datasets import fept_2017
    from aet2dft.recon.atoms.simulate import Noise, simulate

    particle = fept_2017()
    piece = particle[np.linalg.norm(particle.positions - particle.positions.mean(axis=0), axis=1) < TWIN_RADIUS]
    piece.positions -= piece.positions.mean(axis=0)
    tilts, noise = np.linspace(*TWIN_TILTS), Noise(counts=TWIN_COUNTS, read_noise=1.0)
    series = simulate(piece, tilts, shape=(TWIN_PIXELS, TWIN_PIXELS), pixel_size=TWIN_PIXEL, noise=noise)
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "images.npy", series.projections)
    np.savetxt(folder / "angles.txt", tilts, fmt="%.4f")
    write(folder / "truth.xyz", piece, columns=["symbols", "positions"])


def _twin_commands(directory: Path) -> list[list[str]]:
    """From the simulated images to atoms, and how far these are from the true ones."""
    twin, project, again = directory / TWIN, str(directory / TWIN_PROJECT), ["--resume", "--overwrite"]
    images = [str(twin / "images.npy"), "--angles", str(twin / "angles.txt"), "--pixel-size", str(TWIN_PIXEL)]
    return [
        ["reconstruct", *images, "-o", project, *again],
        ["trace", project, *again],
        ["classify", project, "--species", "Fe,Pt", *again],
        ["refine", project, *again],
        ["verify", project, "--truth", str(twin / "truth.xyz"), *again],
        ["report", project, "-o", str(directory / TWIN_REPORT)],
    ]


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def _place_shipped_outputs(decks: Path, *, asked: bool) -> None:
    """Put the outputs that ship with the package beside the decks they belong to, and say so."""
    from aet2dft.datasets import shipped_outputs
    from aet2dft.dft_inputs.decks import Manifest
    from aet2dft.dft_inputs.results import SHIPPED

    why = "pw.x is not on this machine" if asked else "pw.x was not wanted"
    manifest = Manifest.read(decks)
    placed = []
    for job in manifest.jobs:
        folder = manifest.folder(job["id"])
        outputs = shipped_outputs(job["files"]["pw.in"])
        if outputs is None or (folder / "pw.out").exists():  # what was computed here stays
            continue
        for name, content in outputs.items():
            (folder / name).write_bytes(content)
        placed.append(job["id"])
    if placed:
        (decks / SHIPPED).write_text("\n".join(placed) + "\n", encoding="utf-8")
    _say(
        f"\n{why}: the outputs that ship with the package are taken for {len(placed)} of {len(manifest.jobs)} jobs "
        "(matched by the digest of their decks)"
    )


def demonstrate(step: Step, directory: Path) -> Outcome:
    """`demo` as a verb."""
    if step.dry_run:
        computed, workers = _is_computed(step.settings), min(step.settings.workers, _AT_A_TIME)
        quiet, shared = (other + computed * pwx / workers for other, pwx in zip(_MINUTES, _MINUTES_OF_PWX, strict=True))
        lines = [f"about {quiet:.0f} to {shared:.0f} minutes, by how much else the machine has to do"]
        return Outcome(data={"predicted_minutes": shared}, lines=lines, output=directory)
    page = demo(directory, step.settings)
    twin = page.with_name(TWIN_REPORT)
    data = {"report": str(page.resolve()), "twin_report": str(twin.resolve())}
    lines = [f"images to atoms: {twin.resolve()}", f"the report is {page.resolve()}"]
    return Outcome(data=data, lines=lines, output=page)
