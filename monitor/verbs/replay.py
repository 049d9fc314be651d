"""`monitor replay`: a recording as one stream or as many, with faults to order, and a look at what came of it."""

from __future__ import annotations

import contextlib
import functools
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from monitor.commandline import NewFile
from monitor.core.blocks import NS
from monitor.core.errors import ConfigError, RecordingError
from monitor.verbs.options import control_option, feed_option
from monitor.verbs.senders import post, sender_options

if TYPE_CHECKING:
    from monitor.core.expected import Row
    from monitor.faults import Due
    from monitor.recordings import Recording
    from monitor.senders import Sent

Where = tuple[str, str, str, Any]
"""Feed, control, prefix, keys."""


def _gaps(
    _ctx: click.Context, _param: click.Parameter, values: tuple[str, ...]
) -> tuple[tuple[float, float], ...]:
    """START+LENGTH, in seconds."""
    gaps = []
    for value in values:
        start, _, length = value.partition("+")
        try:
            gaps.append((float(start), float(length)))
        except ValueError:
            raise click.BadParameter(f"expected START+LENGTH in seconds, got {value!r}") from None
    return tuple(gaps)


@click.command()
@click.argument("recording")
@sender_options
@click.option("--rate", "rate_hz", type=click.FloatRange(0, min_open=True), help="Of a CSV without times, in Hz.")
@click.option("--from", "start_s", type=click.FloatRange(0), default=0.0, help="Begin so many seconds in.")
@click.option("--loop", is_flag=True, help="Begin again at the end.")
@click.option("--own-times", is_flag=True, help="Samples keep the times they were recorded at; else it is now.")
@click.option("--labels", type=NewFile(), help="Write here, a line of JSON each, labels sent by.")
@click.option("--fleet", type=click.IntRange(1, 100_000), help="So many streams, each from a random place on.")
@click.option("--drop", type=click.FloatRange(0, 1), default=0.0, help="Share of the blocks that get lost.")
@click.option("--duplicate", type=click.FloatRange(0, 1), default=0.0, help="Share of the blocks that come twice.")
@click.option(
    "--jitter", "jitter_s", type=click.FloatRange(0), default=0.0, help="Blocks come up to so many s late."
)
@click.option(
    "--gap", "gaps", multiple=True, metavar="START+LENGTH", callback=_gaps, help="Leave out, in seconds."
)
@click.option("--seed", type=int, default=0, show_default=True, help="Decides the places and the faults.")
@click.option("--verify", type=click.Path(dir_okay=False), metavar="EXPECTED", help="Compare what it causes.")
@click.option("--events", type=NewFile(), help="Write what it causes here, for a later --verify.")
@click.option("--tolerance", type=click.FloatRange(0), default=1e-5, show_default=True, help="Of scores.")
@feed_option
@control_option
def replay(
    recording: str,
    stream: str,
    block_samples: int,
    seconds: float | None,
    rate_hz: float | None,
    start_s: float,
    loop: bool,
    own_times: bool,
    labels: Path | None,
    fleet: int | None,
    drop: float,
    duplicate: float,
    jitter_s: float,
    gaps: tuple[tuple[float, float], ...],
    seed: int,
    verify: str | None,
    events: Path | None,
    tolerance: float,
    feed: str,
    control: str,
    **how: Any,
) -> None:
    """Send RECORDING: a WFDB record, an EDF or CSV file, what `monitor record` wrote, or one that comes with us.

    These are "toy", five minutes of a real ECG, and the sample streams: "noisy-sine", "ecg-rhythms" and others.

    Ends with one line of JSON: what was sent. With --verify the exit code is 1 when the daemon said anything else
    than EXPECTED; the stream then gets a name nobody had before, for a stream that is known is judged by its past.
    """
    from monitor.faults import Faults, Toll, with_faults, without_gaps
    from monitor.recordings import read_recording
    from monitor.senders import blocks_of, fleet_of, recording_values

    read = read_recording(recording, rate_hz)
    t0_ns = read.start_ns if own_times else time.time_ns()
    name = stream or f"ecg/{read.name}"
    samples = None if seconds is None else round(seconds * read.rate_hz)
    faults = Faults(drop=drop, duplicate=duplicate, jitter_s=jitter_s, gaps=gaps, seed=seed)
    witnessed = verify is not None or events is not None
    if fleet and (witnessed or loop or labels or start_s):
        raise ConfigError("--fleet goes on for ever from random places: --verify, --events, --labels, --from, no")
    if witnessed and loop and samples is None:
        raise ConfigError("--verify, --events: a --loop needs an end; give --for SECONDS")
    toll = Toll()
    if fleet:
        sending = fleet_of(
            read, fleet, block_samples,
            stream=name, t0_ns=t0_ns, seed=seed, samples=samples, faults=faults, toll=toll,
        )  # fmt: skip
        post(sending, toll, **how)
        return
    name += f"-{uuid.uuid4().hex[:6]}" if witnessed else ""
    pieces = recording_values(read, block_samples, start_s=start_s, loop=loop)
    blocks = blocks_of(
        pieces,
        stream=name,
        rate_hz=read.rate_hz,
        channels=read.channels,
        unit=read.unit,
        t0_ns=t0_ns,
        samples=samples,
    )
    sending = with_faults(without_gaps(blocks), faults, toll)
    if labels:
        sending = _with_labels(sending, read, round(start_s * read.rate_hz), labels)
    around = None
    if witnessed:
        where = (feed, control, str(how["prefix"]), how["keys"])
        conclude = _comparison(verify, events, tolerance)
        around = functools.partial(_witnessed, name, t0_ns, read.rate_hz, conclude, where)
    post(sending, toll, around=around, **how)


