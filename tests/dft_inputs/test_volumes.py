"""Boxes, windows and periodic cells: counts, places, vacancies, equal volumes.

Truth: counts of Yang et al., Nature 542, 75 (2017), and dft.md; positions put back into the frame of the particle; slow
versions written here.
"""

import functools
from itertools import product

import numpy as np
import pytest
from ase import Atoms
from hypothesis import given, settings
from hypothesis import strategies as st
from small_particle import small_order
from strategies import permuted

from aet2dft.config import InputsSettings
from aet2dft.dft_inputs.boxes import GrainChoice, choose_grain, find_box, windows
from aet2dft.dft_inputs.volumes import Cutter, equal_volumes, half_cell
from aet2dft.errors import InputError
from aet2dft.structure.lattice import fit_lattice
from aet2dft.structure.variants import ORDERED, VARIANTS, describe, sublattice
from aet2dft.synthetic import ordered_crystal

NEAR = InputsSettings(box=(6, 6, 7))


def small_cuts(settings=NEAR, missing=0.0):
    """The particle, its lattice, and every volume around its L1₀ grain."""
    return _small_cuts(settings.model_dump_json(), missing)


@functools.cache
def _small_cuts(chosen, missing):
    settings = InputsSettings.model_validate_json(chosen)
    atoms, _ = small_order(missing)
    fit = fit_lattice(atoms)
    box = find_box(atoms, settings.box, choose_grain(atoms, settings.around[0]))
    cutter = Cutter(atoms, fit, settings)
    return atoms, fit, [cutter.cut(f"v{k:05d}", *window) for k, window in enumerate(windows(box, settings))]


# boxes and windows --------------------------------------------------------------------------------------------------


def test_the_published_box_holds_1470_sites_and_1452_volumes_of_32(fept_order):
    atoms, _ = fept_order
    box = find_box(atoms, (14, 14, 15), choose_grain(atoms, "L10"))
    assert (box.n_sites, box.n_atoms) == (1470, 1470)
    assert sorted(box.size.tolist()) == [14, 14, 15]
    assert "next: grain" in box.note
    assert "with 7,759 atoms; next: grain 2 with 7,683," in choose_grain(atoms, "L12").note
    found = windows(box, InputsSettings())
    assert len(found) == 1452 == 11 * 11 * 12
    cutter = Cutter(atoms, fit_lattice(atoms), InputsSettings())
    assert {len(cutter.cut("v00000", *window).atoms) for window in found[::97]} == {32}


def test_nested_cubes_have_the_published_numbers_of_atoms(fept_order):
    atoms, _ = fept_order
    settings = InputsSettings(kind="nested")
    box = find_box(atoms, (14, 14, 15), choose_grain(atoms, "L10"))
    cutter = Cutter(atoms, fit_lattice(atoms), settings)
    found = [cutter.cut("v00000", *window) for window in windows(box, settings)]
    assert [len(cut.atoms) for cut in found] == [32, 108, 256, 500, 864, 1372]
    centers = np.array([cut.origin + 0.5 * cut.size for cut in found])
    assert np.abs(centers - centers[0]).max() <= 0.5


def slow_best_box(atoms, size, members_of_grain):
    """The rule, site by site: fewest empty sites, most atoms of the grain, nearest to its center."""
    site = {tuple(s) for s in atoms.arrays["site"]}
    grain = {tuple(s) for s in atoms.arrays["site"][members_of_grain]}
    center = np.mean(sorted(grain), axis=0)
    low, high = atoms.arrays["site"].min(axis=0), atoms.arrays["site"].max(axis=0) + 1
    best = None
    for shape in sorted(
        {tuple(p) for p in ((size[0], size[1], size[2]), (size[0], size[2], size[1]), (size[2], size[0], size[1]))}
    ):
        for origin in product(*(range(a, b - s + 1) for a, b, s in zip(low, high, shape, strict=True))):
            inside = [
                p for p in product(*(range(o, o + s) for o, s in zip(origin, shape, strict=True))) if sum(p) % 2 == 0
            ]
            missing, own = sum(p not in site for p in inside), sum(p in grain for p in inside)
            distance = ((np.array(origin) + 0.5 * (np.array(shape) - 1) - center) ** 2).sum()
            key = (missing, -own, round(float(distance), 9))
            best = key if best is None or key < best else best
    return best


def test_the_box_is_the_best_of_all_places_and_orientations():
    atoms, _ = small_order()
    own = np.flatnonzero(atoms.arrays["grain"] == 2)
    box = find_box(atoms, (6, 6, 9), choose_grain(atoms, "2"))
    center = atoms.arrays["site"][own].mean(axis=0)
    distance = ((box.origin + 0.5 * (box.size - 1) - center) ** 2).sum()
    missing, inside, wanted = slow_best_box(atoms, (6, 6, 9), own)
    assert (box.n_sites - box.n_atoms, -box.n_grain) == (missing, inside)
    assert distance == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize(("around", "grain"), [("L10", 2), ("l12", 1), ("1", 1), ("2", 2), ("center", 0)])
