"""Settings of the verbs from images to atoms."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from aet2dft.config.settings import Interval, Numbers, Settings, Words

WIDEST_DETECTOR = 500.0
"""mrad: at larger angles waves no longer propagate as multislice has it."""


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
        default=None, description="median: replace pixels that are NaN or infinite by the median of their neighbors."
    )
    exclude: Numbers = Field(default=(), description="Images that are left out, as 3,17; the first is 0.")
    check_conventions: bool | None = Field(
        default=None,
        description=(
            "Try every other order, axis and sign of the angles on coarse images, and warn where one fits better; "
            "default: where it is quick."
        ),
    )


class VolumeSettings(Settings):
    """How a volume is read."""

    voxel_size: float | None = Field(default=None, gt=0, description="Å per voxel; default: what the file says.")
    any_voxel_size: bool = Field(default=False, description="Take a voxel size outside 0.05 to 2 Å.")
    variable: str | None = Field(default=None, description="Variable that holds the volume, where a file has several.")


class ReconstructSettings(Settings):
    """Volume from a tilt series."""

    algorithm: Literal["auto", "lsq", "resire", "genfire", "sirt", "sart", "tv", "est", "fbp"] = Field(
        default="auto",
        description=(
            "lsq: accelerated least squares; resire: the same without acceleration; genfire; sirt, sart; "
            "tv: least total variation; est: equal slopes; fbp: weighted back-projection, a quick look."
        ),
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
    extended: bool | None = Field(
        default=None, description="The object is larger than the images, as a film is; default: by the images' edges."
    )
    thickness: float | None = Field(
        default=None, gt=0, description="Å along the beam of an extended object; default: as the images are wide."
    )
    variation: float = Field(
        default=0.0015, ge=0, description="Weight of the total variation in tv; more makes the density flatter."
    )
    held_out: float = Field(
        default=0.05, ge=0, lt=0.5, description="Fraction of the images that are left out to find r_free."
    )
    center_offset: float | None = Field(
        default=None,
        description="Pixels by which the rotation center lies beside N // 2 across the tilt axis; default: as found.",
    )
    halves: bool | None = Field(
        default=None,
        description=(
            "Reconstruct each half of the images too, for the Fourier shell correlation; "
            "default: where some planes about one tilt axis are enough."
        ),
    )
    memory_mapped: bool = Field(
        default=False,
        description="Volume and corrected images are in files beside the project: less memory, about one tilt axis.",
    )


class TraceSettings(Settings):
    """Candidate atoms from a volume."""

    min_distance: float = Field(default=2.0, gt=0, le=10, description="No two atoms are nearer than this, in Å.")
    smoothing: float = Field(
        default=0.3, ge=0, le=2, description="Standard deviation, in Å, of the Gaussian that smooths the volume."
    )
    threshold: float | None = Field(
        default=None,
        gt=0,
        description="Least height of a maximum, in units of the volume; default: 5 % of that of the strong ones.",
    )


class ClassifySettings(Settings):
    """Species of candidate atoms."""

    species: Words | None = Field(
        default=None, description="Elements by rising atomic number, as Fe,Pt; one name: atoms against non-atoms."
    )
    method: Literal["auto", "height", "profile", "intensity"] = Field(
        default="auto",
        description="What is compared: heights fitted to the images, profiles in the volume, or sums of the volume.",
    )


class ClassifyOptions(ClassifySettings):
    """Candidates of a project, or of a file together with the volume that they were traced in."""

    volume: Path | None = Field(default=None, description="File with the volume, where the candidates are from a file.")
    voxel_size: float | None = Field(
        default=None, gt=0, description="Å per voxel of this volume; default: what its file says."
    )


class RefineSettings(Settings):
    """Positions and heights of atoms against the images."""

    iterations: int = Field(default=4, ge=1, le=100, description="Gauss-Newton steps per round.")
    rounds: int = Field(
        default=20,
        ge=0,
        le=100,
        description="Rounds in which atoms that the images miss are added and false ones drop.",
    )
    held_out: float = Field(
        default=0.05, ge=0, lt=0.5, description="Fraction of the images that are not fitted until the last rounds."
    )
    fit_geometry: bool = Field(default=False, description="Shift and turn every image to fit the atoms.")
    contacts: bool = Field(
        default=True, description="Push atoms apart that are nearer to each other than 99 of 100 neighbors are."
    )


class RefineOptions(RefineSettings):
    """Atoms of a project, or of a file together with images and angles."""

    images: Path | None = Field(default=None, description="File with the images, where the atoms come from a file.")
    angles: Path | None = Field(default=None, description="File with the angles of these images, in degrees.")
    pixel_size: float | None = Field(default=None, gt=0, description="Å per pixel of these images.")


class EditSettings(Settings):
    """Corrections of the atoms by hand."""

    apply: Path | None = Field(
        default=None,
        description="CSV file with the columns action,site_id,x,y,z,species; without it nothing is corrected.",
    )


class VerifySettings(Settings):
    """A model against a known one, or against its own simulated images."""

    truth: Path | None = Field(default=None, description="Known model to match with; without it images are simulated.")
    method: Literal["linear", "prism", "multislice"] = Field(
        default="linear", description="How images of the model are simulated; prism and multislice need abTEM."
    )
    images: Numbers = Field(
        default=(), description="Images that prism or multislice simulates, as 0,34,67; default: all."
    )
    beam_energy: float = Field(default=300.0, gt=1, le=5000, description="keV, of prism and multislice.")
    convergence: float = Field(default=30.0, gt=0, lt=200, description="Half angle of the beam, mrad.")
    detector: Interval = Field(
        default=(38.0, 80.0), description="Half angles of the detector, mrad; a wider one takes a finer grid."
    )
    radius: float = Field(default=1.0, gt=0, le=3, description="Atoms farther apart than this, in Å, do not match.")
    dose: float | None = Field(
        default=None,
        gt=0,
        description="Counts at the brightest simulated pixel; default: the noise that the measured images have.",
    )
    read_noise: float = Field(
        default=1.0, ge=0, description="Noise of the detector, in counts, besides that of a dose."
    )

    @field_validator("detector")
    @classmethod
    def _is_a_ring(cls, angles: tuple[float, float]) -> tuple[float, float]:
        if not 0 <= angles[0] < angles[1] <= WIDEST_DETECTOR:
            raise ValueError(f"the smaller angle comes first, and both are between 0 and {WIDEST_DETECTOR:g} mrad")
        return angles


class ReconstructOptions(ImagesSettings, ReconstructSettings):
    """Volume from files of images and angles."""


class TraceOptions(VolumeSettings, TraceSettings):
    """Candidate atoms from a file with a volume."""
