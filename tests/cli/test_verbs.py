"""Every verb through the command line: the keys of its JSON object, what it writes, what it says.

Truth: the contract of the command line, and energies that were put into the outputs.
"""

import gzip
import json
import shutil
import sys

import ase.io
import numpy as np
import pytest
from commands import ALWAYS, aet2dft, done, files, refused
from made_outputs import DATA, fill
from small_particle import BOX, small, small_order, write_xyz

from aet2dft import store

COUNTS = {"ok", "not_converged", "incomplete", "input_changed", "missing", "failed"}


def test_info_says_what_a_model_is(model):
    found = done("info", model)
    assert found.keys() >= ALWAYS | {"kind", "problems", "shape"}
    assert found["kind"] == "atoms"
    assert found["n_atoms"] == 1500 == sum(found["composition"].values())
    assert set(found["composition"]) == {"Fe", "Pt"}
    assert 1.8 < found["min_distance"] < found["median_neighbor_distance"] < 2.8
    assert found["problems"] == []
    assert "1,500 atoms" in aet2dft("info", model).out


def test_info_knows_projects_decks_and_outputs(collected, decks):
    project = done("info", collected)
    assert (project["kind"], project["n_atoms"]) == ("project", 1500)
    assert set(project["groups"]) == {"order", "inputs", "collect"}
    folder = done("info", decks)
    assert (folder["kind"], folder["n_jobs"], folder["code"], folder["problems"]) == ("decks", 12, "espresso", [])
    output = done("info", decks / "volumes" / "v00000" / "scf")
    assert (output["kind"], output["run_status"], output["problems"]) == ("dft_output", "ok", [])
    assert (output["status"], output["version"]) == ("done", project["version"])
    assert done("info", decks / "volumes" / "v00000" / "scf" / "pw.out")["kind"] == "dft_output"


def test_info_names_the_problem_of_a_failed_run():
    found = done("info", DATA / "not_converged")
    assert found["run_status"] == "not_converged"
    assert found["problems"]


def test_info_finds_edited_decks(decks):
    (decks / "volumes" / "v00000" / "scf" / "pw.in").write_text("edited")
    assert "v00000/scf/pw.in" in done("info", decks)["problems"][0]


@pytest.mark.parametrize(
    ("shape", "kind"),
    [((20, 21, 22), "volume"), ((40, 40, 9), "tilt_series"), ((5, 3), "unknown"), ((3, 3, 900), "unknown")],
)
@pytest.mark.parametrize("suffix", [".npy", ".npz", ".mat", ".h5", ".mrc", ".tif"])
def test_info_tells_images_from_volumes_by_their_header(shape, kind, suffix, tmp_path):
    import h5py
    import mrcfile
    import tifffile
    from scipy.io import savemat

    path, values = tmp_path / f"data{suffix}", np.random.default_rng(0).random(shape, dtype=np.float32)
    if suffix == ".npy":
        np.save(path, values)
    elif suffix == ".npz":
        np.savez(path, data=values)
    elif suffix == ".mat":
        savemat(path, {"data": values})
    elif suffix == ".h5":
        with h5py.File(path, "w") as file:
            file["deep/data"] = values
    elif suffix == ".mrc":
        if len(shape) != 3:
            pytest.skip("an mrc file is three-dimensional")
        mrcfile.write(path, values.T)
    else:
        tifffile.imwrite(path, values, photometric="minisblack")
    found = done("info", path)
    assert found["kind"] == kind
    assert (found["problems"] == []) == (kind != "unknown")


def test_order_answers_with_the_keys_of_the_contract(project):
    again = done("order", project, "-o", project, "--overwrite", "--surrogates", 2)
    lattice = {
        "n_indexed",
        "a",
        "b",
        "c",
        "alpha",
        "beta",
        "gamma",
        "cubic_a",
        "rms_displacement",
        "rms_displacement_cubic",
    }
    assert again["lattice"].keys() >= lattice
    assert all(each.keys() >= lattice | {"misorientation_deg"} for each in again["lattices"])
    assert set(again["lattice"]["rms_displacement"]) == {"x", "y", "z", "3d"}
    grain = {"grain", "phase", "variant", "n_atoms", "order", "antisite_fraction_deep", "antisite_fraction_corrected"}
    assert all(each.keys() >= grain | {"significance"} for each in again["grains"])
    sizes = [each["n_atoms"] for each in again["grains"]]
    assert sizes == sorted(sizes, reverse=True)
    assert {each["phase"] for each in again["grains"]} == {"L12", "L10"}
    assert all(profile.keys() >= {"grain", "depth", "fraction", "n"} for profile in again["antisite_profiles"])
    assert set(again["warren_cowley"]) >= {"Fe-Pt"}
    assert again["warren_cowley"]["Fe-Pt"].keys() >= {"all", "full_shells"}
    assert set(again["strain_rms"]) == {"xx", "yy", "zz", "yz", "xz", "xy"}


