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
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from monitor.core.alarms import Alarms, Life
from monitor.core.blocks import NS, Alarm, Event, Floats, Ints, Kind
from monitor.core.plateaus import FLAT, OFF, SATURATED_S, Plateaus
from monitor.core.rules import Rule, Track
from monitor.core.windows import seconds_to_samples

Bools = NDArray[np.bool_]
_Found = tuple[int, int, int, bool, int]
"""See plateaus.Change; and the channel."""
Told = Event | Alarm
"""What is told of a signal itself."""

FAULTS = ("flat", "lead-off", "saturated", "stale")
"""Flat: the same value again and again. Lead off: flat, at the edge of everything seen in the last seconds.
Saturated: much of the signal lies on its rails. Stale: nothing comes; only a clock can tell, see `stale`."""

_FLAT_S, _FLAT_SAMPLES = 0.25, 30
"""How long, and in how many samples, a value must repeat itself."""
SETTLE_S = 0.6
"""So long after a moment it is known whether what stood there was the way into a fault."""
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
    lead: int = 0
    """The channel to look at."""


class Quality:
    """The faults of up to `capacity` streams, and the technical alarms about them."""

    def __init__(self, capacity: int, rules: Sequence[Rule], names: Callable[[int], str]) -> None:
        self._capacity, self._names = capacity, names
        self.alarms = self._under(rules)
        self._channels: list[Plateaus] = []
        self._rate_hz = np.ones(capacity)
        self._index = np.zeros(capacity, np.int64)  # samples of the segment so far
        self._anchor = np.zeros((2, capacity), np.int64)  # index and time of one sample of the segment
        self._until_ns = np.full(capacity, _NEVER)  # end of the newest fault
        self._spans: dict[int, deque[Span]] = {}
        self._due: dict[int, list[int]] = {}
        """When a track will have been above or below its level for long enough: a heap of times, by stream."""
        self._faulty: set[int] = set()
        """Streams of which nothing can be looked at."""
        self.leads = np.ones(capacity, np.int64)
        """How many channels can stand in for each other."""
        self._lead = np.zeros(capacity, np.int64)
        """The one that is looked at."""
        self.base = np.zeros(capacity, np.int64)
        """Sample of the segment at which what is sound last began."""
        self._unsure: set[int] = set()
        """Streams whose alarms are an earlier run's: the next samples tell whether they are over."""
        self._is_on = np.ones(capacity, np.bool_)
        self._told: list[tuple[int, Told]] = []

    def take(self) -> list[tuple[int, Told]]:
        """What has been told since it was last asked, with the stream's slot."""
        told, self._told = self._told, []
        return told

    def obey(self, rules: Sequence[Rule]) -> list[Alarm]:
        """Other rules from here on; the alarms that end with that."""
        before = self.alarms
        self.alarms = self._under(rules)
        return self.alarms.inherit(before)

    def _under(self, rules: Sequence[Rule]) -> Alarms:
        tracks = [Track.of(rules, Kind.SIGNAL, label, 1.0) for label in FAULTS]
        return Alarms(tracks, self._capacity, self._names)

    def counts(self, streams: int) -> Ints:
        """(streams,) samples of each one's segment, by slot: as many as have been looked at."""
        return self._index[:streams].copy()

    def restore(self, slot: int, alarm: Alarm) -> bool:
        """See Alarms.restore."""
        self._unsure.add(slot)
        return self.alarms.restore(slot, alarm)

    def live_on(self, slot: int, lives: Iterable[Life]) -> None:
        """See Alarms.live_on."""
        self._unsure.add(slot)
        self.alarms.live_on(slot, lives)

    def start(self, slot: int, rate_hz: float, t_ns: int, *, is_on: bool = True, leads: int = 1) -> None:
        """Begin a new segment of the stream in `slot`, all of whose samples are in; its first lies at `t_ns`.

        `is_on` says whether faults are looked for in it. Of several `leads` one is enough: while the one that is
        looked at is at fault, another one is.
        """
        self._is_on[slot], self.leads[slot] = is_on, leads
        self._lead[slot] %= leads
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
        for slot in self._unsure.intersection(slots.tolist()):
            self._make_sure(slot)
        first = self._index[slots]
        self._index[slots] += values.shape[1]
        changes = [change for change in self._look(slots, values, rate_hz) if self._is_on[slots[change[0]]]]
        rows = {change[0] for change in changes} | set(np.flatnonzero(self._lead[slots]).tolist())
        if self._faulty:
            rows |= set(np.flatnonzero(np.isin(slots, list(self._faulty))).tolist())
        sound = {
            row: self._cut(int(slots[row]), int(first[row]), values.shape[1], [c for c in changes if c[0] == row])
            for row in sorted(rows)
        }
        if self._due:
            for slot in sorted(set(self._due) & set(slots.tolist())):
                self._wait(slot, self._newest_ns(slot))
        return sound

    def _cut(self, slot: int, first: int, samples: int, changes: Sequence[_Found]) -> list[Sound]:
        """What is sound of `samples` of a stream, the first of which is the `first` of its segment."""
        found, begin, anew_ns = [], 0, None
        for _, at, fault, begins, channel in changes:
            was, lead = slot in self._faulty, int(self._lead[slot])
            self._change(slot, first + at, fault, channel, begins=begins)
            now, after = slot in self._faulty, at + int(begins)
            if not was and (now or self._lead[slot] != lead):
                found.append(Sound(begin, after, anew_ns, lead))
            if not now and (was or self._lead[slot] != lead):
                begin, anew_ns = after, self._time_ns(slot, first + after)
                self.base[slot] = first + after
        if slot not in self._faulty:
            found.append(Sound(begin, samples, anew_ns, int(self._lead[slot])))
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

    def _make_sure(self, slot: int) -> None:
        """An alarm of an earlier run ends unless the samples that now come say soon that it is still true."""
        self._unsure.discard(slot)
        now_ns = self._time_ns(slot, int(self._index[slot]))
        for track in self.alarms.tracks:
            self._expect(slot, now_ns, SETTLE_S)
            self._expect(slot, now_ns, SETTLE_S + track.rule.clear_s)

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
        self._step(slot, span.fault, span.known_ns, 1.0)
        self._expect(slot, span.known_ns, self.alarms.tracks[span.fault].rule.hold_s)

    def _end(self, slot: int, t_ns: int, faults: Sequence[int], channel: int | None = None) -> None:
        """What is on of `faults` ends, on one channel or on all."""
        spans = self._spans.get(slot, ())
        for span in spans:
            if span.end_ns == _ALWAYS and span.fault in faults and channel in (None, span.channel):
                span.end_ns = t_ns
                if any(other.end_ns == _ALWAYS and other.fault == span.fault for other in spans):
                    continue  # of another channel it is still true
                self._step(slot, span.fault, t_ns, 0.0)
                self._expect(slot, t_ns, self.alarms.tracks[span.fault].rule.clear_s)
        self._until_ns[slot] = max((span.end_ns for span in spans), default=_NEVER)
        self._choose(slot)

    def _choose(self, slot: int) -> None:
        """Which channel to look at, and whether there is one."""
        spans = self._spans.get(slot, ())
        bad = {span.channel for span in spans if span.end_ns == _ALWAYS and span.fault != _STALE}
        if self.leads[slot] > 1 and int(self._lead[slot]) in bad:
            good = set(range(int(self.leads[slot]))) - bad
            self._lead[slot] = min(good, default=self._lead[slot])
        if int(self._lead[slot]) in bad or (bad and self.leads[slot] == 1):
            self._faulty.add(slot)
        else:
            self._faulty.discard(slot)

    def _expect(self, slot: int, t_ns: int, wait_s: float) -> None:
        if wait_s:
            heappush(self._due.setdefault(slot, []), t_ns + round(wait_s * NS))

    def _wait(self, slot: int, now_ns: int) -> None:
        """Step the tracks of a stream at the times before `now_ns` at which they wait for something."""
        due = self._due.get(slot)
        while due and due[0] <= now_ns:
            t_ns = heappop(due)
            on = {span.fault for span in self._spans.get(slot, ()) if span.end_ns == _ALWAYS}
            for fault in range(len(FAULTS)):
                self._step(slot, fault, t_ns, float(fault in on))
        if not due:
            self._due.pop(slot, None)

    def _step(self, slot: int, fault: int, t_ns: int, score: float) -> None:
        for _, alarm in self.alarms.step(np.array([slot]), fault, np.array([t_ns]), np.array([score])):
            if alarm.state == "active" and alarm.changed_ns == t_ns:
                onset_ns = max(span.onset_ns for span in self._spans[slot] if span.fault == fault)
                event = Event(
                    alarm.stream, Kind.SIGNAL, alarm.label, t_ns, min(onset_ns, t_ns), t_ns, score, alarm.threshold
                )
                self._told.append((slot, event))
            self._told.append((slot, alarm))

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

    def labels(self, slot: int) -> list[str]:
        """The faults that are on."""
        return [FAULTS[span.fault] for span in self._spans.get(slot, ()) if span.end_ns == _ALWAYS]


def _flat_samples(rate_hz: float) -> int:
    return max(seconds_to_samples(_FLAT_S, rate_hz), _FLAT_SAMPLES)
