"""Rolling windows of many streams, in one mirrored ring.

Invariants:
- However samples are cut into pushes, the windows are the same.
- A window never spans a segment: `start` empties the stream's window, which then warms up again.
- Positions are integers counted from the start of the segment; there is no float in here.

Every sample is written twice, at p and p + ring, so that any window is one contiguous slice and a batch of
windows of any streams is one gather.
"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from monitor.core.blocks import Floats, Ints


def seconds_to_samples(seconds: float, rate_hz: float) -> int:
    """The number of samples nearest to `seconds`; the one place where this is computed."""
    return round(seconds * rate_hz)


class Windows:
    """The last `window` samples of up to `capacity` streams; a window is due every `hop` samples.

    The first is due when it is full, or, with `early`, as soon as the hops that lead there begin: what is missing
    of it is then filled with the segment's first sample.
    """

    def __init__(
        self, window: int, hop: int, channels: int, capacity: int, ring: int = 0, *, early: bool = False
    ) -> None:
        self.window, self.hop, self.early = window, hop, early
        self.first = (window - 1) % hop + 1 if early else window
        """Samples of a segment at the end of its first window."""
        self._ring = ring or 2 * window + 64
        self._values = np.zeros((capacity, 2 * self._ring, channels), np.float32)
        self._views = sliding_window_view(self._values, window, axis=1)  # (stream, start, channel, time)
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
        room = self._ring - self.window + 1  # more would overwrite windows before they are gathered
        if len(counts) and counts.max() > room:
            return self._push_in_parts(slots, counts, values, room)
        before = self._count[slots]
        rows = np.repeat(np.arange(len(slots)), counts)
        offsets = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
        at = (before[rows] + offsets) % self._ring
        ids = slots[rows]
        self._values[ids, at] = values
        self._values[ids, at + self._ring] = values
        self._count[slots] = after = before + counts

        # Windows end at first, first + hop, ...: how many ended up to a count c is a plain quotient.
        done = np.maximum(before - self.first + self.hop, 0) // self.hop
        due = np.maximum(after - self.first + self.hop, 0) // self.hop - done
        rows = np.repeat(np.arange(len(slots)), due)
        turn = np.arange(len(rows)) - np.repeat(np.cumsum(due) - due, due)
        if len(due) and due.max() > 1:
            order = np.argsort(turn, kind="stable")
            rows, turn = rows[order], turn[order]
        ends = self.first + (done[rows] + turn) * self.hop
        gathered = self._views[slots[rows], (ends - self.window) % self._ring]  # (n, channel, time)
        for row in np.flatnonzero(ends < self.window):
            missing = self.window - ends[row]
            gathered[row, :, :missing] = gathered[row, :, missing, None]
        return rows, ends, gathered.transpose(0, 2, 1)

    def _push_in_parts(self, slots: Ints, counts: Ints, values: Floats, room: int) -> tuple[Ints, Ints, Floats]:
        offsets = np.cumsum(counts) - counts
        parts = []
        for done in range(0, int(counts.max()), room):
            some = np.clip(counts - done, 0, room)
            flat = (
                np.repeat(offsets + done, some) + np.arange(some.sum()) - np.repeat(np.cumsum(some) - some, some)
            )
            parts.append(self.push(slots, some, values[flat]))
        rows, ends, windows = (np.concatenate(column) for column in zip(*parts, strict=True))
        return rows, ends, windows
