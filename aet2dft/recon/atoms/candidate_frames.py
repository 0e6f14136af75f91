"""Candidates that other software traced, in the frame of a volume: which unit and origin their coordinates have."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from aet2dft.atoms import CANDIDATE_RANGE, neighbor_distances
from aet2dft.errors import InputError
from aet2dft.recon.atoms import _kernels_peaks as kernels
from aet2dft.recon.tilt_series import Volume

Floats = NDArray[np.float64]

_RADIUS = 0.7
"""Å: radius of the spheres in which the volume is looked at."""
_CLEARLY = 2.0
"""The volume at candidates is this many times as bright as on average, or it is not theirs."""
_MOST_BESIDE = 0.3
"""Part of the candidates that may lie beside a bright spot, as noise moves it."""
_UNITS = {"Å": 0.0, "voxels": 1.0, "thirds of a voxel": 1.0 / 3.0}
"""Voxels per unit of length; 0 for Å. Volumes are often upsampled three times before they are traced."""
_ORIGINS = {"the center": 0.0, "the first voxel, as 0": 0.0, "the first voxel, as 1": 1.0}
"""What coordinates may be measured from, and the coordinate that this place has, in their unit."""


def in_frame_of(volume: Volume, positions: Floats) -> tuple[Floats, str]:
    """Candidates in Å from the origin of a volume, and how their coordinates were read.

    Parameters
    ----------
    volume : Volume
        Density with the candidates as bright spots.
    positions : ndarray, shape (n, 3)
        Coordinates in Å, voxels, or thirds of a voxel, from the center or the first voxel; axes as in the volume.

    Returns
    -------
    positions : ndarray, shape (n, 3)
        Å.
    reading : str
        Unit and origin in words.

    Raises
    ------
    InputError
        If there are no candidates, a coordinate is not finite, or the volume is not clearly brighter at the candidates
        in any of these frames.

    Notes
    -----
    The frame in which the volume is brightest at the candidates, of those in which they are as far apart as atoms are,
    if there are any; coordinates as they should be win a tie.
    """
    if not positions.size or not np.isfinite(positions).all():
        raise InputError("there are no candidates, or a coordinate is not finite; give a file with their positions")
    best, reading, brightest = positions, "", -np.inf
    possible = {unit: scale for unit, scale in _UNITS.items() if _as_atoms(positions * _length(volume, scale))}
    for unit, scale in (possible or _UNITS).items():
        for origin, first in _ORIGINS.items():
            tried = _read(volume, positions, scale, None if origin == "the center" else first)
            bright = _brightness(volume, tried)
            if bright > brightest:
                best, reading, brightest = tried, f"{unit} from {origin}", bright
    average = _brightness(volume, volume.positions(_all_over(volume)))
    if not brightest > _CLEARLY * max(average, 0.0):
        raise InputError(
            "the volume is not brighter at the candidates, whatever unit and origin their coordinates have; check "
            "--voxel-size and the order of the axes"
        )
    return best, reading


def doubts(volume: Volume, positions: Floats) -> tuple[str, ...]:
    """Sentences where candidates lie beside the bright spots of a volume, or too near each other or too far apart.

    Parameters
    ----------
    volume : Volume
        Density.
    positions : ndarray, shape (n, 3)
        Å, as `in_frame_of` gives them.
    """
    beside, most = _beside(volume, positions), _MOST_BESIDE * len(positions)
    said: tuple[str, ...] = ()
    if beside > most:
        offset = _offset(volume, positions)
        if _beside(volume, positions + offset) <= most:
            by = ", ".join(f"{x:.1f}" for x in offset)
            why = f"moved by ({by}) Å together they lie on them; has the volume another origin, or a margin?"
        else:
            why = "are the order and the signs of their axes those of the volume, and is --voxel-size?"
        said = (
            f"{beside} of {len(positions)} candidates lie beside bright spots of the volume, which is brighter "
            f"{_RADIUS} Å away: {why}",
        )
    if not _as_atoms(positions):
        said += (
            f"the candidates are {_spacing(positions):.2f} Å apart in the median, as no atoms are: check the unit of "
            "their coordinates and --voxel-size",
        )
    return said


def _spacing(positions: Floats) -> float:
    """Å: median distance of candidates (n, 3), Å, from their nearest neighbors."""
    return float(np.median(neighbor_distances(Atoms("X" * len(positions), positions=positions))[0]))


def _as_atoms(positions: Floats) -> bool:
    """Whether candidates (n, 3), Å, are as far apart as atoms are; a single one is."""
    low, high = CANDIDATE_RANGE
    return len(positions) < 2 or low <= _spacing(positions) <= high


def _length(volume: Volume, scale: float) -> float:
    """Å of a unit of so many voxels; 0 for Å."""
    return scale * volume.voxel_size if scale else 1.0


def _read(volume: Volume, positions: Floats, scale: float, first: float | None) -> Floats:
    """Å of coordinates of so many voxels (0: of Å), `first` at the first voxel; None: zero at the center."""
    unit = _length(volume, scale)
    if first is None:
        return np.asarray(positions * unit + volume.origin)
    at_zero = first * (unit if scale else volume.voxel_size)
    return np.asarray(positions * unit - at_zero + volume.positions(np.zeros(3)))


def _brightness(volume: Volume, positions: Floats) -> float:
    """Mean sum of the density in spheres around positions (n, 3), Å; nothing outside."""
    return float(_sums(volume, positions).mean())


def _sums(volume: Volume, positions: Floats) -> Floats:
    """Sums (n,) of the density in spheres around positions (n, 3), Å; nothing outside."""
    return np.asarray(kernels.sphere_sums(volume.values, volume.indices(positions), _RADIUS / volume.voxel_size))


def _beside(volume: Volume, positions: Floats) -> int:
    """How many of the positions (n, 3), Å, have a brighter place of the volume beside them."""
    around = [_sums(volume, positions + _RADIUS * step) for step in np.concatenate([np.eye(3), -np.eye(3)])]
    return int((np.max(around, axis=0) > _sums(volume, positions)).sum())


def _offset(volume: Volume, positions: Floats) -> Floats:
    """Å (3,), in whole voxels: common shift of positions (n, 3), Å, with which the volume is brightest at them."""
    from scipy.fft import irfftn, rfftn

    shape = np.array(volume.values.shape)
    voxels = np.rint(volume.indices(positions)).astype(np.intp)
    there = np.zeros(shape, dtype=np.float32)
    np.add.at(there, tuple(voxels[((voxels >= 0) & (voxels < shape)).all(axis=1)].T), 1.0)
    likeness = irfftn(rfftn(volume.values) * rfftn(there).conj(), s=volume.values.shape)
    shift = np.array(np.unravel_index(int(likeness.argmax()), volume.values.shape))
    return np.asarray(np.where(shift > shape // 2, shift - shape, shift) * volume.voxel_size)


def _all_over(volume: Volume) -> Floats:
    """Indices (m, 3) of voxels spread evenly over a volume."""
    axes = [np.linspace(0, size - 1, min(size, 24)).round() for size in volume.values.shape]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
