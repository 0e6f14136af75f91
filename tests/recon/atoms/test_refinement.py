"""Atoms refined against images. Truth: a ball cut from the measured FePt particle behind simulated images."""

from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms
from ase.neighborlist import neighbor_list

from aet2dft.atoms import composition
from aet2dft.config import RefineSettings
from aet2dft.errors import InputError
from aet2dft.recon.atoms import concerns
from aet2dft.recon.atoms.refinement import refine
from aet2dft.recon.atoms.simulate import Noise, simulate, simulate_images, with_noise
from aet2dft.recon.metrics import match
from aet2dft.recon.tilt_series import TiltSeries
from aet2dft.synthetic import amorphous, fept_twin, tilt_series, uneven_tilts

TILTS = np.linspace(-66, 64, 24)
PIXEL = 0.3725
SHAPE = (64, 64)
ONCE = RefineSettings(rounds=1, iterations=2)


@pytest.fixture(scope="module")
def ball(fept):
    """About 170 atoms."""
    atoms = fept[np.linalg.norm(fept.positions - fept.positions.mean(axis=0), axis=1) < 8.5]
    atoms.positions -= atoms.positions.mean(axis=0)
    return atoms


def contrast(atoms):
    return np.where(atoms.symbols == "Pt", 1.0, 0.25)


@pytest.fixture(scope="module")
def series(ball):
    return simulate(
        ball, TILTS, shape=SHAPE, pixel_size=PIXEL, intensity=contrast(ball), noise=Noise(counts=200, read_noise=1)
    )


def disturbed(ball, size=0.1, seed=0):
    """The atoms, displaced by some tenths of an Å, with intensities as tracing gives them."""
    atoms = ball.copy()
    atoms.positions += size * np.random.default_rng(seed).standard_normal(atoms.positions.shape)
    atoms.set_array("intensity", contrast(ball))
    return atoms


@pytest.fixture(scope="module")
def refined(ball, series):
    return refine(disturbed(ball), series, ONCE)


def test_positions_come_nearer_to_the_truth_than_they_were(ball, refined):
    """Truth: the ball; 17 pm off at the start, at the noise of these images at the end."""
    atoms, result = refined
    found = match(atoms, ball)
    assert found.n_missed == found.n_false == 0
    assert found.fraction_identified == 1.0
    assert found.rmsd < 0.1
    assert result.r_factor_after < result.r_factor_before
    assert result.widths == pytest.approx({"Fe": 0.5, "Pt": 0.5}, rel=0.06)
    assert 2.0 < result.contacts["Pt-Pt"] < 2.6


@pytest.mark.parametrize("power", [-80, 70])
def test_the_unit_of_the_images_does_not_matter(power, ball, series, refined):
    """Truth: the same images, in counts; a power of two changes no digit."""
    unit = 2.0**power
    atoms, result = refine(disturbed(ball), replace(series, projections=series.projections * np.float32(unit)), ONCE)
    assert (atoms.positions == refined[0].positions).all()
    np.testing.assert_allclose(atoms.arrays["intensity"], refined[0].arrays["intensity"] * unit, rtol=1e-12)
    np.testing.assert_allclose(atoms.arrays["intensity_sigma"], refined[0].arrays["intensity_sigma"] * unit, rtol=1e-12)
    found = (result.gain / unit, result.offset / unit**2, *result.background / unit)
    assert found == pytest.approx((refined[1].gain, refined[1].offset, *refined[1].background), rel=1e-9)


def test_contacts_can_be_left_away(ball, series):
    _, result = refine(disturbed(ball), series, ONCE.model_copy(update={"contacts": False}))
    assert result.contacts == {}


def test_two_of_three_intervals_hold_the_true_position(ball, refined):
    """Truth: the ball; 68 % of 3 x 170 coordinates within one standard error, give or take three times their noise."""
    atoms, _ = refined
    found = match(atoms, ball)
    scores = found.differences / atoms.arrays["position_sigma"][found.pairs[:, 0]]
    assert 0.61 < (np.abs(scores) < 1).mean() < 0.75


def test_the_calibration_and_the_noise_of_the_images_are_those_of_the_simulation(series, refined):
    """Truth: Poisson noise, no background, one brightness."""
    _, result = refined
    assert result.gain == pytest.approx(1.0, rel=0.1)
    np.testing.assert_allclose(result.scale, 1.0, atol=0.02)
    assert np.abs(result.background).max() < 0.5
    assert not result.shifts.any()
    assert not result.rotations.any()
    assert len(result.r_factor_per_image) == series.n_images


