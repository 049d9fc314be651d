"""The engine: the one file that knows the order of steps, from a block to events.

    push(block)               ledger, gaps and segments, into the lanes of the stream's models
    ready(model, limit)       a batch of windows that wait for inference
    infer(batch, model)       the model's answers; this one in a thread of its own, if you like
    conclude(batch, outputs)  scores, alarms, events: one window in, its events out, in order for each stream

No clock, no sockets, no threads. What happens does not depend on how samples were cut into blocks, on when they
came, or on how windows were put into batches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from types import MappingProxyType

import msgspec
import numpy as np

from monitor.core.batches import Batch
from monitor.core.beats import Ask
from monitor.core.blocks import Alarm, Block, Event, Floats, Forecast, Kind, Score, State
from monitor.core.card import Card
from monitor.core.conclusions import Conclusion, conclude_all
from monitor.core.evidence import Evidence, Foresights
from monitor.core.intake import Intake
from monitor.core.judge import Part
from monitor.core.judging import judge_for
from monitor.core.lanes import Lane, Model
from monitor.core.memory import Memory
from monitor.core.overview import stream_states
from monitor.core.pages import Page, Who
from monitor.core.published import StreamState
from monitor.core.quality import Quality
from monitor.core.reorder import Held
from monitor.core.rules import Rule
from monitor.core.scoring import Doubles
from monitor.core.staleness import Staleness
from monitor.core.stream import Plan
from monitor.core.technical import Told

_LIGHT = 40_000_000
"""Of a round, numbers in recurrences' matrices times steps: about four milliseconds, in calls of one or two."""


