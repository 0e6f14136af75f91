"""Shifts and rotations of images against atoms. Truth: simulated images with known errors of the geometry."""

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

from aet2dft.recon.atoms.image_model import GaussianAtoms, ImageGeometry, images
from aet2dft.recon.atoms.image_poses import corrected, difference, posed, rotation_matrices
from aet2dft.recon.geometry import tilt_rotations
from aet2dft.recon.tilt_series import TiltSeries


def setting(n_images=11):
    rng = np.random.default_rng(0)
    geometry = ImageGeometry(
        axes=np.ascontiguousarray(np.swapaxes(tilt_rotations(np.linspace(-60, 60, n_images)), 1, 2)[:, :2]),
        centers=np.full((n_images, 2), 32.0),
        shape=(64, 64),
    )
    atoms = GaussianAtoms(
        positions=rng.uniform(-14, 14, (60, 3)),
        heights=rng.uniform(200, 400, 60),
        kinds=np.zeros(60, dtype=np.intp),
        widths=np.array([1.4]),
    )
    return geometry, atoms


def test_shifts_and_turns_of_single_images_are_found():
    """Truth: shifts up to 0.5 pixels and turns up to 0.6 degrees about all axes, without noise."""
    geometry, atoms = setting()
    rng = np.random.default_rng(1)
    turns = np.radians(rng.uniform(-0.6, 0.6, (11, 3)))
    turns -= turns.mean(axis=0)
    true = replace(
        geometry,
        axes=geometry.axes @ rotation_matrices(turns),
        centers=geometry.centers + rng.uniform(-0.5, 0.5, (11, 2)),
    )
    measured = 1.1 * images(true, atoms) + 3.0
    found = geometry
    for _ in range(6):
        found = posed(found, measured, atoms)
    shifts, rotations = difference(found, true)
    # a translation and a rotation of the whole object belong to the atoms
    translation, *_ = np.linalg.lstsq(true.axes.reshape(-1, 3), shifts.ravel(), rcond=None)
    assert np.abs(shifts - true.axes @ translation).max() < 5e-3
    assert np.degrees(np.abs(rotations - rotations.mean(axis=0))).max() < 0.02


def test_images_that_are_right_stay_where_they_are():
    geometry, atoms = setting()
    shifts, rotations = difference(posed(geometry, images(geometry, atoms), atoms), geometry)
    assert np.abs(shifts).max() < 1e-3
    assert np.degrees(np.abs(rotations)).max() < 1e-3


def test_the_memory_of_a_step_is_a_few_copies_of_the_images():
    geometry, atoms = setting(66)
    measured = images(geometry, atoms)
    posed(geometry, measured, atoms)
    tracemalloc.start()
    posed(geometry, measured, atoms)
    needed = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert needed < 9 * measured.nbytes


def test_the_difference_of_two_geometries_is_what_was_done_to_them():
    geometry, _ = setting()
    vectors = np.random.default_rng(2).normal(size=(11, 3)) * 0.1
    centers = geometry.centers + np.array([1.0, -2.0])
    moved = replace(geometry, axes=geometry.axes @ rotation_matrices(vectors), centers=centers)
    shifts, rotations = difference(moved, geometry)
    np.testing.assert_allclose(shifts, np.tile([1.0, -2.0], (11, 1)))
    np.testing.assert_allclose(rotations, vectors, atol=1e-12)


@pytest.mark.parametrize("n_atoms", [1, 2])
def test_so_few_atoms_that_no_turn_shows_leave_the_geometry_finite(n_atoms):
    geometry, atoms = setting()
    few = atoms.of_atoms(np.arange(n_atoms))
    found = posed(geometry, images(geometry, few), few)
    assert np.isfinite(found.axes).all()
    np.testing.assert_allclose(found.centers, geometry.centers, atol=1e-2)


def test_a_corrected_series_sees_the_atoms_where_the_fit_does():
    geometry, _atoms = setting()
    random = np.random.default_rng(3)
    turns, shifts = 0.1 * random.normal(size=(11, 3)), random.normal(size=(11, 2))
    fitted = replace(geometry, axes=geometry.axes @ rotation_matrices(turns), centers=geometry.centers + shifts)
    series = TiltSeries.from_angles(np.ones((11, 64, 64)), np.linspace(-60, 60, 11), pixel_size=0.5)
    found, rotations = difference(fitted, geometry)
    again = ImageGeometry.of(corrected(series, found, np.degrees(rotations)))
    assert np.allclose(again.axes, fitted.axes)
    assert np.allclose(again.centers, fitted.centers)
