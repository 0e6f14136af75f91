"""Every example runs and answers its question.

Truth: what the measured particle and the example's own model are known to give.
"""

import re
import runpy
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
ANSWERS = {
    "antisites_by_depth": r"(?m)^ +-10\.\d +(4[5-9]|5[0-4])\.\d ± .*\n(.*\n)*^ +4\.\d +[2-5]\.\d ±",
    "atomic_layers": r"drew layers\.png",
    "decks_for_vasp": r"18 jobs; (.*\n)*ENCUT = 450\n(.*\n)*SAXIS = 1 -1 0",
    "easy_axis_from_six_energies": r"easy axis \[0\.342 0\. +0\.94 ?\], K = 1\.39 meV/atom = 16\.2 MJ/m3",
    "how_sure_are_the_grains": r"9\d\.\d % of 3,9\d\d atoms have the right label",
    "images_to_atoms": r"classify: \{'Pt': 70, 'Fe': 7\}(.*\n)*against the truth: 100% identified, [1-4]\.\d pm",
    "is_the_strain_real": r"(?m)^xx: rms 1\.[78]\d %, noise floor 0\.2\d %, [67]\d % of the atoms",
    "order_of_every_volume": r"1,452 volumes of 32 atoms\n(\|eta_z\|.*\n){8}",
    "which_grains": r"(?m)^ +1 +7,\d{3} +0\.7\d +L12 .*\n +2 +7,\d{3} +0\.7\d +L12 ",
}
"""A pattern in what each example prints."""
QUICK = {"decks_for_vasp", "easy_axis_from_six_energies", "images_to_atoms"}
"""Those that run with the default tests."""


def test_no_example_is_without_an_expected_answer():
    assert {path.stem for path in EXAMPLES.glob("*.py")} == set(ANSWERS)


@pytest.mark.parametrize("name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in ANSWERS])
def test_example_answers_its_question(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
    said = capsys.readouterr().out
    assert re.search(ANSWERS[name], said), said


@pytest.mark.parametrize("name", ANSWERS)
def test_an_example_is_short_and_begins_with_a_question(name):
    text = (EXAMPLES / f"{name}.py").read_text(encoding="utf-8")
    assert "?" in text.splitlines()[0]
    assert len(text.splitlines()) <= 45
