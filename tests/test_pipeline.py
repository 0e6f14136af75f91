"""The whole chain on a small particle: order, inputs, outputs, collect, export, report; each step from the file before.

Truth: an anisotropy that was put into the outputs, found again in the table, the field and the page.
"""

import csv
import json

import ase.io
import numpy as np
import pytest
from commands import aet2dft, done
from made_outputs import fill
from small_particle import BOX, write_xyz

from aet2dft import store
from aet2dft.dft_inputs.decks import Manifest
from aet2dft.dft_inputs.run_table import RunTable


@pytest.fixture(scope="module")
def chain(tmp_path_factory):
    """Folder after all steps, and the answers of the verbs."""
    folder = tmp_path_factory.mktemp("chain")
    project, decks = folder / "run.h5", folder / "decks"
    answers = {
        "info": done("info", write_xyz(folder / "particle.xyz")),
        "order": done("order", folder / "particle.xyz", "-o", project, "--surrogates", 2),
        "inputs": done("inputs", project, "--box", BOX, "-o", decks),
    }
    difference = {v["id"]: v["order_difference"] for v in Manifest.read(decks).volumes}
    fill(decks, lambda volume, step: 900.0 + 32e-3 * difference[volume] * (step == "axis_100"))
    answers |= {
        "collect": done("collect", decks, "-o", project),
        "export": done("export", project, folder / "tables", "--what", "tables"),
        "field": done("export", project, folder / "k.ovf"),
        "atoms": done("export", project, folder / "out.xyz"),
        "report": done("report", project, "-o", folder / "page.html"),
    }
    return folder, answers


def test_every_step_ends_well(chain):
    _, answers = chain
    assert {name: answer["status"] for name, answer in answers.items()} == dict.fromkeys(answers, "done")
    assert answers["inputs"]["n_volumes"] == 3 * 3 * 4
    assert answers["collect"]["counts"]["ok"] == 3 * 36


def test_the_mae_follows_the_order_that_made_it(chain):
    folder, answers = chain
    with (folder / "tables" / "volumes.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    mae = np.array([float(row["mae_meV_per_atom"]) for row in rows])
    order = np.array([float(row["order_difference"]) for row in rows])
    assert np.allclose(mae, order, atol=1e-9)
    assert np.ptp(order) > 0.1
    assert answers["collect"]["mae"]["max"] == pytest.approx(order.max(), abs=1e-9)


def test_every_atom_keeps_its_number_from_the_file_to_the_moments(chain):
    folder, _ = chain
    atoms = ase.io.read(folder / "out.xyz")
    assert atoms.arrays["site_id"].tolist() == list(range(1, 1501))
    runs = store.load(folder / "run.h5", "collect", "runs", RunTable)
    symbol = dict(zip(atoms.arrays["site_id"].tolist(), atoms.symbols, strict=True))
    for site_id, moment in zip(runs.moments.site_id.tolist(), runs.moments.moment[:, 2].tolist(), strict=True):
        assert moment == pytest.approx((3.0 if symbol[site_id] == "Fe" else 0.3) + 1e-4 * (site_id % 1000), abs=1e-9)


def test_the_project_names_sources_settings_versions_and_seed(chain):
    folder, _ = chain
    for verb in ("order", "inputs", "collect"):
        record = store.load_json(folder / "run.h5", verb)
        assert record.keys() >= {"settings", "seed", "versions", "inputs", "command", "time", "seconds", "warnings"}
        assert record["versions"].keys() >= {"aet2dft", "python", "numpy", "ase"}
    digests = [item["sha256"] for item in store.load_json(folder / "run.h5", "order")["inputs"]]
    assert digests == [store.digest(folder / "particle.xyz")]
    assert store.load_json(folder / "run.h5", "collect")["manifest"]["sha256"] == store.digest(
        folder / "decks" / "manifest.json"
    )


def test_the_page_shows_what_was_computed(chain):
    folder, answers = chain
    assert answers["report"]["files"] == [str(folder / "page.html")]
    assert answers["report"]["size_mb"] == pytest.approx((folder / "page.html").stat().st_size / 1e6, abs=0.01)
    page = (folder / "page.html").read_text(encoding="utf-8")
    assert page.lower().startswith("<!doctype html>")
    assert "particle" in page
    assert "L1" in page
    assert page.count("<svg") >= 5


def test_nothing_but_results_is_left_behind(chain):
    folder, _ = chain
    assert {p.name for p in folder.iterdir()} == {
        "particle.xyz", "run.h5", "decks", "tables", "out.xyz", "page.html", "k.ovf", "k_axis.ovf", "k_mask.ovf",
    }  # fmt: skip
    assert not [p for p in folder.rglob("*") if p.name.endswith((".tmp", ".lock")) or ".part" in p.name]


def test_decks_can_be_moved_and_collected_elsewhere(chain, tmp_path):
    folder, answers = chain
    moved = tmp_path / "moved decks"
    (folder / "decks").rename(moved)
    try:
        found = done("collect", moved, "-o", tmp_path / "other.h5")
    finally:
        moved.rename(folder / "decks")
    assert found["mae"] == answers["collect"]["mae"]


# published particles ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "works"),
    [
        (["pdpt_core_shell/TO.xyz"], True),
        (["mea_hea_2023/model_MEA1.mat", "mea_hea_2023/atoms_MEA1.mat", "--species", "1=Ni,2=Pd,3=Pt"], True),
        (["ptni_nanocatalysts/model_p5.mat", "ptni_nanocatalysts/atoms_p5.mat", "--species", "1=Ni,2=Pt"], True),
        (["ptni_nanocatalysts/model_S6.mat", "ptni_nanocatalysts/atoms_S6.mat", "--species", "1=Ni,2=Pt"], True),
        (["hea_nucleation_2024/Final_atomic_model_HEA_19_nanoparticle.mat", "--species", "1=Co,2=Pd,3=Pt"], True),
        (["metallic_glass_2021/final_atom_coord_inA.mat"], False),
    ],
)
def test_published_particles_are_analysed_or_refused_in_one_sentence(words, works, data_dir, tmp_path):
    paths = [data_dir / word if word.endswith((".mat", ".xyz")) else word for word in words]
    answer = aet2dft("order", *paths, "-o", tmp_path / "run.h5", "--surrogates", 0, "--json")
    found = json.loads(answer.out)
    assert "Traceback" not in answer.err
    assert answer.code == (0 if works else 3)
    if works:
        assert found["lattice"]["n_indexed"] > 0.5 * found["n_atoms"]
        assert 3.5 < found["lattice"]["cubic_a"] < 4.2
    else:
        assert "fcc" in found["error"]["message"]
