"""The top of the page: one sentence and six tiles."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols

from aet2dft.dft_inputs.comparison import Comparison
from aet2dft.dft_inputs.run_table import RunTable
from aet2dft.html_report.edit_section import counted
from aet2dft.html_report.parts import Tile, number, percent
from aet2dft.html_report.tomography import NO_IMAGES, Tomography, last_fit
from aet2dft.recon.metrics import format_r
from aet2dft.structure.chemical_order import Order
from aet2dft.structure.defects import fraction_sigma

N_TILES = 6
_WORDS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")


def sentence(
    atoms: Atoms | None,
    order: Order | None,
    runs: RunTable | None,
    comparison: Comparison | None,
    tomography: Tomography = NO_IMAGES,
) -> str:
    """Say in words what the project found."""
    parts = [] if atoms is None else [f"{len(atoms):,} atoms ({composition(atoms)})"]
    if order is not None:
        n = len(order.lattices)
        parts.append(f"{in_words(n)} fcc lattice{'s' if n > 1 else ''} a = {order.lattices[0].cubic_a:.3f} Å")
        if order.chemical is not None:
            n = len(order.chemical.grains)
            parts.append(f"{in_words(n)} grain{'s' * (n != 1)}")
    text = [*_from_images(tomography), ", ".join(parts)]
    if order is not None and order.chemical is not None:
        grains = order.chemical.grains
        if (sizes := grains.n_atoms[grains.phase == "L10"]).size:
            text.append(f"largest L1₀ grain {sizes.max():,} atoms")
    if runs is not None and np.isfinite(runs.volumes.mae).any():
        found = runs.volumes.mae[np.isfinite(runs.volumes.mae)]
        text.append(f"MAE of {found.size:,} volumes {number(found.min())} to {number(found.max())} meV/atom")
    if comparison is not None:
        text.append(f"relaxation moves {comparison.n:,} atoms by {number(100 * comparison.rmsd, 1)} pm (RMSD)")
    joined = "; ".join(filter(None, text))
    return f"{joined[:1].upper()}{joined[1:]}." if joined else "This project holds no result yet."


def _from_images(tomography: Tomography) -> list[str]:
    """What was measured, and how well the model explains it."""
    series, fit = tomography.series, last_fit(tomography)
    text = []
    if series is not None and fit is not None:
        low, high = number(series.tilt_angles.min(), 1), number(series.tilt_angles.max(), 1)
        some = f"{len(fit.noise)} of " if len(fit.noise) < series.n_images else ""
        explain = "explains" if fit.model == "volume" else "explain"
        explained = f"{some}which the {fit.model} {explain} with R = {format_r(fit.r_factor)}"
        images = f"1 image at {low}°" if series.n_images == 1 else f"{series.n_images} images from {low} to {high}°"
        text.append(f"{images}, {explained}")
    if tomography.verification is not None:
        found = tomography.verification.match
        known = tomography.verification.method == "truth"
        what = "of the reference identified" if known else "of its own model found again in simulated images"
        text.append(f"{percent(found.fraction_identified, 2)} {what} at {_pm(found.rmsd)} rmsd")
    return text


def _pm(length: float) -> str:
    return f"{number(100 * length, 1)} pm"


def in_words(n: int) -> str:
    """Write small numbers as words."""
    return _WORDS[n] if n < len(_WORDS) else f"{n:,}"


def composition(atoms: Atoms) -> str:
    """Write the number of atoms of every species, the lightest first; candidates have none yet."""
    numbers, counts = np.unique(atoms.numbers, return_counts=True)
    names = [chemical_symbols[z] if z else "of unknown species" for z in numbers]
    return ", ".join(f"{count:,} {name}" for name, count in zip(names, counts, strict=True))


def tiles(
    atoms: Atoms | None,
    order: Order | None,
    runs: RunTable | None,
    comparison: Comparison | None,
    tomography: Tomography = NO_IMAGES,
) -> tuple[Tile, ...]:
    """The six most telling numbers that there are; of those of the images two, where the order is known."""
    found = [] if atoms is None else [_atoms_tile(atoms, tomography)]
    found += _result_tiles(runs, comparison)
    found += _image_tiles(tomography, atoms)[: N_TILES if order is None else 2]
    if order is not None:
        found += _order_tiles(order, atoms)
    return tuple(found[:N_TILES])


def _atoms_tile(atoms: Atoms, tomography: Tomography) -> Tile:
    log = tomography.corrections
    by_hand = f"; by hand: {counted(log)}" if log is not None and log.changes else ""
    return Tile(label="Atoms", value=f"{len(atoms):,}", detail=f"{composition(atoms)}{by_hand}")


def _image_tiles(tomography: Tomography, atoms: Atoms | None) -> list[Tile]:
    found = []
    if tomography.verification is not None:
        match = tomography.verification.match
        known = tomography.verification.method == "truth"
        model = "" if known else "of its own model, "
        detail = f"{model}{match.n_missed:,} missed, {match.n_false:,} false; rmsd {_pm(match.rmsd)}"
        label = "Identified" if known else "Found again"
        found.append(Tile(label=label, value=percent(match.fraction_identified, 2), detail=detail))
    if (fit := last_fit(tomography)) is not None:
        detail = f"of the {fit.model}; noise alone about {format_r(float(fit.noise.mean()))}"
        found.append(Tile(label="R factor", value=format_r(fit.r_factor), detail=detail))
        if fit.r_free is not None:
            found.append(Tile(label="R factor, left out", value=format_r(fit.r_free), detail="images not fitted"))
    if tomography.refinement is not None and atoms is not None and "position_sigma" in atoms.arrays:
        sigma = np.linalg.norm(atoms.arrays["position_sigma"], axis=1)
        detail = "median, three dimensions, of the last fit"
        found.append(Tile(label="Standard error", value=_pm(float(np.median(sigma))), detail=detail))
    found += _confidence_tile(tomography, atoms)
    if (series := tomography.series) is not None:
        size = " × ".join(map(str, series.projections.shape[1:]))
        detail = f"{size} pixels of {series.pixel_size:.4g} Å"
        found.append(Tile(label="Images", value=f"{series.n_images}", detail=detail))
    return found


def _confidence_tile(tomography: Tomography, atoms: Atoms | None) -> list[Tile]:
    """How surely the atoms are of their species; left out where that is one: then it tells atoms from others only."""
    result = tomography.classification
    if result is None or atoms is None or "species_confidence" not in atoms.arrays:
        return []
    confidence = atoms.arrays["species_confidence"]
    if len(set(atoms.numbers)) == 1 and (atoms.numbers.all() or (confidence == 1.0).all()):  # X: of populations
        return []
    told_apart = result.n_rejected or tomography.refinement is not None  # which drops what is no atom
    detail = "mean over the species of the atoms" if told_apart else "mean, if all candidates are atoms"
    return [Tile(label="Confidence", value=percent(float(confidence.mean()), 2), detail=detail)]


def _result_tiles(runs: RunTable | None, comparison: Comparison | None) -> list[Tile]:
    found = []
    if runs is not None and np.isfinite(runs.volumes.mae).any():
        mae = runs.volumes.mae[np.isfinite(runs.volumes.mae)]
        spread = f"of {runs.volumes.mae_count}, {number(mae.min())} to {number(mae.max())}"  # they overlap: no error
        found.append(Tile(label="Mean MAE", value=f"{number(mae.mean())} meV/atom", detail=spread))
    if runs is not None:
        total = sum(runs.counts.values())
        found.append(
            Tile(
                label="DFT jobs",
                value=f"{runs.counts.get('ok', 0):,} of {total:,}",
                detail=f"ok, {runs.protocol} protocol",
            )
        )
    if comparison is not None:
        detail = f"largest {number(comparison.max_displacement)} Å, n = {comparison.n:,}"
        found.append(Tile(label="Relaxation RMSD", value=f"{number(100 * comparison.rmsd, 1)} pm", detail=detail))
    return found


def _order_tiles(order: Order, atoms: Atoms | None) -> list[Tile]:
    fit = order.lattices[0]
    share = f" of {len(atoms):,}" if atoms is not None else ""
    found = [
        Tile(label="Lattice constant", value=f"{fit.cubic_a:.3f} Å", detail=f"{fit.n_indexed:,}{share} atoms indexed")
    ]
    found += _grain_tiles(order)
    rms, floor = (float(np.sqrt((values**2).mean())) for values in (order.strain.rms, order.strain.floor))
    found.append(
        Tile(
            label="Displacement",
            value=f"{number(100 * fit.rms_displacement[3], 1)} pm",
            detail="3D rms from the best-fit triclinic cell",
        )
    )
    digits = 2 if floor >= 1e-4 else 4
    detail = f"noise floor {percent(floor, digits)}"
    found.append(Tile(label="Strain", value=f"{percent(rms, digits)} rms", detail=detail))
    for pair in order.warren_cowley[:1]:
        full = f"{number(float(pair.full_shells[0]), 3)} ± {number(float(pair.full_sigma[0]), 3)}"
        detail = f"{pair.other} around {pair.center}; complete shells {full}"
        value = f"{number(float(pair.all_atoms[0]), 3)} ± {number(float(pair.all_sigma[0]), 3)}"
        found.append(Tile(label="Warren-Cowley α₁", value=value, detail=detail))
    return found


def _grain_tiles(order: Order) -> list[Tile]:
    if order.chemical is None or not len(order.chemical.grains):
        return []
    grains, phases = order.chemical.grains, {"L12": "L1₂", "L10": "L1₀", "A1": "A1"}
    count = ", ".join(f"{n} {phases[p]}" for p in phases if (n := int((grains.phase == p).sum())))
    found = [Tile(label="Grains", value=f"{len(grains)}", detail=f"{count}; the largest {grains.n_atoms[0]:,} atoms")]
    deep = np.isfinite(grains.antisite_fraction_deep) & (grains.n_deep >= 100)
    if deep.any():
        atoms = int(grains.n_deep[deep].sum())
        fraction = float((grains.antisite_fraction_deep[deep] * grains.n_deep[deep]).sum() / atoms)
        error = float(fraction_sigma(np.array(fraction), np.array(atoms)))
        value = f"{number(100 * fraction, 1)} ± {number(100 * error, 1)} %"
        found.append(
            Tile(label="Antisites deep inside", value=value, detail=f"of {atoms:,} atoms below 1.5 cells, as found")
        )
    return found
