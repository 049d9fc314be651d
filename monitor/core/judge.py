"""What the judges of all tasks have in common: continuity, and the way from a score to an alarm."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import NamedTuple, Self

import numpy as np

from monitor.core.alarms import Alarms, Life
from monitor.core.batches import Batch
from monitor.core.blocks import NS, Alarm, Beat, Event, Floats, Kind
from monitor.core.budgets import Budgets
from monitor.core.card import Card
from monitor.core.rules import Rule, Track
from monitor.core.scoring import Bools, Continuity, Doubles
from monitor.core.still import still

Notice = Event | Alarm | Beat
Part = tuple[Batch, dict[str, Floats]]
"""Rows of distinct streams, and what the model made of them."""
_MOST = 1e300
"""No score is higher: a level that is infinite is never reached."""


class Found(NamedTuple):
    """What a judge finds in a part."""

    scores: Doubles
    """(n, track); NaN where there is nothing to say."""
    levels: Doubles
    """(n, track) what each score was held against."""
    notices: list[tuple[int, Notice]]
    """By row."""


class Judge:
    """What is common to all tasks: continuity, and the way from a score to an alarm."""

    def __init__(self, card: Card, tracks: Sequence[Track], capacity: int, names: Callable[[int], str]) -> None:
        self.card, self.tracks = card, tuple(tracks)
        self._alarms = Alarms(self.tracks, capacity, names)
        self._names = names
        self._continuity = Continuity(capacity, card.hop_samples)
        hop_s, window_s = card.hop_samples / card.rate_hz, card.window_samples / card.rate_hz
        self.budgets = Budgets(self.tracks, capacity, hop_s, window_s, card.tail)
        self.late: dict[str, tuple[int, Floats]] = {}
        """Of alarms that were raised by an earlier row than the one that tells of them: its time and window."""

    def step(self, part: Batch, outputs: dict[str, Floats]) -> Found:
        """Judge rows of distinct streams."""
        raise NotImplementedError

    def steps(self, parts: Sequence[Part]) -> Iterator[Found]:
        """Judge parts, one after the other, as they are asked for; over them each stream's rows are in order."""
        for part, outputs in parts:
            yield self.step(part, outputs)

    def acknowledge(self, alarm_id: str) -> list[Alarm]:
        """See Alarms.acknowledge."""
        return self._alarms.acknowledge(alarm_id)

    def restore(self, slot: int, alarm: Alarm) -> bool:
        """See Alarms.restore."""
        return self._alarms.restore(slot, alarm)

    def inherit(self, other: Judge) -> list[Alarm]:
        """Take the place of a judge whose lane goes on; returns the alarms that end with it."""
        self._continuity = other._continuity
        if other.card == self.card:
            self.budgets.inherit(other.budgets)
        return self._alarms.inherit(other._alarms)

    def lives(self) -> dict[int, list[Life]]:
        """See Alarms.lives."""
        return self._alarms.lives()

    def live_on(self, slot: int, lives: Sequence[Life]) -> None:
        """See Alarms.live_on."""
        self._alarms.live_on(slot, lives)

    def reconcile(self, known: Mapping[str, Alarm]) -> list[str]:
        """See Alarms.reconcile."""
        return self._alarms.reconcile(known)

    def still(self) -> Self:
        """One whose `calibration` stays as it is now."""
        other = still(self)
        other.budgets = self.budgets.still()
        return other

    def calibration(self, slot: int) -> dict[str, float]:
        """What it has learned of a stream, for a restart; empty when nothing."""
        return self.budgets.calibration(slot)

    def calibrate(self, slot: int, learned: Mapping[str, float]) -> None:
        """Go on with what `calibration` gave."""
        self.budgets.calibrate(slot, learned)

    def open(self) -> list[Alarm]:
        """See Alarms.open."""
        return self._alarms.open()

    def _alarm(
        self,
        part: Batch,
        scores: Doubles,
        levels: Doubles,
        busy: Bools,
        span_s: float,
        detail_of: Callable[[int, int], str] | None = None,
    ) -> list[tuple[int, Notice]]:
        """Step every track with its column of `scores`; an alarm that rises, or rises again, is an event too.

        `levels` and `busy` (n, track) are what Budgets.levels and Alarms.busy say of the rows' streams; what an
        alarm says of itself is `detail_of` a track and a row.
        """
        found: list[tuple[int, Notice]] = []
        span_ns = round(span_s * NS)
        known = np.fmin(np.where(np.isnan(scores), 0.0, scores), _MOST)
        # Nearly always nothing is on, and nothing rises.
        for i in np.flatnonzero(((known >= levels) | busy).any(axis=0)).tolist():
            track, own = self.tracks[i], self.budgets.of(i, part.slots)
            detail = partial(detail_of, i) if detail_of else None
            for row, alarm in self._alarms.step(part.slots, i, part.t_ns, known[:, i], own, detail):
                if alarm.state == "active" and alarm.changed_ns == part.t_ns[row]:
                    found.append(
                        (row, self._event(alarm, track, int(part.t_ns[row]), span_ns, float(scores[row, i])))
                    )
                found.append((row, alarm))
        return found

    def _event(self, alarm: Alarm, track: Track, t_ns: int, span_ns: int, score: float) -> Event:
        began_ns = alarm.raised_ns if alarm.times == 1 else t_ns
        return Event(
            alarm.stream, track.kind, track.label, t_ns, began_ns - span_ns, t_ns, score, alarm.threshold,
            track.model, alarm.detail if alarm.times == 1 else "",
        )  # fmt: skip


def class_tracks(card: Card, rules: Sequence[Rule]) -> list[Track]:
    """A track for each class that has a threshold."""
    return [
        Track.of(rules, Kind.CLASS, label, card.thresholds[label], card.ident)
        for label in card.classes
        if label in card.thresholds
    ]
