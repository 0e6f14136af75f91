"""Work that the threads share; what comes of it does not depend on how many there are."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from functools import partial
from typing import TypeVar, cast

from aet2dft.recon.fourier._kernels_volume import thread_count

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_threads(work: Callable[[int, Iterator[int]], None], count: int) -> None:
    """Share the numbers below `count` among the threads: ``work(worker, numbers)`` once per worker.

    Parameters
    ----------
    work : callable
        Takes the number of the worker, below `thread_count`, and the numbers, of which every worker takes the next one
        that is left: none waits for a slower one.
    count : int
        How many there are.
    """
    numbers = iter(range(count))
    _at_once([partial(work, worker, numbers) for worker in range(min(thread_count(), count))])


def of_each(function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """What a function makes of every item, in their order; it must not share work among threads itself.

    Parameters
    ----------
    function : callable
        Takes an item.
    items : iterable
        Images or planes.
    """
    inputs = list(items)
    found: list[Result | None] = [None] * len(inputs)

    def work(_: int, numbers: Iterator[int]) -> None:
        for number in numbers:
            found[number] = function(inputs[number])

    in_threads(work, len(inputs))
    return cast(list[Result], found)


def in_shares(work: Callable[[range], None], count: int) -> None:
    """Share the numbers below `count` among the threads for loops that are compiled: ``work(numbers)`` once per thread.

    Parameters
    ----------
    work : callable
        Takes the consecutive numbers that it is given.
    count : int
        How many there are.
    """
    workers = min(thread_count(), count)
    shares = [range(count * w // workers, count * (w + 1) // workers) for w in range(workers)]
    _at_once([partial(work, share) for share in shares])


def _at_once(tasks: Sequence[Callable[[], None]]) -> None:
    """Call all, the first one here."""
    others = [_pool(thread_count() - 1).submit(task) for task in tasks[1:]]
    try:
        tasks[0]()
        for other in others:
            other.result()
    finally:
        wait(others)


@functools.cache
def _pool(size: int) -> ThreadPoolExecutor:
    """Threads that stay: to start them takes as long as a plane."""
    return ThreadPoolExecutor(size)


os.register_at_fork(after_in_child=_pool.cache_clear)
