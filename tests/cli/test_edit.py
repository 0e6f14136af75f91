"""Corrections by hand in a project. Truth: a crystal whose volume is a sum of Gaussians, and the lines of the file."""

import numpy as np
import pytest
from ase.io import read
from commands import ALWAYS, done, files, refused
from numpy.testing import assert_array_equal

from aet2dft import store
from aet2dft.errors import LockedError
from aet2dft.synthetic import Grain, everywhere, particle

VOXEL = 0.4
N = 180


@pytest.fixture(scope="module")
def traced(tmp_path_factory):
    """Project with the candidates of an L1₂ crystal of 180 atoms, classified; and its folder."""
    folder = tmp_path_factory.mktemp("edit")
    atoms = particle((Grain(variant=1, region=everywhere),), n_atoms=N, antisites=0.0)
    axis = VOXEL * (np.arange(64) - 32)
    waves = [np.exp(-0.5 * ((axis - x[:, None]) / 0.5) ** 2) for x in atoms.positions.T]
    heights = np.where(atoms.symbols == "Pt", 4.0, 1.0)
    np.save(folder / "volume.npy", np.einsum("a,ai,aj,ak->ijk", heights, *waves, optimize=True).astype(np.float32))
    project = folder / "run.h5"
    done("trace", folder / "volume.npy", "--voxel-size", VOXEL, "-o", project)
    assert done("classify", project, "--species", "Fe,Pt")["composition"] == atoms.symbols.formula.count()
    return project


def edits(project, *lines):
    path = project.parent / "edits.csv"
    path.write_text("\n".join(["action,site_id,x,y,z,species", *lines]))
    return path


def exported(project):
    done("export", project, project.parent / "atoms.xyz")
    return read(project.parent / "atoms.xyz")


def test_edited_atoms_are_what_later_steps_take_and_running_without_a_file_undoes_it(traced):
    before = exported(traced)
    added = before.positions[0] + before.positions.max() + 5.0
    lines = ["remove,3", f"add,,{','.join(map(str, added))},Pt", "relabel,1,,,,Fe"]
    said = done("edit", traced, "--apply", edits(traced, *lines))
    assert said.keys() >= ALWAYS | {"n_atoms", "composition", "add", "remove", "move", "relabel", "changes"}
    assert (said["add"], said["remove"], said["move"], said["relabel"]) == (1, 1, 0, 1)
    assert exported(traced).arrays["site_id"].tolist() == [1, 2, *range(4, N + 2)]
    assert [change["line"] for change in store.load_json(traced, "edit")["edits"]] == [2, 3, 4]
    assert done("order", traced)["n_atoms"] == N
    undone = done("edit", traced, "--overwrite")
    assert any("gone: order" in text for text in undone["warnings"])
    after = exported(traced)
    assert_array_equal(after.positions, before.positions)
    assert_array_equal(after.numbers, before.numbers)


def test_corrections_start_from_the_measured_atoms_each_time(traced):
    for _ in range(2):
        said = done("edit", traced, "--apply", edits(traced, "remove,5"), "--overwrite")
        assert said["n_atoms"] == N - 1


def test_a_new_classification_outdates_corrections_and_says_so(traced):
    done("edit", traced, "--apply", edits(traced, "remove,5"), "--overwrite")
    said = done("classify", traced, "--species", "Fe,Pt", "--overwrite")
    assert any("gone: edit" in text for text in said["warnings"])
    assert "edit" not in store.groups(traced)


def test_a_wrong_line_changes_nothing_and_is_named(traced):
    before = traced.read_bytes()
    answer = refused("edit", traced, "--apply", edits(traced, "remove,5", "move,7,1,2"), "--overwrite")
    assert "line 3: move needs z" in answer
    assert traced.read_bytes() == before


def test_a_dry_run_checks_the_lines_and_writes_nothing(traced):
    far = edits(traced, "remove,5", "add,,90,90,90,Fe")
    said = done("edit", traced, "--apply", far, "--dry-run", "--overwrite")
    assert said["remove"] == 1
    assert said["warnings"] == ["1 atom ends farther than 6 Å from all others: line 3"]
    done("edit", traced, "--overwrite")
    before = traced.read_bytes()
    assert "would be refused" in done("edit", traced, "--apply", far, "--dry-run")["warnings"][-1]
    done("edit", traced, "--apply", far, "--dry-run", "--overwrite")
    assert traced.read_bytes() == before


def test_atoms_that_were_corrected_first_are_what_classify_takes_and_the_log_stays(traced, tmp_path):
    project = tmp_path / "run.h5"
    done("trace", traced.parent / "volume.npy", "--voxel-size", VOXEL, "-o", project)
    done("edit", project, "--apply", edits(project, "remove,3", "remove,5"))
    assert sum(done("classify", project, "--species", "Fe,Pt")["composition"].values()) == N - 2
    assert store.lineage(project, store.last_step(project)) == ["classify", "edit", "trace"]
    assert len(store.load_json(project, "edit")["edits"]) == 2
    again = done("edit", project, "--apply", edits(project, "remove,7"), "--overwrite")
    assert any("gone: classify" in text for text in again["warnings"])
    assert again["n_atoms"] == N - 1
    done("edit", project, "--overwrite")
    assert sum(done("classify", project, "--species", "Fe,Pt")["composition"].values()) == N
    assert store.lineage(project, store.last_step(project)) == ["classify", "trace"]


def test_corrected_atoms_under_another_name_are_what_every_verb_takes(traced, tmp_path):
    project = tmp_path / "edited.h5"
    done("edit", traced, "--apply", edits(traced, "remove,3"), "-o", project)
    assert done("info", project)["n_atoms"] == N - 1
    assert exported(project).arrays["site_id"].tolist() == [1, 2, *range(4, N + 1)]
    done("report", project, "-o", tmp_path / "page.html")
    assert done("order", project, "--surrogates", 2)["n_atoms"] == N - 1
    before = files(tmp_path)
    assert "begins with `edit`" in refused("edit", project, "--apply", edits(traced, "remove,5"), "--overwrite")
    assert "holds no result of `reconstruct`" in refused("classify", project, "--species", "Fe,Pt")
    assert "holds no images; give those" in refused("refine", project)
    assert files(tmp_path) == before


def test_what_a_step_starts_from_is_read_while_nobody_else_can_replace_it(traced, monkeypatch):
    load, read_from = store.load, []

    def held(path, *record):
        with pytest.raises(LockedError), store.locked(path):
            pass
        read_from.append(path)
        return load(path, *record)

    monkeypatch.setattr(store, "load", held)
    for words in (("classify", "--species", "Fe,Pt"), ("edit",), ("order", "--surrogates", 2)):
        done(words[0], traced, *words[1:], "--overwrite")
    assert len(read_from) > 3
