"""The mesh of k-points of a cell: one rule for both codes, so that equal cells get equal meshes."""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import ArrayLike

from aet2dft.errors import InputError

Mesh = tuple[int, int, int]
"""Points along the three reciprocal vectors of a mesh that holds Gamma."""


def k_mesh(cell: ArrayLike, *, spacing: float = 0.30, factor: float = 1.0) -> Mesh:
    """Gamma-centered mesh with at most `spacing` between points, even along every axis.

    Parameters
    ----------
    cell : array_like, shape (3, 3)
        Cell vectors as rows, Å.
    spacing : float
        Largest distance between points, 1/Å (with the factor 2π).
    factor : float
        At least so many times the points of the mesh whose spacing is `factor` times as large. For a large cell that
        mesh is fine enough for both spacings, and a convergence test would repeat it.

    Notes
    -----
    N_i = 2 ⌈|b_i| / (2 spacing) − 10⁻⁶⌉, |b_i| = 2π over the distance of the lattice planes. Even numbers only: with
    an odd number along c the anisotropy of L1₀ FePt converges along another family of values. The 10⁻⁶ keeps two
    cells that differ by rounding on the same mesh.
    """
    reciprocal = 2.0 * np.pi * np.linalg.norm(np.linalg.inv(np.asarray(cell, dtype=float)), axis=0)
    coarse = [_even(length / (factor * spacing)) for length in reciprocal]
    a, b, c = (max(_even(length / spacing), _even(factor * n)) for length, n in zip(reciprocal, coarse, strict=True))
    return a, b, c


def _even(number: float) -> int:
    return max(2, 2 * int(np.ceil(number / 2.0 - 1e-6)))


def parse_mesh(word: str) -> Mesh:
    """Mesh from its word: ``"4x4x3"`` is (4, 4, 3).

    Raises
    ------
    InputError
        If the word is not three positive whole numbers.
    """
    match = re.fullmatch(r"([1-9]\d?)x([1-9]\d?)x([1-9]\d?)", word)
    if match is None:
        raise InputError(f"kmesh={word} is not a mesh; write three numbers below 100 as in kmesh=4x4x3, or kmesh=auto")
    a, b, c = (int(number) for number in match.groups())
    return a, b, c
