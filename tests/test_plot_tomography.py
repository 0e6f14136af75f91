"""Numbers in the artists of the figures between images and atoms.

Truth: the records of a small simulated run that are drawn, and records made up for what that run does not show.
"""

from __future__ import annotations

from dataclasses import replace

import matplotlib as mpl
import numpy as np
import pytest
from ase import Atoms
from matplotlib import pyplot
from numpy.testing import assert_allclose
from small_tomography import TILTS, small_tomography, truth

from aet2dft import plot
from aet2dft.plot.matches import boundaries
from aet2dft.plot.tilt_images import typical_images
from aet2dft.recon.atoms.simulate import simulate_images
from aet2dft.recon.metrics import ShellCorrelation
from aet2dft.recon.tilt_series import Volume
from aet2dft.recon.verification.round_trip import verify


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    pyplot.close("all")


def texts(ax) -> str:
    """All texts of an Axes."""
    return " | ".join([ax.get_title("left"), ax.get_title(), *(text.get_text() for text in ax.texts)])


def legend(ax) -> str:
    """Labels of the legend of an Axes."""
    return " | ".join(text.get_text() for text in ax.get_legend().get_texts())


def line(ax, label):
    """Data (2, n) of the line whose label starts so."""
    return np.array(next(line for line in ax.lines if str(line.get_label()).startswith(label)).get_data())


def spot(at, *, shape=(40, 44, 48), voxel_size=0.4):
    """A volume with one Gaussian atom at a place in Å."""
    volume = Volume(values=np.ones(shape), voxel_size=voxel_size, origin=np.zeros(3))
    indices = np.moveaxis(np.indices(shape), 0, -1)
    distance = np.square(volume.positions(indices) - at).sum(axis=-1)
    return replace(volume, values=np.exp(-0.5 * distance / 0.6**2))


def test_slices_show_an_atom_where_it_is_and_a_ring_around_it():
    at = np.array([1.6, -2.0, 0.8])
    atoms = Atoms("Pt2X", positions=at + np.array([(0.0, 0.0, 0.0), (0.0, 0.0, 3.0), (3.0, 0.0, 0.5)]))
    axes = plot.plot_slices(spot(at), atoms).ravel()
    for panel, (across, up), inside in zip(axes, ((0, 1), (0, 2), (1, 2)), ([0, 2], [0, 1, 2], [0, 1]), strict=True):
        picture = panel.images[0]
        left, right, bottom, top = picture.get_extent()
        values = picture.get_array()
        row, column = np.unravel_index(values.argmax(), values.shape)
        place = (
            left + (column + 0.5) * (right - left) / values.shape[1],
            bottom + (row + 0.5) * (top - bottom) / values.shape[0],
        )
        assert_allclose(place, at[[across, up]], atol=1e-6)
        assert_allclose(panel.collections[0].get_offsets(), atoms.positions[inside][:, [across, up]])
        assert f"{len(inside)} atoms within ±0.7 Å" in texts(panel)
    names = {text.get_text() for text in axes[0].figure.legends[0].get_texts()}
    assert names == {"Pt", "of unknown species"}  # whether candidates or refined
    colors = axes[0].collections[0].get_edgecolor()
    assert_allclose(colors[0], mpl.colors.to_rgba(plot.style.BLUE))
    assert not np.allclose(colors[0], colors[1])


def test_slices_go_through_a_layer_of_atoms_and_not_between_two_bright_ones():
    layers = np.array([-1.2, 0.8])
    sites = np.stack(np.meshgrid((-4.0, 0.0, 4.0), (-4.0, 0.0, 4.0), layers), axis=-1).reshape(-1, 3)
    volume = spot(np.zeros(3))
    # a bright place between the layers
    volume = replace(volume, values=volume.values + sum(0.1 * spot(site).values for site in sites))
    assert texts(plot.plot_slices(volume).ravel()[0]).startswith("z = 0")
    assert texts(plot.plot_slices(volume, Atoms("Pt18", positions=sites)).ravel()[0]).startswith("z = 0.8")


