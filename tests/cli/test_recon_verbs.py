"""From images to atoms through the command line: keys, projects, order of the steps, refusals.

Truth: a piece of the measured particle and its simulated images.
"""

import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import h5py
import mrcfile
import numpy as np
import pytest
import tifffile
from ase import Atoms
from ase.io import read, write
from commands import ALWAYS, aet2dft, done, refused
from numpy.testing import assert_allclose
from scipy.io import savemat

from aet2dft import store
from aet2dft.cli.verify_projects import chain_of
from aet2dft.config import ImagesSettings
from aet2dft.recon.atoms.concerns import beyond_images
from aet2dft.recon.atoms.refinement import Refinement
from aet2dft.recon.atoms.simulate import Noise, simulate
from aet2dft.recon.images.conventions import ConventionCheck
from aet2dft.recon.images.readers import read_tilt_series
from aet2dft.recon.tilt_series import TiltSeries, Volume

TILTS = np.linspace(-66.0, 64.0, 20)
PIXEL = 0.3725
CHAIN = ("reconstruct", "trace", "classify", "refine")


@pytest.fixture(scope="module")
def folder(tmp_path_factory, fept):
    """Images of a piece of 13 Å, their angles and the truth; the project after all steps."""
    place = tmp_path_factory.mktemp("chain")
    piece = fept[np.linalg.norm(fept.positions - fept.positions.mean(axis=0), axis=1) < 6.5]
    piece.positions -= piece.positions.mean(axis=0)
    intensity = np.where(piece.symbols == "Pt", 4.0, 1.0)
    noise = Noise(counts=300, read_noise=1)
    series = simulate(piece, TILTS, shape=(48, 48), pixel_size=PIXEL, intensity=intensity, noise=noise, seed=2)
    np.save(place / "images.npy", series.projections)
    np.savetxt(place / "angles.txt", TILTS)
    write(place / "truth.xyz", piece)
    return place


def images(folder):
    return (folder / "images.npy", "--angles", folder / "angles.txt", "--pixel-size", PIXEL)


@pytest.fixture(scope="module")
def chain(folder):
    """Project after the four steps, and what each said."""
    project = folder / "run.h5"
    said = {"reconstruct": done("reconstruct", *images(folder), "-o", project, "--iterations", 40)}
    said["trace"] = done("trace", project)
    said["classify"] = done("classify", project, "--species", "Fe,Pt")
    said["refine"] = done("refine", project, "--rounds", 1)
    return project, said


def test_five_commands_lead_from_images_to_the_atoms(chain, folder):
    project, _ = chain
    found = done("verify", project, "--truth", folder / "truth.xyz")
    assert found["fraction_identified"] >= 0.97
    assert found["n_false"] <= 2
    assert found["rmsd"] < 0.12
    assert found["r_factor"] < 0.2
    assert_allclose(found["orientation"], np.eye(3))
    assert found["n_matched"] + found["n_missed"] == sum(found["profile"]["n_atoms"])


def test_shifts_and_turns_that_refine_fitted_are_those_of_verify_and_of_a_table(chain, folder, tmp_path):
    project = tmp_path / "run.h5"
    project.write_bytes(chain[0].read_bytes())
    said = done("refine", project, "--rounds", 0, "--iterations", 1, "--fit-geometry", "--held-out", 0, "--overwrite")
    truth = ("--truth", folder / "truth.xyz")
    assert done("verify", project, *truth)["r_factor"] == pytest.approx(said["r_factor_after"], rel=0.01)
    assert done("export", project, tmp_path / "tables", "--what", "tables")["files"]
    poses = np.genfromtxt(tmp_path / "tables" / "poses.csv", delimiter=",", names=True)
    fitted = store.load(project, "refine", "result", Refinement)
    assert np.abs(poses["theta"] - TILTS).max() > 1e-3
    assert_allclose(poses["center_row"] - poses["shift_row"], 24.0, atol=0.2)
    assert_allclose(poses["shift_column"], fitted.shifts[:, 1])
    assert_allclose(poses["r_factor"], fitted.r_factor_per_image)


