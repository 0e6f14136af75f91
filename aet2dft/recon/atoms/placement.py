"""Where atoms from elsewhere belong in the frame of a tilt series: one common shift, found in the images."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from numpy.typing import NDArray
from scipy import ndimage

from aet2dft.errors import InputError
from aet2dft.recon.atoms.cross_correlation import best_shift
from aet2dft.recon.atoms.simulate import brightness, simulate_images
from aet2dft.recon.tilt_series import TiltSeries

_ROUNDS = 3
"""Times that the shift is found anew from atoms that are shifted already."""
_IN_PLACE = 1.0
"""Pixels by which atoms may be off: their refinement starts well from there."""
_SMOOTH = 2.0
"""Å: standard deviation that blurs single atoms, so that they do not lock in on their neighbors."""
Floats = NDArray[np.float64]


def place(atoms: Atoms, series: TiltSeries) -> tuple[Atoms, Floats]:
    """Move atoms as a whole to where the images show them.

    Parameters
    ----------
    atoms : Atoms
        In Å, axes as those of the images and angles; the origin may be anywhere. Candidates without element as well.
    series : TiltSeries
        Images.

    Returns
    -------
    Atoms
        The same atoms; where they were right to a pixel already, or the images agree no better, unmoved.
    ndarray, shape (3,)
        Å by which they were moved.

    Raises
    ------
    InputError
        If there are no atoms.

    Notes
    -----
    The maximum of the cross-correlation of every image with the one computed from the atoms gives a shift in the
    image; the common shift is the least-squares solution of A_k t = s_k over all images, A_k their projections (2, 3).
    Images of one tilt leave the depth open; it stays as it is.
    """
    if not len(atoms):
        raise InputError("there are no atoms to place in the images; give a file that holds some")
    # the middle of the particle is near the rotation center: its images are not cut
    start = -(atoms.positions.max(axis=0) + atoms.positions.min(axis=0)) / 2
    shift = start
    for _ in range(_ROUNDS):
        shift = shift + _offset(atoms, shift, series)
    found = atoms.copy()
    there = np.linalg.norm(shift) <= _IN_PLACE * series.pixel_size
    if there or _agreement(atoms, shift, series) <= _agreement(atoms, np.zeros(3), series):
        return found, np.zeros(3)
    found.positions += shift
    return found, np.asarray(shift)


def _images(atoms: Atoms, shift: Floats, series: TiltSeries) -> NDArray[np.float32]:
    """Images (n, nx, ny) of shifted atoms."""
    moved = atoms.copy()
    moved.positions += shift
    return simulate_images(
        moved,
        series.rotations,
        shape=series.projections.shape[1:],
        pixel_size=series.pixel_size,
        center=series.center,
        intensity=brightness(atoms),
    )


def _agreement(atoms: Atoms, shift: Floats, series: TiltSeries) -> float:
    """Mean over the images of their correlation with those of shifted atoms, sharp: a pixel beside them it is low."""
    computed = _images(atoms, shift, series)
    return float(np.mean([_correlation(*images) for images in zip(series.projections, computed, strict=True)]))


def _correlation(measured: NDArray[np.float32], computed: NDArray[np.float32]) -> float:
    """Of two images; nothing where one is constant."""
    first, second = (image - image.mean(dtype=np.float64) for image in (measured, computed))
    norm = np.linalg.norm(first) * np.linalg.norm(second)
    return float((first * second).sum() / norm) if norm > 0 else 0.0


def _offset(atoms: Atoms, shift: Floats, series: TiltSeries) -> Floats:
    """Å by which shifted atoms are still off."""
    computed = _images(atoms, shift, series)
    blur = _SMOOTH / series.pixel_size
    offsets = [_peak(*images, blur) for images in zip(series.projections, computed, strict=True)]
    directions = series.rotations.swapaxes(1, 2)[:, :2].reshape(-1, 3)
    return np.asarray(np.linalg.lstsq(directions, np.ravel(offsets) * series.pixel_size, rcond=1e-6)[0])


def _peak(measured: NDArray[np.float32], computed: NDArray[np.float32], blur: float) -> Floats:
    """Pixels by which a computed image has to be moved, to a fraction of one."""
    first, second = (ndimage.gaussian_filter(image - np.median(image), blur) for image in (measured, computed))
    return best_shift(first, second)[0]
