"""aet2dft."""
__version__ = "0.1.0"
