"""How near atoms come to each other. Truth: crystals whose distances were put in, and finite differences."""

from dataclasses import replace

import numpy as np
import pytest

from aet2dft.recon.atoms.atom_descent import Data, gauss_newton, settled
from aet2dft.recon.atoms.contacts import Contacts
from aet2dft.recon.atoms.image_model import GaussianAtoms, ImageGeometry, images
from aet2dft.recon.geometry import tilt_rotations
from aet2dft.recon.tilt_series import TiltSeries

BOND = 7.0


def fcc(size, scatter=0.25, seed=0):
    """A block of an fcc crystal, every third atom of a faint kind; neighbors `BOND` apart but for some scatter."""
    cells = np.indices((size, size, size)).reshape(3, -1).T
    places = np.sqrt(2.0) * BOND * (cells[:, None] + [[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    places = places.reshape(-1, 3) - places.mean(axis=(0, 1))
    kinds = (np.arange(len(places)) % 3 > 0).astype(np.intp)
    return GaussianAtoms(
        positions=places + np.random.default_rng(seed).normal(0, scatter, places.shape),
        heights=np.array([1.0, 4.0])[kinds],
        kinds=kinds,
        widths=np.array([1.3, 1.3]),
    )


def shaken(atoms, kind, by):
    """The atoms of one kind away from their places."""
    noise = np.random.default_rng(1).normal(0, by, atoms.positions.shape)
    return replace(atoms, positions=atoms.positions + np.where(atoms.kinds == kind, 1.0, 0.0)[:, None] * noise)


def test_contacts_begin_at_the_lowest_hundredth_of_the_distances():
    """Truth: distances of neighbors scatter normally, by sqrt(2) of 0.25 pixels, about the bond."""
    contacts = Contacts.of(fcc(7))
    np.testing.assert_allclose(contacts.distances, BOND - 2.326 * np.sqrt(2.0) * 0.25, atol=0.12)
    np.testing.assert_allclose(contacts.widths, np.sqrt(2.0) * 0.25, atol=0.05)


def test_an_atom_between_others_is_false_unless_its_place_is_badly_known():
    """Truth: the crystal, and one faint atom more at half a bond from a bright one: one is false, not its neighbors."""
    atoms = fcc(7)
    inner = int(np.argmin(np.linalg.norm(atoms.positions, axis=1) + 100.0 * (atoms.kinds == 0)))
    more = replace(
        atoms,
        positions=np.vstack([atoms.positions, atoms.positions[inner] + [0.5 * BOND, 0.0, 0.0]]),
        heights=np.append(atoms.heights, 1.5),
        kinds=np.append(atoms.kinds, 1),
    )
    contacts = Contacts.of(more)
    well_known = np.broadcast_to(1e-3 * np.eye(3), (len(more.heights), 3, 3))
    assert list(np.flatnonzero(contacts.false(more, well_known))) == [len(atoms.heights)]
    assert not contacts.false(more, 1e3 * well_known).any()
    assert not contacts.false(atoms, well_known[:-1]).any()


def test_badly_known_atoms_do_not_widen_the_contacts_of_their_kind():
    """Truth: the contacts of the crystal before its faint atoms were shaken by four times its scatter."""
    atoms = fcc(7)
    before, after = Contacts.of(atoms), Contacts.of(shaken(atoms, 0, 1.0))
    np.testing.assert_allclose(after.distances, before.distances, rtol=0.05)


def test_where_all_atoms_are_badly_known_contacts_give_way():
    assert (Contacts.of(fcc(7, scatter=1.0)).distances < Contacts.of(fcc(7)).distances - 0.5).all()


def test_atoms_on_an_ideal_lattice_do_not_hold_each_other():
    """Truth: real bonds scatter; at those of the lattice nothing is pushed, and a thirtieth nearer neither."""
    ideal = fcc(7, scatter=0.0)
    contacts = Contacts.of(ideal)
    np.testing.assert_allclose(contacts.distances, 0.93 * BOND)
    assert (contacts.widths > 0.02 * BOND).all()
    assert not contacts.pairs(replace(ideal, positions=ideal.positions * (29 / 30))).depths.size


@pytest.mark.parametrize("n", [1, 2, 50])
def test_few_atoms_tell_no_contacts(n):
    atoms = fcc(3)
    contacts = Contacts.of(atoms.of_atoms(np.arange(n)))
    assert not contacts.distances.any()
    assert contacts.pairs(atoms).cost == 0.0


def test_kinds_of_other_sizes_have_contacts_of_their_own():
    """Truth: small atoms in the octahedral gaps of large ones, half an edge from six of them."""
    large = fcc(6, scatter=0.1)
    small = fcc(6, scatter=0.1, seed=2)
    atoms = GaussianAtoms(
        positions=np.vstack([large.positions, small.positions + np.array([BOND / np.sqrt(2.0), 0, 0])]),
        heights=np.repeat([4.0, 1.0], len(large.heights)),
        kinds=np.repeat([1, 0], len(large.heights)),
        widths=large.widths,
    )
    contacts = Contacts.of(atoms)
    assert 0.9 * BOND / np.sqrt(2.0) < contacts.distances[0, 1] < BOND / np.sqrt(2.0)


def test_forces_are_the_slope_of_the_cost_and_curvature_that_of_the_depths():
    """Truth: central differences; the curvature is that of Gauss and Newton, of depths that are linear."""
    atoms = shaken(fcc(4), 0, 1.0)
    contacts = Contacts.of(atoms)
    close = contacts.pairs(atoms)
    assert len(close.pairs) > 20
    step = np.random.default_rng(3).normal(size=atoms.positions.shape)
    there, back = (replace(atoms, positions=atoms.positions + h * step) for h in (1e-6, -1e-6))
    slope = (contacts.pairs(there).cost - contacts.pairs(back).cost) / 2e-6
    assert slope == pytest.approx(-(close.forces() * step).sum(), rel=1e-5)
    falls = ((step[close.pairs[:, 0]] - step[close.pairs[:, 1]]) * close.slopes).sum(axis=1)
    assert (step * close.curved(step)).sum() == pytest.approx((falls**2).sum())
    atom = int(close.pairs[0, 0])
    alone = np.where(np.arange(len(step)) == atom, 1.0, 0.0)[:, None] * step
    assert step[atom] @ close.blocks()[atom] @ step[atom] == pytest.approx((alone * close.curved(alone)).sum())


def refined(truth, counts, contacts):
    """Faint and bright atoms fitted to noisy images from 0.3 pixels off: errors (N,), pixels."""
    tilts = np.linspace(-66, 66, 18)
    geometry = ImageGeometry(
        axes=np.ascontiguousarray(np.swapaxes(tilt_rotations(tilts), 1, 2)[:, :2]),
        centers=np.full((18, 2), 38.0),
        shape=(76, 76),
    )
    exact = images(geometry, truth)
    exact *= counts / exact.max()
    noisy = np.random.default_rng(4).poisson(exact).astype(np.float32)
    series = TiltSeries.from_angles(noisy, tilts, pixel_size=0.4)
    away = np.random.default_rng(5).normal(0, 0.3, truth.positions.shape)
    start = replace(truth, positions=truth.positions + away, heights=truth.heights * counts)
    state = settled(gauss_newton(Data.of(series, 0.0), start, 1, contacts), 4, lambda _: None)
    return np.linalg.norm(state.values.positions - truth.positions, axis=1)


def test_faint_atoms_are_found_better_where_they_keep_their_distance():
    """Truth: the crystal; with few counts faint atoms wander where noise is, but not into their neighbors."""
    truth = fcc(4)
    free, kept = (refined(truth, 25, contacts) for contacts in (None, Contacts.of(truth)))
    faint = truth.kinds == 0
    assert np.sqrt((kept[faint] ** 2).mean()) < 0.9 * np.sqrt((free[faint] ** 2).mean())


def test_a_short_bond_that_images_show_stays_short():
    """Truth: two bright atoms a sixth nearer than their contact, at a good dose."""
    truth = fcc(4)
    contacts = Contacts.of(truth)
    bright = np.flatnonzero(truth.kinds == 1)
    one = bright[np.linalg.norm(truth.positions[bright], axis=1).argmin()]
    others = bright[bright != one]
    other = others[np.linalg.norm(truth.positions[others] - truth.positions[one], axis=1).argmin()]
    positions = truth.positions.copy()
    apart = positions[one] - positions[other]
    positions[one] = positions[other] + apart * (5.0 * contacts.distances[1, 1] / 6.0 / np.linalg.norm(apart))
    errors = refined(replace(truth, positions=positions), 2000, contacts)
    assert max(errors[one], errors[other]) < 0.12
