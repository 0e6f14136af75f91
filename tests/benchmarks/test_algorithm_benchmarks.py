"""The other reconstruction algorithms beside the default, and beside scikit-image's SART where that is installed.

All on the same planes: 96 x 96 voxels, 48 images about one axis. Each asserts its answer.
"""

from itertools import islice

import numpy as np
import pytest

from aet2dft.recon.algorithms import back_projection, equal_slope, extent, least_squares, sirt, total_variation
from aet2dft.recon.fourier.projector import project_volume
from aet2dft.recon.tilt_series import TiltSeries

pytestmark = pytest.mark.slow

N, COLUMNS, LINES = 96, 8, 12


@pytest.fixture(scope="module")
def case():
    """Planes of atoms and their exact images, equally sloped."""
    random = np.random.default_rng(0)
    x, z = np.meshgrid(*[np.arange(N) - N // 2] * 2, indexing="ij")
    volume = np.zeros((N, COLUMNS, N), dtype=np.float32)
    for y in range(COLUMNS):
        for at in random.uniform(-0.25 * N, 0.25 * N, (60, 2)):
            volume[:, y] += np.exp(-((x - at[0]) ** 2 + (z - at[1]) ** 2) / 4.5)
    flat = np.degrees(np.arctan((np.arange(-LINES, LINES) + 0.5) / LINES))
    tilts = np.sort((np.concatenate([flat, flat + 90]) + 90) % 180 - 90)
    empty = TiltSeries.from_angles(np.zeros((len(tilts), N, COLUMNS), np.float32), tilts, pixel_size=0.4)
    return volume, TiltSeries.from_angles(project_volume(empty, volume), tilts, pixel_size=0.4)


def likeness(values, volume):
    return np.corrcoef(values.ravel(), volume.ravel())[0, 1]


@pytest.mark.parametrize(
    ("begin", "iterations", "least"),
    [
        (least_squares.iterate, 30, 0.99),
        (extent.iterate, 30, 0.99),
        (sirt.iterate, 30, 0.95),
        (lambda *given: sirt.iterate(*given, one_by_one=True), 3, 0.97),
        (lambda *given: total_variation.iterate(*given, weight=1e-4), 30, 0.98),
        (equal_slope.iterate, 10, 0.99),
        (back_projection.iterate, 1, 0.9),
    ],
    ids=["lsq", "lsq extended", "sirt", "sart", "tv", "est", "fbp"],
)
def test_an_algorithm(benchmark, case, begin, iterations, least):
    volume, series = case
    support = np.ones(volume.shape, dtype=bool)
    state = benchmark(lambda: next(islice(begin(series, support), iterations - 1, None)))
    assert likeness(state.values, volume) > least


def test_sart_of_scikit_image(benchmark, case):
    transform = pytest.importorskip("skimage.transform")
    volume, series = case
    lines = [np.ascontiguousarray(series.projections[:, :, y].T, dtype=np.float64) for y in range(COLUMNS)]

    def run():
        planes = []
        for line in lines:
            plane = None
            for _ in range(3):
                plane = transform.iradon_sart(line, theta=series.tilt_angles, image=plane, clip=(0, np.inf))
            # its first axis is the second of ours
            planes.append(plane.T)
        return np.stack(planes, axis=1)

    assert likeness(benchmark(run), volume) > 0.99
