"""Files of atoms: every format, what is inferred and said, what is refused.

Truth: models written here with ASE and SciPy, and the numbers in the READMEs of the published data.
"""

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from hypothesis import given
from hypothesis import strategies as st
from scipy.io import savemat
from small_particle import small, small_order, write_xyz

from aet2dft import store
from aet2dft.atoms import check
from aet2dft.config import ReadSettings
from aet2dft.datasets import fept_2017
from aet2dft.errors import InputError, ParseError
from aet2dft.exporting import write_atoms, write_tables
from aet2dft.matlab import mat_array, mat_variables
from aet2dft.structure.readers import load_atoms, load_structures, read, settings_of_two

AET = ReadSettings(species={"1": "Fe", "2": "Pt"})


def test_a_plain_xyz_file_is_read_as_it_stands(tmp_path):
    atoms = read(write_xyz(tmp_path / "m.xyz"))
    assert np.allclose(atoms.positions, small().positions, atol=1e-6)
    assert (atoms.numbers == small().numbers).all()
    assert atoms.info["notes"] == ()
    assert not atoms.pbc.any()


@pytest.mark.parametrize("form", ["extxyz", "cif", "vasp", "proteindatabank", "xsf"])
def test_periodic_formats_of_ase_are_read(form, tmp_path):
    suffix = {"vasp": "POSCAR", "proteindatabank": "m.pdb"}.get(form, f"m.{form}")
    crystal = bulk("Pt", cubic=True)
    ase.io.write(tmp_path / suffix, crystal, format=form)
    atoms = read(tmp_path / suffix)
    assert len(atoms) == 4
    assert np.allclose(atoms.cell.lengths(), 3.92, atol=1e-3)


def test_line_endings_blanks_more_columns_and_a_mark_at_the_beginning_do_not_matter(tmp_path):
    text = "2 \r\n comment \r\n fe  0.0 0.0 0.0 extra 7\r\nPT 2.7 0 0\r\n\r\n"
    (tmp_path / "m.xyz").write_bytes(b"\xef\xbb\xbf" + text.encode())
    atoms = read(tmp_path / "m.xyz")
    assert atoms.get_chemical_symbols() == ["Fe", "Pt"]
    assert atoms.positions[1, 0] == 2.7


@pytest.mark.parametrize(
    "head", ["element,x,y,z,b", "b,symbol,x (Å),y (Å),z (Å)", "positions_x,positions_y,b,positions_z,Species"]
)
def test_a_table_of_atoms_is_read_by_the_names_of_its_columns(tmp_path, head):
    cells = {"x": "2.7", "y": "-0.5", "z": "1e-1", "b": "0.8", "t": "Pt"}
    letters = [
        "t" if word.lower() in ("element", "symbol", "species") else word.split()[0][-1] for word in head.split(",")
    ]
    (tmp_path / "m.csv").write_text(f"{head}\n" + ",".join(cells[letter] for letter in letters) + "\n")
    atoms = load_atoms(tmp_path / "m.csv")
    assert atoms.get_chemical_symbols() == ["Pt"]
    assert atoms.positions.tolist() == [[2.7, -0.5, 0.1]]
    assert atoms.info["notes"] == ("columns of m.csv that were not read: b",)


def test_tables_with_decimal_commas_and_with_types_are_read(tmp_path):
    (tmp_path / "m.csv").write_text("type;x;y;z\n1;0,5;0;0\n2;3,25;0;0\n")
    atoms = read(tmp_path / "m.csv", settings=AET)
    assert atoms.get_chemical_symbols() == ["Fe", "Pt"]
    assert atoms.positions[:, 0].tolist() == [0.5, 3.25]


