"""The command line: `aet2dft VERB INPUT ...`."""

from aet2dft.cli.framework import main
from aet2dft.cli.verbs import info as _info  # registers the verbs

__all__ = ["main"]
