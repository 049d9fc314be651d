"""What a model's outputs mean: scores, alarm tracks, events. One judge for each task of the card.

A judge is stepped with rows of distinct streams, each stream's rows in order of time, and returns its scores
(row, track) with NaN for "nothing to say yet", and the notices in order, each with its row.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from monitor.core.ahead import Ranges
from monitor.core.alarms import Alarms, Life, Rule, Track
from monitor.core.batches import Batch
from monitor.core.beats import Ask, BeatPicker, Pulse, SecondTier
from monitor.core.blocks import NS, Alarm, Beat, Event, Floats, Ints, Kind
from monitor.core.budgets import Budgets
from monitor.core.card import Card
from monitor.core.errors import ModelError
from monitor.core.noisiness import NoiseMeter
from monitor.core.quality import SETTLE_S, Quality
from monitor.core.scoring import Bools, Continuity, DeviationScorer, Doubles

Notice = Event | Alarm | Beat
Found = tuple[Doubles, list[tuple[int, Notice]]]


class Judge:
    """What is common to all tasks: continuity, and the way from a score to an alarm."""

    def __init__(self, card: Card, tracks: Sequence[Track], capacity: int, names: Callable[[int], str]) -> None:
        self.card, self.tracks = card, tuple(tracks)
        self._alarms = Alarms(self.tracks, capacity, names)
        self._names = names
        self._continuity = Continuity(capacity, card.hop_samples)
        self.budgets = Budgets(self.tracks, capacity, card.hop_samples / card.rate_hz)
        self.late: dict[str, tuple[int, Floats]] = {}
        """Of alarms that were raised by an earlier row than the one that tells of them: its time and window."""

    def step(self, part: Batch, outputs: dict[str, Floats]) -> Found:
        """Judge rows of distinct streams."""
        raise NotImplementedError

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
        self, part: Batch, scores: Doubles, span_s: float, detail_of: Callable[[int, int], str] | None = None
    ) -> list[tuple[int, Notice]]:
        """Step every track with its column of `scores`; an alarm that rises, or rises again, is an event too.

        `detail_of` a track and a row is what an alarm says of itself.
        """
        found: list[tuple[int, Notice]] = []
        span_ns = round(span_s * NS)
        for i, track in enumerate(self.tracks):
            levels = self.budgets.of(i, part.slots)
            detail = partial(detail_of, i) if detail_of else None
            known = np.nan_to_num(scores[:, i])
            for row, alarm in self._alarms.step(part.slots, i, part.t_ns, known, levels, detail):
                if alarm.state == "active" and alarm.changed_ns == part.t_ns[row]:
                    found.append(
                        (row, self._event(alarm, track, int(part.t_ns[row]), span_ns, float(scores[row, i])))
                    )
                found.append((row, alarm))
        return found

    def _busy(self, slots: Ints) -> Bools:
        """(n, track) whether each alarm is anything but OK."""
        return np.stack([self._alarms.busy(slots, i) for i in range(len(self.tracks))], axis=1)

    def _event(self, alarm: Alarm, track: Track, t_ns: int, span_ns: int, score: float) -> Event:
        began_ns = alarm.raised_ns if alarm.times == 1 else t_ns
        return Event(
            alarm.stream, track.kind, track.label, t_ns, began_ns - span_ns, t_ns, score, alarm.threshold,
            track.model, alarm.detail if alarm.times == 1 else "",
        )  # fmt: skip


class ForecastJudge(Judge):
    """Forecast against what came, and against the range that the values should keep to."""

    def __init__(self, card: Card, rules: Sequence[Rule], capacity: int, names: Callable[[int], str]) -> None:
        tracks = [
            Track.of(rules, Kind.DEVIATION, "forecast", 4.0, card.ident),
            Track.of(rules, Kind.LIMIT, "value", 1.0, card.ident),
            Track.of(rules, Kind.LIMIT_AHEAD, "value", 1.0, card.ident),
        ]
        super().__init__(card, tracks, capacity, names)
        self.scorer = DeviationScorer(card, capacity)
        self.ranges = Ranges(card, capacity)

    def inherit(self, other: Judge) -> list[Alarm]:
        """See Judge.inherit; what another model's residuals were like says nothing of this one's."""
        if isinstance(other, ForecastJudge) and other.card == self.card:
            self.scorer = other.scorer
        return super().inherit(other)

    def calibration(self, slot: int) -> dict[str, float]:
        """See Judge.calibration."""
        return self.scorer.calibration(slot) | super().calibration(slot)

    def calibrate(self, slot: int, learned: Mapping[str, float]) -> None:
        """See Judge.calibrate."""
        self.scorer.calibrate(slot, learned)
        super().calibrate(slot, learned)

    def step(self, part: Batch, outputs: dict[str, Floats]) -> Found:
        """See Judge.step."""
        follows = self._continuity.step(part.slots, part.segments, part.ends)
        busy = self._busy(part.slots)
        scores = np.full((len(part), len(self.tracks)), np.nan)
        scores[:, 0] = self.scorer.step(part.slots, follows, part.windows, outputs, busy[:, 0])
        detail_of = None
        if self.ranges:
            outlook = self.ranges.look(part.slots, part.windows, outputs["forecast"])
            scores[:, 1], scores[:, 2] = outlook.now, outlook.ahead

            def detail_of(track: int, row: int) -> str:
                return self.ranges.said(int(part.slots[row]), outlook, row, track - 1) if track else ""

        found = self._alarm(part, scores, self.card.hop_samples / self.card.rate_hz, detail_of)
        self.budgets.learn(part.slots, scores, busy, found)
        return scores, found


@dataclass(frozen=True, slots=True)
class _Held:
    """A row whose scores are not judged yet."""

    t_ns: int
    scores: Doubles
    """(track,)"""
    window: Floats


class ClassJudge(Judge):
    """The probability of each class that has a threshold.

    What a class looks like may be the way into a fault of the signal, so scores of streams whose signal is looked
    after are judged `SETTLE_S` later, when that is known.
    """

    def __init__(
        self,
        card: Card,
        rules: Sequence[Rule],
        capacity: int,
        names: Callable[[int], str],
        quality: Quality | None = None,
    ) -> None:
        super().__init__(card, class_tracks(card, rules), capacity, names)
        self._quality = quality
        self._levels = np.array([track.raise_level for track in self.tracks])
        self._held: dict[int, deque[_Held]] = {}
        self._columns = [card.classes.index(track.label) for track in self.tracks]
        self._span_s = (card.label_steps or card.window) * card.samples_per_step / card.rate_hz

    def step(self, part: Batch, outputs: dict[str, Floats]) -> Found:
        """See Judge.step."""
        scores = outputs["probabilities"][:, self._columns].astype(np.float64)
        self.late.clear()
        busy = self._busy(part.slots)
        found = self._found(part, scores, busy)
        self.budgets.learn(part.slots, scores, busy, found)
        return scores, found

    def _found(self, part: Batch, scores: Doubles, busy: Bools) -> list[tuple[int, Notice]]:
        if self._quality is None:
            return self._alarm(part, scores, self._span_s)
        follows = self._continuity.step(part.slots, part.segments, part.ends)
        looks = (scores >= self._levels).any(axis=1) | busy.any(axis=1)
        if self._held:
            looks |= np.isin(part.slots, list(self._held))
        return [
            (row, notice)
            for row in np.flatnonzero(looks).tolist()
            for notice in self._settled(part, row, scores[row], follows=bool(follows[row]))
        ]

    def _settled(self, part: Batch, row: int, scores: Doubles, *, follows: bool) -> list[Notice]:
        """Hold a row's scores; judge those before that are old enough, or whose segment is over."""
        slot, now_ns = int(part.slots[row]), int(part.t_ns[row])
        held = self._held.setdefault(slot, deque())
        told: list[Notice] = []
        if not follows:
            told += [notice for one in held for notice in self._judged(part, row, one)]
            held.clear()
        held.append(_Held(now_ns, scores, part.windows[row]))
        wait_ns = round(SETTLE_S * NS) if self._quality and self._quality.is_on(slot) else 0
        while held and held[0].t_ns + wait_ns <= now_ns:
            told += self._judged(part, row, held.popleft())
        if not held:
            del self._held[slot]
        return told

    def _judged(self, part: Batch, row: int, held: _Held) -> list[Notice]:
        slots, when = part.slots[[row]], np.array([held.t_ns])
        if self._quality and self._quality.hides(slots, when, part.t_ns[[row]])[0]:
            return []  # what a class looks like was the way into a fault
        then = replace(part.rows(slice(row, row + 1)), t_ns=when, windows=held.window[None])
        told = [notice for _, notice in self._alarm(then, held.scores[None], self._span_s)]
        for one in told:
            if isinstance(one, Alarm):
                self.late[one.id] = held.t_ns, held.window
        return told


