"""The two value types between images and atoms: a tilt series and a volume.

How they are read from files is in ``readers``, how one becomes the other in ``reconstruction``.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from aet2dft.errors import InputError
from aet2dft.recon.geometry import euler_rotations, tilt_rotations

_SAME_AXIS = 1e-6
"""Largest element by which a rotation may differ from one about the second image axis in a single-axis series."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TiltSeries:
    """Aligned images of one object and how it was turned in each."""

    projections: NDArray[np.float32]
    """(n, nx, ny): images; first index = image, then row and column, both increasing with the coordinate."""
    rotations: NDArray[np.float64]
    """(n, 3, 3): R of every image; a point x of the object lands at (R^T x)[:2]."""
    tilt_angles: NDArray[np.float64]
    """(n,), degrees: theta of every image."""
    pixel_size: float
    """Å."""
    center: NDArray[np.float64]
    """(n, 2), pixels: index (row, column) in every image at which the rotation center lands."""

    def __post_init__(self) -> None:
        """Take over the arrays, read-only and of the right shape."""
        if self.projections.ndim != 3 or not self.projections.size:
            raise InputError(f"images of shape {self.projections.shape} are no stack (n, nx, ny); give one with images")
        n = len(self.projections)
        _freeze(self, "projections", np.float32, self.projections.shape)
        _freeze(self, "rotations", np.float64, (n, 3, 3))
        _freeze(self, "tilt_angles", np.float64, (n,))
        _freeze(self, "center", np.float64, (n, 2))
        _check_size("a pixel", self.pixel_size)
        _check_finite(self.projections)

    @classmethod
    def from_angles(
        cls, projections: NDArray[Any], angles: ArrayLike, *, pixel_size: float, center: ArrayLike | None = None
    ) -> TiltSeries:
        """A series whose rotations are given as angles.

        Parameters
        ----------
        projections : ndarray, shape (n, nx, ny)
            Images.
        angles : array_like, shape (n,), (n, 1) or (n, 3)
            Degrees: the tilt about the second image axis, or phi, theta, psi.
        pixel_size : float
            Å.
        center : array_like, shape (2,) or (n, 2), optional
            Index at which the rotation center lands; default: N // 2 of each axis.

        Raises
        ------
        InputError
            If the numbers of images and angles differ, or an angle is not finite.
        """
        degrees = np.asarray(angles, dtype=np.float64)
        degrees = degrees[:, 0] if degrees.ndim == 2 and degrees.shape[1] == 1 else degrees
        if degrees.ndim not in (1, 2) or len(degrees) != len(projections):
            raise InputError(f"{len(projections)} images, but angles of shape {degrees.shape}; give one row per image")
        if projections.ndim != 3:
            raise InputError(f"images of shape {projections.shape} are no stack (n, nx, ny); give one")
        middle = [size // 2 for size in projections.shape[1:]] if center is None else center
        return cls(
            projections=projections,
            rotations=tilt_rotations(degrees) if degrees.ndim == 1 else euler_rotations(degrees),
            tilt_angles=degrees if degrees.ndim == 1 else degrees[:, 1],
            pixel_size=float(pixel_size),
            center=np.broadcast_to(np.asarray(middle, dtype=np.float64), (len(degrees), 2)),
        )

    @property
    def n_images(self) -> int:
        """Number of images."""
        return len(self.projections)

    @property
    def is_single_axis(self) -> bool:
        """Whether all images differ by a turn about their second axis alone."""
        return bool(np.abs(self.rotations[:, 1] - (0.0, 1.0, 0.0)).max() < _SAME_AXIS)

    @property
    def digest(self) -> str:
        """SHA-256 of images and geometry."""
        return _digest(self)

    def subset(self, which: ArrayLike) -> TiltSeries:
        """The series of some of the images, by index or mask."""
        chosen = np.asarray(which)
        return TiltSeries(
            projections=self.projections[chosen],
            rotations=self.rotations[chosen],
            tilt_angles=self.tilt_angles[chosen],
            pixel_size=self.pixel_size,
            center=self.center[chosen],
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Volume:
    """A density on a grid of cubes."""

    values: NDArray[np.float32]
    """(nx, ny, nz): density; every index increases with its coordinate."""
    voxel_size: float
    """Å."""
    origin: NDArray[np.float64]
    """(3,), Å: position of the voxel of index N // 2, which is the rotation center where it is zero."""
    history: tuple[str, ...] = ()
    """What was done to it, oldest first."""

    def __post_init__(self) -> None:
        """Take over the arrays, read-only and of the right shape."""
        if self.values.ndim != 3 or not self.values.size:
            raise InputError(f"an array of shape {self.values.shape} is no volume; give three axes with values")
        _freeze(self, "values", np.float32, self.values.shape)
        _freeze(self, "origin", np.float64, (3,))
        _check_size("a voxel", self.voxel_size)

    @property
    def center(self) -> NDArray[np.float64]:
        """(3,): index of the voxel that lies at `origin`."""
        return np.array(self.values.shape, dtype=np.float64) // 2

    @property
    def digest(self) -> str:
        """SHA-256 of values and geometry; the history does not enter."""
        return _digest(self)

    def positions(self, indices: ArrayLike) -> NDArray[np.float64]:
        """Å: positions (..., 3) of voxel indices (..., 3), fractions of a voxel included."""
        return (np.asarray(indices, dtype=np.float64) - self.center) * self.voxel_size + self.origin

    def indices(self, positions: ArrayLike) -> NDArray[np.float64]:
        """Voxel indices (..., 3), with fractions, of positions (..., 3) in Å."""
        return (np.asarray(positions, dtype=np.float64) - self.origin) / self.voxel_size + self.center


def _digest(record: TiltSeries | Volume) -> str:
    content = hashlib.sha256()
    for field in dataclasses.fields(record):
        value = getattr(record, field.name)
        if isinstance(value, (np.ndarray, float)):
            content.update(str(np.shape(value)).encode())
            content.update(np.ascontiguousarray(value).data)
    return content.hexdigest()


def _check_size(what: str, size: float) -> None:
    if not (math.isfinite(size) and size > 0):
        raise InputError(f"{what} of {size} Å is no size; give its edge in Å")


def _check_finite(images: NDArray[np.float32]) -> None:
    # a sum is NaN or infinite where a value is, and makes no copy; that of huge values is looked at again
    with np.errstate(invalid="ignore", over="ignore"):
        total = float(images.sum(dtype=np.float64))
    if not math.isfinite(total) and not np.isfinite(images).all():
        bad = np.argwhere(~np.isfinite(images))
        raise InputError(f"{len(bad)} pixels are NaN or infinite (first: {tuple(bad[0].tolist())}); mend the images")


def _freeze(record: TiltSeries | Volume, name: str, dtype: DTypeLike, shape: tuple[int, ...]) -> None:
    """Replace an array field by a read-only one; the caller's own array stays writable."""
    values = np.ascontiguousarray(getattr(record, name), dtype=dtype).view()
    if values.shape != shape:
        raise InputError(f"{name} of shape {values.shape} do not fit the others; give shape {shape}")
    values.flags.writeable = False
    object.__setattr__(record, name, values)