def test_images_are_reconstructed_again_from_where_refine_found_them(folder, tmp_path):
    """Truth: images that were rolled by a pixel at most, a row or a column."""
    random, project, again = np.random.default_rng(5), tmp_path / "run.h5", tmp_path / "again.h5"
    away = random.integers(-1, 2, (len(TILTS), 2))
    exact = np.load(folder / "images.npy")
    rolled = [np.roll(image, shift, axis=(0, 1)) for image, shift in zip(exact, away, strict=True)]
    np.save(tmp_path / "images.npy", rolled)
    known = ("--angles", folder / "angles.txt", "--pixel-size", PIXEL, "--iterations", 30, "--no-halves")
    first = done("reconstruct", tmp_path / "images.npy", *known, "-o", project)
    done("trace", project)
    done("classify", project, "--species", "Fe,Pt")
    warnings = done("refine", project, "--fit-geometry")["warnings"]
    assert any("a volume of them as they were is blurred" in text for text in warnings)
    words = ("--iterations", 30, "--no-halves")
    planned = done("reconstruct", project, *words, "-o", again, "--dry-run")
    second = done("reconstruct", project, *words, "-o", again)
    for said in (planned, second):
        assert any(text.startswith("images are taken where `refine` found them, 1") for text in said["warnings"])
    assert second["r_factor"] < 0.7 * first["r_factor"]
    center = store.load(again, "reconstruct", "series", TiltSeries).center - 24
    object_moved = np.column_stack([np.cos(np.radians(TILTS)), np.sin(np.radians(TILTS))])
    left = center - away
    left[:, 0] -= object_moved @ np.linalg.lstsq(object_moved, left[:, 0], rcond=None)[0]
    assert np.abs(left[:, 0]).max() < 0.3
    assert np.abs(left[:, 1] - left[:, 1].mean()).max() < 0.3
    # in its place, and once more: images that were put right stay so
    assert "refine" in str(done("reconstruct", project, *words, "--overwrite")["warnings"])
    third = done("reconstruct", project, *words, "--overwrite")
    assert third["r_factor"] == pytest.approx(second["r_factor"], rel=0.01)
    assert not any("where `refine` found them" in text for text in third["warnings"])


def test_a_support_of_the_user_is_that_of_the_verification_too(folder, tmp_path):
    project, support = tmp_path / "run.h5", np.zeros((48, 48, 44), dtype=np.uint8)
    support[4:44, 4:44] = 1
    np.save(tmp_path / "support.npy", support)
    words = ("--support", tmp_path / "support.npy", "--iterations", 20)
    assert done("reconstruct", *images(folder), *words, "-o", project)["support_fraction"] == support.mean()
    (tmp_path / "support.npy").unlink()
    done("trace", project)
    done("classify", project, "--species", "Fe,Pt")
    assert done("verify", project, "--dry-run")["predicted_seconds"] > 0
    assert done("verify", project)["fraction_identified"] > 0.9


def test_noise_among_the_candidates_is_told_where_no_class_of_its_own_holds_it(tmp_path):
    random, project = np.random.default_rng(0), tmp_path / "run.h5"
    grid = np.indices((40, 40, 40))
    volume = np.maximum(random.normal(0, 0.4, grid.shape[1:]), 0)
    for site in np.stack(np.meshgrid(*[np.arange(8, 36, 8)] * 3), axis=-1).reshape(-1, 3):
        height = 1.0 if site.sum() % 16 else 0.4
        volume += height * np.exp(-((grid - site[:, None, None, None]) ** 2).sum(axis=0) / 4.5)
    np.save(tmp_path / "volume.npy", volume.astype(np.float32))
    done("trace", tmp_path / "volume.npy", "--voxel-size", 0.35, "-o", project)
    alone = done("classify", project, "--species", "Pt")
    assert alone["n_rejected"] > 50
    assert not any("as low as maxima of noise" in text for text in alone["warnings"])
    assert any(
        text.startswith("64 candidates are higher than maxima of noise, but only 3") for text in alone["warnings"]
    )
    both = done("classify", project, "--species", "Fe,Pt", "--overwrite")
    assert both["n_rejected"] == 0
    said = [int(text.split()[0]) for text in both["warnings"] if "as low as maxima of noise" in text]
    assert said == pytest.approx([alone["n_rejected"]], rel=0.3)


