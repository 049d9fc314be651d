"""The daemon: built from its configuration, run until it is told to stop.

Stopping has an order: stop reading, conclude what was read, publish that it is over, close. All of it within
DEADLINE_S.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from monitor import __version__
from monitor.config import Config, is_exposed
from monitor.control import (
    COMMANDS,
    Acknowledge,
    GetAlarms,
    GetHistory,
    GetModels,
    GetStatus,
    History,
    Overview,
    Reload,
    Request,
    serve,
    server_socket,
)
from monitor.core.blocks import Alarm
from monitor.core.engine import Engine
from monitor.core.errors import ConfigError
from monitor.core.wire import Status
from monitor.gate import Gate
from monitor.history import History as Kept
from monitor.inference import Model, find_models, load_model
from monitor.keys import read_allowed, read_key
from monitor.pipeline import Pipeline
from monitor.sinks import Sink
from monitor.sinks.alarmlog import AlarmLog
from monitor.sinks.feed import ZeroMQFeed
from monitor.sinks.mqtt import MqttFeed
from monitor.sources import Source
from monitor.sources.mqtt import MqttSource
from monitor.sources.reliable import ReliableSource
from monitor.sources.zeromq import ZeroMQSource
from monitor.telemetry import Telemetry

log = logging.getLogger(__name__)

DEADLINE_S = 5.0
HEARTBEAT_S = 1.0


def load_models(config: Config) -> dict[str, Model]:
    """The models that some stream asks for; raises ModelError or ConfigError with the reason."""
    found = find_models(Path(config.models) if config.models else None)
    wanted = {name for rule in config.streams for name in rule.models}
    if unknown := sorted(wanted - set(found)):
        raise ConfigError(
            f"streams: models: expected some of {', '.join(sorted(found))}, got {', '.join(unknown)}"
        )
    return {name: load_model(found[name]) for name in sorted(wanted)}


class Daemon:
    """One running monitor."""

    def __init__(self, config: Config, models: dict[str, Model], alarm_log: AlarmLog) -> None:
        """Open every socket; raises ConfigError for one that cannot be."""
        self._config, self._models, self._alarm_log = config, models, alarm_log
        self._telemetry = Telemetry()
        self._started_ns = time.time_ns()
        self._stop = asyncio.Event()
        self.engine = Engine(
            {name: model.card for name, model in models.items()},
            config.plan_of,
            rules=config.alarms,
            max_streams=config.limits.streams,
            max_waiting=config.inference.max_waiting,
        )
        self.engine.restore(alarm_log.alarms(active=True, limit=-1))
        self._sources: list[Source] = []
        with contextlib.ExitStack() as opened:  # whatever is open when something else cannot be is closed
            self._gate = open_gate(config)
            opened.callback(self._gate.close)
            self._control = server_socket(config.feed.control, self._gate.options("control"))
            opened.callback(self._control.close)
            self._gate.watch(self._control, "control")
            self._feed = ZeroMQFeed(config.feed, config.prefix, self._gate.options("watch"))
            opened.callback(self._feed.close)
            self._gate.watch(self._feed.socket, "feed")
            for address, kind in (
                (config.zeromq.listen, ZeroMQSource),
                (config.zeromq.listen_reliable, ReliableSource),
            ):
                if address:
                    source = kind(config.zeromq, config.prefix, self._gate.options("send"))
                    opened.callback(source.close)
                    self._gate.watch(source.socket, "samples")
                    self._sources.append(source)
            if config.mqtt.host:
                self._sources.append(MqttSource(config.mqtt, config.prefix, config.name))
            self._opened = opened.pop_all()
        self._mqtt = MqttFeed(config.mqtt, config.prefix, config.name) if config.mqtt.host else None
        self._sinks: list[Sink] = [self._feed, *([self._mqtt] if self._mqtt else [])]
        self._kept = Kept(config.feed.history_s)
        self.pipeline = Pipeline(
            self.engine,
            models,
            config.inference,
            config.limits,
            self._sinks,
            self._kept,
            alarm_log,
            self._telemetry,
        )

    async def run(self) -> None:
        """Run until `stop` is called, then finish what was read."""
        try:
            await self._run()
        finally:
            self.pipeline.close()
            self._opened.close()

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as group:
            reading = [group.create_task(self.pipeline.read(s), name=type(s).__name__) for s in self._sources]
            inferring = group.create_task(self.pipeline.infer(), name="infer")
            background = [
                group.create_task(self._feed.follow_subscriptions(), name="feed"),
                group.create_task(serve(self._control, self.answer, self._permit), name="control"),
                group.create_task(self._gate.run(), name="gate"),
                group.create_task(self._beat(), name="heartbeat"),
            ]
            if self._mqtt:
                background.append(group.create_task(self._mqtt.run(), name="mqtt feed"))
            zeromq = self._config.zeromq
            log.info(
                "monitor %s %s: listening on %s, publishing on %s",
                __version__,
                self._config.name,
                ", ".join(filter(None, (zeromq.listen, zeromq.listen_reliable, self._config.mqtt.host)))
                or "nothing",
                self._config.feed.publish,
            )
            await self._stop.wait()
            for task in reading:
                task.cancel()
            self.pipeline.stop()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(DEADLINE_S):
                    await inferring
                    self._publish_state("offline")
                    if self._mqtt:
                        await self._mqtt.drained()
            for task in (inferring, *background):
                task.cancel()

    def stop(self) -> None:
        """Begin to stop."""
        log.info("stopping")
        self._stop.set()

    async def _beat(self) -> None:
        while True:
            self._publish_state("online")
            await asyncio.sleep(HEARTBEAT_S)

    def _publish_state(self, state: str) -> None:
        states, status = self.engine.states(), self.status(state)
        for sink in self._sinks:
            for stream in states:
                sink.state(stream)
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
            streams=len(self.engine.states()),
            windows=t.windows,
            events=t.events,
            refused=t.refused,
            latency_p50_ms=t.latency.quantile_ms(0.5),
            latency_p99_ms=t.latency.quantile_ms(0.99),
            models=tuple(model.card.ident for model in self._models.values()),
        )

    def _permit(self, user: str, request: Request) -> bool:
        asks = not isinstance(request, COMMANDS)
        return self._gate.may(user, "control") or (asks and self._gate.may(user, "watch"))

    def answer(self, request: Request) -> object:
        """The answer to a request on the control socket."""
        match request:
            case GetStatus():
                return Overview(self.status(), self.engine.states())
            case GetAlarms():
                return self._alarms(request)
            case Acknowledge():
                return self.pipeline.acknowledge(request.id)
            case GetHistory():
                return History(*self._kept.last(request.stream, request.seconds))
            case GetModels():
                return [card_summary(model) for model in self._models.values()]
            case Reload():
                return []

    def _alarms(self, request: GetAlarms) -> list[Alarm]:
        if request.active:
            ours = [self.pipeline.publisher.storage_alarm] if self.pipeline.publisher.storage_alarm else []
            alarms = [a for a in [*self.engine.open_alarms(), *ours] if request.stream in ("", a.stream)]
            return alarms[::-1][: request.limit]
        return self._alarm_log.alarms(stream=request.stream, limit=request.limit)


def open_gate(config: Config) -> Gate:
    """The gate that [keys] asks for; says so where sockets are open to everybody."""
    keys = config.keys
    if not keys.secret_file:
        for address in (config.zeromq.listen, config.zeromq.listen_reliable, config.feed.publish):
            if is_exposed(address):
                log.warning("%s can be reached from other machines, and there are no keys: see [keys]", address)
        return Gate()
    return Gate(read_key(keys.secret_file), read_allowed(keys.allowed_file) if keys.allowed_file else {})


def card_summary(model: Model) -> dict[str, object]:
    """The card without its known answer, which is for machines."""
    return {name: getattr(model.card, name) for name in model.card.__struct_fields__ if name != "known_answer"} | {
        "path": model.path
    }


@contextlib.contextmanager
def identity(config: Config) -> Iterator[None]:
    """Hold the lock beside the alarm log; raises ConfigError naming who holds it already."""
    path = Path(config.alarm_log.path + ".lock")
    try:
        file = path.open("a+")
    except OSError as error:
        raise ConfigError(
            f"alarm_log.path: cannot write {path}: {error.strerror}; choose another place"
        ) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise ConfigError(
                f"another monitor ({file.read().strip() or 'unknown'}) holds {path}; stop it, or give this one "
                "an alarm_log.path of its own",
            ) from None
        file.truncate(0)
        file.write(f"{config.name}, process {os.getpid()}\n")
        file.flush()
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


async def run_daemon(config: Config, models: dict[str, Model]) -> None:
    """Run a daemon until SIGINT or SIGTERM."""
    with identity(config), AlarmLog(Path(config.alarm_log.path)) as alarm_log:
        daemon = Daemon(config, models, alarm_log)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, daemon.stop)
        await daemon.run()
    log.info("stopped")
