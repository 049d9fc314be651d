"""From received messages to published results: the waiting around the engine.

- Only the event loop touches the engine; one worker thread runs the models, another writes the alarm log.
- Messages are decoded and pushed as they come: there is no queue of samples here that could overflow. What is
  bounded is the queue of windows (in the lanes): when the machine cannot keep up, hops are skipped and counted.
- A batch is inferred when it is full or `max_wait_ms` after its first window.
- An alarm is in the log before it is published, and a delivery is acknowledged after whatever it caused is there.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import msgspec

from monitor.config import Inference, Limits
from monitor.core.blocks import Alarm, Beat, Event, Kind, State
from monitor.core.engine import Engine
from monitor.core.errors import SchemaError, StorageLost
from monitor.core.judging import Notice
from monitor.core.lanes import Batch
from monitor.core.wire import decode_block
from monitor.history import History
from monitor.inference import Model
from monitor.sinks import Sink
from monitor.sinks.alarmlog import AlarmLog
from monitor.sources import Message, Source
from monitor.telemetry import Telemetry

log = logging.getLogger(__name__)

_REMEMBERED = 10_000
"""Complaints, and notices that could not be logged, that are kept at most."""


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
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._engine, self._models, self._settings, self._limits = engine, models, settings, limits
        self._sinks, self._history, self._alarm_log = sinks, history, alarm_log
        self._telemetry, self._now_ns = telemetry, now_ns
        self._work = asyncio.Event()
        self._notices: list[Notice] = []
        self._complaints: set[tuple[str, str]] = set()
        self._unlogged: deque[Alarm | Event] = deque(maxlen=_REMEMBERED)
        self.storage_alarm: Alarm | None = None
        """Ours, while the alarm log cannot be written."""
        self._unacknowledged: deque[Callable[[], None]] = deque()
        self._stopping = False
        self._infer = ThreadPoolExecutor(1, "inference")
        self._write = ThreadPoolExecutor(1, "alarm-log")

    async def read(self, source: Source) -> None:
        """Receive from `source` for ever."""
        async for delivery in source.deliveries():
            self.receive(delivery.messages)
            if delivery.acknowledge:
                self._unacknowledged.append(delivery.acknowledge)
            await asyncio.sleep(0)  # under load the socket always has more: let inference have its turn

    def receive(self, messages: Sequence[Message]) -> None:
        """Push what came; a bad message is counted, and the first of a kind for each stream is logged."""
        mark, now_ns = time.monotonic_ns(), self._now_ns()
        for message in messages:
            try:
                block = decode_block(message.payload, message.stream, max_samples=self._limits.block_samples)
            except SchemaError as error:
                self._engine.refuse(error.stream)
                self._complain(error)
                continue
            try:
                taken, events = self._engine.push(block, now_ns, mark)
            except SchemaError as error:
                self._complain(error)
                continue
            if taken is not None:
                self._history.block(taken)
                for sink in self._sinks:
                    sink.block(taken)
            self._notices += events
        self._work.set()

    def _complain(self, error: SchemaError) -> None:
        self._telemetry.refused += 1
        if len(self._complaints) < _REMEMBERED and (error.stream, error.kind) not in self._complaints:
            self._complaints.add((error.stream, error.kind))
            log.warning("refused a block: %s (further ones of this kind are counted, not logged)", error)

    async def infer(self) -> None:
        """Infer and conclude until `stop` is called and nothing waits any more."""
        while True:
            await self._work.wait()
            self._work.clear()
            await self._gather()
            received = len(self._unacknowledged)  # what comes from here on may wait for the next turn
            for name, model in self._models.items():
                while (batch := self._engine.ready(name, self._settings.max_batch)) is not None:
                    await self._conclude(batch, model)
            await self._publish([])
            for _ in range(received):
                self._unacknowledged.popleft()()
            if self._stopping:
                if not self._engine.waiting() and not self._unacknowledged:
                    return
                self._work.set()

    async def _gather(self) -> None:
        """Wait for company until a batch is full or has waited long enough."""
        deadline = time.monotonic() + self._settings.max_wait_ms / 1000
        while not self._stopping and self._engine.waiting() < self._settings.max_batch:
            left = deadline - time.monotonic()
            if left <= 0:
                return
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self._work.wait()
                    self._work.clear()

    async def _conclude(self, batch: Batch, model: Model) -> None:
        outputs = await asyncio.get_running_loop().run_in_executor(self._infer, model.run, batch.windows)
        conclusion = self._engine.conclude(batch, outputs)
        for sink in self._sinks:
            sink.conclusion(self._engine, conclusion)
        await self._publish([notice for _, notice in conclusion.notices])
        self._telemetry.windows += len(batch)
        self._telemetry.latency.add(time.monotonic_ns() - batch.marks)

    async def _publish(self, notices: list[Notice]) -> None:
        """Log, then publish: these notices, after those that blocks themselves have brought."""
        pending, self._notices = self._notices, []
        notices = pending + notices
        self._unlogged.extend(notice for notice in notices if not isinstance(notice, Beat))
        if self._unlogged:
            notices += await self._log()
        for notice in notices:
            self._telemetry.events += isinstance(notice, Event)
            if not isinstance(notice, Alarm):
                self._history.notice(notice)
            for sink in self._sinks:
                sink.notice(notice)

    async def _log(self) -> list[Notice]:
        """Write what is not yet in the log. When that fails, or works again, an alarm of ours says so."""
        loop = asyncio.get_running_loop()
        try:
            await loop.run_in_executor(self._write, self._alarm_log.write, list(self._unlogged))
        except StorageLost as error:
            if self.storage_alarm is not None:
                return []
            log.error("%s; monitoring goes on, and what happens is kept in memory until it can be", error)  # noqa: TRY400
            self.storage_alarm = _storage_alarm(self._now_ns(), str(error))
            return [self.storage_alarm]
        self._unlogged.clear()
        if self.storage_alarm is None:
            return []
        log.info("the alarm log can be written again")
        over = msgspec.structs.replace(self.storage_alarm, state=State.CLEARED, changed_ns=self._now_ns())
        self.storage_alarm = None
        self._unlogged.append(over)  # with the next write
        return [over]

    def acknowledge(self, alarm_id: str) -> list[Alarm]:
        """Acknowledge an alarm, or all with an empty id; those that changed, as soon as they are logged."""
        changed = self._engine.acknowledge(alarm_id)
        self._notices += changed
        self._work.set()
        return changed

    def stop(self) -> None:
        """Let `infer` return once everything that was read is concluded."""
        self._stopping = True
        self._work.set()

    def close(self) -> None:
        """Give the threads back."""
        self._infer.shutdown(wait=True)
        self._write.shutdown(wait=True)


def _storage_alarm(now_ns: int, detail: str) -> Alarm:
    return Alarm(
        id=f"alarm-log-{now_ns}",
        stream="monitor",
        kind=Kind.SIGNAL,
        label="alarm-log",
        priority="high",
        state=State.ACTIVE,
        raised_ns=now_ns,
        changed_ns=now_ns,
        score=1.0,
        threshold=1.0,
        times=1,
        detail=detail,
    )
