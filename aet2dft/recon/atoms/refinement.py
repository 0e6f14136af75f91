"""Atoms refined against the images of a tilt series: what comes in, what goes out, in Å.

The rounds are in ``atom_rounds``, the steps of each in ``atom_descent``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols
from numpy.typing import NDArray

from aet2dft.atoms import composition
from aet2dft.config import RefineSettings
from aet2dft.errors import InputError
from aet2dft.recon.atoms import concerns
from aet2dft.recon.atoms.atom_descent import Data, State
from aet2dft.recon.atoms.atom_errors import standard_errors
from aet2dft.recon.atoms.atom_rounds import Model, ended, in_rounds
from aet2dft.recon.atoms.changes import Changes
from aet2dft.recon.atoms.classification import by_brightness
from aet2dft.recon.atoms.image_model import GaussianAtoms, ImageGeometry
from aet2dft.recon.atoms.image_poses import difference, out_of_place, rms
from aet2dft.recon.atoms.model_error import misfit
from aet2dft.recon.atoms.presence import check_kept, check_shown, other_units
from aet2dft.recon.atoms.simulate import brightness
from aet2dft.recon.atoms.workload import require
from aet2dft.recon.tilt_series import TiltSeries

Floats = NDArray[np.float64]

CANDIDATE_WIDTH = 0.5
"""Å: width of the image of an atom where nothing is known of it."""
_LEAST_HEIGHT = 1e-3
"""Heights start at this fraction of the highest at least: an atom without height could not move."""
_REACHED = 0.01
"""A pixel is within reach of atoms where they are brighter than this fraction of the brightest pixel."""
_LEAST_FREE = 0.1
"""Fewer degrees of freedom per pixel than this are not believed."""
_FAR = 1e12
"""Numbers above this, or below its inverse, are taken in another unit: single precision does not hold their squares."""
_APART = 3.0
"""Means of species, in units of their spread and of the error, below which heights do not tell them apart.

Halves of one species came to 1.4 to 2.2, species that are (Pd and Ag, 3 % of them mistaken) to 3.6.
"""
_ERROR_PRODUCTS = 20
"""Products with the normal matrix for the standard errors."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Refinement:
    """How atoms were refined against images."""

    r_factor_before: float
    """R factor of the atoms that came in: mean over the fitted images that show them."""
    r_factor_after: float
    """R factor of the result: mean over all images that show it."""
    r_free: float
    """R factor of the held-out images before they joined the last step; NaN without them."""
    r_factor_per_image: Floats
    """(n,): R factor of every image; NaN for those that do not show the atoms."""
    held_out: NDArray[np.intp]
    """(m,): numbers of the images that were held out."""
    history: Floats
    """(steps, 4): round, step of the round, R factor, R factor of the held-out images."""
    rms_shift: float
    """Å: root mean square shift of the atoms that came in and are still there."""
    n_added: int
    """Atoms of the result that did not come in."""
    n_dropped: int
    """Atoms that came in and are not in the result."""
    composition_before: dict[str, int]
    """Atoms of each species that came in."""
    n_species_changed: int
    """Atoms that stayed and whose fitted height is that of another species than they came in with."""
    min_distance: float
    """Å: of two fitted atoms nearer than 0.85 of this distance, or than neighbors ever are, the lower was dropped."""
    changes: Changes
    """Every addition and removal with its evidence."""
    contacts: dict[str, float]
    """Å: pairs of these species that are nearer were pushed apart; those of which enough are known."""
    widths: dict[str, float]
    """Å: standard deviation of the image of an atom, by species."""
    scale: Floats
    """(n,): brightness of every image; 1 on average, but for images in other units."""
    background: Floats
    """(n,): constant of every image."""
    shifts: Floats
    """(n, 2), pixels: by how much every image is shifted against its tilt series; 0 unless they were fitted."""
    rotations: Floats
    """(n, 3), degrees: axis times angle by which the object is turned in every image; 0 unless they were fitted."""
    gain: float
    """Variance of a pixel per unit of what the atoms add to it."""
    offset: float
    """Variance of a pixel without atoms."""
    warnings: tuple[str, ...]
    """What the user should look at."""

    @property
    def shown(self) -> NDArray[np.bool_]:
        """(n,): which images show the atoms."""
        return np.isfinite(self.r_factor_per_image)


