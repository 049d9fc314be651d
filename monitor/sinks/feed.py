"""The feed on ZeroMQ: what the daemon publishes to dashboards and anyone else who subscribes.

Frames are [topic, payload]. Topics: PREFIX/STREAM/samples|forecast|scores|beats|events|state and
PREFIX/monitor/status; events and states come a second time under all/..., so that one who watches few waveforms
can still follow the alarms of every stream. Nothing is encoded for topics that nobody subscribes to.
"""

from __future__ import annotations

import zmq

from monitor.config import Feed
from monitor.core.blocks import Beat, Block, Note
from monitor.core.engine import Conclusion, Engine
from monitor.core.judge import Notice
from monitor.core.pages import Page
from monitor.core.wire import Status, StreamState, encode, encode_block, encode_forecast
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
        self._topics: dict[tuple[str, str], tuple[bytes, bool]] = {}
        """(stream, what) -> its topic, and whether anybody wants it."""

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

    def _topic(self, stream: str, what: str) -> tuple[bytes, bool]:
        known = self._topics.get((stream, what))
        if known is None:
            topic = f"{self._prefix}/{stream}/{what}".encode()
            known = topic, any(topic.startswith(prefix) for prefix in self._subscribed)
            self._topics[stream, what] = known
        return known

    def is_watched(self, stream: str) -> bool:
        """Whether anybody wants the samples of a stream."""
        return self._topic(stream, "samples")[1]

    def block(self, block: Block) -> None:
        """See Sink.block."""
        topic, wanted = self._topic(block.stream, "samples")
        if wanted:
            self.socket.send(topic, encode_block(block))

    def page(self, page: Page) -> None:
        """See Sink.page."""
        if not self._may_be_watched:
            return
        for row, who in enumerate(page.whos):
            topic, wanted = self._topic(who[0], "samples")
            if wanted:
                self.socket.send(topic, encode_block(page.block(row)))

    def conclusion(self, engine: Engine, conclusion: Conclusion) -> None:
        """See Sink.conclusion."""
        if not self._subscribed:
            return
        is_forecast = "forecast" in conclusion.outputs
        for row, slot in enumerate(conclusion.batch.slots.tolist()):
            stream = engine.name_of(slot)
            topic, wanted = self._topic(stream, "forecast")
            if wanted and is_forecast:
                self.socket.send(topic, encode_forecast(engine.forecast(conclusion, row)))
            topic, wanted = self._topic(stream, "scores")
            if wanted and (scores := engine.scores(conclusion, row)):
                self.socket.send(topic, encode(scores))

    def notice(self, notice: Notice | Note) -> None:
        """See Sink.notice."""
        if isinstance(notice, Beat):
            topic, wanted = self._topic(notice.stream, "beats")
            if wanted:
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
        topic, _ = self._topic(stream, what)
        self.socket.send(topic, payload)
        self.socket.send(b"all/" + topic, payload)

    def close(self) -> None:
        """Close; what is queued has a moment to leave."""
        self.socket.close_after_sending(0.5)
