"""Species of candidates by how bright they are: populations of intensities, and how they drift across the particle.

Where the intensities come from, a volume or a fit to the images, makes no difference here.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from dataclasses import dataclass, replace

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers
from numpy.typing import NDArray

from aet2dft.atoms import known_symbol, require
from aet2dft.config import ClassifySettings
from aet2dft.errors import InputError
from aet2dft.recon.atoms import _kernels_peaks as kernels
from aet2dft.recon.atoms.assignments import Assignment, choice, distinct, named, numbered, unlikely
from aet2dft.recon.atoms.populations import (
    MOST_POPULATIONS,
    Mixture,
    best_mixture,
    bounded,
    fitted_again,
    mixture,
    most_spots,
)
from aet2dft.recon.atoms.profiles import drawn, self_consistent
from aet2dft.recon.tilt_series import Volume

Floats = NDArray[np.float64]

RADIUS = 0.9
"""Å: radius of the spheres whose density is summed; smaller ones hold more noise, larger ones the neighbors' too."""
CELL = 6.0
"""Å: candidates in a cube of this edge and its 26 neighbors tell how bright their surroundings are drawn."""
UNEVEN = 3.0
"""No error is taken for more than this multiple of the median, or less than its inverse."""
_FALLING = 0.5
"""Position errors of one fit fall with the height to the power of -1; to a lesser one than -0.5 they are of another."""
_CLEAR = 4.0
"""Standard deviations between two means below which the species overlap: 2 % errors of each."""
_DOUBTFUL = 2.0
"""Standard deviations by which brightness may differ from what elements can be before that is said."""
_OTHERWISE = 1e-6
"""Probability, before brightness is looked at, that classes have nothing to do with the elements."""
_PRIOR_NEIGHBORS = 5.0
"""Neighbors of the average brightness that every candidate is given besides its own."""
_LEAST_GAIN = 0.1
"""Surroundings are not drawn fainter than this."""
_ROUNDS = 20
_MORE = 2
"""Populations that are tried besides the species: non-atoms, and a part of any that is no Gaussian."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NonAtoms:
    """Candidates that are no atoms."""

    positions: Floats
    """(m, 3), Å."""
    intensities: Floats
    """(m,): as classified."""
    confidence: Floats
    """(m,): probability that it is no atom."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Classification:
    """Populations of a particle."""

    method: str
    """``height``: as the atoms carry them; ``profile``, ``intensity``: of the volume, as `classify` says."""
    species: tuple[str, ...]
    """Elements of the populations, from the faintest; ``X`` where none were given."""
    composition: dict[str, int]
    """Atoms per element."""
    n_rejected: int
    """Candidates that are no atoms."""
    mean_confidence: float
    """Mean of `species_confidence`."""
    information: dict[str, float]
    """Bayes' information criterion by the number of populations; non-atoms are one of them."""
    choice: str
    """Why the classes are not as many as the lowest criterion says; empty where they are."""
    means: Floats
    """(k,): mean intensity of every population; of the non-atoms first, where there are any."""
    sigmas: Floats
    """(k,): standard deviations."""
    weights: Floats
    """(k,): fractions of all candidates."""
    has_non_atoms: bool
    """Whether the first population is that of the non-atoms."""
    drift: tuple[float, float]
    """Least and largest brightness of the surroundings of a candidate; 1 on average."""
    n_moved: int
    """Candidates whose population changed when the drift was taken out."""
    warnings: tuple[str, ...]
    """What the user should look at."""
    intensities: Floats
    """(N,): of the atoms, as classified: over the brightness of their surroundings."""
    rejected: NonAtoms
    """The candidates that are no atoms."""


