"""HDF5 files from outside: what leads out of the file or declares too much is refused before it is read.

Truth: files made here with h5py.
"""

import h5py
import numpy as np
import pytest

from aet2dft import hdf5
from aet2dft.errors import InputError, ParseError


def opened(path, fill):
    with h5py.File(path, "w") as file:
        fill(file)
    return hdf5.open_file(path)


def test_arrays_come_as_they_are(tmp_path):
    with opened(tmp_path / "a.h5", lambda f: f.create_dataset("deep/a", data=np.arange(6).reshape(2, 3))) as file:
        found = hdf5.datasets(file, tmp_path / "a.h5")
        assert list(found) == ["deep/a"]
        assert hdf5.array(found["deep/a"], tmp_path / "a.h5").tolist() == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize(
    "fill",
    [
        lambda f: f.create_dataset("a", (4,), dtype=h5py.string_dtype()),
        lambda f: f.create_dataset("a", data=h5py.Empty("f8")),
        lambda f: f.create_dataset("a", (4,), dtype=[("x", "f8"), ("y", "i4")]),
        lambda f: f.create_dataset("a", (4,), dtype=h5py.ref_dtype),
        lambda f: f.create_dataset("a", (1 << 40,), dtype="f8", chunks=(1 << 10,)),
        lambda f: f.create_dataset("a", (1 << 40, 1 << 40), dtype="f8", chunks=(64, 64)),
        lambda f: f.create_group("a"),
    ],
)
def test_what_is_no_plain_array_of_an_honest_size_is_refused(fill, tmp_path):
    path = tmp_path / "a.h5"
    with opened(path, fill) as file, pytest.raises(InputError, match=r"a.h5"):
        hdf5.array(hdf5.child(file, "a", path), path)


def test_an_array_may_be_packed_to_a_small_part_of_its_size(tmp_path):
    path = tmp_path / "a.h5"
    with opened(path, lambda f: f.create_dataset("a", data=np.zeros(2_000_000), compression="gzip")) as file:
        assert path.stat().st_size < 2_000_000 * 8 / 100
        assert hdf5.array(file["a"], path).shape == (2_000_000,)


def test_damaged_values_are_noticed(tmp_path):
    path = tmp_path / "a.h5"
    values = np.random.default_rng(0).random(5000)
    opened(path, lambda f: f.create_dataset("a", data=values, chunks=(5000,), fletcher32=True)).close()
    content = bytearray(path.read_bytes())
    content[content.index(values.tobytes()) + 77] ^= 1
    path.write_bytes(content)
    with hdf5.open_file(path) as file, pytest.raises(ParseError, match="damaged"):
        hdf5.array(file["a"], path)


def test_what_is_no_hdf5_file_is_refused(tmp_path):
    (tmp_path / "a.h5").write_bytes(b"no")
    with pytest.raises(ParseError, match=r"a.h5"):
        hdf5.open_file(tmp_path / "a.h5")
    with pytest.raises(InputError, match="no such file"):
        hdf5.open_file(tmp_path / "gone.h5")


def test_links_are_passed_by_and_refused_where_nothing_else_is_there(tmp_path):
    path = tmp_path / "a.h5"
    opened(path, lambda f: f.update(real=h5py.ExternalLink("b.h5", "x"), list=h5py.ExternalLink("b.h5", "y"))).close()
    with hdf5.open_file(path) as file, pytest.raises(InputError, match="link to another file"):
        hdf5.datasets(file, path)
    with h5py.File(path, "a") as file:
        file["deep/a"] = np.zeros((3, 4, 5))
        file["soft"] = h5py.SoftLink("/deep/a")
        file["nowhere"] = h5py.SoftLink("/gone")
    with hdf5.open_file(path) as file:
        assert list(hdf5.datasets(file, path)) == ["deep/a"]
