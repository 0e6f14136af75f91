"""The picture of measured and calculated images that the sections about volume and atoms share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aet2dft.html_report.figures import picture
from aet2dft.html_report.parts import Picture
from aet2dft.recon.tilt_series import TiltSeries

_SAME_R = 0.1
"""Relative difference of R factors up to which calculated images are those that were fitted."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Residuals:
    """How well each image is explained, and three of them beside those of the model."""

    series: TiltSeries
    """All images."""
    r_factor: NDArray[np.float64]
    """(n,): of every image, as the record says."""
    noise: NDArray[np.float64] | None
    """(n,): that noise alone gives; None where that is not known."""
    measured: NDArray[np.float32]
    """(3, nx, ny): the best, median and worst image, as they were fitted, without their backgrounds."""
    calculated: NDArray[np.float32]
    """(3, nx, ny): those of the model."""
    held_out: NDArray[np.intp] | None = None
    """(m,): images that were not fitted until the last steps."""

    @property
    def is_of_the_fit(self) -> bool:
        """Whether the calculated images have the R factors of the record.

        They have not where more was fitted than the project keeps: the matter beside the images of an extended object.
        """
        from aet2dft.plot.tilt_images import typical_images

        total = np.abs(self.measured).sum(axis=(1, 2))
        found = np.abs(self.measured - self.calculated).sum(axis=(1, 2)) / np.where(total > 0, total, 1.0)
        return bool(np.allclose(found, self.r_factor[typical_images(self.r_factor)], rtol=_SAME_R))


def residual_picture(residuals: Residuals, *, name: str, caption: str, look_for: str) -> Picture:
    """Draw the R factors, and the images beside them where they are those that were fitted."""
    from aet2dft.plot.tilt_images import plot_image_residuals, plot_r_factors

    tilts, r_factor = residuals.series.tilt_angles, residuals.r_factor
    noise, held_out = residuals.noise, residuals.held_out
    if not residuals.is_of_the_fit:
        axes = plot_r_factors(tilts, r_factor, noise=noise, held_out=held_out)
        return picture(axes, name=name, alt="R factor of every image against its tilt.", caption=caption)
    return picture(
        plot_image_residuals(
            tilts, r_factor, residuals.measured, residuals.calculated, pixel_size=residuals.series.pixel_size,
            noise=noise, held_out=held_out,
        ),
        name=name,
        alt="R factor of every image, and measured and calculated images with their difference.",
        caption=f"{caption} Beside it the best, median and worst image (b, m, w). {look_for}",
    )  # fmt: skip
