"""The tables of the documentation say what the package does.

Truth: the settings, the table of arrays, the statuses and errors of the package.
"""

import re
import types
import typing
from pathlib import Path

import pytest

from aet2dft import errors
from aet2dft.atoms import ARRAYS
from aet2dft.config import VERBS, CompareSettings, InputsSettings, OrderSettings, ReadSettings
from aet2dft.dft_inputs.protocol import load_protocol, protocol_names
from aet2dft.dft_inputs.run_result import COUNTED_AS

DOCS = Path(__file__).resolve().parent.parent / "docs"
READERS = (CompareSettings, InputsSettings, OrderSettings, VERBS["info"], VERBS["refine"], VERBS["verify"])
"""Settings of the verbs that also read files of atoms."""


def rows(page, first_cell):
    """Cells of the table rows whose first cell matches a pattern, in a page of the documentation."""
    lines = (DOCS / page).read_text(encoding="utf-8").splitlines()
    tables = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines if line.startswith("| ")]
    return [cells for cells in tables if re.fullmatch(first_cell, cells[0])]


def expected_default(field):
    """The default of a setting as the documentation writes it."""
    default = field.get_default()
    if default in (None, {}, ()):
        return "–"
    if isinstance(default, tuple):
        return ",".join(map(str, default))
    return str(default).lower() if isinstance(default, bool) else str(default)


@pytest.mark.parametrize("verb", VERBS)
def test_the_page_of_a_verb_lists_its_options_with_their_defaults(verb):
    settings = VERBS[verb]
    fields = settings.model_fields | (ReadSettings.model_fields if settings in READERS else {})
    expected = {f"`--{name.replace('_', '-')}`": expected_default(field) for name, field in fields.items()}
    listed = {cells[0]: cells[1] for cells in rows(f"verbs/{verb}.md", r"`--[\w-]+`")}
    assert listed == expected


@pytest.mark.parametrize("verb", VERBS)
def test_the_choices_of_an_option_are_on_the_page_of_its_verb(verb):
    text = (DOCS / "verbs" / f"{verb}.md").read_text(encoding="utf-8")
    for name, field in VERBS[verb].model_fields.items():
        kinds = typing.get_args(field.annotation) if isinstance(field.annotation, types.UnionType) else ()
        for kind in (field.annotation, *kinds):
            if typing.get_origin(kind) is typing.Literal:
                missing = [word for word in typing.get_args(kind) if str(word) not in text]
                assert missing == [], name


def test_the_table_of_arrays_is_that_of_the_package():
    expected = [
        [
            f"`{name}`",
            f"{'bool' if spec.dtype == '?' else spec.dtype} ({', '.join(['N', *map(str, spec.shape)])}"
            + ("," if not spec.shape else "")
            + ")",
            spec.unit or "–",
            spec.writer,
            spec.meaning,
        ]
        for name, spec in ARRAYS.items()
    ]
    names = "|".join(ARRAYS)
    assert rows("conventions.md", rf"`({names})`") == expected


def test_what_is_said_of_other_label_recipes_is_what_the_measured_particle_gives(fept_order):
    recipes = fept_order[1].chemical.recipes
    expected = [
        [
            f"{recipe.window:g}" if recipe.window != 1 else "1.0",
            f"{recipe.threshold:.2f}" if recipe.fixed else "chance",
            f"{recipe.sizes[0]:,} and {recipe.sizes[1]:,}",
            str(recipe.n_l10),
            f"{recipe.n_a1:,}",
        ]
        for recipe in recipes
    ]
    assert rows("verbs/order.md", r"[01]\.\d+") == expected
    largest = [recipe.sizes[0] for recipe in recipes]
    assert f"{min(largest):,} to {max(largest):,}" in (DOCS.parent / "README.md").read_text(encoding="utf-8")


def test_the_table_of_statuses_is_that_of_the_package():
    listed = {cells[0].strip("`"): cells[1] for cells in rows("verbs/collect.md", r"`\w+`")}
    assert listed == COUNTED_AS


def test_the_exit_codes_of_all_errors_are_listed():
    listed = {int(code) for cells in rows("conventions.md", r"\d+(, \d+)?") for code in cells[0].split(", ")}
    raised = {
        kind.exit_code for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)
    }
    assert raised <= listed


def test_the_protocols_of_the_package_are_described():
    assert sorted(cells[0].strip("`") for cells in rows("verbs/inputs.md", r"`[a-z_]+`")) == sorted(protocol_names())
    for name in protocol_names():
        assert load_protocol(name, code="espresso").description.endswith(".")


def test_the_architecture_names_every_room_and_every_module_beside_them():
    text = (DOCS / "architecture.md").read_text(encoding="utf-8")
    modules = [path.name for path in (DOCS.parent / "aet2dft").iterdir() if path.suffix == ".py" or path.is_dir()]
    named = [name for name in modules if not name.startswith("__") and name != "data"]
    assert [name for name in named if name not in text] == []


def test_decisions_are_dated_and_short():
    parts = (DOCS / "decisions.md").read_text(encoding="utf-8").split("\n## ")[1:]
    assert parts
    for part in parts:
        title, _, text = part.partition("\n")
        assert re.match(r"\d{4}-\d{2}-\d{2}: ", title), title
        assert len(text.strip().splitlines()) <= 6, title
