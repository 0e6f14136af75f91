"""Objects larger than the images. Truth: films whose images are exact; images cut from wider ones."""

from itertools import islice

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from aet2dft.config import ReconstructSettings
from aet2dft.errors import InputError
from aet2dft.recon.algorithms import extent, least_squares
from aet2dft.recon.fourier.projector import plane_order, project_volume, projector
from aet2dft.recon.metrics import image_fit
from aet2dft.recon.tilt_series import TiltSeries
from aet2dft.recon.volumes.reconstruction import reconstruct

N, COLUMNS, DEPTH = 32, 6, 16
TILTS = np.linspace(-60, 60, 17)
EULER = np.column_stack([0.5 * np.sin(TILTS), TILTS, 0.5 * np.cos(TILTS)])


def film(rows=96, seed=0):
    """Atoms everywhere in a slab, more than the images show."""
    random = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in (rows, COLUMNS, DEPTH)), indexing="ij"), axis=-1)
    atoms = random.uniform((0, 1, 2), (rows, COLUMNS - 1, DEPTH - 2), (rows // 2, 3))
    return sum(np.exp(-((grid - at) ** 2).sum(axis=-1) / 3) for at in atoms).astype(np.float32)


def images_of(volume, angles=TILTS, rows=N):
    empty = TiltSeries.from_angles(np.zeros((len(angles), rows, COLUMNS), np.float32), angles, pixel_size=0.4)
    return TiltSeries.from_angles(project_volume(empty, volume), angles, pixel_size=0.4)


@pytest.mark.parametrize("angles", [TILTS, EULER], ids=["one axis", "any rotation"])
def test_images_of_a_volume_that_is_wider_are_the_middle_of_wider_images(angles):
    volume = film()
    wide, narrow = images_of(volume, angles, rows=96), images_of(volume, angles)
    middle = wide.projections[:, 48 - N // 2 : 48 + N // 2]
    # lines have other periods, so that other frequencies are the last ones
    assert_allclose(narrow.projections, middle, atol=2e-3 * middle.max())


@pytest.mark.parametrize("angles", [TILTS[::5], EULER[::5]], ids=["one axis", "any rotation"])
def test_projection_and_back_projection_of_a_wider_volume_are_adjoint(angles):
    random = np.random.default_rng(1)
    images = random.normal(size=(len(angles), N, COLUMNS)).astype(np.float32)
    series = TiltSeries.from_angles(images, angles, pixel_size=0.4)
    operator = projector(series, DEPTH, 50)
    planes = random.normal(size=operator.shape).astype(np.float32)
    here = (operator.project(planes) * images).sum(dtype=float)
    assert here == pytest.approx((planes * operator.back_project(images)).sum(dtype=float), rel=1e-4, abs=1e-2)
    assert sorted(operator.shape) == sorted((50, COLUMNS, DEPTH))


@pytest.mark.parametrize("angles", [TILTS, EULER], ids=["one axis", "any rotation"])
def test_what_is_outside_explains_itself(angles):
    truth = film()
    series = images_of(truth, angles)
    core = extent.inside(truth, N)[3:-3]
    wide = next(islice(extent.iterate(series, np.ones(extent.slab(series, 0.4 * DEPTH), bool)), 29, None)).values
    narrow = next(islice(least_squares.iterate(series, np.ones((N, COLUMNS, DEPTH), bool)), 29, None)).values
    found = [np.corrcoef(extent.inside(v, N)[3:-3].ravel(), core.ravel())[0, 1] for v in (wide, narrow)]
    assert found[0] > 0.93
    assert 1 - found[0] < 0.5 * (1 - found[1])
    fit = image_fit(series.projections, project_volume(series, wide))
    assert fit.r_factor < 0.05


def test_ten_iterations_are_four_and_six():
    series = images_of(film())
    support = np.ones(extent.slab(series, 0.4 * DEPTH), bool)
    whole = next(islice(extent.iterate(series, support), 9, None))
    memory = next(islice(extent.iterate(series, support), 3, None)).memory
    parts = next(islice(extent.iterate(series, support, start=memory), 5, None))
    assert_array_equal(parts.values, whole.values)


def test_the_slab_is_as_wide_as_the_rays_reach_within_limits():
    series = images_of(film())
    assert extent.slab(series, None) == (56, COLUMNS, N)
    flat = TiltSeries.from_angles(series.projections[:3], [-5, 0, 5], pixel_size=0.4)
    rows, _, depth = extent.slab(flat, 4.0)
    assert depth == 10
    assert N + 10 * np.sin(np.radians(5)) <= rows <= N + 4
    assert extent.inside(np.arange(rows), N)[N // 2] == rows // 2
    assert plane_order(flat) == (1, 0, 2)


def test_edges_tell_films_from_particles_whatever_the_noise():
    random = np.random.default_rng(2)
    whole = images_of(film())
    ball = film(rows=N, seed=3)
    ball[:8], ball[-8:] = 0, 0
    particle = images_of(ball)
    for series, expected in ((whole, True), (particle, False)):
        images = series.projections
        noisy = images + images.max() * (0.05 * random.normal(size=images.shape) + 0.5)
        for shown in (images, noisy.astype(np.float32)):
            assert extent.reaches_edges(TiltSeries.from_angles(shown, TILTS, pixel_size=0.4)) is expected


def test_a_film_is_known_for_one_and_reconstructed_in_the_box_of_the_images():
    truth = film()
    volume, result = reconstruct(images_of(truth), ReconstructSettings(iterations=30, halves=False))
    assert volume.values.shape == (N, COLUMNS, N)
    assert "goes on beyond the images" in result.reason
    assert result.r_factor < result.r_free < 0.6
    middle = volume.values[3:-3, :, (N - DEPTH) // 2 : (N + DEPTH) // 2]
    assert np.corrcoef(middle.ravel(), extent.inside(truth, N)[3:-3].ravel())[0, 1] > 0.85
    _, isolated = reconstruct(images_of(truth), ReconstructSettings(extended=False, iterations=30, halves=False))
    assert isolated.r_factor > 2 * result.r_factor


@pytest.mark.parametrize("algorithm", ["resire", "sirt", "sart"])
def test_other_algorithms_reconstruct_films_too(algorithm):
    truth = film()
    settings = ReconstructSettings(
        algorithm=algorithm,
        extended=True,
        thickness=0.4 * DEPTH,
        iterations=4 if algorithm == "sart" else 40,
        halves=False,
    )
    volume, result = reconstruct(images_of(truth), settings)
    assert np.corrcoef(volume.values[3:-3].ravel(), extent.inside(truth, N)[3:-3].ravel())[0, 1] > 0.8
    assert result.r_factor < 0.1


def test_what_contradicts_an_extended_object_is_refused():
    series = images_of(film())
    with pytest.raises(InputError, match="genfire cannot reconstruct objects larger than the images; take one of lsq"):
        reconstruct(series, ReconstructSettings(algorithm="genfire", extended=True))
    with pytest.raises(InputError, match="leave out --support or --extended"):
        reconstruct(series, ReconstructSettings(extended=True), support=np.ones((N, COLUMNS, DEPTH), bool))
