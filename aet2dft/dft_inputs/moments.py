"""Starting moments of the atoms, and their grouping into the few types of atoms that pw.x accepts.

How a code writes them lives with the writer of that code.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from aet2dft.dft_inputs.protocol import Protocol
from aet2dft.errors import InputError

MAX_TYPES = 10
"""Types of atoms that pw.x is compiled for (ntypx); the eleventh is refused as a bad namelist line."""
_PARALLEL = 1e-6
"""μB; moments that leave a line by less count as lying along it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AtomTypes:
    """Atoms grouped by element and starting moment."""

    labels: tuple[str, ...]
    """(T,) label of every type, at most three characters: Fe, Fe1, Fe2, Pt."""
    elements: tuple[str, ...]
    """(T,) chemical symbol of every type."""
    moments: NDArray[np.float64]
    """(T,) or (T, 3), μB: moment of every type."""
    index: NDArray[np.intp]
    """(N,) type of every atom."""
    error: float
    """μB: largest difference between the moment of an atom and that of its type."""


def starting_moments(atoms: Atoms, protocol: Protocol) -> NDArray[np.float64]:
    """Moments to start from, (N,) or (N, 3), μB: those of the atoms, else those of the protocol by element.

    Raises
    ------
    InputError
        If one is NaN or infinite, an element has none, or all are zero and the protocol does not allow that.
    """
    if atoms.has("initial_magmoms"):
        moments = np.asarray(atoms.arrays["initial_magmoms"], dtype=float)
    else:
        per_element = {str(s): float(protocol.of_element("moment", str(s))) for s in dict.fromkeys(atoms.symbols)}
        moments = np.array([per_element[symbol] for symbol in atoms.symbols])
    bad = np.flatnonzero(~np.isfinite(moments.reshape(len(atoms), -1)).all(axis=1))
    if bad.size:
        raise InputError(f"{bad.size} starting moments are NaN or infinite (first: atom {bad[0]}); give finite numbers")
    if not moments.any() and not protocol.tags["allow_nonmagnetic"]:
        raise InputError(
            "all starting moments are zero, and such a run ends non-magnetic without an error; "
            "give moments, e.g. --set moment.Fe=3.0, or --set allow_nonmagnetic=true"
        )
    return moments


def along_one_line(moments: NDArray[np.float64]) -> NDArray[np.float64]:
    """Signed sizes (N,) of moments that are (N,), or (N, 3) along one line; positive along the largest of them.

    Raises
    ------
    InputError
        If the vectors are not parallel or antiparallel.
    """
    if moments.ndim == 1:
        return moments
    sizes: NDArray[np.float64] = np.linalg.norm(moments, axis=1)
    largest = int(np.argmax(sizes))
    if sizes[largest] == 0:
        return sizes
    direction = moments[largest] / sizes[largest]
    along: NDArray[np.float64] = np.asarray(moments @ direction)
    if np.abs(moments - np.outer(along, direction)).max() > _PARALLEL:
        raise InputError(
            "the starting moments are not along one line, but the force theorem starts from a collinear run; "
            "take the protocol mae_scf, or give one number per atom"
        )
    return along


def group_by_moment(symbols: Sequence[str], moments: NDArray[np.float64], *, max_types: int = MAX_TYPES) -> AtomTypes:
    """Group atoms into types of one element and nearly one moment.

    Parameters
    ----------
    symbols : sequence of str, length N
        Chemical symbols; types come in the order in which their elements first appear.
    moments : ndarray, shape (N,) or (N, 3)
        Moments, μB.
    max_types : int
        Most types there may be.

    Raises
    ------
    InputError
        If there are more elements than types.

    Notes
    -----
    With no more than `max_types` different moments the grouping is exact. Else the largest error is made small: scalar
    moments are covered by intervals of the least length that suffices, which is the optimum; for vectors, the atom
    farthest from its center becomes a new center until all types are used (Gonzalez, Theor. Comput. Sci. 38, 293
    (1985)), at most twice the optimum.
    """
    elements, element_of = np.unique(np.asarray(symbols), return_inverse=True)
    if len(elements) > max_types:
        raise InputError(f"{len(elements)} elements in one cell; pw.x accepts {max_types} types of atoms")
    points = np.column_stack([element_of, moments.reshape(len(symbols), -1)])
    distinct, index = np.unique(points, axis=0, return_inverse=True)
    centers = distinct
    if len(distinct) > max_types:
        cover = _interval_centers if moments.ndim == 1 else _spread_centers
        centers = cover(distinct, max_types)
        index = _nearest(distinct, centers)[index]
    centers, index = _in_order_of_appearance(centers, index.ravel(), symbols)
    own = centers[:, 1:].reshape(-1, *moments.shape[1:])
    names = tuple(str(elements[int(which)]) for which in centers[:, 0])
    return AtomTypes(
        labels=_labels(names),
        elements=names,
        moments=own,
        index=index,
        error=float(np.linalg.norm((moments - own[index]).reshape(len(symbols), -1), axis=1).max(initial=0.0)),
    )


