"""What a beat model's outputs mean: beats and their class, heart rate, now and ahead, and noise."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple, Self

import numpy as np

from monitor.core.batches import Batch, joined, rounds
from monitor.core.beats import Ask, BeatPicker, Picked, Pulse, SecondTier
from monitor.core.blocks import NS, Alarm, Beat, Event, Floats, Ints, Kind
from monitor.core.card import Card
from monitor.core.errors import ModelError
from monitor.core.judge import Found, Judge, Notice, Part, class_tracks
from monitor.core.noisiness import NoiseMeter
from monitor.core.rate_ahead import RateOutlook
from monitor.core.rules import Rule, Track
from monitor.core.scoring import Bools, Doubles


class _Pick(NamedTuple):
    """What the first tier says of a part."""

    follows: Bools
    """(n,) whether each row follows on the last one of its stream."""
    picked: Picked
    answers: Doubles
    """(k, class + 1) what the second tier says of what was picked; NaN where it was not asked yet."""


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
        tracks = class_tracks(card, rules)
        self._limit = len(tracks)
        kinds = (Kind.LIMIT, Kind.LIMIT_AHEAD)
        tracks += [Track.of(rules, kind, "heart-rate", 1.0, card.ident) for kind in kinds]
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
        self.outlook = RateOutlook(capacity)

    def inherit(self, other: Judge) -> list[Alarm]:
        """See Judge.inherit."""
        if isinstance(other, BeatJudge) and other.card == self.card:
            self.picker, self.pulse, self.second = other.picker, other.pulse, other.second
            self.noise, self.outlook = other.noise, other.outlook
        return super().inherit(other)

    def still(self) -> Self:
        """See Judge.still."""
        other = super().still()
        other.outlook = self.outlook.still()
        return other

    def calibration(self, slot: int) -> dict[str, float]:
        """See Judge.calibration."""
        return self.outlook.calibration(slot) | super().calibration(slot)

    def calibrate(self, slot: int, learned: Mapping[str, float]) -> None:
        """See Judge.calibrate."""
        self.outlook.calibrate(slot, learned)
        super().calibrate(slot, learned)

    def rate_bpm(self, slots: Ints, t_ns: Ints) -> Doubles:
        """Heart rate (n,) once everything up to `t_ns` (n,) has been judged."""
        return self.pulse.rate_bpm(slots, t_ns - self.picker.delay_ns)

    def step(self, part: Batch, outputs: dict[str, Floats]) -> Found:
        """See Judge.step."""
        return next(self.steps([(part, outputs)]))

    def steps(self, parts: Sequence[Part]) -> Iterator[Found]:
        """See Judge.steps. The second tier is asked once for all parts, as far as nothing between them matters."""
        most = self.noise.turn if self.noise else len(parts)
        for start in range(0, len(parts), most):
            some = parts[start : start + most]
            picks = [self._pick(part, outputs) for part, outputs in some]
            if self.second is not None and len(some) > 1:
                self._ask_ahead(self.second, [part for part, _ in some], picks)
            for (part, _), pick in zip(some, picks, strict=True):
                yield self._judged(part, pick)

    def _pick(self, part: Batch, outputs: dict[str, Floats]) -> _Pick:
        follows = self._continuity.step(part.slots, part.segments, part.ends)
        picked = self.picker.step(part.slots, follows, part.t_ns, outputs)
        return _Pick(follows, picked, np.full((len(picked.rows), len(self.card.classes) + 1), np.nan))

    def _ask_ahead(self, second: SecondTier, parts: Sequence[Batch], picks: Sequence[_Pick]) -> None:
        """Ask the second tier about what was picked of many parts.

        What it is asked depends on the candidates before and on where rhythm begins anew: after a gap, and when
        noise is over. Streams on which that may be so within these parts are left for later.
        """
        slots = np.concatenate([part.slots[pick.picked.rows] for part, pick in zip(parts, picks, strict=True)])
        broken = np.concatenate([part.slots[~pick.follows] for part, pick in zip(parts, picks, strict=True)])
        asked = ~np.isin(slots, broken)
        if self.noise is not None:
            asked &= ~self.noise.is_on(slots)
        rows = np.flatnonzero(asked)
        if not len(rows):
            return
        batch = joined([part.rows(pick.picked.rows) for part, pick in zip(parts, picks, strict=True)])
        _, *columns = zip(*(pick.picked for pick in picks), strict=True)
        picked = Picked(np.arange(len(slots)), *(np.concatenate(column) for column in columns))
        answers = np.full((len(slots), len(self.card.classes) + 1), np.nan)
        for turn in rounds(slots[rows]):
            some = picked.some(rows[turn])
            answers[some.rows] = second.step(batch.slots, some, batch.t_ns, batch.windows)
        counts = [len(pick.answers) for pick in picks]
        for pick, its in zip(picks, np.split(answers, np.cumsum(counts)[:-1]), strict=True):
            pick.answers[:] = its

    def _judged(self, part: Batch, pick: _Pick) -> Found:
        scores = np.full((len(part), len(self.tracks)), np.nan)
        noisy = over = np.zeros(len(part), np.bool_)
        if self.noise is not None:
            scores[:, -1], noisy, over = self.noise.step(part.slots, pick.follows, part.ends, part.windows)
        rows, when, probabilities = self._beats(part, pick, noisy, over)
        likeliest = np.zeros(scores.shape)  # of any beat of the row, whatever it was taken for
        levels, busy = self.budgets.levels(part.slots), self._alarms.busy(part.slots)
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
        rates = self._score_limits(part, scores)

        def said(track: int, row: int) -> str:
            if not 0 <= track - self._limit <= 1:
                return ""
            return self.outlook.said(int(part.slots[row]), rates[row], is_ahead=track > self._limit)

        heard = scores
        if noisy.any():
            heard = np.where(noisy[:, None], self.budgets.between(part.slots), scores)  # alarms stay as they are
            heard[:, -1] = scores[:, -1]
        alarms = self._alarm(part, heard, levels, busy, 0.0, said)
        self.budgets.learn(part.slots, likeliest, busy, alarms)
        found += [
            (row, notice)
            for row, notice in alarms
            if not isinstance(notice, Event) or notice.kind is not Kind.CLASS
        ]
        return Found(scores, levels, found)

    def _beats(self, part: Batch, pick: _Pick, noisy: Bools, over: Bools) -> tuple[Ints, Ints, Doubles]:
        """The beats that these rows tell of: row (k,), time (k,), class probabilities (k, class).

        None is told of noise; rhythm begins anew after a gap, and when noise is `over`.
        """
        broken = part.slots[~pick.follows | over]
        if len(broken):
            self.pulse.start(broken)
            self.outlook.start(broken)
            if self.second is not None:
                self.second.start(broken)
        rows, when, probabilities, sure = pick.picked
        if not len(rows):
            return rows, when, probabilities
        if self.second is not None:
            late = np.flatnonzero(np.isnan(pick.answers[:, -1]))
            if len(late):
                some = pick.picked.some(late)
                pick.answers[late] = self.second.step(part.slots, some, part.t_ns, part.windows)
            sure, probabilities = 1 - pick.answers[:, -1], pick.answers[:, :-1]
        if self.noise is not None:
            self.noise.note(part.slots[rows], sure)
        real = ~noisy[rows]
        if self.second is not None:
            real &= sure >= self.card.beat_level
        rows, when, probabilities = rows[real], when[real], probabilities[real]
        slots = part.slots[rows]
        self.pulse.note(slots, when)
        watched = self.outlook.watched(slots)
        if len(watched):
            slots, now_ns = slots[watched], when[watched]
            known = self.pulse.is_settled(slots)
            self.outlook.note(slots, np.where(known, self.pulse.rate_bpm(slots, now_ns), np.nan))
        return rows, when, probabilities

    def _score_limits(self, part: Batch, scores: Doubles) -> Doubles:
        """Whether heart rates are out of their range, or will be; returns the rates (n,), NaN without a range."""
        rates = np.full(len(part), np.nan)
        rows = self.outlook.watched(part.slots)
        if len(rows):
            rates[rows] = self.rate_bpm(part.slots[rows], part.t_ns[rows])
            scores[rows, self._limit : self._limit + 2] = self.outlook.look(part.slots[rows], rates[rows])
        return rates
