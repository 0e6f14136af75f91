"""Images that do not show the atoms. Truth: what was put into atoms and images."""

import numpy as np
import pytest
from ase import Atoms

from aet2dft.errors import InputError
from aet2dft.recon.atoms.image_model import GaussianAtoms, ImageGeometry, images
from aet2dft.recon.atoms.presence import check_kept, check_shown, other_units
from aet2dft.recon.tilt_series import TiltSeries


def fitted(n, error):
    """Atoms whose positions are known to so many Å along each axis."""
    atoms = Atoms(f"Pt{n}", positions=3.0 * np.arange(3 * n).reshape(n, 3))
    atoms.set_array("position_sigma", np.full((n, 3), error))
    return atoms


def test_atoms_that_most_were_dropped_of_are_not_shown():
    before, after = fitted(10, 0.1), fitted(4, 0.1)
    check_kept(before, fitted(6, 0.1), kept=np.arange(6), min_distance=2.0)
    with pytest.raises(InputError, match="6 of 10 had to be dropped"):
        check_kept(before, after, kept=np.arange(4), min_distance=2.0)
    # most candidates may be noise
    check_kept(Atoms("X10", positions=before.positions), after, kept=np.arange(4), min_distance=2.0)
    before.set_array("intensity", np.repeat([5.0, 1.0], [4, 6]))
    check_kept(before, after, kept=np.arange(4), min_distance=2.0)


def test_positions_that_are_worth_nothing_are_not_shown():
    with pytest.raises(InputError, match=r"to 3\.46 Å in the median"):
        check_kept(fitted(5, 2.0), fitted(5, 2.0), kept=np.arange(5), min_distance=2.0)


def test_dark_atoms_are_not_shown():
    empty = TiltSeries.from_angles(np.zeros((3, 20, 20), np.float32), [-30, 0, 30], pixel_size=0.5)
    atoms = GaussianAtoms(
        positions=np.array([[1.0, 0.0, 2.0]]), heights=np.ones(1), kinds=np.zeros(1, int), widths=np.array([1.2])
    )
    bright = images(ImageGeometry.of(empty), atoms)
    assert check_shown(atoms, TiltSeries.from_angles(bright, [-30, 0, 30], pixel_size=0.5)).all()
    one = np.arange(3)[:, None, None] == 1
    shown = check_shown(atoms, TiltSeries.from_angles(np.where(one, 0.0, bright), [-30, 0, 30], pixel_size=0.5))
    assert shown.tolist() == [True, False, True]
    with pytest.raises(InputError, match="not brighter where the atoms should be"):
        check_shown(atoms, TiltSeries.from_angles(-bright, [-30, 0, 30], pixel_size=0.5))


def test_an_image_ten_times_as_bright_as_most_is_in_other_units():
    tilts = np.linspace(-60, 60, 9)
    empty = TiltSeries.from_angles(np.zeros((9, 20, 20), np.float32), tilts, pixel_size=0.5)
    atoms = GaussianAtoms(
        positions=np.array([[1.0, 0.0, 2.0]]), heights=np.ones(1), kinds=np.zeros(1, int), widths=np.array([1.2])
    )
    bright = images(ImageGeometry.of(empty), atoms)
    for factor, expected in ((1.0, 1.0), (8.0, 1.0), (40.0, 40.0)):
        bright[2] *= factor
        found = other_units(atoms, TiltSeries.from_angles(bright, tilts, pixel_size=0.5))
        bright[2] /= factor
        assert found[2] == pytest.approx(expected, rel=1e-3)
        assert (np.delete(found, 2) == 1.0).all()
