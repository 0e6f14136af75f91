"""Images that are too far from where their angles say for small steps: each is looked for by itself, in pixels.

Steps from there on are those of ``image_poses``.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from aet2dft.recon.atoms.cross_correlation import best_shift
from aet2dft.recon.atoms.image_model import GaussianAtoms, ImageGeometry, images
from aet2dft.recon.atoms.image_poses import posed_alone, rotation_matrices
from aet2dft.recon.metrics import correlations

Floats = NDArray[np.float64]
Images = NDArray[np.float32]
Numbers = NDArray[np.intp]

_OUTLYING = 5.0
"""Standard deviations below the median, by the median deviation, from which on a correlation stands out."""
_NORMAL = 1.4826
"""Standard deviation of normal numbers over their median deviation."""
_CLEARLY = 0.5
"""An image is put elsewhere where its correlation comes nearer to the median of all than this part of its distance."""
_ANGLES = np.arange(-5.0, 6.0)
"""Degrees by which an image is turned on trial."""
_AXES = np.eye(3)[[1, 2, 0]]
"""Of these turns, in the frame of the image: the tilt, the turn in its plane, and the third."""
_SWEEPS = 5
"""Most times that all turns are tried; each goes on from the best of the one before."""
_STEPS = 8
"""Small steps from the best of the trials."""


def relocated(geometry: ImageGeometry, measured: Images, atoms: GaussianAtoms) -> tuple[ImageGeometry, Numbers]:
    """The geometry with images that stand out where the model shows them, and the numbers (m,) of those.

    Parameters
    ----------
    geometry : ImageGeometry
        Where atoms land now.
    measured : ndarray, shape (n, nx, ny)
        Images.
    atoms : GaussianAtoms
        Model, which most of the images fit.

    Notes
    -----
    What stands out is the correlation of an image with the model: noise lowers it in all images alike, where it would
    hide a wrong place in the R factor. Such an image is turned by some degrees about one axis after another, as long as
    it gains by that, at each angle shifted to the maximum of its cross-correlation with the model, and at the end
    moved by small steps.
    """
    alike = correlations(measured, images(geometry, atoms))
    median = float(np.median(alike))
    limit = median - _OUTLYING * _NORMAL * float(np.median(np.abs(alike - median)))
    axes, centers, found = geometry.axes.copy(), geometry.centers.copy(), []
    for k in np.flatnonzero(alike < limit):
        image = measured[k : k + 1]
        there = _searched(geometry.of_images(np.array([k])), image, atoms)
        if median - correlations(image, images(there, atoms))[0] < _CLEARLY * (median - alike[k]):
            axes[k], centers[k] = there.axes[0], there.centers[0]
            found.append(k)
    return replace(geometry, axes=axes, centers=centers), np.array(found, dtype=np.intp)


def _searched(geometry: ImageGeometry, measured: Images, atoms: GaussianAtoms) -> ImageGeometry:
    """Where one image belongs: the best of the trials, moved by small steps."""
    best, explained = _best_of(geometry, measured[0], atoms, np.zeros((1, 3)))
    for _ in range(_SWEEPS):
        before = explained
        for axis in _AXES:
            there, here = _best_of(best, measured[0], atoms, _ANGLES[:, None] * axis)
            if here > explained:
                best, explained = there, here
        if explained == before:
            break
    for _ in range(_STEPS):
        best = posed_alone(best, measured, atoms)
    return best


def _best_of(
    geometry: ImageGeometry, measured: NDArray[np.float32], atoms: GaussianAtoms, turns: Floats
) -> tuple[ImageGeometry, float]:
    """The geometry of one image after the best of turns (m, 3), degrees, in its frame, and what its atoms explain.

    That is the sum of squares which the model takes off the image with the best brightness, background and shift.
    """
    rows = geometry.axes[0]
    frame = np.concatenate([rows, np.cross(rows[:1], rows[1:])])
    turned = ImageGeometry(
        axes=np.ascontiguousarray((rotation_matrices(np.radians(turns)) @ frame)[:, :2]),
        centers=np.repeat(geometry.centers, len(turns), axis=0),
        shape=geometry.shape,
    )
    models = images(turned, atoms)
    models -= models.mean(axis=(1, 2), keepdims=True)
    found = [best_shift(measured - measured.mean(), model) for model in models]
    power = np.maximum((models.astype(np.float64) ** 2).sum(axis=(1, 2)), np.finfo(float).tiny)
    explained = np.maximum([height for _, height in found], 0.0) ** 2 / power
    best = int(np.argmax(explained))
    one = turned.of_images(np.array([best]))
    return replace(one, centers=one.centers + found[best][0]), float(explained[best])
