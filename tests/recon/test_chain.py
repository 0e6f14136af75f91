"""From images to atoms in one go. Truth: the published silicon particle behind noisy multislice images.

Y. Liao et al., Nature (2026), find 199, 208 and 208 of 208 atoms to 28.9, 17.3 and 4.2 pm at the three doses.
"""

import numpy as np
import pytest
from ase import Atoms

from aet2dft.config import ClassifySettings, ImagesSettings, RefineSettings
from aet2dft.recon.images.readers import read_support, read_tilt_series
from aet2dft.recon.metrics import match
from aet2dft.recon.verification.chain import Chain, run_chain

CHAIN = Chain(steps=(ClassifySettings(species=("Si",)), RefineSettings()))


@pytest.mark.slow
@pytest.mark.needs_data
@pytest.mark.parametrize(
    ("dose", "fewest", "most_false", "picometers"),
    [("8p0e3", 208, 0, 17.0), ("1p6e4", 208, 0, 10.5), ("1p6e5", 208, 0, 4.0)],
)
def test_silicon_atoms_are_found_from_the_images_without_being_told_their_number(
    data_dir, dose, fewest, most_false, picometers
):
    folder = data_dir / "paet_np1_asi208"
    settings = ImagesSettings(angles=folder / "Si_Angle.mat", pixel_size=0.195)
    series, _ = read_tilt_series(folder / f"projections_Dose{dose}_ForBM3D.mat", settings)
    support = read_support(folder / "Mask_aSi_cov35pm.mat", (128, 128))
    atoms = run_chain(series, CHAIN, support=support)
    truth = Atoms("Si208", positions=np.loadtxt(folder / "aSi_208atoms_GT.txt", comments="%")[:, [2, 1, 3]])
    found = match(atoms, truth, radius=0.9)
    assert found.n_matched >= fewest
    assert found.n_false <= most_false
    assert 100 * found.rmsd <= picometers
    assert np.linalg.norm(found.shift) < 0.03
    # multiple scattering displaces atoms in all images alike: that no residual shows
    inside = np.abs(found.differences) < atoms.arrays["position_sigma"][found.pairs[:, 0]]
    assert 0.58 <= inside.mean() <= 0.73
