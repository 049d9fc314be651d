"""Samples over ZeroMQ PUB/SUB: fast, and what is lost on the way the ledger counts."""

from __future__ import annotations

from collections.abc import AsyncIterator

import zmq

from monitor.config import ZeroMQ
from monitor.keys import Options
from monitor.sockets import Socket
from monitor.sources import MAX_MESSAGE_BYTES, Delivery, Message, stream_of

_REMEMBERED = 10_000


class ZeroMQSource:
    """A bound SUB socket; frames are [topic, payload], or the payload alone."""

    def __init__(self, settings: ZeroMQ, prefix: str, keys: Options | None = None) -> None:
        """Bind; raises ConfigError for an address that cannot be bound."""
        self._prefix = prefix
        self._streams: dict[bytes, str] = {}
        """By topic; the same ones come again and again."""
        self.socket = Socket(
            zmq.SUB,
            bind=settings.listen,
            options={zmq.RCVHWM: settings.queue, zmq.MAXMSGSIZE: MAX_MESSAGE_BYTES, **(keys or {})},
        )
        self.socket.subscribe(b"")

    @property
    def name(self) -> str:
        """See Source.name."""
        return self.address

    @property
    def address(self) -> str:
        """Where senders connect."""
        return self.socket.address

    async def deliveries(self) -> AsyncIterator[Delivery]:
        """See Source.deliveries."""
        while True:
            yield Delivery([self._message(frames) for frames in await self.socket.receive()])

    def _message(self, frames: list[bytes]) -> Message:
        if len(frames) < 2:
            return Message(frames[-1], "")
        stream = self._streams.get(frames[0])
        if stream is None:
            stream = stream_of(frames[0].decode("utf-8", "replace"), self._prefix)
            if len(self._streams) < _REMEMBERED:
                self._streams[frames[0]] = stream
        return Message(frames[-1], stream)

    def close(self) -> None:
        """See Source.close."""
        self.socket.close()
