"""The sentences of the Methods paragraph about images, volume and the atoms found in them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from ase import Atoms

from aet2dft.html_report.atom_sections import geometry_text, species_text
from aet2dft.html_report.edit_section import corrected_r, counted
from aet2dft.html_report.parts import number, percent
from aet2dft.html_report.tomography import Tomography
from aet2dft.recon.atoms.classification import Classification
from aet2dft.recon.atoms.concerns import not_shown
from aet2dft.recon.atoms.refinement import Refinement
from aet2dft.recon.metrics import format_r
from aet2dft.recon.tilt_series import TiltSeries
from aet2dft.recon.verification.round_trip import Verification, species_known
from aet2dft.recon.volumes.reconstruction import Reconstruction

_ALGORITHMS = {
    "lsq": "accelerated projected gradients on the least-squares misfit of the images [Beck2009]",
    "resire": "projected gradients on the least-squares misfit of the images",
    "genfire": "GENFIRE [Pryor2017]",
    "sirt": "the simultaneous iterative reconstruction technique",
    "sart": "the simultaneous algebraic reconstruction technique",
    "tv": "accelerated projected gradients on the least-squares misfit and the total variation [Beck2009]",
    "est": "equal-slope tomography on a pseudo-polar grid",
    "fbp": "weighted back-projection",
}


def image_methods(tomography: Tomography, settings: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Sentences of the verbs between images and atoms, with citations as keys in brackets; `settings` as they ran."""
    t, found = tomography, []
    if t.series is not None and t.reconstruction is not None:
        found.append(_reconstruction(t.series, t.reconstruction, settings.get("reconstruct", {})))
    if t.trace is not None:
        smoothing = settings.get("trace", {}).get("smoothing")
        smoothed = f" of the density, smoothed with a Gaussian of σ = {smoothing:g} Å," if smoothing else ""
        found.append(
            f"Candidate atoms are the maxima{smoothed} that lie no nearer than {t.trace.min_distance:g} Å to a "
            f"stronger one (n = {t.trace.n_atoms:,}), fitted together as Gaussians."
        )
    said = {}
    if t.classification is not None:
        said["classify"] = _classification(t.classification)
    if t.corrections is not None and t.corrections.changes:
        said["edit"] = _corrections(t)
    if t.refined is not None and t.refinement is not None:
        said["refine"] = _refinement(t.refined, t.refinement)
    found += [said[verb] for verb in dict.fromkeys((*settings, *said)) if verb in said]
    if t.verification is not None:
        found.append(_verification(t.verification, by_position=not species_known(t.found, t.verification)))
    return found


def _reconstruction(series: TiltSeries, result: Reconstruction, settings: Mapping[str, Any]) -> str:
    low, high = number(float(series.tilt_angles.min()), 1), number(float(series.tilt_angles.max()), 1)
    how = _ALGORITHMS.get(result.algorithm, result.algorithm)
    named = {"positivity": settings.get("positivity", True), "a support": result.support_fraction < 1}
    constraints = " and ".join(name for name, holds in named.items() if holds) or "no constraint"
    free = ""
    if result.trial is not None and result.r_free is not None:
        left_out = f"images that were left out of a trial (n = {len(result.trial.held_out)})"
        free = f", {format_r(result.r_free)} for {left_out} [Brunger1992]"
    seen = f"{series.n_images} images with tilts from {low} to {high}° and pixels of {series.pixel_size:.4g} Å were"
    if series.n_images == 1:
        seen = f"1 image with a tilt of {low}° and pixels of {series.pixel_size:.4g} Å was"
    return (
        f"{seen} reconstructed by {how} with {constraints} ({result.iterations:,} iterations; R = "
        f"{format_r(result.r_factor)}{free})."
    )


def _classification(result: Classification) -> str:
    brightness = {"height": "fitted heights", "profile": "brightness along average profiles in the volume"}
    what = brightness.get(result.method, "integrated intensities")
    number_from = ", with the number of populations from the information criterion [Schwarz1978];"
    if result.choice:
        lowest = min(result.information, key=lambda n: result.information[n])
        number_from = (
            f"; {lowest} populations have the lowest information criterion [Schwarz1978]. {result.choice} In all,"
        )
    return (
        f"Species were told apart by a mixture of Gaussians of their {what}, after slow changes of brightness across "
        f"the particle were taken out{number_from} {result.n_rejected:,} candidates were rejected as too faint (mean "
        f"confidence {percent(result.mean_confidence, 2)}{'' if result.n_rejected else ', if all are atoms'})."
    )


def _refinement(refined: Atoms, result: Refinement) -> str:
    widths = ", ".join(f"{symbol} {number(width, 2)} Å" for symbol, width in result.widths.items())
    free = "" if np.isnan(result.r_free) else f" (held-out images {format_r(result.r_free)})"
    without = "".join(f"; {said}, and R is of the others" for said in not_shown(result.r_factor_per_image))
    return (
        "Positions and heights of all atoms, modelled as Gaussians, were refined together against the images by "
        f"Gauss-Newton steps weighted with the noise (widths {widths}); atoms added from residual images: "
        f"{result.n_added:,}; dropped: {result.n_dropped:,}.{species_text(refined, result)}{geometry_text(result)} "
        f"The R factor is {format_r(result.r_factor_after)}{free}{without}."
    )


def _corrections(tomography: Tomography) -> str:
    assert tomography.corrections is not None  # the caller has looked
    by_hand = f"Atoms were corrected by hand ({counted(tomography.corrections)})."
    return f"{by_hand}{corrected_r(*tomography.corrected_r_factors)}"


def _verification(result: Verification, *, by_position: bool) -> str:
    match, known = result.match, result.method == "truth"
    against = "a known model" if known else f"{result.method} images of the model put through the same steps"
    found = "identified" if known else "found again"
    how = "by position alone" if by_position else "with the right species"
    return (
        f"Against {against}, {percent(match.fraction_identified, 2)} of {match.n_reference:,} atoms were {found} "
        f"{how}, with an rmsd of {number(100 * match.rmsd, 1)} pm ({match.n_missed:,} missed, "
        f"{match.n_false:,} false)."
    )
