"""The last seconds of every stream, for dashboards that come late.

Samples of a stream lie in a ring, with a mark where something broke their row: a gap, another run, a clock that
was set. All rings together are bounded: with more streams each keeps fewer seconds, though never less than a few.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

import msgspec
import numpy as np

from monitor.core.blocks import NS, Beat, Block, Event, Floats
from monitor.core.pages import Page
from monitor.core.wire import encode_block

_NOTICES = 2000
"""Events, and beats, of one stream: more than ten minutes of a fast heart."""
_LEAST_NOTICES = 16
_TOTAL_NOTICES = 40_000
"""Events, and as many beats, of all streams together."""
_TOTAL_BYTES = 16 * 2**20
_LEAST_BYTES = 8 * 2**10
"""Of one stream's ring: eight seconds at 250 Hz."""
_SLOW_HZ, _LEAST_SAMPLES = 20.0, 512
"""Of a slower stream so many samples are kept, however long they take: windows have room in them."""
_UNSETTLED = 2**18
"""Numbers that may wait to be put into the rings."""
_MOST_PAGES = 256
"""And pages: of streams that send seldom each holds next to nothing, and costs a kilobyte."""
_PIECE = 16_384
"""Samples in one block that is given, at most."""


@dataclass(slots=True)
class _Mark:
    """From the `at`-th sample on, samples follow on each other from this one."""

    at: int
    run: str
    seq: int
    t0_ns: int


@dataclass(slots=True)
class _Ring:
    """The newest samples of one stream, of one rate and one set of channels."""

    rate_hz: float
    channels: tuple[str, ...]
    unit: str
    values: Floats
    """(ring, channel); sample n lies at n % ring."""
    count: int = 0
    marks: list[_Mark] = field(default_factory=list)
    next_seq: int = -1
    next_ns: int = 0
    run: str = ""
    saved: int = 0
    """Samples that `History.unsaved` has given."""

    def push(self, block: Block) -> None:
        """Add a block."""
        values, seq, t0_ns = block.values, block.seq or 0, block.t0_ns or 0
        n, size = len(values), len(self.values)
        if seq != self.next_seq or block.run != self.run or abs(t0_ns - self.next_ns) * self.rate_hz >= NS:
            self.marks.append(_Mark(self.count, block.run, seq, t0_ns))
            self.run = block.run
            while len(self.marks) > 1 and self.marks[1].at <= self.count - size:
                del self.marks[0]
        self.next_seq, self.next_ns = seq + n, t0_ns + round(n * NS / self.rate_hz)
        start = self.count % size
        self.count += n
        if start + n <= size:
            self.values[start : start + n] = values
            return
        newest = values[-size:]
        at = (self.count - len(newest) + np.arange(len(newest))) % size
        self.values[at] = newest

    def resized(self, size: int) -> _Ring:
        """The same with room for `size` samples."""
        other = _Ring(
            self.rate_hz, self.channels, self.unit, np.zeros((size, self.values.shape[1]), np.float32), self.count,
            self.marks, self.next_seq, self.next_ns, self.run, self.saved,
        )  # fmt: skip
        kept = np.arange(max(self.count - min(size, len(self.values)), 0), self.count)
        other.values[kept % size] = self.values[kept % len(self.values)]
        return other

    def _cut(self, start: int, end: int) -> Floats:
        """Samples [start, end), which are still in the ring."""
        size = len(self.values)
        at, n = start % size, end - start
        if at + n <= size:
            return self.values[at : at + n].copy()
        return np.concatenate((self.values[at:], self.values[: at + n - size]))

    def pieces(self, stream: str, since_ns: int = 0) -> list[Block]:
        """What lies after `since_ns`, oldest first, a block for each row without a break."""
        return list(self._pieces(stream, list(self.marks), self.count, since_ns=since_ns))

    def unsaved(self, stream: str) -> Iterator[Block]:
        """The same of what came since this was last asked, less what has been written over when it is cut."""
        since, self.saved = self.saved, self.count
        return self._pieces(stream, list(self.marks), self.count, since)

    def _pieces(
        self, stream: str, marks: list[_Mark], end: int, since: int = 0, since_ns: int = 0
    ) -> Iterator[Block]:
        ends = [*[mark.at for mark in marks][1:], end]
        for mark, until in zip(marks, ends, strict=True):
            late = int(np.ceil((since_ns - mark.t0_ns) * self.rate_hz / NS))
            start = max(since, mark.at, mark.at + late)
            while (start := max(start, self.count - len(self.values))) < until:
                values = self._cut(start, min(start + _PIECE, until))
                skipped = start - mark.at
                t0_ns = mark.t0_ns + round(skipped * NS / self.rate_hz)
                seq = mark.seq + skipped
                yield Block(stream, values, mark.run, seq, t0_ns, self.rate_hz, self.channels, self.unit)
                start += len(values)


