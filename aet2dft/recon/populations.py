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
_BINS = 512
"""Classes of the histogram on which k-means is solved; the boundary is exact to one of them."""
_ROUNDS = 500
_SETTLED = 1e-8
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


def k_means(values: Floats, k: int) -> Partition:
    """Classes of least variance within, of all that there are.

    Parameters
    ----------
    values : ndarray, shape (n,)
        Numbers.
    k : int
        Number of classes; fewer where there are fewer different numbers.

    Notes
    -----
    In one dimension the best classes are intervals, and dynamic programming over a histogram finds them: no start, no
    chance (H. Wang and M. Song, The R Journal 3, 29 (2011)). For two classes this is the threshold of N. Otsu, IEEE
    Trans. Syst. Man Cybern. 9, 62 (1979).
    """
    counts, edges = np.histogram(values, _BINS)
    filled = np.flatnonzero(counts)
    k = min(k, len(filled))
    at = np.histogram(values, edges, weights=values)[0][filled] / counts[filled]
    below = np.concatenate([[0], np.cumsum(counts[filled])])
    mass = np.concatenate([[0.0], np.cumsum(counts[filled] * (at - at[0]))])
    square = np.concatenate([[0.0], np.cumsum(counts[filled] * (at - at[0]) ** 2)])
    m = len(filled)
    first, last = np.triu_indices(m)
    within = np.full((m, m), np.inf)
    n, total = below[last + 1] - below[first], mass[last + 1] - mass[first]
    within[first, last] = square[last + 1] - square[first] - total**2 / n
    best, starts = within[0], []
    for _ in range(k - 1):
        # best cost of the bins up to b, the last class starting at bin a
        cost = np.concatenate([[np.inf], best[:-1]])[:, None] + within
        starts.append(np.argmin(cost, axis=0))
        best = cost[starts[-1], np.arange(m)]
    cuts, end = [], m - 1
    for start in reversed(starts):
        cuts.append(int(start[end]))
        end = cuts[-1] - 1
    boundaries = edges[filled[cuts[::-1]]].astype(np.float64) if cuts else np.zeros(0)
    return Partition(boundaries=boundaries, labels=np.searchsorted(boundaries, values, side="right"))


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
    starts = (k_means(values, k), k_means(np.sign(values) * np.sqrt(np.abs(values)), k))
    found = [_maximized(values, start.labels) for start in starts]
    return max(found, key=lambda one: one.log_likelihood)


def _maximized(values: Floats, labels: NDArray[np.intp]) -> Mixture:
    """The mixture to which expectation maximization leads from these labels (n,)."""
    shares = (labels[:, None] == np.unique(labels)).astype(np.float64)
    floor = max(_NARROWEST * float(values.std()), np.finfo(float).tiny)
    before, found = -np.inf, Mixture(means=np.zeros(0), sigmas=np.ones(0), weights=np.zeros(0), log_likelihood=0, n=0)
    for _ in range(_ROUNDS):
        total = np.maximum(shares.sum(axis=0), np.finfo(float).tiny)
        means = (shares * values[:, None]).sum(axis=0) / total
        variances = (shares * (values[:, None] - means) ** 2).sum(axis=0) / total
        found = Mixture(
            means=means,
            sigmas=np.sqrt(np.maximum(variances, floor**2)),
            weights=total / len(values),
            log_likelihood=before,
            n=len(values),
        )
        logs = found.log_densities(values)
        each = _log_sum(logs)
        if (now := float(each.sum())) - before < _SETTLED * len(values):
            break
        before, shares = now, np.exp(logs - each[:, None])
    return found.in_order()


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
