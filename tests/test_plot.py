"""Numbers in the artists of the figures.

Truth: the records that are drawn (the measured FePt particle of Yang et al., Nature 542, 75 (2017)), and synthetic
runs whose slope is known.
"""

from __future__ import annotations

from dataclasses import replace

import matplotlib as mpl
import numpy as np
import pytest
from ase import Atoms
from matplotlib import pyplot
from numpy.testing import assert_allclose
from run_tables import SLOPE, synthetic_runs

from aet2dft import plot
from aet2dft.dft_inputs.comparison import compare
from aet2dft.dft_inputs.nested_model import fit_nested, nested_mae
from aet2dft.errors import InputError
from aet2dft.html_report.dft_sections import results_section
from aet2dft.plot import style
from aet2dft.plot.grains import MAX_GRAINS
from aet2dft.structure.variants import ORDERED


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    pyplot.close("all")


def texts(ax) -> str:
    """All texts of an Axes."""
    return " | ".join([ax.get_title("left"), ax.get_title(), *(text.get_text() for text in ax.texts)])


def heights(ax, k=0):
    """Heights of the steps of the k-th histogram of an Axes."""
    outline = [patch for patch in ax.patches if len(patch.get_xy()) > 10][k].get_xy()
    return outline[1:-1:2, 1]


def all_plots(atoms, order):
    """Every figure of a particle, as calls."""
    chemical = order.chemical
    return [
        lambda: plot.plot_lattice_slices(atoms, order),
        lambda: plot.plot_grains(chemical, atoms),
        lambda: plot.plot_depth_profiles(chemical.profiles),
        lambda: plot.plot_recipes(chemical.recipes, window=chemical.window),
        lambda: plot.plot_displacements(atoms, order.lattices[0]),
        lambda: plot.plot_strain(atoms, order.strain),
        lambda: plot.plot_short_range_order(order.warren_cowley),
        lambda: plot.plot_jobs(synthetic_runs()),
        lambda: plot.plot_anisotropy(synthetic_runs()),
        lambda: plot.plot_anisotropy_map(synthetic_runs()),
        lambda: plot.plot_easy_axes(synthetic_runs()),
    ]


def test_plots_leave_the_settings_of_the_user_alone(fept_order):
    before = dict(mpl.rcParams)
    for draw in all_plots(*fept_order):
        draw()
    assert dict(mpl.rcParams) == before


def test_plots_draw_into_the_axes_they_are_given(fept_order):
    _, order = fept_order
    figure, axes = pyplot.subplots(3, 2)
    assert plot.plot_depth_profiles(order.chemical.profiles, ax=axes)[0, 0] is axes[0, 0]
    assert plot.plot_short_range_order(order.warren_cowley, ax=figure.add_subplot()).figure is figure
    with pytest.raises(InputError, match="3 x 2 panels, but 2 axes"):
        plot.plot_depth_profiles(order.chemical.profiles, ax=axes[0])


def test_layers_draw_every_atom_of_the_layer_once_in_the_color_of_its_species(fept_order):
    atoms, order = fept_order
    axes = plot.plot_lattice_slices(atoms, order, layers=5)
    for ax in axes.ravel()[:5]:
        layer = int(ax.get_title("left").split()[1].strip(",").replace("−", "-"))
        members = np.flatnonzero((atoms.arrays["lattice"] == 1) & (atoms.arrays["site"][:, 2] == layer))
        _, dots, _ = ax.collections
        assert_allclose(dots.get_offsets(), atoms.arrays["site"][members][:, :2])
        iron = np.all(np.isclose(dots.get_facecolor(), mpl.colors.to_rgba(style.VERMILION)), axis=1)
        assert iron.sum() == (atoms.numbers[members] == 26).sum()


def test_boundaries_part_neighbors_of_different_grains_and_no_others():
    from aet2dft.plot.layers import _boundary, _Layer

    site = np.array([(0, 0), (1, 1), (1, -1), (2, 0)], dtype=np.int32)
    layer = _Layer(members=np.arange(4), site=site, index=0)
    assert len(_boundary(layer, np.array([1, 1, 1, 1]))) == 0
    assert len(_boundary(layer, np.array([1, 0, 0, 2]))) == 0
    lines = _boundary(layer, np.array([1, 2, 1, 1]))
    # between (0, 0) and (1, 1), and between (1, 1) and (2, 0): both cross the bond in its middle
    assert_allclose(sorted(lines.mean(axis=1).tolist()), [[0.5, 0.5], [1.5, 0.5]])
    for line, bond in zip(sorted(lines.tolist()), ([1, 1], [1, -1]), strict=True):
        assert np.dot(np.subtract(*line), bond) == 0


