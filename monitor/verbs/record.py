"""`monitor record`: what a daemon takes in, as files."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from pathlib import Path
from typing import Any

import click
import msgspec

from monitor.verbs.options import child_option, control_option, feed_option, key_option, run_to_the_end


@click.command()
@click.argument("streams", nargs=-1)
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), default=Path(), help="Folder to record into; here."
)
@click.option("--format", "form", type=click.Choice(["wfdb", "edf", "csv"]), default="wfdb", show_default=True)
@click.option(
    "--for", "seconds", type=click.FloatRange(0, min_open=True), help="So many seconds; else until told."
)
@feed_option
@click.option(
    "--on", "switch", flag_value="on", help="Have the daemon record, into its record.folder, until --off."
)
@click.option("--off", "switch", flag_value="off", help="Have the daemon end that.")
@control_option
@click.option("--prefix", default="signals", show_default=True, help="First level of the topics.")
@key_option
@child_option
def record(
    streams: tuple[str, ...],
    out: Path,
    form: Any,
    seconds: float | None,
    feed: str,
    switch: str | None,
    control: str,
    prefix: str,
    keys: Any,
    parent: int | None,
) -> None:
    """Record STREAMS (shell patterns; all without any) until interrupted.

    Each becomes a file of its own, with its gaps, and what was flagged as annotations: a WFDB record (beats and
    alarms in NAME.atr), an EDF+ or a CSV file. Samples that a daemon could not deliver in time are gaps as well.
    Ends with one line of JSON: what was recorded.
    """
    if switch is not None:
        asyncio.run(_switch(control, keys, (streams or ("*",)) if switch == "on" else ()))
        return
    from monitor.recorder import Recorder
    from monitor.recording import Recording

    recorder = Recorder(out, form, streams or ("*",))

    async def work() -> None:
        recording = Recording(recorder, feed, control, prefix, keys)
        running = asyncio.create_task(recording.run())
        telling = asyncio.create_task(_tell(recording.ready, out))
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, running.cancel)
        try:
            with contextlib.suppress(TimeoutError, asyncio.CancelledError):
                async with asyncio.timeout(seconds):
                    await running
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from group
        finally:
            telling.cancel()
            recorded = recording.close()
        click.echo(msgspec.json.encode(recorded).decode())

    run_to_the_end(work(), parent)


async def _switch(control: str, keys: Any, streams: tuple[str, ...]) -> None:
    from monitor.control import Client, GetAlarms, GetStatus, Overview, Record
    from monitor.core.blocks import Alarm
    from monitor.core.errors import MonitorError

    async with Client(control, keys=keys) as client:
        await client.ask(Record(streams), list[str])
        while (await client.ask(GetStatus(), Overview)).status.recorded != streams:
            for alarm in await client.ask(GetAlarms(active=True, stream="monitor"), list[Alarm]):
                if alarm.label == "record":
                    raise MonitorError(f"nothing is recorded: {alarm.detail}")
            await asyncio.sleep(0.1)
    click.echo(f"recording {' '.join(streams)}" if streams else "nothing is recorded")


async def _tell(ready: asyncio.Event, out: Path) -> None:
    await ready.wait()
    click.echo(f"recording into {out}", err=True)
