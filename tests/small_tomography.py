"""A small piece of the measured particle, its simulated images, and all that the verbs between them find.

Shared by the tests of figures, page and export, which look at what is done with such results and not at their quality.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
from ase import Atoms

from aet2dft import store
from aet2dft.config import ClassifySettings, ReconstructSettings, RefineSettings
from aet2dft.datasets import fept_2017
from aet2dft.html_report.tomography import Tomography
from aet2dft.recon.atoms.classification import classify
from aet2dft.recon.atoms.edits import Edit
from aet2dft.recon.atoms.peaks import trace
from aet2dft.recon.atoms.refinement import refine
from aet2dft.recon.atoms.simulate import Noise, simulate
from aet2dft.recon.images.calibration import moved
from aet2dft.recon.verification.round_trip import verify
from aet2dft.recon.volumes.reconstruction import reconstruct

PIXEL = 0.3725
TILTS = np.linspace(-66.0, 64.0, 14)
CORRECTIONS = (
    Edit(line=2, action="add", position=(0.0, 0.0, 20.0), species="Fe"),
    Edit(line=3, action="remove", site_id=1),
    Edit(line=5, action="move", site_id=2, position=(0.0, 20.0, 0.0)),
    Edit(line=6, action="relabel", site_id=3, species="Ag"),
)
STEPS = ("reconstruct", "trace", "classify", "refine", "verify")


@cache
def truth() -> Atoms:
    """About 70 atoms around the center of the particle."""
    particle = fept_2017()
    piece = particle[np.linalg.norm(particle.positions - particle.positions.mean(axis=0), axis=1) < 6.4]
    return Atoms(piece.symbols, positions=piece.positions - piece.positions.mean(axis=0))


def small_tomography() -> Tomography:
    """All results of one small run, less its candidates."""
    return _small_run()[0]


def small_candidates() -> Atoms:
    """What `trace` found in the same run."""
    return _small_run()[1]


@cache
def _small_run() -> tuple[Tomography, Atoms]:
    model = truth()
    noise = Noise(counts=200, read_noise=1)
    series = simulate(model, TILTS, shape=(48, 48), pixel_size=PIXEL, noise=noise, seed=3)
    volume, reconstruction = reconstruct(series, ReconstructSettings(iterations=20))
    series = moved(series, reconstruction.center_offset)
    candidates, traced = trace(volume)
    classified, classification = classify(candidates, volume, ClassifySettings(species=("Fe", "Pt")))
    refined, refinement = refine(classified, series, RefineSettings(rounds=0, iterations=2))
    found, verification = verify(refined, truth=model, series=series)
    seen = Tomography(
        series=series,
        volume=volume,
        reconstruction=reconstruction,
        trace=traced,
        classified=classified,
        classification=classification,
        refined=refined,
        refinement=refinement,
        found=found,
        verification=verification,
    )
    return seen, candidates


def save_project(path: Path, *, last: str) -> Path:
    """A project that holds the results up to one of the steps, as the command line would leave it."""
    t = small_tomography()
    records = {
        "reconstruct": {"series": t.series, "volume": t.volume, "result": t.reconstruction},
        "trace": {"atoms": small_candidates(), "result": t.trace},
        "classify": {"atoms": t.classified, "result": t.classification},
        "refine": {"atoms": t.refined, "result": t.refinement},
        "verify": {"atoms": t.found, "result": t.verification},
    }
    before = {"trace": {"with_volume": False}, "classify": {"from": "trace"}, "refine": {"from": "classify"}}
    for step in STEPS[: STEPS.index(last) + 1]:
        provenance = {"settings": {}, "inputs": [], "warnings": [], "command": f"aet2dft {step} run.h5"}
        store.save(path, step, records[step], provenance | before.get(step, {}))
    return path
