"""How counts follow from the images of atoms: scale and background of every image, and the noise."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from aet2dft.recon.atoms.image_model import GaussianAtoms

Floats = NDArray[np.float64]
Images = NDArray[np.float32]

_LEVELS = 32
"""Classes of expected value in which the variance of the residuals is taken."""
_REWEIGHTED = 5
"""Fits of gain and offset, each weighted by the one before."""
_BLANK = 0.1
"""An image whose scale is below this fraction of the median does not show the atoms: it is blank, noise, or another."""
_NO_WEIGHT, _WEIGHTLESS = 1e-4, 1e-3
"""Fraction of the median that it is given, so that it says nothing; of the largest, below which it is known by that."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Calibration:
    """How counts follow from the model of the atoms, image by image, and their noise."""

    scale: Floats
    """(n,): factor of every image; 1 on average, next to nothing for images that do not show the atoms."""
    background: Floats
    """(n,): constant of every image."""
    gain: float
    """Variance of a pixel per unit of what the atoms add to it."""
    offset: float
    """Variance of a pixel without atoms: that of the readout, and of the counts of the background."""

    @property
    def shown(self) -> NDArray[np.bool_]:
        """(n,): which images show the atoms."""
        return np.asarray(self.scale > _WEIGHTLESS * self.scale.max())

    def signal(self, model: Images) -> Images:
        """Part of the images (n, nx, ny) that the atoms make, from those of the atoms."""
        return np.asarray(self.scale[:, None, None] * model, dtype=np.float32)

    def expected(self, model: Images) -> Images:
        """Images (n, nx, ny) as they are measured, from those of the atoms."""
        return np.asarray(self.signal(model) + self.background[:, None, None], dtype=np.float32)

    def variance(self, model: Images) -> Images:
        """Variance (n, nx, ny) of the pixels."""
        return np.asarray(self.gain * np.maximum(self.signal(model), 0.0) + self.offset, dtype=np.float32)

    def above_background(self, measured: Images) -> Images:
        """Images (n, nx, ny) without their constants."""
        return np.asarray(measured - self.background[:, None, None].astype(np.float32), dtype=np.float32)

    def r_factors(self, measured: Images, model: Images) -> Floats:
        """R factor (n,) of every image that shows the atoms: absolute residuals over the counts above the background.

        NaN for the others.
        """
        counts = self.above_background(measured)
        total = np.abs(counts).sum(axis=(1, 2), dtype=np.float64)
        residual = np.abs(counts - self.signal(model)).sum(axis=(1, 2), dtype=np.float64)
        return np.where(self.shown, residual / np.where(total > 0, total, 1.0), np.nan)


def calibrate(measured: Images, model: Images) -> Calibration:
    """Scale and background of every image by least squares, and the noise of what is left.

    Parameters
    ----------
    measured, model : ndarray, shape (n, nx, ny)
        Counts, and the images of the atoms.

    Notes
    -----
    The variance is gain * (scale * model) + offset: that of Poisson counts with read noise, in whatever unit the images
    are. Both are fitted, not negative, to the mean squares of the residuals in classes of scale * model. Background
    does not enter: part of it may be the zero of the camera, which has no noise, and the offset knows the rest. Images
    that do not show the atoms have no part in them, and none in what follows.
    """
    mean_model, mean = model.mean(axis=(1, 2), dtype=np.float64), measured.mean(axis=(1, 2), dtype=np.float64)
    centered = model - mean_model[:, None, None]
    power = (centered.astype(np.float64) ** 2).sum(axis=(1, 2))
    scale = (centered * measured).sum(axis=(1, 2), dtype=np.float64) / np.where(power > 0, power, 1.0)
    scale = scale if (scale > 0).any() else np.ones(len(scale))
    typical = float(np.median(scale[scale > 0]))
    scale = np.where(scale >= _BLANK * typical, scale, _NO_WEIGHT * typical)
    start = Calibration(scale=scale, background=mean - scale * mean_model, gain=1.0, offset=1.0)
    shown = slice(None) if start.shown.all() else start.shown
    gain, offset = _noise(start.above_background(measured)[shown], start.signal(model)[shown])
    return replace(start, gain=gain, offset=offset)


def normalized(atoms: GaussianAtoms, calibration: Calibration) -> tuple[GaussianAtoms, Calibration]:
    """The same images with scales that are 1 on average, where atoms are shown: their mean goes into the heights."""
    mean = float(calibration.scale[calibration.shown].mean())
    return replace(atoms, heights=atoms.heights * mean), replace(calibration, scale=calibration.scale / mean)


def _noise(measured: Images, expected: Images) -> tuple[float, float]:
    """Gain and offset of the variance, by non-negative least squares over classes of the expected value."""
    from scipy.optimize import nnls

    top, sums = float(expected.max()), np.zeros((3, _LEVELS))
    for image, model in zip(measured, expected, strict=True):
        level = np.clip((model * np.float32(_LEVELS / top if top > 0 else 0.0)).astype(np.intp), 0, _LEVELS - 1).ravel()
        values = (None, ((image - model) ** 2).ravel(), np.maximum(model, 0).ravel())
        sums += [np.bincount(level, each, _LEVELS) for each in values]
    count, squares, signal = sums[:, sums[0] > 0]
    mean, at = squares / count, signal / count
    smallest = 1e-12 * max(top, 1e-30)
    slopes, line = np.stack([at, np.ones_like(at)], axis=1), np.array([1.0, at.mean()])
    for _ in range(_REWEIGHTED):
        # the standard error of a mean square is proportional to the variance, which the line knows best
        certainty = np.sqrt(count) / np.maximum(slopes @ line, smallest * max(top, 1e-30))
        line, _ = nnls(slopes * certainty[:, None], mean * certainty)
    return max(float(line[0]), smallest), max(float(line[1]), smallest * top)
