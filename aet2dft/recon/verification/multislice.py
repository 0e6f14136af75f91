"""Images of a model with multiple scattering, by the PRISM or the full multislice algorithm of abTEM (optional).

Every image is made at a fine step by a point source; the size of the source is put on afterwards and costs nothing.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Literal

import numpy as np
from ase import Atoms
from numpy.typing import ArrayLike, NDArray

from aet2dft import __version__
from aet2dft.errors import InputError

Method = Literal["prism", "multislice"]
Floats = NDArray[np.float64]

STEP = 0.19
"""Å: largest step of the beam; the image of a 30-mrad probe holds nothing finer than twice this."""
_MARGIN = 3.0
"""Å: empty border around the projected atoms; farther away a probe no longer meets them."""
_SLICE = 2.0
"""Å: thickness of the slices of the potential."""
_BAND = 1.02
"""The grid carries scattering angles up to this times the outer one of the detector, or that of the beam."""
_WAVES = 16
"""Incoming directions at a time: what the cache of a processor holds."""
_PLACES = 100
"""Places of the beam at a time: neighbors, so that their windows nearly coincide."""
_FACTORS = (2, 3, 5, 7)
"""Prime factors of lengths that are transformed quickly."""
_OVERHEAD = 2.5
"""Time of a whole image over that of its Fourier transforms, as measured."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Microscope:
    """A scanning transmission electron microscope with an annular dark-field detector, without aberrations."""

    energy: float = 300e3
    """Of the beam, eV."""
    convergence: float = 30.0
    """Half angle of the beam, mrad."""
    detector: tuple[float, float] = (38.0, 80.0)
    """Inner and outer half angle of the detector, mrad; a larger outer one takes a finer grid."""
    window: float = 7.0
    """Å: part of the plane around the beam that PRISM keeps; multislice keeps all."""

    @property
    def wavelength(self) -> float:
        """Å, relativistic."""
        return float(12.2642596 / np.sqrt(self.energy * (1.0 + 0.97847546e-6 * self.energy)))


@dataclass(frozen=True, kw_only=True, slots=True)
class Scan:
    """Where the beam stands: the pixels of an image, each divided into finer steps."""

    shape: tuple[int, int]
    """Rows and columns of the image."""
    pixel_size: float
    """Å."""
    center: tuple[float, float]
    """Index of the pixel, or between pixels, at which the rotation center lands."""

    @property
    def steps(self) -> int:
        """Steps of the beam from one pixel to the next."""
        return int(np.ceil(self.pixel_size / STEP - 1e-9))

    @property
    def step(self) -> float:
        """Å: distance of two neighboring places of the beam."""
        return self.pixel_size / self.steps

    @property
    def places(self) -> tuple[int, int]:
        """Places of the beam along both axes."""
        return self.steps * self.shape[0], self.steps * self.shape[1]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Cell:
    """The periodic box around the atoms in which the beam propagates, and its grid."""

    points: Floats
    """(N, 3), Å: atoms in the box; the beam enters at zero of the third coordinate."""
    first: NDArray[np.int64]
    """(2,): pixel of the image at the origin of the box; may be outside of it."""
    pixels: NDArray[np.int64]
    """(2,): size of the box in pixels."""
    extent: Floats
    """(3,), Å: its size."""
    folds: tuple[int, int]
    """How many windows of PRISM fit; 1 in multislice."""
    gpts: tuple[int, int]
    """Points of the grid."""

    @classmethod
    def around(cls, points: Floats, scan: Scan, microscope: Microscope, method: Method) -> _Cell:
        """That of atoms (N, 3), Å from the rotation center, in the frame of the image."""
        center = np.asarray(scan.center) * scan.pixel_size
        first = np.floor((points[:, :2].min(axis=0) + center - _MARGIN) / scan.pixel_size).astype(np.int64)
        last = np.ceil((points[:, :2].max(axis=0) + center + _MARGIN) / scan.pixel_size).astype(np.int64)
        lowest = points[:, 2].min() - 0.5 * _SLICE
        depth = points[:, 2].max() + 0.5 * _SLICE - lowest
        extent = np.append((last - first) * scan.pixel_size, depth)
        finest = microscope.wavelength / (3e-3 * max(microscope.detector[1], microscope.convergence) * _BAND)
        fold = [max(1, round(length / microscope.window)) if method == "prism" else 1 for length in extent[:2]]
        size = [_fast_length(length / finest, n) for length, n in zip(extent[:2], fold, strict=True)]
        return cls(
            points=points + np.append(center - first * scan.pixel_size, -lowest),
            first=first,
            pixels=last - first,
            extent=extent,
            folds=(fold[0], fold[1]),
            gpts=(size[0], size[1]),
        )


