"""A partition's engine: messages in, in their order, and what they caused out.

No waiting and no sockets, and no hop is ever skipped: what comes faster than it can be inferred waits in the
cluster. What a shard says depends on its messages alone, not on how they were cut into deliveries, on when they
came, or on which worker it lives.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

from monitor import __version__
from monitor.cluster.frozen import freeze, thaw
from monitor.config import Config
from monitor.control import Acknowledge, SetBudget
from monitor.core.blocks import NS, Alarm, Beat, Block, Event, Kind
from monitor.core.bulk import decode_message
from monitor.core.engine import Engine
from monitor.core.errors import SchemaError
from monitor.core.evidence import Evidence
from monitor.core.judge import Notice
from monitor.core.memory import Saved
from monitor.core.published import StreamState
from monitor.inference import Model, second_tiers
from monitor.sinks import Sink

_ENOUGH = 2**12
"""Samples after which windows are inferred before more is taken in: the lanes' queues never overflow, and carried
states, which take one hop of each stream after the other, do not look through long ones."""
_LOOK_NS = NS // 4
"""How often one looks which streams have fallen silent."""
_PAUSE_NS = 6 * NS // 10
"""Between two messages; a worker to whom nothing comes says twice a second that time goes on."""
_EVIDENCE = 32
"""Of so many alarms of one commit: it has to have room in a message."""

Order = Acknowledge | SetBudget


class Entry(NamedTuple):
    """One message of a partition."""

    seq: int
    """Its place in the stream of all samples."""
    stream: str
    """Empty for an order: that time goes on, and what else the payload says."""
    payload: bytes
    at_ns: int
    """When the cluster stored it: the same for everybody who ever reads it."""


@dataclass
class Outcome:
    """What some messages caused, in order."""

    notices: list[Event | Alarm] = field(default_factory=list)
    beats: list[Beat] = field(default_factory=list)
    evidence: list[Evidence] = field(default_factory=list)
    budgets: dict[int, list[str]] = field(default_factory=dict)
    """By the `seq` of the order: streams that have another budget now."""
    refused: list[SchemaError] = field(default_factory=list)
    samples: int = 0
    windows: int = 0


class Frozen(msgspec.Struct, frozen=True):
    """A shard as bytes."""

    version: str
    """Of the models and of the way they are run; only a shard of the same goes on from `engine`."""
    engine: bytes
    clock: tuple[int, int, int]
    """See Clock."""
    saved: list[Saved]
    """What any shard can go on from: books, calibration, alarms; its windows warm up again."""


def build_engine(config: Config, models: Mapping[str, Model]) -> Engine:
    """An engine for one partition."""
    return Engine(
        {name: model.card for name, model in models.items()},
        config.plan_of,
        rules=config.alarms,
        max_streams=config.cluster.partition_streams,
        max_waiting=config.inference.max_waiting,
        leapfrog=config.inference.leapfrog(models),
        seconds=second_tiers(models),
    )


class Clock:
    """Time, as the cluster's messages tell it: for streams that fall silent.

    It stands still while nothing is stored at all: then it is the cluster that is silent.
    """

    def __init__(self) -> None:
        self.state = (0, 0, 0)
        """What it says, when the newest message was stored, when `is_due` was last true; all in ns."""

    def is_due(self, at_ns: int) -> bool:
        """A message was stored then; whether it is time to look at the streams."""
        now_ns, newest_ns, looked_ns = self.state
        now_ns += min(max(at_ns - newest_ns, 0), _PAUSE_NS)
        is_due = now_ns - looked_ns >= _LOOK_NS
        self.state = now_ns, max(at_ns, newest_ns), now_ns if is_due else looked_ns
        return is_due

    @property
    def now_s(self) -> float:
        """What it says."""
        return self.state[0] / NS


class Shard:
    """See the head of the file."""

    def __init__(self, config: Config, models: Mapping[str, Model], pristine: Engine) -> None:
        """`pristine` is an engine of the same configuration that nothing was ever pushed into."""
        self._config, self._models, self._pristine = config, models, pristine
        self.engine = build_engine(config, models)
        self._clock = Clock()
        self.position = 0
        """The `seq` of the last message taken."""

    def take(self, entries: Sequence[Entry], sink: Sink | None = None) -> Outcome:
        """Push these messages and conclude everything that they caused; those that were taken before are left out.

        `sink` hears of blocks and conclusions as they come.
        """
        outcome, done = Outcome(), 0
        for entry in entries:
            if entry.seq <= self.position:
                continue
            self.position = entry.seq
            if self._clock.is_due(entry.at_ns):
                self._note(self.engine.signals(), outcome)  # all that has come so far has been seen
                self.engine.watch(self._clock.now_s)
            if entry.stream:
                self._push(entry, outcome, sink)
            elif entry.payload:
                self._conclude(outcome, sink)
                self._obey(entry, outcome)
            if outcome.samples >= done + _ENOUGH:
                self._conclude(outcome, sink)
                done = outcome.samples
        self._conclude(outcome, sink)
        return outcome

    def _push(self, entry: Entry, outcome: Outcome, sink: Sink | None) -> None:
        for block in decode_message(entry.payload, entry.stream, self._config.limits.block_samples):
            if isinstance(block, SchemaError):
                self._refuse(block, outcome)
            else:
                self._admit(block, entry.at_ns, time.monotonic_ns(), outcome, sink)
        while self.engine.holds and (held := self.engine.due(entry.at_ns)) is not None:
            self._admit(held.block, held.arrived_ns, held.mark, outcome, sink, is_due=True)

    def _admit(
        self, block: Block, now_ns: int, mark: int, outcome: Outcome, sink: Sink | None, *, is_due: bool = False
    ) -> None:
        try:
            taken, events = self.engine.push(block, now_ns, mark, is_due=is_due)
        except SchemaError as error:
            self._refuse(error, outcome)
            return
        if taken is not None:
            outcome.samples += len(taken.values)
            if sink is not None:
                sink.block(taken)
        self._note(events, outcome)

    def _obey(self, order: Entry, outcome: Outcome) -> None:
        try:
            request = msgspec.msgpack.decode(order.payload, type=Order)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            outcome.refused.append(SchemaError(f"expected an order, got another message: {error}"))
            return
        if isinstance(request, Acknowledge):
            outcome.notices += self.engine.acknowledge(request.id)
        else:
            kind = Kind(request.kind)
            changed = self.engine.set_budget(request.stream, kind, request.label, request.per_hour)
            outcome.budgets[order.seq] = changed

    def _refuse(self, error: SchemaError, outcome: Outcome) -> None:
        self.engine.refuse(error.stream)
        outcome.refused.append(error)

    def _conclude(self, outcome: Outcome, sink: Sink | None) -> None:
        """Infer everything that waits. Forecasters last: what the others raise waits for what was forecast."""
        self._note(self.engine.signals(), outcome)
        for name, model in sorted(self._models.items(), key=lambda item: item[1].card.task == "forecast"):
            limit = self.engine.lanes[name].batch_limit(self._config.inference.max_batch)
            while (batch := self.engine.ready(name, limit)) is not None:
                conclusion = self.engine.conclude(*self.engine.infer(batch, model))
                outcome.windows += len(conclusion.batch)
                if sink is not None:
                    sink.conclusion(self.engine, conclusion)
                self._note([notice for _, notice in conclusion.notices], outcome)
                _keep(conclusion.evidence, outcome)
        _keep(self.engine.rest(), outcome)

    def _note(self, notices: Sequence[Notice], outcome: Outcome) -> None:
        for notice in notices:
            if isinstance(notice, Beat):
                outcome.beats.append(notice)
            else:
                outcome.notices.append(notice)

    def states(self) -> list[StreamState]:
        """How the streams of this partition are doing."""
        return self.engine.states()

    @property
    def version(self) -> str:
        """What `Frozen.version` must be for a shard to go on from it."""
        inference = self._config.inference
        cards = sorted(model.card.ident for model in self._models.values())
        how = f"{inference.mode} {inference.modes} {inference.states}"
        return f"{__version__} {cards} {how} {self._config.cluster.partition_streams}"

    def freeze(self) -> bytes:
        """Everything, between two calls of `take`."""
        memory = self.engine.memory
        engine = freeze(self.engine, self._pristine)
        frozen = Frozen(self.version, engine, self._clock.state, [*memory.learn(memory.save())])
        return msgspec.msgpack.encode(frozen)

    def thaw(self, data: bytes, position: int) -> bool:
        """Go on where a shard that was frozen was; False when only its books could be taken over.

        Raises SchemaError for bytes that are no frozen shard.
        """
        try:
            frozen = msgspec.msgpack.decode(data, type=Frozen)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise SchemaError(f"expected a frozen shard, got {len(data)} bytes that are none: {error}") from error
        self.position, self._clock.state = position, frozen.clock
        if frozen.version == self.version:
            try:
                thaw(frozen.engine, self.engine)
            except SchemaError:  # another version of this program wrote it
                self.engine = build_engine(self._config, self._models)
            else:
                return True
        self.engine.memory.resume(frozen.saved)
        return False


def _keep(evidence: Sequence[Evidence], outcome: Outcome) -> None:
    outcome.evidence += evidence[: _EVIDENCE - len(outcome.evidence)]
