"""A broker in the box: for who has none, a NATS server with an MQTT listener, as a child of the daemon."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator
from pathlib import Path

from monitor.addresses import is_exposed
from monitor.broker import password_of
from monitor.config import Config, Mqtt
from monitor.core.errors import ConfigError
from monitor.natsserver import kept_running, quoted
from monitor.sources import MAX_MESSAGE_BYTES

log = logging.getLogger(__name__)

ACK_WAIT_S = 2
"""What a daemon that was killed had not acknowledged, its successor is given again after so long."""
MAX_STORED_BYTES = 1024**3
"""On disk; what a device publishes when that is full is refused."""


def settings_of(mqtt: Mqtt, folder: Path) -> str:
    """The server's configuration: MQTT where the daemon looks for it, all else on the loopback, files in `folder`.

    Raises ConfigError for what this broker does not do: `mqtt.tls`, or other machines without a password.
    """
    if mqtt.tls:
        raise ConfigError("--broker speaks no TLS: leave mqtt.tls out, or run a broker of your own")
    password = password_of(mqtt)
    if is_exposed(f"tcp://{mqtt.host}:0") and not (mqtt.username and password):
        raise ConfigError(
            f"--broker: {mqtt.host} can be reached from other machines, and there is no password; "
            "set mqtt.host=127.0.0.1, or mqtt.username and mqtt.password_file"
        )
    lines = [
        "server_name: foretrace",
        # Its own protocol is needed by nobody here: a port that is free, which nobody is told.
        'listen: "127.0.0.1:-1"',
        f"max_payload: {MAX_MESSAGE_BYTES}",
        "jetstream {",
        f"  store_dir: {quoted(str(folder / 'store'))}",
        f"  max_file_store: {MAX_STORED_BYTES}",
        "  sync_interval: always",  # what is acknowledged is on the disk, as it is with the daemon's own log
        "}",
        "mqtt {",
        f"  host: {quoted(mqtt.host)}",
        f"  port: {mqtt.port}",
        f'  ack_wait: "{ACK_WAIT_S}s"',
        "}",
    ]
    if mqtt.username:
        lines.append(f"authorization {{ user: {quoted(mqtt.username)}, password: {quoted(password or '')} }}")
    return "\n".join(lines) + "\n"


@contextlib.asynccontextmanager
async def broker_in_the_box(config: Config) -> AsyncIterator[None]:
    """Keep a broker running at `mqtt.host` and `mqtt.port`, its files beside the alarm log."""
    folder = Path(config.alarm_log.path + ".broker").absolute()  # noqa: ASYNC240 no file is touched
    async with kept_running(settings_of(config.mqtt, folder), folder, config.mqtt.port):
        log.info("broker: MQTT on %s:%d, its files in %s", config.mqtt.host, config.mqtt.port, folder)
        yield
