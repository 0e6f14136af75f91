"""One self-contained HTML page about a project: figures, tables, a 3D view, a Methods paragraph and the provenance.

The figures themselves live in `aet2dft.plot`; reading a project lives with the command line.
"""

from __future__ import annotations

from aet2dft.html_report.page import Chapter, report

__all__ = ["Chapter", "report"]
