"""The daemon as a process: its place in the system, its log, its broker, and the signals it heeds."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from monitor.broker import complain
from monitor.config import Config
from monitor.daemon import Daemon
from monitor.identity import identity
from monitor.inference import Model
from monitor.sinks.alarmlog import AlarmLog

log = logging.getLogger(__name__)

SWITCH_S = 0.0005
"""How long a thread may keep the interpreter to itself: with the usual 5 ms the one that writes the log would hold
up the event loop at every turn."""


async def run_daemon(
    config: Config,
    models: dict[str, Model],
    read: Callable[[], Config] | None = None,
    *,
    with_broker: bool = False,
) -> None:
    """Run a daemon until SIGINT or SIGTERM; SIGHUP has it read its configuration and models again."""
    sys.setswitchinterval(SWITCH_S)
    on_terminal = sys.stdin is not None and not sys.stdin.closed and sys.stdin.isatty()
    async with contextlib.AsyncExitStack() as held:
        held.enter_context(identity(config))
        alarm_log = held.enter_context(AlarmLog(Path(config.alarm_log.path)))
        if with_broker:
            from monitor.brokerbox import broker_in_the_box  # noqa: PLC0415 3 MiB, which others do not need

            await held.enter_async_context(broker_in_the_box(config))
        daemon = Daemon(config, models, alarm_log, read)
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(complain)
        reloading: set[asyncio.Task[list[str]]] = set()

        def hang_up() -> None:
            if on_terminal and not os.isatty(0):  # the terminal it was started on has gone, and it goes with it
                daemon.stop()
                return
            task = loop.create_task(daemon.reload())
            reloading.add(task)
            task.add_done_callback(reloading.discard)

        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, daemon.stop)
        loop.add_signal_handler(signal.SIGHUP, hang_up)
        await daemon.run()
    log.info("stopped")
