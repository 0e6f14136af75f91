"""Small shifts and rotations of single images, fitted against the model of the atoms; in pixels and radians."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from aet2dft.recon.atoms.atom_fit import Problem
from aet2dft.recon.atoms.image_model import GaussianAtoms, ImageGeometry, derivative, images
from aet2dft.recon.atoms.image_noise import Calibration, calibrate
from aet2dft.recon.tilt_series import TiltSeries

Floats = NDArray[np.float64]
Images = NDArray[np.float32]

FARTHEST = (1.0, 0.02)
"""Pixels and radians; no image moves farther in one step."""
_EXPLAINED = 200.0
"""Fall of chi-square of an image by five numbers of its place, far beyond the 5 of noise: scattering makes up to 60."""
_SHIFTED, _TURNED = 0.2, 0.5
"""Pixels and degrees, rms, below which images are in place."""
_RIDGE = 1e-6
"""Fraction of the diagonal that is added to the normal matrix of an image: atoms on a line do not show every turn."""
_AT_ONCE = 8
"""Images whose derivatives, six for each, are there at a time; threads share them."""


def posed(geometry: ImageGeometry, measured: Images, atoms: GaussianAtoms) -> ImageGeometry:
    r"""The geometry after one Gauss-Newton step of a shift and a rotation of every image.

    Parameters
    ----------
    geometry : ImageGeometry
        Where atoms land now.
    measured : ndarray, shape (n, nx, ny)
        Images.
    atoms : GaussianAtoms
        Model, which stays.

    Notes
    -----
    Rows and columns of image k become :math:`A_k R(\omega_k) x + c_k + s_k`. Brightness and background of the image
    are fitted with the five numbers. All images together do not move: their mean rotation, and the shift that one
    translation of the object explains, are taken out, since the atoms would follow.
    """
    shifts, rotations = _steps(geometry, measured, atoms)
    return _moved(geometry, shifts - _of_object(geometry, shifts), rotations - rotations.mean(axis=0))


def posed_alone(geometry: ImageGeometry, measured: Images, atoms: GaussianAtoms) -> ImageGeometry:
    """The same of images that are few beside those that the atoms are known from: no part of it is the object's."""
    return _moved(geometry, *_steps(geometry, measured, atoms))


def out_of_place(
    geometry: ImageGeometry, measured: Images, atoms: GaussianAtoms, problem: Problem, calibration: Calibration
) -> tuple[str, ...]:
    """A warning where one step of a shift and a turn of every image explains far more than noise; none elsewhere.

    Parameters
    ----------
    geometry : ImageGeometry
        Where atoms land.
    measured : ndarray, shape (n, nx, ny)
        Images.
    atoms : GaussianAtoms
        The result.
    problem : Problem
        What was fitted.
    calibration : Calibration
        Of these images and atoms.
    """
    before = images(geometry, atoms)
    there = posed(geometry, measured, atoms)
    after = images(there, atoms)
    calibrated = calibrate(measured, after)
    target = calibrated.above_background(measured) / calibration.scale[:, None, None]
    model = calibrated.signal(after) / calibration.scale[:, None, None]
    fall = problem.weights * ((problem.target - before) ** 2 - (target - model) ** 2)
    shifts, rotations = difference(there, geometry)
    shift, turn = rms(shifts), float(np.degrees(rms(rotations)))
    if np.median(fall.sum(axis=(1, 2), dtype=np.float64)) < _EXPLAINED or in_place(shift, turn):
        return ()
    r_before = np.nanmean(calibration.r_factors(measured, before))
    r_after = np.nanmean(calibrated.r_factors(measured, after))
    return (
        f"the images are not where the angles say: one step of {shift:.1f} pixels and {turn:.1f} degrees (rms) lowers "
        f"the R factor from {r_before:.3f} to {r_after:.3f}, and more steps lower it further; use --fit-geometry",
    )


def rotation_matrices(vectors: Floats) -> Floats:
    """Matrices (n, 3, 3) of rotations given by vectors (n, 3): axis times angle, radians."""
    from scipy.spatial.transform import Rotation

    return np.asarray(Rotation.from_rotvec(vectors).as_matrix())


