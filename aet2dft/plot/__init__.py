"""Figures of the field, one function each: data in, Axes out; nothing is shown, saved or left behind in matplotlib.

The page that collects them lives in `aet2dft.html_report`.
"""

from __future__ import annotations

from aet2dft.plot.anisotropy import plot_anisotropy, plot_anisotropy_map, plot_easy_axes, plot_nested
from aet2dft.plot.convergence import plot_convergence, plot_coverage, plot_fsc, plot_refinement
from aet2dft.plot.fields import plot_displacements, plot_relaxation, plot_strain
from aet2dft.plot.grains import plot_depth_profiles, plot_grains, plot_recipes
from aet2dft.plot.jobs import plot_jobs
from aet2dft.plot.layers import plot_lattice_slices
from aet2dft.plot.matches import plot_intensity_histogram, plot_verification
from aet2dft.plot.short_range_order import plot_short_range_order
from aet2dft.plot.slices import plot_slices
from aet2dft.plot.tilt_images import plot_image_residuals, plot_r_factors

__all__ = [
    "plot_anisotropy",
    "plot_anisotropy_map",
    "plot_convergence",
    "plot_coverage",
    "plot_depth_profiles",
    "plot_displacements",
    "plot_easy_axes",
    "plot_fsc",
    "plot_grains",
    "plot_image_residuals",
    "plot_intensity_histogram",
    "plot_jobs",
    "plot_lattice_slices",
    "plot_nested",
    "plot_r_factors",
    "plot_recipes",
    "plot_refinement",
    "plot_relaxation",
    "plot_short_range_order",
    "plot_slices",
    "plot_strain",
    "plot_verification",
]
