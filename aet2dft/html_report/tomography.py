"""What a project knows between images and atoms: one value, its sections in the order of the verbs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from ase import Atoms
from numpy.typing import ArrayLike, NDArray

from aet2dft.html_report.atom_sections import classify_section, refine_section, trace_section, verify_section
from aet2dft.html_report.edit_section import edit_section
from aet2dft.html_report.parts import Section
from aet2dft.html_report.volume_section import reconstruct_section
from aet2dft.recon.atoms.classification import Classification
from aet2dft.recon.atoms.edits import EditLog
from aet2dft.recon.atoms.image_poses import in_place, rms
from aet2dft.recon.atoms.peaks import Trace
from aet2dft.recon.atoms.refinement import Refinement
from aet2dft.recon.images.conventions import ConventionCheck
from aet2dft.recon.images.noise import noise_deviation, noise_r_factor
from aet2dft.recon.tilt_series import TiltSeries, Volume
from aet2dft.recon.verification.round_trip import Verification
from aet2dft.recon.volumes.reconstruction import Reconstruction


@dataclass(frozen=True, kw_only=True, slots=True)
class Tomography:
    """Images, volume and atoms of a project, and the records of the verbs that made them; None where one did not."""

    series: TiltSeries | None = None
    """Images, with the rotation center where `reconstruct` took it."""
    volume: Volume | None = None
    """Density, reconstructed or foreign."""
    reconstruction: Reconstruction | None = None
    """Of `reconstruct`."""
    conventions: ConventionCheck | None = None
    """Of `reconstruct`, where the convention of the angles was checked."""
    trace: Trace | None = None
    """Of `trace`."""
    classified: Atoms | None = None
    """Atoms as `classify` left them."""
    classification: Classification | None = None
    """Of `classify`."""
    refined: Atoms | None = None
    """Atoms as `refine` left them."""
    refinement: Refinement | None = None
    """Of `refine`."""
    corrections: EditLog | None = None
    """Of `edit`."""
    corrected_after_fit: bool = False
    """Whether atoms were corrected by hand after `refine`, so that its R factors are not those of the last atoms."""
    found: Atoms | None = None
    """Atoms that `verify` compared with the reference."""
    verification: Verification | None = None
    """Of `verify`."""
    noise_deviation: NDArray[np.float64] | None = field(init=False, default=None)
    """(n,): mean absolute noise of a pixel of every image, found once for all that compare with it."""

    def __post_init__(self) -> None:
        """Find the noise of the images."""
        if self.series is None:
            return
        images = self.series.projections
        shown = np.ones(len(images), dtype=np.bool_) if self.refinement is None else self.refinement.shown
        if shown.all():
            found = noise_deviation(images)
        else:  # images of something else may have other noise, of which the atoms know nothing
            found = np.empty(len(images))
            found[shown], found[~shown] = noise_deviation(images[shown]), noise_deviation(images[~shown])
        object.__setattr__(self, "noise_deviation", found)

    def noise_r_factor(self, background: ArrayLike) -> NDArray[np.float64]:
        """R factors (n,) that noise alone gives, of the images less their backgrounds."""
        assert self.series is not None  # the caller has looked
        return noise_r_factor(self.series.projections, background, deviation=self.noise_deviation)

    @property
    def corrected_r_factors(self) -> tuple[float | None, float | None]:
        """R factors of the refined atoms before and after they were corrected; None where there is none."""
        if self.refinement is None or not self.corrected_after_fit:
            return None, None
        seen = self.verification
        # images with multiple scattering have another R factor
        known = seen is not None and seen.method in ("truth", "linear") and np.isfinite(seen.r_factor)
        return self.refinement.r_factor_after, seen.r_factor if seen is not None and known else None

    @property
    def moved_since(self) -> bool:
        """Whether `refine` moved the images visibly after the volume was made of them."""
        fit = self.refinement
        return fit is not None and not in_place(rms(fit.shifts), rms(fit.rotations))

    @property
    def min_distance(self) -> float | None:
        """Å: bonds below this are looked at; None where no atom was traced or refined."""
        for record in (self.refinement, self.trace):
            if record is not None:
                return record.min_distance
        return None


NO_IMAGES = Tomography()
"""Of a project that begins with atoms."""


def tomography_sections(
    tomography: Tomography, atoms: Atoms | None, warned: Mapping[str, tuple[str, ...]]
) -> dict[str, Section]:
    """Sections by verb, of those that ran; `atoms` of the last step are drawn into the slices."""
    t, found = tomography, {}
    if t.series is not None and t.volume is not None and t.reconstruction is not None:
        found["reconstruct"] = reconstruct_section(
            t.series,
            t.volume,
            t.reconstruction,
            t.conventions,
            atoms,
            warned.get("reconstruct", ()),
            noise=t.noise_r_factor(t.reconstruction.background),
            moved_since=t.moved_since,
        )
    if t.trace is not None:
        foreign = t.volume if t.reconstruction is None else None
        found["trace"] = trace_section(t.trace, foreign, atoms, warned.get("trace", ()), moved_since=t.moved_since)
    if t.classified is not None and t.classification is not None:
        found["classify"] = classify_section(t.classified, t.classification, warned.get("classify", ()))
    if t.refined is not None and t.refinement is not None:
        found["refine"] = refine_section(
            t.series,
            t.refined,
            t.refinement,
            warned.get("refine", ()),
            noise=None if t.series is None else t.noise_r_factor(t.refinement.background),
            corrected_later=t.corrected_after_fit,
        )
    if t.corrections is not None:
        found["edit"] = edit_section(t.corrections, t.corrected_r_factors, warned.get("edit", ()))
    if t.verification is not None:
        found["verify"] = verify_section(t.found, t.verification, warned.get("verify", ()))
    return found


@dataclass(frozen=True, kw_only=True, slots=True)
class Fit:
    """How well the last model of a project, a volume or its atoms, explains the images."""

    model: str
    """What was compared: ``volume``, ``atoms``, ``corrected atoms`` or ``atoms before the corrections``."""
    r_factor: float
    """R factor of the images."""
    r_free: float | None
    """R factor of images that were left out."""
    noise: NDArray[np.float64]
    """R factors that a true model would have, of the images that show it."""


def last_fit(tomography: Tomography) -> Fit | None:
    """R factors of the atoms where they were refined, else of the volume; None without images.

    Of atoms that were corrected by hand after that, only `verify` knows it, and nobody that of left-out images.
    """
    series, refined, volume = tomography.series, tomography.refinement, tomography.reconstruction
    if series is None:
        return None
    if refined is not None:
        free = refined.r_free if np.isfinite(refined.r_free) else None
        noise = tomography.noise_r_factor(refined.background)[refined.shown]
        if not tomography.corrected_after_fit:
            return Fit(model="atoms", r_factor=refined.r_factor_after, r_free=free, noise=noise)
        _, after = tomography.corrected_r_factors
        if after is not None:
            return Fit(model="corrected atoms", r_factor=after, r_free=None, noise=noise)
        model = "atoms before the corrections"
        return Fit(model=model, r_factor=refined.r_factor_after, r_free=None, noise=noise)
    if volume is None:
        return None
    noise = tomography.noise_r_factor(volume.background)
    return Fit(model="volume", r_factor=volume.r_factor, r_free=volume.r_free, noise=noise)
