"""Grains of a particle: sizes and order, how they depend on the recipe, and antisites against depth."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from aet2dft.plot import style
from aet2dft.plot.style import Panels
from aet2dft.structure.chemical_order import ChemicalOrder
from aet2dft.structure.defects import AntisiteProfile
from aet2dft.structure.grain_notes import least_certain_note
from aet2dft.structure.grain_table import GrainTable, Recipe

MAX_GRAINS = 20
"""Rows of the chart of grains."""
MAX_PROFILES = 4
"""Columns of the depth profiles."""
SIGNIFICANT = 0.95
"""A small grain is drawn filled when at least this fraction of surrogates holds no such grain by chance."""
_VIEW = np.array([[0.82, 0.57, 0.0], [-0.25, 0.36, 0.90], [0.51, -0.74, 0.44]])
"""Rows: right, up and towards the viewer in the frame of the model."""
_MINIATURE = 12_000
_WIDE = 10.0
"""Ratio of sizes above which a scale has room for powers of ten only."""


@style.styled
def plot_grains(chemical: ChemicalOrder, atoms: Atoms | None = None, *, ax: Panels | None = None) -> Panels:
    """Sizes, phases and mean order of the grains, beside a miniature of the particle.

    Parameters
    ----------
    chemical : ChemicalOrder
        Chemical order of the particle.
    atoms : Atoms, optional
        Model with the array ``grain``, for the miniature.
    ax : array of 3 Axes, optional
        Where to draw; default: a new figure.

    Notes
    -----
    Sizes stand on a logarithmic scale, hence points and no bars. A hollow point is a small grain that more than 5 % of
    the surrogate particles show by chance. The front half of the miniature is cut away.
    """
    table = chemical.grains
    n = min(len(table), MAX_GRAINS)
    axes = style.panels(ax, 1, 3, height=0.9 + 0.17 * max(n, 6), gridspec_kw={"width_ratios": [1.15, 1, 1.15]})
    sizes, order, miniature = axes.ravel()
    if n == 0:
        for panel, reason in zip(axes.ravel(), ("no grain", "", ""), strict=True):
            style.no_data(panel, reason)
        return axes
    _grain_sizes(sizes, table, n)
    _grain_order(order, table, n, chemical.null_level)
    if atoms is None or "grain" not in atoms.arrays:
        style.no_data(miniature, "")
    else:
        _miniature(miniature, atoms)
    return axes


def _grain_sizes(ax: Axes, table: GrainTable, n: int) -> None:
    for row in range(n):
        color, phase = style.grain_color(int(table.grain[row])), str(table.phase[row])
        sure = not table.significance[row] < SIGNIFICANT
        ax.plot(
            table.n_atoms[row],
            row,
            marker=style.PHASE_MARKERS[phase],
            markersize=5,
            linestyle="",
            markeredgecolor=color,
            markerfacecolor=color if sure else "none",
        )
        ax.annotate(
            f"{table.n_atoms[row]:,}",
            (table.n_atoms[row], row),
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
            fontsize=6.5,
        )
    ax.set(
        xscale="log",
        xlabel="atoms",
        ylabel="grain",
        xlim=(0.6 * table.n_atoms[:n].min(), 5.0 * table.n_atoms[:n].max()),
    )
    wide = table.n_atoms[:n].max() > _WIDE * table.n_atoms[:n].min()
    ax.xaxis.set_major_locator(LogLocator(subs=(1.0,) if wide else (1.0, 2.0, 5.0)))
    ax.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.set_yticks(
        range(n), [f"{g}  {style.PHASE_NAMES[str(p)]}" for g, p in zip(table.grain[:n], table.phase[:n], strict=True)]
    )
    ax.set_ylim(n - 0.5, -0.5)
    left_out = f", the largest {n} of {len(table)}" if n < len(table) else ""
    ax.set_title(f"size{left_out}")
    present = [p for p in style.PHASE_MARKERS if p in set(table.phase[:n])]
    handles = [
        Line2D([], [], marker=style.PHASE_MARKERS[p], color=style.INK, linestyle="", label=style.PHASE_NAMES[p])
        for p in present
    ]
    ax.legend(handles=handles, loc="lower right", handletextpad=0.2)


def _grain_order(ax: Axes, table: GrainTable, n: int, null_level: float) -> None:
    colors = [style.grain_color(int(g)) for g in table.grain[:n]]
    ax.barh(range(n), table.order[:n], height=0.62, color=colors)
    ax.errorbar(
        table.order[:n], range(n), xerr=table.order_sigma[:n], fmt="none", ecolor=style.INK, elinewidth=0.7, capsize=1.5
    )
    ax.axvline(null_level, color=style.MUTED, linewidth=0.8, linestyle="--")
    ax.annotate(
        "chance",
        (null_level, 1.0),
        xycoords=("data", "axes fraction"),
        ha="center",
        va="bottom",
        fontsize=6,
        color=style.MUTED,
    )
    ax.set(xlim=(0, 1.05), ylim=(n - 0.5, -0.5), xlabel="mean order parameter S", title="order")
    ax.set_yticks(range(n), [])


def _miniature(ax: Axes, atoms: Atoms) -> None:
    """Draw the particle by grains, without the half that is nearer to the viewer."""
    where = (atoms.positions - atoms.positions.mean(axis=0)) @ _VIEW.T
    behind = np.flatnonzero(where[:, 2] <= 0.0)
    drawn = behind[style.sample(len(behind), limit=_MINIATURE)]
    drawn = drawn[np.argsort(where[drawn, 2], kind="stable")]
    x, y, depth = where[drawn].T
    grain = atoms.arrays["grain"][drawn]
    color = np.array([to_rgba(style.grain_color(int(g))) for g in range(int(grain.max(initial=0)) + 1)])[grain]
    # what is far away is paler
    color[:, 3] = np.where(
        grain > 0, 0.35 + 0.65 * np.clip(1.0 + depth / max(-float(depth.min(initial=-1.0)), 1e-9), 0, 1), 0.25
    )
    ax.scatter(x, y, s=5.0, c=color, linewidths=0, rasterized=True)
    style.bare(ax)
    ax.margins(0.06)
    style.scale_bar(ax)
    ax.set_title(f"front half cut away{style.sampled_note(len(drawn), len(behind))}")


@style.styled
def plot_depth_profiles(profiles: tuple[AntisiteProfile, ...], *, ax: Panels | None = None) -> Panels:
    """Antisite fraction, order and number of atoms against the depth below the surface of each large grain.

    Parameters
    ----------
    profiles : tuple of AntisiteProfile
        Profiles; the first four are drawn, one column each.
    ax : (3, n) array of Axes, optional
        Where to draw; default: a new figure.

    Notes
    -----
    Error bars of the antisite fraction are standard errors; of the order the means of the bins are drawn. Bins of fewer
    than ten atoms are hollow.
    """
    shown = profiles[:MAX_PROFILES]
    if not shown:
        axes = style.panels(ax, 1, 1, width=style.COLUMN, height=1.5)
        style.no_data(axes.flat[0], "no ordered grain of 1,000 atoms or more")
        return axes
    axes = style.panels(
        ax, 3, len(shown), width=style.PAGE if len(shown) > 1 else 4.2, height=4.6, sharex="col", sharey="row",
        gridspec_kw={"height_ratios": [2, 2, 1]},
    )  # fmt: skip
    for column, profile in zip(axes.T, shown, strict=True):
        _profile(column, profile)
    for panel, label in zip(axes[:, 0], ("antisite fraction", "order parameter S", "atoms per bin"), strict=True):
        panel.set_ylabel(label)
    return axes


def _profile(column: Panels, profile: AntisiteProfile) -> None:
    fraction, order, count = column
    color, enough = style.grain_color(profile.grain), profile.n >= 10
    bars = {"color": color, "elinewidth": 0.7, "capsize": 1.5, "linestyle": "", "marker": "o", "markersize": 3.2}
    for keep, face in ((enough, color), (~enough & (profile.n > 0), "none")):
        fraction.errorbar(
            profile.depth[keep],
            profile.fraction[keep],
            yerr=profile.sigma[keep],
            markerfacecolor=face,
            markeredgecolor=color,
            **bars,
        )
        order.plot(profile.depth[keep], profile.order[keep], "s", color=color, markerfacecolor=face, markersize=3.2)
    fraction.axhline(0.5, color=style.MUTED, linestyle="--", linewidth=0.8)
    order.axhline(0.0, color=style.MUTED, linestyle="--", linewidth=0.8)
    for panel in column:
        panel.axvline(0.0, color=style.MUTED, linewidth=0.8)
    top = float(np.nanmax(profile.fraction, initial=0.5))
    fraction.set(ylim=(0, min(1.06, max(0.62, 1.15 * top))), title=f"grain {profile.grain}")
    fraction.annotate("outside", (0.02, 0.04), xycoords="axes fraction", fontsize=6.5, color=style.MUTED)
    fraction.annotate(
        "inside", (0.98, 0.94), xycoords="axes fraction", fontsize=6.5, color=style.MUTED, ha="right", va="top"
    )
    order.set(ylim=(min(-0.5, 1.1 * float(np.nanmin(profile.order[profile.n > 0], initial=0.0))), 1.05))
    width = float(np.diff(profile.depth[:2])[0]) if len(profile.depth) > 1 else 1.0
    count.bar(profile.depth, profile.n, width=0.85 * width, color=color, alpha=0.55)
    count.set_xlabel("depth below the grain surface (Å)")


@style.styled
def plot_recipes(recipes: tuple[Recipe, ...], *, window: float, ax: Axes | None = None) -> Axes:
    """How the grains move when the labels are made with other windows and thresholds.

    Parameters
    ----------
    recipes : tuple of Recipe
        Neighboring recipes; each row is one, its sections are the ten largest ordered grains.
    window : float
        Standard deviation of the window in use, unit cells; its row with the chance level as threshold is marked.
    ax : Axes, optional
        Where to draw; default: a new figure.
    """
    ax = style.single(ax, width=style.PAGE, height=0.8 + 0.26 * max(len(recipes), 2))
    if not recipes:
        return style.no_data(ax, "no recipe")
    for row, recipe in enumerate(recipes):
        _recipe_bar(ax, row, recipe)
    used = [not r.fixed and np.isclose(r.window, window) for r in recipes]
    labels = [f"σ {r.window:g}, S ≥ {r.threshold:.2f}{' fixed' if r.fixed else ''}" for r in recipes]
    ax.set_yticks(range(len(recipes)), labels)
    for tick, marked in zip(ax.get_yticklabels(), used, strict=True):
        tick.set_fontweight("bold" if marked else "normal")
    most = max(sum(r.sizes) for r in recipes)
    ax.locator_params(axis="x", integer=True)
    ax.xaxis.set_major_formatter("{x:,.0f}")
    ax.set(
        ylim=(len(recipes) - 0.5, -0.5), xlim=(0, 1.28 * max(most, 1)), xlabel="atoms in the ten largest ordered grains"
    )
    return ax


def _recipe_bar(ax: Axes, row: int, recipe: Recipe) -> None:
    left = 0
    for rank, size in enumerate(recipe.sizes, start=1):
        ax.barh(row, size, left=left, height=0.66, color=style.grain_color(rank), edgecolor=style.PAPER, linewidth=0.4)
        if rank <= 2:
            ax.text(left + 0.5 * size, row, f"{size:,}", ha="center", va="center", fontsize=6.5, color="white")
        left += size
    ax.annotate(
        f"{recipe.n_l12} L1₂, {recipe.n_l10} L1₀, {recipe.n_a1:,} A1",
        (left, row),
        xytext=(4, 0),
        textcoords="offset points",
        va="center",
        fontsize=6.5,
    )


def chance_note(chemical: ChemicalOrder) -> str:
    """Say in one sentence how sure the small grains are."""
    table, n = chemical.grains, chemical.n_surrogates
    doubtful = table.grain[table.significance < SIGNIFICANT]
    if doubtful.size:
        names = f"grain{'s' * (doubtful.size > 1)} {', '.join(map(str, doubtful))}"
        return f"More than {100 * (1 - SIGNIFICANT):.0f} % of {n or 'the'} surrogates have by chance one like {names}."
    if not (tested := int(np.isfinite(table.significance).sum())):
        return "No small grain was tested against chance."
    return f"Small grain{'s' * (tested > 1)}: {least_certain_note(table, n)}."
