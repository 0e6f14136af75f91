"""The section of the page about the volume and the images that it was made from."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from aet2dft.html_report.figures import picture
from aet2dft.html_report.parts import Picture, Section, Table, number, percent
from aet2dft.html_report.residuals import Residuals, residual_picture
from aet2dft.recon.fourier.columns import centered_columns
from aet2dft.recon.fourier.projector import project_volume
from aet2dft.recon.images.conventions import ConventionCheck
from aet2dft.recon.metrics import SHELL_THRESHOLDS, ShellCorrelation, format_r
from aet2dft.recon.tilt_series import TiltSeries, Volume
from aet2dft.recon.volumes.reconstruction import Reconstruction

MAX_ROWS = 400
"""Images in the table."""
MAX_CONVENTIONS = 8
"""Conventions in theirs."""
_WEDGE = 3.0
"""A gap between tilts wider than so many times the step of as many tilts all around is a missing wedge."""
_NO_NOISE = 0.005
"""R factor of noise alone below which it may be that of the atoms, whose images do not end at any frequency."""


def reconstruct_section(
    series: TiltSeries,
    volume: Volume,
    result: Reconstruction,
    conventions: ConventionCheck | None,
    atoms: Atoms | None,
    warnings: tuple[str, ...],
    *,
    noise: NDArray[np.float64],
    moved_since: bool = False,
) -> Section:
    """What `reconstruct` made; `atoms` of a later verb are drawn into the slices, `noise` (n,) gives such R factors.

    `moved_since`: whether these atoms are of images that `refine` moved after that.
    """
    return Section(
        id="reconstruct",
        title="From images to a volume",
        text=_text(series, volume, result),
        warnings=tuple(dict.fromkeys((*result.warnings, *warnings))),
        pictures=(
            slices_picture(volume, atoms, wedge=has_wedge(series), moved_since=moved_since),
            *_record_pictures(series, result),
            _images(series, volume, result, noise),
        ),
        tables=(
            _quality(result, noise),
            *_convention_table(conventions),
            _image_table(series, result),
        ),
    )


def slices_picture(volume: Volume, atoms: Atoms | None, *, wedge: bool = True, moved_since: bool = False) -> Picture:
    """Slices of a volume with the atoms of the last step; `wedge`: whether a range of tilts may be missing.

    `moved_since`: whether these atoms are of images that were moved after the volume was made of them.
    """
    from aet2dft.plot.slices import plot_slices

    rings = "" if atoms is None else f" Rings: those of {len(atoms):,} atoms that lie within 0.7 Å of the slice."
    look_for = f"Look for spots that are {'drawn out along the missing wedge' if wedge else 'not round'}."
    if atoms is not None and moved_since:
        look_for = (
            "The refinement moved the images after this volume was made of them: the rings are where the moved images "
            "show the atoms, and need not lie on its spots."
        )
    elif atoms is not None:
        drawn_out = ", and spots drawn out along the missing wedge" if wedge else ""
        look_for = f"Look for bright spots without a ring, rings without a spot{drawn_out}."
    shape = " × ".join(map(str, volume.values.shape))
    return picture(
        plot_slices(volume, atoms),
        name="slices",
        alt="Three orthogonal slices through the middle of the volume, atoms as rings.",
        caption=(
            f"Slices near the middle of the density, {shape} voxels of {volume.voxel_size:.4g} Å, smoothed with σ = "
            f"0.3 Å.{rings} {look_for}"
        ),
    )


def _text(series: TiltSeries, volume: Volume, result: Reconstruction) -> str:
    shape = " × ".join(map(str, series.projections.shape[1:]))
    axis = "about one tilt axis" if series.is_single_axis else "with three Euler angles each"
    low, high = float(series.tilt_angles.min()), float(series.tilt_angles.max())
    tilts = f"tilts {number(low, 1)} to {number(high, 1)}° (widest gap {number(_widest_gap(series.tilt_angles), 1)}°)"
    images = f"{series.n_images} images"
    if series.n_images == 1:
        images, tilts = "1 image", f"tilt {number(low, 1)}°"
    where = f"The density is zero outside a support of {percent(result.support_fraction)} of the voxels."
    if result.support_fraction == 1:
        where = "There is no support: the object fills the box."
    return (
        f"{images} of {shape} pixels of {series.pixel_size:.4g} Å, {axis}, {tilts}, became a volume of "
        f"{' × '.join(map(str, volume.values.shape))} voxels by {result.algorithm} ({result.reason}). {where} A tilt "
        "series cannot tell a particle from its mirror image if the sign of its tilts is wrong."
    )


def _widest_gap(tilt_angles: NDArray[np.float64]) -> float:
    """Degrees between two neighboring tilts; an image and the one from behind are the same."""
    folded = np.sort(np.mod(tilt_angles, 180.0))
    return float(np.diff(folded, append=folded[0] + 180.0).max())


def has_wedge(series: TiltSeries) -> bool:
    """Whether a range of tilts may be missing: with tilts about one axis, a gap much wider than the steps."""
    span = 180.0 / len(np.unique(np.mod(series.tilt_angles, 180.0)))
    return not series.is_single_axis or _widest_gap(series.tilt_angles) > _WEDGE * span


def _record_pictures(series: TiltSeries, result: Reconstruction) -> list[Picture]:
    from aet2dft.plot.convergence import plot_convergence, plot_coverage, plot_fsc

    found = [
        picture(
            plot_convergence(result),
            name="convergence",
            alt="Misfit and R factor of left-out images against the iteration.",
            caption=(
                f"{result.iterations:,} iterations: {result.reason}. Where the R factor of left-out images turns up "
                "again, further iterations fit noise."
            ),
        )
    ]
    if result.fsc is not None:
        found.append(
            picture(
                plot_fsc(result.fsc),
                name="fsc",
                alt="Fourier shell correlation of volumes from two halves of the images.",
                caption=(
                    "Volumes from every other image agree to this resolution; each half has half of the images and "
                    "wider gaps, so that the whole series resolves more. A curve that does not fall means that the "
                    "halves share something: a support, or an error of the geometry."
                ),
            )
        )
    drawn_out = (
        " Atoms are drawn out, and their positions least certain, along the direction of the missing wedge."
        if has_wedge(series)
        else ""
    )
    found.append(
        picture(
            plot_coverage(result.coverage),
            name="coverage",
            alt="Map of the frequencies that images measure, and the completeness of every shell.",
            caption=(
                f"Frequencies within half a reciprocal voxel of one of {series.n_images} images: a matter of the "
                f"tilts alone.{drawn_out}"
            ),
        )
    )
    return found


def _images(series: TiltSeries, volume: Volume, result: Reconstruction, noise: NDArray[np.float64]) -> Picture:
    from aet2dft.plot.tilt_images import typical_images

    which = typical_images(result.r_factor_per_image)
    seen = centered_columns(series.subset(which))
    bright = result.image_scale if result.equalized else np.ones(series.n_images)
    level, scale = (values[which, None, None].astype(np.float32) for values in (result.background, bright))
    residuals = Residuals(
        series=series,
        r_factor=result.r_factor_per_image,
        noise=noise,
        measured=(seen.projections - level) / scale,
        calculated=np.float32(result.scale) * project_volume(seen, volume.values),
    )
    above = "Points well above the line of noise alone are images that the volume does not explain."
    if np.median(result.r_factor_per_image) < np.median(noise):
        above = "It lies below the line of noise alone, since a volume can fit noise."
        if np.median(noise) < _NO_NOISE:
            above = "The line of noise alone is as low as can be told: the images hold next to no noise."
    return residual_picture(
        residuals,
        name="volume-images",
        caption=f"R factor of the volume, n = {series.n_images} images. {above}",
        look_for="Look for structure in the differences: a particle that shows there is not explained.",
    )


def _quality(result: Reconstruction, noise: NDArray[np.float64]) -> Table:
    rows = [
        ("R factor of all images", format_r(result.r_factor)),
        ("that noise alone gives, about", format_r(float(noise.mean()))),
    ]
    for name, value in (
        ("R factor of left-out images", result.r_free),
        ("R factor of the measured frequencies", result.r_fourier),
        ("R factor of withheld frequencies", result.r_free_fourier),
    ):
        if value is not None:
            rows.append((name, format_r(value)))
    if result.trial is not None:
        rows.append(("images left out", ", ".join(map(str, result.trial.held_out.tolist()))))
    if result.fsc is not None:
        rows += [
            (f"resolution of halves at {level:g} (Å)", _resolution(result.fsc, level)) for level in SHELL_THRESHOLDS
        ]
    if np.isfinite(result.image_scale).all():
        low, high = (number(float(value), 3) for value in (result.image_scale.min(), result.image_scale.max()))
        rows.append(("brightness of the images", f"{low} to {high}, {'made equal' if result.equalized else 'kept'}"))
    rows += [
        ("rotation center moved by (pixels)", number(result.center_offset, 2)),
        ("frequencies not measured", percent(result.coverage.missing_fraction)),
        ("grid of the transforms", " × ".join(map(str, result.grid_shape))),
        ("seconds per iteration", number(result.seconds_per_iteration, 3)),
    ]
    return Table(title="Quality", header=("quantity", "value"), rows=tuple(rows))


def _convention_table(check: ConventionCheck | None) -> list[Table]:
    """R factors of the ways to read the angles, the best ones first; nothing where there is but one."""
    if check is None or len(check.names) == 1:
        return []
    best = np.argsort(check.r_factor, kind="stable")[:MAX_CONVENTIONS]
    rows = tuple(
        (check.names[k], format_r(float(check.r_factor[k])), percent(float(check.fits_better[k]), 0)) for k in best
    )
    verdict = {
        "as_given": "The convention that was given fits best.",
        "another": "Another convention fits better than the one that was given.",
        "undecided": "The images do not decide between the conventions.",
    }[check.verdict]
    alike = ", ".join(check.indistinguishable)
    note = f"{verdict} On images binned {check.binning}-fold." + (f" No image can tell from it: {alike}." * bool(alike))
    header = ("convention", "R factor", "images that it fits better")
    return [Table(title="Conventions of the angles", header=header, rows=rows, note=note, folded=check.best == 0)]


def _resolution(shells: ShellCorrelation, level: float) -> str:
    """Å; where the correlation never falls below the level, the last shell is said to be beyond it."""
    return f"{'' if shells.falls_below(level) else 'better than '}{number(shells.resolution(level))}"


def _image_table(series: TiltSeries, result: Reconstruction) -> Table:
    rows = tuple(
        (str(k), number(float(series.tilt_angles[k]), 2), format_r(float(result.r_factor_per_image[k])))
        for k in range(min(series.n_images, MAX_ROWS))
    )
    note = f"The first {MAX_ROWS} of {series.n_images:,}." if series.n_images > MAX_ROWS else ""
    header = ("image", "tilt (degrees)", "R factor")
    return Table(title="Images", header=header, rows=rows, texts=(), note=note, folded=True)
