"""How well do images give the atoms back? A piece of the measured particle, imaged and found again in Python."""

import numpy as np

import aet2dft

TILTS = np.linspace(-66.0, 64.0, 20)
RADIUS, PIXEL = 6.5, 0.3725


def main() -> None:
    """Print what every step found in twenty noisy images of 77 atoms."""
    particle = aet2dft.fept_2017()
    particle.positions -= particle.positions.mean(axis=0)
    truth = particle[np.linalg.norm(particle.positions, axis=1) < RADIUS]
    brightness = np.where(truth.symbols == "Pt", 4.0, 1.0)
    # your own: series, notes = aet2dft.read_tilt_series("images.mat", aet2dft.ImagesSettings(angles="angles.mat"))
    noise = aet2dft.Noise(counts=300, read_noise=1.0)
    series = aet2dft.simulate(truth, TILTS, shape=(48, 48), pixel_size=PIXEL, intensity=brightness, noise=noise)

    volume, reconstructed = aet2dft.reconstruct(series)
    print(f"reconstruct: {reconstructed.algorithm}, R factor {reconstructed.r_factor:.3f}")
    atoms, traced = aet2dft.trace(volume)
    print(f"trace: {traced.n_atoms} candidates")
    atoms, classified = aet2dft.classify(atoms, volume, aet2dft.ClassifySettings(species=("Fe", "Pt")))
    print(f"classify: {classified.composition}, mean confidence {classified.mean_confidence:.3f}")
    atoms, refined = aet2dft.refine(atoms, series)
    print(f"refine: R factor {refined.r_factor_before:.3f} -> {refined.r_factor_after:.3f}")
    _, check = aet2dft.verify(atoms, truth=truth)
    print(f"against the truth: {check.match.fraction_identified:.0%} identified, {100 * check.match.rmsd:.1f} pm")


if __name__ == "__main__":
    main()
