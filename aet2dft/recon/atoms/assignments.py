"""Which populations of brightness are which species, by what elements can differ in brightness and what is one hill."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aet2dft.recon.atoms.populations import EVIDENCE, NEAREST, SEPARATE, Mixture, most_spots

Floats = NDArray[np.float64]
Integers = NDArray[np.intp]

EXPONENT = 1.4
"""Atoms are as bright as this power of their atomic number, more or less: Z to Z squared, by the detector."""
EXPONENT_SPREAD = 0.5
"""Standard deviation of this power."""
REDUCED = 0.2
"""Standard deviation of what overlap, a missing wedge or a surface add to the logarithm of a ratio of brightness."""
FAINT = 0.6
"""Non-atoms are a lowest population below this fraction of the next; nearer ones are one species in two halves."""
_POSITIVE = 2.0
"""What non-atoms must lower the information criterion by: "positive" of Kass and Raftery (1995), for they are usual."""
_STRANGE = 9.0
"""Most that it costs that a species is two hills, as where a surface vibrates, or has spots, or non-atoms are a hill.

All are rare, one case in ninety, and no number of atoms makes them rarer.
"""
_DEEP = 2.0
"""Standard deviations of the counts by which a density dips between two hills."""
_POINTS = 1000
"""Points at which a density is looked at."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Assignment:
    """Populations as classes: non-atoms, if there are any, and species from the faintest."""

    classes: Mixture
    """The populations of each class as one."""
    has_non_atoms: bool
    """Whether the first class is that of the non-atoms."""
    n_populations: int
    """Populations that the classes are made of."""


def numbered(tried: Mapping[int, Mixture]) -> Assignment:
    """Classes where nobody knows how many there are: the hills of the best mixture.

    Parameters
    ----------
    tried : mapping
        Mixtures by their number of populations.

    Notes
    -----
    One population more is taken where the evidence for it is very strong (Kass and Raftery, 1995). What makes no hill
    of its own is part of another one's shape: overlap, a missing wedge and surfaces make brightness asymmetric.
    """
    best = tried[1]
    for found in tried.values():
        best = found if found.information < best.information - EVIDENCE else best
    return Assignment(classes=distinct(best.grouped(hills(best))), has_non_atoms=False, n_populations=len(best.means))


def distinct(found: Mixture) -> Mixture:
    """The mixture with those neighbors as one whose means differ by less than a tenth."""
    apart = np.diff(found.means) > NEAREST * np.abs(found.means[1:])
    return found.grouped(_numbers(apart))


def named(tried: Mapping[int, Mixture], atomic_numbers: Floats, values: Floats, errors: Floats) -> Assignment:
    r"""Likeliest way to make classes for species of which the elements are known.

    Parameters
    ----------
    tried : mapping
        Mixtures by their number of populations.
    atomic_numbers : ndarray, shape (k,)
        Of the species, rising.
    values, errors : ndarray, shape (n,)
        The numbers that the mixtures were fitted to, and how widely each scatters.

    Notes
    -----
    Neighboring populations may be one class; classes are apart, and non-atoms below the faintest species. There are
    non-atoms only where there is positive evidence for more populations than species. The cost is the information
    criterion of the mixture, plus, up to a limit, the squares of the `dips` within a class and what non-atoms cost that
    are a `hill`, plus :math:`\sum_i (\ln(I_{i+1} / I_i) - \bar p \Delta_i)^2 / ((s \Delta_i)^2 + t^2)` with the mean
    brightness I of the species, :math:`\Delta_i = \ln(Z_{i+1} / Z_i)`, and a Gaussian prior of the power p of the
    atomic number Z: annular dark-field intensities go like Z to Z squared (P. Hartel et al., Ultramicroscopy 63, 93
    (1996)). It is broad; it says that Pt can be three or eight times as bright as Fe, but hardly 1.2 times.
    """
    k = len(atomic_numbers)
    enough = tried[k].information - _POSITIVE

    def strange(way: Assignment) -> float:
        species = unlikely(way.classes.means[int(way.has_non_atoms) :], atomic_numbers)
        return species + (min(_STRANGE, hill(way.classes, values, errors)) if way.has_non_atoms else 0.0)

    ways = [
        (cost + strange(way), way)
        for m, found in tried.items()
        if m >= k
        for cost, way in _ways(found, k)
        if not way.has_non_atoms or found.information < enough
    ]
    if not ways:
        return Assignment(classes=tried[k], has_non_atoms=False, n_populations=k)
    return min(ways, key=lambda each: each[0])[1]


def _ways(found: Mixture, k: int) -> Iterator[tuple[float, Assignment]]:
    """Ways to make k classes, or one more with non-atoms, of neighboring populations, and what they cost.

    Populations between which the density falls too far are never one, but where they are so few that they may be spots.
    """
    m = len(found.means)
    apart = (np.diff(found.means) > NEAREST * np.abs(found.means[1:])) & (found.separations > SEPARATE)
    deep = dips(found)
    many = np.flatnonzero(found.weights * found.n > most_spots(found.n) + 0.5)
    torn = [(a, b) for a, b in itertools.pairwise(many) if np.isinf(deep[a:b]).any()]
    for n in (k, k + 1):
        for cuts in itertools.combinations(range(m - 1), n - 1):
            is_cut = np.isin(np.arange(m - 1), cuts)
            labels = _numbers(is_cut)
            cost = found.information + float(np.minimum(deep[~is_cut] ** 2, _STRANGE).sum())
            classes = found.grouped(labels)
            is_faint = n == k or classes.means[0] < FAINT * classes.means[1]
            if is_faint and apart[is_cut].all() and all(labels[a] != labels[b] for a, b in torn):
                yield cost, Assignment(classes=classes, has_non_atoms=n > k, n_populations=m)


