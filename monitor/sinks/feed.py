"""The feed on ZeroMQ: what the daemon publishes to dashboards and anyone else who subscribes.

Frames are [topic, payload]. Topics: PREFIX/STREAM/samples|forecast|scores|beats|events|state and
PREFIX/monitor/status; events and states come a second time under all/..., so that one who watches few waveforms
can still follow the alarms of every stream. Nothing is encoded for topics that nobody subscribes to.
"""

from __future__ import annotations

import zmq

from monitor.config import Feed
from monitor.core.blocks import Beat, Block, Note
from monitor.core.conclusions import Conclusion
from monitor.core.engine import Engine
from monitor.core.judge import Notice
from monitor.core.pages import Page
from monitor.core.published import Status, StreamState, encode, encode_forecast
from monitor.core.wire import encode_block
from monitor.keys import Options
from monitor.sockets import Socket


class ZeroMQFeed:
    """An XPUB socket; see monitor.sinks.Sink."""

    def __init__(self, settings: Feed, prefix: str, keys: Options | None = None) -> None:
        """Bind; raises ConfigError for an address that cannot be bound."""
        self._prefix = prefix
        self.socket = Socket(zmq.XPUB, bind=settings.publish, options={zmq.SNDHWM: settings.queue, **(keys or {})})
        self._subscribed: set[bytes] = set()
        self._ours = f"{prefix}/".encode()
        self._may_be_watched = False
        self._topics: dict[tuple[str, str], bytes | None] = {}
        """(stream, what) -> its topic, where anybody wants it; of what has been asked for."""

    @property
    def address(self) -> str:
        """Where clients connect."""
        return self.socket.address

    async def follow_subscriptions(self) -> None:
        """Learn for ever who wants what."""
        while True:
            for frames in await self.socket.receive():
                prefix = frames[0][1:]
                if frames[0][:1] == b"\x01":
                    self._subscribed.add(prefix)
                else:  # XPUB tells it when the last subscriber of this prefix has gone
                    self._subscribed.discard(prefix)
            self._topics.clear()
            self._may_be_watched = any(
                prefix.startswith(self._ours) or self._ours.startswith(prefix) for prefix in self._subscribed
            )

    def _topic(self, stream: str, what: str) -> bytes:
        return f"{self._prefix}/{stream}/{what}".encode()

    def _wanted(self, stream: str, what: str) -> bytes | None:
        """Its topic; None where nobody wants it."""
        if not self._may_be_watched:
            return None
        try:
            return self._topics[stream, what]
        except KeyError:
            topic = self._topic(stream, what)
            is_wanted = any(topic.startswith(prefix) for prefix in self._subscribed)
            return self._topics.setdefault((stream, what), topic if is_wanted else None)

    def is_watched(self, stream: str) -> bool:
        """Whether anybody wants the samples of a stream."""
        return self._wanted(stream, "samples") is not None

    def block(self, block: Block) -> None:
        """See Sink.block."""
        if topic := self._wanted(block.stream, "samples"):
            self.socket.send(topic, encode_block(block))

    def page(self, page: Page) -> None:
        """See Sink.page."""
        if not self._may_be_watched:
            return
        for row, who in enumerate(page.whos):
            if topic := self._wanted(who[0], "samples"):
                self.socket.send(topic, encode_block(page.block(row)))

    def conclusion(self, engine: Engine, conclusion: Conclusion) -> None:
        """See Sink.conclusion."""
        if not self._may_be_watched:
            return
        is_forecast = "forecast" in conclusion.outputs
        for row, slot in enumerate(conclusion.batch.slots.tolist()):
            stream = engine.name_of(slot)
            if is_forecast and (topic := self._wanted(stream, "forecast")):
                self.socket.send(topic, encode_forecast(engine.forecast(conclusion, row)))
            if (topic := self._wanted(stream, "scores")) and (scores := engine.scores(conclusion, row)):
                self.socket.send(topic, encode(scores))

    def notice(self, notice: Notice | Note) -> None:
        """See Sink.notice."""
        if isinstance(notice, Beat):
            if topic := self._wanted(notice.stream, "beats"):
                self.socket.send(topic, encode(notice))
        else:
            self._twice(notice.stream, "events", encode(notice))

    def state(self, state: StreamState) -> None:
        """See Sink.state."""
        self._twice(state.stream, "state", encode(state))

    def status(self, status: Status) -> None:
        """See Sink.status."""
        self.socket.send(f"{self._prefix}/monitor/status".encode(), encode(status))

    def _twice(self, stream: str, what: str, payload: bytes) -> None:
        topic = self._topic(stream, what)
        self.socket.send(topic, payload)
        self.socket.send(b"all/" + topic, payload)

    def close(self) -> None:
        """Close; what is queued has a moment to leave."""
        self.socket.close_after_sending(0.5)