def refine(
    atoms: Atoms,
    series: TiltSeries,
    settings: RefineSettings = RefineSettings(),
    *,
    min_distance: float = 2.0,
    seed: int = 0,
    progress: Callable[[State], None] | None = None,
) -> tuple[Atoms, Refinement]:
    r"""Fit atoms to the images of a tilt series.

    Parameters
    ----------
    atoms : Atoms
        Positions in Å from the rotation center; species X as well.
    series : TiltSeries
        Images, raw rather than denoised.
    settings : RefineSettings
        Steps, rounds, held-out images.
    min_distance : float
        Å: that of `trace`; of two fitted atoms nearer than 0.85 of it the lower one is dropped.
    seed : int
        Of the noise by which the standard errors are found.
    progress : callable, optional
        Is shown every state.

    Returns
    -------
    Atoms
        Those that stay, in their order, then the added ones, with `intensity` (sum of the image of the atom over its
        pixels) with `intensity_sigma`, `peak_width`, `position_sigma`, and `species_confidence`: how surely the height
        of an atom is that of its kind, 1 where there is one kind only.
    Refinement
        R factors, every change with its evidence, and the calibration of the images.

    Raises
    ------
    InputError
        If there are no atoms, a number is not finite, or the images do not show these atoms.
    ResourceError
        If memory does not suffice; nothing was started.

    Notes
    -----
    Image k is :math:`s_k \sum_j H_j G(u - A_k x_j; \sigma_Z) + c_k`, G a Gaussian of unit area. Positions and heights
    are found by Gauss-Newton steps with a few preconditioned conjugate gradients each, weighted with the inverse
    variance of the pixels; widths, scales, backgrounds and the two constants of the noise by least squares in between.
    Few conjugate gradients regularize: badly determined combinations stay where the volume put them. Steps end when
    the held-out images gain no more. Then atoms that are hardly real (`evidence.log_odds`), or too near to a higher
    one, are dropped, the residual images are projected back, and what shows there like an atom is tried; so for some
    rounds. In the end those stay that are rather real than not; one more round and the last steps have all images. With
    `fit_geometry` every image shifts and turns a little after each step (`image_poses`).

    Pairs that are nearer than 99 of 100 well known neighbors are pushed apart (`Contacts.of`): atoms that noise
    outshines would else end inside their neighbors.

    Standard errors are those of the normal matrix, with neighbors that move along (`atom_errors.standard_errors`), and
    enlarged where the residuals pull at the atoms by more than noise (`model_error.misfit`). What all images lack in
    the same way does not show there.
    """
    require(series)
    if (unit := _unit(series.projections)) != 1.0:
        common = replace(series, projections=series.projections / np.float32(unit))
        return _in_unit(unit, *refine(atoms, common, settings, min_distance=min_distance, seed=seed, progress=progress))
    start, species = _start(atoms, series)
    shown = check_shown(start.atoms, series)
    if ((units := other_units(start.atoms, series)) != 1.0).any():
        inverse = np.asarray(1.0 / units, dtype=np.float32)
        common = replace(series, projections=series.projections * inverse[:, None, None])
        if (other_units(start.atoms, common) == 1.0).all():
            again = refine(atoms, common, settings, min_distance=min_distance, seed=seed, progress=progress)
            return _in_units(units, *again)
    data = Data.of(series, settings.held_out, shown=shown, fit_geometry=settings.fit_geometry)
    history: list[tuple[float, ...]] = []

    def seen(state: State) -> None:
        history.append((state.round, state.iteration, state.r_factor, state.r_free))
        if progress is not None:
            progress(state)

    model, r_free, last, changes = _fitted(
        data,
        start,
        settings,
        min_distance=min_distance / series.pixel_size,
        species_known=bool(species.all()),
        seen=seen,
    )
    result, moved, told = _result(atoms, model, series.pixel_size, species, _errors(last, seed))
    came = np.sort(model.source[model.source >= 0])
    per_image = last.calibration.r_factors(series.projections, last.problem.target - last.residual)
    check_kept(atoms, result, kept=came, min_distance=min_distance)
    shifts, rotations = difference(last.data.geometry, ImageGeometry.of(series))
    names = [chemical_symbols[z] for z in species]
    n_added, n_dropped = len(result) - len(came), len(atoms) - len(came)
    return result, Refinement(
        r_factor_before=history[0][2],
        r_factor_after=float(np.nanmean(per_image)),
        r_free=r_free,
        r_factor_per_image=per_image,
        held_out=data.held_out,
        history=np.array(history),
        rms_shift=float(np.sqrt((moved**2).mean())) if len(moved) else float("nan"),
        n_added=n_added,
        n_dropped=n_dropped,
        min_distance=min_distance,
        composition_before=composition(atoms),
        n_species_changed=int((atoms.numbers[came] != result.numbers[: len(came)]).sum()),
        changes=replace(changes, positions=changes.positions * series.pixel_size),
        contacts=last.contacts.by_name(names, series.pixel_size),
        widths=dict(zip(names, (last.values.widths * series.pixel_size).tolist(), strict=True)),
        scale=last.calibration.scale,
        background=last.calibration.background,
        shifts=shifts,
        rotations=np.degrees(rotations),
        gain=last.calibration.gain,
        offset=last.calibration.offset,
        warnings=(
            *concerns.replaced(len(atoms), n_added, n_dropped, moved, 0.5 * min_distance),
            *concerns.spread(atoms.positions[came], result.positions[: len(came)]),
            *concerns.near_pairs(result, min_distance),
            *(concerns.overlapping(result.arrays["species_confidence"]) if told else concerns.undivided(names)),
            *concerns.bad_images(per_image),
            *_poses(last, series, shifts, rotations),
            *concerns.not_confirmed(history[0][3], r_free),
            *concerns.not_judged(int(shown.sum())),
        ),
    )


