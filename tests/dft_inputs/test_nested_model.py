"""Truth: three closed forms, the area integral, random points, and simulated cubes with known radius and noise."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.integrate import quad

from aet2dft.dft_inputs.nested_model import fit_nested, nested_mae, sphere_in_cube
from aet2dft.errors import InputError

A = 3.875
CELLS = np.arange(2, 8)
K10, K12, NOISE = 0.9, 0.05, 0.02

lengths = st.floats(0.1, 50)


def area_in_square(rho, h):
    """Quarter of the area that a disc of radius rho and a square of half edge h share."""
    if rho <= h:
        return np.pi * rho**2 / 4
    if rho >= np.sqrt(2) * h:
        return h**2
    return h * np.sqrt(rho**2 - h**2) + rho**2 / 2 * (np.pi / 2 - 2 * np.arccos(h / rho))


def by_integration(radius, edge):
    h = edge / 2
    breaks = [np.sqrt(x) for x in (radius**2 - h**2, radius**2 - 2 * h**2) if 0 < x < h**2]
    ends = [0.0, *sorted(breaks), min(h, radius)]
    pieces = (
        quad(lambda z: area_in_square(np.sqrt(max(radius**2 - z**2, 0.0)), h), low, high, epsabs=1e-12, epsrel=1e-12)[0]
        for low, high in pairwise(ends)
    )
    return 8 * sum(pieces)


@given(edge=lengths, ratio=st.floats(0.01, 1.0))
def test_a_sphere_inside_keeps_its_volume(edge, ratio):
    radius = ratio * edge / 2
    assert sphere_in_cube(radius, edge) == pytest.approx(4 / 3 * np.pi * radius**3, rel=1e-12)


@given(edge=lengths, ratio=st.floats(1.0, np.sqrt(2)))
def test_a_sphere_through_the_faces_loses_six_caps(edge, ratio):
    h = edge / 2
    radius = ratio * h
    cap = np.pi * (radius - h) ** 2 * (2 * radius + h) / 3
    assert sphere_in_cube(radius, edge) == pytest.approx(4 / 3 * np.pi * radius**3 - 6 * cap, rel=1e-9)


@given(edge=lengths, ratio=st.floats(np.sqrt(3) + 1e-12, 100))
def test_a_sphere_around_the_cube_leaves_the_cube(edge, ratio):
    assert sphere_in_cube(ratio * edge / 2, edge) == pytest.approx(edge**3, rel=1e-12)


@given(edge=lengths, ratio=st.floats(0.5, 1.75))
def test_the_volume_equals_the_integral_of_its_cross_sections(edge, ratio):
    radius = ratio * edge / 2
    assert sphere_in_cube(radius, edge) == pytest.approx(by_integration(radius, edge), rel=1e-9)


@pytest.mark.parametrize("ratio", [0.8, 1.2, 1.5, 1.65])
def test_the_volume_equals_the_count_of_random_points(ratio):
    points = np.random.default_rng(1).uniform(-1, 1, size=(2_000_000, 3))
    counted = 8 * np.mean((points**2).sum(axis=1) < ratio**2)
    assert sphere_in_cube(ratio, 2.0) == pytest.approx(counted, rel=3e-3)


def test_the_volume_is_smooth_and_grows_where_its_form_changes():
    h = 2.0
    for bound in (1.0, np.sqrt(2), np.sqrt(3)):
        radii = h * bound * (1 + 1e-6 * np.arange(-3, 4))
        volumes = sphere_in_cube(radii, 2 * h)
        assert (np.diff(volumes) >= -1e-11).all()
        assert np.abs(np.diff(volumes, n=2)).max() < 1e-8
    assert sphere_in_cube(0.0, 1.0) == 0.0


def test_the_curve_of_a_grain_of_8_angstrom_is_the_known_one():
    curve = nested_mae(CELLS * A, radius=8.0, k10=K10, k12=K12)
    assert_allclose(curve, [0.900, 0.856, 0.537, 0.301, 0.195, 0.141], atol=5.1e-4)


@pytest.mark.parametrize("radius", [7.0, 8.0, 9.5, 11.0, 12.5])
def test_exact_cubes_give_the_radius_back(radius):
    fit = fit_nested(CELLS, nested_mae(CELLS * A, radius=radius, k10=K10, k12=K12), cubic_a=A)
    assert fit.radius == pytest.approx(radius, abs=1e-4)
    assert fit.k12 == pytest.approx(K12, abs=1e-5)
    assert fit.k10 == pytest.approx(K10)
    assert fit.rms < 1e-6
    assert fit.warnings == ()


# spread of 300 such fits by an independent program: Å, meV/atom
@pytest.mark.parametrize(
    ("radius", "spread", "spread_k12"), [(6, 0.11, 0.013), (8, 0.17, 0.019), (10, 0.23, 0.029), (12, 0.33, 0.058)]
)
def test_noisy_cubes_give_the_radius_back_and_the_errors_say_how_well(radius, spread, spread_k12):
    rng = np.random.default_rng(radius)
    exact = nested_mae(CELLS * A, radius=radius, k10=K10, k12=K12)
    fits = [fit_nested(CELLS, exact + rng.normal(0, NOISE, 6), cubic_a=A, sigma=NOISE) for _ in range(60)]
    radii, k12 = np.array([fit.radius for fit in fits]), np.array([fit.k12 for fit in fits])
    assert radii.mean() == pytest.approx(radius, abs=4 * spread / np.sqrt(60) + 0.05)
    assert k12.mean() == pytest.approx(K12, abs=4 * spread_k12 / np.sqrt(60))
    assert radii.std() == pytest.approx(spread, rel=0.35)
    assert k12.std() == pytest.approx(spread_k12, rel=0.35)
    assert np.median([fit.radius_sigma for fit in fits]) == pytest.approx(spread, rel=0.2)
    assert np.median([fit.k12_sigma for fit in fits]) == pytest.approx(spread_k12, rel=0.2)
    if radius > np.sqrt(3) * A:  # the 32-atom cube then lies on the curve: six cubes, three degrees of freedom
        assert np.mean([2 * fit.rms**2 for fit in fits]) == pytest.approx(NOISE**2, rel=0.3)


@pytest.mark.parametrize(("k10", "freedom"), [(None, 3), (K10, 4)])
def test_without_a_known_error_the_misfit_gives_it(k10, freedom):
    rng = np.random.default_rng(5)
    noisy = nested_mae(CELLS * A, radius=9.0, k10=K10, k12=K12) + rng.normal(0, NOISE, 6)
    known, unknown = (fit_nested(CELLS, noisy, cubic_a=A, k10=k10, sigma=sigma) for sigma in (NOISE, None))
    ratio = np.sqrt(6 / freedom) * unknown.rms / NOISE
    assert unknown.radius_sigma == pytest.approx(ratio * known.radius_sigma)
    assert unknown.k12_sigma == pytest.approx(ratio * known.k12_sigma)


def best_misfit(values):
    """Smallest rms misfit over a fine grid of radii, each with the best MAE outside."""
    found = []
    for radius in np.linspace(0.01, np.sqrt(3) * CELLS[-1] * A / 2, 4000):
        fraction = sphere_in_cube(radius, CELLS * A) / (CELLS * A) ** 3
        outside = 1 - fraction
        rest = values - fraction * values[0]
        k12 = outside @ rest / max(outside @ outside, 1e-12)
        found.append(np.sqrt(np.mean((rest - outside * k12) ** 2)))
    return min(found)


@pytest.mark.parametrize(
    "values",
    [
        (0.27, -0.46, -0.92, -0.97, 0.63, 0.83),
        (-0.19, 0.82, -0.91, 0.65, -0.17, 0.66),
        (-0.12, 0.91, -0.0, -0.15, 0.24, 0.99),
    ],
)
def test_scattered_cubes_on_which_some_starts_end_in_a_side_minimum_get_the_best_fit(values):
    fit = fit_nested(CELLS, values, cubic_a=A)
    assert fit.rms == pytest.approx(best_misfit(np.array(values)), abs=2e-4)


def test_a_grain_smaller_than_the_smallest_cube_is_warned_about():
    fit = fit_nested(CELLS, nested_mae(CELLS * A, radius=6.0, k10=K10, k12=K12), cubic_a=A, k10=K10)
    assert fit.radius == pytest.approx(6.0, abs=1e-4)
    assert any("diluted" in warning for warning in fit.warnings)


def test_cubes_of_one_mae_determine_no_radius():
    fit = fit_nested(CELLS, np.full(6, K10), cubic_a=A)
    assert np.isinf(fit.radius_sigma)
    assert any("no radius is determined" in warning for warning in fit.warnings)


def test_a_missing_cube_does_not_count():
    values = nested_mae(CELLS * A, radius=8.0, k10=K10, k12=K12)
    values[3] = np.nan
    fit = fit_nested(CELLS, values, cubic_a=A)
    assert fit.n_cubes == 5
    assert fit.radius == pytest.approx(8.0, abs=1e-4)


@pytest.mark.parametrize(
    ("cells", "values", "complaint"),
    [
        ([2, 3, 4], [0.9, 0.8, 0.5], "needs 4"),
        ([3, 4, 5, 6], [0.8, 0.5, 0.3, 0.2], "32-atom cube has 0"),
        ([2, 3, 4, 5], [0.9, 0.8, 0.5], "one MAE per cube"),
    ],
)
def test_too_few_cubes_are_refused(cells, values, complaint):
    with pytest.raises(InputError, match=complaint):
        fit_nested(cells, values, cubic_a=A)
