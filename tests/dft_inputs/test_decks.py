"""Truth: digests worked out here with hashlib and the files that are, or must not be, on disk after each case."""

from __future__ import annotations

import csv
import errno
import hashlib
import json
import os
import pickle
from dataclasses import replace
from pathlib import Path

import pytest
from deck_examples import PSEUDOS, deck_set, espresso_decks, l10_cell, vasp_decks

from aet2dft.dft_inputs import decks as decks_module
from aet2dft.dft_inputs.decks import MANIFEST, DeckSet, Manifest, verify, write_decks
from aet2dft.dft_inputs.protocol import load_protocol
from aet2dft.errors import InputError, ParseError, ResourceError

MAE = load_protocol("mae", code="espresso")


@pytest.fixture
def example() -> DeckSet:
    return deck_set(espresso_decks(l10_cell()), MAE)


@pytest.fixture
def changed() -> DeckSet:
    protocol = load_protocol("mae", code="espresso", changes={"degauss": "0.01"})
    return deck_set(espresso_decks(l10_cell(), degauss="0.01"), protocol)


@pytest.fixture
def written(tmp_path, example) -> Path:
    folder = tmp_path / "decks of FePt"
    assert write_decks(folder, example) == folder / MANIFEST
    return folder


def files_of(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_a_folder_holds_the_manifest_the_decks_and_the_pseudopotentials(written):
    jobs = ("scf", "axis_100", "axis_001")
    expected = {f"volumes/v00000/{job}/{name}" for job in jobs for name in ("pw.in", "run.sh")}
    expected |= {f"pseudo/{pseudo.file}" for pseudo in PSEUDOS}
    assert files_of(written) == expected | {"manifest.json", "manifest.csv", "run_array.sh"}
    assert all(os.access(path, os.X_OK) for path in written.rglob("run.sh"))
    assert list(written.parent.iterdir()) == [written]


def test_the_manifest_says_what_was_written(written, example):
    content = json.loads((written / MANIFEST).read_text(encoding="utf-8"))
    assert (content["schema"], content["digest"], content["code"]) == (1, "sha256", "espresso")
    assert content["protocol"]["name"] == "mae"
    assert content["protocol"]["degauss"] == 0.02
    assert content["axes"] == ["100", "001"]
    volume = content["volumes"][0]
    assert (volume["site_ids"], volume["permutation"], volume["labels"]) == ([42, 11], [1, 0], ["Fe", "Pt"])
    assert (volume["moments"], volume["k_mesh"], volume["moment_binning_error"]) == ([3.0, 0.4], [8, 8, 6], 0.0)
    assert [(job["id"], job["parent"], job["axis"], job["calculation"]) for job in content["jobs"]] == [
        ("v00000/scf", None, None, "scf"),
        ("v00000/axis_100", "v00000/scf", [1, 0, 0], "nscf"),
        ("v00000/axis_001", "v00000/scf", [0, 0, 1], "nscf"),
    ]
    for job in content["jobs"]:
        for name, digest in job["files"].items():
            text = (written / "volumes" / job["id"] / name).read_bytes()
            assert hashlib.sha256(text).hexdigest() == digest
            assert b"\r" not in text
    assert Manifest.read(written).jobs == content["jobs"]
    assert Manifest.read(written).folder("v00000/scf") == written / "volumes/v00000/scf"


def test_the_table_of_jobs_has_a_row_per_job(written):
    with (written / "manifest.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["job"] for row in rows] == [job["id"] for job in Manifest.read(written).jobs]
    assert rows[1]["axis"] == "1 0 0"
    assert {row["k_mesh"] for row in rows} == {"8x8x6"}
    assert all((written / row["folder"]).is_dir() for row in rows)


def test_pseudopotentials_are_written_unpacked(written):
    for pseudo in PSEUDOS:
        assert hashlib.md5((written / "pseudo" / pseudo.file).read_bytes()).hexdigest() == pseudo.md5


def test_the_same_decks_give_the_same_bytes(tmp_path, example):
    again = deck_set(espresso_decks(l10_cell()), MAE)
    for name, decks in (("one", example), ("two", again)):
        write_decks(tmp_path / name, decks)
    assert files_of(tmp_path / "one") == files_of(tmp_path / "two")
    for name in files_of(tmp_path / "one"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_untouched_files_verify_and_touched_ones_are_named(written):
    assert verify(written) == ()
    (written / "volumes/v00000/scf/pw.in").write_text("edited")
    (written / "volumes/v00000/axis_001/run.sh").unlink()
    (written / "pseudo/Pt.pbe-small.UPF").write_text("another")
    assert set(verify(written)) == {
        "volumes/v00000/scf/pw.in",
        "volumes/v00000/axis_001/run.sh",
        "pseudo/Pt.pbe-small.UPF",
    }


def test_vasp_decks_are_written_without_pseudopotentials(tmp_path):
    protocol = load_protocol("mae", code="vasp")
    write_decks(tmp_path / "vasp", deck_set(vasp_decks(l10_cell()), protocol, pseudos=()))
    assert verify(tmp_path / "vasp") == ()
    names = {path.name for path in (tmp_path / "vasp/volumes/v00000/scf").iterdir()}
    assert names == {"INCAR", "POSCAR", "KPOINTS", "POTCAR.spec", "run.sh"}
    assert not (tmp_path / "vasp/pseudo").exists()


def test_decks_are_replaced_only_on_request(written, changed):
    before = (written / MANIFEST).read_bytes()
    with pytest.raises(InputError, match="--overwrite"):
        write_decks(written, changed)
    assert (written / MANIFEST).read_bytes() == before
    write_decks(written, changed, overwrite=True)
    assert verify(written) == ()
    assert "degauss = 0.01" in (written / "volumes/v00000/scf/pw.in").read_text()


def test_outputs_of_different_decks_are_never_overwritten(written, changed):
    (written / "volumes/v00000/axis_100/pw.out").write_text("hours of work")
    before = {name: (written / name).read_bytes() for name in files_of(written)}
    with pytest.raises(InputError, match=r"outputs of different decks .*v00000/axis_100"):
        write_decks(written, changed, overwrite=True)
    assert {name: (written / name).read_bytes() for name in files_of(written)} == before


def test_outputs_of_a_volume_that_is_no_longer_there_are_not_overwritten(written):
    (written / "volumes/v00000/scf/exit_status").write_text("0")
    empty = DeckSet(kind="sliding", protocol=MAE, axes=(), volumes=(), decks=())
    with pytest.raises(InputError, match="v00000/scf"):
        write_decks(written, empty, overwrite=True)


def test_outputs_stay_when_their_decks_are_written_again(written, example):
    output = written / "volumes/v00000/scf/pw.out"
    output.write_text("hours of work")
    more = espresso_decks(l10_cell(), axes=((1, 0, 0), (0, 0, 1), (0, 1, 0)))
    write_decks(written, deck_set(more, MAE), overwrite=True)
    assert output.read_text() == "hours of work"
    assert verify(written) == ()
    assert len(Manifest.read(written).jobs) == 4


def test_outputs_made_with_another_pseudopotential_are_not_overwritten(written, example):
    (written / "volumes/v00000/scf/pw.out").write_text("hours of work")
    (written / "pseudo/Fe.pbe-small.UPF").write_text("another file of the same name")
    with pytest.raises(InputError, match=r"pseudo/Fe\.pbe-small\.UPF"):
        write_decks(written, example, overwrite=True)


def test_volumes_that_are_gone_leave_no_folder_behind(written, example):
    other = replace(example, decks=example.decks[:1])
    write_decks(written, other, overwrite=True)
    assert [path.name for path in (written / "volumes/v00000").iterdir()] == ["scf"]


def test_a_half_overwritten_folder_can_be_overwritten_again(written, example):
    (written / MANIFEST).unlink()
    with pytest.raises(InputError, match="--overwrite"):
        write_decks(written, example)
    write_decks(written, example, overwrite=True)
    assert verify(written) == ()


def test_other_files_in_the_folder_stay(tmp_path, example):
    folder = tmp_path / "decks"
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    write_decks(folder, example)
    assert (folder / "notes.txt").read_text() == "mine"
    assert verify(folder) == ()


@pytest.mark.parametrize("exists", [False, True])
def test_a_full_disk_leaves_nothing_behind(tmp_path, example, monkeypatch, exists):
    folder = tmp_path / "decks"
    if exists:
        folder.mkdir()

    def no_space(content):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    # the table comes after all decks and before the manifest
    monkeypatch.setattr(decks_module, "_csv_text", no_space)
    with pytest.raises(ResourceError, match="No space left on device") as caught:
        write_decks(folder, example)
    assert caught.value.exit_code == 4
    assert list(tmp_path.rglob("*")) == ([folder] if exists else [])


def test_a_place_that_cannot_be_written_is_a_lack_of_resources(tmp_path, example):
    (tmp_path / "file").write_text("")
    with pytest.raises(ResourceError, match="another folder"):
        write_decks(tmp_path / "file" / "decks", example)
    with pytest.raises(InputError, match="is a file"):
        write_decks(tmp_path / "file", example)


def test_volumes_of_one_name_are_refused_before_anything_is_written(tmp_path, example):
    twice = replace(example, volumes=example.volumes * 2)
    with pytest.raises(InputError, match="twice"):
        write_decks(tmp_path / "decks", twice)
    assert not (tmp_path / "decks").exists()


def test_a_manifest_edited_by_hand_is_refused(written):
    path = written / MANIFEST
    path.write_text(path.read_text().replace('"degauss": 0.02', '"degauss": 0.05'))
    with pytest.raises(ParseError, match="changed since it was written"):
        Manifest.read(written)


def test_line_ends_of_another_system_do_not_make_a_manifest_edited(written):
    path = written / MANIFEST
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert verify(written) == ()


def test_a_manifest_cut_anywhere_is_refused(written):
    path = written / MANIFEST
    whole = path.read_bytes()
    for percent in range(100):
        path.write_bytes(whole[: len(whole) * percent // 100])
        with pytest.raises(ParseError, match="manifest"):
            Manifest.read(written)


def test_a_folder_without_a_manifest_is_refused(tmp_path):
    with pytest.raises(InputError, match="aet2dft inputs"):
        Manifest.read(tmp_path)


@pytest.mark.parametrize(
    ("row", "change"),
    [("jobs", {"id": "../x/scf", "volume": "../x"}), ("jobs", {"files": {"../x": ""}}), ("jobs", {"parent": "v9/scf"})],
)
def test_a_manifest_whose_names_leave_the_folder_is_refused(written, row, change):
    content = json.loads((written / MANIFEST).read_text())
    del content["checksum"]
    content[row][0] |= change
    checksum = hashlib.sha256(decks_module._manifest_text(content).encode()).hexdigest()
    (written / MANIFEST).write_text(json.dumps({**content, "checksum": checksum}))
    with pytest.raises(ParseError, match="job "):
        Manifest.read(written)


def test_a_deck_set_is_data_that_can_be_passed_to_another_process(example):
    assert pickle.loads(pickle.dumps(example.decks)) == example.decks