def test_depth_profiles_show_the_bins_of_the_record_with_their_errors(fept_order):
    _, order = fept_order
    profiles = order.chemical.profiles
    axes = plot.plot_depth_profiles(profiles)
    for column, profile in zip(axes.T, profiles, strict=True):
        enough = profile.n >= 10
        points, _, (bars,) = column[0].containers[0]
        assert_allclose(points.get_ydata(), profile.fraction[enough])
        ends = np.array([segment[:, 1] for segment in bars.get_segments()])
        assert_allclose(0.5 * np.diff(ends, axis=1)[:, 0], profile.sigma[enough])
        assert [bar.get_height() for bar in column[2].patches] == profile.n.tolist()
    assert axes[2, 0].get_xlabel().endswith("(Å)")
    assert axes[0, 0].get_ylim()[0] == 0


def test_grains_carry_the_numbers_of_the_table_and_hollow_points_where_chance_makes_them(fept_order):
    atoms, order = fept_order
    doubtful = np.where(order.chemical.grains.grain == 7, 0.3, 1.0)
    chemical = replace(order.chemical, grains=replace(order.chemical.grains, significance=doubtful))
    sizes, bars, _ = plot.plot_grains(chemical, atoms).ravel()
    table = chemical.grains
    assert [int(line.get_xdata()[0]) for line in sizes.lines] == table.n_atoms.tolist()
    hollow = [int(g) for g, line in zip(table.grain, sizes.lines, strict=True) if line.get_markerfacecolor() == "none"]
    assert hollow == [7]
    assert_allclose([bar.get_width() for bar in bars.patches], table.order)
    assert bars.get_xlim()[0] == 0


def test_recipes_show_their_sizes_and_mark_the_one_in_use(fept_order):
    _, order = fept_order
    chemical = order.chemical
    ax = plot.plot_recipes(chemical.recipes, window=0.7)
    drawn = [bar.get_width() for bar in ax.patches]
    assert drawn == [size for recipe in chemical.recipes for size in recipe.sizes]
    bold = [label.get_text() for label in ax.get_yticklabels() if label.get_fontweight() == "bold"]
    assert bold == [f"σ 0.7, S ≥ {chemical.recipes[1].threshold:.2f}"]
    empty = plot.plot_recipes(tuple(replace(recipe, sizes=()) for recipe in chemical.recipes), window=0.7)
    assert not (empty.get_xticks() % 1).any()


def test_displacement_histograms_count_every_indexed_atom_in_range(fept_order):
    atoms, order = fept_order
    ax, arrows = plot.plot_displacements(atoms, order.lattices[0]).ravel()
    values = atoms.arrays["displacement"][atoms.arrays["lattice"] > 0]
    reach = np.percentile(np.abs(values), 99.5)
    for axis in range(3):
        assert heights(ax, axis).sum() == (np.abs(values[:, axis]) <= reach).sum()
    assert f"{1e2 * order.lattices[0].rms_displacement[3]:.1f} pm" in ax.get_legend().get_title().get_text()
    assert "(Å)" in ax.get_xlabel()
    assert "slab" in texts(arrows)


def test_strain_is_in_percent_with_its_noise(fept_order):
    atoms, order = fept_order
    axes = plot.plot_strain(atoms, order.strain)
    finite = np.isfinite(atoms.arrays["strain"][:, 0])
    core = finite & ~atoms.arrays["is_surface"]
    inside = np.abs(100 * atoms.arrays["strain"][core, 0]) <= axes[1, 0].get_xlim()[1]
    assert_allclose(heights(axes[1, 0]).sum(), inside.mean(), rtol=1e-6)
    assert f"{100 * order.strain.floor[0]:.2f} %" in texts(axes[1, 0])
    disks = np.ma.getdata(axes[0, 0].collections[0].get_offsets())
    assert (np.ptp(axes[0, 0].get_xlim()), np.ptp(axes[0, 0].get_ylim())) == pytest.approx(np.ptp(disks, axis=0) + 2.6)
    assert "(%)" in axes[1, 0].get_xlabel()
    low, high = axes[0, 0].collections[0].get_clim()
    assert low == -high


