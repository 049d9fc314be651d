"""Times of calls, and of other processes."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


def best_times(calls: Sequence[Callable[[], object]], rounds: int, round_s: float = 0.02) -> list[float]:
    """CPU seconds that each call takes in this thread, the best of `rounds` turns that they take."""
    repeats = []
    for call in calls:
        call()  # the first one allocates
        began = time.thread_time()
        call()
        repeats.append(max(1, round(round_s / max(time.thread_time() - began, 1e-7))))
    best = [float("inf")] * len(calls)
    for _ in range(rounds):
        for i, call in enumerate(calls):
            began = time.thread_time()
            for _ in range(repeats[i]):
                call()
            best[i] = min(best[i], (time.thread_time() - began) / repeats[i])
    return best


def cpu_seconds(pid: int) -> float:
    """CPU seconds that a process has used, in all its threads; of a process of Linux."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def rss_mib(pid: int) -> float:
    """Memory that a process holds."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
