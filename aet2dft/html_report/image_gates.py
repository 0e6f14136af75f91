"""Quality gates between images and atoms. Every limit stands in `LIMITS`, once."""

from __future__ import annotations

import numpy as np
from ase import Atoms

from aet2dft.atoms import neighbor_distances
from aet2dft.html_report.parts import Gate, level_of, number, percent
from aet2dft.html_report.tomography import Fit, Tomography, last_fit
from aet2dft.recon.atoms.concerns import BAD_IMAGE, bad_image_limit, beyond_images, not_judged, not_shown
from aet2dft.recon.images.noise import unexplained
from aet2dft.recon.metrics import format_r
from aet2dft.recon.verification.round_trip import Verification

LIMITS = {
    "unexplained": (0.15, 0.3),
    "identified": (0.99, 0.95),
    "short": (0.0, 0.01),
    "confidence": (0.01, 0.05),
    "images": (0.0, 0.1),
}
"""Where good becomes fair and fair becomes poor."""
EMPTY = 1.0
"""R factor of a model without atoms; a measure by which that would not be poor says nothing of a better one."""


def image_gates(tomography: Tomography, atoms: Atoms | None) -> tuple[Gate, ...]:
    """All checks that apply."""
    found = []
    if (fit := last_fit(tomography)) is not None:
        found += _fit(fit)
    if tomography.refinement is not None:
        found += [_images(tomography), *_surroundings(tomography)]
    if tomography.verification is not None:
        found.append(_identified(tomography.verification))
    if atoms is not None and "species_confidence" in atoms.arrays and len(set(atoms.numbers)) > 1:
        found.append(_species(atoms))
    if tomography.min_distance is not None and atoms is not None and len(atoms) > 1:
        found.append(_bonds(atoms, tomography.min_distance))
    return tuple(found)


def _fit(fit: Fit) -> list[Gate]:
    """R factors of fitted and of left-out images, each against what noise alone gives."""
    noise, found = float(fit.noise.mean()), []
    empty = unexplained(EMPTY, noise)
    silent = level_of(empty, LIMITS["unexplained"]) != "poor"
    for name, value in (("R factor", fit.r_factor), ("left out", fit.r_free)):
        if value is None:
            found += [Gate(name=name, level="fair", reason=note) for note in not_judged(len(fit.noise))]
            continue
        rest = unexplained(value, noise)
        of = f"of the {fit.model}" if name == "R factor" else "for images that were left out"
        reason = (
            f"{format_r(value)} {of}; noise alone gives about {format_r(noise)}, which leaves {format_r(rest)} "
            "unexplained"
        )
        level = level_of(unexplained(max(value, fit.r_factor), noise), LIMITS["unexplained"])
        if level != level_of(rest, LIMITS["unexplained"]):
            reason += "; images that are easier than most, and so judged as all are"
        if silent and level != "poor":
            level = "fair"
            reason += f"; says nothing at this noise: an empty model would leave no more than {number(empty, 3)}"
        found.append(Gate(name=name, level=level, reason=reason))
    return found


def _images(tomography: Tomography) -> Gate:
    assert tomography.refinement is not None  # the caller has looked
    r_factor, shown = tomography.refinement.r_factor_per_image, tomography.refinement.shown
    limit, median = bad_image_limit(r_factor), float(np.nanmedian(r_factor))
    bad = int((r_factor > limit).sum())
    why = f"{BAD_IMAGE:g} times the median" if limit <= BAD_IMAGE * median else "up to which an image fits well"
    later = "; of the atoms before the corrections" if tomography.corrected_after_fit else ""
    reason = f"{bad} of {shown.sum()} have an R factor above {limit:.2g}, {why}{later}"
    level = level_of((bad + (~shown).sum()) / len(shown), LIMITS["images"])
    if level == "good" and limit >= EMPTY:
        level = "fair"
        reason += f"; says nothing at this noise: an image of something else has about {EMPTY:g}"
    return Gate(name="images", level=level, reason="; ".join((reason, *not_shown(r_factor))))


def _surroundings(tomography: Tomography) -> list[Gate]:
    """That the fit of atoms does not know all that is in the images."""
    notes = () if tomography.series is None else beyond_images(tomography.series)
    return [Gate(name="surroundings", level="poor", reason=note) for note in notes]


def _identified(result: Verification) -> Gate:
    """The worse of two parts: of the reference that was found, and of the model that is in the reference."""
    match, known = result.match, result.method == "truth"
    against = "against a known model" if known else "of its own model, from simulated images of it"
    return Gate(
        name="identified" if known else "found again",
        level=level_of(min(match.fraction_identified, match.n_matched / match.n_model), LIMITS["identified"]),
        reason=(
            f"{percent(match.fraction_identified, 2)} {against}, {match.n_false:,} false, rmsd "
            f"{number(100 * match.rmsd, 1)} pm"
        ),
    )


def _species(atoms: Atoms) -> Gate:
    wrong = float((1.0 - atoms.arrays["species_confidence"]).sum())
    reason = (
        f"{wrong:,.1f} of {len(atoms):,} atoms are expected to be of another species than is said, by their confidence"
    )
    return Gate(name="species", level=level_of(wrong / len(atoms), LIMITS["confidence"]), reason=reason)


def _bonds(atoms: Atoms, min_distance: float) -> Gate:
    nearest = neighbor_distances(atoms)[0]
    short = int((nearest < min_distance).sum())
    reason = (
        f"{short:,} atoms are nearer to another than the minimum distance of {min_distance:g} Å; the shortest bond is "
        f"{nearest.min():.2f} Å"
    )
    return Gate(name="bonds", level=level_of(short / len(atoms), LIMITS["short"]), reason=reason)
