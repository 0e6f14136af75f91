"""Truth: round trips, the byte layout of the OVF 2.0 specification written out by hand, and every cut of a file."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_allclose, assert_array_equal

from aet2dft.dft_inputs.micromagnetics import OUTSIDE_AXIS, read_ovf, write_anisotropy, write_ovf
from aet2dft.errors import InputError, ParseError, ResourceError

STEP, ORIGIN = (1.9e-10, 2.0e-10, 2.1e-10), (-1e-9, 0.0, 3e-9)
REPRESENTATIONS = ("binary 8", "text")

shapes = st.tuples(*[st.integers(1, 4)] * 3)
numbers = st.floats(allow_nan=False, allow_infinity=False)
representations = st.sampled_from(REPRESENTATIONS)


def write(path, field, **changes):
    labels = ["K"] if np.ndim(field) == 3 else [f"u {i}" for i in range(np.shape(field)[-1])]
    settings = {"step": STEP, "origin": ORIGIN, "title": "a title: two parts", "units": "J/m^3", "labels": labels}
    write_ovf(path, field, **(settings | changes))
    return path


@given(field=shapes.flatmap(lambda s: arrays(float, s, elements=numbers)), representation=representations)
def test_scalars_come_back_to_the_last_bit(tmp_path_factory, field, representation):
    path = tmp_path_factory.mktemp("ovf") / "k.ovf"
    write(path, field, representation=representation, comments=("one", "two: 2"))
    result = read_ovf(path)
    assert_array_equal(result.field, field)
    assert_array_equal(result.step, STEP)
    assert_array_equal(result.origin, ORIGIN)
    assert (result.title, result.units, result.labels) == ("a title: two parts", "J/m^3", ("K",))
    assert result.comments == ("one", "two: 2")


@given(field=shapes.flatmap(lambda s: arrays(float, (*s, 3), elements=numbers)), representation=representations)
def test_vectors_come_back_to_the_last_bit(tmp_path_factory, field, representation):
    path = write(tmp_path_factory.mktemp("ovf") / "u.ovf", field, representation=representation)
    result = read_ovf(path)
    assert_array_equal(result.field, field)
    assert result.labels == ("u 0", "u 1", "u 2")


def test_binary_data_are_the_check_value_and_little_endian_doubles_with_x_fastest(tmp_path):
    field = np.arange(24.0).reshape(2, 3, 4)
    raw = write(tmp_path / "k.ovf", field).read_bytes()
    begin = raw.index(b"# Begin: Data Binary 8\n") + len(b"# Begin: Data Binary 8\n")
    found = struct.unpack("<25d", raw[begin : begin + 200])
    assert found[0] == 123456789012345.0
    assert list(found[1:]) == [field[x, y, z] for z in range(4) for y in range(3) for x in range(2)]
    assert raw[begin + 200 :] == b"\n# End: Data Binary 8\n# End: Segment\n"


def test_text_data_have_one_cell_per_line_with_x_fastest(tmp_path):
    field = np.arange(24.0).reshape(2, 2, 2, 3)
    text = write(tmp_path / "u.ovf", field, representation="text").read_text()
    data = text.partition("# Begin: Data Text\n")[2].partition("# End: Data Text\n")[0]
    rows = [[float(word) for word in line.split()] for line in data.splitlines()]
    assert rows == [field[x, y, z].tolist() for z in range(2) for y in range(2) for x in range(2)]


def test_the_header_has_what_the_specification_asks_for(tmp_path):
    header = write(tmp_path / "u.ovf", np.zeros((2, 3, 4, 3)), representation="text").read_text().splitlines()
    assert header[0] == "# OOMMF OVF 2.0"
    assert header[1:4] == ["# Segment count: 1", "# Begin: Segment", "# Begin: Header"]
    entries = dict(line[2:].split(": ", 1) for line in header[4 : header.index("# End: Header")])
    assert entries["meshtype"] == "rectangular"
    assert entries["meshunit"] == "m"
    assert [entries[f"{axis}nodes"] for axis in "xyz"] == ["2", "3", "4"]
    assert entries["valuedim"] == "3"
    assert entries["valuelabels"] == "{u 0} {u 1} {u 2}"
    assert entries["valueunits"] == "J/m^3"
    for axis, n, edge, first in zip("xyz", (2, 3, 4), STEP, ORIGIN, strict=True):
        assert float(entries[f"{axis}stepsize"]) == edge
        assert float(entries[f"{axis}base"]) == first
        assert float(entries[f"{axis}max"]) - float(entries[f"{axis}min"]) == pytest.approx(n * edge)
        assert float(entries[f"{axis}min"]) + edge / 2 == pytest.approx(first, abs=1e-24)


@pytest.mark.parametrize("representation", REPRESENTATIONS)
def test_a_file_cut_anywhere_is_refused(tmp_path, representation):
    field = np.linspace(0, 1, 6).reshape(3, 2, 1)
    raw = write(tmp_path / "whole.ovf", field, representation=representation).read_bytes()
    path = tmp_path / "cut.ovf"
    for length in range(len(raw) - 1):  # all but the last line break
        path.write_bytes(raw[:length])
        with pytest.raises(ParseError):
            read_ovf(path)


@pytest.mark.parametrize("representation", REPRESENTATIONS)
@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        (b"# OOMMF OVF 2.0", b"# OOMMF OVF 1.0", "not an OVF 2.0"),
        (b"# xnodes: 3", b"# xnodes: 4", "header announces"),
        (b"# xnodes: 3", b"# xnodes: 9999999999999999999", "header announces"),
        (b"# xnodes: 3", b"# xnodes: -3", "usable entry"),
        (b"# xnodes: 3", b"# xnodes: three", "usable entry"),
        (b"# ynodes: 2\n", b"", "usable entry"),
        (b"rectangular", b"irregular", "not rectangular"),
        (b"# meshunit: m", b"# meshunit: nm", "not rectangular in m"),
    ],
)
def test_a_damaged_header_is_refused(tmp_path, representation, old, new, complaint):
    path = write(tmp_path / "k.ovf", np.zeros((3, 2, 1)), representation=representation)
    raw = path.read_bytes()
    assert raw.count(old) == 1
    path.write_bytes(raw.replace(old, new))
    with pytest.raises(ParseError, match=complaint):
        read_ovf(path)


def test_data_of_another_byte_order_or_another_kind_are_refused(tmp_path):
    path = write(tmp_path / "k.ovf", np.zeros((3, 2, 1)))
    raw = path.read_bytes()
    check = struct.pack("<d", 123456789012345.0)
    path.write_bytes(raw.replace(check, check[::-1]))
    with pytest.raises(ParseError, match="check value"):
        read_ovf(path)
    write(path, np.ones((3, 2, 1)), representation="text")
    path.write_bytes(path.read_bytes().replace(b"\n1.0\n", b"\none\n", 1))
    with pytest.raises(ParseError, match="not a number"):
        read_ovf(path)
    with pytest.raises(ParseError, match="cannot be read"):
        read_ovf(tmp_path / "absent.ovf")


def test_line_ends_of_windows_and_comments_of_the_format_are_understood(tmp_path):
    path = write(tmp_path / "k.ovf", np.arange(6.0).reshape(3, 2, 1), representation="text")
    text = path.read_text().replace("# valuedim: 1", "## a comment: of the format\n# ValueDim: 1 ## one number")
    path.write_bytes(text.replace("\n", "\r\n").encode())
    assert_array_equal(read_ovf(path).field, np.arange(6.0).reshape(3, 2, 1))


@pytest.mark.parametrize(
    ("field", "changes", "complaint"),
    [
        (np.full((2, 2, 2), np.nan), {}, "8 values are not finite"),
        (np.zeros((2, 2)), {}, "not \\(nx, ny, nz"),
        (np.zeros((2, 0, 2)), {}, "not \\(nx, ny, nz"),
        (np.zeros((2, 2, 2, 3)), {"labels": ["K"]}, "1 labels"),
        (np.zeros((2, 2, 2)), {"step": (1e-9, 0.0, 1e-9)}, "make no mesh"),
        (np.zeros((2, 2, 2)), {"title": "a ## b"}, "cannot stand"),
        (np.zeros((2, 2, 2)), {"comments": ["a\n# Begin: Data Text"]}, "cannot stand"),
        (np.zeros((2, 2, 2)), {"labels": ["}"]}, "cannot be a label"),
        (np.zeros((2, 2, 2)), {"units": ""}, "cannot be a label"),
    ],
)
def test_a_field_that_would_make_a_broken_file_is_refused_and_nothing_is_written(tmp_path, field, changes, complaint):
    with pytest.raises(InputError, match=complaint):
        write(tmp_path / "k.ovf", field, **changes)
    assert list(tmp_path.iterdir()) == []


def test_a_write_that_fails_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    path = write(tmp_path / "k.ovf", np.ones((2, 2, 2)))
    before = path.read_bytes()

    def full_disk(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full_disk)
    with pytest.raises(ResourceError, match="No space left"):
        write(path, np.zeros((2, 2, 2)))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_a_file_is_reported(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ResourceError, match="cannot be written"):
        write(tmp_path / "file" / "k.ovf", np.ones((2, 2, 2)))


def particle():
    rng = np.random.default_rng(0)
    k = rng.normal(0, 1e7, size=(3, 4, 5))
    k[0] = np.nan
    axis = rng.normal(size=(3, 4, 5, 3))
    return k, axis / np.linalg.norm(axis, axis=-1, keepdims=True)


@pytest.mark.parametrize("representation", REPRESENTATIONS)
def test_an_anisotropy_field_is_three_files_that_state_sign_source_and_mask(tmp_path, representation):
    k, axis = particle()
    files = write_anisotropy(
        tmp_path / "new" / "map.ovf",
        k,
        axis,
        step=STEP,
        origin=ORIGIN,
        source="sha256:0123",
        comments=("sigma 1 MJ/m^3",),
        representation=representation,
    )
    assert [path.name for path in files] == ["map.ovf", "map_axis.ovf", "map_mask.ovf"]
    constant, direction, mask = (read_ovf(path) for path in files)
    assert (constant.units, direction.units) == ("J/m^3", "1")
    assert_array_equal(constant.field[1:], k[1:])
    assert_array_equal(direction.field[1:], axis[1:])
    assert (constant.field[0] == 0).all()
    assert (direction.field[0] == OUTSIDE_AXIS).all()
    assert_array_equal(mask.field, np.isfinite(k))
    for field in (constant, direction, mask):
        comments = " ".join(field.comments)
        assert all(text in comments for text in ("E = -K (u.m)^2", "sha256:0123", "K = 0", "sigma 1 MJ/m^3"))


def test_the_energy_in_the_files_is_lowest_along_the_axis_for_positive_k(tmp_path):
    k, axis = particle()
    constant, direction, _ = map(
        read_ovf, write_anisotropy(tmp_path / "map.ovf", k, axis, step=STEP, origin=ORIGIN, source="x")
    )
    along = -constant.field * (direction.field * axis).sum(axis=-1) ** 2
    assert_allclose(along[1:], -k[1:])


def test_axes_that_are_not_of_length_one_are_refused_inside_only(tmp_path):
    k, axis = particle()
    axis[0] = np.nan
    write_anisotropy(tmp_path / "map.ovf", k, axis, step=STEP, origin=ORIGIN, source="x")
    axis[1, 0, 0] *= 2
    with pytest.raises(InputError, match="1 cells have a K but no axis"):
        write_anisotropy(tmp_path / "map.ovf", k, axis, step=STEP, origin=ORIGIN, source="x")
    with pytest.raises(InputError, match="not on one grid"):
        write_anisotropy(tmp_path / "map.ovf", k, axis[..., :2], step=STEP, origin=ORIGIN, source="x")
