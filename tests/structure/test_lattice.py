"""Lattice indexing. Truth: built crystals (bent, sheared, twinned, noisy), non-fcc crystals, published particles."""

import tracemalloc

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.cluster import Decahedron
from hypothesis import given, settings
from numpy.testing import assert_allclose, assert_array_equal
from reference import fcc_misfit, frame_map
from scipy.io import loadmat
from scipy.spatial.transform import Rotation
from strategies import permuted, rotated, rotations, seeds, shifted, shifts, sphere

from aet2dft.errors import InputError
from aet2dft.structure import _kernels
from aet2dft.structure.lattice import cubic_rotations, index_lattice, misorientation, nearest_neighbor_distance
from aet2dft.structure.marching import march
from aet2dft.synthetic import measured, nine_grains, ordered_crystal, particle, two_grains

A = 3.875


def ball_of_fcc(n_atoms=600):
    return sphere(ordered_crystal(1, 8), n_atoms)


@pytest.fixture(scope="module")
def large():
    """A particle of 23,196 atoms as tomography would see it, turned and moved."""
    turn = Rotation.from_euler("zyx", (21, -33, 57), degrees=True).as_matrix()
    return measured(particle(nine_grains()), rotation=turn, shift=(12.0, 34.0, 56.0))


@given(rotation=rotations(), shift=shifts())
def test_a_perfect_crystal_is_fitted_exactly_wherever_it_lies(rotation, shift):
    atoms = shifted(rotated(ball_of_fcc(), rotation), shift)
    indexed, (fit,) = index_lattice(atoms)
    assert fit.n_indexed == len(atoms)
    assert_allclose(fit.cubic_a, A, atol=1e-9)
    assert_allclose(fit.lengths, A, atol=1e-9)
    assert_allclose(fit.angles, 90.0, atol=1e-8)
    assert_allclose(fit.positions(indexed.arrays["site"]), atoms.positions, atol=1e-9)
    assert_allclose(fit.cubic_positions(indexed.arrays["site"]), atoms.positions, atol=1e-9)
    assert_allclose(misorientation(fit.rotation, rotation), 0.0, atol=1e-4)


@given(rotation=rotations(), seed=seeds)
def test_sites_are_the_true_ones_up_to_a_turn_of_the_cube_and_a_shift(rotation, seed):
    atoms = measured(particle(two_grains(), n_atoms=800, seed=seed), rotation=rotation, false_atoms=0.0, seed=seed)
    indexed, (fit,) = index_lattice(atoms)
    site, true = indexed.arrays["site"], atoms.arrays["true_site"]
    turn, move = frame_map(site, true)
    assert fit.n_indexed == len(atoms)
    assert_array_equal(site, true @ turn.T + move)
    assert abs(round(np.linalg.det(turn))) == 1
    assert (site.sum(axis=1) % 2 == 0).all()


@given(seed=seeds)
def test_the_numbering_of_the_atoms_does_not_matter(seed):
    atoms = measured(particle(two_grains(), n_atoms=600, seed=1), seed=2)
    renumbered, old = permuted(atoms, seed)
    (here, _), (there, _) = index_lattice(atoms), index_lattice(renumbered)
    for name in ("site", "lattice"):
        assert_array_equal(there.arrays[name], here.arrays[name][old])
    assert_allclose(there.arrays["displacement"], here.arrays["displacement"][old], atol=1e-9)


@given(seed=seeds)
def test_a_homogeneously_strained_crystal_is_fitted_exactly(seed):
    deformation = np.eye(3) + np.random.default_rng(seed).uniform(-0.03, 0.03, size=(3, 3))
    atoms = rotated(ball_of_fcc(), deformation)
    indexed, (fit,) = index_lattice(atoms)
    assert fit.n_indexed == len(atoms)
    assert_allclose(abs(np.linalg.det(fit.cell)), A**3 * np.linalg.det(deformation), rtol=1e-9)
    assert_allclose(indexed.arrays["displacement"], 0.0, atol=1e-9)
    assert fit.rms_displacement_cubic[3] > fit.rms_displacement[3]


