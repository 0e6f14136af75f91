"""What all settings share: their base, and how words of the command line become values."""

from __future__ import annotations

import os
import re
import typing
from collections import Counter
from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    ValidationError,
    ValidationInfo,
    model_validator,
)

from aet2dft.errors import InputError

WHERE = "where"
"""Key in the context of a validation: what an error calls the place of the values."""
FLAGS = "flags"
"""Key of the names of those that came from flags."""
_ENOUGH = 4
"""Threads that are taken unasked: what takes long is seldom more work than they do, and each needs memory."""


def _split(value: Any) -> Any:
    """``"14,14,15"`` -> ``("14", "14", "15")``, one number -> one word; other values pass."""
    if isinstance(value, int):
        return (str(value),)
    return tuple(part.strip() for part in value.split(",")) if isinstance(value, str) else value


def _pairs(value: Any) -> Any:
    """``"1=Fe,2=Pt"`` or ``("KEY=VALUE", ...)`` -> ``{KEY: VALUE}``; the values of a table become words."""
    if isinstance(value, dict):
        return {key: str(item).lower() if isinstance(item, bool) else str(item) for key, item in value.items()}
    if not isinstance(value, (str, list, tuple)):
        return value
    words = (value,) if isinstance(value, str) else value
    parts = [part.strip().partition("=") for word in words for part in re.split(r",(?=[^,=]+=)", str(word))]
    if lone := [key for key, equals, _ in parts if not equals]:
        raise ValueError(f"{lone[0]!r} is not KEY=VALUE")
    if twice := [key for key, n in Counter(key.strip() for key, _, _ in parts).items() if n > 1]:
        raise ValueError(f"{twice[0]} is there twice")
    return {key.strip(): text.strip() for key, _, text in parts}


Edge = Annotated[int, Field(ge=1, le=1000)]
Triple = Annotated[tuple[Edge, Edge, Edge], BeforeValidator(_split)]
Numbers = Annotated[tuple[int, ...], BeforeValidator(_split)]
Interval = Annotated[tuple[float, float], BeforeValidator(_split)]
Words = Annotated[tuple[str, ...], BeforeValidator(_split), Field(min_length=1)]
Pairs = Annotated[dict[str, str], BeforeValidator(_pairs)]


class Settings(BaseModel):
    """Base of all settings: frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @classmethod
    def files(cls) -> frozenset[str]:
        """Names of the settings that are paths."""
        fields = cls.model_fields.items()
        return frozenset(
            name for name, field in fields if Path in (field.annotation, *typing.get_args(field.annotation))
        )

    @model_validator(mode="wrap")
    @classmethod
    def _refuse_in_one_sentence(
        cls, values: Any, handler: ModelWrapValidatorHandler[Self], info: ValidationInfo
    ) -> Self:
        try:
            return handler(values)
        except ValidationError as error:
            context = info.context or {WHERE: cls.__name__}
            raise InputError(_sentence(cls, values, error, **context)) from error


def _sentence(
    settings: type[Settings], values: Any, error: ValidationError, where: str, flags: Collection[str] = ()
) -> str:
    """What is wrong with the first of the values that are."""
    first = error.errors()[0]
    name = ".".join(str(part) for part in first["loc"]) or "value"
    if first["type"] == "extra_forbidden":
        return f"{where} has no setting {name!r}; it knows {', '.join(sorted(settings.model_fields))}"
    problem = "a part of it is not there" if first["type"] == "missing" else first["msg"].removeprefix("Value error, ")
    setting, value = name.partition(".")[0], first["input"]
    if isinstance(values, dict):  # as it was given, not the part of it that is wrong
        value = values.get(setting, value)
    named = f"--{setting.replace('_', '-')}" if setting in flags else f"{where} {setting} ="
    return f"{named} {value!r}: {problem}; give another value"


def _some_processors() -> int:
    return min(_ENOUGH, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


class CommonSettings(Settings):
    """What every verb takes."""

    seed: int = Field(default=0, ge=0, description="Seed of random numbers.")
    threads: int = Field(
        default_factory=_some_processors,
        ge=1,
        le=1024,
        description=f"Threads of numerical libraries; results do not depend on it. [default: the processors that there "
        f"are, {_ENOUGH} at most]",
    )
