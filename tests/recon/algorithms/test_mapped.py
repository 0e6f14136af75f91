"""Arrays in files. Truth: the same arrays in memory."""

import errno
import tempfile

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from aet2dft.errors import ResourceError
from aet2dft.recon.algorithms import mapped
from aet2dft.recon.algorithms.mapped import zeros


def test_an_array_in_a_file_is_one_of_zeros_that_leaves_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.setattr(mapped, "_WRITTEN", 100)
    here, there = zeros((3, 4, 5), tmp_path), zeros((3, 4, 5), None)
    assert_array_equal(here, there)
    here[1, 2:] = there[1, 2:] = np.arange(10).reshape(2, 5)
    assert_array_equal(here, there)
    assert here.dtype == there.dtype == np.float32
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_told_before_anything_is_mapped(tmp_path, monkeypatch):
    class Full:
        def __enter__(self):
            return self

        def __exit__(self, *_):
            return None

        def write(self, _):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **_: Full())
    with pytest.raises(ResourceError, match=r"0\.\d MB \(No space left on device\).*--memory-mapped"):
        zeros((3, 4, 5), tmp_path)
