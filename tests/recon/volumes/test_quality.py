"""What a series measures. Truth: geometry that can be counted by hand."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from aet2dft.recon.tilt_series import TiltSeries
from aet2dft.recon.volumes.quality import coverage


def series_at(angles):
    return TiltSeries.from_angles(np.zeros((len(angles), 4, 4), dtype=np.float32), angles, pixel_size=0.5)


def test_images_all_around_measure_everything_and_a_range_leaves_a_wedge():
    everything = coverage(series_at(np.arange(-90, 90, 0.5)), 64)
    assert everything.completeness.min() == 1
    assert everything.missing_fraction == 0
    part = coverage(series_at(np.arange(-60, 60.1, 0.5)), 64)
    # beyond the central shells a third of all directions is missing
    assert part.completeness[-1] == pytest.approx(2 / 3, abs=0.03)
    assert part.frequency[-1] == pytest.approx(1 / (2 * 0.5))


def test_few_images_leave_gaps_that_widen_outward():
    few = coverage(series_at(np.arange(-90, 90, 6)), 64)
    assert (np.diff(few.completeness) <= 0).all()
    # 30 planes one reciprocal voxel thick, each of area 2 pi q in a sphere of 4 pi q^2
    assert few.completeness[-1] == pytest.approx(30 / (2 * 32), rel=0.15)


def test_the_map_shows_the_planes_of_the_images():
    one = coverage(series_at(np.array([0.0])), 64).n_near
    expected = np.zeros((65, 65), dtype=int)
    expected[:, 32] = 1
    assert_array_equal(one, expected)
