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
    from aet2dft.config import InputsSettings as InputsSettings
    from aet2dft.config import OrderSettings as OrderSettings
    from aet2dft.config import ReadSettings as ReadSettings
    from aet2dft.config import RunSettings as RunSettings
    from aet2dft.datasets import fept_2017 as fept_2017
    from aet2dft.dft_inputs.comparison import compare as compare
    from aet2dft.dft_inputs.decks import write as write_decks  # noqa: F401  another name than its own
    from aet2dft.dft_inputs.execution import run as run
    from aet2dft.dft_inputs.input_sets import inputs as inputs
    from aet2dft.dft_inputs.results import collect as collect
    from aet2dft.errors import Aet2dftError as Aet2dftError
    from aet2dft.errors import InputError as InputError
    from aet2dft.exporting import export as export
    from aet2dft.reporting import report as report
    from aet2dft.structure.chemical_order import order as order
    from aet2dft.structure.readers import read as read
    from aet2dft.structure.variants import VARIANTS as VARIANTS

_MODULES = {
    "aet2dft.atoms": ("ARRAYS",),
    "aet2dft.cli.demonstration": ("demo",),
    "aet2dft.config": ("InputsSettings", "OrderSettings", "ReadSettings", "RunSettings"),
    "aet2dft.datasets": ("fept_2017",),
    "aet2dft.dft_inputs.comparison": ("compare",),
    "aet2dft.dft_inputs.decks": ("write_decks",),
    "aet2dft.dft_inputs.execution": ("run",),
    "aet2dft.dft_inputs.input_sets": ("inputs",),
    "aet2dft.dft_inputs.results": ("collect",),
    "aet2dft.errors": ("Aet2dftError", "InputError"),
    "aet2dft.exporting": ("export",),
    "aet2dft.reporting": ("report",),
    "aet2dft.structure.chemical_order": ("order",),
    "aet2dft.structure.readers": ("read",),
    "aet2dft.structure.variants": ("VARIANTS",),
}
_WHERE = {name: module for module, names in _MODULES.items() for name in names}
_OTHER_NAME = {"write_decks": "write"}
__all__ = ["__version__", *sorted(_WHERE)]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'aet2dft' has no attribute {name!r}")
    value = getattr(importlib.import_module(_WHERE[name]), _OTHER_NAME.get(name, name))
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