def _unit(values: NDArray[Any]) -> float:
    """Power of two next to the largest of these numbers where they are far from 1, else 1."""
    top = max(float(values.max(initial=0.0)), -float(values.min(initial=0.0)))
    return 1.0 if not 0.0 < top < np.inf or 1.0 / _FAR < top < _FAR else 2.0 ** math.floor(math.log2(top))


def _in_unit(unit: float, atoms: Atoms, result: Refinement) -> tuple[Atoms, Refinement]:
    """What was found in images that were divided by this unit."""
    for name in ("intensity", "intensity_sigma"):
        atoms.arrays[name] *= unit
    return atoms, replace(
        result,
        changes=replace(result.changes, heights=result.changes.heights * unit),
        background=result.background * unit,
        gain=result.gain * unit,
        offset=result.offset * unit**2,
    )


def _in_units(units: Floats, atoms: Atoms, result: Refinement) -> tuple[Atoms, Refinement]:
    """What was found in images of which each was divided by a unit (n,) of its own."""
    return atoms, replace(
        result,
        scale=result.scale * units,
        background=result.background * units,
        warnings=(*concerns.brighter(units), *result.warnings),
    )


def _start(atoms: Atoms, series: TiltSeries) -> tuple[Model, NDArray[np.intp]]:
    """The atoms as Gaussians with heights in proportion to their intensities, and the atomic numbers of their kinds.

    Without intensities the atomic numbers tell.
    """
    if not len(atoms):
        raise InputError("there are no atoms to refine; run `aet2dft trace` first")
    intensity = brightness(atoms)
    intensity = intensity / _unit(intensity)
    for name, values in (("positions", atoms.positions), ("intensities", intensity), ("pixels", series.projections)):
        if not np.isfinite(values).all():
            raise InputError(f"{int((~np.isfinite(values)).sum())} {name} are NaN or infinite; remove or mend them")
    species, kinds = np.unique(atoms.numbers, return_inverse=True)
    if species[0] == 0 and len(species) > 1:
        unnamed = int((atoms.numbers == 0).sum())
        have = "1 atom has" if unnamed == 1 else f"{unnamed} atoms have"
        raise InputError(f"{have} no element, the others have; run `classify`")
    known = atoms.arrays.get("peak_width", np.zeros(0))
    width = float(np.median(known[known > 0])) if (known > 0).any() else CANDIDATE_WIDTH
    gaussians = GaussianAtoms(
        positions=atoms.positions / series.pixel_size,
        heights=np.maximum(intensity, _LEAST_HEIGHT * np.abs(intensity).max()),
        kinds=kinds,
        widths=np.full(len(species), width / series.pixel_size),
    )
    return Model(atoms=gaussians, source=np.arange(len(atoms))).in_order(), species


def _fitted(
    data: Data,
    model: Model,
    settings: RefineSettings,
    *,
    min_distance: float,
    species_known: bool,
    seen: Callable[[State], None],
) -> tuple[Model, float, State, Changes]:
    """Rounds that held-out images judge, one with all images, and the last fit; R of the former, state of the last."""
    rounds = partial(in_rounds, min_distance=min_distance, species_known=species_known, seen=seen)
    model, state, changes = rounds(data, model, settings, range(settings.rounds + 1))
    r_free, everything, number, log = state.r_free, state.data.all_fitted(), state.round + 1, [changes]
    del state  # it holds several arrays of the size of the images
    if data.held_out.size and settings.rounds:
        model, state, changes = rounds(everything, model, settings, range(number, number + 2))
        everything, number = state.data, state.round + 1
        log.append(changes)
        del state
    model, last, changes = ended(everything, model, settings, number, min_distance=min_distance, seen=seen)
    return model, r_free, last, Changes.joined([*log, changes])


