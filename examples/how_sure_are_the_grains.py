"""How many atoms get the right label? Known grains, measured as badly as the real ones, then analyzed."""

import numpy as np

import aet2dft
from aet2dft.synthetic import measured, particle, two_grains


def main() -> None:
    """Two antiphase L1₂ halves of 4,000 atoms, with 22 pm of noise per axis, wrong, missing and false atoms."""
    truth = particle(two_grains(), n_atoms=4_000, seed=1)
    atoms, order = aet2dft.order(measured(truth, seed=1))
    assert order.chemical is not None
    known = atoms.arrays["true_variant"] > 0
    # another origin or axis of the lattice only renames the variants: the two largest grains are matched by overlap
    right = 0
    for variant in (1, 2):
        own = known & (atoms.arrays["true_variant"] == variant)
        right += int(np.bincount(atoms.arrays["variant"][own]).max())
    print(f"grains found: {', '.join(f'{n:,}' for n in order.chemical.grains.n_atoms[:3])} atoms")
    print(f"{100 * right / known.sum():.1f} % of {known.sum():,} atoms have the right label")


if __name__ == "__main__":
    main()
