"""The daemon: built from its configuration, run until it is told to stop.

Stopping has an order: stop reading, conclude what was read, publish that it is over, close. All of it within
DEADLINE_S.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping

import msgspec

from monitor import __version__
from monitor.config import Config
from monitor.control import (
    COMMANDS,
    Acknowledge,
    GetHistory,
    GetModels,
    GetStatus,
    History,
    Overview,
    Record,
    Reload,
    Request,
    SetBudget,
    serve,
)
from monitor.core.blocks import Alarm, Kind
from monitor.core.engine import Engine
from monitor.core.published import Status
from monitor.desk import Desk
from monitor.doors import Doors
from monitor.endpoint import Endpoint
from monitor.history import History as Recent
from monitor.inference import Model, second_tiers
from monitor.keeper import Keeper
from monitor.keys import read_allowed
from monitor.notify import Notifier
from monitor.pages import Pages
from monitor.pipeline import Pipeline
from monitor.relive import relive
from monitor.reload import Reloader, card_summary
from monitor.sinks.alarmlog import AlarmLog
from monitor.tape import Tape
from monitor.telemetry import Telemetry

log = logging.getLogger(__name__)

DEADLINE_S = 5.0
HEARTBEAT_S = 1.0
WATCH_S = 0.25
_STATES = 128
"""That are published in one go."""


class Daemon:
    """One running monitor."""

    def __init__(
        self,
        config: Config,
        models: dict[str, Model],
        alarm_log: AlarmLog,
        read: Callable[[], Config] | None = None,
    ) -> None:
        """Open every socket; raises ConfigError for one that cannot be. `read` gives the configuration anew."""
        self._config, self._models, self._alarm_log = config, models, alarm_log
        self._telemetry = Telemetry()
        self._started_ns = time.time_ns()
        self._stop = asyncio.Event()
        self._notifier = Notifier()
        self.engine = Engine(
            {name: model.card for name, model in models.items()},
            config.plan_of,
            rules=config.alarms,
            max_streams=config.limits.streams,
            max_waiting=config.inference.max_waiting,
            leapfrog=config.inference.leapfrog(models),
            seconds=second_tiers(models),
        )
        self.doors = Doors(config)
        self._recent = Recent(config.feed.history_s)
        self._keeper = Keeper(alarm_log, config.state, config.alarm_log, self._recent)
        self.pipeline = Pipeline(
            self.engine,
            models,
            config.inference,
            config.limits,
            self.doors.sinks,
            self._recent,
            alarm_log,
            self._telemetry,
        )
        self.desk = Desk(self.pipeline.announce, self._open_alarms, alarm_log, time.time_ns)
        self.tape = Tape(
            config, self.doors.feed.address, self.doors.control.address, self.pipeline.announce, time.time_ns
        )
        self.reloader = Reloader(config, models, read, self._apply)
        self.pages = Pages(
            self.engine,
            self.pipeline,
            self.doors,
            self._telemetry,
            status=self.status,
            open_alarms=self._open_alarms,
        )
        self.endpoint = Endpoint(config.http.listen, self.pages.all()) if config.http.listen else None

    async def run(self) -> None:
        """Run until `stop` is called, then finish what was read."""
        try:
            await self._run()
        finally:
            self.pipeline.close()
            self.doors.close()

    async def _run(self) -> None:
        await relive(self.pipeline, self.engine, self._recent, self._alarm_log, self._keeper)
        async with asyncio.TaskGroup() as group:
            reading = [group.create_task(self.pipeline.read(s), name=s.name) for s in self.doors.sources]
            inferring = group.create_task(self.pipeline.infer(), name="infer")
            background = [
                group.create_task(self.doors.feed.follow_subscriptions(), name="feed"),
                group.create_task(serve(self.doors.control, self.answer, self.doors.gate.may), name="control"),
                group.create_task(self.doors.gate.run(), name="gate"),
                group.create_task(self.reloader.watch(), name="model files"),
                group.create_task(self._beat(), name="heartbeat"),
                group.create_task(self._watch(), name="silence"),
                group.create_task(self._telemetry.watch_loop(), name="loop lag"),
            ]
            if self.doors.mqtt:
                background.append(group.create_task(self.doors.mqtt.run(), name="mqtt feed"))
            if self.endpoint:
                background.append(group.create_task(self.endpoint.run(), name="http"))
            who, publish = f"{__version__} {self._config.name}", self._config.feed.publish
            log.info("monitor %s: listening on %s, publishing on %s", who, self.doors.names, publish)
            self.pages.is_ready = True
            self._notifier.ready()
            await self._stop.wait()
            self.pages.is_ready = False
            self._notifier.stopping()
            await self.tape.stop()
            for task in reading:
                task.cancel()
            self.pipeline.stop()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(DEADLINE_S):
                    await inferring
                    await self._publish_states()
                    self._publish_status("offline")
                    if self.doors.mqtt:
                        await self.doors.mqtt.drained()
            for task in (inferring, *background):
                task.cancel()

    def stop(self) -> None:
        """Begin to stop."""
        log.info("stopping")
        self._stop.set()

    async def reload(self) -> list[str]:
        """Read configuration, keys and models again; what came of it."""
        self._notifier.reloading()
        said = await self.reloader.reload()
        try:
            if self._config.keys.allowed_file:
                self.doors.gate.allow(read_allowed(self._config.keys.allowed_file))
        finally:
            self._notifier.ready()
        return said

    async def _apply(self, config: Config, models: Mapping[str, Model]) -> None:
        """Take what the reloader has read."""
        cards = {name: model.card for name, model in models.items()}
        await self.pipeline.swap(
            lambda: self.engine.reload(
                cards, config.plan_of, config.alarms, config.inference.leapfrog(cards), second_tiers(models)
            ),
            models,
            config.inference,
            config.limits,
        )
        self._keeper.retention = config.alarm_log
        self._config, self._models = config, dict(models)

    async def _beat(self) -> None:
        while True:
            self.pipeline.tick()
            self.desk.tick()
            await self._publish_states()
            self._publish_status("online")
            if not self.pages.problems():
                status = self.status()
                self._notifier.alive(f"{status.streams} streams, {status.windows} windows, {status.events} events")
            await asyncio.sleep(min(HEARTBEAT_S, self._notifier.watchdog_s / 3 or HEARTBEAT_S))

    async def _watch(self) -> None:
        while True:
            self.pipeline.watch(time.monotonic())
            await asyncio.sleep(WATCH_S)

    async def _publish_states(self) -> None:
        """The state of every stream, some at a time: there may be thousands, and samples must not wait."""
        alarms = Counter(alarm.stream for alarm in self._open_alarms())
        for start in range(0, self.engine.count_streams(), _STATES):
            for state in self.engine.some_states(start, start + _STATES):
                if state.stream in alarms:
                    state = msgspec.structs.replace(state, alarms=alarms[state.stream])  # noqa: PLW2901
                for sink in self.doors.sinks:
                    sink.state(state)
            await asyncio.sleep(0)

    def _publish_status(self, state: str) -> None:
        self._telemetry.beat(self.engine.count_skipped())
        status = self.status(state)
        for sink in self.doors.sinks:
            sink.status(status)

    def status(self, state: str = "online") -> Status:
        """How the daemon is doing."""
        t = self._telemetry
        return Status(
            name=self._config.name,
            version=__version__,
            state=state,
            started_ns=self._started_ns,
            now_ns=time.time_ns(),
            streams=self.engine.count_streams(),
            windows=t.windows,
            events=t.events,
            refused=t.refused,
            latency_p50_ms=t.latency.quantile_ms(0.5),
            latency_p99_ms=t.latency.quantile_ms(0.99),
            loop_lag_p50_ms=t.loop_lag.quantile_ms(0.5),
            loop_lag_p99_ms=t.loop_lag.quantile_ms(0.99),
            skipped=self.engine.count_skipped(),
            skipped_share=t.skipped_share,
            models=tuple(model.card.ident for model in self._models.values()),
            silence_left_s=self.desk.silence_left_s,
            silenced=self.desk.silenced,
            recorded=self.tape.recorded,
        )

    def answer(self, request: Request) -> object:
        """The answer to a request on the control socket, or an awaitable of it."""
        if request == GetStatus(concluded=True):
            return self._concluded()
        answered = self._answer(request)
        return self._logged(answered) if isinstance(request, COMMANDS) and request != Reload() else answered

    async def _logged(self, answered: object) -> object:
        """What was commanded is durable before it is said to be done."""
        await self.pipeline.logged()
        return answered

    async def _concluded(self) -> Overview:
        await self.pipeline.logged()
        return Overview(self.status(), self.engine.states())

    def _answer(self, request: Request) -> object:
        match request:
            case GetStatus():
                return Overview(self.status(), self.engine.states())
            case Acknowledge() | SetBudget() | Record():
                return self._command(request)
            case GetHistory():
                return History(*self._recent.last(request.stream, request.seconds))
            case GetModels():
                return [card_summary(model) for model in self._models.values()]
            case Reload():
                return self.reload()
            case _:
                return self.desk.answer(request)

    def _command(self, request: Acknowledge | SetBudget | Record) -> list[Alarm] | list[str]:
        if isinstance(request, Record):
            return list(self.tape.record(request.streams))
        if isinstance(request, Acknowledge):
            seen = self.desk.acknowledge(request.id) + self.tape.acknowledge(request.id)
            return self.pipeline.acknowledge(request.id) + seen
        return self.engine.set_budget(request.stream, Kind(request.kind), request.label, request.per_hour)

    def _open_alarms(self) -> list[Alarm]:
        ours = self.pipeline.publisher.storage_alarm
        return [
            *self.engine.open_alarms(), *self.desk.open_alarms, *self.tape.open_alarms, *([ours] if ours else []),
        ]  # fmt: skip