def _with_labels(sending: Iterator[Due], recording: Recording, first: int, path: Path) -> Iterator[Due]:
    """The same, and the labels of what is sent into a file, with the data times they were sent under."""
    length, at = len(recording.values), recording.label_samples
    with path.open("w", encoding="utf-8") as file:
        for due_s, block in sending:
            begin = first + (block.seq or 0)
            for turn in range(begin // length, (begin + len(block.values) - 1) // length + 1):
                inside = (at + turn * length >= begin) & (at + turn * length < begin + len(block.values))
                for i in inside.nonzero()[0].tolist():
                    offset = int(at[i]) + turn * length - begin
                    t_ns = (block.t0_ns or 0) + round(offset * NS / recording.rate_hz)
                    row = {"stream": block.stream, "t_ns": t_ns, "label": recording.label_symbols[i]}
                    file.write(msgspec.json.encode(row).decode() + "\n")
            yield due_s, block


@contextlib.asynccontextmanager
async def _witnessed(
    stream: str, t0_ns: int, rate_hz: float, conclude: Callable[[list[Row]], None], where: Where, sent: list[Sent]
) -> AsyncIterator[None]:
    """Listens while something is sent, then gives what was heard to `conclude`."""
    from monitor.core.expected import in_order, is_of_replay, row_of
    from monitor.witness import Witness

    async with Witness(stream, *where) as witness:
        yield
        await witness.hear_out(t0_ns + round((sent[0].samples - 1) * NS / rate_hz), rate_hz)
    conclude(in_order(row_of(notice, t0_ns) for notice in witness.heard if is_of_replay(notice, t0_ns)))


def _comparison(verify: str | None, events: Path | None, tolerance: float) -> Callable[[list[Row]], None]:
    """Writes what was heard to `events`, and raises NotAsExpected when it is not what `verify` says."""
    from monitor.core.expected import differences, parse, text_of
    from monitor.witness import NotAsExpected

    try:
        expected = parse(Path(verify).read_text(encoding="utf-8"), verify) if verify else []
    except (OSError, UnicodeDecodeError) as error:
        raise RecordingError(f"--verify: {verify}: cannot be read ({error})") from error

    def conclude(got: list[Row]) -> None:
        if events:
            events.write_text(text_of(got), encoding="utf-8")
        if verify and (different := differences(got, expected, tolerance)):
            shown = "\n  ".join(different[:20])
            more = f"\n  and {len(different) - 20} more" if len(different) > 20 else ""
            raise NotAsExpected(f"{verify}: {len(different)} differences:\n  {shown}{more}")

    return conclude
