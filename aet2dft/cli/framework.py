"""What all verbs share: registration, settings, one JSON object, provenance, progress."""

from __future__ import annotations

import contextlib
import inspect
import json
import logging
import math
import os
import platform
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from aet2dft import __version__
from aet2dft.cli.flags import common_flags, given, settings_flags
from aet2dft.config import VERBS, CommonSettings, ReadSettings, Settings, load
from aet2dft.errors import UsageError
from aet2dft.memory import require_address_space

_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""Of linear algebra and of programs that are started: one each, unless more are asked for."""
_LIBRARIES = ("ase", "h5py", "numba", "numpy", "scipy", "spglib")
_command: list[str] = []
S = TypeVar("S", bound=Settings)
app = typer.Typer(
    name="aet2dft",
    invoke_without_command=True,
    subcommand_metavar="COMMAND [ARGS]...",
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help=(
        "From atomic electron tomography to density functional theory: measured atoms, chemical order, DFT inputs, "
        "anisotropy."
    ),
)


@dataclass(slots=True)
class Step:
    """One run of a verb: what was asked, what happened, what goes out."""

    verb: str
    """Name of the verb."""
    settings: Any
    """Its settings, an instance of its class in `aet2dft.config.VERBS`."""
    read: ReadSettings
    """How foreign files of atoms are read."""
    common: CommonSettings
    """Seed and threads."""
    output: Path | None
    """What ``-o`` names."""
    dry_run: bool
    """Whether nothing is to be written."""
    resume: bool
    """Whether work that is done is to be left alone."""
    overwrite: bool
    """Whether results may be replaced."""
    quiet: bool
    """Whether only errors are shown."""
    in_place: bool = False
    """Whether the result goes into the project that is its source, which is held meanwhile."""
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

    def identity(self, model: str) -> dict[str, Any]:
        """Everything that the result follows from; `model` is the digest of the atoms that went in."""
        return {
            "settings": self.settings.model_dump(mode="json"),
            "seed": self.common.seed,
            "model": model,
            "version": __version__,
        }

    @property
    def command(self) -> str:
        """The command line."""
        return shlex.join(["aet2dft", *_command])

    def provenance(self) -> dict[str, Any]:
        """What one must know to repeat the step."""
        from aet2dft.store import digest

        return {
            "verb": self.verb,
            "settings": self.settings.model_dump(mode="json"),
            "read": self.read.model_dump(mode="json"),
            "seed": self.common.seed,
            "versions": _versions(),
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            "seconds": round(time.perf_counter() - self.started, 3),
            "peak_memory_mb": peak_memory_mb(),
            "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} processors",
            "command": self.command,
            "inputs": [{"path": str(p.resolve()), "sha256": digest(p)} for p in self.inputs if p.is_file()],
            "warnings": list(self.warnings),
        }

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


def verb(*, reads: bool = False, extends: bool = False) -> Callable[[Callable[..., Outcome]], Callable[..., None]]:
    """Register a function ``f(step, ...) -> Outcome`` as the verb of its name.

    Its flags are its own parameters, its settings (`aet2dft.config.VERBS`), those of all verbs and, with `reads`, how
    files of atoms are read. With `extends`, a source that is the project to write to is held before it is read: what
    the result is put beside is what it was made from.
    """

    def register(function: Callable[..., Outcome]) -> Callable[..., None]:
        name = function.__name__
        classes = (CommonSettings, *((ReadSettings,) if reads else ()), VERBS[name])
        own = list(inspect.signature(function, eval_str=True).parameters.values())[1:]
        flags = [flag for settings in reversed(classes) for flag in settings_flags(name, settings)]
        parameters = [*own, *flags, *common_flags()]

        def command(**values: Any) -> None:
            _run(function, classes, values, extends=extends)

        command.__name__, command.__doc__ = name, function.__doc__
        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {p.name: p.annotation for p in parameters}
        app.command(name)(command)
        return command

    return register


def execute(arguments: list[str]) -> int:
    """Carry out one command line in this process and give its exit code; errors are raised."""
    _command[:] = arguments
    code = app(arguments, prog_name="aet2dft", standalone_mode=False)
    return code if isinstance(code, int) else 0


def _run(
    function: Callable[..., Outcome], classes: tuple[type[Settings], ...], values: dict[str, Any], *, extends: bool
) -> None:
    name = function.__name__
    level = logging.INFO if values.pop("verbose") else logging.WARNING
    logging.basicConfig(level=level, format="%(message)s", stream=sys.stderr)
    as_json, config = values.pop("as_json"), values.pop("config")
    flags = {key: value for settings in classes for key, value in given(values, settings).items()}
    options = _options(name, classes, config, flags)
    step = Step(
        verb=name,
        settings=_part(options, VERBS[name]),
        read=_part(options, ReadSettings) if ReadSettings in classes else ReadSettings(),
        common=_part(options, CommonSettings),
        **{key: values.pop(key) for key in ("output", "dry_run", "resume", "overwrite", "quiet")},
    )
    _limit_threads(step.common)
    require_address_space(step.common.threads)
    missing = None if step.output is None or step.output.parent.exists() else step.output.parent
    with _held(step, values["source"]) if extends else contextlib.nullcontext():
        outcome = function(step, **values)
    if missing is not None and missing.exists():
        step.warn(f"made the folder {missing}, which was not there")
    if as_json:
        sys.stdout.write(json.dumps(plain(_record(step, outcome)), allow_nan=False) + "\n")
    elif not step.quiet:
        sys.stdout.write("\n".join(outcome.lines) + "\n")
    if step.exit_code:
        raise typer.Exit(step.exit_code)


@contextlib.contextmanager
def _held(step: Step, source: Path) -> Iterator[None]:
    """Hold a source that is the project to write to, unless nothing is written."""
    from aet2dft.store import is_project, locked

    project = step.output or source
    step.in_place = is_project(source) and project.exists() and project.samefile(source)
    with locked(project) if step.in_place and not step.dry_run else contextlib.nullcontext():
        yield


def _options(name: str, classes: tuple[type[Settings], ...], config: Path | None, flags: dict[str, Any]) -> Settings:
    """All settings of a verb at once: its TOML table may hold every flag that is a setting."""
    together = type("Options", classes, {})
    options: Settings = load(together, name, config=config, given=flags)
    return options


def _part(options: Settings, settings: type[S]) -> S:
    """The fields of one class, as they were given."""
    given_fields = options.model_fields_set & settings.model_fields.keys()
    return settings.model_validate({name: getattr(options, name) for name in given_fields})


def _limit_threads(common: CommonSettings) -> None:
    """Threads of libraries that are not loaded yet; without the flag, what the environment says stays."""
    # idle threads that spin make a shared machine many times slower
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if "numba" not in sys.modules:  # it raises where another number is asked for after its threads have started
        _choose_threads("NUMBA_NUM_THREADS", common, unasked=common.threads)
    for variable in _THREADS:
        _choose_threads(variable, common, unasked=1)


def _choose_threads(variable: str, common: CommonSettings, *, unasked: int) -> None:
    if "threads" in common.model_fields_set:
        os.environ[variable] = str(common.threads)
    else:
        os.environ.setdefault(variable, str(unasked))


def _record(step: Step, outcome: Outcome) -> dict[str, Any]:
    common = {
        "verb": step.verb,
        "version": __version__,
        "status": "dry_run" if step.dry_run else step.status,
        "input": None if outcome.source is None else outcome.source.resolve(),
        "output": None if outcome.output is None else outcome.output.resolve(),
        "seconds": round(time.perf_counter() - step.started, 3),
        "peak_memory_mb": peak_memory_mb(),
        "warnings": step.warnings,
    }
    assert not common.keys() & outcome.data.keys(), "what all verbs say is said once"
    return common | outcome.data


def _version(show: bool) -> None:
    if show:
        sys.stdout.write(f"aet2dft {__version__}\n")
        raise typer.Exit


@app.callback()
def _root(
    context: typer.Context,
    version: Annotated[  # noqa: ARG001  its callback shows it
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        sys.stderr.write(context.get_help() + "\n")
        raise typer.Exit(UsageError.exit_code)


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    return {"aet2dft": __version__, "python": platform.python_version()} | {name: version(name) for name in _LIBRARIES}


def peak_memory_mb() -> float:
    """Largest resident memory of this process so far, MB."""
    status = Path("/proc/self/status")
    if status.exists():  # getrusage also counts what the process was before it became this program
        line = next(line for line in status.read_text(encoding="ascii").splitlines() if line.startswith("VmHWM:"))
        return round(int(line.split()[1]) * 1.024e-3, 1)
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
