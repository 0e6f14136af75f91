"""How much farther from the truth fitted atoms are than noise explains, told by how the residuals pull at them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from aet2dft.recon.atoms.atom_fit import Problem
from aet2dft.recon.atoms.image_model import GaussianAtoms, ImageGeometry, adjoint, normal_blocks

Floats = NDArray[np.float64]
Images = NDArray[np.float32]

SECTORS = 8
"""Parts of the tilt range; what the model lacks is alike in the images of one part, and differs between them."""


def misfit(problem: Problem, atoms: GaussianAtoms, residual: Images) -> Floats:
    r"""Factors (k, 4), by kind, on the variances of positions and heights that follow from the noise; 1 at least.

    Parameters
    ----------
    problem : Problem
        What was fitted.
    atoms : GaussianAtoms
        The result.
    residual : ndarray, shape (n, nx, ny)
        Target minus the images of the atoms.

    Notes
    -----
    The images of sector s pull at an atom with :math:`g_s = J_s^T W_s r_s`. Noise of the right variance makes
    :math:`\langle g_s^2 \rangle = I_s (1 - I_s / I)`, where :math:`I_s` is the information of the sector and I that of
    all, since the pulls add up to zero. The ratio of their sums over the sectors is the sandwich of P. J. Huber (Proc.
    5th Berkeley Symp. 1, 221 (1967)), with correlated images as clusters (K.-Y. Liang and S. Zeger, Biometrika 73, 13
    (1986)). One sector alone says nothing. The factor of a kind is the median of its atoms over that of noise: where
    the model fails in one place, as at atoms that moved between images, all others are as sure as before.
    """
    from scipy.special import gammaincinv

    factors = np.ones((len(atoms.widths), 4))
    sectors, pulls, shares = _sectors(problem.geometry), [], []
    if len(sectors) == 1:
        return factors
    for images in sectors:
        geometry, weights = problem.geometry.of_images(images), problem.weights[images]
        pulls.append(adjoint(geometry, atoms, weights * residual[images]))
        shares.append(np.diagonal(normal_blocks(geometry, atoms, weights), axis1=1, axis2=2))
    information = np.maximum(sum(shares), np.finfo(float).tiny)
    by_noise = sum(share * (1.0 - share / information) for share in shares)
    ratios = sum(pull**2 for pull in pulls) / np.maximum(by_noise, np.finfo(float).tiny)
    half = 0.5 * (len(sectors) - 1)
    median = float(gammaincinv(half, 0.5)) / half  # of chi-square over its degrees of freedom, one fewer than sectors
    for kind in np.unique(atoms.kinds):
        factors[kind] = np.median(ratios[atoms.kinds == kind], axis=0) / median
    return np.maximum(factors, 1.0)


def _sectors(geometry: ImageGeometry) -> list[NDArray[np.intp]]:
    """Numbers of the images in each part of the tilt range, by the plane in which the beams lie best."""
    beams = np.cross(geometry.axes[:, 0], geometry.axes[:, 1])
    along, across, _ = np.linalg.eigh(np.einsum("ni,nj->ij", beams, beams))[1].T[::-1]
    toward = beams @ along
    tilts = np.arctan2(np.where(toward < 0, -1.0, 1.0) * (beams @ across), np.abs(toward))
    return [part for part in np.array_split(np.argsort(tilts, kind="stable"), SECTORS) if part.size]