class BeatJudge(Judge):
    """Beats, their class, heart rate and its limits.

    Every beat is a notice; one whose class has a threshold, and whose probability reaches it, is an event of its
    own, while the alarm of that class stays one alarm for as long as such beats go on coming.
    """

    BEFORE_S, AFTER_S = 0.12, 0.28
    """What of the signal an event of a beat speaks of: the QRS complex and most of its T wave."""

    def __init__(
        self,
        card: Card,
        rules: Sequence[Rule],
        capacity: int,
        names: Callable[[int], str],
        ask: Ask | None = None,
    ) -> None:
        """`ask` is the second tier's network, which a card that speaks of one cannot do without."""
        tracks = [*class_tracks(card, rules), Track.of(rules, Kind.LIMIT, "heart-rate", 1.0, card.ident)]
        self._limit = len(tracks) - 1
        self.noise: NoiseMeter | None = None
        if card.noise is not None:
            self.noise = NoiseMeter(card, card.noise, capacity)
            tracks.append(Track.of(rules, Kind.SIGNAL, "noise", card.noise.level, card.ident))
        super().__init__(card, tracks, capacity, names)
        if card.second is not None and ask is None:
            raise ModelError(
                f"model {card.ident}: its card has a second tier, but nothing was given to ask it with"
            )
        self.picker, self.pulse = BeatPicker(card, capacity), Pulse(capacity)
        self.second = SecondTier(card, capacity, ask) if card.second is not None and ask is not None else None
        self._columns = {card.classes.index(t.label): i for i, t in enumerate(self.tracks[: self._limit])}
        self._between = np.array([(track.raise_level + track.clear_level) / 2 for track in self.tracks])
        self._limits_bpm = np.full((capacity, 2), np.nan)

    def inherit(self, other: Judge) -> list[Alarm]:
        """See Judge.inherit."""
        if isinstance(other, BeatJudge) and other.card == self.card:
            self.picker, self.pulse, self.second = other.picker, other.pulse, other.second
            self.noise = other.noise
        return super().inherit(other)

    def limit(self, slot: int, low_bpm: float, high_bpm: float) -> None:
        """The stream in `slot` has a range its heart rate should keep to."""
        self._limits_bpm[slot] = low_bpm, high_bpm

    def rate_bpm(self, slots: Ints, t_ns: Ints) -> Doubles:
        """Heart rate (n,) once everything up to `t_ns` (n,) has been judged."""
        return self.pulse.rate_bpm(slots, t_ns - self.picker.delay_ns)

    def step(self, part: Batch, outputs: dict[str, Floats]) -> Found:
        """See Judge.step."""
        follows = self._continuity.step(part.slots, part.segments, part.ends)
        scores = np.full((len(part), len(self.tracks)), np.nan)
        noisy = over = np.zeros(len(part), np.bool_)
        if self.noise is not None:
            scores[:, -1], noisy, over = self.noise.step(part.slots, follows, part.ends, part.windows)
        rows, when, probabilities = self._beats(part, follows, noisy, over, outputs)
        likeliest = np.zeros(scores.shape)  # of any beat of the row, whatever it was taken for
        levels, busy = self.budgets.levels(part.slots), self._busy(part.slots)
        found: list[tuple[int, Notice]] = []
        rates = self.rate_bpm(part.slots[rows], part.t_ns[rows])
        for row, t_ns, likely, rate in zip(rows.tolist(), when.tolist(), probabilities, rates, strict=True):
            slot, best = int(part.slots[row]), int(likely.argmax())
            label, score = self.card.classes[best], float(likely[best])
            name = self._names(slot)
            rr_s, all_likely = self.pulse.rr_s(slot), tuple(likely.tolist())
            found.append((row, Beat(name, t_ns, label, score, rr_s, float(rate), self.card.ident, all_likely)))
            for nth, its in self._columns.items():
                likeliest[row, its] = max(likeliest[row, its], likely[nth])
            column = self._columns.get(best)
            if column is None:
                continue
            scores[row, column] = score
            if score >= (level := float(levels[row, column])):
                start, end = t_ns - round(self.BEFORE_S * NS), t_ns + round(self.AFTER_S * NS)
                found.append(
                    (row, Event(name, Kind.CLASS, label, t_ns, start, end, score, level, self.card.ident))
                )
        self._score_limits(part, scores)
        heard = scores
        if noisy.any():
            heard = np.where(noisy[:, None], self._between, scores)  # what lies between the levels changes nothing
            heard[:, -1] = scores[:, -1]
        alarms = self._alarm(part, heard, 0.0)
        self.budgets.learn(part.slots, likeliest, busy, alarms)
        return scores, found + [
            (row, notice)
            for row, notice in alarms
            if not isinstance(notice, Event) or notice.kind is not Kind.CLASS
        ]

    def _beats(
        self, part: Batch, follows: Bools, noisy: Bools, over: Bools, outputs: dict[str, Floats]
    ) -> tuple[Ints, Ints, Doubles]:
        """The beats that these rows tell of: row (k,), time (k,), class probabilities (k, class).

        None is told of noise; rhythm begins anew after a gap, and when noise is `over`.
        """
        broken = part.slots[~follows | over]
        self.pulse.start(broken)
        picked = self.picker.step(part.slots, follows, part.t_ns, outputs)
        rows, when, probabilities = picked.rows, picked.when, picked.probabilities
        sure = picked.heat
        if self.second is not None:
            self.second.start(broken)
            if len(rows):
                answers = self.second.step(part.slots, picked, part.t_ns, part.windows).astype(np.float64)
                sure, probabilities = 1 - answers[:, -1], answers[:, :-1]
        if self.noise is not None:
            self.noise.note(part.slots[rows], sure)
        real = ~noisy[rows]
        if self.second is not None:
            real &= sure >= self.card.beat_level
        rows, when, probabilities = rows[real], when[real], probabilities[real]
        self.pulse.note(part.slots[rows], when)
        return rows, when, probabilities

    def _score_limits(self, part: Batch, scores: Doubles) -> None:
        """Heart rate over its upper limit, or lower limit over heart rate: from 1 on it is out of range."""
        rows = np.flatnonzero(~np.isnan(self._limits_bpm[part.slots, 0]))
        if len(rows):
            rate = self.rate_bpm(part.slots[rows], part.t_ns[rows])
            low, high = self._limits_bpm[part.slots[rows]].T
            scores[rows, self._limit] = np.maximum(rate / high, low / rate)


def class_tracks(card: Card, rules: Sequence[Rule]) -> list[Track]:
    """A track for each class that has a threshold."""
    return [
        Track.of(rules, Kind.CLASS, label, card.thresholds[label], card.ident)
        for label in card.classes
        if label in card.thresholds
    ]


def judge_for(
    card: Card,
    rules: Sequence[Rule],
    capacity: int,
    names: Callable[[int], str],
    quality: Quality | None = None,
    ask: Ask | None = None,
) -> Judge:
    """The judge of the card's task; `ask` is the network of a beat model's second tier."""
    match card.task:
        case "forecast":
            return ForecastJudge(card, rules, capacity, names)
        case "classify":
            return ClassJudge(card, rules, capacity, names, quality)
        case "beats":
            return BeatJudge(card, rules, capacity, names, ask)
