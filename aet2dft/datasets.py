"""Data that ship with the package."""

from __future__ import annotations

import gzip
from importlib.resources import files
from pathlib import Path

from ase import Atoms

from aet2dft.structure.readers import read

FEPT_2017 = "data/fept_2017/FePt_cns_final.xyz"
_OUTPUTS = "data/demo_outputs"


def path_of(name: str) -> Path:
    """Path of a file or folder of the package."""
    return Path(str(files("aet2dft"))) / name


def fept_2017() -> Atoms:
    """The measured FePt particle: 6,569 Fe and 16,627 Pt atoms, positions in Å.

    Notes
    -----
    Y. Yang et al., Nature 542, 75 (2017); the file is that of Z. Yan et al., Nano Lett. 18, 2696 (2018), Apache-2.0.
    """
    return read(path_of(FEPT_2017))


def shipped_outputs(deck_digest: str) -> dict[str, bytes] | None:
    """Real outputs of pw.x for the deck of this SHA-256, by file name; None where the package has none."""
    folder = path_of(_OUTPUTS) / deck_digest[:16]
    if not folder.is_dir():
        return None
    return {path.name.removesuffix(".gz"): gzip.decompress(path.read_bytes()) for path in sorted(folder.glob("*.gz"))}
