"""`monitor alarms` and `monitor reload`: clients of a running daemon."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

import click
import msgspec

from monitor.commandline import Group
from monitor.verbs.export import export
from monitor.verbs.options import as_json, control_option, key_option

if TYPE_CHECKING:
    from monitor.core.blocks import Alarm

T = TypeVar("T")


@click.group(cls=Group, invoke_without_command=True)
@control_option
@as_json
@click.option("--active", is_flag=True, help="Only those that are not over; exit code 4 when there are any.")
@click.option("--stream", default="", help="Only of this stream.")
@click.option("--limit", type=click.IntRange(1, 100_000), default=100, show_default=True)
@key_option
@click.pass_context
def alarms(ctx: click.Context, control: str, json_: bool, active: bool, stream: str, limit: int, keys: Any) -> int:
    """List alarms, newest first."""
    from monitor.control import GetAlarms
    from monitor.core.blocks import Alarm

    if ctx.invoked_subcommand:
        ctx.obj = (control, keys)
        return 0
    found = asyncio.run(_ask(control, keys, GetAlarms(active=active, stream=stream, limit=limit), list[Alarm]))
    _print(found, json_)
    return 4 if active and found else 0


@alarms.command()
@click.argument("alarm_id", metavar="ID|all")
@as_json
@click.pass_obj
def acknowledge(daemon: tuple[str, Any], alarm_id: str, json_: bool) -> int:
    """Acknowledge one alarm, or all."""
    from monitor.control import Acknowledge
    from monitor.core.blocks import Alarm

    which = "" if alarm_id == "all" else alarm_id
    changed = asyncio.run(_ask(*daemon, Acknowledge(which), list[Alarm]))
    if not changed and alarm_id != "all":
        raise click.ClickException(
            f"no open alarm {alarm_id} that is not acknowledged; see `monitor alarms --active`"
        )
    _print(changed, json_)
    return 0


@alarms.command()
@click.argument("alarm_id", metavar="[ID]", default="")
@click.option(
    "--glyphs",
    type=click.Choice(["braille", "quadrant", "half", "ascii"]),
    help="What the plot is drawn with; what the terminal can show by default.",
)
@as_json
@click.pass_obj
def show(daemon: tuple[str, Any], alarm_id: str, glyphs: str | None, json_: bool) -> None:
    """Say why an alarm was raised, the newest without ID: score, model, window, forecast against what came.

    The window is kept with the alarm: it is there when the signal has long gone, and after a restart.
    """
    from monitor.control import GetModels, GetWhy, Why
    from monitor.verbs.why import as_map, default_glyphs, print_why

    why = asyncio.run(_ask(*daemon, GetWhy(alarm_id), Why))
    if json_:
        click.echo(msgspec.json.format(msgspec.json.encode(as_map(why))))
        return
    cards = asyncio.run(_ask(*daemon, GetModels(), list[dict[str, Any]]))
    card = next((c for c in cards if f"{c['name']}@{c['version']}" == why.alarm.model), {})
    print_why(why, card, glyphs_name=glyphs or default_glyphs())


@alarms.command()
@click.argument("seconds", type=click.FloatRange(0, 3600), default=120.0)
@click.pass_obj
def silence(daemon: tuple[str, Any], seconds: float) -> None:
    """Let the alarms that call now be silent for SECONDS; 0 ends it."""
    from monitor.control import Silence

    left_s = asyncio.run(_ask(*daemon, Silence(seconds), float))
    click.echo(f"silent for {left_s:.0f} s" if left_s else "nothing is silenced")


@alarms.command()
@click.argument("per_hour", metavar="PER_HOUR|none|default")
@click.option("--stream", default="*", show_default=True, help="Streams; shell patterns allowed.")
@click.option("--kind", type=click.Choice(["deviation", "class"]), default="deviation", show_default=True)
@click.option("--label", default="*", show_default=True, help="Which class; shell patterns allowed.")
@click.pass_obj
def budget(daemon: tuple[str, Any], per_hour: str, stream: str, kind: Any, label: str) -> None:
    """Allow each stream PER_HOUR alarms an hour: its levels follow from that, after minutes of data.

    none goes back to fixed levels, default to what the configuration says. It is kept over a restart.
    """
    from monitor.control import SetBudget

    try:
        wanted = {"none": 0.0, "default": None}[per_hour] if per_hour in ("none", "default") else float(per_hour)
    except ValueError:
        wanted = -1.0
    if wanted is not None and not 0 <= wanted <= 3600:
        raise click.UsageError(f"PER_HOUR: expected alarms an hour, none or default, got {per_hour}")
    request = SetBudget(wanted, stream, kind, label)
    changed = asyncio.run(_ask(*daemon, request, list[str]))
    if not changed:
        raise click.ClickException(f"no stream {stream} with such alarms yet; [[streams]] may say it before")
    for name in changed:
        click.echo(name)


@alarms.command()
@click.argument("alarm_id", metavar="ID")
@click.argument("verdict", type=click.Choice(["true", "false", "none"]))
@click.argument("text", default="")
@click.pass_obj
def mark(daemon: tuple[str, Any], alarm_id: str, verdict: str, text: str) -> None:
    """Say that an alarm was true or false; none takes it back."""
    from monitor.control import Mark
    from monitor.core.blocks import Note

    wanted: Any = "" if verdict == "none" else verdict
    asyncio.run(_ask(*daemon, Mark(alarm_id, wanted, text), Note))


@alarms.command()
@click.option("--stream", default="", help="Only of this stream.")
@as_json
@click.pass_obj
def notes(daemon: tuple[str, Any], stream: str, json_: bool) -> None:
    """List what was said of alarms and signals, newest first: verdicts and notes, for whoever trains on them."""
    from monitor.control import GetNotes
    from monitor.core.blocks import Note

    found = asyncio.run(_ask(*daemon, GetNotes(stream), list[Note]))
    if json_:
        click.echo(msgspec.json.format(msgspec.json.encode(found)))
        return
    for note in found:
        at = datetime.fromtimestamp(note.t_ns / 1e9, UTC).isoformat(timespec="milliseconds")
        said = f"{note.alarm} was {note.verdict}" if note.alarm else "note"
        click.echo(f"{at}  {note.stream}  {said}  {note.text}".rstrip())


@alarms.command()
@click.argument("priority", type=click.Choice(["low", "medium", "high"]), default="high")
@as_json
@click.pass_obj
def test(daemon: tuple[str, Any], priority: Any, json_: bool) -> None:
    """Raise an alarm that means nothing, to see that alarms arrive; it ends by itself."""
    from monitor.control import TestAlarm
    from monitor.core.blocks import Alarm

    _print([asyncio.run(_ask(*daemon, TestAlarm(priority), Alarm))], json_)


alarms.add_command(export)


@click.command()
@control_option
@key_option
def reload(control: str, keys: Any) -> None:
    """Have the daemon read its configuration and its models again, as SIGHUP does; no sample is lost."""
    from monitor.control import GetStatus, Overview, Reload

    asyncio.run(_ask(control, keys, GetStatus(), Overview))  # who is not there is not waited for as models are
    for line in asyncio.run(_ask(control, keys, Reload(), list[str], timeout_s=30.0)):
        click.echo(line)


async def _ask(control: str, keys: Any, request: Any, kind: type[T], timeout_s: float = 3.0) -> T:
    from monitor.control import Client

    async with Client(control, timeout_s, keys) as client:
        return await client.ask(request, kind)


def _print(found: list[Alarm], json_: bool) -> None:
    if json_:
        click.echo(msgspec.json.format(msgspec.json.encode(found)))
        return
    for alarm in found:
        at = datetime.fromtimestamp(alarm.raised_ns / 1e9, UTC).isoformat(timespec="milliseconds")
        seen = " acknowledged" if alarm.acknowledged else ""
        score = "" if alarm.kind == "signal" else f"{alarm.score:.3g} >= {alarm.threshold:.3g}  "
        line = (
            f"{alarm.id}  {at}  {alarm.priority:6}  {alarm.stream}  {alarm.kind}:{alarm.label}  "
            f"{alarm.state}{seen}  {score}{alarm.model} {alarm.detail}"
        )
        click.echo(line.rstrip())
