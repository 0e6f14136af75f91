"""Slices through a volume, with the atoms that lie in them."""

from __future__ import annotations

import math

import numpy as np
from ase import Atoms
from matplotlib.axes import Axes
from matplotlib.collections import EllipseCollection
from matplotlib.colors import Normalize
from matplotlib.lines import Line2D
from numpy.typing import ArrayLike, NDArray

from aet2dft.plot import style
from aet2dft.plot.style import Panels
from aet2dft.recon.tilt_series import Volume

_PLANES = ((0, 1), (0, 2), (1, 2))
"""Axes of the panels: across and up."""
_RING = 1.2
"""Å: diameter of the ring around an atom."""
_FAINT = 0.05
"""Density, as a fraction of the highest, below which the surroundings of a particle are cut off."""
_MARGIN = 2.0
"""Å around that."""
_NEAR_MIDDLE = 1.5
"""Å from the middle of the object within which a slice is looked for."""


@style.styled
def plot_slices(
    volume: Volume,
    atoms: Atoms | None = None,
    *,
    at: ArrayLike | None = None,
    reach: float = 0.7,
    smoothing: float = 0.3,
    ax: Panels | None = None,
) -> Panels:
    """Three orthogonal slices of a volume, with the atoms in them as rings.

    Parameters
    ----------
    volume : Volume
        Density.
    atoms : Atoms, optional
        In the frame of the volume; species X as well.
    at : array_like, shape (3,), optional
        Å: point that the slices go through; default: those within 1.5 Å of the middle of the object that most atoms
        lie in, the brightest where there are none: halfway between two layers of a crystal there is little to see.
    reach : float
        Å: atoms this near to a slice are drawn.
    smoothing : float
        Å: standard deviation of the Gaussian that smooths the density; the default is that of `trace`.
    ax : array of 3 Axes, optional
        Where to draw; default: a new figure.
    """
    low, high = _window(volume)
    point = _fullest(volume, atoms, reach / 2, low, high) if at is None else np.asarray(at, dtype=np.float64)
    planes = [_plane(volume, point, (low, high), normal, smoothing) for normal in (2, 1, 0)]
    spans = [float(high[across] - low[across]) for across, _ in _PLANES]
    height = max(float(high[up] - low[up]) for _, up in _PLANES) / sum(spans) * 0.86 * style.PAGE + 0.7
    axes = style.panels(ax, 1, 3, height=min(height, 4.5), gridspec_kw={"width_ratios": spans})
    brightest = max(float(np.percentile(plane, 99.8)) for plane in planes)
    norm = Normalize(0.0, brightest if brightest > 0 else 1.0)
    for panel, plane, (across, up) in zip(axes.ravel(), planes, _PLANES, strict=True):
        _draw(panel, volume, plane, norm, (low, high), (across, up))
        normal = 3 - across - up
        shown = 0 if atoms is None else _rings(panel, atoms, point, reach, (across, up))
        note = "" if atoms is None else f"\n{shown:,} atoms within ±{reach:g} Å"
        panel.set_title(f"{'xyz'[normal]} = {style.signed(point[normal])} Å{note}", fontsize=7)
    style.scale_bar(axes.flat[0])
    style.colorbar(list(axes.ravel()), "density (arbitrary units)", norm, "gray", fraction=0.03, extend="both")
    if atoms is not None and len(atoms):
        _legend(axes.flat[0], atoms)
    return axes


def _window(volume: Volume) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """First and last index (3,) of the voxels around the object."""
    bright = volume.values > _FAINT * volume.values.max()
    margin = round(_MARGIN / volume.voxel_size)
    low, high = np.zeros(3, dtype=np.intp), np.array(volume.values.shape) - 1
    for axis in range(3):
        found = np.flatnonzero(bright.any(axis=tuple(k for k in range(3) if k != axis)))
        if found.size:
            low[axis], high[axis] = max(0, found[0] - margin), min(high[axis], found[-1] + margin)
    return low, high


