"""What is checked before jobs start; truth: what ``run.sh`` would do with the same command and folders."""

import shutil
from pathlib import Path

import pytest
from fake_runs import deck_folder

from aet2dft.dft_inputs import run_checks
from aet2dft.dft_inputs.decks import Manifest
from aet2dft.dft_inputs.run_checks import check_requirements, usable_command
from aet2dft.errors import InputError, ResourceError


@pytest.fixture(autouse=True)
def no_command(monkeypatch):
    monkeypatch.delenv("AET2DFT_COMMAND", raising=False)
    monkeypatch.delenv("VASP_PP_PATH", raising=False)


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """The only folder of programs."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))

    def add(*names: str) -> None:
        for name in names:
            (folder / name).write_text("#!/bin/sh\n")
            (folder / name).chmod(0o755)

    return add


def check(directory, command=None):
    manifest = Manifest.read(directory)
    check_requirements(manifest, manifest.jobs, usable_command(command))


def test_the_option_wins_over_the_environment(monkeypatch):
    assert usable_command(None) is None
    monkeypatch.setenv("AET2DFT_COMMAND", "mpirun -n 2 pw.x")
    assert usable_command(None) == "mpirun -n 2 pw.x"
    assert usable_command("pw.x") == "pw.x"


def test_relative_paths_hold_in_the_folders_of_the_jobs(tmp_path, monkeypatch, programs):
    programs("pw.x")
    monkeypatch.chdir(tmp_path)
    assert usable_command("bin/pw.x") == f"{tmp_path}/bin/pw.x"
    assert usable_command("mpirun -n 4 ./bin/pw.x -nk 2") == f"mpirun -n 4 {tmp_path}/bin/pw.x -nk 2"


def test_a_path_with_spaces_is_one_program_and_takes_no_arguments(tmp_path, monkeypatch, programs):
    programs("pw.x")
    spaced = tmp_path / "my codes"
    spaced.mkdir()
    shutil.copy(tmp_path / "bin" / "pw.x", spaced)
    assert usable_command(str(spaced / "pw.x")) == f"{spaced}/pw.x"
    monkeypatch.chdir(spaced)
    with pytest.raises(InputError, match="a path with a space takes no arguments"):
        usable_command("./pw.x -nk 2")


def test_launcher_and_code_must_both_be_there(tmp_path, programs):
    decks = deck_folder(tmp_path / "decks")
    programs("mpirun")
    with pytest.raises(InputError, match=r"^pw\.x of the command 'mpirun -n 4 pw\.x' is not on this machine"):
        check(decks, "mpirun -n 4 pw.x")
    programs("pw.x")
    check(decks, "mpirun -n 4 pw.x")
    check(decks)


def test_vasp_needs_both_of_its_programs_and_all_data_sets(tmp_path, monkeypatch, programs):
    decks = deck_folder(tmp_path / "decks", code="vasp")
    programs("vasp_std")
    with pytest.raises(InputError, match=r"^vasp_ncl is not on this machine; load the module"):
        check(decks)
    with pytest.raises(InputError, match=r"^vasp_ncl of the command 'vasp_std' is not on this machine"):
        check(decks, "vasp_std")
    programs("vasp_ncl")
    with pytest.raises(InputError, match="VASP_PP_PATH is not set"):
        check(decks)
    monkeypatch.setenv("VASP_PP_PATH", str(tmp_path))
    _data_set(tmp_path / "Fe_pv")
    with pytest.raises(InputError, match="has no Pt/POTCAR"):
        check(decks)
    _data_set(tmp_path / "potpaw_PBE" / "Pt")
    check(decks)


def test_a_missing_pseudopotential_is_named(tmp_path, programs):
    programs("pw.x")
    decks = deck_folder(tmp_path / "decks")
    (decks / "pseudo" / "Pt.rel-pbe-small.UPF").unlink()
    with pytest.raises(InputError, match=r"Pt\.rel-pbe-small\.UPF cannot be read \(No such file or directory\)"):
        check(decks)


def test_a_full_disk_is_refused(tmp_path, monkeypatch, programs):
    programs("pw.x")
    decks = deck_folder(tmp_path / "decks")
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(run_checks.shutil, "disk_usage", lambda _: usage._replace(free=10_000_000))
    with pytest.raises(ResourceError, match="the disk has 10 MB left"):
        check(decks)


def _data_set(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "POTCAR").touch()
