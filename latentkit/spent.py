"""What a computation costs: seconds, and memory beyond what was held before it.

Memory is that of the process, looked at a hundred times a second, so what is shorter-lived may be missed; what an
earlier computation freed is given back to the system first, where the C library can, since it would be taken again
unseen.
"""

import contextlib
import ctypes
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

import psutil

EVERY = 0.01  # [s] between two looks


@dataclass
class Spent:
    """Hold seconds [s], and memory [MB] at its peak, not a number before the end."""

    seconds: float = float("nan")
    memory: float = float("nan")


@contextlib.contextmanager
def spent() -> Iterator[Spent]:
    """Measure what is within: `with spent() as cost: ...`, then cost.seconds and cost.memory."""
    with contextlib.suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)
    process, done, cost = psutil.Process(), threading.Event(), Spent()
    before = process.memory_info().rss
    peak = [before]

    def look() -> None:
        while not done.wait(EVERY):
            peak.append(max(peak.pop(), process.memory_info().rss))

    watcher, begun = threading.Thread(target=look, daemon=True), time.perf_counter()
    watcher.start()
    try:
        yield cost
    finally:
        cost.seconds = time.perf_counter() - begun
        done.set()
        watcher.join()
        cost.memory = (max(peak[0], process.memory_info().rss) - before) / 2**20
