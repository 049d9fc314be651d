"""The last seconds of every stream, for dashboards that come late."""

from __future__ import annotations

from collections import deque

import numpy as np

from monitor.core.blocks import NS, Beat, Block, Event
from monitor.core.wire import encode_block

_NOTICES = 200


class History:
    """Keeps `seconds` of samples a stream, in pieces of about a second, and its newest events and beats."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._blocks: dict[str, deque[Block]] = {}
        self._fresh: dict[str, list[Block]] = {}
        self._events: dict[str, deque[Event]] = {}
        self._beats: dict[str, deque[Beat]] = {}

    def block(self, block: Block) -> None:
        """Samples that were taken in; joined to pieces of a second, for a block may hold a single sample."""
        fresh = self._fresh.setdefault(block.stream, [])
        if fresh and not _follows(fresh[-1], block):
            self._keep(block.stream)
        fresh = self._fresh.setdefault(block.stream, [])
        fresh.append(block)
        if sum(len(b.values) for b in fresh) >= (block.rate_hz or 1):
            self._keep(block.stream)

    def notice(self, notice: Event | Beat) -> None:
        """An event or a beat."""
        if isinstance(notice, Event):
            self._events.setdefault(notice.stream, deque(maxlen=_NOTICES)).append(notice)
        else:
            self._beats.setdefault(notice.stream, deque(maxlen=_NOTICES)).append(notice)

    def last(self, stream: str, seconds: float) -> tuple[list[bytes], list[Event], list[Beat]]:
        """Encoded blocks, events and beats of about the last `seconds`, oldest first."""
        self._keep(stream)
        blocks = self._blocks.get(stream, deque())
        newest = _end_ns(blocks[-1]) if blocks else 0
        since = newest - round(min(seconds, self._seconds) * NS)
        return (
            [encode_block(block) for block in blocks if _end_ns(block) >= since],
            [event for event in self._events.get(stream, ()) if event.end_ns >= since],
            [beat for beat in self._beats.get(stream, ()) if beat.t_ns >= since],
        )

    def _keep(self, stream: str) -> None:
        fresh = self._fresh.pop(stream, [])
        if not fresh:
            return
        blocks = self._blocks.setdefault(stream, deque())
        first = fresh[0]
        values = np.concatenate([block.values for block in fresh])
        blocks.append(
            Block(stream, values, first.run, first.seq, first.t0_ns, first.rate_hz, first.channels, first.unit)
        )
        oldest_kept = _end_ns(blocks[-1]) - round(self._seconds * NS)
        while _end_ns(blocks[0]) < oldest_kept:
            blocks.popleft()


def _follows(before: Block, after: Block) -> bool:
    """Whether two blocks make one: same run, next sample, and no jump of the clock between them."""
    if before.run != after.run or before.rate_hz != after.rate_hz:
        return False
    late_ns = abs((after.t0_ns or 0) - _end_ns(before))
    return (before.seq or 0) + len(before.values) == after.seq and late_ns * (after.rate_hz or 1) < NS


def _end_ns(block: Block) -> int:
    return (block.t0_ns or 0) + round(len(block.values) * NS / (block.rate_hz or 1))
