"""The whole chain on a twin of the measured FePt particle. Truth: the 23,196 atoms that the images were made of.

Images are linear, as in the model that is fitted: channelling and focus are not in them.
"""

import numpy as np
import pytest
from measured_twin import PIXEL, measured_angles, noisy_images, particle

from aet2dft.config import ClassifySettings, ReconstructSettings, RefineSettings, TraceSettings
from aet2dft.recon.atoms.classification import classify
from aet2dft.recon.atoms.peaks import trace
from aet2dft.recon.atoms.refinement import refine
from aet2dft.recon.images.calibration import moved
from aet2dft.recon.metrics import match
from aet2dft.recon.volumes.reconstruction import reconstruct


def found_in_images(atoms, angles, size, counts, read_noise):
    """Atoms and record of the refinement, by the default settings of every step."""
    series = noisy_images(atoms, angles, size, counts, read_noise)
    volume, made = reconstruct(series, ReconstructSettings())
    series = moved(series, made.center_offset)
    candidates, _ = trace(volume, TraceSettings())
    classified, _ = classify(candidates, volume, ClassifySettings(species=("Fe", "Pt")))
    return refine(classified, series, RefineSettings())


def inside(found, atoms):
    """Fraction of coordinates within one standard error of the truth."""
    scores = found.differences / atoms.arrays["position_sigma"][found.pairs[:, 0]]
    return (np.abs(scores) < 1).mean()


def test_a_ball_of_300_atoms_is_found_whole(fept):
    """Truth: the ball; the dose is that of 300 counts at the brightest pixel of the whole particle, per atom."""
    truth = particle(fept, 10.0)
    atoms, result = found_in_images(truth, np.linspace(-65, 65, 20), 64, 120, 1.0)
    found = match(atoms, truth)
    assert found.fraction_identified >= 0.99
    assert found.n_false <= 1
    assert found.rmsd < 0.12
    assert result.r_factor_after < result.r_factor_before


@pytest.mark.slow
@pytest.mark.needs_data
@pytest.mark.parametrize(
    ("counts", "fewest", "most_false", "picometers"), [(300, 0.999, 5, 11.2), (80, 0.985, 100, 21.0)]
)
def test_the_whole_particle_is_found_by_default_settings(fept, data_dir, counts, fewest, most_false, picometers):
    truth = particle(fept)
    atoms, _ = found_in_images(truth, measured_angles(data_dir), 270, counts, 1.0)
    found = match(atoms, truth)
    assert found.fraction_identified >= fewest
    assert found.n_false <= most_false
    assert 100 * found.rmsd <= picometers
    assert 0.63 <= inside(found, atoms) <= 0.73


@pytest.mark.slow
@pytest.mark.parametrize(("counts", "radius", "n_images"), [(90, 20.0, 34), (75, 16.0, 68), (24, 20.0, 34)])
def test_two_of_three_intervals_hold_the_true_position_on_twins_of_several_kinds(fept, counts, radius, n_images):
    """Truth: balls of 1,200 and 2,300 atoms, few and many images, high and low dose."""
    truth = particle(fept, radius)
    size = 2 * int(np.ceil((radius + 5) / PIXEL))
    atoms, _ = found_in_images(truth, np.linspace(-65.6, 64.3, n_images), size, counts, 0.5)
    assert 0.63 <= inside(match(atoms, truth), atoms) <= 0.73
