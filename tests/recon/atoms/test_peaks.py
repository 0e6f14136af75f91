"""Candidate atoms of volumes. Truth: Gaussian atoms at known places."""

import tracemalloc
from dataclasses import replace

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from scipy.ndimage import gaussian_filter

from aet2dft.config import TraceSettings
from aet2dft.errors import InputError
from aet2dft.recon.atoms import _kernels_peaks as kernels
from aet2dft.recon.atoms.levels import _brightest_neighbors, maxima
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


def volume(points, heights=None, size=30, noise=0.0, seed=0):
    """Gaussian atoms of 0.5 Å, each of sum 1 times its height."""
    axis = (np.arange(size) - size // 2) * VOXEL
    x, y, z = (np.exp(-0.5 * ((axis - c[:, None]) / WIDTH) ** 2) for c in np.transpose(points))
    sums = np.ones(len(points)) if heights is None else np.asarray(heights)
    x *= sums[:, None] * (VOXEL / WIDTH / np.sqrt(2 * np.pi)) ** 3
    values = np.einsum("ax,ay,az->xyz", x, y, z, optimize=True)
    values += noise * np.random.default_rng(seed).standard_normal(values.shape)
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
    """Truth: two atoms at a distance, whose maxima lean towards each other by up to 0.1 Å."""
    direction = np.array([0.48, 0.6, 0.64])
    points = np.array([-0.5, 0.5])[:, None] * spacing * direction + 0.1
    atoms, _ = trace(volume(points))
    assert np.abs(paired(atoms, points)).max() < 0.02


def test_what_is_measured_of_a_single_atom_is_right():
    """Truth: width 0.5 Å and a sum of 3."""
    atoms, result = trace(volume(np.array([[0.1, -0.2, 0.15]]), heights=[3.0]))
    assert atoms.arrays["peak_width"][0] == pytest.approx(WIDTH, rel=0.02)
    # the sum under a Gaussian window around a Gaussian
    window = (0.15 * 2.0) ** 2 + 0.3**2
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


def test_bonds_that_the_minimum_distance_cuts_are_told_with_one_that_keeps_them():
    """Truth: eight pairs of atoms 1.8 Å apart, the pairs far from each other."""
    middles = np.stack(np.meshgrid(*[(-2.2, 2.2)] * 3), axis=-1).reshape(-1, 3)
    bond = np.array([0, 0, 1.8])
    points = np.concatenate([middles - bond / 2, middles + bond / 2])
    found = volume(points, heights=np.repeat([1.0, 0.9], 8), size=34)
    atoms, result = trace(found, TraceSettings(smoothing=0.1))
    assert len(atoms) == 8
    (said,) = result.warnings
    assert said.startswith("8 maxima that are no noise lie 1.77 to 1.78 Å from")
    assert said.endswith("if bonds are shorter than 2 Å, take --min-distance 1.5")
    atoms, result = trace(found, TraceSettings(smoothing=0.1, min_distance=1.5))
    assert len(atoms) == 16
    assert not result.warnings


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


@pytest.mark.parametrize(("spacing", "noise"), [(2.2, 0.0015), (3.4, 0.003)])
def test_two_of_three_intervals_hold_position_height_and_width(spacing, noise):
    """Truth: 500 atoms in white noise, 150 in a volume; heights are sums under the window, widths 0.5 Å."""
    window = (0.15 * 2.0) ** 2 + 0.3**2
    expected = (window / (window + WIDTH**2)) ** 1.5
    scores = {"position": [], "intensity": [], "peak_width": []}
    for seed in range(4):
        points = places(150, size=60, spacing=spacing, seed=seed)
        atoms, _ = trace(volume(points, size=60, noise=noise, seed=seed), TraceSettings(threshold=0.011))
        arrays = atoms.arrays
        scores["position"].append(paired(atoms, points) / arrays["position_sigma"])
        scores["intensity"].append((arrays["intensity"] - expected) / arrays["intensity_sigma"])
        scores["peak_width"].append((arrays["peak_width"] - WIDTH) / arrays["peak_width_sigma"])
    for name, each in scores.items():
        held = (np.abs(np.concatenate(each)) < 1).mean()
        assert 0.63 <= held <= 0.73, (name, held)


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


@pytest.mark.parametrize(("ground", "factor"), [(0.02, 1.0), (5.0, 1.0), (-0.5, 1.0), (3e4, 1e6)])
@pytest.mark.parametrize("noise", [0.0, 2e-4])
def test_a_constant_in_the_volume_changes_no_atom(ground, factor, noise):
    """Truth: the same volume without it; its highest voxel is 0.16."""
    plain = volume(places(12), noise=noise)
    atoms, result = trace(plain)
    raised, said = trace(replace(plain, values=factor * plain.values + np.float32(ground)))
    assert said.n_candidates == pytest.approx(result.n_candidates, rel=0.3)
    assert "ground of the volume" in said.warnings[0]
    assert not result.warnings
    strong = atoms.arrays["intensity"] > 0.5 * atoms.arrays["intensity"].max()
    assert np.abs(paired(raised[: strong.sum()], atoms.positions[strong])).max() < 0.01


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_single_voxels_brighter_than_all_atoms_do_not_decide_what_is_strong(smoothing):
    """Truth: the same volume without them."""
    plain, settings = volume(places(12)), TraceSettings(smoothing=smoothing)
    values = plain.values.copy()
    values[2, 3, 4] = values[25, 20, 4] = 100 * values.max()
    atoms, result = trace(replace(plain, values=values), settings)
    expected, _ = trace(plain, settings)
    assert np.abs(paired(atoms[: len(expected)], expected.positions)).max() < 0.02
    assert "(first: (2, 3, 4))" in result.warnings[0]


@pytest.mark.parametrize(("times", "n"), [(10, 1), (100, 1)])
def test_a_few_spots_brighter_than_all_atoms_do_not_decide_what_is_strong_either(times, n):
    """Truth: 60 atoms of two heights, of which a few were made far brighter."""
    points, heights = places(60, size=48), np.where(np.arange(60) % 2, 1.0, 0.25)
    _, plain = trace(volume(points, heights, size=48))
    heights[1 : 2 * n : 2] = times
    atoms, result = trace(volume(points, heights, size=48))
    assert result.strong == pytest.approx(plain.strong, rel=0.1)
    assert result.warnings[0].startswith(f"{n} maxim")
    assert "3 times as high as all others" in result.warnings[0]
    near = np.linalg.norm(atoms.positions[:, None] - points, axis=2).min(axis=0)
    assert (near < 0.3).sum() >= 55
    assert plain.warnings == ()


def test_brightest_neighbors_are_those_of_a_slow_search_in_little_memory():
    values = np.random.default_rng(0).standard_normal((40, 40, 40)).astype(np.float32)
    found, _ = maxima(values)
    tracemalloc.start()
    brightest = _brightest_neighbors(values, found)
    assert tracemalloc.get_traced_memory()[1] < 200 * len(found)
    tracemalloc.stop()
    for place, value in zip(found[::50], brightest[::50], strict=True):
        around = values[tuple(slice(at - 1, at + 2) for at in place)].ravel()
        assert value == np.delete(around, 13).max()


def test_a_threshold_in_the_noise_is_refused():
    noise = np.random.default_rng(0).standard_normal((30, 30, 30)).astype(np.float32)
    with pytest.raises(InputError, match="they are noise"):
        trace(Volume(values=noise, voxel_size=0.1, origin=np.zeros(3)), TraceSettings(threshold=0.01, smoothing=0))


def noise(blur, size=40, seed=0):
    """White noise, blurred, of standard deviation 1."""
    values = gaussian_filter(np.random.default_rng(seed).standard_normal((size,) * 3), blur)
    return values / values.std()


def ball(size=40, radius=14, blur=0.0):
    """A solid sphere of density 1."""
    axis = np.arange(size) - size // 2
    inside = axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2 < radius**2
    return gaussian_filter(inside.astype(float), blur)


@pytest.mark.parametrize(
    "values",
    [
        pytest.param(noise(0), id="white"),
        pytest.param(noise(1), id="blurred"),
        pytest.param(noise(2), id="more blurred"),
        pytest.param(noise(1, size=24), id="small"),
        pytest.param(np.maximum(noise(0), 0), id="clipped"),
        pytest.param(5 + 0.1 * noise(0), id="constant"),
        pytest.param(ball() + 0.1 * noise(0), id="sphere"),
        pytest.param(ball(blur=1.5) + 0.05 * noise(1), id="soft sphere"),
        pytest.param(ball(blur=6) + 1e-3 * noise(0), id="hill"),
    ],
)
def test_a_volume_without_atoms_is_refused(values):
    """Truth: noise, constants and solids hold no atoms."""
    with pytest.raises(InputError, match=r"the volume has no peaks: .*more\); look at the volume$"):
        trace(Volume(values=values.astype(np.float32), voxel_size=VOXEL, origin=np.zeros(3)))


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        (TraceSettings(min_distance=0.1), r"--min-distance 0.1 \(default 2\)"),
        (TraceSettings(smoothing=1.0), r"--smoothing 1 \(default 0.3\)"),
        (TraceSettings(min_distance=3.0, smoothing=0.2), "look"),
    ],
)
def test_an_option_that_may_hide_the_peaks_is_named(settings, named):
    with pytest.raises(InputError, match=rf"no peaks: .*more\); (leave out )?{named}"):
        trace(Volume(values=noise(1).astype(np.float32), voxel_size=VOXEL, origin=np.zeros(3)), settings)


