"""Which ordered grains does the measured particle hold, and which could be chance? One line per grain."""

import aet2dft


def main() -> None:
    """Print one line per grain of the FePt particle of Yang et al. (2017)."""
    _, order = aet2dft.order(aet2dft.fept_2017())
    assert order.chemical is not None
    table = order.chemical.grains
    print("grain  atoms  order  kind, and the largest one that chance made in ten surrogates")
    for k in range(len(table)):
        chance = f", chance up to {table.largest_by_chance[k]} atoms" if table.largest_by_chance[k] >= 0 else ""
        print(f"{table.grain[k]:5d} {table.n_atoms[k]:6,d}   {table.order[k]:.2f}  {table.name[k]}{chance}")


if __name__ == "__main__":
    main()
