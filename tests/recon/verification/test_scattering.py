"""Images of a model in the geometry of a series. Truth: linear images stand in for those with multiple scattering."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from aet2dft.config import VerifySettings
from aet2dft.errors import InputError, ResourceError
from aet2dft.recon.atoms.simulate import Noise, model_images, simulate, simulate_images
from aet2dft.recon.verification import multislice, scattering
from aet2dft.recon.verification.multislice import Microscope
from aet2dft.recon.verification.round_trip import simulation_seconds, verify
from aet2dft.recon.verification.scattering import compare_images, fine_images, scans, seconds_needed
from aet2dft.synthetic import core_shell

TILTS = np.linspace(-60, 60, 9)
HEAT = 0.3
"""Å: width of an atom without the source."""


@pytest.fixture(scope="module")
def atoms():
    """60 atoms of Pd and Pt."""
    return core_shell(60, seed=1)


@pytest.fixture(scope="module")
def series(atoms):
    return simulate(atoms, TILTS, shape=(44, 46), pixel_size=0.3725, noise=Noise(counts=500, read_noise=1), seed=1)


@pytest.fixture
def made(monkeypatch):
    """Rotations of the images that were simulated, by the stand-in."""
    done = []

    def scan_image(atoms, rotation, scan, microscope, *, method):
        done.append(rotation)
        size = (scan.steps * scan.shape[0], scan.steps * scan.shape[1])
        center = np.multiply(scan.center, scan.steps)
        images = simulate_images(atoms, rotation[None], shape=size, pixel_size=scan.step, center=center, width=HEAT)
        return images[0]

    monkeypatch.setattr(scattering, "scan_image", scan_image)
    return done


def test_images_that_are_kept_are_not_made_again_unless_something_changed(atoms, series, made, tmp_path):
    told = []
    first = fine_images(
        atoms, series, method="prism", microscope=Microscope(), cache=tmp_path / "a", progress=lambda *n: told.append(n)
    )
    assert told == [(k, 9) for k in range(1, 10)]
    next(iter((tmp_path / "a").iterdir())).unlink()
    again = fine_images(atoms, series, method="prism", microscope=Microscope(), cache=tmp_path / "a")
    assert_array_equal(again, first)
    assert len(made) == 9 + 1
    moved = atoms.copy()
    moved.positions[0] += 0.1
    for model, lens in ((moved, Microscope()), (atoms, Microscope(convergence=25.0))):
        fine_images(model, series.subset([0]), method="prism", microscope=lens, cache=tmp_path / "a")
    fine_images(atoms, series.subset([0]), method="multislice", microscope=Microscope(), cache=tmp_path / "a")
    assert len(made) == 10 + 3


@pytest.mark.parametrize("content", [b"", b"damaged", b"\x93NUMPY\x01\x00"])
def test_a_damaged_image_is_made_again(atoms, series, made, tmp_path, content):
    def images():
        return fine_images(atoms, series.subset([0]), method="prism", microscope=Microscope(), cache=tmp_path)

    first = images()
    (file,) = tmp_path.iterdir()
    whole = file.read_bytes()
    for damage in (content, whole[:200], whole[:-1]):
        file.write_bytes(damage)
        assert_array_equal(images(), first)
        assert file.read_bytes() == whole
    np.save(file, first[0, 1:])
    assert images().shape == first.shape
    assert len(made) == 5


def test_images_of_another_version_or_sampling_are_made_again_and_are_on_the_disk(
    atoms, series, made, tmp_path, monkeypatch
):
    written = []
    monkeypatch.setattr(scattering.os, "fsync", written.append)
    for name, value in (("version", lambda _: "1.0"), ("version", lambda _: "1.1"), ("_SLICE", 1.0), ("_SLICE", 1.0)):
        monkeypatch.setattr(multislice, name, value)
        fine_images(atoms, series.subset([0]), method="prism", microscope=Microscope(), cache=tmp_path)
    assert len(made) == len(written) == 3


def test_an_image_that_cannot_be_kept_is_said(atoms, series, made, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ResourceError, match="cannot be kept"):
        fine_images(atoms, series, method="prism", microscope=Microscope(), cache=tmp_path / "file")


def test_the_size_of_the_source_is_found_and_images_are_compared(atoms, series, made):
    which = np.array([2, 5])
    part = series.subset(which)
    fine = fine_images(atoms, part, method="prism", microscope=Microscope())
    blurred = simulate_images(atoms, part.rotations, shape=(44, 46), pixel_size=0.3725, width=0.8)
    found = compare_images(part, which, fine, blurred)
    assert found.source_size == pytest.approx(np.sqrt(0.5**2 - HEAT**2), abs=0.02)
    assert_array_equal(found.images, which)
    assert (found.r_factor < 0.5 * found.r_factor_linear).all()
    assert (found.correlation > found.correlation_linear).all()
    assert (found.correlation > 0.98).all()


def test_an_image_without_the_atoms_has_no_part_in_source_and_r_factors_and_is_named(atoms, series, made):
    """Truth: the answers from the other images alone."""
    which = np.array([0, 3, 4, 8])
    part = series.subset(which)
    fine = fine_images(atoms, part, method="prism", microscope=Microscope())
    blank = (np.arange(4) == 2)[:, None, None]
    spoiled = replace(part, projections=np.where(blank, np.float32(0.0), part.projections))
    linear, shown = model_images(atoms, part), [0, 1, 3]
    found = compare_images(spoiled, which, fine, linear)
    alone = compare_images(part.subset(np.array(shown)), which[shown], fine[shown], linear[shown])
    assert found.source_size == pytest.approx(alone.source_size, abs=1e-3)
    assert_allclose(found.r_factor[shown], alone.r_factor, rtol=1e-3)
    assert np.isnan([found.r_factor[2], found.r_factor_linear[2]]).all()
    _, result = verify(atoms, truth=atoms, series=spoiled)
    assert result.r_factor == pytest.approx(alone.r_factor_linear.mean())
    assert result.warnings == ("1 image does not show the atoms: 2",)


def test_every_image_has_its_own_center(series):
    assert [scan.center for scan in scans(series)] == [(22.0, 23.0)] * 9


def test_with_some_images_the_chain_stays_linear_and_says_so(atoms, series, made):
    _, result = verify(atoms, VerifySettings(method="prism", images="7,1"), series=series)
    assert_array_equal(result.images.images, [1, 7])
    assert len(made) == 2
    assert any("2 of 9 images" in text for text in result.warnings)
    linear = verify(atoms, VerifySettings(), series=series)[1]
    assert linear.images is None
    assert_allclose(result.match.rmsd, linear.match.rmsd)


def test_with_all_images_the_chain_is_run_on_them(atoms, series, made):
    _, result = verify(atoms, VerifySettings(method="multislice"), series=series)
    assert len(made) == 9
    assert result.method == "multislice"
    assert result.warnings == ()
    assert result.match.n_matched > 0
    assert result.r_factor == pytest.approx(result.images.r_factor.mean(), rel=0.1)


def test_an_image_that_is_not_there_is_refused(atoms, series):
    with pytest.raises(InputError, match="no image 9; give 0 to 8"):
        verify(atoms, VerifySettings(method="prism", images="0,9"), series=series)


def test_the_time_is_that_of_the_images_that_are_asked(atoms, series):
    assert simulation_seconds(atoms, series, VerifySettings()) == 0.0
    assert seconds_needed(atoms, series, method="prism", microscope=Microscope()) > 0
    assert model_images(atoms, series).shape == series.projections.shape