def difference(geometry: ImageGeometry, before: ImageGeometry) -> tuple[Floats, Floats]:
    """Shift (n, 2), pixels, and rotation vector (n, 3), radians, in the frame of the object, between two geometries."""
    from scipy.spatial.transform import Rotation

    now, then = (np.concatenate([g.axes, np.cross(g.axes[:, :1], g.axes[:, 1:])], axis=1) for g in (geometry, before))
    turned = Rotation.from_matrix(then.swapaxes(1, 2) @ now)
    return geometry.centers - before.centers, np.asarray(turned.as_rotvec())


def in_place(shift: float, turn: float) -> bool:
    """Whether images that were moved by so many pixels and degrees, rms, are as good as where they were."""
    return shift < _SHIFTED and turn < _TURNED


def rms(vectors: Floats) -> float:
    """Root mean square length of vectors (n, k)."""
    return float(np.sqrt((vectors**2).sum(axis=1).mean()))


def corrected(series: TiltSeries, shifts: Floats, rotations: Floats) -> TiltSeries:
    """The series with the shifts and turns that were fitted to its images.

    Parameters
    ----------
    series : TiltSeries
        As it was before.
    shifts : ndarray, shape (n, 2)
        Pixels, of every image.
    rotations : ndarray, shape (n, 3)
        Degrees: axis times angle, in the frame of the object, as of `Refinement`.
    """
    turns = rotation_matrices(np.radians(rotations)).swapaxes(1, 2)
    return replace(series, rotations=turns @ series.rotations, center=series.center + shifts)


def _steps(geometry: ImageGeometry, measured: Images, atoms: GaussianAtoms) -> tuple[Floats, Floats]:
    """Shift (n, 2) and rotation (n, 3) of every image by one step of least squares; none where it shows no atoms."""
    model = images(geometry, atoms)
    calibration = calibrate(measured, model)
    problem = Problem.of(geometry, measured, model, calibration)
    moves = [np.broadcast_to(axis, atoms.positions.shape) for axis in np.eye(3)]
    turns = [np.cross(axis, atoms.positions) for axis in np.eye(3)]
    steps = [np.pad(step, ((0, 0), (0, 1))) for step in (*moves, *turns)]
    found = np.empty((len(model), 5))
    for block in np.array_split(np.arange(len(model)), -(-len(model) // _AT_ONCE)):
        part = geometry.of_images(block)
        slopes = [derivative(part, atoms, step) for step in steps]
        for k, own in zip(block, zip(*slopes, strict=True), strict=True):
            found[k] = _image_step(geometry.axes[k], problem.weights[k], problem.target[k], model[k], own)
    found[~calibration.shown] = 0.0
    return found[:, :2], found[:, 2:]


def _moved(geometry: ImageGeometry, shifts: Floats, rotations: Floats) -> ImageGeometry:
    """The geometry with images that shift and turn so much, but not too far for one step."""
    return replace(
        geometry,
        axes=geometry.axes @ rotation_matrices(_shortened(rotations, FARTHEST[1])),
        centers=geometry.centers + _shortened(shifts, FARTHEST[0]),
    )


def _image_step(axes: Floats, weights: Images, target: Images, model: Images, slopes: tuple[Images, ...]) -> Floats:
    """Shift and rotation (5,) of one image; the six `slopes` (nx, ny) are those of moves and turns of the object."""
    # moving the object along the row axis of the image moves what is seen by one row
    along = [np.tensordot(axis, slopes[:3], axes=1) for axis in axes]
    columns = np.stack([*along, *slopes[3:], model, np.ones_like(model)]).reshape(7, -1).astype(np.float64)
    weighted = columns * weights.ravel()
    matrix = np.array([(row * columns).sum(axis=1) for row in weighted])
    right = (weighted * (target - model).ravel()).sum(axis=1)
    diagonal = np.maximum(np.diagonal(matrix), np.finfo(float).tiny)
    scale = 1.0 / np.sqrt(diagonal)
    normal = matrix * scale[:, None] * scale + _RIDGE * np.eye(7)
    return np.asarray((scale * np.linalg.solve(normal, scale * right))[:5])


def _of_object(geometry: ImageGeometry, shifts: Floats) -> Floats:
    """The part of shifts (n, 2) that a translation of the object explains."""
    translation, *_ = np.linalg.lstsq(geometry.axes.reshape(-1, 3), shifts.ravel(), rcond=None)
    return np.asarray(geometry.axes @ translation)


def _shortened(vectors: Floats, longest: float) -> Floats:
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors * np.minimum(1.0, longest / np.maximum(length, longest)))