def test_a_table_that_is_exported_is_read_again(tmp_path):
    write_tables(tmp_path, atoms=small(), order=None, runs=None)
    atoms = read(tmp_path / "atoms.csv")
    assert (atoms.numbers == small().numbers).all()
    assert np.allclose(atoms.positions, small().positions, atol=1e-9)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("image,tilt\n0,5\n", "among its columns image, tilt there is not just one element and one x and"),
        ("x,y,z\n1,0,0\n", "among its columns x, y, z there is not just one element;"),
        ("element,x,x,y,z\nFe,1,0,0,0\n", "there is not just one x; name the columns element, x, y, z"),
        ("1,0,0,0\n", "its first line names no columns"),
        ("element,x,y,z\nFe,0,0,0\nPt,1,a,2\n", "line 3: 'Pt 1 a 2' are no numbers"),
        ("element,x,y,z\nFe,0,0,0\nQq,3,0,2\n", r"'Qq' \(line 3\) is not a chemical element"),
    ],
)
def test_a_table_that_holds_no_atoms_is_refused(tmp_path, content, message):
    (tmp_path / "m.csv").write_text(content)
    with pytest.raises(InputError, match=message):
        read(tmp_path / "m.csv")


@given(part=st.floats(0, 1, exclude_max=True))
def test_a_cut_xyz_file_is_never_a_smaller_model(part, tmp_path_factory):
    folder = tmp_path_factory.mktemp("cut")
    content = write_xyz(folder / "m.xyz", small()[:50]).read_bytes().rstrip()
    (folder / "cut.xyz").write_bytes(content[: int(part * (content.rindex(b"\n") + 1))])
    with pytest.raises(InputError, match=r"cut\.xyz"):
        load_atoms(folder / "cut.xyz")


def test_structures_of_a_file_are_numbered_from_zero(tmp_path):
    crystals = [bulk("Pt", cubic=True, a=a) for a in (3.9, 4.0, 4.1)]
    path = tmp_path / "m.extxyz"
    ase.io.write(path, crystals)
    assert [round(atoms.cell.lengths()[0], 3) for atoms in load_structures(path)] == [3.9, 4.0, 4.1]
    assert read(f"{path}@2").cell.lengths()[0] == pytest.approx(4.1)
    assert len(load_structures(tmp_path / "m.extxyz@1")) == 1
    with pytest.raises(InputError, match="holds 3 structures; name one"):
        read(path)
    with pytest.raises(InputError, match="there is no 3"):
        read(f"{path}@3")


def test_what_export_wrote_is_read_with_all_its_arrays(tmp_path):
    atoms = small_order()[0].copy()
    atoms.set_array("residue", np.full(len(atoms), "MOL"))
    written = atoms.copy()
    written.set_array("chain", np.full(len(atoms), "chain A"))  # blanks are between columns
    again = read(write_atoms(written, tmp_path / "m.xyz"))
    assert {name: values.dtype.kind for name, values in again.arrays.items()} == {
        name: values.dtype.kind for name, values in atoms.arrays.items()
    }
    assert (again.arrays["site_id"] == atoms.arrays["site_id"]).all()
    with pytest.raises(InputError, match="leave out --species"):
        read(tmp_path / "m.xyz", settings=AET)


def test_arrays_that_a_project_cannot_hold_are_left_out_and_named(tmp_path):
    atoms = small()
    for name in ("my/col", ".", "mine"):
        atoms.set_array(name, np.arange(len(atoms)))
    ase.io.write(tmp_path / "m.xyz", atoms, format="extxyz")
    again = read(tmp_path / "m.xyz")
    assert set(again.arrays) == {"numbers", "positions", "mine"}
    assert any("left out: my/col, ." in note for note in again.info["notes"])
    store.save(tmp_path / "run.h5", "order", {"atoms": again}, {})
    assert (store.load_atoms(tmp_path / "run.h5").arrays["mine"] == atoms.arrays["mine"]).all()


# MATLAB -------------------------------------------------------------------------------------------------------------


def types_of(atoms):
    return np.where(atoms.numbers == 26, 1, 2)[None]


@pytest.mark.parametrize("version", ["5", "7.3"])
@pytest.mark.parametrize("together", [True, False])
def test_coordinates_and_types_come_from_one_file_or_two(version, together, tmp_path):
    atoms = small()
    parts = {"model": atoms.positions.T, "types": types_of(atoms).astype(np.uint8), "angle": np.zeros((68, 3))}
    names = [list(parts)] if together else [["model", "angle"], ["types"]]
    paths = []
    for k, own in enumerate(names):
        paths.append(tmp_path / f"{k}.mat")
        if version == "5":
            savemat(paths[-1], {name: parts[name] for name in own})
        else:
            import h5py

            with h5py.File(paths[-1], "w") as file:
                for name in own:
                    file[name] = parts[name].T
    found = read(*paths, settings=AET)
    assert np.array_equal(found.positions, atoms.positions)
    assert (found.numbers == atoms.numbers).all()
    notes = " ".join(found.info["notes"])
    assert all(word in notes for word in ("'model'", "'types'", "taken as Å", "1 = Fe, 2 = Pt"))


