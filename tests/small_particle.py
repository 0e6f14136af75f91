"""A particle of 1,500 atoms that is analysed in a moment: an L1₀ ball inside an L1₂ crystal, every site occupied."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
from ase import Atoms

from aet2dft.structure.chemical_order import order
from aet2dft.synthetic import Grain, ball, everywhere, measured, particle

BOX = "6,6,7"
"""Half cells of a box that fits into it."""
_GRAINS = (Grain(variant=1, region=everywhere), Grain(variant=3, region=ball((0.0, 0.0, 0.0), 2.2)))
_TURN = np.array([[0.0, -0.6, 0.8], [1.0, 0.0, 0.0], [0.0, 0.8, 0.6]])


@functools.cache
def _small(missing: float) -> Atoms:
    atoms = particle(_GRAINS, n_atoms=1500, seed=1)
    found = measured(
        atoms, noise=0.15, missing=missing, false_atoms=0.0, rotation=_TURN, shift=(10.0, -20.0, 5.0), seed=1
    )
    for name in set(found.arrays) - {"numbers", "positions"}:
        del found.arrays[name]
    return found


def small(missing: float = 0.0) -> Atoms:
    """The particle in a frame of its own, without the truth; a fraction of its atoms is `missing`."""
    return _small(missing).copy()


@functools.cache
def small_order(missing: float = 0.0):
    """What `order` finds of it."""
    return order(small(missing))


def write_xyz(path: Path, atoms: Atoms | None = None, *, names: list[str] | None = None) -> Path:
    """A plain xyz file, by default of the small particle."""
    atoms = small() if atoms is None else atoms
    rows = zip(names or atoms.symbols, atoms.positions.tolist(), strict=True)
    lines = [str(len(atoms)), "", *(f"{name} {x:.6f} {y:.6f} {z:.6f}" for name, (x, y, z) in rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path
