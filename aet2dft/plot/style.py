"""How figures of this package look: sizes, colors, and the small pieces that several figures share.

What a figure shows lives in the other modules; nothing here knows an order parameter or an energy.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import cache, wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeAlias, TypeVar

import matplotlib as mpl
import numpy as np
from ase import Atoms
from ase.data import atomic_numbers, chemical_symbols
from ase.data.colors import jmol_colors
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colorbar import Colorbar
from matplotlib.colors import Colormap, LinearSegmentedColormap, Normalize, to_hex
from matplotlib.figure import Figure, SubFigure
from numpy.typing import NDArray

from aet2dft.errors import InputError

INK = "#24292f"
"""Text, axes and outlines. The HTML page replaces this very color by the one of its theme."""
PAPER = "#fdfdfc"
"""What lies behind a figure; replaced in the same way."""
MUTED = "#8c959f"
"""What should stand back: reference lines, atoms of no grain."""
ORANGE, SKY, GREEN, YELLOW, BLUE, VERMILION, PURPLE = (
    "#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7",
)  # fmt: skip
"""Colors that remain apart for all kinds of color vision (Okabe and Ito, 2008)."""
SPECIES_COLORS = {
    "X": ORANGE,
    "Fe": VERMILION,
    "Pt": BLUE,
    "Co": GREEN,
    "Ni": GREEN,
    "Pd": SKY,
    "Cu": ORANGE,
    "Au": YELLOW,
}
GRAIN_COLORS = (
    BLUE, VERMILION, GREEN, ORANGE, PURPLE, SKY, YELLOW, "#5B3F95", "#7A4A1E", "#94C11F", "#B22A5B", "#1F7A7A",
    "#F2A99A", "#0B2E59", "#B9A5E2", "#6B7A10", "#C9A66B", "#8FD6B4", "#5C0A1E", "#2FC6D6",
)  # fmt: skip
"""Grains in a fixed order, repeated after the last."""
PHASE_MARKERS = {"A1": "D", "L10": "s", "L12": "o"}
PHASE_NAMES = {"A1": "A1", "L10": "L1₀", "L12": "L1₂"}
STATUS_COLORS = {
    "ok": "#a9dbc9",
    "not_converged": YELLOW,
    "incomplete": SKY,
    "missing": "#9aa4ae",
    "input_changed": PURPLE,
    "failed": VERMILION,
}
"""Colors of the six classes of job status; what is ok is pale, so that the rest is seen."""
COMPONENTS = ("xx", "yy", "zz", "yz", "xz", "xy")
COLUMN, PAGE = 3.4, 7.0
"""Inches: widths of one column and of the page."""
_SCALE_BARS = (2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0)
PLATE = {"facecolor": PAPER, "edgecolor": "none", "alpha": 0.8, "pad": 1.0}
"""Behind a text that lines may cross."""
MAX_POINTS = 60_000
"""Atoms drawn in one picture; of more a sample is drawn, and the picture says so."""
SEQUENTIAL = "cividis"
DIVERGING = LinearSegmentedColormap.from_list(
    "aet2dft.diverging", ["#08306b", "#2b7bba", "#9fcae6", "#f4f2ee", "#f6b48a", "#d2551e", "#7f2704"], N=255
)
"""Blue, white, orange; lightness falls evenly on both sides of zero."""
ORDER_SHADES = LinearSegmentedColormap.from_list("aet2dft.shades", ["#8e959c", "#fbfbf8"], N=255)
"""Background behind atoms: dark is disordered, light is ordered."""

Panels: TypeAlias = NDArray[Any]
"""An array of Axes."""
P = ParamSpec("P")
R = TypeVar("R")


def styled(function: Callable[P, R]) -> Callable[P, R]:
    """Decorate a plot so that it is drawn in the style of the package and the settings of the user stay as they are."""

    @wraps(function)
    def inside_style(*args: P.args, **kwargs: P.kwargs) -> R:
        with in_style():
            return function(*args, **kwargs)

    return inside_style


@cache
def _settings() -> dict[Any, Any]:
    """Settings of the style file, with the sans-serif fonts of this machine; the last of them comes with matplotlib."""
    settings = mpl.rc_params_from_file(Path(__file__).with_name("aet2dft.mplstyle"), use_default_template=False)
    known = set(font_manager.get_font_names())
    fonts = [name for name in ("Arial", "Helvetica", "Liberation Sans") if name in known]
    return {**settings, "font.family": [*fonts, "DejaVu Sans"]}


def in_style() -> AbstractContextManager[None]:
    """Context in which matplotlib draws and saves in the style of the package."""
    return mpl.rc_context(_settings())


def new_figure(width: float, height: float) -> Figure:
    """Open a figure of this size in inches, as pyplot does: it appears in notebooks."""
    from matplotlib import pyplot

    return pyplot.figure(figsize=(width, height), layout="constrained")


def single(ax: Axes | None, *, width: float = COLUMN, height: float = 2.5) -> Axes:
    """Return the axes given, or those of a new figure."""
    return ax if ax is not None else new_figure(width, height).add_subplot()


def panels(ax: Panels | None, rows: int, columns: int, *, width: float = PAGE, height: float, **options: Any) -> Panels:
    """Return the array of axes given, if it is of this shape, or a grid of axes in a new figure."""
    if ax is None:
        return np.asarray(new_figure(width, height).subplots(rows, columns, squeeze=False, **options))
    found = np.asarray(ax, dtype=object)
    if found.size != rows * columns:
        raise InputError(
            f"this plot has {rows} x {columns} panels, but {found.size} axes were given; give none for a new figure"
        )
    return found.reshape(rows, columns)


def species_of(atoms: Atoms) -> list[str]:
    """Chemical symbols of a model, the most frequent one first."""
    numbers, counts = np.unique(atoms.numbers, return_counts=True)
    return [chemical_symbols[z] for z in numbers[np.argsort(-counts, kind="stable")]]


def figure_of(ax: Axes) -> Figure | SubFigure:
    """Return the figure that holds an Axes."""
    figure = ax.figure
    assert figure is not None  # an Axes that was removed from its figure cannot be drawn on
    return figure


def species_color(symbol: str) -> str:
    """Color of a chemical symbol."""
    return SPECIES_COLORS.get(symbol) or to_hex(jmol_colors[atomic_numbers[symbol]])


def grain_color(grain: int) -> str:
    """Color of a grain by its number; 0 is no grain."""
    return GRAIN_COLORS[(grain - 1) % len(GRAIN_COLORS)] if grain > 0 else MUTED


def sample(n: int, *, limit: int = MAX_POINTS) -> NDArray[np.intp]:
    """Indices of at most `limit` of `n` atoms, ascending and always the same ones."""
    if n <= limit:
        return np.arange(n)
    return np.sort(np.random.default_rng(0).choice(n, limit, replace=False))


def sampled_note(drawn: int, n: int) -> str:
    """Say how many atoms of how many are drawn; nothing where it is all of them."""
    return f" ({drawn:,} of {n:,} drawn)" if drawn < n else ""


def signed(value: float, digits: int = 1) -> str:
    """Write a number with a true minus sign, and zero without one."""
    return f"{round(value, digits) + 0.0:.{digits}f}".replace("-", "−")


def symmetric_limit(values: NDArray[np.float64], *, percentile: float = 99.0) -> float:
    """Limit of a color scale centered at zero; all but the most extreme percent of the values (n,) lie within."""
    finite = np.abs(values[np.isfinite(values)])
    limit = float(np.percentile(finite, percentile)) if finite.size else 0.0
    return limit if limit > 0 else 1.0


def colorbar(
    ax: Axes | list[Axes], label: str, norm: Normalize, cmap: str | Colormap = SEQUENTIAL, **options: Any
) -> Colorbar:
    """Add a slim color bar with a label that holds the unit."""
    first = ax[0] if isinstance(ax, list) else ax
    settings = {"aspect": 22, "pad": 0.02, "fraction": 0.05} | options
    bar = figure_of(first).colorbar(ScalarMappable(norm=norm, cmap=cmap), ax=ax, label=label, **settings)
    bar.outline.set_linewidth(0.5)
    bar.ax.tick_params(length=2)
    return bar


def scale_bar(ax: Axes, *, unit: float = 1.0) -> None:
    """Draw a scale bar below the picture, at most a third as long; `unit` is the length of one data unit in Å."""
    extent = unit * float(np.ptp(ax.get_xlim()))
    length = max((bar for bar in _SCALE_BARS if bar <= extent / 3.0), default=_SCALE_BARS[0])
    label = f"{length / 10:g} nm" if length >= 10 else f"{length:g} Å"
    start, height = 0.02, -0.03
    end = start + length / extent
    ax.plot([start, end], [height, height], transform=ax.transAxes, color=INK, linewidth=1.6, clip_on=False)
    ax.text(0.5 * (start + end), height - 0.015, label, transform=ax.transAxes, ha="center", va="top", fontsize=7)


def bare(ax: Axes) -> None:
    """Remove frame and ticks of a picture in space, whose scale is given by a bar."""
    ax.set(xticks=[], yticks=[], aspect="equal")
    ax.spines[:].set_visible(False)


def no_data(ax: Axes, reason: str) -> Axes:
    """Say in place why a panel is empty."""
    ax.text(0.5, 0.5, reason, transform=ax.transAxes, ha="center", va="center", color=MUTED, wrap=True)
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
    return ax
