"""What the images show beyond a model of atoms: the residuals projected back, and the atoms that are missing there.

Whether a found atom stays is decided in ``refinement``, after it was fitted.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aet2dft.recon.atoms import _kernels_atoms as atom_kernels
from aet2dft.recon.atoms import _kernels_peaks as peak_kernels
from aet2dft.recon.atoms.image_model import GaussianAtoms, ImageGeometry, images
from aet2dft.recon.atoms.peaks import FIT_WIDTH, thinned

Floats = NDArray[np.float64]
Images = NDArray[np.float32]

DISTANCE = 0.85
"""Of two atoms nearer than this fraction of the minimum distance one is false; noise lets real ones lean that far."""
SHELL = 1.35
"""Neighbors are counted up to this multiple of the median distance of nearest neighbors."""
_FARTHEST = 2.0
"""Nearest neighbors are taken to be no farther than this multiple of the minimum distance; a lone atom has none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BackProjector:
    """Weighted back-projection of images, in units of the heights of atoms."""

    geometry: ImageGeometry
    """Where points land."""
    filters: Images
    """(n, fx, fy // 2 + 1): what the transform of every padded image is multiplied by."""
    padded: tuple[int, int]
    """Pixels of a padded image."""

    @classmethod
    def of(cls, geometry: ImageGeometry, *, diameter: float, width: float) -> BackProjector:
        r"""For an object of this diameter, smoothed by a Gaussian of this width, pixels.

        Notes
        -----
        Every frequency is divided by the number of images that measure it, of which image l counts with
        :math:`\max(0, 1 - D |q \cdot n_l|)`, n_l its beam: the exact filter of G. Harauz and M. van Heel, Optik 73,
        146 (1986), for any set of angles. The result is scaled so that an atom shows its height.
        """
        from scipy.fft import next_fast_len

        rows, columns = (int(next_fast_len(2 * size, real=True)) for size in geometry.shape)
        q_row, q_column = np.fft.fftfreq(rows), np.fft.rfftfreq(columns)
        beams = np.cross(geometry.axes[:, 0], geometry.axes[:, 1])
        smoothing = np.exp(-2.0 * (np.pi * width) ** 2 * (q_row[:, None] ** 2 + q_column**2))
        filters = np.empty((len(beams), rows, len(q_column)), dtype=np.float32)
        for k, (along_row, along_column) in enumerate(geometry.axes):
            count = np.zeros(smoothing.shape)
            for beam in beams:
                away = (along_row @ beam) * q_row[:, None] + (along_column @ beam) * q_column
                count += np.maximum(0.0, 1.0 - diameter * np.abs(away))
            filters[k] = smoothing / count
        plain = cls(geometry=geometry, filters=filters, padded=(rows, columns))
        atom = GaussianAtoms(
            positions=np.zeros((1, 3)), heights=np.ones(1), kinds=np.zeros(1, dtype=np.intp), widths=np.array([width])
        )
        response = plain.volume(images(geometry, atom), np.zeros(3), (1, 1, 1))[0, 0, 0]
        return cls(geometry=geometry, filters=filters / response, padded=(rows, columns))

    def volume(self, values: Images, first: Floats, shape: tuple[int, int, int]) -> Images:
        """Back-projection of images (n, nx, ny) on a grid of voxels of one pixel; its first voxel lies at (3,)."""
        from scipy.fft import irfft2, rfft2

        rows, columns = self.geometry.shape
        filtered = np.empty_like(values)
        for k, image in enumerate(values):
            filtered[k] = irfft2(rfft2(image, self.padded) * self.filters[k], self.padded)[:rows, :columns]
        found = np.zeros(shape, dtype=np.float32)
        atom_kernels.back_project(filtered, self.geometry.axes, self.geometry.centers, first, found)
        return found


def neighborhood(positions: Floats, min_distance: float) -> tuple[float, float]:
    """Median distance of nearest neighbors of atoms (N, 3), and how far around an atom its neighbors are; pixels."""
    from scipy.spatial import cKDTree

    distances = cKDTree(positions).query(positions, k=2)[0][:, 1]
    nearest = min(float(np.median(distances)), _FARTHEST * min_distance)
    return nearest, SHELL * nearest


def missing_atoms(
    projector: BackProjector, residual: Images, positions: Floats, *, least: float, min_distance: float
) -> Floats:
    """Places (m, 3) where the images show an atom that the model lacks, the strongest first.

    Parameters
    ----------
    projector : BackProjector
        Of the images.
    residual : ndarray, shape (n, nx, ny)
        Measured minus computed images.
    positions : ndarray, shape (N, 3)
        Atoms of the model, pixels.
    least : float
        Least height that the back-projection shows.
    min_distance : float
        Pixels: least distance of two atoms.
    """
    from scipy.spatial import cKDTree

    tree, (_, reach) = cKDTree(positions), neighborhood(positions, min_distance)
    first = np.floor(positions.min(axis=0) - reach)
    size = np.ceil(positions.max(axis=0) + reach - first).astype(int) + 1
    volume = projector.volume(residual, first, (int(size[0]), int(size[1]), int(size[2])))
    starts = np.stack(np.unravel_index(peak_kernels.local_maxima(volume, least), volume.shape), axis=1)
    centers, heights, _, ends = peak_kernels.fit_peaks(volume, starts.astype(np.float64), FIT_WIDTH[0])
    sound = (ends == peak_kernels.CONVERGED) & (heights >= least)
    points, heights = centers[sound] + first, heights[sound]
    away = tree.query(points)[0] if len(points) else np.zeros(0)
    free = (away >= DISTANCE * min_distance) & (away < reach)
    points, heights = points[free], heights[free]
    order = np.lexsort((points[:, 2], points[:, 1], points[:, 0], -heights))
    return np.asarray(points[order[thinned(points[order], DISTANCE * min_distance)]])
