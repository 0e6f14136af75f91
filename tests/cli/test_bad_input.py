"""Bad input through the command line: one sentence with what, where and what to do; the right exit code; nothing lost.

Truth: the conventions for models and exit codes, written here by hand; every sentence is checked for what it must name.
"""

import errno
import gzip
import hashlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
from ase import Atoms
from commands import aet2dft, done, files, process, refused
from hypothesis import given
from hypothesis import strategies as st
from made_outputs import DATA
from small_particle import BOX, small, write_xyz

from aet2dft import store

INPUTS = ("--box", BOX, "--limit", 1)


def changed(**positions):
    """The small particle with something wrong."""
    atoms = small()
    for name, value in positions.items():
        atoms.positions[int(name[1:])] = value
    return atoms


def lattice_of(kind):
    from ase.build import bulk

    cells = {"bcc": bulk("Fe", "bcc", a=2.87, cubic=True), "hcp": bulk("Co", "hcp", a=2.51, orthorhombic=True)}
    atoms = cells[kind] * (9, 9, 9) if kind == "bcc" else cells[kind] * (9, 6, 6)
    atoms.set_pbc(False)
    atoms.set_cell(None)
    return atoms


MODELS = {
    "NaN": (lambda: changed(_7=np.nan), ["atom 7", "NaN", "remove or mend"]),
    "infinite": (lambda: changed(_3=np.inf), ["atom 3", "infinite", "remove or mend"]),
    "two atoms at one place": (lambda: changed(_5=small().positions[9]), ["atoms 5 and 9", "0.000 Å", "remove"]),
    "two atoms nearly at one place": (
        lambda: changed(_5=small().positions[9] + 0.1),
        ["atoms 5 and 9", "0.173 Å", "remove"],
    ),
    "one atom": (lambda: Atoms("Fe"), ["one atom", "two"]),
    "no atoms": (Atoms, ["no atoms"]),
    "bcc": (lambda: lattice_of("bcc"), ["fcc"]),
    "hcp": (lambda: lattice_of("hcp"), ["fcc"]),
    "nm": (lambda: Atoms(small().numbers, small().positions / 10), ["nm", "factor", "--voxel-size 10"]),
    "voxels": (lambda: Atoms(small().numbers, small().positions / 0.35), ["voxels", "--voxel-size 0.3"]),
}


@pytest.mark.parametrize("name", MODELS)
def test_an_unsound_model_is_refused_by_order_and_described_by_info(name, tmp_path):
    make, named = MODELS[name]
    path = write_xyz(tmp_path / "model.xyz", make())
    sentence = refused("order", path, "-o", tmp_path / "run.h5")
    assert all(word in sentence for word in named), sentence
    assert set(files(tmp_path)) == {"model.xyz"}
    if name not in ("bcc", "hcp"):
        found = done("info", path)
        assert all(word in " ".join(found["problems"]) for word in named), found["problems"]


def test_an_unknown_element_is_named_with_its_line(tmp_path):
    names = [str(symbol) for symbol in small().symbols]
    names[10] = "Qq"
    path = write_xyz(tmp_path / "model.xyz", names=names)
    sentence = refused("order", path, "-o", tmp_path / "run.h5")
    assert all(word in sentence for word in ("'Qq'", "line 13", "element"))
    assert "'Qq'" in done("info", path)["problems"][0]


@pytest.mark.parametrize(
    ("species", "named"),
    [
        ("1=Fe", "1, 2"),
        ("1=Fe,2=Pt,3=Ni", "1, 2"),
        ("1=Fe,2=Qq", "'Qq'"),
        ("1=Fe,1=Pt", "twice"),
        ("Fe,Pt", "KEY=VALUE"),
        ("a=Fe,b=Pt", "1, 2"),
    ],
)
def test_a_wrong_species_is_refused_and_the_right_form_given(species, named, tmp_path):
    types = [{"Fe": "1", "Pt": "2"}[str(symbol)] for symbol in small().symbols]
    path = write_xyz(tmp_path / "model.xyz", names=types)
    sentence = refused("order", path, "-o", tmp_path / "run.h5", "--species", species)
    assert named in sentence
    assert set(files(tmp_path)) == {"model.xyz"}


def test_species_for_a_model_that_names_its_elements_is_refused(model, tmp_path):
    assert "leave out --species" in refused("order", model, "-o", tmp_path / "run.h5", "--species", "1=Fe,2=Pt")


