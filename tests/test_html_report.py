"""The page as text and in a browser.

Truth: the records that it shows (the measured FePt particle of Yang et al., Nature 542, 75 (2017)), synthetic runs,
and what headless Chromium says of the page.
"""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from ase import Atoms
from numpy.testing import assert_allclose
from run_tables import synthetic_runs

from aet2dft.config import OrderSettings
from aet2dft.dft_inputs.comparison import compare
from aet2dft.errors import ResourceError
from aet2dft.html_report import Chapter, report
from aet2dft.html_report.dft_sections import results_section
from aet2dft.html_report.gates import gates
from aet2dft.html_report.methods import methods, references
from aet2dft.html_report.parts import number
from aet2dft.html_report.summary import sentence, tiles
from aet2dft.html_report.viewer import MAX_ATOMS, viewer_data

EVIL = '</title><script>alert("1")</script>'
INPUTS = {
    "directory": "decks", "kind": "sliding", "code": "espresso", "axes": ["100", "001"], "n_volumes": 60,
    "n_jobs": 177, "rejected": [{"volume": "v00005", "reason": "a bond of 1.7 Å"}],
    "protocol": {
        "name": "mae", "functional": "PBE", "ecutwfc": 30.0, "ecutrho": 240.0, "smearing": "mv", "degauss": 0.02,
    },
}  # fmt: skip
PROBE = """<script>
window.problems = [];
addEventListener("error", (e) => problems.push("error " + e.message), true);
addEventListener("securitypolicyviolation", (e) => problems.push("policy " + e.blockedURI));
for (const kind of ["error", "warn"]) console[kind] = (...all) => problems.push(kind + " " + all.join(" "));
addEventListener("load", () => setTimeout(() => {
  const canvas = document.querySelector("#view-canvas canvas");
  const copy = document.createElement("canvas");
  [copy.width, copy.height] = [canvas.width, canvas.height];
  const context = copy.getContext("2d");
  context.drawImage(canvas, 0, 0);
  const bytes = context.getImageData(0, 0, copy.width, copy.height).data;
  const seen = new Set();
  for (let i = 0; i < bytes.length; i += 4) {
    seen.add((bytes[i] >> 4) * 256 + (bytes[i + 1] >> 4) * 16 + (bytes[i + 2] >> 4));
  }
  document.body.dataset.probe = JSON.stringify({
    problems, colors: seen.size, legend: document.getElementById("view-legend").textContent,
    atoms: document.getElementById("view-canvas").dataset.atoms,
    resources: performance.getEntriesByType("resource").map((entry) => entry.name),
  });
}, 1000));
</script>"""


