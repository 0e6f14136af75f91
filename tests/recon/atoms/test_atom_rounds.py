"""Rounds of refinement. Truth: simulated images of a small crystal of two species."""

from dataclasses import replace

import numpy as np
import pytest
from small_crystal import SPACING, crystal, crystal_series

from aet2dft.errors import InputError
from aet2dft.recon.atoms.atom_descent import Data, gauss_newton, settled
from aet2dft.recon.atoms.atom_rounds import Model, apart, completed, height_of_faintest, pruned
from aet2dft.recon.atoms.changes import Changes
from aet2dft.recon.atoms.contacts import Contacts
from aet2dft.recon.atoms.image_model import GaussianAtoms
from aet2dft.recon.atoms.residuals import BackProjector

NEAREST = 5.4
"""Pixels: least distance of two atoms."""


@pytest.fixture
def series():
    return crystal_series()


def model_of(atoms):
    return Model(atoms=atoms, source=np.arange(len(atoms.heights)))


def settled_at(series, atoms):
    """The model in order and its state after some steps."""
    model = model_of(atoms).in_order()
    state = settled(gauss_newton(Data.of(series, 0.1), model.atoms), 4, lambda _: None)
    return replace(model, atoms=state.values), state


def test_the_order_of_atoms_does_not_change_a_byte(series):
    """Truth: the same atoms, shuffled."""
    truth = crystal()
    shuffled = truth.of_atoms(np.random.default_rng(3).permutation(64))
    results = [settled_at(series, atoms)[1].values.positions.tobytes() for atoms in (truth, shuffled)]
    assert results[0] == results[1]


def test_a_false_atom_and_a_split_one_are_dropped_with_their_evidence(series):
    """Truth: two atoms that are not there: one between four others, one beside a real one."""
    truth = crystal()
    between = truth.positions[[21, 22, 25, 26]].mean(axis=0)
    beside = truth.positions[42] + [2.2, 0, 0]
    with_false = replace(
        truth,
        positions=np.vstack([truth.positions, between, beside]),
        heights=np.append(truth.heights, [60.0, 60.0]),
        kinds=np.append(truth.kinds, [0, 0]),
    )
    model, state = settled_at(series, with_false)
    left, dropped = pruned(model, state, min_distance=NEAREST, last=True)
    assert sorted(left.source) == list(range(64))
    assert list(dropped.actions) == ["dropped", "dropped"]
    assert (dropped.heights < 80.0).all()


def test_one_atom_taken_for_two_is_one_whatever_its_odds(series):
    """Truth: the crystal; half of one atom stands beside the other half, and both lower chi-square."""
    truth = crystal()
    heights = truth.heights.copy()
    heights[43] *= 0.6
    split = replace(
        truth,
        positions=np.vstack([truth.positions, truth.positions[43] + [0.0, 0.0, 3.0]]),
        heights=np.append(heights, 0.4 * truth.heights[43]),
        kinds=np.append(truth.kinds, 0),
    )
    state = next(gauss_newton(Data.of(series, 0.1), split))
    left, dropped = apart(model_of(split), state, min_distance=NEAREST)
    assert sorted(left.source) == list(range(64))
    assert list(dropped.reasons) == ["distance"]
    assert dropped.odds[0] > 0


def test_an_atom_as_high_as_its_kind_stays_however_near_to_others(series):
    """Truth: atoms that are all there, under contacts that a sharper part of the particle would give."""
    model, state = settled_at(series, crystal())
    wide = Contacts(distances=np.full((2, 2), 9.0), widths=np.full((2, 2), 0.05))
    low = replace(model, atoms=replace(model.atoms, heights=np.r_[20.0, model.atoms.heights[1:]]))
    for given, expected in ((model, 64), (low, 63)):
        left, _ = apart(given, replace(state, contacts=wide), min_distance=NEAREST)
        assert len(left.source) == expected


