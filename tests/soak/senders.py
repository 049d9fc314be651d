"""The senders of the soak: many streams in real time over three ways, none of which gives up."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter, deque

import aiomqtt

from monitor.core.blocks import NS, Block
from monitor.core.signals import NoisySine
from monitor.core.wire import encode_block
from monitor.outlets import Outlet, open_outlet

RATE_HZ = 50.0
BLOCK = 25
T0_NS = 1_700_000_000 * NS


class Fleet:
    """Streams of one way: what each has sent, and blocks that wait to be sent."""

    def __init__(self, way: str, count: int, seed: int):
        self.way = way
        self.sent: Counter[str] = Counter()
        self.waiting: deque[tuple[str, bytes]] = deque()
        self._woken = asyncio.Event()
        self._signals = {f"sine/{way}-{i}": NoisySine(seed=seed + i, spikes_per_minute=10.0) for i in range(count)}

    def make(self):
        """The next block of every stream."""
        for stream, signal in self._signals.items():
            seq = self.sent[stream]
            values = signal.next(BLOCK)[0]
            t0_ns = T0_NS + round(seq * NS / RATE_HZ)
            self.waiting.append((stream, encode_block(Block(stream, values, "soak", seq, t0_ns, RATE_HZ))))
            self.sent[stream] += BLOCK
        self._woken.set()

    async def next(self) -> tuple[str, bytes]:
        """The oldest block that waits; it stays until `done`."""
        while not self.waiting:
            self._woken.clear()
            await self._woken.wait()
        return self.waiting[0]

    def done(self):
        self.waiting.popleft()


async def over(fleet: Fleet, outlet: Outlet):
    """Send for ever; what cannot be sent at once waits."""
    while True:
        stream, payload = await fleet.next()
        await outlet.send(stream, payload)
        fleet.done()


async def over_zeromq(fleet: Fleet, to: str):
    async with open_outlet(to, "signals") as outlet:
        await over(fleet, outlet)


async def over_mqtt(fleet: Fleet, port: int):
    """A device that keeps a block until the broker has it, and connects again when it must."""
    while True:
        with contextlib.suppress(aiomqtt.MqttError):
            async with aiomqtt.Client("127.0.0.1", port, timeout=3) as client:
                while True:
                    stream, payload = await fleet.next()
                    await client.publish(f"signals/{stream}/samples", payload, qos=1)
                    fleet.done()
        await asyncio.sleep(0.2)
