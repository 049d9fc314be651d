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


class _Arrived:
    """What has come of one stream."""

    __slots__ = ("lanes", "mark", "parts", "rate_hz", "slot")

    def __init__(self, slot: int, lanes: Sequence[Lane], rate_hz: float, values: Floats, mark: int) -> None:
        self.slot, self.lanes, self.rate_hz, self.mark = slot, tuple(lanes), rate_hz, mark
        self.parts = [values]


class Arrivals:
    """Samples by stream, without gaps within each; lanes are fed when `flush` is called."""

    def __init__(self, quality: Quality) -> None:
        """`quality` sees all samples, before the lanes do."""
        self.quality = quality
        self._arrived: dict[int, _Arrived] = {}

    def __contains__(self, slot: int) -> bool:
        return slot in self._arrived

    def __len__(self) -> int:
        return len(self._arrived)

    def add(self, slot: int, lanes: Sequence[Lane], rate_hz: float, values: Floats, mark: int) -> None:
        """Samples (time, channel) that follow on the last ones of the stream's segment."""
        known = self._arrived.get(slot)
        if known is None:
            self._arrived[slot] = _Arrived(slot, lanes, rate_hz, values, mark)
        else:
            known.parts.append(values)

    def flush(self) -> None:
        """Feed the lanes: all streams of the same lanes, rate and number of samples in one go."""
        if not self._arrived:
            return
        groups: dict[
            tuple[tuple[Lane, ...], float, tuple[int, ...]], tuple[list[int], list[int], list[Floats]]
        ] = {}
        for _, one in sorted(self._arrived.items()):  # lanes and judges are quicker with streams in order
            values = one.parts[0] if len(one.parts) == 1 else np.concatenate(one.parts)
            key = (one.lanes, one.rate_hz, values.shape)
            if (group := groups.get(key)) is None:
                group = groups[key] = ([], [], [])
            group[0].append(one.slot)
            group[1].append(one.mark)
            group[2].append(values)
        self._arrived = {}
        for (lanes, rate_hz, shape), (slots, marks, parts) in groups.items():
            values = np.concatenate(parts).reshape(len(parts), *shape)  # (stream, time, channel)
            width = max((lane.card.channels for lane in lanes), default=1)
            ids, received = np.array(slots), np.array(marks)
            width = max(width, int(self.quality.leads[ids].max()))
            cut = self.quality.feed(ids, values[:, :, :width], rate_hz)
            whole = np.delete(np.arange(len(ids)), list(cut)) if cut else slice(None)
            for lane in lanes:
                if len(cut) < len(ids):
                    lane.feed(ids[whole], values[whole], received[whole])
                for row, pieces in cut.items():
                    _feed_sound(lane, ids[[row]], values[[row]], rate_hz, received[[row]], pieces)


def _feed_sound(
    lane: Lane, slots: Ints, values: Floats, rate_hz: float, marks: Ints, pieces: Sequence[Sound]
) -> None:
    """Of one stream, whose signal is not sound throughout: what a lane should see."""
    for piece in pieces:
        if piece.anew_ns is not None:
            lane.start(int(slots[0]), rate_hz, piece.anew_ns)
        if piece.begin < piece.end:
            lane.feed(slots, values[:, piece.begin : piece.end, piece.lead :], marks)
