"""Short-range order by neighbor shells."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from aet2dft.plot import style
from aet2dft.structure.short_range_order import WarrenCowley

FEWEST_CENTERS = 20
"""Complete shells below which their mean is not drawn."""
_MARKERS = "osD^v"
"""By the species around the center."""


@style.styled
def plot_short_range_order(pairs: tuple[WarrenCowley, ...], *, ax: Axes | None = None) -> Axes:
    """Warren-Cowley parameters against the shell number, for every ordered pair of species.

    Parameters
    ----------
    pairs : tuple of WarrenCowley
        Pairs.
    ax : Axes, optional
        Where to draw; default: a new figure.

    Notes
    -----
    Filled points count only centers whose shell is complete, where there are at least `FEWEST_CENTERS` of them; hollow
    ones all atoms with the neighbors they have. Error bars: standard errors. Negative is a preference for unlike
    neighbors. Colors are those of the center in all figures, markers those of its neighbors.
    """
    ax = style.single(ax, width=style.PAGE, height=2.6)
    if not pairs:
        return style.no_data(ax, "one species only")
    # pairs stand side by side, so that error bars do not hide each other
    shifts = np.linspace(-0.18, 0.18, len(pairs)) if len(pairs) > 1 else np.zeros(1)
    markers = dict(zip(dict.fromkeys(pair.other for pair in pairs), itertools.cycle(_MARKERS), strict=False))
    for pair, shift in zip(pairs, shifts, strict=True):
        shells = 1 + np.arange(len(pair.full_shells)) + shift
        name = f"{pair.other} around {pair.center}"
        full = np.where(pair.n_full >= FEWEST_CENTERS, pair.full_shells, np.nan)
        bars: dict[str, Any] = {"color": style.species_color(pair.center), "marker": markers[pair.other]}
        bars |= {"markersize": 4.5, "elinewidth": 0.8, "capsize": 1.5}
        ax.errorbar(
            shells, full, yerr=pair.full_sigma, linestyle="-", linewidth=0.6, label=f"{name}, complete shells", **bars
        )
        ax.errorbar(
            shells, pair.all_atoms, yerr=pair.all_sigma, linestyle="", markerfacecolor="none",
            label=f"{name}, all atoms", **bars,
        )  # fmt: skip
    ax.axhline(0.0, color=style.MUTED, linewidth=0.8)
    n_shells = max(len(pair.full_shells) for pair in pairs)
    ax.set(xlabel="neighbor shell", ylabel="Warren-Cowley α", xticks=range(1, n_shells + 1))
    ax.set_ylim(top=ax.get_ylim()[1] + 0.15 * len(pairs) * np.ptp(ax.get_ylim()))
    ax.legend(loc="upper center", ncols=2, fontsize=6.5)
    return ax
