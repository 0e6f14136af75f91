"""Measured images beside those of a model, and how well each is explained."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from aet2dft.plot import style
from aet2dft.plot.style import Panels
from aet2dft.recon.atoms.concerns import bad_image_limit
from aet2dft.recon.metrics import format_r

_MAGNIFIED = 4
"""Differences are drawn this many times stronger than the images."""
HIGHEST = 1.5
"""R factor above which images are no worse: a model without atoms has 1."""
_LAYOUT = "rabc\nrdef\nrghi"
"""The R factors at the left, then a row per image: measured, calculated, difference."""


def typical_images(r_factor: NDArray[np.float64]) -> NDArray[np.intp]:
    """Images (3,) with the smallest, the median and the largest R factor (n,); none where that is NaN."""
    order = np.argsort(r_factor, kind="stable")[: np.isfinite(r_factor).sum()]
    return order[[0, len(order) // 2, -1]]


@style.styled
def plot_image_residuals(
    tilt_angles: NDArray[np.float64],
    r_factor: NDArray[np.float64],
    measured: NDArray[np.float32],
    calculated: NDArray[np.float32],
    *,
    pixel_size: float,
    noise: NDArray[np.float64] | None = None,
    held_out: NDArray[np.intp] | None = None,
    ax: Panels | None = None,
) -> Panels:
    """R factor of every image, and measured, calculated and difference for the best, median and worst.

    Parameters
    ----------
    tilt_angles, r_factor : ndarray, shape (n,)
        Of all images; degrees.
    measured, calculated : ndarray, shape (3, nx, ny)
        The images that `typical_images` names, in one unit.
    pixel_size : float
        Å.
    noise : ndarray, shape (n,), optional
        R factor that noise alone gives (`aet2dft.recon.images.noise.noise_r_factor`).
    held_out : ndarray, shape (m,), optional
        Images that were not fitted until the last steps.
    ax : array of 10 Axes, optional
        Where to draw: R factors, then the images row by row; default: a new figure.

    Notes
    -----
    Images above 1.5 times the median R factor, and above 0.05, are flagged: zone axes, drift, wrong angles. Crosses
    at the bottom: images whose R factor is NaN, since they do not show the atoms.
    """
    if ax is None:
        figure = style.new_figure(style.PAGE, 4.2)
        mosaic = figure.subplot_mosaic(_LAYOUT, width_ratios=(1.9, 1, 1, 1))
        ax = np.array([mosaic[name] for name in "rabcdefghi"])
    axes = style.panels(ax, 1, 10, height=4.2).ravel()
    which = typical_images(r_factor)
    plot_r_factors(tilt_angles, r_factor, noise=noise, held_out=held_out, ax=axes[0])
    for k, letter in zip(which, "bmw", strict=True):
        side = -1 if noise is not None and noise[k] > r_factor[k] else 1  # where the line of noise is not
        axes[0].annotate(
            letter, (tilt_angles[k], r_factor[k]), xytext=(0, 7 * side), textcoords="offset points", fontsize=6.5,
            ha="center", va="center", path_effects=[withStroke(linewidth=2.0, foreground=style.PAPER)],
        )  # fmt: skip
    names = ("best", "median", "worst")
    for row, (image, model) in enumerate(zip(measured, calculated, strict=True)):
        trio = axes[1 + 3 * row : 4 + 3 * row]
        _image_row(trio, image, model)
        k = int(which[row])
        trio[0].set_ylabel(
            f"{names[row]}: image {k}\n{style.signed(tilt_angles[k])}°, R {format_r(r_factor[k])}", fontsize=7
        )
    for panel, title in zip(axes[1:4], ("measured", "calculated", f"difference × {_MAGNIFIED}"), strict=True):
        panel.set_title(title)
    style.scale_bar(axes[7], unit=pixel_size)
    return axes


@style.styled
def plot_r_factors(
    tilt_angles: NDArray[np.float64],
    r_factor: NDArray[np.float64],
    *,
    noise: NDArray[np.float64] | None = None,
    held_out: NDArray[np.intp] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """R factor of every image against its tilt.

    Parameters
    ----------
    tilt_angles, r_factor : ndarray, shape (n,)
        Of all images; degrees.
    noise : ndarray, shape (n,), optional
        R factor that noise alone gives (`aet2dft.recon.images.noise.noise_r_factor`).
    held_out : ndarray, shape (m,), optional
        Images that were not fitted until the last steps.
    ax : Axes, optional
        Where to draw; default: a new figure.

    Notes
    -----
    Images above 1.5 times the median R factor, and above 0.05, are flagged: zone axes, drift, wrong angles. Crosses
    at the bottom: images whose R factor is NaN, since they do not show the atoms. A blank image may have any R factor:
    those above `HIGHEST` are drawn there, and the axis says so.
    """
    ax = style.single(ax)
    order, shown = np.argsort(tilt_angles, kind="stable"), np.isfinite(r_factor)
    order = order[shown[order]]
    limit = bad_image_limit(r_factor)
    bad, is_higher = r_factor > limit, bool((r_factor[shown] > HIGHEST).any())
    r_factor = np.minimum(r_factor, HIGHEST)
    ax.plot(tilt_angles[order], r_factor[order], "-", color=style.MUTED, linewidth=0.6)
    ax.plot(tilt_angles[shown & ~bad], r_factor[shown & ~bad], "o", color=style.BLUE, markersize=3, label="image")
    if bad.any():
        ax.plot(tilt_angles[bad], r_factor[bad], "X", color=style.VERMILION, markersize=5, label=f"above {limit:.2g}")
    if held_out is not None and held_out.size:
        ax.plot(
            tilt_angles[held_out], r_factor[held_out], "o", markerfacecolor="none", markeredgecolor=style.ORANGE,
            markersize=7, label="held out before",
        )  # fmt: skip
    if not shown.all():
        ax.plot(
            tilt_angles[~shown], np.full((~shown).sum(), 0.03), "x", color=style.MUTED, markersize=4,
            transform=ax.get_xaxis_transform(), label="does not show the atoms",
        )  # fmt: skip
    if noise is not None:
        ax.plot(
            tilt_angles[order],
            np.minimum(noise[order], HIGHEST),
            "--",
            color=style.INK,
            linewidth=0.8,
            label="noise alone, about",
        )
    ax.set(xlabel="tilt (degrees)", ylabel=f"R factor, or {HIGHEST:g} if higher" if is_higher else "R factor")
    low, high = ax.get_ylim()
    ax.set_ylim(low - 0.05 * (high - low), high + 0.3 * (high - low))
    ax.legend(loc="upper right", ncols=2, fontsize=6.5)
    return ax


def _image_row(axes: Panels, measured: NDArray[np.float32], calculated: NDArray[np.float32]) -> None:
    """Draw three pictures; the first two share one gray scale, the third is centered at zero."""
    low, high = (float(v) for v in np.percentile(measured, (1, 99.8)))
    span = high - low or 1.0
    gray, signed = Normalize(low, low + span), Normalize(-span / _MAGNIFIED, span / _MAGNIFIED)
    pictures = ((measured, "gray", gray), (calculated, "gray", gray), (measured - calculated, style.DIVERGING, signed))
    for panel, (picture, colors, norm) in zip(axes, pictures, strict=True):
        panel.imshow(picture.T, cmap=colors, norm=norm, origin="lower", interpolation="nearest")
        style.bare(panel)
