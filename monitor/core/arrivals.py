"""Samples that have come and that no lane has seen yet: kept until many streams can be looked at together.

A lane works on rectangles, streams side by side; what a stream brings in one go is a row of one. So samples are
only noted as they come, which costs next to nothing, and handed on when somebody asks what waits for inference.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from monitor.core.blocks import Floats, Ints
from monitor.core.lanes import Lane
from monitor.core.quality import Quality, Sound


class Arrivals:
    """Samples by stream, without gaps within each; lanes are fed when `flush` is called."""

    def __init__(self, quality: Quality) -> None:
        """`quality` sees all samples, before the lanes do."""
        self.quality = quality
        self._slots: set[int] = set()
        self._arrived: list[tuple[int, int, tuple[Lane, ...], float, Floats]] = []
        """Of each stream its slot, the first mark, lanes, rate, and the first values."""
        self._more: dict[int, list[Floats]] = {}
        """What came of a stream after that."""

    def __contains__(self, slot: int) -> bool:
        return slot in self._slots

    def __len__(self) -> int:
        return len(self._slots)

    def add(self, slot: int, lanes: tuple[Lane, ...], rate_hz: float, values: Floats, mark: int) -> None:
        """Samples (time, channel) that follow on the last ones of the stream's segment."""
        if slot in self._slots:
            self._more.setdefault(slot, []).append(values)
        else:
            self._slots.add(slot)
            self._arrived.append((slot, mark, lanes, rate_hz, values))

    def flush(self) -> None:
        """Feed the lanes: all streams of the same lanes, rate and number of samples in one go."""
        if not self._arrived:
            return
        arrived, more = sorted(self._arrived), self._more  # lanes and judges are quicker with streams in order
        self._slots, self._arrived, self._more = set(), [], {}
        slots, marks, lanes, rates, values = zip(*arrived, strict=True)
        if more:
            values = tuple(
                np.concatenate((first, *more[slot])) if slot in more else first
                for slot, first in zip(slots, values, strict=True)
            )
        alike: dict[tuple[tuple[Lane, ...], float, tuple[int, ...]], list[int]] = {}
        for i, key in enumerate(zip(lanes, rates, [one.shape for one in values], strict=True)):
            alike.setdefault(key, []).append(i)
        ids, received = np.array(slots), np.array(marks)
        for key, mine in alike.items():
            self._feed(*key, ids[mine], received[mine], [values[i] for i in mine])

    def _feed(
        self,
        lanes: tuple[Lane, ...],
        rate_hz: float,
        shape: tuple[int, ...],
        slots: Ints,
        marks: Ints,
        parts: Sequence[Floats],
    ) -> None:
        values = np.concatenate(parts).reshape(len(parts), *shape)  # (stream, time, channel)
        width = max((lane.card.channels for lane in lanes), default=1)
        width = max(width, int(self.quality.leads[slots].max()))
        cut = self.quality.feed(slots, values[:, :, :width], rate_hz)
        whole = np.delete(np.arange(len(slots)), list(cut)) if cut else slice(None)
        for lane in lanes:
            if len(cut) < len(slots):
                lane.feed(slots[whole], values[whole], marks[whole])
            for row, pieces in cut.items():
                _feed_sound(lane, slots[[row]], values[[row]], rate_hz, marks[[row]], pieces)


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
