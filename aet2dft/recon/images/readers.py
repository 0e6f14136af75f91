"""Files of images and volumes -> `TiltSeries`, `Volume`, support; the only place where axes are put in order.

How a file is opened is in ``array_files``, what can be wrong with images in ``image_checks``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aet2dft import mrc
from aet2dft.config import ImagesSettings, VolumeSettings
from aet2dft.errors import InputError
from aet2dft.recon.images.angle_files import check_angles, read_angles
from aet2dft.recon.images.array_files import StoredArray, stored_arrays
from aet2dft.recon.images.image_checks import as_images, check_images, check_pixel_size, like_volume, mend_or_refuse
from aet2dft.recon.images.image_folders import check_order, folder_stack
from aet2dft.recon.tilt_series import TiltSeries, Volume

_LEAST_EDGE = 4
"""A three-dimensional array that is shorter along one axis is a table, not a volume."""
_OTHER_SIZE = 0.01
"""Relative difference from which on a size of pixels that a file says is told beside that of the user."""
_ALIKE = 1.25
"""Ratio of the edges of an image up to which they are alike."""
_IMAGES = ("proj", "pj", "tilt", "image")
"""Words in the names of stacks of images."""
Notes = tuple[str, ...]


def read_tilt_series(path: str | Path, settings: ImagesSettings) -> tuple[TiltSeries, Notes]:
    """Read aligned images and their angles, and check them.

    Parameters
    ----------
    path : str or Path
        ``.mat`` (5 and 7.3), ``.npy``, ``.npz``, ``.mrc``, ``.tif``, ``.emd`` or ``.h5`` with a stack of images, or a
        folder with one image per ``.tif``, ``.mrc`` or ``.npy``.
    settings : ImagesSettings
        File of the angles, unless an EMD file says them; pixel size, and how to read where a file leaves it open.

    Returns
    -------
    series : TiltSeries
        With the rotation center at N // 2 of both axes.
    notes : tuple of str
        What was inferred, and what is unusual.

    Raises
    ------
    InputError
        If a file cannot be read, images and angles do not fit together, or the images cannot be those of a tilt series.
    """
    path = Path(path)
    found, notes = _stored(path)
    if settings.angles is not None:
        angles, more = read_angles(settings.angles, unit=settings.angle_unit, variable=settings.angles_variable)
        if path.is_dir() and angles.ndim == 1:
            check_order(path, angles)
    else:
        found, angles, more = _with_tilts(path, found, settings.variable)
    notes += more
    name, axis = _image_stack(path, found, len(angles), settings)
    if len(found) > 1:
        notes += (f"images: {name} of {path.name}, shape {found[name].shape}",)
    across = [k for k in (-3, -2, -1) if k + 3 != axis][-2:]
    size, said = _size(settings.pixel_size, found[name], across, path, option="pixel-size")
    notes += said
    size = check_pixel_size(size, path, option="pixel-size", anything=settings.any_pixel_size)
    if 0 in found[name].shape:
        raise InputError(f"{path}: {name} has shape {found[name].shape} and holds no pixel; give the images")
    stack, more = as_images(np.moveaxis(_as_stack(found[name].load()), axis, 0))
    keep = _kept(len(stack), settings.exclude)
    stack, mended = mend_or_refuse(stack[keep], fill=settings.fill, numbers=keep)
    notes += more + mended + check_images(stack, angles[keep], keep)
    return TiltSeries.from_angles(stack, angles[keep], pixel_size=size), notes


def read_volume(path: str | Path, settings: VolumeSettings = VolumeSettings()) -> tuple[Volume, Notes]:
    """Read a volume and check it.

    Parameters
    ----------
    path : str or Path
        ``.mrc``, ``.mat``, ``.npy``, ``.npz``, ``.tif``, ``.emd`` or ``.h5`` with one three-dimensional array.
    settings : VolumeSettings
        Voxel size where the file does not say it, and the variable where it has several.

    Returns
    -------
    volume : Volume
        With its middle voxel at zero.
    notes : tuple of str
        What was inferred.

    Raises
    ------
    InputError
        If the file cannot be read, holds no volume or several, or its values are not finite or all the same.
    """
    path = Path(path)
    name, array, notes = _one_volume(path, settings.variable)
    size, said = _size(settings.voxel_size, array, (0, 1, 2), path, option="voxel-size")
    notes += said + _doubt_stack(name, array.shape, path)
    size = check_pixel_size(size, path, option="voxel-size", anything=settings.any_voxel_size)
    values = np.asarray(array.load(), dtype=np.float32)
    bad = np.argwhere(~np.isfinite(values))
    if len(bad):
        first = tuple(bad[0].tolist())
        many = f"1 voxel of {name} is" if len(bad) == 1 else f"{len(bad)} voxels of {name} are"
        raise InputError(f"{path}: {many} NaN or infinite (first: {first}); mend the file")
    if np.ptp(values) == 0:
        raise InputError(f"{path}: all voxels of {name} are {values.flat[0]:g}; give a volume with something in it")
    return Volume(values=values, voxel_size=size, origin=np.zeros(3), history=(f"read from {path.name}",)), notes


def _size(
    given: float | None, array: StoredArray, axes: Sequence[int], path: Path, *, option: str
) -> tuple[float | None, Notes]:
    """Size of pixels or voxels, as the user says or else the file, and where it comes from."""
    if given is not None:
        said = [] if array.spacing is None else [array.spacing[axis] for axis in axes]
        # 1 Å is what much software writes where it does not know
        others = [s for s in said if s is not None and s != 1.0 and abs(s - given) > _OTHER_SIZE * given]
        return given, (f"--{option} {given:g} taken; {path.name} says {others[0]:.4g} Å",) if others else ()
    size = array.pixel_size(axes, path)
    if size is None:
        return None, ()
    doubt = ", which is what much software writes where it does not know" if size == 1.0 else ""
    return size, (f"{option.removesuffix('-size')}s of {size:.4g} Å, as {path.name} says{doubt}",)


def _doubt_stack(name: str, shape: tuple[int, ...], path: Path) -> Notes:
    """What is said of a volume that may be a stack of images; a film has such a shape as well."""
    if like_volume(shape):
        return ()
    named = any(word in name.lower() for word in _IMAGES)
    for n, *edges in ((shape[0], *shape[1:]), (shape[2], *shape[:2])):
        thin = 2 * n < min(edges) and max(edges) < _ALIKE * min(edges)
        if n < min(edges) and (named or thin or edges[0] == edges[1]):
            read = " x ".join(map(str, shape))
            return (f"{path.name} read as a volume of {read} voxels; a stack of {n} images? `reconstruct` takes those",)
    return ()


def _stored(path: Path) -> tuple[dict[str, StoredArray], Notes]:
    """Arrays of a file, or the stack that the files of a folder make."""
    if not path.is_dir():
        return stored_arrays(path), ()
    stack, notes = folder_stack(path)
    return {path.name: stack}, notes


def _with_tilts(
    path: Path, found: dict[str, StoredArray], variable: str | None
) -> tuple[dict[str, StoredArray], NDArray[np.float64], Notes]:
    """The one array whose file says the tilts of its images, and these."""
    having = {name: array for name, array in found.items() if array.tilts is not None and variable in (None, name)}
    if len(having) != 1:
        where = " (those in extended headers of MRC files are not read)" if path.suffix.lower() in mrc.SUFFIXES else ""
        raise InputError(f"{path.name}: the tilt angles are not known{where}; give their file with --angles")
    name, array = next(iter(having.items()))
    assert array.tilts is not None
    check_angles(array.tilts, path)
    low, high = array.tilts.min(), array.tilts.max()
    return having, array.tilts, (f"angles as {path.name} says beside {name}: {low:g} to {high:g} degrees",)


def read_support(path: str | Path, image_shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Region (nx, ny, nz) outside which the density is zero; its last axis sets the depth of the volume.

    Parameters
    ----------
    path : str or Path
        File with one three-dimensional array; voxels above zero are inside.
    image_shape : (int, int)
        Pixels of an image.

    Raises
    ------
    InputError
        If the file cannot be read, or holds no array over images of this shape, one that is not finite, or one
        without a voxel in it.
    """
    name, array, _ = _one_volume(Path(path), None)
    if array.shape[:2] != image_shape:
        wanted = f"({image_shape[0]}, {image_shape[1]}, depth)"
        raise InputError(f"{path}: the support has shape {array.shape}, the images want {wanted}; give one like that")
    values = np.asarray(array.load())
    if not np.isfinite(values).all():
        raise InputError(f"{path}: the support {name} holds NaN or infinities; write 1 for inside and 0 for outside")
    inside = values > 0
    if not inside.any():
        raise InputError(f"{path}: the support {name} is empty; mark the voxels that may hold atoms with 1")
    return inside


