"""Fixtures of the tests that execute decks."""

import pytest
from fake_runs import FakePw, deck_folder


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """The stand-in for pw.x, to be started as `fake_runs.PW`."""
    monkeypatch.setenv("FAKE_PW", str(tmp_path / "fake"))
    monkeypatch.delenv("AET2DFT_COMMAND", raising=False)
    return FakePw(tmp_path / "fake")


@pytest.fixture
def decks(tmp_path):
    """A deck folder of one volume."""
    return deck_folder(tmp_path / "decks")
