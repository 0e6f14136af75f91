"""Rounds of refinement: atoms fitted until held-out images gain no more, false ones dropped, missing ones added.

All in pixels; what goes in and comes out, and in which unit, is arranged in ``refinement``.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from aet2dft.errors import InputError
from aet2dft.recon.atoms import atom_fit
from aet2dft.recon.atoms.atom_fit import Calibration, Problem
from aet2dft.recon.atoms.changes import Changes
from aet2dft.recon.atoms.contacts import Contacts
from aet2dft.recon.atoms.evidence import information, log_odds
from aet2dft.recon.atoms.image_model import GaussianAtoms, ImageGeometry, images
from aet2dft.recon.atoms.image_poses import posed
from aet2dft.recon.atoms.image_search import relocated
from aet2dft.recon.atoms.peaks import thinned
from aet2dft.recon.atoms.populations import MOST_POPULATIONS, best_mixture, mixture
from aet2dft.recon.atoms.residuals import DISTANCE, BackProjector, missing_atoms
from aet2dft.recon.tilt_series import TiltSeries

Floats = NDArray[np.float64]
Images = NDArray[np.float32]
Mask = NDArray[np.bool_]

PRODUCTS = 6
"""Products with the normal matrix per Gauss-Newton step."""
SOUGHT_HEIGHT = 0.35
"""Missing atoms are looked for down to this fraction of the height of the faintest species."""
_NO_SPECIES = 0.1
"""A population of heights below this fraction of the highest is no species."""
DOUBTFUL = -5.0
"""Logarithm of the odds from which on an atom is tried for another round: a residual shows less of it than a fit."""
_LIKELIEST = 0.05
"""Where none is, so many per atom of the model are tried: to a model that lacks many atoms all look unlikely."""
_NO_GAIN = 1e-3
"""Relative fall of the R factor of held-out images that is none: what comes after it fits noise."""
_SETTLED = 0.02
"""Fall of half chi-square per atom that is none: four numbers that move by a tenth of their standard errors."""
_LEAST_IMAGES = 10
"""With fewer images none is held out."""
_LEAST_HELD_OUT = 2
"""One alone would be that at the middle of the range, which often is a zone axis and fits worse than all others."""
_CELL = 8.0
"""Pixels; atoms are sorted by cubes of this edge: neighbors in space are neighbors in memory."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Data:
    """Images that are fitted, and images that judge."""

    geometry: ImageGeometry
    """Of all images."""
    measured: Images
    """(n, nx, ny): all images."""
    fitted: NDArray[np.intp]
    """Numbers of those that are fitted."""
    held_out: NDArray[np.intp]
    """Numbers of the others."""
    fit_geometry: bool
    """Whether every image may shift and turn."""
    relocated: NDArray[np.intp]
    """(m,): numbers of the images that were far from where their angles say, and were found elsewhere."""

    @classmethod
    def of(cls, series: TiltSeries, fraction: float, *, shown: Mask | None = None, fit_geometry: bool = False) -> Data:
        """Hold out a fraction of the images that show the atoms, two at least, evenly in tilt but no end of it."""
        tilts = series.tilt_angles if shown is None else np.where(shown, series.tilt_angles, np.inf)
        n = int(np.isfinite(tilts).sum())
        count = max(_LEAST_HELD_OUT, round(fraction * n)) if fraction > 0 and n >= _LEAST_IMAGES else 0
        places = np.rint(np.linspace(0, n - 1, count + 2)[1:-1]).astype(np.intp)
        held_out = np.sort(np.argsort(tilts, kind="stable")[places])
        return cls(
            geometry=ImageGeometry.of(series),
            measured=series.projections,
            fitted=np.setdiff1d(np.arange(series.n_images), held_out),
            held_out=held_out,
            fit_geometry=fit_geometry,
            relocated=np.zeros(0, dtype=np.intp),
        )

    def all_fitted(self) -> Data:
        """The same without images that are held out."""
        return replace(self, fitted=np.arange(len(self.measured)), held_out=self.held_out[:0])

    def posed(self, atoms: GaussianAtoms) -> Data:
        """With every image a small step nearer to where the atoms show it, and those that stand out found again."""
        geometry, found = relocated(self.geometry, self.measured, atoms)
        there = posed(geometry, self.measured, atoms)
        return replace(self, geometry=there, relocated=np.union1d(self.relocated, found))


