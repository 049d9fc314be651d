"""The demo: a daemon, two senders and something that watches, as real processes on sockets of their own.

Everything lives in a temporary folder and ends with the process that started it: children are stopped by their
process id, and watch for their parent's death themselves.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import os
import re
import sys
import tempfile
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import zmq

from monitor.children import end
from monitor.control import Client, GetStatus, Overview
from monitor.core.blocks import Event
from monitor.core.errors import MonitorError, Unreachable
from monitor.core.published import Status, StreamState, decode_event, decode_state, decode_status
from monitor.natsserver import free_port
from monitor.recordings import read_recording
from monitor.sockets import Socket

START_S = 20.0
STOP_S = 8.0
SPARE_S = 60.0
UNNAMED = re.compile(r"[^A-Za-z0-9_-]+")
SETTLE_S = 10.0
SPIKES_A_MINUTE = 20
ECG = "ecg/208"
ECG_FROM_S = 65
"""Where the recording gets interesting: an annotated ventricular beat every other second from here on."""


@dataclass
class Scene:
    """A daemon and its senders, running."""

    feed: str
    control: str
    samples: str
    reliable: str
    daemon: Process
    senders: list[Process] = field(default_factory=list)

    async def send(self, speed: float, seconds: float | None) -> None:
        """Start the senders: `seconds` of signal each, or for ever."""
        how = ["--to", self.samples, "--speed", str(speed)]
        length = ["--for", str(seconds)] if seconds else []
        repeat = [] if seconds else ["--loop"]
        spikes = ["--spikes", str(SPIKES_A_MINUTE), "--seed", "1"]
        for arguments in (
            ["replay", "toy", "--stream", ECG, "--from", str(ECG_FROM_S), "--loop", *how, *(length or repeat)],
            ["simulate", "noisy-sine", "--stream", "sine/1", "--block", "5", *spikes, *how, *length],
        ):
            self.senders.append(await _start(arguments, stdout=PIPE))


async def _start(arguments: list[str], *, stdout: int = DEVNULL, stderr: Any = None) -> Process:
    # In a session of their own: Ctrl-C reaches the demo alone, which then stops them in order.
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "monitor", *arguments, "--child", str(os.getpid()),
        stdin=DEVNULL, stdout=stdout, stderr=stderr, start_new_session=True,
    )  # fmt: skip


@contextlib.asynccontextmanager
async def scene(history_s: float = 600.0, *, over_mqtt: bool = False) -> AsyncIterator[Scene]:
    """Start a daemon on sockets of its own; stop it, and whatever sends to it, at the end.

    `over_mqtt` has it run a broker, too, and senders go that way.
    """
    with tempfile.TemporaryDirectory(prefix="foretrace-") as name:
        folder = Path(name)
        parts = ("samples", "reliable", "feed", "control")
        samples, reliable, feed, control = (f"ipc://{folder}/{part}" for part in parts)
        settings = {
            "zeromq.listen": samples,
            "zeromq.listen_reliable": reliable,
            "feed.publish": feed,
            "feed.control": control,
            "alarm_log.path": f"{folder}/alarms.db",
            "feed.history_s": str(history_s),
        }
        more = ["--broker"] if over_mqtt else []
        if over_mqtt:
            settings |= {"mqtt.host": "127.0.0.1", "mqtt.port": str(port := free_port())}
            samples = f"mqtt://127.0.0.1:{port}"
        log = folder / "daemon.log"
        flags = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
        with log.open("wb") as stderr:
            daemon = await _start(["run", *flags, *more], stderr=stderr)
        running = Scene(feed, control, samples, reliable, daemon)
        try:
            await _wait_until_it_answers(running, log)
            yield running
        finally:
            for process in (*running.senders, daemon):
                await end(process, STOP_S)


async def _wait_until_it_answers(running: Scene, log: Path) -> None:
    async with Client(running.control, timeout_s=START_S) as client:
        asking = asyncio.ensure_future(client.ask(GetStatus(), Overview))
        dying = asyncio.ensure_future(running.daemon.wait())
        done, _ = await asyncio.wait({asking, dying}, return_when=asyncio.FIRST_COMPLETED)
        dying.cancel()
        if asking not in done:
            asking.cancel()
            said = log.read_text().strip()  # noqa: ASYNC240 a small file, once, at the end
            raise MonitorError(f"the demo's daemon did not start:\n{said}")
        await asking


async def watched(*, over_mqtt: bool = False) -> int:
    """Run the demo with its dashboard in front, until the user quits it; the dashboard's exit code."""
    async with scene(over_mqtt=over_mqtt) as running:
        await running.send(speed=1.0, seconds=None)
        return await _watch(running, ["--stream", ECG])


async def reviewed(recording: str, rate_hz: float | None, stream: str, theme: str) -> int:
    """Live through a recording as fast as it goes, and look at what came of it until the user quits."""
    read = read_recording(recording, rate_hz)
    length_s = len(read.values) / read.rate_hz
    name = stream or f"ecg/{UNNAMED.sub('-', read.name) or 'recording'}"
    async with scene(length_s + SPARE_S) as running:
        block = str(max(round(read.rate_hz / 4), 1))
        how = ["--stream", name, "--own-times", "--speed", "0", "--block", block]
        rate = ["--rate", str(rate_hz)] if rate_hz else []
        running.senders.append(
            await _start(["replay", recording, "--to", f"reliable+{running.reliable}", *how, *rate])
        )
        look = ["--theme", theme] if theme else []
        return await _watch(running, ["--stream", name, "--length", str(length_s), *look])


