"""The road from a crystal to its magnetocrystalline anisotropy on a real pw.x.

Truth: symmetry (a cubic crystal has none to second order) and the published 1.40 meV/atom of ideal L1₀ FePt (Yang et
al., Nature 542, 75 (2017)), met to the last digit by the k-mesh named here, not by convergence.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.io import write

from aet2dft.cli import main

pytestmark = [
    pytest.mark.slow,
    pytest.mark.needs_pwx,
    pytest.mark.skipif(shutil.which("pw.x") is None, reason="pw.x of Quantum ESPRESSO is not installed"),
]

L10 = Atoms(
    "FePt", cell=[3.85 / np.sqrt(2), 3.85 / np.sqrt(2), 3.71], scaled_positions=[[0, 0, 0], [0.5, 0.5, 0.5]], pbc=True
)
L12 = Atoms(
    "FePt3", cell=[3.87] * 3, scaled_positions=[[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]], pbc=True
)


def aet2dft(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, object]:
    """Run a command line and give back its JSON object."""
    with pytest.raises(SystemExit) as end:
        main([*map(str, arguments), "--json"])
    assert end.value.code == 0
    return dict(json.loads(capsys.readouterr().out))


@pytest.mark.parametrize(
    ("crystal", "mesh", "expected", "tolerance"),
    [
        pytest.param(L12, "kmesh=4x4x4", 0.0, 0.001, id="ideal L1₂ has no anisotropy"),
        pytest.param(L10, "kmesh=auto", 1.39, 0.02, id="ideal L1₀ has 1.39 meV/atom with [001] easy"),
    ],
)
def test_the_free_energy_force_theorem_gives_the_anisotropy_of_an_ideal_crystal(
    crystal: Atoms, mesh: str, expected: float, tolerance: float, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "crystal.extxyz", crystal)
    decks, project = tmp_path / "decks", tmp_path / "run.h5"
    made = aet2dft(capsys, "inputs", tmp_path / "crystal.extxyz", "--kind", "atoms", "--set", mesh, "-o", decks)
    assert made["n_jobs"] == 3
    assert aet2dft(capsys, "run", decks)["counts"] == {"done": 3, "failed": 0, "pending": 0, "skipped": 0}
    collected = aet2dft(capsys, "collect", decks, "-o", project)
    assert collected["counts"]["ok"] == 3
    assert collected["mae"]["mean"] == pytest.approx(expected, abs=tolerance)
    if expected:
        manifest = json.loads((decks / "manifest.json").read_text())
        assert manifest["volumes"][0]["k_mesh"] == [8, 8, 6]
