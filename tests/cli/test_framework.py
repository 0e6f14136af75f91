"""What all verbs share: settings, one JSON object, exit codes, --resume, --overwrite, --dry-run, locks, threads.

Truth: the contract of the command line (docs/conventions.md, docs/verbs), written here by hand.
"""

import errno
import gzip
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from commands import ALWAYS, aet2dft, done, files, process, refused
from numba import njit
from small_particle import BOX, write_xyz

from aet2dft import store
from aet2dft.cli.compiling import said_while_compiling
from aet2dft.cli.process import _judged
from aet2dft.structure.chemical_order import Order

INPUTS = ("--box", BOX, "--limit", 1)
PSEUDO = Path(store.__file__).parent / "data" / "pseudo"


def stored_settings(project, verb="order"):
    return store.load_json(project, verb)["settings"]


@pytest.mark.parametrize("words", [["--version"], ["--help"], ["order", "--help"], ["inputs", "--help"]])
def test_help_and_version_end_well_and_talk_to_stdout(words):
    answer = aet2dft(*words)
    assert answer.code == 0
    assert answer.out.strip()
    assert not answer.err


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["no_such_verb"], "no_such_verb"),
        (["order"], "source"),
        (["order", "x.xyz", "--no-such-flag"], "--no-such-flag"),
        (["order", "x.xyz", "--tolerance", "much"], "--tolerance"),
        (["inputs", "x.xyz", "--code", "fortran", "-o", "d"], "fortran"),
        (["report", "x.h5"], "-o"),
        (["collect", "decks"], "-o"),
    ],
)
def test_a_wrong_command_line_is_a_usage_error_that_names_what_is_wrong(words, named, project):
    words = [str(project) if word == "x.h5" else word for word in words]
    answer = aet2dft(*words)
    assert answer.code == 2
    assert named in answer.out + answer.err
    assert "Traceback" not in answer.err


def test_the_command_alone_shows_its_help_and_ends_as_a_usage_error():
    answer = aet2dft()
    assert (answer.code, answer.out) == (2, "")
    assert answer.err == aet2dft("--help").out


def test_a_usage_error_is_one_json_object_too():
    answer = aet2dft("order", "x.xyz", "--no-such-flag", "--json")
    assert answer.code == 2
    assert answer.json["verb"] == "order"
    assert answer.json["error"]["type"] == "UsageError"


def test_a_foreign_model_without_a_project_is_a_usage_error(model, tmp_path):
    assert "-o" in refused("order", model, code=2)
    assert set(files(tmp_path)) == {"small.xyz"}


def test_every_answer_carries_the_same_keys_with_absolute_paths(model, tmp_path):
    os.chdir(tmp_path)
    answer = done("order", "small.xyz", "-o", "run.h5", "--surrogates", 0)
    assert answer.keys() >= ALWAYS
    assert (answer["verb"], answer["status"]) == ("order", "done")
    assert answer["input"] == str(model)
    assert answer["output"] == str(tmp_path / "run.h5")
    assert answer["seconds"] > 0
    assert answer["peak_memory_mb"] > 10


def test_without_json_the_summary_is_short_and_under_q_there_is_none(model, tmp_path):
    answer = aet2dft("order", model, "-o", tmp_path / "run.h5", "--surrogates", 0)
    assert answer.code == 0
    assert 1 <= answer.out.count("\n") <= 10
    silent = aet2dft("order", model, "-o", tmp_path / "other.h5", "--surrogates", 0, "-q")
    assert (silent.code, silent.out, silent.err) == (0, "", "")


# settings --------------------------------------------------------------------------------------------


def test_a_flag_wins_over_the_environment_over_the_toml_table_over_the_default(model, tmp_path, monkeypatch):
    config = tmp_path / "run.toml"
    config.write_text("[order]\nwindow = 0.8\nmin_grain = 40\nsurrogates = 0\nseed = 7\n")
    monkeypatch.setenv("AET2DFT_ORDER_WINDOW", "0.9")
    monkeypatch.setenv("AET2DFT_ORDER_TOLERANCE", "0.3")
    monkeypatch.setenv("AET2DFT_CONFIG", str(config))
    done("order", model, "-o", tmp_path / "run.h5", "--window", "1.0")
    assert stored_settings(tmp_path / "run.h5") == {
        "tolerance": 0.3,
        "window": 1.0,
        "threshold": None,
        "min_grain": 40,
        "species_error": 0.01,
        "free_surface": True,
        "surrogates": 0,
        "strain_sigma": 3.89,
        "strain_reference": "triclinic",
    }
    assert store.load_json(tmp_path / "run.h5", "order")["seed"] == 7
    monkeypatch.setenv("AET2DFT_SEED", "8")
    done("order", model, "-o", tmp_path / "other.h5")
    record = store.load_json(tmp_path / "other.h5", "order")
    assert (record["seed"], record["settings"]["window"]) == (8, 0.9)


