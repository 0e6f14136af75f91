"""The process of a command: signals, errors as one sentence, exit codes; it loads nothing before it can be stopped."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType

from aet2dft import __version__
from aet2dft.errors import Aet2dftError, InputError, ResourceError

_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")
_TIDY_UP = 2.0
"""Seconds after a signal in which a second one does not disturb the tidying up."""
_NOT_WRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EFBIG, errno.EIO)


class UsageError(Aet2dftError):
    """The command line is not one that can be carried out."""

    exit_code = 2


class Stopped(BaseException):
    """A signal asked the process to end; a BaseException, so that no handler of errors swallows it."""

    def __init__(self, number: int) -> None:
        name = "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
        super().__init__(f"stopped by {name}; nothing is lost, run the same command again with --resume")
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
    """Signals raise `Stopped`; the handlers of before come back at the end."""
    numbers = [getattr(signal, name) for name in _SIGNALS if hasattr(signal, name)]
    if threading.current_thread() is not threading.main_thread():
        numbers = []
    before = {number: signal.getsignal(number) for number in numbers}
    last = [-_TIDY_UP]

    def stop(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        if time.monotonic() - last[0] > _TIDY_UP:
            last[0] = time.monotonic()
            raise Stopped(number)

    for number, handler in before.items():
        if handler is not signal.SIG_IGN:  # nohup and background jobs of a shell ignore signals on purpose
            signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


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
        return "UsageError", f"{error.format_message() or 'no command'} (see `aet2dft --help`)", UsageError.exit_code
    if isinstance(error, KeyboardInterrupt):
        return _judged(Stopped(signal.SIGINT))
    if isinstance(error, BrokenPipeError):
        return kind, "the reader of the output has gone", 128 + 13
    if isinstance(error, MemoryError):
        return kind, "not enough memory; free some, or take a smaller input", ResourceError.exit_code
    if isinstance(error, OSError) and (error.errno in _NOT_WRITABLE or error.filename is not None):
        place = error.filename or "the output"
        if error.errno in _NOT_WRITABLE:
            return kind, f"{place}: {error.strerror}; free space or choose another place", ResourceError.exit_code
        return kind, f"{place}: {error.strerror}; give another path", InputError.exit_code
    return kind, f"this is a bug of aet2dft: {kind}: {error}; please report it with the command and the text below", 1