@dataclass(frozen=True, kw_only=True, slots=True)
class Model:
    """Atoms, and where they come from."""

    atoms: GaussianAtoms
    """What is fitted."""
    source: NDArray[np.intp]
    """(N,): number among the atoms that came in; -1 for added ones."""

    def of(self, which: NDArray[np.intp] | Mask) -> Model:
        """Some of them, by index or mask."""
        return Model(atoms=self.atoms.of_atoms(which), source=self.source[which])

    def in_order(self) -> Model:
        """Sorted by cubes in space: results do not depend on the order in which atoms came."""
        x = self.atoms.positions
        return self.of(np.lexsort((*x.T, *np.floor(x / _CELL).T)))


@dataclass(frozen=True, kw_only=True, slots=True)
class State:
    """The fit after some Gauss-Newton steps."""

    iteration: int
    """Steps in this round."""
    round: int
    """0 before any atom was added."""
    values: GaussianAtoms
    """The atoms, pixels."""
    r_factor: float
    """Mean over the fitted images of the sum of absolute residuals over that of the counts above the background."""
    r_free: float
    """The same of the held-out images; NaN without them."""
    converged: bool
    """Whether nothing is gained any more: by held-out images, without them by the fitted ones."""
    calibration: Calibration
    """Scale, background and noise of the fitted images."""
    data: Data
    """The images, and where atoms land in them."""
    problem: Problem
    """What is fitted next to `values`."""
    residual: Images
    """(n, nx, ny): target minus the images of `values`."""
    contacts: Contacts
    """How near to each other the atoms may come."""


def gauss_newton(
    data: Data, atoms: GaussianAtoms, round_number: int = 0, contacts: Contacts | None = None
) -> Iterator[State]:
    """Fit positions, heights and widths step by step, without end; the first state is that of the start.

    Parameters
    ----------
    data : Data
        Images.
    atoms : GaussianAtoms
        Where to start.
    round_number : int
        Passed on to the states.
    contacts : Contacts, optional
        How near to each other the atoms may come; default: as near as the images want them.
    """
    contacts = contacts or Contacts.none(len(atoms.widths))
    measured = data.measured[data.fitted]
    previous, fall, iteration = np.inf, np.inf, 0
    while True:
        geometry = data.geometry.of_images(data.fitted)
        model = images(geometry, atoms)
        atoms, calibration = atom_fit.normalized(atoms, atom_fit.calibrate(measured, model))
        model = images(geometry, atoms)
        problem = Problem.of(geometry, measured, model, calibration)
        residual = problem.target - model
        r_factor = float(np.nanmean(calibration.r_factors(measured, model)))
        r_free = _r_free(data, atoms)
        yield State(
            iteration=iteration,
            round=round_number,
            values=atoms,
            r_factor=r_factor,
            r_free=r_free,
            converged=not (r_free < previous * (1.0 - _NO_GAIN) if data.held_out.size else fall > _SETTLED),
            calibration=calibration,
            data=data,
            problem=problem,
            residual=residual,
            contacts=contacts,
        )
        # the atoms of the first start come from a volume that knew the held-out images
        previous, iteration = (r_free if iteration or round_number else np.inf), iteration + 1
        step = atom_fit.newton_step(problem, atoms, residual, PRODUCTS, close=contacts.pairs(atoms))
        atoms, model, fall = _descended(problem, contacts, atoms, step, residual)
        atoms = atom_fit.fitted_widths(problem, atoms, model)
        if data.fit_geometry:
            data = data.posed(atoms)