def test_indexing_is_right_at_22_pm_with_wrong_missing_and_false_atoms(large):
    indexed, (fit,) = index_lattice(large)
    real, found = large.arrays["true_number"] > 0, indexed.arrays["lattice"] == 1
    site, true = indexed.arrays["site"], large.arrays["true_site"]
    turn, move = frame_map(site[real & found], true[real & found])
    right = (site == true @ turn.T + move).all(axis=1) & found
    assert right[real].mean() >= 0.999
    assert right[real & found].all()
    assert found[~real].mean() < 0.05
    assert abs(fit.cubic_a - A) < 3e-4
    assert_allclose(fit.lengths, A, atol=5e-4)
    assert_allclose(fit.angles, 90.0, atol=0.02)
    assert_allclose(fit.rms_displacement[3], 0.22, atol=0.005)


def test_indexing_is_right_at_38_pm_with_three_percent_of_errors():
    atoms = measured(particle(nine_grains()), noise=0.38, species_error=0.03, missing=0.03, false_atoms=0.01)
    indexed, (fit,) = index_lattice(atoms)
    real, found = atoms.arrays["true_number"] > 0, indexed.arrays["lattice"] == 1
    turn, move = frame_map(indexed.arrays["site"][real & found], atoms.arrays["true_site"][real & found])
    right = (indexed.arrays["site"] == atoms.arrays["true_site"] @ turn.T + move).all(axis=1) & found
    assert right[real].mean() >= 0.999
    assert abs(fit.cubic_a - A) < 5e-4


def bent(positions, degrees):
    """Bend about y so that the ends along x differ by this angle."""
    x, z = positions[:, 0], positions[:, 2]
    radius = np.ptp(x) / np.radians(degrees)
    arm, angle = radius + z, x / radius
    return np.column_stack([arm * np.sin(angle), positions[:, 1], arm * np.cos(angle) - radius])


def sheared(positions, amount):
    """Shear along x, proportional to y."""
    return positions + amount * positions[:, [1]] * np.array([1.0, 0.0, 0.0])


@pytest.mark.parametrize(("deform", "amount"), [(bent, 10.0), (sheared, 0.05)])
def test_bending_by_ten_degrees_and_five_percent_shear_keep_the_index(deform, amount):
    atoms = measured(particle(two_grains(), n_atoms=4000, seed=3), false_atoms=0.0)
    atoms.positions = deform(atoms.positions, amount)
    indexed, _ = index_lattice(atoms)
    site, true = indexed.arrays["site"], atoms.arrays["true_site"]
    turn, move = frame_map(site, true)
    found = indexed.arrays["lattice"] == 1
    assert found.mean() > 0.995
    assert_array_equal(site[found], (true @ turn.T + move)[found])


def test_two_crystals_that_share_a_twin_plane_become_two_lattices():
    crystal = sphere(ordered_crystal(1, 12), 3000).positions
    normal = np.ones(3) / np.sqrt(3.0)
    height = (crystal - crystal.mean(axis=0)) @ normal
    height -= height[np.argmin(np.abs(height))]
    lower = crystal[height < 1e-6]
    both = np.concatenate([lower, mirror(crystal, height, normal)])
    upper = np.arange(len(both)) >= len(lower)
    both += np.random.default_rng(0).normal(scale=0.127, size=both.shape)
    indexed, fits = index_lattice(Atoms(["Pt"] * len(both), positions=both), tolerance=0.3)
    lattice = indexed.arrays["lattice"]
    assert [round(fit.misorientation) for fit in fits] == [0, 60]
    assert (lattice > 0).mean() > 0.99
    # no atom below the plane belongs to the crystal above
    assert min((lattice[~upper] == k).mean() for k in (1, 2)) < 0.005


def mirror(positions, height, normal):
    """The lower half of a crystal, reflected at the plane of height zero."""
    lower = height < -1e-6
    return positions[lower] - 2.0 * np.outer(height[lower], normal)


def test_a_decahedron_is_five_lattices():
    atoms = Decahedron("Pt", 9, 3, 0)
    indexed, fits = index_lattice(atoms)
    assert len(fits) == 5
    assert (indexed.arrays["lattice"] > 0).all()
    assert sorted(round(fit.misorientation) for fit in fits) == [0, 36, 36, 60, 60]


