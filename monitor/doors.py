"""Every socket of a daemon: where samples come in, where results go out, where it answers."""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING

from monitor.addresses import is_exposed
from monitor.config import Config
from monitor.control import server_socket
from monitor.gate import Gate
from monitor.keys import read_allowed, read_key
from monitor.sinks import Sink
from monitor.sinks.feed import ZeroMQFeed
from monitor.sources import Source
from monitor.sources.lsl import LslSource
from monitor.sources.reliable import ReliableSource
from monitor.sources.zeromq import ZeroMQSource

if TYPE_CHECKING:
    from monitor.sinks.mqtt import MqttFeed
    from monitor.sources.mqtt import MqttSource

log = logging.getLogger(__name__)


class Doors:
    """Opens all of them, or none."""

    def __init__(self, config: Config) -> None:
        """Raises ConfigError for a socket that cannot be opened; those that were are closed again."""
        self.sources: list[Source] = []
        with contextlib.ExitStack() as opened:
            self.gate = open_gate(config)
            opened.callback(self.gate.close)
            self.control = server_socket(config.feed.control, self.gate.options("control"))
            opened.callback(self.control.close)
            self.gate.watch(self.control, "control")
            self.feed = ZeroMQFeed(config.feed, config.prefix, self.gate.options("watch"))
            opened.callback(self.feed.close)
            self.gate.watch(self.feed.socket, "feed")
            ways_in: tuple[tuple[type[ZeroMQSource | ReliableSource], str], ...] = (
                (ZeroMQSource, config.zeromq.listen),
                (ReliableSource, config.zeromq.listen_reliable),
            )
            for kind, address in ways_in:
                if address:
                    source = kind(config.zeromq, config.prefix, self.gate.options("send"))
                    opened.callback(source.close)
                    self.gate.watch(source.socket, "samples")
                    self.sources.append(source)
            self.mqtt: MqttFeed | None = None
            self.mqtt_source: MqttSource | None = None
            if config.mqtt.host:
                from monitor.sinks.mqtt import MqttFeed  # noqa: PLC0415 see monitor.broker.open_client
                from monitor.sources.mqtt import MqttSource  # noqa: PLC0415

                self.mqtt_source = MqttSource(config.mqtt, config.prefix, config.name)
                self.sources.append(self.mqtt_source)
                self.mqtt = MqttFeed(config.mqtt, config.prefix, config.name)
                if not config.mqtt.tls and config.mqtt.username and is_exposed(f"tcp://{config.mqtt.host}:0"):
                    log.warning("mqtt: the password goes to %s as it is: see mqtt.tls", config.mqtt.host)
            if config.lsl.query:
                lsl = LslSource(config.lsl)
                opened.callback(lsl.close)
                self.sources.append(lsl)
            self._opened = opened.pop_all()

    @property
    def sinks(self) -> list[Sink]:
        """Where results go."""
        return [self.feed, *([self.mqtt] if self.mqtt else [])]

    @property
    def names(self) -> str:
        """Where it listens, for people."""
        return ", ".join(source.name for source in self.sources) or "nothing"

    def close(self) -> None:
        """Close all."""
        self._opened.close()


def open_gate(config: Config) -> Gate:
    """The gate that [keys] asks for; says so where sockets are open to everybody."""
    keys = config.keys
    if not keys.secret_file:
        for address in (config.zeromq.listen, config.zeromq.listen_reliable, config.feed.publish):
            if is_exposed(address):
                log.warning("%s can be reached from other machines, and there are no keys: see [keys]", address)
        return Gate()
    return Gate(read_key(keys.secret_file), read_allowed(keys.allowed_file) if keys.allowed_file else {})
