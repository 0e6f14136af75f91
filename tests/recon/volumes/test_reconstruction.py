"""A volume from a tilt series. Truth: objects whose images are exact; published data sets; the same bytes twice."""

import os
import subprocess
import sys
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from ase import Atoms
from numpy.testing import assert_allclose, assert_array_equal
from scipy.io import loadmat
from scipy.ndimage import maximum_filter
from slow_projection import published

from aet2dft import memory
from aet2dft.config import ReconstructSettings
from aet2dft.errors import InputError, ParseError, ResourceError
from aet2dft.recon.algorithms import checkpoint
from aet2dft.recon.algorithms.catalog import start
from aet2dft.recon.fourier import columns
from aet2dft.recon.fourier.columns import centered_columns
from aet2dft.recon.fourier.projector import project_volume
from aet2dft.recon.metrics import image_fit, match
from aet2dft.recon.tilt_series import TiltSeries
from aet2dft.recon.volumes import reconstruction
from aet2dft.recon.volumes.footprint import needed_bytes
from aet2dft.recon.volumes.preparation import plan
from aet2dft.recon.volumes.reconstruction import reconstruct
from aet2dft.recon.volumes.trial import choose_held_out, leave_out

N = 32
ANGLES = np.linspace(-68, 68, 24)
EULER = np.column_stack([1.5 * np.sin(ANGLES), ANGLES, 1.5 * np.cos(ANGLES)])


