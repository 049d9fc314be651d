"""Events, states and the daemon's status over MQTT, as JSON, for devices and people.

Topics: PREFIX/STREAM/events, PREFIX/STREAM/state (retained) and PREFIX/monitor/status (retained, with a last
will that says "offline"). Forecasts are many and stay on the ZeroMQ feed.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque

import aiomqtt
import msgspec

from monitor.broker import Backoff, open_client
from monitor.config import Mqtt
from monitor.core.blocks import Beat, Block, Note
from monitor.core.conclusions import Conclusion
from monitor.core.engine import Engine
from monitor.core.judge import Notice
from monitor.core.pages import Page
from monitor.core.published import Status, StreamState
from monitor.sinks.homeassistant import announce_daemon, announce_stream, has_heart_rate

log = logging.getLogger(__name__)

_QUEUE = 10_000


class MqttFeed:
    """Publishes from a bounded queue: a slow or absent broker never slows the daemon; see monitor.sinks.Sink."""

    def __init__(self, settings: Mqtt, prefix: str, name: str) -> None:
        self._settings, self._prefix, self._name = settings, prefix, name
        self._queue: deque[tuple[str, bytes, int, bool]] = deque(maxlen=_QUEUE)
        self._filled, self._empty = asyncio.Event(), asyncio.Event()
        self._offline = b""
        self._connected = False
        self._introduced: dict[str, int] = {}
        """What Home Assistant knows of each stream: 1 that it is there, 2 that it has a heart rate."""
        self.dropped = 0

    def block(self, block: Block) -> None:
        """See Sink.block; the samples are on the broker already."""

    def page(self, page: Page) -> None:
        """See Sink.page."""

    def conclusion(self, engine: Engine, conclusion: Conclusion) -> None:
        """See Sink.conclusion; forecasts are for the ZeroMQ feed."""

    def notice(self, notice: Notice | Note) -> None:
        """See Sink.notice."""
        if not isinstance(notice, Beat):
            self._put(f"{notice.stream}/events", notice, qos=1, retain=False)

    def state(self, state: StreamState) -> None:
        """See Sink.state."""
        if self._settings.home_assistant:
            self._introduce(state)
        self._put(f"{state.stream}/state", state, qos=0, retain=True)

    def status(self, status: Status) -> None:
        """See Sink.status."""
        self._offline = msgspec.json.encode(msgspec.structs.replace(status, state="offline"))
        self._put("monitor/status", status, qos=1, retain=True)

    def _introduce(self, state: StreamState) -> None:
        """Tell Home Assistant of a stream that is new, or has a heart rate for the first time."""
        if not self._introduced:
            self._send(
                announce_daemon(self._settings.home_assistant, self._prefix, self._name), qos=1, retain=True
            )
        rated = 1 + has_heart_rate(state)
        if self._introduced.get(state.stream, 0) < rated:
            self._introduced[state.stream] = rated
            message = announce_stream(self._settings.home_assistant, self._prefix, self._name, state)
            self._send(message, qos=1, retain=True)

    def _put(self, topic: str, message: msgspec.Struct, *, qos: int, retain: bool) -> None:
        self._send((f"{self._prefix}/{topic}", msgspec.json.encode(message)), qos=qos, retain=retain)

    def _send(self, message: tuple[str, bytes], *, qos: int, retain: bool) -> None:
        self.dropped += len(self._queue) == _QUEUE
        self._queue.append((*message, qos, retain))
        self._filled.set()
        self._empty.clear()

    async def run(self) -> None:
        """Connect and publish for ever; reconnect when the broker is lost."""
        backoff = Backoff(self._settings.reconnect_max_s)
        status = f"{self._prefix}/monitor/status"
        for listener in self._settings.listeners():
            will = aiomqtt.Will(status, self._offline, qos=1, retain=True)
            try:
                client = open_client(listener, f"{self._name}-out", clean=True, will=will)
                async with client:
                    backoff.reset()
                    self._connected = True
                    self._introduced.clear()  # a broker that was started anew may have forgotten
                    await self._publish(client)
            except aiomqtt.MqttError as error:
                self._connected = False
                self._empty.set()  # nobody need wait for what cannot leave
                trouble = str(error)
                log.log(backoff.level_of(trouble), "mqtt: cannot publish: %s; trying again until it can", trouble)
                await backoff.wait()

    async def _publish(self, client: aiomqtt.Client) -> None:
        while True:
            await self._filled.wait()
            while self._queue:
                topic, payload, qos, retain = self._queue[0]
                await client.publish(topic, payload, qos=qos, retain=retain)
                self._queue.popleft()
            self._filled.clear()
            self._empty.set()

    async def drained(self) -> None:
        """Wait until everything is published, or there is no broker to publish to."""
        if self._queue and self._connected:
            await self._empty.wait()
