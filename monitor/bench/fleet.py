"""A fleet of streams in a process of its own: `python -m monitor.bench.fleet ADDRESS JSON`.

It sends an invented electrocardiogram as so many streams, each a little later than the one before it, at their own
speed, and says on stdout, in one line of JSON, what it sent and how late it was itself: a sender that cannot keep
up would make the daemon look good.
"""

from __future__ import annotations

import sys
import time

import msgspec
import numpy as np
import zmq

from monitor.core.blocks import NS, Block, Floats
from monitor.core.wire import encode_block


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """What to send."""

    streams: int
    seconds: float
    """To send for."""
    rate_hz: float = 360.0
    block_samples: int = 36
    speed: float = 1.0
    prefix: str = "signals"
    group: str = "ecg"
    """First level of the streams' names."""
    unit: str = "mV"
    tick_s: float = 0.01


class Sent(msgspec.Struct, frozen=True):
    """What was sent."""

    streams: int
    samples: int
    blocks: int
    seconds: float
    """That it took."""
    late_s: float
    """By how much the last block was late."""
    cpu_s: float


def heartbeat(rate_hz: float, seconds: float = 60.0) -> Floats:
    """An invented electrocardiogram (time,): P wave, QRS complex and T wave, 70 times a minute, with noise."""
    random = np.random.default_rng(0)
    t = np.arange(round(seconds * rate_hz)) / rate_hz
    phase = np.mod(t * 70 / 60, 1.0)
    waves = ((0.12, 0.02, 0.15), (0.27, 0.008, -0.12), (0.3, 0.011, 1.1), (0.33, 0.01, -0.25), (0.55, 0.05, 0.3))
    values = sum(height * np.exp(-0.5 * ((phase - at) / width) ** 2) for at, width, height in waves)
    noisy: Floats = (values + 0.02 * random.standard_normal(len(t))).astype(np.float32)
    return noisy


def send(address: str, load: Load) -> Sent:
    """Send everything, each block when its last sample has happened."""
    socket: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.XPUB)
    socket.set(zmq.SNDHWM, 0)  # what the receiver cannot take waits here: it is never dropped on our side
    socket.set(zmq.RECONNECT_IVL, 10)
    socket.connect(address)
    socket.recv()  # its subscription
    wave = heartbeat(load.rate_hz)[:, None]
    block_s = load.block_samples / load.rate_hz / load.speed
    blocks = max(round(load.seconds / block_s), 1)
    names = [f"{load.group}/{i}" for i in range(load.streams)]
    topics = [f"{load.prefix}/{name}/samples".encode() for name in names]
    # Streams do not send in step: within the time of a block, each has its own moment.
    moments = [block_s * i / load.streams for i in range(load.streams)]
    t0_ns = time.time_ns()
    began = time.monotonic()
    late_s = 0.0
    for nth in range(blocks):
        seq = nth * load.block_samples
        i = 0
        while i < load.streams:
            now = time.monotonic() - began
            while i < load.streams and (due := (nth + 1) * block_s + moments[i]) <= now:
                at = (seq + 997 * i) % (len(wave) - load.block_samples)
                values = wave[at : at + load.block_samples]
                at_ns = t0_ns + round((moments[i] * load.speed + seq / load.rate_hz) * NS)
                block = Block(names[i], values, "bench", seq, at_ns, load.rate_hz, ("I",), load.unit)
                socket.send_multipart((topics[i], encode_block(block)))
                late_s = now - due
                i += 1
            if i < load.streams:
                time.sleep(load.tick_s)
    took = time.monotonic() - began
    socket.close(linger=30_000)
    zmq.Context.instance().term()  # returns when everything has left
    total = load.streams * blocks
    return Sent(load.streams, total * load.block_samples, total, took, late_s, time.process_time())


if __name__ == "__main__":
    told = send(sys.argv[1], msgspec.json.decode(sys.argv[2], type=Load))
    sys.stdout.write(msgspec.json.encode(told).decode() + "\n")
