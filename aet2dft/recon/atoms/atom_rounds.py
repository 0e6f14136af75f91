"""Rounds of refinement: atoms are fitted, false ones dropped, missing ones added, until hardly any comes.

All in pixels; what goes in and comes out, and in which unit, is arranged in ``refinement``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from aet2dft.config import RefineSettings
from aet2dft.errors import InputError
from aet2dft.recon.atoms import atom_fit
from aet2dft.recon.atoms.atom_descent import Data, State, gauss_newton, settled
from aet2dft.recon.atoms.changes import Changes
from aet2dft.recon.atoms.contacts import Contacts
from aet2dft.recon.atoms.evidence import information, log_odds
from aet2dft.recon.atoms.image_model import GaussianAtoms, images
from aet2dft.recon.atoms.peaks import thinned
from aet2dft.recon.atoms.populations import MOST_POPULATIONS, best_mixture, mixture
from aet2dft.recon.atoms.residuals import DISTANCE, BackProjector, missing_atoms

Floats = NDArray[np.float64]
Images = NDArray[np.float32]
Mask = NDArray[np.bool_]

SOUGHT_HEIGHT = 0.35
"""Missing atoms are looked for down to this fraction of the height of the faintest species."""
_NO_SPECIES = 0.1
"""A population of heights below this fraction of the highest is no species."""
DOUBTFUL = -5.0
"""Logarithm of the odds from which on an atom is tried for another round: a residual shows less of it than a fit."""
_LIKELIEST = 0.05
"""Where none is, so many per atom of the model are tried: to a model that lacks many atoms all look unlikely."""
_WORTHWHILE = 1e-3
"""No further round follows one that added a smaller fraction of the atoms."""
_MANY, _PATIENT = 0.01, 3
"""The same after so many rounds, in which doubtful atoms stay: in more of them noise would add up to atoms."""
_ENDS = 3
"""Fits to all images, each without the atoms that came too near to others in the one before."""
_CELL = 8.0
"""Pixels; atoms are sorted by cubes of this edge: neighbors in space are neighbors in memory."""


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


def in_rounds(
    data: Data,
    model: Model,
    settings: RefineSettings,
    numbers: range,
    *,
    min_distance: float,
    species_known: bool,
    seen: Callable[[State], None],
) -> tuple[Model, State, Changes]:
    """Fit, drop and add, until hardly any added atom stays or the rounds are over.

    Parameters
    ----------
    data : Data
        Images.
    model : Model
        Where to start.
    settings : RefineSettings
        Steps of a round; whether contacts hold the atoms apart.
    numbers : range
        Of the rounds; before the first nothing was added.
    min_distance : float
        Pixels: least distance of two atoms.
    species_known : bool
        Whether kinds are elements: the faintest of them is what is looked for.
    seen : callable
        Shown every state.

    Returns
    -------
    model : Model
        The atoms that are rather real.
    state : State
        The last.
    changes : Changes
        What was dropped and added, and why.

    Raises
    ------
    InputError
        If no atom would stay.
    """
    changes: list[Changes] = []
    diameter = 2.0 * float(np.linalg.norm(model.atoms.positions, axis=1).max())
    projector: BackProjector | None = None
    n_added = int((model.source < 0).sum())
    for number in numbers:
        steps = gauss_newton(data, model.atoms, number, _contacts(model.atoms, settings))
        state = settled(steps, settings.iterations, seen)
        data = state.data
        model = replace(model, atoms=state.values)
        strict = number >= numbers[0] + _PATIENT
        model, dropped = pruned(model, state, min_distance=min_distance, last=strict)
        changes.append(dropped)
        n_added, before = int((model.source < 0).sum()), n_added
        few = n_added - before < (_MANY if strict else _WORTHWHILE) * len(model.source)
        if number == numbers[-1] or (number > numbers[0] and few):
            break
        if projector is None:
            width = float(state.values.widths.mean())
            projector = BackProjector.of(state.problem.geometry, diameter=diameter, width=width)
        projector = replace(projector, geometry=state.problem.geometry)
        faintest = height_of_faintest(model.atoms, species_known=species_known)
        model, added = completed(model, state, projector, faintest=faintest, min_distance=min_distance)
        changes.append(added)
        if not len(added.gains):
            break
    if not strict:
        model, dropped = pruned(model, state, min_distance=min_distance, last=True)
        changes.append(dropped)
    return model, state, Changes.joined(changes)


def ended(
    data: Data,
    model: Model,
    settings: RefineSettings,
    number: int,
    *,
    min_distance: float,
    seen: Callable[[State], None],
) -> tuple[Model, State, Changes]:
    """The last fit; atoms that fade, or end nearer to others than atoms are, go; the rest is fitted again.

    Parameters
    ----------
    data : Data
        Images.
    model : Model
        Where to start.
    settings : RefineSettings
        Steps of a fit; whether contacts hold the atoms apart.
    number : int
        Of the round.
    min_distance : float
        Pixels: least distance of two atoms.
    seen : callable
        Shown every state.

    Returns
    -------
    model, state, changes
        As of `in_rounds`.
    """
    changes: list[Changes] = []
    for repeat in range(_ENDS):
        steps = gauss_newton(data, model.atoms, number, _contacts(model.atoms, settings))
        state = settled(steps, settings.iterations, seen)
        model = replace(model, atoms=state.values)
        fewer, dropped = apart(model, state, min_distance=min_distance)
        if not len(dropped.gains) or repeat == _ENDS - 1:
            break
        model = fewer
        changes.append(dropped)
    return model, state, Changes.joined(changes)


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


def _contacts(atoms: GaussianAtoms, settings: RefineSettings) -> Contacts:
    return Contacts.of(atoms) if settings.contacts else Contacts.none(len(atoms.widths))


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
    if goes.all():
        raise InputError(
            f"the images need none of the {len(goes)} atoms: check pixel size, angles, contrast, and that positions "
            "are measured from the rotation center"
        )
    stays = model.of(~goes)
    without = state.problem.target - images(state.problem.geometry, stays.atoms)
    reasons = np.where(false, "odds", "distance")[goes]
    dropped = _changes("dropped", state, model.atoms.of_atoms(goes), odds[goes], without, reasons)
    return replace(stays, atoms=_by_height(stays.atoms)), dropped


def _by_height(atoms: GaussianAtoms) -> GaussianAtoms:
    """The atoms with kinds that rise with their heights."""
    found = mixture(atoms.heights, len(atoms.widths))
    return replace(atoms, kinds=found.posterior(atoms.heights).argmax(axis=1))


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