@pytest.mark.needs_data
def test_a_published_decahedron_is_five_lattices_and_a_truncated_octahedron_one(data_dir):
    def read(name, voxel):
        mat = loadmat(data_dir / "pdpt_core_shell" / f"coordinates_{name}.mat")
        return Atoms(np.where(mat["type"].ravel() == 1, "Pd", "Pt"), positions=voxel * mat["pos"].T)

    indexed, fits = index_lattice(read("PB", 0.3434), tolerance=0.25)
    assert len(fits) == 5
    assert (indexed.arrays["lattice"] == 0).sum() < 120
    assert_allclose([fit.misorientation for fit in fits], [0, 60, 36, 60, 36], atol=1.0)
    assert all(0.1 < fit.rms_displacement[3] < 0.3 for fit in fits)
    indexed, fits = index_lattice(read("TO", 0.3434))
    assert len(fits) == 1
    assert fits[0].n_indexed >= 8452
    assert fits[0].rms_displacement_cubic[3] > fits[0].rms_displacement[3]


def crystal_of(name):
    built = {
        "bcc": lambda: bulk("Fe", cubic=True) * (14, 14, 14),
        "hcp": lambda: bulk("Co") * (16, 16, 10),
        "sc": lambda: bulk("Po", "sc", a=3.3) * (16, 16, 16),
        "diamond": lambda: bulk("Si", cubic=True) * (8, 8, 8),
    }
    return sphere(built[name](), 1500)


@pytest.mark.parametrize("noise", [0.0, 0.05, 0.127])
@pytest.mark.parametrize("name", ["bcc", "hcp", "sc", "diamond"])
def test_crystals_that_are_not_fcc_are_refused(name, noise):
    atoms = crystal_of(name)
    atoms.positions += np.random.default_rng(1).normal(size=atoms.positions.shape) * noise
    with pytest.raises(InputError, match="not fcc"):
        index_lattice(atoms)


def test_a_bcc_grain_beside_an_fcc_one_is_no_lattice():
    fcc, bcc = ball_of_fcc(900), sphere(bulk("Fe", cubic=True) * (9, 9, 9), 500)
    bcc.positions += fcc.positions.max(axis=0) - bcc.positions.min(axis=0) + 10.0
    indexed, (fit,) = index_lattice(fcc + bcc)
    assert fit.n_indexed == 900
    assert indexed.arrays["lattice"].tolist() == [1] * 900 + [0] * 500
    assert not indexed.arrays["site"][900:].any()
    assert np.isnan(indexed.arrays["displacement"][900:]).all()
    again = bcc.copy()
    again.positions += 40.0
    with pytest.raises(InputError, match="only 900 of 1900 atoms find a site"):
        index_lattice(fcc + bcc + again)


def test_random_points_are_refused():
    points = np.random.default_rng(0).uniform(0, 40, size=(3000, 3))
    with pytest.raises(InputError, match="not fcc"):
        index_lattice(Atoms(["Pt"] * len(points), positions=points))


@pytest.mark.needs_data
def test_a_metallic_glass_is_refused(data_dir):
    points = loadmat(data_dir / "metallic_glass_2021" / "final_atom_coord_inA.mat")
    points = next(value for name, value in points.items() if not name.startswith("_")).T
    with pytest.raises(InputError, match="not fcc"):
        index_lattice(Atoms(["Pt"] * len(points), positions=points.astype(float)))


def test_twelve_atoms_are_too_few():
    with pytest.raises(InputError, match="too few"):
        index_lattice(ball_of_fcc(12))


def test_two_shells_around_one_atom_are_enough_for_a_lattice():
    crystal = ordered_crystal(1, 6)
    distance = np.linalg.norm(crystal.positions - 3 * A, axis=1)
    atoms = Atoms(["Pt"] * 19, positions=crystal.positions[np.argsort(distance)[:19]])
    assert index_lattice(atoms)[1][0].n_indexed == 19


def test_an_atom_far_away_costs_nothing():
    atoms = ball_of_fcc() + Atoms("Pt", positions=[[150.0, 0.0, 0.0]])
    indexed, (fit,) = index_lattice(atoms)
    assert fit.n_indexed == len(atoms) - 1
    assert indexed.arrays["lattice"][-1] == 0


def test_the_memory_for_a_rod_grows_with_its_length_and_not_with_the_cube_of_it():
    def peak(length):
        rod = bulk("Pt", a=A, cubic=True) * (2, 2, length)
        tracemalloc.start()
        assert march(rod.positions, A / np.sqrt(2), 0.35)[0].size == len(rod)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    peak(10)
    assert peak(120) < 2.5 * peak(60)


