"""Atoms as they stand in a deck, read back to compare them with what the code says it computed.

Decks are written elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_SAME = 1e-4
"""Å; positions and cell vectors that differ by more belong to another structure."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DeckStructure:
    """The atoms of one deck."""

    labels: tuple[str, ...]
    """Species label of each atom (N)."""
    cell: NDArray[np.float64]
    """Cell vectors (3, 3) as rows, Å."""
    positions: NDArray[np.float64]
    """Cartesian positions (N, 3), Å."""

    def difference(self, labels: tuple[str, ...], cell: NDArray[np.float64], positions: NDArray[np.float64]) -> str:
        """Say where another structure differs by more than 1e-4 Å, or nothing; lattice translations do not count."""
        if labels != self.labels:
            return "the species of the output are not those of the deck"
        in_cell = float(np.abs(cell - self.cell).max())
        if in_cell > _SAME:
            return f"the cell of the output differs from that of the deck by {in_cell:.4f} Å"
        fractional = (positions - self.positions) @ np.linalg.inv(self.cell)
        distances = np.linalg.norm((fractional - np.round(fractional)) @ self.cell, axis=1)
        worst = int(distances.argmax())
        if distances[worst] > _SAME:
            return f"atom {worst} of the output is {distances[worst]:.4f} Å from where the deck puts it"
        return ""


def read_deck_structure(folder: Path, code: str) -> DeckStructure:
    """Atoms of the deck in a job folder, for the layouts that this package writes.

    Raises
    ------
    ValueError
        If the deck does not hold a cell in Å and fractional positions.
    OSError
        If it cannot be read.
    """
    name, read = ("pw.in", _pw_input) if code == "espresso" else ("POSCAR", _poscar)
    lines = [line.strip() for line in (folder / name).read_text(encoding="utf-8").splitlines()]
    try:
        return read(lines)
    except (IndexError, np.linalg.LinAlgError) as error:
        raise ValueError(f"{name} is cut off") from error


def _pw_input(lines: list[str]) -> DeckStructure:
    cell_card, atom_card = lines.index("CELL_PARAMETERS angstrom"), lines.index("ATOMIC_POSITIONS crystal")
    n = next(int(line.partition("=")[2]) for line in lines if line.replace(" ", "").startswith("nat="))
    cell = _rows(lines[cell_card + 1 : cell_card + 4])
    atoms = [line.split() for line in lines[atom_card + 1 : atom_card + 1 + n]]
    fractional = np.array([words[1:4] for words in atoms], dtype=float)
    return DeckStructure(labels=tuple(words[0] for words in atoms), cell=cell, positions=fractional @ cell)


def _poscar(lines: list[str]) -> DeckStructure:
    if not lines[7].lower().startswith("d"):
        raise ValueError("POSCAR does not hold fractional positions")
    cell = float(lines[1]) * _rows(lines[2:5])
    counts = [int(word) for word in lines[6].split()]
    labels = tuple(symbol for symbol, count in zip(lines[5].split(), counts, strict=True) for _ in range(count))
    return DeckStructure(labels=labels, cell=cell, positions=_rows(lines[8 : 8 + len(labels)]) @ cell)


def _rows(lines: list[str]) -> NDArray[np.float64]:
    return np.array([line.split()[:3] for line in lines], dtype=float)