def test_order_says_the_same_as_the_function(model, tmp_path):
    answer = done("order", model, "-o", tmp_path / "run.h5", "--surrogates", 0)
    _, result = small_order()
    assert answer["lattice"]["cubic_a"] == pytest.approx(result.lattices[0].cubic_a, abs=1e-6)
    assert [g["n_atoms"] for g in answer["grains"]] == result.chemical.grains.n_atoms.tolist()


@pytest.mark.parametrize("suffix", [".xyz", ".extxyz", ".vasp", ".mat"])
def test_order_reads_every_kind_of_model(suffix, tmp_path):
    from scipy.io import savemat

    atoms, path = small(), tmp_path / f"model{suffix}"
    flags = []
    if suffix == ".mat":
        types = np.where(atoms.numbers == 26, 1, 2)
        savemat(path, {"model": atoms.positions.T, "types": types[None]})
        flags = ["--species", "1=Fe,2=Pt"]
    elif suffix == ".vasp":
        atoms.positions -= atoms.positions.min(axis=0) - 5.0
        atoms.set_cell(np.eye(3) * (np.ptp(atoms.positions, axis=0) + 10.0))
        ase.io.write(path, atoms)
    else:
        ase.io.write(path, atoms, format="xyz" if suffix == ".xyz" else "extxyz")
    answer = done("order", path, "-o", tmp_path / "run.h5", "--surrogates", 0, *flags)
    assert answer["composition"] == {"Fe": int((atoms.numbers == 26).sum()), "Pt": int((atoms.numbers == 78).sum())}
    assert {grain["phase"] for grain in answer["grains"]} == {"L12", "L10"}


def test_a_pair_of_matlab_files_in_voxels_is_read_with_its_species(tmp_path):
    from scipy.io import savemat

    atoms = small()
    savemat(tmp_path / "model.mat", {"currModel": atoms.positions.T / 0.4})
    savemat(tmp_path / "atoms.mat", {"currAtom": np.where(atoms.numbers == 26, 1, 2)[None].astype(np.uint8)})
    pair = (tmp_path / "model.mat", tmp_path / "atoms.mat")
    found = done("info", *pair, "--species", "1=Fe,2=Pt")
    assert "voxels" in found["problems"][0]
    assert "--voxel-size" in found["problems"][0]
    found = done("info", *pair, "--species", "1=Fe,2=Pt", "--voxel-size", 0.4)
    assert found["problems"] == []
    assert found["composition"]["Fe"] == int((atoms.numbers == 26).sum())
    assert {"currModel", "currAtom"} <= set(" ".join(found["notes"]).replace("'", " ").split())


@pytest.mark.parametrize(
    ("flags", "n_volumes", "n_jobs"),
    [
        (["--kind", "sliding", "--limit", "3"], 3, 9),
        (["--kind", "sliding", "--cells", "1"], 5 * 5 * 6, 3 * 150),
        (["--kind", "nested"], 2, 6),
        (["--kind", "supercell", "--box", "6,6,6"], 1, 3),
        (["--limit", "2", "--protocol", "scf"], 2, 2),
        (["--limit", "2", "--protocol", "relax"], 2, 2),
        (["--limit", "2", "--protocol", "mae_scf", "--axes", "100,001,1-10"], 2, 6),
        (["--limit", "2", "--protocol", "convergence"], 2, 6),
    ],
)
@pytest.mark.parametrize("code", ["espresso", "vasp"])
def test_inputs_counts_volumes_and_jobs(flags, n_volumes, n_jobs, code, project, tmp_path):
    answer = done("inputs", project, "--box", BOX, *flags, "--code", code, "-o", tmp_path / "decks")
    assert answer.keys() >= ALWAYS | {"n_volumes", "n_jobs", "code", "protocol", "axes", "manifest", "rejected"}
    assert (answer["n_volumes"], answer["n_jobs"], answer["code"]) == (n_volumes, n_jobs, code)
    manifest = json.loads((tmp_path / "decks" / "manifest.json").read_text())
    assert (len(manifest["jobs"]), manifest["digest"]) == (n_jobs, "sha256")
    scripts = [path for path in files(tmp_path / "decks") if path.endswith("/run.sh")]
    assert len(scripts) == n_jobs
    if "mae_scf" in flags:
        assert (tmp_path / "decks" / "volumes" / "v00000" / "axis_1m10").is_dir()