def _labels(elements: Sequence[str]) -> tuple[str, ...]:
    """Fe, Fe1, Fe2: the symbol, then its count."""
    counts = [elements[:i].count(element) for i, element in enumerate(elements)]
    return tuple(f"{element}{count or ''}" for element, count in zip(elements, counts, strict=True))


def _in_order_of_appearance(
    centers: NDArray[np.float64], index: NDArray[np.intp], symbols: Sequence[str]
) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Drop unused centers and sort the others: elements as they appear, in an element the largest moments first."""
    used = np.unique(index)
    first = {symbol: place for place, symbol in reversed(list(enumerate(symbols)))}
    element_place = {int(centers[t, 0]): first[symbols[int(np.argmax(index == t))]] for t in used}
    order = sorted(used, key=lambda t: (element_place[int(centers[t, 0])], *(-centers[t, 1:])))
    place = np.empty(len(centers), dtype=np.intp)
    place[order] = np.arange(len(order))
    return centers[order], place[index]


def _nearest(points: NDArray[np.float64], centers: NDArray[np.float64]) -> NDArray[np.intp]:
    """Nearest center of the same element for every point; both are rows (element, moment...)."""
    return np.asarray(np.argmin(_distances(points, centers), axis=1))


def _distances(points: NDArray[np.float64], centers: NDArray[np.float64]) -> NDArray[np.float64]:
    difference = points[:, None, :] - centers[None, :, :]
    distances: NDArray[np.float64] = np.linalg.norm(difference[..., 1:], axis=-1)
    return np.where(difference[..., 0] == 0, distances, np.inf)


def _interval_centers(points: NDArray[np.float64], max_types: int) -> NDArray[np.float64]:
    """Midpoints of the shortest equal intervals that cover sorted rows (element, moment)."""
    low, high = 0.0, float(np.ptp(points[:, 1]))
    best = _cover(points, high)
    while high - low > 1e-12 * (1.0 + high):
        middle = (low + high) / 2.0
        intervals = _cover(points, middle)
        if len(intervals) <= max_types:
            best, high = intervals, middle
        else:
            low = middle
    return np.array([(points[start, 0], (points[start, 1] + points[end, 1]) / 2.0) for start, end in best])


def _cover(points: NDArray[np.float64], length: float) -> list[tuple[int, int]]:
    """First and last row of the fewest intervals of at most `length` that cover sorted rows (element, moment)."""
    intervals: list[tuple[int, int]] = []
    start = 0
    for i in range(1, len(points) + 1):
        if i == len(points) or points[i, 0] != points[start, 0] or points[i, 1] - points[start, 1] > length:
            intervals.append((start, i - 1))
            start = i
    return intervals


def _spread_centers(points: NDArray[np.float64], max_types: int) -> NDArray[np.float64]:
    """Rows (element, moment...) by farthest-first traversal, begun with one row of every element."""
    _, first = np.unique(points[:, 0], return_index=True)
    picked = [int(row) for row in first]
    while len(picked) < max_types:
        nearest = _distances(points, points[picked]).min(axis=1)
        picked.append(int(np.argmax(nearest)))
    return points[picked]