def scan_image(
    atoms: Atoms,
    rotation: ArrayLike,
    scan: Scan,
    microscope: Microscope = Microscope(),
    *,
    method: Method = "prism",
) -> NDArray[np.float32]:
    """Image of a model at the fine steps of a scan, by a point source in focus at half the thickness.

    Parameters
    ----------
    atoms : Atoms
        Positions in Å, measured from the rotation center.
    rotation : array_like, shape (3, 3)
        R of the image: a point x lands at (R^T x)[:2], and the beam runs along the third component.
    scan : Scan
        Pixels of the image.
    microscope : Microscope
        Beam and detector.
    method : {"prism", "multislice"}
        PRISM interpolates between the scattered waves of few incoming directions; multislice does not.

    Returns
    -------
    ndarray, shape (steps * nx, steps * ny)
        Fraction of the beam that falls on the detector; zero where no atom is near.

    Raises
    ------
    InputError
        If abTEM is missing, or an atom has no element.

    Notes
    -----
    PRISM: C. Ophus, Adv. Struct. Chem. Imaging 3, 13 (2017); abTEM: J. Madsen and T. Susi, Open Res. Europe 1, 24
    (2021). Atoms do not vibrate: their heat is part of the size of the source.
    """
    engine = load_abtem()
    if (atoms.numbers == 0).any():
        raise InputError("some atoms have no element, so that they cannot scatter; run `aet2dft classify` first")
    cell = _Cell.around(atoms.positions @ np.asarray(rotation, dtype=np.float64), scan, microscope, method)
    patch = _simulated(engine, atoms.numbers, cell, scan.steps * cell.pixels, microscope, method)
    return _placed(patch, scan.steps * cell.first, scan)


