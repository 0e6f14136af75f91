"""Checks of moments; truth: real self-consistent runs of pw.x along x and z, and magnetic states made by hand."""

from dataclasses import replace

import numpy as np
import pytest
from deck_examples import DATA

from aet2dft.dft_inputs.espresso_output import parse
from aet2dft.dft_inputs.moment_checks import different_states, magnetic_verdict
from aet2dft.dft_inputs.run_result import RunResult

X, Z = (1, 0, 0), (0, 0, 1)


def run(sizes, direction) -> RunResult:
    """Iron with moments of some sizes along one direction."""
    moments = np.outer(sizes, np.array(direction) / np.linalg.norm(direction))
    return RunResult(
        status="ok", code="espresso", labels=("Fe",) * len(sizes), moments=moments, total_moment=moments.sum(axis=0),
        noncollinear=True,
    )  # fmt: skip


@pytest.mark.parametrize("sizes", [(3.0, 3.0), (3.0, -3.0), (2.0, -3.0), (3.0, -1.0, -1.0)])
def test_the_axis_of_any_order_of_the_moments_is_judged(sizes):
    assert magnetic_verdict(run(sizes, X), X) == magnetic_verdict(run(sizes, X), (-1, 0, 0.08)) == ("ok", "")
    for direction in (Z, (1, 0, 0.1)):
        assert magnetic_verdict(run(sizes, direction), X)[0] == "axis_drifted"
    assert "90.0 degrees off" in magnetic_verdict(run(sizes, X), Z)[1]


@pytest.mark.parametrize("mesh", ["", "k664_"])
def test_real_runs_along_two_axes_are_in_one_state(mesh):
    x, z = (parse(DATA / "qe_fept" / f"{mesh}soc_{axis}") for axis in "xz")
    assert different_states([x, z], [X, Z]) == different_states([x, z], [(-2, 0, 0), Z]) == ""
    totals = [replace(result, moments=None) for result in (x, z)]
    assert different_states(totals, [X, Z]) == ""
    platinum = replace(z, moments=z.moments * [[1], [-1]])
    assert "different magnetic states" in different_states([x, platinum], [X, Z])


def test_another_order_of_the_moments_is_another_state_by_sites_and_by_totals():
    states = [run((3.0, 3.0), X), run((3.0, -3.0), Z)]
    assert "differ by 6.00 μB: the runs ended in different magnetic states" in different_states(states, [X, Z])
    assert "the total moments" in different_states([replace(state, moments=None) for state in states], [X, Z])
    unknown = [replace(states[0], moments=None, total_moment=None), states[1]]
    assert different_states(unknown, [X, Z]) == ""


def test_a_third_axis_is_judged_too_and_time_reversal_makes_no_state():
    runs = [run((3.0, 0.4), X), run((-3.0, -0.4), (0, 1, 0)), run((3.0, 0.1), Z)]
    assert different_states(runs[:2], [X, (0, 1, 0)]) == ""
    assert "differ by 0.30 μB" in different_states(runs, [X, (0, 1, 0), Z])