def test_every_step_says_what_the_contract_wants(chain):
    _, said = chain
    keys = {
        "reconstruct": "algorithm shape grid_shape voxel_size n_projections iterations r_factor r_free "
        "seconds_per_iteration",
        "trace": "n_candidates n_atoms min_distance",
        "classify": "composition n_rejected mean_confidence",
        "refine": "r_factor_before r_factor_after rms_shift",
    }
    for verb, names in keys.items():
        assert said[verb].keys() >= ALWAYS | set(names.split())
        assert said[verb]["status"] == "done"
    assert said["reconstruct"]["shape"] == [48, 48, 48]
    assert said["reconstruct"]["iterations"] == 40
    assert said["trace"]["min_distance"] == 2.0
    assert set(said["classify"]["composition"]) == {"Fe", "Pt"}
    assert said["refine"]["r_factor_after"] < said["refine"]["r_factor_before"]


def test_the_project_holds_what_was_read_and_made(chain, folder):
    project, _ = chain
    assert set(store.groups(project)) >= set(CHAIN)
    series = store.load(project, "reconstruct", "series", TiltSeries)
    assert_allclose(series.projections, np.load(folder / "images.npy"))
    assert_allclose(series.tilt_angles, TILTS)
    assert store.load(project, "reconstruct", "volume", Volume).voxel_size == PIXEL
    sources = [entry["path"] for entry in store.load_json(project, "reconstruct")["inputs"]]
    assert sources == [str(folder / name) for name in ("images.npy", "angles.txt")]


def test_a_rotation_center_that_the_user_gives_is_taken_once(folder, tmp_path):
    rolled, project = tmp_path / "rolled.npy", tmp_path / "run.h5"
    np.save(rolled, np.roll(np.load(folder / "images.npy"), 5, axis=1))
    given = ("--center-offset", 5, "--iterations", 4, "--held-out", 0, "--no-halves", "--no-check-conventions")
    first = done("reconstruct", rolled, *images(folder)[1:], *given, "-o", project)
    done("trace", project)
    again = done("reconstruct", project, *given, "-o", tmp_path / "again.h5")
    assert again["r_factor"] == first["r_factor"]
    step = SimpleNamespace(warn=lambda *_: None)
    chain = chain_of(step, project, store.load(project, "trace", "atoms", Atoms))
    assert chain.reconstruct.center_offset == 0.0
    assert store.load(project, "reconstruct", "series", TiltSeries).center[0, 0] == 29.0


def test_order_goes_on_where_refine_ended(chain, tmp_path):
    project, said = chain
    found = done("order", project, "-o", tmp_path / "order.h5", "--surrogates", 2)
    assert found["n_atoms"] == said["refine"]["n_atoms"]


def test_a_refined_model_in_a_project_of_its_own_is_where_every_later_step_may_start(chain, tmp_path):
    project = tmp_path / "refined.h5"
    done("refine", chain[0], "--rounds", 0, "--iterations", 1, "-o", project)
    done("export", project, tmp_path / "tables", "--what", "tables")
    assert {path.name for path in (tmp_path / "tables").iterdir()} == {"atoms.csv", "poses.csv"}
    assert done("verify", project, "--dry-run")["predicted_seconds"] > 0
    assert "begins with `refine`" in refused("refine", project, "--overwrite")
    assert done("classify", project, "--species", "Fe,Pt")["method"] == "height"
    assert store.lineage(project, store.last_step(project)) == ["classify", "refine"]


@pytest.mark.slow
def test_without_a_known_model_the_chain_is_run_again_on_simulated_images(chain, tmp_path):
    project, said = chain
    found = done("verify", project, "-o", tmp_path / "verified.h5")
    assert found["method"] == "linear"
    assert found["n_matched"] + found["n_missed"] == said["refine"]["n_atoms"]
    assert found["fraction_identified"] > 0.9