def choice(information: Mapping[str, float], assigned: Assignment, species: tuple[str, ...]) -> str:
    """Why there are other classes than populations in the mixture of the lowest criterion; empty where there are not.

    Parameters
    ----------
    information : mapping
        The criterion by the number of populations.
    assigned : Assignment
        The classes.
    species : tuple of str
        Elements, as far as they are known.
    """
    n, lowest = len(assigned.classes.means), int(min(information, key=lambda k: information[k]))
    if n == lowest:
        return ""
    if n < assigned.n_populations == lowest:
        return f"The {lowest} make {n} classes: some of them are parts of one hill."
    if species:
        wanted = ", ".join(("non-atoms",) * assigned.has_non_atoms + species)
        differ = f", and elements differ in brightness by about the power of {EXPONENT} of their atomic numbers"
        apart = "species lie apart, non-atoms below them" if len(species) > 1 else "non-atoms lie below the atoms"
        return f"{n} classes were taken ({wanted}): {apart}{differ if len(species) > 1 else ''}."
    return f"{n} classes were taken: the evidence for more is weak, or they are parts of one hill."


def class_names(species: tuple[str, ...]) -> tuple[str, ...]:
    """Names of the classes of atoms: their elements, or ``population 1`` and so on where there are none (``X``)."""
    return tuple(f"population {k}" if name == "X" else name for k, name in enumerate(species, start=1))


def listed(classes: NDArray[np.int_], species: tuple[str, ...]) -> str:
    """Say how many atoms there are of every class, by their classes (n,), the faintest 1."""
    counts = np.bincount(classes, minlength=len(species) + 1)[1:]
    names = (f"of {name}" if kind == "X" else name for kind, name in zip(species, class_names(species), strict=True))
    return ", ".join(f"{n:,} {name}" for n, name in zip(counts, names, strict=True))


def unlikely(means: Floats, atomic_numbers: Floats) -> float:
    """Sum of the squared deviations of brightness ratios from those of elements, in standard deviations.

    Parameters
    ----------
    means : ndarray, shape (k,)
        Brightness of the species.
    atomic_numbers : ndarray, shape (k,)
        Their atomic numbers, rising.
    """
    tiny = np.finfo(float).tiny
    ratios, steps = np.diff(np.log(np.maximum(means, tiny))), np.diff(np.log(np.maximum(atomic_numbers, 1.0)))
    return float((((ratios - EXPONENT * steps) / np.hypot(EXPONENT_SPREAD * steps, REDUCED)) ** 2).sum())


def hill(classes: Mixture, values: Floats, errors: Floats) -> float:
    r"""How much better a Gaussian describes the lowest class than an exponential that falls from its lowest member.

    Parameters
    ----------
    classes : Mixture
        Populations.
    values, errors : ndarray, shape (n,)
        Numbers, and how widely each scatters.

    Returns
    -------
    float
        Twice the difference of the logarithms of the likelihoods; zero where the exponential is better.

    Notes
    -----
    Maxima of noise are the more the lower they are, down to the threshold at which they were cut; a species is a hill.
    The few highest members, of which one in the light of a spot would hide a hill, are left out.
    With the mean m, the standard deviation s and the lowest a of n members this is
    :math:`2 n (\ln((m - a) / s) - \tfrac{1}{2} \ln(2 \pi / e))`.
    """
    members = np.sort(values[classes.posterior(values, errors).argmax(axis=1) == 0])
    members = members[: len(members) - most_spots(len(members))]
    spread = float(members.std()) if members.size else 0.0
    if spread == 0.0:
        return 0.0
    rise = (float(members.mean()) - float(members.min())) / spread
    return max(0.0, 2.0 * len(members) * (math.log(rise) - 0.5 * math.log(2.0 * math.pi / math.e)))


def hills(found: Mixture) -> Integers:
    """Number (k,) of the hill of brightness that each population is part of, from the lowest."""
    return _numbers(dips(found) >= _DEEP)


def dips(found: Mixture) -> Floats:
    """How deep (k - 1,) the density dips between neighboring populations, in standard deviations of the counts.

    Infinitely deep where their means differ by more than a factor of 0.6.
    """
    near = found.means[:-1] > FAINT * found.means[1:]
    return np.array([_dip(found, i) if near[i] else np.inf for i in range(len(near))])


def _dip(found: Mixture, i: int) -> float:
    points = np.linspace(found.means[i], found.means[i + 1], _POINTS)
    window = float(found.sigmas[i] + found.sigmas[i + 1])
    counts = found.n * window * np.exp(found.log_densities(points)).sum(axis=1)
    at = int(np.argmin(counts))
    top, low = min(counts[: at + 1].max(), counts[at:].max()), counts[at]
    return float((top - low) / np.sqrt(top + low))


def _numbers(is_cut: NDArray[np.bool_]) -> Integers:
    """Labels (k,) of what is cut at some of its (k - 1,) joints."""
    return np.concatenate([[0], np.cumsum(is_cut)]).astype(np.intp)
