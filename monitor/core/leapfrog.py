"""Leapfrog: carried states in place of windows that are read again at every hop.

A window that moves on by one step is, but for that step, the same window; to read all of it again is what costs.
So a few states (two or three) are carried for each stream. Each begins anew every `window` steps, evenly out of
phase, and the one that has seen the most answers:

    state 0   1 2 3 ............ 26 ............ 50 1 2 3 ........
    state 1   ........ 50 1 2 3 ............ 26 ............ 50 1 ...
    answers   1111111111100000000000000000000000011111111111111111

So with two states an answer rests on 26 to 50 steps of a window of 50, with three on 34 to 50 (33 where a hop is
two steps: states begin with a hop where they can).

Rules of the file:
- An answer on n steps is the model's answer to the window of those n steps, read from an empty memory. Nothing
  older is in it, and nothing younger is missing.
- Where in its period a state is follows from the position in the segment alone: not from the cut into blocks, not
  from what other streams do, not from batches.
- A row that does not follow on the one before it (a new segment, hops that were skipped) begins with empty states.
  Until one of them has seen enough there is no answer: warming up is a state, not a score.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

import numpy as np

from monitor.core.batches import Batch, Together, rounds
from monitor.core.blocks import Floats, Ints
from monitor.core.card import Card, Task
from monitor.core.errors import ModelError
from monitor.core.scoring import Bools

STATES: Mapping[Task, int] = {"beats": 2, "classify": 3, "forecast": 3}
"""Carried states where nobody says how many. A beat is found as well on 26 steps as on 50; what is compared from
one answer to the next, a label or a residual, or lies far ahead, shows less of the change of states with three."""

_MAX_ROWS = 1024
"""Rows for one call: what they remember, and what is computed of them, stays in the processor's cache."""

_FEW_HOPS = 5
"""Below these, one call for all hops costs as much as a call for each."""

Outputs = dict[str, Floats]


class Steps(Protocol):
    """A model that goes step by step: monitor.inference.Model, or a stand-in."""

    def step(self, window: Floats, state: Floats, seen: int, answers: int) -> tuple[Outputs, Floats]:
        """See monitor.inference.Model.step."""
        ...

    def along(self, window: Floats, state: Floats, keep: Bools, asked: Ints) -> tuple[Outputs, Floats]:
        """See monitor.inference.Model.along."""
        ...


