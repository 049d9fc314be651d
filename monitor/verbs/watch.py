"""`monitor watch`: the dashboard of a running daemon, of a recording, or in a browser."""

from __future__ import annotations

import logging
import os
import shlex
import sys
from pathlib import Path
from typing import Any

import click

from monitor.core.errors import ConfigError
from monitor.verbs.options import (
    as_interrupted,
    child_option,
    control_option,
    feed_option,
    key_option,
    run_to_the_end,
)

LOOPBACK = ("127.0.0.1", "::1", "localhost")


@click.command()
@feed_option
@control_option
@click.option("--prefix", default="signals", show_default=True, help="First level of the topics.")
@click.option("--stream", default="", help="Stream to begin with.")
@click.option("--theme", default="", help="dark, light, ecg, colour (colour-blind safe), 16 or no.")
@click.option("--file", "recording", metavar="RECORDING", help="Open a recording, with a daemon of its own.")
@click.option("--rate", "rate_hz", type=click.FloatRange(0, min_open=True), help="Of a CSV without times, in Hz.")
@click.option("--web", is_flag=True, help="Serve the same dashboard to browsers.")
@click.option("--host", default="127.0.0.1", show_default=True, help="--web: where to listen.")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="--web: its port.")
@click.option("--length", "length_s", type=float, default=0.0, hidden=True, help="What is watched is so long.")
@key_option
@child_option
def watch(
    feed: str,
    control: str,
    prefix: str,
    stream: str,
    theme: str,
    recording: str | None,
    rate_hz: float | None,
    web: bool,
    host: str,
    port: int,
    length_s: float,
    keys: Any,
    parent: int | None,
) -> int:
    """Open the dashboard of a running daemon. It may come and go; the dashboard reconnects by itself.

    Whoever reaches the port of --web can do what you can; it listens on this machine alone unless told otherwise.
    """
    try:
        from monitor.dashboard.app import run
    except ImportError as error:
        raise ConfigError(f"the dashboard needs Textual: pip install 'foretrace[dashboard]' ({error})") from error

    look = [part for name, value in (("--stream", stream), ("--theme", theme)) if value for part in (name, value)]
    if web:
        if keys is not None and not os.environ.get("MONITOR_KEYS__SECRET_FILE"):
            raise ConfigError("--web: name the key file in MONITOR_KEYS__SECRET_FILE instead of --key")
        where = ["--file", recording] if recording else ["--feed", feed, "--control", control, "--prefix", prefix]
        where += ["--rate", str(rate_hz)] if recording and rate_hz else []
        return _serve([*where, *look], host, port)
    if not (sys.stdin.isatty() and sys.stderr.isatty()) and "TEXTUAL_DRIVER" not in os.environ:
        raise ConfigError("the dashboard needs a terminal; in a script, `monitor alarms` tells as much")
    if os.environ.get("TERM") == "dumb" and "TEXTUAL_DRIVER" not in os.environ:
        raise ConfigError("the dashboard draws all over the screen, and TERM=dumb cannot; use another terminal")
    if recording:
        from monitor.demo import reviewed

        as_interrupted()
        return run_to_the_end(reviewed(recording, rate_hz, stream, theme), parent)
    run(feed, control, prefix=prefix, stream=stream, theme=theme, keys=keys, length_s=length_s, parent=parent)
    return 0


def _serve(arguments: list[str], host: str, port: int) -> int:
    """Serve `monitor watch` with these arguments until interrupted; a process for each browser."""
    try:
        from textual_serve.server import Server
    except ImportError as error:
        raise ConfigError(f"--web needs textual-serve: pip install 'foretrace[web]' ({error})") from error

    command = [sys.executable, "-m", "monitor", "watch", *arguments, "--child", str(os.getpid())]
    if host not in LOOPBACK:
        click.echo(f"monitor: whoever reaches {host}:{port} can watch, acknowledge and silence", err=True)
    os.environ.setdefault("PYTHONPATH", str(Path(__file__).resolve().parents[2]))
    logging.getLogger("textual-serve").setLevel(logging.WARNING)
    click.echo(f"monitor: serving the dashboard on http://{host}:{port}", err=True)
    try:
        Server(f"exec {shlex.join(command)}", host=host, port=port, title="foretrace").serve()
    except OSError as error:
        raise ConfigError(f"--web: cannot listen on {host}:{port}: {error}; choose another --port") from error
    return 0