def _image_stack(path: Path, found: dict[str, StoredArray], n_angles: int, settings: ImagesSettings) -> tuple[str, int]:
    """Name of the array with one image per angle, and its axis that counts them."""
    fitting = {name: _image_axes(array.shape, n_angles, settings.image_axis) for name, array in found.items()}
    if settings.variable is not None:
        if settings.variable not in found:
            raise InputError(f"{path}: holds no {settings.variable!r}; it holds {', '.join(found) or 'no numbers'}")
        fitting = {settings.variable: fitting[settings.variable]}
    names = [name for name, axes in fitting.items() if axes]
    if not names:
        stacks = {name: array.shape for name, array in found.items() if len(array.shape) in (2, 3)}
        listed = ", ".join(f"{name} {shape}" for name, shape in stacks.items()) or "no stack of images"
        raise InputError(
            f"{settings.angles or path} holds {n_angles} angles, but no array of {path} has that many images: "
            f"{listed}; give one angle per image"
        )
    if len(names) > 1:
        raise InputError(f"{path}: {', '.join(names)} may all be the images; name one with --variable")
    axes = fitting[names[0]]
    if len(axes) > 1:
        shape = found[names[0]].shape
        raise InputError(f"{path}: {names[0]} {shape} has {n_angles} along several axes; say which with --image-axis")
    return names[0], axes[0]


