"""Counters and histograms of a running daemon."""

from __future__ import annotations

import numpy as np

from monitor.core.blocks import Ints


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
        self.windows = 0
        self.events = 0
        self.refused = 0