_N = TypeVar("_N", bound=Event | Beat)


def least_s(rate_hz: float) -> float:
    """How much of a stream of this rate is kept at least, whatever was asked for; 0 for none in particular."""
    return _LEAST_SAMPLES / rate_hz if rate_hz < _SLOW_HZ else 0.0


class History:
    """Keeps about `seconds` of samples a stream, and its newest events and beats."""

    def __init__(self, seconds: float, total_bytes: int = _TOTAL_BYTES) -> None:
        self.seconds, self._total_bytes = seconds, total_bytes
        self._rings: dict[str, _Ring] = {}
        self._bytes = total_bytes
        """That one ring may take."""
        self._pages: list[Page] = []
        """Of one shape, and not yet in the rings."""
        self._unsettled = 0
        """Numbers on them."""
        self._events: dict[str, list[bytes]] = {}
        self._beats: dict[str, list[bytes]] = {}
        """By stream, encoded: as objects they take four times as much."""

    def page(self, page: Page) -> None:
        """Samples of many streams that go on where the last ones of each ended."""
        if self._pages and self._pages[0].values.shape[1:] != page.values.shape[1:]:
            self._settle()
        self._pages.append(page)
        self._unsettled += page.values.size
        if self._unsettled >= _UNSETTLED or len(self._pages) >= _MOST_PAGES:
            self._settle()

    def _settle(self) -> None:
        """Put what came as pages into the rings, all of a stream at once: that is what makes it cheap."""
        if not self._pages:
            return
        pages, self._pages, self._unsettled = self._pages, [], 0
        slots = np.concatenate([page.slots for page in pages])
        order = np.argsort(slots, kind="stable")
        values = np.concatenate([page.values for page in pages])[order]
        seq, t0_ns = (np.concatenate([getattr(page, of) for page in pages])[order] for of in ("seq", "t0_ns"))
        whos = [who for page in pages for who in page.whos]
        slots = slots[order]
        heads = np.flatnonzero(np.concatenate(([True], slots[1:] != slots[:-1])))
        columns = (heads, [*heads[1:], len(slots)], order[heads], seq[heads], t0_ns[heads])
        for start, end, at, first, first_ns in zip(*(np.asarray(one).tolist() for one in columns), strict=True):
            stream, run, rate_hz, channels, unit = whos[at]
            samples = values[start:end].reshape(-1, values.shape[2])
            self._push(Block(stream, samples, run, first, first_ns, rate_hz, channels, unit))

    def block(self, block: Block) -> None:
        """Samples that were taken in."""
        self._settle()
        self._push(block)

    def _push(self, block: Block) -> None:
        ring = self._rings.get(block.stream)
        if ring is None or ring.rate_hz != block.rate_hz or ring.channels != block.channels:
            ring = self._open(block)
        ring.push(block)

    def _open(self, block: Block) -> _Ring:
        rate_hz, width = block.rate_hz or 1.0, block.values.shape[1]
        ring = _Ring(
            rate_hz, block.channels, block.unit, np.zeros((self._size(rate_hz, width), width), np.float32)
        )
        self._rings[block.stream] = ring
        # The share of each shrinks in steps, by half, so that rings are not cut at every stream that comes.
        share = max(self._total_bytes >> max(len(self._rings) - 1, 0).bit_length(), _LEAST_BYTES)
        if share < self._bytes:
            self._bytes = share
            for name, other in self._rings.items():
                size = self._size(other.rate_hz, other.values.shape[1])
                if size < len(other.values):
                    self._rings[name] = other.resized(size)
        return self._rings[block.stream]

    def _size(self, rate_hz: float, width: int) -> int:
        wanted = int(np.ceil(self.seconds_of(rate_hz) * rate_hz)) + 1
        return max(min(wanted, self._bytes // (4 * width)), 1)

    def seconds_of(self, rate_hz: float) -> float:
        """How much of a stream of this rate is kept."""
        return max(self.seconds, least_s(rate_hz))

    def count_bytes(self) -> int:
        """Of all rings."""
        self._settle()
        return sum(ring.values.nbytes for ring in self._rings.values())

    def unsaved(self) -> Iterator[Block]:
        """Samples that came since the last call, to be asked for at leisure: what has gone by then is left out."""
        self._settle()
        fresh = [ring.unsaved(stream) for stream, ring in self._rings.items() if ring.saved < ring.count]
        return itertools.chain.from_iterable(fresh)

    def notice(self, notice: Event | Beat) -> None:
        """An event or a beat."""
        all_kept = self._events if isinstance(notice, Event) else self._beats
        kept = all_kept.setdefault(notice.stream, [])
        kept.append(msgspec.msgpack.encode(msgspec.structs.astuple(notice)[1:]))  # the stream's name comes first
        streams = max(len(self._rings), len(self._beats), len(self._events))
        most = min(max(_TOTAL_NOTICES // streams, _LEAST_NOTICES), _NOTICES)
        del kept[: max(len(kept) - most, 0)]

    def before(self, stream: str, end_ns: int, seconds: float) -> Block | None:
        """The samples of the `seconds` up to `end_ns` that follow on each other; None where there are none."""
        self._settle()
        ring = self._rings.get(stream)
        pieces = ring.pieces(stream, end_ns - round(seconds * NS)) if ring is not None else []
        found = None
        for piece in pieces:
            count = round((end_ns - (piece.t0_ns or 0)) * (piece.rate_hz or 1.0) / NS) + 1
            if count > 1:
                found = msgspec.structs.replace(piece, values=piece.values[:count])
        return found

    def last(self, stream: str, seconds: float) -> tuple[list[bytes], list[Event], list[Beat]]:
        """Encoded blocks, events and beats of about the last `seconds`, oldest first."""
        self._settle()
        ring = self._rings.get(stream)
        if ring is None:
            return [], [], []
        asked_s = max(min(seconds, self.seconds), least_s(ring.rate_hz))
        since = ring.next_ns - round(asked_s * NS)
        return [encode_block(block) for block in ring.pieces(stream, since)], *self.notices(stream, since)

    def notices(self, stream: str, since_ns: int) -> tuple[list[Event], list[Beat]]:
        """Events and beats of a stream since then, oldest first."""
        return (
            _decoded(Event, stream, self._events.get(stream, ()), "end_ns", since_ns),
            _decoded(Beat, stream, self._beats.get(stream, ()), "t_ns", since_ns),
        )


def _decoded(kind: type[_N], stream: str, kept: Iterable[bytes], time: str, since_ns: int) -> list[_N]:
    """What `History.notice` has kept of a stream, where the field `time` says that it is not from before."""
    fields = kind.__struct_fields__
    rows = (dict(zip(fields, (stream, *msgspec.msgpack.decode(raw)), strict=True)) for raw in kept)
    return [msgspec.convert(row, kind) for row in rows if row[time] >= since_ns]