def test_slices_go_through_the_point_that_is_asked_for():
    axes = plot.plot_slices(spot(np.zeros(3)), at=(0.4, 0.8, -0.4), smoothing=0.0).ravel()
    assert [texts(panel).split(" Å")[0] for panel in axes] == [" | z = −0.4"[3:], "y = 0.8", "x = 0.4"]
    assert axes[0].images[0].get_array().max() == pytest.approx(np.exp(-0.5 * (0.4 / 0.6) ** 2), rel=1e-5)


def test_slices_of_a_dark_volume_are_drawn():
    empty = Volume(values=np.zeros((6, 7, 8)), voxel_size=0.4, origin=np.zeros(3))
    assert plot.plot_slices(empty).shape == (1, 3)


def test_convergence_shows_misfit_and_left_out_images_and_where_it_stopped():
    record = small_tomography().reconstruction
    ax = plot.plot_convergence(record)
    assert_allclose(line(ax, "misfit")[1], record.misfit)
    assert_allclose(line(ax, "R factor of 1 left-out"), [record.trial.iteration, record.trial.r_free])
    assert f"stopped after {record.iterations} iterations, R = {record.r_factor:.3f}" in texts(ax)
    alone = plot.plot_convergence(replace(record, trial=None))
    assert "left-out" not in legend(alone)
    assert "no iterations" in texts(plot.plot_convergence(replace(record, misfit=np.zeros(0))))


def test_refinement_shows_every_step_and_where_atoms_changed():
    record = small_tomography().refinement
    history = np.array([(0, 0, 0.3, 0.35), (0, 1, 0.2, 0.3), (1, 0, 0.15, 0.31), (2, 0, 0.14, np.nan)])
    ax = plot.plot_refinement(replace(record, history=history))
    assert_allclose(line(ax, "fitted")[1], history[:, 2])
    assert_allclose(line(ax, f"{len(record.held_out)} held-out")[1], history[:, 3])
    assert [entry.get_xdata()[0] for entry in ax.lines if entry.get_linestyle() == ":"] == [1.5, 2.5]
    without = plot.plot_refinement(replace(record, history=np.where(np.arange(4) == 3, np.nan, history)))
    assert "held-out" not in legend(without)


@pytest.mark.parametrize("free", [(0.2, 0.25, 0.3, 0.4), (0.5, 0.3, 0.3, 0.5), (0.2, 0.2, 0.2, 0.2)])
def test_the_legend_of_a_refinement_covers_no_point(free):
    history = np.array([(0, k, 0.35 - 0.05 * k, value) for k, value in enumerate(free)])
    ax = plot.plot_refinement(replace(small_tomography().refinement, history=history))
    ax.figure.canvas.draw()
    highest = max(ax.transData.transform(entry.get_xydata())[:, 1].max() for entry in ax.lines)
    assert highest < ax.get_legend().get_window_extent().y0


def test_shell_correlation_names_the_resolution_at_both_levels():
    frequency = np.linspace(0.05, 1.0, 20)
    shells = ShellCorrelation(frequency=frequency, correlation=1.0 - frequency, n_values=np.ones(20, dtype=int))
    ax = plot.plot_fsc(shells)
    assert "0.5: 2.00 Å" in texts(ax)
    assert f"0.143: {1 / 0.857:.2f} Å" in texts(ax)
    assert "(1/Å)" in ax.get_xlabel()
    perfect = plot.plot_fsc(replace(shells, correlation=np.ones(20)))
    assert "0.5: beyond 1.00 Å" in texts(perfect)


def test_coverage_is_gray_where_no_image_measures():
    record = small_tomography().reconstruction.coverage
    wedge, shells = plot.plot_coverage(record).ravel()
    drawn = wedge.images[0].get_array()
    assert_allclose(drawn.mask, (record.n_near == 0).T)
    middle = record.n_near.shape[0] // 2
    # the beam of an image at zero tilt runs along z: the wedge lies around q_z, up in the picture
    assert drawn.mask[-8:, middle - 2 : middle + 3].all()
    assert not drawn.mask[middle - 8 : middle + 9, -8:].all()
    assert_allclose(shells.lines[0].get_ydata(), 100 * record.completeness)
    assert f"{100 * record.missing_fraction:.0f} % of all frequencies" in texts(shells)


