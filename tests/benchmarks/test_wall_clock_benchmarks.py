"""Two threads beside one, and the time that a dry run tells beside the run: for a machine with nothing else to do.

Truth: the same bytes. Run with ``pytest tests/benchmarks/test_wall_clock_benchmarks.py -m "" --benchmark-enable``;
ratios are in the extra information of the benchmark.
"""

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow
REPEATS = 3
CHILD = """
import hashlib, sys, time
import numpy as np
from aet2dft.config import ReconstructSettings
from aet2dft.recon.tilt_series import TiltSeries
from aet2dft.recon.volumes.forecast import predicted_seconds
from aet2dft.recon.volumes.preparation import plan
from aet2dft.recon.volumes.reconstruction import carry_out

kind, algorithm, n, what = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]

def planned(n):
    theta = np.linspace(-65.6, 64.3, 68)
    angles = np.column_stack([np.sin(theta), theta, np.cos(theta)]) if kind == "general" else theta
    window = np.exp(-((np.arange(n) - n // 2) / (0.31 * n)) ** 2).astype(np.float32)
    images = np.random.default_rng(0).random((68, n, n), dtype=np.float32) * np.outer(window, window)
    settings = {} if what == "forecast" else {"held_out": 0, "halves": False, "center_offset": 0.0}
    iterations = 30 if algorithm != "lsq" else 20 if what == "forecast" else 75
    settings = ReconstructSettings(algorithm=algorithm, iterations=iterations, **settings)
    return plan(TiltSeries.from_angles(images, angles, pixel_size=0.4), settings, None)

carry_out(planned(16))
intended = planned(n)
if what == "forecast":
    # of one thread, on a machine that is shared with others
    time.perf_counter = time.process_time
told = predicted_seconds(intended) if what == "forecast" else 0.0
begun = time.perf_counter()
volume, result = carry_out(intended)
digest = hashlib.sha256(volume.values.tobytes()).hexdigest()
print(digest, time.perf_counter() - begun, result.seconds_per_iteration, told)
"""


def child(*arguments, threads):
    """Digest, seconds of a reconstruction, of one iteration, and those that were predicted."""
    environment = os.environ | {"NUMBA_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE"}
    done = subprocess.run(
        [sys.executable, "-c", CHILD, *map(str, arguments)],
        capture_output=True, text=True, check=True, env=environment,
    )  # fmt: skip
    digest, *seconds = done.stdout.split()
    return digest, *map(float, seconds)


@pytest.fixture(autouse=True)
def only_timed(benchmark):
    """The bytes are compared by other tests; these take minutes for their times."""
    if benchmark.disabled:
        pytest.skip("wall-clock times are taken by `make bench`")


@pytest.mark.parametrize(
    ("kind", "algorithm", "n"), [("axis", "lsq", 180), ("axis", "genfire", 180), ("general", "lsq", 96)]
)
def test_two_threads_beside_one(benchmark, kind, algorithm, n):
    def pairs():
        return [[child(kind, algorithm, n, "run", threads=threads) for threads in (1, 2)] for _ in range(REPEATS)]

    found = benchmark.pedantic(pairs, rounds=1)
    one, two = ([pair[threads] for pair in found] for threads in (0, 1))
    for position, name in ((1, "whole"), (2, "iteration")):
        ratio = min(run[position] for run in one) / min(run[position] for run in two)
        benchmark.extra_info[f"one over two threads, {name}"] = round(ratio, 2)
    assert len({run[0] for run in one + two}) == 1


@pytest.mark.parametrize(
    ("kind", "algorithm", "n"),
    [("axis", "lsq", 96), ("axis", "lsq", 180), ("axis", "genfire", 128), ("axis", "sirt", 96),
     ("general", "lsq", 64), ("general", "lsq", 96), ("general", "genfire", 64)],
)  # fmt: skip
def test_the_time_that_is_told_beside_the_run(benchmark, kind, algorithm, n):
    _, took, _, told = benchmark.pedantic(lambda: child(kind, algorithm, n, "forecast", threads=1), rounds=1)
    benchmark.extra_info["told over taken"] = round(told / took, 2)
    assert 0.2 < told / took < 5