def test_an_atom_that_faded_in_the_last_fit_goes(series):
    """Truth: the crystal; far from it an atom that is not there, whose height is within its error of none."""
    model, state = settled_at(series, crystal())
    ghost = replace(
        model.atoms,
        positions=np.vstack([model.atoms.positions, model.atoms.positions.min(axis=0) - 6.0]),
        heights=np.append(model.atoms.heights, 1.0),
        kinds=np.append(model.atoms.kinds, 0),
    )
    for height in (1.0, -1.0):
        both = replace(ghost, heights=np.append(model.atoms.heights, height))
        left, dropped = apart(Model(atoms=both, source=np.append(model.source, 64)), state, min_distance=NEAREST)
        assert sorted(left.source) == list(range(64))
        assert list(dropped.reasons) == ["odds"]


def test_contacts_with_higher_atoms_count_against_an_atom(series):
    """Truth: an atom that is there, put among contacts that are wider than its bonds."""
    model, state = settled_at(series, crystal())
    kept, _ = pruned(model, state, min_distance=NEAREST, last=True)
    assert len(kept.source) == 64
    wide = Contacts(distances=np.array([[0.0, 9.0], [9.0, 0.0]]), widths=np.full((2, 2), 0.05))
    left, dropped = pruned(model, replace(state, contacts=wide), min_distance=NEAREST, last=True)
    assert set(model.atoms.kinds[~np.isin(model.source, left.source)]) == {0}
    assert len(left.source) + len(dropped.gains) == 64


def test_images_that_need_none_of_the_atoms_are_refused(series):
    """Truth: atoms of no height."""
    model, state = settled_at(series, crystal())
    nothing = replace(model, atoms=replace(model.atoms, heights=np.zeros(64)))
    with pytest.raises(InputError, match="none of the 64 atoms"):
        pruned(nothing, state, min_distance=NEAREST, last=True)


def test_missing_atoms_are_added_with_their_evidence(series):
    """Truth: one atom of each species taken out of the model."""
    truth = crystal()
    lacking = np.array([21, 42])
    model, state = settled_at(series, truth.of_atoms(np.setdiff1d(np.arange(64), lacking)))
    projector = BackProjector.of(state.problem.geometry, diameter=6 * SPACING, width=1.35)
    whole, added = completed(model, state, projector, faintest=80.0, min_distance=NEAREST)
    assert (whole.source < 0).sum() == len(added.gains) == 2
    distances = np.linalg.norm(added.positions[:, None] - truth.positions[lacking], axis=2)
    assert distances.min(axis=1).max() < 0.6
    assert sorted(distances.argmin(axis=1)) == [0, 1]
    assert (added.gains > 50).all()
    assert (added.n_images > 20).all()


def test_a_complete_model_is_left_as_it_is(series):
    model, state = settled_at(series, crystal())
    left, dropped = pruned(model, state, min_distance=NEAREST, last=True)
    projector = BackProjector.of(state.problem.geometry, diameter=6 * SPACING, width=1.35)
    whole, added = completed(left, state, projector, faintest=80.0, min_distance=NEAREST)
    assert len(whole.source) == 64
    assert not len(Changes.joined([dropped, added]).gains)


def test_the_faintest_species_is_found_without_names():
    """Truth: heights of two populations, and false ones far below."""
    rng = np.random.default_rng(0)
    heights = np.concatenate([rng.normal(4, 4, 30), rng.normal(80, 6, 300), rng.normal(320, 12, 300)])
    atoms = GaussianAtoms(
        positions=np.zeros((630, 3)), heights=heights, kinds=np.zeros(630, dtype=np.intp), widths=np.ones(1)
    )
    assert height_of_faintest(atoms, species_known=False) == pytest.approx(80, rel=0.05)
    named = replace(atoms, kinds=(heights > 200).astype(np.intp), widths=np.ones(2))
    assert height_of_faintest(named, species_known=True) == pytest.approx(80, rel=0.05)
