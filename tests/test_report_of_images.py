"""The page about the verbs between images and atoms, and projects that stop after any of them.

Truth: the records of a small simulated run.
"""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms
from numpy.testing import assert_allclose
from small_particle import small_order
from small_tomography import CORRECTIONS, STEPS, save_project, small_candidates, small_tomography, truth

from aet2dft import store
from aet2dft.cli.recon_summaries import verify_lines
from aet2dft.config import VERBS
from aet2dft.html_report import report as write_page
from aet2dft.html_report.atom_sections import (
    atom_residuals,
    trace_section,
)
from aet2dft.html_report.image_gates import image_gates, unexplained
from aet2dft.html_report.image_methods import image_methods
from aet2dft.html_report.methods import methods
from aet2dft.html_report.summary import sentence, tiles
from aet2dft.html_report.tomography import NO_IMAGES, Fit, Tomography, last_fit
from aet2dft.html_report.viewer import viewer_data
from aet2dft.plot.tilt_images import typical_images
from aet2dft.recon.atoms.edits import edit
from aet2dft.recon.atoms.simulate import model_images
from aet2dft.recon.images import noise
from aet2dft.recon.images.conventions import ConventionCheck
from aet2dft.recon.images.noise import noise_r_factor
from aet2dft.recon.verification.round_trip import verify
from aet2dft.recon.verification.scattering import ImageComparison
from aet2dft.reporting import report

FIGURES = {
    "reconstruct": {"slices", "convergence", "coverage", "volume-images"},
    "trace": set(),
    "classify": {"intensities"},
    "refine": {"refinement", "atom-images"},
    "verify": {"verification"},
}


def figures(text):
    """Names of the figures of a page."""
    return set(re.findall(r'id="figure-([\w-]+)"', text)) - {"fsc"}


def gate(tomography, atoms=None):
    """Levels of the gates by name."""
    return {gate.name: gate.level for gate in image_gates(tomography, atoms)}


@pytest.mark.parametrize(
    "last",
    ["reconstruct", pytest.param("trace", marks=pytest.mark.slow), "classify",
     pytest.param("refine", marks=pytest.mark.slow), "verify"],
)  # fmt: skip
def test_a_project_that_stops_after_any_step_has_the_sections_of_the_steps_before(tmp_path, last, monkeypatch):
    project, looked_at, moments = save_project(tmp_path / "run.h5", last=last), [], noise._moments
    monkeypatch.setattr(noise, "_moments", lambda *of, **said: looked_at.append(1) or moments(*of, **said))
    text = report(project, tmp_path / "r.html").read_text(encoding="utf-8")
    ran = STEPS[: STEPS.index(last) + 1]
    sections = re.findall(r'<section id="(\w+)">', text)
    assert [name for name in sections if name in STEPS] == list(ran)
    assert figures(text) == set().union(*(FIGURES[step] for step in ran))
    assert ("view" in sections) == (last != "reconstruct")
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    assert len(looked_at) == small_tomography().series.n_images  # noise takes time, and is found once
    if last == "verify":
        says_the_numbers_of_the_records(text)


def says_the_numbers_of_the_records(text):
    """Check the sentences of the page of the whole run."""
    t = small_tomography()
    assert f"{t.series.n_images} images from −66.0 to 64.0°" in text
    assert f"R = {t.refinement.r_factor_after:.3f}" in text
    assert f"Atoms added: {t.refinement.n_added}; dropped: {t.refinement.n_dropped}" in text
    assert f"{100 * t.verification.match.fraction_identified:.2f} %" in text
    assert f"{100 * t.verification.match.rmsd:.1f} pm" in text
    assert "aet2dft refine run.h5" in text


