"""``python -m aet2dft`` is the command line."""

from aet2dft.cli import main

if __name__ == "__main__":
    main()
