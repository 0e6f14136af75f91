"""How far a model can be trusted: against a known one, or against what the same chain finds in its own images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols
from numpy.typing import NDArray

from aet2dft.config import RefineSettings, VerifySettings
from aet2dft.errors import InputError
from aet2dft.recon.atoms.concerns import not_shown
from aet2dft.recon.atoms.image_noise import calibrate
from aet2dft.recon.atoms.image_poses import corrected
from aet2dft.recon.atoms.refinement import Refinement
from aet2dft.recon.atoms.simulate import Noise, model_images, with_noise
from aet2dft.recon.metrics import Match, match
from aet2dft.recon.tilt_series import TiltSeries
from aet2dft.recon.verification.chain import Chain, run_chain, usual_chain
from aet2dft.recon.verification.depth import DepthProfile, depth_profile
from aet2dft.recon.verification.frames import match_any_frame, match_turned, turn_of
from aet2dft.recon.verification.multislice import Microscope, with_source
from aet2dft.recon.verification.scattering import ImageComparison, compare_images, fine_images, scans, seconds_needed

Warnings = tuple[str, ...]
_SAME_OBJECT = 0.5
"""Part of the smaller of two models that is matched at least where they are of the same object."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Verification:
    """A model of atoms and what it was compared with."""

    method: str
    """``truth``: a known model; ``linear``, ``prism`` or ``multislice``: what the chain finds in simulated images."""
    match: Match
    """Atoms of the two, one to one; the model is the reference of what is found in its images."""
    orientation: NDArray[np.float64]
    """(3, 3): matrix that takes positions of the reference into the frame of the model; the identity in most cases."""
    profile: DepthProfile
    """Errors against the depth."""
    r_factor: float
    """Of the images that show the model, each with the best scale and background; NaN without measured images."""
    warnings: tuple[str, ...]
    """What the user should look at."""
    images: ImageComparison | None = None
    """Measured images against those with multiple scattering; None where there are none."""

    @property
    def turn(self) -> float:
        """Degrees by which the reference was turned, besides axes that were exchanged or reversed."""
        return turn_of(self.orientation)


def verify(
    atoms: Atoms,
    settings: VerifySettings = VerifySettings(),
    *,
    truth: Atoms | None = None,
    series: TiltSeries | None = None,
    refinement: Refinement | None = None,
    chain: Chain | None = None,
    support: NDArray[np.bool_] | None = None,
    seed: int = 0,
    cache: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Atoms, Verification]:
    """Match a model with a known one, or find it again in its own simulated images.

    Parameters
    ----------
    atoms : Atoms
        The model.
    settings : VerifySettings
        How images are simulated, and with which dose; radius of a match. Its `truth` is a file that the caller reads.
    truth : Atoms, optional
        Known model. Without it, images of `atoms` are simulated in the geometry of `series`.
    series : TiltSeries, optional
        Measured images: they give the R factor of the model.
    refinement : Refinement, optional
        Of the model against these images: where it fitted their shifts and turns, the images of the model have them.
    chain : Chain, optional
        Settings of the steps that are repeated; default: `usual_chain`.
    support : ndarray of bool, shape (nx, ny, nz), optional
        Support of the reconstruction.
    seed : int
        Seed of the noise and of the reconstruction.
    cache : Path, optional
        Folder of images with multiple scattering; one that is there is not simulated again.
    progress : callable, optional
        Told how many of these images are done, and of how many.

    Returns
    -------
    found : Atoms
        What the chain found; without simulation, `atoms`.
    result : Verification
        The match.

    Raises
    ------
    InputError
        If there is neither a known model nor a series, abTEM is needed and missing, or there is no such image.

    Notes
    -----
    What is found again is an estimate of what was found: linear images hold no multiple scattering, and faint atoms
    that were missed are not in them. Heights that were fitted hold noise, which the images are given again; it is taken
    out of them (`without_noise`). Where only some images are simulated with multiple scattering, they are compared with
    the measured ones, and the chain is run on linear images.
    """
    orientation, warnings, comparison = np.eye(3), Warnings(), None
    posed = series
    if series is not None and refinement is not None:
        posed = corrected(series, refinement.shifts, refinement.rotations)
    exact = None if posed is None else model_images(atoms, posed)
    if truth is not None:
        found, reference = atoms, truth
        pairs, orientation, warnings = match_any_frame(atoms, truth, radius=settings.radius)
        warnings += (*_without_elements({"model": atoms, "known model": truth}), *_of_another(atoms, truth, pairs))
    elif series is not None and posed is not None and exact is not None:
        simulated = model_images(without_noise(atoms), posed)
        if settings.method != "linear":
            exact, comparison, warnings = _scattered(atoms, posed, exact, settings, cache, progress)
            simulated = exact if len(comparison.images) == series.n_images else simulated
        chain = usual_chain(atoms, refinement) if chain is None else chain
        # what the chain is told of the geometry is what it was told before
        again = simulated_series(simulated, series, settings, seed=seed)
        try:
            found, reference = run_chain(again, chain, support=support, seed=seed), atoms
        except InputError as error:
            raise InputError(f"in simulated images of the model the same steps end: {error}") from error
        warnings += _without_elements({"model": atoms})
        pairs = match(found, atoms, radius=settings.radius)
        if any(isinstance(step, RefineSettings) and step.fit_geometry for step in chain.steps):
            pairs, orientation, notes = match_turned(found, atoms, pairs)
            warnings += notes
    else:
        raise InputError("verify needs a known model (--truth, or truth=Atoms) or the images of the model; give one")
    fits = np.zeros(0) if series is None or exact is None else _r_factors(exact, series)
    return found, Verification(
        method=settings.method if truth is None else "truth",
        match=pairs,
        orientation=orientation,
        profile=depth_profile(reference, pairs, right=_right(found, reference, pairs)),
        r_factor=float(np.nanmean(fits)) if fits.size else float("nan"),
        warnings=(*warnings, *not_shown(fits)),
        images=comparison,
    )