def test_steps_that_ran_the_other_way_round_are_shown_as_they_ran(tmp_path):
    t, project, base = small_tomography(), tmp_path / "run.h5", {"settings": {}, "inputs": [], "warnings": []}
    store.save(project, "trace", {"atoms": small_candidates(), "result": t.trace}, base | {"with_volume": False})
    store.save(project, "refine", {"atoms": t.refined, "result": t.refinement}, base | {"from": "trace"})
    records = {"atoms": t.classified, "result": t.classification}
    store.save(project, "classify", records, base | {"from": "refine"}, keep=("refine",))
    corrected, log = edit(t.classified, CORRECTIONS)
    records = {"atoms": corrected, "result": log}
    store.save(project, "edit", records, base | {"from": "classify"}, keep=("classify", "refine"), between=True)
    text = report(project, tmp_path / "r.html").read_text(encoding="utf-8")
    places = [text.index(f'<section id="{verb}">') for verb in ("refine", "classify", "edit")]
    assert places == sorted(places)
    methods = text[text.index('<section id="methods">') :]
    places = [methods.index(words) for words in ("Positions and heights", "Species were told", "corrected by hand")]
    assert places == sorted(places)
    assert f"{len(corrected):,} atoms (" in text
    assert f"The R factor of the refined atoms, {t.refinement.r_factor_after:.3f}, is that before" in text


def test_a_foreign_volume_shows_its_slices_where_it_was_traced(tmp_path):
    t, project = small_tomography(), tmp_path / "run.h5"
    provenance = {"settings": {}, "inputs": [], "warnings": [], "with_volume": True}
    store.save(project, "trace", {"atoms": small_candidates(), "result": t.trace, "volume": t.volume}, provenance)
    text = report(project, tmp_path / "r.html").read_text(encoding="utf-8")
    assert figures(text) == {"slices"}
    assert "of unknown species" in text
    assert 'id="reconstruct"' not in text


def test_two_models_that_were_compared_make_a_page(tmp_path):
    found, record = verify(truth(), truth=truth())
    provenance = {"settings": {}, "inputs": [], "warnings": []}
    store.save(tmp_path / "run.h5", "verify", {"atoms": found, "result": record}, provenance)
    text = report(tmp_path / "run.h5", tmp_path / "r.html").read_text(encoding="utf-8")
    assert "100.00 % of the reference identified at 0.0 pm rmsd" in text


def test_gates_judge_an_r_factor_by_what_noise_alone_gives():
    t = small_tomography()
    assert unexplained(0.5, 0.4) == pytest.approx(0.3)
    assert unexplained(0.3, 0.4) == 0.0
    fine = gate(t, t.refined)
    assert fine["R factor"] == "good"
    assert fine["identified"] == "good"
    bad = replace(t, refinement=replace(t.refinement, r_factor_after=0.6, r_free=0.35))
    assert gate(bad)["R factor"] == "poor"
    easy = replace(t, refinement=replace(bad.refinement, r_free=float(last_fit(t).noise.mean())))
    left_out = next(g for g in image_gates(easy, None) if g.name == "left out")
    assert left_out.level == "poor"
    assert "easier than most" in left_out.reason
    assert last_fit(bad).r_free == 0.35
    volume = last_fit(replace(t, refinement=None))
    assert (volume.model, volume.r_factor) == ("volume", t.reconstruction.r_factor)
    assert last_fit(NO_IMAGES) is None


@pytest.mark.parametrize(
    ("noise", "r_factor", "level", "words"),
    [
        (0.94, 0.95, "good", "which leaves 0.137 unexplained"),
        (0.98, 0.97, "fair", "says nothing at this noise: an empty model would leave no more than 0.199"),
        (0.98, 1.20, "poor", "which leaves 0.693 unexplained"),
    ],
)
def test_an_r_factor_that_an_empty_model_would_have_too_says_nothing(noise, r_factor, level, words, monkeypatch):
    fit = Fit(model="atoms", r_factor=r_factor, r_free=r_factor, noise=np.full(2, noise))
    monkeypatch.setattr("aet2dft.html_report.image_gates.last_fit", lambda tomography: fit)
    lights = image_gates(NO_IMAGES, None)
    assert [light.level for light in lights] == [level, level]
    assert all(light.reason.endswith(words) for light in lights)


def test_a_fit_to_so_few_images_that_none_was_left_out_is_not_green(monkeypatch):
    for n, expected in ((9, ["good", "fair"]), (10, ["good"])):
        fit = Fit(model="atoms", r_factor=0.1, r_free=None, noise=np.full(n, 0.1))
        monkeypatch.setattr("aet2dft.html_report.image_gates.last_fit", lambda tomography, fit=fit: fit)
        lights = image_gates(NO_IMAGES, None)
        assert [light.level for light in lights] == expected
    assert lights[0].name == "R factor"


