"""The command line: ``aet2dft VERB INPUT ...``."""

from aet2dft.cli.process import main

__all__ = ["main"]
