"""Results between images and atoms as the keys of the JSON output, and as the few lines that people read."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

from aet2dft.recon.geometry import beam_range
from aet2dft.recon.metrics import SHELL_THRESHOLDS, format_r

if TYPE_CHECKING:
    from ase import Atoms

    from aet2dft.config import RefineSettings
    from aet2dft.recon.atoms.classification import Classification
    from aet2dft.recon.atoms.edits import EditLog
    from aet2dft.recon.atoms.peaks import Trace
    from aet2dft.recon.atoms.refinement import Refinement
    from aet2dft.recon.images.conventions import ConventionCheck
    from aet2dft.recon.metrics import ShellCorrelation
    from aet2dft.recon.tilt_series import TiltSeries, Volume
    from aet2dft.recon.verification.round_trip import Verification
    from aet2dft.recon.volumes.preparation import Plan
    from aet2dft.recon.volumes.reconstruction import Reconstruction


def reconstruct_keys(
    series: TiltSeries, volume: Volume, result: Reconstruction, conventions: ConventionCheck | None = None
) -> dict[str, Any]:
    """Keys of `reconstruct`."""
    return {
        "algorithm": result.algorithm,
        "reason": result.reason,
        "shape": list(volume.values.shape),
        "grid_shape": list(result.grid_shape),
        "voxel_size": volume.voxel_size,
        "n_projections": series.n_images,
        "single_axis": series.is_single_axis,
        "iterations": result.iterations,
        "support_fraction": result.support_fraction,
        "r_factor": result.r_factor,
        "r_factor_per_image": result.r_factor_per_image,
        "r_free": result.r_free,
        "r_fourier": result.r_fourier,
        "r_free_fourier": result.r_free_fourier,
        "seconds_per_iteration": result.seconds_per_iteration,
        "center_offset_px": result.center_offset,
        "image_scale": result.image_scale,
        "equalized": result.equalized,
        "fsc": None if result.fsc is None else _shells(result.fsc),
        "coverage": {
            "frequency": result.coverage.frequency,
            "completeness": result.coverage.completeness,
            "missing_fraction": result.coverage.missing_fraction,
        },
        "conventions": None if conventions is None else _conventions(conventions),
    }


def _shells(fsc: ShellCorrelation) -> dict[str, Any]:
    return {
        "frequency": fsc.frequency,
        "correlation": fsc.correlation,
        **{f"resolution_{level:g}": fsc.resolution(level) for level in SHELL_THRESHOLDS},
    }


def plan_keys(planned: Plan) -> dict[str, Any]:
    """Keys of `reconstruct --dry-run`."""
    from aet2dft.memory import used_memory
    from aet2dft.recon.volumes.footprint import disk_bytes, needed_bytes, require
    from aet2dft.recon.volumes.forecast import predicted_seconds

    require(planned)
    used, needed = used_memory(), needed_bytes(planned)
    return {
        "algorithm": planned.algorithm,
        "reason": planned.reason,
        "shape": list(planned.shape),
        "n_projections": planned.series.n_images,
        "single_axis": planned.series.is_single_axis,
        "predicted_memory_mb": round(needed / 1e6, 1),
        "predicted_peak_memory_mb": round((used + needed) / 1e6, 1),
        "predicted_disk_mb": round(disk_bytes(planned) / 1e6, 1),
        "predicted_seconds": round(predicted_seconds(planned), 1),
    }


def plan_lines(data: dict[str, Any]) -> list[str]:
    """The summary of `reconstruct --dry-run`."""
    shape = " x ".join(map(str, data["shape"]))
    images = "1 image" if data["n_projections"] == 1 else f"{data['n_projections']} images"
    return [
        f"{data['algorithm']} on {shape} voxels from {images}: {data['reason']}",
        f"about {data['predicted_seconds']:.0f} s and {data['predicted_memory_mb']:.0f} MB besides program and images, "
        f"{data['predicted_peak_memory_mb']:.0f} MB with them",
    ]


def _conventions(check: ConventionCheck) -> dict[str, Any]:
    names = ("verdict", "margin", "names", "r_factor", "fits_better", "indistinguishable", "binning")
    return {name: getattr(check, name) for name in names}


def reconstruct_lines(
    series: TiltSeries, volume: Volume, result: Reconstruction, conventions: ConventionCheck | None = None
) -> list[str]:
    """The summary of `reconstruct`."""
    shape = " x ".join(map(str, volume.values.shape))
    worst = int(np.argmax(result.r_factor_per_image))
    iterations = "1 iteration" if result.iterations == 1 else f"{result.iterations} iterations"
    free = "" if result.r_free is None else f", of left-out images {format_r(result.r_free)}"
    return [
        f"{_images_line(series)}; volume of {shape} voxels of {volume.voxel_size:.4g} Å",
        f"{result.algorithm}, {iterations} of {result.seconds_per_iteration:.3f} s: {result.reason}",
        f"R factor {format_r(result.r_factor)}{free}; worst image {worst}: "
        f"{format_r(result.r_factor_per_image[worst])}",
        *([] if result.fsc is None else [_halves_line(result.fsc)]),
        *([] if conventions is None or len(conventions.names) == 1 else [_convention_line(conventions)]),
    ]


def _images_line(series: TiltSeries) -> str:
    low, high, reach = series.tilt_angles.min(), series.tilt_angles.max(), beam_range(series.rotations)
    if series.n_images == 1:
        return f"1 image at {low:.1f} degrees"
    if np.ptp(series.tilt_angles) < 0.5 * round(reach, 1):  # tilted about another axis than theta
        return f"{series.n_images} images, turned by up to {reach:.1f} degrees"
    return f"{series.n_images} images, {low:.1f} to {high:.1f} degrees"


def _halves_line(fsc: ShellCorrelation) -> str:
    level = SHELL_THRESHOLDS[0]
    better = "" if fsc.falls_below(level) else "better than "
    return f"halves of the images agree to {better}{fsc.resolution(level):.2f} Å ({level:g})"


def _convention_line(check: ConventionCheck) -> str:
    found = {"as_given": "fits best", "another": "does not fit best", "undecided": "cannot be told from others"}
    others = len(check.names) - 1
    tried = f"{others} other{'s' * (others > 1)} tried, margin {check.margin:.2f}"
    return f"convention of the angles {found[check.verdict]} ({tried}); the hand of the object cannot be told"


def trace_keys(result: Trace) -> dict[str, Any]:
    """Keys of `trace`."""
    names = ("n_candidates", "n_atoms", "n_split", "min_distance", "threshold", "n_closer", "median_neighbor_distance")
    by_level = ("levels", "n_above", "n_noise", "noise_threshold")
    return {name: getattr(result, name) for name in names + by_level}


def trace_lines(result: Trace) -> list[str]:
    """The summary of `trace`."""
    two = f" ({result.n_split:,} of them two atoms{' each' * (result.n_split > 1)})" if result.n_split else ""
    found = "1 candidate" if result.n_atoms == 1 else f"{result.n_atoms:,} candidates"
    maxima = "1 maximum" if result.n_candidates == 1 else f"{result.n_candidates:,} maxima"
    return [
        f"{found} from {maxima}{two} above {result.threshold:.3g}",
        f"no two nearer than {result.min_distance:g} Å; {result.n_closer:,} more at 0.8 of that distance, before all "
        "were fitted together",
        f"above {result.noise_threshold:.3g} noise alone would make at most 1 % of them: {_number_above(result):,}",
    ]


def _number_above(result: Trace) -> int:
    """Candidates above the level from which on they are free of noise."""
    return int(result.n_above[np.searchsorted(result.levels, result.noise_threshold)])


def classify_keys(result: Classification) -> dict[str, Any]:
    """Keys of `classify`."""
    names = ("composition", "n_rejected", "mean_confidence", "method", "means", "sigmas", "drift")
    return {name: getattr(result, name) for name in names}


def classify_lines(atoms: Atoms, result: Classification) -> list[str]:
    """The summary of `classify`."""
    from aet2dft.recon.atoms.assignments import listed

    rejected = "1 candidate is no atom" if result.n_rejected == 1 else f"{result.n_rejected:,} candidates are no atoms"
    return [
        f"{listed(atoms.get_tags(), result.species)}; {rejected}",
        f"mean confidence {result.mean_confidence:.3f}{'' if result.n_rejected else ' if all are atoms'}, by "
        f"{result.method}",
    ]


def workload_keys(atoms: Atoms, series: TiltSeries, settings: RefineSettings) -> dict[str, Any]:
    """Keys of `refine --dry-run`."""
    from aet2dft.recon.atoms.workload import needed_bytes, predicted_seconds, require

    require(series)
    return {
        "predicted_memory_mb": round(needed_bytes(series) / 1e6, 1),
        "predicted_seconds": round(predicted_seconds(atoms, series, settings), 1),
    }


def workload_line(data: dict[str, Any]) -> str:
    """What `refine --dry-run` says of them."""
    return (
        f"about {max(1.0, data['predicted_seconds']):.0f} s, longer where many atoms are missing; "
        f"{data['predicted_memory_mb']:.0f} MB besides the images"
    )


def refine_keys(atoms: Atoms, result: Refinement) -> dict[str, Any]:
    """Keys of `refine`."""
    from aet2dft.atoms import composition

    names = ("r_factor_before", "r_factor_after", "r_free", "rms_shift", "n_added", "n_dropped", "widths")
    told = {name: getattr(result, name) for name in (*names, "composition_before", "n_species_changed")}
    return {"n_atoms": len(atoms), "composition": composition(atoms)} | told


def refine_lines(atoms: Atoms, result: Refinement) -> list[str]:
    """The summary of `refine`."""
    from aet2dft.atoms import composition

    sigma = np.sqrt(np.square(atoms.arrays["position_sigma"]).sum(axis=1))
    before, after = (
        ", ".join(f"{n:,} {symbol}" for symbol, n in counts.items())
        for counts in (result.composition_before, composition(atoms))
    )
    changed = f"; {result.n_species_changed:,} became another species" if result.n_species_changed else ""
    return [
        f"R factor {format_r(result.r_factor_before)} -> {format_r(result.r_factor_after)}; "
        f"moved by {result.rms_shift:.3f} Å",
        f"{len(atoms):,} atoms: {result.n_added:,} added, {result.n_dropped:,} dropped; {before} -> {after}{changed}",
        f"median standard error of a position {100 * np.median(sigma):.1f} pm",
    ]


def edit_keys(atoms: Atoms, result: EditLog) -> dict[str, Any]:
    """Keys of `edit`."""
    from aet2dft.atoms import composition

    return {"n_atoms": len(atoms), "composition": composition(atoms), **result.counts, "changes": result.changes}


def edit_lines(atoms: Atoms, result: EditLog) -> list[str]:
    """The summary of `edit`."""
    listed = ", ".join(f"{n:,} x {action}" for action, n in result.counts.items() if n)
    return [f"{len(atoms):,} atoms; {listed or 'no corrections: the atoms are as they were before `edit`'}"]


def verify_keys(result: Verification) -> dict[str, Any]:
    """Keys of `verify`."""
    names = ("rmsd", "fraction_identified", "n_matched", "n_missed", "n_false", "rmsd_of", "shift", "radius")
    profile = {name: getattr(result.profile, name) for name in ("depth", "n_atoms", "fraction_identified", "rmsd")}
    return {
        "method": result.method,
        **{name: getattr(result.match, name) for name in names},
        "r_factor": result.r_factor,
        "orientation": result.orientation,
        "turn": result.turn,
        "profile": profile,
        "images": None if result.images is None else dataclasses.asdict(result.images),
    }


def verify_lines(atoms: Atoms, result: Verification) -> list[str]:
    """The summary of `verify`."""
    from aet2dft.recon.verification.round_trip import species_known

    match = result.match
    listed = ", ".join(f"{kind} {100 * rmsd:.1f}" for kind, rmsd in match.rmsd_of.items())
    known = result.method == "truth"
    against = "against the known model" if known else "of its own model, from simulated images of it"
    found = "identified" if known else "found again"
    found += "" if species_known(atoms, result) else " by position alone (species are unknown)"
    turned = f", the reference turned by {result.turn:.2f} degrees" if result.turn > 0 else ""
    lines = [
        f"{against}: {100 * match.fraction_identified:.2f} % {found}, {match.n_matched:,} matched, "
        f"{match.n_missed:,} missed, {match.n_false:,} false (within {match.radius:g} Å)",
        f"rmsd {100 * match.rmsd:.1f} pm ({listed}){turned}",
    ]
    if result.images is not None:
        images = result.images
        shown = np.isfinite(images.r_factor)
        columns = (images.r_factor, images.r_factor_linear, images.correlation, images.correlation_linear)
        scattered, linear, alike, alike_linear = (float(values[shown].mean()) for values in columns)
        lines.append(
            f"{shown.sum()} images, source {images.source_size:.2f} Å: R factor {scattered:.3f} with multiple "
            f"scattering, {linear:.3f} linear; correlation {alike:.4f} and {alike_linear:.4f}"
        )
    return lines if np.isnan(result.r_factor) else [*lines, f"R factor of the images {format_r(result.r_factor)}"]
