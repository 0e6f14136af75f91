"""What the page and the Methods paragraph say of corrections by hand, fitted images, unknown species and confidence.

Truth: the records of a small simulated run, and corrections of its atoms.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from small_tomography import CORRECTIONS, small_tomography, truth

from aet2dft.cli.recon_summaries import classify_lines, verify_lines
from aet2dft.html_report.atom_sections import classify_section, refine_section, trace_section, verify_section
from aet2dft.html_report.edit_section import MAX_ROWS, edit_section
from aet2dft.html_report.image_gates import image_gates
from aet2dft.html_report.methods import methods
from aet2dft.html_report.summary import tiles
from aet2dft.html_report.tomography import Tomography, last_fit, tomography_sections
from aet2dft.html_report.volume_section import has_wedge, reconstruct_section, slices_picture
from aet2dft.recon.atoms.edits import Edit, edit
from aet2dft.recon.verification.round_trip import Chain, verify


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


def test_a_volume_is_said_to_fit_noise_only_where_it_lies_below_what_noise_gives():
    t = small_tomography()
    for factor, said in ((1.5, False), (0.5, True)):
        noise = np.full(t.series.n_images, t.reconstruction.r_factor / factor)
        section = reconstruct_section(t.series, t.volume, t.reconstruction, None, None, (), noise=noise)
        caption = next(p.caption for p in section.pictures if p.name == "volume-images")
        assert ("fit noise" in caption, "does not explain" in caption) == (said, not said)


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
    t = small_tomography()
    for n_rejected in (0, 3):
        seen = replace(t, classification=replace(t.classification, n_rejected=n_rejected), verification=None)
        said = [
            classify_section(t.classified, seen.classification, ()).text,
            paragraph(seen),
            " ".join(tile.detail for tile in tiles(t.refined, None, None, None, seen)),
            " ".join(classify_lines(t.classified, seen.classification)),
        ]
        assert [("if all" in text) for text in said] == [n_rejected == 0] * 4
