"""`monitor worker` and `monitor cluster`: beyond one machine."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import click
import msgspec

from monitor.commandline import Group
from monitor.core.errors import ConfigError
from monitor.verbs.options import as_json, child_option, config_options, configured, run_to_the_end


@click.command()
@config_options
@click.option("--name", default="", help="What it calls itself; HOST-PROCESS when left out.")
@child_option
def worker(path: Path | None, settings: tuple[str, ...], name: str, parent: int | None) -> None:
    """Run a worker of the cluster until Ctrl-C or SIGTERM; as many as you like, on as many machines.

    It finds NATS JetStream at cluster.servers and shares the cluster's partitions with the other workers.
    """
    from monitor.cluster.worker import run_worker
    from monitor.logs import log_to_stderr
    from monitor.reload import load_models

    config, _ = configured(path, settings)
    log_to_stderr(config.log.level, config.log.format)
    models, called = load_models(config), name or f"{socket.gethostname().partition('.')[0]}-{os.getpid()}"
    _until_told(lambda stop: run_worker(config, models, called, stop), parent)


@click.group(cls=Group)
def cluster() -> None:
    """Look at a cluster, bring samples into it, watch what comes out."""


@cluster.command()
@config_options
@as_json
def status(path: Path | None, settings: tuple[str, ...], json_: bool) -> int:
    """Partitions, who has them, and how far behind they are; exit code 1 when one has stalled."""
    from monitor.cluster.jetstream import connected
    from monitor.cluster.status import status as ask
    from monitor.cluster.status import table

    async def asked() -> Any:
        async with connected(configured(path, settings)[0].cluster, "status") as js:
            return await ask(js)

    found = asyncio.run(asked())
    click.echo(msgspec.json.encode(found).decode() if json_ else table(found))
    return int(any(one.stalled for one in found.partitions))


@cluster.command()
@config_options
@child_option
def bridge(path: Path | None, settings: tuple[str, ...], parent: int | None) -> None:
    """Bring samples from the MQTT broker at mqtt.host into the cluster; one bridge for a broker.

    A block is acknowledged to the broker when a majority of the cluster's servers holds it.
    """
    from monitor.cluster.bridge import run_bridge
    from monitor.logs import log_to_stderr

    config, _ = configured(path, settings)
    if not config.mqtt.host:
        raise ConfigError("mqtt.host: expected the broker to bring samples from, got none")
    log_to_stderr(config.log.level, config.log.format)
    _until_told(lambda stop: run_bridge(config, stop), parent)


@cluster.command()
@config_options
@child_option
def serve(path: Path | None, settings: tuple[str, ...], parent: int | None) -> None:
    """Let dashboards and `monitor alarms` see the cluster as they see a daemon (feed.publish, feed.control)."""
    from monitor.cluster.gateway import run_gateway
    from monitor.logs import log_to_stderr
    from monitor.reload import load_models

    config, _ = configured(path, settings)
    log_to_stderr(config.log.level, config.log.format)
    models = load_models(config)
    _until_told(lambda stop: run_gateway(config, models, stop), parent)


@cluster.command()
@config_options
@as_json
@click.option(
    "--for", "seconds", type=click.FloatRange(5, 3600), default=25.0, show_default=True, help="How long."
)
@click.option("--streams", type=click.IntRange(2, 2000), default=24, show_default=True, help="So many streams.")
@click.option("--rounds", type=click.IntRange(1, 100), default=1, show_default=True, help="Of three kills each.")
@click.option("--seed", type=int, default=0, help="Decides who is killed, and in which order.")
def demo(
    path: Path | None,
    settings: tuple[str, ...],
    json_: bool,
    seconds: float,
    streams: int,
    rounds: int,
    seed: int,
) -> int:
    """A whole cluster on this machine, with a worker, a server and the bridge killed on the way.

    Ends with a table of what became of every block, and exit code 1 when anything was lost.
    """
    from monitor.cluster.demo import run_demo
    from monitor.cluster.demo import table as shown
    from monitor.reload import load_models

    config, _ = configured(path, settings)
    for number in (signal.SIGTERM, signal.SIGHUP):  # whoever ends the demo, it cleans up as after Ctrl-C
        signal.signal(number, signal.default_int_handler)
    playing = run_demo(
        config,
        load_models(config),
        seconds=seconds,
        streams=streams,
        rounds=rounds,
        seed=seed,
        tell=lambda line: click.echo(line, err=True),
    )
    found = asyncio.run(playing)
    click.echo(json.dumps(found) if json_ else shown(found))
    return int(any(found[key] for key in ("missing", "doubled", "out_of_order", "differing")))


def _until_told(work: Callable[[asyncio.Event], Coroutine[Any, Any, None]], parent: int | None) -> None:
    """Run `work` with an event that SIGINT and SIGTERM set."""
    from monitor.broker import complain

    async def run() -> None:
        stop, loop = asyncio.Event(), asyncio.get_running_loop()
        loop.set_exception_handler(complain)
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
        await work(stop)

    run_to_the_end(run(), parent)