FOREIGN = {
    "empty.xyz": (b"", "number of atoms"),
    "cut.xyz": (b"3\n\nFe 0 0 0\nPt 2 0 0\n", "promises 3 atoms and holds 2"),
    "long.xyz": (b"1\n\nFe 0 0 0\nPt 2 0 0\n", "more lines"),
    "words.xyz": (b"2\n\nFe 0 0 zero\nPt 2 0 0\n", "line 3"),
    "short.xyz": (b"2\n\nFe 0 0\nPt 2 0 0\n", "line 3"),
    "count.xyz": (b"99999999999999\n\nFe 0 0 0\n", "promises"),
    "binary.xyz": (b"\x80\x81\xff\x00" * 50, "text"),
    "nothing.extxyz": (b"2\nProperties=species:S:1:pos:R:3\nFe 0 0 0\n", "cut"),
    "strange.cif": (b"data_x\nloop_\n_cell", "extxyz"),
    "model.gz": (b"\x1f\x8b123", "unpack"),
    "model.traj": (b"- of UlmASE-Trajectory", "known format"),
    "model.json": (b'{"__ndarray__": [[100000000000], "float64", []]}', "known format"),
    "model.mat": (b"MATLAB 5.0 MAT-file" + b"\x00" * 200, "MATLAB"),
    "model.h5": (b"\x89HDF\r\n\x1a\n" + b"\x00" * 100, "HDF5"),
    "model.py": (b"raise SystemExit('executed')", "known format"),
}


@pytest.mark.parametrize("name", FOREIGN)
@pytest.mark.parametrize("verb", ["info", "order"])
def test_a_damaged_or_strange_file_is_refused_by_name(name, verb, tmp_path):
    content, named = FOREIGN[name]
    path = tmp_path / name
    path.write_bytes(content)
    output = ["-o", tmp_path / "run.h5"] if verb == "order" else []
    sentence = refused(verb, path, *output)
    assert name in sentence
    if named not in ("cut", "extxyz", "HDF5") or verb == "info":
        assert named in sentence or named in ("cut", "extxyz")
    assert set(files(tmp_path)) == {name}


@pytest.mark.parametrize("verb", ["info", "order", "inputs", "run", "collect", "export", "report", "compare"])
def test_a_path_that_is_not_there_is_named(verb, tmp_path):
    gone = tmp_path / "gone.h5"
    more = {"export": [tmp_path / "x.xyz"], "compare": [tmp_path / "other.xyz"], "info": [], "run": []}
    words = more.get(verb, ["-o", tmp_path / "out"])
    assert "gone.h5" in refused(verb, gone, *words)
    assert not list(tmp_path.iterdir())


def test_a_matlab_file_without_coordinates_is_described_and_refused(tmp_path):
    from scipy.io import savemat

    savemat(tmp_path / "model.mat", {"angles": np.zeros((68, 3)), "name": "FePt"})
    sentence = refused("order", tmp_path / "model.mat", "-o", tmp_path / "run.h5")
    assert all(word in sentence for word in ("no coordinates", "angles (68, 3)", "--variable"))
    assert "no coordinates" in done("info", tmp_path / "model.mat")["problems"][0]
    assert "'no_such'" in refused("info", tmp_path / "model.mat", "--variable", "no_such")


def test_a_missing_file_of_types_is_named(tmp_path):
    from scipy.io import savemat

    savemat(tmp_path / "model.mat", {"model": small().positions.T})
    assert "types.mat" in refused("order", tmp_path / "model.mat", tmp_path / "types.mat", "-o", tmp_path / "run.h5")


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (["--around", "L99"], ["L99", "1 (L12, ", "2 (L10, "]),
        (["--around", "17"], ["17", "1 (L12, ", "2 (L10, "]),
        (["--around", "A1"], ["A1", "--around center"]),
        (["--box", "200,14,14"], ["200", "--box"]),
        (["--box", "2,2,2"], ["2x2x2", "--box"]),
        (["--box", "0,0,0"], ["box"]),
        (["--axes", "100,200"], ["parallel"]),
        (["--axes", "1000"], ["1000"]),
        (["--protocol", "nonsense"], ["nonsense"]),
        (["--set", "no_such_tag=1"], ["no_such_tag"]),
        (["--set", "kmesh=big"], ["kmesh"]),
        (["--pseudo-dir", "/no/such/folder"], ["/no/such/folder"]),
    ],
)
def test_inputs_that_cannot_be_made_are_refused_before_anything_is_written(flags, named, project, tmp_path):
    before = project.read_bytes()
    sentence = refused("inputs", project, "--box", BOX, *flags, "-o", tmp_path / "decks")
    assert all(word in sentence for word in named), sentence
    assert set(files(tmp_path)) == {"run.h5"}
    assert project.read_bytes() == before


