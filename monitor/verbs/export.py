"""`monitor alarms export`: what people said of alarms and signals, for who trains on it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import click

from monitor.commandline import NewFile


@click.command()
@click.option("--labels", is_flag=True, expose_value=False, help="As labels to learn from; that is all there is.")
@click.option("--stream", default="", help="Only of this stream.")
@click.option("--out", type=NewFile(), help="Write here; else to stdout.")
@click.pass_obj
def export(daemon: tuple[str, Any], stream: str, out: Path | None) -> None:
    """Write verdicts and notes as labels, a line of JSON each, for `training fit --labels`.

    Each says what stands from when to when in which stream; the samples are what `monitor record` wrote meanwhile.
    """
    lines = asyncio.run(exported(*daemon, stream))
    text = "".join(f"{line}\n" for line in lines)
    if out is None:
        click.echo(text, nl=False)
        return
    out.write_text(text, encoding="utf-8")
    click.echo(f"{len(lines)} labels in {out}", err=True)


async def exported(control: str, keys: Any, stream: str) -> list[str]:
    """The labels of all that was said of `stream`, or of all streams: a line each."""
    from monitor.control import Client, GetNotes, GetWhy, Why
    from monitor.core.blocks import Note
    from monitor.core.errors import MonitorError, Unreachable
    from monitor.labels import label_of_note, labels_of_alarm, lines_of

    found = []
    async with Client(control, keys=keys) as client:
        for note in await client.ask(GetNotes(stream, 100_000), list[Note]):
            if not note.alarm:
                found.append(label_of_note(note))
                continue
            try:
                why = await client.ask(GetWhy(note.alarm), Why)
            except Unreachable:
                raise
            except MonitorError:
                continue  # too long ago: the alarm is no longer kept
            found += labels_of_alarm(why.alarm, why.events, note)
    return list(lines_of(found))
