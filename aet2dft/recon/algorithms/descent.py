"""Projected gradient descent, with or without momentum, and what every iteration of a reconstruction reports."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from aet2dft.recon.fourier import _kernels_volume as kernels
from aet2dft.recon.fourier.convolution import Convolution
from aet2dft.recon.fourier.projector import project_volume
from aet2dft.recon.metrics import image_fit
from aet2dft.recon.tilt_series import TiltSeries

SETTLED = 1e-4
"""Relative change of the density in an iteration that is not worth another one."""
TINY = float(np.finfo(np.float64).tiny)
"""Least norm of data: images that are dark have none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Memory:
    """All that the next iterations depend on; the arrays are overwritten by them."""

    iteration: int
    """Iterations done."""
    values: NDArray[np.float32]
    """(planes, n1, n2): density."""
    previous: NDArray[np.float32]
    """(planes, n1, n2): density one iteration before."""
    momentum: NDArray[np.float64]
    """(planes,): t of FISTA."""
    misfit: NDArray[np.float64]
    """(iterations,): norm of data minus model before every iteration, over the norm of the data."""
    norm: float = 1.0
    """Square of the norm of the data."""


@dataclass(frozen=True, kw_only=True, slots=True)
class State:
    """A reconstruction after one of its iterations."""

    iteration: int
    """Iterations done, from 1."""
    values: NDArray[np.float32]
    """(nx, ny, nz): density; a view that the next iteration overwrites."""
    memory: Memory
    """What the algorithm goes on from, to the same bytes as without a break."""
    converged: bool
    """Whether this iteration changed so little that another one is not worth its time."""
    r_factor: float = math.nan
    """R factor of the images that are fitted; NaN where `watched` did not compute it."""
    r_free: float = math.nan
    """R factor of images that are left out; NaN where `watched` did not compute it."""
    r_fourier: float = math.nan
    """R factor of the measured frequencies; NaN but for GENFIRE."""
    r_free_fourier: float = math.nan
    """R factor of withheld frequencies; NaN but for GENFIRE."""


def watched(
    states: Iterator[State], *, fitted: TiltSeries | None = None, held_out: TiltSeries | None = None, every: int
) -> Iterator[State]:
    """Add R factors of images to the states of an algorithm.

    Parameters
    ----------
    states : iterator of State
        What an algorithm yields.
    fitted, held_out : TiltSeries, optional
        Images that it fits, and images that it never saw.
    every : int
        Iterations between two R factors, which take the time of some iterations.

    Yields
    ------
    State
        The same, with R factors where they are due.
    """
    for state in states:
        if state.iteration % every:
            yield state
        else:
            yield replace(state, r_factor=_r_factor(fitted, state), r_free=_r_factor(held_out, state))


def _r_factor(images: TiltSeries | None, state: State) -> float:
    return math.nan if images is None else image_fit(images.projections, project_volume(images, state.values)).r_factor


class Descent:
    """Minimum of (<f, T f> - 2 <f, g> + <b, b>) / 2 under constraints, step by step.

    Parameters
    ----------
    target : ndarray, shape (planes, n1, n2)
        g.
    norm : float
        <b, b>, of the data.
    support : ndarray of bool, shape (planes, n1, n2)
        Where f may differ from zero.
    positivity : bool
        Whether f is nowhere negative.
    accelerate : bool
        Whether steps gain momentum: every plane its own where it is a problem of its own, else all together.
    start : Memory, optional
        Where to go on; default: zeros.

    Notes
    -----
    FISTA (A. Beck and M. Teboulle, SIAM J. Imaging Sci. 2, 183 (2009)) with the restart of B. O'Donoghue and
    E. Candès, Found. Comput. Math. 15, 715 (2015): momentum that leads uphill is dropped.
    """

    def __init__(
        self,
        target: NDArray[np.float32],
        norm: float,
        support: NDArray[np.bool_],
        *,
        positivity: bool,
        accelerate: bool,
        start: Memory | None = None,
    ) -> None:
        self.target, self.norm, self.support = target, norm, support
        self.iteration = 0 if start is None else start.iteration
        self.values = np.zeros_like(target) if start is None else start.values.copy()
        self.previous = np.zeros_like(target) if start is None else start.previous.copy()
        self.momentum = np.ones(len(target)) if start is None else start.momentum
        self._misfit = [] if start is None else start.misfit.tolist()
        self._floor = 0.0 if positivity else float(np.finfo(np.float32).min)
        self._accelerate = accelerate

    def advance(
        self, operator: Convolution, step: float, constrain: Callable[[NDArray[np.float32]], None] | None = None
    ) -> bool:
        """One step.

        Parameters
        ----------
        operator : Convolution
            T.
        step : float
            Length of the step; less than two over the largest eigenvalue, one over it with momentum.
        constrain : callable, optional
            Replaces the values after the step, in place, by what is nearest to them under further constraints.

        Returns
        -------
        bool
            Whether f hardly changed.
        """
        following = (1 + np.sqrt(1 + 4 * self.momentum**2)) / 2
        factors = (self.momentum - 1) / following if self._accelerate else np.zeros_like(self.momentum)
        sums = np.empty((len(self.values), 4))
        ahead = None if constrain is None else np.empty_like(self.values)

        def fill(p: int, plane: NDArray[np.float32]) -> None:
            kernels.extrapolate(self.values[p], self.previous[p], factors[p], plane)
            if ahead is not None:
                ahead[p] = plane

        def take(p: int, plane: NDArray[np.float32]) -> None:
            sums[p] = kernels.descend(
                self.values[p], self.previous[p], factors[p], plane, self.target[p], self.support[p], step, self._floor
            )

        operator.run(fill, take)
        if constrain is not None and ahead is not None:
            constrain(self.values)
            for p in range(len(sums)):
                sums[p, [0, 2, 3]] = kernels.progress(ahead[p], self.values[p], self.previous[p])
        uphill, misfit, change, size = sums.sum(axis=0)
        leads_uphill = sums[:, 0] > 0 if operator.independent and constrain is None else uphill > 0
        self.momentum = np.where(leads_uphill, 1.0, following)
        self.iteration += 1
        self._misfit.append(math.sqrt(max(0.0, 1 + 2 * float(misfit) / max(self.norm, TINY))))
        return bool(change < SETTLED**2 * size)

    @property
    def memory(self) -> Memory:
        """What to go on from."""
        return Memory(
            iteration=self.iteration,
            values=self.values,
            previous=self.previous,
            momentum=self.momentum,
            misfit=np.array(self._misfit),
            norm=self.norm,
        )
