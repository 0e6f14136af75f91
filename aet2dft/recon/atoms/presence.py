"""Whether images show the atoms that they are to be fitted to at all, before the fit and after it."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from aet2dft.errors import InputError
from aet2dft.recon.atoms.image_model import GaussianAtoms, ImageGeometry, images
from aet2dft.recon.atoms.image_noise import calibrate
from aet2dft.recon.atoms.simulate import brightness
from aet2dft.recon.tilt_series import TiltSeries

_KEPT = 0.45
"""Part of the brightness of classified atoms that stays, at least, where the images are theirs.

Of candidates from images that were out of place by 4 pixels, or of 4 counts, half stays or more, by number 0.29; with a
pixel of 0.7 or 1.4 times its size, or angles in the opposite order of a crystal, a fourth to 0.45.
"""
_OTHER_UNITS = 10.0
"""An image so many times as bright as most is in other units, and would be all that noise and weights know of."""
WANTED = (
    "check that these are its images, their pixel size and angles, and that positions count from the rotation center"
)


def check_shown(atoms: GaussianAtoms, series: TiltSeries) -> NDArray[np.bool_]:
    """Which images (n,) show the atoms; raise InputError where all together are not brighter there.

    Parameters
    ----------
    atoms : GaussianAtoms
        Where they start from.
    series : TiltSeries
        Images.
    """
    model = images(ImageGeometry.of(series), atoms)
    contrast = model - model.mean(axis=(1, 2), keepdims=True)
    if not float((contrast * series.projections).sum(dtype=np.float64)) > 0:
        raise InputError(f"the images are not brighter where the atoms should be; {WANTED}, and bright atoms on dark")
    return calibrate(series.projections, model).shown


def other_units(atoms: GaussianAtoms, series: TiltSeries) -> NDArray[np.float64]:
    """How much brighter (n,) images are than most where that is by more than a beam changes, else 1.

    Parameters
    ----------
    atoms : GaussianAtoms
        Where they start from.
    series : TiltSeries
        Images.
    """
    scale = calibrate(series.projections, images(ImageGeometry.of(series), atoms)).scale
    brighter = scale / np.median(scale)
    return np.asarray(np.where(brighter > _OTHER_UNITS, brighter, 1.0))


def check_kept(before: Atoms, after: Atoms, *, kept: NDArray[np.intp], min_distance: float) -> None:
    """Raise InputError where the fit has lost the atoms: most were dropped, or positions are worth nothing.

    Parameters
    ----------
    before, after : Atoms
        Those that were given and those that were found; candidates without element may be noise for the most part.
    kept : ndarray, shape (n,)
        Which of the given ones stayed.
    min_distance : float
        Å: least distance of two atoms.
    """
    bright = np.maximum(brightness(before), 0.0)
    if before.numbers.any() and bright[kept].sum() < _KEPT * bright.sum():
        lost = f"{len(before) - len(kept):,} of {len(before):,} had to be dropped"
        raise InputError(f"the images do not show these atoms: {lost}; {WANTED}")
    error = float(np.median(np.linalg.norm(after.arrays["position_sigma"], axis=1))) if len(after) else np.inf
    if error > min_distance / 2:
        raise InputError(f"the images do not show where the atoms are, to {error:.3g} Å in the median; {WANTED}")
