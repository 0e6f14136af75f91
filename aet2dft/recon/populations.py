"""Populations of numbers: exact k-means, mixtures of Gaussians, and how many of them there are.

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
_COARSE = 512
"""Classes of the histogram on which k-means is solved; the boundaries are exact to one of them."""
_FINE = 4096
"""Classes in which more numbers than that are condensed before a mixture is fitted."""
_SETTLED = 1e-7
"""Change of the mean log-likelihood below which the mixture has converged."""
_NARROWEST = 0.01
"""Least width of a population, as a fraction of that of all numbers together."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Partition:
    """Numbers cut into classes."""

    boundaries: Floats
    """(k - 1,): numbers from which on the next class begins."""
    labels: NDArray[np.intp]
    """(n,): class of every number, 0 the lowest."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Mixture:
    """Gaussian populations, from the lowest mean to the highest."""

    means: Floats
    """(k,)."""
    sigmas: Floats
    """(k,): standard deviations."""
    weights: Floats
    """(k,): fractions of the whole; their sum is 1."""
    log_likelihood: float
    """Of the numbers that it was fitted to."""
    n: int
    """Numbers that it was fitted to."""

    @property
    def information(self) -> float:
        """Bayes' information criterion: smaller is better."""
        return float((3 * len(self.means) - 1) * np.log(self.n) - 2.0 * self.log_likelihood)

    def posterior(self, values: Floats) -> Floats:
        """Probability (n, k) that numbers (n,) belong to each population.

        Beyond the outermost means the probabilities stay what they are there: a wide population in the middle claims
        nothing on the far side of its neighbors.
        """
        logs = self.log_densities(np.clip(values, self.means[0], self.means[-1]))
        return np.asarray(np.exp(logs - _log_sum(logs)[:, None]))

    def in_order(self) -> Mixture:
        """The same, from the lowest mean to the highest."""
        order = np.argsort(self.means)
        return replace(self, means=self.means[order], sigmas=self.sigmas[order], weights=self.weights[order])

    def log_densities(self, values: Floats) -> Floats:
        """Logarithm (n, k) of the density of each population, its weight included, at numbers (n,)."""
        deviations = (values[:, None] - self.means) / self.sigmas
        return np.asarray(np.log(self.weights / (np.sqrt(2.0 * np.pi) * self.sigmas)) - 0.5 * deviations**2)


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
    number, edges = np.histogram(values, _COARSE, weights=weights)
    filled = np.flatnonzero(number)
    at = np.histogram(values, edges, weights=weights * values)[0][filled] / number[filled]
    starts = _best_starts(at, number[filled], min(k, len(filled)))
    boundaries = np.asarray(edges[filled[starts]], dtype=np.float64)
    return Partition(boundaries=boundaries, labels=np.searchsorted(boundaries, values, side="right"))


def _best_starts(at: Floats, counts: Floats, k: int) -> NDArray[np.intp]:
    """First members (k - 1,) of all classes but the lowest, of numbers (m,) in rising order."""
    m = len(at)
    below, mass, square = (
        np.concatenate([[0.0], np.cumsum(counts * (at - at[0]) ** power)]) for power in range(3)
    )
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


def mixture(values: Floats, k: int) -> Mixture:
    """Mixture of k Gaussians, by expectation maximization.

    Parameters
    ----------
    values : ndarray, shape (n,)
        Numbers.
    k : int
        Number of populations; fewer where there are fewer different numbers.

    Notes
    -----
    Started at the best k-means of the numbers and at that of their square roots, which sees the faint populations; the
    likelier end is the answer. No chance is in it.
    """
    at, counts = _condensed(values)
    roots = np.sign(at) * np.sqrt(np.abs(at))
    starts = (k_means(of, k, counts).labels for of in (at, roots))
    return max((_maximized(at, counts, labels) for labels in starts), key=lambda found: found.log_likelihood)


def _maximized(values: Floats, counts: Floats, labels: NDArray[np.intp]) -> Mixture:
    """The mixture to which expectation maximization leads from labels (m,) of values (m,) that are there so often."""
    n = float(counts.sum())
    mean = float((counts * values).sum() / n)
    spread = float(np.sqrt((counts * (values - mean) ** 2).sum() / n))
    floor = max(_NARROWEST * spread, np.finfo(float).tiny)
    shares = (labels[:, None] == np.unique(labels)).astype(np.float64)
    before = -np.inf
    while True:
        total = np.maximum((counts[:, None] * shares).sum(axis=0), np.finfo(float).tiny)
        means = (counts[:, None] * shares * values[:, None]).sum(axis=0) / total
        variances = (counts[:, None] * shares * (values[:, None] - means) ** 2).sum(axis=0) / total
        sigmas = np.sqrt(np.maximum(variances, floor**2))
        found = Mixture(means=means, sigmas=sigmas, weights=total / n, log_likelihood=before, n=round(n))
        logs = found.log_densities(values)
        each = _log_sum(logs)
        now = float((counts * each).sum())
        # a step never makes it less likely
        if now - before < _SETTLED * n:
            return replace(found, log_likelihood=now).in_order()
        before, shares = now, np.exp(logs - each[:, None])


def _condensed(values: Floats) -> tuple[Floats, Floats]:
    """Numbers and how often they are there; many numbers become the means of fine classes."""
    if len(values) <= _FINE:
        return values, np.ones(len(values))
    counts, edges = np.histogram(values, _FINE)
    filled = counts > 0
    sums = np.histogram(values, edges, weights=values)[0]
    return sums[filled] / counts[filled], counts[filled].astype(np.float64)


def best_mixture(values: Floats, most: int) -> tuple[Mixture, dict[int, Mixture]]:
    """The mixture with as many populations as the numbers give evidence for, and all that were tried.

    Parameters
    ----------
    values : ndarray, shape (n,)
        Numbers.
    most : int
        Populations that are tried.

    Notes
    -----
    By the information criterion of G. Schwarz, Ann. Stat. 6, 461 (1978), and the scale of evidence of R. Kass and
    A. Raftery, J. Am. Stat. Assoc. 90, 773 (1995).
    """
    tried = {k: mixture(values, k) for k in range(1, most + 1)}
    best = tried[1]
    for found in list(tried.values())[1:]:
        apart = found.means[1:] - found.means[:-1] > NEAREST * np.abs(found.means[1:])
        if found.information < best.information - EVIDENCE and apart.all():
            best = found
    return best, tried


def _log_sum(logs: Floats) -> Floats:
    """(n,): log of the sum of exponentials of the rows (n, k)."""
    top = logs.max(axis=1)
    return np.asarray(top + np.log(np.exp(logs - top[:, None]).sum(axis=1)))
