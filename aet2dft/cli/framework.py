"""What all verbs share: flags from settings, one JSON object, errors as exit codes, provenance, locks, progress."""

from __future__ import annotations

import contextlib
import enum
import errno
import inspect
import json
import logging
import math
import os
import platform
import shlex
import signal
import sys
import time
import traceback
import types
import typing
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import typer
from typer.exceptions import TyperException

from aet2dft import __version__
from aet2dft.config import ReadSettings, Settings, load
from aet2dft.errors import Aet2dftError, InputError, ResourceError

S = TypeVar("S", bound=Settings)
_NOT_WRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EFBIG, errno.EIO)
_command: list[str] = []
app = typer.Typer(
    name="aet2dft", no_args_is_help=True, add_completion=True, pretty_exceptions_enable=False, rich_markup_mode=None,
    help="From atomic electron tomography to density functional theory: measured atoms, chemical order, DFT inputs, anisotropy.",
)  # fmt: skip


class UsageError(Aet2dftError):
    """The command line is not one that can be carried out."""

    exit_code = 2


class Stopped(BaseException):
    """A signal asked the process to end; a BaseException, so that no handler of errors swallows it."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.exit_code = 128 + number


@dataclass(slots=True)
class Step:
    """One run of a verb: what was asked, what happened, what goes out."""

    verb: str
    """Name of the verb."""
    settings: Any
    """Its settings, an instance of the class the verb was registered with."""
    read: ReadSettings
    """How foreign files of atoms are read."""
    output: Path | None
    """What ``-o`` names."""
    as_json: bool
    """Whether one JSON object is wanted on stdout."""
    dry_run: bool
    """Whether nothing is to be written."""
    resume: bool
    """Whether work that is done is to be left alone."""
    overwrite: bool
    """Whether results may be replaced."""
    seed: int
    """Seed of random numbers."""
    threads: int
    """Threads of numerical libraries."""
    quiet: bool
    """Whether only errors are shown."""
    started: float = field(default_factory=time.perf_counter)
    """Clock at the start."""
    warnings: list[str] = field(default_factory=list)
    """Said to the user and kept in the record."""
    inputs: list[Path] = field(default_factory=list)
    """Files that were read."""
    status: str = "done"
    """``done``, ``partial`` or ``dry_run``."""
    exit_code: int = 0
    """Exit code of a step that ended without an error."""

    def warn(self, *texts: str) -> None:
        """Keep a warning and show it."""
        for text in texts:
            self.warnings.append(text)
            if not self.quiet:
                sys.stderr.write(f"note: {text}\n")

    def need_output(self, what: str) -> Path:
        """The path given with ``-o``; a usage error without it."""
        if self.output is None:
            raise UsageError(f"{self.verb} needs -o: {what}")
        return self.output

    def provenance(self) -> dict[str, Any]:
        """Everything needed to repeat the step."""
        from aet2dft.store import digest

        return {
            "verb": self.verb, "settings": self.settings.model_dump(mode="json"), "read": self.read.model_dump(mode="json"),
            "seed": self.seed, "versions": _versions(), "time": datetime.now(UTC).isoformat(timespec="seconds"),
            "seconds": round(time.perf_counter() - self.started, 3), "peak_memory_mb": peak_memory_mb(),
            "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} processors", "command": shlex.join(["aet2dft", *_command]),
            "inputs": [{"path": str(p.resolve()), "sha256": digest(p)} for p in self.inputs if p.is_file()], "warnings": list(self.warnings),
        }  # fmt: skip

    @contextlib.contextmanager
    def progress(self, label: str) -> Iterator[Callable[[int, int], None]]:
        """A progress line on stderr with the time left; silent under ``-q`` and where stderr is no terminal."""
        begun, shown = time.perf_counter(), [0.0]
        live = sys.stderr.isatty() and not self.quiet

        def show(done: int, total: int) -> None:
            now = time.perf_counter()
            if live and (now - shown[0] > 0.2 or done == total):
                shown[0] = now
                left = (now - begun) / max(done, 1) * (total - done)
                sys.stderr.write(f"\r{label}: {done}/{total}, {left:.0f} s left\x1b[K")
                sys.stderr.flush()

        try:
            yield show
        finally:
            if live:
                sys.stderr.write("\r\x1b[K")


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What a verb gives back."""

    data: dict[str, Any]
    """Keys of the JSON object."""
    lines: list[str]
    """The summary for people, at most ten lines."""
    output: Path | None = None
    """What was written."""
    source: Path | None = None
    """What was read."""