class Leapfrog:
    """The carried states of up to `capacity` streams, and which of them answers."""

    def __init__(self, card: Card, capacity: int, states: int = 0) -> None:
        """Raises ModelError when the model cannot go step by step, or was not trained for so few states."""
        self._card, self.states = card, states or STATES[card.task]
        self._fold, self._period = card.samples_per_step, card.window
        if card.stepping is None:
            raise ModelError(
                f"model {card.ident}: it cannot leapfrog, for it has no state that could be carried on; make its "
                'file anew with `training export`, or run it with mode "window"'
            )
        self._stepping = card.stepping
        if not 1 <= self.states <= self._period:
            raise ModelError(f"model {card.ident}: expected 1 to {self._period} states, got {self.states}")
        if self._stepping.lead + card.hop_samples > card.window_samples:
            raise ModelError(
                f"model {card.ident}: it cannot leapfrog, for a hop and what it looks back at exceed its window"
            )
        self._begins = _begins(self.states, self._period, card.hop)
        gaps = np.diff([*self._begins, self._period])
        self.least = self._period - int(gaps.max()) + 1
        """The fewest steps that an answer rests on."""
        if self.least < self._stepping.first:
            raise ModelError(
                f"model {card.ident}: {self.states} states answer on {self.least} to {self._period} steps, it was "
                f"trained for {self._stepping.first} or more; take more states"
            )
        # The last row stays zero: what begins anew is read from there.
        self._memory = np.zeros((self.states * capacity + 1, self._stepping.width), np.float32)
        self._empty = self.states * capacity
        self._capacity = capacity
        # Of a stream that has gone on for long all follows from its place in the period: by that, the states in
        # the order in which they began, the one that answers first, and how many steps each has seen.
        count = (np.arange(self._period) - self._begins[:, None] - 1) % self._period + 1  # (state, place)
        self._counts = np.stack(
            [np.roll(count[:, place], -count[:, place].argmax()) for place in range(self._period)], 1
        )
        order = (count.argmax(axis=0) + np.arange(self.states)[:, None]) % self.states
        self._rows = order * capacity  # a stream's row for each of them, less its slot
        self._oldest = order[0]
        self._wrapped = np.arange(2 * self._period + 1) % self._period  # places that follow on a place
        self._segment = np.full(capacity, -1, np.int64)
        self._end = np.zeros(capacity, np.int64)
        self._start = np.zeros(capacity, np.int64)
        """Step from which on a stream's states have gone on without a break."""
        spread = self._stepping.spread or (1.0,) * (self._period - self._stepping.first + 1)
        self._spread = np.array([1.0] * self._stepping.first + list(spread), np.float32)[: self._period + 1]
        self._spread[self._stepping.first :] = spread

    def run(self, batch: Batch, model: Steps) -> tuple[Batch, Outputs]:
        """Go on with every row of `batch`; the rows that have an answer, and the answers."""
        rows, outputs = self._run(batch, model)
        return _some(batch, rows), outputs

    def _run(self, batch: Batch, model: Steps) -> tuple[Ints, Outputs]:
        """Which rows have an answer, and the answers in that order."""
        turns = rounds(batch.slots)
        if len(turns) == 1 and len(turns[0]) == len(batch):
            return self._hop(batch, model)
        rows: list[Ints] = []
        parts: list[Outputs] = []
        for turn in turns:
            some, outputs = self._hop(batch.rows(turn), model)
            rows.append(turn[some])
            parts.append(outputs)
        return _in_order(rows, parts)

    def run_all(self, batches: Sequence[Batch], model: Steps) -> list[tuple[Batch, Outputs]]:
        """The same for batches that follow on each other, a pair for each.

        Streams that just go on do so through all their hops in one call, where the model can.
        """
        most = self._period // self._card.hop  # hops: a window holds no more
        if len(batches) > most:
            return self.run_all(batches[:most], model) + self.run_all(batches[most:], model)
        if not self._stepping.along or len(batches) < _FEW_HOPS:
            return [self.run(batch, model) for batch in batches]
        whole = Together(batches)
        alone, told = np.ones(len(whole), np.bool_), np.zeros(len(whole), np.bool_)
        answers: Outputs = {}

        def note(rows: Ints, outputs: Outputs) -> None:
            told[rows] = True
            for name, values in outputs.items():
                answers.setdefault(name, np.empty((len(whole), *values.shape[1:]), np.float32))[rows] = values

        for hops in self._going_on(whole):
            alone[hops] = False
            windows = whole.newest(hops[-1], len(hops) * self._card.hop_samples)
            note(hops.ravel(), self._along(whole.slots[hops[0]], whole.ends[hops], windows, model))
        if alone.any():
            for batch, first in zip(batches, whole.starts, strict=False):
                left = np.flatnonzero(alone[first : first + len(batch)])
                if len(left):
                    rows, outputs = self._run(batch.rows(left), model)
                    note(first + left[rows], outputs)
        found: list[tuple[Batch, Outputs]] = []
        for batch, first in zip(batches, whole.starts, strict=False):
            rows = np.flatnonzero(told[first : first + len(batch)])
            mine = slice(first, first + len(batch)) if len(rows) == len(batch) else first + rows
            found.append((_some(batch, rows), {name: values[mine] for name, values in answers.items()}))
        return found

    def _going_on(self, whole: Together) -> Iterator[Ints]:
        """Rows (hop, n) of streams of which several hops are there, and which have gone on for long."""
        most = max(_MAX_ROWS // self.states, 1)
        for rows in whole.by_stream(_FEW_HOPS):
            first = rows[0]
            mine, ends, segments = whole.slots[first], whole.ends[rows], whole.segments[rows]
            steps = ends[0] // self._fold
            goes_on = (self._segment[mine] == segments[0]) & (self._end[mine] + self._card.hop == steps)
            goes_on &= steps - self._start[mine] >= self._period
            apart = self._card.hop_samples * np.arange(len(rows))[:, None]
            goes_on &= ((segments == segments[0]) & (ends == ends[0] + apart)).all(axis=0)
            chosen = rows[:, goes_on]
            for start in range(0, chosen.shape[1], most):
                yield chosen[:, start : start + most]

    def _along(self, slots: Ints, ends: Ints, windows: Floats, model: Steps) -> Outputs:
        """Go on through hops that end at the samples `ends` (hop, n), of which `windows` hold the samples.

        Returns the answers to all of them, hop after hop.
        """
        n, hop, steps = len(slots), self._card.hop, len(ends) * self._card.hop
        last = ends[-1] // self._fold
        passed = (last - steps) % self._period + np.arange(steps + 1)[:, None]
        passed = self._wrapped.take(passed)  # (step, n) places before and after each
        forgets = passed[:, None] == self._begins[:, None]  # (step, state, n)
        forgets = forgets.reshape(steps + 1, -1)
        rows = (np.arange(self.states)[:, None] * self._capacity + slots).ravel()
        before = self._memory.take(rows, axis=0)
        before[forgets[0]] = 0
        place = passed[hop::hop]
        after_step = np.arange(hop - 1, steps, hop)[:, None]
        asked = self._oldest.take(place) * n + (after_step * self.states * n + np.arange(n))
        windows = np.concatenate([windows] * self.states)
        outputs, self._memory[rows] = model.along(windows, before, ~forgets[1:], asked.ravel())
        self._end[slots] = last
        if "lower" in outputs:
            self._spread_by_count(outputs, self._counts[0, place].ravel())
        return outputs

    def _hop(self, part: Batch, model: Steps) -> tuple[Ints, Outputs]:
        """Rows of distinct streams, one hop each: which of them have an answer, and the answers in that order."""
        slots, ends = part.slots, part.ends // self._fold
        follows = (self._segment[slots] == part.segments) & (self._end[slots] + self._card.hop == ends)
        place = ends % self._period
        count, rows = self._counts[:, place], self._rows[:, place] + slots  # (state, n)
        self._segment[slots], self._end[slots] = part.segments, ends
        if not follows.all():
            new = ~follows
            # A segment's first hop may be shorter.
            self._start[slots[new]] = np.maximum(ends[new] - self._card.hop, 0)
        age = ends - self._start[slots]
        told = np.arange(len(slots))
        if age.min() < self._period:
            count = np.minimum(count, age)
            told = np.flatnonzero(count[0] >= self.least)
        consumed = np.minimum(count, self._card.hop)
        source = np.where(count == consumed, self._empty, rows)  # what began with these steps begins with nothing
        outputs = self._step(part.windows, consumed, source, rows, told, model)
        if "lower" in outputs:
            self._spread_by_count(outputs, count[0, told])
        return told, outputs

    def _step(
        self, windows: Floats, consumed: Ints, source: Ints, target: Ints, told: Ints, model: Steps
    ) -> Outputs:
        """Let every state consume its steps, those that consume as many in one call, those that answer first.

        All but `windows` are (state, n); of the first state the rows `told` answer, and in that order.
        """
        n, steps = len(windows), consumed.ravel()
        asked = np.zeros(len(steps), np.bool_)
        asked[told] = True
        parts: list[Outputs] = []
        rows: list[Ints] = []
        lengths = [self._card.hop] if consumed.min() == self._card.hop else sorted(set(steps.tolist()))
        for length in lengths:
            mine = np.flatnonzero(steps == length)
            if len(told) < n:
                mine = np.concatenate((mine[asked[mine]], mine[~asked[mine]]))
            answering = int(np.count_nonzero(asked[mine]))
            newest = windows[:, windows.shape[1] - self._stepping.lead - length * self._fold :]
            for start in range(0, len(mine), _MAX_ROWS):
                some = mine[start : start + _MAX_ROWS]
                answers = min(max(answering - start, 0), len(some))
                before = self._memory.take(source.ravel()[some], axis=0)
                found, after = model.step(newest.take(some % n, axis=0), before, self._stepping.lead, answers)
                self._memory[target.ravel()[some]] = after
                rows.append(some[:answers])
                parts.append(found)
        return parts[0] if len(parts) == 1 else _in_order(rows, parts)[1]

    def _spread_by_count(self, outputs: Outputs, count: Ints) -> None:
        """Widen the intervals of answers that rest on less: neither they nor scores pulse with the states then."""
        factor = self._spread[count][:, None, None]
        mean = outputs["forecast"]
        for name in ("lower", "upper"):
            outputs[name] = mean + (outputs[name] - mean) * factor


def _some(batch: Batch, rows: Ints) -> Batch:
    """Rows of a batch, in order."""
    return batch if len(rows) == len(batch) else batch.rows(rows)


def _in_order(rows: Sequence[Ints], parts: Sequence[Outputs]) -> tuple[Ints, Outputs]:
    """The rows of all parts in order, and what was answered to them."""
    order = np.argsort(np.concatenate(rows), kind="stable")
    return np.concatenate(rows)[order], {
        name: np.concatenate([part[name] for part in parts])[order] for name in parts[0]
    }


def _begins(states: int, period: int, hop: int) -> Ints:
    """At which step of its period each state begins anew: evenly, and with a hop where they can all do so."""
    evenly = [k * period / states for k in range(states)]
    with_hops = {hop * round(at / hop) for at in evenly}
    if period % hop == 0 and len(with_hops) == states and max(with_hops) < period:
        return np.array(sorted(with_hops))
    return np.array([round(at) for at in evenly])