def atoms_volume(seed=0, n=40, radius=8):
    """Gaussians at random places of a ball."""
    random = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*[np.arange(N) - N // 2] * 3, indexing="ij"), axis=-1)
    volume = np.zeros((N, N, N))
    for _ in range(n):
        at = random.normal(size=3)
        at *= radius * random.random() ** (1 / 3) / np.linalg.norm(at)
        volume += np.exp(-((grid - at) ** 2).sum(axis=-1) / 3)
    return volume.astype(np.float32)


@pytest.fixture(scope="module")
def truth():
    return atoms_volume()


def images_of(volume, angles=ANGLES, *, noise=0.0, ground=0.0, center=None):
    empty = TiltSeries.from_angles(
        np.zeros((len(angles), N, N), dtype=np.float32), angles, pixel_size=0.5, center=center
    )
    images = project_volume(empty, volume)
    images = images + ground + noise * np.random.default_rng(1).normal(size=images.shape)
    return TiltSeries.from_angles(images, angles, pixel_size=0.5, center=center)


def maxima(volume):
    """Maxima above 0.15 of the highest, three voxels apart, to a fraction by three points along each axis."""
    values = volume.astype(float)
    inner = np.zeros(values.shape, dtype=bool)
    inner[1:-1, 1:-1, 1:-1] = True
    top = np.argwhere(inner & (values == maximum_filter(values, size=3)) & (values > 0.15 * values.max()))
    top = top[np.argsort(-values[tuple(top.T)], kind="stable")]
    below, above = (np.array([values[tuple((top + k * axis).T)] for axis in np.eye(3, dtype=int)]).T for k in (-1, 1))
    points = top + 0.5 * (below - above) / (below - 2 * values[tuple(top.T)][:, None] + above)
    kept = []
    for point in points:
        if all(np.linalg.norm(point - other) >= 3 for other in kept):
            kept.append(point)
    return Atoms(f"X{len(kept)}", positions=kept)


def likeness(volume, truth):
    return np.corrcoef(volume.values.ravel(), truth.ravel())[0, 1]


@pytest.mark.parametrize("angles", [ANGLES, EULER], ids=["one axis", "any rotation"])
@pytest.mark.parametrize(("algorithm", "least"), [("auto", 0.97), ("resire", 0.94), ("genfire", 0.95)])
def test_every_algorithm_finds_the_object_and_predicts_images_it_never_saw(truth, angles, algorithm, least):
    series = images_of(truth, angles)
    volume, result = reconstruct(series, ReconstructSettings(algorithm=algorithm, iterations=60))
    assert likeness(volume, truth) > least
    assert result.algorithm == ("lsq" if algorithm == "auto" else algorithm)
    assert result.iterations == len(result.misfit) == 60
    computed = project_volume(series, volume.values)
    assert result.r_factor == pytest.approx(image_fit(series.projections, computed).r_factor, abs=2e-3)
    assert result.r_factor < result.r_free < 0.2
    assert (result.r_fourier is not None) == (algorithm == "genfire")
    assert len(result.trial.held_out) == 1
    assert volume.voxel_size == 0.5
    assert_array_equal(volume.origin, 0)
    assert min(result.grid_shape) >= N


def test_noise_stops_the_iterations_early(truth):
    _, clean = reconstruct(images_of(truth))
    volume, noisy = reconstruct(images_of(truth, noise=2.0))
    overdone, _ = reconstruct(images_of(truth, noise=2.0), ReconstructSettings(iterations=200, held_out=0))
    assert noisy.iterations < clean.iterations
    assert likeness(volume, truth) > likeness(overdone, truth)


def test_a_background_is_subtracted_and_told():
    truth = atoms_volume(radius=5)
    volume, result = reconstruct(images_of(truth, ground=3.0))
    assert_allclose(result.background, 3.0, atol=0.05)
    assert likeness(volume, truth) > 0.97


@pytest.mark.parametrize("angles", [ANGLES, EULER], ids=["one axis", "any rotation"])
def test_the_rotation_center_ends_at_the_middle_voxel_wherever_it_lands_in_the_images(truth, angles):
    center = np.array([N // 2 + 1.4, N // 2 - 0.7])
    volume, _ = reconstruct(images_of(truth, angles, center=center), ReconstructSettings(iterations=60))
    assert likeness(volume, truth) > 0.97


def test_columns_move_by_whole_pixels_without_a_change(truth):
    series = images_of(truth)
    shifted = TiltSeries.from_angles(
        np.roll(series.projections, 2, axis=2), ANGLES, pixel_size=0.5, center=(N // 2, N // 2 + 2)
    )
    moved = centered_columns(shifted)
    assert_allclose(moved.projections, series.projections, atol=1e-4 * series.projections.max())
    assert_array_equal(moved.center, N // 2)
    assert centered_columns(series) is series


def test_a_given_support_is_kept_and_sets_the_depth(truth):
    support = np.zeros((N, N, 24), dtype=bool)
    support[5:28, 5:28, 2:22] = True
    volume, result = reconstruct(images_of(truth), support=support)
    assert volume.values.shape == support.shape
    assert (volume.values[~support] == 0).all()
    assert result.support_fraction == pytest.approx(support.mean())


@pytest.mark.parametrize(
    ("support", "message"),
    [(np.ones((N, N - 1, N), dtype=bool), "does not fit images"), (np.zeros((N, N, N), dtype=bool), "no voxel")],
)
def test_a_support_that_cannot_be_meant_is_refused(truth, support, message):
    with pytest.raises(InputError, match=message):
        reconstruct(images_of(truth), support=support)


def test_images_that_are_left_out_are_inner_ones_with_all_their_doubles():
    angles = np.concatenate([ANGLES, ANGLES[5:8] + 180])
    series = TiltSeries.from_angles(np.ones((27, 4, 4), dtype=np.float32), angles, pixel_size=0.5)
    for seed in range(20):
        chosen = choose_held_out(series, 0.1, seed)
        tilts = np.round(angles[chosen] % 180, 6)
        assert all((np.round(angles % 180, 6) == tilt).sum() == (tilts == tilt).sum() for tilt in tilts)
    assert not choose_held_out(series, 0.0, 0).size
    assert not choose_held_out(series.subset(np.arange(9)), 0.3, 0).size
    assert not choose_held_out(series.subset(np.zeros(12, dtype=int)), 0.1, 0).size


def test_without_images_to_spare_there_is_no_trial(truth):
    _, result = reconstruct(images_of(truth).subset(np.arange(0, 24, 3)))
    assert result.trial is None
    assert result.r_free is None
    assert "usual number" in result.reason


def test_a_killed_run_goes_on_to_the_same_bytes(truth, tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "_SECONDS", 0.0)
    monkeypatch.setattr(checkpoint, "_SHARE", 1e9)
    series, file = images_of(truth), tmp_path / "run.checkpoint"
    settings = ReconstructSettings(algorithm="genfire", iterations=12)
    whole, expected = reconstruct(series, settings)

    def killed(done, total):
        if done == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        reconstruct(series, settings, checkpoint=file, progress=killed)
    assert file.exists()
    done = []
    volume, result = reconstruct(series, settings, checkpoint=file, progress=lambda k, n: done.append((k, n)))
    assert len(done) < 12
    assert done[-1] == (12, 12)
    assert_array_equal(volume.values, whole.values)
    assert_array_equal(result.misfit, expected.misfit)
    assert not file.exists()


@pytest.mark.parametrize("algorithm", ["lsq", "genfire", "sirt"])
def test_a_trial_that_is_killed_goes_on_where_it_was(truth, tmp_path, monkeypatch, algorithm):
    monkeypatch.setattr(checkpoint, "_SECONDS", 0.0)
    monkeypatch.setattr(checkpoint, "_SHARE", 1e9)
    series, file = images_of(truth), tmp_path / "run.checkpoint"
    settings = ReconstructSettings(algorithm=algorithm, iterations=13, halves=False)
    whole, expected = reconstruct(series, settings)
    save, saved = checkpoint.Checkpoint.save_looks, []

    def killed(self, looks):
        save(self, looks)
        saved.append(looks.memory.iteration)
        if looks.memory.iteration == 7 and saved.count(7) == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint.Checkpoint, "save_looks", killed)
    with pytest.raises(KeyboardInterrupt):
        reconstruct(series, settings, checkpoint=file)
    volume, result = reconstruct(series, settings, checkpoint=file)
    assert saved == list(range(1, 13))
    assert_array_equal(volume.values, whole.values)
    for name in ("held_out", "iteration", "r_free"):
        assert_array_equal(getattr(result.trial, name), getattr(expected.trial, name))


def test_the_trial_of_a_killed_run_is_not_repeated(truth, tmp_path, monkeypatch):
    series, file = images_of(truth), tmp_path / "run.checkpoint"
    settings = ReconstructSettings(iterations=6)
    whole, expected = reconstruct(series, settings)

    def killed(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        reconstruct(series, settings, checkpoint=file, progress=killed)
    monkeypatch.setattr(reconstruction, "leave_out", killed)
    volume, result = reconstruct(series, settings, checkpoint=file)
    assert_array_equal(volume.values, whole.values)
    assert result.r_free == expected.r_free
    for name in ("held_out", "iteration", "r_free", "noise"):
        assert_array_equal(getattr(result.trial, name), getattr(expected.trial, name))


@pytest.mark.parametrize("mapped_first", [False, True])
def test_a_volume_in_a_file_has_the_same_bytes_and_leaves_nothing_behind(truth, tmp_path, monkeypatch, mapped_first):
    monkeypatch.setattr(checkpoint, "_SECONDS", 0.0)
    monkeypatch.setattr(columns, "BLOCK", 8)
    series, file = images_of(truth), tmp_path / "run.checkpoint"
    plain, mapped = (ReconstructSettings(iterations=6, memory_mapped=mapped) for mapped in (False, True))
    whole, expected = reconstruct(series, plain)

    def killed(done, total):
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        reconstruct(series, mapped if mapped_first else plain, checkpoint=file, progress=killed)
    assert list(tmp_path.iterdir()) == [file]
    volume, result = reconstruct(series, mapped, checkpoint=file)
    assert not list(tmp_path.iterdir())
    assert_array_equal(volume.values, whole.values)
    assert_array_equal(result.misfit, expected.misfit)
    assert result.r_factor == expected.r_factor


def test_a_volume_that_is_transformed_as_a_whole_is_not_put_into_a_file(truth):
    with pytest.raises(InputError, match="leave out --memory-mapped, or take lsq and give tilt angles only"):
        reconstruct(images_of(truth, EULER), ReconstructSettings(memory_mapped=True))


def test_a_checkpoint_of_something_else_is_refused(truth, tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "_SECONDS", 0.0)
    series, file = images_of(truth), tmp_path / "run.checkpoint"

    def killed(done, total):
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        reconstruct(series, ReconstructSettings(iterations=9), checkpoint=file, progress=killed)
    with pytest.raises(InputError, match=r"another reconstruction \(settings differ\)"):
        reconstruct(series, ReconstructSettings(iterations=8), checkpoint=file)
    other = images_of(atoms_volume(seed=1, n=20))
    with pytest.raises(InputError, match=r"another reconstruction \(support differ\)"):
        reconstruct(series, ReconstructSettings(iterations=9), support=np.ones((N, N, N), dtype=bool), checkpoint=file)
    with pytest.raises(InputError, match=r"another reconstruction \(images differ\)"):
        reconstruct(other, ReconstructSettings(iterations=9), checkpoint=file)
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(ParseError, match="no checkpoint"):
        reconstruct(series, ReconstructSettings(iterations=9), checkpoint=file)


def test_what_does_not_fit_into_memory_is_refused_with_the_ways_out(truth, monkeypatch):
    monkeypatch.setattr(memory, "free_memory", lambda: 1e5)
    with pytest.raises(ResourceError, match=r"lsq on 32 x 32 x 32 voxels needs .*MB.*bin the images"):
        reconstruct(images_of(truth))
    with pytest.raises(ResourceError, match=r"take --memory-mapped \(\d\.\d MB\); or bin the images"):
        reconstruct(images_of(truth))
    with pytest.raises(ResourceError, match=r"lower --oversampling \(3\); or take --algorithm lsq"):
        reconstruct(images_of(truth, EULER), ReconstructSettings(algorithm="genfire"))


def test_free_memory_respects_the_limit_of_the_process():
    limit = 2 << 30
    code = (
        "import resource\n"
        f"resource.setrlimit(resource.RLIMIT_AS, ({limit}, {limit}))\n"
        "from aet2dft.memory import free_memory\n"
        "print(free_memory())"
    )
    found = float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
    assert 0 < found < limit


_PROBE = """
import hashlib, sys, threading, time
import numpy as np
from aet2dft.config import ReconstructSettings
from aet2dft.recon.volumes.reconstruction import reconstruct
from aet2dft.recon.tilt_series import TiltSeries

def anonymous():
    line = next(line for line in open("/proc/self/status") if line.startswith("RssAnon:"))
    return int(line.split()[1]) * 1.024e-3

def watched(seen, stop):
    while not stop.is_set():
        seen.append(anonymous())
        time.sleep(0.002)

def run(n, general, algorithm, mapped=False):
    theta = np.linspace(-66, 64, 30)
    angles = np.column_stack([np.sin(theta), theta, np.cos(theta)]) if general else theta
    window = np.exp(-((np.arange(n) - n // 2) / (0.31 * n)) ** 2).astype(np.float32)
    images = np.random.default_rng(0).random((30, n, n), dtype=np.float32) * np.outer(window, window)
    series = TiltSeries.from_angles(images, angles, pixel_size=0.4)
    before, seen, stop = anonymous(), [], threading.Event()
    watch = threading.Thread(target=watched, args=(seen, stop))
    watch.start()
    settings = ReconstructSettings(algorithm=algorithm, iterations=4 if mapped else 10, memory_mapped=mapped)
    volume, result = reconstruct(series, settings, support=np.ones((n, n, n), bool))
    stop.set()
    watch.join()
    found = hashlib.sha256(volume.values.tobytes() + np.float64(result.r_free).tobytes())
    return found.hexdigest(), 1e6 * (max(seen) - before)

kind, algorithm, n = sys.argv[1], sys.argv[2], int(sys.argv[3])
if kind == "both":
    print("-".join(run(n, g, a)[0] for g in (False, True) for a in ("lsq", "resire", "genfire")), 0)
else:
    run(12, kind == "general", algorithm)
    print(*run(n, kind == "general", algorithm, kind == "mapped"))
"""


def probe(kind, algorithm, n, threads=1):
    """Digest and additional memory of a reconstruction in a process of its own."""
    environment = os.environ | {"NUMBA_NUM_THREADS": str(threads)}
    done = subprocess.run(
        [sys.executable, "-c", _PROBE, kind, algorithm, str(n)],
        capture_output=True, text=True, check=True, env=environment,
    )  # fmt: skip
    digest, used = done.stdout.split()
    return digest, float(used)


@pytest.mark.slow
def test_one_two_and_four_threads_give_the_same_bytes():
    assert len({probe("both", "all", 24, threads)[0] for threads in (1, 2, 4)}) == 1


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "sizes"), [("slices", (160, 220)), ("general", (96, 128))])
@pytest.mark.parametrize("algorithm", ["lsq", "resire", "genfire"])
def test_the_memory_is_predicted(kind, sizes, algorithm):
    for n in sizes:
        theta = np.linspace(-66, 64, 30)
        angles = np.column_stack([np.sin(theta), theta, np.cos(theta)]) if kind == "general" else theta
        series = TiltSeries.from_angles(np.zeros((30, n, n), dtype=np.float32), angles, pixel_size=0.4)
        planned = plan(series, ReconstructSettings(algorithm=algorithm), np.ones((n, n, n), bool))
        _, used = probe(kind, algorithm, n)
        assert used == pytest.approx(needed_bytes(planned), rel=0.15)
        # per voxel of the object, or of the padded grid
        assert used < (24 * n**3 if kind == "slices" else 7 * (3 * n) ** 3)


@pytest.mark.slow
def test_a_volume_in_a_file_takes_no_memory_of_the_process():
    n, theta = 240, np.linspace(-66, 64, 30)
    series = TiltSeries.from_angles(np.zeros((30, n, n), dtype=np.float32), theta, pixel_size=0.4)
    planned = plan(series, ReconstructSettings(algorithm="lsq", memory_mapped=True), np.ones((n, n, n), bool))
    _, used = probe("mapped", "lsq", n)
    assert used == pytest.approx(needed_bytes(planned), rel=0.15)
    assert used < 8 * n**3


@pytest.mark.slow
@pytest.mark.needs_data
def test_the_default_run_on_the_amorphous_sample(data_dir):
    folder = data_dir / "resire_sample_amorphous"
    series = published(
        folder, "sample_projections_amorphous.mat", "Projs", "sample_angles_amorphous.mat", pixel_size=0.4
    )
    truth = loadmat(folder / "ground_truth_amorphous_vol.mat")["Vol"]
    volume, result = reconstruct(series)
    # published: 0.973, maxima to 0.27 pixels, and an R factor of 0.011 after 100 plain steps
    assert likeness(volume, truth) >= 0.987
    found = match(maxima(volume.values), maxima(truth), radius=2.0)
    assert found.n_matched >= 394
    assert found.n_false <= 2
    assert found.rmsd <= 0.18
    assert result.r_factor < 0.001
    assert result.r_free < 0.01


@pytest.mark.slow
@pytest.mark.needs_data
@pytest.mark.parametrize(
    ("images", "variable", "limit"),
    [
        ("projections_FePt.mat", "projections", 0.136),
        ("projections_FePt_noisy.mat", "noisy_pj", 0.27),
        ("projections_FePt_mw.mat", "mw_pj", 0.182),
    ],
)
def test_the_default_run_on_the_workshop_particle_explains_the_clean_images(data_dir, images, variable, limit):
    folder = data_dir / "genfire_workshop_fept"
    clean = published(folder, "projections_FePt.mat", "projections", "angles.mat", pixel_size=0.35)
    angles = "angles_mw.mat" if "mw" in images else "angles.mat"
    volume, result = reconstruct(published(folder, images, variable, angles, pixel_size=0.35))
    assert image_fit(clean.projections, project_volume(clean, volume.values)).r_factor <= limit
    # multiple scattering, not a detector, makes these images unequal
    assert not result.equalized
    assert result.center_offset == 0


@pytest.mark.parametrize("offset", [-17.0, 16.0, 300.0])
def test_a_rotation_center_beside_the_images_is_refused(offset):
    series = TiltSeries.from_angles(np.ones((3, N, N), dtype=np.float32), [-60, 0, 60], pixel_size=0.5)
    with pytest.raises(InputError, match=rf"--center-offset {offset:g} .* have 32 pixels .* between -16 and 15"):
        plan(series, ReconstructSettings(center_offset=offset), None)
    assert plan(series, ReconstructSettings(center_offset=15.0), None).shape == (N, N, N)


def test_images_that_fit_no_object_are_said_so():
    volume = np.zeros((N, N, N), dtype=np.float32)
    for corner in ((-9, 0, 3), (8, 2, -8), (2, -3, 9), (9, 4, 6)):
        volume += np.roll(atoms_volume(n=6, radius=2), corner, axis=(0, 1, 2))
    right = images_of(volume)
    assert not any("one object" in text for text in reconstruct(right)[1].warnings)
    mixed = right.projections[np.random.default_rng(0).permutation(right.n_images)]
    shuffled = TiltSeries.from_angles(mixed, ANGLES, pixel_size=0.5)
    result = reconstruct(shuffled)[1]
    assert any("one object" in text for text in result.warnings), result.r_factor


def test_a_support_that_cuts_the_object_is_named_before_the_images(truth):
    """Truth: exact images of a ball of 8 voxels, and supports of 10 and of 5 voxels."""
    distance = np.linalg.norm(np.indices((N, N, N)) - N // 2, axis=0)
    for radius, cuts in ((10, False), (5, True)):
        said = reconstruct(images_of(truth), support=distance < radius)[1].warnings
        assert any("one object inside the support; see whether it cuts" in text for text in said) == cuts, said


@pytest.mark.parametrize("first", [0, N // 2])
def test_images_that_cut_the_object_along_the_tilt_axis_say_where(truth, first):
    """Truth: a ball of which the columns from its middle on are kept, and the whole one."""
    whole = images_of(truth, noise=0.2)
    series = TiltSeries.from_angles(whole.projections[:, :, first:], ANGLES, pixel_size=0.5)
    _, result = reconstruct(series, ReconstructSettings(iterations=2, held_out=0, halves=False))
    assert "lies inside the images across the tilt axis" in result.reason
    cut = [text for text in result.warnings if "cut the object along the tilt axis" in text]
    assert [text.split(": ")[0] for text in cut] == ["the images cut the object along the tilt axis, at column 0"] * (
        first > 0
    )


def test_images_with_nothing_above_zero_are_refused_but_not_those_with_an_offset(truth):
    """Truth: counts, their logarithms, which are negative, and counts above a ground that is negative."""
    counts = images_of(truth).projections.clip(0) + 1e-3
    few, everywhere = ReconstructSettings(iterations=2, held_out=0, halves=False), np.ones((N, N, N), dtype=bool)
    for dark in (np.log(1e-3 * counts), counts - 1.001 * counts.max()):
        series = TiltSeries.from_angles(dark, ANGLES, pixel_size=0.5)
        with pytest.raises(
            InputError, match=r"above zero or brighter .* \(values from -.* to -.*\): .* give intensities"
        ):
            reconstruct(series, few, support=everywhere)
    offset = TiltSeries.from_angles(counts - 0.1 * counts.max(), ANGLES, pixel_size=0.5)
    for support in (everywhere, None):
        assert reconstruct(offset, few, support=support)[0].values.any()


@pytest.mark.parametrize("unit", [1e-20, 1e20])
def test_the_unit_of_the_images_changes_nothing(truth, unit):
    settings = ReconstructSettings(iterations=30, held_out=0)
    plain, other = images_of(truth, noise=0.2), images_of(truth, noise=0.2)
    other = replace(other, projections=other.projections * np.float32(unit))
    (volume, result), (scaled, same) = (reconstruct(series, settings) for series in (plain, other))
    assert_allclose(scaled.values / unit, volume.values, atol=1e-3 * volume.values.max())
    assert_allclose(same.misfit, result.misfit, rtol=1e-3)
    assert_allclose(same.fsc.correlation, result.fsc.correlation, atol=1e-3)


def test_a_series_from_which_its_only_other_axis_is_left_out_is_fitted_in_its_own_frame(truth):
    angles = np.column_stack([0 * ANGLES, ANGLES, 0 * ANGLES])
    angles[5] = 1.0, ANGLES[5], 0.5
    series = images_of(truth, angles, center=(16, 17.0))
    begin = partial(start, algorithm="lsq", settings=ReconstructSettings(), seed=0, iterations=20)
    support = np.ones((N, N, N), bool)
    free = [
        leave_out(series, support, begin, left_out=np.array([out]), most=20, stop_early=False, by_planes=False).r_free[
            -1
        ]
        for out in (5, 6)
    ]
    assert free[0] < 1.5 * free[1]


def test_images_far_out_of_place_are_said():
    grid = np.stack(np.meshgrid(*[np.arange(64) - 32] * 3, indexing="ij"), axis=-1)
    empty = TiltSeries.from_angles(np.zeros((24, 64, 64), np.float32), ANGLES, pixel_size=0.5)
    images = project_volume(empty, np.exp(-(grid**2).sum(axis=-1) / 18).astype(np.float32))
    images[3], images[6] = np.roll(images[3], 26, axis=1), np.roll(images[6], -26, axis=1)
    with pytest.raises(InputError, match=r"no voxel lies in the shadow .* align the images"):
        reconstruct(replace(empty, projections=images), ReconstructSettings(iterations=1))