def classify(
    atoms: Atoms, volume: Volume | None = None, settings: ClassifySettings = ClassifySettings()
) -> tuple[Atoms, Classification]:
    r"""Tell the species of candidates from their intensities, and which are no atoms.

    Parameters
    ----------
    atoms : Atoms
        Candidates with the array `intensity`.
    volume : Volume, optional
        Density of which the intensities are taken anew, along the average profiles of the classes or as sums in
        spheres; without it those of the atoms count: after `refine` they are heights fitted to the images, which know
        no missing wedge.
    settings : ClassifySettings
        Elements and method.

    Returns
    -------
    Atoms
        The atoms, without the rest, with `species_confidence`, the number of their population as tag (1 = faintest),
        and their elements where these are given.
    Classification
        The populations, and the candidates that are no atoms.

    Raises
    ------
    InputError
        If a species is no element, an intensity is not finite, or there are fewer populations than species.

    Notes
    -----
    Intensities I are a mixture of Gaussians with outliers, started at the best k-means. How many
    there are, and which make a species or non-atoms, is said by Bayes' information criterion and `assignments`. Heights
    that were fitted to images scatter in proportion to I times `position_sigma`, since both errors come from the same
    fit: atoms in the middle of a particle scatter more than those at its rim. The brightness g of the
    surroundings is estimated at every candidate from the neighbors within about 10 Å, itself left out,
    :math:`g = \sum_i I_i m_i / \sum_i m_i^2` with m the mean of the population of a neighbor, and I / g is classified
    again until nothing changes: this takes out the slow gradients of a missing wedge. As no intensity enters its own g,
    g is believed only where it makes the intensities likelier. No neighbor's species enters
    otherwise, so that an ordered alloy cannot impose its order on an antisite. The confidence is the posterior; where
    the brightness of species is five standard deviations from what elements can have, it falls to one over their
    number: the classes are something else.

    Y. Yang et al., Nature 542, 75 (2017), compare the profile of every candidate in the volume with the average
    profiles of the species and of the non-atoms, until these reproduce themselves. So does ``profile`` (`profiles`),
    from the average of all candidates on and without a candidate in the averages that it is compared with; the
    projection on their difference is the intensity, from which the probabilities come as from any other. Maxima in the
    direction of the missing wedge, drawn too faint, were classified there once more, in the later papers of the group
    by average profiles within 10 Å. Here a wedge has two parts: that all atoms are elongated is in the average
    profiles, and that some regions are faint is g.
    """
    species = _elements(settings.species)
    method = settings.method if settings.method != "auto" else "height" if volume is None else "profile"
    intensities = _intensities(atoms, volume, method, species)
    errors = _errors(atoms, intensities) if method == "height" else np.ones(len(atoms))
    information, assigned = _populations(intensities, errors, species)
    found, has_non_atoms = assigned.classes, assigned.has_non_atoms
    first = found.posterior(intensities, errors).argmax(axis=1)
    gains, found = _without_drift(atoms.positions, intensities, errors, found, has_non_atoms)
    even = intensities / gains
    probabilities = found.posterior(even, errors)
    labels = probabilities.argmax(axis=1)
    confidence = probabilities[np.arange(len(atoms)), labels]
    is_atom = labels >= int(has_non_atoms)
    names = species or ("X",) * (len(found.means) - has_non_atoms)
    believed = _believed(species, found.means[int(has_non_atoms) :])
    confidence[is_atom] = believed * confidence[is_atom] + (1.0 - believed) / len(names)
    kept = atoms[is_atom]
    tags = labels[is_atom] + 1 - int(has_non_atoms)
    kept.set_tags(tags)
    kept.set_array("species_confidence", confidence[is_atom])
    kept.numbers[:] = np.array([atomic_numbers[name] for name in names])[tags - 1]
    return kept, Classification(
        method=method,
        species=names,
        composition=dict(Counter(kept.symbols)),
        n_rejected=int((~is_atom).sum()),
        mean_confidence=float(confidence[is_atom].mean()),
        information=information,
        choice=choice(information, assigned, species),
        means=found.means,
        sigmas=found.sigmas,
        weights=found.weights,
        has_non_atoms=has_non_atoms,
        drift=(float(gains.min()), float(gains.max())),
        n_moved=int((labels != first).sum()),
        warnings=(
            *_warnings(names, species, found, has_non_atoms),
            *_doubts(species, found.means[int(has_non_atoms) :]),
            *_spots(names, int((tags == len(names)).sum()), int((~is_atom).sum())),
        ),
        intensities=even[is_atom],
        rejected=NonAtoms(
            positions=atoms.positions[~is_atom], intensities=even[~is_atom], confidence=confidence[~is_atom]
        ),
    )


def by_brightness(positions: Floats, intensities: Floats, n_species: int) -> tuple[NDArray[np.intp], Floats]:
    """Species (N,), 0 the faintest, and its probability (N,), of atoms of known number of species.

    Parameters
    ----------
    positions : ndarray, shape (N, 3)
        Å.
    intensities : ndarray, shape (N,)
        Brightness of the atoms.
    n_species : int
        Number of species.
    """
    values, alike = bounded(intensities), np.ones(len(intensities))
    found = mixture(values, n_species, alike)
    gains, found = _without_drift(positions, values, alike, found, False)
    probabilities = found.posterior(values / gains, alike)
    labels = probabilities.argmax(axis=1)
    return labels, np.asarray(probabilities[np.arange(len(labels)), labels])


