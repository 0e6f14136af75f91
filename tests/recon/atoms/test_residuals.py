"""What images show beyond a model. Truth: simulated images of atoms of which the model lacks some."""

import numpy as np
import pytest

from aet2dft.recon.atoms.image_model import GaussianAtoms, ImageGeometry, images
from aet2dft.recon.atoms.residuals import BackProjector, missing_atoms
from aet2dft.recon.geometry import tilt_rotations

GEOMETRY = ImageGeometry(
    axes=np.ascontiguousarray(np.swapaxes(tilt_rotations(np.linspace(-68, 68, 35)), 1, 2)[:, :2]),
    centers=np.full((35, 2), 32.0),
    shape=(64, 64),
)
SPACING = 7.0


def crystal():
    """64 atoms on a cubic lattice, pixels."""
    places = SPACING * (np.indices((4, 4, 4)).reshape(3, -1).T - 1.5)
    return GaussianAtoms(
        positions=places + np.random.default_rng(0).uniform(-0.3, 0.3, places.shape),
        heights=np.full(64, 100.0),
        kinds=np.zeros(64, dtype=np.intp),
        widths=np.array([1.35]),
    )


@pytest.fixture(scope="module")
def projector():
    return BackProjector.of(GEOMETRY, diameter=6 * SPACING, width=1.35)


def test_a_single_atom_shows_its_height_at_its_place(projector):
    """Truth: the atom."""
    one = crystal().of_atoms(np.array([0]))
    first = np.floor(one.positions[0]) - 3.0
    volume = projector.volume(images(GEOMETRY, one), first, (8, 8, 8))
    top = np.unravel_index(volume.argmax(), volume.shape)
    assert np.abs(first + top - one.positions[0]).max() < 0.8
    assert volume.max() == pytest.approx(100.0, rel=0.15)


def test_the_atoms_that_a_model_lacks_are_found_and_no_others(projector):
    """Truth: five atoms taken out of the model, one of them at a corner of the crystal."""
    whole = crystal()
    lacking = np.array([0, 21, 26, 41, 47])
    model = whole.of_atoms(np.setdiff1d(np.arange(64), lacking))
    residual = images(GEOMETRY, whole) - images(GEOMETRY, model)
    found = missing_atoms(projector, residual, model.positions, least=35.0, min_distance=5.3)
    wanted = whole.positions[lacking]
    distances = np.linalg.norm(found[:, None] - wanted, axis=2)
    assert sorted(distances.argmin(axis=1)) == [0, 1, 2, 3, 4]
    assert distances.min(axis=1).max() < 0.5


def test_a_complete_model_lacks_nothing(projector):
    whole = crystal()
    residual = np.zeros((35, 64, 64), dtype=np.float32)
    assert missing_atoms(projector, residual, whole.positions, least=1.0, min_distance=5.3).shape == (0, 3)


def test_a_missing_atom_is_neither_too_near_to_another_nor_far_from_all(projector):
    """Truth: an atom 3 pixels from another one, one with a single neighbor, and one with none."""
    whole = crystal()
    near = whole.positions[21] + [3.0, 0, 0]
    upon = whole.positions[63] + [7.0, 0, 0]
    far = whole.positions[0] - [13.0, 0, 0]
    others = GaussianAtoms(
        positions=np.stack([near, upon, far]),
        heights=np.full(3, 100.0),
        kinds=np.zeros(3, dtype=np.intp),
        widths=whole.widths,
    )
    residual = images(GEOMETRY, others)
    found = missing_atoms(projector, residual, whole.positions, least=35.0, min_distance=5.3)
    assert not (np.linalg.norm(found - near, axis=1) < 2.0).any()
    assert (np.linalg.norm(found - upon, axis=1) < 0.5).any()
    assert not (np.linalg.norm(found - far, axis=1) < 2.0).any()
