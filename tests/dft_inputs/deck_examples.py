"""Cells, and readers of deck texts that share no code with the writers: what the tests of decks have in common."""

from __future__ import annotations

import gzip
from pathlib import Path

import f90nml
import numpy as np
from ase import Atoms
from hypothesis import strategies as st

from aet2dft.dft_inputs import espresso, vasp
from aet2dft.dft_inputs.decks import DeckSet, VolumeDecks
from aet2dft.dft_inputs.protocol import Protocol, load_protocol
from aet2dft.dft_inputs.pseudopotentials import Pseudopotential, find

DATA = Path(__file__).parents[1] / "data"
PSEUDOS = find(["Fe", "Pt"])
Axes = tuple[tuple[int, int, int], ...]
AXES: Axes = ((1, 0, 0), (0, 0, 1))


def l10_cell() -> Atoms:
    """The two atoms of L1₀ FePt of the stored pw.x runs, platinum first so that the decks must sort."""
    a = 3.85 / np.sqrt(2.0)
    cell = Atoms("PtFe", scaled_positions=[(0.5, 0.5, 0.5), (0, 0, 0)], cell=[a, a, 3.71], pbc=True)
    cell.arrays["site_id"] = np.array([11, 42])
    return cell


@st.composite
def shuffled_cells(draw: st.DrawFn, *, vectors: bool) -> Atoms:
    """A skewed cell of 4 to 20 atoms, in any order, with at most ten different moments and large site ids."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n = draw(st.integers(4, 20))
    cell = np.eye(3) * rng.uniform(5.0, 9.0, 3) + rng.uniform(-0.5, 0.5, (3, 3))
    atoms = Atoms(["Fe", "Pt", *rng.choice(["Fe", "Pt"], n - 2)], cell=cell, pbc=True)
    atoms.set_scaled_positions(rng.uniform(-0.1, 1.1, (n, 3)))
    atoms.positions += rng.uniform(-1e-3, 1e-3, (n, 3))
    atoms.arrays["site_id"] = rng.choice(50_000, n, replace=False)
    palette = rng.uniform(-1.0, 1.0, (5, 3)) * 3.0
    chosen = palette[rng.integers(0, 5, n)]
    atoms.arrays["initial_magmoms"] = chosen if vectors else chosen[:, 0]
    return atoms


def espresso_decks(atoms: Atoms, protocol: str = "mae", axes: Axes = AXES, **changes: str) -> VolumeDecks:
    """Decks for pw.x with the package's pseudopotentials; a double underscore stands for the dot of a tag."""
    tags = _protocol(protocol, "espresso", changes)
    return espresso.decks(atoms, name="v00000", protocol=tags, axes=axes, pseudos=PSEUDOS)


def vasp_decks(atoms: Atoms, protocol: str = "mae", axes: Axes = AXES, **changes: str) -> VolumeDecks:
    """Decks for VASP; a double underscore stands for the dot of a tag."""
    return vasp.decks(atoms, name="v00000", protocol=_protocol(protocol, "vasp", changes), axes=axes)


def deck_set(volume: VolumeDecks, protocol: Protocol, pseudos: tuple[Pseudopotential, ...] = PSEUDOS) -> DeckSet:
    """A set of one volume."""
    row = {"id": volume.cell.name, "status": "written", "reason": "", **volume.record()}
    return DeckSet(
        kind="atoms",
        protocol=protocol,
        axes=("100", "001"),
        pseudopotentials=pseudos,
        volumes=(row,),
        decks=volume.decks,
    )


def _protocol(name: str, code: str, changes: dict[str, str]) -> Protocol:
    return load_protocol(name, code=code, changes={key.replace("__", "."): value for key, value in changes.items()})


def namelists(text: str) -> dict[str, dict[str, object]]:
    """Namelists of a pw.x input, read by f90nml."""
    parsed = f90nml.Parser().reads(text[: text.index("ATOMIC_SPECIES")])
    return {name: dict(group) for name, group in parsed.items()}


def card(text: str, name: str) -> list[list[str]]:
    """Words of the lines of a card of a pw.x input."""
    lines = text.splitlines()
    start = next(i for i, line in enumerate(lines) if line.split()[:1] == [name])
    block = []
    for line in lines[start + 1 :]:
        if line.split()[0].isupper() and not line.startswith(" "):
            break
        block.append(line.split())
    return block


def written_positions(text: str) -> np.ndarray:
    """Cartesian positions (N, 3), Å, of a pw.x input."""
    cell = np.array(card(text, "CELL_PARAMETERS"), dtype=float)
    return np.array([words[1:] for words in card(text, "ATOMIC_POSITIONS")], dtype=float) @ cell


def written_moments(text: str) -> np.ndarray:
    """Moments of a pw.x input, μB: (N,) when collinear, else (N, 3)."""
    system = namelists(text)["system"]
    valence = {"Fe": 8.0, "Pt": 10.0}
    of_label = {}
    for i, (label, *_) in enumerate(card(text, "ATOMIC_SPECIES")):
        size = system["starting_magnetization"][i] * valence[label[:2]]
        if "angle1" in system:
            theta, phi = np.radians([system["angle1"][i], system["angle2"][i]])
            size = size * np.array([np.sin(theta) * np.cos(phi), np.sin(theta) * np.sin(phi), np.cos(theta)])
        of_label[label] = size
    return np.array([of_label[words[0]] for words in card(text, "ATOMIC_POSITIONS")])


def incar(text: str) -> dict[str, str]:
    """Tags of an INCAR."""
    return dict(line.split(" = ", 1) for line in text.splitlines())


def magmom(text: str) -> np.ndarray:
    """Numbers of the tag MAGMOM, run lengths spelt out."""
    values: list[float] = []
    for word in incar(text)["MAGMOM"].split():
        count, _, value = word.rpartition("*")
        values += [float(value)] * int(count or 1)
    return np.array(values)


def real_text(folder: str, name: str) -> str:
    """Text of a file of the stored pw.x runs."""
    path = DATA / "qe_fept" / folder / name
    return path.read_text() if path.exists() else gzip.decompress(path.with_name(f"{name}.gz").read_bytes()).decode()


def listing(volume: VolumeDecks) -> str:
    """All input files of a volume but the scripts, one below the other."""
    texts = [(f"{deck.step}/{name}", text) for deck in volume.decks for name, text in deck.files.items()]
    return "".join(f"==> {path} <==\n{text}" for path, text in texts if not path.endswith("run.sh"))
