"""Images that are simulated from the atoms of the measured FePt particle, as the tests and benchmarks use them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from ase import Atoms
from numpy.typing import ArrayLike, NDArray
from scipy.io import loadmat

from aet2dft.recon.atoms.simulate import Noise, simulate
from aet2dft.recon.tilt_series import TiltSeries

PIXEL = 0.3725
IRON = 0.25
"""Brightness of Fe over that of Pt."""
ALONG_IMAGES = np.array([[-0.0302, 0.0800, 0.9963], [0.9722, 0.2338, 0.0107], [-0.2321, 0.9690, -0.0848]])
"""From the axes of the published model to those of its images: rows, tilt axis, beam (Materials Data Bank).

With beam and tilt axis exchanged one image is brighter, so that 300 counts there leave 14 % fewer electrons: 13.0 pm.
"""


def particle(fept: Atoms, radius: float = np.inf) -> Atoms:
    """The atoms within a radius of the center, turned so that the tilt axis is the one of the experiment."""
    atoms = fept.copy()
    atoms.positions -= atoms.positions.mean(axis=0)
    atoms.positions = atoms.positions @ ALONG_IMAGES
    atoms = atoms[np.linalg.norm(atoms.positions, axis=1) < radius]
    atoms.positions -= atoms.positions.mean(axis=0)
    return atoms


def measured_angles(data_dir: Path) -> NDArray[np.float64]:
    """The 68 tilt angles of the experiment."""
    return loadmat(data_dir / "fept_2017" / "angles.mat")["currAngle"][:, 0]


def noisy_images(atoms: Atoms, angles: ArrayLike, size: int, counts: float, read_noise: float) -> TiltSeries:
    """Linear images of atoms, square, Fe a quarter as bright as Pt."""
    contrast = np.where(atoms.symbols == "Pt", 1.0, IRON)
    noise = Noise(counts=counts, read_noise=read_noise)
    return simulate(atoms, angles, shape=(size, size), pixel_size=PIXEL, intensity=contrast, noise=noise)