def test_images_are_ordered_by_their_r_factor_and_bad_ones_flagged():
    t = small_tomography()
    r_factor = np.full(len(TILTS), 0.1) + 1e-3 * np.arange(len(TILTS))
    r_factor[5] = 0.4
    which = typical_images(r_factor)
    assert which.tolist() == [0, 8, 5]
    three = t.series.subset(which).projections
    model = simulate_images(truth(), t.series.rotations[which], shape=(48, 48), pixel_size=t.series.pixel_size)
    axes = plot.plot_image_residuals(
        TILTS, r_factor, three, model, pixel_size=0.3725, noise=np.full(len(TILTS), 0.09), held_out=np.array([3])
    )
    assert_allclose(line(axes[0], "above 0.16"), [[TILTS[5]], [0.4]])
    assert len(line(axes[0], "image")[0]) == len(TILTS) - 1
    assert_allclose(line(axes[0], "held out"), [[TILTS[3]], [r_factor[3]]])
    assert_allclose(line(axes[0], "noise alone")[1], 0.09)
    assert_allclose(axes[9].images[0].get_array(), (three[2] - model[2]).T)
    assert "worst: image 5" in axes[7].get_ylabel()
    assert [(mark.get_text(), mark.xyann) for mark in axes[0].texts] == [("b", (0, 7)), ("m", (0, 7)), ("w", (0, 7))]
    above = np.where(np.arange(len(TILTS)) == 5, 0.5, 0.09)
    axes = plot.plot_image_residuals(TILTS, r_factor, three, model, pixel_size=0.3725, noise=above)
    assert [mark.xyann[1] for mark in axes[0].texts] == [7, 7, -7]  # not onto the line of noise
    explained = plot.plot_r_factors(TILTS, 0.01 * r_factor)
    assert "above" not in legend(explained)


def test_an_image_without_the_atoms_is_marked_and_neither_the_worst_nor_part_of_the_curves():
    r_factor = np.where(np.arange(len(TILTS)) == 5, np.nan, 0.1 + 1e-3 * np.arange(len(TILTS)))
    assert typical_images(r_factor).tolist() == [0, 7, len(TILTS) - 1]
    ax = plot.plot_r_factors(TILTS, r_factor, noise=np.where(np.isnan(r_factor), 0.9, 0.09))
    assert line(ax, "does not show the atoms")[0].tolist() == [TILTS[5]]
    assert len(line(ax, "image")[0]) == len(TILTS) - 1
    assert_allclose(line(ax, "noise alone")[1], 0.09)
    assert "above" not in legend(ax)


def test_one_blank_image_does_not_hide_how_the_others_differ():
    r_factor = np.where(np.arange(len(TILTS)) == 5, 26.6, 0.1)
    ax = plot.plot_r_factors(TILTS, r_factor, noise=0.9 * r_factor)
    assert ax.get_ylim()[1] < 2.2
    assert line(ax, "above")[1].tolist() == [1.5]
    assert ax.get_ylabel() == "R factor, or 1.5 if higher"


def test_intensities_are_counted_by_class_with_the_boundaries_between():
    t = small_tomography()
    record, atoms = t.classification, t.classified
    rejected = replace(
        record.rejected, positions=np.zeros((3, 3)), intensities=np.array([0.1, 0.2, 0.3]), confidence=np.ones(3)
    )
    wide = replace(
        record, rejected=rejected, n_rejected=3, has_non_atoms=True, mean_confidence=0.987,
        means=np.append(0.2, record.means), sigmas=np.append(0.1, record.sigmas),
        weights=np.append(0.02, record.weights),
    )  # fmt: skip
    ax = plot.plot_intensity_histogram(atoms, wide)
    assert f"no atom, n = 3 | Fe, n = {record.composition['Fe']} | Pt, n = {record.composition['Pt']}" in legend(ax)
    assert "3 are none; 1.30 % misassigned" in texts(ax)
    drawn = [entry.get_xdata()[0] for entry in ax.lines if entry.get_linestyle() == "--"]
    assert_allclose(drawn, boundaries(wide))
    outlines = [patch.get_xy() for patch in ax.patches if not patch.get_fill()]
    assert [int(outline[1:-1:2, 1].sum()) for outline in outlines] == [
        3,
        *(record.composition[s] for s in ("Fe", "Pt")),
    ]


