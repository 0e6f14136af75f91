"""Candidates told apart by their brightness, and models of atoms compared one to one."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from matplotlib.axes import Axes
from numpy.typing import NDArray

from aet2dft.plot import style
from aet2dft.plot.style import Panels
from aet2dft.recon.atoms.assignments import class_names
from aet2dft.recon.atoms.classification import Classification
from aet2dft.recon.verification.depth import DepthProfile
from aet2dft.recon.verification.round_trip import Verification

_BINS = 80
_ABOVE_TICKS = 0.055
"""Height in a panel at which a text does not touch the ticks."""
_COLUMNS, _ROW = 2, 0.09
"""Columns of the legend of the classes, and height of its rows in the panel."""
_NON_ATOM = style.MUTED
_NUMBERED = (style.VERMILION, style.BLUE, style.GREEN, style.PURPLE, style.SKY)
"""Colors of populations that nobody has given an element."""


@style.styled
def plot_intensity_histogram(atoms: Atoms, result: Classification, *, ax: Axes | None = None) -> Axes:
    """Intensities of candidates by class, the populations that were fitted, and the boundaries between them.

    Parameters
    ----------
    atoms : Atoms
        The atoms that `classify` left.
    result : Classification
        Its record.
    ax : Axes, optional
        Where to draw; default: a new figure.

    Notes
    -----
    A boundary is where two neighboring populations are equally dense, weights included. The misassignment that is
    named is the mean of 1 - `species_confidence`.
    """
    ax = style.single(ax, width=style.PAGE, height=2.7)
    everything = np.concatenate([result.rejected.intensities, result.intensities])
    if not everything.size:
        return style.no_data(ax, "no candidate")
    low, high = np.percentile(everything, (0.1, 99.9))
    edges = np.linspace(low, high if high > low else low + 1.0, _BINS + 1)
    rejected = result.rejected.intensities
    if result.has_non_atoms:
        _class_histogram(ax, np.clip(rejected, low, high), edges, f"no atom, n = {rejected.size:,}", _NON_ATOM)
    for k, (species, name) in enumerate(zip(result.species, class_names(result.species), strict=True), start=1):
        own = result.intensities[atoms.get_tags() == k]
        _class_histogram(ax, np.clip(own, low, high), edges, f"{name}, n = {own.size:,}", _color(species, k))
    _populations(ax, result, edges, len(everything))
    n_classes = len(result.species) + result.has_non_atoms
    free = 1.0 - _ROW * -(-n_classes // _COLUMNS) - 0.02  # below the legend
    for boundary in boundaries(result):
        ax.axvline(boundary, ymax=free, color=style.INK, linestyle="--", linewidth=0.8)
        at, where = (boundary, free), ax.get_xaxis_transform()
        ax.annotate(
            f"{boundary:.3g}", at, xycoords=where, xytext=(3, 0), textcoords="offset points", va="top", fontsize=6.5
        )
    what = {
        "height": "height fitted to the images",
        "profile": "brightness along the average profiles",
        "intensity": "sum of the volume in a sphere",
    }
    ax.set(xlabel=f"{what.get(result.method, result.method)} (arbitrary units)", ylabel="candidates")
    error = 1e2 * (1.0 - result.mean_confidence)
    share = f"{error:.2f}" if error >= 0.005 else "under 0.01"
    estimated = "as estimated" if result.n_rejected else "if all of them are atoms"
    ax.set_title(f"{len(atoms):,} atoms, {result.n_rejected:,} are none; {share} % misassigned, {estimated}")
    ax.set_ylim(top=ax.get_ylim()[1] / (free - 0.06))
    ax.legend(loc="upper right", ncols=_COLUMNS)
    return ax


def _color(species: str, number: int) -> str:
    return _NUMBERED[(number - 1) % len(_NUMBERED)] if species == "X" else style.species_color(species)


def _class_histogram(ax: Axes, values: NDArray[np.float64], edges: NDArray[np.float64], label: str, color: str) -> None:
    ax.hist(values, edges.tolist(), histtype="stepfilled", color=color, alpha=0.3, linewidth=0)
    ax.hist(values, edges.tolist(), histtype="step", color=color, linewidth=1.0, label=label)


def _populations(ax: Axes, result: Classification, edges: NDArray[np.float64], n: int) -> None:
    """Draw the density of every population."""
    fine = np.linspace(edges[0], edges[-1], 2000)
    deviation = (fine[:, None] - result.means) / result.sigmas
    density = result.weights / (np.sqrt(2.0 * np.pi) * result.sigmas) * np.exp(-0.5 * deviation**2)
    counts = n * (edges[1] - edges[0]) * density
    ax.plot(fine, counts, color=style.INK, linewidth=0.7)


def boundaries(result: Classification) -> NDArray[np.float64]:
    """Intensities (k - 1,) between the means of neighboring populations at which both are equally dense."""
    found = []
    for k in range(len(result.means) - 1):
        between = np.linspace(result.means[k], result.means[k + 1], 2001)
        deviation = (between[:, None] - result.means[k : k + 2]) / result.sigmas[k : k + 2]
        logs = np.log(result.weights[k : k + 2] / result.sigmas[k : k + 2]) - 0.5 * deviation**2
        found.append(between[np.argmax(logs[:, 1] >= logs[:, 0])])
    return np.array(found)


@style.styled
def plot_verification(atoms: Atoms, result: Verification, *, ax: Panels | None = None) -> Panels:
    """Errors of matched atoms by species, and what is found and how well against the depth below the surface.

    Parameters
    ----------
    atoms : Atoms
        What was compared with the reference: the atoms that `verify` left.
    result : Verification
        Its record.
    ax : array of 3 Axes, optional
        Where to draw; default: a new figure.
    """
    axes = style.panels(ax, 1, 3, height=2.6, gridspec_kw={"width_ratios": [1.3, 1, 1]})
    errors, found, rmsd = axes.ravel()
    if not len(result.match.pairs):
        style.no_data(errors, "no atom matches")
    else:
        _errors(errors, atoms, result)
    _found_by_depth(found, result.profile)
    _rmsd_by_depth(rmsd, result.profile)
    return axes


def _errors(ax: Axes, atoms: Atoms, result: Verification) -> None:
    """Draw the lengths of the differences, a curve per species, and the rmsd."""
    match = result.match
    length = 1e2 * np.linalg.norm(match.differences, axis=1)
    symbols = np.asarray(atoms.symbols)[match.pairs[:, 0]]
    n_bins = min(60, max(10, int(len(length) ** 0.5)))
    edges = np.linspace(0.0, max(float(np.percentile(length, 99.5)), 1e-3), n_bins + 1)
    for symbol in np.unique(symbols):
        own = length[symbols == symbol]
        label = f"found as {symbol}, n = {own.size:,}"
        color = style.species_color(str(symbol))
        ax.hist(np.minimum(own, edges[-1]), edges.tolist(), histtype="step", color=color, linewidth=1.2, label=label)
    ax.axvline(1e2 * match.rmsd, color=style.INK, linestyle="--", linewidth=0.8)
    n_beyond = int((length > edges[-1]).sum())
    beyond = f"\nfarther, in the last bin: {n_beyond:,}" if n_beyond else ""
    ax.set(xlabel=f"distance to the reference (pm){beyond}", ylabel="atoms", xlim=(0.0, edges[-1]))
    ax.set_title(f"rmsd {1e2 * match.rmsd:.1f} pm, n = {len(length):,}")
    ax.set_ylim(top=1.35 * ax.get_ylim()[1])
    # the line of the rmsd may run behind it
    ax.legend(loc="upper right", fontsize=6.5, frameon=True, facecolor=style.PAPER, edgecolor="none", framealpha=1.0)


def _found_by_depth(ax: Axes, profile: DepthProfile) -> None:
    """Draw the fraction identified with the error of a proportion, and the number of atoms of each layer."""
    n = np.maximum(profile.n_atoms, 1)
    # Agresti and Coull: no error of zero where all atoms were found
    middle = (profile.fraction_identified * n + 2.0) / (n + 4.0)
    half = np.sqrt(middle * (1.0 - middle) / (n + 4.0))
    below = np.maximum(profile.fraction_identified - (middle - half), 0.0)
    above = np.clip(middle + half - profile.fraction_identified, 0.0, 1.0 - profile.fraction_identified)
    ax.errorbar(
        profile.depth, 1e2 * profile.fraction_identified, yerr=1e2 * np.array([below, above]), fmt="o-",
        color=style.BLUE, markersize=3, linewidth=0.8, elinewidth=0.8, capsize=1.5,
    )  # fmt: skip
    ax.axhline(100.0, color=style.MUTED, linewidth=0.8)
    for depth, count in zip(profile.depth, profile.n_atoms, strict=True):
        ax.text(
            depth, _ABOVE_TICKS, f"{count:,}", transform=ax.get_xaxis_transform(), ha="center", fontsize=6, rotation=90
        )
    ax.set(xlabel="depth below the hull (Å)", ylabel="identified (%)")
    lowest = min(90.0, 1e2 * float((profile.fraction_identified - below).min()))
    ax.margins(x=0.12)
    # room for the numbers under all points
    ax.set_ylim(bottom=lowest - 0.35 * (100.0 - lowest), top=100.0 + 0.08 * (100.0 - lowest))
    ax.set_title("found; below: atoms", fontsize=7)


def _rmsd_by_depth(ax: Axes, profile: DepthProfile) -> None:
    known = np.isfinite(profile.rmsd)
    ax.plot(profile.depth[known], 1e2 * profile.rmsd[known], "o-", color=style.BLUE, markersize=3, linewidth=0.8)
    ax.set(xlabel="depth below the hull (Å)", ylabel="rmsd (pm)")
    ax.set_ylim(bottom=0.0, top=None if not known.any() else 1.12e2 * float(profile.rmsd[known].max()) + 1e-3)