def test_a_step_that_is_done_is_left_with_resume_and_replaced_only_when_asked(chain, folder, tmp_path):
    copy = tmp_path / "run.h5"
    copy.write_bytes(chain[0].read_bytes())
    assert "--overwrite" in refused("trace", copy)
    assert "--overwrite" in refused("reconstruct", *images(folder), "-o", copy)
    again = done("reconstruct", *images(folder), "-o", copy, "--iterations", 40, "--resume")
    assert any("leaves it" in text for text in again["warnings"])
    assert again["r_factor"] == chain[1]["reconstruct"]["r_factor"]
    replaced = done("trace", copy, "--overwrite", "--min-distance", 2.2)
    assert replaced["min_distance"] == 2.2
    assert any("classify" in text and "refine" in text for text in replaced["warnings"])
    assert set(store.groups(copy)) == {"reconstruct", "trace"}


@pytest.mark.slow
def test_refine_may_come_before_classify_and_either_can_be_repeated(chain, folder, tmp_path):
    copy = tmp_path / "run.h5"
    copy.write_bytes(chain[0].read_bytes())
    done("trace", copy, "--overwrite")
    done("refine", copy, "--rounds", 0)
    found = done("classify", copy, "--species", "Fe,Pt")
    assert (found["method"], store.load_json(copy, "classify")["from"]) == ("height", "refine")
    done("classify", copy, "--species", "Fe,Pt", "--overwrite")
    assert set(store.groups(copy)) == {"reconstruct", "trace", "refine", "classify"}
    done("refine", copy, "--rounds", 0, "--overwrite")
    assert set(store.groups(copy)) == {"reconstruct", "trace", "refine"}


def test_a_foreign_volume_can_be_traced_and_classified(chain, tmp_path):
    volume = store.load(chain[0], "reconstruct", "volume", Volume)
    with mrcfile.new(tmp_path / "volume.mrc") as file:
        file.set_data(np.ascontiguousarray(volume.values.T))
        file.voxel_size = PIXEL
    project = tmp_path / "traced.h5"
    found = done("trace", tmp_path / "volume.mrc", "-o", project)
    assert found["n_atoms"] == chain[1]["trace"]["n_atoms"]
    assert any("voxels of 0.3725 Å" in text for text in found["warnings"])
    done("trace", project, "--overwrite", "--min-distance", 2.1)
    assert done("classify", project, "--species", "Fe,Pt")["composition"].keys() == {"Fe", "Pt"}
    assert "--images" in refused("refine", project)


@pytest.mark.slow
def test_atoms_of_a_foreign_volume_are_refined_against_images_of_a_file(chain, folder, tmp_path):
    project = tmp_path / "traced.h5"
    np.save(tmp_path / "volume.npy", store.load(chain[0], "reconstruct", "volume", Volume).values)
    done("trace", tmp_path / "volume.npy", "--voxel-size", PIXEL, "-o", project)
    done("classify", project, "--species", "Fe,Pt")
    stack, *options = images(folder)
    refined = done("refine", project, "--images", stack, *options, "--rounds", 0)
    assert refined["r_factor_after"] < 0.2
    assert set(store.groups(project)) == {"trace", "classify", "refine"}
    assert done("verify", project, "--truth", folder / "truth.xyz")["r_factor"] < 0.2


@pytest.mark.parametrize("suffix", [".mat", ".npy", ".npz", ".h5", ".tif"])
def test_a_volume_of_every_kind_can_be_traced(chain, tmp_path, suffix):
    values = store.load(chain[0], "reconstruct", "volume", Volume).values
    path = tmp_path / f"volume{suffix}"
    if suffix == ".mat":
        savemat(path, {"reconstruction": values})
    elif suffix == ".h5":
        with h5py.File(path, "w") as file:
            file["density"] = values
    elif suffix == ".tif":
        tifffile.imwrite(path, values)
    else:
        (np.save if suffix == ".npy" else np.savez)(path, values)
    found = done("trace", path, "--voxel-size", PIXEL, "-o", tmp_path / "traced.h5")
    assert found["n_atoms"] == chain[1]["trace"]["n_atoms"]


