"""The false-alarm budgets of a judge's tracks: which have one, what it lets through, what it learns."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase

import numpy as np

from monitor.core.blocks import Alarm, Ints, Kind, State
from monitor.core.budget import TAIL, Bools, Budget, Doubles
from monitor.core.rules import Track
from monitor.core.still import still

FROZEN_S = 60.0
"""A deviation that has gone on for so long, or for two windows, is the usual, and is learned."""
_USUAL = 1.0
"""No deviation that comes once in twenty hops is an alarm, however large the budget."""


def _budget_for(track: Track, capacity: int, hop_s: float, window_s: float, tail: float) -> Budget | None:
    """A class is never less sure than without a budget, and however long it lasts it is not learned."""
    rule = track.rule
    match track.kind:
        case Kind.CLASS:
            return Budget(capacity, hop_s, rule.clear_s, track.raise_level, math.inf, are_shares=True)
        case Kind.DEVIATION:
            floor = rule.raise_level if rule.budget_per_hour and rule.raise_level is not None else _USUAL
            return Budget(capacity, hop_s, rule.clear_s, floor, max(FROZEN_S, 2 * window_s), tail=tail)
    return None


class Budgets:
    """A Budget for each of `tracks` that speaks of a class or a deviation; limits are what they are set to."""

    def __init__(
        self, tracks: Sequence[Track], capacity: int, hop_s: float, window_s: float, tail: float = TAIL
    ) -> None:
        """A row of scores comes every `hop_s` and rests on `window_s`; `tail`: see Card.tail."""
        self._tracks = tuple(tracks)
        made = ((i, _budget_for(track, capacity, hop_s, window_s, tail)) for i, track in enumerate(self._tracks))
        self._of = {i: budget for i, budget in made if budget is not None}

    def inherit(self, other: Budgets) -> None:
        """Take the place of another judge's, of the same model; `allow` is still to be called."""
        theirs = {(other._tracks[i].kind, other._tracks[i].label): budget for i, budget in other._of.items()}
        for i, budget in self._of.items():
            if (known := theirs.get((self._tracks[i].kind, self._tracks[i].label))) is not None:
                budget.inherit(known)

    def allow(self, slot: int, deviations_per_hour: float | None) -> None:
        """What the configuration allows the stream in `slot`: its entry's, where it has one, else its rules'."""
        for i, budget in self._of.items():
            track = self._tracks[i]
            own = deviations_per_hour if track.kind is Kind.DEVIATION else None
            budget.allow(slot, (track.rule.budget_per_hour or 0.0) if own is None else own)

    def ask(self, slot: int, kind: Kind, label: str, per_hour: float | None) -> bool:
        """Somebody wants another one where kind and label (a shell pattern) match; None: as configured.

        Returns whether any matched.
        """
        asked = [
            budget
            for i, budget in self._of.items()
            if self._tracks[i].kind is kind and fnmatchcase(self._tracks[i].label, label)
        ]
        for budget in asked:
            budget.ask(slot, per_hour)
        return bool(asked)

    def of(self, track: int, slots: Ints) -> tuple[Doubles, Doubles] | None:
        """(n,) each row's own levels, see Budget.levels; None where no stream has a budget for this track."""
        budget = self._of.get(track)
        if budget is None or not budget.is_on:
            return None
        return budget.levels(slots, (self._tracks[track].raise_level, self._tracks[track].clear_level))

    def levels(self, slots: Ints) -> Doubles:
        """(n, track) the level from which each stream's next score counts; infinite while its budget warms up."""
        levels = np.empty((len(slots), len(self._tracks)))
        levels[:] = [track.raise_level for track in self._tracks]
        for i in self._of:
            if (own := self.of(i, slots)) is not None:
                levels[:, i] = own[0]
        return levels

    def between(self, slots: Ints) -> Doubles:
        """(n, track) scores that change nothing, whatever the alarm is: 0 where there are none."""
        scores = np.zeros((len(slots), len(self._tracks)))
        for i, track in enumerate(self._tracks):
            high, low = self.of(i, slots) or (track.raise_level, track.clear_level)
            scores[:, i] = np.where(low < high, low, 0.0)
        return scores

    def warming(self, slots: Ints) -> Bools:
        """Whether some budget of each stream cannot be kept yet."""
        warming = np.zeros(len(slots), np.bool_)
        for budget in self._of.values():
            if budget.is_on:
                warming |= budget.warming(slots)
        return warming

    def learn(self, slots: Ints, scores: Doubles, busy: Bools, found: Iterable[tuple[int, object]]) -> None:
        """A hop's scores (n, track) after they were judged: `busy` (n, track) as before, `found` by row."""
        on = [i for i, budget in self._of.items() if budget.is_on]
        if not on:
            return
        new = [(row, alarm) for row, alarm in found if isinstance(alarm, Alarm) and _is_new(alarm)]
        for i in on:
            track = self._tracks[i]
            raised = np.zeros(len(slots), np.bool_)
            raised[[row for row, alarm in new if (alarm.kind, alarm.label) == (track.kind, track.label)]] = True
            self._of[i].learn(slots, scores[:, i], busy[:, i], raised)

    def still(self) -> Budgets:
        """One whose `calibration` stays as it is now."""
        other = still(self)
        other._of = {i: budget.still() for i, budget in self._of.items()}  # noqa: SLF001 one of us
        return other

    def calibration(self, slot: int) -> dict[str, float]:
        """What was learned of a stream; empty when nothing."""
        return {
            f"{self._tracks[i].label}.{name}": value
            for i, budget in self._of.items()
            for name, value in budget.calibration(slot).items()
        }

    def calibrate(self, slot: int, learned: Mapping[str, float]) -> None:
        """Go on with what `calibration` gave."""
        if not learned:
            return
        for i, budget in self._of.items():
            before = f"{self._tracks[i].label}."
            mine = {key.removeprefix(before): value for key, value in learned.items() if key.startswith(before)}
            budget.calibrate(slot, mine)


def _is_new(alarm: Alarm) -> bool:
    return alarm.state is State.ACTIVE and alarm.times == 1
