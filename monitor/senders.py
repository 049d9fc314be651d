"""Senders: recordings and simulated signals as blocks, at their own speed, to ZeroMQ or MQTT.

They speak the wire format like any stranger would; nothing in the daemon knows that a stream is a replay.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Protocol

import aiomqtt
import msgspec
import zmq

from monitor.core.blocks import NS, Block, Floats
from monitor.core.errors import ConfigError, Unreachable
from monitor.core.signals import Signal
from monitor.core.windows import seconds_to_samples
from monitor.core.wire import encode_block
from monitor.recordings import Recording
from monitor.sockets import Socket

CONNECT_S = 10.0


class Sent(msgspec.Struct, frozen=True):
    """What a sender sent."""

    stream: str
    run: str
    samples: int
    blocks: int


def recording_values(
    recording: Recording, block_samples: int, *, start_s: float = 0.0, loop: bool = False
) -> Iterator[Floats]:
    """A recording in pieces (time, channel), from `start_s` on; with `loop` it then begins again, for ever."""
    values = recording.values
    first = seconds_to_samples(start_s, recording.rate_hz)
    if first >= len(values):
        length_s = len(values) / recording.rate_hz
        raise ConfigError(f"--from: {recording.name} is {length_s:g} s long, got {start_s:g}")
    starts = itertools.chain([first], itertools.repeat(0)) if loop else [first]
    return (values[at : at + block_samples] for start in starts for at in range(start, len(values), block_samples))


def signal_values(signal: Signal, block_samples: int) -> Iterator[Floats]:
    """A simulated signal in pieces (time, channel), for ever."""
    while True:
        yield signal.next(block_samples)[0]


def blocks_of(
    pieces: Iterator[Floats],
    *,
    stream: str,
    rate_hz: float,
    channels: tuple[str, ...],
    unit: str,
    t0_ns: int,
    samples: int | None = None,
) -> Iterator[Block]:
    """Consecutive blocks of one new run, at most `samples` samples in all."""
    run, seq = uuid.uuid4().hex[:12], 0
    for piece in pieces:
        values = piece if samples is None else piece[: samples - seq]
        if not len(values):
            return
        t_ns = t0_ns + round(seq * NS / rate_hz)
        yield Block(stream, values, run, seq, t_ns, rate_hz, channels, unit)
        seq += len(values)


class Outlet(Protocol):
    """Where a sender sends."""

    async def send(self, stream: str, payload: bytes) -> None:
        """Send one encoded block."""
        ...


@contextlib.asynccontextmanager
async def open_outlet(to: str, prefix: str) -> AsyncIterator[Outlet]:
    """`to` is a ZeroMQ address (tcp://, ipc://) or mqtt://HOST[:PORT]; raises Unreachable when nobody is there."""
    if to.startswith("mqtt://"):
        async with _MqttOutlet.open(to, prefix) as outlet:
            yield outlet
    elif to.startswith(("tcp://", "ipc://")):
        zeromq = _ZeroMQOutlet(to, prefix)
        try:
            await zeromq.wait_for_receiver()
            yield zeromq
        finally:
            zeromq.close()
    else:
        raise ConfigError(f"--to: expected tcp://HOST:PORT, ipc://PATH or mqtt://HOST[:PORT], got {to!r}")


class _ZeroMQOutlet:
    """An XPUB socket: it sees the receiver subscribe, so no first block is lost, and waits when it is full."""

    def __init__(self, address: str, prefix: str) -> None:
        self._address, self._prefix = address, prefix
        self._socket = Socket(zmq.XPUB, connect=address, options={zmq.XPUB_NODROP: 1})

    async def wait_for_receiver(self) -> None:
        try:
            async with asyncio.timeout(CONNECT_S):
                await self._socket.receive()
        except TimeoutError as error:
            self._socket.close()
            raise Unreachable(
                f"no monitor listens at {self._address} (waited {CONNECT_S:g} s); start one with `monitor run`",
            ) from error

    async def send(self, stream: str, payload: bytes) -> None:
        await self._socket.send_waiting(f"{self._prefix}/{stream}/samples".encode(), payload)

    def close(self) -> None:
        self._socket.close_after_sending(2.0)


class _MqttOutlet:
    """Publishes at QoS 1, one acknowledged block after the other."""

    def __init__(self, client: aiomqtt.Client, prefix: str) -> None:
        self._client, self._prefix = client, prefix

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, to: str, prefix: str) -> AsyncIterator[_MqttOutlet]:
        host, _, port = to.removeprefix("mqtt://").rstrip("/").partition(":")
        if not host or not (port.isdecimal() or not port):
            raise ConfigError(f"--to: expected mqtt://HOST[:PORT], got {to!r}")
        try:
            async with aiomqtt.Client(host, int(port or 1883), timeout=CONNECT_S) as client:
                yield cls(client, prefix)
        except aiomqtt.MqttError as error:
            raise Unreachable(f"the broker at {to} does not answer: {error}") from error

    async def send(self, stream: str, payload: bytes) -> None:
        await self._client.publish(f"{self._prefix}/{stream}/samples", payload, qos=1)


async def send(
    blocks: Iterator[Block], outlet: Outlet, *, speed: float, told: Callable[[int], None] | None = None
) -> Sent:
    """Send each block when its last sample has happened, `speed` times as fast as it did; 0 is as fast as it goes.

    `told` hears how many samples are out. Ends early, with what was sent, when the task is cancelled.
    """
    began = time.monotonic()
    sent = Sent("", "", 0, 0)
    with contextlib.suppress(asyncio.CancelledError):
        for block in blocks:
            end = (block.seq or 0) + len(block.values)
            if speed and block.rate_hz:
                await asyncio.sleep(began + end / block.rate_hz / speed - time.monotonic())
            await outlet.send(block.stream, encode_block(block))
            sent = Sent(block.stream, block.run, end, sent.blocks + 1)
            if told:
                told(end)
    return sent
