"""Whether a signal can be believed: flat, at its rails, or off the body, from the raw samples alone.

Rules of the file:
- It looks at samples as they came, before any filter: equal values are equal there and nowhere else.
- A fault has an onset, and a later moment at which it is known. Whoever asks about a row of time t hears only of
  what was known by t, so that nothing depends on how samples were cut into blocks or when a row is concluded.
- A fault is to windows what a gap is: nothing is looked at from when it is known to its end, and then windows
  begin anew. So it is never taken for a beat, and neither filters nor gain learn from it.
- Times are the stream's own. A fault ends with the first sample that is not part of it, or with its segment.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from monitor.core.blocks import NS, Floats, Ints
from monitor.core.plateaus import FLAT, OFF, SATURATED_S, Plateaus
from monitor.core.rules import Rule
from monitor.core.technical import FAULTS, Technical
from monitor.core.windows import seconds_to_samples

Bools = NDArray[np.bool_]
_Found = tuple[int, int, int, bool, int]
"""See plateaus.Change; and the channel."""
_FLAT_S, _FLAT_SAMPLES = 0.25, 30
"""How long, and in how many samples, a value must repeat itself."""
_BEFORE_S, _AFTER_S = 0.25, 0.3
"""What lies so close to a fault is part of it: the way to the rail, and the way back."""
_NEVER, _ALWAYS = -(2**62), 2**62
_KEPT = 8
_STALE = FAULTS.index("stale")
_CLINGING = (FLAT, OFF)


@dataclass(slots=True)
class Span:
    """A fault of one stream."""

    fault: int
    onset_ns: int
    known_ns: int
    channel: int = 0
    end_ns: int = _ALWAYS


class Sound(NamedTuple):
    """Samples `begin` to before `end` of what was given are sound."""

    begin: int
    end: int
    anew_ns: int | None
    """Time of the first one, where a fault lies before it and windows begin anew."""
    leads: tuple[int, ...] = ()
    """The channels to look at, fewer than usual where too few are sound; none given: the first ones, as usual."""


class Quality:
    """The faults of up to `capacity` streams; what is told of them is left to `technical`."""

    def __init__(self, capacity: int, rules: Sequence[Rule], names: Callable[[int], str]) -> None:
        self._capacity = capacity
        self.technical = Technical(capacity, rules, names)
        self._channels: list[Plateaus] = []
        self._rate_hz = np.ones(capacity)
        self._index = np.zeros(capacity, np.int64)  # samples of the segment so far
        self._anchor = np.zeros((2, capacity), np.int64)  # index and time of one sample of the segment
        self._until_ns = np.full(capacity, _NEVER)  # end of the newest fault
        self._spans: dict[int, deque[Span]] = {}
        self._faulty: set[int] = set()
        """Streams of which nothing can be looked at."""
        self.leads = np.ones(capacity, np.int64)
        """How many channels can stand in for each other."""
        self._heard = np.ones(capacity, np.int64)
        """How many of these are looked at at a time."""
        self._instead: dict[int, tuple[int, ...]] = {}
        """Those that are, of streams that do without one of the first."""
        self.base = np.zeros(capacity, np.int64)
        """Sample of the segment at which what is sound last began."""
        self._is_on = np.ones(capacity, np.bool_)

    def counts(self, streams: int) -> Ints:
        """(streams,) samples of each one's segment, by slot: as many as have been looked at."""
        return self._index[:streams].copy()

    def start(
        self, slot: int, rate_hz: float, t_ns: int, *, is_on: bool = True, leads: int = 1, heard: int = 1
    ) -> None:
        """Begin a new segment of the stream in `slot`, all of whose samples are in; its first lies at `t_ns`.

        `is_on` says whether faults are looked for in it. Of several `leads` the first `heard` are looked at; while
        one of them is at fault another one is, in its place, or fewer, down to one.
        """
        self._is_on[slot] = is_on
        if (leads, heard) != (self.leads[slot], self._heard[slot]):
            self.leads[slot], self._heard[slot] = leads, heard
            self._instead.pop(slot, None)
        if self._index[slot]:
            self._end(slot, self._newest_ns(slot), range(_STALE))
        for channel in self._channels:
            channel.start(slot)
        self._rate_hz[slot] = rate_hz
        self._index[slot] = self.base[slot] = 0
        self.anchor(slot, 0, t_ns)

    def anchor(self, slot: int, index: int, t_ns: int) -> None:
        """Sample `index` of the segment lies at `t_ns`."""
        self._anchor[:, slot] = index, t_ns

    def feed(self, slots: Ints, values: Floats, rate_hz: float) -> dict[int, list[Sound]]:
        """Samples (stream, time, channel) of distinct streams of one rate, that follow on their last ones.

        Returns what is sound of the rows that are not sound from beginning to end.
        """
        ids = slots.tolist()
        for slot in self.technical.unsure(ids):
            self.technical.make_sure(slot, self._time_ns(slot, int(self._index[slot])))
        first = self._index[slots]
        self._index[slots] += values.shape[1]
        changes = [change for change in self._look(slots, values, rate_hz) if self._is_on[slots[change[0]]]]
        rows = {change[0] for change in changes}
        if self._faulty or self._instead:
            rows |= set(np.flatnonzero(np.isin(slots, [*self._faulty, *self._instead])).tolist())
        sound = {
            row: self._cut(int(slots[row]), int(first[row]), values.shape[1], [c for c in changes if c[0] == row])
            for row in sorted(rows)
        }
        for slot in self.technical.waiting(ids):
            self._wait(slot, self._newest_ns(slot))
        return sound

    def _cut(self, slot: int, first: int, samples: int, changes: Sequence[_Found]) -> list[Sound]:
        """What is sound of `samples` of a stream, the first of which is the `first` of its segment."""
        found, begin, anew_ns = [], 0, None
        for _, at, fault, begins, channel in changes:
            was, leads = slot in self._faulty, self._instead.get(slot, ())
            self._change(slot, first + at, fault, channel, begins=begins)
            now, after = slot in self._faulty, at + int(begins)
            others = self._instead.get(slot, ()) != leads
            if not was and (now or others):
                found.append(Sound(begin, after, anew_ns, leads))
            if not now and (was or others):
                begin, anew_ns = after, self._time_ns(slot, first + after)
                self.base[slot] = first + after
        if slot not in self._faulty:
            found.append(Sound(begin, samples, anew_ns, self._instead.get(slot, ())))
        return found

    def _look(self, slots: Ints, values: Floats, rate_hz: float) -> list[_Found]:
        """What changes in these samples, in order of time for each stream."""
        flat = _flat_samples(rate_hz)
        while len(self._channels) < values.shape[2]:
            self._channels.append(Plateaus(self._capacity))
        return sorted(
            (*change, number)
            for number in range(values.shape[2])
            for change in self._channels[number].step(slots, values[:, :, number], rate_hz, flat)
        )

    def _change(self, slot: int, index: int, fault: int, channel: int, *, begins: bool) -> None:
        t_ns = self._time_ns(slot, index)
        self._wait(slot, t_ns)
        if not begins:
            self._end(slot, t_ns, _CLINGING if fault in _CLINGING else (fault,), channel)
            return
        rate_hz = float(self._rate_hz[slot])
        back = _flat_samples(rate_hz) - 1 if fault in _CLINGING else round(SATURATED_S * rate_hz)
        onset_ns = self._time_ns(slot, max(index - back, 0))
        self._begin(slot, Span(fault, onset_ns, t_ns, channel))

    def _begin(self, slot: int, span: Span) -> None:
        self._spans.setdefault(slot, deque(maxlen=_KEPT)).append(span)
        self._until_ns[slot] = _ALWAYS
        self._choose(slot)
        self.technical.begin(slot, span.fault, span.onset_ns, span.known_ns)

    def _end(self, slot: int, t_ns: int, faults: Sequence[int], channel: int | None = None) -> None:
        """What is on of `faults` ends, on one channel or on all."""
        spans = self._spans.get(slot, ())
        for span in spans:
            if span.end_ns == _ALWAYS and span.fault in faults and channel in (None, span.channel):
                span.end_ns = t_ns
                if span.fault not in self._on(slot):  # of another channel it may still be true
                    self.technical.end(slot, span.fault, t_ns)
        self._until_ns[slot] = max((span.end_ns for span in spans), default=_NEVER)
        self._choose(slot)

    def _choose(self, slot: int) -> None:
        """Which channels to look at, and whether there are any."""
        spans = self._spans.get(slot, ())
        bad = {span.channel for span in spans if span.end_ns == _ALWAYS and span.fault != _STALE}
        leads, heard = int(self.leads[slot]), int(self._heard[slot])
        usual = tuple(range(heard))
        now = self._instead.get(slot, usual)
        if len(now) < heard or not bad.isdisjoint(now):  # else there is no need to look at others
            now = tuple(channel for channel in range(leads) if channel not in bad)[:heard]
        if not now or (bad and leads == 1):
            self._faulty.add(slot)
        else:
            self._faulty.discard(slot)
        if now in ((), usual) or leads == 1:
            self._instead.pop(slot, None)
        else:
            self._instead[slot] = now

    def _on(self, slot: int) -> list[int]:
        """The faults that are on."""
        return [span.fault for span in self._spans.get(slot, ()) if span.end_ns == _ALWAYS]

    def _wait(self, slot: int, now_ns: int) -> None:
        self.technical.wait(slot, now_ns, self._on(slot))

    def _time_ns(self, slot: int, index: int) -> int:
        at, at_ns = (int(one) for one in self._anchor[:, slot])
        return at_ns + round((index - at) * NS / float(self._rate_hz[slot]))

    def _newest_ns(self, slot: int) -> int:
        return self._time_ns(slot, max(int(self._index[slot]) - 1, 0))

    def stale(self, slot: int, *, is_stale: bool) -> None:
        """Somebody with a clock says that nothing comes of this stream any more, or that it comes again."""
        t_ns = self._newest_ns(slot)
        self._wait(slot, t_ns)
        if is_stale:
            self._begin(slot, Span(_STALE, t_ns, t_ns))
        else:
            self._end(slot, t_ns, (_STALE,))

    def is_on(self, slot: int) -> bool:
        """Whether faults are looked for in this stream."""
        return bool(self._is_on[slot])

    def hides(self, slots: Ints, when: Ints, t_ns: Ints) -> Bools:
        """Whether what is told at `t_ns` (n,) of the moments `when` (n,) is a fault's doing."""
        hidden: Bools = when - round(_AFTER_S * NS) <= self._until_ns[slots]
        for row in np.flatnonzero(hidden).tolist():
            at, by = int(when[row]), int(t_ns[row])
            hidden[row] = any(
                span.known_ns <= by
                and span.fault != _STALE
                and span.onset_ns - _BEFORE_S * NS <= at <= span.end_ns + _AFTER_S * NS
                for span in self._spans.get(int(slots[row]), ())
            )
        return hidden


def _flat_samples(rate_hz: float) -> int:
    return max(seconds_to_samples(_FLAT_S, rate_hz), _FLAT_SAMPLES)