def test_without_species_types_stay_and_it_is_said(tmp_path):
    savemat(tmp_path / "m.mat", {"model": small().positions.T, "types": types_of(small())})
    atoms = read(tmp_path / "m.mat")
    assert set(atoms.symbols) == {"X"}
    assert (atoms.arrays["type"] == types_of(small())[0]).all()
    assert any("--species" in note for note in atoms.info["notes"])


def test_one_species_is_enough_where_there_are_no_types(tmp_path):
    savemat(tmp_path / "m.mat", {"model": small().positions.T})
    assert set(read(tmp_path / "m.mat", settings=ReadSettings(species={"1": "Pt"})).symbols) == {"Pt"}


def test_a_variable_is_named_where_several_would_do(tmp_path):
    savemat(
        tmp_path / "m.mat",
        {"first": small().positions.T, "second": small().positions.T + 1, "turned": small().positions},
    )
    with pytest.raises(InputError, match=r"several arrays.*--variable"):
        read(tmp_path / "m.mat")
    assert np.allclose(
        read(tmp_path / "m.mat", settings=ReadSettings(variable="second")).positions, small().positions + 1
    )
    assert np.allclose(read(tmp_path / "m.mat", settings=ReadSettings(variable="turned")).positions, small().positions)


def test_voxels_become_angstrom(tmp_path):
    savemat(tmp_path / "m.mat", {"model": small().positions.T / 0.35, "types": types_of(small())})
    with pytest.raises(InputError, match="voxels"):
        read(tmp_path / "m.mat", settings=AET)
    atoms = read(tmp_path / "m.mat", settings=ReadSettings(species=AET.species, voxel_size=0.35))
    assert np.allclose(atoms.positions, small().positions)


def bare(path, factor=1.0):
    """File of the particle with types, in voxels of `factor` Å."""
    savemat(path, {"model": small().positions.T / factor, "types": types_of(small())})
    return path


BOTH = {"species", "voxel_size"}


@pytest.mark.parametrize(
    ("first", "second", "of_first", "of_second"),
    [
        ("angstrom.xyz", "bare.mat", set(), BOTH),
        ("angstrom.xyz", "types.xyz", set(), BOTH),
        ("angstrom.xyz", "voxels.xyz", {"species"}, BOTH),
        ("voxels.xyz", "bare.mat", {"voxel_size"}, BOTH),
        ("types.xyz", "bare.mat", BOTH, BOTH),
        ("angstrom.xyz", "angstrom.xyz", BOTH, BOTH),
    ],
)
def test_settings_of_two_files_go_to_the_one_that_needs_them(first, second, of_first, of_second, tmp_path):
    """By hand: a file that names its elements needs none, and one that does and is in Å no voxel size."""
    write_xyz(tmp_path / "angstrom.xyz")
    voxels = small()
    voxels.positions /= 0.35
    ase.io.write(tmp_path / "voxels.xyz", voxels)
    rows = [f"{t} {x} {y} {z}" for t, (x, y, z) in zip(types_of(voxels)[0], voxels.positions, strict=True)]
    (tmp_path / "types.xyz").write_text("\n".join([str(len(rows)), "", *rows]))
    bare(tmp_path / "bare.mat", 0.35)
    given = ReadSettings(species=AET.species, voxel_size=0.35)
    for one, other, own in ((first, second, of_first), (second, first, of_second)):
        assert settings_of_two(tmp_path / one, tmp_path / other, given).model_fields_set == own


def test_a_sentence_on_an_unsound_model_names_its_file(tmp_path):
    with pytest.raises(InputError, match=r"m\.mat: coordinates are not in Å"):
        read(bare(tmp_path / "m.mat", 0.35), settings=AET)


