"""Iterations of an algorithm from first to last, block by block of planes where these are problems of their own."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from aet2dft.recon.algorithms.checkpoint import Checkpoint, Progress
from aet2dft.recon.algorithms.descent import TINY, Memory, State
from aet2dft.recon.algorithms.mapped import zeros
from aet2dft.recon.fourier.columns import column_blocks, take_columns, tight_box
from aet2dft.recon.tilt_series import TiltSeries

Begin = Callable[..., Iterator[State]]
"""Takes a series, a support and the `Memory` of an earlier state or None: the states of an algorithm."""
Tell = Callable[[int, int], None]
"""Takes the iterations done and their total."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """What came of the iterations."""

    values: NDArray[np.float32]
    """(nx, ny, nz): density."""
    misfit: NDArray[np.float64]
    """(iterations,): norm of data minus model over the norm of the data, before every iteration."""
    seconds: float
    """Of every iteration, preparation not counted."""


def run(
    begin: Begin,
    series: TiltSeries,
    support: NDArray[np.bool_],
    iterations: int,
    *,
    by_planes: bool,
    any_box: bool,
    scratch: Path | None = None,
    checkpoint: Checkpoint | None = None,
    progress: Tell | None = None,
) -> Run:
    """Iterate.

    Parameters
    ----------
    begin : callable
        Begins the algorithm.
    series : TiltSeries
        Images that are fitted.
    support : ndarray of bool, shape (nx, ny, nz)
        Where the density may differ from zero.
    iterations : int
        How many.
    by_planes : bool
        Whether planes perpendicular to a tilt axis are independent: then some at a time are taken to the end, which
        needs little memory besides the volume, and those that the support does not reach are left out.
    any_box : bool
        Whether the box of the volume may be smaller than the images: then it is the tightest around the support.
    scratch : Path, optional
        Folder for a file that holds the volume; default: it is held in memory.
    checkpoint : Checkpoint, optional
        Keeps the state; what it holds already is not done again.
    progress : callable, optional
        Told the iterations done and their total.
    """
    blocks = column_blocks(support) if by_planes else [np.arange(support.shape[1])]
    whole = _Whole(support.shape, blocks, scratch)
    memory = None if checkpoint is None else whole.restore(checkpoint.progress())
    seconds = 0.0
    for number in range(whole.block, len(blocks)):
        part = take_columns(series, blocks[number]) if by_planes else series
        inside = support[:, blocks[number]] if by_planes else support
        box = tight_box(inside) if any_box else (slice(None),) * 3
        times = []
        for state in begin(part, inside[box], memory=memory):
            times.append(time.perf_counter())
            if progress is not None:
                progress((number * iterations + state.iteration) // len(blocks), iterations)
            if state.iteration >= iterations:
                break
            if checkpoint is not None and checkpoint.is_due:
                checkpoint.save(whole.progress(state))
        whole.add(state, box)
        seconds += (times[-1] - times[0]) / max(1, len(times) - 1)
        memory = None
    return Run(values=whole.values, misfit=np.sqrt(whole.misfit / max(whole.norm, TINY)), seconds=seconds)


class _Whole:
    """The volume as it grows by blocks of planes."""

    def __init__(self, shape: tuple[int, ...], blocks: list[NDArray[np.intp]], scratch: Path | None) -> None:
        self._blocks, self.block = blocks, 0
        self._once = len(blocks) == 1 and scratch is None
        self.misfit, self.norm = np.zeros(1), 0.0
        self.values = zeros(shape, scratch)

    def restore(self, done: Progress | None) -> Memory | None:
        """Go on from what was kept; gives what the block in whose middle that was goes on from."""
        if done is None:
            return None
        self.block, self.misfit, self.norm = done.block, done.misfit, done.norm
        self.values[:, self._finished] = done.finished
        return done.memory

    @property
    def _finished(self) -> slice:
        """From the first of the complete planes to the last: a view of them takes no memory."""
        return slice(self._blocks[0][0], self._blocks[self.block - 1][-1] + 1) if self.block else slice(0)

    def add(self, state: State, box: tuple[slice, slice, slice]) -> None:
        """Take over the next block, which fills a box of the planes."""
        memory = state.memory
        self.misfit, self.norm = self.misfit + memory.norm * memory.misfit**2, self.norm + memory.norm
        if self._once and state.values.shape == self.values.shape:
            # zeros that nobody wrote to take no memory: a volume that is one block stands there once
            self.values = np.ascontiguousarray(state.values)
        else:
            self.values[box[0], self._blocks[self.block], box[2]] = state.values
        self.block += 1

    def progress(self, state: State) -> Progress:
        """What to keep in the middle of a block."""
        finished = self.values[:, self._finished]
        return Progress(block=self.block, finished=finished, misfit=self.misfit, norm=self.norm, memory=state.memory)
