"""Settings of every verb: their names, defaults, bounds and help texts, each written once.

A settings class is the last argument of a public function, the TOML table of the same name and the flags of the verb.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, TypeVar

from aet2dft.config.analysis import (
    CollectSettings,
    CompareSettings,
    DemoSettings,
    ExportSettings,
    InputsSettings,
    OrderSettings,
    ReadSettings,
    ReportSettings,
    RunSettings,
)
from aet2dft.config.settings import FLAGS, WHERE, CommonSettings, Settings
from aet2dft.config.tomography import (
    ClassifyOptions,
    ClassifySettings,
    EditSettings,
    ImagesSettings,
    ReconstructOptions,
    ReconstructSettings,
    RefineOptions,
    RefineSettings,
    TraceOptions,
    TraceSettings,
    VerifySettings,
    VolumeSettings,
)
from aet2dft.errors import InputError

__all__ = [
    "VERBS",
    "ClassifyOptions",
    "ClassifySettings",
    "CollectSettings",
    "CommonSettings",
    "CompareSettings",
    "DemoSettings",
    "EditSettings",
    "ExportSettings",
    "ImagesSettings",
    "InputsSettings",
    "OrderSettings",
    "ReadSettings",
    "ReconstructOptions",
    "ReconstructSettings",
    "RefineOptions",
    "RefineSettings",
    "ReportSettings",
    "RunSettings",
    "Settings",
    "TraceOptions",
    "TraceSettings",
    "VerifySettings",
    "VolumeSettings",
    "load",
    "validated",
]

VERBS: dict[str, type[Settings]] = {
    "info": Settings,
    "reconstruct": ReconstructOptions,
    "trace": TraceOptions,
    "classify": ClassifyOptions,
    "refine": RefineOptions,
    "edit": EditSettings,
    "verify": VerifySettings,
    "order": OrderSettings,
    "inputs": InputsSettings,
    "run": RunSettings,
    "collect": CollectSettings,
    "compare": CompareSettings,
    "export": ExportSettings,
    "report": ReportSettings,
    "demo": DemoSettings,
}
"""Settings of every verb: the tables that a TOML file may hold."""
S = TypeVar("S", bound=Settings)


def load(settings: type[S], table: str, *, config: Path | str | None = None, given: dict[str, Any] | None = None) -> S:
    """Settings of one verb from a TOML table and the values given on the command line; the latter win.

    Parameters
    ----------
    settings : type
        The settings class of the verb.
    table : str
        Name of the verb and of its TOML table.
    config : Path or str, optional
        TOML file.
    given : dict, optional
        Values that the user gave as flags; they win over the file.

    Raises
    ------
    InputError
        If the file cannot be read, or a table, key or value is not allowed.
    """
    values, flags = {} if config is None else _table(Path(config), table), given or {}
    return settings.model_validate(values | flags, context={WHERE: f"[{table}]", FLAGS: flags.keys()})


def _table(config: Path, name: str) -> dict[str, Any]:
    """One table of a TOML file that holds nothing but tables of verbs; empty where it is not there."""
    try:
        content = tomllib.loads(config.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise InputError(f"{config}: cannot be read as TOML ({error}); give a file with a table [{name}]") from error
    for key, value in content.items():
        if key not in VERBS or not isinstance(value, dict):
            raise InputError(f"{config}: {key!r} is no table of a verb; the tables are {', '.join(VERBS)}")
    found: dict[str, Any] = content.get(name, {})
    return found


def validated(settings: type[S], values: dict[str, Any], *, where: str) -> S:
    """Settings from plain values; an InputError says in one sentence what is wrong, and `where` they stand."""
    return settings.model_validate(values, context={WHERE: where})
