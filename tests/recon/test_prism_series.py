"""The chain on images with multiple scattering. Truth: the 300 atoms, cut from a measured particle, that made them."""

from pathlib import Path

import numpy as np
import pytest
from ase.io import read
from commands import done

from aet2dft.recon.atoms.simulate import Noise, with_noise
from aet2dft.recon.tilt_series import TiltSeries
from aet2dft.recon.verification.round_trip import verify

DATA = Path(__file__).resolve().parents[1] / "data" / "prism_fept"
PIXEL = 0.3725


@pytest.fixture(scope="module")
def exact():
    return np.load(DATA / "images.npy").astype(np.float32)


def test_the_linear_model_explains_the_images_of_the_true_atoms_least_near_zone_axes(exact):
    atoms = read(DATA / "truth.xyz")
    tilts = np.loadtxt(DATA / "angles.csv")
    series = TiltSeries.from_angles(exact, tilts, pixel_size=PIXEL)
    atoms.set_array("intensity", np.where(atoms.symbols == "Pt", 1.0, 0.237))
    atoms.set_array("peak_width", np.where(atoms.symbols == "Pt", 0.52, 0.58))
    _, result = verify(atoms, truth=atoms, series=series)
    assert result.r_factor < 0.045
    near = np.abs(tilts) < 4
    residual = [verify(atoms, truth=atoms, series=series.subset(part))[1].r_factor for part in (near, tilts < -55)]
    assert residual[0] > 1.5 * residual[1]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("counts", "identified", "rmsd", "n_false"), [(300, 0.99, 0.10, 1), (80, 0.98, 0.15, 4)], ids=["300", "80"]
)
def test_five_commands_find_the_atoms_in_images_with_multiple_scattering(
    exact, tmp_path, counts, identified, rmsd, n_false
):
    np.save(tmp_path / "images.npy", with_noise(exact, Noise(counts=counts, read_noise=1), seed=1))
    project = tmp_path / "run.h5"
    angles = ("--angles", DATA / "angles.csv", "--pixel-size", PIXEL)
    done("reconstruct", tmp_path / "images.npy", *angles, "-o", project)
    done("trace", project)
    done("classify", project, "--species", "Fe,Pt")
    done("refine", project)
    found = done("verify", project, "--truth", DATA / "truth.xyz")
    assert found["fraction_identified"] >= identified
    assert found["rmsd"] <= rmsd
    assert found["n_false"] <= n_false
