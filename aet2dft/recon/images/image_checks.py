"""What can be wrong with a stack of images: refused in one sentence, or noted.

The thresholds are those at which published series pass and their damaged copies do not.
"""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aet2dft.errors import InputError
from aet2dft.recon.geometry import beam_range, euler_rotations, same_beams, tilt_rotations

PIXEL_SIZES = (0.05, 2.0)
"""Å; a pixel size outside this range is in another unit."""
_SATURATED, _LEAST_SATURATED = 1e-4, 10
"""Fraction and number of pixels at the maximum of integer images above which the detector was saturated."""
_DEEP = 255
"""An integer maximum below this is a count, not the end of a detector's range."""
_FITS_BETTER = 2.5
"""How many times better (mean squares) the profiles along the wrong axis must agree in transposed images."""
_MISALIGNED, _PASSES = 0.15, 8
"""Part of the length by which profiles may be moved to agree with their mean, and how often at most, one after another:
images that are not aligned yet are not transposed."""
_ALIKE = 1e-9
"""Rounding of the comparison."""
_DARK = 0.5
"""Standard deviations by which the middle of the mean image must be darker than its border to be called dark."""
_OTHER_INTENSITY = 0.3
"""Relative difference from the median total above which an image is named."""
_FEW_IMAGES, _SHORT_RANGE = 10, 60.0
"""Number of images, and range of angles in degrees, below which the elongation is said."""
_SAME_BEAM = 1e-11
"""Half the square of the angle between beams, in radians, below which they are one: 3e-4 degrees."""
Images = NDArray[np.float32]
Numbers = NDArray[np.intp]
Notes = tuple[str, ...]


def check_pixel_size(size: float | None, path: Path, *, option: str, anything: bool) -> float:
    """The size of a pixel or voxel of a file in Å, after a check of its unit; `option` is the flag that gives it."""
    if size is None:
        raise InputError(f"{path}: does not say how large a pixel is; give --{option} in Å, e.g. 0.3725")
    if not (math.isfinite(size) and size > 0):
        raise InputError(f"--{option} {size} is no size; give --{option} in Å, e.g. 0.3725")
    low, high = PIXEL_SIZES
    if anything or low <= size <= high:
        return float(size)
    factor, unit = (10.0, "nm") if size < low else (0.01, "pm")
    guess = f": {size:g} looks like {unit}, {size * factor:.4g} Å?" if low <= size * factor <= high else ""
    raise InputError(
        f"{path}: a pixel of {size:g} Å is outside {low} to {high} Å{guess}; give --{option} in Å, or --any-{option}"
    )


def like_volume(shape: tuple[int, ...]) -> bool:
    """Whether three edges are those of a volume: all alike, or a film, thin along the second; else of images."""
    return max(shape) < 1.25 * min(shape) or shape[0] == shape[2]


def as_images(values: NDArray[Any]) -> tuple[Images, Notes]:
    """Images (n, nx, ny) as float32; conversion of integers and saturation are noted."""
    if values.dtype.kind not in "iub":
        return np.ascontiguousarray(values, dtype=np.float32), ()
    notes: Notes = (f"integer images ({values.dtype}) converted to float32",)
    if values.dtype.itemsize <= 2 and values.dtype.kind != "b" and values.max() >= _DEEP:
        full = int((values == values.max()).sum())
        if full > max(_LEAST_SATURATED, _SATURATED * values.size):
            notes += (f"{full} pixels have the largest value, {values.max()}: the detector may have been saturated",)
    return np.ascontiguousarray(values, dtype=np.float32), notes


