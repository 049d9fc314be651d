"""`monitor simulate`, and what it shares with `monitor replay`: both are senders to ZeroMQ or MQTT."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
import msgspec

from monitor.commandline import NewFile
from monitor.core.blocks import is_stream_name
from monitor.core.ecg_rhythm import FAULTS, RHYTHMS, Episode, Pace
from monitor.core.errors import ConfigError
from monitor.verbs.options import child_option, key_option, run_to_the_end

if TYPE_CHECKING:
    from monitor.core.signals import Signal
    from monitor.faults import Due, Toll
    from monitor.senders import Sent

F = TypeVar("F", bound=Callable[..., Any])


def sender_options(command: F) -> F:
    """Where to, how fast, how long, and with which keys."""
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


def _episodes(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> list[Episode]:
    """KIND@START+LENGTH, in seconds."""
    episodes = []
    for value in values:
        kind, _at, times = value.partition("@")
        start, _plus, length = times.partition("+")
        try:
            episodes.append(msgspec.convert({"kind": kind, "at_s": float(start), "for_s": float(length)}, Episode))
        except (ValueError, msgspec.ValidationError):
            raise click.BadParameter(
                f"expected KIND@START+LENGTH in seconds, KIND of {', '.join((*RHYTHMS, *FAULTS))}, got {value!r}"
            ) from None
    return episodes


def _pace(_: click.Context, __: click.Parameter, value: str | None) -> Pace | None:
    """BPM, or BPM@SECONDS,BPM@SECONDS,..."""
    if value is None:
        return None
    try:
        if "@" not in value:
            return float(value)
        points = (point.partition("@") for point in value.split(","))
        return [(float(at_s), float(bpm)) for bpm, _at, at_s in points]
    except ValueError:
        raise click.BadParameter(
            f"expected beats a minute, or BPM@SECONDS,BPM@SECONDS with straight lines between, got {value!r}"
        ) from None


_KINDS = {
    "noisy-sine": "sine/1",
    "long-dependency": "sine/1",
    "ecg": "ecg/simulated",
    "vital-sign": "vital/1",
}
"""What can be simulated, and what the stream is called unless told otherwise."""


@click.command()
@click.argument("kind", type=click.Choice(list(_KINDS)), default="noisy-sine")
@sender_options
@click.option("--seed", type=int, default=0, show_default=True)
@click.option(
    "--rate", "rate_hz", type=click.FloatRange(0, min_open=True), help="In Hz; 50, ecg 360, vital-sign 1."
)
@click.option("--noise", type=click.FloatRange(0), help="Standard deviation; 0.1, ecg 0.01 (mV), vital-sign 0.25.")
@click.option("--spikes", "spikes_per_minute", type=click.FloatRange(0), help="noisy-sine: spikes a minute.")
@click.option(
    "--bpm", "heart_rate_bpm", metavar="BPM", callback=_pace,
    help="ecg: heart rate, 70; or one that changes: 70@60,150@300 rises from the 60th to the 300th second.",
)  # fmt: skip
@click.option(
    "--pvcs", "pvcs_per_minute", type=click.FloatRange(0), help="ecg: premature ventricular beats a minute."
)
@click.option("--svcs", "svcs_per_minute", type=click.FloatRange(0), help="ecg: the same, supraventricular.")
@click.option("--paced", is_flag=True, default=None, help="ecg: by a pacemaker.")
@click.option(
    "--episode",
    "episodes",
    multiple=True,
    metavar="KIND@START+LENGTH",
    callback=_episodes,
    help=f"ecg: {', '.join((*RHYTHMS, *FAULTS))}; in seconds, e.g. bigeminy@30+20. May be given again.",
)
@click.option("--drift-at", "drift_at_s", type=click.FloatRange(0), help="vital-sign: begins to sink then, in s.")
@click.option("--drift", "drift_per_minute", type=float, help="vital-sign: by so much a minute; -2.")
@click.option(
    "--stale-at", "stale_at_s", type=click.FloatRange(0), help="vital-sign: repeats itself from then on."
)
@click.option("--stale-for", "stale_s", type=click.FloatRange(0, min_open=True), help="vital-sign: so long; 60 s.")
@click.option("--to-csv", "csv", type=NewFile(), help="Write it here with its labels; send nothing.")
def simulate(
    kind: str, stream: str, block_samples: int, seconds: float | None, csv: Path | None, **how: Any
) -> None:
    """Send a simulated signal, or write it to a file; ends with one line of JSON: what was sent or written."""
    from monitor.faults import Faults, Toll, with_faults
    from monitor.recordings_csv import write_signal
    from monitor.senders import blocks_of, signal_values

    settings = {name: how.pop(name) for name in _SETTINGS}
    source = open_simulation(kind, {name: value for name, value in settings.items() if value not in (None, [])})
    samples = None if seconds is None else round(seconds * source.rate_hz)
    if csv is not None:
        if samples is None:
            raise ConfigError("--to-csv: how long? give --for SECONDS")
        write_signal(csv, source, samples)
        click.echo(msgspec.json.encode({"file": str(csv), "samples": samples}).decode())
        return
    blocks = blocks_of(
        signal_values(source, block_samples),
        stream=stream or _KINDS[kind],
        rate_hz=source.rate_hz,
        channels=source.channels,
        unit=source.unit,
        t0_ns=time.time_ns(),
        samples=samples,
    )
    toll = Toll()
    post(with_faults(blocks, Faults(), toll), toll, **how)


_SETTINGS = (
    "seed", "rate_hz", "noise", "spikes_per_minute", "heart_rate_bpm", "pvcs_per_minute", "svcs_per_minute",
    "paced", "episodes", "drift_at_s", "drift_per_minute", "stale_at_s", "stale_s",
)  # fmt: skip


def open_simulation(kind: str, settings: dict[str, Any]) -> Signal:
    """The simulated signal `kind`; raises ConfigError for a setting it does not have."""
    from monitor.core.ecg import Ecg
    from monitor.core.signals import LongDependency, NoisySine
    from monitor.core.vitals import VitalSign

    made: dict[str, Any] = {
        "noisy-sine": NoisySine,
        "long-dependency": LongDependency,
        "ecg": Ecg,
        "vital-sign": VitalSign,
    }
    known = inspect.signature(made[kind]).parameters
    for name in settings:
        if name not in known:
            raise ConfigError(f"{kind} has no {name}; it knows {', '.join(set(known) & set(_SETTINGS))}")
    signal: Signal = made[kind](**settings)
    return signal


def post(
    blocks: Iterator[Due],
    toll: Toll,
    *,
    to: str,
    prefix: str,
    speed: float,
    keys: Any,
    ca_file: str,
    password_file: str,
    parent: int | None,
    around: Callable[[list[Sent]], AbstractAsyncContextManager[None]] | None = None,
) -> None:
    """Send, and print what was sent; `around` is entered before, and left after it was told what was sent."""
    from monitor.config import Mqtt
    from monitor.outlets import open_outlet
    from monitor.senders import send_due

    password = os.environ.get("MONITOR_MQTT__PASSWORD", "")
    mqtt = Mqtt(tls=bool(ca_file), ca_file=ca_file, password_file=password_file, password=password)

    def say(text: str) -> None:
        click.echo(f"monitor: {text}", err=True)

    async def work() -> None:
        loop = asyncio.get_running_loop()
        sent: list[Sent] = []
        async with around(sent) if around else contextlib.nullcontext():
            async with open_outlet(to, prefix, keys, mqtt, say) as outlet:
                sending = asyncio.create_task(send_due(blocks, outlet, speed=speed, toll=toll))
                for number in (signal.SIGINT, signal.SIGTERM):
                    loop.add_signal_handler(number, sending.cancel)
                sent.append(await sending)
            click.echo(msgspec.json.encode(sent[0]).decode())

    run_to_the_end(work(), parent)
