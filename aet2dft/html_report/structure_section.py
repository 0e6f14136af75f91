"""The section of the page about lattice, order, defects and strain."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from aet2dft.html_report.figures import picture
from aet2dft.html_report.parts import Picture, Section, Table, number, percent
from aet2dft.structure.chemical_order import ChemicalOrder, Order
from aet2dft.structure.grain_table import GrainTable

MAX_ROWS = 50
"""Rows of a table; the export of the tables holds all."""


def structure_section(atoms: Atoms | None, order: Order, warnings: tuple[str, ...]) -> Section:
    """What `order` found."""
    pictures = [] if atoms is None else _pictures_of_atoms(atoms, order)
    tables = [_lattice_table(order)]
    if order.chemical is not None:
        pictures = _order_pictures(order.chemical, atoms) + pictures
        tables = [*_grain_tables(order.chemical), *tables]
    if order.warren_cowley:
        pictures.append(_short_range_order(order))
        tables.append(_short_range_table(order))
    return Section(
        id="order",
        title="Lattice, order and defects",
        text=_text(order),
        warnings=tuple(dict.fromkeys((*order.warnings, *warnings))),
        pictures=tuple(pictures),
        tables=tuple(tables),
    )


def _text(order: Order) -> str:
    fit, strain = order.lattices[0], order.strain
    text = (
        f"Every atom was given an fcc site by marching from cell to cell: {fit.n_indexed:,} atoms on the largest "
        f"lattice, a = {fit.cubic_a:.3f} Å (cubic fit). Displacements are measured from the best-fit triclinic cell, "
        f"strain from the {strain.reference} one in a Gaussian window of σ = {strain.window:g} Å; the noise of the "
        f"positions behind its errors is {number(100 * strain.noise, 1)} pm per axis."
    )
    vacancies = len(order.vacancies.site)
    text += f" Empty sites with at least nine of twelve neighbors: {vacancies:,}."
    if order.chemical is None:
        return f"{text} There are no grains: they need exactly two species."
    chemical = order.chemical
    return (
        f"{text} Labels of order are the variant with the largest order parameter S in a Gaussian window of σ = "
        f"{chemical.window:g} cells, where S exceeds what one atom in a hundred of a random alloy reaches "
        f"({chemical.null_level:.3f} in a full window); grains are connected sets of one label."
    )


def _order_pictures(chemical: ChemicalOrder, atoms: Atoms | None) -> list[Picture]:
    from aet2dft.plot.grains import chance_note, plot_grains, plot_recipes

    grains = chemical.grains
    found = [
        picture(
            plot_grains(chemical, atoms),
            name="grains",
            alt=(
                f"Sizes and mean order of {len(grains)} grains, and the particle colored by grain with its front half "
                "removed."
            ),
            caption=(
                f"Grains, n = {len(grains)}. Error bars: mean standard error of S of one atom. {chance_note(chemical)} "
                "Look for grains whose order is near the level of chance."
            ),
        )
    ]
    if chemical.profiles:
        found.append(_depth_picture(chemical))
    found.append(
        picture(
            plot_recipes(chemical.recipes, window=chemical.window),
            name="recipes",
            alt="Sizes of the ordered grains under other windows and thresholds of the labels.",
            caption=(
                "The same particle labelled by neighboring recipes (window σ in cells, least S); the one in use is "
                "bold. Colors are ranks by size. What changes much from row to row depends on the recipe and not on "
                "the particle."
            ),
        )
    )
    return found


def _depth_picture(chemical: ChemicalOrder) -> Picture:
    from aet2dft.plot.grains import plot_depth_profiles

    names = " and ".join(f"{p.grain} ({p.n[p.depth > 0].sum():,} atoms inside)" for p in chemical.profiles)
    return picture(
        plot_depth_profiles(chemical.profiles),
        name="depth",
        alt="Antisite fraction, order parameter and number of atoms against the depth below the grain surface.",
        caption=(
            f"Antisites and order against depth, grains {names}; bins of half a cell, error bars are standard errors, "
            "hollow points have fewer than ten atoms. Outside an L1₂ grain about half of the sites of another L1₂ "
            "grain disagree (dashed). Look for a step at the surface and a low plateau inside."
        ),
    )


def _pictures_of_atoms(atoms: Atoms, order: Order) -> list[Picture]:
    from aet2dft.plot.fields import plot_displacements, plot_strain
    from aet2dft.plot.layers import plot_lattice_slices

    fit, strain = order.lattices[0], order.strain
    rms = ", ".join(number(100 * v, 1) for v in fit.rms_displacement[:3])
    shades = " Look for places that the lattice leaves empty."
    if order.chemical is not None:
        shades = " The background is light where order is high. Look for boundaries that run along dark bands."
    return [
        picture(
            plot_lattice_slices(atoms, order),
            name="layers",
            alt="Atomic layers normal to one lattice axis, atoms colored by species, grain boundaries as lines.",
            caption=(
                f"Atomic layers normal to [001], atoms on their sites ({fit.n_indexed:,} of {len(atoms):,} atoms are "
                f"on this lattice).{shades}"
            ),
        ),
        picture(
            plot_displacements(atoms, fit),
            name="displacements",
            alt="Histograms of the displacements along x, y, z, and arrows in a central slab.",
            caption=(
                f"Displacements from the best-fit triclinic cell, n = {fit.n_indexed:,}: rms {rms} pm along x, y, z. "
                "Look for arrows that turn together: they are strain, not noise."
            ),
        ),
        picture(
            plot_strain(atoms, strain),
            name="strain",
            alt="Maps of the six strain components in a central slab, over histograms of core and surface atoms.",
            caption=(
                f"Strain against the {strain.reference} cell, Gaussian window σ = {strain.window:g} Å, central slab "
                "of 4 Å normal to z, frame of the model. Gray bands: rms error that the noise of the positions "
                "gives. Look for fields wider than the window and stronger than the band."
            ),
        ),
    ]


def _short_range_order(order: Order) -> Picture:
    from aet2dft.plot.short_range_order import FEWEST_CENTERS, plot_short_range_order

    counts = ", ".join(f"{n:,}" for n in order.warren_cowley[0].n_full)
    return picture(
        plot_short_range_order(order.warren_cowley),
        name="short-range",
        alt="Warren-Cowley parameters against the number of the neighbor shell.",
        caption=(
            f"Short-range order by lattice shells; atoms whose shell is complete, by shell: {counts}; where these are "
            f"fewer than {FEWEST_CENTERS}, they are left out. Colors: the center, as in the slices; "
            "markers: its neighbors. Error bars: standard errors for independent bonds. Negative: unlike neighbors are "
            "preferred, or surface and core differ in composition."
        ),
    )


def _lattice_table(order: Order) -> Table:
    rows = tuple(
        (
            str(fit.lattice),
            f"{fit.n_indexed:,}",
            ", ".join(f"{x:.4f}" for x in fit.lengths),
            ", ".join(f"{x:.2f}" for x in fit.angles),
            f"{fit.cubic_a:.4f}",
            number(100 * fit.rms_displacement[3], 1),
            number(100 * fit.rms_displacement_cubic[3], 1),
            number(fit.misorientation),
        )
        for fit in order.lattices
    )
    header = (
        "lattice",
        "atoms",
        "a, b, c (Å)",
        "α, β, γ (°)",
        "cubic a (Å)",
        "rms, triclinic (pm)",
        "rms, cubic (pm)",
        "turned by (°)",
    )
    return Table(title="Lattices", header=header, rows=rows)


def _grain_tables(chemical: ChemicalOrder) -> list[Table]:
    table, n = chemical.grains, chemical.n_surrogates
    rows = tuple(_grain_row(table, k) for k in range(min(len(table), MAX_ROWS)))
    header = (
        "grain", "variant", "atoms", chemical.species[0], f"{chemical.species[0]} in core", "core atoms", "S",
        "antisites", "deep", "corrected", "deep atoms", "significance",
    )  # fmt: skip
    note = (
        "Core: more than one cell below the free surface. "
        "Deep: more than 1.5 cells below the surface of the grain, as found with its standard error, and corrected for "
        "a fraction η of wrongly assigned species, where this error grows by 1 / (1 − 2η)."
    )
    if asked := bool(np.isfinite(table.significance).any()):
        note += f" Significance: share of {n or 'the'} surrogates without such a grain by chance."
    if asked and n:
        note += f" Where none of {n} has one, chance is below {percent(1 - 0.05 ** (1 / n), 0)} (95 % confidence)."
    if len(table) > MAX_ROWS:
        note = f"The {MAX_ROWS} largest of {len(table)} grains. {note}"
    tables = [Table(title="Grains", header=header, rows=rows, texts=(0, 1), note=note)]
    if chemical.swaps:
        swaps = tuple((str(s.grain), f"{s.found:,}", number(s.expected, 1)) for s in chemical.swaps)
        note = (
            "Pairs of neighbors that are antisites of opposite kind, and how many there would be if antisites were "
            "placed at random with their rates at each depth."
        )
        tables.append(Table(title="Swaps", header=("grain", "found", "expected by chance"), rows=swaps, note=note))
    return tables


def _grain_row(t: GrainTable, k: int) -> tuple[str, ...]:
    from aet2dft.plot.style import PHASE_NAMES

    deep = bool(np.isfinite(t.antisite_fraction_deep[k]))
    phase = str(t.phase[k])
    variant = f"{PHASE_NAMES[phase]}{str(t.name[k]).removeprefix(phase)}"
    return (
        str(t.grain[k]), variant, f"{t.n_atoms[k]:,}", percent(t.concentration[k]), percent(t.concentration_core[k]),
        f"{t.n_core[k]:,}", f"{number(t.order[k])} ± {number(t.order_sigma[k])}",
        percent(t.antisite_fraction[k]),
        f"{number(100 * t.antisite_fraction_deep[k], 1)} ± {percent(t.antisite_sigma_deep[k])}" if deep else "–",
        percent(t.antisite_fraction_corrected[k]) if deep else "–", f"{t.n_deep[k]:,}", number(t.significance[k]),
    )  # fmt: skip


def _with_errors(values: NDArray[np.float64], sigma: NDArray[np.float64]) -> list[str]:
    """Numbers with their standard errors, with more digits where these are small; a dash where there is none."""
    digits = np.where(sigma >= 5e-4, 3, 5).tolist()
    return [
        f"{number(a, n)} ± {number(s, n)}" if np.isfinite(a) else "–"
        for a, s, n in zip(values.tolist(), sigma.tolist(), digits, strict=True)
    ]


def _short_range_table(order: Order) -> Table:
    shells = len(order.warren_cowley[0].all_atoms)
    rows = []
    for pair in order.warren_cowley:
        name = f"{pair.center}-{pair.other}"
        rows.append((name, "all atoms", *_with_errors(pair.all_atoms, pair.all_sigma)))
        rows.append((name, "all bonds, either role", *(number(a, 3) for a in pair.pooled)))
        rows.append((name, "complete shells", *_with_errors(pair.full_shells, pair.full_sigma)))
    rows.append(("", "complete shells: atoms", *(f"{n:,}" for n in order.warren_cowley[0].n_full)))
    header = ("center-other", "centers", *(f"shell {k}" for k in range(1, shells + 1)))
    return Table(title="Warren-Cowley parameters", header=header, rows=tuple(rows), texts=(0, 1), folded=True)
