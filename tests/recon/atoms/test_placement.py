"""Atoms from elsewhere in the frame of the images. Truth: simulated images of atoms that are then moved."""

import numpy as np
import pytest
from ase import Atoms
from numpy.testing import assert_allclose

from aet2dft.errors import InputError
from aet2dft.recon.atoms.placement import place
from aet2dft.recon.atoms.simulate import Noise, simulate

TILTS = np.linspace(-66.0, 64.0, 15)
PIXEL = 0.4


@pytest.fixture(scope="module")
def piece(fept):
    """Piece of the measured particle whose middle is not the origin."""
    inside = np.linalg.norm(fept.positions - fept.positions.mean(axis=0) - (1, 2, 3), axis=1) < 7
    piece = fept[inside]
    piece.positions -= fept.positions.mean(axis=0)
    return piece


@pytest.fixture(scope="module")
def series(piece):
    """Its noisy images."""
    noise = Noise(counts=200, read_noise=1)
    return simulate(piece, TILTS, shape=(56, 52), pixel_size=PIXEL, noise=noise, seed=1)


@pytest.mark.parametrize("move", [(40.0, 41.0, 39.0), (-1.3, 0.2, 0.9), (200.0, 0.0, -7.0)])
def test_atoms_are_moved_back_to_where_the_images_show_them(piece, series, move):
    foreign = piece.copy()
    foreign.positions += move
    found, shift = place(foreign, series)
    assert_allclose(shift, -np.array(move), atol=0.15)
    assert_allclose(found.positions, piece.positions, atol=0.15)
    assert_allclose(foreign.positions - move, piece.positions, atol=1e-9)


def test_candidates_of_another_volume_are_placed_by_their_intensities(piece, series):
    """Truth: the atoms; their elements are not known, at first with heights, then without."""
    candidates = Atoms("X" * len(piece), positions=piece.positions + np.array([3.0, -2.0, 1.0]))
    assert_allclose(place(candidates, series)[1], (-3.0, 2.0, -1.0), atol=0.3)
    candidates.set_array("intensity", np.where(piece.symbols == "Pt", 1.0, 0.2))
    assert_allclose(place(candidates, series)[1], (-3.0, 2.0, -1.0), atol=0.15)


def test_atoms_that_are_in_place_stay_untouched(piece, series):
    found, shift = place(piece, series)
    assert_allclose(found.positions, piece.positions, rtol=0, atol=0)
    assert_allclose(shift, 0)


def test_atoms_in_place_stay_whatever_their_heights_say_of_the_middle(piece, series):
    """Truth: the atoms; heights that rise across the particle would move it by more than a pixel."""
    lopsided = piece.copy()
    lopsided.set_array("intensity", np.exp(0.15 * (piece.positions[:, 1] - piece.positions[:, 1].min())))
    found, shift = place(lopsided, series)
    assert_allclose(shift, 0)
    assert_allclose(found.positions, piece.positions)


def test_the_depth_stays_where_images_of_one_tilt_leave_it_open(piece):
    flat = simulate(piece, [0.0, 0.0], shape=(56, 52), pixel_size=PIXEL)
    foreign = piece.copy()
    foreign.positions += (2.0, -3.0, 0.0)
    _, shift = place(foreign, flat)
    middle = -(piece.positions[:, 2].max() + piece.positions[:, 2].min()) / 2
    assert_allclose(shift, (-2.0, 3.0, middle), atol=0.15)


def test_no_atoms_are_refused(series):
    with pytest.raises(InputError, match="no atoms to place"):
        place(Atoms(), series)