def _elements(names: tuple[str, ...] | None) -> tuple[str, ...]:
    """The species by rising atomic number: brighter ones are heavier."""
    for name in names or ():
        if not known_symbol(name):
            raise InputError(f"{name!r} is no chemical element; give --species as Fe,Pt")
    if len(set(names or ())) < len(names or ()):
        raise InputError(f"a species is there twice in {','.join(names or ())}; give each once")
    return tuple(sorted(names or (), key=lambda name: atomic_numbers[name]))


def _intensities(atoms: Atoms, volume: Volume | None, method: str, species: tuple[str, ...]) -> Floats:
    """What is classified (N,)."""
    if not len(atoms):
        raise InputError("there are no candidates to classify; run `aet2dft trace` with a lower threshold")
    if method == "height":
        require(atoms, "intensity")
        values = np.asarray(atoms.arrays["intensity"], dtype=np.float64)
    elif volume is None:
        raise InputError("intensities of the volume were asked for, but there is no volume; use --method height")
    elif method == "intensity":
        values = kernels.sphere_sums(volume.values, volume.indices(atoms.positions), RADIUS / volume.voxel_size)
    else:
        values = _along_own_averages(drawn(volume, atoms.positions), species)
    bad = np.flatnonzero(~np.isfinite(values))
    if bad.size:
        raise InputError(f"{bad.size} intensities are NaN or infinite (first: candidate {bad[0]}); run `trace` again")
    return bounded(values)


def _along_own_averages(profiles: NDArray[np.float32], species: tuple[str, ...]) -> Floats:
    """Brightness (N,) by averages of the classes that it leads to; how many these are its first estimate says."""
    alike, known, sums = np.ones(len(profiles)), None, profiles.sum(axis=1, dtype=np.float64)
    limits = bounded(sums)
    for spot in np.flatnonzero(sums > limits):
        profiles[spot] *= limits[spot] / sums[spot]

    def classes(brightness: Floats) -> Floats:
        nonlocal known
        if known is None:
            known = _populations(brightness, alike, species)[1].classes
        else:
            known = fitted_again(known, brightness, alike)
        return known.posterior(brightness, alike)

    return self_consistent(profiles, classes)


def _errors(atoms: Atoms, heights: Floats) -> Floats:
    """How widely heights (N,) scatter, 1 for a typical one; all alike where positions are not the worse the lower."""
    sigma = np.asarray(atoms.arrays.get("position_sigma", np.zeros((len(atoms), 3))))
    spread = np.sqrt(np.square(sigma).mean(axis=1))
    known = (heights > 0) & (spread > 0) & np.isfinite(spread)
    height, width = (_centered(np.log(values[known])) for values in (heights, spread))
    if not (height * width).sum() < -_FALLING * (height**2).sum():
        return np.ones(len(atoms))
    return _typically_one(np.abs(heights) * spread)


def _centered(values: Floats) -> Floats:
    return np.asarray(values - values.mean() if values.size else values)


def _typically_one(errors: Floats) -> Floats:
    """Errors (N,) over their median, without extremes; ones where they say nothing."""
    known = errors[np.isfinite(errors) & (errors > 0)]
    if not known.size:
        return np.ones(len(errors))
    relative = np.nan_to_num(errors / np.median(known), nan=1.0, posinf=UNEVEN)
    return np.asarray(np.clip(relative, 1.0 / UNEVEN, UNEVEN))


def _populations(values: Floats, errors: Floats, species: tuple[str, ...]) -> tuple[dict[str, float], Assignment]:
    """Information criteria, and the populations as classes."""
    n = len(species)
    best, tried = best_mixture(values, n + _MORE if n else MOST_POPULATIONS, errors)
    if len(best.means) < n:
        raise InputError(
            f"the intensities form {len(best.means)} population{'s' * (len(best.means) > 1)}, not {n}; give "
            f"{len(best.means)} species, or leave --species out to have the populations numbered"
        )
    found = named(tried, _numbers_of(species), values, errors) if n else numbered(tried)
    information = {str(k): mixture.information for k, mixture in tried.items()}
    classes = fitted_again(found.classes, values, errors)
    while not n and len(distinct(classes).means) < len(classes.means):
        classes = fitted_again(distinct(classes), values, errors)
    return information, replace(found, classes=classes)