def test_atoms_three_times_as_high_as_the_noise_of_a_voxel_are_not_refused():
    """Truth: twelve atoms whose highest voxel is three times the noise of a voxel."""
    points = places(12, spacing=3.4)
    atoms, _ = trace(volume(points, noise=0.008), TraceSettings(threshold=0.013))
    distances = np.linalg.norm(atoms.positions[:, None] - points, axis=2)
    assert (distances.min(axis=0) < 0.4).all()


def test_counts_above_levels_are_those_of_the_thresholds():
    """Truth: the same volume, traced with each level as the threshold."""
    points = places(12, spacing=4.0)
    found = volume(points, heights=np.geomspace(0.06, 1, len(points)), noise=1e-5)
    _, result = trace(found)
    counts = [trace(found, TraceSettings(threshold=level))[1].n_atoms for level in result.levels]
    # with few maxima the common shape, and with it heights, change a little
    assert np.abs(result.n_above - counts).max() <= 1
    assert result.n_above[0] == len(points)
    assert (np.diff(result.n_noise) <= 0).all()


def test_a_spacing_that_no_solid_has_is_a_warning():
    points = places(10)
    small = replace(volume(points), voxel_size=0.05)
    _, result = trace(small, TraceSettings(min_distance=0.1, smoothing=0.04))
    assert "is the voxel size right" in result.warnings[0]


@pytest.mark.parametrize("levels", [3, 1000])
def test_maxima_are_those_of_a_slow_search_and_of_equals_the_first_counts(levels):
    """Truth: every voxel beside its 26 neighbors, in random volumes with many equal values and with hardly any."""
    values = np.random.default_rng(levels).integers(0, levels, (9, 10, 11)).astype(np.float32)
    flat = values.ravel()
    expected = []
    for x, y, z in np.ndindex(7, 8, 9):
        number = ((x + 1) * 10 + y + 1) * 11 + z + 1
        around = np.ravel_multi_index(np.mgrid[x : x + 3, y : y + 3, z : z + 3].reshape(3, -1), values.shape)
        first = min(n for n in around if flat[n] == flat[around].max())
        if number == first and flat[number] > 0.5:
            expected.append(number)
    assert_array_equal(kernels.local_maxima(values, 0.5), expected)
