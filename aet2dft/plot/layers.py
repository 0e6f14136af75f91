"""Atomic layers of a particle: species, order behind them, and the boundaries of the grains as lines."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols
from matplotlib.axes import Axes
from matplotlib.collections import EllipseCollection, LineCollection, PolyCollection
from matplotlib.colors import Normalize
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from aet2dft.atoms import require
from aet2dft.errors import InputError
from aet2dft.plot import style
from aet2dft.plot.style import Panels
from aet2dft.structure.chemical_order import Order
from aet2dft.structure.variants import ORDERED

MAX_LAYERS = 12
"""Panels of one figure."""
_BOUNDARY = "#15181c"
"""Not the color of text: the lines lie on light cells in a dark page too."""
_NORM = Normalize(0.0, 1.0)
_DIAMOND = np.array([(1, 0), (0, 1), (-1, 0), (0, -1)])
"""Corners of the cell of a site among the sites of its own layer, half cells."""
_DOT = 0.62
"""Diameter of an atom in units of the nearest-neighbor distance in the layer."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Layer:
    """The atoms of one (002) layer of a lattice."""

    members: NDArray[np.intp]
    """(n,): indices of the atoms."""
    site: NDArray[np.int32]
    """(n, 2): half-cell indices in the layer."""
    index: int
    """Half-cell index of the layer."""


