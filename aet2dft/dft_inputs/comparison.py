"""Relaxed against measured: which atom is which, rigid offset, displacement field, RMSD.

Energies are not compared here; a change of the MAE is a difference of two numbers that other modules give.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from ase import Atoms
from ase.geometry import find_mic
from numpy.typing import NDArray

from aet2dft.config import CompareSettings
from aet2dft.dft_inputs.run_table import RunTable
from aet2dft.errors import InputError

CELL_TOLERANCE = 1e-3
"""Å; cells whose vectors differ by more are different cells."""
_STABLE = 1e-10
_MAX_STEPS = 100


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """How far relaxation moved the atoms of a measured model."""

    rmsd: float
    """Rms length of the displacements in 3D, Å, after the offset is taken off."""
    max_displacement: float
    """Longest displacement, Å."""
    max_index: int
    """Index, in the measured model, of the atom that moved farthest."""
    n: int
    """Atoms compared."""
    offset: NDArray[np.float64]
    """(3,), Å: mean displacement, relaxed − measured, taken off before everything else."""
    rms_by_axis: NDArray[np.float64]
    """(3,), Å: rms displacement along x, y, z."""
    rmsd_by_species: dict[str, float]
    """Å: `rmsd` of the atoms of each chemical symbol."""
    matched_by: Literal["site_id", "order"]
    """Whether atoms were matched by their site or by their place in the list."""
    n_only_measured: int
    """Atoms of the measured model without a partner."""
    n_only_relaxed: int
    """Atoms of the relaxed model without a partner."""
    measurement_sigma: float | None
    """Rms length of `position_sigma` of the same atoms, Å: the noise to compare `rmsd` with; None where unknown."""
    moment_rms: float | None
    """Rms change of the computed moments ``magmoms``, μB; None unless both models carry them."""


def compare(
    measured: Atoms,
    relaxed: Atoms,
    settings: CompareSettings = CompareSettings(),  # noqa: ARG001 - the form of every verb; this one needs none yet
) -> tuple[Atoms, Comparison]:
    """Displacements from measured to relaxed positions.

    Parameters
    ----------
    measured, relaxed : Atoms
        Models in one frame. Atoms are matched by the array ``site_id``, or by order where it is missing and both list
        the same species. Displacements are minimum images where the relaxed model is periodic.
    settings : CompareSettings
        Settings of the verb.

    Returns
    -------
    Atoms
        The measured model with the array ``relaxation`` (N, 3), Å: displacement without the offset; NaN for an atom
        that has no partner.
    Comparison
        What the displacements amount to.

    Raises
    ------
    InputError
        If no atoms match, a site holds different species, the cells differ, or a coordinate is not a number.

    Notes
    -----
    Only the mean displacement is removed; a rotation is not, as the cell is fixed. Yang et al., Nature 542, 75 (2017)
    found an RMSD of 24.7 pm, within the precision of the measurement (22 pm).
    """
    _check_cells(measured, relaxed)
    here, there, matched_by = _match(measured, relaxed)
    vectors = relaxed.positions[there] - measured.positions[here]
    if not np.isfinite(vectors).all():
        raise InputError("a position is NaN or infinite; compare models whose atoms all have a place")
    offset, displacement = _without_offset(vectors, relaxed)
    squared = (displacement**2).sum(axis=1)
    farthest = int(squared.argmax())
    symbols = np.asarray(measured.symbols)[here]
    result = measured.copy()
    field = np.full((len(measured), 3), np.nan)
    field[here] = displacement
    result.set_array("relaxation", field)
    return result, Comparison(
        rmsd=float(np.sqrt(squared.mean())),
        max_displacement=float(np.sqrt(squared[farthest])),
        max_index=int(here[farthest]),
        n=len(here),
        offset=offset,
        rms_by_axis=np.sqrt((displacement**2).mean(axis=0)),
        rmsd_by_species={str(s): float(np.sqrt(squared[symbols == s].mean())) for s in np.unique(symbols)},
        matched_by=matched_by,
        n_only_measured=len(measured) - len(here),
        n_only_relaxed=len(relaxed) - len(here),
        measurement_sigma=_measurement_sigma(measured, here),
        moment_rms=_moment_rms(measured, relaxed, here, there),
    )


def _check_cells(measured: Atoms, relaxed: Atoms) -> None:
    """Refuse two cells that are not the same."""
    if relaxed.pbc.any() and abs(relaxed.cell.complete().volume) < CELL_TOLERANCE**3:
        raise InputError("the relaxed model is periodic but its cell has no volume; give the cell of the calculation")
    if measured.cell.rank and relaxed.cell.rank:
        difference = float(np.abs(np.asarray(measured.cell) - np.asarray(relaxed.cell)).max())
        if not difference <= CELL_TOLERANCE:
            raise InputError(f"the cells differ by up to {difference:.4g} Å; relax at the fixed, measured cell")


def _match(measured: Atoms, relaxed: Atoms) -> tuple[NDArray[np.intp], NDArray[np.intp], Literal["site_id", "order"]]:
    """Pair the indices of both models; a pair has one species."""
    if measured.has("site_id") and relaxed.has("site_id"):
        here, there = _match_sites(measured.arrays["site_id"], relaxed.arrays["site_id"])
        differ = np.flatnonzero(measured.numbers[here] != relaxed.numbers[there])
        if differ.size:
            i, j = here[differ[0]], there[differ[0]]
            hold = "1 site holds" if differ.size == 1 else f"{differ.size} sites hold"
            raise InputError(
                f"{hold} different species (first: site {measured.arrays['site_id'][i]}, measured "
                f"{measured.symbols[i]}, relaxed {relaxed.symbols[j]}); compare models of one volume"
            )
        return here, there, "site_id"
    if not len(measured) or not np.array_equal(measured.numbers, relaxed.numbers):
        raise InputError(
            f"{len(measured)} measured and {len(relaxed)} relaxed atoms have no site_id in common and list different "
            "species; compare with a model that kept its site_id"
        )
    everything = np.arange(len(measured))
    return everything, everything, "order"


def _match_sites(
    measured: NDArray[np.integer], relaxed: NDArray[np.integer]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Pair equal site ids, in the order of the measured model."""
    for name, ids in (("measured", measured), ("relaxed", relaxed)):
        unique, count = np.unique(ids, return_counts=True)
        if (count > 1).any():
            raise InputError(f"site {unique[count > 1][0]} stands twice in the {name} model; ids must be unique")
    _, here, there = np.intersect1d(measured, relaxed, assume_unique=True, return_indices=True)
    if not here.size:
        raise InputError("the two models have no site in common; compare a relaxed volume with what it was cut from")
    order = np.argsort(here)
    return here[order], there[order]