def _fullest(
    volume: Volume, atoms: Atoms | None, near: float, low: NDArray[np.intp], high: NDArray[np.intp]
) -> NDArray[np.float64]:
    """Å (3,): place of the slices near the middle of the object with most atoms within `near`; then the brightest."""
    middle, reach = (low + high) // 2, int(_NEAR_MIDDLE / volume.voxel_size)
    found = []
    for axis in range(3):
        planes = np.arange(max(low[axis], middle[axis] - reach), min(high[axis], middle[axis] + reach) + 1)
        slabs = np.moveaxis(volume.values, axis, 0)[planes[0] : planes[-1] + 1]
        places = volume.positions(np.repeat(planes[:, None], 3, axis=1))[:, axis]
        heights = np.zeros(0) if atoms is None else atoms.positions[:, axis]
        held = (np.abs(heights - places[:, None]) <= near).sum(axis=1)
        found.append(planes[np.lexsort((np.square(slabs).sum(axis=(1, 2)), held))[-1]])
    return volume.positions(found)


def _plane(
    volume: Volume,
    point: NDArray[np.float64],
    window: tuple[NDArray[np.intp], NDArray[np.intp]],
    normal: int,
    smoothing: float,
) -> NDArray[np.float32]:
    """Voxels of a slice of the smoothed volume: first axis across, second up."""
    from scipy.ndimage import gaussian_filter

    sigma = smoothing / volume.voxel_size
    index = int(np.clip(np.rint(volume.indices(point)[normal]), 0, volume.values.shape[normal] - 1))
    start = max(0, index - math.ceil(4 * sigma))
    part = [slice(a, b + 1) for a, b in zip(window[0].tolist(), window[1].tolist(), strict=True)]
    part[normal] = slice(start, index + math.ceil(4 * sigma) + 1)
    slab = volume.values[tuple(part)]
    smooth = gaussian_filter(slab, sigma, mode="nearest") if sigma > 0 else slab
    return np.asarray(smooth.take(index - start, axis=normal))


def _draw(
    ax: Axes,
    volume: Volume,
    plane: NDArray[np.float32],
    norm: Normalize,
    window: tuple[NDArray[np.intp], NDArray[np.intp]],
    plane_axes: tuple[int, int],
) -> None:
    """Draw the picture of a slice, its axes named."""
    half = 0.5 * volume.voxel_size
    start, end = volume.positions(window[0]) - half, volume.positions(window[1]) + half
    across, up = plane_axes
    extent = (start[across], end[across], start[up], end[up])
    ax.imshow(plane.T, cmap="gray", norm=norm, origin="lower", extent=extent, interpolation="nearest")
    style.bare(ax)
    ax.set_xlabel(f"{'xyz'[across]} →", loc="right", labelpad=1)
    ax.set_ylabel(f"{'xyz'[up]} →", loc="top", labelpad=1)


def _rings(ax: Axes, atoms: Atoms, point: NDArray[np.float64], reach: float, plane_axes: tuple[int, int]) -> int:
    """Draw the atoms near the slice and give their number."""
    normal = 3 - sum(plane_axes)
    near = np.flatnonzero(np.abs(atoms.positions[:, normal] - point[normal]) <= reach)
    diameters = np.full(len(near), _RING)
    rings = EllipseCollection(
        diameters, diameters, np.zeros(len(near)), units="xy", facecolor="none", linewidth=0.7,
        offsets=atoms.positions[near][:, plane_axes], offset_transform=ax.transData, rasterized=len(near) > 500,
        edgecolor=[style.species_color(symbol) for symbol in np.asarray(atoms.symbols)[near]],
    )  # fmt: skip
    ax.add_collection(rings, autolim=False)
    return len(near)


def _legend(ax: Axes, atoms: Atoms) -> None:
    handles = [
        Line2D(
            [], [], marker="o", linestyle="", markerfacecolor="none", markeredgecolor=style.species_color(symbol),
            label="of unknown species" if symbol == "X" else symbol,
        )
        for symbol in style.species_of(atoms)
    ]  # fmt: skip
    style.figure_of(ax).legend(handles=handles, loc="outside upper right", ncols=len(handles), handletextpad=0.3)