@style.styled
def plot_lattice_slices(
    atoms: Atoms, order: Order, *, axis: int = 2, layers: int = MAX_LAYERS, ax: Panels | None = None
) -> Panels:
    """Atomic layers of the largest lattice, colored by species on a background of order.

    Parameters
    ----------
    atoms : Atoms
        Model with the arrays that `order` writes.
    order : Order
        Its record.
    axis : int
        Lattice axis that the layers are normal to: 0, 1, 2 for [100], [010], [001].
    layers : int
        Most panels, at most 12; layers are evenly spaced between the outermost ones that hold enough atoms.
    ax : array of Axes, optional
        Where to draw, one panel each; default: a new figure.

    Returns
    -------
    ndarray of Axes
        One per layer.

    Notes
    -----
    Every atom is drawn on its site, so that a layer is a plane. The background is the order parameter S of the atom's
    own variant, of A1 the largest of any variant; lines part neighbors of different grains (as in Fig. 2 of Yang et
    al., Nature 542, 75 (2017)).
    """
    if axis not in (0, 1, 2) or not 1 <= layers <= MAX_LAYERS:
        raise InputError(f"axis {axis} and {layers} layers: give axis 0, 1 or 2 and 1 to {MAX_LAYERS} layers")
    require(atoms, "site", "lattice")
    found = _layers(atoms, axis, layers if ax is None else min(layers, np.size(ax)))
    columns = min(4, max(1, len(found)))
    rows = max(1, -(-len(found) // columns))
    grid = style.panels(ax, rows, columns, height=0.45 + 1.85 * rows) if ax is None else np.asarray(ax, dtype=object)
    axes = grid.ravel()
    for unused in axes[len(found) :]:
        style.no_data(unused, "" if found else "no atom on a lattice")
    shade = _order_of(atoms) if "sublattice_order" in atoms.arrays else None
    half_cell = 0.5 * order.lattices[0].cubic_a
    for panel, layer in zip(axes, found, strict=False):
        _draw(panel, atoms, layer, shade)
        place = f"layer {layer.index:+d}, {'xyz'[axis]}′ = {half_cell * layer.index:+.1f} Å"
        panel.set_title(place.replace("-", "−"), fontsize=7)
    _share_window(axes[: len(found)], found)
    _finish(axes[: len(found)], atoms, axis, half_cell, shaded=shade is not None)
    return grid


def _layers(atoms: Atoms, axis: int, most: int) -> list[_Layer]:
    """Evenly spaced layers of lattice 1, leaving out caps with under a fifth of the atoms of the fullest layer."""
    members = np.flatnonzero(atoms.arrays["lattice"] == 1)
    if not members.size:
        return []
    site = atoms.arrays["site"][members]
    index, count = np.unique(site[:, axis], return_counts=True)
    index = index[count >= 0.2 * count.max()]
    chosen = index[np.unique(np.rint(np.linspace(0, len(index) - 1, min(most, len(index)))).astype(int))]
    plane = [k for k in range(3) if k != axis]
    return [
        _Layer(members=members[here], site=site[here][:, plane], index=int(level))
        for level in chosen
        for here in [site[:, axis] == level]
    ]


def _order_of(atoms: Atoms) -> NDArray[np.float64]:
    """Order (N,) of every atom: S of its own variant, of A1 the largest of any."""
    s, variant = atoms.arrays["sublattice_order"], atoms.arrays["variant"]
    largest = np.nanmax(np.where(np.isfinite(s[:, ORDERED]), s[:, ORDERED], -1.0), axis=1)
    own = np.where(variant > 0, s[np.arange(len(s)), variant], largest)
    return np.asarray(np.nan_to_num(own))


def _draw(ax: Axes, atoms: Atoms, layer: _Layer, shade: NDArray[np.float64] | None) -> None:
    """Draw the cells of a layer, shaded by order, its atoms, and the boundaries between grains."""
    site = layer.site.astype(float)
    if shade is not None:
        cells = PolyCollection(
            list(site[:, None] + _DIAMOND),
            array=shade[layer.members],
            cmap=style.ORDER_SHADES,
            norm=_NORM,
            linewidth=0.2,
            edgecolor="face",
            rasterized=True,
        )
        ax.add_collection(cells)
    numbers = atoms.numbers[layer.members]
    size = np.full(len(site), _DOT * np.sqrt(2.0))
    dots = EllipseCollection(
        size,
        size,
        np.zeros(len(site)),
        units="xy",
        offsets=site,
        offset_transform=ax.transData,
        linewidth=0,
        rasterized=True,
        facecolor=[style.species_color(chemical_symbols[z]) for z in numbers],
    )
    ax.add_collection(dots)
    if "grain" in atoms.arrays:
        ax.add_collection(
            LineCollection(list(_boundary(layer, atoms.arrays["grain"])), colors=_BOUNDARY, linewidth=0.9)
        )
    style.bare(ax)


def _boundary(layer: _Layer, grain: NDArray[np.int32]) -> NDArray[np.float64]:
    """Lines (m, 2, 2) between nearest neighbors of the layer that are in different grains."""
    number = {tuple(site): int(g) for site, g in zip(layer.site.tolist(), grain[layer.members], strict=True)}
    lines = [
        ((i + 1, j), (i, j + step)) if step == 1 else ((i, j - 1), (i + 1, j))
        for (i, j), own in number.items()
        for step in (1, -1)
        if own and (other := number.get((i + 1, j + step), 0)) and other != own
    ]
    return np.array(lines, dtype=float).reshape(-1, 2, 2)


def _share_window(axes: Panels, layers: list[_Layer]) -> None:
    """Show one window of the lattice in all panels, so that they can be laid over each other."""
    if layers:
        corners = np.concatenate([layer.site for layer in layers])
        (left, bottom), (right, top) = corners.min(axis=0) - 1, corners.max(axis=0) + 1
        for panel in axes:
            panel.set(xlim=(left, right), ylim=(bottom, top))


def _finish(axes: Panels, atoms: Atoms, axis: int, half_cell: float, *, shaded: bool) -> None:
    """Add the axes of the lattice, the scale, the species and the color bar of the order."""
    if not len(axes):
        return
    first = axes[0]
    style.scale_bar(axes[-1], unit=half_cell)  # no title of another layer stands below the last one
    for name, direction in zip([k for k in range(3) if k != axis], ((1, 0), (0, 1)), strict=True):
        _arrow(first, direction, ("[100]", "[010]", "[001]")[name])
    species = style.species_of(atoms)
    handles = [Line2D([], [], marker="o", linestyle="", color=style.species_color(s), label=s) for s in species]
    if "grain" in atoms.arrays:
        on_light = [withStroke(linewidth=4.0, foreground="#fbfbf8")]
        handles.append(Line2D([], [], color=_BOUNDARY, linewidth=0.9, path_effects=on_light, label="grain boundary"))
    style.figure_of(first).legend(handles=handles, loc="outside upper left", ncols=len(handles), handletextpad=0.7)
    if shaded:
        style.colorbar(
            list(axes), "order parameter S of the atom's variant", _NORM, style.ORDER_SHADES, aspect=40, fraction=0.02
        )


def _arrow(ax: Axes, direction: tuple[int, int], label: str) -> None:
    """Draw one axis of the lattice in the upper left corner."""
    start, length = np.array([0.02, 0.80]), 0.13
    end = start + length * np.array(direction)
    ax.annotate(
        "",
        xy=tuple(end),
        xytext=tuple(start),
        xycoords="axes fraction",
        arrowprops={
            "arrowstyle": "-|>",
            "color": style.INK,
            "linewidth": 0.8,
            "mutation_scale": 6,
            "shrinkA": 0,
            "shrinkB": 0,
        },
    )
    offset, align = ((0.02, 0.0), ("left", "center")) if direction == (1, 0) else ((0.0, 0.02), ("left", "bottom"))
    ax.text(end[0] + offset[0], end[1] + offset[1], label, transform=ax.transAxes, ha=align[0], va=align[1], fontsize=6)