def test_the_axes_are_those_nearest_to_the_axes_of_the_model():
    for turn in cubic_rotations():
        tilt = Rotation.from_euler("z", 11, degrees=True).as_matrix()
        _, (fit,) = index_lattice(rotated(ball_of_fcc(), turn @ tilt))
        assert np.degrees(np.arccos((np.trace(fit.rotation) - 1) / 2)) == pytest.approx(11.0, abs=1e-6)


def test_there_are_24_rotations_of_the_cube_and_they_are_a_group():
    group = {tuple(m.ravel()) for m in cubic_rotations()}
    assert len(group) == 24
    assert {tuple((a @ b).ravel()) for a in cubic_rotations() for b in cubic_rotations()} == group
    assert all(round(np.linalg.det(m)) == 1 for m in cubic_rotations())


@given(first=rotations(), second=rotations())
def test_misorientation_is_symmetric_and_blind_to_the_cube(first, second):
    angle = misorientation(first, second)
    assert angle == pytest.approx(misorientation(second, first), abs=1e-6)
    turned = misorientation(first @ cubic_rotations()[7], second @ cubic_rotations()[13])
    assert angle == pytest.approx(turned, abs=1e-6)
    assert angle <= 62.81


def test_a_twin_is_misoriented_by_60_degrees():
    turn = Rotation.from_rotvec(np.ones(3) / np.sqrt(3) * np.pi / 3).as_matrix()
    assert misorientation(np.eye(3), turn) == pytest.approx(60.0)


@given(seed=seeds)
def test_the_first_peak_of_the_pair_distances_is_found(seed):
    atoms = measured(particle(two_grains(), n_atoms=1000, seed=seed), seed=seed)
    assert nearest_neighbor_distance(atoms.positions) == pytest.approx(A / np.sqrt(2.0), abs=0.03)
    assert nearest_neighbor_distance(ball_of_fcc().positions) == pytest.approx(A / np.sqrt(2.0), abs=1e-6)


def neighbor_list(points, reach):
    distance = np.linalg.norm(points[:, None] - points[None], axis=2)
    near = (distance < reach) & (distance > 0)
    indptr = np.append(0, np.cumsum(near.sum(axis=1)))
    return indptr.astype(np.int64), np.nonzero(near)[1].astype(np.int32)


@given(seed=seeds)
@settings(max_examples=4)
def test_frames_are_those_of_the_slow_version_compiled_or_not(seed):
    spacing = A / np.sqrt(2.0)
    points = ball_of_fcc(55).positions + np.random.default_rng(seed).normal(scale=0.1, size=(55, 3))
    lists = neighbor_list(points, 1.7 * spacing)
    residual, axes = _kernels.fcc_frames(points, *lists, spacing)
    plain_residual, plain_axes = _kernels.fcc_frames.py_func(points, *lists, spacing)
    assert_allclose(residual, plain_residual, rtol=1e-12)
    assert_allclose(axes, plain_axes, atol=1e-12)
    chosen = [*np.argsort(residual)[:3], np.argmax(residual)]
    assert_allclose(residual[chosen], [fcc_misfit(points, spacing, i) for i in chosen], rtol=1e-9)


def test_a_prediction_is_the_mean_of_what_the_neighbors_say():
    rng = np.random.default_rng(0)
    points, steps = rng.normal(size=(20, 3)), rng.normal(size=(12, 3))
    around = rng.integers(-1, 20, size=(30, 12)).astype(np.int32)
    around[:, 0] = 3
    expected = [np.mean([points[j] + steps[k] for k, j in enumerate(row) if j >= 0], axis=0) for row in around]
    assert_allclose(_kernels.predict(points, around, steps), expected, atol=1e-12)
    assert_allclose(_kernels.predict.py_func(points, around, steps), expected, atol=1e-12)


def test_the_model_is_not_changed(large):
    before = large.positions.copy()
    indexed, _ = index_lattice(large)
    assert "site" not in large.arrays
    assert_array_equal(large.positions, before)
    assert np.isnan(indexed.arrays["displacement"][indexed.arrays["lattice"] == 0]).all()
