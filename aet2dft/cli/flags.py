"""Settings as flags of the command line; the values behind them stay with the settings."""

from __future__ import annotations

import enum
import inspect
import types
import typing
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from aet2dft.config import CommonSettings, Settings


def settings_flags(verb: str, settings: type[Settings]) -> list[inspect.Parameter]:
    """One keyword per field of the settings of a verb, with its environment variables."""
    return [_flag(verb, key, info, common=settings is CommonSettings) for key, info in settings.model_fields.items()]


def given(values: dict[str, Any], settings: type[Settings]) -> dict[str, Any]:
    """Take the flags of some settings out of `values`; only those that the user gave are returned."""
    taken = {key: values.pop(key) for key in settings.model_fields if key in values}
    taken = {key: value.value if isinstance(value, enum.Enum) else value for key, value in taken.items()}
    return {key: value for key, value in taken.items() if value is not None and value != []}


def common_flags() -> list[inspect.Parameter]:
    """Keywords that every verb has and that are no settings."""
    dry = "Say what would be done, how long it takes and how much memory; write nothing."
    resume = "Go on where a stopped run left off; what is done with the same input and settings stays."
    return [
        _common("output", Path | None, None, "-o", "--output", text="Project, folder or page to write."),
        _common(
            "config", Path | None, None, "--config", text="TOML file with a table per verb.", envvar="AET2DFT_CONFIG"
        ),
        _common("as_json", bool, False, "--json", text="One JSON object on stdout, everything else on stderr."),
        _common("dry_run", bool, False, "--dry-run", text=dry),
        _common("resume", bool, False, "--resume", text=resume),
        _common("overwrite", bool, False, "--overwrite", text="Replace results that are there."),
        _common(
            "verbose", bool, False, "-v", "--verbose", text="Show what is going on, and the traceback of an error."
        ),
        _common("quiet", bool, False, "-q", "--quiet", text="Show errors only."),
    ]


def _common(key: str, kind: Any, default: Any, *words: str, text: str, envvar: str | None = None) -> inspect.Parameter:
    option = typer.Option(*words, help=text, show_default=False, envvar=envvar, show_envvar=False)
    return inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, option])


def _flag(verb: str, key: str, info: Any, *, common: bool) -> inspect.Parameter:
    """A field as an option without a default: that stays with the settings, so that a TOML file can set it."""
    kind, default = _flag_type(key, info.annotation), None if info.default_factory else info.get_default()
    word = f"--{key.replace('_', '-')}"
    variables = [f"AET2DFT_{verb.upper()}_{key.upper()}", *([f"AET2DFT_{key.upper()}"] if common else [])]
    option = typer.Option(
        f"{word}/--no-{word[2:]}" if kind is bool else word,
        help=info.description + ("" if default in (None, {}, ()) else f" [default: {_words(default)}]"),
        envvar=variables,
        show_envvar=False,
        show_default=False,
    )
    optional = list[str] | None if kind is list else kind | None
    return inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[optional, option])


def _flag_type(key: str, annotation: Any) -> Any:
    """Choices, numbers and paths as they are, tuples as one word with commas, pairs as a repeatable word."""
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        annotation = next(arg for arg in typing.get_args(annotation) if arg is not type(None))
    if typing.get_origin(annotation) is Literal:
        return enum.Enum(key, {str(value): value for value in typing.get_args(annotation)})
    if typing.get_origin(annotation) is dict:
        return list
    return annotation if annotation in (int, float, bool, str, Path) else str


def _words(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)
