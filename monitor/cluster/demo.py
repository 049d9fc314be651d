"""A whole cluster on this machine: servers, workers, a bridge, a fleet of senders, and some of them killed.

What it shows is that nothing is lost by that, and how long it takes until somebody goes on. Everything lives in a
temporary folder, on the loopback, and ends with this process.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from monitor.cluster.audit import audit, settled
from monitor.cluster.fleet import fleets, send
from monitor.cluster.jetstream import JetStream, Refused, Unanswered, connected
from monitor.cluster.layout import RESULTS, SAMPLES, count_partitions, make_streams, results_subject
from monitor.cluster.nodes import Child, Node, make_nodes
from monitor.config import Config
from monitor.core.errors import MonitorError
from monitor.inference import Model

NODES = WORKERS = 3
_START_S = 30.0
_LOOK_S = 0.02


@dataclass
class Stage:
    """What runs."""

    nodes: list[Node]
    workers: list[Child]
    bridge: Child
    config: Config


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
            config.mqtt, host="127.0.0.1", port=nodes[1].mqtt, alternatives=(listeners[2],), reconnect_max_s=0.5
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


class _Pauses:
    """The longest time that each partition went without a commit, since the last look."""

    def __init__(self, js: JetStream, partitions: int) -> None:
        self._js = js
        self._since = dict.fromkeys(range(partitions), time.monotonic())
        self._newest = dict.fromkeys(range(partitions), 0)
        self._longest = 0.0

    async def watch(self) -> None:
        while True:
            await asyncio.gather(*(self._look(number) for number in self._since))
            await asyncio.sleep(_LOOK_S)

    async def _look(self, number: int) -> None:
        newest = self._newest[number]
        with contextlib.suppress(Unanswered, Refused):
            last = await self._js.last(RESULTS, results_subject(number))
            newest = last.seq if last else 0
        now_s = time.monotonic()
        if self._newest[number]:
            self._longest = max(self._longest, now_s - self._since[number])
        if newest != self._newest[number]:
            self._newest[number], self._since[number] = newest, now_s

    def take(self) -> float:
        longest, self._longest = self._longest, 0.0
        return longest


async def run_demo(
    config: Config, models: dict[str, Model], *, seconds: float, streams: int, tell: Callable[[str], None]
) -> dict[str, Any]:
    """Run it; what came of it. Every line that `tell` is given says what happened just now."""
    with tempfile.TemporaryDirectory(prefix="foretrace-") as name:
        async with staged(config, Path(name)) as (stage, js):
            tell(f"{NODES} servers, {WORKERS} workers, a bridge; {streams} streams for {seconds:g} s over MQTT")
            pauses = _Pauses(js, await count_partitions(js))
            watching = asyncio.create_task(pauses.watch())
            sending = asyncio.gather(*(send(stage.config.mqtt, blocks) for blocks in fleets(streams, seconds)))
            await asyncio.sleep(seconds / 5)
            found: dict[str, Any] = {"calm_longest_pause_s": round(pauses.take(), 2)}
            for what, victim in (
                ("worker", stage.workers[0]), ("server", stage.nodes[1]), ("bridge", stage.bridge)
            ):  # fmt: skip
                await victim.kill()
                tell(f"killed {victim.name}")
                await asyncio.sleep(seconds / 5)
                found[f"{what}_killed_longest_pause_s"] = round(pauses.take(), 2)
                await victim.start()
            sent = sum(await sending)
            await settled(js, sent)
            watching.cancel()
            tell("comparing with one engine that is given everything at once")
            counted = await audit(js, stage.config, models)
            blocks = (await js.call(f"STREAM.INFO.{SAMPLES}"))["state"]["messages"]
    found.update(sent_blocks=sent, stored_blocks=blocks)
    found.update(msgspec.to_builtins(counted))
    return found


def table(found: dict[str, Any]) -> str:
    """For people."""
    rows = (
        ("blocks sent, stored", f"{found['sent_blocks']}, {found['stored_blocks']}"),
        ("missing, doubled, out of order", f"{found['missing']}, {found['doubled']}, {found['out_of_order']}"),
        ("events and changes of alarms", f"{found['told']}, {found['differing']} of them not as without faults"),
        ("commits", str(found["commits"])),
        ("longest pause of a partition, nothing killed", f"{found['calm_longest_pause_s']:.2f} s"),
        ("  a worker killed", f"{found['worker_killed_longest_pause_s']:.2f} s"),
        ("  a server killed", f"{found['server_killed_longest_pause_s']:.2f} s"),
        ("  the bridge killed", f"{found['bridge_killed_longest_pause_s']:.2f} s"),
    )
    return "\n".join(f"{what:46} {value}" for what, value in rows)
