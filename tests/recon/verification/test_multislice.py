"""Images with multiple scattering. Truth: where few atoms are, and PRISM against full multislice."""

import itertools
import sys
import types

import numpy as np
import pytest
from ase import Atoms
from numpy.testing import assert_allclose, assert_array_equal

from aet2dft.errors import InputError
from aet2dft.recon.atoms.simulate import simulate_images
from aet2dft.recon.geometry import euler_rotations
from aet2dft.recon.verification import multislice
from aet2dft.recon.verification.multislice import Microscope, Scan, predicted_seconds, scan_image, with_source

SCAN = Scan(shape=(30, 26), pixel_size=0.3725, center=(14.3, 13.0))
THREE = Atoms("PtFePt", positions=[[1.0, 0.5, -2.0], [-2.2, 1.4, 0.3], [0.4, -2.4, 2.1]])
TURN = euler_rotations([3.0, 40.0, -2.0])


def fine_gaussians(width, scan=SCAN):
    """Linear images of the three atoms at the fine steps of a scan."""
    return simulate_images(
        THREE,
        TURN[None],
        shape=(scan.steps * scan.shape[0], scan.steps * scan.shape[1]),
        pixel_size=scan.step,
        center=np.multiply(scan.center, scan.steps),
        intensity=[4.0, 1.0, 4.0],
        width=width,
    )[0]


def test_steps_divide_pixels_and_are_fine_enough_for_the_probe():
    assert (SCAN.steps, SCAN.step) == (2, 0.3725 / 2)
    assert Scan(shape=(4, 4), pixel_size=0.19, center=(2, 2)).steps == 1
    assert Scan(shape=(4, 4), pixel_size=0.6, center=(2, 2)).steps == 4


def test_wavelengths_are_those_of_the_tables():
    assert Microscope().wavelength == pytest.approx(0.0196875, rel=1e-5)
    assert Microscope(energy=100e3).wavelength == pytest.approx(0.0370144, rel=1e-5)


def test_a_source_widens_images_in_quadrature_and_keeps_their_sum_and_places():
    sharp, wide = fine_gaussians(0.3), fine_gaussians(0.5)
    assert_allclose(with_source(sharp, SCAN, 0.4), wide[::2, ::2], atol=2e-3 * wide.max())
    assert_allclose(with_source(sharp, SCAN, 0.4).sum() * 4, sharp.sum(), rtol=1e-3)
    stack = np.stack([sharp, 2 * sharp])
    assert_allclose(with_source(stack, SCAN, 0.4)[1], 2 * with_source(sharp, SCAN, 0.4), rtol=1e-5, atol=1e-9)


def test_the_time_is_predicted_without_abtem_and_grows_as_the_work_does(monkeypatch):
    # a clock by which every transform takes a quarter of a second: the work is counted, not timed
    clock = types.SimpleNamespace(process_time=itertools.count().__next__)
    monkeypatch.setattr(multislice, "time", clock)
    larger = THREE.copy()
    larger.positions *= 4
    small, large = (predicted_seconds(atoms, np.eye(3), SCAN) for atoms in (THREE, larger))
    assert 0 < small < large
    assert predicted_seconds(larger, np.eye(3), SCAN, method="multislice") > 5 * large


def test_a_box_far_longer_than_the_window_of_prism_has_a_grid():
    long = Atoms("Pt2", positions=[[0, 0, 0], [75.0, 0, 0]])
    assert predicted_seconds(long, np.eye(3), Scan(shape=(300, 40), pixel_size=0.3725, center=(150, 20))) > 0


def test_the_grid_carries_the_beam_where_the_detector_is_smaller(monkeypatch):
    """Truth: the grid of the detector that ends where the beam does."""
    grids = []
    monkeypatch.setattr("scipy.fft.fft2", lambda grid: grids.append(grid.shape))
    for outer in (30.0, 10.0):
        predicted_seconds(THREE, np.eye(3), SCAN, Microscope(detector=(0.0, outer)))
    assert len(set(grids)) == 1


def test_without_abtem_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "abtem", None)
    with pytest.raises(InputError, match=r"aet2dft\[multislice\]"):
        scan_image(THREE, TURN, SCAN)


def test_candidates_without_element_cannot_scatter():
    pytest.importorskip("abtem", reason="abTEM is of the extra `multislice`")
    with pytest.raises(InputError, match="no element"):
        scan_image(Atoms("X2", positions=[[0, 0, 0], [3, 0, 0]]), TURN, SCAN)


def test_atoms_are_where_the_linear_model_has_them_and_heavy_ones_are_brighter():
    pytest.importorskip("abtem", reason="abTEM is of the extra `multislice`")
    image = with_source(scan_image(THREE, TURN, SCAN), SCAN, 0.4)
    linear = with_source(fine_gaussians(0.28), SCAN, 0.4)
    assert image.shape == SCAN.shape
    assert np.corrcoef(image.ravel(), linear.ravel())[0, 1] > 0.995
    for other in (linear[1:], linear[:, 1:]):  # a pixel off is seen
        assert np.corrcoef(image[: other.shape[0], : other.shape[1]].ravel(), other.ravel())[0, 1] < 0.9
    points = (THREE.positions @ TURN)[:, :2] / SCAN.pixel_size + SCAN.center
    light, heavy = (image[tuple(np.rint(points[k]).astype(int))] for k in (1, 0))
    assert 0.05 < light / heavy < 0.5
    assert_array_equal(scan_image(THREE, TURN, SCAN), scan_image(THREE, TURN, SCAN))


def test_atoms_outside_the_image_are_cut_off():
    pytest.importorskip("abtem", reason="abTEM is of the extra `multislice`")
    beside = Scan(shape=SCAN.shape, pixel_size=SCAN.pixel_size, center=(14.3 - 10.0, 13.0))
    whole, part = scan_image(THREE, TURN, SCAN), scan_image(THREE, TURN, beside)
    assert_allclose(part[:-20], whole[20:], atol=1e-3 * whole.max())


@pytest.mark.slow
def test_prism_is_near_full_multislice():
    pytest.importorskip("abtem", reason="abTEM is of the extra `multislice`")
    wide = Atoms("Pt3Fe", positions=[[-3.6, -3.4, 0], [3.6, 3.2, 2], [0, 0, -1], [3, -3, 1]])
    scan = Scan(shape=(36, 36), pixel_size=0.3725, center=(18, 18))
    images = [
        with_source(scan_image(wide, np.eye(3), scan, method=name), scan, 0.4) for name in ("prism", "multislice")
    ]
    assert np.corrcoef(images[0].ravel(), images[1].ravel())[0, 1] > 0.999
    assert images[0].sum() == pytest.approx(images[1].sum(), rel=0.03)
