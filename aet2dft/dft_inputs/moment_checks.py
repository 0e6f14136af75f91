"""Checks of computed moments that hold for every code: did a moment collapse, did the magnetization leave its axis.

Reading the moments lives with each code.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from aet2dft.dft_inputs.run_result import RunResult

SMALLEST_MOMENT = {"Fe": 0.5}
"""Elements that always carry a local moment in these alloys, and the |m| in μB below which it has collapsed."""
LARGEST_DRIFT = 5.0
"""Degrees between the total moment and the axis beyond which an energy no longer belongs to that axis."""
_SMALLEST_TOTAL = 0.1
"""μB; the direction of a smaller total moment means nothing."""
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
    if not result.noncollinear or result.total_moment is None or axis is None:
        return "ok", ""
    drifted = drifted_axis(result.total_moment, axis)
    return ("axis_drifted", drifted) if drifted else ("ok", "")


def collapsed_moment(labels: Sequence[str], moments: NDArray[np.float64]) -> str:
    """Say which site lost its moment, or nothing.

    Parameters
    ----------
    labels : sequence of str
        Species label of each site (N); ``Fe``, ``Fe1`` and ``Fea`` are iron.
    moments : NDArray
        Site moments (N,) or (N, 3), μB.
    """
    sizes = np.abs(moments) if moments.ndim == 1 else np.linalg.norm(moments, axis=1)
    for index, (label, size) in enumerate(zip(labels, sizes, strict=True)):
        element = _ELEMENT.match(label)
        if element is not None and size < SMALLEST_MOMENT[element.group()]:
            return f"the moment of {label} at site {index} is {size:.2f} μB: the run ended in another magnetic state"
    return ""


def drifted_axis(total_moment: NDArray[np.float64], axis: Sequence[float] | NDArray[np.float64]) -> str:
    """Say how far the total moment (3,), μB, left the line along `axis`, or nothing.

    Notes
    -----
    The angle is that between two lines, because E(-n) = E(n) (time reversal).
    """
    size = float(np.linalg.norm(total_moment))
    if size < _SMALLEST_TOTAL:
        return ""
    across = float(np.linalg.norm(np.cross(total_moment, axis)))
    angle = float(np.degrees(np.arctan2(across, abs(np.dot(total_moment, axis)))))
    if angle <= LARGEST_DRIFT:
        return ""
    moment = " ".join(f"{component:.2f}" for component in total_moment)
    return f"the total moment ({moment}) μB is {angle:.1f} degrees off the axis asked for; use the force theorem there"