def test_a_model_without_an_ordered_grain_is_told_what_grains_there_are(tmp_path):
    atoms = small()
    atoms.numbers = np.random.default_rng(0).choice([26, 78], size=len(atoms))
    done("order", write_xyz(tmp_path / "model.xyz", atoms), "-o", tmp_path / "run.h5", "--surrogates", 0)
    sentence = refused("inputs", tmp_path / "run.h5", "-o", tmp_path / "decks")
    assert all(word in sentence for word in ("no grain of phase L10", "--around center"))


def test_an_element_without_a_pseudopotential_is_named(tmp_path):
    atoms = small()
    atoms.numbers[atoms.numbers == 26] = 27
    done("order", write_xyz(tmp_path / "model.xyz", atoms), "-o", tmp_path / "run.h5", "--surrogates", 0)
    sentence = refused("inputs", tmp_path / "run.h5", *INPUTS, "-o", tmp_path / "decks")
    assert "Co" in sentence
    assert "--pseudo-dir" in sentence
    assert not (tmp_path / "decks").exists()


def test_candidates_without_species_are_sent_to_classify_by_every_verb(tmp_path):
    atoms, project = small(), tmp_path / "run.h5"
    atoms.numbers[:] = 0
    atoms.arrays["intensity"] = np.ones(len(atoms))
    store.save(project, "trace", {"atoms": atoms}, {"with_volume": False, "inputs": []})
    advice = f"{len(atoms):,} atoms have no element; run `aet2dft classify` with e.g. --species Fe,Pt"
    assert advice in done("info", project)["problems"]
    assert advice in done("order", project, "--surrogates", 0)["warnings"]
    assert refused("inputs", project, "--around", "center", *INPUTS, "-o", tmp_path / "decks") == advice
    assert not (tmp_path / "decks").exists()


# outputs of jobs -------------------------------------------------------------------------------------


