"""Further attempts; truth: endings of real pw.x runs (``tests/data/qe_fept``) and decks read back by f90nml."""

import json

import pytest
from deck_examples import DATA, card, espresso_decks, l10_cell, namelists

from aet2dft.dft_inputs import espresso_output
from aet2dft.dft_inputs.retries import attempt_deck, begin_attempt, changed_deck, next_changes, retry_note
from aet2dft.dft_inputs.run_result import STATUSES, RunResult
from aet2dft.errors import ParseError

RUNS = DATA / "qe_fept"


@pytest.fixture
def deck():
    return espresso_decks(l10_cell()).decks[0].files["pw.in"]


@pytest.fixture
def folder(tmp_path, deck):
    (tmp_path / "pw.in").write_text(deck)
    return tmp_path


def test_real_endings_get_the_changes_of_the_table(folder):
    silent = espresso_output.parse(RUNS / "vcrelax_aborted", exit_status=52)
    assert next_changes(folder, silent) == {"diagonalization": "cg"}
    unconverged = espresso_output.parse(RUNS / "not_converged", exit_status=2)
    assert next_changes(folder, unconverged) == {"mixing_beta": 0.1}


def test_eigenvalues_that_did_not_converge_get_another_diagonalization_and_no_third_attempt(folder):
    unconverged = RunResult(status="not_converged", code="espresso", version="6.7MaX", calculation="nscf")
    assert next_changes(folder, unconverged) == {"diagonalization": "cg"}
    begin_attempt(folder, unconverged, {"diagonalization": "cg"})
    assert next_changes(folder, unconverged) is None
    contradiction = RunResult(status="failed", reason="two runs", code="espresso", version="7", calculation="nscf")
    assert next_changes(folder, contradiction) is None


@pytest.mark.parametrize(
    ("run", "exit_status"),
    [("atoms_overlap", 1), ("killed", 137), ("time_limit", 2), ("scf", 0), ("no_starting_moment", 0)],
)
def test_other_real_endings_get_no_second_attempt(folder, run, exit_status):
    assert next_changes(folder, espresso_output.parse(RUNS / run, exit_status=exit_status)) is None


def test_a_command_that_was_not_found_is_no_silent_death(folder):
    (folder / "pw.out").write_text("run.sh: 31: pw.x: not found\n")
    ending = espresso_output.parse(folder, exit_status=127)
    assert ending.status == "failed"
    assert next_changes(folder, ending) is None


@pytest.mark.parametrize("status", sorted(set(STATUSES) - {"not_converged"}))
def test_only_two_statuses_are_in_the_table(folder, status):
    assert next_changes(folder, RunResult(status=status, code="espresso", version="6.7MaX")) is None


def test_changes_of_attempts_add_up_and_there_are_three_attempts_at_most(folder, deck):
    silent = RunResult(status="failed", reason="ended without a word", code="espresso", version="6.7MaX")
    unconverged = RunResult(status="not_converged", code="espresso", version="6.7MaX")
    assert attempt_deck(folder) == retry_note(folder) == ""
    begin_attempt(folder, silent, next_changes(folder, silent))
    assert attempt_deck(folder) == "try2/pw.in"
    assert next_changes(folder, silent) is None
    assert next_changes(folder, unconverged) == {"diagonalization": "cg", "mixing_beta": 0.1}
    begin_attempt(folder, unconverged, next_changes(folder, unconverged))
    assert next_changes(folder, unconverged) is None
    note = "retried: attempt 3 with diagonalization = 'cg', mixing_beta = 0.1 in place of the deck's values"
    assert retry_note(folder) == note
    assert [attempt.get("status") for attempt in json.loads((folder / "retries.json").read_text())["attempts"]] == [
        "failed", "not_converged", None,
    ]  # fmt: skip
    assert (folder / "pw.in").read_text() == deck


def test_outputs_of_the_last_attempt_move_aside_with_their_packed_forms(folder):
    for name in ("pw.out", "data-file-schema.xml.gz", "exit_status"):
        (folder / name).write_text(name)
    begin_attempt(folder, RunResult(status="not_converged", code="espresso"), {"mixing_beta": 0.1})
    aside = {path.name for path in (folder / "try1").iterdir()}
    assert aside == {"data-file-schema.xml.gz", "exit_status", "pw.out"}
    assert sorted(path.name for path in folder.iterdir()) == ["pw.in", "retries.json", "try1", "try2"]


def test_a_changed_deck_differs_in_the_changed_tags_only(deck):
    changed = changed_deck(deck, {"mixing_beta": 0.1, "diagonalization": "cg", "electron_maxstep": 120})
    before, after = namelists(deck), namelists(changed)
    assert after.pop("electrons") == before.pop("electrons") | {
        "mixing_beta": 0.1, "diagonalization": "cg", "electron_maxstep": 120,
    }  # fmt: skip
    assert after == before
    assert card(changed, "ATOMIC_POSITIONS") == card(deck, "ATOMIC_POSITIONS")
    assert changed[changed.index("ATOMIC_SPECIES") :] == deck[deck.index("ATOMIC_SPECIES") :]


def test_a_deck_that_mixes_slowly_already_is_mixed_slower(tmp_path):
    deck = espresso_decks(l10_cell(), mixing_beta="0.05", diagonalization="cg").decks[0].files["pw.in"]
    (tmp_path / "pw.in").write_text(deck)
    unconverged = RunResult(status="not_converged", code="espresso", version="6.7MaX")
    assert next_changes(tmp_path, unconverged) == {"mixing_beta": 0.0167}
    silent = RunResult(status="failed", reason="ended without a word", code="espresso", version="6.7MaX")
    assert next_changes(tmp_path, silent) is None


@pytest.mark.parametrize(
    "record", ["{", "[]", '{"attempts": []}', '{"attempts": [{"changed": {}}, {"changed": {"nbnd": 1}}]}']
)
def test_a_damaged_record_is_an_error_with_its_place_and_a_note_in_the_result(folder, record):
    (folder / "retries.json").write_text(record)
    with pytest.raises(ParseError, match=r"retries\.json: no record of attempts .*; remove it"):
        attempt_deck(folder)
    assert "no record of attempts" in retry_note(folder)
    assert next_changes(folder, RunResult(status="not_converged", code="espresso")) is None