def test_a_box_goes_around_a_phase_a_number_or_the_center(around, grain):
    choice = choose_grain(small_order()[0], around)
    assert (choice.grain, choice.lattice) == (grain, 1)


@pytest.mark.parametrize("around", ["A1", "3", "0", "grain"])
def test_a_grain_that_is_not_there_is_refused_with_those_that_are(around):
    with pytest.raises(InputError, match=r"1 \(L12, 1,\d+ atoms\), 2 \(L10, \d+ atoms\)"):
        choose_grain(small_order()[0], around)


def test_a_particle_of_one_species_has_no_grains_and_is_told_to_take_the_center():
    atoms = small_order()[0].copy()
    del atoms.arrays["grain"], atoms.arrays["variant"]
    with pytest.raises(InputError, match="run `aet2dft order` first"):
        choose_grain(atoms, "L10")
    atoms.symbols[:] = "Pt"
    with pytest.raises(InputError, match="grains need two species; give --around center"):
        choose_grain(atoms, "L10")


def test_the_box_follows_the_lattice_of_its_grain():
    atoms, _ = small_order()
    two = atoms.copy()
    two.arrays["lattice"][atoms.arrays["grain"] == 2] = 2
    choice = choose_grain(two, "L10")
    assert choice.lattice == 2
    assert find_box(two, (2, 2, 2), choice).lattice == 2


def test_a_box_larger_than_the_particle_is_refused_and_one_with_holes_is_told():
    atoms, _ = small_order()
    with pytest.raises(InputError, match="smaller than the box of 40x4x4"):
        find_box(atoms, (40, 4, 4), GrainChoice(grain=0, lattice=1, note=""))
    assert "lacks" in find_box(atoms, (14, 14, 14), choose_grain(atoms, "center")).note


def test_the_limit_takes_the_volumes_nearest_the_center():
    atoms, _ = small_order()
    box = find_box(atoms, (6, 6, 7), choose_grain(atoms, "L10"))
    everything, few = (windows(box, InputsSettings(box=(6, 6, 7), limit=n)) for n in (None, 5))

    def distance(window):
        return float(((window[0] + 0.5 * window[1] - box.origin - 0.5 * box.size) ** 2).sum())

    chosen = {tuple(origin) for origin, _ in few}
    left = [distance(w) for w in everything if tuple(w[0]) not in chosen]
    assert len(chosen) == 5
    assert max(map(distance, few)) <= min(left)


# cells --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", ["cubic", "tetragonal", "fitted"])
def test_every_atom_of_every_window_is_where_it_was_measured(cell):
    atoms, fit, cuts = small_cuts(InputsSettings(box=(6, 6, 7), cell=cell))
    position = dict(zip(atoms.arrays["site_id"].tolist(), atoms.positions, strict=True))
    symbol = dict(zip(atoms.arrays["site_id"].tolist(), atoms.symbols, strict=True))
    assert len(cuts) == 3 * 3 * 4
    for cut in cuts:
        back = (cut.atoms.positions + cut.offset) @ fit.rotation.T + fit.cubic_origin
        ids = cut.atoms.arrays["site_id"].tolist()
        assert np.abs(back - [position[i] for i in ids]).max() < 1e-5
        assert [str(s) for s in cut.atoms.symbols] == [str(symbol[i]) for i in ids]
        assert np.allclose(cut.center, atoms.positions[np.isin(atoms.arrays["site_id"], ids)].mean(axis=0), atol=0.2)


@settings(max_examples=200)
@given(seed=st.integers(0, 2**31 - 1), window=st.integers(0, 35))
def test_shuffled_atoms_give_the_same_volumes_with_their_own_ids(seed, window):
    atoms, fit, cuts = small_cuts()
    shuffled, _ = permuted(atoms, seed)
    cut = Cutter(shuffled, fit, NEAR).cut("v00000", cuts[window].origin, cuts[window].size)
    expected = cuts[window].atoms
    assert cut.atoms.arrays["site_id"].tolist() == expected.arrays["site_id"].tolist()
    assert cut.atoms.positions.tobytes() == expected.positions.tobytes()
    assert (cut.atoms.numbers == expected.numbers).all()


def test_ideal_positions_are_those_of_the_lattice_and_cells_are_rounded():
    _, fit, cuts = small_cuts(InputsSettings(box=(6, 6, 7), positions="ideal"))
    for cut in cuts:
        site = cut.atoms.arrays["site"] - cut.origin
        assert np.allclose(cut.atoms.get_scaled_positions(wrap=False), site / cut.size, atol=1e-12)
        assert np.array_equal(np.round(cut.atoms.cell, 5), np.asarray(cut.atoms.cell))
        assert np.allclose(cut.atoms.cell.lengths(), 2 * fit.cubic_a, atol=1e-5)
        assert cut.shortest_bond == pytest.approx(fit.cubic_a / np.sqrt(2), abs=1e-4)