def test_what_is_found_in_simulated_images_of_the_model_is_not_said_to_be_the_truth():
    t = small_tomography()
    own = replace(t, verification=replace(t.verification, method="linear"))
    assert gate(own)["found again"] == "good"
    tile = tiles(t.refined, None, None, None, own)[1]
    assert (tile.label, tile.detail.split(",")[0]) == ("Found again", "of its own model")
    said = [sentence(None, None, None, None, own), " ".join(verify_lines(own.found, own.verification))]
    assert all("own model" in text and "found again" in text and "identified" not in text for text in said)
    assert "against the known model" in verify_lines(t.found, t.verification)[0]


def test_a_light_names_matter_beside_the_images(monkeypatch):
    t = small_tomography()
    assert "surroundings" not in gate(t)
    monkeypatch.setattr("aet2dft.html_report.image_gates.beyond_images", lambda series: ("it goes on",))
    assert next(g for g in image_gates(t, None) if g.name == "surroundings").reason == "it goes on"
    assert "surroundings" not in gate(replace(t, refinement=None))


def test_the_limit_of_bad_images_is_said_with_its_reason():
    t = small_tomography()
    noisy = "1.4, 1.5 times the median; says nothing at this noise: an image of something else has about 1"
    for r_factor, level, limit in (
        (0.1, "good", "0.15, 1.5 times the median"),
        (0.01, "good", "0.05, up to which an image fits well"),
        (0.9, "fair", noisy),
    ):
        fitted = replace(t.refinement, r_factor_per_image=np.full(t.series.n_images, r_factor))
        light = next(g for g in image_gates(replace(t, refinement=fitted), None) if g.name == "images")
        assert light.level == level
        assert light.reason == f"0 of {t.series.n_images} have an R factor above {limit}"


def test_an_image_without_the_atoms_is_named_and_has_no_part_in_what_noise_gives():
    t = small_tomography()
    n, r_factor = t.series.n_images, t.refinement.r_factor_per_image.copy()
    r_factor[3] = np.nan
    images = np.where(
        np.arange(n)[:, None, None] == 3, np.random.default_rng(0).normal(size=(48, 48)), t.series.projections
    )
    spoiled = replace(
        t, series=replace(t.series, projections=images.astype(np.float32)),
        refinement=replace(t.refinement, r_factor_per_image=r_factor),
    )  # fmt: skip
    others = np.delete(np.arange(n), 3)
    alone = noise_r_factor(t.series.projections[others], t.refinement.background[others])
    assert_allclose(last_fit(spoiled).noise, alone, rtol=1e-6)
    light = next(g for g in image_gates(spoiled, None) if g.name == "images")
    assert light.level == "fair"
    assert light.reason.startswith(f"0 of {n - 1} have an R factor")
    methods = " ".join(image_methods(spoiled, {}))
    assert all("1 image does not show the atoms: 3" in text for text in (light.reason, methods))
    assert f"{n} images from" in sentence(None, None, None, None, spoiled)
    assert f", {n - 1} of which the atoms explain" in sentence(None, None, None, None, spoiled)


def test_gates_tell_bad_images_missed_atoms_and_short_bonds():
    t = small_tomography()
    r_factor = np.full(t.series.n_images, 0.1)
    assert gate(replace(t, refinement=replace(t.refinement, r_factor_per_image=r_factor)))["images"] == "good"
    r_factor[:2] = 0.2
    assert gate(replace(t, refinement=replace(t.refinement, r_factor_per_image=r_factor)))["images"] == "poor"
    _, most = verify(truth()[2:], truth=truth())
    assert gate(Tomography(verification=most)) == {"identified": "fair"}
    doubled = truth() + Atoms(f"Fe{len(truth())}", positions=truth().positions + 30.0)
    assert gate(Tomography(verification=verify(doubled, truth=truth())[1])) == {"identified": "poor"}
    near = Atoms("Pt3", positions=[(0, 0, 0), (1.5, 0, 0), (5, 0, 0)])
    reasons = {g.name: g.reason for g in image_gates(t, near)}
    assert gate(t, near)["bonds"] == "poor"
    assert reasons["bonds"] == (
        "2 atoms are nearer to another than the minimum distance of 2 Å; the shortest bond is 1.50 Å"
    )
    few = Atoms("Pt300", positions=5.0 * np.arange(900.0).reshape(-1, 3))
    few.positions[1] = few.positions[0] + [1.99, 0, 0]
    assert gate(t, few)["bonds"] == "fair"


