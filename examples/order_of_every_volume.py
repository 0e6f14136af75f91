"""Which of the 1,452 volumes of 32 atoms are ordered like L1₀, and along which axis? A histogram in text."""

import numpy as np

import aet2dft


def main() -> None:
    """Print how the difference of order along z and x, which the anisotropy follows, is spread over the volumes."""
    atoms, _ = aet2dft.order(aet2dft.fept_2017())
    decks = aet2dft.inputs(atoms, kind="sliding", protocol="scf")
    difference = np.array([volume["order_difference"] for volume in decks.volumes])
    print(f"{len(difference):,} volumes of {len(decks.volumes[0]['site_ids'])} atoms")
    counts, edges = np.histogram(difference, np.linspace(-1, 1, 9))
    for low, high, n in zip(edges[:-1], edges[1:], counts, strict=True):
        print(f"|eta_z| - |eta_x| from {low:+.2f} to {high:+.2f}: {n:4d}  {'#' * (n // 10)}")


if __name__ == "__main__":
    main()
