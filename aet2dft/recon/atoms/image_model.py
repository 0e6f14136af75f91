"""Images of Gaussian atoms: the linear model that is fitted, its derivative and their adjoint, in pixels.

How it is fitted is in ``atom_fit``; noise and whole simulated series are made in ``simulate``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from aet2dft.recon.atoms import _kernels_atoms as kernels
from aet2dft.recon.tilt_series import TiltSeries

Floats = NDArray[np.float64]
Images = NDArray[np.float32]

NARROWEST = 0.5
"""Pixels: narrower atoms fall between the pixels. Here their sum is right to 3 %; at half of it, it may be a fifth."""
TYPICAL = 0.7
"""Of lower atoms than this fraction of the median of their kind many are none, or parts of others."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageGeometry:
    """Where points of the object land in the images."""

    axes: Floats
    """(n, 2, 3): rows of R^T that give row and column of a point of the object."""
    centers: Floats
    """(n, 2), pixels: where the rotation center lands."""
    shape: tuple[int, int]
    """Pixels of an image."""

    @classmethod
    def of(cls, series: TiltSeries) -> ImageGeometry:
        """That of a tilt series."""
        return cls(
            axes=np.ascontiguousarray(np.swapaxes(series.rotations, 1, 2)[:, :2]),
            centers=np.ascontiguousarray(series.center),
            shape=(int(series.projections.shape[1]), int(series.projections.shape[2])),
        )

    def of_images(self, which: NDArray[np.intp]) -> ImageGeometry:
        """That of some of the images, by index (m,)."""
        return replace(self, axes=self.axes[which], centers=self.centers[which])


@dataclass(frozen=True, kw_only=True, slots=True)
class GaussianAtoms:
    """Atoms as Gaussians of a few widths."""

    positions: Floats
    """(N, 3), pixels from the rotation center."""
    heights: Floats
    """(N,): sum of an image of the atom over its pixels, in the unit of the images."""
    kinds: NDArray[np.intp]
    """(N,): which of the widths an atom has."""
    widths: Floats
    """(number of kinds,), pixels: standard deviation of the Gaussians; what is below `NARROWEST` becomes that."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "widths", np.maximum(self.widths, NARROWEST))

    @property
    def sigma(self) -> Floats:
        """(N,), pixels: width of every atom."""
        return np.ascontiguousarray(self.widths[self.kinds])

    @property
    def typical(self) -> NDArray[np.bool_]:
        """(N,): which atoms are not much lower than most of their kind."""
        least = np.zeros(len(self.widths))
        for kind in np.unique(self.kinds):
            least[kind] = TYPICAL * np.median(self.heights[self.kinds == kind])
        return np.asarray(self.heights >= least[self.kinds])

    def of_atoms(self, which: NDArray[np.intp] | NDArray[np.bool_]) -> GaussianAtoms:
        """Some of the atoms, by index or mask, with the widths of all kinds."""
        return replace(self, positions=self.positions[which], heights=self.heights[which], kinds=self.kinds[which])


def images(geometry: ImageGeometry, atoms: GaussianAtoms) -> Images:
    """Images (n, nx, ny) of the atoms: sums of Gaussians of area `heights`, taken at the centers of the pixels."""
    return _splat(geometry, atoms, atoms.heights, np.zeros_like(atoms.positions))


def derivative(geometry: ImageGeometry, atoms: GaussianAtoms, step: Floats) -> Images:
    """Change (n, nx, ny) of the images, to first order, for changes (N, 4) of the positions and the heights."""
    moments = (atoms.heights / atoms.sigma**2)[:, None] * step[:, :3]
    return _splat(geometry, atoms, step[:, 3], moments)


def growth(geometry: ImageGeometry, atoms: GaussianAtoms) -> tuple[Images, Images]:
    """Changes (n, nx, ny) of the images with the logarithm of all widths, and with that of all heights."""
    middle = np.maximum(atoms.widths, NARROWEST / 0.999)  # or the narrower ones would not be narrower
    wider, narrower = (images(geometry, replace(atoms, widths=middle * factor)) for factor in (1.001, 0.999))
    return (wider - narrower) / np.float32(0.002), 0.5 * (wider + narrower)


def adjoint(geometry: ImageGeometry, atoms: GaussianAtoms, values: Images) -> Floats:
    """Transpose of `derivative`: images (n, nx, ny) to sums (N, 4) for the positions and the heights."""
    sums, moments = kernels.gather(atoms.positions, atoms.sigma, geometry.axes, geometry.centers, values)
    return np.concatenate([(atoms.heights / atoms.sigma**2)[:, None] * moments, sums[:, None]], axis=1)


def normal_blocks(geometry: ImageGeometry, atoms: GaussianAtoms, weights: Images) -> Floats:
    """Diagonal blocks (N, 4, 4) of J^T W J, for weights (n, nx, ny); J is `derivative`."""
    blocks = kernels.gather_squares(atoms.positions, atoms.sigma, geometry.axes, geometry.centers, weights)
    order = [1, 2, 3, 0]
    scale = np.ones((len(blocks), 4))
    scale[:, :3] = (atoms.heights / atoms.sigma**2)[:, None]
    return np.asarray(blocks[:, order][:, :, order] * scale[:, :, None] * scale[:, None, :])


def _splat(geometry: ImageGeometry, atoms: GaussianAtoms, amplitudes: Floats, moments: Floats) -> Images:
    values = np.zeros((len(geometry.axes), *geometry.shape), dtype=np.float32)
    kernels.splat(
        atoms.positions,
        atoms.sigma,
        np.ascontiguousarray(amplitudes),
        np.ascontiguousarray(moments),
        geometry.axes,
        geometry.centers,
        values,
    )
    return values
