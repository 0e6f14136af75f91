"""Angles of a tilt series as rotations, and where a point of the object lands in an image.

The one place where angle conventions live; images are read and aligned elsewhere.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from aet2dft.errors import InputError

_ORTHONORMAL = 1e-6
"""Largest element of R^T R - 1 of a matrix that still counts as a rotation."""
_LOCKED = 1e-8
"""cos(theta) below which phi and psi turn about one axis; their errors are of this size on either side of it."""


def tilt_rotations(tilt_angles: ArrayLike) -> NDArray[np.float64]:
    """Rotations of a single-axis tilt series.

    Parameters
    ----------
    tilt_angles : array_like, shape (...)
        Degrees, about the second axis of the images.

    Returns
    -------
    ndarray, shape (..., 3, 3)
        Matrices that multiply column vectors.

    Raises
    ------
    InputError
        If an angle is not finite.
    """
    return _about(1, _finite(tilt_angles, "tilt angles"))


def same_beams(rotations: NDArray[np.float64], others: NDArray[np.float64], tolerance: float) -> NDArray[np.bool_]:
    """Which images of two sets look along the same line: the beam and its opposite show the same image, mirrored.

    Parameters
    ----------
    rotations, others : ndarray, shape (n, 3, 3) and (m, 3, 3)
        Of the images.
    tolerance : float
        Of the cosine of the angle between the beams: about half the square of that angle in radians.

    Returns
    -------
    ndarray of bool, shape (n, m)
        For every pair.
    """
    return np.asarray(np.abs(rotations[:, :, 2] @ others[:, :, 2].T) > 1 - tolerance)


def beam_range(rotations: NDArray[np.float64]) -> float:
    """Largest angle between the beams of two images, degrees: the range of the tilts, about whatever axis.

    Parameters
    ----------
    rotations : ndarray, shape (n, 3, 3)
        Of the images.
    """
    beams = rotations[:, :, 2]
    return float(np.degrees(np.arccos(np.clip((beams @ beams.T).min(), -1.0, 1.0))))


def euler_rotations(angles: ArrayLike) -> NDArray[np.float64]:
    """Rotations of a tilt series whose every image has three refined angles.

    Parameters
    ----------
    angles : array_like, shape (..., 3)
        Phi, theta, psi, degrees; theta is the tilt.

    Returns
    -------
    ndarray, shape (..., 3, 3)
        Matrices that multiply column vectors.

    Raises
    ------
    InputError
        If there are not three angles per image, or one is not finite.

    Notes
    -----
    R = Rz(phi) Ry(theta) Rx(psi), right-handed and active: the order that gives the published projections of known
    objects (the tests do so with one). The original GENFIRE (A. Pryor et al., Sci. Rep. 7, 10409 (2017)) turns about
    z, y, z; the two agree where psi = 0.
    """
    degrees = _finite(angles, "Euler angles")
    if degrees.ndim == 0 or degrees.shape[-1] != 3:
        raise InputError(f"Euler angles of shape {degrees.shape} are not phi, theta, psi per image; give shape (n, 3)")
    return compose(degrees, order=(0, 1, 2), axes=(2, 1, 0))


def compose(angles: ArrayLike, *, order: tuple[int, ...], axes: tuple[int, ...]) -> NDArray[np.float64]:
    """Product of rotations about coordinate axes.

    Parameters
    ----------
    angles : array_like, shape (..., k)
        Degrees.
    order : tuple of int
        Which angle each factor of the product takes, from the left.
    axes : tuple of int
        Axis, 0 to 2, about which each angle turns.

    Returns
    -------
    ndarray, shape (..., 3, 3)
        Matrices that multiply column vectors.
    """
    degrees = np.asarray(angles, dtype=np.float64)
    product = np.broadcast_to(np.eye(3), (*degrees.shape[:-1], 3, 3))
    for k in order:
        product = product @ _about(axes[k], degrees[..., k])
    return product


def euler_angles(rotations: ArrayLike) -> NDArray[np.float64]:
    """Phi, theta, psi of rotations: the inverse of `euler_rotations`.

    Parameters
    ----------
    rotations : array_like, shape (..., 3, 3)
        Rotation matrices that multiply column vectors.

    Returns
    -------
    ndarray, shape (..., 3)
        Degrees; theta in -90..90, the others in -180..180. At theta = ±90 only a combination of phi and psi has a
        meaning; psi is 0 there.

    Raises
    ------
    InputError
        If a matrix is not a proper rotation.
    """
    matrices = _proper(rotations)
    locked = np.hypot(matrices[..., 0, 0], matrices[..., 1, 0]) < _LOCKED
    theta = np.arctan2(-matrices[..., 2, 0], np.hypot(matrices[..., 0, 0], matrices[..., 1, 0]))
    phi = np.where(
        locked,
        np.arctan2(-matrices[..., 0, 1], matrices[..., 1, 1]),
        np.arctan2(matrices[..., 1, 0], matrices[..., 0, 0]),
    )
    psi = np.where(locked, 0.0, np.arctan2(matrices[..., 2, 1], matrices[..., 2, 2]))
    return np.asarray(np.degrees(np.stack([phi, theta, psi], axis=-1)))


def project(points: ArrayLike, rotations: ArrayLike) -> NDArray[np.float64]:
    """Where points of the object land in the images.

    Parameters
    ----------
    points : array_like, shape (N, 3)
        Positions measured from the rotation center, Å or voxels.
    rotations : array_like, shape (..., 3, 3)
        One rotation per image, from `tilt_rotations` or `euler_rotations`.

    Returns
    -------
    ndarray, shape (..., N, 3)
        Row and column, measured from the center of the image, and the coordinate along the beam; unit of `points`.

    Raises
    ------
    InputError
        If a coordinate is not finite, the points are not (N, 3), or a matrix is not a proper rotation.

    Notes
    -----
    (row, column, beam) = R^T x. The center of an image axis of N pixels is the 0-based index N // 2.
    """
    positions = _finite(points, "points")
    if positions.ndim != 2 or positions.shape[1] != 3:
        raise InputError(f"points of shape {positions.shape} are not positions; give shape (N, 3)")
    return np.asarray(np.einsum("ni,...ij->...nj", positions, _proper(rotations)))


def _about(axis: int, degrees: NDArray[np.float64]) -> NDArray[np.float64]:
    """Right-handed rotations (..., 3, 3) about a coordinate axis."""
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    first, second = (axis + 1) % 3, (axis + 2) % 3
    matrices = np.zeros((*degrees.shape, 3, 3))
    matrices[..., axis, axis] = 1.0
    matrices[..., first, first] = matrices[..., second, second] = cosine
    matrices[..., second, first], matrices[..., first, second] = sine, -sine
    return matrices


def _finite(values: ArrayLike, what: str) -> NDArray[np.float64]:
    array = np.asarray(values, dtype=np.float64)
    bad = np.argwhere(~np.isfinite(array))
    if len(bad):
        raise InputError(
            f"{len(bad)} {what} are NaN or infinite (first: {tuple(bad[0].tolist())}); remove or mend them"
        )
    return array


def _proper(rotations: ArrayLike) -> NDArray[np.float64]:
    """The matrices as an array (..., 3, 3), after a check."""
    matrices = _finite(rotations, "elements of the rotations")
    if matrices.shape[-2:] != (3, 3):
        raise InputError(f"rotations of shape {matrices.shape} are not 3x3 matrices; give shape (n, 3, 3)")
    product = np.swapaxes(matrices, -1, -2) @ matrices
    if (np.abs(product - np.eye(3)) > _ORTHONORMAL).any() or (np.linalg.det(matrices) < 0).any():
        raise InputError("a matrix is no rotation (not orthonormal, or a reflection); make it with euler_rotations")
    return matrices