def test_short_range_order_draws_both_counts_with_errors_and_no_mean_of_few_centers(fept_order):
    pairs = tuple(replace(pair, n_full=np.array([99, 99, 99, 20, 19, 0])) for pair in fept_order[1].warren_cowley)
    ax = plot.plot_short_range_order(pairs)
    drawn = [line.get_ydata() for line in ax.lines if len(line.get_ydata()) == 6]
    half = [[np.ptp(bar[:, 1]) / 2 for bar in bars.get_segments() if len(bar)] for bars in ax.collections]
    for pair in pairs:
        assert any(np.allclose(y[:4], pair.full_shells[:4]) and np.isnan(y[4:]).all() for y in drawn)
        assert any(np.allclose(y, pair.all_atoms) for y in drawn)
        assert any(np.allclose(y[:4], pair.full_sigma[:4]) for y in half)
        assert any(np.allclose(y, pair.all_sigma) for y in half if np.size(y) == 6)


def test_short_range_order_has_the_colors_of_the_centers_and_markers_of_their_neighbors(fept_order):
    fe, pt = fept_order[1].warren_cowley
    pairs = [replace(fe, center=a, other=b) for a in ("Co", "Ni", "Pd") for b in ("Co", "Ni", "Pd") if a != b]
    ax = plot.plot_short_range_order((*pairs, fe, pt))
    drawn = {box.get_label().split(",")[0]: box.lines[0] for box in ax.containers}
    assert all(line.get_color() == style.species_color(name.split()[-1]) for name, line in drawn.items())
    markers = {(name.split()[0], line.get_marker()) for name, line in drawn.items()}
    assert len(markers) == len({marker for _, marker in markers}) == 5


def test_jobs_are_colored_by_status_and_volumes_without_jobs_are_gray():
    grid, times = plot.plot_jobs(synthetic_runs(failed=(3,), without_jobs=(5,))).ravel()
    picture = grid.images[0].get_array()
    assert picture.shape[:2] == (3, 60)
    assert_allclose(picture[2, 3, :3], mpl.colors.to_rgb(style.VERMILION))
    assert_allclose(picture[:, 5, 3], 0.18)
    assert "60 volumes, 177 jobs" in texts(grid)
    assert "(min)" in times.get_xlabel()


def test_more_volumes_than_fit_a_line_go_on_below():
    grid, _ = plot.plot_jobs(synthetic_runs((11, 11, 12), failed=(1451,))).ravel()
    picture = grid.images[0].get_array()
    red = np.all(np.isclose(picture[..., :3], mpl.colors.to_rgb(style.VERMILION)), axis=-1)
    # 1,452 volumes are 24 lines of 60 and one of 12; a line is 3 steps and a gap
    assert np.argwhere(red).tolist() == [[24 * 4 + 2, 11]]


def test_regression_finds_the_slope_that_was_put_in():
    ax = plot.plot_anisotropy(synthetic_runs())
    assert f"slope {SLOPE:.2f} ± 0.00" in texts(ax)
    assert "n = 60" in texts(ax)
    assert ax.get_ylabel() == "E[100] − E[001] (meV/atom)"


def test_the_mae_of_any_two_edges_of_the_cube_is_drawn_against_the_order_along_them():
    """Truth: MAE in proportion to the order along its own axes; that along the others is random."""
    runs = synthetic_runs((3, 2, 2))
    order = np.random.default_rng(0).uniform(0, 1, (12, 3))
    volumes = replace(runs.volumes, order=order, mae=SLOPE * (order[:, 1] - order[:, 0]))
    across = replace(runs, axes=("100", "010"), mae_axes=("100", "010"), volumes=volumes)
    ax = plot.plot_anisotropy(across)
    assert f"slope {SLOPE:.2f} ± 0.00 meV/atom, r = 1.00" in texts(ax)
    assert ax.get_xlabel() == "difference of L1$_0$ order |η$_y$| − |η$_x$|"
    assert replace(across, mae_axes=("010", "100")).order_difference == pytest.approx(-across.order_difference)
    # of other axes there is no order; of these neither, where a project from before kept the one difference alone
    for other in (replace(across, mae_axes=("110", "001")), replace(across, volumes=replace(volumes, order=None))):
        assert "no volume" in texts(plot.plot_anisotropy(other))
        assert "mae" not in {p.name for p in results_section(other, None, None, ()).pictures}
    assert replace(runs, volumes=replace(runs.volumes, order=None)).order_difference is runs.volumes.order_difference


