"""A whole cluster on this machine: servers, workers, a bridge, a fleet of senders, and some of them killed.

What it shows is that nothing is lost by that, and how long it takes until somebody goes on. Everything lives in a
temporary folder, on the loopback, and ends with this process.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import random
import statistics
import sys
import tempfile
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiomqtt
import msgspec

from monitor.cluster.audit import audit, count_blocks, settled
from monitor.cluster.fleet import fleets, send
from monitor.cluster.jetstream import JetStream, Refused, Unanswered, connected
from monitor.cluster.layout import (
    RESULTS,
    SAMPLES,
    blocks_subject,
    count_partitions,
    make_streams,
    results_subject,
)
from monitor.cluster.nodes import Child, Node, make_nodes
from monitor.cluster.partition import Commit
from monitor.config import Config
from monitor.core.errors import MonitorError
from monitor.inference import Model

NODES = WORKERS = 3
KINDS = ("worker", "server", "bridge")
"""What is killed."""
_REDELIVERY_S = 30.0
"""So long may a broker take whose servers are killed, on a machine that has other things to do."""
_START_S = 30.0
_LOOK_S = 0.02


@dataclass
class Stage:
    """What runs."""

    nodes: list[Node]
    workers: list[Child]
    bridge: Child
    config: Config

    def kinds(self, what: str) -> Sequence[Child]:
        """All of a kind."""
        kinds: dict[str, Sequence[Child]] = {
            "worker": self.workers,
            "server": self.nodes,
            "bridge": [self.bridge],
        }
        return kinds[what]


def _monitor(name: str, folder: Path, *arguments: str) -> Child:
    return Child(name, [sys.executable, "-m", "monitor", *arguments, "--child", str(os.getpid())], folder)


def _flags(config: Config) -> list[str]:
    """What differs from the defaults, as options."""
    cluster, mqtt = config.cluster, config.mqtt
    settings = {
        "cluster.servers": json.dumps(cluster.servers),
        "cluster.partitions": cluster.partitions,
        "cluster.replicas": cluster.replicas,
        "inference.mode": config.inference.mode,
        "mqtt.host": mqtt.host,
        "mqtt.port": mqtt.port,
        "mqtt.alternatives": json.dumps(mqtt.alternatives),
        "mqtt.reconnect_max_s": mqtt.reconnect_max_s,
        "mqtt.redelivery_s": mqtt.redelivery_s,
    }
    return [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]


@contextlib.asynccontextmanager
async def staged(config: Config, folder: Path) -> AsyncIterator[tuple[Stage, JetStream]]:
    """Servers, workers and bridge, running."""
    nodes = make_nodes(NODES, folder)
    listeners = tuple(f"127.0.0.1:{node.mqtt}" for node in nodes)
    config = msgspec.structs.replace(
        config,
        cluster=msgspec.structs.replace(config.cluster, servers=tuple(node.url for node in nodes), replicas=NODES),
        mqtt=msgspec.structs.replace(
            config.mqtt,
            host="127.0.0.1",
            port=nodes[1].mqtt,
            alternatives=(listeners[2], listeners[0]),
            reconnect_max_s=0.5,
            redelivery_s=_REDELIVERY_S,
        ),
    )
    flags = _flags(config)
    workers = [
        _monitor(f"worker-{n + 1}", folder, "worker", "--name", f"worker-{n + 1}", *flags) for n in range(WORKERS)
    ]
    bridge = _monitor("bridge", folder, "cluster", "bridge", *flags)
    stage = Stage(nodes, workers, bridge, config)
    try:
        await asyncio.gather(*(node.start() for node in nodes))
        async with contextlib.AsyncExitStack() as held:
            js = await _first_connection(held, config)
            await asyncio.gather(*(child.start() for child in (*workers, bridge)))
            await _until(lambda: "mqtt: connected" in bridge.said(), "the bridge", bridge)
            yield stage, js
    finally:
        await asyncio.gather(*(child.stop() for child in (bridge, *workers)))
        await asyncio.gather(*(node.stop() for node in nodes))


async def _first_connection(held: contextlib.AsyncExitStack, config: Config) -> JetStream:
    deadline = time.monotonic() + _START_S
    while True:
        try:
            js = await held.enter_async_context(connected(config.cluster, "demo"))
            await make_streams(js, config.cluster)
        except MonitorError:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.1)
        else:
            return js


async def _until(condition: Callable[[], bool], what: str, child: Child) -> None:
    deadline = time.monotonic() + _START_S
    while not condition():
        if time.monotonic() > deadline:
            raise MonitorError(f"{what} did not come up:\n{child.said()[-1000:]}")
        await asyncio.sleep(0.05)


class _Waits:
    """How long blocks that are stored wait for their commit; and how long none are stored at all."""

    def __init__(self, js: JetStream, partitions: int) -> None:
        self._js = js
        self._seen: list[deque[tuple[int, float]]] = [deque() for _ in range(partitions)]
        """Of each partition, places that are not yet committed, and when they were first seen."""
        self._newest = [0] * partitions
        self._stored_s = time.monotonic()
        self._longest = self._silent = 0.0

    async def watch(self) -> None:
        while True:
            await asyncio.gather(*(self._look(number) for number in range(len(self._seen))))
            self._silent = max(self._silent, time.monotonic() - self._stored_s)
            await asyncio.sleep(_LOOK_S)

    async def _look(self, number: int) -> None:
        seen = self._seen[number]
        with contextlib.suppress(Unanswered, Refused):
            last = await self._js.last(SAMPLES, blocks_subject(number))
            if last and last.seq > self._newest[number]:
                self._newest[number], self._stored_s = last.seq, time.monotonic()
                seen.append((last.seq, self._stored_s))
            newest = await self._js.last(RESULTS, results_subject(number))
            position = msgspec.msgpack.decode(newest.data, type=Commit).position if newest else 0
            while seen and seen[0][0] <= position:
                self._longest = max(self._longest, time.monotonic() - seen.popleft()[1])
        if seen:
            self._longest = max(self._longest, time.monotonic() - seen[0][1])

    def take(self) -> tuple[float, float]:
        """The longest of both since the last call."""
        found = round(self._longest, 2), round(self._silent, 2)
        self._longest = self._silent = 0.0
        return found


async def run_demo(
    config: Config,
    models: dict[str, Model],
    *,
    seconds: float,
    streams: int,
    rounds: int = 1,
    seed: int = 0,
    tell: Callable[[str], None],
) -> dict[str, Any]:
    """Run it; what came of it. Every line that `tell` is given says what happened just now."""
    rng = random.Random(seed)  # noqa: S311 no secret
    _expect_kills()
    with tempfile.TemporaryDirectory(prefix="foretrace-") as name:
        async with staged(config, Path(name)) as (stage, js):
            tell(f"{NODES} servers, {WORKERS} workers, a bridge; {streams} streams for {seconds:g} s over MQTT")
            waits = _Waits(js, await count_partitions(js))
            watching = asyncio.create_task(waits.watch())
            sending = asyncio.gather(*(send(stage.config.mqtt, blocks) for blocks in fleets(streams, seconds)))
            turn_s = seconds / (3 * rounds + 2)
            await asyncio.sleep(turn_s)
            calm = waits.take()
            after = {what: list[tuple[float, float]]() for what in KINDS}
            for _ in range(rounds):
                for what in rng.sample(KINDS, len(KINDS)):
                    victim = rng.choice(stage.kinds(what))
                    await victim.kill()
                    tell(f"killed {victim.name}")
                    await asyncio.sleep(turn_s)
                    after[what].append(waits.take())
                    await victim.start()
            sent = sum(await sending)
            await settled(js, sent)
            watching.cancel()
            tell("comparing with one engine that is given everything at once")
            counted = await audit(js, stage.config, models)
            blocks = await count_blocks(js)
    found: dict[str, Any] = {"calm_s": calm, "killed_s": after}
    found.update(sent_blocks=sent, stored_blocks=blocks)
    found.update(msgspec.to_builtins(counted))
    return found


def _expect_kills() -> None:
    """What senders' clients have to say of it is no news."""
    logging.getLogger("mqtt").addHandler(logging.NullHandler())

    def complain(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if not isinstance(context.get("exception"), aiomqtt.MqttError):
            loop.default_exception_handler(context)

    asyncio.get_running_loop().set_exception_handler(complain)


def table(found: dict[str, Any]) -> str:
    """For people."""
    after = found["killed_s"].items()
    rows = (
        ("blocks sent, stored", f"{found['sent_blocks']}, {found['stored_blocks']}"),
        ("missing, doubled, out of order", f"{found['missing']}, {found['doubled']}, {found['out_of_order']}"),
        ("events and changes of alarms", f"{found['told']}, {found['differing']} of them not as without faults"),
        ("commits", str(found["commits"])),
        ("a stored block waits, nothing killed", f"{found['calm_s'][0]:.2f} s at most"),
        *((f"  {len(some)} x a {what} killed", _spread([s for s, _ in some])) for what, some in after),
        ("no block is stored, nothing killed", f"{found['calm_s'][1]:.2f} s at most"),
        *((f"  {len(some)} x a {what} killed", _spread([s for _, s in some])) for what, some in after),
    )
    return "\n".join(f"{what:46} {value}" for what, value in rows)


def _spread(seconds: list[float]) -> str:
    return f"{statistics.median(seconds):.2f} s in the median, {max(seconds):.2f} s at most"