def test_a_value_of_the_environment_that_is_refused_is_said_to_be_one(monkeypatch):
    monkeypatch.setenv("AET2DFT_ORDER_WINDOW", "abc")
    assert "AET2DFT_ORDER_WINDOW" in refused("order", "x.xyz", code=2)
    assert "AET2DFT_ORDER_WINDOW" not in refused("order", "x.xyz", "--window", "wide", code=2)
    assert "AET2DFT_ORDER_WINDOW" not in refused("order", "x.xyz", "--tolerance", "much", "--window", 1, code=2)


def test_a_toml_table_may_hold_how_the_model_is_read(tmp_path):
    config, path = tmp_path / "run.toml", tmp_path / "types.xyz"
    config.write_text('[info]\nspecies = "1=Fe,2=Pt"\nvoxel_size = 0.5\n')
    path.write_text("2\n\n1 0 0 0\n2 5.4 0 0\n")
    found = done("info", path, "--config", config)
    assert found["composition"] == {"Fe": 1, "Pt": 1}
    assert found["min_distance"] == pytest.approx(2.7)


def test_tables_and_flags_take_the_same_values(tmp_path, project):
    config = tmp_path / "run.toml"
    config.write_text(
        '[inputs]\naxes = ["100", "001"]\nbox = [6, 6, 7]\nlimit = 1\nset = {ecutwfc = 30}\naround = "L10"\n'
    )
    by_table = done("inputs", project, "-o", tmp_path / "a", "--config", config)
    by_flags = done("inputs", project, "-o", tmp_path / "b", *INPUTS, "--axes", "100,001", "--set", "ecutwfc=30")
    assert by_table["n_jobs"] == by_flags["n_jobs"]
    texts = [{k: v for k, v in files(tmp_path / name).items() if "manifest" not in k} for name in "ab"]
    assert texts[0] == texts[1]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[order]\nwindw = 1.0\n", "windw"),
        ("[ordr]\nwindow = 1.0\n", "ordr"),
        ("window = 1.0\n", "window"),
        ("order = 3\n", "order"),
        ("[order]\nwindow = 99\n", "window"),
        ("[order]\nwindow = nan\n", "window"),
        ('[order]\nsurrogates = "many"\n', "surrogates"),
        ("[order\n", "TOML"),
        ("\x00", "TOML"),
    ],
)
def test_a_wrong_toml_file_is_refused_and_the_key_named(text, named, model, tmp_path):
    config = tmp_path / "run.toml"
    config.write_text(text)
    assert named in refused("order", model, "-o", tmp_path / "run.h5", "--config", config)
    assert not (tmp_path / "run.h5").exists()


@pytest.mark.parametrize("flags", [["--tolerance", "7"], ["--threads", "0"], ["--seed", "-1"], ["--surrogates", "-3"]])
def test_a_value_out_of_bounds_is_refused_and_the_setting_named(flags, model, tmp_path):
    assert flags[0][2:] in refused("order", model, "-o", tmp_path / "run.h5", *flags)


# what is there already -------------------------------------------------------------------------------


def test_a_result_is_replaced_only_with_overwrite(model, tmp_path):
    project = tmp_path / "run.h5"
    done("order", model, "-o", project, "--surrogates", 0)
    before = project.read_bytes()
    assert "--overwrite" in refused("order", model, "-o", project)
    assert project.read_bytes() == before
    done("order", model, "-o", project, "--surrogates", 0, "--window", 0.8, "--overwrite")
    assert stored_settings(project)["window"] == 0.8