def test_two_volumes_get_no_line():
    ax = plot.plot_anisotropy(synthetic_runs((1, 1, 2)), sigma=0.05)
    assert "slope" not in texts(ax)
    assert_allclose(np.ptp(ax.collections[0].get_segments()[0][:, 1]), 0.1)


def test_map_slices_are_the_middle_of_the_grid_on_a_scale_centered_at_zero():
    runs = synthetic_runs((3, 4, 5), failed=(0,))
    axes = plot.plot_anisotropy_map(runs).ravel()
    cube = runs.volumes.mae.reshape(3, 4, 5)
    for ax, values in zip(axes, (cube[:, :, 2], cube[:, 2, :], cube[1]), strict=True):
        image = ax.images[0]
        assert_allclose(image.get_array().filled(np.nan), values.T)
        assert image.get_clim() == (-np.nanmax(np.abs(cube)), np.nanmax(np.abs(cube)))


def test_map_slices_go_through_the_volumes_that_have_a_value():
    axes = plot.plot_anisotropy_map(synthetic_runs((5, 5, 5), failed=range(1, 125))).ravel()
    for ax, axis in zip(axes, "zyx", strict=True):
        assert np.isfinite(ax.images[0].get_array().filled(np.nan)).sum() == 1
        assert f"{axis}′ = 2 half cells" in texts(ax)


def test_copies_of_a_volume_count_once():
    runs = synthetic_runs((1, 1, 6))
    shared = replace(runs.volumes, same_as=np.array(["", "", *4 * ["v00000"]]))
    copied = replace(runs, volumes=shared)
    assert runs.volumes.mae_count == "6 volumes"
    assert shared.mae_count == "6 volumes (2 different)"
    ax = plot.plot_anisotropy(copied)
    assert "n = 6 (2 different)" in texts(ax)
    assert "slope" not in texts(ax)
    captions = {p.name: p.caption for p in results_section(copied, None, None, ()).pictures}
    assert "a line needs 3 volumes of different order." in captions["mae"]
    assert "6 volumes (2 different)" in captions["easy-axes"]


def test_grains_and_variants_that_are_drawn_together_differ_in_color():
    assert len({style.grain_color(k) for k in range(MAX_GRAINS + 1)}) == MAX_GRAINS + 1
    assert len(ORDERED) <= MAX_GRAINS


def test_easy_axes_count_volumes_with_a_result():
    ax = plot.plot_easy_axes(synthetic_runs(failed=(0, 59)))
    assert {t.get_text(): int(b.get_width()) for t, b in zip(ax.get_yticklabels(), ax.patches, strict=True)} == {
        "[001]": 29, "[100]": 29,
    }  # fmt: skip


def test_nested_curve_is_the_model():
    cells = np.arange(2, 8)
    mae = nested_mae(cells * 3.875, radius=8.0, k10=0.9, k12=0.05)
    fit = fit_nested(cells, mae, cubic_a=3.875)
    ax = plot.plot_nested(cells, mae, fit, cubic_a=3.875)
    curve = next(line for line in ax.lines if len(line.get_xdata()) == 200)
    assert_allclose(np.interp(cells * 3.875, *curve.get_data()), mae, atol=2e-3)
    assert "R = 8.0" in texts(ax)


def test_relaxation_counts_matched_atoms_wherever_they_are(fept):
    far = fept[np.argsort(fept.positions[:, 2])[-200:]]
    whole, part = fept.copy(), far.copy()
    whole.set_array("site_id", np.arange(len(fept)))
    part.set_array("site_id", np.argsort(fept.positions[:, 2])[-200:])
    part.positions += np.random.default_rng(0).normal(0.0, 0.1, part.positions.shape)
    moved, comparison = compare(whole, part)
    histogram, arrows = plot.plot_relaxation(moved, comparison).ravel()
    assert heights(histogram, 0).sum() + heights(histogram, 1).sum() == 200
    assert f"{100 * comparison.rmsd:.1f} pm, n = 200" in texts(histogram)
    assert len(arrows.collections) > 0


