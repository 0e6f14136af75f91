"""Makes tests/data/prism_fept: `python tools/make_prism_series.py CACHE`; twenty minutes, needs the extra `multislice`.

Every image is kept in the folder CACHE as soon as it is there, so that a stopped run goes on where it was.
"""

import sys
from pathlib import Path

import numpy as np
from ase import Atoms

from aet2dft.recon.geometry import tilt_rotations
from aet2dft.recon.verification.multislice import Scan, scan_image, with_source

ROOT = Path(__file__).parent.parent
TARGET = ROOT / "tests" / "data" / "prism_fept"
MEASURED = ROOT / "aet2dft" / "data" / "fept_2017" / "FePt_cns_final.xyz"
TO_IMAGES = np.array([[-0.0302, 0.9722, -0.2321], [0.0800, 0.2338, 0.9690], [0.9963, 0.0107, -0.0848]])
"""Lattice frame to image frame of the measured particle: cube axes 4.6 and 14 degrees off beam and tilt axis."""
N_ATOMS = 300
SCAN = Scan(shape=(72, 72), pixel_size=0.3725, center=(36.0, 36.0))
SOURCE_SIZE = 0.45
"""Å."""


def piece() -> Atoms:
    """The 300 neighboring atoms inside the measured particle whose composition is nearest to that of the whole."""
    rows = [line.split()[:4] for line in MEASURED.read_text().splitlines()[2:]]
    symbols = np.array([row[0] for row in rows])
    positions = np.array([row[1:] for row in rows], dtype=float)
    positions -= positions.mean(axis=0)
    iron = symbols == "Fe"
    inside = np.linalg.norm(positions, axis=1).argsort()[:4000:25]
    pieces = [np.sort(np.linalg.norm(positions - positions[k], axis=1).argsort()[:N_ATOMS]) for k in inside]
    best = min(pieces, key=lambda atoms: abs(iron[atoms].mean() - iron.mean()))
    atoms = Atoms(symbols[best], positions[best] @ TO_IMAGES.T)
    atoms.positions -= atoms.positions.mean(axis=0)
    return atoms


def main(cache: Path) -> None:
    """Simulate what is missing and write the series."""
    atoms = piece()
    atoms.write(TARGET / "truth.xyz", format="xyz", fmt="%10.4f")
    tilts = np.loadtxt(TARGET / "angles.csv")
    for k in np.argsort(np.arange(len(tilts)) % 17, kind="stable"):
        file = cache / f"{k:03d}.npy"
        if not file.exists():
            np.save(file, scan_image(atoms, tilt_rotations(tilts[k]), SCAN))
            sys.stderr.write(f"{tilts[k]:8.2f} degrees\n")
    images = with_source(np.stack([np.load(cache / f"{k:03d}.npy") for k in range(len(tilts))]), SCAN, SOURCE_SIZE)
    np.save(TARGET / "images.npy", np.rint(images * (65535.0 / images.max())).astype(np.uint16))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
