"""What goes through a model at once: windows of many streams, and how to keep each stream's in order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from monitor.core.blocks import Floats, Ints


@dataclass(frozen=True, slots=True)
class Batch:
    """Windows of one model, in order of time within each stream."""

    model: str
    slots: Ints
    """(n,) which stream each row is of."""
    segments: Ints
    """(n,) which segment of that stream."""
    ends: Ints
    """(n,) samples since the segment began, up to the window's end."""
    t_ns: Ints
    """(n,) data time of the last sample."""
    marks: Ints
    """(n,) what the caller gave with the block that completed the window: when it was received."""
    windows: Floats
    """(n, time, channel)"""

    def __len__(self) -> int:
        return len(self.slots)

    def rows(self, rows: Ints | NDArray[np.bool_] | slice) -> Batch:
        """Some of the rows."""
        return Batch(
            self.model,
            self.slots[rows],
            self.segments[rows],
            self.ends[rows],
            self.t_ns[rows],
            self.marks[rows],
            self.windows[rows],
        )


def joined(parts: list[Batch]) -> Batch:
    """Batches of one model as one."""
    return Batch(
        parts[0].model,
        np.concatenate([part.slots for part in parts]),
        np.concatenate([part.segments for part in parts]),
        np.concatenate([part.ends for part in parts]),
        np.concatenate([part.t_ns for part in parts]),
        np.concatenate([part.marks for part in parts]),
        np.concatenate([part.windows for part in parts]),
    )


class Together:
    """Batches of one model that follow on each other; their rows are counted through."""

    def __init__(self, batches: Sequence[Batch]) -> None:
        self._batches = batches
        self.starts = np.cumsum([0, *map(len, batches)])
        """(batch + 1,) the first row of each, and the number of all."""
        self._nth = np.repeat(np.arange(len(batches)), np.diff(self.starts))
        self.slots, self.segments, self.ends = (
            np.concatenate([getattr(batch, name) for batch in batches]) for name in ("slots", "segments", "ends")
        )

    def __len__(self) -> int:
        return len(self.slots)

    def by_stream(self, least: int) -> Iterator[Ints]:
        """Rows (row of a stream, n) of all streams with as many rows, for every such number from `least` on.

        A batch holds a stream at most once, as it does where states are carried.
        """
        first, *others = (batch.slots for batch in self._batches)
        if all(len(slots) == len(first) and (slots == first).all() for slots in others):  # as a rule
            if len(self._batches) >= least:
                yield np.arange(len(self)).reshape(len(self._batches), -1)
            return
        order = np.argsort(self.slots, kind="stable")
        ordered = self.slots[order]
        heads = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
        counts = np.diff(np.append(heads, len(order)))
        for count in sorted({count for count in counts.tolist() if count >= least}):
            yield order[heads[counts == count] + np.arange(count)[:, None]]

    def newest(self, rows: Ints, samples: int) -> Floats:
        """The last `samples` of the windows of some rows (n, time, channel)."""
        values = np.empty((len(rows), samples, self._batches[0].windows.shape[2]), np.float32)
        for which in sorted(set(self._nth[rows].tolist())):
            mine = self._nth[rows] == which
            values[mine] = self._batches[which].windows[rows[mine] - self.starts[which], -samples:]
        return values


def rounds(slots: Ints) -> list[Ints]:
    """Rows in rounds: each holds at most one row of a stream, and a stream's rows come in order."""
    if not len(slots):
        return []
    if (slots[1:] > slots[:-1]).all():  # the usual case: every stream once, in order
        return [np.arange(len(slots))]
    order = np.argsort(slots, kind="stable")
    ordered = slots[order]
    starts = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
    rank = np.empty(len(slots), np.int64)
    rank[order] = np.arange(len(slots)) - np.repeat(starts, np.diff(np.append(starts, len(slots))))
    return [np.flatnonzero(rank == nth) for nth in range(int(rank.max()) + 1)]
