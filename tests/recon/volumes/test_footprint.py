"""What a reconstruction needs. Truth: runs that are timed; a disk and a memory that are too small."""

import shutil
from types import SimpleNamespace

import numpy as np
import pytest

from aet2dft import memory
from aet2dft.config import ReconstructSettings
from aet2dft.errors import ResourceError
from aet2dft.recon.tilt_series import TiltSeries
from aet2dft.recon.volumes import forecast
from aet2dft.recon.volumes.footprint import disk_bytes, needed_bytes, require
from aet2dft.recon.volumes.forecast import predicted_seconds
from aet2dft.recon.volumes.preparation import plan

TILTS = np.linspace(-66, 64, 20)


def planned(n, *, general=False, **settings):
    angles = np.column_stack([np.sin(TILTS), TILTS, np.cos(TILTS)]) if general else TILTS
    window = np.exp(-(((np.arange(n) - n // 2) / (0.25 * n)) ** 2))
    images = np.random.default_rng(0).random((len(TILTS), n, n)) * np.outer(window, window)
    series = TiltSeries.from_angles(images.astype(np.float32), angles, pixel_size=0.4)
    return plan(series, ReconstructSettings(**settings), None)


@pytest.mark.parametrize("general", [False, True])
@pytest.mark.parametrize("algorithm", ["lsq", "genfire", "sirt"])
def test_larger_volumes_need_more(general, algorithm):
    small, large = (planned(n, general=general, algorithm=algorithm) for n in (32, 64))
    assert needed_bytes(small) < needed_bytes(large) < 10 * needed_bytes(small)
    assert 3 * disk_bytes(small) < disk_bytes(large) < 10 * disk_bytes(small)


def test_one_tilt_axis_needs_less_than_three_dimensions():
    assert 3 * needed_bytes(planned(128)) < needed_bytes(planned(128, general=True))


def test_too_little_memory_is_refused_with_the_cheapest_ways_out(monkeypatch):
    monkeypatch.setattr(memory, "free_memory", lambda: 1e5)
    with pytest.raises(
        ResourceError, match=r"genfire on 32 x 32 x 32 .*lower --oversampling \(3\); or take --algorithm"
    ):
        require(planned(32, algorithm="genfire"))


def test_too_small_a_disk_is_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1e6))
    with pytest.raises(ResourceError, match=r"needs 0\.01 GB .*another place with -o"):
        memory.require_disk(1e7, tmp_path / "run.h5", "the run")
    memory.require_disk(1e5, tmp_path / "run.h5", "the run")


@pytest.mark.parametrize("general", [False, True])
def test_the_time_that_is_told_grows_with_the_iterations(general):
    few, many = (predicted_seconds(planned(24, general=general, iterations=n)) for n in (10, 10_000))
    assert 0 < few < many < 10_000


def test_the_time_of_what_is_done_for_every_image_grows_with_their_pixels(monkeypatch):
    """Truth: pieces of which an iteration takes a nanosecond per pixel and the preparation ten times as long."""

    def timed(_, series, shape):
        return 1e-8 * series.projections.size, 1e-9 * series.projections.size

    monkeypatch.setattr(forecast, "_timed", timed)
    film = planned(128, general=True, iterations=50, held_out=0, extended=True, thickness=16.0, halves=True)
    assert film.shape[0] > 128
    assert predicted_seconds(film) == pytest.approx(2 * (10 + 50) * 1e-9 * len(TILTS) * 128**2, rel=1e-6)


def test_the_time_of_planes_holds_what_every_block_of_them_takes_anew(monkeypatch):
    """Truth: a second for every run and every iteration, a tenth of that for every plane."""

    def timed(_, series, shape):
        return (1 + 0.1 * shape[1],) * 2

    monkeypatch.setattr(forecast, "_timed", timed)
    one = planned(64, iterations=4, held_out=0, extended=True, thickness=16.0, halves=False)
    assert predicted_seconds(one) == pytest.approx(5 * (2 + 6.4))
