"""The record of atoms that a refinement added or dropped."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Changes:
    """Atoms that were added or dropped, in the order in which that happened."""

    rounds: NDArray[np.intp]
    """(m,): round after which it happened, from 0."""
    actions: NDArray[np.str_]
    """(m,): ``added`` or ``dropped``."""
    reasons: NDArray[np.str_]
    """(m,): ``odds``, or ``distance`` where an atom that may be real was too near to a higher one."""
    positions: Floats
    """(m, 3), Å: of an added one as it was found, of a dropped one as it was last fitted."""
    heights: Floats
    """(m,): the same."""
    gains: Floats
    """(m,): how much the atom, at its best height, lowers half the chi-square if all others stay."""
    odds: Floats
    """(m,): logarithm of the odds that the atom is real, its distances aside."""
    n_images: NDArray[np.intp]
    """(m,): images that are explained better with the atom."""

    @classmethod
    def joined(cls, parts: list[Changes]) -> Changes:
        """One record of several."""
        return cls(
            rounds=np.concatenate([np.zeros(0, np.intp), *(part.rounds for part in parts)]),
            actions=np.concatenate([np.zeros(0, "U7"), *(part.actions for part in parts)]),
            reasons=np.concatenate([np.zeros(0, "U8"), *(part.reasons for part in parts)]),
            positions=np.concatenate([np.zeros((0, 3)), *(part.positions for part in parts)]),
            heights=np.concatenate([np.zeros(0), *(part.heights for part in parts)]),
            gains=np.concatenate([np.zeros(0), *(part.gains for part in parts)]),
            odds=np.concatenate([np.zeros(0), *(part.odds for part in parts)]),
            n_images=np.concatenate([np.zeros(0, np.intp), *(part.n_images for part in parts)]),
        )