def with_source(fine: NDArray[np.float32], scan: Scan, source_size: float) -> NDArray[np.float32]:
    """Images as a source of finite size gives them, at the pixels.

    Parameters
    ----------
    fine : ndarray, shape (..., steps * nx, steps * ny)
        Images of `scan_image`.
    scan : Scan
        Their pixels.
    source_size : float
        Å: standard deviation of the source, with the heat of the atoms.

    Returns
    -------
    ndarray, shape (..., nx, ny)
        Images blurred by a Gaussian and taken at the centers of the pixels.
    """
    rows, columns = (np.fft.fftfreq(n, scan.step) for n in fine.shape[-2:])
    transfer = [np.exp(-2.0 * (np.pi * source_size * q) ** 2) for q in (rows, columns[: len(columns) // 2 + 1])]
    waves = np.fft.rfft2(fine) * (transfer[0][:, None] * transfer[1])
    blurred = np.fft.irfft2(waves, s=fine.shape[-2:])[..., :: scan.steps, :: scan.steps]
    return np.ascontiguousarray(np.maximum(blurred, 0.0), dtype=np.float32)


def predicted_seconds(
    atoms: Atoms, rotation: ArrayLike, scan: Scan, microscope: Microscope = Microscope(), *, method: Method = "prism"
) -> float:
    """Processor time that `scan_image` will take with the same arguments, from one timed Fourier transform.

    Parameters
    ----------
    atoms, rotation, scan, microscope, method
        As in `scan_image`.
    """
    from scipy.fft import fft2

    cell = _Cell.around(atoms.positions @ np.asarray(rotation, dtype=np.float64), scan, microscope, method)
    beams = np.pi * (1e-3 * microscope.convergence / microscope.wavelength) ** 2 * np.prod(cell.extent[:2] / cell.folds)
    waves = beams if method == "prism" else np.prod(scan.steps * cell.pixels)
    grid = np.ones(cell.gpts, dtype=np.complex64)
    fft2(grid)
    begun = time.process_time()
    for _ in range(4):
        fft2(grid)
    once = (time.process_time() - begun) / 4
    return float(_OVERHEAD * 2.0 * waves * np.ceil(cell.extent[2] / _SLICE) * once)


def numerics() -> str:
    """What an image depends on besides the arguments of `scan_image`: versions, and how finely all is sampled."""
    try:
        engine = version("abtem")
    except PackageNotFoundError:
        engine = "missing"
    return f"aet2dft {__version__} abtem {engine} {STEP} {_MARGIN} {_SLICE} {_BAND}"


def load_abtem() -> Any:
    """The module abTEM.

    Raises
    ------
    InputError
        If it is not installed.
    """
    try:
        import abtem
    except ImportError as error:
        raise InputError(
            "images with multiple scattering need abTEM, which is not installed; "
            "`pip install 'aet2dft[multislice]'`, or give --method linear"
        ) from error
    return abtem


def _simulated(
    engine: Any, numbers: NDArray[np.int64], cell: _Cell, places: NDArray[np.int64], lens: Microscope, method: Method
) -> NDArray[np.float32]:
    """Image of a cell at a grid of places of the beam that fills it."""
    settings = {"device": "cpu", "fft": "fftw", "fftw.threads": 1, "fftw.planning_effort": "FFTW_ESTIMATE"}
    with engine.config.set({**settings, "dask.lazy": False, "diagnostics.progress_bar": False}):
        potential = engine.Potential(
            Atoms(numbers, cell.points, cell=cell.extent, pbc=True),
            gpts=cell.gpts,
            slice_thickness=_SLICE,
            parametrization="lobato",
            projection="infinite",
        )
        end = (float(cell.extent[0]), float(cell.extent[1]))
        scan = engine.GridScan(start=(0.0, 0.0), end=end, gpts=(int(places[0]), int(places[1])), endpoint=False)
        detector = engine.AnnularDetector(*lens.detector)
        beam = {"energy": lens.energy, "semiangle_cutoff": lens.convergence}
        # the focus, at the entrance by default, is moved to half the thickness
        focus = {**beam, "defocus": 0.5 * float(cell.extent[2])}
        if method == "multislice":
            measured = engine.Probe(**focus).scan(potential, scan=scan, detectors=detector, lazy=False)
        else:
            waves = engine.SMatrix(potential=potential, interpolation=cell.folds, **beam)
            scattered = waves.build(max_batch=_WAVES, lazy=False)
            measured = scattered.reduce(
                scan=scan, detectors=detector, ctf=engine.CTF(**focus), max_batch_reduction=_PLACES
            )
    return np.asarray(measured.array, dtype=np.float32)


def _placed(patch: NDArray[np.float32], low: NDArray[np.int64], scan: Scan) -> NDArray[np.float32]:
    """The whole fine image, with a patch whose first place has the index `low`; what lies outside is lost."""
    whole = np.zeros(scan.places, dtype=np.float32)
    first = np.maximum(low, 0)
    last = np.minimum(low + patch.shape, whole.shape)
    if (first < last).all():
        inside = tuple(slice(a - b, c - b) for a, b, c in zip(first, low, last, strict=True))
        whole[first[0] : last[0], first[1] : last[1]] = patch[inside]
    return whole


def _fast_length(least: float, multiple: int) -> int:
    """Smallest length that is not below `least`, and `multiple` times a length that is transformed quickly."""
    n = multiple * int(np.ceil(least / multiple))
    while not _is_smooth(n // multiple):
        n += multiple
    return n


def _is_smooth(n: int) -> bool:
    for factor in _FACTORS:
        while n % factor == 0:
            n //= factor
    return n == 1