def verb(
    settings: type[Settings], *, name: str | None = None
) -> Callable[[Callable[..., Outcome]], Callable[..., None]]:
    """Register a function ``f(step, ...) -> Outcome`` as a verb; its flags are its own parameters, the settings and
    the common ones."""

    def register(function: Callable[..., Outcome]) -> Callable[..., None]:
        own_name = name or function.__name__
        own = list(inspect.signature(function, eval_str=True).parameters.values())[1:]
        reads = any(p.name == "types" for p in own)
        flags = [_flag(own_name, key, info) for key, info in settings.model_fields.items()]
        readers = [_flag("read", key, info) for key, info in ReadSettings.model_fields.items()] if reads else []

        def command(**values: Any) -> None:
            common = {p.name: values.pop(p.name) for p in _COMMON}
            given = {key: values.pop(key) for key in settings.model_fields if key in values}
            reading = {key: values.pop(key) for key in ReadSettings.model_fields if key in values and reads}
            _run(own_name, function, settings, given, reading, common, values)

        command.__name__, command.__doc__ = own_name, function.__doc__
        parameters = [*own, *flags, *readers, *_COMMON]
        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {p.name: p.annotation for p in parameters}
        app.command(own_name)(command)
        return command

    return register


def _run(
    name: str, function: Callable[..., Outcome], settings: type[Settings], given: dict[str, Any], reading: dict[str, Any], common: dict[str, Any],
    arguments: dict[str, Any],
) -> None:  # fmt: skip
    logging.basicConfig(
        level=logging.INFO if common["verbose"] else logging.WARNING, format="%(message)s", stream=sys.stderr
    )
    config = common["config"]
    step = Step(
        verb=name, settings=load(settings, name, config=config, given=_asked(given)),
        read=load(ReadSettings, "read", config=config, given=_asked(reading)), output=common["output"], as_json=common["json"],
        dry_run=common["dry_run"], resume=common["resume"], overwrite=common["overwrite"], seed=common["seed"],
        threads=common["threads"], quiet=common["quiet"],
    )  # fmt: skip
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ.setdefault(variable, str(step.threads))
    outcome = function(step, **arguments)
    record = {
        "verb": name, "version": __version__, "status": "dry_run" if step.dry_run else step.status,
        "input": None if outcome.source is None else str(outcome.source.resolve()),
        "output": None if outcome.output is None else str(outcome.output.resolve()),
        "seconds": round(time.perf_counter() - step.started, 3), "peak_memory_mb": peak_memory_mb(), "warnings": step.warnings,
        **outcome.data,
    }  # fmt: skip
    if step.as_json:
        sys.stdout.write(json.dumps(plain(record), allow_nan=False) + "\n")
    elif not step.quiet:
        sys.stdout.write("\n".join(outcome.lines) + "\n")
    if step.exit_code:
        raise typer.Exit(step.exit_code)


def _asked(values: dict[str, Any]) -> dict[str, Any]:
    """Flags that the user gave; choices come as enumerations, absent ones as None or empty lists."""
    values = {key: value.value if isinstance(value, enum.Enum) else value for key, value in values.items()}
    return {key: value for key, value in values.items() if value is not None and value != []}


def _flag(name: str, key: str, info: Any) -> inspect.Parameter:
    """A settings field as an option; the default stays with the settings, so that a TOML file can set it."""
    kind, text = _flag_type(key, info.annotation), info.description or ""
    default = info.get_default()
    shown = "" if default in (None, {}, ()) else f" [default: {_words(default)}]"
    words = f"--{key.replace('_', '-')}" + (f"/--no-{key.replace('_', '-')}" if kind is bool else "")
    option = typer.Option(
        words, help=text + shown, envvar=f"AET2DFT_{name.upper()}_{key.upper()}", show_envvar=False, show_default=False
    )
    optional = list[str] | None if kind is list else kind | None
    return inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[optional, option])


def _flag_type(key: str, annotation: Any) -> Any:
    """The type of a flag: choices, numbers and paths as they are, tuples as one word with commas, pairs as a
    repeatable word."""
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        annotation = next(arg for arg in typing.get_args(annotation) if arg is not type(None))
    if typing.get_origin(annotation) is Literal:
        return enum.Enum(key, {str(value): value for value in typing.get_args(annotation)})
    if typing.get_origin(annotation) is dict:
        return list if key == "set" else str
    return annotation if annotation in (int, float, bool, str, Path) else str


def _words(value: Any) -> str:
    return (
        ",".join(map(str, value))
        if isinstance(value, tuple)
        else str(value).lower()
        if isinstance(value, bool)
        else str(value)
    )


def _common(key: str, kind: Any, default: Any, *words: str, text: str) -> inspect.Parameter:
    annotation = Annotated[kind, typer.Option(*words, help=text, show_default=False)]
    return inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