def _errors(state: State, seed: int) -> Floats:
    """Standard errors (N, 4) of positions, pixels, and heights."""
    model = state.problem.target - state.residual
    # four numbers per atom follow the noise: the residuals of the pixels that atoms reach are smaller than it
    n_reached = np.count_nonzero(model > _REACHED * model.max())
    free = max(1.0 - 4.0 * len(state.values.heights) / n_reached, _LEAST_FREE)
    variance = state.calibration.variance(model) / np.float32(free * state.calibration.scale[:, None, None] ** 2)
    errors = standard_errors(state.problem, state.values, variance, products=_ERROR_PRODUCTS, seed=seed)
    return np.asarray(errors * np.sqrt(misfit(state.problem, state.values, state.residual))[state.values.kinds])


def _result(
    atoms: Atoms, model: Model, pixel_size: float, species: NDArray[np.intp], errors: Floats
) -> tuple[Atoms, Floats, bool]:
    """The atoms that stay, in their order, then the added ones; how far (m,) the former moved, Å.

    And whether heights told the species.
    """
    order = np.lexsort((model.source, model.source < 0))
    model, errors = model.of(order), errors[order]
    stays = model.source[model.source >= 0]
    positions = model.atoms.positions * pixel_size
    result = atoms[stays]
    result.extend(Atoms("X" * (len(positions) - len(stays))))
    if "site_id" in result.arrays:
        last = int(atoms.arrays["site_id"].max())
        result.arrays["site_id"][len(stays) :] = np.arange(last + 1, last + 1 + len(positions) - len(stays))
    shift = positions[: len(stays)] - atoms.positions[stays]
    kinds, confidence = by_brightness(positions, model.atoms.heights, len(species))
    told = _told_apart(model.atoms.heights, errors[:, 3], kinds, len(species))
    if not told:
        kinds, confidence = _as_they_came(atoms[stays], model.atoms.heights, species)
    result.positions[:] = positions
    result.numbers[:] = species[kinds]
    result.set_tags(kinds + 1)
    result.arrays.pop("peak_width_sigma", None)  # here atoms of a species have one width
    for name, values in (
        ("intensity", model.atoms.heights),
        ("intensity_sigma", errors[:, 3]),
        ("peak_width", model.atoms.sigma * pixel_size),
        ("position_sigma", errors[:, :3] * pixel_size),
        ("species_confidence", confidence),
    ):
        result.arrays.pop(name, None)
        result.set_array(name, values)
    return result, np.linalg.norm(shift, axis=1), told


def _told_apart(heights: Floats, errors: Floats, kinds: NDArray[np.intp], n: int) -> bool:
    """Whether neighboring kinds are farther apart than the halves of one whose heights only noise spreads."""
    members = [kinds == k for k in range(n)]
    if not all(each.any() for each in members):
        return False
    means = np.array([heights[each].mean() for each in members])
    spreads = np.array([heights[each].std() for each in members])
    widths = np.maximum(np.sqrt((spreads[1:] ** 2 + spreads[:-1] ** 2) / 2), np.median(errors))
    return bool((np.diff(means) > _APART * widths).all())


def _as_they_came(stays: Atoms, heights: Floats, species: NDArray[np.intp]) -> tuple[NDArray[np.intp], Floats]:
    """Kinds (N,) and confidence of the atoms that stay, as they came, and of added ones, as the nearest in height."""
    kinds, n_added = np.searchsorted(species, stays.numbers), len(heights) - len(stays)
    left = np.unique(kinds)
    means = np.array([heights[: len(kinds)][kinds == k].mean() for k in left])
    added = left[np.abs(heights[len(kinds) :, None] - means).argmin(axis=1)]
    confidence = stays.arrays.get("species_confidence", np.full(len(stays), 1.0 / len(species)))
    return np.append(kinds, added), np.append(confidence, np.full(n_added, 1.0 / len(species)))


def _poses(state: State, series: TiltSeries, shifts: Floats, rotations: Floats) -> tuple[str, ...]:
    """That images are not where the angles say: where places were fitted, those that had to be looked for."""
    data = state.data
    if data.fit_geometry:
        moved = rms(shifts), float(np.degrees(rms(rotations)))
        return concerns.found_elsewhere(data.relocated, shifts, rotations) + concerns.volume_of_before(*moved)
    if concerns.beyond_images(series):  # matter that the atoms are not would pull at the places too
        return ()
    return out_of_place(data.geometry, data.measured, state.values, state.problem, state.calibration)
