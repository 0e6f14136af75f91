"""Models against known ones. Truth: copies of a piece of the measured particle with known errors, turns and losses."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from ase import Atoms
from numpy.testing import assert_allclose, assert_array_equal

from aet2dft.config import ClassifySettings, ReconstructSettings, RefineSettings, VerifySettings
from aet2dft.errors import InputError
from aet2dft.recon.atoms.image_poses import corrected
from aet2dft.recon.atoms.simulate import Noise, model_images, simulate
from aet2dft.recon.verification.chain import Chain, usual_chain
from aet2dft.recon.verification.round_trip import simulated_series, verify, without_noise

TILTS = np.linspace(-65.0, 64.0, 22)
SHAPE = (60, 64)


@pytest.fixture(scope="module")
def series(ball):
    return simulate(ball, TILTS, shape=SHAPE, pixel_size=0.3725, noise=Noise(counts=200, read_noise=1), seed=1)


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


def test_heights_without_noise_scatter_as_the_true_ones_do():
    """Truth: the spread that was put into the heights of two species, 6 and 3, before errors of 4 were added."""
    rng, own = np.random.default_rng(0), np.repeat([6.0, 3.0], 4000)
    atoms = Atoms("Fe4000Pt4000", positions=np.zeros((8000, 3)))
    atoms.set_array("intensity", np.repeat([50.0, 100.0], 4000) + np.hypot(own, 4.0) * rng.standard_normal(8000))
    assert without_noise(atoms) is atoms
    atoms.set_array("intensity_sigma", np.full(8000, 4.0))
    calm = without_noise(atoms)
    for members, mean, spread in ((slice(0, 4000), 50, 6), (slice(4000, 8000), 100, 3)):
        heights = calm.arrays["intensity"][members]
        assert heights.mean() == pytest.approx(mean, abs=0.3)
        assert heights.std() == pytest.approx(spread, rel=0.08)
    assert_array_equal(np.argsort(calm.arrays["intensity"][:4000]), np.argsort(atoms.arrays["intensity"][:4000]))
    certain = atoms[:1]
    assert without_noise(certain).arrays["intensity"] == certain.arrays["intensity"]