async def _watch(running: Scene, arguments: list[str]) -> int:
    where = ["--feed", running.feed, "--control", running.control]
    where += ["--child", str(os.getpid())]
    dashboard = await asyncio.create_subprocess_exec(sys.executable, "-m", "monitor", "watch", *where, *arguments)
    try:
        return await dashboard.wait()
    finally:
        await end(dashboard, STOP_S)


async def headless(
    seconds: float, speed: float, tell: Callable[[str], None], *, over_mqtt: bool = False
) -> dict[str, Any]:
    """Run for `seconds`, tell one line an event, and return the summary."""
    async with scene(over_mqtt=over_mqtt) as running:
        audience = _Audience(running.feed, tell)
        try:
            await audience.hear_until(lambda: audience.status is not None)  # now it is subscribed
            await running.send(speed, seconds * speed)
            sent = await audience.hear_while(_reports(running.senders))
            await audience.hear_until(lambda: audience.has_settled(sent))
        finally:
            audience.close()
    return audience.summary(sent)


async def _reports(senders: list[Process]) -> dict[str, int]:
    """Samples sent by stream, as the senders tell when they have finished."""
    sent: dict[str, int] = {}
    for process in senders:
        out, _ = await process.communicate()
        if process.returncode:
            raise MonitorError(f"a sender of the demo ended with exit code {process.returncode}")
        report = json.loads(out)
        sent[report["stream"]] = report["samples"]
    return sent


class _Audience:
    """Follows the feed."""

    def __init__(self, feed: str, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._socket = Socket(zmq.SUB, connect=feed)
        for topic in (b"all/", b"signals/monitor/status"):
            self._socket.subscribe(topic)
        self.status: Status | None = None
        self._windows_before = -1
        self._events = 0
        self.states: dict[str, StreamState] = {}

    async def _hear(self) -> None:
        for topic, payload in await self._socket.receive():
            match topic.rpartition(b"/")[2]:
                case b"events":
                    event = decode_event(payload)
                    if isinstance(event, Event):
                        self._events += 1
                        self._tell(_line(event))
                case b"state":
                    state = decode_state(payload)
                    self.states[state.stream] = state
                case b"status":
                    self._windows_before = self.status.windows if self.status else -1
                    self.status = decode_status(payload)

    async def hear_until(self, done: Callable[[], bool]) -> None:
        """Follow the feed until `done`; raises Unreachable when that takes too long."""
        try:
            async with asyncio.timeout(SETTLE_S):
                while not done():
                    await self._hear()
        except TimeoutError as error:
            raise Unreachable(f"the demo's daemon said nothing new for {SETTLE_S:g} s") from error

    async def hear_while(self, work: Any) -> dict[str, int]:
        """Follow the feed while `work` goes on; its result."""
        task: asyncio.Task[dict[str, int]] = asyncio.create_task(work)
        while not task.done():
            hearing = asyncio.create_task(self._hear())
            await asyncio.wait({task, hearing}, return_when=asyncio.FIRST_COMPLETED)
            if not hearing.done():
                hearing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await hearing
        return await task

    def has_settled(self, sent: dict[str, int]) -> bool:
        """Whether every sample and event is accounted for, and no window was inferred between two heart beats."""
        for stream, samples in sent.items():
            state = self.states.get(stream)
            if state is None or state.ledger.received + state.ledger.missing < samples:
                return False
        if sum(state.events for state in self.states.values()) < self._events:
            return False  # a stream's state from before its last event
        return self.status is not None and self.status.windows == self._windows_before

    def summary(self, sent: dict[str, int]) -> dict[str, Any]:
        """The figures of the run."""
        status = self.status
        streams = {}
        for name, samples in sorted(sent.items()):
            state = self.states[name]
            streams[name] = {
                "sent": samples,
                "received": state.ledger.received,
                "missing": state.ledger.missing,
                "duplicated": state.ledger.duplicated,
                "windows": state.windows,
                "forecasts": state.forecasts,
                "events": state.events,
                "skipped": state.skipped,
                "heart_rate_bpm": _number(state.heart_rate_bpm),
                "skill": _number(state.skill),
            }
        return {
            "streams": streams,
            "windows": sum(s["windows"] for s in streams.values()),
            "forecasts": sum(s["forecasts"] for s in streams.values()),
            "events": sum(s["events"] for s in streams.values()),
            "latency_ms": {
                "p50": _number(status.latency_p50_ms if status else math.nan),
                "p99": _number(status.latency_p99_ms if status else math.nan),
            },
        }

    def close(self) -> None:
        self._socket.close()


def _line(event: Event) -> str:
    at = f"{event.t_ns // 10**9 % 86400 // 3600:02}:{event.t_ns // 10**9 % 3600 // 60:02}:"
    at += f"{event.t_ns % (60 * 10**9) / 1e9:06.3f}"
    said = f" by {event.model}" if event.model else ""
    return f"{at}  {event.stream:8}  {event.kind}:{event.label}  {event.score:.2f} >= {event.threshold:.2f}{said}"


def _number(value: float) -> float | None:
    """JSON has no NaN."""
    return None if math.isnan(value) else round(value, 3)
