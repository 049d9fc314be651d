"""Leapfrog: carried states in place of windows that are read again at every hop.

A window that moves on by one step is, but for that step, the same window; to read all of it again is what costs.
So a few states (two or three) are carried for each stream. Each begins anew every `window` steps, evenly out of
phase, and the one that has seen the most answers:

    state 0   1 2 3 ............ 26 ............ 50 1 2 3 ........
    state 1   ........ 50 1 2 3 ............ 26 ............ 50 1 ...
    answers   1111111111100000000000000000000000011111111111111111

So with two states an answer rests on 26 to 50 steps of a window of 50, with three on 34 to 50.

Rules of the file:
- An answer on n steps is the model's answer to the window of those n steps, read from an empty memory. Nothing
  older is in it, and nothing younger is missing.
- Where in its period a state is follows from the position in the segment alone: not from the cut into blocks, not
  from what other streams do, not from batches.
- A row that does not follow on the one before it (a new segment, hops that were skipped) begins with empty states.
  Until one of them has seen enough there is no answer: warming up is a state, not a score.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from monitor.core.batches import Batch, rounds
from monitor.core.blocks import Floats, Ints
from monitor.core.card import Card, Task
from monitor.core.errors import ModelError

STATES: Mapping[Task, int] = {"beats": 2, "classify": 3, "forecast": 3}
"""Carried states where nobody says how many. A beat is found as well on 26 steps as on 50; what is compared from
one answer to the next, a label or a residual, or lies far ahead, shows less of the change of states with three."""

_MAX_ROWS = 1024
"""Rows for one call: what they remember, and what is computed of them, stays in the processor's cache."""

Outputs = dict[str, Floats]


class Steps(Protocol):
    """A model that goes step by step: monitor.inference.Model, or a stand-in."""

    def step(self, window: Floats, state: Floats, seen: int, answers: int) -> tuple[Outputs, Floats]:
        """See monitor.inference.Model.step."""
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
        self._begins = np.array([round(k * self._period / self.states) for k in range(self.states)])
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
        self._rows = np.arange(self.states)[:, None] * capacity  # a stream's row for each state, less its slot
        self._count = np.zeros((self.states, capacity), np.int64)  # steps each state has seen
        self._segment = np.full(capacity, -1, np.int64)
        self._end = np.zeros(capacity, np.int64)
        spread = self._stepping.spread or (1.0,) * (self._period - self._stepping.first + 1)
        self._spread = np.array([1.0] * self._stepping.first + list(spread), np.float32)[: self._period + 1]
        self._spread[self._stepping.first :] = spread

    def run(self, batch: Batch, model: Steps) -> tuple[Batch, Outputs]:
        """Go on with every row of `batch`; the rows that have an answer, and the answers."""
        turns = rounds(batch.slots)
        if len(turns) == 1 and len(turns[0]) == len(batch):
            told, outputs = self._hop(batch, model)
            return (batch if len(told) == len(batch) else batch.rows(told)), outputs
        rows: list[Ints] = []
        parts: list[Outputs] = []
        for turn in turns:
            some, outputs = self._hop(batch.rows(turn), model)
            rows.append(turn[some])
            parts.append(outputs)
        order = np.argsort(np.concatenate(rows), kind="stable")
        joined = {name: np.concatenate([part[name] for part in parts])[order] for name in parts[0]}
        return batch.rows(np.concatenate(rows)[order]), joined

    def _hop(self, part: Batch, model: Steps) -> tuple[Ints, Outputs]:
        """Rows of distinct streams, one hop each: which of them have an answer, and the answers in that order."""
        slots, ends, n = part.slots, part.ends // self._fold, len(part)
        hop = self._card.hop
        follows = (self._segment[slots] == part.segments) & (self._end[slots] + hop == ends)
        self._segment[slots], self._end[slots] = part.segments, ends
        steps = np.where(follows, hop, np.minimum(hop, ends))  # a segment's first hop may be shorter
        begin = ends - steps
        before = np.where(follows, self._count[:, slots], 0)  # (state, n)
        # How many of these steps pass before a state begins anew; at least `steps` where it does not.
        until = (self._begins[:, None] - begin) % self._period
        renewed = until < steps
        consumed = np.where(renewed, steps - until, steps)
        count = np.where(renewed, consumed, before + consumed)
        self._count[:, slots] = count
        oldest, most = count.argmax(axis=0), count.max(axis=0)
        told = np.flatnonzero(most >= self.least)
        answers = np.zeros((self.states, n), np.bool_)
        answers[oldest[told], told] = True
        at = self._rows + slots
        source = np.where(renewed | (before == 0), self._empty, at)
        rows, outputs = self._step(
            part.windows, consumed.ravel(), source.ravel(), at.ravel(), answers.ravel(), model
        )
        order = np.argsort(rows, kind="stable")
        found = {name: values[order] for name, values in outputs.items()}
        if "lower" in found:
            self._spread_by_count(found, most[told])
        return told, found

    def _step(
        self,
        windows: Floats,
        consumed: Ints,
        source: Ints,
        target: Ints,
        answers: NDArray[np.bool_],
        model: Steps,
    ) -> tuple[Ints, Outputs]:
        """Let every state consume its steps, those that consume as many in one call, those that answer first.

        Returns which row of `windows` each answer is to.
        """
        lead, n = self._stepping.lead, len(windows)
        told: list[Ints] = []
        parts: list[Outputs] = []
        first = int(consumed[0])
        lengths = [first] if (consumed == first).all() else np.unique(consumed).tolist()
        for length in lengths:
            mine = consumed == length
            rows = np.concatenate((np.flatnonzero(mine & answers), np.flatnonzero(mine & ~answers)))
            answering = int(np.count_nonzero(answers[rows]))
            newest = windows[:, windows.shape[1] - lead - length * self._fold :]
            for start in range(0, len(rows), _MAX_ROWS):
                some = rows[start : start + _MAX_ROWS]
                asked = min(max(answering - start, 0), len(some))
                outputs, after = model.step(newest[some % n], self._memory[source[some]], lead, asked)
                self._memory[target[some]] = after
                told.append(some[:asked] % n)
                parts.append(outputs)
        if len(parts) == 1:
            return told[0], parts[0]
        return np.concatenate(told), {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _spread_by_count(self, outputs: Outputs, count: Ints) -> None:
        """Widen the intervals of answers that rest on less: neither they nor scores pulse with the states then."""
        factor = self._spread[count][:, None, None]
        mean = outputs["forecast"]
        for name in ("lower", "upper"):
            outputs[name] = mean + (outputs[name] - mean) * factor
