"""Vectors and tensors in space: displacements from the lattice, strain, and what relaxation moves."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from numpy.typing import NDArray

from aet2dft.atoms import require
from aet2dft.dft_inputs.comparison import Comparison
from aet2dft.plot import style
from aet2dft.plot.style import Panels
from aet2dft.structure.chemical_order import StrainSummary
from aet2dft.structure.lattice import LatticeFit

AXIS_COLORS = (style.VERMILION, style.GREEN, style.BLUE)
"""x, y, z."""
CORE_COLOR, SURFACE_COLOR = style.BLUE, style.ORANGE
_BINS = 60
_MAX_ARROWS = 1200
_HALF_DISK = 1.3
"""Å: what a map needs around the centers of the disks at its edge, where the particle is small."""


@style.styled
def plot_displacements(
    atoms: Atoms, lattice: LatticeFit | None = None, *, thickness: float | None = None, ax: Panels | None = None
) -> Panels:
    """Displacements from the best-fit lattice: histogram per axis, and arrows in a central slab.

    Parameters
    ----------
    atoms : Atoms
        Model with the array ``displacement``.
    lattice : LatticeFit, optional
        The largest lattice, for the title.
    thickness : float, optional
        Thickness of the slab, Å; default: half a cell, or 2 Å without a lattice.
    ax : array of 2 Axes, optional
        Where to draw; default: a new figure.
    """
    require(atoms, "displacement")
    values = np.asarray(atoms.arrays["displacement"], dtype=float)
    if "lattice" in atoms.arrays:
        values = np.where((atoms.arrays["lattice"] > 0)[:, None], values, np.nan)
    axes = style.panels(ax, 1, 2, height=3.1, gridspec_kw={"width_ratios": [1, 1.15]})
    histogram, arrows = axes.ravel()
    _histogram_by_axis(histogram, values, "displacement (Å)")
    reference = (
        f"best-fit triclinic cell, a = {lattice.cubic_a:.3f} Å (cubic fit)" if lattice else "best-fit triclinic cell"
    )
    histogram.set_title(f"from the {reference}", fontsize=7)
    _arrows(arrows, atoms.positions, values, thickness or (0.5 * lattice.cubic_a if lattice else 2.0))
    return axes


@style.styled
def plot_relaxation(atoms: Atoms, comparison: Comparison, *, ax: Panels | None = None) -> Panels:
    """What relaxation moved: lengths of the displacements by species, and arrows in a central slab.

    Parameters
    ----------
    atoms : Atoms
        Measured model with the array ``relaxation`` that `compare` writes.
    comparison : Comparison
        Its record.
    ax : array of 2 Axes, optional
        Where to draw; default: a new figure.

    Notes
    -----
    The shaded band is the rms standard error of the measured positions, where it is known.
    """
    axes = style.panels(ax, 1, 2, height=3.1, gridspec_kw={"width_ratios": [1, 1.15]})
    histogram, arrows = axes.ravel()
    values = np.asarray(atoms.arrays.get("relaxation", np.full((len(atoms), 3), np.nan)), dtype=float)
    length = np.linalg.norm(values, axis=1)
    matched = np.isfinite(length)
    if not matched.any():
        style.no_data(histogram, "no atom in common")
        style.no_data(arrows, "")
        return axes
    _relaxation_histogram(histogram, length[matched], np.asarray(atoms.symbols)[matched], comparison)
    # the slab goes through what was relaxed, which may be a small part of the particle
    _arrows(arrows, atoms.positions[matched], values[matched], 4.0)
    return axes


def _relaxation_histogram(
    ax: Axes, length: NDArray[np.float64], symbols: NDArray[np.str_], comparison: Comparison
) -> None:
    """Draw the histograms of the lengths by species, the RMSD, and the error of the measurement."""
    n_bins = min(_BINS, max(8, int(len(length) ** 0.5)))
    edges = np.linspace(0.0, 1.02 * float(length.max()) or 1.0, n_bins + 1).tolist()
    for symbol in np.unique(symbols):
        own = length[symbols == symbol]
        label = f"{symbol}, n = {own.size:,}, rms {1e2 * float(np.sqrt((own**2).mean())):.1f} pm"
        ax.hist(own, edges, histtype="step", color=style.species_color(str(symbol)), linewidth=1.3, label=label)
    sigma = comparison.measurement_sigma
    if sigma is not None:
        ax.axvspan(0.0, sigma, color=style.MUTED, alpha=0.2, linewidth=0, label="error of the measurement")
    ax.axvline(comparison.rmsd, color=style.INK, linestyle="--", linewidth=0.8)
    ax.set(xlabel="|relaxed − measured| (Å)", ylabel="atoms")
    ax.set_ylim(top=1.3 * ax.get_ylim()[1])
    ax.set_title(f"RMSD {1e2 * comparison.rmsd:.1f} pm, n = {comparison.n:,}")
    ax.legend(loc="upper right")


def _histogram_by_axis(ax: Axes, values: NDArray[np.float64], label: str) -> None:
    """Draw the histograms of x, y, z with their rms."""
    finite = values[np.isfinite(values).all(axis=1)]
    if not len(finite):
        style.no_data(ax, "no displacement")
        return
    reach = max(float(np.percentile(np.abs(finite), 99.5)), 1e-6)
    edges = np.linspace(-reach, reach, _BINS + 1)
    for axis, color in enumerate(AXIS_COLORS):
        rms = float(np.sqrt((finite[:, axis] ** 2).mean()))
        ax.hist(
            finite[:, axis],
            edges.tolist(),
            histtype="step",
            color=color,
            linewidth=1.2,
            label=f"{'xyz'[axis]}, rms {1e2 * rms:.1f} pm",
        )
    ax.axvline(0.0, color=style.MUTED, linewidth=0.8)
    rms = float(np.sqrt((finite**2).sum(axis=1).mean()))
    ax.legend(loc="upper left", title=f"3D rms {1e2 * rms:.1f} pm", title_fontsize=7, alignment="left")
    ax.set(xlabel=label, ylabel="atoms", xlim=(-reach, reach))
    ax.set_ylim(top=1.42 * ax.get_ylim()[1])


def _arrows(ax: Axes, positions: NDArray[np.float64], values: NDArray[np.float64], thickness: float) -> None:
    """Draw the in-plane part of the vectors in a slab normal to z through the center, colored by their whole length."""
    inside = np.isfinite(values).all(axis=1)
    inside &= np.abs(positions[:, 2] - np.median(positions[:, 2])) <= 0.5 * thickness
    found = np.flatnonzero(inside)
    if not found.size:
        style.no_data(ax, "no atom in the slab")
        return
    drawn = found[style.sample(len(found), limit=_MAX_ARROWS)]
    length = np.linalg.norm(values[found], axis=1)
    norm = Normalize(0.0, max(float(np.percentile(length, 98)), 1e-9))
    # arrows are long enough to see when a typical one spans about one neighbor distance
    magnify = 2.7 / max(float(np.percentile(length, 90)), 1e-9)
    ax.quiver(
        positions[drawn, 0],
        positions[drawn, 1],
        values[drawn, 0],
        values[drawn, 1],
        np.linalg.norm(values[drawn], axis=1),
        cmap=style.SEQUENTIAL,
        norm=norm,
        angles="xy",
        scale_units="xy",
        scale=1.0 / magnify,
        width=0.0035,
        headwidth=3.5,
        headlength=4,
        headaxislength=3.5,
        minlength=0.5,
        rasterized=len(drawn) > 500,
    )
    ax.plot(
        positions[drawn, 0],
        positions[drawn, 1],
        ".",
        color=style.MUTED,
        markersize=1.2,
        zorder=1,
        rasterized=len(drawn) > 500,
    )
    style.bare(ax)
    ax.margins(0.16)
    style.scale_bar(ax)
    style.colorbar(ax, "length (Å)", norm)
    note = style.sampled_note(len(drawn), len(found))
    ax.set_title(f"slab of {thickness:.1f} Å normal to z, arrows × {magnify:.0f}{note}", fontsize=7)


@style.styled
def plot_strain(atoms: Atoms, summary: StrainSummary, *, thickness: float = 4.0, ax: Panels | None = None) -> Panels:
    """Six strain components: maps in a central slab over histograms of core and surface.

    Parameters
    ----------
    atoms : Atoms
        Model with the array ``strain``; ``is_surface`` parts core from surface.
    summary : StrainSummary
        Its record, which knows the window and the noise.
    thickness : float
        Thickness of the slab, Å.
    ax : (4, 3) array of Axes, optional
        Where to draw; default: a new figure.

    Notes
    -----
    Shear is the tensor component. The shaded band in the histograms is the rms error that noise of the positions gives.
    """
    require(atoms, "strain")
    strain = 1e2 * np.asarray(atoms.arrays["strain"], dtype=float)
    surface = np.asarray(atoms.arrays.get("is_surface", np.zeros(len(atoms), dtype=bool)), dtype=bool)
    axes = style.panels(ax, 4, 3, height=7.6, gridspec_kw={"height_ratios": [1.75, 1, 1.75, 1]})
    limit = style.symmetric_limit(strain)
    center = np.median(atoms.positions[:, 2]) if len(atoms) else 0.0
    slab = np.flatnonzero(np.abs(atoms.positions[:, 2] - center) <= 0.5 * thickness)
    for k, name in enumerate(style.COMPONENTS):
        row, column = 2 * (k // 3), k % 3
        _strain_map(axes[row, column], atoms.positions[slab], strain[slab, k], limit)
        axes[row, column].set_title(f"ε$_{{{name}}}$")
        _strain_histogram(axes[row + 1, column], strain[:, k], surface, 1e2 * float(summary.floor[k]), limit)
        axes[row + 1, column].set_xlabel(f"ε$_{{{name}}}$ (%)")
    for row in (1, 3):
        axes[row, 0].set_ylabel("share of atoms")
    handles, labels = axes[1, 0].get_legend_handles_labels()
    style.figure_of(axes[0, 0]).legend(handles, labels, loc="outside upper left", ncols=3)
    style.scale_bar(axes[0, 0])
    maps = [panel for row in (0, 2) for panel in axes[row]]
    style.colorbar(
        maps, "strain (%)", Normalize(-limit, limit), style.DIVERGING, aspect=45, fraction=0.02, extend="both"
    )
    return axes


def _strain_map(ax: Axes, positions: NDArray[np.float64], values: NDArray[np.float64], limit: float) -> None:
    finite = np.isfinite(values)
    if not finite.any():
        style.no_data(ax, "no strain")
        return
    shown = np.flatnonzero(finite)[style.sample(int(finite.sum()))]
    low, high = positions[shown, :2].min(axis=0) - _HALF_DISK, positions[shown, :2].max(axis=0) + _HALF_DISK
    ax.scatter(
        positions[shown, 0], positions[shown, 1], c=values[shown], cmap=style.DIVERGING, norm=Normalize(-limit, limit),
        s=(330.0 / float((high - low).max())) ** 2, linewidths=0, rasterized=True,
    )  # fmt: skip
    style.bare(ax)
    ax.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]))


def _strain_histogram(
    ax: Axes, values: NDArray[np.float64], surface: NDArray[np.bool_], floor: float, limit: float
) -> None:
    edges = np.linspace(-1.25 * limit, 1.25 * limit, _BINS + 1)
    for where, color, name in ((~surface, CORE_COLOR, "core"), (surface, SURFACE_COLOR, "surface")):
        own = values[where & np.isfinite(values)]
        if own.size:
            ax.hist(
                own,
                edges.tolist(),
                weights=np.full(own.size, 1.0 / own.size),
                histtype="step",
                color=color,
                label=f"{name}, n = {own.size:,}",
            )
    if np.isfinite(floor):
        ax.axvspan(-floor, floor, color=style.MUTED, alpha=0.25, linewidth=0, label="noise of the positions")
        ax.annotate(
            f"noise\n± {floor:.2f} %" if floor >= 0.005 else f"noise\n± {floor:.1g} %",
            (0.97, 0.93),
            xycoords="axes fraction",
            ha="right",
            va="top",
            fontsize=6.5,
        )
    ax.axvline(0.0, color=style.MUTED, linewidth=0.8)
    ax.set(xlim=(edges[0], edges[-1]))
    ax.set_ylim(bottom=0.0)
