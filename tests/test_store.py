"""The project file: what goes in comes out, every damage is noticed, nothing is half written.

Truth: the values that were put in, bit by bit.
"""

import contextlib
import os
import re
import subprocess
import sys
from dataclasses import dataclass

import h5py
import numpy as np
import pytest
from ase import Atoms
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from small_particle import small_order

from aet2dft import store
from aet2dft.errors import InputError, LockedError, ParseError, ResourceError
from aet2dft.structure.chemical_order import Order


@dataclass(frozen=True, kw_only=True, slots=True)
class Inner:
    values: np.ndarray
    words: np.ndarray


@dataclass(frozen=True, kw_only=True, slots=True)
class Later:
    values: np.ndarray
    words: np.ndarray
    more: np.ndarray | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    number: float
    name: str
    pair: tuple[int, int] | None
    inner: Inner
    maybe: Inner | None
    several: tuple[Inner, ...]
    by_name: dict[str, np.ndarray]
    counts: dict[str, int]


arrays = hnp.arrays(
    st.sampled_from([np.float64, np.int32, np.bool_, np.uint8]), hnp.array_shapes(max_dims=3, min_side=0, max_side=4)
)
words = st.lists(st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=5), max_size=4)
inners = st.builds(Inner, values=arrays, words=words.map(lambda w: np.array(w, dtype=np.str_)))
recorded = st.builds(
    Record,
    number=st.floats(),
    name=st.text(st.characters(exclude_categories=["Cs"])),
    pair=st.none() | st.tuples(st.integers(), st.integers()),
    inner=inners,
    maybe=st.none() | inners,
    several=st.lists(inners, max_size=3).map(tuple),
    by_name=st.dictionaries(st.sampled_from("abc"), arrays, max_size=2),
    counts=st.dictionaries(st.text("xyz"), st.integers(), max_size=2),
)


def assert_same(first, second):
    if isinstance(first, np.ndarray):
        assert first.shape == second.shape
        assert first.dtype.kind == second.dtype.kind
        assert first.tolist() == second.tolist() or first.tobytes() == second.tobytes()
    elif isinstance(first, Inner | Record):
        for name in type(first).__dataclass_fields__:
            assert_same(getattr(first, name), getattr(second, name))
    elif isinstance(first, tuple):
        assert len(first) == len(second)
        for one, other in zip(first, second, strict=True):
            assert_same(one, other)
    elif isinstance(first, dict):
        assert first.keys() == second.keys()
        for key in first:
            assert_same(first[key], second[key])
    else:
        assert first == second or (first != first and second != second)


@given(record=recorded)
def test_any_record_comes_back_as_it_was(record, tmp_path_factory):
    path = tmp_path_factory.mktemp("store") / "run.h5"
    store.save(path, "order", {"it": record}, {"settings": {}})
    assert_same(record, store.load(path, "order", "it", Record))


def test_the_result_of_order_comes_back_bit_by_bit(tmp_path):
    atoms, result = small_order()
    store.save(tmp_path / "run.h5", "order", {"atoms": atoms, "result": result}, {})
    again = store.load(tmp_path / "run.h5", "order", "atoms", Atoms)
    assert again.arrays.keys() == atoms.arrays.keys()
    assert all(again.arrays[name].tobytes() == atoms.arrays[name].tobytes() for name in atoms.arrays)
    loaded = store.load(tmp_path / "run.h5", "order", "result", Order)
    # the width of texts is that of the longest one
    assert re.sub("<U[0-9]+", "U", repr(loaded)) == re.sub("<U[0-9]+", "U", repr(result))
    with pytest.raises(ValueError, match="read-only"):
        loaded.strain.rms[0] = 0.0
    again.positions[0] = 0.0  # a new model, not a view of the file


def test_what_is_said_of_a_model_comes_back_with_it(tmp_path):
    atoms = Atoms("Pt")
    atoms.info = {
        "k": [np.int64(3), np.arange(2)],
        "of": {"a": {"b": (1, None)}},
        "is": np.True_,
        "not plain": object(),
    }
    store.save(tmp_path / "run.h5", "order", {"atoms": atoms}, {})
    said = store.load(tmp_path / "run.h5", "order", "atoms", Atoms).info
    assert said == {"k": (3, (0, 1)), "of": {"a": {"b": (1, None)}}, "is": True}


def test_arrays_are_packed_with_checksums(tmp_path):
    atoms, result = small_order()
    store.save(tmp_path / "run.h5", "order", {"atoms": atoms, "result": result}, {})
    with h5py.File(tmp_path / "run.h5") as file:
        found = []
        file.visititems(lambda _, item: found.append(item) if isinstance(item, h5py.Dataset) and item.size else None)
    assert len(found) > 20
    with h5py.File(tmp_path / "run.h5") as file:
        packed = [(d.fletcher32, d.shuffle, d.compression) for d in (file[name] for name in _names(file)) if d.size]
    assert set(packed) == {(True, True, "gzip")}


def _names(file):
    names = []
    file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
    return names


def test_groups_stay_when_another_is_written_and_go_when_they_were_made_from_it(tmp_path):
    path = tmp_path / "run.h5"
    for verb in ("order", "inputs", "collect", "compare"):
        assert store.save(path, verb, {}, {"verb": verb}) == ()
    assert store.save(path, "collect", {}, {"verb": "new"}, overwrite=True) == ("compare",)
    assert store.groups(path) == ("collect", "inputs", "order")
    assert store.load_json(path, "collect") == {"verb": "new"}
    assert store.save(path, "inputs", {}, {}, overwrite=True, keep=("collect",)) == ()
    assert store.save(path, "order", {}, {}, overwrite=True) == ("collect", "inputs")


