"""What is wrong with images. Truth: sound simulated and published series, and what was done to damage them."""

import math
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from aet2dft.config import ImagesSettings
from aet2dft.errors import InputError
from aet2dft.recon.atoms.simulate import Noise, simulate
from aet2dft.recon.images.image_checks import (
    as_images,
    check_images,
    check_pixel_size,
    elongation,
    mend_or_refuse,
)
from aet2dft.recon.images.readers import read_tilt_series
from aet2dft.synthetic import core_shell, fept_twin, tilt_series, uneven_tilts

TILTS = np.linspace(-65.0, 64.0, 22)


@pytest.fixture(scope="module")
def images(fept):
    """Noisy images of a ball of 14 Å cut from the measured particle."""
    ball = fept[np.linalg.norm(fept.positions - fept.positions.mean(axis=0), axis=1) < 7]
    ball.positions -= ball.positions.mean(axis=0)
    return simulate(ball, TILTS, shape=(50, 56), pixel_size=0.3725, noise=Noise(counts=300)).projections


def test_a_sound_series_has_nothing_unusual(images):
    assert check_images(images, TILTS) == ()
    assert check_images(images, np.stack([np.zeros(22), TILTS, np.zeros(22)], axis=1)) == ()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda b: b.transpose(0, 2, 1), "look transposed.*turn every image by 90 degrees"),
        (lambda b: b.max() - b, "invert the contrast"),
        (lambda b: np.concatenate([b[:21], b[3:4]]), "images 3 and 21 are identical"),
        (lambda b: np.full_like(b, 2), "all 22 images show nothing .* are 2.; the file holds no images of an object"),
        (lambda b: np.concatenate([b[:21], np.full((1, 50, 56), 7)]), r"1 of 22 images shows nothing.*image 21.*are 7"),
    ],
    ids=["transposed", "inverted", "identical", "all constant", "constant"],
)
def test_images_that_cannot_be_of_a_tilt_series_are_refused(images, damage, message):
    with pytest.raises(InputError, match=message):
        check_images(np.ascontiguousarray(damage(images), dtype=np.float32), TILTS)


def test_negative_pixels_are_noise_and_no_inverted_contrast(images):
    assert check_images(images - np.float32(0.3 * images.max()), TILTS)[1:] == ()


def test_an_image_of_another_intensity_is_named(images):
    bright = images.copy()
    bright[4] *= 1.5
    (note,) = check_images(bright, TILTS)
    assert note.startswith("1 image differs from the median total intensity by more than 30 % (image 4 1.")


def test_repeated_and_opposite_angles_are_noted(images):
    angles = TILTS.copy()
    angles[5], angles[0] = angles[6], angles[21] - 180
    assert check_images(images, angles)[0] == "2 angles repeat an earlier one, or the opposite of one"


def test_tilts_about_any_axis_are_tilts(images):
    about_the_first = np.column_stack([0 * TILTS, 0 * TILTS, TILTS])
    assert check_images(images, about_the_first) == check_images(images, TILTS) == ()
    (note,) = check_images(images[:12], about_the_first[:12] / 3)
    assert re.match(r"12 images over 23 degrees: the volume will be elongated", note)


def test_images_of_one_tilt_say_nothing_of_the_depth(images):
    assert check_images(images[:1], TILTS[:1]) == ("1 image at one tilt: nothing is known of the depth of the object",)


def test_images_that_hold_as_much_dark_as_bright_have_no_usual_total():
    images = np.random.default_rng(0).normal(size=(12, 16, 16)).astype(np.float32)
    images -= images.mean(axis=(1, 2), keepdims=True)
    images[:8] = np.round(images[:8])
    images[:8, 0, 0] -= images[:8].sum(axis=(1, 2))
    assert not any("total intensity" in note for note in check_images(images, np.linspace(-60, 60, 12)))


def test_few_images_and_a_short_range_are_noted_with_the_elongation(images):
    few = np.linspace(-60, 60, 22)[::3]
    (note,) = check_images(images[::3], few)
    assert note == "8 images over 120 degrees: the volume will be elongated by 1.55 along the beam"


def test_elongation_is_that_of_the_textbook():
    assert elongation(180) == 1.0
    assert elongation(120) == pytest.approx(1.55, abs=0.005)
    assert elongation(0) == math.inf


@given(st.floats(1, 179), st.floats(0.1, 1))
def test_a_wider_range_elongates_less(wide, more):
    assert elongation(wide) > elongation(wide + more) >= 1.0