def _numbers_of(species: tuple[str, ...]) -> Floats:
    return np.array([float(atomic_numbers[name]) for name in species])


def _without_drift(
    positions: Floats, values: Floats, errors: Floats, found: Mixture, has_non_atoms: bool
) -> tuple[Floats, Mixture]:
    """Brightness of the surroundings (N,), ones where it says nothing, and the populations without it."""
    cells = np.floor((positions - positions.min(axis=0)) / CELL).astype(np.intp)
    gains, even, labels = np.ones(len(values)), found, found.posterior(values, errors).argmax(axis=1)
    for _ in range(_ROUNDS):
        expected = np.where(labels >= int(has_non_atoms), even.means[labels], 0.0)
        gains = _surroundings(cells, values, expected)
        even = fitted_again(even, values / gains, errors)
        before, labels = labels, even.posterior(values / gains, errors).argmax(axis=1)
        if np.array_equal(before, labels):
            break
    if even.log_likelihood - float(np.log(gains).sum()) <= found.log_likelihood:
        return np.ones(len(values)), found
    return gains, even


def _surroundings(cells: NDArray[np.intp], values: Floats, expected: Floats) -> Floats:
    """(N,): measured over expected brightness in the cells (N, 3) around every candidate without itself; mean 1."""
    measured, norm = (_sum_around(cells, weights) - weights for weights in (values * expected, expected**2))
    prior = _PRIOR_NEIGHBORS * float((expected**2).mean())
    if not prior > 0:
        return np.ones(len(values))
    gains = np.maximum((measured + prior) / (norm + prior), _LEAST_GAIN)
    return np.asarray(gains / gains.mean())


def _sum_around(cells: NDArray[np.intp], weights: Floats) -> Floats:
    """(N,): sum of the weights (N,) of all in the same cell and its 26 neighbors."""
    from scipy.ndimage import convolve

    shape = cells.max(axis=0) + 1
    flat = np.ravel_multi_index(tuple(cells.T), tuple(shape))
    sums = np.bincount(flat, weights, int(shape.prod())).reshape(shape)
    return np.asarray(convolve(sums, np.ones((3, 3, 3)), mode="constant").ravel()[flat])


def _warnings(names: tuple[str, ...], given: tuple[str, ...], found: Mixture, has_non_atoms: bool) -> tuple[str, ...]:
    """What the populations say against themselves."""
    said = []
    if not given:
        said.append(f"no species given: the intensities form {len(names)} population{'s' * (len(names) > 1)}")
    first = int(has_non_atoms)
    gaps = (found.means[1:] - found.means[:-1]) / (found.sigmas[1:] + found.sigmas[:-1])
    labels = ("non-atoms",) * first + names
    said += [
        f"{labels[i]} and {labels[i + 1]} overlap: their means are {2 * gap:.1f} standard deviations apart"
        for i, gap in enumerate(gaps)
        if 2 * gap < _CLEAR
    ]
    return tuple(said)


def _doubts(given: tuple[str, ...], means: Floats) -> tuple[str, ...]:
    """Species whose brightness is not that of such elements."""
    return tuple(
        f"{names[1]} is {pair[1] / pair[0]:.2g} times as bright as {names[0]}, which these elements hardly can be; "
        "are they the right ones, and not fewer or more?"
        for names, pair in zip(itertools.pairwise(given), itertools.pairwise(means[: len(given)]), strict=True)
        if unlikely(np.array(pair), _numbers_of(names)) > _DOUBTFUL**2
    )


def _spots(names: tuple[str, ...], n_brightest: int, n_rejected: int) -> tuple[str, ...]:
    """That the brightest species may be spots, and non-atoms the faintest species, by how many there are of each."""
    if len(names) < 2 or n_brightest > most_spots(n_rejected):
        return ()
    return (
        f"{n_brightest} {names[-1]} beside {n_rejected} candidates that were left out as no atoms: are the former "
        "bright spots, and the latter the faintest species?",
    )


def _believed(given: tuple[str, ...], means: Floats) -> float:
    """Probability that the classes have to do with the elements at all."""
    against = 0.5 * unlikely(means, _numbers_of(given)) if given else 0.0
    return 1.0 / (1.0 + _OTHERWISE * math.exp(min(against, 100.0)))
