"""The five commands with their default settings on every published series of images.

Truth: the known atoms, or the maxima of the known or published volume, and the numbers in the READMEs of the data.
"""

from dataclasses import dataclass, field

import numpy as np
import pytest
from ase import Atoms
from ase.io import write
from commands import done

from aet2dft import store
from aet2dft.config import TraceSettings, VolumeSettings
from aet2dft.recon.atoms.peaks import trace
from aet2dft.recon.images.readers import read_volume

pytestmark = [pytest.mark.slow, pytest.mark.needs_data]


@dataclass(frozen=True, kw_only=True)
class Case:
    """A published series, and what must be reached on it."""

    images: str
    """File without its ending, in the folder of the data."""
    angles: str
    """File of the angles, likewise."""
    pixel_size: float
    """Å; where none is published, that of usual bonds."""
    r_factor: float
    """Most that the images may differ from the projections of the volume."""
    refine: tuple[str, ...] = ()
    """Options of `refine`."""
    species: str | None = None
    """Given to `classify`; None: found from the data."""
    composition: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Least and largest number of atoms of a species; without a known model."""
    truth: str | None = None
    """File of the known volume or atoms."""
    found: int = 0
    """Least number of known atoms that are found."""
    false: int = 0
    """Most false atoms."""
    rmsd: float = np.inf
    """Å: most that atoms may be off."""


def silicon(dose, **expected):
    """208 atoms; the published chain finds 199, 208 and 208 of them to 28.9, 17.3 and 4.2 pm."""
    folder = "paet_np1_asi208"
    images, angles = f"{folder}/projections_Dose{dose}_ForBM3D", f"{folder}/Si_Angle"
    truth = f"{folder}/aSi_208atoms_GT.txt"
    return Case(images=images, angles=angles, pixel_size=0.195, species="Si", truth=truth, **expected)


def workshop(name, angles="angles", **expected):
    """About 251 Pt and 70 Fe by the README, 321 atoms by the tutorial."""
    folder = "genfire_workshop_fept"
    images, angles = f"{folder}/projections_FePt{name}", f"{folder}/{angles}"
    return Case(images=images, angles=angles, pixel_size=0.35, species="Fe,Pt", **expected)


CASES = {
    "amorphous Si, 1.6e5": silicon("1p6e5", r_factor=0.34, found=208, rmsd=0.040),
    "amorphous Si, 1.6e4": silicon("1p6e4", r_factor=0.95, found=208, rmsd=0.105),
    "amorphous Si, 8.0e3": silicon("8p0e3", r_factor=1.05, found=208, rmsd=0.170),
    "workshop, clean": workshop("", r_factor=0.136, composition={"Pt": (249, 255), "Fe": (67, 72)}),
    "workshop, noisy": workshop("_noisy", r_factor=0.46, composition={"Pt": (249, 253), "Fe": (68, 72)}),
    "workshop, missing wedge": workshop(
        "_mw", "angles_mw", r_factor=0.13, composition={"Pt": (249, 253), "Fe": (66, 74)}
    ),
    # the image at -90 degrees is found by a search only
    "workshop, misaligned": workshop(
        "_misaligned", r_factor=0.60, composition={"Pt": (249, 253), "Fe": (68, 72)}, refine=("--fit-geometry",)
    ),
    # published: 390 of its 406 maxima, to 0.270 pixels
    "RESIRE sample": Case(
        images="resire_sample_amorphous/sample_projections_amorphous",
        angles="resire_sample_amorphous/sample_angles_amorphous",
        pixel_size=0.566,
        r_factor=0.011,
        truth="resire_sample_amorphous/ground_truth_amorphous_vol.mat",
        found=396,
        false=10,
        rmsd=0.22 * 0.566,
    ),
    "true angles": Case(
        images="angle_refinement_fept64/pj_new_Turbu3_1015",
        angles="angle_refinement_fept64/GroundTruth_angles_Turbu3_1015",
        pixel_size=0.421,
        r_factor=0.01,
        truth="angle_refinement_fept64/FePt_Vol_64_asymmetric.mat",
        found=482,
        rmsd=0.13 * 0.421,
    ),
}


def known_atoms(path, pixel_size) -> Atoms:
    """Atoms of a text file (type, y, x, z), or the maxima of a volume."""
    if path.suffix == ".txt":
        rows = np.loadtxt(path, comments="%")
        return Atoms("Si" * len(rows), positions=rows[:, [2, 1, 3]])
    volume, _ = read_volume(path, VolumeSettings(voxel_size=pixel_size))
    atoms, _ = trace(volume, TraceSettings(min_distance=3 * pixel_size, smoothing=0.0))
    return Atoms("Pt" * len(atoms), positions=atoms.positions)


@pytest.mark.parametrize("name", CASES)
def test_published_numbers_are_reached_with_default_settings(name, data_dir, tmp_path):
    case, project, truth = CASES[name], tmp_path / "run.h5", tmp_path / "truth.xyz"
    given = ("--angles", data_dir / f"{case.angles}.mat", "--pixel-size", case.pixel_size)
    said = done("reconstruct", data_dir / f"{case.images}.mat", *given, "-o", project)
    assert said["r_factor"] <= case.r_factor
    done("trace", project)
    done("classify", project, *([] if case.species is None else ["--species", case.species]))
    done("refine", project, *case.refine)
    atoms = store.load(project, "refine", "atoms", Atoms)
    for symbol, (fewest, most) in case.composition.items():
        assert fewest <= (atoms.symbols == symbol).sum() <= most
    if case.truth is None:
        return
    write(truth, known_atoms(data_dir / case.truth, case.pixel_size))
    found = done("verify", project, "--truth", truth)
    assert found["n_matched"] >= case.found
    assert found["n_false"] <= case.false
    assert found["rmsd"] <= case.rmsd