def test_the_legend_of_the_classes_hides_no_boundary():
    """Truth: as many populations as there may be, with boundaries all over the panel."""
    t = small_tomography()
    n = 5
    wide = replace(
        t.classification, species=("X",) * n, means=np.linspace(0.3, 1.1, n), sigmas=np.full(n, 0.05),
        weights=np.full(n, 0.2),
    )  # fmt: skip
    ax = plot.plot_intensity_histogram(t.classified, wide)
    ax.figure.canvas.draw()
    hidden = ax.get_legend().get_window_extent()
    assert len(ax.texts) == n - 1
    assert not any(hidden.overlaps(text.get_window_extent()) for text in ax.texts)
    dashed = [line for line in ax.lines if line.get_linestyle() == "--"]
    assert not any(hidden.overlaps(line.get_window_extent()) for line in dashed)


def test_the_boundary_of_two_equal_populations_lies_halfway():
    record = small_tomography().classification
    equal = replace(record, means=np.array([1.0, 3.0]), sigmas=np.array([0.2, 0.2]), weights=np.array([0.5, 0.5]))
    assert_allclose(boundaries(equal), [2.0], atol=2e-3)
    rare = replace(equal, weights=np.array([0.9, 0.1]))
    assert boundaries(rare)[0] == pytest.approx(2.0 + 0.04 * np.log(9) / 2, abs=2e-3)


def test_populations_without_elements_are_numbered():
    t = small_tomography()
    unknown = Atoms(f"X{len(t.classified)}", positions=t.classified.positions, tags=t.classified.get_tags())
    ax = plot.plot_intensity_histogram(unknown, replace(t.classification, species=("X", "X")))
    assert "population 1, n" in legend(ax)
    assert "population 2, n" in legend(ax)


def test_errors_of_matched_atoms_are_in_picometers_by_species():
    model = truth()
    moved = model.copy()
    moved.positions[::2, 0] += 0.1
    moved.positions[5, 1] += 0.4
    found, record = verify(moved[:-2], truth=model)
    errors, fraction, rmsd = plot.plot_verification(found, record).ravel()
    assert f"rmsd {100 * record.match.rmsd:.1f} pm, n = {len(model) - 2}" in texts(errors)
    for symbol in record.match.rmsd_of:
        assert f"found as {symbol}, n = " in legend(errors)
    assert errors.get_xlabel().endswith("farther, in the last bin: 1")
    assert errors.get_legend().get_frame_on()  # the line of the rmsd does not run through it
    assert_allclose(fraction.lines[0].get_ydata(), 100 * record.profile.fraction_identified)
    assert_allclose(rmsd.lines[0].get_ydata(), 100 * record.profile.rmsd)
    assert all("Å" in ax.get_xlabel() for ax in (fraction, rmsd))


def test_models_without_an_atom_in_common_are_said_not_drawn():
    model = truth()
    far = model.copy()
    far.positions += 3.0 * np.random.default_rng(0).normal(size=(len(far), 3)) + 500.0
    _, record = verify(far, truth=model)
    if len(record.match.pairs):
        nothing = record.match.pairs[:0]
        record = replace(record, match=replace(record.match, pairs=nothing, differences=np.zeros((0, 3)), rmsd=np.nan))
    assert "no atom matches" in texts(plot.plot_verification(far, record).flat[0])


def test_figures_of_tomography_leave_the_settings_of_the_user_alone():
    t = small_tomography()
    before = dict(mpl.rcParams)
    plot.plot_slices(t.volume, t.refined)
    plot.plot_convergence(t.reconstruction)
    plot.plot_coverage(t.reconstruction.coverage)
    plot.plot_intensity_histogram(t.classified, t.classification)
    plot.plot_refinement(t.refinement)
    plot.plot_verification(t.found, t.verification)
    assert dict(mpl.rcParams) == before