def test_atoms_of_somebody_else_are_refined_against_the_images(folder, tmp_path):
    foreign = read(folder / "truth.xyz")
    random = np.random.default_rng(4)
    foreign.positions += random.normal((30, 31, 29), 0.12, foreign.positions.shape)
    write(tmp_path / "foreign.xyz", foreign)
    project = tmp_path / "run.h5"
    stack, *options = images(folder)
    found = done("refine", tmp_path / "foreign.xyz", "--images", stack, *options, "-o", project, "--rounds", 0)
    assert any("atoms moved by" in text for text in found["warnings"])
    assert found["r_factor_after"] < 0.65 * found["r_factor_before"]  # the rest is noise
    assert store.groups(project) == ("refine",)
    assert store.load(project, "refine", "atoms", Atoms).arrays["site_id"].tolist() == [*range(1, len(foreign) + 1)]
    matched = done("verify", project, "--truth", folder / "truth.xyz")
    assert matched["fraction_identified"] > 0.98
    assert matched["rmsd"] < 0.08
    assert matched["r_factor"] < 0.2
    again = done("verify", project, "--overwrite")
    assert any("holds no reconstruct and no trace" in text for text in again["warnings"])
    assert again["fraction_identified"] > 0.9
    (tmp_path / "edits.csv").write_text("action,site_id\nremove,3\n")
    assert done("edit", project, "--apply", tmp_path / "edits.csv")["n_atoms"] == len(foreign) - 1
    named = done("classify", project, "--species", "Fe,Pt")
    assert named["composition"].keys() == {"Fe", "Pt"}
    assert done("order", project, "-o", tmp_path / "order.h5", "--surrogates", 2)["n_atoms"] == len(foreign) - 1


def test_atoms_of_a_file_need_images_and_those_of_a_project_have_theirs(chain, folder, tmp_path):
    assert "--images" in refused("refine", folder / "truth.xyz", "-o", tmp_path / "run.h5")
    stack, *options = images(folder)
    assert "needs -o" in refused("refine", folder / "truth.xyz", "--images", stack, *options, code=2)
    assert "leave out --images" in refused("refine", chain[0], "--images", stack, *options)


def test_neither_other_images_nor_other_atoms_are_put_beside_those_of_a_project(chain, folder, tmp_path):
    before, (stack, *options) = chain[0].read_bytes(), images(folder)
    np.save(tmp_path / "reversed.npy", np.load(stack)[::-1])
    refine = ("refine", folder / "truth.xyz", *options, "-o")
    assert "other images, those of `reconstruct`" in refused(*refine, chain[0], "--images", tmp_path / "reversed.npy")
    assert "`refine` already" in refused(*refine, chain[0], "--images", stack)  # the same images may
    alone = tmp_path / "refined.h5"
    done(*refine, alone, "--images", tmp_path / "reversed.npy", "--rounds", 0, "--iterations", 1)
    assert "other images, those of `refine`" in refused("reconstruct", *images(folder), "-o", alone)
    truth = folder / "truth.xyz"
    assert "other atoms, those of `refine`" in refused("order", truth, "-o", chain[0])
    assert "other atoms, those of `refine`" in refused("verify", truth, "--truth", truth, "-o", chain[0], "--overwrite")
    assert "other atoms, those of `refine`" in refused("compare", truth, truth, "-o", chain[0])
    done("export", chain[0], tmp_path / "own.xyz")
    assert done("order", tmp_path / "own.xyz", "-o", chain[0], "--dry-run")["status"] == "dry_run"
    assert chain[0].read_bytes() == before


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("reconstruct", "--exclude", "0,1", "--angles", "nosuch.txt", "--overwrite"), "--angles, --exclude say"),
        (("trace", "--voxel-size", 0.9), "--voxel-size says"),
        (("classify", "--voxel-size", 0.9), "--voxel-size says"),
        (("refine", "--pixel-size", 3), "--pixel-size says"),
        (("refine", "--variable", "x"), "--variable says"),
        (("verify", "--species", "1=Fe"), "--species says"),
        (("order", "--species", "1=Fe,2=Pt", "--voxel-size", 0.3, "--overwrite"), "--species, --voxel-size say"),
        (("info", "--variable", "x"), "--variable says"),
        (("inputs", "--species", "1=Fe", "-o", "decks"), "--species says"),
        (("order", "types.mat"), "leave out types.mat"),
    ],
)
def test_what_says_how_a_file_is_read_is_refused_beside_a_project(chain, words, named):
    before = chain[0].read_bytes()
    assert named in refused(words[0], chain[0], *words[1:], code=2)
    assert chain[0].read_bytes() == before


