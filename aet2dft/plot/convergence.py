"""How a reconstruction and a refinement went, what the images can tell, and how far halves of them agree."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, to_rgb
from matplotlib.ticker import MaxNLocator

from aet2dft.plot import style
from aet2dft.plot.style import Panels
from aet2dft.recon.atoms.refinement import Refinement
from aet2dft.recon.metrics import SHELL_THRESHOLDS, ShellCorrelation, format_r
from aet2dft.recon.volumes.quality import Coverage
from aet2dft.recon.volumes.reconstruction import Reconstruction

FITTED_COLOR, FREE_COLOR = style.BLUE, style.VERMILION
_FOR_LEGEND = 0.2
"""Of the range of the curves, left free above them for a legend of one line."""


@style.styled
def plot_convergence(result: Reconstruction, *, ax: Axes | None = None) -> Axes:
    """Misfit of a reconstruction and R factor of left-out images against the iteration.

    Parameters
    ----------
    result : Reconstruction
        Its record.
    ax : Axes, optional
        Where to draw; default: a new figure.

    Notes
    -----
    The misfit is a norm and the R factor a sum of absolute values: they are near each other, not equal.
    """
    ax = style.single(ax)
    if not result.misfit.size:
        return style.no_data(ax, f"{result.algorithm} has no iterations")
    ax.plot(np.arange(len(result.misfit)), result.misfit, color=FITTED_COLOR, label="misfit of all images")
    if result.trial is not None:
        ax.plot(
            result.trial.iteration, result.trial.r_free, "o-", color=FREE_COLOR, markersize=3, linewidth=0.8,
            label=f"R factor of {(n := len(result.trial.held_out))} left-out image{'s' * (n > 1)}",
        )  # fmt: skip
    ax.axvline(result.iterations, ymax=0.7, color=style.INK, linestyle="--", linewidth=0.8)
    ax.plot([result.iterations], [result.r_factor], "D", color=style.INK, markersize=4, label="R factor of the volume")
    ax.set(xlabel="iteration", ylabel="misfit, R factor")
    ax.set_ylim(bottom=0.0, top=1.35 * ax.get_ylim()[1])
    ax.set_title(f"stopped after {result.iterations:,} iterations, R = {format_r(result.r_factor)}")
    ax.legend(loc="upper right")
    return ax


@style.styled
def plot_refinement(result: Refinement, *, ax: Axes | None = None) -> Axes:
    """R factor of fitted and held-out images against the steps of a refinement, round by round.

    Parameters
    ----------
    result : Refinement
        Its record.
    ax : Axes, optional
        Where to draw; default: a new figure.
    """
    ax = style.single(ax)
    rounds, r_factor, r_free = result.history[:, 0], result.history[:, 2], result.history[:, 3]
    steps = np.arange(len(rounds))
    ax.plot(steps, r_factor, "o-", color=FITTED_COLOR, markersize=3, label="fitted images")
    if np.isfinite(r_free).any():
        n_out = len(result.held_out)
        label = f"{n_out} held-out image{'s' * (n_out != 1)}"
        ax.plot(steps, r_free, "o-", color=FREE_COLOR, markersize=3, label=label)
    for start in np.flatnonzero(np.diff(rounds)) + 0.5:
        ax.axvline(start, color=style.MUTED, linewidth=0.8, linestyle=":", zorder=0)
    ax.set(xlabel="step (dotted: atoms dropped and added)", ylabel="R factor")
    ax.set_title(f"R {format_r(result.r_factor_before)} → {format_r(result.r_factor_after)}")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.margins(y=0.1)
    bottom, top = ax.get_ylim()
    ax.set_ylim(top=top + _FOR_LEGEND * (top - bottom))
    ax.legend(loc="upper right", ncols=2, frameon=True, facecolor=style.PAPER, edgecolor="none", framealpha=1.0)
    return ax


@style.styled
def plot_fsc(shells: ShellCorrelation, *, ax: Axes | None = None) -> Axes:
    """Fourier shell correlation of two volumes, with its usual levels.

    Parameters
    ----------
    shells : ShellCorrelation
        Of two volumes from halves of the images.
    ax : Axes, optional
        Where to draw; default: a new figure.
    """
    ax = style.single(ax)
    ax.axhline(0.0, color=style.MUTED, linewidth=0.6)
    ax.plot(shells.frequency, shells.correlation, color=FITTED_COLOR)
    said = []
    for level in SHELL_THRESHOLDS:
        crossed = shells.falls_below(level)
        said.append(f"{level:g}: {'' if crossed else 'beyond '}{shells.resolution(level):.2f} Å")
        ax.axhline(level, color=style.INK, linewidth=0.7, linestyle="--")
        if crossed:
            ax.plot([1.0 / shells.resolution(level)], [level], "o", color=FREE_COLOR, markersize=4)
    ax.set_title(", ".join(said))
    ax.set(xlabel="spatial frequency (1/Å)", ylabel="Fourier shell correlation")
    ax.set(xlim=(0.0, float(shells.frequency[-1])), ylim=(min(-0.05, float(shells.correlation.min()) - 0.02), 1.05))
    return ax


@style.styled
def plot_coverage(coverage: Coverage, *, ax: Panels | None = None) -> Panels:
    """Frequencies that a tilt series measures: a map of the plane of x and z, and the completeness of every shell.

    Parameters
    ----------
    coverage : Coverage
        Of the geometry of the images.
    ax : array of 2 Axes, optional
        Where to draw; default: a new figure.
    """
    axes = style.panels(ax, 1, 2, height=2.6, gridspec_kw={"width_ratios": [1, 1.3]})
    wedge, shells = axes.ravel()
    edge = float(coverage.frequency[-1])
    measured = np.where(coverage.n_near > 0, coverage.n_near, np.nan)
    norm = LogNorm(1.0, max(2.0, float(coverage.n_near.max())))
    colors = mpl.colormaps[style.SEQUENTIAL].with_extremes(bad=(*to_rgb(style.MUTED), 0.35))
    wedge.imshow(
        measured.T, cmap=colors, norm=norm, origin="lower", extent=(-edge, edge, -edge, edge)
    )  # fmt: skip
    wedge.set(xlabel="$q_x$ (1/Å)", ylabel="$q_z$ (1/Å)", aspect="equal")
    wedge.set_title("gray: no image", fontsize=7)
    style.colorbar(wedge, "images near", norm, ticks=[1, 3, 10, 30, 100], format="%d")
    shells.plot(coverage.frequency, 1e2 * coverage.completeness, color=FITTED_COLOR)
    shells.set(xlabel="spatial frequency (1/Å)", ylabel="measured (%)", xlim=(0.0, edge), ylim=(0.0, 103.0))
    shells.set_title(f"{1e2 * coverage.missing_fraction:.0f} % of all frequencies are not measured")
    return axes
