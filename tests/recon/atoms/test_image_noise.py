"""Scale, background and noise of images. Truth: those that simulated images were made with."""

from dataclasses import replace

import numpy as np
import pytest
from small_crystal import FLAT, lattice
from small_crystal import LATTICE_GEOMETRY as GEOMETRY

from aet2dft.recon.atoms import atom_fit, image_noise
from aet2dft.recon.atoms.atom_fit import Problem
from aet2dft.recon.atoms.image_model import images
from aet2dft.recon.atoms.image_noise import Calibration


def test_scale_and_background_of_every_image_come_back():
    """Truth: the scales and backgrounds that were put in, and Poisson noise of gain 2 with an offset."""
    rng = np.random.default_rng(0)
    model = 10 * images(GEOMETRY, lattice(4.0))
    scale, background = rng.uniform(0.8, 1.2, 16), rng.uniform(-5, 5, 16)
    truth = Calibration(scale=scale, background=background, gain=2.0, offset=9.0)
    expected = truth.expected(model)
    noise = np.sqrt(truth.variance(model)) * rng.standard_normal(model.shape)
    found = image_noise.calibrate((expected + noise).astype(np.float32), model)
    np.testing.assert_allclose(found.scale, scale, rtol=0.02)
    np.testing.assert_allclose(found.background, background, atol=0.6)
    assert found.gain == pytest.approx(2.0, rel=0.05)
    assert found.offset == pytest.approx(9.0, rel=0.1)


@pytest.mark.parametrize("unit", [1.0, 1e-6])
@pytest.mark.parametrize("blank", ["zero", "constant", "noise"])
def test_an_image_that_does_not_show_the_atoms_has_no_part_in_the_fit(unit, blank):
    """Truth: calibration, weights and one step of the other images alone."""
    rng, atoms, others = np.random.default_rng(0), lattice(), np.delete(np.arange(16), 5)
    model = images(GEOMETRY, atoms)
    measured = (unit * rng.poisson(2.0 * model + 4.0)).astype(np.float32)
    measured[5] = {"zero": 0.0, "constant": 50.0 * unit, "noise": unit * rng.standard_normal((44, 44))}[blank]
    found, without = image_noise.calibrate(measured, model), image_noise.calibrate(measured[others], model[others])
    assert np.flatnonzero(~found.shown).tolist() == [5]
    assert without.shown.all()
    found_r = found.r_factors(measured, model)
    np.testing.assert_allclose(found_r[others], without.r_factors(measured[others], model[others]), rtol=1e-6)
    assert np.isnan(found_r[5])
    assert (found.gain, found.offset) == (without.gain, without.offset)
    assert image_noise.normalized(atoms, found)[1].scale[others].mean() == pytest.approx(1.0)
    problem = Problem.of(GEOMETRY, measured, model, found)
    alone = Problem.of(GEOMETRY.of_images(others), measured[others], model[others], without)
    steps = [
        atom_fit.newton_step(each, atoms, each.target - images(each.geometry, atoms), 6) for each in (problem, alone)
    ]
    assert (np.abs(steps[0] - steps[1]) < 1e-3 * np.abs(steps[1]).max(axis=0)).all()


def test_a_constant_of_the_camera_changes_neither_noise_nor_weights_nor_r_factors():
    """Truth: the images without the constant, and with a background subtracted that was real."""
    rng = np.random.default_rng(0)
    model = images(GEOMETRY, lattice(4.0))
    measured = rng.poisson(model + 4.0).astype(np.float32)
    first, *others = [(measured + black, image_noise.calibrate(measured + black, model)) for black in (0, 500, -150)]
    for images_there, found in others:
        assert (found.gain, found.offset) == pytest.approx((first[1].gain, first[1].offset), rel=1e-2)
        np.testing.assert_allclose(found.r_factors(images_there, model), first[1].r_factors(measured, model), rtol=1e-3)
        weights = Problem.of(GEOMETRY, images_there, model, found).weights
        np.testing.assert_allclose(weights, Problem.of(GEOMETRY, measured, model, first[1]).weights, rtol=2e-2)
    assert (first[1].gain, first[1].offset) == pytest.approx((1.0, 4.0), rel=0.1)


def test_scales_are_1_on_average_without_changing_what_is_expected():
    atoms = lattice()
    calibration = replace(FLAT, scale=np.linspace(2, 3, 16))
    same, normal = image_noise.normalized(atoms, calibration)
    assert normal.scale.mean() == pytest.approx(1.0)
    before, after = calibration.expected(images(GEOMETRY, atoms)), normal.expected(images(GEOMETRY, same))
    np.testing.assert_allclose(after, before, rtol=1e-5, atol=1e-3)
