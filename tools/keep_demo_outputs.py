"""Keep the outputs of `aet2dft demo` for machines without pw.x: `python tools/keep_demo_outputs.py demo/decks_demo`."""

import gzip
import json
import sys
from pathlib import Path

KEPT = ("pw.out", "data-file-schema.xml", "exit_status")


def keep(decks: Path, target: Path) -> None:
    """Copy the outputs of every job, compressed, into a folder named by the digest of its deck."""
    for job in json.loads((decks / "manifest.json").read_text())["jobs"]:
        folder = target / job["files"]["pw.in"][:16]
        folder.mkdir(parents=True, exist_ok=True)
        for name in KEPT:
            content = (decks / "volumes" / job["id"] / name).read_bytes()
            # no time stamp: the same output gives the same file
            (folder / f"{name}.gz").write_bytes(gzip.compress(content, 9, mtime=0))


if __name__ == "__main__":
    keep(Path(sys.argv[1]), Path(__file__).parent.parent / "aet2dft" / "data" / "demo_outputs")
