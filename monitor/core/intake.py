"""Intake: a stream's blocks, in any cut and with any gap, become segments of samples without gaps.

Rules of the file:
- Whatever is wrong with a block ends in SchemaError before anything is changed.
- Missing samples, whether they never came or came as NaN, are a hole. A hole of at most `max_gap_s` is filled by
  interpolation once its right edge is known; a longer one begins a new segment.
- A sender's restart, a change of rate and a jump of its clock begin a new segment.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from monitor.core.arrivals import Arrivals
from monitor.core.blocks import NS, Block, Event, Floats, Kind
from monitor.core.conditioning import fill_gaps
from monitor.core.errors import SchemaError
from monitor.core.lanes import Lane
from monitor.core.ledger import Ledger, LedgerState
from monitor.core.pages import OPEN, Page, Who
from monitor.core.quality import Quality
from monitor.core.reorder import Held
from monitor.core.stream import Places, Plan, Stream
from monitor.core.wire import MAX_VALUE


class Intake:
    """All streams of one daemon."""

    def __init__(
        self,
        lanes: Mapping[str, Lane],
        plan_of: Callable[[str], Plan | None],
        max_streams: int,
        quality: Quality,
    ) -> None:
        self.streams: list[Stream] = []
        """By slot."""
        self.known: dict[Who, int] = {}
        """The slots of streams whose blocks may take the short way, by what their senders say with every block."""
        self._by_name: dict[str, Stream] = {}
        self._whos: dict[int, Who] = {}
        """The same by slot, with what the sender leaves open filled in."""
        self._places = Places(max_streams)
        self._lanes, self._plan_of, self._max_streams = lanes, plan_of, max_streams
        self._books: dict[str, LedgerState] = {}
        """Of streams that have not come back since a restart."""
        self._waiting: dict[str, Stream] = {}
        """Streams that hold early blocks."""
        self.arrivals = Arrivals(quality, max_streams)

    def push(
        self, block: Block, now_ns: int, mark: int, *, patience_s: float = 0.0, is_due: bool = False
    ) -> tuple[Block | None, list[Event]]:
        """Take a block that arrived at `now_ns`; see Engine.push."""
        stream = self._by_name.get(block.stream) or self._open(block)
        rate_hz = stream.check(block)
        if stream.said is not None and (stream.channels, stream.unit) != self._whos[stream.slot][3:]:
            self._forget(stream)  # what its sender leaves open is another now
        if (stream.plan.reorder_s or patience_s) and not is_due:
            ledger = stream.ledger
            if stream.early.is_early(block, ledger.run, ledger.next_seq):
                stream.early.hold(Held(block, now_ns, mark, patience_s))
                self._waiting[stream.name] = stream
                return None, []
        verdict = stream.ledger.enter(block)
        values = block.values[verdict.skip :]
        if not len(values):
            return None, []
        events: list[Event] = []
        seq = stream.ledger.next_seq - len(values)
        told_ns = None if block.t0_ns is None else block.t0_ns + round(verdict.skip * NS / rate_hz)
        if stream.fresh or verdict.new_run or rate_hz != stream.rate_hz:
            begin_ns = now_ns if told_ns is None else told_ns
            if not stream.fresh:
                events.append(_fault(stream, "restart", begin_ns, "the sender began a new run"))
            self._begin(stream, rate_hz, begin_ns)
        else:
            self._continue(stream, verdict.gap, told_ns, now_ns if block.seq is None else None, events)
        t0_ns = stream.time_ns(stream.index)
        self._admit(stream, values, mark, events)
        stream.events += len(events)
        self._know(stream, block)
        return Block(stream.name, values, block.run, seq, t0_ns, rate_hz, stream.channels, stream.unit), events

    def follow(self, page: Page, mark: int) -> tuple[Page, Sequence[int]]:
        """Take the blocks that do what is expected of them and hold no NaN; what was taken, and the other rows.

        The short way for all but the first block of a run: what it leaves out are questions with known answers.
        """
        slots, places = page.slots, self._places
        t_ns = places.time_ns(slots)
        off_ns = np.where(page.t0_ns == OPEN, 0, np.abs(page.t0_ns - t_ns))
        expected = (page.seq == places.books.next_seq[slots]) & (places.index[slots] > 0)
        expected &= (places.hole[slots] == 0) & (off_ns * places.rate_hz[slots] <= 0.5 * NS)
        usable = np.abs(page.values) <= MAX_VALUE
        if not usable.all():
            expected &= usable.all(axis=(1, 2))
        if self._waiting:
            expected &= ~np.isin(slots, [stream.slot for stream in self._waiting.values()])
        others: list[int] = []
        if not expected.all():
            others = np.flatnonzero(~expected).tolist()
            page, t_ns = page.rows(np.flatnonzero(expected)), t_ns[expected]
        if not len(page):
            return page, others
        places.follow(page.slots, page.values)
        self.arrivals.add(page.slots, page.values, mark)
        whos = [self._whos[slot] for slot in page.slots.tolist()]
        return Page(whos, page.slots, page.seq, t_ns, page.values), others

    def _know(self, stream: Stream, block: Block) -> None:
        """Let the blocks that say the same as this one, which was good, take the short way."""
        said: Who = (block.stream, block.run, block.rate_hz, block.channels, block.unit)
        if said == stream.said:
            return
        self._forget(stream)
        if block.rate_hz is not None and block.seq is not None:
            self.known[said], stream.said = stream.slot, said
            self._whos[stream.slot] = stream.name, block.run, block.rate_hz, stream.channels, stream.unit

    def _forget(self, stream: Stream) -> None:
        if stream.said is not None:
            del self.known[stream.said]
            stream.said = None

    @property
    def holds(self) -> bool:
        """Whether any early block waits."""
        return bool(self._waiting)

    def due(self, now_ns: int) -> Held | None:
        """An early block that need not wait any longer, to be pushed now."""
        for stream in self._waiting.values():
            ledger, plan = stream.ledger, stream.plan
            held = stream.early.due(ledger.run, ledger.next_seq, stream.rate_hz, plan.reorder_s, now_ns)
            if not stream.early:
                del self._waiting[stream.name]
            if held is not None:
                return held
        return None

    def resume(self, name: str, state: LedgerState) -> None:
        """The books of a stream, as an earlier run of the monitor left them."""
        if (stream := self._by_name.get(name)) is not None:
            self._forget(stream)
            stream.ledger = Ledger.resumed(name, state, self._places.books, stream.slot)
        else:
            self._books[name] = state

    def rebind(self, plan_of: Callable[[str], Plan | None]) -> None:
        """Other plans and lanes: a stream whose lanes are others begins a new segment, nothing else changes.

        One that no entry speaks of any more goes on being accounted for, and nothing looks at it.
        """
        self._plan_of = plan_of
        self.arrivals.flush()
        self.arrivals.unbind()
        for stream in self.streams:
            self._forget(stream)
            stream.plan = plan_of(stream.name) or Plan()
            lanes = tuple(self._lanes[model] for model in stream.plan.models)
            self.arrivals.bind(stream.slot, lanes, stream.rate_hz)
            if lanes == stream.lanes:
                continue
            stream.lanes = lanes
            stream.width = max((lane.card.channels for lane in lanes), default=1)
            if not stream.fresh:
                self._begin(stream, stream.rate_hz, stream.time_ns(stream.index))

    def refuse(self, name: str) -> None:
        """A block of this stream could not be used."""
        if (stream := self._by_name.get(name)) is not None:
            stream.ledger.refuse()

    def _open(self, block: Block) -> Stream:
        name = block.stream
        plan = self._plan_of(name)
        if plan is None:
            raise SchemaError(
                f"stream {name!r}: no [[streams]] entry of the configuration matches this name; "
                "add one, or rename the stream",
                stream=name,
                kind="unknown stream",
            )
        if len(self.streams) >= self._max_streams:
            raise SchemaError(
                f"stream {name!r}: expected at most {self._max_streams} streams (max_streams)",
                stream=name,
                kind="too many streams",
            )
        lanes = tuple(self._lanes[model] for model in plan.models)
        width = max((lane.card.channels for lane in lanes), default=1)
        books = self._books.get(name)
        slot, known = len(self.streams), self._places.books
        ledger = Ledger(name, known, slot) if books is None else Ledger.resumed(name, books, known, slot)
        stream = Stream(name, slot, plan, lanes, width, ledger, self._places)
        stream.check(block)  # a stream does not begin with a block that must be refused
        self._places.widen(len(stream.channels))
        self._books.pop(name, None)
        self._by_name[name] = stream
        self.streams.append(stream)
        return stream

    def _continue(
        self, stream: Stream, gap: int, told_ns: int | None, arrived_ns: int | None, events: list[Event]
    ) -> None:
        """Time goes on in the segment: as the sender tells it, else as samples are counted.

        `arrived_ns` is given for blocks without a sequence number: with neither that nor a time, only silence
        can tell that samples are missing. A fast replay is no jump.
        """
        expected_ns = stream.time_ns(stream.index + gap)
        at_ns = told_ns if told_ns is not None else max(arrived_ns or 0, expected_ns)
        off_s = (at_ns - expected_ns) / NS
        if abs(off_s) > stream.plan.clock_jump_s:
            label = "gap" if told_ns is None else "clock"
            events.append(_fault(stream, label, at_ns, f"time went on by {off_s:+.3f} s"))
            self._begin(stream, stream.rate_hz, at_ns)
            return
        if gap:
            events.append(_fault(stream, "gap", stream.time_ns(stream.index), f"{gap} samples missing", at_ns))
            stream.hole += gap
            stream.index += gap
        if abs(off_s) * stream.rate_hz > 0.5:  # less is rounding, and would only make times jitter
            stream.anchor(stream.index, at_ns)
            if stream.slot in self.arrivals:
                self.arrivals.flush()  # these samples' times were told by the old anchor
            self.arrivals.quality.anchor(stream.slot, stream.index, at_ns)
            for lane in stream.lanes:
                lane.anchor(stream.slot, stream.index - int(self.arrivals.quality.base[stream.slot]), at_ns)

    def _begin(self, stream: Stream, rate_hz: float, t_ns: int) -> None:
        """The next sample begins a new segment."""
        stream.rate_hz = rate_hz
        stream.index = stream.hole = 0
        stream.anchor(0, t_ns)
        stream.last[:] = np.nan
        if stream.slot in self.arrivals:
            self.arrivals.flush()  # what came before the break still belongs to the old segment
        is_any = stream.plan.any_lead and all(
            lane.card.channels == 1 or lane.card.task == "beats" for lane in stream.lanes
        )  # what is forecast of a lead is not true of another
        leads, heard = (len(stream.channels), stream.width) if is_any else (1, 1)
        self.arrivals.quality.start(
            stream.slot, rate_hz, t_ns, is_on=stream.plan.quality, leads=leads, heard=heard
        )
        self.arrivals.bind(stream.slot, stream.lanes, rate_hz)
        for lane in stream.lanes:
            lane.start(stream.slot, rate_hz, t_ns)

    def _admit(self, stream: Stream, values: Floats, mark: int, events: list[Event]) -> None:
        """Give samples to the lanes, short holes filled; a longer hole begins a new segment after it."""
        known: NDArray[np.bool_] = np.logical_and.reduce(~np.isnan(values[:, : stream.width]), axis=1)
        if known.all() and not stream.hole:
            self._feed(stream, values, mark)
            return
        stream.ledger.invalid(len(values) - int(known.sum()))
        edges = np.flatnonzero(np.diff(known)) + 1
        for start, end in zip([0, *edges.tolist()], [*edges.tolist(), len(values)], strict=True):
            if not known[start]:
                stream.hole += end - start
                stream.index += end - start
                continue
            if stream.hole:
                self._mend(stream, values[start], mark, events)
            self._feed(stream, values[start:end], mark)

    def _mend(self, stream: Stream, after: Floats, mark: int, events: list[Event]) -> None:
        """Close the hole before the known sample `after`."""
        hole, stream.hole = stream.hole, 0
        is_first = bool(np.isnan(stream.last[0]))
        if is_first or hole / stream.rate_hz > stream.plan.max_gap_s:
            t_ns = stream.time_ns(stream.index)
            if not is_first:
                detail = f"{hole} samples without a value: windows begin anew"
                events.append(_fault(stream, "segment", t_ns, detail))
            self._begin(stream, stream.rate_hz, t_ns)
            return
        missing = np.full((hole, len(after)), np.nan, np.float32)
        filled, _ = fill_gaps(np.concatenate((missing, after[None])), stream.last)  # (hole + 1, channel)
        stream.index -= hole  # they were counted when they were missing
        self._feed(stream, filled[:-1], mark)

    def _feed(self, stream: Stream, values: Floats, mark: int) -> None:
        stream.index += len(values)
        stream.last[:] = values[-1]
        self.arrivals.add(np.array([stream.slot]), values[None], mark)


def _fault(stream: Stream, label: str, t_ns: int, detail: str, end_ns: int = 0) -> Event:
    end_ns = max(t_ns, end_ns)
    return Event(stream.name, Kind.SIGNAL, label, t_ns, t_ns, end_ns, 1.0, 1.0, detail=detail)
