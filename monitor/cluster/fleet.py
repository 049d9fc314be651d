"""A fleet of devices that speak MQTT, for the demo and the measurements: each block until it is acknowledged."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import aiomqtt

from monitor.broker import open_client
from monitor.config import Mqtt
from monitor.core.wire import encode_block
from monitor.faults import Due
from monitor.recordings import read_recording
from monitor.senders import fleet_of

_RETRY_S = 0.2
_CHANGE = aiomqtt.MqttError, OSError


def fleets(streams: int, seconds: float) -> list[Iterator[Due]]:
    """Half of the streams are ECGs, half are sines; their blocks last a fifth of a second."""
    found = []
    for recording, name in (("ecg-rhythms", "ecg/fleet"), ("noisy-sine", "sine/fleet")):
        read = read_recording(recording, None)
        found.append(
            fleet_of(
                read,
                max(streams // 2, 1),
                round(read.rate_hz / 5),
                stream=name,
                t0_ns=time.time_ns(),
                samples=round(seconds * read.rate_hz),
            )
        )
    return found


async def send(mqtt: Mqtt, blocks: Iterator[Due], prefix: str = "signals") -> int:
    """Send each block when it is due, again and elsewhere where it is not acknowledged; how many there were."""
    began, count = time.monotonic(), 0
    due = next(blocks, None)
    for listener in mqtt.listeners():
        try:
            async with open_client(listener, "", clean=True) as client:
                while due is not None:
                    due_s, block = due
                    await asyncio.sleep(max(began + due_s - time.monotonic(), 0))
                    await client.publish(f"{prefix}/{block.stream}/samples", encode_block(block), qos=1, timeout=3)
                    due, count = next(blocks, None), count + 1
        except _CHANGE:
            await asyncio.sleep(_RETRY_S)
        if due is None:
            break
    return count