def test_replacing_a_group_takes_what_was_made_from_it_away_and_says_so(collected):
    answer = done("order", collected, "--overwrite", "--surrogates", 0)
    assert any("inputs" in text and "collect" in text and "gone" in text for text in answer["warnings"])
    assert store.groups(collected) == ("order",)


def test_another_deck_folder_does_not_take_collected_results_away(collected, tmp_path):
    answer = done("inputs", collected, *INPUTS, "-o", tmp_path / "more")
    assert not any("gone" in text for text in answer["warnings"])
    assert set(store.groups(collected)) == {"order", "inputs", "collect"}
    sets = store.load_json(collected, "inputs")["sets"]
    assert len(sets) == 2
    assert f"-o {tmp_path / 'more'}" in sets[1]["command"]


def test_decks_written_anew_take_their_collected_results_away(project, decks, tmp_path):
    new = tmp_path / "new"
    done("inputs", project, *INPUTS, "-o", new)
    done("collect", new, "-o", project)
    answer = done("inputs", project, *INPUTS, "--set", "ecutwfc=40", "-o", new, "--overwrite")
    assert any("collect" in text for text in answer["warnings"])
    assert "collect" not in store.groups(project)


def test_decks_with_outputs_are_never_replaced_by_others(project, decks):
    before = files(decks)
    assert "--overwrite" in refused("inputs", project, *INPUTS, "-o", decks)
    assert "outputs" in refused("inputs", project, *INPUTS, "--set", "ecutwfc=40", "-o", decks, "--overwrite")
    assert files(decks) == before


def test_resume_gives_the_stored_answer_without_computing(model, tmp_path):
    project = tmp_path / "run.h5"
    first = done("order", model, "-o", project, "--surrogates", 0)
    before = project.read_bytes()
    again = done("order", model, "-o", project, "--surrogates", 0, "--resume")
    differ = {"seconds", "peak_memory_mb", "warnings"}
    assert {k: v for k, v in again.items() if k not in differ} == {k: v for k, v in first.items() if k not in differ}
    assert any("--resume" in text for text in again["warnings"])
    assert project.read_bytes() == before


@pytest.mark.parametrize("changed", [["--window", "0.8"], ["--seed", "3"]])
def test_resume_with_other_settings_is_another_result(changed, model, tmp_path):
    project = tmp_path / "run.h5"
    done("order", model, "-o", project, "--surrogates", 0)
    assert "--overwrite" in refused("order", model, "-o", project, "--surrogates", 0, "--resume", *changed)
    done("order", model, "-o", project, "--surrogates", 0, "--resume", "--overwrite", *changed)


def test_resume_with_another_model_is_another_result(model, tmp_path):
    project = tmp_path / "run.h5"
    done("order", model, "-o", project, "--surrogates", 0)
    model.write_text(model.read_text().replace("Fe ", "Pt ", 1))
    refused("order", model, "-o", project, "--surrogates", 0, "--resume")


def test_resume_leaves_decks_that_are_written_and_computes_others(project, tmp_path):
    folder = tmp_path / "new"
    first = done("inputs", project, *INPUTS, "-o", folder, "--resume")
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    again = done("inputs", project, *INPUTS, "-o", folder, "--resume")
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
    assert again["n_jobs"] == first["n_jobs"]
    (folder / "volumes" / "v00000" / "scf" / "pw.in").write_text("edited")
    assert "--overwrite" in refused("inputs", project, *INPUTS, "-o", folder, "--resume")


def test_resume_leaves_decks_of_the_same_pseudopotentials_wherever_they_are(project, tmp_path):
    own, moved, decks = tmp_path / "own", tmp_path / "moved", tmp_path / "new"
    shutil.copytree(PSEUDO, own)
    done("inputs", project, *INPUTS, "-o", decks, "--pseudo-dir", own)
    assert "--overwrite" in done("inputs", project, *INPUTS, "-o", decks, "--dry-run")["warnings"][-1]
    own.rename(moved)
    again = done("inputs", project, *INPUTS, "-o", decks, "--resume", "--pseudo-dir", moved)
    assert any("--resume leaves them" in text for text in again["warnings"])
    for packed in moved.glob("*.UPF.gz"):
        packed.write_bytes(gzip.compress(gzip.decompress(packed.read_bytes()) + b"\n"))
    assert "--overwrite" in refused("inputs", project, *INPUTS, "-o", decks, "--resume", "--pseudo-dir", moved)


