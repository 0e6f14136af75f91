"""Jobs of a deck folder: which are done, which are not, and how long they took."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.patches import Patch

from aet2dft.dft_inputs.run_table import JobTable, RunTable
from aet2dft.plot import style
from aet2dft.plot.style import Panels

_PER_LINE = 60
"""Volumes side by side; more go on in the next line."""
_NONE = "none"
_LABELS = {
    "ok": "ok",
    "not_converged": "not converged",
    "incomplete": "incomplete",
    "missing": "not run",
    "input_changed": "input changed",
    "failed": "failed",
    _NONE: "no job (rejected or equal to another volume)",
}
_COLORS = {**style.STATUS_COLORS, _NONE: style.PAPER}


@style.styled
def plot_jobs(runs: RunTable, *, ax: Panels | None = None) -> Panels:
    """Volumes against steps, colored by status, and the wall time of each step.

    Parameters
    ----------
    runs : RunTable
        Collected jobs.
    ax : array of 2 Axes, optional
        Where to draw; default: a new figure.
    """
    steps = tuple(dict.fromkeys(runs.jobs.step.tolist()))
    lines = max(1, -(-len(runs.volumes.volume) // _PER_LINE))
    axes = style.panels(
        ax, 1, 2, height=min(8.0, 1.3 + 0.16 * lines * (len(steps) + 0.6)), gridspec_kw={"width_ratios": [2.2, 1]}
    )
    grid, times = axes.ravel()
    if not steps:
        style.no_data(grid, "no job")
        style.no_data(times, "")
        return axes
    _status_grid(grid, runs, steps)
    _times(times, runs.jobs, steps)
    return axes


def _status_grid(ax: Axes, runs: RunTable, steps: tuple[str, ...]) -> None:
    """Draw one block of rows, a row per step, for every line of volumes."""
    names = runs.volumes.volume.tolist()
    position = {name: i for i, name in enumerate(names)}
    width, block = min(len(names), _PER_LINE), len(steps) + 1
    lines = -(-len(names) // _PER_LINE)
    picture = np.ones((lines * block - 1, width, 4))
    picture[..., 3] = 0.0
    for i in range(len(names)):
        rows = slice(i // _PER_LINE * block, i // _PER_LINE * block + len(steps))
        picture[rows, i % _PER_LINE] = (*to_rgb(style.MUTED), 0.18)
    seen = {_NONE: len(names) * len(steps) - len(runs.jobs.job)}
    for volume, step, status in zip(
        runs.jobs.volume.tolist(), runs.jobs.step.tolist(), runs.jobs.counted_as.tolist(), strict=True
    ):
        i = position[volume]
        picture[i // _PER_LINE * block + steps.index(step), i % _PER_LINE] = (*to_rgb(_COLORS[status]), 1.0)
        seen[status] = seen.get(status, 0) + 1
    ax.imshow(picture, aspect="auto", interpolation="nearest", extent=(-0.5, width - 0.5, len(picture) - 0.5, -0.5))
    ax.set_yticks(range(len(steps)) if lines == 1 else [], steps if lines == 1 else [])
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)
    # thin gaps between volumes, as long as there is room for them
    for x in np.arange(0.5, width - 1):
        ax.axvline(x, color=style.PAPER, linewidth=0.8 if width <= 30 else 0.3)
    ax.set_xlabel("volume" if lines == 1 else f"{_PER_LINE} volumes per line; rows of a line: {', '.join(steps)}")
    if lines == 1:
        every = max(1, -(-width // 10))
        ax.set_xticks(range(0, width, every), [str(int(n[1:])) if n[1:].isdigit() else n for n in names[::every]])
    else:
        ax.set_xticks([])
    n_volumes, n_jobs = len(names), len(runs.jobs.job)
    ax.set_title(f"{n_volumes:,} volume{'s' * (n_volumes != 1)}, {n_jobs:,} job{'s' * (n_jobs != 1)}")
    handles = [
        Patch(
            facecolor=to_rgb(_COLORS[s]) if s != _NONE else (*to_rgb(style.MUTED), 0.18), label=f"{label}, {seen[s]:,}"
        )
        for s, label in _LABELS.items()
        if seen.get(s)
    ]
    style.figure_of(ax).legend(handles=handles, loc="outside lower left", ncols=3)


def _times(ax: Axes, jobs: JobTable, steps: tuple[str, ...]) -> None:
    """Draw the wall time of every finished job, a row per step, with the median."""
    total = 0.0
    for row, step in enumerate(steps):
        minutes = jobs.wall_seconds[(jobs.step == step) & np.isfinite(jobs.wall_seconds)] / 60.0
        minutes = minutes[minutes > 0]
        if not minutes.size:
            continue
        total += float(minutes.sum())
        jitter = 0.5 * (np.random.default_rng(0).random(minutes.size) - 0.5)
        ax.plot(
            minutes,
            row + jitter,
            "o",
            color=style.BLUE,
            alpha=0.55,
            markersize=3,
            markeredgewidth=0,
            rasterized=minutes.size > 500,
        )
        median = float(np.median(minutes))
        ax.plot([median, median], [row - 0.35, row + 0.35], color=style.INK, linewidth=1.2)
    if total == 0.0:
        style.no_data(ax, "no time known")
        return
    ax.set(xlabel="wall time (min)", ylim=(len(steps) - 0.5, -0.5), title=f"{total / 60.0:,.1f} h in all")
    ax.set_xlim(left=0.0)
    ax.set_yticks(range(len(steps)), steps)