@pytest.mark.parametrize("part", [0.0, 0.2, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("name", ["pw.out", "data-file-schema.xml"])
def test_an_output_that_is_cut_gives_a_row_and_no_number(part, name, decks, tmp_path):
    path = decks / "volumes" / "v00000" / "axis_100" / name
    content = path.read_bytes()
    path.write_bytes(content[: int(part * len(content))])
    found = done("collect", decks, "-o", tmp_path / "run.h5")
    assert found["counts"]["incomplete"] + found["counts"]["failed"] == 1
    assert found["counts"]["ok"] == 11
    assert found["mae"]["n"] == 3
    assert found["status"] == "partial"


def test_an_output_of_another_job_is_not_taken(decks, tmp_path):
    here = decks / "volumes" / "v00000" / "axis_100"
    for name in ("pw.out", "data-file-schema.xml"):
        shutil.copy(decks / "volumes" / "v00001" / "axis_100" / name, here / name)
    found = done("collect", decks, "-o", tmp_path / "run.h5")
    assert found["counts"]["failed"] == 1
    assert found["mae"]["n"] == 3
    done("export", tmp_path / "run.h5", tmp_path / "tables", "--what", "tables")
    row = next(
        r for r in (tmp_path / "tables" / "jobs.csv").read_text().splitlines() if r.startswith("v00000/axis_100")
    )
    assert "wrong_structure" in row


def test_decks_edited_after_writing_are_neither_run_nor_counted(decks, tmp_path):
    path = decks / "volumes" / "v00000" / "scf" / "pw.in"
    path.write_text(path.read_text().replace("ecutwfc", "ecutwfc ", 1))
    found = done("collect", decks, "-o", tmp_path / "run.h5")
    assert found["counts"]["input_changed"] == 1
    assert done("info", decks)["problems"][0].startswith("1 file differs from the manifest (first: ")
    assert found["mae"]["n"] == 3
    assert done("run", decks, "--dry-run")["counts"]["skipped"] == 1


@pytest.mark.parametrize("damage", ["flip", "cut", "edit", "not json"])
def test_a_damaged_manifest_is_refused(damage, decks, tmp_path):
    path = decks / "manifest.json"
    content = path.read_bytes()
    place = content.index(b'"site_ids"') + 15
    path.write_bytes({
        "flip": content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :],
        "cut": content[: len(content) // 2],
        "edit": content.replace(b'"espresso"', b'"vasp"', 1),
        "not json": b"\x00\x01",
    }[damage])  # fmt: skip
    for words in (["collect", decks, "-o", tmp_path / "run.h5"], ["run", decks], ["info", decks]):
        assert "manifest.json" in refused(*words)
    assert not (tmp_path / "run.h5").exists()


def test_a_second_run_on_the_same_folder_is_told_to_wait(decks):
    import fcntl

    with (decks / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "in use" in refused("run", decks, code=7)


def test_a_missing_code_is_named_before_anything_starts(decks):
    shutil.rmtree(decks / "volumes" / "v00000" / "axis_100" / "out", ignore_errors=True)
    (decks / "volumes" / "v00000" / "axis_100" / "pw.out").unlink()
    sentence = refused("run", decks, "--command", "no_such_pw.x")
    assert "no_such_pw.x" in sentence
    assert "--command" in sentence


# targets ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [["order", "MODEL", "-o", "TARGET"], ["export", "PROJECT", "TARGET"], ["report", "PROJECT", "-o", "TARGET"]],
)
@pytest.mark.parametrize("target", ["/proc/no/run.h5", "FILE/run.h5"])
def test_a_target_that_cannot_be_written_is_refused_and_nothing_lost(words, target, model, collected, tmp_path):
    (tmp_path / "file").write_text("kept")
    place = target.replace("FILE", str(tmp_path / "file"))
    before = files(tmp_path)
    names = {"MODEL": model, "PROJECT": collected, "TARGET": place}
    assert "run.h5" in refused(*(names.get(word, word) for word in words), code=4)
    assert files(tmp_path) == before


def test_decks_cannot_go_where_a_file_is(project, tmp_path):
    (tmp_path / "decks").write_text("kept")
    assert "decks" in refused("inputs", project, *INPUTS, "-o", tmp_path / "decks")
    assert (tmp_path / "decks").read_text() == "kept"
    assert "/proc" in refused("inputs", project, *INPUTS, "-o", "/proc/decks", code=4)


def test_a_project_is_never_written_over_another_file(model, tmp_path):
    (tmp_path / "notes.txt").write_text("kept")
    assert "is no project" in refused("order", model, "-o", tmp_path / "notes.txt", "--overwrite")
    (tmp_path / "foreign.h5").write_bytes(b"\x89HDF\r\n\x1a\n kept")
    assert "is no project" in refused("order", model, "-o", tmp_path / "foreign.h5", "--overwrite")
    assert (tmp_path / "notes.txt").read_text() == "kept"


@pytest.mark.parametrize(
    ("verb", "room"),
    [(verb, room) for verb in ("order", "inputs", "collect", "export") for room in (0, 600, 4_000, 100_000)]
    + [pytest.param("report", 100_000, marks=pytest.mark.slow)],
)
def test_a_full_disk_leaves_the_old_results_and_no_part_of_new_ones(
    verb, room, model, project, decks, collected, tmp_path
):
    words = {
        "order": ["order", project, "--overwrite", "--surrogates", 0],
        "inputs": ["inputs", project, *INPUTS, "-o", tmp_path / "new"],
        "collect": ["collect", decks, "-o", collected],
        "export": ["export", collected, tmp_path / "out.xyz"],
        "report": ["report", collected, "-o", tmp_path / "page.html"],
    }[verb]
    before = files(tmp_path)
    pid = os.fork()
    if pid == 0:  # only the child may not write
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))
        answer = aet2dft(*words, "--json")
        sentence = answer.json.get("error", {}).get("message", "")
        good = answer.code == 4 and "Traceback" not in answer.err and "space" in sentence
        os._exit(0 if good else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert files(tmp_path) == before


# Ctrl-C ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("delay", [0.15, 0.4, 0.8, 1.3])
def test_a_signal_anywhere_ends_a_verb_in_time_without_a_trace(number, code, delay, project, tmp_path):
    before = files(tmp_path)
    # enough surrogates to work for minutes
    child = process("order", project, "--overwrite", "--surrogates", 1000, "--json")
    time.sleep(delay)
    child.send_signal(number)
    begun = time.monotonic()
    out, err = child.communicate(timeout=30)
    assert time.monotonic() - begun < 5
    assert files(tmp_path) == before
    if child.returncode == -number:  # before the interpreter had read a line of this package
        assert delay < 0.5
        return
    assert child.returncode == code
    assert json.loads(out)["error"]["type"] == "Stopped"
    assert "--resume" in err
    assert "Traceback" not in err


@pytest.mark.slow
def test_a_verb_killed_at_any_moment_leaves_the_project_readable(project, tmp_path):
    for k in range(40):
        child = process("order", project, "--overwrite", "--surrogates", 0, "-q")
        time.sleep(0.05 * k)
        child.kill()
        child.wait()
        assert set(store.groups(project)) >= {"order"}
        for left in tmp_path.glob(".run.h5.*.tmp"):
            left.unlink()
    done("order", project, "--overwrite", "--surrogates", 0)


# damaged and hostile files ---------------------------------------------------------------------------


@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_every_flipped_bit_of_a_project_is_noticed(place, bit, tmp_path_factory):
    source = _project_once(tmp_path_factory)
    content = bytearray(source.read_bytes())
    content[int(place * len(content))] ^= 1 << bit
    damaged = source.with_name("damaged.h5")
    damaged.write_bytes(content)
    assert "damaged.h5" in refused("info", damaged)


def test_a_damaged_project_is_to_be_deleted_before_the_steps_run_again(project, model):
    project.write_bytes(project.read_bytes()[:-1])
    for verb in (["info", project], ["order", model, "-o", project, "--overwrite"]):
        assert "or delete it and run the steps again" in refused(*verb)


def test_a_place_where_a_page_cannot_be_written_is_said_before_it_is_made(project, tmp_path, monkeypatch):
    def closed(**_):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(tmp_path / ".tmp123"))

    monkeypatch.setattr(tempfile, "TemporaryFile", closed)
    page = tmp_path / "page.html"
    said = f"{page}: cannot be written (Read-only file system); choose another place with -o"
    assert refused("report", project, "-o", page, code=4) == said


