"""Samples over MQTT: a persistent session that reconnects by itself.

aiomqtt acknowledges a QoS 1 message when it has read it, before anybody worked on it; paho's manual
acknowledgement under it lets us do so afterwards. That is the one thing here that is not aiomqtt's public
interface, and it stays in this file.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import AsyncIterator

import aiomqtt

from monitor.broker import Backoff, check_settings, open_client
from monitor.config import Mqtt
from monitor.sources import Delivery, Message, stream_of

log = logging.getLogger(__name__)

_DRAIN_LIMIT = 256


class MqttSource:
    """Subscribes to PREFIX/STREAM/samples, streams of one to three levels."""

    def __init__(self, settings: Mqtt, prefix: str, name: str) -> None:
        self._settings, self._prefix, self._name = settings, prefix, name
        self.connected = False
        check_settings(settings)

    @property
    def name(self) -> str:
        """See Source.name."""
        return f"mqtt://{self._settings.host}:{self._settings.port}"

    async def deliveries(self) -> AsyncIterator[Delivery]:
        """See Source.deliveries; a lost broker is waited for, and sends again what was not acknowledged."""
        backoff = Backoff(self._settings.reconnect_max_s)
        for listener in self._settings.listeners():
            client = open_client(listener, f"{self._name}-in", clean=False)
            client._client.manual_ack_set(True)  # noqa: SLF001 see the head of the file
            try:
                async with client:
                    for levels in ("+", "+/+", "+/+/+"):
                        await client.subscribe(f"{self._prefix}/{levels}/samples", self._settings.qos)
                    log.info("mqtt: connected to %s:%d", listener.host, listener.port)
                    backoff.reset()
                    self.connected = True
                    async for batch in self._drained(client):
                        yield Delivery(
                            [self._message(message) for message in batch],
                            functools.partial(_acknowledge, client, batch),
                            self._settings.redelivery_s if self._settings.qos else 0.0,
                        )
            except aiomqtt.MqttError as error:
                self.connected = False
                trouble = f"{listener.host}:{listener.port}: {error}"
                log.log(backoff.level_of(trouble), "mqtt: %s; trying again until it answers", trouble)
                await backoff.wait()

    def _message(self, message: aiomqtt.Message) -> Message:
        return Message(bytes(message.payload), stream_of(str(message.topic), self._prefix))

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


def _acknowledge(client: aiomqtt.Client, batch: list[aiomqtt.Message]) -> None:
    """Tell the broker; where the connection has gone meanwhile, it sends them again, and the ledger knows."""
    for message in batch:
        client._client.ack(message.mid, message.qos)  # noqa: SLF001
