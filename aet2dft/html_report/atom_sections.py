"""The sections of the page about candidates, species, refined atoms, and how far they can be trusted."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from aet2dft.atoms import composition
from aet2dft.html_report.figures import picture
from aet2dft.html_report.parts import Picture, Section, Table, number, percent
from aet2dft.html_report.residuals import Residuals, residual_picture
from aet2dft.html_report.volume_section import slices_picture
from aet2dft.recon.atoms.assignments import class_names, listed
from aet2dft.recon.atoms.atom_rounds import DOUBTFUL
from aet2dft.recon.atoms.changes import Changes
from aet2dft.recon.atoms.classification import Classification
from aet2dft.recon.atoms.image_poses import rotation_matrices
from aet2dft.recon.atoms.peaks import FAINT, Trace
from aet2dft.recon.atoms.refinement import Refinement
from aet2dft.recon.atoms.simulate import model_images
from aet2dft.recon.metrics import format_r
from aet2dft.recon.tilt_series import TiltSeries, Volume
from aet2dft.recon.verification.round_trip import Verification, species_known
from aet2dft.recon.verification.scattering import ImageComparison

MAX_ROWS = 60
"""Rows of a table."""


def trace_section(
    result: Trace,
    foreign: Volume | None,
    atoms: Atoms | None,
    warnings: tuple[str, ...],
    *,
    moved_since: bool = False,
) -> Section:
    """What `trace` found; the slices are shown here where the volume came from elsewhere.

    `moved_since`: whether the atoms are of images that `refine` moved after that.
    """
    two = f"; {result.n_split:,} of the maxima are two atoms each" if result.n_split else ""
    if result.n_split == 1:
        two = "; 1 of the maxima is two atoms"
    return Section(
        id="trace",
        title="From the volume to candidates",
        text=(
            f"Of {result.n_candidates:,} maxima of the smoothed volume above {result.threshold:.3g} (strong ones are "
            f"{result.strong:.3g} high), {result.n_atoms:,} are candidates: none is within {result.min_distance:g} Å "
            f"of a stronger one{two}. At 0.8 of that distance {result.n_closer:,} more would have come into the joint "
            "fit, which some do not outlast; where that is many, look at the slices before trusting the number of "
            "atoms."
        ),
        warnings=tuple(dict.fromkeys((*result.warnings, *warnings))),
        pictures=() if foreign is None else (slices_picture(foreign, atoms, moved_since=moved_since),),
        tables=(_by_level(result), *_rejected_maxima(result)),
    )


def _by_level(result: Trace) -> Table:
    """How the number of candidates depends on the threshold."""
    counts = zip(result.levels, result.n_above, result.n_noise, strict=True)
    rows = tuple((f"{level:.3g}", f"{found:,}", f"{noise:,.1f}") for level, found, noise in counts)
    header = ("threshold", "candidates", "maxima of noise alone")
    note = (
        "The last column is what Gaussian noise would make if it filled all voxels that are not zero: more than there "
        "are candidates where atoms take its place, fewer than are false where the volume errs in more than noise."
    )
    return Table(title="Other thresholds", header=header, rows=rows, note=note)


def _rejected_maxima(result: Trace) -> tuple[Table, ...]:
    counts = Counter(result.rejected.reasons.tolist())
    if not counts:
        return ()
    rows = tuple((reason, f"{n:,}") for reason, n in counts.most_common())
    note = "Faint: below the threshold once neighbors were fitted together." if FAINT in counts else ""
    return (Table(title="Maxima that are no candidates", header=("reason", "number"), rows=rows, note=note),)


def classify_section(atoms: Atoms, result: Classification, warnings: tuple[str, ...]) -> Section:
    """What `classify` told apart."""
    from aet2dft.plot.matches import plot_intensity_histogram

    doubt, counts = "" if result.n_rejected else ", if all of them are atoms", listed(atoms.get_tags(), result.species)
    low, high = (number(value) for value in result.drift)
    return Section(
        id="classify",
        title="From candidates to species",
        text=(
            f"The intensities of the candidates form {len(result.means)} populations: {counts}; "
            f"{result.n_rejected:,} candidates are no atoms. The brightness of the surroundings, {low} to {high} of "
            f"the average, was taken out first; {result.n_moved:,} candidates changed their class by that. The mean "
            f"confidence is {percent(result.mean_confidence, 2)}{doubt}."
        ),
        warnings=tuple(dict.fromkeys((*result.warnings, *warnings))),
        pictures=(
            picture(
                plot_intensity_histogram(atoms, result),
                name="intensities",
                alt="Histogram of the intensities by class, the populations that were fitted, and their boundaries.",
                caption=(
                    f"Intensities of {len(atoms) + result.n_rejected:,} candidates by class; the thin line: the "
                    "populations; dashed: where two are equally dense. Look for a class that its curve does not "
                    "follow, and for classes that run into each other."
                ),
            ),
        ),
        tables=(_populations(result),),
    )


def _populations(result: Classification) -> Table:
    names = [*["no atom"] * int(result.has_non_atoms), *class_names(result.species)]
    rows = tuple(
        (name, f"{mean:.4g}", f"{sigma:.3g}", percent(float(weight)))
        for name, mean, sigma, weight in zip(names, result.means, result.sigmas, result.weights, strict=True)
    )
    listed = ", ".join(f"{k}: {number(value, 0)}" for k, value in sorted(result.information.items()))
    header = ("class", "mean", "standard deviation", "share of the candidates")
    note = f"Bayes' information criterion by the number of populations (lowest is best): {listed}. {result.choice}"
    return Table(title="Populations", header=header, rows=rows, note=note)


def refine_section(
    series: TiltSeries | None,
    atoms: Atoms,
    result: Refinement,
    warnings: tuple[str, ...],
    *,
    noise: NDArray[np.float64] | None = None,
    corrected_later: bool = False,
) -> Section:
    """What `refine` fitted; `noise` (n,) alone gives such R factors, `corrected_later` are the last atoms others."""
    later = " before the corrections by hand" if corrected_later else ""
    sigma = np.linalg.norm(atoms.arrays["position_sigma"], axis=1)
    free = "" if np.isnan(result.r_free) else f", {format_r(result.r_free)} for images that were held out"
    return Section(
        id="refine",
        title="Atoms against the images",
        text=(
            "Positions and heights of all atoms, and a width for each species, were fitted together to the images, "
            f"weighted with the noise of their pixels. The R factor went from {format_r(result.r_factor_before)} to "
            f"{format_r(result.r_factor_after)}{free}. Atoms added: {result.n_added:,}; dropped: "
            f"{result.n_dropped:,}; the others moved by {number(100 * result.rms_shift, 1)} pm (rms)."
            f"{species_text(atoms, result)}{geometry_text(result)} The median standard error of a position is "
            f"{number(100 * float(np.median(sigma)), 1)} pm.{f' All of this is of the atoms{later}.' if later else ''}"
        ),
        warnings=tuple(dict.fromkeys((*result.warnings, *warnings))),
        pictures=_refine_pictures(series, atoms, result, noise, later),
        tables=(_species_table(atoms, result, later), *_geometry_table(result), *_change_table(result.changes)),
    )


def _has_moved(result: Refinement) -> bool:
    """Whether shifts and turns of the images were fitted."""
    return bool(result.shifts.any() or result.rotations.any())


def species_text(atoms: Atoms, result: Refinement) -> str:
    """Sentence about species that the fitted heights decided again; empty where there was one, or none was known."""
    if len(result.composition_before) < 2:
        return ""
    before, after = (
        ", ".join(f"{n:,} {symbol}" for symbol, n in counts.items())
        for counts in (result.composition_before, composition(atoms))
    )
    n = result.n_species_changed
    changed = f"; {n:,} of those that stayed became another species" if n else ""
    return (
        f" The fitted heights decided the species again: {before} came in, {after} are the result (mean confidence "
        f"{percent(float(atoms.arrays['species_confidence'].mean()), 2)}){changed}."
    )


def geometry_text(result: Refinement) -> str:
    """Sentence about the shifts and turns that were fitted to the images; empty where they were not."""
    if not _has_moved(result):
        return ""
    shift, turn = (float(np.sqrt(np.square(moves).sum(axis=1).mean())) for moves in (result.shifts, result.rotations))
    return (
        f" Two shifts and three angles of each of the {len(result.shifts)} images were fitted as well: "
        f"{number(shift)} pixels and {number(turn)}° (rms)."
    )


def _geometry_table(result: Refinement) -> list[Table]:
    """Shifts and turns of the images, the farthest first."""
    if not _has_moved(result):
        return []
    n = len(result.shifts)
    columns = np.column_stack([result.shifts, result.rotations])
    rows = tuple(
        (str(k), *(number(float(x)) for x in columns[k]), format_r(float(result.r_factor_per_image[k])))
        for k in np.argsort(-np.linalg.norm(result.shifts, axis=1), kind="stable")[:MAX_ROWS]
    )
    axes = ("x", "y", "z")
    header = ("image", "rows (pixels)", "columns (pixels)", *(f"about {axis} (°)" for axis in axes), "R factor")
    cut = f"The {MAX_ROWS} of {n:,} that were shifted farthest" if n > MAX_ROWS else "Shifted farthest first"
    note = f"{cut}; turns are those of the object. What all images share is one of the whole object: atoms follow it."
    return [Table(title="Shifts and turns of the images", header=header, rows=rows, note=note, folded=n > 12)]


def _refine_pictures(
    series: TiltSeries | None, atoms: Atoms, result: Refinement, noise: NDArray[np.float64] | None, later: str
) -> tuple[Picture, ...]:
    from aet2dft.plot.convergence import plot_refinement

    history = picture(
        plot_refinement(result),
        name="refinement",
        alt="R factor of fitted and held-out images against the steps of the refinement.",
        caption=(
            f"{len(result.history)} steps; the last rounds fit all images. The R factor of held-out images can rise at "
            "first, where the volume that the atoms come from knew these images. Where it clearly rises after a dotted "
            "line, atoms that were added there explain noise."
            if result.held_out.size
            else f"{len(result.history)} steps; no image was held out."
        ),
    )
    return (history,) if series is None else (history, _atom_images(series, atoms, result, noise, later))


def _atom_images(
    series: TiltSeries, atoms: Atoms, result: Refinement, noise: NDArray[np.float64] | None, later: str
) -> Picture:
    joined = "; rings: held out before the last steps, fitted now" if result.held_out.size else ""
    return residual_picture(
        atom_residuals(series, atoms, result, noise),
        name="atom-images",
        caption=(
            f"R factor of the atoms{later}, n = {result.shown.sum()} images{joined}. Points well above the line of "
            "noise alone are images that the model does not explain: zone axes, drift, a wrong angle."
        ),
        look_for="Look for atoms in the differences.",
    )


def atom_residuals(
    series: TiltSeries, atoms: Atoms, result: Refinement, noise: NDArray[np.float64] | None = None
) -> Residuals:
    """Images of the refined atoms, shifted and turned where that was fitted, beside the measured ones.

    `noise` (n,): R factors that noise alone gives, where they are known.
    """
    from aet2dft.plot.tilt_images import typical_images

    which = typical_images(result.r_factor_per_image)
    turned = np.swapaxes(rotation_matrices(np.radians(result.rotations)), 1, 2) @ series.rotations
    three = replace(series, rotations=turned, center=series.center + result.shifts).subset(which)
    scale, ground = (values[which, None, None].astype(np.float32) for values in (result.scale, result.background))
    return Residuals(
        series=series,
        r_factor=result.r_factor_per_image,
        noise=noise,
        measured=three.projections - ground,  # what the R factor of the record is a part of
        calculated=scale * model_images(atoms, three),
        held_out=result.held_out,
    )


def _species_table(atoms: Atoms, result: Refinement, later: str) -> Table:
    symbols, sigma = np.asarray(atoms.symbols), 100 * np.asarray(atoms.arrays["position_sigma"])
    rows = tuple(
        (
            symbol,
            f"{int((symbols == symbol).sum()):,}",
            number(width, 3),
            *(number(float(np.median(sigma[symbols == symbol, axis])), 1) for axis in range(3)),
        )
        for symbol, width in result.widths.items()
        if (symbols == symbol).any()
    )
    header = ("species", "atoms", "width (Å)", "σx (pm)", "σy (pm)", "σz (pm)")
    note = "Width: standard deviation of the image of an atom. σ: median standard error of a position."
    return Table(title=f"Species{later}", header=header, rows=rows, note=note)


def _change_table(changes: Changes) -> list[Table]:
    """Atoms that were added or dropped, those with the weakest evidence first: they are the ones to look at."""
    n = len(changes.rounds)
    if not n:
        return []
    weakest = np.argsort(np.abs(changes.odds), kind="stable")[:MAX_ROWS]
    rows = tuple(
        (
            str(changes.actions[k]),
            str(changes.reasons[k]),
            str(int(changes.rounds[k])),
            *(number(float(value)) for value in changes.positions[k]),
            f"{changes.heights[k]:.3g}".replace("-", "−"),
            number(float(changes.odds[k]), 1),
            number(float(changes.gains[k]), 1),
            f"{int(changes.n_images[k])}",
        )
        for k in weakest
    )
    evidence = ("ln of the odds", "fall of χ²/2 with it", "images better with it")
    header = ("change", "by", "round", "x (Å)", "y (Å)", "z (Å)", "height", *evidence)
    shown = f"The {MAX_ROWS} of {n:,} with the weakest evidence." if n > MAX_ROWS else "Weakest evidence first."
    shown += (
        f" As it was when that happened: an atom with ln of the odds above {number(DOUBTFUL, 0)} was tried for another "
        "round, where there was none some of the likeliest, and in the end those above 0 stayed. The odds weigh its "
        "height and neighbors too, and the fall of χ² the less the more the images disagree with the model."
    )
    return [Table(title="Atoms added and dropped", header=header, rows=rows, note=shown, folded=n > 12)]


def verify_section(found: Atoms | None, result: Verification, warnings: tuple[str, ...]) -> Section:
    """What `verify` compared."""
    from aet2dft.plot.matches import plot_verification

    match, known = result.match, result.method == "truth"
    against = "a known model" if known else f"what the same steps find in images of the model ({result.method})"
    right = "with the right species" if species_known(found, result) else "by position alone, species being unknown"
    limit = (
        ""
        if known
        else " It is an estimate: errors that such images do not have, as of multiple scattering, are not in it."
    )
    pictures: tuple[Picture, ...] = ()
    if found is not None:
        pictures = (
            picture(
                plot_verification(found, result),
                name="verification",
                alt="Histogram of the distances of matched atoms, and fraction identified and rmsd against depth.",
                caption=(
                    f"{match.n_matched:,} pairs within {match.radius:g} Å. The rmsd falls where weak atoms are "
                    "missed: read it together with the atoms that were not found. Look for a surface that is worse "
                    "than the inside."
                ),
            ),
        )
    return Section(
        id="verify",
        title="How far the atoms can be trusted",
        text=(
            f"The atoms were compared with {against}: {percent(match.fraction_identified, 2)} are found {right}; "
            f"missed: {match.n_missed:,}, false: {match.n_false:,}; matched ones are "
            f"{number(100 * match.rmsd, 1)} pm apart (rmsd).{limit}"
        ),
        warnings=tuple(dict.fromkeys((*result.warnings, *warnings))),
        pictures=pictures,
        tables=(_match_table(result, right), *_scattering_table(result.images)),
    )


def _match_table(result: Verification, right: str) -> Table:
    match = result.match
    rows = [
        ("atoms of the reference", f"{match.n_reference:,}"),
        (f"found {right}", f"{match.n_right:,}"),
        ("matched, whatever the species", f"{match.n_matched:,}"),
        ("missed", f"{match.n_missed:,}"),
        ("false", f"{match.n_false:,}"),
        ("rmsd (pm)", number(100 * match.rmsd, 1)),
        *((f"rmsd of {symbol} (pm)", number(100 * rmsd, 1)) for symbol, rmsd in match.rmsd_of.items()),
        *((f"rms along {axis} (pm)", number(100 * value, 1)) for axis, value in _by_axis(match.differences)),
        ("common shift (Å)", ", ".join(number(float(value), 3) for value in match.shift)),
        ("R factor of the images", format_r(result.r_factor)),
    ]
    return Table(title="Match", header=("quantity", "value"), rows=tuple(rows))


def _scattering_table(images: ImageComparison | None) -> list[Table]:
    """Measured images against those with multiple scattering, the worst first."""
    if images is None:
        return []
    worst = np.argsort(-images.r_factor, kind="stable")[:MAX_ROWS]
    columns = (images.r_factor, images.r_factor_linear, images.correlation, images.correlation_linear)
    rows = tuple((str(images.images[k]), *(number(float(values[k]), 3) for values in columns)) for k in worst)
    header = ("image", "R", "R, linear", "correlation", "correlation, linear")
    note = f"Source size {number(images.source_size)} Å, where the simulated images fit the measured ones best."
    return [Table(title="Images with multiple scattering", header=header, rows=rows, note=note, folded=len(rows) > 8)]


def _by_axis(differences: NDArray[np.float64]) -> list[tuple[str, float]]:
    if not len(differences):
        return []
    return [("xyz"[axis], float(np.sqrt(np.square(differences[:, axis]).mean()))) for axis in range(3)]
