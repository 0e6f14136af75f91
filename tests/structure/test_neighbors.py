"""Neighbors by lattice index. Truth: the coordination shells of fcc, and a dictionary of sites."""

import numpy as np
import pytest
from hypothesis import given
from reference import NEAREST, neighbors_by_site
from strategies import seeds

from aet2dft.structure.neighbors import MARGIN, SiteGrid, shell_vectors


@pytest.mark.parametrize(
    ("shell", "count", "squared"), [(1, 12, 2), (2, 6, 4), (3, 24, 6), (4, 12, 8), (5, 24, 10), (6, 8, 12)]
)
def test_shells_have_the_coordination_of_fcc(shell, count, squared):
    vectors = shell_vectors(shell)
    assert vectors.shape == (count, 3)
    assert set((vectors**2).sum(axis=1)) == {squared}
    assert {tuple(v) for v in vectors} == {tuple(-v) for v in vectors}


def test_first_shell_is_the_twelve_nearest_and_cannot_be_changed():
    assert {tuple(v) for v in shell_vectors(1).tolist()} == set(NEAREST)
    with pytest.raises(ValueError, match="read-only"):
        shell_vectors(1)[0] = 0


def scattered_sites(seed, n=60):
    """Distinct fcc sites (n, 3) of a small region, at any distance from the origin."""
    rng = np.random.default_rng(seed)
    site = rng.integers(-4, 5, size=(4 * n, 3))
    site = np.unique(site[site.sum(axis=1) % 2 == 0], axis=0)[:n]
    return (rng.permutation(site) + 2 * rng.integers(-500, 500, size=3)).astype(np.int32)


@given(seed=seeds)
def test_neighbors_are_those_of_a_dictionary_of_sites(seed):
    site = scattered_sites(seed)
    found = SiteGrid.of(site).neighbors(site)
    assert [set(row[row >= 0]) for row in found] == neighbors_by_site(site)


@given(seed=seeds)
def test_a_grid_of_some_atoms_knows_these_only_by_their_old_numbers(seed):
    site = scattered_sites(seed)
    members = np.flatnonzero(np.random.default_rng(seed).random(len(site)) < 0.5)
    grid = SiteGrid.of(site, members)
    np.testing.assert_array_equal(grid.atoms(site[members]), members)
    assert (grid.atom_at >= 0).sum() == len(members)


@given(seed=seeds)
def test_every_element_of_the_grid_with_an_atom_is_an_fcc_site(seed):
    grid = SiteGrid.of(scattered_sites(seed))
    assert grid.sites()[grid.atom_at >= 0].all()
    assert abs(grid.sites().mean() - 0.5) < 0.01


def test_the_margin_holds_every_shell_that_can_be_asked_for():
    one = np.zeros((1, 3), dtype=np.int32)
    assert all((SiteGrid.of(one).neighbors(one, shell) == -1).all() for shell in range(1, 7))
    assert SiteGrid.of(one).atom_at.shape == (2 * MARGIN + 1,) * 3
