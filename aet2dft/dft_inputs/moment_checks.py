"""Checks of computed moments that hold for every code: did one collapse, leave its axis, differ between the axes.

Reading the moments lives with each code.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from aet2dft.dft_inputs.run_result import RunResult

SMALLEST_MOMENT = {"Fe": 0.5}
"""Elements that always carry a local moment in these alloys, and the |m| in μB below which it has collapsed."""
SMALLEST_SHARE = 0.3
"""Share of its starting moment below which the moment of a site of any other element has collapsed."""
LARGEST_DRIFT = 5.0
"""Degrees between the moments and the axis beyond which an energy no longer belongs to that axis."""
_LOCAL_MOMENT = 1.0
"""μB; a site that started with less has its moment from its neighbors, and may end with any."""
_SMALLEST_TOTAL = 0.1
"""μB; the direction of a smaller moment means nothing."""
_SAME_MOMENT = 0.2
"""μB per site; self-consistent runs of FePt along two axes differ by 0.009, a flipped platinum by 0.7."""
_SAME_TOTAL = 0.05
"""Share of the total moment, where site moments are not known; those runs differ by 0.006."""
_ELEMENT = re.compile("|".join(SMALLEST_MOMENT))


def magnetic_verdict(result: RunResult, axis: Sequence[float] | NDArray[np.float64] | None) -> tuple[str, str]:
    """Status and reason of a converged run by its moments: ok, ``moment_collapsed`` or ``axis_drifted``.

    Parameters
    ----------
    result : RunResult
        Run with its moments, in the frame of the lattice.
    axis : array_like, optional
        Direction (3,) that the magnetization was asked to keep; without it the drift is not judged.
    """
    collapsed = "" if result.moments is None else collapsed_moment(result.labels, result.moments)
    if collapsed:
        return "moment_collapsed", collapsed
    if not result.noncollinear or axis is None:
        return "ok", ""
    drifted = _drifted_axis(result, axis)
    return ("axis_drifted", drifted) if drifted else ("ok", "")


def collapsed_moment(labels: Sequence[str], moments: NDArray[np.float64], started: ArrayLike | None = None) -> str:
    """Say which site lost its moment, or nothing.

    Parameters
    ----------
    labels : sequence of str
        Species label of each site (N); ``Fe``, ``Fe1`` and ``Fea`` are iron.
    moments : NDArray
        Site moments (N,) or (N, 3), μB.
    started : array_like, optional
        Moments (N,) or (N, 3), μB, that the run started from; without them iron alone is judged.
    """
    sizes = _sizes(moments)
    begun = np.zeros(len(sizes)) if started is None else _sizes(np.asarray(started, dtype=float))
    for index, (label, size, start) in enumerate(zip(labels, sizes, begun, strict=True)):
        element = _ELEMENT.match(label)
        share = SMALLEST_SHARE * start if start >= _LOCAL_MOMENT else 0.0
        if size < (SMALLEST_MOMENT[element.group()] if element else share):
            from_start = f", from {start:.2f}" if start else ""
            return (
                f"the moment of {label} at site {index} is {size:.2f} μB{from_start}: "
                "the run ended in another magnetic state"
            )
    return ""


def different_states(runs: Sequence[RunResult], axes: Sequence[Sequence[float]]) -> str:
    """Say by how much runs along several axes ended in different magnetic states, or nothing.

    Parameters
    ----------
    runs : sequence of RunResult
        Runs of the same atoms; those without moments (force theorem of pw.x) are not judged.
    axes : sequence
        Direction (3,) of each run.

    Notes
    -----
    Compared are the components along the axes, up to one sign for all sites, because E(-n) = E(n). Where the site
    moments of a run are not known, it is the total moments.
    """
    of_sites = [run.moments for run in runs if run.moments is not None and run.moments.ndim == 2]
    by_site = len(of_sites) == len(runs) and len({len(moments) for moments in of_sites}) == 1
    vectors = of_sites if by_site else [run.total_moment for run in runs if run.total_moment is not None]
    if len(vectors) < len(runs):
        return ""
    along = [np.atleast_1d(moments @ _unit(axis)) for moments, axis in zip(vectors, axes, strict=True)]
    allowed = _SAME_MOMENT if by_site else max(_SAME_MOMENT, _SAME_TOTAL * float(np.abs(along[0]).max()))
    worst = max(min(float(np.abs(along[0] + sign * other).max()) for sign in (-1, 1)) for other in along)
    if worst <= allowed:
        return ""
    which = "moments of a site" if by_site else "total moments"
    return f"the {which} along the axes differ by {worst:.2f} μB: the runs ended in different magnetic states"


def _drifted_axis(result: RunResult, axis: ArrayLike) -> str:
    """Say how far the moments left the line along an axis (3,), or nothing.

    Notes
    -----
    The angle is that between two lines, because E(-n) = E(n) (time reversal).
    """
    moment = _common_moment(result)
    if moment is None or np.linalg.norm(moment) < _SMALLEST_TOTAL:
        return ""
    line = _unit(axis)
    angle = float(np.degrees(np.arctan2(np.linalg.norm(np.cross(moment, line)), abs(moment @ line))))
    if angle <= LARGEST_DRIFT:
        return ""
    direction = " ".join(f"{component:.2f}" for component in _unit(moment) + 0.0)
    off = f"{angle:.1f} degrees off the axis asked for"
    return f"the moments lie along ({direction}), {off}; use the force theorem there"


def _common_moment(result: RunResult) -> NDArray[np.float64] | None:
    """Sum (3,) of the site moments, those against the largest one reversed; the total moment where only that is known.

    In an antiferromagnet the total moment vanishes and this sum does not.
    """
    if result.moments is None or result.moments.ndim != 2:
        return result.total_moment
    largest = result.moments[np.argmax(_sizes(result.moments))]
    signs = np.where(result.moments @ largest < 0, -1.0, 1.0)
    common: NDArray[np.float64] = signs @ result.moments
    return common


def _sizes(moments: NDArray[np.float64]) -> NDArray[np.float64]:
    sizes: NDArray[np.float64] = np.abs(moments) if moments.ndim == 1 else np.linalg.norm(moments, axis=1)
    return sizes


def _unit(axis: ArrayLike) -> NDArray[np.float64]:
    vector = np.asarray(axis, dtype=float)
    unit: NDArray[np.float64] = vector / np.linalg.norm(vector)
    return unit