def test_inputs_tells_of_rejected_volumes_and_ends_well(tmp_path):
    holes = write_xyz(tmp_path / "holes.xyz", small(missing=0.05))
    done("order", holes, "-o", tmp_path / "run.h5", "--surrogates", 0)
    answer = done("inputs", tmp_path / "run.h5", "--box", BOX, "-o", tmp_path / "decks")
    assert answer["status"] == "partial"
    assert answer["rejected"]
    assert all("empty (first: site" in each["reason"] for each in answer["rejected"])
    done("collect", tmp_path / "decks", "-o", tmp_path / "run.h5")
    done("export", tmp_path / "run.h5", tmp_path / "tables", "--what", "tables")
    rows = (tmp_path / "tables" / "volumes.csv").read_text().splitlines()
    assert len(rows) == 1 + answer["n_volumes"]


def test_an_odd_supercell_is_made_with_a_warning(project, tmp_path):
    answer = done("inputs", project, "--kind", "supercell", "--box", BOX, "-o", tmp_path / "decks")
    assert any("odd number of half cells" in text for text in answer["warnings"])


def test_periodic_structures_are_taken_as_they_are_and_equal_ones_once(tmp_path):
    cell = ase.Atoms("FePt", scaled_positions=[(0, 0, 0), (0.5, 0.5, 0.5)], cell=[2.72, 2.72, 3.71], pbc=True)
    other = cell.copy()
    other.set_cell(np.diag([2.75, 2.75, 3.71]), scale_atoms=True)
    ase.io.write(tmp_path / "cells.extxyz", [cell, other, cell])
    answer = done("inputs", tmp_path / "cells.extxyz", "--kind", "atoms", "-o", tmp_path / "decks")
    assert (answer["n_volumes"], answer["n_jobs"], answer["n_same"]) == (3, 6, 1)
    fill(tmp_path / "decks", lambda volume, step: 100.0 + 2e-3 * (step == "axis_100"))
    found = done("collect", tmp_path / "decks", "-o", tmp_path / "run.h5")
    assert found["mae"]["n"] == 3
    assert found["mae"]["mean"] == pytest.approx(1.0, abs=1e-6)


def test_a_project_without_order_is_told_which_verb_is_missing(tmp_path, decks):
    done("collect", decks, "-o", tmp_path / "only.h5")
    assert "aet2dft order" in refused("inputs", tmp_path / "only.h5", "-o", tmp_path / "new")
    assert "aet2dft order" in refused("export", tmp_path / "only.h5", tmp_path / "new.xyz")


def test_collect_gives_the_mae_that_was_put_in_with_its_sign(decks, tmp_path):
    found = done("collect", decks, "-o", tmp_path / "run.h5")
    assert found.keys() >= ALWAYS | {"counts", "mae", "n_rows"}
    assert set(found["counts"]) == COUNTS
    assert (found["n_rows"], found["counts"]["ok"], found["status"]) == (12, 12, "done")
    # E[100] lies 32, ... meV per 32 atoms above E[001]: [001] is the easy axis
    assert found["mae"]["n"] == 4
    assert found["mae"]["min"] == pytest.approx(1.0, abs=1e-9)
    assert found["mae_axes"] == ["100", "001"]


