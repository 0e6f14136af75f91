"""Which populations are which species. Truth: made brightness of known species, with tails that are no Gaussians."""

import numpy as np
import pytest
from test_classification import FE_PT, candidates, populations

from aet2dft.config import ClassifySettings
from aet2dft.recon.atoms import assignments
from aet2dft.recon.atoms.assignments import hill, hills, unlikely
from aet2dft.recon.atoms.classification import by_brightness, classify
from aet2dft.recon.atoms.populations import mixture


def fe_pt_with_a_shoulder(seed):
    """Brightness in a clean volume: Pt amid many neighbors is brighter than the rest by overlap."""
    return populations(seed, (0.226, 0.967, 1.205), (0.04, 0.073, 0.073), (140, 450, 50))


@pytest.mark.parametrize(("spread", "seed"), [(0.25, 0), (0.75, 2)])
def test_a_shoulder_of_pt_makes_neither_pt_of_itself_nor_fe_of_pt_nor_non_atoms_of_fe(spread, seed, monkeypatch):
    monkeypatch.setattr(assignments, "EXPONENT_SPREAD", spread)
    values, labels = fe_pt_with_a_shoulder(seed)
    found, result = classify(candidates(values), None, FE_PT)
    assert (result.n_rejected, len(found)) == (0, len(values))
    assert ((found.symbols == "Pt") == (labels > 0)).all()
    assert "parts of one hill" in result.choice


@pytest.mark.parametrize(("species", "n_rejected", "tags"), [(("Pt",), 140, {1}), (None, 0, {1, 2})])
def test_the_shoulder_is_none_for_one_species_or_none_named_either(species, n_rejected, tags):
    values, _ = fe_pt_with_a_shoulder(0)
    found, result = classify(candidates(values), None, ClassifySettings(species=species))
    assert result.n_rejected == n_rejected
    assert set(found.get_tags()) == tags


def test_non_atoms_stay_non_atoms_where_the_species_are_as_bright_as_elements_are():
    values, labels = populations(1, (0.1, 0.5, 1.0), (0.08, 0.1, 0.12), (400, 200, 400))
    found, result = classify(candidates(values), None, FE_PT)
    assert result.has_non_atoms
    assert result.n_rejected == pytest.approx(400, abs=15)
    assert (found.symbols == "Fe").sum() == pytest.approx(200, abs=15)
    assert result.choice == ""
    assert labels.max() == 2


@pytest.mark.parametrize("surface", [0.7, 0.8, 0.85])
def test_a_surface_that_vibrates_makes_no_non_atoms_of_the_fainter_species(surface):
    values, labels = populations(3, (0.15, surface, 1.0), (0.025, 0.014, 0.014), (250, 100, 155))
    found, result = classify(candidates(values), None, FE_PT)
    assert (result.n_rejected, result.warnings) == (0, ())
    assert ((found.symbols == "Pt") == (labels > 0)).all()


def test_a_hill_of_non_atoms_stays_one_where_the_species_above_it_are_as_bright_as_theirs():
    # maxima of strong noise that are 2 Å apart are no longer the more the lower they are
    values, _ = populations(4, (0.25, 0.63, 1.0), (0.07, 0.03, 0.03), (500, 350, 350))
    _, result = classify(candidates(values), None, ClassifySettings(species=("Cu", "Zr")))
    assert result.n_rejected == pytest.approx(500, abs=5)
    assert result.composition["Cu"] == pytest.approx(350, abs=5)


def test_a_few_maxima_far_below_all_atoms_are_no_outliers_of_the_fainter_species():
    values, labels = populations(0, (0.054, 0.249, 0.923), (0.005, 0.033, 0.026), (7, 48, 252))
    _, result = classify(candidates(values), None, FE_PT)
    assert (result.n_rejected, result.composition) == (7, {"Fe": 48, "Pt": 252})
    _, result = classify(candidates(values[labels > 0]), None, FE_PT)
    assert (result.n_rejected, result.composition) == (0, {"Fe": 48, "Pt": 252})


def test_maxima_that_are_the_more_the_lower_they_are_are_no_hill_and_a_gaussian_is_one():
    random = np.random.default_rng(5)
    high = random.normal(1.0, 0.02, 200)
    for low, is_hill in ((0.05 + random.exponential(0.01, 200), False), (random.normal(0.1, 0.01, 200), True)):
        values = np.concatenate([low, high])
        assert (hill(mixture(values, 2), values, np.ones(400)) > 50) == is_hill
    assert hill(mixture(high, 1), high, np.ones(200)) > 50


