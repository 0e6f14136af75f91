"""Whether the images fit the convention of their angles: every other way to read them is tried on a coarse volume.

What a convention means is written in ``geometry``; what can be wrong with the images themselves in ``image_checks``.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from aet2dft.errors import InputError
from aet2dft.recon.algorithms import least_squares
from aet2dft.recon.algorithms.extent import reaches_edges
from aet2dft.recon.fourier.projector import project_volume
from aet2dft.recon.geometry import compose, euler_angles
from aet2dft.recon.images.calibration import added_up
from aet2dft.recon.metrics import ImageFit, image_fit
from aet2dft.recon.tilt_series import TiltSeries

_COARSE = 32
"""Pixels along the longer edge of the images that are compared."""
_FINE = 96
"""Pixels along it where another convention than the given one is confirmed."""
_ITERATIONS = 10
"""Of least squares: enough for atoms to merge into a particle of the right shape."""
_GROUND = 2.0
"""Percentile of a coarse image that is its ground."""
_UNEVEN = 0.1
"""Relative spread of brightness that is more than noise and zone axes make of one beam: 0.045 in published series."""
_ALIKE = 0.05
"""Root mean square difference of two projections (2, 3) below which they are one: half a coarse pixel at the edge."""
_CLOSE = 0.01
"""The same among the conventions that are like the best one."""
_EQUAL = 1e-6
"""The same for conventions that no image can tell apart."""
_MOST = 0.8
"""Part of the images that must fit one of two conventions better to decide between them."""
_FEWEST = 5
"""Images below which nothing is decided."""
_QUICK = 0.05
"""Part of the work of a reconstruction that a check may take unasked."""
_ANGLES = ("phi", "theta", "psi")
_AXES = "xyz"


@dataclass(frozen=True, kw_only=True, slots=True)
class Convention:
    """One way to read images and angles."""

    name: str
    """R as a product of rotations, and what is done with the images."""
    rotations: NDArray[np.float64]
    """(n, 3, 3): of every image."""
    transposed: bool
    """Whether rows and columns of the images are exchanged."""

    @property
    def projections(self) -> NDArray[np.float64]:
        """(n, 2, 3): matrices that take a point of the object to row and column of the image as it is stored."""
        rows = self.rotations.swapaxes(1, 2)[:, :2]
        return rows[:, ::-1] if self.transposed else rows


@dataclass(frozen=True, kw_only=True, slots=True)
class ConventionCheck:
    """How well a coarse volume explains the images in every convention that differs for these angles."""

    names: tuple[str, ...]
    """The conventions; the first is the one of this package, as the angles were given."""
    r_factor: NDArray[np.float64]
    """(k,): R factor of the coarse images."""
    fits_better: NDArray[np.float64]
    """(k,): part of the images that a convention fits better than the first one does."""
    indistinguishable: tuple[str, ...]
    """The first one with other signs that explain any images as well, by a turned or mirrored object."""
    binning: int
    """Pixels per edge that were added up to one."""

    @property
    def best(self) -> int:
        """Position of the best convention: another than the first only where most images agree on it."""
        best = int(np.argmin(self.r_factor))
        return best if self.fits_better[best] >= _MOST else 0

    @property
    def margin(self) -> float:
        """R factor of the best other convention over that of the first; above 1 the first is right."""
        return float(self.r_factor[1:].min() / self.r_factor[0]) if len(self.r_factor) > 1 else np.inf

    @property
    def verdict(self) -> str:
        """as_given, another or undecided."""
        if self.best:
            return "another"
        return "undecided" if (self.fits_better[1:] > 1 - _MOST).any() else "as_given"

    @property
    def warnings(self) -> tuple[str, ...]:
        """One sentence where another convention fits better."""
        if not self.best:
            return ()
        k = self.best
        return (
            f"another convention fits {100 * self.fits_better[k]:.0f} % of the images better (R factor "
            f"{self.r_factor[k]:.3f} instead of {self.r_factor[0]:.3f}): {self.names[k]}; "
            "look at the axes, order and signs of the angles and at the orientation of the images",
        )


def check_conventions(series: TiltSeries) -> ConventionCheck:
    r"""Reconstruct a coarse volume in every convention and compare how well it explains the images.

    Parameters
    ----------
    series : TiltSeries
        Aligned images.

    Returns
    -------
    ConventionCheck
        The R factor of each convention, and how many images agree on the best one.

    Raises
    ------
    InputError
        If there are too few images to decide.

    Notes
    -----
    Tried are all products of three rotations that tilt about an axis in the image plane, with the angles in any order
    and of any sign, images as they are and transposed, and the angles in the opposite order of the images. Images tell
    two conventions apart only if no rotation or reflection Q makes :math:`A_k Q = A'_k` for the projections (2, 3)
    of all images; of conventions for which it nearly does, the simplest one is tried. One that fits better than the
    given one is compared with it again on finer images, which show atoms: a crystal is much the same along several
    directions, and coarse images of a right series may fit another convention better. The sign of the tilts is never
    told: the object mirrored along the beam explains the same images, whatever they are.
    """
    if series.n_images < _FEWEST:
        raise InputError(f"{series.n_images} images fit any convention; give at least {_FEWEST} to check it")
    coarse, binning = _coarse(series, _COARSE)
    known = _conventions(_angles(series))
    tried = _different(known, _ALIKE)
    fits = [_fit(coarse, convention) for convention in tried]
    best = int(np.argmin([fit.r_factor for fit in fits]))
    if best:  # it stands for others, of which one may fit still better
        like_it = [c for c in known if _distances(tried[best].projections[None], c.projections)[0] < _ALIKE]
        closer = _different(like_it, _CLOSE)[1:]
        tried, fits = tried + closer, fits + [_fit(coarse, convention) for convention in closer]
    check = _check(tried, fits, binning, known)
    if check.best and binning > 1:
        fine, binning = _coarse(series, _FINE)
        two = [tried[0], tried[check.best]]
        check = _check(two, [_fit(fine, convention) for convention in two], binning, known)
    return check


def _check(tried: list[Convention], fits: list[ImageFit], binning: int, known: list[Convention]) -> ConventionCheck:
    return ConventionCheck(
        names=tuple(convention.name for convention in tried),
        r_factor=np.array([fit.r_factor for fit in fits]),
        fits_better=np.array([(fit.per_image < fits[0].per_image).mean() for fit in fits]),
        indistinguishable=_other_signs(known),
        binning=binning,
    )


def is_quick(series: TiltSeries) -> bool:
    """Whether the check takes little of the time of a reconstruction.

    Parameters
    ----------
    series : TiltSeries
        About one tilt axis it always does; else the work grows with the voxels and the number of conventions.
    """
    if series.n_images < _FEWEST:
        return False
    if series.is_single_axis:
        return True
    n_tried = len(_different(_conventions(_angles(series)), _ALIKE))
    return bool(n_tried < _QUICK * (max(series.projections.shape[1:]) / _COARSE) ** 3)


def _conventions(angles: NDArray[np.float64]) -> list[Convention]:
    """All ways to read angles (n, 3), the fewer things they change the earlier."""
    found = [_given(angles), _given(angles[::-1], "; angles in the opposite order")]
    for order in itertools.permutations(range(3)):
        for first, last in itertools.product(range(3), repeat=2):
            axes = (first, 1, last)  # of phi, theta and psi
            turned = [axes[k] for k in order]
            if turned[1] not in (turned[0], turned[2]):
                signs = itertools.product((1, -1), repeat=3)
                found += [c for s in signs for c in _both_ways(angles, order, axes, np.array(s))]
    words = _given(angles).name.split()
    # sorted is stable; a product of other factors in other places counts each of them
    return sorted(found, key=lambda c: sum(a != b for a, b in itertools.zip_longest(c.name.split(), words)))


def _given(angles: NDArray[np.float64], words: str = "") -> Convention:
    convention, _ = _both_ways(angles, (0, 1, 2), (2, 1, 0), np.ones(3))
    return Convention(name=convention.name + words, rotations=convention.rotations, transposed=False)


def _both_ways(
    angles: NDArray[np.float64], order: tuple[int, ...], axes: tuple[int, ...], signs: NDArray[np.float64]
) -> tuple[Convention, Convention]:
    """A product of rotations with the images as they are and transposed."""
    rotations = compose(signs * angles, order=order, axes=axes)
    factors = (f"R{_AXES[axes[k]]}({'-' if signs[k] < 0 else ''}{_ANGLES[k]})" for k in order)
    name = f"R = {' '.join(factors)}"
    return (
        Convention(name=name, rotations=rotations, transposed=False),
        Convention(name=f"{name}; images transposed", rotations=rotations, transposed=True),
    )


def _different(conventions: list[Convention], tolerance: float) -> list[Convention]:
    """The first of each group of conventions that are alike."""
    kept: list[Convention] = []
    for convention in conventions:
        known = np.array([c.projections for c in kept]).reshape(-1, *convention.projections.shape)
        if not (_distances(known, convention.projections) < tolerance).any():
            kept.append(convention)
    return kept


def _other_signs(conventions: list[Convention]) -> tuple[str, ...]:
    """The first convention with other signs, where images cannot tell."""
    first, *others = conventions
    signed = [c for c in others if c.name.replace("-", "") == first.name != c.name]
    return tuple(c.name for c in signed if _distances(first.projections[None], c.projections)[0] < _EQUAL)


def _distances(groups: NDArray[np.float64], projections: NDArray[np.float64]) -> NDArray[np.float64]:
    """Root mean square differences of projections (g, n, 2, 3) from (n, 2, 3), turned to match as well as they can.

    The best rotation or reflection is that of the singular vectors (P. H. Schönemann, Psychometrika 31, 1 (1966)).
    """
    left, _, right = np.linalg.svd(np.einsum("gkai,kaj->gij", groups, projections))
    turned = groups @ (left @ right)[:, None]
    return np.asarray(np.sqrt(np.square(turned - projections).sum(axis=(2, 3)).mean(axis=1)))


def _angles(series: TiltSeries) -> NDArray[np.float64]:
    """Phi, theta, psi (n, 3) of a series, with the tilts that it was given."""
    angles = euler_angles(series.rotations)
    other = np.abs(np.cos(np.radians(angles[:, 1])) - np.cos(np.radians(series.tilt_angles))) > _EQUAL
    angles[other, 0::2] += 180.0  # the second set of angles of the same rotation
    angles[:, 0::2] = (angles[:, 0::2] + 180.0) % 360.0 - 180.0
    angles[:, 1] = series.tilt_angles
    return angles


def _coarse(series: TiltSeries, most: int) -> tuple[TiltSeries, int]:
    """Images of at most so many pixels per edge, without ground and equally bright, and the pixels per edge of one."""
    binning = -(-max(series.projections.shape[1:]) // most)
    coarse = added_up(series, binning)
    ground = np.percentile(coarse.projections, _GROUND, axis=(1, 2), keepdims=True)
    images = coarse.projections - ground.astype(np.float32)
    sums = images.sum(axis=(1, 2), keepdims=True)
    # where all of the object is in every image, brightness is that of the beam
    if sums.min() > 0 and sums.std() > _UNEVEN * sums.mean() and not reaches_edges(series):
        images *= np.median(sums) / sums
    return replace(coarse, projections=images), binning


def _fit(coarse: TiltSeries, convention: Convention) -> ImageFit:
    """How well a volume fits the images in a convention."""
    images, center = coarse.projections, coarse.center
    series = TiltSeries(
        projections=images.transpose(0, 2, 1) if convention.transposed else images,
        rotations=convention.rotations,
        tilt_angles=coarse.tilt_angles,
        pixel_size=coarse.pixel_size,
        center=center[:, ::-1] if convention.transposed else center,
    )
    rows, columns = series.projections.shape[1:]
    states = least_squares.iterate(series, np.ones((rows, columns, rows), dtype=np.bool_))
    state = next(itertools.islice(states, _ITERATIONS - 1, None))
    return image_fit(series.projections, project_volume(series, state.values))
