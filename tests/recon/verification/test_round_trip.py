"""Models against known ones. Truth: copies of a piece of the measured particle with known errors, turns and losses."""

import tracemalloc
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from ase import Atoms
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.spatial.transform import Rotation

from aet2dft.config import ClassifySettings, ReconstructSettings, RefineSettings, VerifySettings
from aet2dft.errors import InputError
from aet2dft.recon.atoms.image_poses import corrected
from aet2dft.recon.atoms.simulate import Noise, simulate
from aet2dft.recon.metrics import match
from aet2dft.recon.verification.frames import match_any_frame, turn_of
from aet2dft.recon.verification.round_trip import (
    Chain,
    depth_profile,
    model_images,
    simulated_series,
    usual_chain,
    verify,
)

TILTS = np.linspace(-65.0, 64.0, 22)
SHAPE = (60, 64)


@pytest.fixture(scope="module")
def ball(fept):
    """A ball of 16 Å of the measured particle, without symmetry, its center off zero by a tenth of an Å."""
    piece = fept[np.linalg.norm(fept.positions - fept.positions.mean(axis=0), axis=1) < 8]
    piece.positions += 0.1 - piece.positions.mean(axis=0)
    return piece


@pytest.fixture(scope="module")
def series(ball):
    return simulate(ball, TILTS, shape=SHAPE, pixel_size=0.3725, noise=Noise(counts=200, read_noise=1), seed=1)


def test_a_model_in_the_frame_of_the_reference_stays_in_it(ball):
    found, frame, notes = match_any_frame(ball[5:], ball, radius=1.0)
    assert found.n_missed == 5
    assert_array_equal(frame, np.eye(3))
    assert notes == ()


@given(st.permutations(range(3)), st.tuples(*[st.sampled_from([-1, 1])] * 3), st.integers(0, 2**32 - 1))
def test_a_reference_with_other_axes_and_origin_is_found_and_a_mirror_image_is_called_one(ball, axes, signs, seed):
    frame = np.diag(signs) @ np.eye(3)[list(axes)]
    random = np.random.default_rng(seed)
    model = ball.copy()
    model.positions = ball.positions @ frame.T + random.uniform(-20, 20, 3) + random.normal(0, 0.05, (len(ball), 3))
    found, orientation, notes = match_any_frame(model, ball, radius=1.0)
    assert found.n_matched == len(ball)
    assert found.rmsd < 0.1
    assert_allclose(orientation, frame)
    if (frame != np.eye(3)).any():
        assert ("mirror" in notes[0]) == (np.linalg.det(frame) < 0)


@pytest.mark.parametrize("part", [0.5, 0.3])
def test_a_mirror_image_of_which_a_part_was_found_is_one(ball, part):
    """Truth: x and y exchanged; atoms taken at random, and those on one side."""
    kept = round(part * len(ball))
    for which in (np.random.default_rng(0).permutation(len(ball))[:kept], np.argsort(ball.positions[:, 2])[:kept]):
        model = ball[which]
        model.positions = model.positions[:, [1, 0, 2]]
        _, result = verify(model, truth=ball)
        assert (result.match.n_matched, result.match.n_false) == (kept, 0)
        assert [warning.split(" (")[0] for warning in result.warnings] == ["the reference is a mirror image"]


def test_models_without_a_common_element_are_named(ball):
    other = ball.copy()
    other.symbols[:] = "Pd"
    _, result = verify(ball, truth=other)
    assert (result.match.n_right, result.match.n_matched) == (0, len(ball))
    assert result.warnings == (
        "no atom can be identified: the model holds Fe, Pt, the known model Pd; is it the same object?",
    )


def test_a_foreign_reference_is_not_turned_until_it_fits_by_chance(ball):
    other = Atoms("Fe300", positions=np.random.default_rng(0).uniform(-8, 8, (300, 3)))
    _, frame, notes = match_any_frame(ball, other, radius=0.3)
    assert_array_equal(frame, np.eye(3))
    assert notes == ()
    for model, truth, name in ((ball, other, "model"), (other, ball, "known model")):
        said = verify(model, VerifySettings(radius=0.3), truth=truth)[1].warnings[-1]
        assert said.startswith("only ")
        assert f" of {len(ball)} atoms of the {name} have" in said


