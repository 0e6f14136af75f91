"""What the page and the Methods paragraph say of corrections by hand, fitted images, unknown species and confidence.

Truth: the records of a small simulated run, and corrections of its atoms.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from run_tables import synthetic_runs
from small_tomography import CORRECTIONS, small_tomography, truth

from aet2dft.cli.recon_summaries import (
    classify_lines,
    plan_lines,
    reconstruct_lines,
    trace_lines,
    verify_lines,
    workload_line,
)
from aet2dft.cli.summaries import collect_lines, run_forecast_lines
from aet2dft.dft_inputs.run_forecast import RunForecast
from aet2dft.html_report.atom_sections import classify_section, refine_section, trace_section, verify_section
from aet2dft.html_report.edit_section import MAX_ROWS, edit_section
from aet2dft.html_report.image_gates import image_gates
from aet2dft.html_report.methods import methods
from aet2dft.html_report.summary import sentence, tiles
from aet2dft.html_report.tomography import Tomography, last_fit, tomography_sections
from aet2dft.html_report.volume_section import has_wedge, reconstruct_section, slices_picture
from aet2dft.recon.atoms.edits import Edit, edit
from aet2dft.recon.images.conventions import ConventionCheck
from aet2dft.recon.verification.chain import Chain
from aet2dft.recon.verification.round_trip import verify


def paragraph(tomography, atoms=None):
    """The Methods paragraph."""
    given = {"order": None, "runs": None, "comparison": None, "inputs": None, "settings": {}}
    return methods(atoms=atoms, tomography=tomography, **given).paragraph


def test_corrections_by_hand_are_listed_and_r_factors_before_them_are_not_those_of_the_atoms():
    t = small_tomography()
    atoms, log = edit(t.refined, CORRECTIONS)
    before = replace(t, corrections=log, corrected_after_fit=True, verification=None)
    verified = replace(before, verification=replace(t.verification, r_factor=0.7))
    by_hand = "1 added, 1 removed, 1 moved, 1 given another species"
    fit = last_fit(before)
    assert (fit.model, fit.r_free) == ("atoms before the corrections", None)
    assert (last_fit(verified).model, last_fit(verified).r_factor) == ("corrected atoms", 0.7)
    found = {tile.label: tile for tile in tiles(atoms, None, None, None, verified)}
    assert found["Atoms"].detail.endswith(by_hand)
    assert (found["R factor"].value, "R factor, left out" in found) == ("0.700", False)
    assert {light.name: light.level for light in image_gates(verified, atoms)}["R factor"] == "poor"
    old, both = (f"{t.refinement.r_factor_after:.3f}", "The R factor is 0.700 with the corrections")
    assert f"corrected by hand ({by_hand}). {both}, {old} before." in paragraph(verified, atoms)
    of_candidates = paragraph(replace(t, corrections=log))
    assert of_candidates.index("by hand") < of_candidates.index("Positions and heights")
    images = next(light for light in image_gates(before, atoms) if light.name == "images")
    assert images.reason.endswith("; of the atoms before the corrections")
    only_fit = Tomography(
        series=t.series, refined=t.refined, refinement=t.refinement, corrections=log, corrected_after_fit=True
    )
    fit_of_others = tomography_sections(only_fit, atoms, {})["refine"]
    for said in (fit_of_others.text, fit_of_others.tables[0].title, fit_of_others.pictures[1].caption):
        assert "before the corrections by hand" in said
    section = edit_section(log, before.corrected_r_factors, ())
    assert f"{old}, is that before the corrections" in section.text
    assert section.tables[0].rows[0] == ("added", "Fe", str(len(t.refined) + 1), "2", "0.00", "0.00", "20.00", "–")
    assert section.tables[0].rows[3][:2] == ("given another species", f"{t.refined.symbols[2]} → Ag")
    assert float(section.tables[0].rows[2][-1]) == pytest.approx(
        np.linalg.norm(t.refined.positions[1] - (0, 20, 0)), abs=0.01
    )
    _, many = edit(t.refined, [Edit(line=k, action="remove", site_id=k) for k in range(1, MAX_ROWS + 3)])
    table = edit_section(many, (None, None), ()).tables[0]
    assert (len(table.rows), table.note.startswith(f"The first {MAX_ROWS} of {MAX_ROWS + 2}.")) == (MAX_ROWS, True)
    assert edit_section(edit(t.refined, [])[1], (None, None), ()).text == "Nothing was corrected."


def test_shifts_and_turns_of_images_that_were_fitted_are_said_and_listed():
    t = small_tomography()
    n = t.series.n_images
    shifts, turns = np.zeros((n, 2)), np.zeros((n, 3))
    shifts[3], turns[5] = (3.0, -4.0), (0.0, 0.0, 2.0)
    fitted = replace(t, refinement=replace(t.refinement, shifts=shifts, rotations=turns))
    said = f"each of the {n} images were fitted as well: {5 / n**0.5:.2f} pixels and {2 / n**0.5:.2f}° (rms)"
    section = refine_section(None, t.refined, fitted.refinement, ())
    table = next(table for table in section.tables if table.title == "Shifts and turns of the images")
    assert said in section.text
    assert said in paragraph(fitted)
    assert table.rows[0][:3] == ("3", "3.00", "−4.00")
    assert all(len(row) == len(table.header) for row in table.rows)
    assert "shifts" not in paragraph(t)
    assert len(refine_section(None, t.refined, t.refinement, ()).tables) == len(section.tables) - 1


def test_where_species_are_unknown_nothing_is_said_of_right_ones(monkeypatch):
    t = small_tomography()
    unknown = t.refined.copy()
    unknown.numbers[:] = 0
    monkeypatch.setattr("aet2dft.recon.verification.round_trip.run_chain", lambda *_, **__: unknown)
    cases = (
        verify(unknown, truth=truth()),
        verify(t.refined, truth=unknown),
        verify(unknown, series=t.series, chain=Chain()),
    )
    for found, record in cases:
        section = verify_section(found, record, ())
        seen = Tomography(found=found, verification=record)
        rows = [row[0] for row in section.tables[0].rows]
        for text in (section.text, " ".join(rows), paragraph(seen), " ".join(verify_lines(found, record))):
            assert "by position alone" in text
            assert "right species" not in text
        assert any("by their positions alone" in warning for warning in section.warnings)
    assert "with the right species" in paragraph(t)
    assert "with the right species" in verify_section(t.found, t.verification, ()).text


def test_confidence_and_species_are_those_that_refined_heights_decided():
    t = small_tomography()
    fitted = replace(t.refinement, composition_before={"Fe": 40, "Pt": 1000}, n_species_changed=7)
    seen = replace(
        t, refinement=fitted, classification=replace(t.classification, mean_confidence=0.5), verification=None
    )
    after = ", ".join(f"{(t.refined.symbols == symbol).sum()} {symbol}" for symbol in ("Fe", "Pt"))
    mean = f"{100 * t.refined.arrays['species_confidence'].mean():.2f} %"
    for text in (refine_section(None, t.refined, fitted, ()).text, paragraph(seen)):
        assert f"40 Fe, 1,000 Pt came in, {after} are the result (mean confidence {mean}); 7 of those" in text
    assert next(tile.value for tile in tiles(t.refined, None, None, None, seen) if tile.label == "Confidence") == mean
    alike = t.refined.copy()
    for number, confidence, told in ((14, 0.9, False), (0, 0.9, True), (0, 1.0, False)):  # 0: populations
        alike.numbers[:], alike.arrays["species_confidence"][:] = number, confidence
        assert ("Confidence" in {tile.label for tile in tiles(alike, None, None, None, seen)}) is told
    one = replace(fitted, composition_before={"Si": 40})
    assert "species again" not in refine_section(None, t.refined, one, ()).text


def test_faint_maxima_are_said_to_be_so_in_the_joint_fit():
    t = small_tomography()
    maxima = t.trace.rejected
    for reason, said in (("faint", True), ("left the box", False)):
        rejected = replace(maxima, positions=np.zeros((1, 3)), heights=np.ones(1), reasons=np.array([reason]))
        table = trace_section(replace(t.trace, rejected=rejected), None, None, ()).tables[1]
        assert ("once neighbors were fitted together" in table.note) is said


def test_a_missing_wedge_is_spoken_of_only_where_one_is():
    t = small_tomography()
    around = replace(t.series, tilt_angles=np.linspace(-90, 90, t.series.n_images))
    assert (has_wedge(t.series), has_wedge(around)) == (True, False)
    assert "missing wedge" not in slices_picture(t.volume, None, wedge=False).caption


def test_rings_are_spoken_of_only_where_atoms_are_and_are_of_the_images_of_the_volume():
    t = small_tomography()
    for atoms, moved_since, said, unsaid in (
        (None, True, "spots that are drawn out along", "ring"),
        (t.refined, False, "bright spots without a ring", "moved"),
        (t.refined, True, "moved the images after this volume was made of them", "without a"),
    ):
        caption = slices_picture(t.volume, atoms, moved_since=moved_since).caption
        assert (said in caption, unsaid in caption) == (True, False)


@pytest.mark.parametrize("foreign", [False, True])
def test_images_that_were_visibly_moved_since_are_said_where_the_volume_is_shown(foreign, monkeypatch):
    """Truth: shifts of a tenth and of one pixel; the others are those of the small run, which fitted none."""
    t, told = small_tomography(), []
    which = "trace" if foreign else "reconstruct"
    make = f"aet2dft.html_report.tomography.{which}_section"
    monkeypatch.setattr(make, lambda *_, moved_since, **__: told.append(moved_since))
    for shift in (0.0, 0.1, 1.0):
        shifts = np.full((t.series.n_images, 2), shift / 2**0.5)
        seen = Tomography(
            series=t.series, volume=t.volume, trace=t.trace, refinement=replace(t.refinement, shifts=shifts),
            reconstruction=None if foreign else t.reconstruction,
        )  # fmt: skip
        tomography_sections(seen, t.refined, {})
    assert told == [False, False, True]


def test_a_volume_is_said_to_fit_noise_only_where_it_lies_below_what_noise_gives():
    t = small_tomography()
    for factor, said in ((1.5, False), (0.5, True)):
        noise = np.full(t.series.n_images, t.reconstruction.r_factor / factor)
        section = reconstruct_section(t.series, t.volume, t.reconstruction, None, None, (), noise=noise)
        caption = next(p.caption for p in section.pictures if p.name == "volume-images")
        assert ("fit noise" in caption, "does not explain" in caption) == (said, not said)
    none = replace(t.reconstruction, r_factor=4e-4, r_factor_per_image=np.full(t.series.n_images, 4e-4))
    noise = np.full(t.series.n_images, 9.8e-4)
    section = reconstruct_section(t.series, t.volume, none, None, None, (), noise=noise)
    caption = next(p.caption for p in section.pictures if p.name == "volume-images")
    assert "as low as can be told" in caption
    assert "fit noise" not in caption
    rows = dict(section.tables[0].rows)
    assert (rows["R factor of all images"], rows["that noise alone gives, about"]) == ("0.0004", "0.00098")


def test_populations_without_elements_are_counted_by_their_number():
    t = small_tomography()
    n_fe, n_pt = ((t.classified.symbols == symbol).sum() for symbol in ("Fe", "Pt"))
    blank = t.classified.copy()
    blank.numbers[:] = 0
    unnamed = replace(t.classification, species=("X", "X"), composition={"X": len(blank)})
    for atoms, result, listed in (
        (t.classified, t.classification, f"{n_fe} Fe, {n_pt} Pt"),
        (blank, unnamed, f"{n_fe} of population 1, {n_pt} of population 2"),
    ):
        assert classify_lines(atoms, result)[0].startswith(f"{listed}; ")
        assert f"populations: {listed}; " in classify_section(atoms, result, ()).text


def test_classes_that_the_elements_decided_are_not_said_to_be_those_of_the_criterion():
    t, chosen = small_tomography(), "2 classes were taken (non-atoms, Pt): species lie apart."
    assert "with the number of populations from the information criterion [Schwarz 1978]; " in paragraph(t)
    result = replace(t.classification, choice=chosen, information={"1": 9.0, "2": -3.0, "3": -5.0})
    text = paragraph(replace(t, classification=result))
    assert f"out; 3 populations have the lowest information criterion [Schwarz 1978]. {chosen} In all, " in text
    assert "number of populations from" not in text


def test_confidence_where_no_candidate_was_rejected_holds_if_all_are_atoms():
    t = replace(small_tomography(), refined=None, refinement=None, verification=None)
    for n_rejected in (0, 3):
        seen = replace(t, classification=replace(t.classification, n_rejected=n_rejected))
        said = [
            classify_section(t.classified, seen.classification, ()).text,
            paragraph(seen),
            " ".join(tile.detail for tile in tiles(t.classified, None, None, None, seen)),
            " ".join(classify_lines(t.classified, seen.classification)),
        ]
        assert [("if all" in text) for text in said] == [n_rejected == 0] * 4


def test_confidence_of_refined_atoms_is_not_that_of_all_candidates():
    """Truth: refinement drops candidates that are no atoms, of which `classify` rejected none."""
    t = replace(small_tomography(), verification=None)
    seen = replace(t, classification=replace(t.classification, n_rejected=0))
    tile = next(tile for tile in tiles(t.refined, None, None, None, seen) if tile.label == "Confidence")
    assert tile.detail == "mean over the species of the atoms"


def test_one_image_one_candidate_and_one_convention_are_not_spoken_of_as_many():
    """Truth: a single image, tilts of zero, and numbers of one."""
    t = small_tomography()
    one = t.series.subset(np.array([0]))
    alone = replace(
        t, series=one, refinement=None, verification=None,
        reconstruction=replace(
            t.reconstruction, r_factor_per_image=t.reconstruction.r_factor_per_image[:1],
            background=t.reconstruction.background[:1],
        ),
    )  # fmt: skip
    check = ConventionCheck(
        names=("as given",), r_factor=np.array([0.3]), fits_better=np.zeros(1), indistinguishable=(), binning=2
    )
    said = reconstruct_lines(one, t.volume, alone.reconstruction, check)
    assert said[0].startswith("1 image at -66.0 degrees; volume")
    assert not any("convention" in line for line in said)
    assert sentence(None, None, None, None, alone).startswith("1 image at −66.0°, which the volume explains")
    text = paragraph(alone)
    assert text.startswith("1 image with a tilt of −66.0° and pixels of 0.3725 Å was reconstructed")
    noise = np.full(1, 0.1)
    section = reconstruct_section(one, t.volume, alone.reconstruction, check, None, (), noise=noise)
    assert section.text.startswith("1 image of 48 × 48 pixels")
    assert "tilt −66.0°, became" in section.text
    assert not any(table.title.startswith("Conventions") for table in section.tables)
    flat = replace(t.series, tilt_angles=np.zeros(14), rotations=np.tile(one.rotations, (14, 1, 1)))
    assert reconstruct_lines(flat, t.volume, t.reconstruction)[0].startswith("14 images, 0.0 to 0.0 degrees;")
    once = reconstruct_lines(one, t.volume, replace(alone.reconstruction, iterations=1), check)[1]
    assert once.startswith(f"{t.reconstruction.algorithm}, 1 iteration of ")
    names = ("algorithm", "reason", "predicted_seconds", "predicted_memory_mb", "predicted_peak_memory_mb")
    planned = {"shape": [9, 9, 9], "n_projections": 1} | dict.fromkeys(names, 1.0)
    assert " voxels from 1 image: " in plan_lines(planned)[0]
    rejected = classify_lines(t.classified, replace(t.classification, n_rejected=1))[0]
    assert rejected.endswith("; 1 candidate is no atom")
    found = replace(t.trace, n_atoms=1, n_candidates=1, n_split=1)
    assert trace_lines(found)[0].startswith("1 candidate from 1 maximum (1 of them two atoms) above")
    assert "; 1 of the maxima is two atoms. At" in trace_section(found, None, None, ()).text


def test_the_time_of_a_refinement_is_not_said_to_be_the_most():
    line = workload_line({"predicted_seconds": 0.3, "predicted_memory_mb": 21.0})
    assert line == "about 1 s, longer where many atoms are missing; 21 MB besides the images"


def test_jobs_are_counted_with_commas():
    runs = synthetic_runs()
    jobs = replace(runs.jobs, job=np.full(4356, "x"))
    nothing = replace(runs.volumes, mae=np.full(len(runs.volumes.volume), np.nan))
    said = collect_lines(replace(runs, jobs=jobs, counts={"ok": 0, "missing": 4356}, volumes=nothing))
    assert said == ["4,356 jobs: 4,356 missing"]
    for n, counted in ((1, "1 job of up to"), (4356, "4,356 jobs of up to")):
        told = RunForecast(n_jobs=n, n_atoms=32, memory_mb=300.0, seconds=None)
        assert run_forecast_lines(told, 1)[0].startswith(counted)