def test_cells_follow_the_fit_that_is_asked_for():
    fit = fit_lattice(small_order()[0])
    assert np.allclose(half_cell(fit, "cubic"), 0.5 * fit.cubic_a * np.eye(3))
    tetragonal = half_cell(fit, "tetragonal")
    a, b, c = fit.lengths
    assert np.allclose(np.diag(tetragonal), [(a + b) / 4, (a + b) / 4, c / 2])
    assert np.allclose(half_cell(fit, "fitted") @ fit.rotation.T, 0.5 * fit.cell)


def test_rejected_kept_and_filled_vacancies():
    missing = 0.05
    by_choice = {
        v: small_cuts(InputsSettings(box=(6, 6, 7), vacancies=v), missing)[2] for v in ("reject", "keep", "fill")
    }
    atoms, _ = small_order(missing)
    known = set(atoms.arrays["site_id"].tolist())
    holes = 0
    for rejected, kept, filled in zip(*by_choice.values(), strict=True):
        n = rejected.n_vacancies
        assert (rejected.atoms is None) == (n > 0)
        if not n:
            continue
        holes += 1
        assert f"{n} of 32 sites {'is' if n == 1 else 'are'} empty" in rejected.reason
        assert len(kept.atoms) == 32 - n
        assert len(filled.atoms) == 32
        new = [i for i in filled.atoms.arrays["site_id"].tolist() if i not in known]
        assert len(new) == n == len(set(new))
    assert holes


def test_a_filled_site_has_the_species_of_its_variant_and_one_id_everywhere():
    atoms, _, cuts = small_cuts(InputsSettings(box=(6, 6, 7), vacancies="fill"), 0.05)
    known = set(atoms.arrays["site_id"].tolist())
    species, ids = {}, {}
    for cut in cuts:
        for k, i in enumerate(cut.atoms.arrays["site_id"].tolist()):
            if i not in known:
                place = tuple(cut.atoms.arrays["site"][k].tolist())
                species.setdefault(place, set()).add(str(cut.atoms.symbols[k]))
                ids.setdefault(place, set()).add(i)
    assert ids
    assert all(len(each) == 1 for each in (*ids.values(), *species.values()))
    grain = dict(zip(map(tuple, atoms.arrays["site"].tolist()), atoms.arrays["variant"].tolist(), strict=True))
    for place, found in species.items():
        around = [grain.get(tuple(np.add(place, d))) for d in product((-1, 0, 1), repeat=3) if sum(map(abs, d)) == 2]
        around = [v for v in around if v is not None]
        if len(set(around)) == 1 and around[0]:
            assert found == {"Fe" if VARIANTS[around[0], sublattice(np.array(place))] else "Pt"}


def test_a_short_bond_rejects_a_volume_also_across_its_boundary():
    atoms, fit, cuts = small_cuts()
    cut = cuts[0]
    own = np.flatnonzero(np.isin(atoms.arrays["site_id"], cut.atoms.arrays["site_id"]))
    corner = own[np.argmin(atoms.arrays["site"][own].sum(axis=1))]
    moved = atoms.copy()
    # towards the periodic image of an atom on the other side
    moved.positions[corner] -= 1.3 * np.array([1.0, 1.0, 0.0]) / np.sqrt(2) @ fit.rotation.T
    again = Cutter(moved, fit, NEAR).cut("v00000", cut.origin, cut.size)
    assert again.atoms is None
    assert "below 1.8 Å" in again.reason
    assert "periodic images" in again.reason
    assert Cutter(moved, fit, InputsSettings(min_bond=0.2)).cut("v00000", cut.origin, cut.size).atoms is not None


@pytest.mark.parametrize("vacancies", ["reject", "keep", "fill"])
def test_a_volume_that_would_lack_an_atom_without_a_site_is_rejected_and_no_other_one(vacancies):
    atoms, fit, cuts = small_cuts()
    place = cuts[0].origin + np.array([2.0, 1.0, 2.0])
    more = atoms + Atoms("Fe", positions=[fit.positions(place)])
    more.arrays["site_id"][-1] = 9999
    cutter = Cutter(more, fit, InputsSettings(box=(6, 6, 7), vacancies=vacancies))
    for cut in cuts:
        again = cutter.cut(cut.name, cut.origin, cut.size)
        inside = ((place >= cut.origin) & (place < cut.origin + cut.size)).all()
        assert again.reason == (
            "atoms inside that are on no site of a lattice: 1 (first: Fe, site_id 9999)" if inside else cut.reason
        )
        assert (again.atoms is None) == bool(again.reason)