def mend_or_refuse(images: Images, *, fill: str | None, numbers: Numbers | None = None) -> tuple[Images, Notes]:
    """Images without NaN and infinities: they are refused, or become the median of their finite neighbors.

    Messages call the images by these numbers (n,); default: in order.
    """
    numbers = np.arange(len(images)) if numbers is None else numbers
    bad = np.argwhere(~np.isfinite(images))
    if not len(bad):
        return images, ()
    blank = np.flatnonzero(~np.isfinite(images).any(axis=(1, 2)))
    if blank.size:
        listed = ",".join(map(str, numbers[blank]))
        raise InputError(
            f"{_counted(blank.size, 'image')} of NaN or infinite pixels only; leave out with --exclude {listed}"
        )
    n, (image, row, column) = len(np.unique(bad[:, 0])), bad[0]
    first = f"image {numbers[image]}, pixel ({row}, {column})"
    where = f"{_counted(len(bad), 'pixel')} in {n} of {len(images)} images (first: {first})"
    if fill != "median":
        are = "is" if len(bad) == 1 else "are"
        raise InputError(f"{where} {are} NaN or infinite; give --fill median, or leave these images out (--exclude)")
    mended = images.copy()
    for k, i, j in bad:
        window = images[k, max(i - 2, 0) : i + 3, max(j - 2, 0) : j + 3]
        finite = window[np.isfinite(window)]
        if not finite.size:
            raise InputError(
                f"image {numbers[k]} has no finite pixel around ({i}, {j}); leave it out with --exclude {numbers[k]}"
            )
        mended[k, i, j] = np.median(finite)
    return mended, (f"{where} replaced by the median of their neighbors",)


def _counted(n: int, what: str) -> str:
    return f"{n} {what}{'s' * (n != 1)}"


def check_images(images: Images, angles: NDArray[np.float64], numbers: Numbers | None = None) -> Notes:
    """Refuse images that cannot belong to a tilt series, and note what is unusual.

    Parameters
    ----------
    images : ndarray, shape (n, nx, ny)
        Finite.
    angles : ndarray, shape (n,) or (n, 3)
        Degrees.
    numbers : ndarray, shape (n,), optional
        What messages call the images, where some were left out before; default: in order.

    Returns
    -------
    tuple of str
        What is unusual but can be worked with.

    Raises
    ------
    InputError
        For constant, identical, transposed and inverted images.
    """
    numbers = np.arange(len(images)) if numbers is None else numbers
    constant = np.flatnonzero(np.ptp(images, axis=(1, 2)) == 0)
    if constant.size and constant.size == len(images):
        raise InputError(
            f"all {len(images)} images show nothing (all pixels of image {numbers[0]} are {images[0, 0, 0]:g}); "
            "the file holds no images of an object, give another"
        )
    if constant.size:
        show = "shows" if constant.size == 1 else "show"
        raise InputError(
            f"{constant.size} of {len(images)} images {show} nothing (first: image {numbers[constant[0]]}, all pixels "
            f"are {images[constant[0], 0, 0]:g}); leave them out with --exclude {','.join(map(str, numbers[constant]))}"
        )
    _refuse_identical(images, numbers)
    _refuse_inverted(images)
    theta = angles if angles.ndim == 1 else angles[:, 1]
    _refuse_transposed(images, theta)
    return _unusual_totals(images, numbers) + _unusual_angles(angles)


def _refuse_identical(images: Images, numbers: Numbers) -> None:
    seen: dict[bytes, int] = {}
    for k, image in zip(numbers.tolist(), images, strict=True):
        first = seen.setdefault(hashlib.sha256(image.tobytes()).digest(), k)
        if first != k:
            raise InputError(f"images {first} and {k} are identical; leave one out with --exclude {k}")


