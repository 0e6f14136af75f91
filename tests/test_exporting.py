"""Files for other programs, read back with other programs' eyes.

Truth: the records that were written; OVF 2.0 as OOMMF describes it.
"""

import csv
import dataclasses
import errno
import os
from pathlib import Path

import ase.io
import mrcfile
import numpy as np
import pytest
from run_tables import synthetic_runs
from small_particle import small_order
from small_tomography import save_project, small_tomography

from aet2dft import store
from aet2dft.dft_inputs.anisotropy import MJ_PER_M3
from aet2dft.errors import InputError, ResourceError
from aet2dft.exporting import export, write_anisotropy_field, write_atoms, write_tables, write_volume
from aet2dft.recon.images.readers import read_volume
from aet2dft.recon.tilt_series import Volume
from aet2dft.structure.lattice import fit_lattice


def rows(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_atoms_come_back_from_extended_xyz_with_all_arrays(tmp_path):
    atoms, _ = small_order()
    again = ase.io.read(write_atoms(atoms, tmp_path / "deep" / "m.extxyz"))
    assert set(again.arrays) == set(atoms.arrays)
    for name, values in atoms.arrays.items():
        assert again.arrays[name].shape == values.shape
        assert np.allclose(again.arrays[name], values, atol=1e-7, equal_nan=True), name


def test_arrays_that_the_format_cannot_hold_are_left_out(tmp_path):
    atoms = small_order()[0].copy()
    atoms.set_array("tensor", np.zeros((len(atoms), 3, 3)))
    assert "tensor" not in ase.io.read(write_atoms(atoms, tmp_path / "m.xyz")).arrays
    assert "tensor" in atoms.arrays


def test_tables_hold_a_row_per_atom_grain_and_bin(tmp_path):
    atoms, order = small_order()
    files = write_tables(tmp_path / "tables", atoms=atoms, order=order, runs=None)
    assert [file.name for file in files] == ["atoms.csv", "grains.csv", "antisite_profile.csv"]
    table = rows(files[0])
    assert len(table) == len(atoms)
    assert [int(row["site_id"]) for row in table] == atoms.arrays["site_id"].tolist()
    assert [float(row["positions_x"]) for row in table] == atoms.positions[:, 0].tolist()
    assert [row["symbol"] for row in table] == atoms.get_chemical_symbols()
    assert [row["name"] for row in rows(files[1])] == order.chemical.grains.name.tolist()


def test_volumes_have_units_in_their_names_and_empty_cells_for_what_is_missing(tmp_path):
    runs = synthetic_runs(failed=(3,))
    files = write_tables(tmp_path, atoms=None, order=None, runs=runs)
    assert [file.name for file in files] == ["jobs.csv", "volumes.csv"]
    table = rows(files[1])
    assert len(table) == len(runs.volumes.volume)
    assert [row["id"] for row in table] == runs.volumes.volume.tolist()
    for row, mae, energies in zip(table, runs.volumes.mae, runs.volumes.energies, strict=True):
        assert row["mae_meV_per_atom"] == ("" if np.isnan(mae) else repr(float(mae)))
        assert float(row[f"energy_{runs.axes[0]}"] or "nan") == pytest.approx(energies[0], nan_ok=True)
    assert any(row["mae_meV_per_atom"] == "" for row in table)


def test_text_of_an_ovf_file_holds_constant_step_and_place(tmp_path):
    atoms, _ = small_order()
    runs = synthetic_runs(grid=(2, 3, 4))
    files = write_anisotropy_field(runs, atoms, tmp_path / "k.ovf")
    assert [file.name for file in files] == ["k.ovf", "k_axis.ovf", "k_mask.ovf"]
    header = files[0].read_bytes().partition(b"# Begin: Data")[0].decode()
    tags = dict(line[2:].split(": ", 1) for line in header.splitlines() if ": " in line)
    half = 0.5 * fit_lattice(atoms).cubic_a * 1e-10
    assert "cells without a value: K = 0 and mask = 0" in header
    assert "# Title: mask: 1 where there is a value, 0 elsewhere" in files[2].read_bytes()[:400].decode(errors="ignore")
    assert float(tags["xstepsize"]) == pytest.approx(half, rel=1e-6)
    # the first cell has its center where the sites of its volume have theirs
    expected = (runs.volumes.center_site.min(axis=0) - 0.5) * half
    base = [float(tags[f"{axis}base"]) for axis in "xyz"]
    assert base == pytest.approx(expected.tolist(), abs=1e-3 * half)
    assert [int(tags[f"{axis}nodes"]) for axis in "xyz"] == [2, 3, 4]


def test_the_constant_of_two_axes_is_the_energy_difference_per_volume(tmp_path):
    atoms, _ = small_order()
    runs = synthetic_runs(grid=(2, 2, 2))
    energies = runs.volumes.energies.copy()
    energies[:, 0] = energies[:, 1] + 1e-3 * runs.volumes.mae * runs.volumes.n_atoms
    runs = dataclasses.replace(runs, volumes=dataclasses.replace(runs.volumes, energies=energies))
    files = write_anisotropy_field(runs, atoms, tmp_path / "k.ovf")
    raw = files[0].read_bytes()
    start = raw.index(b"# Begin: Data Binary 8\n") + len(b"# Begin: Data Binary 8\n")
    values = np.frombuffer(raw[start : start + 8 * 9], dtype="<f8")
    assert values[0] == 123456789012345.0
    volume = (0.5 * fit_lattice(atoms).cubic_a) ** 3 * runs.volumes.size[0].prod() / runs.volumes.n_atoms[0]
    order = np.lexsort(runs.volumes.center_site.T)
    assert np.allclose(values[1:], 1e6 * MJ_PER_M3 * np.abs(runs.volumes.mae[order]) / volume, rtol=1e-6)


def test_a_field_needs_sliding_volumes_with_a_result(tmp_path):
    atoms, _ = small_order()
    runs = synthetic_runs()
    none = dataclasses.replace(
        runs, volumes=dataclasses.replace(runs.volumes, mae=np.full_like(runs.volumes.mae, np.nan))
    )
    with pytest.raises(InputError, match="no volume has an anisotropy"):
        write_anisotropy_field(none, atoms, tmp_path / "k.ovf")
    sizes = runs.volumes.size.copy()
    sizes[0] += 2
    nested = dataclasses.replace(runs, volumes=dataclasses.replace(runs.volumes, size=sizes))
    with pytest.raises(InputError, match="sliding"):
        write_anisotropy_field(nested, atoms, tmp_path / "k.ovf")
    assert not list(tmp_path.iterdir())


def test_a_volume_comes_back_from_mrc_with_its_voxels_and_axes(tmp_path):
    values = np.random.default_rng(0).random((4, 5, 6)).astype(np.float32)
    volume = Volume(values=values, voxel_size=0.3725, origin=np.array([1.0, 2.0, 3.0]))
    file = write_volume(volume, tmp_path / "deep" / "v.mrc")
    again, _ = read_volume(file)
    assert np.array_equal(again.values, values)
    assert again.voxel_size == pytest.approx(0.3725, rel=1e-6)
    with mrcfile.open(file, permissive=False) as seen:
        origin = [float(seen.header.origin[axis]) for axis in "xyz"]
        assert np.array_equal(seen.data[3, 2], values[:, 2, 3])
    assert np.allclose(origin, volume.positions((0, 0, 0)), atol=1e-6)
    assert mrcfile.validate(file)
    first = file.read_bytes()
    assert write_volume(volume, file).read_bytes() == first


def test_a_volume_as_npy_is_the_bare_array(tmp_path):
    volume = Volume(values=np.arange(24.0).reshape(2, 3, 4), voxel_size=0.5, origin=np.zeros(3))
    for target, file_format in ((tmp_path / "v.npy", None), (tmp_path / "v.dat", "npy")):
        write_volume(volume, target, file_format=file_format)
        assert np.array_equal(np.load(target), volume.values)


def test_atoms_and_volume_of_a_project_that_stops_before_order_are_exported(tmp_path):
    t, project = small_tomography(), save_project(tmp_path / "run.h5", last="classify")
    [file] = export(project, tmp_path / "a.xyz")
    assert ase.io.read(file).get_chemical_formula() == t.classified.get_chemical_formula()
    [file] = export(project, tmp_path / "v.mrc", what="volume")
    assert np.array_equal(read_volume(file)[0].values, t.volume.values)
    [file] = export(project, tmp_path / "tables", what="tables")
    assert len(rows(file)) == len(t.classified)


def test_an_empty_project_has_nothing_to_export(tmp_path):
    store.save(tmp_path / "run.h5", "inputs", {}, {})
    for what in ("atoms", "volume", "tables", "anisotropy", "nonsense"):
        with pytest.raises(InputError, match=r"aet2dft|choose"):
            export(tmp_path / "run.h5", tmp_path / "out", what=what)
    assert [path.name for path in tmp_path.iterdir()] == ["run.h5"]


@pytest.mark.parametrize("exists", [False, True])
def test_a_full_disk_leaves_no_folder_that_was_made_for_tables(tmp_path, monkeypatch, exists):
    if exists:
        (tmp_path / "deep").mkdir()

    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(ResourceError, match=r"atoms\.csv: cannot be written .*; free space or choose another place"):
        write_tables(tmp_path / "deep" / "tables", atoms=small_order()[0], order=None, runs=None)
    assert [path.name for path in tmp_path.iterdir()] == ["deep"] * exists


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("kept")
    with pytest.raises(ResourceError, match=r"m\.xyz"):
        write_atoms(small_order()[0], tmp_path / "file" / "m.xyz")
