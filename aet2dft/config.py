"""Settings of every verb: their names, defaults, bounds and help texts, each written once.

A settings class is the last argument of a public function, the TOML table of the same name and the flags of the verb.
"""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from aet2dft.errors import InputError


def _split(value: Any) -> Any:
    """``"14,14,15"`` -> ``("14", "14", "15")``, one number -> one word; other values pass."""
    if isinstance(value, int):
        return (str(value),)
    return tuple(part.strip() for part in value.split(",")) if isinstance(value, str) else value


def _pairs(value: Any) -> Any:
    """``"1=Fe,2=Pt"`` or ``("KEY=VALUE", ...)`` -> ``{KEY: VALUE}``; the values of a table become words."""
    if isinstance(value, dict):
        return {key: str(item).lower() if isinstance(item, bool) else str(item) for key, item in value.items()}
    if not isinstance(value, (str, list, tuple)):
        return value
    words = (value,) if isinstance(value, str) else value
    parts = [part.strip().partition("=") for word in words for part in re.split(r",(?=[^,=]+=)", str(word))]
    if lone := [key for key, equals, _ in parts if not equals]:
        raise ValueError(f"{lone[0]!r} is not KEY=VALUE")
    if twice := [key for key, n in Counter(key.strip() for key, _, _ in parts).items() if n > 1]:
        raise ValueError(f"{twice[0]} is there twice")
    return {key.strip(): text.strip() for key, _, text in parts}


Edge = Annotated[int, Field(ge=1, le=1000)]
Triple = Annotated[tuple[Edge, Edge, Edge], BeforeValidator(_split)]
Numbers = Annotated[tuple[int, ...], BeforeValidator(_split)]
Words = Annotated[tuple[str, ...], BeforeValidator(_split), Field(min_length=1)]
Pairs = Annotated[dict[str, str], BeforeValidator(_pairs)]


