"""Settings: defaults in one place, unknown keys refused, every value that a TOML file or a flag can hold.

Truth: written here by hand.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from aet2dft.config import VERBS, InputsSettings, OrderSettings, ReadSettings, VerifySettings, load, validated
from aet2dft.errors import InputError


@pytest.mark.parametrize("settings", VERBS.values())
def test_defaults_are_valid_and_frozen_and_each_field_is_described(settings):
    made = settings()
    assert settings.model_validate(made.model_dump()) == made
    assert all(field.description.endswith(".") for field in settings.model_fields.values())
    for name in settings.model_fields:
        with pytest.raises(ValidationError):
            setattr(made, name, None)


@given(st.dictionaries(st.sampled_from("1234"), st.sampled_from(["Fe", "Pt", "Ni"]), min_size=1))
def test_pairs_read_the_same_from_one_word_several_words_and_a_table(pairs):
    words = [f"{key}={value}" for key, value in pairs.items()]
    for given_as in (",".join(words), ", ".join(words), words, pairs):
        assert ReadSettings(species=given_as).species == pairs


def test_a_value_with_commas_stays_whole():
    assert InputsSettings(set=["moments=Fe:3,Pt:0.4", "kmesh=4x4x4"]).set == {
        "moments": "Fe:3,Pt:0.4",
        "kmesh": "4x4x4",
    }


def test_values_of_a_table_become_words():
    assert InputsSettings(set={"ecutwfc": 30, "nosym": True}).set == {"ecutwfc": "30", "nosym": "true"}


@pytest.mark.parametrize(
    ("settings", "values", "named"),
    [
        (ReadSettings, {"species": "1=Fe,1=Pt"}, "twice"),
        (ReadSettings, {"species": "Fe"}, "KEY=VALUE"),
        (ReadSettings, {"voxel_size": -1}, "voxel_size"),
        (InputsSettings, {"box": "14,14"}, "box"),
        (InputsSettings, {"box": (0, 4, 4)}, "box"),
        (InputsSettings, {"axes": ()}, "axes"),
        (InputsSettings, {"limit": 0}, "limit"),
        (OrderSettings, {"windw": 1.0}, "it knows.*window"),
        (OrderSettings, {"threshold": float("nan")}, "threshold"),
        (OrderSettings, {"strain_sigma": float("inf")}, "strain_sigma"),
        *((VerifySettings, {"detector": angles}, "smaller angle") for angles in ("-5,-3", "0,0", "80,38", (38, 1e5))),
    ],
)
def test_a_wrong_value_is_refused_and_named(settings, values, named):
    with pytest.raises(InputError, match=named) as caught:
        validated(settings, values, where="[table]")
    assert str(caught.value).startswith("[table] ")
    with pytest.raises(InputError, match=f"^{settings.__name__} .*{named}"):
        settings(**values)


def test_given_values_win_over_the_file_and_the_file_over_defaults(tmp_path):
    path = tmp_path / "run.toml"
    path.write_text("[order]\nwindow = 0.8\nmin_grain = 12\n[inputs]\ncells = 3\n", encoding="utf-8")
    settings = load(OrderSettings, "order", config=path, given={"window": 0.9})
    assert (settings.window, settings.min_grain, settings.tolerance) == (0.9, 12, OrderSettings().tolerance)
    assert load(InputsSettings, "inputs", config=path).cells == 3


def test_a_wrong_value_is_named_as_it_was_given(tmp_path):
    path = tmp_path / "run.toml"
    path.write_text("[inputs]\ncells = -1\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"^\[inputs\] cells = -1: "):
        load(InputsSettings, "inputs", config=str(path), given={"limit": 3})
    with pytest.raises(InputError, match=r"^--cells -2: "):
        load(InputsSettings, "inputs", config=path, given={"cells": -2})


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"gone.toml"):
        load(OrderSettings, "order", config=tmp_path / "gone.toml")