def crystal(variant):
    """A perfect crystal with the arrays that `order` writes."""
    atoms = ordered_crystal(variant, 3)
    atoms.set_array("site", atoms.arrays.pop("true_site"))
    atoms.set_array("lattice", np.ones(len(atoms), dtype=np.int32))
    atoms.set_array("site_id", np.arange(1, len(atoms) + 1, dtype=np.int32))
    return atoms


@pytest.mark.parametrize("variant", ORDERED.tolist())
def test_the_order_of_a_volume_is_that_of_its_variant(variant):
    atoms = crystal(variant)
    cutter = Cutter(atoms, fit_lattice(atoms), InputsSettings())
    cut = cutter.cut("v00000", np.array([1, 0, 1], dtype=np.int32), np.full(3, 4, dtype=np.int32))
    words = describe(variant, "Fe", "Pt")
    layered = [float(axis == words.partition("along ")[2][:1]) for axis in "xyz"]
    assert cut.order == pytest.approx(layered if sum(layered) else [0.5, 0.5, 0.5])
    assert np.allclose(cut.strain, 0, atol=1e-6)


def test_moments_of_the_model_are_turned_into_the_lattice_frame():
    atoms, fit, cuts = small_cuts()
    with_moments = atoms.copy()
    along_z = np.tile(fit.rotation[:, 2], (len(atoms), 1))
    with_moments.set_array("initial_magmoms", along_z)
    cut = Cutter(with_moments, fit, NEAR).cut("v00000", cuts[0].origin, cuts[0].size)
    assert np.allclose(cut.atoms.arrays["initial_magmoms"], [0, 0, 1], atol=1e-12)
    holes = small_order(0.05)[0].copy()
    holes.set_array("initial_magmoms", np.ones(len(holes)))
    filling = Cutter(holes, fit_lattice(holes), InputsSettings(vacancies="fill"))
    place = np.array(sorted(set(map(tuple, holes.arrays["site"].tolist())))[0], dtype=np.int32)
    with pytest.raises(InputError, match="initial_magmoms"):
        filling.cut("v00000", place - 2, np.full(3, 4, dtype=np.int32))


# equal volumes ------------------------------------------------------------------------------------------------------


def test_equal_volumes_are_translations_and_each_atom_knows_its_partner():
    ideal = InputsSettings(box=(6, 6, 7), cells=1, positions="ideal")
    _, _, cuts = small_cuts(ideal)
    same = equal_volumes(cuts)
    by_name = {cut.name: cut for cut in cuts}
    assert 0 < len(same) < len(cuts)
    for name, (first, match) in same.items():
        here, there = by_name[name].atoms, by_name[first].atoms
        assert (there.numbers[match] == here.numbers).all()
        moved = (here.get_scaled_positions() - there.get_scaled_positions()[match]) % 1.0
        moved = np.where(moved > 1 - 1e-9, 0.0, moved)
        assert np.allclose(moved, moved[0], atol=1e-9)
        assert first not in same


def slow_is_translation(first: Atoms, second: Atoms) -> bool:
    """Whether any translation takes one ideal cell into the other, tried one by one."""
    if sorted(first.numbers) != sorted(second.numbers):
        return False
    here = {
        (*np.round(4 * p).astype(int).tolist(), z)
        for p, z in zip(first.get_scaled_positions(), first.numbers, strict=True)
    }
    for shift in product(range(4), repeat=3):
        there = {
            (*((np.round(4 * p).astype(int) + shift) % 4).tolist(), z)
            for p, z in zip(second.get_scaled_positions(), second.numbers, strict=True)
        }
        if here == there:
            return True
    return False


def test_no_equal_volume_is_missed():
    _, _, cuts = small_cuts(InputsSettings(box=(5, 5, 5), cells=1, positions="ideal"))
    same = equal_volumes(cuts)
    own = [cut for cut in cuts if cut.name not in same]
    for k, first in enumerate(own):
        assert not any(slow_is_translation(first.atoms, other.atoms) for other in own[k + 1 :])


def test_a_rotated_volume_is_not_an_equal_one():
    cuts = []
    for k, axis in enumerate("xyz"):
        atoms = crystal(next(v for v in ORDERED.tolist() if f"along {axis}" in describe(v, "Fe", "Pt")))
        cutter = Cutter(atoms, fit_lattice(atoms), InputsSettings(positions="ideal"))
        cuts += [cutter.cut(f"v{2 * k + j:05d}", np.array([j, j, 0]), np.array([2, 2, 2])) for j in (0, 1)]
    # equal to the one that is moved by half a cell, not to those along other axes
    assert {name: first for name, (first, _) in equal_volumes(cuts).items()} == {
        "v00001": "v00000",
        "v00003": "v00002",
        "v00005": "v00004",
    }
