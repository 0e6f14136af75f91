"""Results as files of other programs: extended XYZ, CSV tables, MRC volumes, OVF fields."""

from __future__ import annotations

import contextlib
import csv
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from aet2dft import store
from aet2dft.atoms import digest
from aet2dft.dft_inputs.anisotropy import anisotropy_tensor, on_grid, to_energy_density
from aet2dft.dft_inputs.directions import parse_direction
from aet2dft.dft_inputs.micromagnetics import write_anisotropy
from aet2dft.dft_inputs.run_table import RunTable
from aet2dft.errors import InputError, ResourceError, remedy
from aet2dft.recon.atoms.image_poses import corrected
from aet2dft.recon.atoms.refinement import Refinement
from aet2dft.recon.geometry import euler_angles
from aet2dft.recon.tilt_series import TiltSeries, Volume
from aet2dft.structure.chemical_order import Order
from aet2dft.structure.lattice import fit_lattice

_METER = 1e-10
"""Å in m, the unit of length of OVF files."""
Table = dict[str, Any]
"""Columns of equal length by name; (n, k) columns get a number behind their name."""


def export(
    project: str | Path, target: str | Path, *, what: str = "atoms", file_format: str | None = None
) -> list[Path]:
    """Write results of a project as files of other programs.

    Parameters
    ----------
    project : str or Path
        Project file.
    target : str or Path
        File for atoms, volume and anisotropy, folder for tables (and for anisotropy, without the suffix .ovf).
    what : {"atoms", "volume", "tables", "anisotropy"}
        What to write: extended XYZ, MRC or npy, CSV tables, OVF 2.0 fields.
    file_format : {"mrc", "npy"}, optional
        Of a volume; default: by the suffix of the target, MRC where that says nothing.

    Returns
    -------
    list of Path
        The files.

    Raises
    ------
    InputError
        If the project does not hold it, or the target is a project or a file that this one was made from.
    ResourceError
        If a file cannot be written.
    """
    project, target = Path(project), Path(target)
    have = store.groups(project)
    store.refuse_target(project, target)
    if what == "atoms":
        return [write_atoms(store.load_atoms(project), target)]
    if what == "volume":
        volume = store.load(project, store.volume_group(project), "volume", Volume)
        return [write_volume(volume, target, file_format=file_format)]
    if what == "tables":
        return write_tables(
            target,
            atoms=None if store.WITH_ATOMS.isdisjoint(have) else store.load_atoms(project),
            order=store.load(project, "order", "result", Order) if "order" in have else None,
            runs=store.load(project, "collect", "runs", RunTable) if "collect" in have else None,
            poses=_poses(project) if "refine" in have else None,
        )
    if what == "anisotropy":
        runs, atoms = store.load(project, "collect", "runs", RunTable), store.load(project, "order", "atoms", Atoms)
        return list(write_anisotropy_field(runs, atoms, target if target.suffix else target / "anisotropy.ovf"))
    raise InputError(f"{project}: cannot export {what!r}; choose atoms, volume, tables or anisotropy")


def write_atoms(atoms: Atoms, target: Path) -> Path:
    """Extended XYZ with every per-atom array that the format can hold: none of (N, 3, 3), no texts with blanks."""
    from ase.io import write

    copy = atoms.copy()
    copy.info = {key: value for key, value in atoms.info.items() if isinstance(value, (str, int, float, bool))}
    for name in [name for name, values in copy.arrays.items() if values.ndim > 2 or not _are_words(values)]:
        del copy.arrays[name]
    text = io.StringIO()
    write(text, copy, format="extxyz")
    return _replace(target, text.getvalue())


def _are_words(values: NDArray[Any]) -> bool:
    """Whether all texts of an array are one word each, as columns between blanks have to be; true of numbers."""
    return values.dtype.kind != "U" or all(text.split() == [text] for text in np.unique(values).tolist())