def _without_elements(models: dict[str, Atoms]) -> Warnings:
    """What is said where one of two models has no species that could be compared."""
    return tuple(
        f"the {name} has no elements: atoms count as identified by their positions alone"
        for name, atoms in models.items()
        if not atoms.numbers.any()
    )


def _of_another(model: Atoms, reference: Atoms, pairs: Match) -> Warnings:
    """That the known model is one of other elements, or that most atoms have no counterpart."""
    here, there = ({chemical_symbols[z] for z in np.unique(atoms.numbers) if z} for atoms in (model, reference))
    said: Warnings = ()
    if here and there and not here & there:
        said += (
            f"no atom can be identified: the model holds {', '.join(sorted(here))}, the known model "
            f"{', '.join(sorted(there))}; is it the same object?",
        )
    smaller, n = ("model", len(model)) if len(model) < len(reference) else ("known model", len(reference))
    if pairs.n_matched < _SAME_OBJECT * n:
        said += (
            f"only {pairs.n_matched} of {n} atoms of the {smaller} have a partner within {pairs.radius:g} Å, and no "
            "exchange or reversal of axes gives clearly more: are both of the same object?",
        )
    return said


def without_noise(atoms: Atoms) -> Atoms:
    """The model with heights that scatter as those of the particle do, and not by their errors besides.

    Parameters
    ----------
    atoms : Atoms
        With `intensity` and `intensity_sigma`; others are left as they are.

    Notes
    -----
    Of a species, the variance of the heights is its own and that of their errors; the heights are drawn towards the
    mean until only the former is left. Unlike the heights that are most likely (`atom_errors.expected_heights`), these
    overlap with those of other species as the true ones do.
    """
    if not {"intensity", "intensity_sigma"} <= atoms.arrays.keys():
        return atoms
    calm: Atoms = atoms.copy()
    heights, errors = calm.arrays["intensity"], atoms.arrays["intensity_sigma"]
    for species in np.unique(atoms.numbers):
        members = atoms.numbers == species
        mean, variance = float(heights[members].mean()), float(heights[members].var())
        own = max(0.0, variance - float(np.square(errors[members]).mean()))
        heights[members] = mean + (heights[members] - mean) * np.sqrt(own / variance if variance else 1.0)
    return calm


