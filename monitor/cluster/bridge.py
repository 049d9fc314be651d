"""The bridge: from an MQTT broker, which may be the cluster's own, into the cluster's stream of samples.

That an MQTT broker has acknowledged a block to its device does not mean that the cluster holds it: even the
cluster's own MQTT listener does not promise that. So the bridge is a subscriber at QoS 1 with a persistent
session, which acknowledges a block when a majority of the cluster's servers has stored it. Rules of the file:

- Blocks of one stream are stored one after the other, streams side by side.
- To a bridge that was killed and comes back some brokers first deliver what is new, and only later what was not
  acknowledged. So a block that does not follow on what the cluster holds of its stream waits for those before it,
  for as long as they may still be delivered.
- What is delivered again although it was stored is known by its place, and where that is not known by its content,
  and not stored twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
from collections.abc import Callable
from typing import NamedTuple

from monitor.cluster.jetstream import JetStream, Refused, Stored, Unanswered, connected, time_text
from monitor.cluster.layout import SAMPLES, samples_subject, stream_subject
from monitor.config import Config
from monitor.core.blocks import is_stream_name
from monitor.core.errors import SchemaError
from monitor.core.wire import decode_block
from monitor.sources import Delivery, Message
from monitor.sources.mqtt import MqttSource

log = logging.getLogger(__name__)

_RETRY_S = 0.1
_STOP_S = 2.0
_SPOKEN_OF = 1000
"""Streams whose refusals were logged, at most."""
_KNOWN_NS = 60 * 10**9
_UNDER_WAY = 64
"""Deliveries that are stored at the same time; how many wait for earlier blocks is bounded by the broker."""


class _Place(NamedTuple):
    """Where a block belongs in its stream."""

    run: str
    seq: int
    end: int


class _Line:
    """The blocks of one stream, on their way into the cluster."""

    def __init__(self, bridge: Bridge, stream: str) -> None:
        self._bridge, self._stream = bridge, stream
        self._lock = asyncio.Lock()
        self._is_known = False
        self._held: _Place | None = None
        """What the cluster is known to hold of the newest run, without a hole."""
        self._early: dict[_Place, tuple[bytes, asyncio.Future[None]]] = {}

    async def offer_all(self, payloads: list[bytes]) -> list[asyncio.Future[None]]:
        """See `offer`."""
        return [early for payload in payloads if (early := await self.offer(payload)) is not None]

    async def wait(self, early: list[asyncio.Future[None]], patience_s: float) -> None:
        """Until these are stored, at most so long for what lies before each."""
        for waiting in early:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(patience_s):
                    await asyncio.shield(waiting)
            while not waiting.done():
                await self.give_up()

    async def offer(self, payload: bytes) -> asyncio.Future[None] | None:
        """Store a block; or, where those before it are missing, keep it, and say when it is stored."""
        async with self._lock:
            if not self._is_known:
                for known in await self._bridge.newest(self._stream):
                    self._grow(known)
                self._is_known = True
            place, held = place_of(self._stream, payload), self._held
            if place and held and place.run == held.run:
                if place.seq > held.end:
                    if place not in self._early:
                        self._early[place] = payload, asyncio.get_running_loop().create_future()
                    return self._early[place][1]
                if held.seq <= place.seq and place.end <= held.end:
                    return None
            await self._store(place, payload)
            await self._follow()
        return None

    async def _store(self, place: _Place | None, payload: bytes) -> None:
        await self._bridge.store_one(self._stream, payload, is_numbered=place is not None)
        if place:
            self._grow(place)

    def _grow(self, place: _Place) -> None:
        """The cluster holds this, too."""
        held = self._held
        if held is None or place.run != held.run or place.seq > held.end:
            self._held = place
        elif place.seq >= held.seq:
            self._held = _Place(held.run, held.seq, max(place.end, held.end))

    async def _follow(self) -> None:
        """Store the early blocks that are early no more."""
        for place in sorted(self._early, key=lambda early: early.seq):
            if self._held is None or place.run != self._held.run or place.seq <= self._held.end:
                payload, stored = self._early.pop(place)
                await self._store(place, payload)
                stored.set_result(None)

    async def give_up(self) -> None:
        """What lies before the first early block will not come: the ledger counts it as missing."""
        async with self._lock:
            if self._early:
                first = min(self._early, key=lambda early: early.seq)
                log.warning("stream %r: what lies before sample %d did not come", self._stream, first.seq)
                payload, stored = self._early.pop(first)
                await self._store(first, payload)
                stored.set_result(None)
                await self._follow()


class Bridge:
    """Stores what the broker delivers."""

    def __init__(self, js: JetStream) -> None:
        self._js = js
        self._lines: dict[str, _Line] = {}
        self.stored = 0
        self.refused = 0
        self._spoken_of: set[str] = set()

    async def store(
        self, messages: list[Message], patience_s: float = 0.0, taken: Callable[[], None] = lambda: None
    ) -> None:
        """Return when all of them are stored; early ones wait `patience_s` at most for those before them.

        `taken` is called when only early ones are left.
        """
        streams: dict[str, list[bytes]] = {}
        for message in messages:
            if is_stream_name(message.stream):
                streams.setdefault(message.stream, []).append(message.payload)
            else:
                self._refuse(message.stream, "it is not the name of a stream")
        lines = [self._lines.setdefault(stream, _Line(self, stream)) for stream in streams]
        try:
            offers = (line.offer_all(payloads) for line, payloads in zip(lines, streams.values(), strict=True))
            early = await asyncio.gather(*offers)
        finally:
            taken()
        await asyncio.gather(*(line.wait(some, patience_s) for line, some in zip(lines, early, strict=True)))

    async def newest(self, stream: str) -> list[_Place]:
        """Where the newest blocks that the cluster holds of a stream belong, those of a minute."""
        while True:
            try:
                last = await self._js.last(SAMPLES, stream_subject(stream))
                if last is None:
                    return []
                start: dict[str, object] = {"start_time": time_text(last.at_ns - _KNOWN_NS)}
                found: list[Stored] = []
                while not found or found[-1].seq < last.seq:
                    found += await self._js.read_some(SAMPLES, stream_subject(stream), start)
                    start = {"seq": found[-1].seq + 1} if found else start
            except Unanswered:
                await asyncio.sleep(_RETRY_S)
            else:
                return [place for one in found if (place := place_of(stream, one.data)) is not None]

    async def store_one(self, stream: str, payload: bytes, *, is_numbered: bool) -> None:
        """Return when a block is stored, or refused for good."""
        once = (
            hashlib.blake2b(stream.encode() + b"\0" + payload, digest_size=16).hexdigest() if is_numbered else ""
        )
        while True:
            try:
                await self._js.publish(samples_subject(stream), payload, once=once)
            except Unanswered:
                await asyncio.sleep(_RETRY_S)
            except Refused as refusal:  # too large: it will not get smaller
                self._refuse(stream, str(refusal))
                return
            else:
                self.stored += 1
                return

    def _refuse(self, stream: str, why: str) -> None:
        self.refused += 1
        if len(self._spoken_of) < _SPOKEN_OF and stream not in self._spoken_of:
            self._spoken_of.add(stream)
            log.warning("stream %r: refused a block: %s (further ones are counted, not logged)", stream, why)


def place_of(stream: str, payload: bytes) -> _Place | None:
    """Where a block belongs; None for one that does not say, or is none: the engine will tell which.

    Those are stored once more when the broker delivers them once more: without a `seq`, one cannot tell.
    """
    try:
        block = decode_block(payload, stream)
    except SchemaError:
        return None
    return None if block.seq is None else _Place(block.run, block.seq, block.seq + len(block.values))


async def run_bridge(config: Config, stop: asyncio.Event) -> None:
    """Bridge until `stop`; raises Unreachable when there is no cluster, ConfigError for bad settings."""
    source = MqttSource(config.mqtt, config.prefix, f"{config.name}-bridge")
    async with connected(config.cluster, f"{config.name}-bridge") as js:
        bridge = Bridge(js)
        log.info("bridge: from %s into the cluster", source.name)
        working = asyncio.create_task(_bridge(source, bridge), name="bridge")
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if working.done():
            await working
        working.cancel()
        await asyncio.wait({working}, timeout=_STOP_S)  # what was not acknowledged is delivered to the next bridge
        log.info("bridge: stored %d blocks, refused %d", bridge.stored, bridge.refused)


async def _bridge(source: MqttSource, bridge: Bridge) -> None:
    room = asyncio.Semaphore(_UNDER_WAY)

    async def store(delivery: Delivery) -> None:
        # What is early takes no room: a hole in one stream is nothing to the others.
        await bridge.store(delivery.messages, delivery.patience_s, room.release)
        if delivery.acknowledge:
            delivery.acknowledge()

    async with asyncio.TaskGroup() as group:
        async for delivery in source.deliveries():
            await room.acquire()
            group.create_task(store(delivery))
