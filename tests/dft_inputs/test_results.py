"""The verb `collect` as a function: every number goes to its volume and its atom; every job has a row.

Truth: energies and moments that were put into outputs made from real runs of pw.x.
"""

import json
import re
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from deck_examples import l10_cell, real_text
from hypothesis import given, settings
from hypothesis import strategies as st
from made_outputs import fill, small_moment
from small_particle import small_order

from aet2dft.config import InputsSettings
from aet2dft.dft_inputs.anisotropy import to_energy_density
from aet2dft.dft_inputs.decks import Manifest, write_decks
from aet2dft.dft_inputs.input_sets import inputs
from aet2dft.dft_inputs.results import _warnings_of_jobs, collect, mae_axes
from aet2dft.errors import InputError

FEW = InputsSettings(box=(6, 6, 7), limit=3)


def decks_of(folder, **changes):
    write_decks(folder, inputs(small_order()[0], settings=FEW.model_copy(update=changes)))
    return folder


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    folder = decks_of(tmp_path_factory.mktemp("filled") / "decks")
    fill(folder, lambda volume, step: 900.0 + (0.064 if step == "axis_100" else 0.0) * (1 + int(volume[1:])))
    return folder


@pytest.fixture
def decks(filled, tmp_path):
    return shutil.copytree(filled, tmp_path / "decks")


def test_the_mae_is_first_minus_second_axis_per_atom(decks):
    runs = collect(decks)
    assert runs.mae_axes == ("100", "001")
    assert runs.method == "force_theorem"
    assert np.allclose(runs.volumes.mae, [2.0, 4.0, 6.0], atol=1e-9)
    assert (runs.volumes.easy_axis == "001").all()
    assert np.allclose(runs.volumes.energies[:, 1], 900.0)
    cell = np.array(Manifest.read(decks).volumes[0]["cell"])
    assert runs.volumes.mae_density[0] == pytest.approx(float(to_energy_density(2.0, np.linalg.det(cell) / 32)))


def test_volumes_keep_their_order_along_the_edges_of_the_cube_and_older_folders_one_difference(decks, monkeypatch):
    volumes = collect(decks).volumes
    assert volumes.order.shape == (3, 3)
    assert np.allclose(volumes.order_difference, volumes.order[:, 2] - volumes.order[:, 0], atol=1e-12)
    manifest = Manifest.read(decks)
    for volume in manifest.volumes:
        del volume["order"]
    monkeypatch.setattr(Manifest, "read", lambda directory: manifest)
    older = collect(decks).volumes
    assert np.isnan(older.order).all()
    assert np.array_equal(older.order_difference, volumes.order_difference)


def test_moments_go_to_the_atoms_that_they_belong_to(decks):
    runs, atoms = collect(decks), small_order()[0]
    symbol = dict(zip(atoms.arrays["site_id"].tolist(), atoms.symbols, strict=True))
    assert len(runs.moments.site_id) == 3 * 32
    expected = [small_moment(int(i), str(symbol[int(i)])) for i in runs.moments.site_id]
    assert np.array_equal(runs.moments.moment[:, 2], expected)
    assert not runs.moments.moment[:, :2].any()


@settings(max_examples=10)
@given(seed=st.integers(0, 2**32 - 1))
def test_any_moments_come_back_to_their_atoms_exactly(seed, filled, tmp_path_factory):
    folder = shutil.copytree(filled, tmp_path_factory.mktemp("moments") / "decks")
    rng = np.random.default_rng(seed)
    known = {i: round(float(rng.uniform(1, 4)), 4) for i in range(1, 1501)}
    fill(folder, lambda volume, step: 900.0, lambda site_id, symbol: known[site_id])
    moments = collect(folder).moments
    assert moments.moment[:, 2].tolist() == [known[int(i)] for i in moments.site_id]


def test_equal_volumes_share_energies_and_each_atom_gets_its_moment(tmp_path):
    folder = decks_of(tmp_path / "decks", cells=1, positions="ideal", limit=None)
    fill(
        folder,
        lambda volume, step: 100.0 + 4e-3 * (step == "axis_100"),
        lambda i, symbol: 3.0 if symbol == "Fe" else 0.3,
    )
    runs, manifest = collect(folder), Manifest.read(folder)
    assert np.allclose(runs.volumes.mae, 1.0, atol=1e-9)
    shared = [row for row in manifest.volumes if row["same_as"]]
    assert (runs.volumes.same_as != "").sum() == len(shared) > 10
    assert all(re.fullmatch(r"(Fe\d)?(Pt\d)?", formula) for formula in runs.volumes.composition)
    assert runs.volumes.is_independent.sum() == np.isfinite(runs.volumes.mae).sum() - len(shared)
    rows = {}
    for job, site_id, moment in zip(runs.moments.job, runs.moments.site_id, runs.moments.moment, strict=True):
        rows.setdefault(str(job).partition("/")[0], []).append((int(site_id), float(moment[2])))
    symbol = dict(zip(small_order()[0].arrays["site_id"].tolist(), small_order()[0].symbols, strict=True))
    for row in shared:
        found = [pair for pair in rows[row["same_as"]] if pair[0] in row["site_ids"]]
        assert {site_id for site_id, _ in found} == set(row["site_ids"])
    assert all((moment > 1) == (symbol[site_id] == "Fe") for pairs in rows.values() for site_id, moment in pairs)
    assert len(runs.moments.site_id) == 4 * len(manifest.volumes)


