"""Data of the 3D view: atoms, and everything that they can be colored by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import Atoms
from ase.data import covalent_radii
from numpy.typing import ArrayLike, NDArray

from aet2dft.structure.variants import ORDERED, describe

if TYPE_CHECKING:
    from aet2dft.dft_inputs.run_table import RunTable
    from aet2dft.structure.chemical_order import Order

MAX_ATOMS = 25_000
"""Atoms in the view; of more a sample is shown, and the page says so."""
_STEPS = 16
_CANDIDATE_RADIUS = 0.8


@dataclass(frozen=True, kw_only=True, slots=True)
class _Values:
    """One quantity per atom."""

    key: str
    label: str
    values: NDArray[np.float64]
    unit: str = ""
    signed: bool = False


def viewer_data(atoms: Atoms, order: Order | None = None, runs: RunTable | None = None) -> dict[str, Any]:
    """Everything that the 3D view needs, as plain values for JSON.

    Parameters
    ----------
    atoms : Atoms
        The model.
    order : Order, optional
        Names the species that variants refer to, and knows the phases of the grains.
    runs : RunTable, optional
        Gives the MAE of the sites.

    Returns
    -------
    dict
        Coordinates in hundredths of an Å about the center, site ids, and a list of colorings: classes with names and
        colors, or values (null where there is none) with a range and a color scale.
    """
    from aet2dft.plot.style import sample, species_color, species_of

    shown = sample(len(atoms), limit=MAX_ATOMS)
    center = atoms.positions.mean(axis=0) if len(atoms) else np.zeros(3)
    part = atoms[shown]
    symbols = species_of(atoms)
    classes = [
        _classes("species", "species", [symbols.index(s) for s in part.symbols], symbols, map(species_color, symbols))
    ]
    classes += _label_classes(part, order)
    site_mae = _site_mae(atoms, runs)
    scales = [_scale(v) for v in _quantities(part, None if site_mae is None else site_mae[shown])]
    confidence = part.arrays.get("species_confidence")
    return {
        "positions": np.rint(100.0 * (part.positions - center)).astype(int).ravel().tolist(),
        "center": np.round(center, 2).tolist(),
        "site": part.arrays.get("site_id", shown + 1).tolist(),
        "confidence": None if confidence is None else _rounded(confidence, 0.001),
        "radius": [_radius(s) for s in symbols],
        "colorings": classes + scales,
        "n_atoms": len(atoms),
    }


def _radius(symbol: str) -> float:
    """Å: radius of an atom in the view; of candidates, whose element is not known, a typical one."""
    return round(0.62 * float(covalent_radii[Atoms(symbol).numbers[0]]), 3) if symbol != "X" else _CANDIDATE_RADIUS


def _classes(key: str, label: str, values: Any, names: Any, colors: Any) -> dict[str, Any]:
    return {
        "key": key, "label": label, "kind": "classes", "values": [int(v) for v in values], "names": list(names),
        "colors": list(colors),
    }  # fmt: skip


def _label_classes(part: Atoms, order: Order | None) -> list[dict[str, Any]]:
    """Colorings by grain, variant, antisite and surface, as far as the atoms carry them."""
    from aet2dft.plot.style import BLUE, MUTED, PHASE_NAMES, VERMILION, grain_color

    chemical = order.chemical if order else None
    found = []
    if "grain" in part.arrays:
        phase = (
            {int(g): PHASE_NAMES[str(p)] for g, p in zip(chemical.grains.grain, chemical.grains.phase, strict=True)}
            if chemical
            else {}
        )
        numbers = range(int(part.arrays["grain"].max(initial=0)) + 1)
        names = ["none", *(f"{g} {phase.get(g, '')}".strip() for g in numbers[1:])]
        found.append(_classes("grain", "grain", part.arrays["grain"], names, map(grain_color, numbers)))
    if "variant" in part.arrays:
        first, second = chemical.species if chemical else ("first", "second")
        variants, values = np.unique(part.arrays["variant"], return_inverse=True)
        names = [describe(int(v), first, second) for v in variants]
        found.append(_classes("variant", "variant", values, names, [grain_color(int(v)) for v in variants]))
    for key, label, color in (("antisite", "antisites", VERMILION), ("is_surface", "surface", BLUE)):
        if key in part.arrays:
            found.append(_classes(key, label, part.arrays[key], ("no", "yes"), (MUTED, color)))
    return found


def _quantities(part: Atoms, site_mae: NDArray[np.float64] | None) -> list[_Values]:
    """Numbers per atom that the atoms carry."""
    arrays, found = part.arrays, []
    if "sublattice_order" in arrays and "variant" in arrays:
        s, variant = arrays["sublattice_order"], arrays["variant"]
        best = np.max(np.nan_to_num(s[:, ORDERED], nan=-1.0), axis=1, initial=-1.0)
        own = np.where(variant > 0, s[np.arange(len(s)), variant], best)
        found.append(_Values(key="order", label="order parameter S", values=own))
    if "grain_depth" in arrays:
        found.append(
            _Values(key="depth", label="depth in the grain", unit="Å", values=arrays["grain_depth"], signed=True)
        )
    for key, label in (("displacement", "displacement"), ("relaxation", "relaxation")):
        if key in arrays:
            found.append(_Values(key=key, label=label, unit="Å", values=np.linalg.norm(arrays[key], axis=1)))
    if "strain" in arrays:
        for k, name in enumerate(("xx", "yy", "zz", "yz", "xz", "xy")):
            found.append(
                _Values(
                    key=f"strain_{name}",
                    label=f"strain {name}",
                    unit="%",
                    values=1e2 * arrays["strain"][:, k],
                    signed=True,
                )
            )
    if site_mae is not None:
        found.append(
            _Values(key="mae", label="MAE, mean of the volumes", unit="meV/atom", values=site_mae, signed=True)
        )
    if "position_sigma" in arrays:
        sigma = 1e2 * np.linalg.norm(arrays["position_sigma"], axis=1)
        found.append(_Values(key="sigma", label="standard error of the position", unit="pm", values=sigma))
    if "species_confidence" in arrays:
        found.append(_Values(key="confidence", label="species confidence", values=arrays["species_confidence"]))
    return found


def _site_mae(atoms: Atoms, runs: RunTable | None) -> NDArray[np.float64] | None:
    """MAE (N,) of the sites, the mean over the volumes that hold them; None without a map."""
    from aet2dft.dft_inputs.anisotropy import anisotropy_map
    from aet2dft.errors import InputError

    if runs is None or "site" not in atoms.arrays or not np.isfinite(runs.volumes.mae).any():
        return None
    sizes = np.unique(runs.volumes.size, axis=0)
    if len(sizes) != 1 or not sizes.all():
        return None
    try:
        size = (int(sizes[0, 0]), int(sizes[0, 1]), int(sizes[0, 2]))
        field = anisotropy_map(runs.volumes.center_site, runs.volumes.mae, size=size, sites=atoms.arrays["site"])
    except InputError:  # the volumes lie on no common grid: there is no map
        return None
    on_lattice = atoms.arrays.get("lattice", np.ones(len(atoms))) == 1
    return np.where(on_lattice, field.site_mae, np.nan)


def _scale(quantity: _Values) -> dict[str, Any]:
    """A coloring by a number: values with three digits, the range of nearly all of them, and the colors."""
    import matplotlib as mpl
    from matplotlib.colors import to_hex

    from aet2dft.plot.style import DIVERGING, SEQUENTIAL

    values = np.asarray(quantity.values, dtype=float)
    finite = values[np.isfinite(values)]
    low, high = (float(v) for v in np.percentile(finite, (1, 99))) if finite.size else (0.0, 1.0)
    if quantity.signed:
        high = max(abs(low), abs(high))
        low = -high
    if high <= low:
        high = low + 1.0
    colors = DIVERGING if quantity.signed else mpl.colormaps[SEQUENTIAL]
    return {
        "key": quantity.key, "label": quantity.label, "unit": quantity.unit, "kind": "scale", "range": [low, high],
        "values": _rounded(values, 10.0 ** (np.floor(np.log10(high - low)) - 3)),
        "colors": [to_hex(colors(k / (_STEPS - 1))) for k in range(_STEPS)],
    }  # fmt: skip


def _rounded(values: ArrayLike, step: float) -> list[float | None]:
    """Values to a step; None where there is none."""
    digits = max(0, -int(np.floor(np.log10(step))))
    return [round(float(v), digits) if np.isfinite(v) else None for v in np.asarray(values)]
