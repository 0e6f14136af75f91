"""From Axes to inline SVG: text stays text, colors follow the theme of the page."""

from __future__ import annotations

import re
from io import StringIO
from typing import Any

import numpy as np
from markupsafe import Markup

from aet2dft.html_report.parts import Picture

DPI = 170
"""Resolution of the rasterized layers inside the drawings."""
_PROLOG = re.compile(r"^.*?(?=<svg)", re.DOTALL)
_METADATA = re.compile(r"\s*<metadata>.*?</metadata>", re.DOTALL)
_ID = re.compile(r'(\bid="|url\(#|xlink:href="#)')


def picture(ax: Any, *, name: str, alt: str, caption: str) -> Picture:
    """Make a picture of the page from a finished plot, and close its figure.

    Parameters
    ----------
    ax : Axes or array of Axes
        What a ``plot_*`` function returned.
    name : str
        Word that is unique on the page; it goes before every id in the drawing.
    alt, caption : str
        Texts.
    """
    from matplotlib import pyplot
    from matplotlib.figure import Figure

    from aet2dft.plot.style import figure_of, in_style

    figure = figure_of(np.ravel(ax)[0])
    assert isinstance(figure, Figure)  # the report draws into figures of its own, never into a part of one
    text = StringIO()
    with in_style():
        figure.savefig(text, format="svg", dpi=DPI, facecolor="none", metadata={"Date": None, "Creator": None})
    width = float(figure.get_size_inches()[0])
    pyplot.close(figure)
    return Picture(name=name, svg=_inline(text.getvalue(), name, alt), alt=alt, caption=caption, width=width)


def _inline(svg: str, name: str, alt: str) -> Markup:
    """Make a whole SVG file an element of a page that holds others."""
    from aet2dft.plot.style import INK, PAPER

    svg = _METADATA.sub("", _PROLOG.sub("", svg))
    svg = _ID.sub(rf"\g<1>{name}-", svg)
    svg = re.sub(INK, "currentColor", svg, flags=re.IGNORECASE)
    svg = re.sub(PAPER, "var(--card)", svg, flags=re.IGNORECASE)
    # the page sets the width; the view box keeps the shape
    svg = re.sub(r' (?:width|height)="[\d.]+pt"', "", svg, count=2)
    label = Markup('<svg role="img" aria-label="{}"').format(alt)
    # what comes from matplotlib is markup; texts that users chose were escaped by its SVG writer
    return Markup(svg.replace("<svg", str(label), 1))
