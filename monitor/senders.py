"""Senders: recordings and simulated signals as blocks, at their own speed, to ZeroMQ or MQTT.

They speak the wire format like any stranger would; nothing in the daemon knows that a stream is a replay.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
import time
import uuid
from collections.abc import Callable, Iterator, Sequence

import msgspec
import numpy as np

from monitor.core.blocks import NS, Block, Floats
from monitor.core.errors import ConfigError
from monitor.core.signals import Signal
from monitor.core.windows import seconds_to_samples
from monitor.core.wire import encode_block
from monitor.faults import Due, Faults, Toll, with_faults, without_gaps
from monitor.outlets import Outlet
from monitor.recordings import Recording

_SOON_S = 0.001
"""A block that is due so soon is sent at once."""
_TURN = 32
"""Blocks sent in a row, before other tasks get their turn."""


class Sent(msgspec.Struct, frozen=True):
    """What a sender sent."""

    stream: str
    run: str
    samples: int
    """Index of the last sample sent + 1, over all streams: what the receiver has, or misses."""
    blocks: int
    streams: int = 1
    dropped: int = 0
    """Samples that were left out on purpose."""
    duplicated: int = 0


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


def fleet_of(
    recording: Recording,
    count: int,
    block_samples: int,
    *,
    stream: str,
    t0_ns: int,
    seed: int = 0,
    samples: int | None = None,
    faults: Faults | None = None,
    toll: Toll | None = None,
) -> Iterator[Due]:
    """`count` streams out of one recording, each from a random place on, round and round; see `merged`."""
    starts = np.random.default_rng(seed).integers(0, len(recording.values), count)
    lanes = []
    for number, start in enumerate(starts.tolist()):
        pieces = recording_values(recording, block_samples, start_s=start / recording.rate_hz, loop=True)
        blocks = blocks_of(
            pieces, stream=f"{stream}-{number + 1:0{len(str(count))}d}", rate_hz=recording.rate_hz,
            channels=recording.channels, unit=recording.unit, t0_ns=t0_ns, samples=samples,
        )  # fmt: skip
        lanes.append(with_faults(without_gaps(blocks), faults or Faults(), toll or Toll(), number=number))
    return merged(lanes, block_samples / recording.rate_hz)


def merged(streams: Sequence[Iterator[Due]], block_s: float) -> Iterator[Due]:
    """Several streams as one, in order; they take turns within a block's time instead of all coming at once."""

    def delayed(blocks: Iterator[Due], by_s: float) -> Iterator[Due]:
        return ((due_s + by_s, block) for due_s, block in blocks)

    staggered = [delayed(blocks, i * block_s / len(streams)) for i, blocks in enumerate(streams)]
    return heapq.merge(*staggered, key=lambda due: due[0])


async def send(
    blocks: Iterator[Block], outlet: Outlet, *, speed: float, told: Callable[[int], None] | None = None
) -> Sent:
    """Send each block when its last sample has happened, see `send_due`."""
    return await send_due(with_faults(blocks, Faults(), Toll()), outlet, speed=speed, told=told)


async def send_due(
    blocks: Iterator[Due],
    outlet: Outlet,
    *,
    speed: float,
    told: Callable[[int], None] | None = None,
    toll: Toll | None = None,
) -> Sent:
    """Send each block when it is due, `speed` times as fast; 0 is as fast as the receiver takes it.

    `told` hears up to where the stream has been sent. Ends early, with what was sent, when the task is cancelled.
    """
    began = time.monotonic()
    ends: dict[str, int] = {}
    stream, run, count = "", "", 0
    with contextlib.suppress(asyncio.CancelledError):
        for due_s, block in blocks:
            if speed and (wait_s := began + due_s / speed - time.monotonic()) > _SOON_S:
                await asyncio.sleep(wait_s)
            elif count % _TURN == 0:
                await asyncio.sleep(0)
            await outlet.send(block.stream, encode_block(block))
            end = (block.seq or 0) + len(block.values)
            stream, run, count = block.stream, block.run, count + 1
            ends[run] = max(ends.get(run, 0), end)
            if told:
                told(end)
    lost = toll.dropped + toll.cut if toll else 0
    doubled = toll.duplicated if toll else 0
    return Sent(stream, run, sum(ends.values()), count, max(len(ends), 1), lost, doubled)