class Outline(HTMLParser):
    """Ids, links, loaded addresses and pictures of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.anchors: set[str] = set()
        self.loaded: list[str] = []
        self.labels: list[str | None] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        if "id" in given:
            self.ids.append(given["id"])
        if tag == "a" and given.get("href", "").startswith("#"):
            self.anchors.add(given["href"][1:])
        if tag in ("script", "img", "iframe", "link", "image", "use"):
            self.loaded += [
                v for k, v in attrs if k in ("src", "href", "xlink:href") and v and not v.startswith(("#", "data:"))
            ]
        if tag in ("svg", "img"):
            self.labels.append(given.get("aria-label") or given.get("alt"))


@pytest.fixture(scope="module")
def everything(fept_order):
    """All that a page can hold."""
    atoms, order = fept_order
    core = atoms[np.abs(atoms.positions - atoms.positions.mean(axis=0)).max(axis=1) < 8.0]
    core.positions += np.random.default_rng(0).normal(0.0, 0.14, core.positions.shape)
    moved, comparison = compare(atoms, core)
    provenance = {
        "command": "aet2dft order FePt_cns_final.xyz -o run.h5", "seconds": 3.8, "peak_memory_mb": 410.0, "seed": 0,
        "machine": "Linux", "versions": {"aet2dft": "0.1.0"},
        "inputs": [{"path": f"FePt_cns_final{EVIL}.xyz", "sha256": "ab" * 32}],
    }  # fmt: skip
    chapters = (
        Chapter(verb="align", settings={"iterations": 7}, warnings=("image 3 is dark",)),
        Chapter(verb="order", settings=OrderSettings().model_dump(mode="json"), provenance=provenance),
    )
    runs = synthetic_runs(failed=(3,), without_jobs=(5,), shipped=True, warnings=("unconverged: the k-mesh is coarse",))
    return {
        "title": f"FePt {EVIL}", "atoms": moved, "order": order, "runs": runs, "comparison": comparison,
        "inputs": INPUTS, "chapters": chapters,
    }  # fmt: skip


@pytest.fixture(scope="module")
def page(everything, tmp_path_factory) -> str:
    return report(tmp_path_factory.mktemp("page") / "report.html", **everything).read_text(encoding="utf-8")


def test_the_page_holds_what_it_needs_and_every_anchor_resolves(page):
    outline = Outline(page)
    assert outline.loaded == []
    assert not re.search(r"url\(\s*['\"]?http|@import", page.partition("<script>")[0])
    assert outline.anchors >= {"summary", "view", "order", "inputs", "results", "compare", "methods", "provenance"}
    assert outline.anchors <= set(outline.ids)
    assert len(outline.ids) == len(set(outline.ids))
    assert len(page.encode()) < 15e6


def test_every_picture_says_what_it_shows(page):
    labels = Outline(page).labels
    assert len(labels) == 12
    assert all(label and len(label) > 20 for label in labels)
    assert page.count("<figcaption>") == 12


def test_titles_file_names_and_reasons_are_shown_as_text(page):
    assert EVIL not in page
    assert "<b>crashed</b>" not in page
    assert html.escape("<b>crashed</b>") in page
    assert "alert(&#34;1&#34;)" in page


def test_shipped_results_an_unconverged_mesh_and_warnings_stand_out(page):
    assert "Shipped results." in page
    assert page.count("came with the package") == 2  # the banner and its light; the section has what `collect` said
    assert "Unconverged k-mesh" in page
    assert "image 3 is dark" in page
    assert "88 of 23,196 atoms find no lattice site" in page


def test_the_page_names_numbers_tables_and_how_to_repeat(everything, page):
    assert "23,196 atoms (6,569 Fe, 16,627 Pt), one fcc lattice a = 3.868 Å, 13 grains" in page
    assert "7,759" in page
    table = everything["order"].chemical.grains
    k = next(k for k, v in enumerate(table.variant) if v == 0)
    assert "Fe in core" in page
    assert f"<td>{100 * table.concentration_core[k]:.1f} %</td><td>{table.n_core[k]:,}</td>" in page
    assert "L1₂ (FePt3), Fe on sublattice 0" in page
    assert "a bond of 1.7 Å" in page
    assert "aet2dft order FePt_cns_final.xyz -o run.h5" in page
    assert "ab" * 32 in page


def test_verbs_that_did_not_run_are_absent(fept_order, tmp_path):
    atoms, _ = fept_order
    text = report(tmp_path / "r.html", title="Model", atoms=atoms[:500]).read_text(encoding="utf-8")
    assert Outline(text).anchors == {"summary", "view", "methods", "provenance"}
    text = report(tmp_path / "r.html", title="Nothing").read_text(encoding="utf-8")
    assert Outline(text).anchors == {"summary", "methods", "provenance"}
    assert "holds no result yet" in text


@pytest.mark.slow
def test_the_same_project_gives_the_same_page(everything, page, tmp_path):
    assert report(tmp_path / "again.html", **everything).read_text(encoding="utf-8") == page


def test_a_page_that_cannot_be_written_leaves_nothing(tmp_path):
    (tmp_path / "taken").mkdir()
    with pytest.raises(ResourceError, match="cannot be written"):
        report(tmp_path / "taken", title="x")
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def test_the_page_follows_one_species_without_order(fept_order, tmp_path):
    atoms, order = fept_order
    bare = Atoms(numbers=np.full(len(atoms), 78), positions=atoms.positions)
    for name in ("site", "lattice", "displacement", "strain", "is_surface"):
        bare.set_array(name, atoms.arrays[name])
    alone = replace(order, chemical=None, warren_cowley=())
    text = report(tmp_path / "r.html", title="Pt", atoms=bare, order=alone).read_text(encoding="utf-8")
    assert "they need exactly two species" in text
    assert "figure-grains" not in text
    assert "figure-strain" in text


def test_summary_has_six_tiles_with_errors(everything):
    given = {name: everything[name] for name in ("atoms", "order", "runs", "comparison")}
    assert len(tiles(**given)) == 6
    assert sentence(**given).endswith("pm (RMSD).")
    found = {tile.label: tile for tile in tiles(**{**given, "runs": None, "comparison": None})}
    assert found["Antisites deep inside"].value == "2.8 ± 0.3 %"
    assert found["Lattice constant"].value == "3.868 Å"


def test_gates_tell_good_from_poor_with_their_reasons(everything):
    _, order, runs, _ = (everything[name] for name in ("atoms", "order", "runs", "comparison"))
    sure = replace(order.chemical.grains, significance=np.ones(len(order.chemical.grains)))
    order = replace(order, chemical=replace(order.chemical, grains=sure))
    level = {gate.name: gate.level for gate in gates(None, order, runs, None)}
    assert level == {
        "lattice": "good", "cell": "good", "strain": "good", "recipe": "fair", "small grains": "good", "jobs": "fair",
        "k-mesh": "poor", "results": "fair",
    }  # fmt: skip
    untested = replace(runs, warnings=("the MAE depends on the k-mesh",), shipped=False)
    level = {gate.name: gate.level for gate in gates(None, None, untested, None)}
    assert level == {"jobs": "fair", "k-mesh": "fair"}
    many = replace(untested, counts={"ok": 1, "missing": 4355})
    assert gates(None, None, many, None)[0].reason == "1 of 4,356 ok; 4,355 missing"
    by_chance = replace(order.chemical, grains=replace(sure, significance=np.full(len(sure), 0.5)))
    level = {gate.name: gate.level for gate in gates(None, replace(order, chemical=by_chance), None, None)}
    assert level["small grains"] == "poor"
    noisy = replace(order, strain=replace(order.strain, floor=order.strain.rms * 2))
    gate = next(gate for gate in gates(None, noisy, None, None) if gate.name == "strain")
    assert (gate.level, "only 0." in gate.reason) == ("poor", True)


def test_a_cell_is_judged_by_the_edges_that_l10_leaves_alike(everything):
    order = everything["order"]
    grains, fit = order.chemical.grains, order.lattices[0]
    fit = replace(fit, cell=fit.cell * np.array([[1.0], [1.0], [0.96]]))
    found = []
    for variant in (1, 12, 9):  # L1₂, and L1₀ along x and z
        labels = replace(grains, variant=np.full(len(grains), variant), lattice=np.full(len(grains), fit.lattice))
        of_one = replace(order, lattices=(fit,), chemical=replace(order.chemical, grains=labels))
        found.append(next(gate for gate in gates(None, of_one, None, None) if gate.name == "cell"))
    assert [gate.level for gate in found] == ["poor", "poor", "good"]
    x, y, z = order.lattices[0].lengths
    assert found[2].reason.endswith(f"; c/a = {0.96 * z / (0.5 * (x + y)):.3f}")


def test_view_places_atoms_and_colors_as_the_model_does(everything):
    atoms = everything["atoms"]
    data = viewer_data(atoms, everything["order"], everything["runs"])
    back = np.reshape(data["positions"], (-1, 3)) / 100 + data["center"]
    assert np.abs(back - atoms.positions).max() < 0.011
    assert data["site"] == atoms.arrays["site_id"].tolist()
    coloring = {c["key"]: c for c in data["colorings"]}
    assert {
        "species",
        "grain",
        "variant",
        "antisite",
        "order",
        "depth",
        "displacement",
        "strain_xx",
        "mae",
        "relaxation",
    } <= set(coloring)
    assert all(len(c["values"]) == len(atoms) for c in coloring.values())
    assert coloring["grain"]["values"] == atoms.arrays["grain"].tolist()
    assert coloring["grain"]["names"][1] == "1 L1₂"
    species = [coloring["species"]["names"][k] for k in coloring["species"]["values"]]
    assert species == list(atoms.symbols)
    drawn = np.array(coloring["strain_xx"]["values"], dtype=float)
    assert_allclose(drawn, 100 * atoms.arrays["strain"][:, 0], atol=1e-2)
    json.dumps(data, allow_nan=False)


def test_view_shows_the_mean_mae_of_the_volumes_that_hold_a_site(everything):
    atoms, runs = everything["atoms"], everything["runs"]
    values = next(c for c in viewer_data(atoms, None, runs)["colorings"] if c["key"] == "mae")["values"]
    low = runs.volumes.center_site - 0.5 * runs.volumes.size
    for i in np.flatnonzero([v is not None for v in values])[:5]:
        site = atoms.arrays["site"][i]
        holds = ((low <= site) & (site < low + runs.volumes.size)).all(axis=1) & np.isfinite(runs.volumes.mae)
        assert abs(values[i] - runs.volumes.mae[holds].mean()) < 2e-3
    assert sum(v is not None for v in values) > 50


def test_view_of_many_atoms_is_a_stated_sample(tmp_path):
    positions = np.random.default_rng(0).random((MAX_ATOMS + 10, 3)) * 300
    atoms = Atoms(f"Pt{len(positions)}", positions=positions)
    data = viewer_data(atoms)
    assert len(data["site"]) == MAX_ATOMS
    assert data["n_atoms"] == MAX_ATOMS + 10
    text = report(tmp_path / "r.html", title="many", atoms=atoms).read_text(encoding="utf-8")
    assert "A random sample of 25,000 of 25,010 atoms." in text


def test_methods_name_the_settings_used_and_cite_what_they_name(everything):
    used = {"order": {**OrderSettings().model_dump(), "threshold": 0.45, "surrogates": 7}}
    given = {name: everything[name] for name in ("atoms", "order", "runs", "comparison", "inputs")}
    found = methods(**given, settings=used, sources=("FePt_cns_final.xyz, sha256 00",))
    for words in (
        "S ≥ 0.45",
        "7 surrogate particles",
        "cutoffs 30 and 240 Ry",
        "0.02 Ry",
        "k-mesh 4x4x4",
        "E[100] − E[001]",
    ):
        assert words in found.paragraph
    cited = set(re.findall(r"@\w+\{(\w+),", found.bibtex))
    assert cited == {
        "Yang2017", "Yan2018", "Edelsbrunner1994", "Cowley1950", "Giannozzi2009", "Giannozzi2017", "Perdew1996",
        "Marzari1999", "Weinert1985", "Larsen2017",
    }  # fmt: skip
    assert "[Yang et al. 2017]" in found.paragraph
    assert "Yan2018" not in methods(**given, settings=used, sources=("mine.xyz",)).bibtex


def test_methods_speak_of_calculations_as_far_as_they_have_results(everything):
    given = {"atoms": None, "order": None, "comparison": None, "settings": {}}
    runs = everything["runs"]
    n, v = len(runs.volumes.volume), runs.volumes
    text = methods(**given, runs=runs, inputs=INPUTS).paragraph
    assert f"calculations of {n - 2} of {n} volumes used Quantum ESPRESSO" in text
    alike = np.where(np.arange(n) < 20, "", v.volume[0])
    text = methods(**given, runs=replace(runs, volumes=replace(v, same_as=alike)), inputs=INPUTS).paragraph
    assert "volumes, 18 of them different, used" in text
    none = replace(runs, volumes=replace(v, mae=np.full(n, np.nan), status=np.full(n, "missing")))
    one = {**INPUTS, "n_volumes": 1, "n_jobs": 1}
    assert "of 1 volume (1 job) were written" in methods(**given, runs=none, inputs=one).paragraph
    for found in (none, replace(none, mae_axes=None), None):
        text = methods(**given, runs=found, inputs={"sets": [INPUTS, {**INPUTS, "code": "vasp"}]}).paragraph
        assert text.count("of 60 volumes (177 jobs) were written for") == 2
        assert "VASP" in text
        assert "used Quantum" not in text
        assert "anisotropy" not in text
    assert methods(**given, runs=none, inputs=None).paragraph.startswith("All steps")


def test_commands_to_repeat_it_make_all_decks_and_compute_before_they_collect(everything, tmp_path):
    made = [{"command": f"aet2dft inputs run.h5 --code {code} -o w/{code}"} for code in ("vasp", "espresso")]
    collect = {"command": "aet2dft collect w/espresso/ -o run.h5", "manifest": {"directory": "/home/me/w/espresso"}}
    chapters = (
        Chapter(verb="inputs", provenance={**made[1], "sets": made}),
        Chapter(verb="collect", provenance=collect),
    )

    def commands(runs, *chapters):
        text = report(tmp_path / "r.html", title="x", runs=runs, chapters=chapters).read_text(encoding="utf-8")
        return html.unescape(text.partition("To repeat it:</p>")[2].partition("</pre>")[0]).strip()[5:].splitlines()

    before = [decks["command"] for decks in made]
    runs = synthetic_runs((1, 1, 2))
    assert commands(runs, *chapters) == [*before, "aet2dft run w/espresso/", collect["command"]]
    moved = Chapter(verb="collect", provenance={**collect, "command": "aet2dft collect . -o run.h5"})
    assert commands(runs, moved)[0] == "aet2dft run /home/me/w/espresso"
    shipped = commands(replace(runs, shipped=True), *chapters)[2]
    assert shipped == "aet2dft run w/espresso/  # here: outputs that came with the package"
    missing = replace(runs.jobs, counted_as=np.full(len(runs.jobs.job), "missing"))
    assert commands(replace(runs, jobs=missing), *chapters) == [*before, collect["command"]]


def test_jobs_of_which_none_was_started_have_no_figure_table_or_word_about_their_results():
    runs = synthetic_runs(warnings=("unconverged: the k-mesh is coarse",))
    nothing = replace(
        runs, jobs=replace(runs.jobs, counted_as=np.full(180, "missing")), counts={"ok": 0, "missing": 180},
        volumes=replace(runs.volumes, mae=np.full(60, np.nan)),
    )  # fmt: skip
    section = results_section(nothing, None, None, ())
    assert (section.pictures, section.tables) == ((), ())
    assert section.text.endswith("k-mesh 4x4x4. None of them was started, so there is no result yet.")
    assert section.warnings == nothing.warnings
    assert [gate.name for gate in gates(None, None, nothing, None)] == ["jobs"]
    assert "The MAE is" in results_section(runs, None, None, ()).text


def test_what_rounds_to_zero_has_no_sign():
    assert [number(-0.0004, 3), number(-0.0006, 3), number(-0.0)] == ["0.000", "−0.001", "0.00"]


def test_references_are_whole_entries():
    for key, entry in references().items():
        assert entry.count("{") == entry.count("}")
        assert {"author", "title", "journal", "volume", "pages", "year"} <= set(
            re.findall(r"^  (\w+)", entry, re.MULTILINE)
        ), key


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium on this machine to open the page with")
def test_the_page_opens_in_a_browser_without_a_word_and_draws_the_atoms(page, tmp_path):
    probed = tmp_path / "probed.html"
    probed.write_text(page.replace("<head>", f"<head>{PROBE}", 1), encoding="utf-8")
    command = [
        "chromium", "--headless", "--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking",
        "--disable-component-update", "--disable-sync", "--enable-unsafe-swiftshader", "--use-gl=angle",
        "--use-angle=swiftshader", "--window-size=1200,900", "--virtual-time-budget=8000",
        f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", probed.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    answer = re.search(r'data-probe="([^"]*)"', done.stdout)
    assert answer, done.stderr[-2000:]
    seen = json.loads(html.unescape(answer[1]))
    assert seen["problems"] == []
    assert seen["resources"] == []
    assert seen["atoms"] == "23196"
    assert seen["legend"] == "PtFe"
    # a blank canvas has one color, a drawn particle shades of two
    assert seen["colors"] > 20
