"""Samples over ZeroMQ without loss: numbered messages, cumulative acknowledgement, credit.

A sender connects a DEALER socket whose routing id it has made up (it names the session) and sends four frames:
[base, number, topic, block]. `number` counts its messages from 0, `base` is the lowest it still keeps; both are
8 bytes, big-endian. It may have `credit` messages under way beyond the last acknowledgement, keeps each until it
is acknowledged, and sends all of them again, in order, when for a while nothing is.

The daemon answers two frames, [next, credit], 8 bytes each: everything below `next` was taken and whatever it
caused is durable. It takes messages of a session in order and ignores what it has or what comes too early: the
sender will come again (go-back-n). A session it does not know begins at its `base`.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator

import zmq

from monitor.config import ZeroMQ
from monitor.keys import Options
from monitor.sockets import Socket
from monitor.sources import MAX_MESSAGE_BYTES, Delivery, Message, stream_of

_SESSIONS = 10_000
"""Sessions remembered; of more the longest silent is forgotten, which costs it a repetition."""


class ReliableSource:
    """A bound ROUTER socket; see monitor.sources.Source."""

    def __init__(self, settings: ZeroMQ, prefix: str, keys: Options | None = None) -> None:
        """Bind; raises ConfigError for an address that cannot be bound."""
        self._prefix, self._credit = prefix, settings.credit.to_bytes(8)
        self._expected: dict[bytes, int] = {}
        self.socket = Socket(
            zmq.ROUTER,
            bind=settings.listen_reliable,
            # A sender that comes back under its own name takes the place of its dead connection.
            options={
                zmq.RCVHWM: settings.queue,
                zmq.MAXMSGSIZE: MAX_MESSAGE_BYTES,
                zmq.ROUTER_HANDOVER: 1,
                **(keys or {}),
            },
        )

    async def deliveries(self) -> AsyncIterator[Delivery]:
        """See Source.deliveries."""
        while True:
            messages: list[Message] = []
            heard: dict[bytes, None] = {}
            for frames in await self.socket.receive():
                if len(frames) == 5 and len(frames[1]) == len(frames[2]) == 8:
                    heard[frames[0]] = None
                    messages += self._take(*frames)
            told = {session: self._expected[session] for session in heard}
            yield Delivery(messages, functools.partial(self._acknowledge, told))

    def _take(self, session: bytes, base: bytes, number: bytes, topic: bytes, payload: bytes) -> list[Message]:
        lowest, this = int.from_bytes(base), int.from_bytes(number)
        # It keeps nothing below its base any more: what an earlier daemon has acknowledged is not waited for.
        expected = max(self._expected.pop(session, lowest), lowest)
        taken = this == expected
        self._expected[session] = expected + taken  # put last: the first of the dict is the longest silent
        if len(self._expected) > _SESSIONS:
            del self._expected[next(iter(self._expected))]
        return [Message(payload, stream_of(topic.decode("utf-8", "replace"), self._prefix))] if taken else []

    def _acknowledge(self, told: dict[bytes, int]) -> None:
        for session, expected in told.items():
            self.socket.send(session, expected.to_bytes(8), self._credit)

    @property
    def name(self) -> str:
        """See Source.name."""
        return f"{self.address} (reliable)"

    @property
    def address(self) -> str:
        """Where senders connect."""
        return self.socket.address

    def close(self) -> None:
        """See Source.close."""
        self.socket.close()
