"""Significance of small grains. Truth: synthetic particles with and without planted L1₀ grains."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from aet2dft.config import OrderSettings
from aet2dft.structure.chemical_order import order
from aet2dft.structure.crystal import crystals
from aet2dft.structure.grain_table import label_crystals
from aet2dft.structure.lattice import index_lattice
from aet2dft.structure.significance import SurrogateSizes, _rates, surrogate_sizes
from aet2dft.synthetic import Grain, ball, measured, particle, two_grains

PLANTED = Grain(variant=9, region=ball((0.2, 0.1, -0.3), 2.6))


def labelled(grains, seed=0, n_atoms=6000):
    atoms, fits = index_lattice(measured(particle(grains, n_atoms=n_atoms, seed=seed), seed=seed))
    return label_crystals(crystals(atoms, fits), OrderSettings())[0]


def sizes(part, surrogates=20, seed=1):
    return surrogate_sizes(part.crystal, part.labeler, part.labels, part.grain, surrogates=surrogates, seed=seed)


@pytest.fixture(scope="module")
def plain():
    """Two L12 grains and nothing else."""
    return labelled(two_grains())


def test_significance_is_the_fraction_of_surrogates_that_stay_smaller():
    found = SurrogateSizes(l10=np.array([10, 20, 30, 40]), l12=np.array([1, 2, 3, 4]))
    assert found.significance("L10", 25) == 0.5
    assert found.significance("L10", 10) == 0.0
    assert found.significance("L12", 5) == 1.0
    assert (found.largest("L10"), found.largest("L12")) == (40, 4)
    none = SurrogateSizes(l10=np.zeros(0, dtype=int), l12=np.zeros(0, dtype=int))
    assert np.isnan(none.significance("L10", 5))
    assert none.largest("L12") == 0


def test_a_planted_l10_grain_is_larger_than_any_by_chance():
    _, found = order(measured(particle((*two_grains(), PLANTED), n_atoms=6000)), OrderSettings(surrogates=20))
    grains = found.chemical.grains
    row = int(np.flatnonzero(grains.phase == "L10")[0])
    assert 100 < grains.n_atoms[row] < 350
    assert grains.significance[row] == 1.0
    assert grains.largest_by_chance[row] < grains.n_atoms[row]


def test_false_l10_grains_between_two_l12_grains_are_no_larger_than_in_surrogates(plain):
    number, count = np.unique(plain.grain[plain.labels.variant > 0], return_counts=True)
    false = count[(number > 0) & (count < 1000)]
    assert false.max(initial=0) <= 1.3 * sizes(plain).largest("L10")


def test_the_seed_decides_and_the_numbering_does_not(plain):
    assert_array_equal(sizes(plain, 4, seed=5).l10, sizes(plain, 4, seed=5).l10)
    assert sizes(plain, 8, seed=5).l10.tolist() != sizes(plain, 8, seed=6).l10.tolist()
    model = measured(particle(two_grains(), n_atoms=6000))
    new = np.random.default_rng(0).permutation(len(model))
    settings = OrderSettings(surrogates=3)
    here, there = (order(m, settings)[1].chemical.grains for m in (model, model[new]))
    assert_array_equal(here.n_atoms, there.n_atoms)
    assert_array_equal(here.largest_by_chance, there.largest_by_chance)


def test_surrogates_have_the_composition_and_the_order_of_the_large_grains(plain):
    rate, own = _rates(plain.crystal, plain.labels, np.isin(plain.grain, (1, 2)))
    assert rate.mean() == pytest.approx(plain.crystal.is_first.mean(), abs=1e-12)
    assert ((rate >= 0) & (rate <= 1)).all()
    assert set(own) == {int(plain.labels.variant[plain.grain == g][0]) for g in (1, 2)}


def test_nothing_is_asked_of_large_grains_or_without_surrogates():
    _, found = order(measured(particle(two_grains(), n_atoms=6000)), OrderSettings(surrogates=0))
    grains = found.chemical.grains
    assert np.isnan(grains.significance).all()
    assert (grains.largest_by_chance == -1).all()
