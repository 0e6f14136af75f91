"""Classification of candidates that other software traced. Truth: a piece of the measured particle as a made volume."""

import csv

import mrcfile
import numpy as np
import pytest
from ase import Atoms
from ase.io import write
from commands import done, refused
from scipy.io import savemat
from scipy.ndimage import gaussian_filter

from aet2dft import store

VOXEL = 0.35


@pytest.fixture(scope="module")
def folder(tmp_path_factory, fept):
    """Volume of a piece of 20 Å with noise, and its atoms in voxels counted from 1, as MATLAB does."""
    place = tmp_path_factory.mktemp("foreign")
    piece = fept[np.linalg.norm(fept.positions - fept.positions.mean(axis=0), axis=1) < 10]
    index = np.rint((piece.positions - piece.positions.mean(axis=0)) / VOXEL).astype(int) + 36
    density = np.zeros((72, 72, 72))
    density[tuple(index.T)] = np.where(piece.symbols == "Pt", 4.0, 1.0)
    density = gaussian_filter(density, 1.4) + np.random.default_rng(0).normal(0, 0.002, density.shape)
    with mrcfile.new(place / "volume.mrc") as file:
        file.set_data(np.ascontiguousarray(density.T, dtype=np.float32))
    savemat(place / "traced.mat", {"traced": (index + 1.0).T})
    return place, piece


def test_coordinates_of_a_matlab_tracing_are_classified_in_a_foreign_volume(folder, tmp_path):
    place, piece = folder
    project = tmp_path / "run.h5"
    options = ("--volume", place / "volume.mrc", "--voxel-size", VOXEL, "--species", "Fe,Pt")
    said = done("classify", place / "traced.mat", *options, "-o", project)
    n_iron = int((piece.symbols == "Fe").sum())
    assert said["composition"]["Fe"] == pytest.approx(n_iron, abs=2)
    assert sum(said["composition"].values()) == len(piece)
    assert any("first voxel, as 1" in text for text in said["warnings"])
    assert {entry["path"] for entry in store.load_json(project, "classify")["inputs"]} == {
        str(place / name) for name in ("traced.mat", "volume.mrc")
    }
    assert done("order", project, "-o", tmp_path / "order.h5", "--surrogates", 2)["n_atoms"] == len(piece)
    done("export", project, tmp_path / "tables", "--what", "tables")
    with (tmp_path / "tables" / "atoms.csv").open(newline="") as table:
        assert [int(row["site_id"]) for row in csv.DictReader(table)] == [*range(1, len(piece) + 1)]


def test_candidates_beside_the_spots_or_too_near_each_other_are_said(folder, tmp_path):
    place, piece = folder
    volume = ("--volume", place / "volume.mrc", "--voxel-size", VOXEL, "--species", "Fe,Pt", "--dry-run")
    places = piece.positions - piece.positions.mean(axis=0)

    def doubts(name, positions):
        write(tmp_path / name, Atoms("X" * len(positions), positions=positions))
        said = done("classify", tmp_path / name, *volume, "-o", tmp_path / "run.h5")["warnings"]
        return [text for text in said if "beside bright spots" in text or "Å apart in the median" in text]

    assert doubts("right.xyz", places) == []
    assert "beside bright spots" in doubts("moved.xyz", places + np.array([0.9, 0.0, 0.0]))[0]
    write(tmp_path / "turned.xyz", Atoms("X" * len(places), positions=places[:, [1, 2, 0]] * (1, -1, 1)))
    said = refused("classify", tmp_path / "turned.xyz", *volume, "-o", tmp_path / "run.h5")
    assert "check --voxel-size and the order of the axes" in said
    assert "0.26 Å apart" in doubts("nm.xyz", places / 10)[-1]


def test_what_is_missing_is_said(folder, tmp_path):
    place, _ = folder
    volume = ("--volume", place / "volume.mrc", "--voxel-size", VOXEL)
    assert "--volume" in refused("classify", place / "traced.mat", "-o", tmp_path / "x.h5")
    assert "needs -o" in refused("classify", place / "traced.mat", *volume, code=2)
    savemat(tmp_path / "rows.mat", {"PosArr": np.zeros((30, 3)), "TotPosArr": np.zeros((30, 3))})
    rows = refused("classify", tmp_path / "rows.mat", *volume, "-o", tmp_path / "x.h5")
    assert "PosArr (30, 3)" in rows
    assert "save the coordinates alone, e.g. as .xyz" in rows
    savemat(tmp_path / "far.mat", {"traced": 1e4 + np.random.default_rng(0).uniform(0, 70, (3, 30))})
    assert "not brighter" in refused("classify", tmp_path / "far.mat", *volume, "-o", tmp_path / "x.h5")
    assert not (tmp_path / "x.h5").exists()


def test_the_volume_may_be_that_of_a_project(folder, tmp_path):
    place, piece = folder
    done("trace", place / "volume.mrc", "--voxel-size", VOXEL, "-o", tmp_path / "traced.h5")
    options = ("--volume", tmp_path / "traced.h5", "--species", "Fe,Pt")
    said = done("classify", place / "traced.mat", *options, "-o", tmp_path / "run.h5")
    assert sum(said["composition"].values()) == len(piece)
    assert "leave out --voxel-size" in refused(
        "classify", place / "traced.mat", *options, "--voxel-size", VOXEL, "-o", tmp_path / "b.h5", code=2
    )
