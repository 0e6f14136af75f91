"""What a user should look at after a refinement, in sentences; each function gives one, or none where all is well."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from aet2dft.atoms import names_of
from aet2dft.config import ReconstructSettings
from aet2dft.recon.algorithms.catalog import choose
from aet2dft.recon.atoms.atom_descent import LEAST_IMAGES
from aet2dft.recon.atoms.image_poses import in_place
from aet2dft.recon.tilt_series import TiltSeries

Floats = NDArray[np.float64]
Sentences = tuple[str, ...]

BAD_IMAGE = 1.5
"""An image with more than this multiple of the median R factor is named: a zone axis, drift, a wrong angle."""
FINE_IMAGE = 0.05
"""R factor up to which an image fits well, whatever the others do."""
_SPREAD, _ENOUGH = 0.015, 10
"""Change of all distances that is no displacement of atoms but another unit, and the fewest atoms that show it."""
_MOST_LISTED = 10
"""Atoms or images that a sentence names."""
_REPLACED = 0.25
"""Fraction of the atoms that are elsewhere in the end, from which on they may not be those that the images show."""
_WRONG = 0.01
"""Fraction of the atoms that are of another species than is said, by their confidence, from which on it is."""
_MOST = 0.5
"""Fraction of the atoms that are dropped, from which on it is said, whatever came for them."""
_RISEN = 1.03
"""Factor on the R factor of held-out images that is said; atoms from a volume that knew them start lower by less."""


def near_pairs(atoms: Atoms, min_distance: float) -> Sentences:
    """Pairs of atoms that are nearer than so many Å, the nearest first."""
    from scipy.spatial import cKDTree

    pairs = cKDTree(atoms.positions).query_pairs(min_distance, output_type="ndarray")
    if not len(pairs):
        return ()
    lengths = np.linalg.norm(atoms.positions[pairs[:, 0]] - atoms.positions[pairs[:, 1]], axis=1)
    what, names = names_of(atoms)
    order = np.lexsort((pairs[:, 1], pairs[:, 0], lengths))
    listed = _listed([f"{names[pairs[k, 0]]} and {names[pairs[k, 1]]} ({lengths[k]:.2f} Å)" for k in order])
    said = "1 pair of atoms is" if len(pairs) == 1 else f"{len(pairs)} pairs of atoms are"
    return (f"{said} nearer than {min_distance:g} Å ({what}): {listed}",)


def bad_image_limit(per_image: Floats) -> float:
    """R factor above which an image fits much worse than most (n,); where all is explained, none does."""
    return float(max(BAD_IMAGE * np.nanmedian(per_image), FINE_IMAGE))


def not_shown(per_image: Floats) -> Sentences:
    """Images that do not show the atoms, whose R factors (n,) are NaN."""
    blank = np.flatnonzero(np.isnan(per_image))
    does = "1 image does" if blank.size == 1 else f"{blank.size} images do"
    return (f"{does} not show the atoms: {_listed([str(k) for k in blank])}",) if blank.size else ()


def bad_images(per_image: Floats) -> Sentences:
    """Images that do not show the atoms, and others that fit badly, by R factors (n,) that are NaN for the former."""
    without = "fit and R factors go without, are they blank, or of something else?"
    said = [f"{blank}; {without}" for blank in not_shown(per_image)]
    bad = np.flatnonzero(per_image > bad_image_limit(per_image))
    if bad.size:
        fits = "1 image fits" if bad.size == 1 else f"{bad.size} images fit"
        listed = _listed([str(k) for k in bad])
        said.append(f"{fits} badly (R factor above {BAD_IMAGE} times the median): {listed}")
    return tuple(said)


def beyond_images(series: TiltSeries) -> Sentences:
    """That matter beside the images shows in them, as in those of a film."""
    if not choose(series, ReconstructSettings(), has_support=False).extended:
        return ()
    return (
        "the object goes on beyond the images: what lies outside the volume shows in them too, and the fit of atoms "
        "does not know it; the atoms of the steps before may be the better ones",
    )


def replaced(n_before: int, n_added: int, n_dropped: int, moved: Floats, far: float) -> Sentences:
    """That many of the atoms went and others came elsewhere, or did so themselves: moved (n,) by more than `far`, Å.

    Or that most went.
    """
    n_far = int((moved > far).sum())
    if min(n_added, n_dropped) + n_far <= _REPLACED * n_before and n_dropped <= _MOST * n_before:
        return ()
    moves = f", {n_far} moved by more than {far:g} Å" if n_far else ""
    return (
        f"{n_dropped} of {n_before} atoms were dropped{moves} and {n_added} added elsewhere: they came from a volume "
        "that was blurred, cut or noisy, or are not those of these images; then look at hand, axes and unit",
    )


def spread(before: Floats, after: Floats) -> Sentences:
    """That atoms ended farther apart or nearer as a whole, by their positions (n, 3) before and after."""
    if len(before) < _ENOUGH:
        return ()
    start, end = before - before.mean(axis=0), after - after.mean(axis=0)
    factor = float((start * end).sum() / max(float((start**2).sum()), np.finfo(float).tiny))
    if abs(factor - 1.0) < _SPREAD:
        return ()
    where = "farther apart" if factor > 1.0 else "nearer to each other"
    return (
        f"the atoms ended {100 * abs(factor - 1.0):.1f} % {where}, all together: is the size of a pixel that of these "
        "images, and was nothing of the object cut off?",
    )


def found_elsewhere(relocated: NDArray[np.intp], shifts: Floats, rotations: Floats) -> Sentences:
    """Images, by number (m,), that had to be looked for; with shifts (n, 2), pixels, and rotations (n, 3), radians."""
    if not relocated.size:
        return ()
    pixels, degrees = np.linalg.norm(shifts, axis=1), np.degrees(np.linalg.norm(rotations, axis=1))
    listed = _listed([f"{k} by {pixels[k]:.1f} pixels and {degrees[k]:.1f} degrees" for k in relocated])
    one = relocated.size == 1
    said = "1 image stood out and was" if one else f"{relocated.size} images stood out and were"
    return (f"{said} found elsewhere: {listed}; {'is it' if one else 'are they'} in order?",)


def volume_of_before(shift: float, turn: float) -> Sentences:
    """That the volume is of images that were moved since, by so many pixels and degrees, rms."""
    if in_place(shift, turn):
        return ()
    return (
        f"images moved by {shift:.1f} pixels and {turn:.1f} degrees (rms); a volume of them as they were is blurred: "
        "`reconstruct` of this project, with another -o, takes them where they are now, for the same steps once more",
    )


def not_confirmed(before: float, after: float) -> Sentences:
    """That the R factor of held-out images rose; nothing where none was held out (NaN)."""
    if not after > _RISEN * before:
        return ()
    return (
        f"the R factor of the held-out images rose from {before:.3f} to {after:.3f}: these images, or the atoms, are "
        "unlike what the others show; hold out others with a larger --held-out and compare",
    )


def brighter(units: Floats) -> Sentences:
    """Images that are as many times as bright as most as (n,) says; 1 for the others."""
    listed = _listed([f"{k} ({units[k]:.0f} times as bright as most)" for k in np.flatnonzero(units != 1.0)])
    return (f"images in other units were divided by them: {listed}; is each of these an image of this series?",)


def undivided(names: list[str]) -> Sentences:
    """That heights do not tell these species apart at all."""
    return (
        f"the heights of the atoms do not tell {', '.join(names[:-1])} and {names[-1]} apart: halves of one species "
        "would be as far from each other; species are as they came, of added atoms as of those nearest in height; are "
        "there fewer species?",
    )


def overlapping(confidence: Floats) -> Sentences:
    """That heights do not tell species apart, by the confidence (N,) of every atom."""
    wrong = float((1.0 - confidence).sum())
    if wrong < max(1.0, _WRONG * len(confidence)):
        return ()
    return (
        f"about {wrong:.0f} of {len(confidence):,} atoms are of another species than is said, by their confidence: the "
        "heights of species overlap; are there fewer species, or is it noise?",
    )


def not_judged(n_images: int) -> Sentences:
    """That so few images show the atoms that none is held out."""
    if n_images >= LEAST_IMAGES:
        return ()
    images = "1 image is" if n_images == 1 else f"{n_images} images are"
    return (
        f"{images} too few to hold any out: nothing independent judges the result, and false atoms may explain so few "
        "images as well; `verify` tells how many are found again",
    )


def _listed(items: list[str]) -> str:
    """The first of them, and how many more there are."""
    more = len(items) - _MOST_LISTED
    return ", ".join(items[:_MOST_LISTED]) + (f" and {more:,} more" if more > 0 else "")