def test_a_missing_atom_is_added_a_false_one_dropped_and_both_are_logged(ball, series):
    """Truth: one inner Pt atom taken away, one atom put where none is."""
    start = disturbed(ball, 0.03)
    inner = int(np.argmin(np.linalg.norm(ball.positions, axis=1) + 100 * (ball.numbers != 78)))
    place = ball.positions[inner]
    start.set_array("site_id", np.arange(1, len(ball) + 1))
    del start[inner]
    outside = Atoms("Fe", positions=[[0, 0, ball.positions[:, 2].max() + 2.6]])
    outside.set_array("intensity", np.array([0.2]))
    outside.set_array("site_id", np.array([900]))
    atoms, result = refine(start + outside, series, RefineSettings(rounds=2, iterations=2))
    assert np.linalg.norm(atoms.positions - place, axis=1).min() < 0.2
    assert np.linalg.norm(atoms.positions - outside.positions, axis=1).min() > 1.0
    assert result.n_added >= 1
    assert result.n_dropped >= 1
    assert len(set(atoms.arrays["site_id"])) == len(atoms)
    assert {"added", "dropped"} <= set(result.changes.actions)
    near = np.linalg.norm(result.changes.positions - place, axis=1) < 0.5
    assert list(result.changes.actions[near]) == ["added"]
    assert result.changes.gains[near][0] > 20


def test_a_faint_species_is_found_round_by_round_where_most_of_it_is_missing():
    """Truth: 72 Fe a ninth as bright as 48 Pt, of which the model has 17; to it no other looks likely at first."""
    truth = amorphous(120, {"Fe": 0.55, "Pt": 0.45}, seed=1)
    intensity = np.where(truth.symbols == "Pt", 1.0, 0.11)
    tilts, noise = np.linspace(-70, 70, 30), Noise(counts=200, read_noise=1)
    series = simulate(
        truth, tilts, shape=(64, 64), pixel_size=0.42, intensity=intensity, width=0.6, noise=noise, seed=1
    )
    rng = np.random.default_rng(0)
    start = truth[(truth.symbols == "Pt") | (rng.random(120) < 0.15)]
    start.positions += 0.1 * rng.standard_normal(start.positions.shape)
    start.set_array("intensity", np.where(start.symbols == "Pt", 1.0, 0.11))
    atoms, result = refine(start, series, RefineSettings())
    found = match(atoms, truth)
    assert found.fraction_identified > 0.98
    assert found.n_false <= 1
    assert result.changes.rounds.max() > 3


def test_noise_does_not_add_up_to_atoms_however_many_rounds_are_allowed():
    """Truth: 250 atoms behind images of 7 counts; with doubtful ones kept in all rounds 743 are tried, 88 % found."""
    truth, tilts = fept_twin(n_atoms=250, seed=53), uneven_tilts(40, (-65.0, 65.0))
    series = tilt_series(truth, tilts, counts=7, intensity=contrast(truth), seed=53).series
    rng = np.random.default_rng(0)
    start = truth[rng.random(250) < 0.8]
    start.positions += 0.3 * rng.standard_normal(start.positions.shape)
    start.set_array("intensity", contrast(start))
    atoms, result = refine(start, series, RefineSettings())
    assert match(atoms, truth).fraction_identified > 0.9
    assert (result.changes.actions == "added").sum() < 400


def test_wrong_angles_and_shifts_of_images_are_found_when_asked_for(ball):
    """Truth: tilts wrong by up to 0.6 degrees, images shifted by up to half a pixel."""
    rng = np.random.default_rng(4)
    wrong, away = rng.uniform(-0.6, 0.6, 24), rng.uniform(-0.5, 0.5, (24, 2))
    true = TiltSeries.from_angles(np.zeros((24, *SHAPE), np.float32), TILTS + wrong, pixel_size=PIXEL)
    exact = simulate_images(
        ball, true.rotations, shape=SHAPE, pixel_size=PIXEL, center=32.0 + away, intensity=contrast(ball)
    )
    measured = with_noise(exact, Noise(counts=300, read_noise=1), seed=0)
    series = TiltSeries.from_angles(measured, TILTS, pixel_size=PIXEL)
    settings = RefineSettings(rounds=1, iterations=4, fit_geometry=True)
    atoms, result = refine(disturbed(ball, 0.05), series, settings)
    # the object as a whole may shift and turn instead of all images
    axes = true.rotations.swapaxes(1, 2)[:, :2]
    left = result.shifts - away
    left -= axes @ np.linalg.lstsq(axes.reshape(-1, 3), left.ravel(), rcond=None)[0]
    # at a larger tilt the image shows the object turned the other way: its rows are those of the transpose
    turned = result.rotations[:, 1] - result.rotations[:, 1].mean() + (wrong - wrong.mean())
    assert np.sqrt((left**2).mean()) < 0.03
    assert np.sqrt((turned**2).mean()) < 0.15
    assert match(atoms, ball).rmsd < 0.1


