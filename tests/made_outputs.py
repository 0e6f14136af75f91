"""Outputs of pw.x for any decks, made from the stored real runs: atoms, moments and energies are exchanged."""

from __future__ import annotations

import functools
import gzip
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np

from aet2dft.dft_inputs.deck_structure import read_deck_structure
from aet2dft.dft_inputs.decks import Manifest

DATA = Path(__file__).parent / "data" / "qe_fept"
BOHR, HARTREE = 0.529177210903, 27.211386245988
FIXTURES = {"scf": "scf", "axis_100": "ft_x", "axis_010": "ft_y", "axis_001": "ft_z"}
FIXTURES |= {"axis_110": "ft_xy", "axis_101": "ft_xz", "axis_011": "ft_yz"}
_STRUCTURE = re.compile(r"<atomic_positions>.*?</cell>", re.DOTALL)
_DEMET = re.compile(r"<demet>.*?</demet>")
_MOMENTS = re.compile(r"^ +atom: .*\n", re.MULTILINE)
Energy = Callable[[str, str], float]
Moment = Callable[[int, str], float]


@functools.cache
def fixture(name: str) -> tuple[str, str]:
    """Text and XML of a stored run."""
    return tuple(
        gzip.decompress((DATA / name / f"{f}.gz").read_bytes()).decode() for f in ("pw.out", "data-file-schema.xml")
    )


@functools.cache
def band_sum(name: str) -> float:
    """Σ weight occupation eigenvalue of a stored run, eV."""
    total = 0.0
    for block in re.findall(r"<ks_energies>.*?</ks_energies>", fixture(name)[1], re.DOTALL):
        weight = float(re.search(r'weight="([^"]+)"', block)[1])
        numbers = [
            np.array(re.search(rf"<{w}[^>]*>(.*?)</{w}>", block, re.DOTALL)[1].split(), dtype=float)
            for w in ("occupations", "eigenvalues")
        ]
        total += weight * float(numbers[0] @ numbers[1])
    return HARTREE * total


def small_moment(site_id: int, symbol: str) -> float:
    """A moment that tells which atom it belongs to, with the four decimals of pw.x."""
    return round((3.0 if symbol == "Fe" else 0.3) + 1e-4 * (site_id % 1000), 4)


def fill(directory: Path, energy: Energy, moment: Moment = small_moment) -> None:
    """Outputs for every job of a deck folder; `energy` is the free band energy of a volume and step, eV."""
    manifest = Manifest.read(directory)
    volumes = {volume["id"]: volume for volume in manifest.volumes}
    for job in manifest.jobs:
        folder = manifest.folder(job["id"])
        text, xml = fixture(FIXTURES[job["step"]])
        volume = volumes[job["volume"]]
        if job["step"] == "scf":
            rows = [moment(i, s) for i, s in zip(volume["site_ids"], volume["symbols"], strict=True)]
            text = _with_moments(text, rows)
        else:
            wanted = (energy(job["volume"], job["step"]) - band_sum(FIXTURES[job["step"]])) / HARTREE
            xml = _DEMET.sub(f"<demet>{wanted:.15e}</demet>", xml)
        (folder / "pw.out").write_text(text)
        (folder / "data-file-schema.xml").write_text(_STRUCTURE.sub(_structure(folder), xml))
        (folder / "exit_status").write_text("0\n")


def _with_moments(text: str, moments: list[float]) -> str:
    rows = (
        f"     atom: {k:4d}    charge:    7.0000    magn: {m:9.4f}    constr:    0.0000\n"
        for k, m in enumerate(moments, 1)
    )
    lines = "".join(rows)
    # the stored run has two atoms and prints them at its first and last iteration
    return _MOMENTS.sub(lambda match: lines if match[0].split()[1] == "1" else "", text)


def _structure(folder: Path) -> str:
    deck = read_deck_structure(folder, "espresso")
    atoms = "".join(
        f'<atom name="{label}" index="{k}">{_words(place)}</atom>\n'
        for k, (label, place) in enumerate(zip(deck.labels, deck.positions / BOHR, strict=True), start=1)
    )
    cell = "".join(f"<a{k}>{_words(row)}</a{k}>\n" for k, row in enumerate(deck.cell / BOHR, start=1))
    return f"<atomic_positions>\n{atoms}</atomic_positions>\n<cell>\n{cell}</cell>"


def _words(values: np.ndarray) -> str:
    return " ".join(f"{x:.15e}" for x in values)
