"""The sixteen ways to put two species on the four simple-cubic sublattices of fcc.

A variant is a row of `VARIANTS`; every phase (L1₀, L1₂), antisite and antiphase boundary is read off this table.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

N_SUBLATTICES = 4
VARIANTS: NDArray[np.bool_] = (np.arange(16)[:, None] >> np.arange(N_SUBLATTICES)) & 1 == 1
"""(16, 4): whether the first species sits on sublattice k in variant v; v is the number whose binary digits say so.

Sublattices by the parities of the half-cell indices: 0 = (000), 1 = (011), 2 = (101), 3 = (110)."""
PURE = (0, 15)
"""Rows with one species only; 0 is also the label of no order (A1)."""
ORDERED: NDArray[np.int32] = np.arange(1, 15, dtype=np.int32)
"""The fourteen ordered variants: 4 + 4 L1₂ and 6 L1₀."""
PHASES = ("A1", "L10", "L12")
_AXES = {frozenset((0, 1)): "x", frozenset((0, 2)): "y", frozenset((0, 3)): "z"}


def phase(variant: int) -> str:
    """``"L10"`` with two, ``"L12"`` with one or three sublattices of the first species, else ``"A1"``."""
    return {1: "L12", 2: "L10", 3: "L12"}.get(int(VARIANTS[variant].sum()), "A1")


PHASE_OF: NDArray[np.str_] = np.array([phase(v) for v in range(16)])
"""(16,): phase of every variant."""


def variants_of(name: str) -> NDArray[np.intp]:
    """Numbers of the variants of a phase."""
    return np.flatnonzero((name == PHASE_OF) & ~np.isin(np.arange(16), PURE))


def layered_along(variant: int) -> str:
    """``"x"``, ``"y"`` or ``"z"``: axis along which the layers of an L1₀ variant alternate; empty for others."""
    held = [frozenset(np.flatnonzero(side).tolist()) for side in (VARIANTS[variant], ~VARIANTS[variant])]
    return next((_AXES[side] for side in held if side in _AXES), "")


def describe(variant: int, first: str, second: str) -> str:
    """What a variant is, in words: ``"L12, Fe on sublattice 2"``, ``"L10 along z, Fe on sublattices 0 and 3"``."""
    held = np.flatnonzero(VARIANTS[variant])
    if variant in PURE:
        return "A1"
    if len(held) == 2:
        return f"L10 along {layered_along(variant)}, {first} on sublattices {held[0]} and {held[1]}"
    if len(held) == 1:
        return f"L12 ({first}{second}3), {first} on sublattice {held[0]}"
    return f"L12 ({first}3{second}), {second} on sublattice {np.flatnonzero(~VARIANTS[variant])[0]}"


def sublattice(site: NDArray[np.integer]) -> NDArray[np.int8]:
    """Sublattice 0..3 (N,) of half-cell indices (N, 3)."""
    odd = np.asarray(site) & 1
    return np.asarray(2 * odd[..., 0] + odd[..., 1], dtype=np.int8)