def test_one_image_far_from_where_its_angle_says_is_found_again_and_told(ball):
    """Truth: image 7 is 9 pixels and 3 degrees of tilt away; all others are in place."""
    tilts, center = TILTS.copy(), np.full((24, 2), 32.0)
    tilts[7] += 3.0
    center[7] += (2.0, -9.0)
    true = TiltSeries.from_angles(np.zeros((24, *SHAPE), np.float32), tilts, pixel_size=PIXEL)
    exact = simulate_images(
        ball, true.rotations, shape=SHAPE, pixel_size=PIXEL, center=center, intensity=contrast(ball)
    )
    series = TiltSeries.from_angles(with_noise(exact, Noise(counts=1000), seed=0), TILTS, pixel_size=PIXEL)
    settings = RefineSettings(rounds=0, iterations=3, fit_geometry=True)
    _, result = refine(disturbed(ball, 0.05), series, settings)
    np.testing.assert_allclose(result.shifts[7] - np.delete(result.shifts, 7, axis=0).mean(axis=0), (2, -9), atol=0.1)
    turns = result.rotations - np.delete(result.rotations, 7, axis=0).mean(axis=0)
    assert np.linalg.norm(turns[7]) == pytest.approx(3.0, abs=0.1)
    assert any(text.startswith("1 image stood out and was found elsewhere: 7 by 9.") for text in result.warnings)


def test_an_image_that_does_not_belong_is_named(ball, series):
    """Truth: image 7 is mirrored."""
    images = series.projections.copy()
    images[7] = images[7, ::-1, ::-1]
    spoiled = TiltSeries.from_angles(images, TILTS, pixel_size=PIXEL)
    _, result = refine(disturbed(ball, 0.03), spoiled, RefineSettings(rounds=0, iterations=1))
    assert any(text.startswith("1 image fits badly") and text.endswith(": 7") for text in result.warnings)


def test_a_blank_image_costs_no_atom_does_not_move_is_named_and_has_no_part_in_r_factors(ball, series):
    """Truth: the ball; image 7, which would be held out, is zero."""
    images = series.projections.copy()
    images[7] = 0.0
    spoiled = TiltSeries.from_angles(images, TILTS, pixel_size=PIXEL)
    settings = RefineSettings(rounds=0, iterations=2, fit_geometry=True)
    atoms, result = refine(disturbed(ball), spoiled, settings)
    found = match(atoms, ball)
    assert (found.n_missed, found.n_false, found.fraction_identified) == (0, 0, 1.0)
    assert found.rmsd < 0.1
    assert result.warnings[0].startswith("1 image does not show the atoms: 7;")
    assert not any("fits badly" in text for text in result.warnings)
    np.testing.assert_allclose(np.delete(result.scale, 7), 1.0, atol=0.02)
    assert np.linalg.norm(result.shifts[7]) < 0.1
    assert np.flatnonzero(~result.shown).tolist() == [7]
    assert len(result.held_out) == 2
    assert 7 not in result.held_out
    r_factors = np.delete(result.r_factor_per_image, 7)
    assert result.r_factor_after == pytest.approx(r_factors.mean())
    r_held_out = result.r_factor_per_image[result.held_out].mean()
    assert np.nanmax(np.abs(result.history[1:, 2:] - (r_factors.mean(), r_held_out))) < 0.02


def test_images_that_are_out_of_place_are_told_but_not_of_a_film(ball, series, refined, monkeypatch):
    """Truth: images in place, and the same shifted by half a pixel each way, at random."""
    assert not any("--fit-geometry" in text for text in refined[1].warnings)
    away = np.random.default_rng(0).normal(0, 0.5, (len(TILTS), 2))
    shifted = replace(series, center=series.center + away)
    settings = RefineSettings(rounds=0, iterations=2)
    said = refine(disturbed(ball), shifted, settings)[1].warnings
    assert any("use --fit-geometry" in text for text in said)
    # of a film another sentence says what the places of its images would be fitted to
    monkeypatch.setattr(concerns, "beyond_images", lambda series: ("a film",))
    silent = refine(disturbed(ball), shifted, settings)[1].warnings
    assert not any("--fit-geometry" in text for text in silent)


