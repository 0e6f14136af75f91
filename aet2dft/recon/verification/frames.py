"""A known model in the frame of another one: its origin, order and direction of its axes, a small turn."""

from __future__ import annotations

import itertools

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from aet2dft.errors import InputError
from aet2dft.recon.metrics import Match, match

Floats = NDArray[np.float64]
Notes = tuple[str, ...]
_FRAMES = tuple(
    np.asarray(np.diag(signs) @ np.eye(3)[list(axes)])
    for axes in itertools.permutations(range(3))
    for signs in itertools.product((1.0, -1.0), repeat=3)
)
"""All exchanges and reversals of axes."""

_SAME_FRAME = 0.9
"""Fraction of what can be identified that is in the frame it has, above which no other is tried."""
_BELIEVED = 0.5
"""Another frame is believed where it identifies this fraction of what can be, and misses at most this part of what the
given one misses: a crystal fits itself in part however it is turned."""
_LEAST = 0.25
"""Part of the reference that counts as what can be identified in smaller models: a few atoms fit it by chance."""
_WORTHWHILE = 0.9
"""A turn must lower the rmsd to this fraction."""
_SIGNIFICANT = 10.0
"""F of the three angles of a turn from which on it is believed; chance gives that once in thousands of times."""
_ROUNDS = 10
"""Rounds in which a turn and the pairs that it gives settle."""


def match_any_frame(model: Atoms, reference: Atoms, *, radius: float) -> tuple[Match, Floats, Notes]:
    """Match with a reference whose origin, or order and direction of axes, may be others.

    Parameters
    ----------
    model, reference : Atoms
        Positions in Å.
    radius : float
        Å: atoms farther apart do not match.

    Returns
    -------
    match : Match
        Best match.
    orientation : ndarray, shape (3, 3)
        Matrix that was applied to the positions of the reference.
    notes : tuple of str
        A frame that is not that of the model is said: a mirror image is a warning, not a detail.

    Raises
    ------
    InputError
        If one of the two holds no atoms.

    Notes
    -----
    The images alone do not say how their tilt axis and the beam lie in the object: where angles were fitted, the
    whole model may have turned with them. A small turn that explains much of the distances is taken out and said.
    A model that holds a part of the reference is judged by what it can identify of it.
    """
    for name, atoms in {"model": model, "known model": reference}.items():
        if not len(atoms):
            raise InputError(f"the {name} holds no atoms, so that there is nothing to compare; give one with atoms")
    given = _from_any_origin(model, reference, np.eye(3), radius)
    n = max(min(len(model), len(reference)), _LEAST * len(reference))
    if given.n_right >= _SAME_FRAME * n:
        return match_turned(model, reference, given)
    tried = [_from_any_origin(model, reference, frame, radius) for frame in _FRAMES]
    best = max(range(len(tried)), key=lambda k: _how_good(tried[k]))
    found, frame = tried[best], _FRAMES[best]
    if found.n_right < _BELIEVED * n or n - found.n_right > _BELIEVED * (n - given.n_right):
        return match_turned(model, reference, given)
    kind = "turned" if np.linalg.det(frame) > 0 else "a mirror image (axes exchanged or reversed)"
    axes = ", ".join("+-"[int(row.sum() < 0)] + "xyz"[int(np.abs(row).argmax())] for row in frame)
    said = f"the reference is {kind}: its ({axes}) were taken for x, y, z of the model"
    found, turn, notes = match_turned(model, _in_frame(reference, frame), found)
    return found, turn @ frame, (said, *notes)


def match_turned(model: Atoms, reference: Atoms, given: Match) -> tuple[Match, Floats, Notes]:
    """The match after the small turn of the reference that brings the pairs together, where it explains much.

    Parameters
    ----------
    model, reference : Atoms
        Positions in Å.
    given : Match
        Of the two as they are.

    Returns
    -------
    match, turn, notes
        As of `match_any_frame`; the identity, and nothing said, where a turn is not believed.

    Notes
    -----
    Least squares over the pairs (W. Kabsch, Acta Cryst. A 32, 922 (1976)), and an F test of its three angles.
    """
    unturned = (given, np.eye(3), Notes())
    free = 3 * given.n_matched - 6
    if free < 1 or not given.rmsd > 0:
        return unturned
    turn, after = _turned(model, reference, given)
    before = given.n_matched * given.rmsd**2
    if after > _WORTHWHILE**2 * before or (before - after) / 3 < _SIGNIFICANT * after / free:
        return unturned
    found = given
    for _ in range(_ROUNDS):
        pairs, found = found.pairs, _matched(model, _in_frame(reference, turn), found)
        if np.array_equal(pairs, found.pairs):
            break
        turn, _ = _turned(model, reference, found)
    said = (
        f"the reference was turned by {turn_of(turn):.2f} degrees to lie as the model does: rmsd "
        f"{100 * given.rmsd:.1f} -> {100 * found.rmsd:.1f} pm"
    )
    return found, turn, (said,)


def turn_of(orientation: Floats) -> float:
    """Degrees by which an orientation (3, 3) differs from the nearest exchange or reversal of axes."""
    chord = min(float(np.linalg.norm(orientation - frame)) for frame in _FRAMES)
    return float(np.degrees(2.0 * np.arcsin(min(1.0, chord / np.sqrt(8.0)))))


def _turned(model: Atoms, reference: Atoms, pairs: Match) -> tuple[Floats, float]:
    """Turn of the reference about its middle that brings the pairs together, and the squares that are left, Å²."""
    here, there = (atoms.positions[which] for atoms, which in zip((model, reference), pairs.pairs.T, strict=True))
    here, there = here - here.mean(axis=0), there - there.mean(axis=0)
    left, _, right = np.linalg.svd(here.T @ there)
    turn = left @ np.diag([1.0, 1.0, np.linalg.det(left @ right)]) @ right
    return turn, float(np.square(here - there @ turn.T).sum())


def _matched(model: Atoms, turned: Atoms, before: Match) -> Match:
    """Match with a turned reference, from the shift that the pairs of before have then."""
    here, there = before.pairs.T
    shift = (model.positions[here] - turned.positions[there]).mean(axis=0)
    return match(model, turned, radius=before.radius, shift=shift)


def _how_good(found: Match) -> tuple[int, float]:
    return found.n_right, -found.rmsd if len(found.pairs) else -np.inf


def _in_frame(atoms: Atoms, frame: Floats) -> Atoms:
    """A copy with other axes."""
    turned: Atoms = atoms.copy()
    turned.positions = atoms.positions @ frame.T
    return turned


def _from_any_origin(model: Atoms, reference: Atoms, frame: Floats, radius: float) -> Match:
    """Best match of the two, with the origin they have or with that of their centroids."""
    turned = _in_frame(reference, frame)
    shift = model.positions.mean(axis=0) - turned.positions.mean(axis=0)
    return max((match(model, turned, radius=radius, shift=start) for start in (np.zeros(3), shift)), key=_how_good)