def settled(states: Iterator[State], most: int, seen: Callable[[State], None]) -> State:
    """The best after one to so many steps, by held-out images where there are any; `seen` is shown every state.

    The start is not among them: some of its atoms were never fitted.
    """
    seen(next(states))
    best = next(states)
    seen(best)
    for state in itertools.islice(states, most - 1):
        if best.converged:
            break
        seen(state)
        best = replace(best, converged=True) if state.r_free >= best.r_free else state
    return best


def pruned(model: Model, state: State, *, min_distance: float, last: bool) -> tuple[Model, Changes]:
    """Without the atoms that are hardly real, or too near to a higher one.

    What the contacts with higher atoms cost is taken off the fall of chi-square. The kinds of the others follow their
    heights.

    Parameters
    ----------
    model : Model
        Atoms of the state.
    state : State
        How they were fitted.
    min_distance : float
        Pixels: least distance of two atoms.
    last : bool
        Whether doubtful atoms go as well: those that are rather false than real.

    Raises
    ------
    InputError
        If none would stay.
    """
    odds = _odds(model, state, min_distance)
    false = odds < (0.0 if last else DOUBTFUL)
    if false.all():
        raise InputError(
            f"the images need none of the {len(false)} atoms: check pixel size, angles, contrast, and that positions "
            "are measured from the rotation center"
        )
    return _without(model, state, false, _crowded(model, min_distance), odds)


def apart(model: Model, state: State, *, min_distance: float) -> tuple[Model, Changes]:
    """Without the low atoms that are nearer to a higher one than two of the particle are, and those that faded away.

    What a model of Gaussians lacks, or one atom taken for two, looks in the images like an atom in between, whatever
    its odds; an atom as high as those of its kind is none of that.

    Parameters
    ----------
    model : Model
        Atoms of the state.
    state : State
        How they were fitted.
    min_distance : float
        Pixels: least distance of two atoms.
    """
    places = information(state.problem, model.atoms, state.residual)
    covariances = np.asarray(np.linalg.inv(places)[:, :3, :3], dtype=np.float64)
    false = state.contacts.false(model.atoms, covariances) & ~model.atoms.typical
    odds = log_odds(state.problem, model.atoms, state.residual, costs=np.zeros(len(false)), min_distance=min_distance)
    return _without(model, state, odds < DOUBTFUL, _crowded(model, min_distance) | false, odds)


def completed(
    model: Model, state: State, projector: BackProjector, *, faintest: float, min_distance: float
) -> tuple[Model, Changes]:
    """With the atoms that the residuals show besides.

    Parameters
    ----------
    model : Model
        Atoms, all of them real.
    state : State
        How they were fitted.
    projector : BackProjector
        Of the fitted images.
    faintest : float
        Height of the faintest species.
    min_distance : float
        Pixels.
    """
    residual = state.problem.target - images(state.problem.geometry, model.atoms)
    points = missing_atoms(
        projector, residual, model.atoms.positions, least=SOUGHT_HEIGHT * faintest, min_distance=min_distance
    )
    found = GaussianAtoms(
        positions=points,
        heights=np.zeros(len(points)),
        kinds=np.zeros(len(points), dtype=np.intp),
        widths=model.atoms.widths,
    )
    found = replace(found, heights=atom_fit.alone(state.problem, found, residual)[0])
    both = replace(
        model.atoms,
        positions=np.concatenate([model.atoms.positions, found.positions]),
        heights=np.concatenate([model.atoms.heights, found.heights]),
        kinds=np.concatenate([model.atoms.kinds, found.kinds]),
    )
    odds = log_odds(
        state.problem,
        both,
        residual - images(state.problem.geometry, found),
        costs=np.zeros(len(both.heights)),
        min_distance=min_distance,
    )
    source = np.concatenate([model.source, np.full(len(points), -1)])
    new = np.arange(len(source)) >= len(model.source)
    tried = new & (odds >= DOUBTFUL)
    if not tried.any():
        likeliest = np.sort(odds[new])[-int(np.ceil(_LIKELIEST * len(model.source))) :]
        tried = new & np.isfinite(odds) & (odds >= likeliest.min(initial=0.0))
    added = _changes("added", state, both.of_atoms(tried), odds[tried], residual)
    return Model(atoms=both, source=source).of(tried | ~new).in_order(), added


