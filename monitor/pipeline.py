"""From received messages to published results: the waiting around the engine.

- Only the event loop touches the engine; one worker thread runs the models, another writes the alarm log.
- Messages are decoded and pushed as they come: there is no queue of samples here that could overflow. What is
  bounded is the queue of windows (in the lanes): when the machine cannot keep up, hops are skipped and counted.
- A batch is inferred when it is full or `max_wait_ms` after its oldest samples came; while it is concluded, the
  next one is inferred.
- An alarm is in the log before it is published, and a delivery is acknowledged after whatever it caused is there,
  in one transaction with the word that it was received.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from monitor.answers import Answers
from monitor.config import Inference, Limits
from monitor.core.blocks import NS, Alarm, Beat, Ints, Note
from monitor.core.conclusions import Conclusion
from monitor.core.engine import Engine
from monitor.core.evidence import Evidence
from monitor.core.judge import Notice
from monitor.history import History
from monitor.inference import Model
from monitor.keeper import Keeper, in_parts
from monitor.publisher import Publisher
from monitor.reading import Reading
from monitor.sinks import Sink
from monitor.sinks.alarmlog import AlarmLog, Write
from monitor.sources import Message, Source
from monitor.telemetry import Telemetry

_Swap = tuple[Callable[[], list[Alarm]], Mapping[str, Model], Inference, Limits, "asyncio.Future[None]"]

_NAP_S = 0.005
"""How long a busy socket is left alone; it holds what comes."""
_BUSY_S = 0.02
_MANY = 100
"""Messages in one delivery after which there is no nap."""
_TELL_S = 0.02
"""A round longer than this tells what it has found so far."""


class Pipeline:
    """Moves bytes into the engine, windows through the models, and results into the sinks."""

    def __init__(
        self,
        engine: Engine,
        models: Mapping[str, Model],
        settings: Inference,
        limits: Limits,
        sinks: Sequence[Sink],
        history: History,
        alarm_log: AlarmLog,
        telemetry: Telemetry,
        keeper: Keeper | None = None,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._engine, self._settings, self._limits = engine, settings, limits
        self._answers = Answers(engine, models, settings)
        self.publisher = Publisher(sinks, history, alarm_log, telemetry, now_ns)
        self.reading = Reading(engine, self.publisher, telemetry)
        self._history = history
        self._telemetry, self.keeper, self._now_ns = telemetry, keeper, now_ns
        self._told: list[Ints] = []
        """When what has been concluded, and is not yet told, was received."""
        self._publishing: asyncio.Task[None] | None = None
        self._checkpoint: asyncio.Task[None] | None = None
        self._work = asyncio.Event()
        self._notices: list[Notice | Note | Evidence] = []
        self._unacknowledged: list[Callable[[], None]] = []
        self._swaps: deque[_Swap] = deque()
        self._may_read = asyncio.Event()
        self._may_read.set()
        self._stopping = False
        self._turn_began_s = self._oldest_s = 0.0  # when the turn that is on began; when what it has not seen came

    async def read(self, source: Source) -> None:
        """Receive from `source` for ever."""
        last_s = 0.0
        async for delivery in source.deliveries():
            await self._may_read.wait()
            now_ns = self._now_ns()
            if delivery.acknowledge:
                self._unacknowledged.append(delivery.acknowledge)
                if self.keeper:
                    self.keeper.received(delivery.messages, now_ns)
            self.receive(delivery.messages, now_ns, delivery.patience_s)
            # Under load the socket always has more, and to be woken for each message costs more than the message.
            now_s = time.monotonic()
            is_busy = now_s - last_s < _BUSY_S and len(delivery.messages) < _MANY
            last_s = now_s
            await asyncio.sleep(_NAP_S if is_busy else 0)

    def receive(self, messages: Sequence[Message], now_ns: int | None = None, patience_s: float = 0.0) -> None:
        """Push what came; a bad message is counted, and the first of a kind for each stream is logged."""
        mark = time.monotonic_ns()
        self._oldest_s = self._oldest_s or mark / NS
        now_ns = self._now_ns() if now_ns is None else now_ns
        max_samples = self._limits.block_samples
        self.reading.take(messages, now_ns, mark, max_samples=max_samples, patience_s=patience_s)
        if self.keeper:
            self.keeper.is_dirty = True
        self._work.set()

    def tick(self) -> None:
        """Now and then: what is due although nothing comes."""
        if self.reading.release(self._now_ns()) or (self.keeper and self.keeper.is_due):
            self._work.set()

    def watch(self, now_s: float) -> None:
        """Look for streams that have fallen silent."""
        if self._engine.watch(now_s):
            self._work.set()

    async def infer(self) -> None:
        """Infer and conclude, turn by turn, until `stop` is called and nothing waits any more."""
        while True:
            await self._work.wait()
            self._work.clear()
            await self._gather()
            self._oldest_s = 0.0
            self._turn_began_s = time.monotonic()
            await self._turn()
            self._turn_began_s = 0.0
            if self._swaps:
                self._work.set()
                if not self._engine.waiting():
                    await self._handed_over()
                    await self._swap()
            if self._stopping:
                waiting = self._engine.waiting()
                self._notices += self._signals()
                if not (waiting or self._unacknowledged or self._notices):
                    await self._handed_over()
                    if self._checkpoint:
                        await self._checkpoint
                    if self.keeper:
                        books = self._engine.memory.learn(self._engine.memory.save())
                        writes = [*self.keeper.checkpoint(), *self.keeper.states(books)]
                        await self.publisher.publish([], writes)
                    return
                self._work.set()

    @property
    def busy_s(self) -> float:
        """For how long the turn that is on has been; 0 between turns."""
        return time.monotonic() - self._turn_began_s if self._turn_began_s else 0.0

    async def _turn(self) -> None:
        """Conclude what is there now, make durable what came of it, publish it, acknowledge.

        Where somebody waits for an acknowledgement, all of that is one transaction: what a turn has read is then
        either received and told, or, after a crash, not yet received.
        """
        left = self._engine.waiting_by_model()
        self._notices += self._signals()
        acknowledgements, self._unacknowledged = self._unacknowledged, []
        notices, self._notices = self._notices, []
        writes = self.keeper.journal() if self.keeper else []
        if self._checkpoint and self._checkpoint.done():
            self._checkpoint = self._checkpoint.result()  # or raise what it raised
        is_checkpoint = self.keeper and self.keeper.is_due and not self._checkpoint
        books = self._engine.memory.save() if is_checkpoint else []
        checkpoint = self.keeper.checkpoint() if self.keeper and is_checkpoint else []
        async for told in self._answers.to_what_waits(left):
            for conclusion in self._engine.conclusions(told):
                notices += self._conclude(conclusion)
                if not writes and notices and time.monotonic() - self._turn_began_s > _TELL_S:
                    await self._hand_over(notices)
                    notices = []
                await asyncio.sleep(0)
        notices += self._engine.rest()
        if self.keeper and checkpoint:
            checkpoint += self.keeper.states(self._engine.memory.learn(books))
        await self._hand_over(notices, writes, acknowledgements)
        if checkpoint:
            await self._handed_over()
            self._checkpoint = asyncio.create_task(self._keep(checkpoint), name="checkpoint")

    def _signals(self) -> list[Notice]:
        """What was found without any model."""
        return [*self.reading.events(), *self._engine.signals()]

    async def _hand_over(
        self,
        notices: Sequence[Notice | Note | Evidence],
        writes: Sequence[Write] = (),
        acknowledgements: Sequence[Callable[[], None]] = (),
    ) -> None:
        """Let this be logged, told and acknowledged while the next round goes on; one such after the other."""
        await self._handed_over()
        marks, self._told = self._told, []
        work = self._publish(notices, writes, acknowledgements, marks)
        self._publishing = asyncio.create_task(work, name="publish")

    async def _handed_over(self) -> None:
        """Wait until what was handed over is told."""
        task, self._publishing = self._publishing, None
        if task is not None:
            await task

    async def _publish(
        self,
        notices: Sequence[Notice | Note | Evidence],
        writes: Sequence[Write],
        acknowledgements: Sequence[Callable[[], None]],
        marks: Sequence[Ints],
    ) -> None:
        await self._store(writes, notices)
        if marks:
            self._telemetry.windows += sum(len(some) for some in marks)
            self._telemetry.latency.add(time.monotonic_ns() - np.concatenate(marks))
        for acknowledge in acknowledgements:
            acknowledge()

    async def _keep(self, checkpoint: Sequence[Write]) -> None:
        """Write a checkpoint, made ready a little at a time: of thousands of streams it would hold up all else."""
        for part in in_parts(checkpoint):
            if part and not await self._store(part):
                return  # without one of its parts it must not come to its end
            await asyncio.sleep(_NAP_S)

    async def _store(self, writes: Sequence[Write], notices: Sequence[Notice | Note | Evidence] = ()) -> bool:
        """Write, and tell; whether it could be written."""
        await self.publisher.publish(notices, writes)
        if self.publisher.storage_alarm is None:
            return True
        if self.keeper:
            self.keeper.lost()
        return False

    async def _gather(self) -> None:
        """Wait for company until a batch is full, or the oldest of it has waited long enough."""
        deadline = (self._oldest_s or time.monotonic()) + self._settings.max_wait_ms / 1000
        enough = self._engine.batch_limit(self._settings.max_batch)
        while not self._stopping and self._engine.count_fresh() < enough:
            left = deadline - time.monotonic()
            if left <= 0:
                return
            await asyncio.sleep(min(left, _NAP_S))

    def _conclude(self, conclusion: Conclusion) -> list[Notice | Evidence]:
        self.publisher.conclusion(self._engine, conclusion)
        self._told.append(conclusion.batch.marks)
        return [*(notice for _, notice in conclusion.notices), *conclusion.evidence]

    async def conclude_quietly(self) -> None:
        """Conclude all that waits; only the history hears of it, and nothing is counted."""
        async for told in self._answers.to_what_waits(self._engine.waiting_by_model()):
            for conclusion in self._engine.conclusions(told):
                for notice in self._conclude(conclusion):
                    if isinstance(notice, Beat):
                        self._history.notice(notice)
        self._signals()
        self._engine.rest()
        self._notices.clear()
        self._told.clear()
        self._telemetry.reset()

    async def swap(
        self, change: Callable[[], list[Alarm]], models: Mapping[str, Model], settings: Inference, limits: Limits
    ) -> None:
        """Change the engine and take other models, between two turns, with nothing waiting and nothing read."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._swaps.append((change, models, settings, limits, done))
        self._may_read.clear()
        self._work.set()
        await done

    async def _swap(self) -> None:
        change, models, self._settings, self._limits, done = self._swaps.popleft()
        self._answers.swap(models, self._settings)
        await self.publisher.publish(list(change()))
        if not self._swaps:
            self._may_read.set()
        if not done.cancelled():
            done.set_result(None)

    def acknowledge(self, alarm_id: str) -> list[Alarm]:
        """Acknowledge an alarm, or all with an empty id; those that changed; see `logged`."""
        changed = self._engine.acknowledge(alarm_id)
        self.announce(changed)
        return changed

    def announce(self, notices: Sequence[Alarm | Note]) -> None:
        """Log and publish these with the next turn."""
        self._notices += notices
        self._work.set()

    async def logged(self) -> None:
        """Wait until what was announced is in the log, or, where that is full, kept for when it is not."""
        done = asyncio.Event()
        self._unacknowledged.append(done.set)
        self._work.set()
        await done.wait()

    def stop(self) -> None:
        """Let `infer` return once everything that was read is concluded."""
        self._stopping = True
        self._work.set()

    def close(self) -> None:
        """Give the threads back."""
        self._answers.close()
        self.publisher.close()
