"""Rolling windows of many streams.

Invariants:
- However samples are cut into pushes, the windows are the same.
- A window never spans a segment: `start` empties the stream's window, which then warms up again.
- Positions are integers counted from the start of the segment; there is no float in here.

Of each stream the newest window is kept and nothing else. A push lays what is new beside it, row by row, so that
any window is one contiguous slice, and a batch of windows of any streams is one gather.
"""

from __future__ import annotations

import numpy as np

from monitor.core.blocks import Floats, Ints


def seconds_to_samples(seconds: float, rate_hz: float) -> int:
    """The number of samples nearest to `seconds`; the one place where this is computed."""
    return round(seconds * rate_hz)


class Windows:
    """The last `window` samples of up to `capacity` streams; a window is due every `hop` samples.

    The first is due when it is full, or, with `early`, as soon as the hops that lead there begin: what is missing
    of it is then filled with the segment's first sample.
    """

    def __init__(self, window: int, hop: int, channels: int, capacity: int, *, early: bool = False) -> None:
        self.window, self.hop, self.early = window, hop, early
        self.first = (window - 1) % hop + 1 if early else window
        """Samples of a segment at the end of its first window."""
        self._newest = np.zeros((capacity, channels, window), np.float32)
        """What there is not yet of a young segment is what lies before it, and in no window."""
        self._count = np.zeros(capacity, np.int64)

    def start(self, slot: int) -> None:
        """Begin a new segment: nothing from before is in any later window."""
        self._count[slot] = 0

    def count(self, slots: Ints) -> Ints:
        """Samples pushed since the segment of each stream began."""
        return self._count[slots]

    def push(self, slots: Ints, counts: Ints, values: Floats) -> tuple[Ints, Ints, Floats]:
        """Add `values` (sum of counts, channel), `counts` samples to each of the distinct streams `slots`.

        Returns the windows that became due, the first of each stream, then the second of each, and so on, for what
        is made of them is quickest where streams differ: row of `slots` (n,), samples since the segment began up
        to the window's end (n,), and the windows (n, time, channel).
        """
        before = self._count[slots]
        self._count[slots] = after = before + counts
        views = self._lines(slots, counts, values)  # (stream, start, channel, time)
        self._newest[slots] = views[np.arange(len(slots)), counts]

        # Windows end at first, first + hop, ...: how many ended up to a count c is a plain quotient.
        done = np.maximum(before - self.first + self.hop, 0) // self.hop
        due = np.maximum(after - self.first + self.hop, 0) // self.hop - done
        rows = np.repeat(np.arange(len(slots)), due)
        turn = np.arange(len(rows)) - np.repeat(np.cumsum(due) - due, due)
        if len(due) and due.max() > 1:
            order = np.argsort(turn, kind="stable")
            rows, turn = rows[order], turn[order]
        ends = self.first + (done[rows] + turn) * self.hop
        gathered = views[rows, ends - before[rows]]  # (n, channel, time)
        for row in np.flatnonzero(ends < self.window):
            missing = self.window - ends[row]
            gathered[row, :, :missing] = gathered[row, :, missing, None]
        return rows, ends, gathered.transpose(0, 2, 1)

    def _lines(self, slots: Ints, counts: Ints, values: Floats) -> Floats:
        """All windows in what was kept of each stream with its new samples behind it; the kept one is first."""
        most, channels = int(counts.max(initial=0)), values.shape[1]
        lines = np.empty((len(slots), channels, self.window + most), np.float32)
        lines[:, :, : self.window] = self._newest[slots]
        fresh = lines[:, :, self.window :].transpose(0, 2, 1)  # (stream, time, channel)
        if len(values) == len(slots) * most:
            fresh[:] = values.reshape(fresh.shape)
        else:
            rows = np.repeat(np.arange(len(slots)), counts)
            fresh[rows, np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)] = values
        row, channel, step = lines.strides
        shape, strides = (len(slots), most + 1, channels, self.window), (row, step, channel, step)
        return np.ndarray(shape, np.float32, lines, strides=strides)  # sliding_window_view takes 10 us to say this
