"""The verb `info`: what a file is, without changing or trusting it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from aet2dft import store
from aet2dft.atoms import examine
from aet2dft.config import ReadSettings
from aet2dft.errors import InputError
from aet2dft.structure.readers import load_atoms, mat_variables

_ARRAYS = (".npy", ".npz", ".mrc", ".map", ".rec", ".tif", ".tiff")


def inspect(path: Path, types: Path | None, settings: ReadSettings) -> dict[str, Any]:
    """What a file or folder is, and what is wrong with it.

    Returns
    -------
    dict
        ``kind`` (atoms, tilt_series, volume, project, decks, dft_output), ``problems`` and what belongs to the kind.

    Raises
    ------
    InputError
        If it cannot be parsed.
    """
    if not path.exists() and "@" not in path.name:
        raise InputError(f"{path}: no such file; give a file of atoms, a project or a folder of decks")
    if path.is_dir():
        return _folder(path)
    if path.suffix.lower() in (".h5", ".hdf5") and store.is_project(path):
        return {"kind": "project", "groups": list(store.groups(path)), "problems": [], "notes": []}
    if path.name.endswith((".xml", ".xml.gz", "pw.out", "pw.out.gz", "OUTCAR")):
        return _folder(path.parent)
    if path.suffix.lower() in _ARRAYS:
        return _array(_array_shape(path), f"{path.name}")
    if path.suffix.lower() == ".mat" and settings.variable is None and (three := _three_dimensional(path)):
        name, shape = three
        return _array(shape, f"variable {name!r}")
    return _atoms(path, types, settings)


def _atoms(path: Path, types: Path | None, settings: ReadSettings) -> dict[str, Any]:
    atoms = load_atoms(path, types, settings)
    found = examine(atoms)
    return {
        "kind": "atoms",
        "n_atoms": found.n_atoms,
        "composition": found.composition,
        "min_distance": found.min_distance,
        "median_neighbor_distance": found.median_neighbor_distance,
        "shape": [found.n_atoms, 3],
        "unit": "Å",
        "extent": None if not len(atoms) else (atoms.positions.max(axis=0) - atoms.positions.min(axis=0)).tolist(),
        "periodic": [bool(p) for p in atoms.pbc],
        "arrays": sorted(set(atoms.arrays) - {"numbers", "positions"}),
        "problems": [*found.fatal, *found.problems],
        "notes": list(atoms.info["notes"]),
    }


def _folder(path: Path) -> dict[str, Any]:
    """A deck folder or the folder of one DFT run."""
    from aet2dft.dft_inputs import espresso_output, vasp_output
    from aet2dft.dft_inputs.decks import Manifest, verify

    if (path / "manifest.json").is_file():
        manifest = Manifest.read(path)
        changed = verify(path)
        status = [volume["status"] for volume in manifest.volumes]
        problems = [f"{len(changed)} files differ from the manifest (first: {changed[0]})"] if changed else []
        return {
            "kind": "decks",
            "code": manifest.content["code"],
            "protocol": manifest.content["protocol"]["name"],
            "axes": manifest.content["axes"],
            "n_volumes": len(status),
            "n_jobs": len(manifest.jobs),
            "volumes": {name: status.count(name) for name in sorted(set(status))},
            "problems": problems,
            "notes": [],
        }
    names = {entry.name for entry in path.iterdir()}
    if names & {"pw.out", "pw.out.gz", "data-file-schema.xml", "data-file-schema.xml.gz"}:
        result = espresso_output.parse(path)
    elif names & {"OUTCAR", "OUTCAR.gz"}:
        result = vasp_output.parse(path)
    else:
        raise InputError(
            f"{path}: a folder without manifest.json, pw.out or OUTCAR; give a deck folder or the folder of one run"
        )
    record = {
        key: value
        for key, value in asdict(result).items()
        if value is not None and key not in ("pseudo_md5", "warnings")
    }
    problems = [] if result.status == "ok" else [f"{result.status}: {result.reason}"]
    return {"kind": "dft_output", **record, "problems": problems, "notes": list(result.warnings)}


def _array(shape: tuple[int, ...], what: str) -> dict[str, Any]:
    """A volume where three edges are alike, else a stack of images."""
    alike = len(shape) == 3 and max(shape) < 1.25 * min(shape)
    kind = "volume" if alike else "tilt_series"
    return {
        "kind": kind,
        "shape": list(shape),
        "problems": [],
        "notes": [f"{what} of shape {shape} taken for a {kind} by its shape"],
    }


def _three_dimensional(path: Path) -> tuple[str, tuple[int, ...]] | None:
    """The largest three-dimensional variable of a MATLAB file without coordinates."""
    shapes = mat_variables(path)
    if any(len(shape) == 2 and shape[0] == 3 and shape[1] > 3 for shape in shapes.values()):
        return None
    three = [(name, shape) for name, shape in shapes.items() if len(shape) == 3]
    return max(three, key=lambda item: item[1][0] * item[1][1] * item[1][2], default=None)


def _array_shape(path: Path) -> tuple[int, ...]:
    """Shape in the file's header, without reading the values; MRC and TIFF store z first."""
    import numpy as np

    try:
        if path.suffix == ".npy":
            return tuple(np.load(path, mmap_mode="r", allow_pickle=False).shape)
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as archive:
                return max((tuple(archive[name].shape) for name in archive.files), key=len)
        if path.suffix in (".tif", ".tiff"):
            import tifffile

            with tifffile.TiffFile(path) as file:
                return tuple(file.series[0].shape)
        import mrcfile

        with mrcfile.open(path, permissive=False, header_only=True) as file:
            return int(file.header.nx), int(file.header.ny), int(file.header.nz)
    except Exception as error:
        raise InputError(
            f"{path}: cannot be read ({str(error).strip() or type(error).__name__}); the file is damaged"
        ) from error
