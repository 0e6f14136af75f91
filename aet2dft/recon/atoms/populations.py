"""Populations of numbers: exact k-means, mixtures of Gaussians with outliers, and how many of them there are.

What the numbers are, and which population is which element, is decided in ``classification``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

MOST_POPULATIONS = 5
"""Populations that are tried where nobody knows how many there are."""
EVIDENCE = 10.0
"""One population more must lower the information criterion by this: "very strong" of Kass and Raftery (1995)."""
NEAREST = 0.1
"""Populations whose means differ by less than this fraction are one whose brightness varies."""
SEPARATE = 2.0
"""Standard deviations between two means below which two populations are one hill."""
_COARSE = 512
"""Classes of the histogram on which k-means is solved; the boundaries are exact to one of them."""
_FINE = 2048
"""Classes in which more numbers than that are condensed before a mixture is fitted."""
_ERROR_CLASSES = 8
"""Classes of errors among them."""
_FAR = 5.0
"""Outliers of a population scatter this many times as widely as a typical member, whatever their own error."""
_FEWEST_OUTLIERS = 0.01
"""Least fraction of outliers: no number of members proves that there are none."""
_MOST_OUTLIERS = 0.3
"""Largest fraction of outliers: more are a population of their own."""
_ALIKE = 100.0
"""Numbers that say, besides the data, that populations have as many outliers and, until they are found, are as wide."""
_SHARED = 10.0
"""Numbers that say, in the last fit, that two populations are as wide, for each number that they share."""
_MOST_STEPS = 300
_SETTLED = 3e-7
"""Change of the mean log-likelihood below which the mixture has converged."""
_ROUGHLY = 1e-5
"""The same where it is only to be seen which of several starts leads to the likeliest."""
_NARROWEST, _EQUAL = 0.01, 1e-6
"""Least width of a population, as a fraction of that of all numbers together, and of their mean: they may be equal."""
_SPOTS, SPOT = 5, 3.0
"""Most numbers that may be spots, and how many times as high as all others they then count at most."""
_MANY = 50
"""Numbers for each spot that there must be: from 41 on the threshold of Otsu is between species, not below spots."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Partition:
    """Numbers cut into classes."""

    boundaries: Floats
    """(k - 1,): numbers from which on the next class begins."""
    labels: NDArray[np.intp]
    """(n,): class of every number, 0 the lowest."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Mixture:
    """Populations from the lowest mean to the highest, each a Gaussian with a few outliers."""

    means: Floats
    """(k,)."""
    sigmas: Floats
    """(k,): standard deviations of the numbers that are no outliers, at a typical error."""
    weights: Floats
    """(k,): fractions of the whole; their sum is 1."""
    outliers: Floats
    """(k,): fraction of each population that scatters far more widely."""
    log_likelihood: float
    """Of the numbers that it was fitted to."""
    n: int
    """Numbers that it was fitted to."""

    @property
    def information(self) -> float:
        """Bayes' information criterion: smaller is better."""
        return float((4 * len(self.means) - 1) * np.log(self.n) - 2.0 * self.log_likelihood)

    @property
    def separations(self) -> Floats:
        """(k - 1,): distances of neighboring means, in units of the mean of their standard deviations."""
        return np.asarray(2.0 * np.diff(self.means) / (self.sigmas[1:] + self.sigmas[:-1]))

    def posterior(self, values: Floats, errors: Floats | None = None) -> Floats:
        """Probability (n, k) that numbers belong to each population.

        Parameters
        ----------
        values : ndarray, shape (n,)
            Numbers.
        errors : ndarray, shape (n,), optional
            How widely each scatters, 1 for a typical one; default: all alike.

        Notes
        -----
        Beyond the outermost means, the outermost population is never less likely than at its mean: a wide one in the
        middle claims nothing on the far side of its neighbors.
        """
        inner = np.clip(values, self.means[0], self.means[-1])
        here, at_mean = (_shares(self.log_densities(x, errors)) for x in (values, inner))
        side = np.where(values < self.means[0], 0, len(self.means) - 1)[:, None]
        likelier = np.take_along_axis(at_mean, side, axis=1) > np.take_along_axis(here, side, axis=1)
        return np.where(likelier, at_mean, here)

    def log_densities(self, values: Floats, errors: Floats | None = None) -> Floats:
        """Logarithm (n, k) of the density of each population, its weight included, at numbers (n,)."""
        near, far = self.log_parts(values, errors)
        return np.asarray(np.logaddexp(near, far))

    def log_parts(self, values: Floats, errors: Floats | None = None) -> tuple[Floats, Floats]:
        """The same (n, k), of the members that are no outliers, and of those that are."""
        deviations = (values[:, None] - self.means) / self.sigmas
        scatter = np.ones((1, 1)) if errors is None else errors[:, None]
        top = np.log(self.weights / (np.sqrt(2.0 * np.pi) * self.sigmas))
        near = top + np.log1p(-self.outliers) - np.log(scatter) - 0.5 * (deviations / scatter) ** 2
        far = top + np.log(self.outliers / _FAR) - 0.5 * (deviations / _FAR) ** 2
        return np.asarray(near), np.asarray(far)

    def grouped(self, labels: NDArray[np.intp]) -> Mixture:
        """Populations (k,) of the same label, 0 to the highest, as one each: with their mean and variance together."""
        shares = self.weights * (labels == np.arange(labels.max() + 1)[:, None])
        weights = shares.sum(axis=1)
        means = shares @ self.means / weights
        squares = shares * (self.sigmas**2 + (self.means - means[:, None]) ** 2)
        outliers = shares @ self.outliers / weights
        sigmas = np.sqrt(squares.sum(axis=1) / weights)
        return replace(self, means=means, sigmas=sigmas, weights=weights, outliers=outliers)

    def in_order(self) -> Mixture:
        """The same, from the lowest mean to the highest."""
        order = np.argsort(self.means)
        fields = {name: getattr(self, name)[order] for name in ("means", "sigmas", "weights", "outliers")}
        return replace(self, **fields)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Cells:
    """Numbers, or fine classes of them."""

    values: Floats
    """(m,): mean of the class."""
    errors: Floats
    """(m,): how widely they scatter, 1 typically."""
    counts: Floats
    """(m,): numbers in the class."""

    @classmethod
    def of(cls, values: Floats, errors: Floats | None) -> _Cells:
        """Numbers (n,) as they are, `bounded`; of many the classes."""
        n, values = len(values), bounded(values)
        errors = np.ones(n) if errors is None else errors
        if n <= _FINE:
            return cls(values=values, errors=errors, counts=np.ones(n))
        n_rows = 1 if np.ptp(errors) == 0 else _ERROR_CLASSES
        n_columns = _FINE // n_rows
        row = np.searchsorted(np.quantile(errors, np.arange(1, n_rows) / n_rows), errors)
        column = np.searchsorted(np.linspace(values.min(), values.max(), n_columns + 1)[1:-1], values)
        cell = row * n_columns + column
        counts = np.bincount(cell)
        filled = counts > 0
        number = counts[filled].astype(np.float64)
        sums, squares = (np.bincount(cell, weights)[filled] for weights in (values, errors**2))
        return cls(values=sums / number, errors=np.sqrt(squares / number), counts=number)


