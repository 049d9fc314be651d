"""The command line: which verbs there are, and what an error becomes."""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any

import click

from monitor import __version__
from monitor.core.errors import MonitorError

VERBS = {
    "demo": ("monitor.verbs.demo", "See it work: a real ECG and a noisy sine, watched live."),
    "run": ("monitor.verbs.daemon", "Run the daemon."),
    "watch": ("monitor.verbs.watch", "Open the dashboard of a running daemon, or of a recording."),
    "replay": ("monitor.verbs.replay", "Send a recording to a daemon."),
    "simulate": ("monitor.verbs.senders", "Send a simulated signal to a daemon."),
    "record": ("monitor.verbs.record", "Write what a daemon takes in to files."),
    "alarms": ("monitor.verbs.client", "List or acknowledge alarms."),
    "reload": ("monitor.verbs.client", "Have the daemon read its configuration and models again."),
    "keys": ("monitor.verbs.keys", "Make a key for a daemon or for a client of one."),
    "models": ("monitor.verbs.models", "List model files, and explain one."),
    "check": ("monitor.verbs.daemon", "Check the configuration and the models; open no socket."),
    "config": ("monitor.verbs.daemon", "Print the configuration that would be used."),
    "doctor": ("monitor.verbs.doctor", "Look whether this machine can run it, and say what to do."),
    "completions": ("monitor.verbs.completions", "Print what lets a shell complete commands and options."),
    "worker": ("monitor.verbs.cluster", "Run a worker of a cluster, for more streams than one machine takes."),
    "cluster": ("monitor.verbs.cluster", "Look at a cluster, bring samples into it, watch what comes out."),
    "bench": ("monitor.verbs.bench", "Measure what the monitor costs on this machine."),
}
"""Name -> module that holds the command of that name, and its line in --help."""


class _LazyGroup(click.Group):
    """A group whose commands are imported when they are called: --help stays fast."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in VERBS:
            return None
        command: click.Command = getattr(importlib.import_module(VERBS[cmd_name][0]), cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in VERBS.items()])


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="monitor")
def cli() -> None:
    """Watch live signals: forecast ahead, flag what is wrong, account for every sample.

    For research and teaching. Not a medical device.
    """


def run(arguments: list[str] | None = None) -> int:
    """Run a command line; returns the exit code.

    0 fine, 1 failed, 2 wrong usage or configuration, 3 daemon not reachable, 4 an alarm is active.
    """
    try:
        code: Any = cli.main(arguments, prog_name="monitor", standalone_mode=False)
    except BrokenPipeError:  # `monitor alarms | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (MonitorError, OSError, ExceptionGroup) as error:
        told = _plain(error)
        click.echo(f"monitor: {told}", err=True)
        return told.exit_code
    except click.ClickException as error:
        error.show()
        return 2
    except (click.Abort, KeyboardInterrupt):
        return 130
    return code if isinstance(code, int) else 0


def _plain(error: Exception) -> MonitorError:
    """What a user is told in a line; raises what is nobody's fault but ours."""
    match error:
        case MonitorError():
            return error
        case OSError() if error.filename is not None:
            return MonitorError(f"{error.filename}: {error.strerror}")
        case ExceptionGroup() if error.split(MonitorError)[1] is None:  # of tasks that ran side by side
            return _plain(error.exceptions[0])
    raise error
