"""Settings of the verbs from atoms to maps."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from aet2dft.config.settings import Pairs, Settings, Triple, Words


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

    what: Literal["atoms", "volume", "tables", "anisotropy"] = Field(default="atoms", description="What is written.")
    format: Literal["extxyz", "mrc", "npy", "csv", "ovf"] | None = Field(
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
