"""A worker: asks for partitions, goes on with those it is given, and tells the others how many it has."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import math
import sys
import time
import uuid
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import msgspec
import nats.errors
from nats.aio.msg import Msg

from monitor.cluster import balance
from monitor.cluster.jetstream import JetStream, Overtaken, Refused, Unanswered, connected
from monitor.cluster.layout import WORKERS, make_streams, states_said_subject
from monitor.cluster.partition import Partition
from monitor.cluster.pull import Delivered, Pull
from monitor.cluster.shard import Shard, build_engine
from monitor.config import Config
from monitor.inference import Model

log = logging.getLogger(__name__)

HEARTBEAT_S = 0.2
STOP_S = 8.0
"""What is not handed over by then goes over as if this worker had died."""
_REMEMBERED_S = 60.0
"""One that was not heard of for so long need not be known when it comes back."""
_STEP, _STEP_BYTES = 256, 2**19
"""Of messages in one commit, if it is more than one: the others of a worker's partitions get their turn, and what
comes of them has room in a message."""
_SWITCH_S = 0.0005
"""See monitor.process: shards compute in a thread, and the event loop must not wait for it."""
_STATES_S = 1.0
_STATES = 512
"""In one message."""
_MAKE_S = 30.0
"""For so long a cluster that has no leader yet is waited for."""


class Presence(msgspec.Struct, frozen=True):
    """What a worker says of itself."""

    worker: str
    partitions: list[int]
    streams: int = 0
    samples: int = 0
    """Since it started."""
    leaving: bool = False
    run: str = ""
    """One that was started again, under the same name, is another."""
    is_new: bool = False
    """It knows nobody yet, and would like to hear of all."""


class Worker:
    """See the head of the file."""

    def __init__(
        self, js: JetStream, config: Config, models: Mapping[str, Model], name: str, partitions: int
    ) -> None:
        self._js, self._config, self._models, self.name = js, config, models, name
        self._count = partitions
        self._compute = ThreadPoolExecutor(1, "shards")
        pristine = build_engine(config, models)
        self._partitions = [
            Partition(
                js,
                number,
                name,
                lambda: Shard(config, models, pristine),
                self._compute,
                config.cluster.snapshot_s,
            )
            for number in range(partitions)
        ]
        self._run = uuid.uuid4().hex
        self._me = f"{name} {self._run}"
        self._others: dict[str, balance.Heard] = {}
        self._pulls: dict[int, Pull] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._stopping = asyncio.Event()
        self._changed = asyncio.Event()
        self._samples = 0
        self._tell_s: dict[int, float] = {}

    @property
    def owned(self) -> list[int]:
        """Partitions that are ours, for all we know."""
        return [number for number, pull in self._pulls.items() if pull.is_pinned]

    def stop(self) -> None:
        """Begin to stop."""
        self._stopping.set()
        self._changed.set()

    async def run(self) -> None:
        """Work until `stop`, then hand over what is ours."""
        subscription = await self._js.nats.subscribe(WORKERS, cb=self._hear)
        await self._say(is_new=True)
        beating = asyncio.create_task(self._beat(), name="heartbeat")
        try:
            while not self._stopping.is_set():
                self._steer()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(HEARTBEAT_S):
                        await self._changed.wait()
                self._changed.clear()
        finally:
            beating.cancel()
            await self._say(leaving=True)
            await self._end()
            with contextlib.suppress(nats.errors.Error):
                await subscription.unsubscribe()
            self._compute.shutdown(wait=True)

    async def _end(self) -> None:
        """Wait until all is handed over; where nobody answers any more, not for ever."""
        if self._tasks:
            _, left = await asyncio.wait(self._tasks.values(), timeout=STOP_S)
            for task in left:
                log.error("%s: not handed over, the cluster does not answer", task.get_name())
                task.cancel()
            await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    def _steer(self) -> None:
        """Ask for what we should ask for; the tasks of the others end by themselves."""
        for number, task in list(self._tasks.items()):
            if task.done():
                del self._tasks[number]
                if task.exception() is not None:
                    raise task.exception() or AssertionError
        for number in self._wanted():
            if number not in self._tasks:
                self._tasks[number] = asyncio.create_task(self._serve(number), name=f"partition {number}")

    def _wanted(self) -> list[int]:
        if self._stopping.is_set():
            return []
        return balance.wanted(self._me, self.owned, self._others, self._count, time.monotonic())

    async def _serve(self, number: int) -> None:
        """Ask for a partition, and go on with what comes, for as long as we should."""
        partition, pull = self._partitions[number], Pull(self._js, number)
        self._pulls[number] = pull
        asking = asyncio.create_task(pull.run(), name=f"pull {number}")
        pause_s = self._config.inference.max_wait_ms / 1000
        try:
            while number in self._wanted():
                if not pull.is_pinned:  # what came before that is its owner's to work off
                    partition.forget()
                    pull.drop()
                if not await pull.something(HEARTBEAT_S):
                    await self._freeze(partition)
                    await self._tell_states(partition)
                    await partition.tick()
                    continue
                some = _step(pull.hand)
                try:
                    outcome = await partition.process(some)
                except Overtaken as error:
                    log.warning("partition %d: somebody else has gone on with it: %s", number, error)
                    pull.drop()
                except Unanswered as error:
                    log.warning("partition %d: %s", number, error)
                    partition.forget()
                else:
                    await pull.acknowledge(some)
                    await self._tell_states(partition)
                    self._samples += outcome.samples if outcome else 0
                await asyncio.sleep(pause_s)
        finally:
            pull.close()
            await asking
            if pull.is_pinned:
                await self._hand_over(partition, pull)
            del self._pulls[number]
            partition.forget()
            self._changed.set()

    async def _tell_states(self, partition: Partition) -> None:
        """How its streams are doing, about once a second, for who watches."""
        if partition.shard is None or time.monotonic() < self._tell_s.get(partition.number, 0.0):
            return
        self._tell_s[partition.number] = time.monotonic() + _STATES_S
        states = partition.shard.states()
        with contextlib.suppress(nats.errors.Error, ConnectionError):
            for at in range(0, len(states), _STATES):
                said = msgspec.msgpack.encode(states[at : at + _STATES])
                await self._js.nats.publish(states_said_subject(partition.number), said)

    async def _freeze(self, partition: Partition) -> None:
        """While nothing comes, too: who takes over later need not live through anything then."""
        with contextlib.suppress(Overtaken, Unanswered):
            await partition.freeze()

    async def _hand_over(self, partition: Partition, pull: Pull) -> None:
        """What the next owner need not live through again; then it may have it at once."""
        try:
            await partition.freeze()
            await pull.unpin()
        except (Overtaken, Unanswered, Refused) as error:
            log.warning("partition %d: %s", partition.number, error)
        await self._say(leaving=self._stopping.is_set())  # that it is free
        log.info("partition %d: handed over", partition.number)

    async def _hear(self, message: Msg) -> None:
        with contextlib.suppress(msgspec.DecodeError):
            told = msgspec.msgpack.decode(message.data, type=Presence)
            name, now_s = f"{told.worker} {told.run}", time.monotonic()
            self._others = {n: one for n, one in self._others.items() if now_s - one.at_s < _REMEMBERED_S}
            if name == self._me:
                return
            known = self._others.get(name)
            if told.leaving:
                self._others.pop(name, None)
            else:
                new = balance.Heard(now_s, -math.inf, frozenset(told.partitions))
                self._others[name] = known.again(now_s, told.partitions) if known else new
            if told.is_new:
                await self._say()
            if known is None or told.leaving or known.partitions != frozenset(told.partitions):
                self._changed.set()

    async def _beat(self) -> None:
        while True:
            await self._say()
            await asyncio.sleep(HEARTBEAT_S)

    async def _say(self, *, leaving: bool = False, is_new: bool = False) -> None:
        streams = sum(one.shard.engine.count_streams() for one in self._partitions if one.shard)
        told = Presence(self.name, self.owned, streams, self._samples, leaving, self._run, is_new)
        with contextlib.suppress(nats.errors.Error, ConnectionError):
            await self._js.nats.publish(WORKERS, msgspec.msgpack.encode(told))


def _step(hand: Sequence[Delivered]) -> list[Delivered]:
    ends = itertools.accumulate(len(one.entry.payload) for one in hand[:_STEP])
    count = sum(end <= _STEP_BYTES for end in ends)
    return list(hand[: max(count, 1)])


async def run_worker(config: Config, models: Mapping[str, Model], name: str, stop: asyncio.Event) -> None:
    """Run a worker until `stop`; raises Unreachable or ConfigError when there is no cluster to work in."""
    sys.setswitchinterval(_SWITCH_S)
    async with connected(config.cluster, name) as js:
        partitions = await _made(js, config)
        worker = Worker(js, config, models, name, partitions)
        log.info("worker %s: %d partitions in the cluster", name, partitions)
        stopping = asyncio.create_task(stop.wait())
        stopping.add_done_callback(lambda _: worker.stop())
        try:
            await worker.run()
        finally:
            stopping.cancel()


async def _made(js: JetStream, config: Config) -> int:
    deadline = time.monotonic() + _MAKE_S
    while True:
        try:
            return await make_streams(js, config.cluster)
        except (Unanswered, Refused):
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.2)
