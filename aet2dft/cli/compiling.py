"""The first run of a step compiles its functions, which takes a while without a sign of life: that is said."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Any

_SAID = "functions of this step are compiled, ten to twenty seconds, once after an installation\n"


@contextlib.contextmanager
def said_while_compiling(*, quiet: bool) -> Iterator[None]:
    """Say on stderr, once, that numba compiles what its cache does not hold."""
    if "numba" not in sys.modules:  # a step that compiles has loaded it by now
        yield
        return
    from numba.core.event import Listener, install_listener

    class Once(Listener):
        said = quiet

        def on_start(self, event: Any) -> None:  # noqa: ARG002  a name of numba
            if not self.said:
                self.said = True
                sys.stderr.write(_SAID)

        def on_end(self, event: Any) -> None:
            pass

    with install_listener("numba:compile", Once()):
        yield
