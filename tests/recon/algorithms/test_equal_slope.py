"""Equal-slope tomography. Truth: sums written out; phantoms whose images are exact."""

from itertools import islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from aet2dft.errors import InputError
from aet2dft.recon.algorithms.equal_slope import PseudoPolar, equal_slopes, iterate
from aet2dft.recon.fourier.projector import project_volume
from aet2dft.recon.metrics import image_fit
from aet2dft.recon.tilt_series import TiltSeries


def equally_sloped(lines):
    """Degrees: tangents and cotangents in equal steps, the whole half turn."""
    flat = np.degrees(np.arctan((np.arange(-lines, lines) + 0.5) / lines))
    return np.sort((np.concatenate([flat, flat + 90]) + 90) % 180 - 90)


def images_of(volume, angles):
    empty = TiltSeries.from_angles(np.zeros((len(angles), *volume.shape[:2]), np.float32), angles, pixel_size=0.4)
    return TiltSeries.from_angles(project_volume(empty, volume), angles, pixel_size=0.4)


def disks(n, columns, seed=0):
    """Disks and atoms, other ones in every plane, well inside the box."""
    random = np.random.default_rng(seed)
    x, z = np.meshgrid(*[np.arange(n) - n // 2] * 2, indexing="ij")
    volume = np.zeros((n, columns, n), dtype=np.float32)
    for y in range(columns):
        for radius in (0.3, 0.12, 0.08):
            at = random.uniform(-0.12, 0.12, 2) * n
            distance = np.hypot(x - at[0], z - at[1]) - radius * n
            volume[:, y] += 1 / (1 + np.exp(np.clip(distance / 1.0, -50, 50)))
        for _ in range(30):
            at = random.uniform(-0.3, 0.3, 2) * n
            volume[:, y] += np.exp(-((x - at[0]) ** 2 + (z - at[1]) ** 2) / 4.5)
    return volume


@given(
    shape=st.tuples(st.integers(2, 14), st.integers(2, 14)),
    first=st.floats(-1, 0.5),
    count=st.integers(1, 12),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=15)
def test_the_pseudo_polar_transform_and_its_adjoint_are_the_direct_sums(shape, first, count, seed):
    random = np.random.default_rng(seed)
    size, step = 2 * max(shape) + 2 * (max(shape) % 2), (1 - first) / max(count, 2)
    transform = PseudoPolar(shape, size, first, step, count)
    x, z = (np.arange(n) - n // 2 for n in shape)
    k, slopes = np.arange(size // 2), first + step * np.arange(count)
    phase = k[:, None, None, None] * (x[:, None] - slopes[None, :, None, None] * z)
    waves = np.exp(-2j * np.pi * phase / size)
    plane = random.normal(size=shape)
    frequencies = random.normal(size=waves.shape[:2]) + 1j * random.normal(size=waves.shape[:2])
    expected = (waves * plane).sum(axis=(2, 3))
    back = (waves.conj() * frequencies[:, :, None, None]).sum(axis=(0, 1)).real
    assert_allclose(transform.forward(plane), expected, atol=1e-10 * np.abs(expected).max())
    assert_allclose(transform.adjoint(frequencies), back, atol=1e-10 * np.abs(back).max())
    here = (transform.forward(plane).conj() * frequencies).sum().real
    there = (plane * transform.adjoint(frequencies)).sum()
    assert here == pytest.approx(there, rel=1e-10, abs=1e-10 * np.linalg.norm(plane) * np.linalg.norm(frequencies))


@pytest.mark.parametrize("highest", [90, 70], ids=["half a turn", "with a missing wedge"])
def test_a_phantom_is_explained_to_a_thousandth_in_a_hundred_iterations(highest):
    volume = disks(128, 3)
    tilts = equally_sloped(32)
    series = images_of(volume, tilts[np.abs(tilts) < highest])
    values = next(islice(iterate(series, np.ones(volume.shape, bool)), 99, None)).values
    assert image_fit(series.projections, project_volume(series, values)).r_factor <= 1e-3
    likeness = np.corrcoef(values.ravel(), volume.ravel())[0, 1]
    assert likeness > (0.9999 if highest == 90 else 0.98)


def test_one_step_from_nothing_nearly_inverts_the_transform():
    volume = disks(64, 2)
    series = images_of(volume, equally_sloped(32))
    values = next(iterate(series, np.ones(volume.shape, bool), positivity=False)).values
    scale = (values * volume).sum() / (values**2).sum()
    assert np.linalg.norm(scale * values - volume) < 0.03 * np.linalg.norm(volume)


def test_ten_iterations_are_four_and_six():
    series, support = images_of(disks(24, 2), equally_sloped(8)), np.ones((24, 2, 24), bool)
    whole = next(islice(iterate(series, support), 9, None))
    memory = next(islice(iterate(series, support), 3, None)).memory
    assert_array_equal(next(islice(iterate(series, support, start=memory), 5, None)).values, whole.values)


def test_rotation_centers_and_gaps_are_allowed():
    volume = disks(48, 2)
    tilts = np.delete(equally_sloped(24), (5, 6, 30, 31, 32))
    empty = TiltSeries.from_angles(np.zeros((len(tilts), 48, 2), np.float32), tilts, pixel_size=0.4, center=(24.7, 1.0))
    series = TiltSeries.from_angles(project_volume(empty, volume), tilts, pixel_size=0.4, center=(24.7, 1.0))
    values = next(islice(iterate(series, np.ones(volume.shape, bool)), 59, None)).values
    assert np.corrcoef(values.ravel(), volume.ravel())[0, 1] > 0.995


def test_tilts_that_are_not_equally_sloped_are_refused_by_how_much():
    images = np.ones((21, 16, 2), np.float32)
    with pytest.raises(InputError, match=r"image \d+ at .* degrees is \d.\d\d degrees off \(0.72 allowed\).*lsq"):
        equal_slopes(TiltSeries.from_angles(images, np.linspace(-60, 60, 21), pixel_size=0.4))
    tilts = equally_sloped(8)
    nudged = tilts.copy()
    nudged[10] += 2
    images = np.ones((len(tilts), 16, 2), np.float32)
    with pytest.raises(InputError, match="image 10 "):
        equal_slopes(TiltSeries.from_angles(images, nudged, pixel_size=0.4))
    rounded = TiltSeries.from_angles(images, np.round(tilts, 1), pixel_size=0.4)
    assert [len(fan.images) for fan in equal_slopes(rounded)] == [16, 16]


def test_a_second_axis_is_refused():
    series = TiltSeries.from_angles(np.ones((4, 8, 2), np.float32), np.ones((4, 3)), pixel_size=0.4)
    with pytest.raises(InputError, match="est needs a single tilt axis"):
        equal_slopes(series)
