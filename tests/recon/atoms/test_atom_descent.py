"""Steps of a fit. Truth: simulated images of a small crystal of two species."""

from dataclasses import replace

import numpy as np
import pytest
from small_crystal import crystal, crystal_series

from aet2dft.errors import InputError
from aet2dft.recon.atoms import atom_fit
from aet2dft.recon.atoms.atom_descent import Data, gauss_newton, settled


def test_held_out_images_are_spread_over_the_tilts_and_are_not_fitted():
    series = crystal_series()
    data = Data.of(series, 0.1)
    assert len(data.held_out) == 3
    assert set(data.held_out) | set(data.fitted) == set(range(30))
    assert not set(data.held_out) & {0, 29}
    assert np.diff(np.sort(series.tilt_angles[data.held_out])).min() > 20
    assert not data.all_fitted().held_out.size
    assert not Data.of(series, 0.0).held_out.size
    assert Data.of(series, 0.01).held_out.tolist() == [10, 19]
    blank = np.isin(np.arange(30), [0, 10, 20])
    known = Data.of(series, 0.01, shown=~blank)
    assert known.held_out.tolist() == [11, 19]
    assert set(known.held_out) | set(known.fitted) == set(range(30))
    assert not Data.of(series, 0.1, shown=np.arange(30) < 9).held_out.size


def test_steps_lower_the_r_factor_of_held_out_images():
    series = crystal_series()
    """Truth: the atoms; the start is wrong by 0.3 pixels, the end by the 0.17 of the noise."""
    truth = crystal()
    start = replace(truth, positions=truth.positions + np.random.default_rng(2).uniform(-0.3, 0.3, (64, 3)))
    states = []
    state = settled(gauss_newton(Data.of(series, 0.1), start), 4, states.append)
    assert state.r_free < states[0].r_free
    assert np.sqrt(((state.values.positions - truth.positions) ** 2).sum(axis=1).mean()) < 0.2


def test_a_fit_that_diverges_is_refused(monkeypatch):
    monkeypatch.setattr(
        atom_fit, "newton_step", lambda problem, atoms, *_, **__: np.full((len(atoms.heights), 4), np.nan)
    )
    with pytest.raises(InputError, match="the fit of 64 atoms to the images diverges; check that these are its"):
        settled(gauss_newton(Data.of(crystal_series(), 0.1), crystal()), 4, lambda _: None)
