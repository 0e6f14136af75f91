"""Directions of the magnetization: words, folder names, angles, and the frame in which VASP gives moments.

Energies and tensors along these directions live elsewhere.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from aet2dft.errors import InputError

Direction = tuple[int, int, int]
"""Integer components along the axes of the lattice frame, as in [1-10]."""

_WORD = re.compile(r"(-?\d)(-?\d)(-?\d)")


def parse_direction(word: str) -> Direction:
    """Direction from its word on the command line: ``"1-10"`` is (1, -1, 0).

    Raises
    ------
    InputError
        If the word is not three signed digits, or all of them are zero.
    """
    match = _WORD.fullmatch(word.strip())
    if match is None:
        raise InputError(f"axis {word!r} is not three digits with their signs; write it like 100, 001 or 1-10")
    x, y, z = (int(digit) for digit in match.groups())
    _require_direction((x, y, z))
    return x, y, z


def direction_name(direction: Sequence[int]) -> str:
    """Name of a direction in folder names: (1, -1, 0) is ``"1m10"``."""
    _require_direction(direction)
    if any(abs(component) > 9 for component in direction):
        raise InputError(f"direction {tuple(direction)} has a component of more than one digit; use smaller integers")
    return "".join(f"m{-component}" if component < 0 else f"{component}" for component in direction)


def angles(direction: Sequence[float]) -> tuple[float, float]:
    """Polar and azimuthal angle of a direction, degrees: ``angle1`` and ``angle2`` of Quantum ESPRESSO.

    Notes
    -----
    angle1 = acos(n_z) in 0..180 and angle2 = atan2(n_y, n_x) in -180..180 (documentation of pw.x); angle2 is 0 on
    the z axis, where it has no meaning.
    """
    _require_direction(direction)
    x, y, z = (float(component) for component in direction)
    in_plane = math.hypot(x, y)
    azimuth = math.degrees(math.atan2(y, x)) if in_plane > 0 else 0.0
    return math.degrees(math.atan2(in_plane, z)), azimuth


def unit_vector(angle1: float, angle2: float) -> NDArray[np.float64]:
    """Give the unit vector (3,) of two angles, degrees: the inverse of `angles`."""
    theta, phi = math.radians(angle1), math.radians(angle2)
    return np.array([math.sin(theta) * math.cos(phi), math.sin(theta) * math.sin(phi), math.cos(theta)])


def saxis_rotation(axis: Sequence[float]) -> NDArray[np.float64]:
    """Rotation (3, 3) from the frame of VASP's SAXIS to the lattice frame: ``m_xyz = R @ m_axis``.

    Parameters
    ----------
    axis : sequence of float
        The three numbers of SAXIS; their length does not matter.

    Notes
    -----
    R = Rz(α) Ry(β) with α = atan2(s_y, s_x) and β = atan2(√(s_x² + s_y²), s_z) (VASP wiki, SAXIS). Every moment that
    VASP reads or writes is in the frame of SAXIS; the transpose of R takes Cartesian moments there.
    """
    beta, alpha = (math.radians(angle) for angle in angles(axis))
    return euler_rotation(alpha, beta)


def euler_rotation(alpha: float, beta: float) -> NDArray[np.float64]:
    """Rotation (3, 3) Rz(α) Ry(β) of two Euler angles, radians, as VASP prints them for its SAXIS."""
    ca, sa, cb, sb = math.cos(alpha), math.sin(alpha), math.cos(beta), math.sin(beta)
    return np.array([[ca * cb, -sa, ca * sb], [sa * cb, ca, sa * sb], [-sb, 0.0, cb]])


def _require_direction(direction: Sequence[float]) -> None:
    """Raise InputError unless these are three finite numbers, not all zero."""
    if len(direction) != 3:
        raise InputError(f"a direction has three components, not {len(direction)}: {tuple(direction)}")
    length = math.hypot(*direction)
    if not math.isfinite(length) or length == 0:
        raise InputError(f"direction {tuple(direction)} has no length; give three finite numbers that are not all zero")