def write_volume(volume: Volume, target: Path, *, file_format: str | None = None) -> Path:
    """A density as MRC with its voxel size, or as the bare array (nx, ny, nz) of numpy.

    Parameters
    ----------
    volume : Volume
        Density.
    target : Path
        File.
    file_format : {"mrc", "npy"}, optional
        Default: npy where the target has this suffix, else MRC.

    Notes
    -----
    The first axis of the volume is x of the MRC file. Its `origin` is the place of the first voxel in Å, so that
    viewers lay exported atoms over the density.
    """
    with _replacing(target) as temporary:
        if (file_format or target.suffix.lower().removeprefix(".")) == "npy":
            with temporary.open("wb") as file:
                np.save(file, volume.values)
        else:
            _write_mrc(volume, temporary)
    return target


def _write_mrc(volume: Volume, path: Path) -> None:
    import mrcfile

    with mrcfile.new(path) as file:
        file.set_data(np.ascontiguousarray(volume.values.T))
        file.voxel_size = volume.voxel_size
        file.header.origin = tuple(volume.positions(np.zeros(3)).tolist())
        # the label that mrcfile gives holds the time of day
        file.header.label[0] = "aet2dft, density in arbitrary units"


def write_tables(
    target: Path, *, atoms: Atoms | None, order: Order | None, runs: RunTable | None, poses: Table | None = None
) -> list[Path]:
    """One CSV file per table into a folder: atoms, poses, grains, antisite_profile, jobs, volumes."""
    tables: dict[str, Table] = {}
    if atoms is not None:
        tables["atoms"] = {"symbol": np.array(atoms.symbols)} | {
            k: v for k, v in atoms.arrays.items() if k != "numbers"
        }
    if poses is not None:
        tables["poses"] = poses
    if order is not None and order.chemical is not None:
        tables["grains"] = _columns(order.chemical.grains)
        tables["antisite_profile"] = _profiles(order)
    if runs is not None:
        tables["jobs"] = _columns(runs.jobs)
        tables["volumes"] = _volumes(runs)
    if not tables:
        raise InputError("the project holds no tables; run `aet2dft order` or `aet2dft collect` first")
    return [_replace(target / f"{name}.csv", _csv(table)) for name, table in tables.items()]


def _poses(project: Path) -> Table:
    """How every image sees the object after `refine`: angles, degrees, and where the rotation center lands, pixels."""
    refinement = store.load(project, "refine", "result", Refinement)
    given = store.load(project, store.series_group(project), "series", TiltSeries)
    series = corrected(given, refinement.shifts, refinement.rotations)
    angles = dict(zip(("phi", "theta", "psi"), euler_angles(series.rotations).T, strict=True))
    center = {"center_row": series.center[:, 0], "center_column": series.center[:, 1]}
    shift = {"shift_row": refinement.shifts[:, 0], "shift_column": refinement.shifts[:, 1]}
    return {"image": np.arange(series.n_images)} | angles | center | shift | {"r_factor": refinement.r_factor_per_image}


def _columns(record: Any) -> Table:
    return {name: getattr(record, name) for name in type(record).__dataclass_fields__}


def _profiles(order: Order) -> Table:
    assert order.chemical is not None
    profiles = order.chemical.profiles
    if not profiles:
        return {name: np.zeros(0) for name in ("grain", "depth", "fraction", "sigma", "order", "n")}
    table = {
        name: np.concatenate([getattr(p, name) for p in profiles])
        for name in ("depth", "fraction", "sigma", "order", "n")
    }
    return {"grain": np.concatenate([np.full(len(p.depth), p.grain) for p in profiles])} | table


def _volumes(runs: RunTable) -> Table:
    """Rows of volumes; energies named by their axis, units in the names where they are not Å, eV or μB."""
    table = _columns(runs.volumes) | {"order_difference": runs.order_difference}
    energies, tensor = table.pop("energies"), table.pop("anisotropy")
    table["mae_meV_per_atom"], table["mae_MJ_per_m3"] = table.pop("mae"), table.pop("mae_density")
    table |= {f"energy_{axis}": energies[:, k] for k, axis in enumerate(runs.axes)}
    if np.isfinite(tensor).any():
        for k, name in enumerate(("xx", "yy", "zz", "yz", "xz", "xy")):
            i, j = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))[k]
            table[f"anisotropy_{name}"] = tensor[:, i, j]
    return {"id": table.pop("volume")} | table