def test_a_line_of_steps_ends_where_the_project_does(tmp_path):
    path = tmp_path / "run.h5"
    for verb, before in (("classify", "refine"), ("edit", "classify")):
        store.save(path, verb, {}, {"from": before})
    assert store.last_step(path) == "edit"
    assert store.lineage(path, "edit") == ["edit", "classify"]


def test_a_project_is_not_written_under_the_name_of_another_format(tmp_path):
    path = tmp_path / "volume.mrc"
    with pytest.raises(InputError, match=r"give -o volume\.h5, and write other formats from it with `aet2dft export`"):
        store.refuse_existing(path, "reconstruct", overwrite=True)
    assert not list(tmp_path.iterdir())
    store.refuse_existing(tmp_path / "run", "reconstruct", overwrite=False)


def test_what_is_not_there_is_named(tmp_path):
    path = tmp_path / "run.h5"
    with pytest.raises(InputError, match="no such file"):
        store.groups(path)
    store.save(path, "order", {}, {})
    with pytest.raises(InputError, match=r"holds order.*aet2dft collect"):
        store.load_json(path, "collect")
    with pytest.raises(InputError, match=r"already.*--overwrite"):
        store.save(path, "order", {}, {})


def test_long_texts_are_kept_too(tmp_path):
    text = {"text": "é" * 200_000}
    store.save(tmp_path / "run.h5", "order", {}, text)
    assert store.load_json(tmp_path / "run.h5", "order") == text


def test_a_project_of_a_newer_layout_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "SCHEMA", 2)
    store.save(tmp_path / "run.h5", "order", {}, {})
    monkeypatch.undo()
    with pytest.raises(InputError, match="newer aet2dft"):
        store.groups(tmp_path / "run.h5")


def test_a_record_of_another_version_is_refused(tmp_path):
    store.save(tmp_path / "run.h5", "order", {"it": Inner(values=np.ones(2), words=np.array(["a"]))}, {})
    with pytest.raises(ParseError, match=r"lacks number.*again"):
        store.load(tmp_path / "run.h5", "order", "it", Record)


def test_a_field_that_came_later_has_its_default(tmp_path):
    store.save(tmp_path / "run.h5", "order", {"it": Inner(values=np.ones(2), words=np.array(["a"]))}, {})
    assert store.load(tmp_path / "run.h5", "order", "it", Later).more is None


@given(data=st.data())
def test_every_changed_byte_is_noticed(data, tmp_path_factory):
    path = tmp_path_factory.mktemp("flip") / "run.h5"
    store.save(path, "order", {"it": Inner(values=np.arange(50.0), words=np.array(["a", "b"]))}, {"seed": 1})
    content = bytearray(path.read_bytes())
    for place in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=3, unique=True)):
        content[place] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    with pytest.raises(InputError):
        store.load_json(path, "order")


def test_a_write_that_fails_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    path = tmp_path / "run.h5"
    store.save(path, "order", {}, {"seed": 1})
    before = path.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ResourceError, match="No space left"):
        store.save(path, "order", {}, {"seed": 2}, overwrite=True)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_one_process_holds_a_project_and_leaves_nothing_behind(tmp_path):
    path = tmp_path / "run.h5"
    with store.locked(path):
        with pytest.raises(LockedError, match="wait"), store.locked(path):
            pass
        with store.locked(tmp_path / "other.h5"):
            pass
    with store.locked(path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_the_lock_of_a_killed_process_is_free(tmp_path):
    code = """
import os, sys
from pathlib import Path
from aet2dft import store
with store.locked(Path(sys.argv[1])):
    os.kill(os.getpid(), 9)
"""
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "run.h5")], check=False)
    assert (tmp_path / ".run.h5.lock").exists()
    with store.locked(tmp_path / "run.h5"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_eight_processes_that_write_at_once_lose_nothing(tmp_path):
    code = """
import sys, time
from pathlib import Path
from aet2dft import store
from aet2dft.errors import LockedError
path = Path(sys.argv[1])
while True:
    try:
        with store.locked(path):
            store.save(path, f"verb{sys.argv[2]}", {}, {})
        break
    except LockedError:
        time.sleep(0.01)
"""
    path = tmp_path / "run.h5"
    children = [subprocess.Popen([sys.executable, "-c", code, str(path), str(k)]) for k in range(8)]
    assert [child.wait(timeout=120) for child in children] == [0] * 8
    assert set(store.groups(path)) == {f"verb{k}" for k in range(8)}
    assert list(tmp_path.iterdir()) == [path]


def test_a_foreign_file_is_no_project_and_never_replaced(tmp_path):
    path = tmp_path / "foreign.h5"
    with h5py.File(path, "w") as file:
        file["a"] = 1
    assert not store.is_project(path)
    assert not store.is_project(tmp_path)
    assert not store.is_project(tmp_path / "gone.h5")
    for refused in (lambda: store.groups(path), lambda: store.save(path, "order", {}, {}, overwrite=True)):
        with pytest.raises(InputError, match="is no project"):
            refused()
    with contextlib.suppress(InputError):
        store.save(path, "order", {}, {})
    with h5py.File(path) as file:
        assert list(file) == ["a"]
