"""What `info` finds: kinds of files, problems, and that it reads no more than it must.

Truth: the READMEs of the published data; files made here.
"""

import json
import struct

import ase.io
import mrcfile
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from made_outputs import DATA
from scipy.io import savemat
from small_particle import small, write_xyz

from aet2dft import store
from aet2dft.cli.summaries import info_lines
from aet2dft.config import ReadSettings
from aet2dft.errors import InputError
from aet2dft.inspection import inspect
from aet2dft.recon.atoms.simulate import simulate
from aet2dft.recon.tilt_series import Volume

PLAIN = ReadSettings()
PUBLISHED = {
    "angle_refinement_fept64/FePt_Vol_64_asymmetric.mat": "volume",
    "angle_refinement_fept64/pj_new_Turbu3_1015.mat": "tilt_series",
    "fept_2017/FePt_cns_final.xyz": "atoms",
    "fept_2017/model.mat": "atoms",
    "fept_2017/angles.mat": "angles",
    "genfire_workshop_fept/projections_FePt.mat": "tilt_series",
    "genfire_workshop_fept/support_FePt.mat": "volume",
    "genfire_workshop_fept/vesicle.mat": "volume",
    "hea_nucleation_2024/Final_atomic_model_HEA_19_nanoparticle.mat": "atoms",
    "mea_hea_2023/model_MEA1.mat": "atoms",
    "metallic_glass_2021/final_atom_coord_inA.mat": "atoms",
    "metallic_glass_2021/Loose_support.mat": "volume",
    "paet_np1_asi208/projections_Dose1p6e4_ForBM3D.mat": "tilt_series",
    "paet_np4_copdpt/MG_final_atom_coord_inA.mat": "atoms",
    "paet_np4_copdpt/RMSD_Model_CoPdPt_NoRadmDefocus_cov35pmDose1p7e4_S1N1000.mat": "unknown",
    "pdpt_core_shell/TO.xyz": "atoms",
    "ptni_nanocatalysts/model_p5.mat": "atoms",
    "resire_sample_amorphous/sample_projections_amorphous.mat": "tilt_series",
    "single_pt_liquid/stage1_docked_ATMS.pdb": "atoms",
    "ta_film_experimental/Projections_area24.mat": "tilt_series",
    "ta_film_experimental/ReconObj_sub24.mat": "volume",
    "ta_film_experimental/Final_atomic_model_Ta_film.mat": "atoms",
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_files_are_recognized(name, data_dir):
    found = inspect(data_dir / name, None, PLAIN)
    assert found["kind"] == PUBLISHED[name]
    if found["kind"] in ("volume", "tilt_series"):
        assert len(found["shape"]) == 3


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("pdpt_core_shell/PB.xyz", "voxels"),
        ("mea_hea_2023/model_MEA1.mat", "no element"),
        ("hea_nucleation_2024/Atom_local_classified_HEA_4_nanoparticle.mat", "is the unit Å?"),
        ("ta_film_experimental/Atom_tracing_all_peaks_Ta_film.mat", "is the unit Å?"),
    ],
)
def test_known_problems_of_published_files_are_found(name, problem, data_dir):
    assert any(problem in text for text in inspect(data_dir / name, None, PLAIN)["problems"])


def test_short_bonds_of_a_published_model_are_listed_once_species_are_known(data_dir):
    folder = data_dir / "mea_hea_2023"
    settings = ReadSettings(species="1=Ni,2=Pd,3=Pt")
    found = inspect(folder / "model_MEA1.mat", folder / "atoms_MEA1.mat", settings)
    assert found["min_distance"] == pytest.approx(1.0552, abs=1e-4)
    assert any("1.06 Å" in text for text in found["problems"])


def test_all_structures_of_a_file_are_looked_at(tmp_path):
    crystals = [bulk("Pt", cubic=True), bulk("Pt", cubic=True, a=0.9), bulk("Pt", cubic=True)]
    ase.io.write(tmp_path / "m.extxyz", crystals)
    found = inspect(tmp_path / "m.extxyz", None, PLAIN)
    assert (found["kind"], found["n_structures"], found["n_atoms"]) == ("atoms", 3, 4)
    assert [text[:11] for text in found["problems"]] == ["structure 1"]


STATUS = json.loads((DATA / "reference.json").read_text())["status"]


@pytest.mark.parametrize("folder", STATUS)
def test_every_stored_run_has_the_status_of_the_reference(folder):
    found = inspect(DATA / folder, None, PLAIN)
    assert (found["kind"], found["run_status"]) == ("dft_output", STATUS[folder]["detail"])
    assert (found["problems"] == []) == (found["run_status"] == "ok")


def test_a_folder_of_other_things_is_refused(tmp_path):
    write_xyz(tmp_path / "m.xyz")
    with pytest.raises(InputError, match=r"manifest\.json"):
        inspect(tmp_path, None, PLAIN)


def test_numbers_are_those_of_the_model(tmp_path):
    found = inspect(write_xyz(tmp_path / "m.xyz"), None, PLAIN)
    assert found["n_atoms"] == 1500
    assert np.allclose(found["extent"], np.ptp(small().positions, axis=0), atol=1e-5)
    assert found["periodic"] == [False] * 3