@pytest.mark.parametrize("verb", [*CHAIN, "edit", "verify", "info"])
def test_a_project_that_is_not_there_is_called_so(verb, tmp_path):
    assert "nofile.h5: no such file" in refused(verb, tmp_path / "nofile.h5")


def test_a_project_without_atoms_is_sent_to_trace_by_every_verb(folder, tmp_path):
    project = tmp_path / "run.h5"
    done("reconstruct", *images(folder), "-o", project, "--iterations", 5, "--held-out", 0, "--no-halves")
    for words in (["order"], ["verify"], ["classify", "--species", "Fe,Pt"], ["refine"]):
        assert "run `aet2dft trace` first" in refused(words[0], project, *words[1:])


def test_the_convention_of_the_angles_is_checked_and_kept(chain, folder, tmp_path):
    found = chain[1]["reconstruct"]["conventions"]
    assert (found["verdict"], len(found["names"])) == ("as_given", 2)
    assert found["margin"] > 1.1
    assert store.load(chain[0], "reconstruct", "conventions", ConventionCheck).verdict == "as_given"
    uneven = np.delete(np.arange(20), [3, 4, 5, 9])
    np.save(tmp_path / "images.npy", np.load(folder / "images.npy")[uneven][::-1])
    np.savetxt(tmp_path / "angles.txt", TILTS[uneven])
    series = (tmp_path / "images.npy", "--angles", tmp_path / "angles.txt", "--pixel-size", PIXEL)
    series = (*series, "--iterations", 2, "--held-out", 0, "--no-halves")
    found = done("reconstruct", *series, "-o", tmp_path / "run.h5")
    assert found["conventions"]["verdict"] == "another"
    assert any("angles in the opposite order" in text for text in found["warnings"])
    found = done("reconstruct", *series, "-o", tmp_path / "other.h5", "--no-check-conventions")
    assert found["conventions"] is None
    assert not any("convention" in text for text in found["warnings"])


def test_two_files_of_atoms_can_be_matched_without_a_project(folder, chain, tmp_path):
    truth = folder / "truth.xyz"
    found = done("verify", truth, "--truth", truth)
    assert (found["rmsd"], found["fraction_identified"], found["r_factor"]) == (0.0, 1.0, None)
    mirrored = read(truth)
    mirrored.positions[:, 0] *= -1
    write(tmp_path / "mirrored.xyz", mirrored)
    assert any("mirror" in text for text in done("verify", tmp_path / "mirrored.xyz", "--truth", truth)["warnings"])
    assert done("verify", truth, "--truth", chain[0])["fraction_identified"] > 0.9


def test_a_dry_run_writes_nothing(folder, chain, tmp_path):
    before = chain[0].read_bytes()
    assert done("reconstruct", *images(folder), "-o", tmp_path / "new.h5", "--dry-run")["status"] == "dry_run"
    for verb in ("trace", "classify"):
        assert done(verb, chain[0], "--dry-run", "--overwrite")["status"] == "dry_run"
    for verb in ("refine", "verify"):
        assert 0 < done(verb, chain[0], "--dry-run", "--overwrite")["predicted_seconds"] < 300
    assert not (tmp_path / "new.h5").exists()
    assert chain[0].read_bytes() == before


@pytest.mark.parametrize("verb", CHAIN)
def test_a_dry_run_warns_where_the_run_would_be_refused(verb, chain):
    said = done(verb, chain[0], "--dry-run")
    assert said["status"] == "dry_run"
    assert any(f"would be refused: {chain[0]}: holds a result of `{verb}`" in text for text in said["warnings"])