@pytest.mark.parametrize(("confidence", "level"), [(0.999, "good"), (0.97, "fair"), (0.69, "poor")])
def test_species_that_are_hardly_told_apart_have_a_light(confidence, level):
    mixed = Atoms("Fe50Pt50", positions=5.0 * np.arange(300.0).reshape(-1, 3))
    mixed.set_array("species_confidence", np.full(100, confidence))
    found = {light.name: light for light in image_gates(NO_IMAGES, mixed)}
    assert found["species"].level == level
    assert found["species"].reason.startswith(f"{100 * (1 - confidence):.1f} of 100 atoms")
    mixed.symbols[:] = "Pt"
    assert "species" not in {light.name for light in image_gates(NO_IMAGES, mixed)}


def test_summary_of_images_has_six_tiles_and_two_where_the_order_is_known():
    t = small_tomography()
    found = tiles(t.refined, None, None, None, t)
    assert [tile.label for tile in found[:3]] == ["Atoms", "Identified", "R factor"]
    assert len(found) == 6
    atoms, order = small_order()
    labels = [tile.label for tile in tiles(atoms, order, None, None, t)]
    assert labels[:4] == ["Atoms", "Identified", "R factor", "Lattice constant"]
    only_images = replace(NO_IMAGES, series=t.series, volume=t.volume, reconstruction=t.reconstruction)
    assert sentence(None, None, None, None, only_images).endswith(f"R = {t.reconstruction.r_factor:.3f}.")


def test_methods_of_images_name_the_settings_used_and_cite_what_they_name():
    t = small_tomography()
    settings = {"trace": VERBS["trace"]().model_dump(mode="json")}
    found = methods(
        atoms=t.refined, tomography=t, order=None, runs=None, comparison=None, inputs=None, settings=settings
    )
    for words in (
        f"{t.series.n_images} images with tilts from −66.0 to 64.0°",
        "20 iterations",
        "σ = 0.3 Å",
        f"R factor is {t.refinement.r_factor_after:.3f}",
        "Against a known model",
    ):
        assert words in found.paragraph
    cited = set(re.findall(r"@\w+\{(\w+),", found.bibtex))
    assert cited == {"Beck2009", "Brunger1992", "Schwarz1978", "Larsen2017"}


def test_calculated_images_that_are_not_those_of_the_fit_are_left_out(tmp_path):
    t = small_tomography()
    wide = replace(t.reconstruction, r_factor_per_image=0.5 * t.reconstruction.r_factor_per_image)
    only = replace(NO_IMAGES, series=t.series, volume=t.volume, reconstruction=wide)
    text = write_page(tmp_path / "r.html", title="film", tomography=only).read_text(encoding="utf-8")
    assert "figure-volume-images" in text
    assert "difference × 4" not in text


def test_changes_of_atoms_are_listed_with_their_evidence(tmp_path):
    t = small_tomography()
    n = 100
    changes = replace(
        t.refinement.changes,
        rounds=np.zeros(n, dtype=int),
        actions=np.array(["added"] * (n - 1) + ["dropped"]),
        reasons=np.array(["odds"] * (n - 1) + ["distance"]),
        positions=np.zeros((n, 3)),
        heights=np.ones(n),
        gains=np.full(n, 5.0),
        odds=np.append(np.arange(2.0, n + 1.0), -0.5),
        n_images=np.full(n, 7),
    )
    seen = replace(NO_IMAGES, refined=t.refined, refinement=replace(t.refinement, changes=changes))
    text = write_page(tmp_path / "r.html", title="x", tomography=seen).read_text(encoding="utf-8")
    assert "The 60 of 100 with the weakest evidence." in text
    assert "with ln of the odds above −5 was tried" in text
    rows = text.partition("Atoms added and dropped")[2]
    assert rows.index("dropped</td>") < rows.index("added</td>")


