"""`monitor doctor`."""

from __future__ import annotations

import os
import shutil
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from monitor.verbs.options import as_json, config_options, configured, key_option

if TYPE_CHECKING:
    from monitor.reach import Finding

_COLOURS = {"fine": "green", "note": "yellow", "bad": "red"}


@click.command()
@config_options
@as_json
@key_option
def doctor(path: Path | None, settings: tuple[str, ...], json_: bool, keys: Any) -> int:
    """Look whether this machine can run the monitor, and say what to do where it cannot.

    Looks at Python, packages, terminal, models, sockets, the broker where one is configured, disk and clock.
    Changes nothing. Ends with 1 when something is bad, 2 when the configuration is wrong; notes are no fault.
    """
    from monitor.checkup import examine

    config, _ = configured(path, settings)
    found = examine(config, os.environ, keys)
    if json_:
        click.echo(msgspec.json.format(msgspec.json.encode(found)))
    else:
        for finding in found:
            _tell(finding)
    return 1 if any(finding.verdict == "bad" for finding in found) else 0


def _tell(finding: Finding) -> None:
    width = max(shutil.get_terminal_size((100, 24)).columns, 60)
    verdict = click.style(f"{finding.verdict:5}", fg=_COLOURS[finding.verdict])
    body = textwrap.wrap(finding.found, width - 31, break_long_words=False, break_on_hyphens=False) or [""]
    body += [f"-> {line}" for line in textwrap.wrap(finding.do, width - 34, break_long_words=False)]
    click.echo(f"{verdict} {finding.what:23} {body[0]}")
    for line in body[1:]:
        click.echo(f"{'':29} {line}")
