"""`monitor bench`."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import click
import msgspec

from monitor.commandline import NewFile
from monitor.core.errors import ConfigError


@click.command()
@click.option("--quick", is_flag=True, help="Seconds instead of minutes: to see that everything works.")
@click.option("--json", "file", type=NewFile(), help="Write the figures there.")
def bench(quick: bool, file: Path | None) -> None:
    """Measure what the monitor costs on this machine, side by side with what one would compare it with.

    It starts daemons and senders of its own and disturbs none that is running. Costs are CPU seconds, and each
    ratio is taken within one run; still, a machine that does nothing else gives better figures.
    """
    if not sys.platform.startswith("linux"):
        raise ConfigError("monitor bench reads what processes cost from /proc: it needs Linux")
    from monitor.bench.report import FULL, QUICK, measure, table

    told = asyncio.run(measure(QUICK if quick else FULL, lambda text: click.echo(text, err=True)))
    if file is not None:
        file.write_bytes(msgspec.json.format(msgspec.json.encode(told), indent=2) + b"\n")
    click.echo(table(told))
