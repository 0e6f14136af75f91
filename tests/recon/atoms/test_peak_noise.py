"""Noise of peaks. Truth: smooth random fields, and Gaussian atoms in white noise."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from aet2dft.recon.atoms import _kernels_peaks as kernels
from aet2dft.recon.atoms.overlaps import separated
from aet2dft.recon.atoms.peak_noise import noise_maxima, noise_of, unexplained


def test_the_expected_number_of_maxima_is_that_of_smooth_noise():
    """Truth: maxima of a smoothed field of white noise, counted."""
    field = gaussian_filter(np.random.default_rng(0).standard_normal((120,) * 3), 1.8, mode="wrap", truncate=5)
    field /= field.std()
    counted = [len(kernels.local_maxima(field.astype(np.float32), level)) for level in (2.5, 3.0, 3.5)]
    expected = noise_maxima(np.array([2.5, 3.0, 3.5]), 1.0, 1.8**2, field.size)
    assert np.all(np.abs(counted / expected - 1) < 0.3), (counted, expected)


def test_no_noise_makes_no_high_maxima():
    assert noise_maxima(np.array([1.0]), 0.0, 2.0, 10**6)[0] < 1e-9


@pytest.mark.parametrize("n", [4, 125])
def test_noise_is_that_of_the_convolved_volume(n):
    """Truth: white noise, convolved; of few atoms it is told by what lies between them, of many by their widths."""
    random, size, weight, sigma = np.random.default_rng(1), 80, 0.8, 0.05
    corners = np.stack(np.meshgrid(*[np.arange(8, 80, 16)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    places = corners[:n] + random.uniform(-0.5, 0.5, (n, 3))
    values = sigma * random.standard_normal((size,) * 3)
    axis = np.arange(size)
    for place in places:
        x, y, z = (np.exp(-0.5 * ((axis - c) / 1.4) ** 2) for c in place)
        values += x[:, None, None] * y[:, None] * z
    found = separated(values.astype(np.float32), places, weight)
    between = unexplained(values.astype(np.float32), found, weight)
    expected = sigma / (4 * np.pi * weight**2) ** 0.75
    assert noise_of(found, between, weight**2) == pytest.approx(expected, rel=0.25)
