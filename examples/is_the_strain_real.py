"""Is the strain of the particle larger than what position noise alone makes? Both, component by component."""

import numpy as np

import aet2dft


def main() -> None:
    """Print rms strain, its noise floor, and how many atoms are strained by more than three standard errors."""
    atoms, order = aet2dft.order(aet2dft.fept_2017())
    strain, sigma = atoms.arrays["strain"], atoms.arrays["strain_sigma"]
    print(f"position noise {100 * order.strain.noise:.1f} pm per axis, window {order.strain.window} Å")
    for k, name in enumerate(("xx", "yy", "zz", "yz", "xz", "xy")):
        known = np.isfinite(strain[:, k])
        beyond = np.mean(np.abs(strain[known, k]) > 3 * sigma[known, k])
        print(
            f"{name}: rms {100 * order.strain.rms[k]:.2f} %, noise floor {100 * order.strain.floor[k]:.2f} %, "
            f"{100 * beyond:.0f} % of the atoms beyond three sigma"
        )


if __name__ == "__main__":
    main()
