"""From atomic electron tomography to density functional theory.

Measured atoms of a nanoparticle become chemical order, input files of DFT codes, and maps of magnetic anisotropy.
Every verb of the command line is a function here; names load on first use, so that importing the package costs
nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from aet2dft.atoms import ARRAYS as ARRAYS
    from aet2dft.cli.demonstration import demo as demo
    from aet2dft.config import ClassifySettings as ClassifySettings
    from aet2dft.config import ImagesSettings as ImagesSettings
    from aet2dft.config import InputsSettings as InputsSettings
    from aet2dft.config import OrderSettings as OrderSettings
    from aet2dft.config import ReadSettings as ReadSettings
    from aet2dft.config import ReconstructSettings as ReconstructSettings
    from aet2dft.config import RefineSettings as RefineSettings
    from aet2dft.config import RunSettings as RunSettings
    from aet2dft.config import TraceSettings as TraceSettings
    from aet2dft.config import VerifySettings as VerifySettings
    from aet2dft.config import VolumeSettings as VolumeSettings
    from aet2dft.datasets import fept_2017 as fept_2017
    from aet2dft.dft_inputs.comparison import compare as compare
    from aet2dft.dft_inputs.decks import write_decks as write_decks
    from aet2dft.dft_inputs.execution import run as run
    from aet2dft.dft_inputs.input_sets import inputs as inputs
    from aet2dft.dft_inputs.results import collect as collect
    from aet2dft.errors import Aet2dftError as Aet2dftError
    from aet2dft.errors import InputError as InputError
    from aet2dft.exporting import export as export
    from aet2dft.recon.atoms.classification import classify as classify
    from aet2dft.recon.atoms.edits import edit as edit
    from aet2dft.recon.atoms.peaks import trace as trace
    from aet2dft.recon.atoms.refinement import refine as refine
    from aet2dft.recon.atoms.simulate import Noise as Noise
    from aet2dft.recon.atoms.simulate import simulate as simulate
    from aet2dft.recon.images.conventions import check_conventions as check_conventions
    from aet2dft.recon.images.readers import read_tilt_series as read_tilt_series
    from aet2dft.recon.images.readers import read_volume as read_volume
    from aet2dft.recon.tilt_series import TiltSeries as TiltSeries
    from aet2dft.recon.tilt_series import Volume as Volume
    from aet2dft.recon.verification.round_trip import verify as verify
    from aet2dft.recon.volumes.reconstruction import reconstruct as reconstruct
    from aet2dft.reporting import report as report
    from aet2dft.structure.chemical_order import order as order
    from aet2dft.structure.readers import read as read
    from aet2dft.structure.variants import VARIANTS as VARIANTS

_MODULES = {
    "aet2dft.atoms": ("ARRAYS",),
    "aet2dft.cli.demonstration": ("demo",),
    "aet2dft.config": (
        "ClassifySettings",
        "ImagesSettings",
        "InputsSettings",
        "OrderSettings",
        "ReadSettings",
        "ReconstructSettings",
        "RefineSettings",
        "RunSettings",
        "TraceSettings",
        "VerifySettings",
        "VolumeSettings",
    ),
    "aet2dft.datasets": ("fept_2017",),
    "aet2dft.dft_inputs.comparison": ("compare",),
    "aet2dft.dft_inputs.decks": ("write_decks",),
    "aet2dft.dft_inputs.execution": ("run",),
    "aet2dft.dft_inputs.input_sets": ("inputs",),
    "aet2dft.dft_inputs.results": ("collect",),
    "aet2dft.errors": ("Aet2dftError", "InputError"),
    "aet2dft.exporting": ("export",),
    "aet2dft.recon.atoms.classification": ("classify",),
    "aet2dft.recon.images.conventions": ("check_conventions",),
    "aet2dft.recon.atoms.edits": ("edit",),
    "aet2dft.recon.atoms.peaks": ("trace",),
    "aet2dft.recon.images.readers": ("read_tilt_series", "read_volume"),
    "aet2dft.recon.volumes.reconstruction": ("reconstruct",),
    "aet2dft.recon.atoms.refinement": ("refine",),
    "aet2dft.recon.atoms.simulate": ("Noise", "simulate"),
    "aet2dft.recon.tilt_series": ("TiltSeries", "Volume"),
    "aet2dft.recon.verification.round_trip": ("verify",),
    "aet2dft.reporting": ("report",),
    "aet2dft.structure.chemical_order": ("order",),
    "aet2dft.structure.readers": ("read",),
    "aet2dft.structure.variants": ("VARIANTS",),
}
_WHERE = {name: module for module, names in _MODULES.items() for name in names}
__all__ = ["__version__", *sorted(_WHERE)]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'aet2dft' has no attribute {name!r}")
    value = getattr(importlib.import_module(_WHERE[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
