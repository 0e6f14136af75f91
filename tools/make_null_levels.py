"""Writes aet2dft/structure/null_levels.json: chance levels of sublattice order in random alloys; two minutes."""

import json
from pathlib import Path

import numpy as np

from aet2dft.structure.order_parameters import NULL_QUANTILE, simulate_null

SIGMA = [0.5, 0.6, 0.7, 0.85, 1.0, 1.25, 1.5]
CONCENTRATION = [0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5]


def main() -> None:
    """Simulate every window and composition of the table."""
    level = [
        [
            round(float(np.quantile(np.concatenate([simulate_null(s, x, seed=n) for n in range(2)]), NULL_QUANTILE)), 4)
            for x in CONCENTRATION
        ]
        for s in SIGMA
    ]
    target = Path(__file__).parent.parent / "aet2dft" / "structure" / "null_levels.json"
    target.write_text(json.dumps({"sigma": SIGMA, "concentration": CONCENTRATION, "level": level}, indent=1) + "\n")


if __name__ == "__main__":
    main()