def test_conventions_that_were_tried_are_listed_best_first(tmp_path):
    t = small_tomography()
    check = ConventionCheck(
        names=("as given", "mirrored", "turned"),
        r_factor=np.array([0.3, 0.2, 0.5]),
        fits_better=np.array([0.0, 0.9, 0.1]),
        indistinguishable=("upside down",),
        binning=2,
    )
    seen = Tomography(series=t.series, volume=t.volume, reconstruction=t.reconstruction, conventions=check)
    text = write_page(tmp_path / "r.html", title="x", tomography=seen).read_text(encoding="utf-8")
    table = text.partition("Conventions of the angles")[2]
    assert table.index("mirrored") < table.index("as given") < table.index("turned")
    assert "Another convention fits better than the one that was given. On images binned 2-fold." in table
    assert "No image can tell from it: upside down." in table


def test_images_with_multiple_scattering_are_compared_in_a_table(tmp_path):
    found, record = verify(truth(), truth=truth())
    images = ImageComparison(
        images=np.array([0, 7]),
        source_size=0.42,
        r_factor=np.array([0.11, 0.25]),
        correlation=np.array([0.99, 0.9]),
        r_factor_linear=np.array([0.2, 0.3]),
        correlation_linear=np.array([0.95, 0.85]),
    )
    seen = Tomography(found=found, verification=replace(record, images=images))
    text = write_page(tmp_path / "r.html", title="x", tomography=seen).read_text(encoding="utf-8")
    table = text.partition("Images with multiple scattering")[2]
    assert table.index(">7<") < table.index(">0<")
    assert "Source size 0.42 Å" in table


def test_calculated_images_of_atoms_follow_the_geometry_that_was_fitted():
    from scipy.spatial.transform import Rotation

    t = small_tomography()
    vectors = np.radians(1.5) * np.random.default_rng(0).standard_normal((t.series.n_images, 3))
    true = replace(
        t.series,
        rotations=np.swapaxes(Rotation.from_rotvec(vectors).as_matrix(), 1, 2) @ t.series.rotations,
        center=t.series.center + 0.5,
    )
    exact = model_images(t.refined, true)
    residual = np.abs(exact - model_images(t.refined, t.series)).sum(axis=(1, 2)) / exact.sum(axis=(1, 2))
    assert residual.min() > 0.1
    fitted = replace(
        t.refinement, rotations=np.degrees(vectors), shifts=np.full((t.series.n_images, 2), 0.5),
        scale=np.ones(t.series.n_images), background=np.zeros(t.series.n_images),
        r_factor_per_image=np.linspace(0.1, 0.2, t.series.n_images),
    )  # fmt: skip
    seen = atom_residuals(replace(t.series, projections=exact), t.refined, fitted)
    assert_allclose(seen.calculated, seen.measured, atol=1e-3 * exact.max())


def test_atoms_can_be_colored_by_their_standard_error_and_confidence():
    atoms = small_tomography().refined
    coloring = {c["key"]: c for c in viewer_data(atoms)["colorings"]}
    expected = 100 * np.linalg.norm(atoms.arrays["position_sigma"], axis=1)
    assert_allclose(coloring["sigma"]["values"], expected, atol=0.02)
    assert coloring["sigma"]["unit"] == "pm"
    assert_allclose(coloring["confidence"]["values"], atoms.arrays["species_confidence"], atol=0.01)


def test_maxima_of_noise_on_the_page_are_those_of_the_record():
    t = small_tomography()
    table = trace_section(replace(t.trace, n_noise=t.trace.n_above + 2.0), None, None, ()).tables[0]
    assert [row[2] for row in table.rows] == [f"{n + 2:,.1f}" for n in t.trace.n_above]
    assert "fewer than are false" in table.note


def test_images_with_a_camera_level_are_those_of_the_fit():
    t = small_tomography()
    level = 3.0 * float(t.series.projections.max())
    seen = atom_residuals(
        replace(t.series, projections=t.series.projections + np.float32(level)),
        t.refined,
        replace(t.refinement, background=t.refinement.background + level),
    )
    found = np.abs(seen.measured - seen.calculated).sum(axis=(1, 2)) / np.abs(seen.measured).sum(axis=(1, 2))
    assert_allclose(found, t.refinement.r_factor_per_image[typical_images(seen.r_factor)], rtol=1e-3)
    assert seen.is_of_the_fit
