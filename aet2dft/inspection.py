"""The verb `info`: what a file is, without changing or trusting it."""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from aet2dft import array_headers, store
from aet2dft.atoms import examine
from aet2dft.config import ReadSettings
from aet2dft.errors import InputError, ParseError
from aet2dft.matlab import mat_objects
from aet2dft.recon.images.angle_files import TEXT, look_like_radians, read_angles
from aet2dft.recon.images.array_files import StoredArray, stored_arrays
from aet2dft.recon.images.image_checks import like_volume
from aet2dft.recon.images.image_folders import folder_stack, image_files
from aet2dft.recon.tilt_series import TiltSeries, Volume
from aet2dft.structure.readers import load_structures

_OUTPUTS = ("pw.out", "data-file-schema.xml", "OUTCAR", "vasprun.xml")
"""Files that make a folder that of a DFT run; packed ones end in .gz."""
_ANGLES = ("angle", "tilt", "theta")
"""Words in the names of files and arrays of angles."""
_LOOKED_AT = 1 << 27
"""Number of values up to which those of images and volumes are read."""


def inspect(path: Path, types: Path | None, settings: ReadSettings) -> dict[str, Any]:
    """What a file or folder is, and what is wrong with it.

    Parameters
    ----------
    path : Path
        Any file, or a folder of decks or of one DFT run.
    types : Path, optional
        Second ``.mat`` file with the types of the atoms.
    settings : ReadSettings
        How a file of atoms is read.

    Returns
    -------
    dict
        ``kind`` (atoms, tilt_series, volume, angles, project, decks, dft_output; unknown for other arrays),
        ``problems``, ``notes`` on what was inferred, and what belongs to the kind.

    Raises
    ------
    InputError
        If it cannot be parsed.
    """
    if path.is_dir():
        return _folder(path)
    if path.name.removesuffix(".gz") in _OUTPUTS and path.is_file():
        return _dft_output(path.parent)
    if store.is_project(path):
        return _project(path)
    shapes = array_headers.shapes(path) if path.is_file() else None
    if shapes is not None and not _holds_atoms(path, shapes, settings):
        return _arrays(path, shapes)
    angles = _angles(path) if path.is_file() and path.suffix.lower() in TEXT else None
    if angles is not None:
        return angles
    return _atoms(path, types, settings)


def _atoms(path: Path, types: Path | None, settings: ReadSettings) -> dict[str, Any]:
    several = load_structures(path, types, settings)
    found = {"kind": "atoms"} | _model(several[0]) | {"notes": list(several[0].info["notes"])}
    if len(several) == 1:
        return found
    examined = enumerate(examine(atoms) for atoms in several)
    problems = [f"structure {k}: {text}" for k, each in examined for text in (*each.fatal, *each.problems)]
    note = f"{len(several)} structures; counts and distances are those of {path.name}@0"
    return found | {"n_structures": len(several), "problems": problems, "notes": [*found["notes"], note]}


def _model(atoms: Atoms) -> dict[str, Any]:
    """What the check of a model finds."""
    found = examine(atoms)
    return {
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
    }


def _project(path: Path) -> dict[str, Any]:
    """Groups of a project, its images, volume and model; its checksum is looked at on the way."""
    groups = list(store.groups(path))
    model = {"problems": []} if store.WITH_ATOMS.isdisjoint(groups) else _model(store.load_atoms(path))
    return {"kind": "project", "groups": groups} | model | _tomography(path, groups) | {"notes": []}


def _tomography(path: Path, groups: list[str]) -> dict[str, Any]:
    """Images and volume that a project was made from."""
    found: dict[str, Any] = {}
    if (group := store.series_group(path)) in groups:
        series = store.load(path, group, "series", TiltSeries)
        tilts = [float(series.tilt_angles.min()), float(series.tilt_angles.max())]
        shape = list(series.projections.shape)
        found["tilt_series"] = {"shape": shape, "pixel_size": series.pixel_size, "tilt_range": tilts}
    if (group := store.volume_group(path)) in groups:
        volume = store.load(path, group, "volume", Volume)
        found["volume"] = {
            "shape": list(volume.values.shape),
            "voxel_size": volume.voxel_size,
            "history": list(volume.history),
        }
    return found


def _folder(path: Path) -> dict[str, Any]:
    """A deck folder, the folder of one DFT run, or one with an image in each file."""
    from aet2dft.dft_inputs.decks import MANIFEST, Manifest, verify

    if not (path / MANIFEST).is_file():
        run = any((path / f"{name}{packed}").exists() for name in _OUTPUTS for packed in ("", ".gz"))
        return _dft_output(path) if run or not image_files(path) else _images(path)
    manifest = Manifest.read(path)
    changed = verify(path)
    status = [volume["status"] for volume in manifest.volumes]
    differ = "1 file differs" if len(changed) == 1 else f"{len(changed)} files differ"
    return {
        "kind": "decks",
        "code": manifest.content["code"],
        "protocol": manifest.content["protocol"]["name"],
        "axes": manifest.content["axes"],
        "n_volumes": len(status),
        "n_jobs": len(manifest.jobs),
        "volumes": {name: status.count(name) for name in sorted(set(status))},
        "problems": [f"{differ} from the manifest (first: {changed[0]})"] if changed else [],
        "notes": [],
    }