def test_a_dry_run_writes_nothing_and_predicts(model, project, collected, decks, tmp_path):
    before = files(tmp_path)
    ordered = done("order", model, "-o", tmp_path / "new.h5", "--dry-run")
    assert ordered["status"] == "dry_run"
    assert ordered["predicted_seconds"] > 0
    assert ordered["predicted_memory_mb"] > 0
    assert done("inputs", project, *INPUTS, "-o", tmp_path / "new", "--dry-run")["n_jobs"] == 3
    assert done("run", decks, "--dry-run")["counts"]["done"] == 12
    assert done("collect", decks, "-o", tmp_path / "new.h5", "--dry-run")["n_rows"] == 12
    assert done("compare", model, model, "-o", tmp_path / "new.h5", "--dry-run")["rmsd"] == 0
    assert done("export", collected, tmp_path / "new.xyz", "--dry-run")["files"] == []
    assert done("report", collected, "-o", tmp_path / "new.html", "--dry-run")["status"] == "dry_run"
    assert 1 < done("demo", tmp_path / "demo", "--dry-run")["predicted_minutes"] < 20
    assert "jobs for espresso (mae) would go to" in aet2dft("inputs", project, *INPUTS, "-o", "w", "--dry-run").out
    assert files(tmp_path) == before


@pytest.mark.parametrize("quiet", [False, True])
def test_compiling_is_said_once_and_only_where_something_is_compiled(quiet, capsys):
    first, second = njit(lambda x: x + 1), njit(lambda x: x + 2)
    for n_said in (int(not quiet), 0):  # what is compiled stays so
        with said_while_compiling(quiet=quiet):
            assert first(1) + second(1) == 5
        assert capsys.readouterr().err.count("are compiled") == n_said


# processes -------------------------------------------------------------------------------------------


def test_a_project_that_a_live_process_holds_is_refused_and_left_alone(model, project):
    with store.locked(project):
        before = project.read_bytes()
        assert "wait" in refused("order", project, "--overwrite", "--surrogates", 0, code=7)
        assert project.read_bytes() == before
    assert not list(project.parent.glob(".*"))


@pytest.mark.slow
def test_threads_and_the_order_of_hashing_do_not_change_a_byte(model, tmp_path):
    made = []
    for threads in (1, 2, 4):
        folder = tmp_path / str(threads)
        folder.mkdir()
        chain = [
            ["order", model, "-o", folder / "run.h5", "--surrogates", 2, "--threads", threads],
            ["inputs", folder / "run.h5", *INPUTS, "-o", folder / "decks", "--threads", threads],
        ]
        code = (
            "import sys, json; from aet2dft.cli import verbs; from aet2dft.cli.framework import execute; "
            "[execute(w) for w in json.loads(sys.argv[1])]"
        )
        words = json.dumps([[str(word) for word in command] for command in chain])
        environment = {**os.environ, "PYTHONHASHSEED": str(threads)}
        subprocess.run([sys.executable, "-c", code, words], check=True, capture_output=True, env=environment)
        atoms, result = (store.load(folder / "run.h5", "order", *of) for of in (("atoms", Atoms), ("result", Order)))
        arrays = {name: values.tobytes() for name, values in atoms.arrays.items()}
        made.append((arrays, repr(result), files(folder / "decks")))
    assert made[0] == made[1] == made[2]
    assert np.isfinite(atoms.arrays["strain"]).any()


@pytest.mark.parametrize(
    ("given", "environment", "expected"),
    [
        ({}, {}, [min(4, len(os.sched_getaffinity(0))), 1]),
        ({}, {"NUMBA_NUM_THREADS": "3", "OMP_NUM_THREADS": "5"}, [3, 5]),
        ({"threads": 2}, {"NUMBA_NUM_THREADS": "3", "OMP_NUM_THREADS": "5"}, [2, 2]),
    ],
)
def test_loops_take_the_processors_there_are_linear_algebra_and_programs_one(given, environment, expected):
    code = (
        "import os; from aet2dft.cli.framework import _limit_threads; from aet2dft.config import CommonSettings; "
        f"_limit_threads(CommonSettings(**{given})); "
        "print(os.environ['NUMBA_NUM_THREADS'], os.environ['OMP_NUM_THREADS'])"
    )
    plain = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    child = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=plain | environment
    )
    assert [int(word) for word in child.stdout.split()] == expected