def test_values_of_images_and_volumes_are_looked_at(tmp_path):
    images = np.random.default_rng(0).normal(size=(9, 20, 24))
    np.save(tmp_path / "images.npy", images)
    found = inspect(tmp_path / "images.npy", None, PLAIN)
    assert (found["kind"], found["shape"], found["problems"]) == ("tilt_series", [9, 20, 24], [])
    assert found["range"] == [images.min(), images.max()]
    assert info_lines("images.npy", found)[1] == "shape: 9 x 20 x 24"
    assert (found["pixel_size"], found["unit"]) == (None, None)
    images[3, 4, :5] = np.nan
    np.save(tmp_path / "images.npy", images)
    assert inspect(tmp_path / "images.npy", None, PLAIN)["problems"] == ["5 values are NaN or infinite"]
    images[3, 4, 1:5] = 0.0
    np.save(tmp_path / "images.npy", images)
    assert inspect(tmp_path / "images.npy", None, PLAIN)["problems"] == ["1 value is NaN or infinite"]
    np.save(tmp_path / "volume.npy", np.ones((10, 10, 10)))
    found = inspect(tmp_path / "volume.npy", None, PLAIN)
    assert (found["kind"], found["problems"]) == ("volume", ["all values are 1"])


def test_the_pixel_size_of_an_mrc_file_is_given(tmp_path):
    with mrcfile.new(tmp_path / "volume.mrc") as file:
        file.set_data(np.arange(1000, dtype=np.float32).reshape(10, 10, 10))
        file.voxel_size = 0.35
    found = inspect(tmp_path / "volume.mrc", None, PLAIN)
    assert (found["pixel_size"], found["unit"]) == (pytest.approx(0.35), "Å")


def test_values_that_cannot_be_used_are_a_problem_of_a_file_that_can_be_read(tmp_path):
    values = np.random.default_rng(0).random((10, 10, 10)).astype(np.complex64)
    mrcfile.write(tmp_path / "complex.mrc", values)
    np.save(tmp_path / "complex.npy", values)
    for name in ("complex.mrc", "complex.npy"):
        found = inspect(tmp_path / name, None, PLAIN)
        assert found["kind"] == "volume"
        assert "complex" in found["problems"][0]


def matlab_object(name):
    """A variable of a version 5 file that is an object, as MATLAB writes it."""
    short = [struct.pack("<HH4s", 1, len(word), word) for word in (name, b"MCOS")]
    content = struct.pack("<4I", 6, 8, 17, 0) + b"".join(short)
    return struct.pack("<2I", 14, len(content)) + content


def test_a_matlab_object_is_named_and_the_arrays_beside_it_are_found(tmp_path):
    """Truth: an object that is put behind an array, packed and not."""
    (tmp_path / "object.mat").write_bytes(b"MATLAB 5.0".ljust(124) + b"\x00\x01IM" + matlab_object(b"obj"))
    found = inspect(tmp_path / "object.mat", None, PLAIN)
    assert found["kind"] == "unknown"
    assert "obj is a MATLAB object; save its arrays as plain ones" in found["problems"][1]
    assert not any("None" in line for line in info_lines("object.mat", found))
    for packed in (False, True):
        path = tmp_path / f"both{packed}.mat"
        savemat(path, {"volume": np.arange(1000, dtype=np.int16).reshape(10, 10, 10)}, do_compression=packed)
        path.write_bytes(path.read_bytes() + matlab_object(b"obj"))
        found = inspect(path, None, PLAIN)
        assert (found["kind"], found["shape"], found["range"]) == ("volume", [10, 10, 10], [0, 999])


@pytest.mark.parametrize("name", ["angles.txt", "angles.npy"])
def test_lists_of_angles_are_told(tmp_path, name):
    tilts = np.linspace(-60, 60, 21)
    write = np.save if name.endswith("npy") else np.savetxt
    write(tmp_path / name, tilts)
    found = inspect(tmp_path / name, None, PLAIN)
    assert (found["kind"], found["shape"], found["range"], found["problems"]) == ("angles", [21], [-60, 60], [])
    write(tmp_path / name, np.radians(tilts))
    assert "look like radians" in inspect(tmp_path / name, None, PLAIN)["problems"][0]


def test_images_volume_and_atoms_of_a_project_are_described(tmp_path):
    tilts = np.linspace(-60, 60, 5)
    atoms = Atoms("Pt3", positions=[(0, 0, 0), (3, 0, 0), (0, 3, 1)])
    series = simulate(atoms, tilts, shape=(24, 20), pixel_size=0.4)
    volume = Volume(values=np.ones((24, 20, 24)), voxel_size=0.4, origin=np.zeros(3), history=("made here",))
    project = tmp_path / "run.h5"
    store.save(project, "reconstruct", {"series": series, "volume": volume}, {})
    found = inspect(project, None, PLAIN)
    assert (found["kind"], found["groups"], found["problems"]) == ("project", ["reconstruct"], [])
    assert info_lines("run.h5", {**found, "groups": ["reconstruct", "trace"]})[1] == "groups: reconstruct, trace"
    assert found["tilt_series"] == {"shape": [5, 24, 20], "pixel_size": 0.4, "tilt_range": [-60.0, 60.0]}
    assert found["volume"] == {"shape": [24, 20, 24], "voxel_size": 0.4, "history": ["made here"]}
    store.save(project, "trace", {"atoms": atoms}, {"with_volume": False})
    found = inspect(project, None, PLAIN)
    assert (found["n_atoms"], found["composition"]) == (3, {"Pt": 3})
    assert found["min_distance"] == pytest.approx(3.0)
