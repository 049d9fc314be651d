"""The samples of one stream that can still be shown, and where its "now" stands.

Rules of this file: sample times are data time; samples are equally spaced, so a gap is NaN in its place; what
comes out of order or twice changes nothing; a jump back in time starts anew.
"""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray

from monitor.core.blocks import NS, Block, Floats, Ints

KEPT_S = 600.0
MIN_KEPT = 4096
MAX_KEPT = 1 << 20
"""Values (samples x channels) kept of one stream at most."""
MAX_KEPT_OF_A_RECORDING = 1 << 24
TOLERANCE = 1.5
"""Samples by which a block's time may be off before it counts as a gap: senders' clocks jitter."""


class Trace:
    """A ring of the newest samples of one stream."""

    def __init__(self, rate_hz: float, channels: int, kept_s: float = KEPT_S) -> None:
        self.rate_hz, self.channels = rate_hz, channels
        self.period_ns = NS / rate_hz
        wanted = max(round(kept_s * rate_hz), MIN_KEPT)
        most = MAX_KEPT if kept_s <= KEPT_S else MAX_KEPT_OF_A_RECORDING
        self.capacity = max(min(wanted, most // channels), 2)
        self._kept_s = kept_s
        self._values = np.full((self.capacity, channels), np.nan, np.float32)
        self._end = 0
        """Samples ever written, gaps included; the newest stands at (end - 1) % capacity."""
        self.count = 0
        """Samples held, gaps included."""
        self.newest_ns = 0
        self._run, self._next_seq = "", 0

    def push(self, block: Block) -> None:
        """Take the samples of a block in; one without a time continues the last."""
        values, t0_ns = block.values, block.t0_ns
        follows = round(self.newest_ns + self.period_ns)
        if t0_ns is None:
            t0_ns = follows if self.count else 0
        if self.count:
            ahead = (t0_ns - follows) / self.period_ns  # samples
            if ahead > TOLERANCE:
                self._skip(round(ahead))
            elif ahead < -TOLERANCE:
                if self._is_repeat(block):
                    values = values[min(round(-ahead), len(values)) :]
                else:
                    self.clear()
        if len(values):
            self._write(values)
            self.newest_ns = t0_ns + round((len(block.values) - 1) * self.period_ns)
        if block.run != self._run:
            self._run, self._next_seq = block.run, 0
        if block.seq is not None:
            self._next_seq = max(block.seq + len(block.values), self._next_seq)

    def _is_repeat(self, block: Block) -> bool:
        return block.run == self._run and (block.seq is None or block.seq < self._next_seq)

    def _skip(self, samples: int) -> None:
        if samples >= self.capacity:
            self.clear()
        else:
            self._write(np.full((samples, self.channels), np.nan, np.float32))

    def _write(self, values: Floats) -> None:
        values = values[-self.capacity :]
        at = (self._end + np.arange(len(values))) % self.capacity
        self._values[at] = values
        self._end += len(values)
        self.count = min(self.count + len(values), self.capacity)

    def clear(self) -> None:
        """Forget everything."""
        self._end = self.count = 0
        self._next_seq = 0

    def between(self, from_ns: int, to_ns: int) -> tuple[Ints, Floats]:
        """Times and values (time, channel) from `from_ns` to `to_ns`, and one sample more on either side."""
        back = (self.newest_ns - np.array([from_ns, to_ns])) / self.period_ns
        oldest, newest = int(np.ceil(back[0])) + 1, int(np.floor(back[1])) - 1  # counted back from the newest
        oldest, newest = min(oldest, self.count - 1), max(newest, 0)
        if oldest < newest:
            return np.empty(0, np.int64), np.empty((0, self.channels), np.float32)
        times = self.newest_ns - np.rint(np.arange(oldest, newest - 1, -1) * self.period_ns).astype(np.int64)
        first = (self._end - 1 - oldest) % self.capacity
        count = oldest - newest + 1
        values = self._values[first : first + count]
        if len(values) < count:
            values = np.concatenate((values, self._values[: count - len(values)]))
        return times, values

    def at(self, times_ns: NDArray[np.int64]) -> Floats:
        """The nearest sample to each time (time, channel); NaN where none is held."""
        ago = np.rint((self.newest_ns - times_ns) / self.period_ns).astype(np.int64)
        held = (ago >= 0) & (ago < self.count)
        values: Floats = self._values[(self._end - 1 - np.where(held, ago, 0)) % self.capacity]
        values[~held] = np.nan
        return values

    def copy(self) -> Trace:
        """The same samples, which later blocks do not change."""
        twin = Trace(self.rate_hz, self.channels, self._kept_s)
        twin._values = self._values.copy()
        twin._end, twin.count, twin.newest_ns = self._end, self.count, self.newest_ns
        return twin


class Playhead:
    """The "now" of a stream, moving smoothly although blocks arrive in steps and perhaps faster than real time.

    It follows the line through the last arrivals (wall time, newest data time), one interval between arrivals
    late, so that it need not stop and wait; it never passes the newest.
    """

    SPAN_S = 2.0
    JUMP_S = 1.5
    """Farther than so many wall seconds' worth behind, it jumps instead of moving."""

    def __init__(self) -> None:
        self._arrivals: deque[tuple[float, int]] = deque(maxlen=64)
        self._shown_ns = 0
        self.interval_s = 0.0
        """Seconds between arrivals, smoothed."""

    def arrive(self, newest_ns: int, now_s: float) -> None:
        """The newest sample is now `newest_ns`."""
        arrivals = self._arrivals
        if arrivals and newest_ns < arrivals[-1][1]:
            arrivals.clear()
            self._shown_ns = newest_ns
        if arrivals:
            self.interval_s += 0.2 * (now_s - arrivals[-1][0] - self.interval_s)
        arrivals.append((now_s, newest_ns))
        while len(arrivals) > 2 and now_s - arrivals[0][0] > self.SPAN_S:
            arrivals.popleft()

    def at(self, now_s: float) -> int:
        """Where to draw "now" at wall time `now_s`; never goes back, never ahead of the data."""
        if not self._arrivals:
            return self._shown_ns
        (first_s, first_ns), (last_s, last_ns) = self._arrivals[0], self._arrivals[-1]
        if last_s - first_s < 0.2 or now_s - last_s > max(self.JUMP_S, 3 * self.interval_s):
            self._shown_ns = last_ns
            return last_ns
        speed = (last_ns - first_ns) / (last_s - first_s)  # ns of data a second
        middle = sum(ns - first_ns - speed * (s - first_s) for s, ns in self._arrivals) / len(self._arrivals)
        interval_s = (last_s - first_s) / (len(self._arrivals) - 1)
        wanted = first_ns + round(middle + speed * (now_s - interval_s - first_s))
        if abs(wanted - self._shown_ns) > speed * self.JUMP_S:
            self._shown_ns = wanted
        self._shown_ns = min(max(self._shown_ns, wanted), last_ns)
        return self._shown_ns