@pytest.mark.parametrize(
    ("axes", "pair"),
    [
        (("100", "001"), ("100", "001")),
        (("001", "110", "100"), ("100", "001")),
        (("110", "001"), ("110", "001")),
        (("001",), None),
        ((), None),
    ],
)
def test_the_axes_of_the_mae_are_100_and_001_where_both_are_there(axes, pair):
    assert mae_axes(axes) == pair


def test_without_axes_there_is_an_energy_and_no_mae(tmp_path):
    folder = decks_of(tmp_path / "decks", protocol="scf")
    fill(folder, lambda *_: 0.0)
    runs = collect(folder)
    assert (runs.method, runs.axes, runs.counts["ok"]) == ("", (), 3)
    assert np.isfinite(runs.jobs.energy).all()
    assert np.isnan(runs.volumes.mae).all()
    assert (runs.volumes.status == "ok").all()


def test_degenerate_axes_have_no_easy_axis(tmp_path):
    folder = decks_of(tmp_path / "decks", axes=("100", "010", "001"))
    fill(folder, lambda volume, step: 900.0 + (32e-3 if step == "axis_001" else 0.0))
    runs = collect(folder)
    assert (runs.volumes.easy_axis == "").all()
    assert np.allclose(runs.volumes.mae, -1.0, atol=1e-9)


def test_six_axes_in_a_plane_give_no_tensor_and_no_error(tmp_path):
    axes = ("100", "010", "110", "1-10", "120", "210")
    write_decks(
        tmp_path / "decks", inputs(small_order()[0], settings=FEW.model_copy(update={"axes": axes, "limit": 1}))
    )
    runs = collect(tmp_path / "decks")
    assert runs.counts["missing"] == 7
    assert np.isnan(runs.volumes.anisotropy).all()


def test_runs_that_do_not_belong_together_are_not_compared(decks):
    path = decks / "volumes" / "v00000" / "axis_100" / "data-file-schema.xml"
    path.write_text(path.read_text().replace('nk1="4"', 'nk1="6"'))
    runs = collect(decks)
    assert runs.volumes.status[0] == "failed"
    assert "k_mesh" in runs.volumes.reason[0]
    assert np.isfinite(runs.volumes.mae).tolist() == [False, True, True]


def test_energies_of_two_magnetic_states_give_no_mae(tmp_path):
    settings = InputsSettings(kind="atoms", protocol="mae_scf", set={"kmesh": "4x4x3"})
    write_decks(tmp_path, inputs(l10_cell(), settings=settings))
    for step, run in (("axis_100", "soc_x"), ("axis_001", "soc_z")):
        for name in ("pw.out", "data-file-schema.xml"):
            (tmp_path / "volumes" / "v00000" / step / name).write_text(real_text(run, name))
    # the reference of these runs: -0.963 meV per cell of two atoms
    assert collect(tmp_path).volumes.mae[0] == pytest.approx(-0.963 / 2, abs=5e-4)
    text = tmp_path / "volumes" / "v00000" / "axis_001" / "pw.out"
    text.write_text(text.read_text().replace("0.342525", "-0.342525"))
    volumes = collect(tmp_path).volumes
    assert (volumes.status[0], np.isnan(volumes.mae[0])) == ("failed", True)
    assert "different magnetic states" in volumes.reason[0]


def test_a_folder_without_outputs_gives_a_row_for_every_job(tmp_path):
    runs = collect(decks_of(tmp_path / "decks"))
    assert runs.counts == {"ok": 0, "not_converged": 0, "incomplete": 0, "input_changed": 0, "missing": 9, "failed": 0}
    assert len(runs.jobs.job) == 9
    assert len(runs.volumes.volume) == 3


def test_progress_is_told_for_every_job(decks):
    told = []
    collect(decks, progress=lambda done, total: told.append((done, total)))
    assert told == [(k, 9) for k in range(1, 10)]


def test_warnings_tell_a_coarse_mesh_and_other_versions(tmp_path):
    folder = decks_of(tmp_path / "decks", set={"kmesh": "2x2x2"})
    fill(folder, lambda *_: 900.0)
    for path in folder.glob("volumes/*/*/*"):
        if path.name in ("pw.out", "data-file-schema.xml"):
            path.write_text(path.read_text().replace("6.7MaX", "7.9"))
    warnings = " ".join(collect(folder).warnings)
    assert "unconverged: the k-mesh 2x2x2" in warnings
    assert "untested_version: pw.x 7.9; tested with 6.7MaX (9 jobs)" in warnings


def test_every_kind_of_warning_is_told_on_one_line(decks):
    for k, path in enumerate(sorted(decks.glob("volumes/*/axis_*"))):
        changed = {"diagonalization": "cg"} if k < 2 else {"mixing_beta": 0.1 / k}
        record = {"attempts": [{"changed": {}}, {"changed": changed}]}
        (path / "retries.json").write_text(json.dumps(record))
    (told,) = (text for text in collect(decks).warnings if text.startswith("retried"))
    assert "diagonalization = 'cg' in place" in told
    assert told.endswith("(6 jobs, 4 of them with other values)")


def test_what_is_no_deck_folder_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"manifest\.json"):
        collect(tmp_path)


def test_warnings_of_jobs_are_counted_by_their_kind():
    jobs = [SimpleNamespace(warnings=texts) for texts in (("a: 1", "b: 1"), ("a: 1",), ("a: 2",))]
    assert _warnings_of_jobs(jobs) == ["a: 1 (3 jobs, 1 of them with other values)", "b: 1 (1 job)"]
