"""What is the easy axis of a volume whose energy is known along six directions? A tensor says."""

import numpy as np

from aet2dft.dft_inputs.anisotropy import anisotropy_tensor, to_energy_density


def main() -> None:
    """Fit the tensor to made-up energies of an easy axis that is tilted by 20 degrees from [001]."""
    directions = np.array([(1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (1, 0, 1), (0, 1, 1)])
    easy = np.array([np.sin(np.radians(20)), 0.0, np.cos(np.radians(20))])
    along = directions / np.linalg.norm(directions, axis=1, keepdims=True) @ easy
    energies = -1.39 * along**2  # meV/atom
    found = anisotropy_tensor(directions, energies)
    density = to_energy_density(found.k_uniaxial, 13.75)
    print(f"easy axis {found.easy_axis.round(3)}, K = {found.k_uniaxial:.2f} meV/atom = {density:.1f} MJ/m3")


if __name__ == "__main__":
    main()
