"""Sentences of what a user should look at. Truth: small cases by hand."""

import numpy as np
from ase import Atoms

from aet2dft.recon.atoms.concerns import (
    bad_images,
    found_elsewhere,
    near_pairs,
    not_confirmed,
    not_judged,
    overlapping,
    replaced,
    spread,
    undivided,
    volume_of_before,
)


def test_pairs_that_are_too_near_are_named_by_site_id_or_counted_from_0_the_nearest_first():
    atoms = Atoms("Pt3", positions=[[0, 0, 0], [0, 0, 1.9], [0, 1.5, 0]])
    assert near_pairs(atoms, 2.0) == (
        "2 pairs of atoms are nearer than 2 Å (counted from 0): 0 and 2 (1.50 Å), 0 and 1 (1.90 Å)",
    )
    atoms.set_array("site_id", np.array([4, 7, 9]))
    assert "(by site_id): 4 and 9 (1.50 Å)" in near_pairs(atoms, 2.0)[0]
    assert near_pairs(atoms, 1.6)[0].startswith("1 pair of atoms is nearer")
    assert near_pairs(atoms, 1.0) == ()


def test_images_that_fit_badly_are_listed_ten_at_most():
    per_image = np.r_[np.full(30, 0.1), np.full(12, 0.16)]
    (said,) = bad_images(per_image)
    assert said.startswith("12 images fit badly")
    assert said.endswith("38, 39 and 2 more")
    assert bad_images(np.full(5, 0.2)) == ()
    blank, bad = bad_images(np.where(np.arange(42) == 30, np.nan, per_image))
    assert blank.startswith("1 image does not show the atoms: 30;")
    assert bad.startswith("11 images fit badly")
    # where nearly all is explained a multiple of the median is no fault
    assert bad_images(np.r_[np.full(30, 0.004), 0.01]) == ()
    assert bad_images(np.r_[np.full(30, 0.004), 0.06])[0].startswith("1 image fits badly")


def test_atoms_that_ended_farther_apart_all_together_are_of_another_unit():
    random = np.random.default_rng(0)
    start = random.uniform(-10, 10, (150, 3))
    assert spread(start, start + 3.0 + random.normal(0, 0.3, start.shape)) == ()
    assert spread(start[:5], 1.1 * start[:5]) == ()
    assert "7.4 % farther apart" in spread(start, 1.074 * start - 5.0)[0]
    assert "7.4 % nearer to each other" in spread(start, 0.926 * start)[0]


def test_atoms_of_which_many_are_replaced_may_be_those_of_other_images():
    near, far = np.full(40, 0.3), np.full(40, 1.4)
    assert replaced(77, 36, 37, near, 1.0)[0].startswith("37 of 77 atoms were dropped and 36 added elsewhere")
    # candidates of a noisy volume: many go, few come
    assert replaced(383, 1, 65, near, 1.0) == replaced(446, 62, 61, near, 1.0) == ()
    said = "5 of 77 atoms were dropped, 40 moved by more than 1 Å and 8 added elsewhere"
    assert replaced(77, 8, 5, far, 1.0)[0].startswith(said)


def test_images_that_were_found_elsewhere_are_told_with_how_far():
    shifts, rotations = np.zeros((4, 2)), np.zeros((4, 3))
    shifts[2], rotations[2] = (3.0, -4.0), (0.0, np.radians(2.5), 0.0)
    (said,) = found_elsewhere(np.array([2]), shifts, rotations)
    assert "2 by 5.0 pixels and 2.5 degrees" in said
    assert found_elsewhere(np.zeros(0, dtype=np.intp), shifts, rotations) == ()


def test_a_volume_of_images_that_were_moved_since_is_told():
    assert volume_of_before(0.5, 0.0)[0].startswith("images moved by 0.5 pixels and 0.0 degrees (rms)")
    assert volume_of_before(0.1, 0.6)[0].startswith("images moved by 0.1 pixels and 0.6 degrees (rms)")
    assert volume_of_before(0.1, 0.4) == ()


def test_a_rise_of_the_r_factor_of_held_out_images_is_said_beyond_what_the_volume_knew_of_them():
    assert "from 0.240 to 0.271" in not_confirmed(0.240, 0.271)[0]
    assert not_confirmed(0.5267, 0.5315) == ()
    assert not_confirmed(0.2, 0.15) == ()
    assert not_confirmed(np.nan, np.nan) == ()


def test_images_too_few_for_any_to_be_held_out_are_said_to_judge_nothing():
    assert not_judged(10) == ()
    assert not_judged(9)[0].startswith("9 images are too few to hold any out")
    assert not_judged(1)[0].startswith("1 image is")


def test_species_that_are_halves_of_one_are_named():
    assert "do not tell Fe and Pt apart" in undivided(["Fe", "Pt"])[0]
    assert "do not tell C, Fe and Pt apart" in undivided(["C", "Fe", "Pt"])[0]


def test_most_atoms_that_were_dropped_are_said_though_none_came_for_them():
    assert replaced(100, 0, 51, np.zeros(49), 1.0)[0].startswith("51 of 100 atoms were dropped and 0 added elsewhere")
    assert replaced(100, 0, 50, np.zeros(50), 1.0) == ()


def test_species_that_heights_do_not_tell_apart_are_said_with_the_number_of_atoms():
    assert overlapping(np.full(100, 0.7))[0].startswith("about 30 of 100 atoms are of another species")
    assert overlapping(np.r_[np.ones(990), np.full(10, 0.5)]) == ()
    assert overlapping(np.full(4, 0.9)) == ()
