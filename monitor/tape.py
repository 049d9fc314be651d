"""Recording that is switched on and off: a `monitor record` beside the daemon, which never waits for a disk.

It is a client like any other, and ends when the daemon does. Whatever it has synced is readable whenever it dies,
and that it died is an alarm.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Callable, Sequence

import msgspec

from monitor.children import end
from monitor.config import Config
from monitor.core.blocks import Alarm, Kind, State

log = logging.getLogger(__name__)

STOP_S = 10.0
READY = b"recording into"
"""What `monitor record` says once it hears the daemon."""
_SAID = 300


class Tape:
    """At most one recording; `tell` logs and publishes what becomes of it."""

    def __init__(
        self,
        config: Config,
        feed: str,
        control: str,
        tell: Callable[[Sequence[Alarm]], None],
        now_ns: Callable[[], int],
    ) -> None:
        """`feed` and `control` are where the daemon publishes and answers."""
        self._config, self._tell, self._now_ns = config, tell, now_ns
        self._where = ("--feed", feed, "--control", control, "--prefix", config.prefix)
        self._wanted: tuple[str, ...] = ()
        self._recording: asyncio.Task[None] | None = None
        self._alarm: Alarm | None = None
        self.recorded: tuple[str, ...] = ()
        """Patterns of what is being recorded; empty while nothing is, or not yet."""

    def record(self, streams: tuple[str, ...]) -> tuple[str, ...]:
        """Record these (shell patterns) and no others; none ends it. Returns what shall be recorded from now on.

        To ask for what is recorded already changes nothing.
        """
        if streams != self._wanted or self._alarm is not None:
            self._over()
            before, self._wanted = self._recording, streams
            self._recording = asyncio.create_task(self._change(before, streams), name="record")
        return streams

    async def _change(self, before: asyncio.Task[None] | None, streams: tuple[str, ...]) -> None:
        if before is not None:
            before.cancel()
            await asyncio.wait({before})
        if streams:
            await self._run(streams)

    async def _run(self, streams: tuple[str, ...]) -> None:
        """Record until cancelled; tell when it ends without that."""
        settings, keys = self._config.record, self._config.keys.secret_file
        command = [sys.executable, "-m", "monitor", "record", *streams, "--out", settings.folder]
        command += ["--format", settings.format, *self._where, "--child", str(os.getpid())]
        command += ["--key", keys] if keys else []
        process = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
        said = b""
        try:
            assert process.stderr is not None  # noqa: S101 it was asked for
            async for line in process.stderr:
                said = line
                if line.startswith(READY):
                    self.recorded = streams
                    log.info("recording %s into %s", " ".join(streams), settings.folder)
            await process.wait()
        except asyncio.CancelledError:
            await end(process, STOP_S)
            self.recorded = ()
            log.info("recording has ended")
            raise
        self._lost(said.decode(errors="replace").strip()[-_SAID:] or f"exit code {process.returncode}")

    def _lost(self, why: str) -> None:
        self.recorded, self._wanted = (), ()
        log.error("recording has ended: %s", why)
        now_ns = self._now_ns()
        self._alarm = Alarm(
            id=f"record-{now_ns}", stream="monitor", kind=Kind.SIGNAL, label="record", priority="high",
            state=State.ACTIVE, raised_ns=now_ns, changed_ns=now_ns, score=1.0, threshold=1.0, times=1, detail=why,
        )  # fmt: skip
        self._tell([self._alarm])

    def _over(self) -> None:
        alarm, self._alarm = self._alarm, None
        if alarm is not None:
            self._tell([msgspec.structs.replace(alarm, state=State.CLEARED, changed_ns=self._now_ns())])

    async def stop(self) -> None:
        """End the recording; its files are whole then."""
        self.record(())
        if self._recording is not None:
            await asyncio.wait({self._recording})

    def acknowledge(self, alarm_id: str) -> list[Alarm]:
        """Somebody has seen that it ended; the alarm, where it changed."""
        if self._alarm is None or self._alarm.acknowledged or alarm_id not in ("", self._alarm.id):
            return []
        self._alarm = msgspec.structs.replace(self._alarm, acknowledged=True)
        self._tell([self._alarm])
        return [self._alarm]

    @property
    def open_alarms(self) -> list[Alarm]:
        """That it ended by itself, until it begins again or is told to end."""
        return [self._alarm] if self._alarm is not None else []
