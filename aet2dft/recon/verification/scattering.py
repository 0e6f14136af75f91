"""Images of a model with multiple scattering in the geometry of a tilt series, and which of two models fits better.

Single images are made in ``multislice``; here they are kept in files, so that a stopped run goes on, and compared.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from aet2dft.atoms import digest
from aet2dft.errors import ResourceError
from aet2dft.recon.atoms.image_noise import calibrate
from aet2dft.recon.metrics import correlations
from aet2dft.recon.tilt_series import TiltSeries
from aet2dft.recon.verification.multislice import (
    Method,
    Microscope,
    Scan,
    numerics,
    predicted_seconds,
    scan_image,
    with_source,
)

Images = NDArray[np.float32]
Progress = Callable[[int, int], None]

_SOURCES = (0.05, 1.2)
"""Å: range in which the size of the source is looked for."""
_RESOLVED = 0.005
"""Å: accuracy to which it is found."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageComparison:
    """Measured images against those of the model, with multiple scattering and linear."""

    images: NDArray[np.int64]
    """(m,): which images of the series."""
    source_size: float
    """Å: size of the source with which the simulated images fit the measured ones best."""
    r_factor: NDArray[np.float64]
    """(m,): of the images with multiple scattering, each with the scale and background that fit best."""
    correlation: NDArray[np.float64]
    """(m,): their correlation coefficient with the measured ones."""
    r_factor_linear: NDArray[np.float64]
    """(m,): R factor of the linear images; both NaN for an image that does not show the atoms."""
    correlation_linear: NDArray[np.float64]
    """(m,): correlation coefficient of the linear images."""


def scans(series: TiltSeries) -> tuple[Scan, ...]:
    """Where the beam stands in every image of a series."""
    shape = (int(series.projections.shape[1]), int(series.projections.shape[2]))
    centers = [(float(row), float(column)) for row, column in series.center]
    return tuple(Scan(shape=shape, pixel_size=series.pixel_size, center=center) for center in centers)


def fine_images(
    atoms: Atoms,
    series: TiltSeries,
    *,
    method: Method,
    microscope: Microscope,
    cache: Path | None = None,
    progress: Progress | None = None,
) -> Images:
    """Images of a model with multiple scattering, by a point source, at the fine steps of the scans of a series.

    Parameters
    ----------
    atoms : Atoms
        The model.
    series : TiltSeries
        Geometry of the images.
    method : {"prism", "multislice"}
        How they are simulated.
    microscope : Microscope
        Beam and detector.
    cache : Path, optional
        Folder in which every image is kept as soon as it is there, under a name that follows from all that it depends
        on: one that is there, and whole, is not made again.
    progress : callable, optional
        Told how many images are done, and of how many.

    Returns
    -------
    ndarray, shape (n, steps * nx, steps * ny)
        Fractions of the beam.

    Raises
    ------
    InputError
        If abTEM is missing, or an atom has no element.
    ResourceError
        If an image cannot be kept.
    """
    found = []
    for k, (rotation, scan) in enumerate(zip(series.rotations, scans(series), strict=True)):
        identity = f"{digest(atoms)} {rotation.tolist()} {scan} {microscope} {method} {numerics()}"
        file = None if cache is None else cache / f"{hashlib.sha256(identity.encode()).hexdigest()[:20]}.npy"
        image = _kept(file, scan)
        if image is None:
            image = scan_image(atoms, rotation, scan, microscope, method=method)
            _keep(image, file)
        found.append(image)
        if progress is not None:
            progress(k + 1, series.n_images)
    return np.stack(found)


def seconds_needed(atoms: Atoms, series: TiltSeries, *, method: Method, microscope: Microscope) -> float:
    """Processor time that `fine_images` will take for a series, from that of its first image and of its middle one."""
    places = scans(series)
    some = {0, series.n_images // 2}
    each = [predicted_seconds(atoms, series.rotations[k], places[k], microscope, method=method) for k in some]
    return float(np.mean(each)) * series.n_images


def compare_images(series: TiltSeries, which: NDArray[np.int64], fine: Images, linear: Images) -> ImageComparison:
    """Fit the size of the source to measured images, and compare them with those of the model.

    Parameters
    ----------
    series : TiltSeries
        The measured images that were simulated.
    which : ndarray of int, shape (m,)
        Their numbers in the whole series.
    fine : ndarray, shape (m, steps * nx, steps * ny)
        Images of `fine_images`.
    linear : ndarray, shape (m, nx, ny)
        Linear images of the same model.
    """
    from scipy.optimize import minimize_scalar

    scan = scans(series)[0]
    measured = series.projections

    def r_factor(source_size: float) -> float:
        return float(np.nanmean(_r_factors(measured, with_source(fine, scan, source_size))))

    source = float(minimize_scalar(r_factor, bounds=_SOURCES, method="bounded", options={"xatol": _RESOLVED}).x)
    scattered = with_source(fine, scan, source)
    return ImageComparison(
        images=which,
        source_size=source,
        r_factor=_r_factors(measured, scattered),
        correlation=correlations(measured, scattered),
        r_factor_linear=_r_factors(measured, linear),
        correlation_linear=correlations(measured, linear),
    )


def _r_factors(measured: Images, model: Images) -> NDArray[np.float64]:
    """(n,): R factor of every image, with its own scale and background; NaN where it does not show the atoms."""
    return calibrate(measured, model).r_factors(measured, model)


def _kept(file: Path | None, scan: Scan) -> Images | None:
    """The image in a file; None where there is none, or a damaged one."""
    if file is None:
        return None
    try:
        image: Images = np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return image if image.shape == scan.places else None


def _keep(image: Images, file: Path | None) -> None:
    """Write an image so that its file is whole or not there."""
    if file is None:
        return
    temporary = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as stream:
            np.save(stream, image)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(file)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        problem = error.strerror or error
        raise ResourceError(f"{file.parent}: an image cannot be kept ({problem}); free space") from error
