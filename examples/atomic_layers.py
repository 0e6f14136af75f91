"""What do the atomic layers of the particle look like? Draws the figure of the README."""

from pathlib import Path

import numpy as np

import aet2dft
from aet2dft.plot import plot_lattice_slices


def main(target: Path = Path("layers.png")) -> None:
    """Four layers, colored by species, with the boundaries of the grains."""
    atoms, order = aet2dft.order(aet2dft.fept_2017())
    axes = plot_lattice_slices(atoms, order, layers=4)
    figure = np.ravel(np.asarray(axes, dtype=object))[0].figure
    figure.savefig(target, dpi=200)
    print(f"drew {target}")


if __name__ == "__main__":
    main()