def _without_offset(vectors: NDArray[np.float64], periodic: Atoms) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Split displacements (n, 3) into their common offset and the minimum images of the rest.

    Which image of an atom is the nearest depends on the offset, and the offset on the images. The circular mean is a
    start that does not depend on the images; each step after it can only shorten the sum of squares.
    """
    cell, pbc = periodic.cell.complete(), periodic.pbc
    fractional = np.linalg.solve(np.asarray(cell).T, vectors.T).T
    circular = np.angle(np.exp(2j * np.pi * fractional).mean(axis=0)) / (2 * np.pi)
    offset = np.where(pbc, circular, fractional.mean(axis=0)) @ np.asarray(cell)
    for _ in range(_MAX_STEPS):
        rest = np.asarray(find_mic(vectors - offset, cell, pbc)[0])
        shift = rest.mean(axis=0)
        offset = offset + shift
        if np.linalg.norm(shift) < _STABLE:
            break
    return np.asarray(find_mic(offset, cell, pbc)[0]), rest


def _measurement_sigma(measured: Atoms, here: NDArray[np.intp]) -> float | None:
    """Return the rms length of the standard errors of the matched positions, where there are any."""
    if not measured.has("position_sigma"):
        return None
    sigma = measured.arrays["position_sigma"][here]
    # zeros are the padding of atoms without an estimate
    known = sigma[np.isfinite(sigma).all(axis=1) & (sigma > 0).any(axis=1)]
    return float(np.sqrt((known**2).sum(axis=1).mean())) if len(known) else None


def _moment_rms(measured: Atoms, relaxed: Atoms, here: NDArray[np.intp], there: NDArray[np.intp]) -> float | None:
    """Return the rms change of the computed moments, where both models carry them in one form."""
    before, after = measured.arrays.get("magmoms"), relaxed.arrays.get("magmoms")
    if before is None or after is None or before.ndim != after.ndim:
        return None
    change = (after[there] - before[here]).reshape(len(here), -1)
    return float(np.sqrt((change**2).sum(axis=1).mean()))


def compare_volumes(
    atoms: Atoms, runs: RunTable, settings: CompareSettings = CompareSettings()
) -> tuple[Atoms, Comparison]:
    """Displacements from measured to relaxed positions over all relaxed volumes of a particle.

    Parameters
    ----------
    atoms : Atoms
        The particle, with ``site_id``.
    runs : RunTable
        Collected results with relaxed positions.
    settings : CompareSettings
        Settings of the verb.

    Returns
    -------
    Atoms
        The particle with ``relaxation`` (N, 3), Å: mean over the volumes that hold a site; NaN elsewhere.
    Comparison
        Over all atoms of all volumes; the offset is that of the largest length among the volumes.

    Raises
    ------
    InputError
        If no volume was relaxed.

    Notes
    -----
    Every volume is compared in its own cell with its own rigid offset removed; a site in several volumes counts once
    in each.
    """
    names = list(dict.fromkeys(runs.relaxed.volume.tolist()))
    if not names:
        raise InputError("no volume was relaxed; run the protocol relax and collect it first")
    index = {int(site): k for k, site in enumerate(atoms.arrays["site_id"])}
    particle = atoms.copy()
    # the cell of the particle is the box it was given in; volumes have cells of their own
    particle.set_cell(None)
    total, count = np.zeros((len(atoms), 3)), np.zeros(len(atoms))
    found = []
    for name in names:
        # an atom that filled a vacancy was never measured
        own = (runs.relaxed.volume == name) & np.isin(runs.relaxed.site_id, atoms.arrays["site_id"])
        rows = np.array([index[int(site)] for site in runs.relaxed.site_id[own]])
        cell = runs.relaxed.cells[name]
        relaxed = Atoms(numbers=atoms.numbers[rows], positions=runs.relaxed.position[own], cell=cell, pbc=True)
        relaxed.set_array("site_id", runs.relaxed.site_id[own])
        measured, result = compare(particle[rows], relaxed, settings)
        found.append((result, measured.arrays["relaxation"], rows))
        np.add.at(total, rows, measured.arrays["relaxation"])
        np.add.at(count, rows, 1)
    field = np.where(count[:, None] > 0, total / np.maximum(count, 1)[:, None], np.nan)
    out = atoms.copy()
    out.set_array("relaxation", field)
    return out, _pooled(atoms, found)


def _pooled(atoms: Atoms, found: list[tuple[Comparison, NDArray[np.float64], NDArray[np.intp]]]) -> Comparison:
    """One record over all atoms of several comparisons."""
    vectors, rows = np.concatenate([v for _, v, _ in found]), np.concatenate([r for _, _, r in found])
    squared = (vectors**2).sum(axis=1)
    farthest = int(squared.argmax())
    symbols = np.asarray(atoms.symbols)[rows]
    return Comparison(
        rmsd=float(np.sqrt(squared.mean())),
        max_displacement=float(np.sqrt(squared[farthest])),
        max_index=int(rows[farthest]),
        n=len(rows),
        offset=max((c.offset for c, _, _ in found), key=lambda o: float(np.linalg.norm(o))),
        rms_by_axis=np.sqrt((vectors**2).mean(axis=0)),
        rmsd_by_species={str(s): float(np.sqrt(squared[symbols == s].mean())) for s in np.unique(symbols)},
        matched_by="site_id",
        n_only_measured=len(atoms) - len(np.unique(rows)),
        n_only_relaxed=0,
        measurement_sigma=_measurement_sigma(atoms, rows),
        moment_rms=None,
    )