def test_a_small_turn_of_the_whole_model_is_taken_out_and_said(ball):
    """Truth: a turn of 1.5 degrees about an axis between those of the frame, and errors of 2 pm along each."""
    turn = Rotation.from_rotvec(np.radians(1.5) * np.array([0.6, 0.0, 0.8])).as_matrix()
    model = ball[::-1]
    model.positions = model.positions @ turn.T + np.random.default_rng(0).normal(0.3, 0.02, (len(ball), 3))
    found, orientation, notes = match_any_frame(model, ball, radius=1.0)
    assert found.n_matched == len(ball)
    assert found.rmsd == pytest.approx(0.02 * 3**0.5, rel=0.1)
    assert_allclose(orientation, turn, atol=1e-3)
    assert turn_of(orientation) == pytest.approx(1.5, abs=0.05)
    assert f"turned by {turn_of(orientation):.2f} degrees" in notes[0]
    assert turn_of(orientation[[2, 0, 1]] * [[1], [-1], [1]]) == pytest.approx(1.5, abs=0.05)


@pytest.mark.parametrize("degrees", [0.0, 25.0, 32.0, 45.0])
def test_a_turn_is_measured_from_the_nearest_exchange_of_axes(degrees):
    turn = Rotation.from_euler("z", degrees, degrees=True).as_matrix()
    for frame in (np.eye(3), -np.eye(3), np.eye(3)[[2, 0, 1]]):
        assert turn_of(turn @ frame) == pytest.approx(degrees, abs=1e-6)
    diagonal = Rotation.from_rotvec(np.radians(60.0) / 3**0.5 * np.ones(3)).as_matrix()
    assert turn_of(diagonal) == pytest.approx(60.0)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("n", [1, 2, 3, 4, 13, 300])
def test_errors_without_a_turn_are_not_made_smaller_by_one(n, seed):
    random = np.random.default_rng(seed)
    reference = Atoms(f"Pt{n}", positions=random.uniform(-20, 20, (n, 3)))
    model = reference.copy()
    model.positions += random.normal(0, 0.1, (n, 3))
    pairs, orientation, notes = match_any_frame(model, reference, radius=1.0)
    assert_array_equal(orientation, np.eye(3))
    assert (pairs.n_matched, notes) == (n, ())


def test_a_model_without_elements_is_identified_by_positions_and_that_is_said(ball):
    bare = Atoms("X" * len(ball), positions=ball.positions)
    for model, truth, name in ((ball, bare, "known model"), (bare, ball, "model")):
        _, result = verify(model, truth=truth)
        assert result.match.fraction_identified == 1.0
        assert_allclose(result.profile.fraction_identified, 1.0)
        assert result.warnings == (f"the {name} has no elements: atoms count as identified by their positions alone",)


def test_shifts_and_turns_that_were_fitted_count_in_the_images_of_the_model(ball, series):
    random = np.random.default_rng(1)
    fitted = SimpleNamespace(shifts=random.normal(0, 0.7, (22, 2)), rotations=random.normal(0, 1.0, (22, 3)))
    true = corrected(series, fitted.shifts, fitted.rotations)
    measured = replace(series, projections=model_images(ball, true))
    plain = verify(ball, truth=ball, series=measured)[1].r_factor
    assert verify(ball, truth=ball, series=measured, refinement=fitted)[1].r_factor < 1e-3 < 0.2 < plain


def test_the_steps_that_atoms_show_are_repeated(ball):
    assert usual_chain(Atoms("X2", positions=np.eye(3)[:2])).steps == ()
    assert [step.species for step in usual_chain(ball).steps] == [("Fe", "Pt")]
    refined = ball.copy()
    refined.set_array("position_sigma", np.ones((len(ball), 3)))
    assert usual_chain(refined).steps[1] == RefineSettings()
    fitted = SimpleNamespace(shifts=np.ones((3, 2)), rotations=np.zeros((3, 3)))
    assert usual_chain(refined, fitted).steps[1] == RefineSettings(fit_geometry=True)


def test_layers_hold_every_atom_once_and_errors_where_they_are(ball):
    model = ball.copy()
    radius = np.linalg.norm(ball.positions - ball.positions.mean(axis=0), axis=1)
    outer = radius > 6.5
    model.positions[outer] += np.random.default_rng(0).choice([-0.2, 0.2], (outer.sum(), 3))
    pairs = match(model, ball)
    right = model.numbers[pairs.pairs[:, 0]] == ball.numbers[pairs.pairs[:, 1]]
    profile = depth_profile(ball, pairs, right=right)
    assert profile.n_atoms.sum() == len(ball)
    assert_allclose(np.diff(profile.depth), 2.0)
    assert_allclose(profile.fraction_identified, 1.0)
    assert profile.rmsd[0] > 0.25
    assert profile.rmsd[-1] < 0.05


