"""Sentences on grains. Truth: the measured FePt particle, records made by hand, binomial tails."""

from dataclasses import replace

import numpy as np
import pytest

from aet2dft.cli.summaries import order_lines
from aet2dft.html_report.gates import gates
from aet2dft.html_report.structure_section import structure_section
from aet2dft.html_report.summary import sentence
from aet2dft.plot.grains import chance_note
from aet2dft.structure.defects import fraction_sigma
from aet2dft.structure.grain_notes import recipe_note, surrogate_note


def with_sizes(chemical, largest):
    """The record where the largest ordered grain of each recipe has another size, 0 for none."""
    pairs = zip(chemical.recipes, largest, strict=True)
    return replace(chemical, recipes=tuple(replace(recipe, sizes=(n,) if n else ()) for recipe, n in pairs))


@pytest.mark.parametrize(
    ("largest", "said", "level"),
    [
        ((57, 81, 60, 0, 70, 0, 57), "holds 0 to 81 atoms under neighboring label recipes; 2 of 7 find none", "poor"),
        ((57, 81, 60, 70, 70, 0, 57), "holds 0 to 81 atoms under neighboring label recipes; 1 of 7 finds none", "poor"),
        ((57, 81, 60, 60, 70, 70, 57), "holds 57 to 81 atoms under neighboring label recipes", "good"),
        ((0,) * 7, "no neighboring label recipe finds an ordered grain", "good"),
    ],
)
def test_terminal_and_page_say_the_same_range_and_count_recipes_without_a_grain(fept_order, largest, said, level):
    atoms, order = fept_order
    order = replace(order, chemical=with_sizes(order.chemical, largest))
    light = next(gate for gate in gates(None, order, None, None) if gate.name == "recipe")
    assert light.reason == order_lines(atoms, order)[-1] == recipe_note(order.chemical.recipes)
    assert light.reason.endswith(said)
    assert light.level == level


def with_grains(order, n):
    """The record of the first `n` grains."""
    table = order.chemical.grains
    first = replace(table, **{name: getattr(table, name)[:n] for name in type(table).__dataclass_fields__})
    return replace(order, chemical=replace(order.chemical, grains=first))


def test_one_grain_is_no_grains(fept_order):
    atoms, order = fept_order
    assert sentence(None, with_grains(order, 1), None, None).endswith("a = 3.868 Å, one grain.")
    assert "and 1 smaller grain" in order_lines(atoms, with_grains(order, 7))
    assert "and 7 smaller grains" in order_lines(atoms, order)


def test_deep_antisites_have_an_error_and_are_told_of_ten_atoms_or_more(fept_order):
    atoms, order = fept_order
    found = fraction_sigma(np.array([0.0, 2 / 13, 0.1]), np.array([1, 13, 10_000]))
    # Wilson: 0.25 for one atom; sqrt(p q / n) for many
    assert found == pytest.approx([0.25, 0.0996, 0.003], rel=1e-3)
    grains = order.chemical.grains
    grains = replace(
        grains,
        n_deep=np.where(grains.grain == 1, 13, grains.n_deep),
        antisite_fraction_deep=np.where(grains.grain == 1, 2 / 13, grains.antisite_fraction_deep),
    )
    lines = order_lines(atoms, replace(order, chemical=replace(order.chemical, grains=grains)))
    assert "antisites deep inside 15.4 ± 10.0 %" in lines[1]
    assert grains.n_deep[3] == 1
    assert "deep inside" not in lines[4]
    section = structure_section(None, replace(order, chemical=replace(order.chemical, grains=grains)), ())
    rows = next(table for table in section.tables if table.title == "Grains").rows
    assert [rows[k][8] for k in (0, 2, 3, 4)] == ["15.4 ± 10.0 %", "–", "0.0 ± 25.0 %", "–"]


def test_surrogates_are_counted_and_a_few_of_them_bound_chance_loosely(fept_order):
    atoms, order = fept_order
    assert surrogate_note(1.0, 10) == "none of 10 surrogates has one like it"
    assert surrogate_note(0.9, 10) == "1 of 10 surrogates has one like it"
    assert surrogate_note(0.95, 20) == "1 of 20 surrogates has one like it"
    assert surrogate_note(0.7, 10) == "3 of 10 surrogates have one like it"
    # records of before the number was kept
    assert surrogate_note(1.0, 0) == "none of the surrogates has one like it"
    assert surrogate_note(0.7, 0) == "some of the surrogates have one like it"
    chemical = order.chemical
    assert chemical.n_surrogates == 10
    assert order_lines(atoms, order)[4].endswith("none of 10 surrogates has one like it")
    tested = np.isfinite(chemical.grains.significance)
    sure = replace(chemical, grains=replace(chemical.grains, significance=np.where(tested, 1.0, np.nan)))
    light = next(gate for gate in gates(None, replace(order, chemical=sure), None, None) if gate.name == "small grains")
    assert light.reason == f"none of 10 surrogates has a grain like the least certain of {tested.sum()}"
    assert chance_note(sure) == f"Small grains: {light.reason}."
    one = replace(sure, grains=replace(sure.grains, significance=np.where(chemical.grains.grain == 4, 1.0, np.nan)))
    assert chance_note(one) == "Small grain: none of 10 surrogates has one like it."
    by_chance = np.where(chemical.grains.grain == 5, 0.6, sure.grains.significance)
    doubtful = replace(sure, grains=replace(sure.grains, significance=by_chance))
    assert chance_note(doubtful) == "More than 5 % of 10 surrogates have by chance one like grain 5."
    section = structure_section(None, order, ())
    note = next(table for table in section.tables if table.title == "Grains").note
    assert "chance is below 26 % (95 % confidence)" in note
    assert (1 - 0.26) ** 10 < 0.05 < (1 - 0.255) ** 10