def _refuse_inverted(images: Images) -> None:
    """An object on vacuum is brighter than the border of the mean image; an extended one is not darker."""
    mean = images.mean(axis=0, dtype=np.float64)
    if min(mean.shape) < 8:
        return
    edge, third = ([max(1, size // part) for size in mean.shape] for part in (16, 3))
    border = np.ones(mean.shape, dtype=bool)
    border[edge[0] : -edge[0], edge[1] : -edge[1]] = False
    middle = mean[third[0] : -third[0], third[1] : -third[1]]
    if middle.mean() < mean[border].mean() - _DARK * mean.std():
        raise InputError(
            "the object is darker than the border of the images; invert the contrast (dark-field images have it bright)"
        )


def _refuse_transposed(images: Images, theta: NDArray[np.float64]) -> None:
    """Along the tilt axis, the sum of an image over its other axis is the same at every tilt."""
    if len(images) < 3 or np.ptp(theta) < 20.0:
        return
    along_rows, along_columns = _spread(images.sum(axis=2)), _spread(images.sum(axis=1))
    if along_columns > _FITS_BETTER * along_rows:
        raise InputError(
            f"the images look transposed: their profiles along axis 0 agree {along_columns / along_rows:.1f} times "
            "better than those along axis 1, where the tilt axis should be; turn every image by 90 degrees"
        )


def _spread(profiles: NDArray[np.float32]) -> float:
    """Mean square by which profiles (n, length) of any scale and offset differ, put right: 0 alike, 1 unrelated."""
    from scipy.ndimage import gaussian_filter1d

    smooth = gaussian_filter1d(profiles.astype(np.float64), 1.0, axis=1)
    centered = smooth - smooth.mean(axis=1, keepdims=True)
    directions = centered / np.maximum(np.linalg.norm(centered, axis=1, keepdims=True), np.finfo(np.float64).tiny)
    farthest = int(_MISALIGNED * profiles.shape[1])
    moved = np.stack([np.roll(directions, shift, axis=1) for shift in range(-farthest, farthest + 1)])
    for _ in range(_PASSES):
        best = (moved @ directions.mean(axis=0)).argmax(axis=0)
        before, directions = directions, moved[best, np.arange(len(best))]
        if np.array_equal(directions, before):
            break
    return max(_ALIKE, 1.0 - float(np.square(directions.mean(axis=0)).sum()))


def _unusual_totals(images: Images, numbers: Numbers) -> Notes:
    totals = images.sum(axis=(1, 2), dtype=np.float64)
    median = float(np.median(totals))
    off = np.flatnonzero(np.abs(totals - median) > _OTHER_INTENSITY * abs(median)) if median else np.zeros(0, int)
    if not off.size:
        return ()
    listed = ", ".join(f"image {numbers[k]} {totals[k] / median:.2f}" for k in off[:5]) + (
        " ..." if off.size > 5 else ""
    )
    count = "1 image differs" if off.size == 1 else f"{off.size} images differ"
    return (f"{count} from the median total intensity by more than 30 % ({listed} of it)",)


def _unusual_angles(angles: NDArray[np.float64]) -> Notes:
    n, rotations = len(angles), tilt_rotations(angles) if angles.ndim == 1 else euler_rotations(angles)
    notes: Notes = ()
    beams = same_beams(rotations, rotations, _SAME_BEAM)
    repeated = int(np.tril(beams, -1).any(axis=1).sum())
    if repeated:
        many = f"{repeated} angles repeat" if repeated > 1 else "1 angle repeats"
        notes += (f"{many} an earlier one, or the opposite of one",)
    reach = beam_range(rotations)
    if beams.all():
        return (*notes, f"{_counted(n, 'image')} at one tilt: nothing is known of the depth of the object")
    if n < _FEW_IMAGES or reach < _SHORT_RANGE:
        notes += (
            f"{n} images over {reach:.0f} degrees: the volume will be elongated by {elongation(reach):.2f} "
            "along the beam",
        )
    return notes


def elongation(tilt_range: float) -> float:
    """Elongation of a volume along the beam for a range of tilts in degrees; infinite for none.

    Notes
    -----
    sqrt((a + sin a cos a) / (a - sin a cos a)) with a the half range (M. Radermacher and W. Hoppe, Proc. 7th Eur.
    Congr. Electron Microsc. (1980)).
    """
    half = math.radians(min(tilt_range, 180.0)) / 2.0
    product = math.sin(half) * math.cos(half)
    return math.sqrt((half + product) / (half - product)) if half > product else math.inf