def test_every_verb_between_images_and_order_asks_for_the_atoms_before_order(project):
    for verb in ("classify", "refine", "edit"):
        assert "begins with `order`" in refused(verb, project)


@pytest.mark.slow
def test_every_one_of_a_thousand_flips_and_cuts_of_a_project_is_noticed(project, tmp_path):
    content, rng = project.read_bytes(), np.random.default_rng(0)
    damaged = tmp_path / "damaged.h5"
    for place in rng.integers(0, len(content), 1000):
        wrong = bytearray(content)
        wrong[place] ^= int(rng.integers(1, 256))
        damaged.write_bytes(wrong)
        refused("report", damaged, "-o", tmp_path / "page.html")
    for part in range(1, 100):
        damaged.write_bytes(content[: part * len(content) // 100])
        refused("export", damaged, tmp_path / "out.xyz")
    assert set(files(tmp_path)) == {"run.h5", "damaged.h5"}


@pytest.mark.parametrize("part", [0.0, 0.0001, 0.01, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("verb", ["info", "inputs", "export", "report"])
def test_a_project_that_is_cut_is_refused(part, verb, project, tmp_path):
    content = project.read_bytes()
    project.write_bytes(content[: int(part * len(content))])
    more = {"export": [tmp_path / "out.xyz"], "info": []}.get(verb, ["-o", tmp_path / "out"])
    assert "run.h5" in refused(verb, project, *more)


_PROJECTS: dict[str, Path] = {}


def _project_once(factory):
    """One project for all examples of hypothesis."""
    if "made" not in _PROJECTS:
        folder = factory.mktemp("flips")
        done("order", write_xyz(folder / "m.xyz"), "-o", folder / "run.h5", "--surrogates", 0)
        _PROJECTS["made"] = folder / "run.h5"
    return _PROJECTS["made"]


def hostile(path, kind, secret):
    """A MATLAB 7.3 file that asks for what is not in it."""
    with h5py.File(path, "w") as file:
        file["angles"] = np.zeros((3, 4))
        if kind == "external link":
            file["model"] = h5py.ExternalLink(str(secret), "model")
        elif kind == "soft link":
            file["model"] = h5py.SoftLink("/model")
        elif kind == "external storage":
            file.create_dataset("model", (50, 3), "f8", external=[(str(secret), 0, 1200)])
        elif kind == "virtual dataset":
            layout = h5py.VirtualLayout((50, 3), "f8")
            layout[:] = h5py.VirtualSource(str(secret), "model", (50, 3))
            file.create_virtual_dataset("model", layout)
        elif kind == "size bomb":
            file.create_dataset("model", (1 << 34, 3), "f8", chunks=(1 << 16, 3), compression="gzip")
        elif kind == "overflowing size":
            file.create_dataset("model", (1 << 62, 3), "f8", chunks=(1 << 10, 3))
        elif kind == "group that holds itself":
            file["deep/deeper/up"] = file["/"]
            file["model"] = np.zeros((4, 2))


@pytest.mark.parametrize(
    "kind",
    ["external link", "external storage", "virtual dataset", "size bomb", "overflowing size"],
)
@pytest.mark.parametrize("verb", ["info", "order"])
def test_an_hdf5_file_that_asks_for_more_than_it_holds_is_refused(kind, verb, tmp_path):
    secret = tmp_path / "secret.h5"
    with h5py.File(secret, "w") as file:
        file["model"] = np.arange(150.0).reshape(50, 3)
    path = tmp_path / "model.mat"
    hostile(path, kind, secret)
    words = ["-o", tmp_path / "run.h5"] if verb == "order" else []
    sentence = refused(verb, path, *words)
    assert "model.mat" in sentence
    assert "149" not in sentence
    assert not (tmp_path / "run.h5").exists()


def test_a_link_within_a_file_is_not_followed(tmp_path):
    hostile(tmp_path / "model.mat", "soft link", None)
    assert done("info", tmp_path / "model.mat")["kind"] == "unknown"
    assert "model.mat" in refused("order", tmp_path / "model.mat", "-o", tmp_path / "run.h5")


def test_a_group_that_holds_itself_is_walked_once(tmp_path):
    hostile(tmp_path / "model.mat", "group that holds itself", None)
    assert done("info", tmp_path / "model.mat")["kind"] == "unknown"


@pytest.mark.parametrize("kind", ["external link", "soft link"])
def test_a_project_with_links_is_refused_although_its_checksum_is_right(kind, project, tmp_path):
    with h5py.File(project, "r+") as file:
        del file["order"]["atoms"]
        file["order"]["atoms"] = h5py.ExternalLink("x.h5", "y") if kind == "external link" else h5py.SoftLink("/inputs")
    content = project.read_bytes()[store._HEADER :]
    project.write_bytes(store._header(store.SCHEMA, hashlib.sha256(content).hexdigest()) + content)
    assert "link" in refused("export", project, tmp_path / "out.xyz")


def test_bombs_are_looked_at_before_they_are_unpacked(tmp_path):
    from scipy.io import savemat

    # 100 MB of zeros each, a hundred kB on disk
    header = np.lib.format.header_data_from_array_1_0(np.zeros(1))
    with (
        zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("a.npy", "w") as file,
    ):
        np.lib.format.write_array_header_1_0(file, {**header, "shape": (3, 4_200_000)})
        for _ in range(100):
            file.write(bytes(1_000_000))
    savemat(tmp_path / "bomb.mat", {"model": np.zeros((3, 4_200_000))}, do_compression=True)
    (tmp_path / "lie.npy").write_bytes(b"\x93NUMPY\x01\x00" + _npy_header("(1000000, 1000000, 1000)"))
    for name, code in (("bomb.npz", 0), ("bomb.mat", 3), ("lie.npy", 3)):
        assert (tmp_path / name).stat().st_size < 1_000_000
        child = subprocess.run(
            [sys.executable, "-m", "aet2dft", "info", tmp_path / name, "--json"], capture_output=True, text=True
        )
        answer = json.loads(child.stdout)
        assert child.returncode == code, child.stderr
        assert answer.get("peak_memory_mb", 0) < 250
        assert name in (answer.get("error") or {"message": name})["message"]


def _npy_header(shape):
    text = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return len(text).to_bytes(2, "little") + text.encode()


def test_a_pickle_in_an_array_file_is_not_unpacked(tmp_path):
    np.save(tmp_path / "objects.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    assert "objects.npy" in refused("info", tmp_path / "objects.npy")


def test_a_name_with_markup_stays_text_in_the_page(model, tmp_path):
    evil = tmp_path / "<script>alert(1) частица.xyz"
    shutil.copy(model, evil)
    done("order", evil, "-o", tmp_path / "run.h5", "--surrogates", 0)
    done("report", tmp_path / "run.h5", "-o", tmp_path / "é 1.html")
    page = (tmp_path / "é 1.html").read_text(encoding="utf-8")
    assert "<script>alert(1)" not in page
    assert "alert(1) частица" in page


@pytest.mark.parametrize("name", ["atoms_overlap", "killed", "vcrelax_aborted"])
def test_a_failed_run_is_described_not_refused(name):
    found = done("info", DATA / name)
    assert found["kind"] == "dft_output"
    assert found["problems"]
    assert gzip.decompress((DATA / name / "pw.out.gz").read_bytes())
