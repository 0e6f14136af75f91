"""Time and memory of decks and results at the size of the paper: 1,452 volumes, 4,356 jobs.

Truth: the counts of Yang et al., Nature 542, 75 (2017), and the energies put into copies of real pw.x outputs.
Run with ``pytest tests/benchmarks -m "" --benchmark-enable``. Peer of the reading: the XML files through the standard
library's parser alone.
"""

import resource
import time
from xml.etree import ElementTree

import made_outputs
import numpy as np
import pytest
from numpy.testing import assert_allclose

from aet2dft.dft_inputs.decks import Manifest, write
from aet2dft.dft_inputs.input_sets import inputs
from aet2dft.dft_inputs.results import collect

pytestmark = pytest.mark.slow
N_VOLUMES, N_JOBS = 1452, 4356


def record(benchmark):
    """Keep the memory of the process with the times."""
    benchmark.extra_info["peak_memory_mb"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def split(volume):
    """An anisotropy that tells the volume, eV per cell."""
    return 1e-3 * (int(volume[1:]) % 97 - 48)


@pytest.fixture(scope="module")
def decks(fept_order, tmp_path_factory):
    """All decks with outputs in which the energy along [100] is that of [001] plus `split`."""
    directory = tmp_path_factory.mktemp("all") / "decks"
    write(directory, inputs(fept_order[0]))
    made_outputs.fill(directory, lambda volume, step: -100.0 + (split(volume) if step == "axis_100" else 0.0))
    return directory


@pytest.mark.parametrize("code", ["espresso", "vasp"])
def test_decks_of_1452_volumes(benchmark, code, fept_order, tmp_path):
    begun = time.process_time()
    made = benchmark.pedantic(lambda: inputs(fept_order[0], code=code), rounds=1)
    write(tmp_path / code, made)
    benchmark.extra_info["cpu_seconds_with_writing"] = round(time.process_time() - begun, 1)
    record(benchmark)
    assert (len(made.volumes), len(made.decks)) == (N_VOLUMES, N_JOBS)
    assert len(Manifest.read(tmp_path / code).jobs) == N_JOBS


def test_collect_of_4356_outputs(benchmark, decks):
    begun = time.process_time()
    runs = benchmark.pedantic(collect, args=(decks,), rounds=1)
    benchmark.extra_info["cpu_seconds"] = round(time.process_time() - begun, 1)
    record(benchmark)
    begun = time.process_time()
    for path in decks.glob("volumes/*/*/data-file-schema.xml"):
        ElementTree.parse(path)
    benchmark.extra_info["cpu_seconds_of_parsing_xml_alone"] = round(time.process_time() - begun, 1)
    assert runs.counts["ok"] == N_JOBS
    expected = [1e3 * split(name) / 32 for name in runs.volumes.volume]
    assert_allclose(runs.volumes.mae, expected, atol=1e-7)
    assert len(runs.moments.site_id) == N_VOLUMES * 32
    symbols = np.repeat([volume["symbols"] for volume in Manifest.read(decks).volumes], 1, axis=0).ravel()
    wanted = [made_outputs.small_moment(int(s), e) for s, e in zip(runs.moments.site_id, symbols, strict=True)]
    assert_allclose(runs.moments.moment[:, 2], wanted)