def test_the_depth_of_many_atoms_takes_little_memory():
    """Truth: a sphere of 3,000 atoms, each a corner of its hull, and its middle; 6,000 faces for 3,001 atoms."""
    random = np.random.default_rng(0).normal(size=(3000, 3))
    points = np.vstack([10.0 * random / np.linalg.norm(random, axis=1, keepdims=True), np.zeros(3)])
    sphere = Atoms("Pt3001", positions=points)
    pairs, right = match(sphere, sphere), np.ones(3001, dtype=bool)
    tracemalloc.start()
    profile = depth_profile(sphere, pairs, right=right)
    needed = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert_array_equal(profile.n_atoms, [3000, 0, 0, 0, 1])
    assert needed < 0.2 * 8 * 3001 * 5996


def test_atoms_in_a_plane_are_all_at_the_surface():
    flat = Atoms("Pt4", positions=[[0, 0, 0], [3, 0, 0], [0, 3, 0], [3, 3, 0]])
    profile = depth_profile(flat, match(flat, flat), right=np.ones(4, dtype=bool))
    assert_array_equal(profile.n_atoms, [4])


def test_the_known_model_is_compared_with_and_images_give_the_r_factor(ball, series):
    model = ball[:-4]
    model.symbols[0] = "Fe" if model.symbols[0] == "Pt" else "Pt"
    found, result = verify(model, truth=ball, series=series)
    assert found is model
    assert result.method == "truth"
    assert (result.match.n_missed, result.match.n_false) == (4, 0)
    assert result.match.fraction_identified == pytest.approx((len(ball) - 5) / len(ball))
    _, perfect = verify(ball, truth=ball, series=series)
    assert perfect.r_factor < result.r_factor < 0.3
    assert np.isnan(verify(model, truth=ball)[1].r_factor)


def test_a_step_that_ends_in_simulated_images_is_said_to_do_so_there(ball, series):
    short = ReconstructSettings(iterations=5, held_out=0)
    chain = Chain(reconstruct=short, steps=(ClassifySettings(species=("C", "Al", "Ti", "Fe", "Pt")),))
    with pytest.raises(InputError, match=r"^in simulated images of the model the same steps end: .* population"):
        verify(ball, series=series, chain=chain)


@pytest.mark.filterwarnings("error")
def test_a_model_without_atoms_is_refused_by_its_name(ball, series):
    for model, truth, name in ((ball[:0], ball, "model"), (ball, ball[:0], "known model")):
        with pytest.raises(InputError, match=f"^the {name} holds no atoms"):
            verify(model, truth=truth, series=series)


def test_neither_truth_nor_images_is_refused(ball):
    with pytest.raises(InputError, match="known model"):
        verify(ball)


def test_images_of_a_model_use_its_fitted_intensities_and_widths_where_it_has_them(ball, series):
    fitted = ball.copy()
    fitted.set_array("intensity", np.full(len(ball), 7.0))
    fitted.set_array("peak_width", np.full(len(ball), 0.6))
    images = model_images(fitted, series)
    assert_allclose(images.sum(axis=(1, 2)), 7.0 * len(ball), rtol=5e-3)
    fitted.arrays["intensity"][0] = -1.0
    assert_allclose(model_images(fitted, series).sum(axis=(1, 2)), 7.0 * (len(ball) - 1), rtol=5e-3)
    fitted.arrays["intensity"][:] = 0.0
    by_element = model_images(fitted, series)
    assert_allclose(by_element.sum(axis=(1, 2)), (ball.numbers**1.7).sum(), rtol=5e-3)


def test_simulated_series_have_scale_and_noise_of_the_measured_one_or_the_dose_that_is_asked(ball, series):
    exact = model_images(ball, series)
    again = simulated_series(exact, series, VerifySettings(), seed=5)
    assert again.projections.mean() == pytest.approx(series.projections.mean(), rel=0.01)
    empty = exact.max(axis=0) == 0
    assert again.projections[:, empty].std() == pytest.approx(series.projections[:, empty].std(), rel=0.2)
    bright = exact > 0.5 * exact.max()
    truth = 200 * exact / exact.max()
    errors = [(images - truth)[bright].std() for images in (again.projections, series.projections)]
    assert errors[0] == pytest.approx(errors[1], rel=0.2)
    assert_array_equal(again.rotations, series.rotations)
    dim = simulated_series(exact, series, VerifySettings(dose=50, read_noise=0), seed=5)
    assert dim.projections.mean() == pytest.approx(50 * exact.mean() / exact.max(), rel=0.01)
    assert_array_equal(dim.projections, np.round(dim.projections))