def test_variables_are_listed_without_being_read(tmp_path):
    savemat(tmp_path / "m.mat", {"a": np.zeros((2, 3)), "text": "abc", "b": np.zeros((4, 5, 6), dtype=np.int16)})
    assert mat_variables(tmp_path / "m.mat") == {"a": (2, 3), "b": (4, 5, 6)}
    assert mat_array(tmp_path / "m.mat", "b").shape == (4, 5, 6)
    with pytest.raises(InputError, match="no variable 'c'; it holds a, b"):
        mat_array(tmp_path / "m.mat", "c")


@given(part=st.floats(0.01, 0.99))
def test_a_cut_matlab_file_is_refused(part, tmp_path_factory):
    folder = tmp_path_factory.mktemp("mat")
    savemat(folder / "m.mat", {"model": small().positions.T}, do_compression=True)
    content = (folder / "m.mat").read_bytes()
    (folder / "cut.mat").write_bytes(content[: int(part * len(content))])
    with pytest.raises(InputError, match=r"cut\.mat"):
        load_atoms(folder / "cut.mat")


# published data -----------------------------------------------------------------------------------------------------


def test_the_published_particle_has_6569_iron_and_16627_platinum_atoms():
    atoms = fept_2017()
    assert (atoms.numbers == 26).sum() == 6569
    assert (atoms.numbers == 78).sum() == 16627


def test_the_matlab_pair_of_the_particle_is_the_published_model(data_dir):
    folder = data_dir / "fept_2017"
    atoms, published = read(folder / "model.mat", folder / "atoms.mat", AET), fept_2017()
    assert atoms.get_chemical_formula() == published.get_chemical_formula() == "Fe6569Pt16627"
    # the pair is in the frame of the tilt series: what does not depend on the frame must agree
    here, there = (np.linalg.eigvalsh(np.cov(model.positions.T)) for model in (atoms, published))
    assert np.allclose(here, there, rtol=1e-5)
    assert np.isclose(check(atoms).min_distance, check(published).min_distance, atol=1e-5)


@pytest.mark.parametrize(
    ("folder", "model", "types", "species", "n"),
    [
        ("mea_hea_2023", "model_MEA1.mat", "atoms_MEA1.mat", "1=Ni,2=Pd,3=Pt", 2436),
        ("mea_hea_2023", "model_HEA3.mat", "atoms_HEA3.mat", "1=Co,2=Pd,3=Pt", 3696),
        ("ptni_nanocatalysts", "model_p5.mat", "atoms_p5.mat", "1=Ni,2=Pt", 4281),
        ("ptni_nanocatalysts", "model_S6.mat", "atoms_S6.mat", "1=Ni,2=Pt", 7220),
        ("metallic_glass_2021", "final_atom_coord_inA.mat", "final_atom_types.mat", "1=Co,2=Pd,3=Pt", 18356),
        ("hea_nucleation_2024", "Final_atomic_model_HEA_19_nanoparticle.mat", None, "1=Co,2=Pd,3=Pt", 5379),
    ],
)
def test_published_models_are_read_whole(folder, model, types, species, n, data_dir):
    place = data_dir / folder
    atoms = read(place / model, place / types if types else None, ReadSettings(species=species))
    assert len(atoms) == n
    assert set(atoms.symbols) == {pair.partition("=")[2] for pair in species.split(",")}


def test_a_model_in_voxels_that_calls_itself_xyz_is_noticed(data_dir):
    with pytest.raises(InputError, match=r"voxels.*--voxel-size 0\.3"):
        read(data_dir / "pdpt_core_shell" / "PB.xyz")
    assert len(read(data_dir / "pdpt_core_shell" / "TO.xyz")) == 8468


def test_a_damaged_file_says_where(tmp_path):
    (tmp_path / "m.xyz").write_text("2\n\nFe 0 0 0\nPt 1 2 x\n")
    with pytest.raises(ParseError) as error:
        load_atoms(tmp_path / "m.xyz")
    assert (error.value.line, error.value.path) == (4, tmp_path / "m.xyz")
    assert isinstance(load_atoms(write_xyz(tmp_path / "n.xyz", Atoms("Fe"))), Atoms)
