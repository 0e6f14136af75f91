"""The command line as the tests use it: in this process for speed, as a process of its own where signals matter."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aet2dft.cli import main

ALWAYS = {"verb", "version", "status", "input", "output", "seconds", "peak_memory_mb", "warnings"}
"""Keys of the JSON object of every verb."""


@dataclass(frozen=True)
class Answer:
    """What a command gave."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """The one object on stdout; nothing else may be there."""
        found = json.loads(self.out)
        assert isinstance(found, dict)
        assert self.out.count("\n") == 1
        return found

    @property
    def message(self) -> str:
        """The sentence of an error."""
        return str(self.json["error"]["message"])


def aet2dft(*words: object) -> Answer:
    """A command in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main([str(word) for word in words])
        except SystemExit as end:
            code = end.code
    assert isinstance(code, int)
    return Answer(code=code, out=out.getvalue(), err=err.getvalue())


def done(*words: object) -> dict[str, Any]:
    """JSON of a command that must end well."""
    answer = aet2dft(*words, "--json")
    assert answer.code == 0, answer.out + answer.err
    return answer.json


def refused(*words: object, code: int = 3) -> str:
    """Sentence of a command that must end with an error: one sentence, the exit code, no traceback."""
    answer = aet2dft(*words, "--json")
    assert answer.code == code, answer.out + answer.err
    found = answer.json
    assert found["status"] == "error"
    assert set(found["error"]) == {"type", "message"}
    assert "Traceback" not in answer.err
    assert "\n" not in answer.message
    return answer.message


def process(*words: object, **environment: str) -> subprocess.Popen[str]:
    """A command as a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "aet2dft", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )


def files(folder: Path) -> dict[str, bytes]:
    """Content of everything in a folder, hidden files too."""
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}
