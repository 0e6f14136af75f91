"""The Methods paragraph of a paper, written from the settings that were really used, and its references."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from aet2dft import __version__
from aet2dft.dft_inputs.comparison import Comparison
from aet2dft.dft_inputs.run_table import RunTable
from aet2dft.html_report.dft_sections import deck_sets, protocol_tags
from aet2dft.html_report.image_methods import image_methods
from aet2dft.html_report.parts import number, percent
from aet2dft.html_report.summary import composition
from aet2dft.html_report.tomography import NO_IMAGES, Tomography
from aet2dft.structure.chemical_order import Order

SHIPPED_PARTICLE = "FePt_cns_final"
"""Name of the published particle that comes with the package."""
NAMES = {
    "Yang2017": "Yang et al. 2017",
    "Yan2018": "Yan et al. 2018",
    "Cowley1950": "Cowley 1950",
    "Edelsbrunner1994": "Edelsbrunner and Mücke 1994",
    "Larsen2017": "Hjorth Larsen et al. 2017",
    "Giannozzi2009": "Giannozzi et al. 2009",
    "Giannozzi2017": "Giannozzi et al. 2017",
    "Kresse1996": "Kresse and Furthmüller 1996",
    "Kresse1999": "Kresse and Joubert 1999",
    "Perdew1996": "Perdew et al. 1996",
    "Marzari1999": "Marzari et al. 1999",
    "Weinert1985": "Weinert et al. 1985",
    "Beck2009": "Beck and Teboulle 2009",
    "Pryor2017": "Pryor et al. 2017",
    "Brunger1992": "Brünger 1992",
    "Schwarz1978": "Schwarz 1978",
}
_ENTRY = re.compile(r"@\w+\{(\w+),.*?\n\}", re.DOTALL)
_CITED = re.compile(r"\[([A-Z]\w+\d{4}(?:,[A-Z]\w+\d{4})*)\]")


@dataclass(frozen=True, kw_only=True, slots=True)
class Methods:
    """Text for a paper."""

    paragraph: str
    """The paragraph, with citations as author and year in brackets."""
    bibtex: str
    """The works that it cites, as BibTeX."""


def methods(
    *,
    atoms: Atoms | None,
    tomography: Tomography = NO_IMAGES,
    order: Order | None,
    runs: RunTable | None,
    comparison: Comparison | None,
    inputs: Mapping[str, Any] | None,
    settings: Mapping[str, Mapping[str, Any]],
    sources: tuple[str, ...] = (),
) -> Methods:
    """Write the Methods paragraph.

    Parameters
    ----------
    atoms, tomography, order, runs, comparison, inputs
        What the project holds; what is None is not mentioned.
    settings : mapping
        Settings by verb.
    sources : tuple of str
        Names of the input files, to recognize published data.
    """
    sentences = image_methods(tomography, settings)
    if atoms is not None:
        sentences.append(_model(atoms, sources))
    if order is not None:
        sentences += _order(order, settings.get("order", {}))
    sentences += _dft(deck_sets(inputs) if inputs else [], runs)
    if comparison is not None:
        sentences.append(
            f"Relaxed and measured positions of {comparison.n:,} atoms were compared at fixed cell after removal of "
            f"their mean displacement (RMSD {number(100 * comparison.rmsd, 1)} pm)."
        )
    sentences.append(
        f"All steps were done with aet2dft {__version__} and the Atomic Simulation Environment [Larsen2017]."
    )
    text = " ".join(sentences)
    keys = dict.fromkeys(key for group in _CITED.findall(text) for key in group.split(","))
    paragraph = _CITED.sub(lambda match: f"[{'; '.join(NAMES[key] for key in match[1].split(','))}]", text)
    return Methods(paragraph=paragraph, bibtex="\n\n".join(references()[key] for key in keys))


@cache
def references() -> dict[str, str]:
    """BibTeX entries by key."""
    text = files("aet2dft.html_report").joinpath("references.bib").read_text(encoding="utf-8")
    return {match[1]: match[0] for match in _ENTRY.finditer(text)}


def _model(atoms: Atoms, sources: tuple[str, ...]) -> str:
    text = f"The atomic model holds {len(atoms):,} atoms ({composition(atoms)})"
    if any(SHIPPED_PARTICLE in name for name in sources):
        return (
            f"{text}; it is the FePt nanoparticle determined by atomic electron tomography [Yang2017], in the file of "
            "[Yan2018]."
        )
    return f"{text}."


def _order(order: Order, settings: Mapping[str, Any]) -> list[str]:
    fit, strain = order.lattices[0], order.strain
    tolerance = f" (tolerance {settings['tolerance']} nearest-neighbor distances)" if "tolerance" in settings else ""
    lengths = ", ".join(f"{x:.3f}" for x in fit.lengths)
    found = [
        f"Atoms were assigned to fcc sites by marching along nearest-neighbor vectors{tolerance}; {fit.n_indexed:,} "
        f"atoms belong to the largest lattice, with a best-fit triclinic cell of a, b, c = {lengths} Å and a best-fit "
        f"cubic constant of {fit.cubic_a:.3f} Å.",
        "Surface atoms are those on the alpha shape [Edelsbrunner1994].",
    ]
    if order.chemical is not None:
        found += _chemical(order, settings)
    found.append(
        "Strain was obtained from Gaussian-weighted local-linear fits of the displacements from the "
        f"{strain.reference} cell (σ = {strain.window:g} Å), with errors propagated from a position noise of "
        f"{number(100 * strain.noise, 1)} pm per axis."
    )
    if order.warren_cowley:
        found.append("Short-range order is given by Warren-Cowley parameters over lattice shells [Cowley1950].")
    return found


def _chemical(order: Order, settings: Mapping[str, Any]) -> list[str]:
    chemical = order.chemical
    assert chemical is not None  # the caller has looked
    threshold = settings.get("threshold")
    level = (
        f"S ≥ {threshold:g}"
        if threshold is not None
        else "S above the 99 % level of a random alloy of the same composition "
        f"({chemical.null_level:.3f} in a full window)"
    )
    minimum = f" of at least {settings['min_grain']} atoms" if "min_grain" in settings else ""
    text = (
        "Chemical order was labelled by the largest sublattice order parameter S among the six L1₀ and eight L1₂ "
        f"variants in a Gaussian window (σ = {chemical.window:g} unit cells), accepted for {level} (after "
        f"[Yang2017]); grains are connected sets{minimum} of one label."
    )
    found = [text]
    if settings.get("surrogates") and (chemical.grains.n_atoms < 1000).any():
        found.append(
            f"The significance of grains below 1,000 atoms was tested with {settings['surrogates']} surrogate "
            "particles."
        )
    if "species_error" in settings:
        found.append(
            f"Corrected antisite fractions assume {percent(float(settings['species_error']))} of wrongly assigned "
            "species."
        )
    return found


def _dft(sets: Sequence[Mapping[str, Any]], runs: RunTable | None) -> list[str]:
    """What was computed; where nothing has a result, which input files were written."""
    if runs is None or not (done := _with_value(runs)).any():
        return [_prepared(decks) for decks in sets]
    v, decks = runs.volumes, sets[0] if sets else {}
    n, different = int(done.sum()), int((done & v.is_own).sum())
    which = f"{n:,}" if n == len(done) else f"{n:,} of {len(done):,}"
    alike = f", {different:,} of them different," if different < n else ""
    details = [f"k-mesh {runs.k_mesh}"] if runs.k_mesh else []
    volumes = "volume" if len(done) == 1 else "volumes"
    found = [f"Density functional calculations of {which} {volumes}{alike} used {_program(runs.code, decks, details)}."]
    if runs.mae_axes:
        first, second = runs.mae_axes
        how = {
            "force_theorem": "free band energies at fixed charge density (force theorem [Weinert1985])",
            "total_energy": "total energies of self-consistent runs with spin-orbit coupling",
        }.get(runs.method, "energies")
        found.append(f"The magnetic anisotropy energy is E[{first}] − E[{second}] per atom, from {how}.")
    return found


def _with_value(runs: RunTable) -> NDArray[np.bool_]:
    """(n,): volumes that have a result: an anisotropy where axes were asked for, else all their jobs."""
    return np.isfinite(runs.volumes.mae) if runs.mae_axes else np.asarray(runs.volumes.status == "ok")


def _prepared(decks: Mapping[str, Any]) -> str:
    jobs = f" ({n:,} job{'s' * (n != 1)})" if (n := int(decks.get("n_jobs", 0))) else ""
    volumes = f"{(n := int(decks.get('n_volumes', 0))):,} volume{'s' * (n != 1)}"
    return (
        f"Input files of density functional calculations of {volumes}{jobs} were written "
        f"for {_program(str(decks.get('code', '')), decks, [])}; no result of them is part of this."
    )


def _program(code: str, decks: Mapping[str, Any], details: list[str]) -> str:
    """Program, functional and what is known of the numerics."""
    text = {
        "espresso": "Quantum ESPRESSO [Giannozzi2009,Giannozzi2017]", "vasp": "VASP [Kresse1996,Kresse1999]",
    }.get(code, code)  # fmt: skip
    tags = protocol_tags(decks)
    if tags.get("functional", "PBE" if code == "vasp" else None) == "PBE":
        text += " and the PBE functional [Perdew1996]"
    known = ", ".join([*_numerical(tags), *details])
    return f"{text} ({known})" if known else text


def _numerical(tags: Mapping[str, Any]) -> list[str]:
    """Cutoffs and smearing, as far as the protocol gives them."""
    found = []
    if "ecutwfc" in tags:
        found.append(f"cutoffs {tags['ecutwfc']:g} and {tags.get('ecutrho', 0):g} Ry")
    if "ENCUT" in tags:
        found.append(f"cutoff {tags['ENCUT']:g} eV")
    if "degauss" in tags:
        name = "Marzari-Vanderbilt smearing [Marzari1999]" if tags.get("smearing") == "mv" else "smearing"
        found.append(f"{name} of {tags['degauss']:g} Ry")
    if "SIGMA" in tags:
        found.append(f"smearing of {tags['SIGMA']:g} eV")
    return found