def most_spots(n: int) -> int:
    """How many of n numbers may be far above all others without deciding anything."""
    return min(_SPOTS, n // _MANY)


def bounded(values: Floats) -> Floats:
    """Numbers (n,) without the excess of a few spots: none is above three times the highest but five.

    One bright spot would else take all classes of a histogram, and one of every k-means, for itself.
    """
    few = most_spots(len(values))
    if not few:
        return values
    top = float(np.partition(values, -few - 1)[-few - 1])
    return np.minimum(values, SPOT * top) if top > 0 else values


def k_means(values: Floats, k: int, counts: Floats | None = None) -> Partition:
    """Classes of least variance within, of all that there are.

    Parameters
    ----------
    values : ndarray, shape (n,)
        Numbers.
    k : int
        Number of classes; fewer where there are fewer different numbers.
    counts : ndarray, shape (n,), optional
        How often each is there; default: once.

    Notes
    -----
    In one dimension the best classes are intervals, and dynamic programming over a histogram finds them: no start, no
    chance (H. Wang and M. Song, The R Journal 3, 29 (2011)). For two classes this is the threshold of N. Otsu, IEEE
    Trans. Syst. Man Cybern. 9, 62 (1979).
    """
    weights = np.ones(len(values)) if counts is None else counts
    if np.ptp(values) == 0:
        return Partition(boundaries=np.zeros(0), labels=np.zeros(len(values), dtype=np.intp))
    number, edges = np.histogram(values, _COARSE, weights=weights)
    filled = np.flatnonzero(number)
    at = np.histogram(values, edges, weights=weights * values)[0][filled] / number[filled]
    starts = _best_starts(at, number[filled], min(k, len(filled)))
    boundaries = np.asarray(edges[filled[starts]], dtype=np.float64)
    return Partition(boundaries=boundaries, labels=np.searchsorted(boundaries, values, side="right"))


def _best_starts(at: Floats, counts: Floats, k: int) -> NDArray[np.intp]:
    """First members (k - 1,) of all classes but the lowest, of numbers (m,) in rising order."""
    m = len(at)
    below, mass, square = (np.concatenate([[0.0], np.cumsum(counts * (at - at[0]) ** power)]) for power in range(3))
    first, last = np.triu_indices(m)
    sums = mass[last + 1] - mass[first]
    within = np.full((m, m), np.inf)
    within[first, last] = square[last + 1] - square[first] - sums**2 / (below[last + 1] - below[first])
    best, choices = within[0], []
    for _ in range(k - 1):
        # cost up to the second index, with the last class starting at the first
        cost = np.concatenate([[np.inf], best[:-1]])[:, None] + within
        choices.append(np.argmin(cost, axis=0))
        best = cost[choices[-1], np.arange(m)]
    starts, end = [], m - 1
    for choice in reversed(choices):
        starts.append(int(choice[end]))
        end = starts[-1] - 1
    return np.array(starts[::-1], dtype=np.intp)


def fitted_again(found: Mixture, values: Floats, errors: Floats | None = None) -> Mixture:
    """The mixture of numbers (n,), with these errors (n,), that is next to one of the same or of other numbers."""
    cells = _Cells.of(values, errors)
    return _maximized(cells, replace(found, n=len(values)), last=True).in_order()


def mixture(values: Floats, k: int, errors: Floats | None = None) -> Mixture:
    """Mixture of k populations, by expectation maximization.

    Parameters
    ----------
    values : ndarray, shape (n,)
        Numbers.
    k : int
        Number of populations; fewer where there are fewer different numbers.
    errors : ndarray, shape (n,), optional
        How widely each scatters, 1 for a typical one; default: all alike.

    Notes
    -----
    Started at the best k-means of the numbers, at that of their square roots, which sees the faint populations, and
    where the mixture of one population fewer has outliers, which sees the small ones; the likeliest end is the answer.
    No chance is in it. Every population is a Gaussian with outliers, the contaminated normal of J. W. Tukey (in
    Contributions to Probability and Statistics, ed. I. Olkin, 448 (1960)): without them, a long tail would be taken for
    one more population, and confidences would be too high. Widths and fractions of outliers are drawn toward their
    common mean by a weak prior. In the last fit, when the populations are found, widths are drawn toward each other
    the more two populations overlap: there fits that are equally likely put the boundary at different places, and the
    one of equal widths is right more often.
    """
    return fitted_again(_mixtures(_Cells.of(values, errors), k)[-1], values, errors)


def _mixtures(cells: _Cells, most: int) -> list[Mixture]:
    """The likeliest mixtures of one to so many populations."""
    roots = np.sign(cells.values) * np.sqrt(np.abs(cells.values))
    found: list[Mixture] = []
    for k in range(1, most + 1):
        labels = [k_means(of, k, cells.counts).labels for of in (cells.values, roots)]
        labels += _with_outliers(cells, found[-1]) if found else []
        ends = (_maximized(cells, _started(cells, each), settled=_ROUGHLY) for each in labels)
        found.append(_maximized(cells, max(ends, key=lambda end: end.log_likelihood)).in_order())
    return found


def _with_outliers(cells: _Cells, found: Mixture) -> list[NDArray[np.intp]]:
    """Labels (m,) with one population more: the outliers below, or those above, the mean of a population."""
    near, far = found.log_parts(cells.values, cells.errors)
    labels = near.argmax(axis=1)
    rows = np.arange(len(labels))
    outlying = far[rows, labels] > near[rows, labels]
    above = cells.values > found.means[labels]
    sides = (outlying & above, outlying & ~above)
    return [np.where(side, len(found.means), labels) for side in sides if side.any()]


def _started(cells: _Cells, labels: NDArray[np.intp]) -> Mixture:
    """The mixture of populations that are labeled (m,)."""
    shares = cells.counts[:, None] * (labels[:, None] == np.unique(labels))
    total = shares.sum(axis=0)
    means = (shares * cells.values[:, None]).sum(axis=0) / total
    variance = float((shares * (cells.values[:, None] - means) ** 2).sum() / total.sum())
    return Mixture(
        means=means,
        sigmas=np.full(len(means), max(np.sqrt(variance), _narrowest(cells))),
        weights=total / total.sum(),
        outliers=np.full(len(means), _FEWEST_OUTLIERS),
        log_likelihood=-np.inf,
        n=round(float(total.sum())),
    )


def _maximized(cells: _Cells, found: Mixture, *, last: bool = False, settled: float = _SETTLED) -> Mixture:
    """The mixture to which expectation maximization leads; the last one, or one of those that are compared."""
    now = -np.inf
    for _ in range(_MOST_STEPS):
        near, far = found.log_parts(cells.values, cells.errors)
        logs = np.logaddexp(near, far)
        each = _log_sum(logs)
        before, now = now, float((cells.counts * each).sum())
        found = replace(found, log_likelihood=now)
        if abs(now - before) < settled * found.n:
            break
        found = _likelier(cells, found, np.exp(logs - each[:, None]), np.exp(far - logs), last)
    return found


def _likelier(cells: _Cells, found: Mixture, shares: Floats, far: Floats, last: bool) -> Mixture:
    """The mixture of populations with these shares (m, k) of the numbers, and fractions (m, k) of outliers in them."""
    tiny = np.finfo(float).tiny
    shares = cells.counts[:, None] * shares
    total, n_far = np.maximum(shares.sum(axis=0), tiny), (shares * far).sum(axis=0)
    # outliers, and numbers of large error, pull the mean less
    pull = shares * ((1.0 - far) / cells.errors[:, None] ** 2 + far / _FAR**2)
    means = (pull * cells.values[:, None]).sum(axis=0) / np.maximum(pull.sum(axis=0), tiny)
    squares = (pull * (cells.values[:, None] - means) ** 2).sum(axis=0)
    borrowed = _shared(shares, cells.counts) if last else np.tile(_ALIKE * total / found.n, (len(total), 1))
    variances = (squares + borrowed @ (squares / total)) / (total + borrowed.sum(axis=1))
    outliers = (n_far + _ALIKE * max(n_far.sum() / found.n, _FEWEST_OUTLIERS)) / (total + _ALIKE)
    return replace(
        found,
        means=means,
        sigmas=np.maximum(np.sqrt(variances), _narrowest(cells)),
        weights=total / found.n,
        outliers=np.clip(outliers, _FEWEST_OUTLIERS, _MOST_OUTLIERS),
    )


def _shared(shares: Floats, counts: Floats) -> Floats:
    """Numbers (k, k) that say, besides the data, that a population is as wide as another that it overlaps with."""
    overlap = np.einsum("mc,md->cd", shares, shares / counts[:, None])
    return np.asarray(_SHARED * (overlap - np.diag(np.diag(overlap))))


def _narrowest(cells: _Cells) -> float:
    """Least width of a population."""
    n = cells.counts.sum()
    mean = (cells.counts * cells.values).sum() / n
    spread = np.sqrt((cells.counts * (cells.values - mean) ** 2).sum() / n)
    return max(_NARROWEST * float(spread), _EQUAL * abs(float(mean)), float(np.sqrt(np.finfo(float).tiny)))


def best_mixture(values: Floats, most: int, errors: Floats | None = None) -> tuple[Mixture, dict[int, Mixture]]:
    """The mixture with as many populations as the numbers give evidence for, and all that were tried.

    Parameters
    ----------
    values : ndarray, shape (n,)
        Numbers.
    most : int
        Populations that are tried.
    errors : ndarray, shape (n,), optional
        How widely each scatters, 1 for a typical one; default: all alike.

    Notes
    -----
    One population more is taken where the evidence for it is very strong and all means are apart: farther than two
    standard deviations, below which two Gaussians are one hill, and than a tenth of their value. Criterion: G. Schwarz,
    Ann. Stat. 6, 461 (1978); scale of evidence: R. Kass and A. Raftery, J. Am. Stat. Assoc. 90, 773 (1995).
    """
    tried = dict(enumerate(_mixtures(_Cells.of(values, errors), most), start=1))
    best = tried[1]
    for found in list(tried.values())[1:]:
        apart = (np.diff(found.means) > NEAREST * np.abs(found.means[1:])) & (found.separations > SEPARATE)
        if found.information < best.information - EVIDENCE and apart.all():
            best = found
    return best, tried


def _shares(logs: Floats) -> Floats:
    """(n, k): exponentials of the logarithms (n, k), of which every row adds up to 1."""
    return np.asarray(np.exp(logs - _log_sum(logs)[:, None]))


def _log_sum(logs: Floats) -> Floats:
    """(n,): log of the sum of exponentials of the rows (n, k)."""
    top = logs.max(axis=1)
    return np.asarray(top + np.log(np.exp(logs - top[:, None]).sum(axis=1)))
