"""Species from simulated images of a measured metallic glass, through all steps. Truth: its atoms and their species.

Published for multislice images of the whole particle (Y. Liao et al., Nature (2026)): 95.1, 99.0 and 99.97 % of Co, Pd
and Pt are found with the right species; Y. Yang et al., Nature 592, 60 (2021): species right for 99.3 %.
"""

import numpy as np
import pytest
from ase import Atoms
from scipy.io import loadmat
from test_classification import miscalibrated

from aet2dft.config import ClassifySettings
from aet2dft.recon.atoms.classification import classify
from aet2dft.recon.atoms.peaks import trace
from aet2dft.recon.atoms.refinement import refine
from aet2dft.recon.atoms.simulate import Noise, simulate
from aet2dft.recon.metrics import match
from aet2dft.recon.volumes.reconstruction import reconstruct

PIXEL = 0.347
pytestmark = [pytest.mark.needs_data, pytest.mark.slow]


def glass(folder, center, radius, species):
    """Ball of the measured glass; its types 1 to 3 are the species."""
    positions = loadmat(folder / "MG_final_atom_coord_inA.mat")["final_atom_coord_inAngstrom"].T.astype(float)
    types = loadmat(folder / "MG_final_atom_types.mat")["final_atom_types"][0].astype(int)
    offsets = positions - positions.mean(axis=0) - center
    inside = np.linalg.norm(offsets, axis=1) < radius
    return Atoms(np.asarray(species)[types[inside] - 1], positions=offsets[inside])


def refined(truth, angles, *, intensity, counts, seed):
    """Candidates as traced, their volume, and atoms as refined, from images with noise."""
    size = 2 * int(np.ceil((np.linalg.norm(truth.positions, axis=1).max() + 4) / PIXEL))
    noise = Noise(counts=counts, read_noise=1)
    series = simulate(truth, angles, shape=(size, size), pixel_size=PIXEL, intensity=intensity, noise=noise, seed=seed)
    volume, _ = reconstruct(series)
    traced, _ = trace(volume)
    return traced, volume, refine(traced, series)[0]


@pytest.mark.parametrize(
    ("folder", "file", "variable"),
    [
        ("paet_np4_copdpt", "CoPdPt_Angle_Dose1p7e4.mat", "angles_refined_out"),
        ("metallic_glass_2021", "Angles.mat", "refined_angles"),
    ],
)
def test_three_species_are_told_as_well_as_published(data_dir, folder, file, variable):
    truth = glass(data_dir / "paet_np4_copdpt", 0.0, 15.0, ("Co", "Pd", "Pt"))
    angles = loadmat(data_dir / folder / file)[variable]
    _, _, atoms = refined(truth, angles, intensity=None, counts=150, seed=1)
    found, result = classify(atoms, None, ClassifySettings(species=("Co", "Pd", "Pt")))
    numbered, _ = classify(atoms, None, ClassifySettings())
    assert numbered.get_tags().max() - result.has_non_atoms == 3
    pairs = match(found, truth, radius=1.0).pairs
    right = found.numbers[pairs[:, 0]] == truth.numbers[pairs[:, 1]]
    assert right.mean() >= 0.993
    for name, published in (("Co", 0.951), ("Pd", 0.990), ("Pt", 0.9997)):
        of = truth.symbols == name
        assert right[of[pairs[:, 1]]].sum() >= published * of.sum() - 1


def test_confidence_is_calibrated_where_two_species_overlap(data_dir):
    """Three twins together: with few errors in a bin, chance alone would put one of twenty off."""
    said = {"height": [], "profile": [], "intensity": []}
    for ratio, seed in ((0.75, 51), (0.8, 52), (0.8, 53)):
        center = np.random.default_rng(seed).uniform(-12, 12, 3)
        truth = glass(data_dir / "paet_np4_copdpt", center, 24.5, ("Co", "Pd", "Pd"))
        intensity, angles = np.where(truth.symbols == "Co", ratio, 1.0), np.linspace(-70.2, 75.0, 55)
        traced, volume, atoms = refined(truth, angles, intensity=intensity, counts=30, seed=seed)
        for method, tables in said.items():
            settings = ClassifySettings(species=("Co", "Pd"), method=method)
            found, _ = classify(atoms if method == "height" else traced, volume, settings)
            pairs = match(found, truth, radius=1.0).pairs
            right = found.numbers[pairs[:, 0]] == truth.numbers[pairs[:, 1]]
            tables.append((np.asarray(found.arrays["species_confidence"])[pairs[:, 0]], right))
    for tables in said.values():
        sure, right = (np.concatenate(of) for of in zip(*tables, strict=True))
        assert miscalibrated(sure, right) == []
        assert (1.0 - sure).sum() == pytest.approx((~right).sum(), rel=0.15)
