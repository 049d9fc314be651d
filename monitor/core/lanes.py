"""A lane: one model and all the streams it serves, from samples to windows that wait for inference.

The queue of waiting windows is bounded. When the machine cannot keep up, the oldest are dropped and counted by
stream: hops are skipped before samples are lost.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import pairwise
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from monitor.core.batches import Batch, joined
from monitor.core.blocks import Floats, Ints
from monitor.core.card import Card
from monitor.core.conditioning import Conditioner
from monitor.core.leapfrog import Leapfrog, Steps
from monitor.core.windows import Windows

_REST_WINDOWS = 4
"""How long a stream rests under overload: long against the half window that it then takes to warm up."""
_MORE = 16
"""A row costs a carried state so little that sixteen times as many make a batch."""


class Model(Steps, Protocol):
    """What runs a model's graph: monitor.inference.Model, or a stand-in."""

    def run(self, windows: Floats) -> dict[str, Floats]:
        """See monitor.inference.Model.run."""
        ...


class Lane:
    """Conditions, windows and queues the samples of up to `capacity` streams for one model."""

    def __init__(self, name: str, card: Card, capacity: int, max_waiting: int, states: int | None = None) -> None:
        """`states` carried ones, 0 for as many as the task asks for; None reads every window anew.

        Raises ModelError when the model cannot carry states.
        """
        self.name, self.card, self._states = name, card, states
        self._carried = None if states is None else Leapfrog(card, capacity, states)
        self.skipped = np.zeros(capacity, np.int64)
        self.inferred = np.zeros(capacity, np.int64)
        self._max_waiting = max_waiting
        self._conditioner = Conditioner(card.conditioning, card.rate_hz, card.channels, capacity)
        self._least = self._least_steps() * card.samples_per_step
        early = states is not None or self._least < card.window_samples
        self._rest = np.zeros(capacity, np.int64)  # hops that are still to be skipped
        self._resting = False
        self._windows = Windows(card.window_samples, card.hop_samples, card.channels, capacity, early=early)
        self._segment = np.zeros(capacity, np.int64)
        self._rate_hz = np.ones(capacity)
        # Time of a segment's sample i: anchor_ns + (i - anchor) / rate.
        self._anchor = np.zeros(capacity, np.int64)
        self._anchor_ns = np.zeros(capacity, np.int64)
        self._queue: deque[list[Batch]] = deque()
        """Of each stream the first hop that waits, then the second of each, and so on."""
        self._queued = 0
        self._head = 0  # how many there have been before the first of them
        self._turn = np.zeros(capacity, np.int64)  # of each stream's next hop, counted alike

    def fits(self, card: Card, states: int | None) -> bool:
        """Whether a model with this card can take the place of ours, with the windows as they are."""
        shape = ("rate_hz", "window", "samples_per_step", "hop", "channels", "conditioning", "task")
        return states == self._states and all(getattr(card, name) == getattr(self.card, name) for name in shape)

    def replace(self, card: Card) -> None:
        """Another model takes the place of ours; what ours remembers says nothing to it."""
        self.card = card
        if self._states is not None:
            self._carried = Leapfrog(card, len(self.skipped), self._states)

    def start(self, slot: int, rate_hz: float, t_ns: int) -> None:
        """Begin a new segment of the stream in `slot`, all of whose samples are in; its first lies at `t_ns`."""
        self._conditioner.start(slot, rate_hz)
        self._windows.start(slot)
        self._rest[slot] = 0
        self._segment[slot] += 1
        self._rate_hz[slot] = rate_hz
        self.anchor(slot, 0, t_ns)

    def anchor(self, slot: int, index: int, t_ns: int) -> None:
        """Sample `index` of the segment lies at `t_ns`; those that are in have the times they have."""
        self._anchor[slot], self._anchor_ns[slot] = index, t_ns

    def warming(self, slots: Ints) -> NDArray[np.bool_]:
        """Whether each stream has not seen enough since its segment began."""
        short: NDArray[np.bool_] = self._windows.count(slots) < self._least
        return short

    def _least_steps(self) -> int:
        """On how few steps of a segment an answer may rest.

        At its beginning a beat is told from as few as the model was trained to answer on: one that is missed
        because a window is not full yet is missed for good. All else can wait for a full window.
        """
        if self._carried is not None:
            return self._carried.least
        if self.card.task == "beats" and self.card.stepping is not None:
            return self.card.stepping.first
        return self.card.window

    def batch_limit(self, max_batch: int) -> int:
        """Rows that a batch of ours should have at most, where windows have `max_batch`."""
        return max_batch if self._carried is None else _MORE * max_batch

    def work(self, rows: int) -> int:
        """What it takes to infer so many rows: numbers in the recurrence's matrix, times its steps."""
        card = self.card
        steps = card.window if self._carried is None else self._carried.states * card.hop
        return rows * steps * card.layers * card.hidden**2

    def infer(self, batch: Batch, model: Model) -> tuple[Batch, dict[str, Floats]]:
        """The rows of a batch of ours that the model has an answer for, and the answers; batches come in order.

        This and `infer_all` may be called from another thread, while the others go on.
        """
        if self._carried is not None:
            return self._carried.run(batch, model)
        if batch.ends.min() >= self.card.window_samples:
            return batch, model.run(batch.windows)
        return self._infer_young(batch, model)

    def infer_all(self, batches: Sequence[Batch], model: Model) -> list[tuple[Batch, dict[str, Floats]]]:
        """The same for batches that follow on each other: carried states go through many hops at once."""
        if self._carried is not None:
            return self._carried.run_all(batches, model)
        return [self.infer(batch, model) for batch in batches]

    def _infer_young(self, batch: Batch, model: Model) -> tuple[Batch, dict[str, Floats]]:
        """Rows of segments that are shorter than a window are asked about what there is of them."""
        batch = batch.rows(batch.ends >= self._least)
        lengths = np.minimum(batch.ends, self.card.window_samples)
        told: dict[str, Floats] = {}
        for length in sorted(set(lengths.tolist())):
            rows = np.flatnonzero(lengths == length)
            for name, values in model.run(batch.windows[rows, -length:]).items():
                told.setdefault(name, np.zeros((len(batch), *values.shape[1:]), values.dtype))[rows] = values
        return batch, told

    def waiting(self) -> int:
        """Windows that wait for inference."""
        return self._queued

    def take(self, limit: int) -> Batch | None:
        """Up to `limit` waiting windows, oldest first."""
        if not self.waiting():
            return None
        parts, taken = list[Batch](), 0
        while self._queue and taken < limit:
            some = self._queue[0]
            head = some.pop(0)
            if taken + len(head) > limit:
                some.insert(0, head.rows(slice(limit - taken, None)))
                head = head.rows(slice(0, limit - taken))
            parts.append(head)
            taken += len(head)
            if not some:
                self._queue.popleft()
                self._head += 1
                # A carried state takes one hop after the other; and what is made of a batch is quickest where
                # streams differ.
                if self._carried is not None or taken > limit // 2:
                    break
        self._queued -= taken
        return parts[0] if len(parts) == 1 else joined(parts)

    def feed(self, slots: Ints, values: Floats, marks: Ints) -> None:
        """Samples (stream, time, channel) of distinct streams of one rate, without gaps; queue what is due.

        They follow on the last ones of each stream's segment; `marks` (stream,) come back with what they complete.
        """
        values = values[:, :, : self.card.channels]
        counts, conditioned = self._conditioner.push(slots, values)
        rows, ends, windows = self._windows.push(slots, counts, conditioned)
        if not len(rows):
            return
        ids = slots[rows]
        ratio = self._rate_hz[ids] / self.card.rate_hz
        position = (self._conditioner.lead_in_samples + ends - 1) * ratio - self._anchor[ids]
        t_ns = self._anchor_ns[ids] + np.rint(position / self._rate_hz[ids] * 1e9).astype(np.int64)
        batch = Batch(self.name, ids, self._segment[ids], ends, t_ns, marks[rows], windows)
        if self._resting:
            batch = self._without_resting(batch)
        self._enqueue(batch)
        if self._queued > self._max_waiting and len(self._queue) > 1:
            if self._carried is None:
                self._skip_oldest()
            else:
                self._skip_streams()

    def _enqueue(self, batch: Batch) -> None:
        if not len(batch):
            return
        self._queued += len(batch)
        # Streams come in order, first all with their first hop, then with the next.
        for part in _split(batch, np.flatnonzero(np.diff(batch.slots) <= 0) + 1):
            turns = np.maximum(self._turn[part.slots], self._head)
            self._turn[part.slots] = turns + 1
            if (turns == turns[0]).all():
                self._put(int(turns[0]), part)
                continue
            for turn in sorted(set(turns.tolist())):
                self._put(turn, part.rows(turns == turn))

    def _put(self, turn: int, part: Batch) -> None:
        while len(self._queue) <= turn - self._head:
            self._queue.append([])
        self._queue[turn - self._head].append(part)

    def _skip_oldest(self) -> None:
        """Every window stands for itself: those that are the least use are the oldest."""
        while self._queued > self._max_waiting and len(self._queue) > 1:
            self._head += 1
            for dropped in self._queue.popleft():
                self._queued -= len(dropped)
                np.add.at(self.skipped, dropped.slots, 1)

    def _skip_streams(self) -> None:
        """A carried state that misses a hop has to warm up again: so few streams lose all, and take turns.

        A quarter of what waits goes at once; those who lost the least so far lose now, and rest for some windows.
        """
        parts = [part for some in self._queue for part in some]
        waiting = np.bincount(np.concatenate([part.slots for part in parts]), minlength=len(self.skipped))
        there = np.flatnonzero(waiting)
        order = there[np.argsort(self.skipped[there], kind="stable")]
        enough = int(np.searchsorted(np.cumsum(waiting[order]), self._queued - 3 * self._max_waiting // 4)) + 1
        lose = np.zeros(len(self.skipped), np.bool_)
        lose[order[:enough]] = True
        self.skipped[lose] += waiting[lose]
        self._rest[lose] = _REST_WINDOWS * self.card.window // self.card.hop
        self._resting = True
        self._queue.clear()
        self._head = int(self._turn.max())
        self._queued = 0
        for part in parts:
            self._enqueue(part if not lose[part.slots].any() else part.rows(~lose[part.slots]))

    def _without_resting(self, batch: Batch) -> Batch:
        """The rows of streams that do not rest; the hops of those that do are skipped."""
        rests = self._rest[batch.slots] > 0
        if rests.any():
            np.add.at(self.skipped, batch.slots[rests], 1)
            np.subtract.at(self._rest, batch.slots[rests], 1)
            self._resting = bool((self._rest > 0).any())
            batch = batch.rows(~rests)
        return batch


def _split(batch: Batch, at: Ints) -> list[Batch]:
    """The rows before, between and from these on."""
    bounds = [0, *at.tolist(), len(batch)]
    return [batch.rows(slice(start, end)) for start, end in pairwise(bounds)]