@pytest.mark.parametrize(("size", "answer"), [(0.03725, "0.3725"), (37.25, "0.3725")])
def test_a_pixel_size_in_another_unit_is_recognized(size, answer):
    with pytest.raises(InputError, match=answer):
        check_pixel_size(size, Path("a.npy"), option="pixel-size", anything=False)
    assert check_pixel_size(size, Path("a.npy"), option="pixel-size", anything=True) == size


@pytest.mark.parametrize("size", [None, 0.0, -0.3, math.nan, math.inf, 5000.0])
def test_a_number_that_is_no_pixel_size_is_refused(size):
    with pytest.raises(InputError, match="give --pixel-size in Å"):
        check_pixel_size(size, Path("a.npy"), option="pixel-size", anything=False)


def test_integer_images_are_converted_and_saturation_is_noted():
    counts = np.random.default_rng(0).poisson(2000, (3, 40, 40)).astype(np.uint16)
    images, notes = as_images(counts)
    assert images.dtype == np.float32
    assert_array_equal(images, counts)
    assert notes == ("integer images (uint16) converted to float32",)
    counts[:, :2] = 65535
    assert "240 pixels have the largest value, 65535" in as_images(counts)[1][1]
    assert len(as_images((counts > 2000).astype(np.uint8))[1]) == 1
    assert as_images(images)[1] == ()


def test_pixels_that_are_no_numbers_are_refused_or_mended():
    images = np.random.default_rng(0).normal(5, 1, (4, 12, 12)).astype(np.float32)
    assert mend_or_refuse(images, fill=None)[0] is images
    broken = images.copy()
    broken[2, 0, 3] = np.nan
    with pytest.raises(InputError, match=r"1 pixel in 1 of 4 images \(first: .*\) is NaN or infinite; give"):
        mend_or_refuse(broken, fill=None)
    broken[3, 5, 5] = np.inf
    with pytest.raises(InputError, match=r"2 pixels in 2 of 4 images \(first: image 2, pixel \(0, 3\)\) are NaN"):
        mend_or_refuse(broken, fill=None)
    mended, notes = mend_or_refuse(broken, fill="median")
    assert mended[2, 0, 3] == np.median(np.delete(images[2, :3, 1:6].ravel(), 2))
    assert_array_equal(mended[np.isfinite(broken)], images[np.isfinite(broken)])
    assert "replaced by the median" in notes[0]
    broken[1, :6, :6] = np.nan
    with pytest.raises(InputError, match=r"image 1 has no finite pixel around \(0, 0\); .* --exclude 1"):
        mend_or_refuse(broken, fill="median")
    broken[1] = np.nan
    with pytest.raises(InputError, match="1 image of NaN or infinite pixels only; leave out with --exclude 1"):
        mend_or_refuse(broken, fill="median")


@pytest.mark.needs_data
@pytest.mark.parametrize(
    ("folder", "images", "angles"),
    [
        ("resire_sample_amorphous", "sample_projections_amorphous", "sample_angles_amorphous"),
        ("genfire_workshop_fept", "projections_FePt", "angles"),
        ("genfire_workshop_fept", "projections_FePt_noisy", "angles"),
        ("genfire_workshop_fept", "projections_FePt_mw", "angles_mw"),
        ("angle_refinement_fept64", "pj_new_Turbu3_1015", "GroundTruth_angles_Turbu3_1015"),
        ("paet_np1_asi208", "projections_Dose1p6e5_ForBM3D", "Si_Angle"),
        ("ta_film_experimental", "Projections_area24", "angles"),
    ],
)
def test_published_series_pass_and_are_refused_when_transposed(data_dir, folder, images, angles):
    chosen = ImagesSettings(angles=data_dir / folder / f"{angles}.mat", pixel_size=0.35)
    series, _ = read_tilt_series(data_dir / folder / f"{images}.mat", chosen)
    with pytest.raises(InputError, match="look transposed"):
        check_images(np.ascontiguousarray(series.projections.transpose(0, 2, 1)), series.tilt_angles)


@pytest.mark.parametrize("pixels", [1.2, 3.0])
@pytest.mark.parametrize("seed", [3, 4])
def test_images_that_are_not_aligned_yet_are_not_transposed(pixels, seed):
    """Truth: images of two crystals that were shifted by so much, rms, along each axis; transposed ones are refused."""
    for atoms in (fept_twin(n_atoms=400, seed=seed), core_shell(400, core="Pd", shell="Pt", seed=seed)):
        known = tilt_series(atoms, uneven_tilts(30, seed=seed), counts=200, shift_error=pixels, seed=seed)
        assert check_images(known.series.projections, known.series.tilt_angles) == ()
        still = tilt_series(atoms, uneven_tilts(30, seed=seed), counts=200, seed=seed).series
        with pytest.raises(InputError, match="look transposed"):
            check_images(still.projections.swapaxes(1, 2), still.tilt_angles)