def _image_axes(shape: tuple[int, ...], n_angles: int, asked: int | None) -> list[int]:
    """Axes of a stack that may count the images; a single image may come without such an axis."""
    shape = (1, *shape) if len(shape) == 2 and n_angles == 1 else shape
    if len(shape) != 3:
        return []
    return [axis for axis, length in enumerate(shape) if length == n_angles and asked in (None, axis)]


def _as_stack(values: NDArray[Any]) -> NDArray[Any]:
    return values[None] if values.ndim == 2 else values


def _kept(n: int, exclude: tuple[int, ...]) -> NDArray[np.intp]:
    """Indices of the images that stay."""
    wrong = [k for k in exclude if not 0 <= k < n]
    if wrong:
        raise InputError(f"--exclude {wrong[0]}: there are {n} images, numbered from 0; name others")
    keep = np.setdiff1d(np.arange(n), exclude)
    if not keep.size:
        raise InputError(f"--exclude leaves none of {n} images; keep some")
    return keep


def _one_volume(path: Path, variable: str | None) -> tuple[str, StoredArray, Notes]:
    """The only three-dimensional array of a file, or the one that is named."""
    found = stored_arrays(path)
    three = {name: a for name, a in found.items() if len(a.shape) == 3 and min(a.shape) >= _LEAST_EDGE}
    if variable is not None:
        three = {name: array for name, array in three.items() if name == variable}
    if len(three) != 1:
        listed = ", ".join(f"{name} {array.shape}" for name, array in found.items()) or "no numbers"
        problem = "several volumes" if three else f"no volume {variable or ''}".rstrip()
        wanted = f"three axes of at least {_LEAST_EDGE} voxels are wanted"
        raise InputError(
            f"{path}: holds {problem}: {listed}; {'name one with --variable' if len(found) > 1 else wanted}"
        )
    name = next(iter(three))
    return name, three[name], (f"volume: {name} of {path.name}",) if len(found) > 1 else ()
