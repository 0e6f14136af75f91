"""Images that are far from where their angles say. Truth: simulated images, of which some were moved."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from aet2dft.recon.atoms.image_model import GaussianAtoms, ImageGeometry, images
from aet2dft.recon.atoms.image_poses import difference, rotation_matrices
from aet2dft.recon.atoms.image_search import relocated
from aet2dft.recon.geometry import tilt_rotations

TILTS = np.linspace(-65, 65, 14)


@pytest.fixture(scope="module")
def crystal():
    """Simple cubic, so that an image shifted by the distance of two columns looks nearly right."""
    rng = np.random.default_rng(0)
    places = 7.0 * (np.indices((5, 4, 4)).reshape(3, -1).T - (2.0, 1.5, 1.5))
    kept = places[rng.uniform(size=len(places)) > 0.15]
    return GaussianAtoms(
        positions=kept + rng.uniform(-0.3, 0.3, kept.shape),
        heights=rng.choice([80.0, 320.0], len(kept)),
        kinds=np.zeros(len(kept), dtype=np.intp),
        widths=np.array([1.35]),
    )


@pytest.fixture(scope="module")
def stated():
    return ImageGeometry(
        axes=np.ascontiguousarray(np.swapaxes(tilt_rotations(TILTS), 1, 2)[:, :2]),
        centers=np.full((len(TILTS), 2), 40.0),
        shape=(80, 80),
    )


def seen(geometry, atoms):
    """Images with the noise of counts, a brightness and a background."""
    exact = 8.0 * images(geometry, atoms) + 20.0
    return np.random.default_rng(1).poisson(exact).astype(np.float32)


def moved(geometry, image, shift, turn):
    """One image elsewhere: pixels, and degrees about row, column and beam of the image."""
    axes, centers = geometry.axes.copy(), geometry.centers.copy()
    frame = np.vstack([axes[image], np.cross(*axes[image])])
    axes[image] = (rotation_matrices(np.radians([turn]))[0] @ frame)[:2]
    centers[image] += shift
    return replace(geometry, axes=axes, centers=centers)


@pytest.mark.parametrize(
    ("shift", "turn"),
    [
        ((9.0, 0.0), (0.0, 3.0, 0.0)),
        ((-7.3, 7.2), (0.0, -8.4, 0.0)),
        ((2.0, -5.6), (0.0, 0.0, 6.5)),
        ((3.5, 0.4), (1.5, 2.5, -2.5)),
    ],
    ids=["shift and tilt", "beyond the first trials", "in its plane", "about all axes"],
)
def test_an_image_that_is_far_away_is_found_again(crystal, stated, shift, turn):
    """Truth: one of 14 images, moved and turned; to 0.1 pixels and 0.1 degrees."""
    true = moved(stated, 3, shift, turn)
    found, numbers = relocated(stated, seen(true, crystal), crystal)
    assert numbers.tolist() == [3]
    shifts, rotations = difference(found, true)
    assert np.abs(shifts).max() < 0.1
    assert np.degrees(np.abs(rotations)).max() < 0.1


def test_images_that_are_where_they_should_be_stay_to_the_last_bit(crystal, stated):
    found, numbers = relocated(stated, seen(stated, crystal), crystal)
    assert not numbers.size
    assert_array_equal(found.axes, stated.axes)
    assert_array_equal(found.centers, stated.centers)


def test_an_image_of_something_else_is_left_where_it_is(crystal, stated):
    """Truth: image 5 shows other atoms, which no shift and no turn brings nearer to the model."""
    measured = seen(stated, crystal)
    other = np.random.default_rng(2).uniform(-14, 14, crystal.positions.shape)
    measured[5] = seen(stated, replace(crystal, positions=other))[5]
    found, numbers = relocated(stated, measured, crystal)
    assert not numbers.size
    assert_array_equal(found.centers, stated.centers)
