"""Shared by all tests: repeatable hypothesis profiles, a headless matplotlib, and the data the tests compare with."""

from __future__ import annotations

import os
import signal
from pathlib import Path

os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import pytest
from ase import Atoms
from hypothesis import HealthCheck, settings

REPOSITORY = Path(__file__).resolve().parent.parent
PUBLISHED_PARTICLE = REPOSITORY / "aet2dft" / "data" / "fept_2017" / "FePt_cns_final.xyz"

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in the background of a shell; children would inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)

# the same examples in every run; AET2DFT_HYPOTHESIS=explore searches for new ones
_SLOW_IS_FINE = [HealthCheck.too_slow, HealthCheck.data_too_large]
settings.register_profile("ci", derandomize=True, deadline=None, max_examples=20, suppress_health_check=_SLOW_IS_FINE)
settings.register_profile("explore", deadline=None, max_examples=300, suppress_health_check=_SLOW_IS_FINE)
settings.load_profile(os.environ.get("AET2DFT_HYPOTHESIS", "ci"))


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Folder of published data that may not be shipped; a test that needs it is skipped without."""
    folder = Path(os.environ.get("AET2DFT_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no published data in {folder}; set AET2DFT_DATA to the folder that holds mea_hea_2023 and others")
    return folder


@pytest.fixture(scope="session")
def fept() -> Atoms:
    """The measured FePt particle of Yang et al., Nature 542, 75 (2017), that ships with the package."""
    rows = [line.split(maxsplit=4) for line in PUBLISHED_PARTICLE.read_text().splitlines()[2:]]
    return Atoms([row[0] for row in rows], positions=np.array([row[1:4] for row in rows], dtype=float))


@pytest.fixture(scope="session")
def fept_order(fept):
    """The measured particle with its arrays, and the record: what `order` makes of it by default."""
    from aet2dft.structure.chemical_order import order

    return order(fept)