def test_a_result_of_the_same_files_under_other_names_is_left_with_resume(folder, tmp_path, monkeypatch):
    def again(carry_out, stack, angles):
        quick = ("--iterations", 2, "--held-out", 0, "--no-halves", "--no-check-conventions", "--resume")
        return carry_out("reconstruct", stack, "--angles", angles, "--pixel-size", PIXEL, *quick, "-o", "run.h5")

    stack, angles = folder / "images.npy", folder / "angles.txt"
    monkeypatch.chdir(tmp_path)
    again(done, stack, angles)
    before = Path("run.h5").read_bytes()
    shutil.copy(angles, "copy.txt")
    for name in ("copy.txt", os.path.relpath(angles)):
        assert any("--resume leaves it" in text for text in again(done, os.path.relpath(stack), name)["warnings"])
    np.savetxt("copy.txt", TILTS + 1.0)
    assert "--overwrite" in again(refused, stack, "copy.txt")
    assert Path("run.h5").read_bytes() == before


def test_settings_come_from_a_table_of_their_verb(folder, tmp_path):
    config = tmp_path / "run.toml"
    config.write_text(f'[reconstruct]\nangles = "{folder / "angles.txt"}"\npixel_size = {PIXEL}\niterations = 3\n')
    found = done("reconstruct", folder / "images.npy", "--config", config, "-o", tmp_path / "run.h5")
    assert found["iterations"] == 3


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("reconstruct", "images.npy", "--pixel-size", PIXEL, "-o", "x.h5"), 3, "--angles"),
        (("reconstruct", "images.npy", "--angles", "angles.txt", "-o", "x.h5"), 3, "--pixel-size"),
        (
            ("reconstruct", "images.npy", "--angles", "angles.txt", "--pixel-size", 0.037, "-o", "x.h5"),
            3,
            "looks like nm",
        ),
        (("reconstruct", "images.npy", "--angles", "angles.txt", "--pixel-size", PIXEL), 2, "needs -o"),
        (("trace", "images.npy", "-o", "x.h5"), 3, "--voxel-size"),
        (("classify", "truth.xyz"), 3, "truth.xyz"),
        (("verify", "truth.xyz"), 3, "--truth"),
    ],
)
def test_what_is_missing_or_wrong_is_said_in_one_sentence(folder, tmp_path, monkeypatch, words, code, message):
    monkeypatch.chdir(folder)
    assert message in refused(*words, code=code)


def test_summaries_are_short_and_have_the_numbers(folder, chain, tmp_path):
    out = aet2dft("trace", chain[0], "-o", tmp_path / "again.h5").out
    assert f"{chain[1]['trace']['n_atoms']:,} candidates" in out
    assert out.count("\n") <= 10
    lines = aet2dft("verify", folder / "truth.xyz", "--truth", folder / "truth.xyz").out
    assert "100.00 % identified" in lines


@pytest.mark.needs_data
@pytest.mark.parametrize(
    ("images", "angles", "n_notes"),
    [
        ("ta_film_experimental/Projections_area26", "ta_film_experimental/angles", 1),
        ("genfire_workshop_fept/projections_FePt", "genfire_workshop_fept/angles", 0),
    ],
)
def test_refine_warns_of_a_film_and_not_of_a_particle(data_dir, images, angles, n_notes):
    read = ImagesSettings(angles=data_dir / f"{angles}.mat", pixel_size=0.35)
    series, _ = read_tilt_series(data_dir / f"{images}.mat", read)
    assert len(beyond_images(series)) == n_notes


def test_the_record_names_every_file_of_a_folder_of_images(folder, tmp_path):
    (tmp_path / "tilts").mkdir()
    for k, image in enumerate(np.load(folder / "images.npy")):
        tifffile.imwrite(tmp_path / "tilts" / f"{k}.tif", image)
    quick = ("--iterations", 1, "--held-out", 0, "--no-halves", "--no-check-conventions")
    read_it = ("--angles", folder / "angles.txt", "--pixel-size", PIXEL, "-o", tmp_path / "run.h5")
    found = done("reconstruct", tmp_path / "tilts", *read_it, *quick)
    assert found["warnings"][0] == "20 files of tilts, 0.tif to 19.tif, taken in this order"
    named = [entry["path"] for entry in store.load_json(tmp_path / "run.h5", "reconstruct")["inputs"]]
    assert [path.rsplit("/", 1)[1] for path in named] == [*(f"{k}.tif" for k in range(20)), "angles.txt"]
