"""Candidate atoms of volumes. Truth: Gaussian atoms at known places."""

from dataclasses import replace

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aet2dft.config import TraceSettings
from aet2dft.errors import InputError
from aet2dft.recon.atoms.peaks import thinned, trace
from aet2dft.recon.tilt_series import Volume

VOXEL = 0.3725
WIDTH = 0.5


def places(n, size=30, spacing=2.2, seed=0):
    """Up to n places (n, 3), Å, in a box of `size` voxels, no two nearer than the spacing."""
    rng = np.random.default_rng(seed)
    half = size / 2 * VOXEL - 1.9
    found = np.zeros((0, 3))
    for point in rng.uniform(-half, half, (4000, 3)):
        if len(found) < n and (np.linalg.norm(found - point, axis=1) >= spacing).all():
            found = np.vstack([found, point])
    return found


def volume(points, heights=None, size=30, noise=0.0):
    """Gaussian atoms of 0.5 Å, each of sum 1 times its height."""
    axis = (np.arange(size) - size // 2) * VOXEL
    values = np.zeros((size, size, size))
    for point, height in zip(points, np.ones(len(points)) if heights is None else heights, strict=True):
        x, y, z = (np.exp(-0.5 * ((axis - c) / WIDTH) ** 2) for c in point)
        values += height * (VOXEL / WIDTH / np.sqrt(2 * np.pi)) ** 3 * x[:, None, None] * y[:, None] * z
    values += noise * np.random.default_rng(0).standard_normal(values.shape)
    return Volume(values=values.astype(np.float32), voxel_size=VOXEL, origin=np.zeros(3))


def paired(atoms, points):
    """Differences (n, 3) to the nearest place; the atoms are as many as the places."""
    distances = np.linalg.norm(atoms.positions[:, None] - points, axis=2)
    nearest = distances.argmin(axis=1)
    assert sorted(nearest) == list(range(len(points)))
    return atoms.positions - points[nearest]


@pytest.mark.parametrize("seed", range(3))
def test_single_gaussians_are_found_to_a_hundredth_of_a_voxel(seed):
    """Truth: atoms 4.5 Å apart, which do not overlap."""
    points = places(8, spacing=4.5, seed=seed)
    atoms, _ = trace(volume(points))
    assert np.abs(paired(atoms, points)).max() < 0.01 * VOXEL


@pytest.mark.parametrize("spacing", [2.6, 2.4, 2.2])
def test_pairs_of_overlapping_gaussians_are_told_apart(spacing):
    """Truth: two atoms at a distance; their slopes pull the maxima of the sum towards each other.

    The maxima themselves, without smoothing, are found to 0.02 voxels.
    """
    direction = np.array([0.48, 0.6, 0.64])
    points = np.array([-0.5, 0.5])[:, None] * spacing * direction + 0.1
    atoms, _ = trace(volume(points), TraceSettings(smoothing=0))
    along = np.linspace(-0.5, 0.5, 20001) * spacing * 1.2
    sum_of_both = sum(np.exp(-0.5 * ((along - s * spacing) / WIDTH) ** 2) for s in (-0.5, 0.5))
    apart = 2 * abs(along[sum_of_both.argmax()])
    measured = np.linalg.norm(np.diff(atoms.positions, axis=0))
    assert len(atoms) == 2
    assert abs(measured - apart) < 0.02 * VOXEL * 2
    assert np.abs(paired(atoms, points)).max() < 0.1


def test_what_is_measured_of_a_single_atom_is_right():
    """Truth: width 0.5 Å and a sum of 3."""
    atoms, result = trace(volume(np.array([[0.1, -0.2, 0.15]]), heights=[3.0]))
    assert atoms.arrays["peak_width"][0] == pytest.approx(WIDTH, rel=0.02)
    # the sum under a Gaussian window around a Gaussian
    window = (0.65 * VOXEL) ** 2 + 0.3**2
    expected = 3.0 * (window / (window + WIDTH**2)) ** 1.5
    assert atoms.arrays["intensity"][0] == pytest.approx(expected, rel=0.03)
    assert result.n_atoms == 1


def test_of_two_maxima_too_near_the_stronger_stays_and_the_other_has_its_reason():
    points = np.array([[0, 0, -0.9], [0, 0, 0.9]])
    found = volume(points, heights=[1.0, 0.8])
    atoms, result = trace(found, TraceSettings(smoothing=0.1, min_distance=2.0))
    assert len(atoms) == 1
    assert atoms.positions[0, 2] < 0
    assert list(result.rejected.reasons) == ["close to a stronger one"]
    assert result.n_closer == 1
    both, _ = trace(found, TraceSettings(smoothing=0.1, min_distance=1.5))
    assert len(both) == 2


@given(seed=st.integers(0, 100))
def test_the_order_of_points_does_not_change_which_stay(seed):
    """Truth: the same points in another order, sorted by strength as the rule demands."""
    rng = np.random.default_rng(seed)
    points, strength = rng.uniform(0, 10, (60, 3)), rng.permutation(60)
    order = np.argsort(-strength)
    kept = points[order][thinned(points[order], 2.0)]
    again = rng.permutation(60)
    order = again[np.argsort(-strength[again])]
    np.testing.assert_array_equal(kept, points[order][thinned(points[order], 2.0)])


def test_no_kept_point_is_near_a_stronger_kept_one_and_every_dropped_one_is():
    points = np.random.default_rng(0).uniform(0, 10, (80, 3))
    stays = thinned(points, 2.0)
    distances = np.linalg.norm(points[:, None] - points[None], axis=2)
    for i in range(80):
        assert (distances[i, :i][stays[:i]] <= 2.0).any() == (not stays[i])


def test_mirroring_the_volume_mirrors_the_atoms():
    """Truth: the same atoms; maxima are visited in another order."""
    points = places(10)
    one = volume(points, size=31)
    atoms, _ = trace(one)
    mirrored, _ = trace(replace(one, values=np.ascontiguousarray(one.values[::-1, ::-1])))
    turned = mirrored.positions * [-1, -1, 1]
    assert np.abs(paired(atoms, turned)).max() < 1e-3 * VOXEL


def test_position_sigma_covers_the_errors_of_a_noisy_volume():
    """Truth: white noise of the volume; within a factor 1.5 of the scatter (its noise is estimated from 60 widths)."""
    errors, stated = [], []
    for seed in range(4):
        points = places(14, spacing=3.4, seed=seed)
        atoms, _ = trace(volume(points, noise=0.0015), TraceSettings(threshold=0.01))
        errors.append(paired(atoms, points))
        stated.append(atoms.arrays["position_sigma"])
    ratio = np.sqrt(np.mean(np.concatenate(errors) ** 2) / np.mean(np.concatenate(stated) ** 2))
    assert 1 / 1.5 < ratio < 1.5


def test_threads_do_not_change_a_byte():
    """Truth: one thread."""
    found, before, results = volume(places(12)), numba.get_num_threads(), []
    try:
        for threads in (1, numba.config.NUMBA_NUM_THREADS):
            numba.set_num_threads(threads)
            results.append(trace(found)[0].positions.tobytes())
    finally:
        numba.set_num_threads(before)
    assert len(set(results)) == 1


def test_a_volume_without_maxima_or_with_numbers_that_are_none_is_refused():
    flat = volume(places(3))
    with pytest.raises(InputError, match="no positive maximum"):
        trace(replace(flat, values=np.zeros_like(flat.values)))
    with pytest.raises(InputError, match="NaN or infinite"):
        trace(replace(flat, values=np.where(flat.values > 0.1 * flat.values.max(), np.nan, flat.values)))
    with pytest.raises(InputError, match="give a lower threshold"):
        trace(flat, TraceSettings(threshold=1e6))


def test_a_threshold_in_the_noise_is_refused():
    noise = np.random.default_rng(0).standard_normal((30, 30, 30)).astype(np.float32)
    with pytest.raises(InputError, match="they are noise"):
        trace(Volume(values=noise, voxel_size=0.1, origin=np.zeros(3)), TraceSettings(threshold=0.01, smoothing=0))


def test_a_spacing_that_no_solid_has_is_a_warning():
    points = places(10)
    small = replace(volume(points), voxel_size=0.05)
    _, result = trace(small, TraceSettings(min_distance=0.1, smoothing=0.04))
    assert "is the voxel size right" in result.warnings[0]