def test_collect_gives_a_row_for_every_job_whatever_happened(decks, tmp_path):
    shutil.rmtree(decks / "volumes" / "v00000" / "axis_001")
    text = decks / "volumes" / "v00001" / "axis_100" / "pw.out"
    text.write_text(text.read_text()[:5000])
    (decks / "volumes" / "v00002" / "scf" / "pw.in").write_text("edited")
    other = decks / "volumes" / "v00003" / "axis_100"
    for name in ("pw.out", "data-file-schema.xml"):
        (other / name).write_bytes(gzip.decompress((DATA / "l12_ft_x" / f"{name}.gz").read_bytes()))
    found = done("collect", decks, "-o", tmp_path / "run.h5")
    assert found["status"] == "partial"
    assert found["n_rows"] == 12 == sum(found["counts"].values())
    counts = {name: n for name, n in found["counts"].items() if n}
    assert counts == {"ok": 8, "missing": 1, "incomplete": 1, "input_changed": 1, "failed": 1}
    assert found["mae"]["n"] == 0
    assert found["mae"]["mean"] is None


def test_six_axes_give_the_tensor(project, tmp_path):
    axes = ("100", "010", "001", "110", "101", "011")
    done("inputs", project, "--box", BOX, "--limit", 2, "--axes", ",".join(axes), "-o", tmp_path / "decks")
    tensor = np.array([[0.5, 0.1, 0.0], [0.1, 0.2, -0.2], [0.0, -0.2, -0.7]])

    def energy(volume, step):
        n = np.array([int(digit) for digit in step.removeprefix("axis_")], dtype=float)
        return 500.0 + 32e-3 * float(n @ tensor @ n) / float(n @ n)

    fill(tmp_path / "decks", energy)
    found = done("collect", tmp_path / "decks", "-o", project)
    assert len(found["tensor"]) == 2
    assert np.allclose(found["tensor"][0]["meV_per_atom"], tensor, atol=1e-6)
    assert found["mae"]["mean"] == pytest.approx(1.2, abs=1e-6)


def test_collect_warns_where_the_decks_are_of_another_particle(decks, tmp_path):
    other = write_xyz(tmp_path / "other.xyz", small(missing=0.02))
    done("order", other, "-o", tmp_path / "other.h5", "--surrogates", 0)
    answer = done("collect", decks, "-o", tmp_path / "other.h5")
    assert any("other atoms" in text for text in answer["warnings"])


def test_compare_finds_the_displacement_that_was_put_in(tmp_path):
    atoms = small()
    moved = atoms.copy()
    moved.positions += (0.3, -0.2, 0.1)
    moved.positions[7, 0] += 0.5
    write_xyz(tmp_path / "measured.xyz", atoms)
    write_xyz(tmp_path / "relaxed.xyz", moved)
    found = done("compare", tmp_path / "measured.xyz", tmp_path / "relaxed.xyz", "-o", tmp_path / "run.h5")
    assert found.keys() >= ALWAYS | {"rmsd", "max_displacement", "n", "offset"}
    assert found["n"] == 1500
    assert found["offset"] == pytest.approx([0.3 + 0.5 / 1500, -0.2, 0.1], abs=1e-5)
    assert found["max_displacement"] == pytest.approx(0.5, abs=1e-3)
    for name in ("measured", "relaxed"):
        done("order", tmp_path / f"{name}.xyz", "-o", tmp_path / f"{name}.h5", "--surrogates", 0)
    of_projects = done("compare", tmp_path / "measured.h5", tmp_path / "relaxed.h5", "-o", tmp_path / "of.h5")
    assert of_projects["rmsd"] == pytest.approx(found["rmsd"], rel=1e-6)
    assert store.groups(tmp_path / "run.h5") == ("compare",)


def test_export_writes_atoms_that_ase_reads_back(collected, tmp_path):
    answer = done("export", collected, tmp_path / "out.xyz", "--what", "atoms")
    assert answer["files"] == [str(tmp_path / "out.xyz")]
    atoms, (expected, _) = ase.io.read(tmp_path / "out.xyz"), small_order()
    for name in ("site_id", "site", "lattice", "variant", "grain", "antisite", "is_surface"):
        assert np.array_equal(atoms.arrays[name], expected.arrays[name]), name
    assert np.allclose(atoms.arrays["strain"], expected.arrays["strain"], atol=1e-7, equal_nan=True)


