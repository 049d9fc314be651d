"""Messages of one partition, from its pinned consumer (NATS ADR-42).

Of all who ask, the server gives them to one, who is pinned until it has not asked for PIN_S; then the next one is.
A request is always open: it says that we are alive, and costs nothing while there is nothing to give. It asks for
no more than we have room for: what is under way to somebody who dies, or hands over, is then little, and the next
owner is given what is new at once, and reads what lies before it from the stream.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Sequence
from typing import NamedTuple

import nats.errors
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from monitor.cluster.jetstream import JetStream
from monitor.cluster.layout import GROUP, ORDERS, SAMPLES, consumer_of
from monitor.cluster.shard import Entry

ASK_S = 0.4
"""For how long a request stays open: well below PIN_S."""
_LOST_S = 0.3
"""A request whose end was not told so long after its time is lost."""
_ROOM = 256
"""Messages that may be under way to us, or in hand; a fraction of UNACKNOWLEDGED."""


class Delivered(NamedTuple):
    """A message that the consumer handed out."""

    entry: Entry
    number: int
    """The consumer's own count of what it handed out; a hole in it was lost on the way, or went to others."""
    is_first: bool
    """Whether it is handed out for the first time: these come in their order, the others whenever they are due."""
    pin: str
    """The time in which we were pinned, without a break."""
    reply: str
    """Where to acknowledge it, and all before it."""


class Pull:
    """Asks for the messages of one partition while it is open."""

    def __init__(self, js: JetStream, partition: int) -> None:
        self._js, self._consumer = js, consumer_of(partition)
        self._pin = ""
        self.hand: list[Delivered] = []
        """What came and is not done with."""
        self._something = asyncio.Event()
        self._over = asyncio.Event()
        self._room = asyncio.Event()
        self._left = 0
        self._closed = False

    @property
    def is_pinned(self) -> bool:
        """Whether, for all we know, the partition is ours."""
        return bool(self._pin)

    def close(self) -> None:
        """Let `run` return. A flag, for nats-py may swallow a cancellation."""
        self._closed = True
        self._over.set()
        self._room.set()

    async def run(self) -> None:
        """Ask until `close` is called."""
        inbox = self._js.nats.new_inbox()
        subscription: Subscription = await self._js.nats.subscribe(inbox, cb=self._heard)
        try:
            while not self._closed:
                await self._ask(inbox)
                if len(self.hand) > _ROOM // 2:
                    self._room.clear()
                    await _wait(self._room, ASK_S)
        finally:
            with contextlib.suppress(nats.errors.Error):
                await subscription.unsubscribe()

    async def _ask(self, inbox: str) -> None:
        """Make a request, and wait until it is over."""
        self._over.clear()
        self._left = max(_ROOM - len(self.hand), 1)  # who asks for nothing is taken for dead
        request = {"batch": self._left, "expires": round(ASK_S * 1e9), "group": GROUP}
        if self._pin:
            request["id"] = self._pin
        with contextlib.suppress(nats.errors.Error, ConnectionError):
            subject = f"$JS.API.CONSUMER.MSG.NEXT.{SAMPLES}.{self._consumer}"
            await self._js.nats.publish(subject, json.dumps(request).encode(), reply=inbox)
        await _wait(self._over, ASK_S + _LOST_S)

    async def _heard(self, message: Msg) -> None:
        headers = message.headers or {}
        if not message.reply.startswith("$JS.ACK."):
            if headers.get("Status") == "423":  # somebody else is pinned by now
                self._pin = ""
            if headers.get("Status") not in ("409", "503"):  # then it has no leader: asking more often is no use
                self._over.set()
            return
        self._pin = headers.get("Nats-Pin-Id", self._pin)
        self._left -= 1
        self.hand.append(_delivered(message, self._pin))
        self._something.set()
        if self._left <= 0:
            self._over.set()

    async def something(self, seconds: float) -> bool:
        """Wait until there is something in hand, at most so long; whether there is."""
        await _wait(self._something, seconds)
        return bool(self.hand)

    async def acknowledge(self, done: Sequence[Delivered]) -> None:
        """We are done with these, the first in hand: they, and all before them, need not be handed out again."""
        self._drop(len(done))
        with contextlib.suppress(nats.errors.Error, ConnectionError):
            await self._js.nats.publish(done[-1].reply, b"+ACK")

    def drop(self) -> None:
        """What is in hand is somebody else's to work off."""
        self._drop(len(self.hand))

    def _drop(self, count: int) -> None:
        del self.hand[:count]
        if not self.hand:
            self._something.clear()
        if len(self.hand) <= _ROOM // 2:
            self._room.set()

    async def unpin(self) -> None:
        """Let somebody else have it, and what we have in hand, at once."""
        await self._js.call(f"CONSUMER.UNPIN.{SAMPLES}.{self._consumer}", {"group": GROUP})
        self._pin = ""
        if self.hand:  # the newest again: whoever is given it reads the others from the stream
            with contextlib.suppress(nats.errors.Error, ConnectionError):
                await self._js.nats.publish(self.hand[-1].reply, b"-NAK")
        self.drop()


async def _wait(event: asyncio.Event, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()


def _delivered(message: Msg, pin: str) -> Delivered:
    # $JS.ACK.STREAM.CONSUMER.TIMES.SEQUENCE.NUMBER.TIME.PENDING, or with domain and account before STREAM
    words = message.reply.split(".")
    times, sequence, number, at_ns = (int(word) for word in (words[4:8] if len(words) < 11 else words[6:10]))
    entry = entry_of(sequence, message.subject, message.data, at_ns)
    return Delivered(entry, number, times == 1, pin, message.reply)


def entry_of(seq: int, subject: str, data: bytes, at_ns: int) -> Entry:
    """A message of SAMPLES as a shard takes it."""
    kind, _, name = subject.split(".", 2)
    return Entry(seq, "" if kind == ORDERS else name, data, at_ns)
