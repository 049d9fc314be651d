"""Senders: recordings and simulated signals as blocks, at their own speed, to ZeroMQ or MQTT.

They speak the wire format like any stranger would; nothing in the daemon knows that a stream is a replay.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
import uuid
from collections.abc import Callable, Iterator

import msgspec

from monitor.core.blocks import NS, Block, Floats
from monitor.core.errors import ConfigError
from monitor.core.signals import Signal
from monitor.core.windows import seconds_to_samples
from monitor.core.wire import encode_block
from monitor.outlets import Outlet
from monitor.recordings import Recording


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
