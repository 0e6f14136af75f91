"""How does the antisite fraction of a grain change from its core outwards? A profile in text."""

import aet2dft


def main() -> None:
    """Print the profile of the largest grain; far outside, in another L1₂ variant, it is near one half."""
    _, order = aet2dft.order(aet2dft.fept_2017())
    assert order.chemical is not None
    profile = order.chemical.profiles[0]
    print("depth / Å  antisites / %  atoms")
    for depth, fraction, sigma, n in zip(profile.depth, profile.fraction, profile.sigma, profile.n, strict=True):
        if n >= 30:
            print(f"{depth:9.1f}  {100 * fraction:5.1f} ± {100 * sigma:3.1f}  {n:5d}  {'#' * round(60 * fraction)}")


if __name__ == "__main__":
    main()
