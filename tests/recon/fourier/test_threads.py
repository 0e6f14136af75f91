"""Truth: every number once, whatever the number of threads."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from aet2dft.recon.fourier.threads import in_shares, in_threads, of_each


def test_every_number_is_worked_on_once_and_errors_come_through():
    seen = np.zeros(17, dtype=int)

    def one_by_one(_, numbers):
        for number in numbers:
            seen[number] += 1

    def together(numbers):
        seen[numbers.start : numbers.stop] += 1

    in_threads(one_by_one, 17)
    in_shares(together, 17)
    assert_array_equal(seen, 2)
    assert of_each(lambda number: 2 * number, range(17)) == list(range(0, 34, 2))
    with pytest.raises(ZeroDivisionError):
        in_threads(lambda worker, numbers: 1 // 0, 17)
    with pytest.raises(ZeroDivisionError):
        in_shares(lambda numbers: 1 // 0, 17)
    with pytest.raises(ZeroDivisionError):
        of_each(lambda number: 1 // 0, range(17))
