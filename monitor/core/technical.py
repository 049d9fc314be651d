"""Technical alarms: what is told of the faults of signals themselves, with hold and clear times in data time.

A fault begins and ends at moments that samples tell; an alarm may have to wait longer. What waits is stepped as
soon as the samples of its stream have come as far, so that nothing depends on how they were cut into blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from heapq import heappop, heappush

import numpy as np

from monitor.core.alarms import Alarms, Life
from monitor.core.blocks import NS, Alarm, Event, Kind
from monitor.core.rules import Rule, Track

Told = Event | Alarm
"""What is told of a signal itself."""

FAULTS = ("flat", "lead-off", "saturated", "stale")
"""Flat: the same value again and again. Lead off: flat, at the edge of everything seen in the last seconds.
Saturated: much of the signal lies on its rails. Stale: nothing comes; only a clock can tell, see Quality.stale."""
SETTLE_S = 0.6
"""So long after a moment it is known whether what stood there was the way into a fault."""


class Technical:
    """The alarms about FAULTS of up to `capacity` streams."""

    def __init__(self, capacity: int, rules: Sequence[Rule], names: Callable[[int], str]) -> None:
        self._capacity, self._names = capacity, names
        self.alarms = self._under(rules)
        self._onset_ns: dict[tuple[int, int], int] = {}
        """Of the newest fault of a stream, by slot and fault."""
        self._due: dict[int, list[int]] = {}
        """When a track will have been above or below its level for long enough: a heap of times, by stream."""
        self._unsure: set[int] = set()
        """Streams whose alarms are an earlier run's: the next samples tell whether they are over."""
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

    def restore(self, slot: int, alarm: Alarm) -> bool:
        """See Alarms.restore."""
        self._unsure.add(slot)
        return self.alarms.restore(slot, alarm)

    def live_on(self, slot: int, lives: Iterable[Life]) -> None:
        """See Alarms.live_on."""
        self._unsure.add(slot)
        self.alarms.live_on(slot, lives)

    def unsure(self, slots: Iterable[int]) -> set[int]:
        """Those of `slots` whose alarms are an earlier run's, and no sample has come since."""
        return self._unsure.intersection(slots)

    def make_sure(self, slot: int, now_ns: int) -> None:
        """An alarm of an earlier run ends unless the samples that now come say soon that it is still true."""
        self._unsure.discard(slot)
        for track in self.alarms.tracks:
            self._expect(slot, now_ns, SETTLE_S)
            self._expect(slot, now_ns, SETTLE_S + track.rule.clear_s)

    def begin(self, slot: int, fault: int, onset_ns: int, t_ns: int) -> None:
        """At `t_ns` it is known that a fault began at `onset_ns`."""
        self._onset_ns[slot, fault] = onset_ns
        self._step(slot, fault, t_ns, 1.0)
        self._expect(slot, t_ns, self.alarms.tracks[fault].rule.hold_s)

    def end(self, slot: int, fault: int, t_ns: int) -> None:
        """A fault is over, on all channels."""
        self._step(slot, fault, t_ns, 0.0)
        self._expect(slot, t_ns, self.alarms.tracks[fault].rule.clear_s)

    def waiting(self, slots: Iterable[int]) -> list[int]:
        """Those of `slots` whose tracks wait for something."""
        return sorted(self._due.keys() & set(slots)) if self._due else []

    def wait(self, slot: int, now_ns: int, on: Collection[int]) -> None:
        """Step the tracks of a stream at the times up to `now_ns` at which they wait; the faults `on` are true."""
        due = self._due.get(slot)
        while due and due[0] <= now_ns:
            t_ns = heappop(due)
            for fault in range(len(FAULTS)):
                self._step(slot, fault, t_ns, float(fault in on))
        if not due:
            self._due.pop(slot, None)

    def _expect(self, slot: int, t_ns: int, wait_s: float) -> None:
        if wait_s:
            heappush(self._due.setdefault(slot, []), t_ns + round(wait_s * NS))

    def _step(self, slot: int, fault: int, t_ns: int, score: float) -> None:
        for _, alarm in self.alarms.step(np.array([slot]), fault, np.array([t_ns]), np.array([score])):
            if alarm.state == "active" and alarm.changed_ns == t_ns:
                start_ns = min(self._onset_ns[slot, fault], t_ns)
                event = Event(alarm.stream, Kind.SIGNAL, alarm.label, t_ns, start_ns, t_ns, score, alarm.threshold)
                self._told.append((slot, event))
            self._told.append((slot, alarm))
