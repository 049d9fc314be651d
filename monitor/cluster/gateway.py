"""The gateway: a cluster, to whom watches, is a daemon.

It serves the sockets that a daemon serves. Events, alarms and beats come from the commits, each once and in order;
the states of streams from what workers say once a second. Forecasts and scores are not kept by the cluster: for
the streams that somebody watches, and for no others, an engine of the gateway's own makes them again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from nats.aio.msg import Msg

from monitor import __version__
from monitor.cluster.jetstream import JetStream, Refused, Stored, Unanswered, connected
from monitor.cluster.layout import ACKNOWLEDGES, RESULTS, SAMPLES, STATES_SAID, samples_subject
from monitor.cluster.partition import Commit
from monitor.cluster.pull import entry_of
from monitor.cluster.shard import Shard, build_engine
from monitor.config import Config
from monitor.control import (
    Acknowledge,
    GetHistory,
    GetModels,
    GetStatus,
    History,
    Overview,
    Request,
    serve,
    server_socket,
)
from monitor.core.blocks import Alarm, Note, State
from monitor.core.errors import SchemaError
from monitor.core.wire import Status, StreamState, decode_block, encode_block
from monitor.desk import Desk
from monitor.doors import open_gate
from monitor.history import History as Recent
from monitor.inference import Model
from monitor.reload import card_summary
from monitor.sinks.alarmlog import AlarmLog
from monitor.sinks.feed import ZeroMQFeed

log = logging.getLogger(__name__)

_LOOK_S = 0.1
_BEFORE_S = 3600.0
"""Commits of so long ago are read when it starts; what the log has already stays as it is."""


class Gateway:
    """See the head of the file."""

    def __init__(self, js: JetStream, config: Config, models: Mapping[str, Model], alarm_log: AlarmLog) -> None:
        """Bind the sockets; raises ConfigError for one that cannot be."""
        self._js, self._config, self._models, self._log = js, config, models, alarm_log
        self._started_ns = time.time_ns()
        self._gate = open_gate(config)
        self._feed = ZeroMQFeed(config.feed, config.prefix, self._gate.options("watch"))
        self._control = server_socket(config.feed.control, self._gate.options("control"))
        self._recent = Recent(config.feed.history_s)
        self._open: dict[str, Alarm] = {}
        self._states: dict[str, StreamState] = {}
        self._desk = Desk(self._say, self._open_alarms, alarm_log, time.time_ns)
        self._shard = Shard(config, models, build_engine(config, models))
        self._events = 0
        self._seq = 0
        """Of the newest commit that was read."""

    def close(self) -> None:
        """Give the sockets back."""
        for one in (self._control, self._feed, self._gate):
            one.close()

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until `stop`."""
        subscription = await self._js.nats.subscribe(STATES_SAID, cb=self._hear)
        await self._catch_up()
        log.info(
            "gateway: publishing on %s, answering on %s", self._config.feed.publish, self._config.feed.control
        )
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(work, name=name)
                for name, work in (
                    ("feed", self._feed.follow_subscriptions()),
                    ("control", serve(self._control, self._answer, self._permit)),
                    ("gate", self._gate.run()),
                    ("commits", self._follow_commits()),
                    ("samples", self._follow_samples()),
                    ("heartbeat", self._beat()),
                )
            ]
            await stop.wait()
            for task in tasks:
                task.cancel()
        await subscription.unsubscribe()
        self._feed.status(self._status("offline"))

    async def _hear(self, message: Msg) -> None:
        """What a worker says of the streams of a partition."""
        with contextlib.suppress(msgspec.DecodeError):
            for state in msgspec.msgpack.decode(message.data, type=list[StreamState]):
                self._states[state.stream] = state
                self._feed.state(state)

    async def _catch_up(self) -> None:
        """What was committed lately goes to the log; nobody is told."""
        since = datetime.fromtimestamp(time.time() - _BEFORE_S, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        start: dict[str, object] = {"start_time": since}
        while found := await self._some(RESULTS, "results.*", start):
            self._take(found, is_new=False)
            start = {"seq": found[-1].seq + 1}
        for alarm in self._log.alarms(active=True, limit=-1):
            self._open.setdefault(alarm.id, alarm)

    async def _follow_commits(self) -> None:
        while True:
            found = await self._some(RESULTS, "results.*", {"seq": self._seq + 1})
            self._take(found, is_new=True)
            if not found:
                await asyncio.sleep(_LOOK_S)

    def _take(self, found: list[Stored], *, is_new: bool) -> None:
        """Log what commits tell, then tell it."""
        commits = [msgspec.msgpack.decode(one.data, type=Commit) for one in found]
        notices = [notice for commit in commits for notice in commit.notices]
        if notices:
            self._log.write(notices)
        for notice in notices:
            if isinstance(notice, Alarm):
                self._note_alarm(notice)
            else:
                self._events += 1
                self._recent.notice(notice)
        beats = [beat for commit in commits for beat in commit.beats]
        for beat in beats:
            self._recent.notice(beat)
        if is_new:
            for told in (*notices, *beats):
                self._feed.notice(told)
        self._seq = found[-1].seq if found else self._seq

    def _note_alarm(self, alarm: Alarm) -> None:
        if alarm.state is State.CLEARED:
            self._open.pop(alarm.id, None)
        else:
            self._open[alarm.id] = alarm

    async def _some(self, stream: str, subject: str, start: Mapping[str, object]) -> list[Stored]:
        try:
            return await self._js.read_some(stream, subject, start)
        except (Unanswered, Refused):
            await asyncio.sleep(_LOOK_S)
            return []

    async def _follow_samples(self) -> None:
        """Blocks of the streams that somebody watches; what they cause is the workers' to tell."""
        nexts: dict[str, int] = {}
        while True:
            watched = [stream for stream in self._states if self._feed.is_watched(stream)]
            for stream in watched:
                if stream not in nexts:
                    nexts[stream] = await self._newest(stream) + 1
                found = await self._some(SAMPLES, f"samples.*.{stream}", {"seq": nexts[stream]})
                if found:
                    nexts[stream] = found[-1].seq + 1
                    self._show(found)
            await asyncio.sleep(_LOOK_S)

    def _show(self, found: list[Stored]) -> None:
        entries = [entry_of(one.seq, one.subject, one.data, dict(one.headers), one.at_ns) for one in found]
        self._shard.position = 0  # it sees streams one by one, not in the order of all
        self._shard.take([entry for entry in entries if not entry.acknowledges], self._feed)

    async def _newest(self, stream: str) -> int:
        with contextlib.suppress(Unanswered, Refused):
            last = await self._js.last(SAMPLES, f"samples.*.{stream}")
            return last.seq if last else 0
        return 0

    async def _beat(self) -> None:
        while True:
            self._desk.tick()
            self._feed.status(self._status("online"))
            await asyncio.sleep(1.0)

    def _status(self, state: str) -> Status:
        return Status(
            name=self._config.name,
            version=__version__,
            state=state,
            started_ns=self._started_ns,
            now_ns=time.time_ns(),
            streams=len(self._states),
            windows=sum(one.windows for one in self._states.values()),
            events=self._events,
            skipped=sum(one.skipped for one in self._states.values()),
            models=tuple(model.card.ident for model in self._models.values()),
            silence_left_s=self._desk.silence_left_s,
            silenced=self._desk.silenced,
        )

    def _permit(self, user: str, request: Request) -> bool:
        asks = isinstance(request, GetStatus | GetHistory | GetModels)
        return self._gate.may(user, "control") or (asks and self._gate.may(user, "watch"))

    def _answer(self, request: Request) -> object:
        match request:
            case GetStatus():
                return Overview(self._status("online"), list(self._states.values()))
            case GetModels():
                return [card_summary(model) for model in self._models.values()]
            case GetHistory():
                return self._history(request)
            case Acknowledge():
                return self._acknowledge(request.id)
            case _:
                return self._desk.answer(request)

    async def _history(self, request: GetHistory) -> History:
        """The samples as the cluster holds them, the rest as it was told."""
        since = datetime.fromtimestamp(time.time() - min(request.seconds, 600.0), UTC).strftime(
            "%Y-%m-%dT%H:%M:%SZ"
        )
        found = await self._some(SAMPLES, f"samples.*.{request.stream}", {"start_time": since})
        state = self._states.get(request.stream)
        blocks = []
        for one in found:
            with contextlib.suppress(SchemaError):
                block = decode_block(one.data, request.stream)
                rate_hz = block.rate_hz or (state.rate_hz if state else None)
                blocks.append(
                    encode_block(msgspec.structs.replace(block, rate_hz=rate_hz, t0_ns=block.t0_ns or one.at_ns))
                )
        _, events, beats = self._recent.last(request.stream, request.seconds)
        return History(blocks, events, beats)

    async def _acknowledge(self, alarm_id: str) -> list[Alarm]:
        """A message among the samples of the alarm's stream: its worker takes it in its turn, and commits it."""
        meant = [alarm for alarm in self._open_alarms() if alarm_id in ("", alarm.id) and not alarm.acknowledged]
        for alarm in meant:
            await self._js.publish(samples_subject(alarm.stream), b"", headers={ACKNOWLEDGES: alarm.id})
        return [msgspec.structs.replace(alarm, acknowledged=True) for alarm in meant] + self._desk.acknowledge(
            alarm_id
        )

    def _open_alarms(self) -> list[Alarm]:
        return sorted(self._open.values(), key=lambda alarm: (alarm.raised_ns, alarm.id)) + self._desk.open_alarms

    def _say(self, notices: Sequence[Alarm | Note]) -> None:
        """What people say here stays here: it is logged, and every dashboard of this gateway hears it."""
        self._log.write(notices)
        for notice in notices:
            self._feed.notice(notice)


async def run_gateway(config: Config, models: Mapping[str, Model], stop: asyncio.Event) -> None:
    """Serve until `stop`; raises Unreachable where there is no cluster, ConfigError for bad settings."""
    with AlarmLog(Path(config.alarm_log.path)) as alarm_log:
        async with connected(config.cluster, f"{config.name}-gateway") as js:
            gateway = Gateway(js, config, models, alarm_log)
            try:
                await gateway.run(stop)
            finally:
                gateway.close()
