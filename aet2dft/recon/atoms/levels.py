"""What the heights of maxima are measured by: the ground of a volume, its strong maxima, and voxels that are faults."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from aet2dft.errors import InputError
from aet2dft.recon.atoms import _kernels_peaks as kernels
from aet2dft.recon.atoms.populations import bounded, k_means
from aet2dft.recon.tilt_series import Volume

Floats = NDArray[np.float64]
Values = NDArray[np.float32]

_SAMPLE = 1_000_000
"""Voxels that are enough to find the ground."""
_LONELY = 10.0
"""How many times as bright as each of its neighbors a voxel is that no atom makes: one as narrow is not resolved."""
_OUTLYING = 3.0
"""How many times as high as the strong maxima such a voxel must be; the highest atoms are 1.3 times as high."""


def cleared(volume: Volume, smoothing: float) -> tuple[Volume, Values]:
    """The volume less its ground and without faulty voxels, and the same smoothed; its history says what was done.

    Parameters
    ----------
    volume : Volume
        Density of atoms.
    smoothing : float
        Å: standard deviation of the Gaussian.

    Raises
    ------
    InputError
        If it is not finite, or has no positive maximum.

    Notes
    -----
    The ground is the mode of the voxels by the half-sample of D. R. Bickel and R. Frühwirth, Comput. Stat. Data Anal.
    50, 3500 (2006): the narrowest half of the values, of it the narrowest half, and so on. It is zero in volumes of
    `reconstruct`, and taken for zero where it is within half the range of the narrowest half of all values. A voxel is
    faulty that is ten times as bright as each of its neighbors, and three times as high as strong maxima without it.
    """
    _check_finite(volume)
    ground = _ground(volume.values)
    if ground != 0.0:
        said = f"the ground of the volume, {ground:.4g}, was taken off: heights are above it"
        volume = replace(volume, values=volume.values - np.float32(ground), history=(*volume.history, said))
    smooth = _smoothed(volume, smoothing)
    faults = _faulty_voxels(volume.values, smooth)
    if not len(faults):
        return volume, smooth
    values = volume.values.copy()
    values[tuple(faults.T)] = _brightest_neighbors(volume.values, faults)
    said = (
        f"single voxels far brighter than all atoms were made as bright as their neighbors: {len(faults)} (first: "
        f"{tuple(faults[0].tolist())})"
    )
    mended = replace(volume, values=values, history=(*volume.history, said))
    return mended, _smoothed(mended, smoothing)


def _check_finite(volume: Volume) -> None:
    if not np.isfinite(volume.values).all():
        bad = np.argwhere(~np.isfinite(volume.values))
        raise InputError(f"{len(bad)} voxels are NaN or infinite (first: {tuple(bad[0].tolist())}); mend the volume")


def _smoothed(volume: Volume, smoothing: float) -> NDArray[np.float32]:
    from scipy.ndimage import gaussian_filter

    if smoothing == 0:
        return volume.values
    return np.asarray(gaussian_filter(volume.values, smoothing / volume.voxel_size, mode="nearest", truncate=3.0))


def _ground(values: Values) -> float:
    if 2 * np.count_nonzero(values) <= values.size:
        return 0.0
    sample = np.sort(values.ravel()[:: -(-values.size // _SAMPLE)]).astype(np.float64)
    half = _narrowest_half(sample)
    noise = half[-1] - half[0]
    while len(half) > 2 and half[0] < half[-1]:
        half = _narrowest_half(half)
    mode = float(half.mean())
    return mode if abs(mode) > noise / 2.0 else 0.0


def _narrowest_half(values: Floats) -> Floats:
    """Of rising values (n,), the half of them with the smallest range."""
    n = (len(values) + 1) // 2
    start = int(np.argmin(values[n - 1 :] - values[: len(values) - n + 1]))
    return values[start : start + n]


def maxima(smooth: Values) -> tuple[NDArray[np.intp], float]:
    """Positive maxima (n, 3) of a smoothed volume, and the height of the strong ones.

    Parameters
    ----------
    smooth : ndarray, shape (nx, ny, nz)
        Smoothed volume.

    Raises
    ------
    InputError
        If there are none.
    """
    flat = kernels.local_maxima(smooth, 0.0)
    if not flat.size:
        raise InputError("the volume has no positive maximum inside; is it the density of atoms, bright on dark?")
    return np.stack(np.unravel_index(flat, smooth.shape), axis=1), _strong(smooth.ravel()[flat].astype(np.float64))


def _strong(heights: Floats) -> float:
    """Height of those above the threshold of Otsu, IEEE Trans. Syst. Man Cybern. 9, 62 (1979), without spots."""
    heights = bounded(heights)
    boundaries = k_means(heights, 2).boundaries
    return float(np.percentile(heights[heights >= boundaries[0]] if boundaries.size else heights, 95))


def _faulty_voxels(values: Values, smooth: Values) -> NDArray[np.intp]:
    """Maxima (m, 3) that one voxel makes, far brighter than its neighbors and higher than all atoms."""
    places, _ = maxima(smooth)
    lonely = values[tuple(places.T)] > _LONELY * _brightest_neighbors(values, places)
    if not lonely.any() or lonely.all():
        return places[:0]
    heights = smooth[tuple(places.T)].astype(np.float64)
    return np.asarray(places[lonely & (heights > _OUTLYING * _strong(heights[~lonely]))])


def _brightest_neighbors(values: Values, places: NDArray[np.intp]) -> Values:
    """The largest of the 26 values around each place (n, 3)."""
    brightest, last = np.full(len(places), -np.inf, dtype=values.dtype), np.array(values.shape) - 1
    for step in itertools.product((-1, 0, 1), repeat=3):
        if any(step):
            near = np.clip(places + np.array(step), 0, last)
            np.maximum(brightest, values[tuple(near.T)], out=brightest)
    return brightest
