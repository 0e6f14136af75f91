"""Magnetic anisotropy: MAE against order, maps of sliding volumes, easy axes, and nested cubes."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray

from aet2dft.dft_inputs.anisotropy import on_grid
from aet2dft.dft_inputs.nested_model import SphereInCube, nested_mae
from aet2dft.dft_inputs.run_table import CUBE_EDGES, RunTable
from aet2dft.plot import style
from aet2dft.plot.style import Panels

MIN_REGRESSION = 3
"""Volumes of different order that a straight line needs."""


@style.styled
def plot_anisotropy(runs: RunTable, *, sigma: float | None = None, ax: Axes | None = None) -> Axes:
    """MAE of the volumes against their difference of the L1₀ order parameter, with a straight line through them.

    Parameters
    ----------
    runs : RunTable
        Collected volumes.
    sigma : float, optional
        Numerical error of one MAE, meV/atom; default: not known, no error bars.
    ax : Axes, optional
        Where to draw; default: a new figure.

    Notes
    -----
    As Fig. 4b of Yang et al., Nature 542, 75 (2017): positive where the second axis of the MAE is the easier one; the
    order is that along the second axis minus that along the first, so both have to be edges of the cube. The line is an
    ordinary least-squares fit to the volumes that are no copies of others.
    """
    ax = style.single(ax, width=style.COLUMN, height=2.7)
    order, y = runs.order_difference, runs.volumes.mae
    keep = np.isfinite(order) & np.isfinite(y)
    if not keep.any():
        return style.no_data(ax, "no volume with a MAE and an order along its axes")
    own = keep & runs.volumes.is_independent
    x, y = order[keep], y[keep]
    ax.axhline(0.0, color=style.MUTED, linewidth=0.8)
    ax.axvline(0.0, color=style.MUTED, linewidth=0.8)
    if sigma is not None and np.isfinite(sigma):
        ax.errorbar(x, y, yerr=sigma, fmt="none", ecolor=style.MUTED, elinewidth=0.7)
    many = len(x) > 500
    ax.plot(
        x,
        y,
        "o",
        color=style.BLUE,
        markersize=2.4 if many else 4.2,
        alpha=0.4 if many else 0.85,
        markeredgewidth=0,
        rasterized=many,
    )
    copies = f" ({own.sum():,} different)" if own.sum() < len(x) else ""
    text = [f"n = {len(x):,}{copies}{f', k-mesh {runs.k_mesh}' if runs.k_mesh else ''}"]
    if has_line(runs):
        text.append(_regression(ax, order[own], runs.volumes.mae[own]))
    ax.set_title("\n".join(text), fontsize=6.5)
    ax.set(xlabel=f"difference of L1$_0$ order {_order_label(runs)}", ylabel=f"{mae_label(runs)} (meV/atom)")
    return ax


def has_line(runs: RunTable) -> bool:
    """Whether volumes of enough different order have a MAE for a straight line."""
    order = runs.order_difference[runs.volumes.is_independent]
    return len(np.unique(np.round(order[np.isfinite(order)], 9))) >= MIN_REGRESSION


def mae_label(runs: RunTable) -> str:
    """What the MAE is the difference of: ``E[100] − E[001]``."""
    return f"E[{runs.mae_axes[0]}] − E[{runs.mae_axes[1]}]" if runs.mae_axes else "MAE"


def _order_label(runs: RunTable) -> str:
    """What the difference of order is: ``|η_z| − |η_x|``, in the order in which it is positive where the MAE is."""
    assert runs.mae_axes is not None  # there is a difference
    first, second = ("xyz"[CUBE_EDGES.index(axis)] for axis in runs.mae_axes)
    return f"|η$_{second}$| − |η$_{first}$|"


def _regression(ax: Axes, x: NDArray[np.float64], y: NDArray[np.float64]) -> str:
    """Draw the least-squares line; return its slope, with the standard error, and the correlation."""
    from scipy.stats import linregress

    fit = linregress(x, y)
    ends = np.array([x.min(), x.max()])
    ax.plot(ends, fit.intercept + fit.slope * ends, color=style.VERMILION, linewidth=1.2)
    return f"slope {fit.slope:.2f} ± {fit.stderr:.2f} meV/atom, r = {fit.rvalue:.2f}"


@style.styled
def plot_anisotropy_map(runs: RunTable, *, ax: Panels | None = None) -> Panels:
    """MAE of sliding volumes at their centers, in the slice normal to each axis that most of them lie in.

    Parameters
    ----------
    runs : RunTable
        Collected sliding volumes, whose centers lie on a grid of half cells.
    ax : array of 3 Axes, optional
        Where to draw; default: a new figure.
    """
    axes = style.panels(ax, 1, 3, height=2.5)
    finite = np.isfinite(runs.volumes.mae)
    if not finite.any():
        for panel in axes.flat:
            style.no_data(panel, "no volume with a MAE")
        return axes
    grid, _, first = on_grid(runs.volumes.center_site, runs.volumes.mae)
    limit = style.symmetric_limit(grid, percentile=100.0)
    for normal, panel in zip((2, 1, 0), axes.ravel(), strict=True):
        at = _fullest(grid, normal)
        _map_slice(panel, np.take(grid, at, axis=normal), first, normal, at, limit)
    style.colorbar(list(axes.ravel()), f"{mae_label(runs)} (meV/atom)", Normalize(-limit, limit), style.DIVERGING)
    return axes


def _fullest(grid: NDArray[np.float64], normal: int) -> int:
    """Index of the slice with most values, of those the one nearest to the middle."""
    others = tuple(k for k in range(3) if k != normal)
    n_values = np.isfinite(grid).sum(axis=others)
    from_middle = np.abs(np.arange(len(n_values)) - len(n_values) // 2)
    return int(np.lexsort((from_middle, -n_values))[0])


def _map_slice(
    ax: Axes, values: NDArray[np.float64], first: NDArray[np.float64], normal: int, at: int, limit: float
) -> None:
    across, up = (k for k in range(3) if k != normal)
    low = first[[across, up]] - 0.5
    extent = (low[0], low[0] + values.shape[0], low[1], low[1] + values.shape[1])
    ax.set_facecolor(f"{style.MUTED}70")  # where there is no volume
    ax.imshow(values.T, origin="lower", extent=extent, cmap=style.DIVERGING, vmin=-limit, vmax=limit, aspect="equal")
    ax.set(xlabel=f"{'xyz'[across]}′ (half cells)", ylabel=f"{'xyz'[up]}′ (half cells)")
    ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    ax.yaxis.set_major_locator(MaxNLocator(6, integer=True))
    ax.set_title(f"{'xyz'[normal]}′ = {first[normal] + at:g} half cells".replace("-", "−"))


@style.styled
def plot_easy_axes(runs: RunTable, *, ax: Axes | None = None) -> Axes:
    """How many volumes have which easy axis.

    Parameters
    ----------
    runs : RunTable
        Collected volumes.
    ax : Axes, optional
        Where to draw; default: a new figure.
    """
    ax = style.single(ax, width=style.COLUMN, height=1.8)
    names = runs.volumes.easy_axis[np.isfinite(runs.volumes.mae)]
    if not names.size:
        return style.no_data(ax, "no volume with a MAE")
    axis, count = np.unique(np.where(names == "", "undefined", names), return_counts=True)
    ax.barh(range(len(axis)), count, height=0.6, color=[style.MUTED if a == "undefined" else style.BLUE for a in axis])
    for row, n in enumerate(count):
        ax.annotate(f"{n:,}", (n, row), xytext=(3, 0), textcoords="offset points", va="center", fontsize=7)
    ax.set_yticks(range(len(axis)), [a if a == "undefined" else f"[{a}]" for a in axis])
    ax.set(
        xlim=(0, 1.18 * count.max()),
        ylim=(len(axis) - 0.5, -0.5),
        xlabel="volumes",
        ylabel="easy axis",
        title=f"n = {names.size:,}",
    )
    return ax


@style.styled
def plot_nested(
    cells: ArrayLike, mae: ArrayLike, fit: SphereInCube | None = None, *, cubic_a: float, ax: Axes | None = None
) -> Axes:
    """MAE of nested cubes against their edge, with the model of a sphere in a cube.

    Parameters
    ----------
    cells : array_like
        (n,) edges of the cubes, unit cells.
    mae : array_like
        (n,) their MAE, meV/atom.
    fit : SphereInCube, optional
        The model.
    cubic_a : float
        Edge of the unit cell, Å.
    ax : Axes, optional
        Where to draw; default: a new figure.

    Notes
    -----
    As Fig. 4a of Yang et al., Nature 542, 75 (2017).
    """
    ax = style.single(ax, width=style.COLUMN, height=2.6)
    edges, values = np.asarray(cells, dtype=float), np.asarray(mae, dtype=float)
    keep = np.isfinite(values)
    if not keep.any():
        return style.no_data(ax, "no cube with a MAE")
    ax.axhline(0.0, color=style.MUTED, linewidth=0.8)
    if fit is not None:
        fine = np.linspace(edges[keep].min(), edges[keep].max(), 200) * cubic_a
        ax.plot(
            fine,
            nested_mae(fine, radius=fit.radius, k10=fit.k10, k12=fit.k12),
            color=style.BLUE,
            label="sphere in a cube",
        )
        text = (
            f"R = {fit.radius:.1f} ± {fit.radius_sigma:.1f} Å\nK inside {fit.k10:.2f} meV/atom (fixed)\nK outside "
            f"{fit.k12:.2f} ± {fit.k12_sigma:.2f} meV/atom"
        )
        ax.annotate(text, (0.97, 0.95), xycoords="axes fraction", ha="right", va="top", fontsize=6.5)
    ax.plot(edges[keep] * cubic_a, values[keep], "o", color=style.INK, label=f"cubes, n = {keep.sum()}")
    ax.set(xlabel="edge of the cube (Å)", ylabel="MAE (meV/atom)")
    ax.margins(0.06, 0.2)
    return ax
