"""Options that several verbs share."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import click

from monitor.config import Config
from monitor.configfile import Origins, load_config

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")


def config_options(command: F) -> F:
    """--config and --set."""
    command = click.option(
        "--set",
        "settings",
        multiple=True,
        metavar="KEY=VALUE",
        help="Set one key, e.g. mqtt.host=broker.local; wins over file and environment.",
    )(command)
    return click.option(
        "--config",
        "path",
        type=click.Path(path_type=Path, dir_okay=False),
        help="TOML file; without it the defaults.",
    )(command)


def configured(path: Path | None, settings: tuple[str, ...]) -> tuple[Config, Origins]:
    """The configuration that --config, --set and the environment give."""
    flags = []
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals or not key:
            raise click.UsageError(f"--set: expected KEY=VALUE, got {setting!r}")
        flags.append((key, value))
    return load_config(path, os.environ, flags)


def as_json(command: F) -> F:
    """--json."""
    return click.option("--json", "json_", is_flag=True, help="Print JSON.")(command)


def feed_option(command: F) -> F:
    """--feed."""
    return click.option(
        "--feed",
        default="tcp://127.0.0.1:5556",
        show_default=True,
        envvar="MONITOR_FEED__PUBLISH",
        help="Where the daemon publishes.",
    )(command)


def control_option(command: F) -> F:
    """--control."""
    return click.option(
        "--control",
        default="tcp://127.0.0.1:5557",
        show_default=True,
        envvar="MONITOR_FEED__CONTROL",
        help="Where the daemon answers.",
    )(command)


def key_option(command: F) -> F:
    """--key FILE, for clients of a daemon that asks for keys; the verb is given socket options as `keys`."""

    def read(_: click.Context, __: click.Parameter, path: str | None) -> Any:
        from monitor.keys import read_key

        return read_key(path).client_options() if path else None

    return click.option(
        "--key",
        "keys",
        metavar="FILE",
        callback=read,
        envvar="MONITOR_KEYS__SECRET_FILE",
        help="Our key file, where the daemon asks for keys; see `monitor keys`.",
    )(command)


def child_option(command: F) -> F:
    """--child PID, for processes that must not outlive the one that started them."""
    return click.option("--child", "parent", type=int, hidden=True, help="End when process PID does.")(command)


def as_interrupted() -> None:
    """Whoever ends this process from now on, it cleans up as after Ctrl-C."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)


def run_to_the_end(work: Coroutine[Any, Any, T], parent: int | None) -> T:
    """Run `work`; should the process `parent` end, which started this one, end as SIGTERM would end it."""

    async def watched() -> T:
        task = asyncio.create_task(work)
        told = False
        while not task.done():
            await asyncio.wait({task}, timeout=None if parent is None or told else 0.5)
            if not told and parent not in (None, os.getppid()):
                told = True
                signal.raise_signal(signal.SIGTERM)
        return task.result()

    return asyncio.run(watched())