class Engine:
    """All streams and models of one daemon."""

    def __init__(
        self,
        cards: Mapping[str, Card],
        plan_of: Callable[[str], Plan | None],
        *,
        rules: Sequence[Rule] = (),
        max_streams: int = 4096,
        max_waiting: int = 65_536,
        leapfrog: Mapping[str, int] = MappingProxyType({}),
        seconds: Mapping[str, Ask] = MappingProxyType({}),
    ) -> None:
        """`cards` by model name; `plan_of` says what to do with a stream, None to refuse it.

        `leapfrog` names the models that go step by step, and how many states each stream carries (0: as the task
        wants); all others read every window anew. `seconds` are the second tiers of the beat models that have one.
        Raises ModelError for a model that cannot do what is asked of it.
        """
        self.lanes = {
            name: Lane(name, card, max_streams, max_waiting, leapfrog.get(name)) for name, card in cards.items()
        }
        self._quality = Quality(max_streams, rules, self.name_of)
        self._staleness = Staleness(max_streams)
        self._intake = Intake(self.lanes, plan_of, max_streams, self._quality)
        self._capacity, self._max_waiting = max_streams, max_waiting
        self._judges = {
            name: judge_for(card, rules, max_streams, self.name_of, self._quality, seconds.get(name))
            for name, card in cards.items()
        }
        self._foresights = Foresights(cards, max_streams)
        self.memory = Memory(self._intake, self.lanes, self._judges, self._quality.technical)
        """What an earlier run left, and what the next must know."""

    def push(
        self, block: Block, now_ns: int, mark: int, *, patience_s: float = 0.0, is_due: bool = False
    ) -> tuple[Block | None, list[Event]]:
        """Take a block that arrived at `now_ns`; `mark` comes back with the windows it completes.

        One that comes too early may be held instead, see `due`; `is_due` says that it has been, `patience_s` for
        how long what lies before it may still be delivered.
        Returns the block with everything its sender left open filled in, less the samples that were known
        already (None when all were, or it is held), and what the block itself made known: gaps, restarts, clock
        jumps.
        Raises SchemaError when the block cannot be used.
        """
        known = len(self._intake.streams)
        try:
            return self._intake.push(block, now_ns, mark, patience_s=patience_s, is_due=is_due)
        finally:
            for stream in self._intake.streams[known:]:
                self.memory.welcome(stream)
                self.memory.recall(stream)

    @property
    def known(self) -> Mapping[Who, int]:
        """The slots of streams whose blocks may come as pages, by what their senders say with every block."""
        return self._intake.known

    def follow(self, page: Page, mark: int) -> tuple[Page, Sequence[int]]:
        """The short way for blocks that go on where the last ones ended, and hold no NaN.

        Returns what was taken, with what senders left open filled in, and the rows that are to be pushed instead.
        """
        return self._intake.follow(page, mark)

    def reload(
        self,
        cards: Mapping[str, Card],
        plan_of: Callable[[str], Plan | None],
        rules: Sequence[Rule],
        leapfrog: Mapping[str, int] = MappingProxyType({}),
        seconds: Mapping[str, Ask] = MappingProxyType({}),
    ) -> list[Alarm]:
        """Other models, plans and rules from here on; nothing may wait for inference.

        A model of the same shape takes over the windows as they are; streams whose models are of another shape
        warm up anew. Returns the alarms that ended because nothing speaks of them any more.
        """
        over = self._quality.technical.obey(rules)
        old = dict(self._judges)
        self._judges.clear()
        for name, card in cards.items():
            judge = judge_for(card, rules, self._capacity, self.name_of, self._quality, seconds.get(name))
            lane = self.lanes.get(name)
            if lane is not None and lane.fits(card, leapfrog.get(name)):
                over += judge.inherit(old.pop(name))
                if card != lane.card:
                    lane.replace(card)
            else:
                self.lanes[name] = Lane(name, card, self._capacity, self._max_waiting, leapfrog.get(name))
            self._judges[name] = judge
        for name in set(self.lanes) - set(cards):
            del self.lanes[name]
        self._foresights = Foresights(cards, self._capacity)
        over += [
            msgspec.structs.replace(alarm, state=State.CLEARED) for judge in old.values() for alarm in judge.open()
        ]
        self._intake.rebind(plan_of)
        for stream in self._intake.streams:
            self.memory.welcome(stream)
        return over

    @property
    def holds(self) -> bool:
        """Whether any early block waits."""
        return self._intake.holds

    def due(self, now_ns: int) -> Held | None:
        """A block that came too early and need wait no longer: to be pushed with its own time and mark."""
        return self._intake.due(now_ns)

    def signals(self) -> list[Told]:
        """What the samples that have come say of the signals themselves, since it was last asked."""
        self._intake.arrivals.flush()
        told = self._quality.technical.take()
        for slot, notice in told:
            self._intake.streams[slot].events += isinstance(notice, Event)
        return [notice for _, notice in told]

    def watch(self, now_s: float) -> bool:
        """Look which streams have fallen silent, by the caller's clock; whether `signals` has more to tell."""
        after_s = self._stale_after_s()
        silent, back = self._staleness.look(self._quality.counts(len(after_s)), after_s, now_s)
        for slot in silent + back:
            self._quality.stale(slot, is_stale=slot in silent)
        return bool(silent or back)

    @property
    def listens(self) -> bool:
        """Whether `watch` may have something to tell although nothing comes."""
        return self._staleness.waits(self._stale_after_s())

    def _stale_after_s(self) -> Doubles:
        """(stream,) how long a silence of each is one; 0 where none is."""
        return np.array([one.plan.stale_s if one.plan.quality else 0.0 for one in self._intake.streams])

    def refuse(self, stream: str) -> None:
        """A block of this stream could not be used: it could not be read, or `push` raised SchemaError."""
        self._intake.refuse(stream)

    def waiting(self) -> int:
        """Windows that wait for inference, over all models."""
        return sum(self.waiting_by_model().values())

    def count_fresh(self) -> int:
        """Streams whose newest samples no model has seen, and windows that wait: about what a round would take."""
        return len(self._intake.arrivals) + sum(lane.waiting() for lane in self.lanes.values())

    def waiting_by_model(self) -> dict[str, int]:
        """The same for each model."""
        self._intake.arrivals.flush()
        return {name: lane.waiting() for name, lane in self.lanes.items()}

    def batch_limit(self, max_batch: int) -> int:
        """Rows that the fullest batch of all models should have, where a batch of windows has `max_batch`."""
        return max((lane.batch_limit(max_batch) for lane in self.lanes.values()), default=max_batch)

    def ready(self, model: str, limit: int) -> Batch | None:
        """Up to `limit` windows of `model`, oldest first; None when none wait."""
        lane = self.lanes[model]
        if not lane.waiting():  # what comes meanwhile is better looked at together, in the next round
            self._intake.arrivals.flush()
        return lane.take(limit)

    def is_light(self, waiting: Mapping[str, int]) -> bool:
        """Whether to infer so many windows of each model takes so little that another thread would not help."""
        return sum(self.lanes[name].work(rows) for name, rows in waiting.items()) <= _LIGHT

    def infer(self, batch: Batch, model: Model) -> tuple[Batch, dict[str, Floats]]:
        """The rows of `batch` that the model has an answer for, and its answers. Batches of a model come in order.

        May be called from another thread, while the others go on.
        """
        return self.lanes[batch.model].infer(batch, model)

    def infer_all(self, batches: Sequence[Batch], model: Model) -> list[Part]:
        """The same for batches of one model that follow on each other, in fewer calls where that is possible."""
        return self.lanes[batches[0].model].infer_all(batches, model)

    def conclude(self, batch: Batch, outputs: dict[str, Floats]) -> Conclusion:
        """What the model's outputs for `batch` mean. Batches of a model must be concluded in order."""
        return next(self.conclusions([(batch, outputs)]))

    def conclusions(self, told: Sequence[Part]) -> Iterator[Conclusion]:
        """The same for batches of a model that follow on each other, one by one; some work is done once."""
        judge, streams = self._judges[told[0][0].model], self._intake.streams
        for conclusion in conclude_all(told, judge, self._foresights, streams):
            slots = conclusion.batch.slots
            np.add.at(self.lanes[conclusion.batch.model].inferred, slots, 1)
            for row, notice in conclusion.notices:
                streams[slots[row]].events += isinstance(notice, Event)
            yield conclusion

    def rest(self) -> list[Evidence]:
        """The evidence that no conclusion has had: it waits for forecasts, and there are no more."""
        return self._foresights.rest()

    def forecast(self, conclusion: Conclusion, row: int) -> Forecast:
        """The forecast in one row of a forecast model's conclusion."""
        batch, out = conclusion.batch, conclusion.outputs
        card = self.lanes[batch.model].card
        return Forecast(
            self.name_of(int(batch.slots[row])), card.ident, int(batch.t_ns[row]), card.rate_hz,
            out["forecast"][row], out["lower"][row], out["upper"][row],
        )  # fmt: skip

    def scores(self, conclusion: Conclusion, row: int) -> list[Score]:
        """The scores in one row, where there are any."""
        return conclusion.scores_of(row, self.name_of(int(conclusion.batch.slots[row])))

    def name_of(self, slot: int) -> str:
        """The stream that has this slot."""
        return self._intake.streams[slot].name

    def acknowledge(self, alarm_id: str) -> list[Alarm]:
        """Somebody has seen this alarm, or all with an empty id; those that changed."""
        over = self.memory.acknowledge(alarm_id) + self._quality.technical.alarms.acknowledge(alarm_id)
        return over + [alarm for judge in self._judges.values() for alarm in judge.acknowledge(alarm_id)]

    def set_budget(self, stream: str, kind: Kind, label: str, per_hour: float | None) -> list[str]:
        """Other budgets, see Budgets.ask, for the streams whose names match a pattern; those that can have one."""
        changed = []
        for one in self._intake.streams:
            if fnmatchcase(one.name, stream):
                asked = [
                    self._judges[lane.name].budgets.ask(one.slot, kind, label, per_hour) for lane in one.lanes
                ]
                changed += [one.name] if any(asked) else []
        return changed

    def open_alarms(self) -> list[Alarm]:
        """Alarms that are active or latched, by the time they were raised."""
        alarms = [alarm for judge in self._judges.values() for alarm in judge.open()]
        alarms += [*self._quality.technical.alarms.open(), *self.memory.left_open.values()]
        return sorted(alarms, key=lambda alarm: (alarm.raised_ns, alarm.id))

    def states(self) -> list[StreamState]:
        """How every stream is doing."""
        return self.some_states(0, self.count_streams())

    def some_states(self, start: int, end: int) -> list[StreamState]:
        """The same of the streams from the `start`-th to before the `end`-th, in the order in which they came."""
        silent_s = self._staleness.silent_s(self._quality.counts(self.count_streams()))
        return stream_states(self._intake.streams[start:end], self._judges, silent_s)

    def count_skipped(self) -> int:
        """Hops left out so far because the machine could not keep up."""
        return sum(int(lane.skipped.sum()) for lane in self.lanes.values())

    def count_streams(self) -> int:
        """Streams that have come so far."""
        return len(self._intake.streams)