def test_export_writes_one_table_per_file(collected, tmp_path):
    done("export", collected, tmp_path / "tables", "--what", "tables")
    assert {p.name for p in (tmp_path / "tables").iterdir()} == {
        "atoms.csv",
        "grains.csv",
        "antisite_profile.csv",
        "jobs.csv",
        "volumes.csv",
    }
    header = (tmp_path / "tables" / "volumes.csv").read_text().splitlines()[0].split(",")
    wanted = {"id", "center_site_x", "composition", "order_difference", "energy_100", "energy_001", "mae_meV_per_atom"}
    assert wanted | {"mae_MJ_per_m3", "moment", "status"} <= set(header)


def test_export_writes_an_anisotropy_field(collected, tmp_path):
    answer = done("export", collected, tmp_path / "field.ovf")
    assert (answer["what"], len(answer["files"])) == ("anisotropy", 3)
    assert (tmp_path / "field.ovf").read_bytes().startswith(b"# OOMMF OVF 2.0")


@pytest.mark.parametrize(
    "words", [["out.xyz", "--what", "tables"], ["out.ovf", "--what", "atoms"], ["out.xyz", "--format", "csv"]]
)
def test_export_refuses_a_contradiction(words, collected, tmp_path):
    refused("export", collected, tmp_path / words[0], *words[1:], code=2)
    assert not (tmp_path / words[0]).exists()


def test_no_project_and_no_source_is_replaced_by_an_export_or_a_page(collected, model, tmp_path):
    content = collected.read_bytes()
    assert "is a project" in refused("export", collected, collected, "--what", "atoms")
    assert "is a project" in refused("report", collected, "-o", collected)
    assert collected.read_bytes() == content
    source = shutil.copy(model, tmp_path / "particle.xyz")
    done("order", source, "-o", tmp_path / "run.h5", "--surrogates", 2)
    assert "was made from" in refused("export", tmp_path / "run.h5", source)


def test_an_export_takes_its_name_from_either_place(collected, tmp_path):
    done("export", collected, "-o", tmp_path / "out.xyz")
    assert (tmp_path / "out.xyz").is_file()
    assert "one of them" in refused("export", collected, tmp_path / "a.xyz", "-o", tmp_path / "b.xyz", code=2)
    assert any("is extended XYZ" in text for text in done("export", collected, tmp_path / "out.foo")["warnings"])


def test_run_leaves_finished_jobs_alone_and_counts_them(decks):
    answer = done("run", decks)
    assert answer.keys() >= ALWAYS | {"engine", "counts"}
    assert answer["counts"] == {"done": 12, "failed": 0, "pending": 0, "skipped": 0}
    assert answer["engine"] == "local"


def test_the_demonstration_answers_with_one_object_on_stdout(tmp_path, monkeypatch):
    from aet2dft.cli import demonstration

    commands = []
    monkeypatch.setattr(
        demonstration, "execute", lambda words: commands.append(words[0]) or sys.stdout.write("chatter")
    )
    monkeypatch.setattr(demonstration, "_place_shipped_outputs", lambda *_, **__: None)
    answer = done("demo", tmp_path / "demo", "--no-pwx")
    assert answer["report"].endswith("report.html")
    assert answer["twin_report"].endswith("twin.html")
    assert commands[:6] == ["reconstruct", "trace", "classify", "refine", "verify", "report"]
    assert commands[6:] == ["info", "order", "inputs", "inputs", "inputs", "collect", "export", "export", "report"]


@pytest.mark.slow
def test_the_demonstration_finds_the_atoms_of_its_images(tmp_path):
    from aet2dft.cli import demonstration

    demonstration._write_twin(tmp_path / demonstration.TWIN)
    for words in demonstration._twin_commands(tmp_path):
        answer = done(*words)
        if words[0] == "verify":
            assert answer["fraction_identified"] >= 0.99
            assert answer["n_false"] == 0
            assert answer["rmsd"] < 0.12
    assert (tmp_path / demonstration.TWIN_REPORT).stat().st_size > 1e5
    # a second call finds everything done
    assert "holds this result already" in " ".join(done(*demonstration._twin_commands(tmp_path)[3])["warnings"])


def test_the_demonstration_refuses_a_folder_of_other_things(model, tmp_path):
    assert "not empty" in refused("demo", tmp_path)
    assert set(files(tmp_path)) == {"small.xyz"}