class Settings(BaseModel):
    """Base of all settings: frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class CommonSettings(Settings):
    """What every verb takes."""

    seed: int = Field(default=0, ge=0, description="Seed of random numbers.")
    threads: int = Field(
        default=1, ge=1, le=1024, description="Threads of numerical libraries; results do not depend on it."
    )


class ReadSettings(Settings):
    """How a file of atoms is read."""

    species: Pairs = Field(default={}, description="Elements of the type numbers of a .mat file, as 1=Fe,2=Pt.")
    voxel_size: float | None = Field(
        default=None, gt=0, description="Coordinates are voxels (or nm) of this many Å; they are multiplied by it."
    )
    variable: str | None = Field(
        default=None, description="Variable that holds the coordinates, where a file has several."
    )


class OrderSettings(Settings):
    """Chemical order of a particle."""

    tolerance: float = Field(
        default=0.35,
        gt=0.05,
        le=0.45,
        description="An atom takes a lattice site that is nearer than this fraction of the nearest-neighbor distance.",
    )
    window: float = Field(
        default=0.7,
        ge=0.5,
        le=1.5,
        description="Standard deviation, in unit cells, of the Gaussian window of the labels.",
    )
    threshold: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="Least order of a labelled atom; default: the 99 % level of a random alloy.",
    )
    min_grain: int = Field(default=30, ge=1, description="Grains of fewer atoms are not reported.")
    species_error: float = Field(
        default=0.01,
        ge=0,
        lt=0.5,
        description="Fraction of atoms whose element is measured wrong; corrects antisite fractions.",
    )
    free_surface: bool = Field(
        default=True, description="The free surface of the particle counts as surface of its grains."
    )
    surrogates: int = Field(
        default=10, ge=0, le=1000, description="Surrogate particles behind the significance of small grains."
    )
    strain_sigma: float = Field(
        default=3.89, gt=0.5, description="Standard deviation, in Å, of the Gaussian window of the strain."
    )
    strain_reference: Literal["triclinic", "cubic"] = Field(
        default="triclinic",
        description="Lattice against which strain is measured: the best-fit triclinic or cubic one.",
    )


class ImagesSettings(Settings):
    """How a tilt series is read."""

    angles: Path | None = Field(
        default=None, description="File with the tilt angle, or phi, theta, psi, of every image, in degrees."
    )
    pixel_size: float | None = Field(default=None, gt=0, description="Å per pixel.")
    any_pixel_size: bool = Field(default=False, description="Take a pixel size outside 0.05 to 2 Å.")
    variable: str | None = Field(default=None, description="Variable that holds the images, where a file has several.")
    image_axis: int | None = Field(
        default=None, ge=0, le=2, description="Axis of the file's array that counts the images; default: by its length."
    )
    angles_variable: str | None = Field(
        default=None, description="Variable that holds the angles, where their file has several."
    )
    angle_unit: Literal["degrees", "radians"] | None = Field(
        default=None, description="Unit of the angles; default: degrees, and what looks like radians is refused."
    )
    fill: Literal["median"] | None = Field(
        default=None, description="Replace pixels that are NaN or infinite by the median of their neighbors."
    )
    exclude: Numbers = Field(default=(), description="Images that are left out, as 3,17; the first is 0.")


class VolumeSettings(Settings):
    """How a volume is read."""

    voxel_size: float | None = Field(default=None, gt=0, description="Å per voxel; default: what the file says.")
    any_voxel_size: bool = Field(default=False, description="Take a voxel size outside 0.05 to 2 Å.")
    variable: str | None = Field(default=None, description="Variable that holds the volume, where a file has several.")


class ReconstructSettings(Settings):
    """Volume from a tilt series."""

    algorithm: Literal["auto", "lsq", "resire", "genfire"] = Field(
        default="auto", description="lsq: accelerated least squares; resire: the same without acceleration; genfire."
    )
    iterations: int | None = Field(
        default=None, ge=1, le=100_000, description="Number of iterations; default: that of the algorithm."
    )
    oversampling: int = Field(default=3, ge=2, le=8, description="Padding of the images in genfire.")
    interpolation_cutoff: float = Field(
        default=0.5, gt=0, le=2, description="Grid steps between a measured frequency of genfire and an image's plane."
    )
    schedule: Literal["all", "extend", "extend_suppress"] = Field(
        default="all",
        description="Frequencies that genfire enforces: all from the start, low ones first, or these and back.",
    )
    positivity: bool = Field(default=True, description="The density is nowhere negative.")
    support: Path | None = Field(
        default=None, description="File with the region outside which the density is zero; default: by the shadows."
    )
    held_out: float = Field(
        default=0.05, ge=0, lt=0.5, description="Fraction of the images that are left out to find r_free."
    )


class TraceSettings(Settings):
    """Candidate atoms from a volume."""

    min_distance: float = Field(default=2.0, gt=0, le=10, description="No two atoms are nearer than this, in Å.")
    smoothing: float = Field(
        default=0.3, ge=0, le=2, description="Standard deviation, in Å, of the Gaussian that smooths the volume."
    )
    threshold: float | None = Field(
        default=None, gt=0, description="Least height of a maximum, in units of the volume; default: by its noise."
    )


class ClassifySettings(Settings):
    """Species of candidate atoms."""

    species: Words | None = Field(
        default=None, description="Elements by rising atomic number, as Fe,Pt; one name: atoms against non-atoms."
    )
    method: Literal["auto", "height", "intensity"] = Field(
        default="auto", description="What is compared: heights fitted to the images, or sums of the volume."
    )


class RefineSettings(Settings):
    """Positions and heights of atoms against the images."""

    iterations: int = Field(default=4, ge=1, le=100, description="Gauss-Newton steps per round.")
    rounds: int = Field(
        default=2, ge=0, le=20, description="Rounds in which atoms that the images miss are added and false ones drop."
    )
    held_out: float = Field(default=0.05, ge=0, lt=0.5, description="Fraction of the images that are not fitted.")


class VerifySettings(Settings):
    """A model against a known one, or against its own simulated images."""

    truth: Path | None = Field(default=None, description="Known model to match with; without it images are simulated.")
    method: Literal["linear"] = Field(default="linear", description="How images of the model are simulated.")
    radius: float = Field(default=1.0, gt=0, le=3, description="Atoms farther apart than this, in Å, do not match.")
    dose: float | None = Field(
        default=None,
        gt=0,
        description="Counts at the brightest simulated pixel; default: the noise that the measured images have.",
    )
    read_noise: float = Field(
        default=1.0, ge=0, description="Noise of the detector, in counts, besides that of a dose."
    )


class ReconstructOptions(ImagesSettings, ReconstructSettings):
    """Volume from files of images and angles."""


class TraceOptions(VolumeSettings, TraceSettings):
    """Candidate atoms from a file with a volume."""


class InputsSettings(Settings):
    """Volumes and the input files of a DFT code."""

    kind: Literal["sliding", "nested", "supercell", "atoms"] = Field(
        default="sliding",
        description=(
            "sliding: windows moved by half cells; nested: cubes of 2 to 7 cells; supercell: the box; "
            "atoms: periodic structures as they are."
        ),
    )
    code: Literal["espresso", "vasp"] = Field(default="espresso", description="DFT code the files are for.")
    protocol: str = Field(default="mae", description="Named parameter set: relax, scf, mae, mae_scf, convergence.")
    axes: Words = Field(
        default=("100", "001"), description="Directions of the moments for mae and mae_scf, as 100,001 or 1-10."
    )
    cells: int = Field(default=2, ge=1, le=10, description="Edge of a sliding window in unit cells.")
    box: Triple = Field(default=(14, 14, 15), description="Box in half cells; all three orientations are tried.")
    around: Words = Field(
        default=("L10",),
        description=(
            "A phase (its largest grain), the number of a grain, or center: the box holds most of it; "
            "L10,L12 gives a box each."
        ),
    )
    limit: int | None = Field(default=None, ge=1, description="Only the N volumes nearest the center of each box.")
    positions: Literal["measured", "ideal"] = Field(
        default="measured", description="Positions of the atoms in the volumes."
    )
    cell: Literal["cubic", "tetragonal", "fitted"] = Field(
        default="cubic",
        description="Cell vectors: from the cubic fit, with an own length along z, or from the triclinic fit.",
    )
    vacancies: Literal["reject", "keep", "fill"] = Field(
        default="reject",
        description="A volume with an empty site is rejected, kept as it is, or filled with the ideal species.",
    )
    min_bond: float = Field(
        default=1.8, ge=0, description="A volume with a shorter bond, in Å, is rejected; periodic images are included."
    )
    pseudo_dir: Path | None = Field(
        default=None, description="Folder of your own UPF files; default: the package's small set, not for publication."
    )
    set: Pairs = Field(default={}, description="A tag of the protocol, as KEY=VALUE; may be given more than once.")


class RunSettings(Settings):
    """Execution of the jobs of a deck folder."""

    engine: Literal["local"] = Field(default="local", description="What executes the jobs.")
    workers: int = Field(default=2, ge=1, le=256, description="Jobs at a time.")
    command: str | None = Field(
        default=None,
        description="How the code is started, e.g. 'mpirun -n 4 pw.x'; default: pw.x or vasp_std / vasp_ncl.",
    )


class CollectSettings(Settings):
    """Reading of the results of a deck folder."""


class CompareSettings(Settings):
    """Relaxed against measured positions."""


class ExportSettings(Settings):
    """Files made from a project."""

    what: Literal["atoms", "tables", "anisotropy"] = Field(default="atoms", description="What is written.")
    format: Literal["extxyz", "csv", "ovf"] | None = Field(
        default=None, description="File format; default: by suffix of the target."
    )


class ReportSettings(Settings):
    """The HTML page."""


class DemoSettings(Settings):
    """The whole chain on the data of the package."""

    volumes: int = Field(default=3, ge=1, le=20, description="One-cell volumes per grain that are computed.")
    pwx: bool = Field(
        default=True,
        description="Run pw.x where it is installed; else the outputs that ship with the package are taken.",
    )
    workers: int = Field(default=2, ge=1, le=64, description="Jobs at a time.")


VERBS: dict[str, type[Settings]] = {
    "info": Settings,
    "reconstruct": ReconstructOptions,
    "trace": TraceOptions,
    "classify": ClassifySettings,
    "refine": RefineSettings,
    "verify": VerifySettings,
    "order": OrderSettings,
    "inputs": InputsSettings,
    "run": RunSettings,
    "collect": CollectSettings,
    "compare": CompareSettings,
    "export": ExportSettings,
    "report": ReportSettings,
    "demo": DemoSettings,
}
"""Settings of every verb: the tables that a TOML file may hold."""
S = TypeVar("S", bound=Settings)


def load(settings: type[S], table: str, *, config: Path | None = None, given: dict[str, Any] | None = None) -> S:
    """Settings of one verb from a TOML table and the values given on the command line; the latter win.

    Parameters
    ----------
    settings : type
        The settings class of the verb.
    table : str
        Name of the verb and of its TOML table.
    config : Path, optional
        TOML file.
    given : dict, optional
        Values that the user gave; they win over the file.

    Raises
    ------
    InputError
        If the file cannot be read, or a table, key or value is not allowed.
    """
    values = {} if config is None else _table(config, table)
    return validated(settings, values | (given or {}), where=f"[{table}]")


def _table(config: Path, name: str) -> dict[str, Any]:
    """One table of a TOML file that holds nothing but tables of verbs; empty where it is not there."""
    try:
        content = tomllib.loads(config.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise InputError(f"{config}: cannot be read as TOML ({error}); give a file with a table [{name}]") from error
    for key, value in content.items():
        if key not in VERBS or not isinstance(value, dict):
            raise InputError(f"{config}: {key!r} is no table of a verb; the tables are {', '.join(VERBS)}")
    found: dict[str, Any] = content.get(name, {})
    return found


def validated(settings: type[S], values: dict[str, Any], *, where: str) -> S:
    """Settings from plain values; what is wrong is said in one sentence."""
    try:
        return settings.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"]) or "value"
        if first["type"] == "extra_forbidden":
            known = ", ".join(sorted(settings.model_fields))
            raise InputError(f"{where} has no setting {name!r}; it knows {known}") from error
        problem = first["msg"].removeprefix("Value error, ")
        raise InputError(f"{where} {name} = {first['input']!r}: {problem}; give another value") from error
