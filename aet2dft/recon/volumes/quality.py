"""What a tilt series can tell at all, and how far two halves of it agree."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aet2dft.recon.tilt_series import TiltSeries

_DIRECTIONS = 4000
"""Directions on the half sphere by which completeness is counted."""
_MAP = 32
"""Frequencies from the center of the map of the missing wedge to its edge."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Coverage:
    """Frequencies that a tilt series measures: a matter of its geometry alone."""

    frequency: NDArray[np.float64]
    """(n,), 1/Å: middle of every shell, up to the Nyquist frequency."""
    completeness: NDArray[np.float64]
    """(n,): part of the shell that lies within half a reciprocal voxel of some image."""
    n_near: NDArray[np.int64]
    """(65, 65): images near every frequency of the plane of x and z, from minus to plus the Nyquist frequency; zeros
    are the missing wedge and the gaps between images."""
    missing_fraction: float
    """Part of all frequencies up to Nyquist that no image measures."""


def coverage(series: TiltSeries, size: int) -> Coverage:
    r"""Count what is measured.

    Parameters
    ----------
    series : TiltSeries
        Gives rotations and the size of the pixels.
    size : int
        Voxels along the longest side of the object's box.

    Notes
    -----
    By the projection theorem an image measures the plane through the origin perpendicular to its beam w. An object of
    N voxels makes a frequency q, in reciprocal voxels, known where :math:`|q \cdot w| \le 1/2`; between planes that are
    farther apart nothing is (R. A. Crowther, D. J. DeRosier and A. Klug, Proc. R. Soc. A 317, 319 (1970)).
    """
    beams = series.rotations[:, :, 2]
    radius = np.arange(1, size // 2 + 1)
    nearest = np.abs(_half_sphere() @ beams.T).min(axis=1)
    completeness = (np.multiply.outer(radius, nearest) <= 0.5).mean(axis=1)
    x, z = np.meshgrid(*[np.arange(-_MAP, _MAP + 1) * (size / 2 / _MAP)] * 2, indexing="ij")
    distances = np.abs(np.multiply.outer(x, beams[:, 0]) + np.multiply.outer(z, beams[:, 2]))
    return Coverage(
        frequency=radius / (size * series.pixel_size),
        completeness=completeness,
        n_near=(distances <= 0.5).sum(axis=2),
        missing_fraction=float(1 - (completeness * radius**2).sum() / (radius**2).sum()),
    )


def _half_sphere() -> NDArray[np.float64]:
    """Directions (n, 3), evenly spread on a spiral."""
    step = np.arange(_DIRECTIONS)
    z = (step + 0.5) / _DIRECTIONS
    turn = np.pi * (3 - np.sqrt(5)) * step
    across = np.sqrt(1 - z * z)
    return np.column_stack([across * np.cos(turn), across * np.sin(turn), z])
