"""Projections written out as matrices and sums, and published tilt series: the yardstick of the Fourier code."""

from __future__ import annotations

import numpy as np
from scipy.io import loadmat

from aet2dft.recon.fourier.projector import line_length, line_lengths
from aet2dft.recon.tilt_series import TiltSeries


def dirichlet(distance, period):
    """Band-limited delta of a periodic line, without the Nyquist frequency."""
    waves = np.arange(1 - period // 2, period // 2)
    return np.cos(2 * np.pi * np.multiply.outer(distance, waves) / period).mean(axis=-1) * len(waves) / period


def projection_matrix(series, depth, *, whole_lines=False):
    """Rows: pixels of all images, columns: voxels; `whole_lines` gives every pixel of the padded lines."""
    _, rows, columns = series.projections.shape
    shape = (rows, columns, depth)
    period = line_lengths(series, shape)
    if series.is_single_axis:
        period = line_length(rows, (rows, depth)), columns
    voxels = np.stack(np.meshgrid(*(np.arange(n) - n // 2 for n in shape), indexing="ij"), axis=-1).reshape(-1, 3)
    u, v = (np.arange(p if whole_lines else n) for p, n in zip(period, (rows, columns), strict=True))
    blocks = []
    for rotation, center in zip(series.rotations, series.center, strict=True):
        seen = voxels @ rotation[:, :2] + center
        along_rows = dirichlet(u[:, None] - seen[:, 0], period[0])
        if series.is_single_axis:
            along_columns = (np.arange(columns)[:, None] == voxels[:, 1] + columns // 2).astype(float)
        else:
            along_columns = dirichlet(v[:, None] - seen[:, 1], period[1])
        blocks.append(np.einsum("ux,vx->uvx", along_rows, along_columns).reshape(-1, len(voxels)))
    return np.concatenate(blocks)


def random_series(random, *, single_axis, n=5, shape=(10, 9)):
    """Images of noise at random angles, their centers off the middle."""
    angles = random.uniform(-80, 80, n if single_axis else (n, 3))
    off = random.uniform(-0.5, 0.5, (n, 2)) * ((1, 0) if single_axis else (1, 1))
    images = random.normal(size=(n, *shape)).astype(np.float32)
    return TiltSeries.from_angles(images, angles, pixel_size=0.4, center=np.array(shape) // 2 + off)


def published(folder, images, variable, angles, *, pixel_size):
    """A published tilt series about one axis, and its angles in degrees."""
    degrees = loadmat(folder / angles)["angles"].astype(float)[:, 1]
    return TiltSeries.from_angles(np.moveaxis(loadmat(folder / images)[variable], 2, 0), degrees, pixel_size=pixel_size)
