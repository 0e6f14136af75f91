"""How does one write VASP decks of a few volumes inside a chosen grain? With a tag and an axis of one's own."""

from pathlib import Path

import aet2dft


def main(folder: Path = Path("decks_vasp")) -> None:
    """Self-consistent spin-orbit runs along two axes, for the nine volumes nearest to the center of the box."""
    atoms, _ = aet2dft.order(aet2dft.fept_2017())
    settings = aet2dft.InputsSettings(code="vasp", protocol="mae_scf", around=("2",), limit=9, set={"ENCUT": "450"})
    decks = aet2dft.inputs(atoms, axes=("001", "1-10"), settings=settings)
    manifest = aet2dft.write_decks(folder, decks)
    print(f"{len(decks.decks)} jobs; the manifest is {manifest}")
    print((folder / "volumes" / "v00000" / "axis_1m10" / "INCAR").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