def species_known(found: Atoms | None, result: Verification) -> bool:
    """Whether species were compared, and not positions alone: both models have some.

    Parameters
    ----------
    found : Atoms, optional
        What `verify` left beside the record.
    result : Verification
        The record; its match names the species of the reference.
    """
    return (found is None or bool(found.numbers.any())) and set(result.match.rmsd_of) != {"X"}


def simulation_seconds(atoms: Atoms, series: TiltSeries, settings: VerifySettings) -> float:
    """Processor time that the images of `verify` with multiple scattering will take; 0 for linear ones."""
    if settings.method == "linear":
        return 0.0
    part = series.subset(_chosen(settings, series.n_images))
    return seconds_needed(atoms, part, method=settings.method, microscope=_microscope(settings))


def _scattered(
    atoms: Atoms,
    series: TiltSeries,
    linear: NDArray[np.float32],
    settings: VerifySettings,
    cache: Path | None,
    progress: Callable[[int, int], None] | None,
) -> tuple[NDArray[np.float32], ImageComparison, Warnings]:
    """Images (n, nx, ny) that the chain is run on, and those with multiple scattering compared with the measured."""
    assert settings.method != "linear"
    which = _chosen(settings, series.n_images)
    part, lens = series.subset(which), _microscope(settings)
    fine = fine_images(atoms, part, method=settings.method, microscope=lens, cache=cache, progress=progress)
    comparison = compare_images(part, which, fine, linear[which])
    if len(which) < series.n_images:
        note = f"{settings.method} simulated {len(which)} of {series.n_images} images: the chain was run on linear ones"
        return linear, comparison, (note,)
    return with_source(fine, scans(part)[0], comparison.source_size), comparison, ()


def _chosen(settings: VerifySettings, n_images: int) -> NDArray[np.int64]:
    which = np.unique(np.asarray(settings.images or range(n_images), dtype=np.int64))
    if which[0] < 0 or which[-1] >= n_images:
        raise InputError(
            f"there is no image {which[which != which.clip(0, n_images - 1)][0]}; give 0 to {n_images - 1}"
        )
    return which


def _microscope(settings: VerifySettings) -> Microscope:
    energy = 1e3 * settings.beam_energy
    return Microscope(energy=energy, convergence=settings.convergence, detector=settings.detector)


def simulated_series(
    exact: NDArray[np.float32], series: TiltSeries, settings: VerifySettings, *, seed: int
) -> TiltSeries:
    """The series as it would be if the model were right and images linear.

    Parameters
    ----------
    exact : ndarray, shape (n, nx, ny)
        Noise-free images of the model in the geometry of `series`.
    series : TiltSeries
        Measured images: scale and noise are taken from them where no dose is given; the background is not simulated.
    settings : VerifySettings
        Dose.
    seed : int
        Seed of the noise.
    """
    images: NDArray[np.floating]
    if settings.dose is not None:
        images = with_noise(exact, Noise(counts=settings.dose, read_noise=settings.read_noise), seed=seed)
    else:
        measured = calibrate(series.projections, exact)
        deviation = np.random.default_rng(seed).standard_normal(exact.shape, dtype=np.float32)
        # where a particle nearly fills noisy images, finding the background again would be a matter of luck
        images = measured.signal(exact) + np.sqrt(measured.variance(exact)) * deviation
    return replace(series, projections=images.astype(np.float32))


def _r_factors(exact: NDArray[np.float32], series: TiltSeries) -> NDArray[np.float64]:
    return calibrate(series.projections, exact).r_factors(series.projections, exact)


def _right(found: Atoms, reference: Atoms, pairs: Match) -> NDArray[np.bool_]:
    """(n,): pairs that are of one species; all where one of the two models has none."""
    here, there = found.numbers[pairs.pairs[:, 0]], reference.numbers[pairs.pairs[:, 1]]
    return np.asarray((here == there) | (not found.numbers.any()) | (not reference.numbers.any()))
