"""Forecasts of a refinement. Truth: the run itself, on synthetic particles."""

import subprocess
import sys

import numpy as np
import pytest

from aet2dft import memory
from aet2dft.config import RefineSettings
from aet2dft.errors import ResourceError
from aet2dft.recon.atoms import workload
from aet2dft.recon.atoms.refinement import refine
from aet2dft.synthetic import fept_twin
from aet2dft.synthetic.image_series import tilt_series


@pytest.fixture(scope="module")
def case():
    atoms = fept_twin(n_atoms=200)
    return atoms, tilt_series(atoms).series


def test_more_steps_more_rounds_and_more_images_take_longer(case):
    atoms, series = case
    few = workload.predicted_seconds(atoms, series.subset(np.arange(0, 68, 17)), RefineSettings())
    more = workload.predicted_seconds(atoms, series, RefineSettings())
    assert 0 < few < more
    assert workload.needed_bytes(series.subset(np.arange(4))) < workload.needed_bytes(series)


def test_what_repeats_of_the_noise_take_is_told(case, monkeypatch):
    """Truth: 50 fits of noise for one atom take longer than one."""
    atoms, series = case
    many = workload.predicted_seconds(atoms[:1], series, RefineSettings(rounds=0, iterations=1))
    monkeypatch.setattr(workload, "probes", lambda n_atoms: 1)
    assert workload.predicted_seconds(atoms[:1], series, RefineSettings(rounds=0, iterations=1)) < many / 3


def test_a_refinement_that_memory_does_not_allow_is_refused(case, monkeypatch):
    atoms, series = case
    monkeypatch.setattr(memory, "free_memory", lambda: 0.9 * workload.needed_bytes(series))
    with pytest.raises(ResourceError, match=r"refining against 68 images .* GB are free; .*crop the images"):
        refine(atoms, series)


@pytest.mark.slow
@pytest.mark.parametrize("fit_geometry", [False, True])
def test_memory_and_time_are_those_of_the_run(fit_geometry):
    code = """
import resource, sys, time
import numpy as np
from aet2dft.config import RefineSettings
from aet2dft.recon.atoms import workload
from aet2dft.recon.atoms.refinement import refine
from aet2dft.synthetic import fept_twin
from aet2dft.synthetic.image_series import tilt_series

def case(n):
    atoms = fept_twin(n_atoms=n)
    series = tilt_series(atoms).series
    for name in set(atoms.arrays) - {"numbers", "positions"}:
        del atoms.arrays[name]
    return atoms[np.arange(len(atoms)) % 50 > 0], series

def memory(key):
    lines = open("/proc/self/status").read().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(key)).split()[1])

settings = RefineSettings(iterations=2, rounds=1, fit_geometry=sys.argv[1] == "True")
refine(*case(200), settings)
atoms, series = case(4000)
seconds = workload.predicted_seconds(atoms, series, settings)
open("/proc/self/clear_refs", "w").write("5")
before, begun = memory("VmRSS:"), time.perf_counter()
refine(atoms, series, settings)
took = time.perf_counter() - begun
print(workload.needed_bytes(series) / (memory("VmHWM:") - before), seconds / took)
"""
    command = [sys.executable, "-c", code, str(fit_geometry)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    of_memory, of_time = map(float, done.stdout.split())
    assert 0.85 < of_memory < 1.3
    assert 0.3 < of_time < 3.0  # others may use the machine