def test_pairs_that_are_too_near_are_named_with_their_distance(ball, series):
    """Truth: the ball, in which 2.8 Å is more than most bonds have."""
    start = disturbed(ball, 0.03)
    start.set_array("site_id", np.arange(1, len(ball) + 1))
    atoms, result = refine(start, series, RefineSettings(rounds=0, iterations=2), min_distance=2.8)
    short = next(text for text in result.warnings if "nearer than 2.8" in text)
    pairs = neighbor_list("ij", atoms, 2.8)
    assert short.startswith(f"{len(pairs[0]) // 2} pairs of atoms")
    i, j = (atoms.arrays["site_id"][each] for each in pairs)
    assert "(by site_id)" in short
    assert any(f"{one} and {other} (" in short for one, other in zip(i, j, strict=True))
    assert short.endswith("more")
    assert result.composition_before == composition(ball)
    assert result.n_species_changed == 0


def test_species_that_the_fitted_heights_change_are_counted(ball, series):
    """Truth: the ball; three of its Pt come in as Fe."""
    start = disturbed(ball, 0.03)
    wrong = np.flatnonzero(start.symbols == "Pt")[:3]
    start.symbols[wrong] = "Fe"
    atoms, result = refine(start, series, RefineSettings(rounds=0, iterations=2))
    assert result.n_species_changed == 3
    assert composition(atoms) == composition(ball)
    assert result.composition_before["Fe"] == composition(ball)["Fe"] + 3


def test_one_species_is_not_halved_where_another_one_was_only_noise(ball):
    """Truth: Pt alone; besides, twelve Fe where nothing is, which the images do not need."""
    alone = ball.copy()
    alone.symbols[:] = "Pt"
    noise = Noise(counts=60, read_noise=1)
    images = simulate(alone, TILTS, shape=SHAPE, pixel_size=PIXEL, noise=noise, seed=3)
    junk = Atoms("Fe12", positions=alone.positions[::9][:12] + np.array([1.2, 0.9, -1.1]))
    start = disturbed(alone, 0.05) + junk
    start.set_array("intensity", np.where(start.symbols == "Pt", 1.0, 0.1))
    found, result = refine(start, images)
    assert found.get_chemical_formula() == f"Pt{len(alone)}"
    assert any("do not tell Fe and Pt apart" in warning for warning in result.warnings)


@pytest.mark.parametrize("factor", [30.0, 1000.0])
def test_an_image_in_other_units_is_fitted_in_its_own(ball, series, refined, factor):
    """Truth: what is found in the images as they were."""
    images = series.projections.copy()
    images[7] *= factor
    atoms, result = refine(disturbed(ball), replace(series, projections=images), ONCE)
    assert np.abs(atoms.positions - refined[0].positions).max() < 0.01
    assert result.scale[7] == pytest.approx(factor * refined[1].scale[7], rel=0.02)
    np.testing.assert_allclose(result.r_factor_per_image, refined[1].r_factor_per_image, rtol=0.02)
    assert result.warnings[0].startswith("images in other units were divided by them: 7 (")


def test_atoms_without_intensities_can_be_refined(ball, series):
    """Truth: the ball; a foreign file tells positions and elements only."""
    foreign = Atoms(ball.symbols, positions=disturbed(ball).positions)
    atoms, _ = refine(foreign, series, RefineSettings(rounds=0, iterations=4))
    found = match(atoms, ball)
    assert found.fraction_identified == 1.0
    assert found.rmsd < 0.1


def test_what_cannot_be_refined_is_refused(ball, series):
    with pytest.raises(InputError, match="no atoms to refine"):
        refine(Atoms(), series)
    with pytest.raises(InputError, match="NaN or infinite"):
        refine(Atoms(ball.symbols, positions=np.where(ball.positions > 5, np.nan, ball.positions)), series)
    with pytest.raises(InputError, match="not brighter where the atoms should be"):
        refine(Atoms(ball.symbols, positions=ball.positions + 60.0), series)
    half = ball.copy()
    half.numbers[:5] = 0
    with pytest.raises(InputError, match="5 atoms have no element"):
        refine(half, series)
    half.numbers[1:5] = ball.numbers[1:5]
    with pytest.raises(InputError, match="1 atom has no element"):
        refine(half, series)
