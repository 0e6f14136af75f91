"""The process of a command: signals, errors as one sentence, exit codes; it loads nothing before it can be stopped."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

from aet2dft import __version__
from aet2dft.errors import Aet2dftError, InputError, ResourceError, UsageError, remedy

_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")
_AGAIN = 0.5
"""Seconds after which a stop that something swallowed is raised again."""
_COMPILED = ("numba.", "llvmlite.")
"""Packages whose functions are called from compiled code."""
_NOT_WRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EFBIG, errno.EIO)
_NO_ROOM = ("failed to map segment", "cannot allocate memory", "cannot create shared object descriptor")
"""What a loader says of a library that does not fit."""


class Stopped(BaseException):
    """A signal asked the process to end; a BaseException, so that no handler of errors swallows it."""

    def __init__(self, number: int) -> None:
        name = "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
        super().__init__(f"stopped by {name}; the same command and --resume goes on from what was saved, if anything")
        self.exit_code = 128 + number


def main(arguments: list[str] | None = None) -> None:
    """Entry point of the command line; ends the process with the exit code of the conventions.

    Parameters
    ----------
    arguments : list of str, optional
        The command line without the name of the program; default: that of this process.
    """
    with _stoppable():
        code = _carried_out(sys.argv[1:] if arguments is None else arguments)
    if arguments is None:
        # nothing is left to save: a signal ends the process at once, without a traceback from the interpreter's end
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.exit(code)


def _carried_out(arguments: list[str]) -> int:
    """Exit code of a command line; whatever goes wrong is one sentence."""
    try:
        from aet2dft.cli import recon_verbs, verbs  # noqa: F401  they register themselves
        from aet2dft.cli.framework import execute

        code = execute(arguments)
        sys.stdout.flush()
    except BaseException as error:  # noqa: BLE001  this is where the process ends
        # typer makes an exit of a broken pipe
        broken = isinstance(error, SystemExit) and isinstance(error.__context__, BrokenPipeError)
        return _explain(BrokenPipeError() if broken else error, arguments)
    return code


@contextlib.contextmanager
def _stoppable() -> Iterator[None]:
    """Signals raise `Stopped` until it arrives; the handlers of before come back at the end."""
    names = _SIGNALS if threading.current_thread() is threading.main_thread() else ()
    before = {number: signal.getsignal(number) for name in names if (number := getattr(signal, name, None))}
    asked: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:
        asked.append(number)
        if isinstance(sys.exc_info()[1], Stopped):
            return  # tidying up already
        if hasattr(signal, "setitimer"):
            # a callback of a library may swallow the exception: then it comes again
            before.setdefault(signal.SIGALRM, signal.signal(signal.SIGALRM, stop))
            signal.setitimer(signal.ITIMER_REAL, _AGAIN)
        _raise(Stopped(asked[0]), frame)

    ignored, sys.unraisablehook = sys.unraisablehook, _quiet(sys.unraisablehook)
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:  # nohup and background jobs of a shell ignore signals on purpose
            signal.signal(number, stop)
    try:
        yield
    finally:
        if asked and hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)
        sys.unraisablehook = ignored


def _quiet(hook: Callable[[sys.UnraisableHookArgs], object]) -> Callable[[sys.UnraisableHookArgs], object]:
    """A hook that says nothing about a swallowed `Stopped`."""
    return lambda args: None if args.exc_type is Stopped else hook(args)


def _raise(stopped: Stopped, frame: FrameType | None) -> None:
    """Raise in `frame`, or at the next line of the one that called compiled code.

    A kernel of numba does not look at exceptions while it makes Python objects of its results: raised there, one ends
    as a SystemError or as a crash of the interpreter (measured). Compilers drop those of their callbacks.
    """
    caller, entrance = frame, ""
    while caller is not None and str(caller.f_globals.get("__name__", "")).startswith(_COMPILED):
        if caller.f_code.co_name == "_compile_for_args":  # Python as any other
            break
        entrance = caller.f_code.co_name
        caller = caller.f_back
    if caller is None or not entrance:
        raise stopped

    def raise_here(*_: object) -> None:
        sys.settrace(None)
        raise stopped

    caller.f_trace = raise_here
    sys.settrace(lambda *_: None)


def _explain(error: BaseException, arguments: list[str]) -> int:
    """Write one sentence for an error and give its exit code."""
    kind, message, code = _judged(error)
    if kind == "BrokenPipeError":
        # the reader of stdout has gone: what is left in the buffer must not be flushed at the end of the interpreter
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return code
    with contextlib.suppress(OSError):
        if "--json" in arguments:
            verb = next((word for word in arguments if not word.startswith("-")), "")
            failure = {"verb": verb, "version": __version__, "status": "error"}
            sys.stdout.write(json.dumps(failure | {"error": {"type": kind, "message": message}}) + "\n")
            sys.stdout.flush()
        sys.stderr.write(f"error: {message}\n")
        if code == 1 or not {"-v", "--verbose"}.isdisjoint(arguments):
            import traceback

            traceback.print_exception(error, file=sys.stderr)
    return code


def _judged(error: BaseException) -> tuple[str, str, int]:
    """Type, sentence and exit code of an error."""
    kind = type(error).__name__
    if isinstance(error, (Aet2dftError, Stopped)):
        return kind, str(error), error.exit_code
    if hasattr(error, "format_message"):  # every version of typer has its own base class of usage errors
        problem = error.format_message().replace("Value error, ", "") or "no command"
        context, parameter = getattr(error, "ctx", None), getattr(error, "param", None)
        if context is not None and parameter is not None:
            problem += _whence(context, parameter)
        command = getattr(context, "command_path", "aet2dft")
        return "UsageError", f"{problem} (see `{command} --help`)", UsageError.exit_code
    if isinstance(error, KeyboardInterrupt):
        return _judged(Stopped(signal.SIGINT))
    if isinstance(error, BrokenPipeError):
        return kind, "the reader of the output has gone", 128 + 13
    if _lacks_memory(error):
        return kind, "not enough memory; free some, or take a smaller input", ResourceError.exit_code
    if isinstance(error, OSError) and (error.errno in _NOT_WRITABLE or error.filename is not None):
        place = error.filename or "the output"
        if error.errno in _NOT_WRITABLE:
            mend = remedy(error, "choose another place")
            return kind, f"{place}: {error.strerror}; {mend}", ResourceError.exit_code
        return kind, f"{place}: {error.strerror}; give another path", InputError.exit_code
    return kind, f"this is a bug of aet2dft: {kind}: {error}; please report it with the command and the text below", 1


def _whence(context: Any, parameter: Any) -> str:
    """That a value comes from an environment variable, where it does; empty for a flag."""
    source = context.get_parameter_source(parameter.name)
    variables = [name for name in parameter.envvar or () if os.environ.get(name)]
    if getattr(source, "name", "") != "ENVIRONMENT" or not variables:
        return ""
    return f"; it is the value of the environment variable {variables[0]}"


def _lacks_memory(error: BaseException) -> bool:
    """Whether memory was refused, to Python or to the loader of a library; llvmlite hides why behind its own error."""
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return True
    if isinstance(error, (ImportError, OSError)) and any(word in str(error) for word in _NO_ROOM):
        return True
    return error.__context__ is not None and isinstance(error, OSError) and _lacks_memory(error.__context__)
