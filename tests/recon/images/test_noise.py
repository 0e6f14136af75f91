"""Noise of images. Truth: images without noise, to which noise of known strength is added."""

import numpy as np
import pytest
from ase import Atoms
from numpy.testing import assert_allclose

from aet2dft.recon.atoms.simulate import Noise, simulate
from aet2dft.recon.images.noise import noise_deviation, noise_r_factor

TILTS = np.linspace(-60.0, 60.0, 8)


def ball_of_atoms(n=400, radius=12.0):
    points = np.random.default_rng(1).uniform(-radius, radius, (8 * n, 3))
    return Atoms(f"Pt{n}", positions=points[np.linalg.norm(points, axis=1) < radius][:n])


def images(noise=None, *, pixel_size=0.3725, seed=0):
    return simulate(
        ball_of_atoms(), TILTS, shape=(96, 100), pixel_size=pixel_size, noise=noise, seed=seed
    ).projections.astype(np.float64)


def scaled_to(counts):
    exact = images()
    return exact * counts / exact.max()


@pytest.mark.parametrize("sigma", [0.5, 20.0])
def test_even_noise_is_found_whatever_the_image_below(sigma):
    added = sigma * np.random.default_rng(0).standard_normal((8, 96, 100))
    assert_allclose(noise_deviation(scaled_to(300) + added), np.abs(added).mean(axis=(1, 2)), rtol=0.05)


def test_images_without_noise_have_next_to_none():
    exact = scaled_to(300)
    assert (noise_deviation(exact) < 1e-3 * exact.mean(axis=(1, 2))).all()


@pytest.mark.parametrize("counts", [30, 300, 3000])
def test_the_r_factor_of_the_true_model_is_foreseen_within_a_tenth(counts):
    measured = images(Noise(counts=counts, read_noise=1.0))
    residual = np.abs(measured - scaled_to(counts)).sum(axis=(1, 2)) / np.abs(measured).sum(axis=(1, 2))
    assert_allclose(noise_r_factor(measured), residual, rtol=0.1)


def test_a_background_leaves_the_noise_and_enters_the_r_factor():
    measured = images(Noise(counts=300, read_noise=1.0))
    raised = measured + 5.0
    assert_allclose(noise_deviation(raised), noise_deviation(measured), rtol=1e-9)
    assert_allclose(noise_r_factor(raised, 5.0), noise_r_factor(measured), rtol=1e-6)
    assert (noise_r_factor(raised) < noise_r_factor(measured)).all()


def test_images_of_zeros_have_an_r_factor_of_zero():
    assert_allclose(noise_r_factor(np.zeros((2, 8, 8))), 0.0)


def test_images_of_one_row_tell_no_noise():
    assert_allclose(noise_r_factor(np.random.default_rng(0).random((3, 1, 16))), 0.0)