@pytest.mark.parametrize(
    ("means", "counts", "numbers"),
    [
        ((0.7, 1.0), (1000, 1000), [0, 1]),  # three widths apart: a dip
        ((0.8, 1.0), (1000, 1000), [0, 0]),  # two: none
        ((0.7, 1.0), (1000, 20), [0, 0]),  # a dip that so few may make by chance
        ((0.4, 0.8), (1000, 100), [0, 1]),  # farther than a factor of 0.6: no part of the same
    ],
)
def test_a_hill_ends_where_the_density_dips_or_a_factor_is_too_large(means, counts, numbers):
    values, _ = populations(0, means, (0.1, 0.1), counts)
    found = mixture(values, 2)
    assert hills(found).tolist() == numbers


def test_brightness_like_a_power_between_one_and_two_of_the_atomic_number_is_likely():
    fe_pt = np.array([26.0, 78.0])
    for power in (1.0, 1.4, 2.0):
        assert unlikely(fe_pt**power, fe_pt) < 1.3
    assert unlikely(np.array([0.8, 1.0]), fe_pt) > 5


@pytest.mark.parametrize("spots", [(60.0,), (100.0, 100.0, 100.0), (1e4,), (1e6, 1e6)])
def test_a_few_spots_brighter_than_pt_make_no_fe_of_pt_and_no_non_atoms_of_fe(spots):
    values, labels = populations(0, (4.3, 18.0), (0.5, 1.0), (1000, 1000))
    values[np.flatnonzero(labels)[: len(spots)]] = spots
    atoms = candidates(values)
    _, result = classify(atoms, None, FE_PT)
    assert (result.composition, result.n_rejected) == ({"Fe": 1000, "Pt": 1000}, 0)
    assert (by_brightness(atoms.positions, values, 2)[0] == labels).all()


def test_an_atom_in_the_light_of_a_spot_does_not_hide_that_its_species_is_a_hill():
    values, labels = populations(0, (7.25, 28.7), (0.12, 0.12), (260, 250))
    values[np.flatnonzero(labels)[0]], values[np.flatnonzero(labels == 0)[0]] = 86.7, 10.3
    _, result = classify(candidates(values), None, FE_PT)
    assert (result.composition, result.n_rejected) == ({"Fe": 260, "Pt": 250}, 0)


def test_a_handful_of_the_heavier_element_stays_that_and_is_said_beside_many_non_atoms():
    values, _ = populations(0, (0.012, 0.194, 1.0), (0.002, 0.006, 0.007), (260, 460, 5))
    _, result = classify(candidates(values), None, ClassifySettings(species=("Ni", "Pt")))
    assert (result.composition, result.n_rejected) == ({"Ni": 460, "Pt": 5}, 260)
    assert any(text.startswith("5 Pt beside 260 candidates") for text in result.warnings)
    _, result = classify(candidates(values[values > 0.1]), None, ClassifySettings(species=("Ni", "Pt")))
    assert (result.composition, result.warnings) == ({"Ni": 460, "Pt": 5}, ())


def test_brightness_that_the_elements_hardly_have_is_said():
    values, _ = populations(2, (0.8, 1.0), (0.02, 0.02), (500, 500))
    _, result = classify(candidates(values), None, FE_PT)
    assert any("Pt is 1.3 times as bright as Fe" in text for text in result.warnings)
    values, _ = populations(2, (0.3, 1.0), (0.02, 0.05), (500, 500))
    assert classify(candidates(values), None, FE_PT)[1].warnings == ()


def test_nobody_is_sure_of_elements_that_differ_fifteenfold_where_they_cannot():
    """Six maxima of noise below 600 atoms of Ni and Cu, which brightness does not tell apart. Truth: that."""
    values, _ = populations(2, (1 / 15, 1.0), (0.02, 0.05), (6, 600))
    unsure, result = classify(candidates(values), None, ClassifySettings(species=("Ni", "Cu")))
    assert any("times as bright as Ni" in text for text in result.warnings)
    assert unsure.arrays["species_confidence"] == pytest.approx(0.5)
    values, _ = populations(2, (0.8, 1.0), (0.02, 0.02), (500, 500))
    sure, _ = classify(candidates(values), None, FE_PT)
    assert sure.arrays["species_confidence"].mean() > 0.999
