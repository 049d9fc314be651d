"""The gateway: a cluster, to whom watches, is a daemon.

It serves the sockets that a daemon serves. Events, alarms, beats and why come from the commits, each once and in
order; the states of streams from what workers say once a second; the past from the samples that the cluster holds.
Acknowledgements and budgets become orders among the samples: the worker whose turn it is obeys, and commits that
it did. Forecasts and scores are not kept by the cluster: for streams that somebody watches, and for no others, an
engine of the gateway's own makes them again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

import msgspec
from nats.aio.msg import Msg

from monitor import __version__
from monitor.cluster.jetstream import JetStream, Refused, Stored, Unanswered, connected, time_text
from monitor.cluster.layout import SAMPLES, orders_subject, partition_of, states_said_subject, stream_subject
from monitor.cluster.pull import entry_of
from monitor.cluster.reader import LOOK_S, Reader, some
from monitor.cluster.shard import Order, Shard, build_engine
from monitor.config import Config
from monitor.control import (
    Acknowledge,
    GetHistory,
    GetModels,
    GetStatus,
    GetWhy,
    History,
    Overview,
    Record,
    Reload,
    Request,
    SetBudget,
    Why,
    serve,
    server_socket,
)
from monitor.core.blocks import NS, Alarm, Kind, Note
from monitor.core.errors import MonitorError, SchemaError
from monitor.core.published import Status, StreamState
from monitor.core.wire import decode_block
from monitor.desk import Desk
from monitor.doors import open_gate
from monitor.history import History as Recent
from monitor.identity import identity
from monitor.inference import Model
from monitor.publisher import Publisher, signal_of
from monitor.reload import card_summary
from monitor.sinks import Sink
from monitor.sinks.alarmlog import AlarmLog
from monitor.sinks.feed import ZeroMQFeed
from monitor.tape import Tape
from monitor.telemetry import Telemetry

log = logging.getLogger(__name__)

_ORDER_S = 2.0
"""For so long an order is waited for; who gave it asks again after three seconds at most."""
_MOST_S = 600.0
"""Of the past of a stream."""
_BEFORE_NS = 10 * NS
"""Of a stream are read to show what an alarm about the signal was raised for."""


class Gateway:
    """See the head of the file."""

    def __init__(self, js: JetStream, config: Config, models: Mapping[str, Model], alarm_log: AlarmLog) -> None:
        """Bind the sockets; raises ConfigError for one that cannot be."""
        self._js, self._config, self._models = js, config, models
        self._started_ns = time.time_ns()
        self._gate = open_gate(config)
        self._feed = ZeroMQFeed(config.feed, config.prefix, self._gate.options("watch"))
        self._control = server_socket(config.feed.control, self._gate.options("control"))
        self._recent, self._telemetry = Recent(config.feed.history_s), Telemetry()
        self._sinks: list[Sink] = []
        self._publisher = Publisher(self._sinks, self._recent, alarm_log, self._telemetry, time.time_ns)
        self._reader = Reader(js, self._publisher)
        self._said: list[Alarm | Note] = []
        """What people said, and is not yet logged and told; it stays with this gateway."""
        self._desk = Desk(self._said.extend, self._open_alarms, alarm_log, time.time_ns)
        self._tape = Tape(config, self._feed.address, self._control.address, self._said.extend, time.time_ns)
        self._states: dict[str, StreamState] = {}
        self._pristine = build_engine(config, models)
        self._shard = Shard(config, models, self._pristine)

    def close(self) -> None:
        """Give sockets and threads back."""
        for one in (self._control, self._feed, self._gate, self._publisher):
            one.close()

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until `stop`."""
        subscription = await self._js.nats.subscribe(states_said_subject("*"), cb=self._hear)
        await self._reader.catch_up()
        self._sinks.append(self._feed)
        where = self._config.feed
        log.info("gateway: publishing on %s, answering on %s", where.publish, where.control)
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(work, name=name)
                for name, work in (
                    ("feed", self._feed.follow_subscriptions()),
                    ("control", serve(self._control, self._answer, self._gate.may)),
                    ("gate", self._gate.run()),
                    ("commits", self._reader.follow()),
                    ("samples", self._follow_samples()),
                    ("heartbeat", self._beat()),
                )
            ]
            await stop.wait()
            await self._tape.stop()
            for task in tasks:
                task.cancel()
        await subscription.unsubscribe()
        self._feed.status(self._status("offline"))

    async def _hear(self, message: Msg) -> None:
        """What a worker says of the streams of a partition."""
        alarms = self._reader.count_alarms()
        with contextlib.suppress(msgspec.DecodeError):
            for told in msgspec.msgpack.decode(message.data, type=list[StreamState]):
                state = msgspec.structs.replace(told, alarms=alarms[told.stream])
                self._states[state.stream] = state
                self._reader.lives(state.stream, partition_of(message.subject))
                self._feed.state(state)

    async def _follow_samples(self) -> None:
        """Blocks of the streams that somebody watches; what they cause is the workers' to tell."""
        places: dict[str, int] = {}
        while True:
            watched = [stream for stream in self._states if self._feed.is_watched(stream)]
            places = {one: places.get(one) or await self._newest(one) + 1 for one in watched}
            reading = (some(self._js, SAMPLES, stream_subject(one), {"seq": places[one]}) for one in watched)
            for stream, found in zip(watched, await asyncio.gather(*reading), strict=True):
                if found:
                    places[stream] = found[-1].seq + 1
                    self._show(found)
            await asyncio.sleep(LOOK_S)

    def _show(self, found: Iterable[Stored]) -> None:
        if self._shard.engine.count_streams() >= self._config.cluster.partition_streams:  # of those watched once
            self._shard = Shard(self._config, self._models, self._pristine)
        self._shard.position = 0  # it sees streams one by one, not in the order of all
        self._shard.take([entry_of(one.seq, one.subject, one.data, one.at_ns) for one in found], self._feed)

    async def _newest(self, stream: str) -> int:
        with contextlib.suppress(Unanswered, Refused):
            last = await self._js.last(SAMPLES, stream_subject(stream))
            return last.seq if last else 0
        return 0

    async def _beat(self) -> None:
        while True:
            self._desk.tick()
            await self._tell_said()
            self._feed.status(self._status("online"))
            await asyncio.sleep(1.0)

    async def _tell_said(self) -> None:
        said = self._said.copy()
        self._said.clear()
        if said:
            await self._reader.tell(said)

    def _status(self, state: str) -> Status:
        streams = self._states.values()
        return Status(
            name=self._config.name,
            version=__version__,
            state=state,
            started_ns=self._started_ns,
            now_ns=time.time_ns(),
            streams=len(streams),
            windows=sum(one.windows for one in streams),
            events=self._telemetry.events,
            skipped=sum(one.skipped for one in streams),
            models=tuple(model.card.ident for model in self._models.values()),
            silence_left_s=self._desk.silence_left_s,
            silenced=self._desk.silenced,
            recorded=self._tape.recorded,
        )

    async def _answer(self, request: Request) -> object:
        try:
            return await self._answered(request)
        finally:  # what was commanded is durable before it is said to be done
            await self._tell_said()

    async def _answered(self, request: Request) -> object:  # noqa: PLR0911 - a table
        match request:
            case GetStatus():
                return Overview(self._status("online"), list(self._states.values()))
            case GetModels():
                return [card_summary(model) for model in self._models.values()]
            case GetHistory():
                return await self._history(request)
            case GetWhy():
                return await self._why(request)
            case Acknowledge():
                return await self._acknowledge(request)
            case SetBudget():
                return await self._set_budget(request)
            case Record():
                return list(self._tape.record(request.streams))
            case Reload():
                raise MonitorError(
                    "a cluster reads nothing again: with another configuration or other models, start its workers "
                    "again, one after the other, and then this gateway"
                )
            case _:
                return self._desk.answer(request)

    async def _past(self, stream: str, since_ns: int) -> Recent:
        """The samples of a stream, as the cluster has stored them since then."""
        past, state = Recent(_MOST_S), self._states.get(stream)
        start: dict[str, object] = {"start_time": time_text(since_ns)}
        while found := await some(self._js, SAMPLES, stream_subject(stream), start):
            for one in found:
                with contextlib.suppress(SchemaError):
                    block = decode_block(one.data, stream)
                    rate_hz = block.rate_hz or (state.rate_hz if state else None)
                    t0_ns = one.at_ns if block.t0_ns is None else block.t0_ns
                    past.block(msgspec.structs.replace(block, rate_hz=rate_hz, t0_ns=t0_ns))
            start = {"seq": found[-1].seq + 1}
        return past

    async def _history(self, request: GetHistory) -> History:
        """The samples as the cluster holds them, the rest as it was told."""
        seconds = min(request.seconds, _MOST_S)
        past = await self._past(request.stream, time.time_ns() - round(seconds * NS))
        blocks, _, _ = past.last(request.stream, seconds)
        state = self._states.get(request.stream)
        since_ns = (state.newest_ns if state else time.time_ns()) - round(seconds * NS)
        return History(blocks, *self._recent.notices(request.stream, since_ns))

    async def _why(self, request: GetWhy) -> object:
        """As a daemon; what an alarm about the signal was raised for is looked up when it is asked."""
        why = self._desk.answer(request)
        if not isinstance(why, Why) or why.evidence is not None or why.alarm.kind is not Kind.SIGNAL:
            return why
        past = await self._past(why.alarm.stream, why.alarm.raised_ns - _BEFORE_NS)
        return msgspec.structs.replace(why, evidence=signal_of(why.alarm, past))

    async def _acknowledge(self, request: Acknowledge) -> list[Alarm]:
        open_alarms = self._reader.open_alarms
        meant = [one for one in open_alarms if request.id in ("", one.id) and not one.acknowledged]
        homes = {alarm.id: await self._reader.home(alarm.stream) for alarm in meant}
        await self._order(request, homes.values())
        still_open = {alarm.id: alarm for alarm in self._reader.open_alarms}
        for alarm in meant:
            if alarm.id in still_open and not still_open[alarm.id].acknowledged:
                await self._reader.end(alarm)  # its worker does not know it any more
        logged = self._publisher.alarm_log
        changed = [logged.alarm(alarm.id) for alarm in meant]
        ours = self._desk.acknowledge(request.id) + self._tape.acknowledge(request.id)
        return [alarm for alarm in changed if alarm is not None] + ours

    async def _set_budget(self, request: SetBudget) -> list[str]:
        streams = [one for one in self._states if fnmatchcase(one, request.stream)]
        orders = await self._order(request, [await self._reader.home(one) for one in streams])
        return sorted(name for seq in orders for name in self._reader.budgets.pop(seq, []))

    async def _order(self, order: Order, partitions: Iterable[int | None]) -> Sequence[int]:
        """Have these partitions obey; the places of the orders. Raises MonitorError where one does not in time."""
        data, what = msgspec.msgpack.encode(order), str(order.__struct_config__.tag)
        places = {
            partition: await self._js.publish(orders_subject(partition, what), data)
            for partition in {one for one in partitions if one is not None}
        }
        if late := await self._reader.carried_out(places, _ORDER_S):
            numbers = ", ".join(map(str, sorted(late)))
            raise MonitorError(
                f"{what}: stored, and will be obeyed, but no worker has yet come to it in partition {numbers}; "
                "see `monitor cluster status`"
            )
        return list(places.values())

    def _open_alarms(self) -> list[Alarm]:
        ours = self._publisher.storage_alarm
        mine = [*self._desk.open_alarms, *self._tape.open_alarms, *([ours] if ours else [])]
        return self._reader.open_alarms + mine


async def run_gateway(config: Config, models: Mapping[str, Model], stop: asyncio.Event) -> None:
    """Serve until `stop`; raises Unreachable where there is no cluster, ConfigError for bad settings."""
    with identity(config), AlarmLog(Path(config.alarm_log.path)) as alarm_log:
        async with connected(config.cluster, f"{config.name}-gateway") as js:
            gateway = Gateway(js, config, models, alarm_log)
            try:
                await gateway.run(stop)
            finally:
                gateway.close()