def _csv(table: Table) -> str:
    flat: dict[str, NDArray[Any]] = {}
    for name, values in table.items():
        array = np.asarray(values)
        if array.ndim == 1:
            flat[name] = array
        elif array.ndim == 2:
            axes = "xyz" if array.shape[1] == 3 else [f"{k}" for k in range(array.shape[1])]
            flat |= {f"{name}_{axis}": array[:, k] for k, axis in enumerate(axes)}
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(flat)
    writer.writerows(zip(*([_cell(v) for v in column.tolist()] for column in flat.values()), strict=True))
    return text.getvalue()


def _cell(value: Any) -> Any:
    return "" if isinstance(value, float) and value != value else value


def write_anisotropy_field(runs: RunTable, atoms: Atoms, target: Path) -> tuple[Path, ...]:
    """OVF 2.0 files of the uniaxial constant, its axis and the mask on the grid of the sliding volumes.

    Parameters
    ----------
    runs : RunTable
        Collected sliding volumes of one size.
    atoms : Atoms
        The particle that they were cut from.
    target : Path
        File of the constant; the others get its name with ``_axis`` and ``_mask``.

    Notes
    -----
    E = -K (u·m)² with K and u of the uniaxial energy nearest to that of each volume; with two axes it is taken to be
    uniaxial along the easier one. The frame is that of the lattice. Cells are half cells; the center of a cell is the
    mean of the sites of its volume. The mask is 1 where a volume has a value, not wherever there are atoms.
    """
    volumes = runs.volumes
    ok = np.isfinite(volumes.mae)
    if not ok.any():
        raise InputError("no volume has an anisotropy yet; run the jobs and `aet2dft collect` first")
    if len(np.unique(volumes.size[ok], axis=0)) > 1 or not volumes.size[ok].any():
        raise InputError("a field needs sliding volumes of one size; make them with `aet2dft inputs --kind sliding`")
    half = 0.5 * fit_lattice(atoms).cubic_a
    constant, axis = _uniaxial(runs, half)
    field, _, first = on_grid(volumes.center_site, constant)
    axes, _, _ = on_grid(volumes.center_site, axis)
    axes = axes / np.linalg.norm(axes, axis=-1, keepdims=True)
    comments = (
        f"method {runs.method}, protocol {runs.protocol}, k-mesh {runs.k_mesh}, axes {' '.join(runs.axes)}",
        f"one cell per half cell of the lattice; {int(ok.sum())} of {len(ok)} volumes have a value",
    )
    step, origin = np.full(3, half * _METER), (first - 0.5) * half * _METER
    source = f"sha256 of the atoms {digest(atoms)}"
    return write_anisotropy(target, field, axes, step=step, origin=origin, source=source, comments=comments)


def _uniaxial(runs: RunTable, half_cell: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Constant (n,), J/m³, and axis (n, 3) of every volume; NaN without a MAE."""
    volumes = runs.volumes
    directions = [parse_direction(word) for word in runs.axes]
    constant, axis = np.full(len(volumes.mae), np.nan), np.full((len(volumes.mae), 3), np.nan)
    for k in np.flatnonzero(np.isfinite(volumes.mae)):
        found = anisotropy_tensor(directions, 1e3 * volumes.energies[k] / volumes.n_atoms[k])
        per_atom = half_cell**3 * volumes.size[k].prod() / volumes.n_atoms[k]
        constant[k], axis[k] = 1e6 * to_energy_density(found.k_uniaxial, per_atom), found.axis
    return constant, axis


def _replace(target: Path, text: str) -> Path:
    """Write a text file at once or not at all."""
    with _replacing(target) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")
    return target


@contextlib.contextmanager
def _replacing(target: Path) -> Iterator[Path]:
    """File beside the target, to be filled; it takes its place at once or not at all."""
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    made = [folder for folder in target.parents if not folder.exists()]
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        temporary.replace(target)
    except OSError as error:
        problem, mend = error.strerror or error, remedy(error, "choose another place")
        raise ResourceError(f"{target}: cannot be written ({problem}); {mend}") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        for folder in made:  # those that hold the file stay
            with contextlib.suppress(OSError):
                folder.rmdir()