def _images(folder: Path) -> dict[str, Any]:
    stack, said = folder_stack(folder)
    notes = list(said)
    values = _values(folder, "tilt_series", stack, notes)
    return {"kind": "tilt_series", "shape": list(stack.shape), **values, "notes": notes}


def _dft_output(folder: Path) -> dict[str, Any]:
    from aet2dft.dft_inputs import espresso_output, vasp_output

    names = {entry.name.removesuffix(".gz") for entry in folder.iterdir()}
    if not names.intersection(_OUTPUTS):
        what = f"holds none of manifest.json, {', '.join(_OUTPUTS)}, and no images"
        raise InputError(f"{folder}: {what}; give a deck folder, the folder of one run or one with an image per file")
    parse = espresso_output.parse if names.intersection(_OUTPUTS[:2]) else vasp_output.parse
    result = parse(folder)
    left_out = ("pseudo_md5", "warnings")
    # of every verb's record `status` and `version` are those of this package
    names_here = {"status": "run_status", "version": "code_version"}
    values = {key: value for key, value in asdict(result).items() if value is not None and key not in left_out}
    record = {names_here.get(key, key): value for key, value in values.items()}
    problems = [] if result.status == "ok" else [f"{result.status}: {result.reason}"]
    return {"kind": "dft_output", **record, "problems": problems, "notes": list(result.warnings)}


def _holds_atoms(path: Path, shapes: array_headers.Shapes, settings: ReadSettings) -> bool:
    """Whether a MATLAB file holds one array of coordinates (3, N), or the user names it."""
    return path.suffix.lower() == ".mat" and (settings.variable is not None or len(_coordinates(shapes)) == 1)


def _coordinates(shapes: array_headers.Shapes) -> list[str]:
    return [name for name, shape in shapes.items() if len(shape) == 2 and shape[0] == 3 and shape[1] > 3]


def _arrays(path: Path, shapes: array_headers.Shapes) -> dict[str, Any]:
    """A volume where the edges of the largest array are alike (a film is thin along the second), else images."""
    found = array_headers.largest(shapes)
    if found is None:
        angles = _angles(path)
        if angles is not None:
            return angles
        listed = ", ".join(f"{name} {shape}" for name, shape in shapes.items()) or "no numbers"
        none = "no coordinates (3, N), no images and no volume"
        held = "several arrays (3, N), name one with --variable" if _coordinates(shapes) else none
        objects = [f"{path}: {name} is a MATLAB object; save its arrays as plain ones" for name in _objects(path)]
        problems = [f"{path}: holds {held}; it holds {listed}", *objects]
        return {"kind": "unknown", "shape": None, "problems": problems, "notes": []}
    name, shape = found
    kind = "volume" if like_volume(shape) else "tilt_series"
    notes = [f"{name} of shape {shape} taken for a {kind} by its shape"]
    try:
        values = _values(path, kind, next(a for a in stored_arrays(path).values() if a.shape == shape), notes)
    except ParseError:
        raise
    except InputError as error:
        values = {"pixel_size": None, "unit": None, "problems": [str(error)]}
    return {"kind": kind, "shape": list(shape), **values, "notes": notes}


def _angles(path: Path) -> dict[str, Any] | None:
    """A list of angles, if it is one: text, or an array that is called so."""
    try:
        angles, notes = read_angles(path, unit="degrees")
        names = [path.stem, *(() if path.suffix.lower() in TEXT else stored_arrays(path))]
    except InputError:
        return None
    called = any(word in name.lower() for name in names for word in _ANGLES)
    if not (np.ptp(angles, axis=0).any() and (called or path.suffix.lower() in TEXT)):
        return None
    radians = "the angles look like radians; reconstruct wants --angle-unit radians"
    return {
        "kind": "angles",
        "shape": list(angles.shape),
        "unit": "degrees",
        "range": [float(angles.min()), float(angles.max())],
        "problems": [radians] if look_like_radians(angles) else [],
        "notes": [*notes, f"{path.name} taken for a list of angles, one row per image, by its name, shape and values"],
    }


def _objects(path: Path) -> list[str]:
    return mat_objects(path) if path.suffix.lower() == ".mat" else []


def _values(path: Path, kind: str, array: StoredArray, notes: list[str]) -> dict[str, Any]:
    """Size of a pixel, tilts, range of the values, and what is wrong with them; a large file is not read."""
    known = [k for k, length in enumerate(array.spacing or ()) if length is not None]
    size = array.pixel_size(range(3) if kind == "volume" else known[:2], path)
    found: dict[str, Any] = {"pixel_size": size, "unit": None if size is None else "Å"}
    if array.tilts is not None:
        found["tilt_range"] = [float(array.tilts.min()), float(array.tilts.max())]
    if math.prod(array.shape) > _LOOKED_AT:
        notes.append(f"more than {_LOOKED_AT / 1e6:.0f} million values: they were not looked at")
        return found | {"problems": []}
    values, problems = array.load(), []
    finite = values[np.isfinite(values)]
    if finite.size < values.size:
        bad = values.size - finite.size
        problems.append(f"{'1 value is' if bad == 1 else f'{bad} values are'} NaN or infinite")
    if finite.size and finite.min() == finite.max():
        problems.append(f"all values are {finite.flat[0]:g}")
    extremes = [float(finite.min()), float(finite.max())] if finite.size else None
    return found | {"range": extremes, "problems": problems}
