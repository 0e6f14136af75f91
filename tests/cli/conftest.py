"""What the tests of the command line start from: a small particle, its project, decks with outputs."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from commands import done
from made_outputs import fill
from small_particle import BOX, write_xyz

INPUTS = ("--box", BOX, "--cells", "2", "--limit", "4")
"""Four volumes of 32 atoms."""


def band_energies(volume: str, step: str) -> float:
    """eV: [100] lies 32 meV above [001] in v00000, 1 meV more in every further volume."""
    return 1000.0 + (0.032 + 1e-3 * int(volume[1:]) if step == "axis_100" else 0.0)


@pytest.fixture(scope="session")
def _made(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    model = write_xyz(folder / "small.xyz")
    done("order", model, "-o", folder / "run.h5", "--surrogates", 2)
    done("inputs", folder / "run.h5", *INPUTS, "-o", folder / "decks")
    fill(folder / "decks", band_energies)
    shutil.copy(folder / "run.h5", folder / "collected.h5")
    done("collect", folder / "decks", "-o", folder / "collected.h5")
    return folder


@pytest.fixture
def model(_made, tmp_path) -> Path:
    """Plain xyz file of the small particle."""
    return Path(shutil.copy(_made / "small.xyz", tmp_path / "small.xyz"))


@pytest.fixture
def project(_made, tmp_path) -> Path:
    """Project after `order` and `inputs`."""
    return Path(shutil.copy(_made / "run.h5", tmp_path / "run.h5"))


@pytest.fixture
def decks(_made, tmp_path) -> Path:
    """Deck folder with outputs of all jobs."""
    return Path(shutil.copytree(_made / "decks", tmp_path / "decks"))


@pytest.fixture
def collected(_made, tmp_path) -> Path:
    """Project after `collect`."""
    return Path(shutil.copy(_made / "collected.h5", tmp_path / "collected.h5"))
