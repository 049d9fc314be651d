"""`monitor watch` and `monitor alarms`: clients of a running daemon."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

import click
import msgspec

from monitor.core.errors import ConfigError
from monitor.verbs.options import as_json, key_option

if TYPE_CHECKING:
    from monitor.core.blocks import Alarm

T = TypeVar("T")

CONTROL = "tcp://127.0.0.1:5557"

control_option = click.option(
    "--control",
    default=CONTROL,
    show_default=True,
    envvar="MONITOR_FEED__CONTROL",
    help="Where the daemon answers.",
)


@click.command()
@click.option(
    "--feed",
    default="tcp://127.0.0.1:5556",
    show_default=True,
    envvar="MONITOR_FEED__PUBLISH",
    help="Where the daemon publishes.",
)
@control_option
@click.option("--prefix", default="signals", show_default=True, help="First level of the topics.")
@click.option("--stream", default="", help="Stream to begin with.")
@key_option
def watch(feed: str, control: str, prefix: str, stream: str, keys: Any) -> None:
    """Open the dashboard of a running daemon. It may come and go; the dashboard reconnects by itself."""
    try:
        from monitor.dashboard.app import run
    except ImportError as error:
        raise ConfigError(f"the dashboard needs Textual: pip install 'foretrace[dashboard]' ({error})") from error

    run(feed, control, prefix=prefix, stream=stream, keys=keys)


@click.group(invoke_without_command=True)
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


@click.command()
@control_option
@key_option
def reload(control: str, keys: Any) -> None:
    """Have the daemon read its configuration and its models again, as SIGHUP does; no sample is lost."""
    from monitor.control import Reload

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
        line = (
            f"{alarm.id}  {at}  {alarm.priority:6}  {alarm.stream}  {alarm.kind}:{alarm.label}  "
            f"{alarm.state}{seen}  {alarm.score:.3g} >= {alarm.threshold:.3g}  {alarm.model} {alarm.detail}"
        )
        click.echo(line.rstrip())
