"""Atoms fitted to images, step by step, until nothing is gained any more.

All in pixels. The least squares of a step are in ``atom_fit``; which atoms there are is decided in ``atom_rounds``.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from aet2dft.errors import InputError
from aet2dft.recon.atoms import atom_fit
from aet2dft.recon.atoms.atom_fit import Problem
from aet2dft.recon.atoms.contacts import Contacts
from aet2dft.recon.atoms.image_model import GaussianAtoms, ImageGeometry, images
from aet2dft.recon.atoms.image_noise import Calibration, calibrate, normalized
from aet2dft.recon.atoms.image_poses import posed
from aet2dft.recon.atoms.image_search import relocated
from aet2dft.recon.atoms.presence import WANTED
from aet2dft.recon.tilt_series import TiltSeries

Floats = NDArray[np.float64]
Images = NDArray[np.float32]
Mask = NDArray[np.bool_]

PRODUCTS = 6
"""Products with the normal matrix per Gauss-Newton step."""
_NO_GAIN = 1e-3
"""Relative fall of the R factor of held-out images that is none: what comes after it fits noise."""
_SETTLED = 0.02
"""Fall of half chi-square per atom that is none: four numbers that move by a tenth of their standard errors."""
LEAST_IMAGES = 10
"""With fewer images none is held out."""
_LEAST_HELD_OUT = 2
"""One alone would be that at the middle of the range, which often is a zone axis and fits worse than all others."""


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
        count = max(_LEAST_HELD_OUT, round(fraction * n)) if fraction > 0 and n >= LEAST_IMAGES else 0
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

    Raises
    ------
    InputError
        If the fit diverges, as it does where the atoms are not those of the images.
    """
    contacts = contacts or Contacts.none(len(atoms.widths))
    measured = data.measured[data.fitted]
    previous, fall, iteration = np.inf, np.inf, 0
    while True:
        geometry = data.geometry.of_images(data.fitted)
        model = images(geometry, atoms)
        atoms, calibration = normalized(atoms, calibrate(measured, model))
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
        if not np.isfinite(step).all():
            raise InputError(f"the fit of {len(atoms.heights)} atoms to the images diverges; {WANTED}")
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


def _r_free(data: Data, atoms: GaussianAtoms) -> float:
    """R factor of the held-out images, with scale and background of their own; NaN without any."""
    if not data.held_out.size:
        return float("nan")
    measured = data.measured[data.held_out]
    model = images(data.geometry.of_images(data.held_out), atoms)
    return float(np.nanmean(calibrate(measured, model).r_factors(measured, model)))
