"""Truth: what the scripts do under /bin/sh with programs that stand in for pw.x and VASP and end well or badly."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from deck_examples import deck_set, espresso_decks, l10_cell, vasp_decks

from aet2dft.dft_inputs.decks import write_decks
from aet2dft.dft_inputs.protocol import load_protocol
from aet2dft.dft_inputs.run_scripts import array_script, espresso_script, vasp_script

PWX = """#!/bin/sh
echo "started with $* in $(pwd)" >> "$AET2DFT_LOG"
[ "$FAKE_STATUS" = 0 ] || { echo "died early"; exit "$FAKE_STATUS"; }
mkdir -p out/job.save && echo "result of $(pwd)" > out/job.save/data-file-schema.xml
echo wave > out/job.save/wfc1.dat && echo wave > out/job.wfc1
[ -f out/job.save/charge-density.dat ] || echo density > out/job.save/charge-density.dat
echo "JOB DONE."
"""
VASP = """#!/bin/sh
echo "$(basename "$0") in $(pwd)" >> "$AET2DFT_LOG"
head -n 2 POTCAR > potcar_seen
[ -f CHGCAR ] || echo density > CHGCAR
echo "aborting loop because EDIFF is reached" > OUTCAR
echo "General timing and accounting" >> OUTCAR
exit "$FAKE_STATUS"
"""


def program(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


@pytest.fixture
def machine(tmp_path):
    """Environment with a pw.x and two VASP programs in a folder with spaces, and POTCAR files."""
    folder = tmp_path / "my programs"
    program(folder / "pw.x", PWX)
    for name in ("vasp_std", "vasp_ncl"):
        program(folder / name, VASP)
    for name in ("Fe_pv", "Pt"):
        potcar = tmp_path / "pots" / name / "POTCAR"
        potcar.parent.mkdir(parents=True)
        potcar.write_text(f"  PAW_PBE {name} 02Aug2007\n")
    return {
        "PATH": f"{folder}:{os.environ['PATH']}",
        "FAKE_STATUS": "0",
        "AET2DFT_LOG": str(tmp_path / "log"),
        "VASP_PP_PATH": str(tmp_path / "pots"),
        "CDPATH": str(tmp_path),
    }


@pytest.fixture
def espresso_folder(tmp_path):
    folder = tmp_path / "a folder"
    write_decks(folder, deck_set(espresso_decks(l10_cell()), load_protocol("mae", code="espresso")))
    return folder / "volumes/v00000"


@pytest.fixture
def vasp_folder(tmp_path):
    folder = tmp_path / "a folder"
    write_decks(folder, deck_set(vasp_decks(l10_cell()), load_protocol("mae", code="vasp"), pseudos=()))
    return folder / "volumes/v00000"


def run(script: Path, environment: dict[str, str], **changes: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [script], env={**environment, **changes}, capture_output=True, text=True, timeout=60, check=False, cwd="/"
    )


@pytest.mark.parametrize("shell", ["sh", "dash", "bash"])
def test_all_scripts_are_accepted_by_the_shells(shell):
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    scripts = [espresso_script(parent=p) for p in (None, "scf")] + [array_script(3)]
    scripts += [vasp_script(parent=p, noncollinear=n) for p in (None, "scf") for n in (False, True)]
    for text in scripts:
        subprocess.run([shell, "-n"], input=text, text=True, check=True)


def test_scf_then_axis_leave_their_results_and_no_wave_functions(espresso_folder, machine):
    for step in ("scf", "axis_100"):
        assert run(espresso_folder / step / "run.sh", machine).returncode == 0
        assert (espresso_folder / step / "exit_status").read_text() == "0\n"
        assert "JOB DONE" in (espresso_folder / step / "pw.out").read_text()
        assert (espresso_folder / step / "data-file-schema.xml").read_text().strip().endswith(step)
        assert not list(espresso_folder.rglob("*wfc*"))
        assert not list(espresso_folder.rglob("*.part"))
    assert (espresso_folder / "scf/out/job.save/charge-density.dat").exists()
    assert not (espresso_folder / "axis_100/out/job.save/charge-density.dat").exists()
    log = Path(machine["AET2DFT_LOG"]).read_text().splitlines()
    assert [line.partition(" in ")[0] for line in log] == ["started with -in pw.in"] * 2


def test_an_axis_does_not_start_before_its_scf_has_ended_well(espresso_folder, machine):
    outcome = run(espresso_folder / "axis_100/run.sh", machine)
    assert outcome.returncode == 3
    assert "scf has not ended well" in outcome.stderr
    assert run(espresso_folder / "scf/run.sh", machine, FAKE_STATUS="2").returncode == 2
    assert run(espresso_folder / "axis_100/run.sh", machine).returncode == 3
    assert {path.name for path in (espresso_folder / "axis_100").iterdir()} == {"pw.in", "run.sh"}


def test_an_axis_needs_the_density_of_its_scf(espresso_folder, machine):
    run(espresso_folder / "scf/run.sh", machine)
    (espresso_folder / "scf/out/job.save/charge-density.dat").unlink()
    outcome = run(espresso_folder / "axis_100/run.sh", machine)
    assert outcome.returncode == 3
    assert "no charge density" in outcome.stderr


def test_a_run_that_dies_keeps_its_words_and_not_the_result_of_its_parent(espresso_folder, machine):
    run(espresso_folder / "scf/run.sh", machine)
    outcome = run(espresso_folder / "axis_100/run.sh", machine, FAKE_STATUS="52")
    assert outcome.returncode == 52
    assert (espresso_folder / "axis_100/exit_status").read_text() == "52\n"
    assert (espresso_folder / "axis_100/pw.out").read_text() == "died early\n"
    assert not (espresso_folder / "axis_100/data-file-schema.xml").exists()


def test_a_second_run_starts_afresh(espresso_folder, machine):
    run(espresso_folder / "scf/run.sh", machine)
    run(espresso_folder / "scf/run.sh", machine, FAKE_STATUS="1")
    assert (espresso_folder / "scf/exit_status").read_text() == "1\n"
    assert not (espresso_folder / "scf/data-file-schema.xml").exists()


def test_a_command_may_have_arguments_or_spaces_in_its_path(espresso_folder, machine, tmp_path):
    text = '#!/bin/sh\necho "launched $1 $2" >> "$AET2DFT_LOG"\nshift 2\nexec "$@"\n'
    launcher = program(tmp_path / "bin/launch", text)
    assert run(espresso_folder / "scf/run.sh", machine, AET2DFT_COMMAND=f"{launcher} -n 4 pw.x").returncode == 0
    assert "launched -n 4" in Path(machine["AET2DFT_LOG"]).read_text()
    spaced = str(tmp_path / "my programs/pw.x")
    assert run(espresso_folder / "scf/run.sh", machine, AET2DFT_COMMAND=spaced).returncode == 0
    missing = run(espresso_folder / "scf/run.sh", machine, AET2DFT_COMMAND="no_such_program")
    assert missing.returncode == 127
    assert "no_such_program" in (espresso_folder / "scf/pw.out").read_text()


def test_vasp_steps_start_the_program_they_need(vasp_folder, machine):
    for step, used in (("scf", "vasp_std"), ("axis_100", "vasp_ncl")):
        for changes in ({}, {"AET2DFT_COMMAND": "env vasp_std"}):
            assert run(vasp_folder / step / "run.sh", machine, **changes).returncode == 0
            assert Path(machine["AET2DFT_LOG"]).read_text().splitlines()[-1].startswith(f"{used} in ")
        assert (vasp_folder / step / "potcar_seen").read_text().split()[1::3] == ["Fe_pv", "Pt"]
        assert not (vasp_folder / step / "POTCAR").exists()
        assert len((vasp_folder / step / "POTCAR.sha256").read_text().split()[0]) == 64
    assert (vasp_folder / "scf/CHGCAR").exists()
    assert not (vasp_folder / "axis_100/CHGCAR").exists()


def test_vasp_axis_waits_for_a_converged_scf(vasp_folder, machine):
    assert "not ended well" in run(vasp_folder / "axis_100/run.sh", machine).stderr
    run(vasp_folder / "scf/run.sh", machine)
    (vasp_folder / "scf/OUTCAR").write_text("EDIFF was not reached\nGeneral timing and accounting\n")
    assert run(vasp_folder / "axis_100/run.sh", machine).returncode == 3


def test_a_missing_or_other_potcar_is_refused_and_results_stay(vasp_folder, machine, tmp_path):
    run(vasp_folder / "scf/run.sh", machine)
    assert "set VASP_PP_PATH" in run(vasp_folder / "scf/run.sh", machine, VASP_PP_PATH="").stderr
    (tmp_path / "pots/Pt/POTCAR").write_text("  PAW_PBE Pt_pv 12Dec2005\n")
    assert "is not the data set PAW_PBE Pt" in run(vasp_folder / "scf/run.sh", machine).stderr
    (tmp_path / "pots/Pt/POTCAR").unlink()
    assert "has no Pt/POTCAR" in run(vasp_folder / "scf/run.sh", machine).stderr
    assert (vasp_folder / "scf/OUTCAR").exists()


def test_the_array_script_runs_one_volume_and_leaves_what_is_done(espresso_folder, machine):
    script = espresso_folder.parents[1] / "run_array.sh"
    for task in ("2", "1", "1"):
        subprocess.run(["sh", script], env={**machine, "SLURM_ARRAY_TASK_ID": task}, check=True, timeout=60)
    log = [Path(line).name for line in Path(machine["AET2DFT_LOG"]).read_text().splitlines()]
    assert log == ["scf", "axis_100", "axis_001"]
