"""Messages of one partition, from its pinned consumer (NATS ADR-42).

Of all who ask, the server gives them to one, who is pinned until it has not asked for PIN_S; then the next one is.
A request is always open: it says that we are alive, and costs nothing while there is nothing to give.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import NamedTuple

import nats.errors
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from monitor.cluster.jetstream import JetStream
from monitor.cluster.layout import ACKNOWLEDGES, GROUP, SAMPLES, UNACKNOWLEDGED, consumer_of
from monitor.cluster.shard import Entry

ASK_S = 0.4
"""For how long a request stays open: well below PIN_S."""
_LOST_S = 0.3
"""A request whose end was not told so long after its time is lost."""


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
        self._came: list[Delivered] = []
        self._something = asyncio.Event()
        self._over = asyncio.Event()
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

    async def run(self) -> None:
        """Ask until `close` is called."""
        inbox = self._js.nats.new_inbox()
        subscription: Subscription = await self._js.nats.subscribe(inbox, cb=self._heard)
        try:
            while not self._closed:
                self._over.clear()
                self._left = UNACKNOWLEDGED
                request = {"batch": self._left, "expires": round(ASK_S * 1e9), "group": GROUP}
                if self._pin:
                    request["id"] = self._pin
                with contextlib.suppress(nats.errors.Error, ConnectionError):
                    subject = f"$JS.API.CONSUMER.MSG.NEXT.{SAMPLES}.{self._consumer}"
                    await self._js.nats.publish(subject, json.dumps(request).encode(), reply=inbox)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(ASK_S + _LOST_S):
                        await self._over.wait()
        finally:
            with contextlib.suppress(nats.errors.Error):
                await subscription.unsubscribe()

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
        self._came.append(_delivered(message, headers, self._pin))
        self._something.set()
        if self._left <= 0:
            self._over.set()

    async def something(self, seconds: float) -> bool:
        """Wait for messages, at most so long; whether there are any."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._something.wait()
        return bool(self._came)

    def take(self) -> list[Delivered]:
        """What came since the last call."""
        came, self._came = self._came, []
        self._something.clear()
        return came

    async def acknowledge(self, delivered: Delivered) -> None:
        """This one, and all before it, need not be handed out again."""
        with contextlib.suppress(nats.errors.Error, ConnectionError):
            await self._js.nats.publish(delivered.reply, b"+ACK")

    async def unpin(self) -> None:
        """Let somebody else have it at once."""
        await self._js.call(f"CONSUMER.UNPIN.{SAMPLES}.{self._consumer}", {"group": GROUP})
        self._pin = ""


def _delivered(message: Msg, headers: dict[str, str], pin: str) -> Delivered:
    # $JS.ACK.STREAM.CONSUMER.TIMES.SEQUENCE.NUMBER.TIME.PENDING, or with domain and account before STREAM
    words = message.reply.split(".")
    times, sequence, number, at_ns = (int(word) for word in (words[4:8] if len(words) < 11 else words[6:10]))
    entry = entry_of(sequence, message.subject, message.data, headers, at_ns)
    return Delivered(entry, number, times == 1, pin, message.reply)


def entry_of(seq: int, subject: str, data: bytes, headers: dict[str, str] | None, at_ns: int) -> Entry:
    """A message of SAMPLES as a shard takes it."""
    return Entry(seq, subject.split(".", 2)[2], data, at_ns, (headers or {}).get(ACKNOWLEDGES, ""))