def height_of_faintest(atoms: GaussianAtoms, *, species_known: bool) -> float:
    """Height of the faintest species: the lowest median of a kind, else the lowest population above a tenth."""
    if species_known:
        return float(min(np.median(atoms.heights[atoms.kinds == kind]) for kind in np.unique(atoms.kinds)))
    means = best_mixture(atoms.heights, MOST_POPULATIONS)[0].means
    return float(means[means > _NO_SPECIES * means[-1]][0])


def _descended(
    problem: Problem, contacts: Contacts, atoms: GaussianAtoms, step: Floats, residual: Images
) -> tuple[GaussianAtoms, Images, float]:
    """The atoms after the step, or after the part of it that lowers the cost, their images, and the fall per atom."""
    model = problem.target - residual
    before = problem.cost(model) + contacts.pairs(atoms).cost
    for part in (1.0, 0.5, 0.25, 0.125):
        there = atom_fit.moved(atoms, part * step)
        seen = images(problem.geometry, there)
        fall = before - problem.cost(seen) - contacts.pairs(there).cost
        if fall > 0:
            return there, seen, fall / len(step)
    return atoms, model, 0.0


def _odds(model: Model, state: State, min_distance: float) -> Floats:
    """Logarithm (N,) of the odds of the atoms, what their contacts cost included."""
    costs = state.contacts.pairs(model.atoms).costs(model.atoms.heights)
    return log_odds(state.problem, model.atoms, state.residual, costs=costs, min_distance=min_distance)


def _crowded(model: Model, min_distance: float) -> Mask:
    """Which atoms (N,) are nearer to a higher one than `DISTANCE` times the minimum distance."""
    order = np.argsort(-model.atoms.heights, kind="stable")
    near = np.zeros(len(order), dtype=np.bool_)
    near[order] = ~thinned(model.atoms.positions[order], DISTANCE * min_distance)
    return near


def _without(model: Model, state: State, false: Mask, near: Mask, odds: Floats) -> tuple[Model, Changes]:
    """The model without atoms that are false by their odds, or too near to others; kinds follow the heights."""
    goes = false | near
    stays = model.of(~goes)
    without = state.problem.target - images(state.problem.geometry, stays.atoms)
    reasons = np.where(false, "odds", "distance")[goes]
    dropped = _changes("dropped", state, model.atoms.of_atoms(goes), odds[goes], without, reasons)
    return replace(stays, atoms=_by_height(stays.atoms)), dropped


def _by_height(atoms: GaussianAtoms) -> GaussianAtoms:
    """The atoms with kinds that rise with their heights."""
    found = mixture(atoms.heights, len(atoms.widths))
    return replace(atoms, kinds=found.posterior(atoms.heights).argmax(axis=1))


def _r_free(data: Data, atoms: GaussianAtoms) -> float:
    """R factor of the held-out images, with scale and background of their own; NaN without any."""
    if not data.held_out.size:
        return float("nan")
    measured = data.measured[data.held_out]
    model = images(data.geometry.of_images(data.held_out), atoms)
    return float(np.nanmean(atom_fit.calibrate(measured, model).r_factors(measured, model)))


def _changes(
    action: str,
    state: State,
    atoms: GaussianAtoms,
    odds: Floats,
    without: Images,
    reasons: NDArray[np.str_] | None = None,
) -> Changes:
    """The record of atoms, with what each does to the residual images `without` them."""
    _, gains, n_images = atom_fit.alone(state.problem, atoms, without)
    return Changes(
        rounds=np.full(len(gains), state.round),
        actions=np.full(len(gains), action, dtype="U7"),
        reasons=np.full(len(gains), "odds", dtype="U8") if reasons is None else reasons.astype("U8"),
        positions=atoms.positions,
        heights=atoms.heights,
        gains=gains,
        odds=odds,
        n_images=n_images,
    )
