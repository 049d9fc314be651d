"""What a model's outputs mean: scores, alarm tracks, events. One judge for each task of the card.

A judge is stepped with rows of distinct streams, each stream's rows in order of time, and returns its scores
(row, track) with NaN for "nothing to say yet", and the notices in order, each with its row.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from monitor.core.ahead import Ranges
from monitor.core.batches import Batch
from monitor.core.beat_judge import BeatJudge
from monitor.core.beats import Ask
from monitor.core.blocks import NS, Alarm, Floats, Kind
from monitor.core.card import Card
from monitor.core.judge import Found, Judge, Notice, class_tracks
from monitor.core.quality import Quality
from monitor.core.rules import Rule, Track
from monitor.core.scoring import Bools, DeviationScorer, Doubles
from monitor.core.technical import SETTLE_S


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

    def still(self) -> Self:
        """See Judge.still."""
        other = super().still()
        other.scorer = self.scorer.still()
        return other

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
        levels, busy = self.budgets.levels(part.slots), self._alarms.busy(part.slots)
        scores = np.full((len(part), len(self.tracks)), np.nan)
        scores[:, 0] = self.scorer.step(part.slots, follows, part.windows, outputs, busy[:, 0])
        detail_of = None
        if self.ranges:
            outlook = self.ranges.look(part.slots, part.windows, outputs["forecast"])
            scores[:, 1], scores[:, 2] = outlook.now, outlook.ahead

            def detail_of(track: int, row: int) -> str:
                return self.ranges.said(int(part.slots[row]), outlook, row, track - 1) if track else ""

        hop_s = self.card.hop_samples / self.card.rate_hz
        found = self._alarm(part, scores, levels, busy, hop_s, detail_of)
        self.budgets.learn(part.slots, scores, busy, found)
        return Found(scores, levels, found)


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
        levels, busy = self.budgets.levels(part.slots), self._alarms.busy(part.slots)
        found = self._found(part, scores, levels, busy)
        self.budgets.learn(part.slots, scores, busy, found)
        return Found(scores, levels, found)

    def _found(self, part: Batch, scores: Doubles, levels: Doubles, busy: Bools) -> list[tuple[int, Notice]]:
        if self._quality is None:
            return self._alarm(part, scores, levels, busy, self._span_s)
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
        levels, busy = self.budgets.levels(slots), self._alarms.busy(slots)
        told = [notice for _, notice in self._alarm(then, held.scores[None], levels, busy, self._span_s)]
        for one in told:
            if isinstance(one, Alarm):
                self.late[one.id] = held.t_ns, held.window
        return told


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
