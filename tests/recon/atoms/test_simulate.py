"""Linear images of atoms. Truth: the sum over atoms and pixels written out; published images and their correlations."""

import numpy as np
import pytest
from ase import Atoms
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from aet2dft.config import ImagesSettings
from aet2dft.errors import InputError
from aet2dft.recon.atoms.simulate import CONTRAST, Noise, simulate, simulate_images, with_noise
from aet2dft.recon.geometry import euler_rotations, project, tilt_rotations
from aet2dft.recon.images.readers import read_tilt_series

PIXEL = 0.37


def particle(n=12, seed=0, reach=2.5):
    random = np.random.default_rng(seed)
    return Atoms(random.choice(["Fe", "Pt"], n), positions=random.uniform(-reach, reach, (n, 3)))


@given(st.integers(0, 2**32 - 1))
def test_images_are_the_sum_over_atoms_of_gaussians_at_the_pixel_centers(seed):
    random = np.random.default_rng(seed)
    atoms, rotations = particle(seed=seed), euler_rotations(random.uniform(-180, 180, (2, 3)))
    intensity, width = random.uniform(1, 9, len(atoms)), random.uniform(0.4, 0.6, len(atoms))
    shape, center = (27, 24), np.array([13.2, 11.7])
    found = simulate_images(
        atoms, rotations, shape=shape, pixel_size=PIXEL, center=center, intensity=intensity, width=width
    )
    seen, sigma = project(atoms.positions, rotations)[..., :2] / PIXEL + center, width / PIXEL
    rows, columns = np.indices(shape)
    for image, points in zip(found, seen, strict=True):
        squares = (rows[..., None] - points[:, 0]) ** 2 + (columns[..., None] - points[:, 1]) ** 2
        expected = intensity / (2 * np.pi * sigma**2) * np.exp(-0.5 * squares / sigma**2)
        assert_allclose(image, expected.sum(axis=-1), atol=2e-3 * expected.max())


def test_the_sum_of_an_image_is_that_of_the_intensities_at_every_tilt():
    atoms = particle()
    images = simulate_images(atoms, tilt_rotations([-60, 0, 37]), shape=(48, 48), pixel_size=PIXEL)
    assert_allclose(images.sum(axis=(1, 2)), (atoms.numbers**CONTRAST).sum(), rtol=3e-3)


@pytest.mark.parametrize("width", [1e-9, 0.01, 0.05, 0.1])
def test_atoms_narrower_than_pixels_do_not_fall_between_them(width):
    """Truth: the intensities, to the 3 % of the narrowest Gaussian that pixels show."""
    places = np.random.default_rng(0).uniform(-1, 1, (40, 3))
    sums = [
        simulate_images(Atoms("Pt", [place]), np.eye(3)[None], shape=(20, 20), pixel_size=PIXEL, width=width).sum()
        for place in places
    ]
    assert_allclose(sums, 78**CONTRAST, rtol=0.03)


def test_noise_has_the_statistics_of_counted_electrons():
    images = np.full((4, 100, 100), 0.5, dtype=np.float32)
    images[:, :, 50:] = 1.0
    noise = Noise(counts=100, read_noise=3, background=10)
    noisy = with_noise(images, noise, seed=1)
    dim, bright = noisy[:, :, :50], noisy[:, :, 50:]
    assert_allclose([dim.mean(), bright.mean()], [60, 110], rtol=0.005)
    assert_allclose([dim.var(), bright.var()], [60 + 9, 110 + 9], rtol=0.05)
    assert_array_equal(with_noise((2 * images).astype(np.int32), noise, seed=1), noisy)  # integers as well


def test_the_seed_repeats_the_noise_and_another_seed_does_not():
    def made(seed):
        return simulate(
            particle(), [0.0, 40.0], shape=(24, 24), pixel_size=PIXEL, noise=Noise(counts=50), seed=seed
        ).projections

    assert_array_equal(made(3), made(3))
    assert (made(3) != made(4)).any()


def test_without_noise_the_series_holds_the_images_themselves():
    series = simulate(particle(), [-20.0, 30.0], shape=(24, 20), pixel_size=PIXEL)
    assert series.is_single_axis
    assert series.pixel_size == PIXEL
    expected = simulate_images(particle(), tilt_rotations([-20, 30]), shape=(24, 20), pixel_size=PIXEL)
    assert_array_equal(series.projections, expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"width": 0.0}, "width of an atom .* is not positive"),
        ({"intensity": np.nan}, "not finite"),
        ({"center": (np.nan, 4.0)}, "not finite"),
        ({"rotations": np.full((1, 3, 3), np.nan)}, "not finite"),
        ({"pixel_size": -PIXEL}, "size of a pixel"),
        ({"atoms": Atoms("X", positions=[[0, 0, 0]])}, "run `aet2dft classify`"),
    ],
)
def test_atoms_that_have_no_image_are_refused(change, message):
    call = {"atoms": particle(), "rotations": tilt_rotations([0.0]), "shape": (8, 8), "pixel_size": PIXEL} | change
    with pytest.raises(InputError, match=message):
        simulate_images(**call)


@pytest.mark.parametrize("wrong", [{"counts": -5}, {"counts": 0}, {"counts": 9, "read_noise": -1}])
def test_noise_that_no_detector_has_is_refused(wrong):
    with pytest.raises(InputError, match="counts are above zero"):
        Noise(**wrong)


def test_images_that_cannot_be_counted_are_refused():
    with pytest.raises(InputError, match="cannot be counted"):
        with_noise(np.zeros((1, 4, 4), dtype=np.float32), Noise(counts=10), seed=0)


@pytest.mark.needs_data
@pytest.mark.parametrize(("dose", "correlation"), [("8p0e3", 0.203), ("1p6e4", 0.360), ("1p6e5", 0.899)])
def test_images_of_the_published_silicon_particle_correlate_as_measured(data_dir, dose, correlation):
    """Y. Liao et al., Nature (2026): multislice images at three doses; columns of the model are y, x, z."""
    folder = data_dir / "paet_np1_asi208"
    settings = ImagesSettings(angles=folder / "Si_Angle.mat", pixel_size=0.195)
    series, _ = read_tilt_series(folder / f"projections_Dose{dose}_ForBM3D.mat", settings)
    rows = np.loadtxt(folder / "aSi_208atoms_GT.txt", comments="%")
    atoms = Atoms("Si208", positions=rows[:, [2, 1, 3]])
    images = simulate_images(atoms, series.rotations, shape=(128, 128), pixel_size=0.195)
    assert abs(np.corrcoef(images.ravel(), series.projections.ravel())[0, 1] - correlation) < 1e-3
    reversed_tilts = simulate_images(atoms, np.swapaxes(series.rotations, 1, 2), shape=(128, 128), pixel_size=0.195)
    assert np.corrcoef(reversed_tilts.ravel(), series.projections.ravel())[0, 1] < 0.85 * correlation
