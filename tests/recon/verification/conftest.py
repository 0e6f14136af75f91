"""A piece of the measured particle that fits into small images."""

import numpy as np
import pytest


@pytest.fixture(scope="module")
def ball(fept):
    """A ball of 16 Å of the measured particle, without symmetry, its center off zero by a tenth of an Å."""
    piece = fept[np.linalg.norm(fept.positions - fept.positions.mean(axis=0), axis=1) < 8]
    piece.positions += 0.1 - piece.positions.mean(axis=0)
    return piece