_COMMON = (
    _common("output", Path | None, None, "-o", "--output", text="Project, folder or page to write."),
    _common("config", Path | None, None, "--config", text="TOML file with a table per verb."),
    _common("json", bool, False, "--json", text="One JSON object on stdout, everything else on stderr."),
    _common(
        "dry_run",
        bool,
        False,
        "--dry-run",
        text="Say what would be done, how long it takes and how much memory; write nothing.",
    ),
    _common(
        "resume",
        bool,
        False,
        "--resume",
        text="Go on where a stopped run left off; what is done with the same input and settings stays.",
    ),
    _common("overwrite", bool, False, "--overwrite", text="Replace results that are there."),
    _common("seed", int, 0, "--seed", text="Seed of random numbers [default: 0]."),
    _common(
        "threads", int, 1, "--threads", text="Threads of numerical libraries; results do not depend on it [default: 1]."
    ),
    _common("verbose", bool, False, "-v", "--verbose", text="Show what is going on, and the traceback of a bug."),
    _common("quiet", bool, False, "-q", "--quiet", text="Show errors only."),
)


def _version(show: bool) -> None:
    if show:
        sys.stdout.write(f"aet2dft {__version__}\n")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


def main(arguments: list[str] | None = None) -> None:
    """Entry point of the command line; ends the process with the exit code of the conventions."""
    arguments = sys.argv[1:] if arguments is None else arguments
    signal.signal(signal.SIGTERM, _stop)
    as_json = "--json" in arguments
    named = next((word for word in arguments if not word.startswith("-")), "")
    try:
        code = execute(arguments)
    except BaseException as error:
        code = _explain(error, named, as_json=as_json, verbose=not {"-v", "--verbose"}.isdisjoint(arguments))
    sys.stdout.flush()
    sys.exit(code if isinstance(code, int) else 0)


def execute(arguments: list[str]) -> Any:
    """Carry out one command line in this process; errors are raised."""
    _command[:] = arguments
    return app(arguments, prog_name="aet2dft", standalone_mode=False)


def _stop(number: int, frame: types.FrameType | None) -> None:
    raise Stopped(number)


def _explain(error: BaseException, name: str, *, as_json: bool, verbose: bool) -> int:
    """Write one sentence for an error and give its exit code."""
    if isinstance(error, typer.Exit):
        return error.exit_code
    kind, message, code = _judged(error)
    if as_json:
        failure = {"verb": name, "version": __version__, "status": "error", "error": {"type": kind, "message": message}}
        sys.stdout.write(json.dumps(failure) + "\n")
    sys.stderr.write(f"error: {message}\n")
    if code == 1 or verbose:
        traceback.print_exception(error, file=sys.stderr)
    return code


def _judged(error: BaseException) -> tuple[str, str, int]:
    """Type, sentence and exit code of an error."""
    kind = type(error).__name__
    if isinstance(error, (Aet2dftError, Stopped)):
        return kind, str(error), error.exit_code
    if isinstance(error, TyperException):
        message = error.format_message() if hasattr(error, "format_message") else str(error)
        return "UsageError", f"{message or kind} (see `aet2dft --help`)", 2
    if isinstance(error, (KeyboardInterrupt, typer.Abort)):
        return "KeyboardInterrupt", "stopped by Ctrl-C; nothing is lost, run the same command again with --resume", 130
    if isinstance(error, MemoryError):
        return kind, "not enough memory; free some, or take a smaller input", ResourceError.exit_code
    if isinstance(error, OSError) and error.errno in _NOT_WRITABLE:
        return (
            kind,
            f"{error.filename or 'a file'}: {error.strerror}; free space or choose another place",
            ResourceError.exit_code,
        )
    if isinstance(error, OSError) and error.filename is not None:
        return kind, f"{error.filename}: {error.strerror}", InputError.exit_code
    return kind, f"this is a bug of aet2dft: {kind}: {error}; please report it with the command and the text below", 1


def _versions() -> dict[str, str]:
    import ase
    import h5py
    import numba
    import numpy as np
    import scipy

    modules = {"ase": ase, "h5py": h5py, "numba": numba, "numpy": np, "scipy": scipy}
    return {"aet2dft": __version__, "python": platform.python_version()} | {
        name: m.__version__ for name, m in modules.items()
    }


def peak_memory_mb() -> float:
    """Largest resident memory of this process so far, MB."""
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1e6 if sys.platform == "darwin" else 1e3), 1)


def plain(value: Any) -> Any:
    """Numbers, texts, lists and dicts only; NaN and infinities become None."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value
