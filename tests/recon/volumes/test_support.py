"""Region of an object by its shadows. Truth: balls whose extent is known; images that show nothing or too much."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from aet2dft.errors import InputError
from aet2dft.recon.fourier.projector import project_volume
from aet2dft.recon.tilt_series import TiltSeries
from aet2dft.recon.volumes.support import background, check_support, shadow_support

N, RADIUS, PIXEL = 48, 9, 0.4
ANGLES = np.linspace(-70, 70, 29)


def ball(at=(3, -2, 4)):
    """A ball off the middle, and its distance from every voxel."""
    grid = np.stack(np.meshgrid(*[np.arange(N) - N // 2] * 3, indexing="ij"), axis=-1)
    distance = np.linalg.norm(grid - np.array(at), axis=-1)
    return (1 / (1 + np.exp(2 * (distance - RADIUS)))).astype(np.float32), distance


def images_of(volume, angles=ANGLES, noise=0.0, ground=0.0):
    empty = np.zeros((len(angles), *volume.shape[:2]), dtype=np.float32)
    images = project_volume(TiltSeries.from_angles(empty, angles, pixel_size=PIXEL), volume)
    images = images + ground + noise * np.random.default_rng(0).normal(size=images.shape)
    return TiltSeries.from_angles(images, angles, pixel_size=PIXEL)


@pytest.mark.parametrize(("noise", "ground"), [(0.0, 0.0), (0.0, 7.0), (6.0, 3.0)])
@pytest.mark.parametrize("tilted", [False, True])
def test_the_support_holds_the_object_and_leaves_most_of_the_box_empty(noise, ground, tilted):
    volume, distance = ball()
    angles = np.column_stack([np.full(29, 5.0), ANGLES, np.full(29, -3.0)]) if tilted else ANGLES
    support = shadow_support(images_of(volume, angles, noise, ground), N)
    assert support[distance <= RADIUS + 1].all()
    assert support.mean() < 0.6
    assert not support[:4].any()


def test_a_film_that_fills_the_images_is_not_cut():
    film = np.zeros((N, N, N), dtype=np.float32)
    film[:, :, 18:30] = np.random.default_rng(1).random((N, N, 12)) < 0.1
    assert shadow_support(images_of(film), N)[film > 0].all()


def test_images_of_noise_give_no_support_away():
    images = np.random.default_rng(2).normal(size=(5, N, N)).astype(np.float32)
    assert shadow_support(TiltSeries.from_angles(images, ANGLES[:5], pixel_size=PIXEL), N).all()


def test_the_depth_may_differ_from_the_width():
    volume, _ = ball(at=(0, 0, 0))
    assert shadow_support(images_of(volume), 30).shape == (N, N, 30)


@pytest.mark.parametrize("tilted", [False, True])
def test_a_support_that_cuts_the_object_is_noted_and_one_beside_it_refused(tilted):
    volume, distance = ball()
    angles = np.column_stack([2 * np.sin(ANGLES), ANGLES, 0 * ANGLES]) if tilted else ANGLES
    series, along = images_of(volume, angles), np.arange(N)[None, :, None] - N // 2
    inside = distance < RADIUS + 4
    assert check_support(series, inside) == ()
    (note,) = check_support(series, inside & (along > -6))
    assert note.startswith("the support leaves out")
    with pytest.raises(InputError, match="much of the object is elsewhere; give one in the frame of the images"):
        check_support(series, np.broadcast_to(along > 12, inside.shape))


@pytest.mark.parametrize("noise", [0.0, 1.0])
def test_a_support_that_is_too_small_or_beside_the_object_is_noted(noise):
    volume, distance = ball()
    series = images_of(volume, noise=noise, ground=2.0)
    assert check_support(series, distance < RADIUS + 2) == ()
    for cut in (distance < RADIUS - 2, ball(at=(3, 2, 4))[1] < RADIUS + 1):
        (note,) = check_support(series, cut)
        assert note.endswith("it may cut the object")


def test_the_background_is_the_mean_beside_the_object():
    volume, distance = ball(at=(0, 0, 0))
    series = images_of(volume, noise=0.5, ground=7.0)
    assert_allclose(background(series, distance < RADIUS + 4), 7.0, atol=0.1)
    assert_allclose(background(series, np.ones(volume.shape, dtype=bool)), 0.0)


def test_an_image_that_the_support_covers_has_the_background_of_the_others():
    volume, distance = ball(at=(0, 0, 0))
    film = (distance < RADIUS + 4) | (np.abs(np.arange(N) - N // 2) < 3)
    series = images_of(volume, ground=7.0)
    found = background(series, film)
    # the slab covers the image at zero tilt, and its shadow narrows with the tilt
    assert_allclose(found, 7.0, atol=0.2)