def test_the_seed_reaches_the_surrogates(model, tmp_path):
    def chance(seed, name):
        done("order", model, "-o", tmp_path / name, "--surrogates", 3, "--seed", seed)
        grains = store.load(tmp_path / name, "order", "result", Order).chemical.grains
        return tuple(grains.largest_by_chance.tolist())

    assert chance(1, "first.h5") == chance(1, "second.h5")
    assert len({chance(seed, f"{seed}.h5") for seed in (2, 3, 4, 5)}) > 1


def test_the_module_is_the_command_and_answers_with_json_alone_on_stdout(model):
    child = process("info", model, "--json")
    out, err = child.communicate(timeout=60)
    assert child.returncode == 0, err
    assert json.loads(out)["n_atoms"] == 1500
    assert out.count("\n") == 1


def test_a_reader_of_the_output_that_goes_away_is_no_bug(model):
    child = process("info", model)
    child.stdout.close()
    err = child.stderr.read()
    child.wait(timeout=60)
    assert "Traceback" not in err
    assert child.returncode in (0, 141)


def test_a_full_standard_output_is_refused_without_a_traceback(model):
    device = Path("/dev/full")
    if not device.exists():
        pytest.skip("no /dev/full on this system")
    with device.open("w") as full:
        child = subprocess.run(
            [sys.executable, "-m", "aet2dft", "info", str(model)], stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert child.returncode == 4
    assert "Traceback" not in child.stderr


@pytest.mark.parametrize(("room", "advice"), [(200, "raise"), (350, "raise"), (510, "give --threads 1, or raise")])
def test_too_little_address_space_is_said_before_libraries_are_loaded(room, advice, model, tmp_path):
    code = (
        "import resource\n"
        f"resource.setrlimit(resource.RLIMIT_AS, ({room} << 20, {room} << 20))\n"
        "from aet2dft.cli import main\n"
        f"main(['order', {str(model)!r}, '-o', {str(tmp_path / 'run.h5')!r}, '--threads', '4'])"
    )
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=20, check=False)
    assert child.returncode == 4, child.stderr
    assert re.fullmatch(rf"error: .*address space.*; {advice} it \(`ulimit -v`\)\n", child.stderr)


def test_a_library_that_does_not_fit_is_no_bug():
    hidden = OSError("Could not find/load shared object file 'libllvmlite.so'")
    hidden.__context__ = OSError("libllvmlite.so: failed to map segment from shared object")
    assert _judged(hidden)[2] == 4
    assert _judged(OSError("Could not find/load shared object file 'libllvmlite.so'"))[2] == 1


def test_to_free_space_is_advised_only_where_it_lacks():
    full, closed = (OSError(number, os.strerror(number), "run.h5") for number in (errno.ENOSPC, errno.EROFS))
    assert _judged(full)[1:] == ("run.h5: No space left on device; free space or choose another place", 4)
    assert _judged(closed)[1:] == ("run.h5: Read-only file system; choose another place", 4)


def test_paths_with_spaces_and_other_alphabets_work(model, tmp_path):
    folder = tmp_path / "мой проект ü 粒子"
    folder.mkdir()
    shutil.copy(model, folder / "частица 1.xyz")
    answer = done("order", folder / "частица 1.xyz", "-o", folder / "run ü.h5", "--surrogates", 0)
    assert answer["output"].endswith("run ü.h5")
    made = done("inputs", folder / "run ü.h5", *INPUTS, "-o", folder / "decks 1")
    assert made["n_jobs"] == 3


def test_a_project_goes_into_a_folder_that_is_made_for_it(model, tmp_path):
    words = ("order", write_xyz(tmp_path / "m.xyz"), "-o", tmp_path / "new" / "deep" / "run.h5", "--surrogates", 0)
    note = f"made the folder {tmp_path / 'new' / 'deep'}, which was not there"
    assert note not in done(*words, "--dry-run")["warnings"]
    assert note in done(*words)["warnings"]
    assert note not in done(*words, "--overwrite")["warnings"]
    assert [p.name for p in (tmp_path / "new" / "deep").iterdir()] == ["run.h5"]
