"""Samples that have come and that no lane has seen yet: kept until many streams can be looked at together.

A lane works on rectangles, streams side by side; what a stream brings in one go is a row of one. So samples are
only noted as they come, which costs next to nothing, and handed on when somebody asks what waits for inference.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from monitor.core.blocks import Floats, Ints
from monitor.core.lanes import Lane
from monitor.core.quality import Quality, Sound

_Part = tuple[Ints, Floats, int]
"""Slots (n,), values (n, time, channel), mark."""
_Whole = tuple[Ints, Floats, Ints]
"""Distinct slots in order (n,), all that came of each (n, time, channel), the first mark of each (n,)."""


class Arrivals:
    """Samples by stream, without gaps within each; lanes are fed when `flush` is called."""

    def __init__(self, quality: Quality, capacity: int) -> None:
        """`quality` sees all samples, before the lanes do."""
        self.quality = quality
        self._lanes: list[tuple[Lane, ...]] = []
        self._of = np.zeros(capacity, np.int64)
        """Which of these each stream has, by slot."""
        self._rate_hz = np.zeros(capacity)
        self._waits = np.zeros(capacity, np.bool_)
        self._count = 0
        self._parts: list[_Part] = []
        """In the order in which they came."""

    def __contains__(self, slot: int) -> bool:
        return bool(self._waits[slot])

    def __len__(self) -> int:
        return self._count

    def bind(self, slot: int, lanes: tuple[Lane, ...], rate_hz: float) -> None:
        """The stream's lanes and rate from here on; nothing of it waits."""
        if lanes not in self._lanes:
            self._lanes.append(lanes)
        self._of[slot], self._rate_hz[slot] = self._lanes.index(lanes), rate_hz

    def unbind(self) -> None:
        """Lanes are others from here on; nothing waits, and every stream is bound anew."""
        self._lanes.clear()

    def add(self, slots: Ints, values: Floats, mark: int) -> None:
        """Samples (n, time, channel) of distinct streams that follow on the last ones of each one's segment."""
        self._count += len(slots) - int(np.count_nonzero(self._waits[slots]))
        self._waits[slots] = True
        self._parts.append((slots, values, mark))

    def flush(self) -> None:
        """Feed the lanes: all streams of the same lanes, rate and number of samples in one go."""
        if not self._parts:
            return
        parts, self._parts, self._count = self._parts, [], 0
        whole = self._side_by_side(parts) if len({part[1].shape[1:] for part in parts}) == 1 else _gathered(parts)
        for slots, values, marks in whole:
            self._waits[slots] = False
            kinds, rates = self._of[slots], self._rate_hz[slots]
            if (kinds == kinds[0]).all() and (rates == rates[0]).all():
                self._feed(self._lanes[kinds[0]], float(rates[0]), slots, marks, values)
                continue
            for kind, rate_hz in sorted(set(zip(kinds.tolist(), rates.tolist(), strict=True))):
                mine = np.flatnonzero((kinds == kind) & (rates == rate_hz))
                self._feed(self._lanes[kind], rate_hz, slots[mine], marks[mine], values[mine])

    @staticmethod
    def _side_by_side(parts: Sequence[_Part]) -> Iterator[_Whole]:
        """Parts of one shape: the streams of which as many came, each one's in the order in which they came."""
        slots = np.concatenate([part[0] for part in parts])
        values = np.concatenate([part[1] for part in parts])
        marks = np.repeat(np.array([part[2] for part in parts]), [len(part[0]) for part in parts])
        order = np.argsort(slots, kind="stable")  # lanes and judges are quicker with streams in order
        slots = slots[order]
        first = np.flatnonzero(np.concatenate(([True], slots[1:] != slots[:-1])))
        counts = np.diff(np.append(first, len(slots)))
        for count in sorted(set(counts.tolist())):
            heads = first[counts == count]
            rows = order[heads[:, None] + np.arange(count)]  # (stream, nth)
            joined = values[rows].reshape(len(heads), -1, values.shape[2])
            yield slots[heads], joined, marks[rows[:, 0]]

    def _feed(self, lanes: tuple[Lane, ...], rate_hz: float, slots: Ints, marks: Ints, values: Floats) -> None:
        width = max((lane.card.channels for lane in lanes), default=1)
        width = max(width, int(self.quality.leads[slots].max()))
        cut = self.quality.feed(slots, values[:, :, :width], rate_hz)
        whole = np.delete(np.arange(len(slots)), list(cut)) if cut else slice(None)
        for lane in lanes:
            if len(cut) < len(slots):
                lane.feed(slots[whole], values[whole], marks[whole])
            for row, pieces in cut.items():
                _feed_sound(lane, slots[[row]], values[[row]], rate_hz, marks[[row]], pieces)


def _gathered(parts: Sequence[_Part]) -> Iterator[_Whole]:
    """Parts of several shapes: the same, one by one."""
    came: dict[int, list[Floats]] = {}
    since: dict[int, int] = {}
    for slots, values, mark in parts:
        for slot, mine in zip(slots.tolist(), values, strict=True):
            came.setdefault(slot, []).append(mine)
            since.setdefault(slot, mark)
    alike: dict[tuple[int, ...], list[tuple[int, Floats]]] = {}
    for slot in sorted(came):
        joined = np.concatenate(came[slot])
        alike.setdefault(joined.shape, []).append((slot, joined))
    for some in alike.values():
        ids = [slot for slot, _ in some]
        yield np.array(ids), np.stack([joined for _, joined in some]), np.array([since[slot] for slot in ids])


def _feed_sound(
    lane: Lane, slots: Ints, values: Floats, rate_hz: float, marks: Ints, pieces: Sequence[Sound]
) -> None:
    """Of one stream, whose signal is not sound throughout: what a lane should see.

    A lane of more channels than there are sound leads sees the same lead more than once: two leads that are alike
    tell a model of two what the one tells a model of one.
    """
    for piece in pieces:
        if piece.anew_ns is not None:
            lane.start(int(slots[0]), rate_hz, piece.anew_ns)
        if piece.begin < piece.end:
            sound = values[:, piece.begin : piece.end]
            if piece.leads:
                sound = sound[:, :, np.resize(piece.leads, lane.card.channels)]
            lane.feed(slots, sound, marks)