def test_a_model_without_results_is_said_not_drawn(fept_order):
    atoms, order = fept_order
    nothing = replace(order.chemical, grains=type(order.chemical.grains)(**{
        name: getattr(order.chemical.grains, name)[:0] for name in order.chemical.grains.__dataclass_fields__
    }))  # fmt: skip
    assert "no grain" in texts(plot.plot_grains(nothing, atoms)[0, 0])
    assert "no ordered grain" in texts(plot.plot_depth_profiles(()).flat[0])
    assert "one species" in texts(plot.plot_short_range_order(()))
    empty = synthetic_runs((1, 1, 3), without_jobs=(0, 1, 2))
    assert "no job" in texts(plot.plot_jobs(empty).flat[0])
    for draw in (plot.plot_anisotropy, plot.plot_easy_axes):
        assert "no volume" in texts(draw(empty))
    with pytest.raises(InputError, match="displacement"):
        plot.plot_displacements(Atoms("Fe2", positions=[(0, 0, 0), (0, 0, 2.7)]))


def test_not_a_number_is_left_out(fept_order):
    atoms, order = fept_order
    damaged = atoms.copy()
    damaged.arrays["strain"][:] = np.nan
    damaged.arrays["displacement"][:] = np.nan
    tiny = replace(order.strain, floor=np.full(6, 3e-5))
    axes = plot.plot_strain(damaged, tiny)
    assert "no strain" in texts(axes[0, 0])
    assert "± 0.003 %" in texts(axes[1, 0])
    assert "no displacement" in texts(plot.plot_displacements(damaged).flat[0])


def test_a_model_of_one_species_and_no_order_still_has_layers(fept_order):
    atoms, order = fept_order
    bare = Atoms(numbers=np.full(len(atoms), 78), positions=atoms.positions)
    for name in ("site", "lattice"):
        bare.set_array(name, atoms.arrays[name])
    axes = plot.plot_lattice_slices(bare, order, layers=2)
    assert len(axes.flat[0].collections) == 1


def test_of_very_many_atoms_a_sample_is_drawn_and_said():
    chosen = style.sample(1_500_000)
    assert len(chosen) == len(np.unique(chosen)) == style.MAX_POINTS
    assert_allclose(chosen, style.sample(1_500_000))
    assert style.sampled_note(len(chosen), 1_500_000) == " (60,000 of 1,500,000 drawn)"
    assert style.sampled_note(7, 7) == ""


@pytest.mark.slow
def test_figures_of_one_and_a_half_million_atoms_are_drawn(fept_order):
    _, order = fept_order
    half = np.arange(-72, 72)
    site = np.stack(np.meshgrid(half, half, half, indexing="ij"), axis=-1).reshape(-1, 3)
    site = site[site.sum(axis=1) % 2 == 0].astype(np.int32)
    rng = np.random.default_rng(0)
    atoms = Atoms(numbers=rng.choice([26, 78], len(site)), positions=1.93 * site)
    ones = np.ones(len(site), dtype=np.int32)
    for name, array in {
        "site": site, "lattice": ones, "variant": ones, "grain": 1 + (site[:, 0] > 0),
        "sublattice_order": rng.random((len(site), 16)), "displacement": rng.normal(0, 0.1, site.shape),
        "strain": rng.normal(0, 0.01, (len(site), 6)), "is_surface": np.abs(site).max(axis=1) > 70,
    }.items():  # fmt: skip
        atoms.set_array(name, array)
    layers = plot.plot_lattice_slices(atoms, order)
    assert all(c.get_rasterized() for ax in layers.flat for c in ax.collections[:2])
    assert "drawn" in texts(plot.plot_grains(order.chemical, atoms).flat[2])
    plot.plot_strain(atoms, order.strain).flat[0].figure.canvas.draw()
    assert "drawn" in texts(plot.plot_displacements(atoms).flat[1])
