"""Write the man pages of `monitor` and `training` from their own help: python docs/man.py, or make man.

The roff of man(7), plain enough for groff and mandoc. The pages are committed, so that a wheel can be built
without importing what it holds; a test says when they are no longer what the commands say of themselves.
"""

# ruff: noqa: INP001 - a script, not a package
from __future__ import annotations

import inspect
import re
import sys
from pathlib import Path

import click

from monitor import __version__
from monitor.cli import cli as monitor
from training.cli import cli as training

FOLDER = Path(__file__).parent / "man"

ENDS = """
.SH EXIT STATUS
.TP
.B 0
Fine.
.TP
.B 1
It failed.
.TP
.B 2
Wrong usage or configuration.
.TP
.B 3
No daemon answers.
.TP
.B 4
An alarm is active (monitor alarms \\-\\-active).
"""
MONITOR_ENDS = """
.SH ENVIRONMENT
.TP
.B MONITOR_SECTION__KEY
Sets a key of the configuration; wins over the file, flags win over it.
.TP
.B NO_COLOR
The dashboard without colours.
.TP
.B NOTIFY_SOCKET, WATCHDOG_USEC
Of the service manager, see sd_notify(3).
.SH SIGNALS
SIGHUP reloads configuration, keys and models; SIGTERM and SIGINT finish what was read and end within five seconds.
.SH NOTES
For research and teaching. Not a medical device.
.SH SEE ALSO
.BR training (1),
.BR mosquitto_pub (1)
"""
TRAINING_ENDS = """
.SH SEE ALSO
.BR monitor (1)
"""


def plain(text: str) -> str:
    """Text that roff takes as it stands."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return "\n".join(f"\\&{line}" if line.startswith((".", "'")) else line for line in text.splitlines())


def paragraphs(help_text: str) -> list[str]:
    """A docstring as roff; what click must not wrap keeps its lines."""
    shown = []
    for part in inspect.cleandoc(help_text).split("\n\n"):
        if part.startswith("\b"):
            shown.append(f".PP\n.nf\n{plain(part[1:].strip())}\n.fi")
        else:
            shown.append(f".PP\n{plain(part)}")
    return shown


def options(command: click.Command, context: click.Context) -> list[str]:
    """Its options, each with what it is for."""
    rows = [row for parameter in command.params if (row := parameter.get_help_record(context))]
    return [f".TP\n.B {plain(names)}\n{plain(text)}" for names, text in rows if text]


def commands(group: click.Group, context: click.Context, before: str = "") -> list[str]:
    """Every command, and those within it."""
    shown = []
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if command is None or command.hidden:
            continue
        inner = click.Context(command, info_name=name, parent=context)
        usage = " ".join(command.collect_usage_pieces(inner))
        shown.append(f".SS {plain(f'{before}{name} {usage}')}")
        shown += paragraphs(command.help or "") + options(command, inner)
        if isinstance(command, click.Group):
            shown += commands(command, inner, f"{before}{name} ")
    return shown


def page(name: str, group: click.Group, summary: str, ends: str) -> str:
    """One man page."""
    context = click.Context(group, info_name=name, terminal_width=72)
    lines = [
        f'.TH {name.upper()} 1 "" "foretrace {__version__}" "foretrace"',
        f".SH NAME\n{name} \\- {plain(summary)}",
        f".SH SYNOPSIS\n.B {name}\n.I COMMAND\n[OPTIONS] [ARGUMENTS]",
        ".SH DESCRIPTION",
        *paragraphs(group.help or ""),
        *options(group, context),
        ".SH COMMANDS",
        *commands(group, context),
    ]
    return re.sub(r"\n{2,}", "\n", "\n".join(lines) + ENDS + ends)


def pages() -> dict[str, str]:
    """File name -> content."""
    return {
        "monitor.1": page("monitor", monitor, "watch live signals and raise alarms", MONITOR_ENDS),
        "training.1": page("training", training, "train small recurrent networks for monitor", TRAINING_ENDS),
    }


def main() -> int:
    """Write them."""
    FOLDER.mkdir(exist_ok=True)
    for name, text in pages().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
