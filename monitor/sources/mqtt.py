"""Samples over MQTT: a persistent session that reconnects by itself.

aiomqtt acknowledges a QoS 1 message when it has read it, before anybody worked on it; paho's manual
acknowledgement under it lets us do so afterwards. That is the one thing here that is not aiomqtt's public
interface, and it stays in this file.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator
from pathlib import Path

import aiomqtt

from monitor.config import Mqtt
from monitor.core.errors import ConfigError
from monitor.sources import Message, stream_of

log = logging.getLogger(__name__)

_DRAIN_LIMIT = 256


def open_client(
    settings: Mqtt, client_id: str, *, clean: bool, will: aiomqtt.Will | None = None
) -> aiomqtt.Client:
    """A client for the configured broker, not yet connected."""
    return aiomqtt.Client(
        settings.host,
        settings.port,
        username=settings.username or None,
        password=_password(settings),
        identifier=client_id,
        clean_session=clean,
        will=will,
        keepalive=settings.keepalive_s,
        timeout=10,
    )


def _password(settings: Mqtt) -> str | None:
    if not settings.password_file:
        return None
    try:
        return Path(settings.password_file).read_text().splitlines()[0]
    except (OSError, IndexError) as error:
        raise ConfigError(f"mqtt.password_file: cannot read a line from {settings.password_file}") from error


class Backoff:
    """Waits that double, with jitter, up to a maximum."""

    def __init__(self, longest_s: float) -> None:
        self._longest_s = longest_s
        self._next_s = 0.2

    def reset(self) -> None:
        """Things went well."""
        self._next_s = 0.2

    async def wait(self) -> None:
        """Wait before the next attempt."""
        await asyncio.sleep(self._next_s * random.uniform(0.5, 1.0))  # noqa: S311 jitter, not a secret
        self._next_s = min(2 * self._next_s, self._longest_s)


class MqttSource:
    """Subscribes to PREFIX/STREAM/samples, streams of one to three levels."""

    def __init__(self, settings: Mqtt, prefix: str, name: str) -> None:
        self._settings, self._prefix, self._name = settings, prefix, name
        self.connected = False
        _password(settings)  # an unreadable file is a configuration error, not a lost connection

    async def batches(self) -> AsyncIterator[list[Message]]:
        """See Source.batches; a lost broker is waited for. A batch is acknowledged when the next is asked for."""
        backoff = Backoff(self._settings.reconnect_max_s)
        while True:
            client = open_client(self._settings, f"{self._name}-in", clean=False)
            client._client.manual_ack_set(True)  # noqa: SLF001 see the head of the file
            try:
                async with client:
                    log.info("mqtt: connected to %s:%d", self._settings.host, self._settings.port)
                    backoff.reset()
                    for levels in ("+", "+/+", "+/+/+"):
                        await client.subscribe(f"{self._prefix}/{levels}/samples", self._settings.qos)
                    self.connected = True
                    async for batch in self._drained(client):
                        yield [Message(bytes(m.payload), stream_of(str(m.topic), self._prefix)) for m in batch]
                        for message in batch:
                            client._client.ack(message.mid, message.qos)  # noqa: SLF001
            except aiomqtt.MqttError as error:
                self.connected = False
                log.warning("mqtt: %s:%d: %s; trying again", self._settings.host, self._settings.port, error)
                await backoff.wait()

    async def _drained(self, client: aiomqtt.Client) -> AsyncIterator[list[aiomqtt.Message]]:
        """Messages in lists: one is waited for, the rest of what is there comes along."""
        messages = client.messages
        while True:
            batch = [await anext(messages)]
            while len(messages) and len(batch) < _DRAIN_LIMIT:
                batch.append(await anext(messages))
            yield batch

    def close(self) -> None:
        """See Source.close; the connection ends with the task that reads it."""
