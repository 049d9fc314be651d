"""Counters and histograms of a running daemon."""

from __future__ import annotations

import asyncio
import time

import numpy as np

from monitor.core.blocks import Ints

_LAG_S = 0.05


class Histogram:
    """Durations in buckets a tenth of an octave apart, from 10 us to about three minutes."""

    _PER_OCTAVE = 10
    _LOWEST_NS = 10_000

    def __init__(self) -> None:
        self._counts = np.zeros(24 * self._PER_OCTAVE, np.int64)

    def add(self, durations_ns: Ints) -> None:
        """Count durations (n,)."""
        octaves = np.log2(np.maximum(durations_ns, 1) / self._LOWEST_NS)
        buckets = np.clip(octaves * self._PER_OCTAVE, 0, len(self._counts) - 1).astype(np.int64)
        np.add.at(self._counts, buckets, 1)

    def quantile_ms(self, share: float) -> float:
        """The duration that `share` of all stay below, to 7 %; NaN before the first."""
        total = int(self._counts.sum())
        if not total:
            return float("nan")
        bucket = int(np.searchsorted(np.cumsum(self._counts), share * total))
        return float(self._LOWEST_NS * 2 ** ((bucket + 0.5) / self._PER_OCTAVE)) / 1e6


class Telemetry:
    """What is counted besides the ledgers."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Begin at nothing."""
        self.latency = Histogram()
        """From the receipt of the block that completed a window to its publication."""
        self.loop_lag = Histogram()
        """How much later than asked for the event loop wakes a task."""
        self.windows = 0
        self.events = 0
        self.refused = 0
        self.skipped_share = 0.0
        """Of the hops since the last beat, those that were left out."""
        self._last = (0, 0)

    def beat(self, skipped: int) -> None:
        """So many hops have been skipped so far; called about once a second."""
        windows_before, skipped_before = self._last
        self._last = (self.windows, skipped)
        left_out = max(skipped - skipped_before, 0)
        hops = left_out + max(self.windows - windows_before, 0)
        self.skipped_share = left_out / hops if hops else 0.0

    async def watch_loop(self) -> None:
        """Measure for ever how late the event loop is."""
        while True:
            due_ns = time.monotonic_ns() + _LAG_S * 1e9
            await asyncio.sleep(_LAG_S)
            self.loop_lag.add(np.array([max(time.monotonic_ns() - due_ns, 0)]))
