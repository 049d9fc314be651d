"""Which streams have fallen silent: the one thing in core that is told the time, for no sample tells it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from monitor.core.blocks import Ints

_USUALLY = 3.0
"""A stream that sends seldom is silent only after so many times its longest wait of late."""
_FORGET = 0.9
"""What is left of the longest wait with each one that is shorter: soon after an outage, not much."""


class Staleness:
    """Of up to `capacity` streams: how long each has been silent, against how long it usually is."""

    def __init__(self, capacity: int) -> None:
        self._count = np.zeros(capacity, np.int64)
        self._since_s = np.full(capacity, np.nan)
        self._usual_s = np.zeros(capacity)
        self._is_stale = np.zeros(capacity, np.bool_)
        self._looked_s = np.nan

    def look(self, counts: Ints, after_s: NDArray[np.float64], now_s: float) -> tuple[list[int], list[int]]:
        """Slots that have just fallen silent, and those that have just come back.

        `counts` (slot,) is any number that changes when samples come, `after_s` (slot,) how long a silence is one;
        0 says never.
        """
        n, self._looked_s = len(counts), now_s
        moved = counts != self._count[:n]
        waited_s = np.where(moved & ~np.isnan(self._since_s[:n]), now_s - self._since_s[:n], 0.0)
        back = np.flatnonzero(moved & self._is_stale[:n])
        usual_s = self._usual_s[:n]
        self._usual_s[:n] = np.where(moved, np.maximum(waited_s, _FORGET * usual_s), usual_s)
        self._since_s[:n][moved] = now_s
        self._count[:n] = counts
        self._is_stale[back] = False
        enough_s = np.maximum(after_s, _USUALLY * self._usual_s[:n])
        silent = ~self._is_stale[:n] & (after_s > 0) & (now_s - self._since_s[:n] >= enough_s)
        self._is_stale[:n] |= silent
        return np.flatnonzero(silent).tolist(), back.tolist()

    def silent_s(self, counts: Ints) -> NDArray[np.float64]:
        """(slot,) for how long each was silent at the last look; 0 where there was none or samples came since."""
        n = len(counts)
        return np.where(counts == self._count[:n], np.nan_to_num(self._looked_s - self._since_s[:n]), 0.0)

    def waits(self, after_s: NDArray[np.float64]) -> bool:
        """Whether any of them may yet fall silent."""
        return bool((~self._is_stale[: len(after_s)] & (after_s > 0)).any())
