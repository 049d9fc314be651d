"""A real daemon under load: what it sustains, how late it is, what it costs."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import tempfile
import time
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import zmq

from monitor.bench.fleet import Load, Sent
from monitor.bench.timing import cpu_seconds, rss_mib
from monitor.children import end
from monitor.control import Client, GetStatus, Overview
from monitor.core.errors import MonitorError, Unreachable
from monitor.sockets import Socket

START_S = 30.0
STOP_S = 20.0
SETTLE_S = 20.0
_ECG = {"name": "ecg/*", "models": ["ecg-beats", "ecg-forecast"], "unit": "mV"}


@dataclass(frozen=True)
class Running:
    """A daemon that has started."""

    process: Process
    folder: str

    def address(self, name: str) -> str:
        """Of one of its sockets."""
        return f"ipc://{self.folder}/{name}"


class Outcome(msgspec.Struct, frozen=True):
    """What came of a load."""

    streams: int
    samples: int
    missing: int
    """Samples that the daemon never got."""
    skipped: int
    """Hops that it left out."""
    windows: int
    cpu_s: float
    """Of the daemon, while the load was on."""
    seconds: float
    behind_s: float
    """How long after the last block was sent the daemon still worked on what it had."""
    sender_late_s: float
    latency_p50_ms: float
    latency_p99_ms: float
    loop_lag_p50_ms: float
    loop_lag_p99_ms: float
    rss_mib: float

    @property
    def is_sustained(self) -> bool:
        """Whether nothing was lost, nothing left out, and nothing came late."""
        return not self.missing and not self.skipped and self.behind_s < 1.0 and self.latency_p99_ms < 100


def configuration(folder: str, models: Path | None, rules: list[dict[str, Any]], **inference: Any) -> str:
    """A daemon's configuration, in JSON, which its reader takes as TOML once it is written so."""
    lines = [
        f'models = "{models or ""}"',
        "[zeromq]", f'listen = "ipc://{folder}/samples"', "queue = 1_000_000",
        "[feed]", f'publish = "ipc://{folder}/feed"', f'control = "ipc://{folder}/control"',
        "[alarm_log]", f'path = "{folder}/log.db"',
        "[inference]", *(f"{key} = {msgspec.json.encode(value).decode()}" for key, value in inference.items()),
    ]  # fmt: skip
    for rule in rules:
        lines += [
            "[[streams]]",
            *(f"{key} = {msgspec.json.encode(value).decode()}" for key, value in rule.items()),
        ]
    return "\n".join(lines) + "\n"


@contextlib.asynccontextmanager
async def daemon(
    models: Path | None = None, rules: list[dict[str, Any]] | None = None, **inference: Any
) -> AsyncIterator[Running]:
    """A daemon in a process of its own, on sockets of its own; it ends with the context."""
    with tempfile.TemporaryDirectory(prefix="foretrace-bench-") as folder:
        path = Path(folder) / "monitor.toml"
        path.write_text(configuration(folder, models, rules or [_ECG], **inference))
        environment = {k: v for k, v in os.environ.items() if not k.startswith("MONITOR_")}
        command = [sys.executable, "-m", "monitor", "run", "--config", str(path), "--child", str(os.getpid())]
        process = await asyncio.create_subprocess_exec(*command, stdout=DEVNULL, stderr=PIPE, env=environment)
        said = asyncio.create_task(_listen(process))
        try:
            yield Running(process, folder)
        finally:
            await end(process, STOP_S)
            await said


async def _listen(process: Process) -> list[str]:
    """What the daemon says, kept for when it ends by itself; nobody who writes must wait for a reader."""
    lines: list[str] = []
    if process.stderr is not None:
        async for line in process.stderr:
            lines = [*lines[-19:], line.decode("utf-8", "replace").rstrip()]
    return lines


async def overview(running: Running, timeout_s: float = START_S) -> Overview:
    """How the daemon is doing; waits for one that is starting."""
    if running.process.returncode is not None:
        raise MonitorError("the daemon of the measurement has ended")
    async with Client(running.address("control"), timeout_s) as client:
        return await client.ask(GetStatus(), Overview)


async def fleet(running: Running, load: Load) -> Sent:
    """Send `load` from a process of its own."""
    arguments = [running.address("samples"), msgspec.json.encode(load).decode()]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "monitor.bench.fleet", *arguments, stdout=PIPE, stderr=DEVNULL
    )
    try:
        told, _ = await process.communicate()
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        raise
    if process.returncode:
        raise MonitorError(f"the sender of the measurement ended with {process.returncode}")
    return msgspec.json.decode(told, type=Sent)


async def under_load(running: Running, load: Load) -> Outcome:
    """What the daemon makes of a load."""
    await overview(running)
    pid = running.process.pid
    before, began = cpu_seconds(pid), time.monotonic()
    sent = await fleet(running, load)
    ended = time.monotonic()
    found = await _settled(running, sent)
    behind_s = time.monotonic() - ended
    cpu_s = cpu_seconds(pid) - before
    ledgers = [stream.ledger for stream in found.streams]
    status = found.status
    return Outcome(
        streams=load.streams,
        samples=sent.samples,
        missing=sent.samples - sum(ledger.received for ledger in ledgers),
        skipped=sum(stream.skipped for stream in found.streams),
        windows=sum(stream.windows for stream in found.streams),
        cpu_s=cpu_s,
        seconds=ended - began,
        behind_s=behind_s,
        sender_late_s=sent.late_s,
        latency_p50_ms=status.latency_p50_ms,
        latency_p99_ms=status.latency_p99_ms,
        loop_lag_p50_ms=status.loop_lag_p50_ms,
        loop_lag_p99_ms=status.loop_lag_p99_ms,
        rss_mib=rss_mib(pid),
    )


async def _settled(running: Running, sent: Sent) -> Overview:
    """The daemon's word when it has everything and has inferred what it will."""
    deadline = time.monotonic() + SETTLE_S
    last = -1
    while True:
        found = await overview(running)
        received = sum(stream.ledger.received for stream in found.streams)
        done = sum(stream.windows + stream.skipped for stream in found.streams)
        if (received >= sent.samples and done == last) or time.monotonic() > deadline:
            return found
        last = done
        await asyncio.sleep(0.05)


async def first_inference_ms() -> float:
    """From the start of a daemon to the first forecast that it publishes of a stream that is being sent."""
    began = time.monotonic()
    async with daemon() as running:
        feed = Socket(zmq.SUB, connect=running.address("feed"), options={zmq.RECONNECT_IVL: 5})
        feed.subscribe(b"signals/ecg/0/forecast")
        load = Load(streams=1, seconds=30.0, speed=20.0)
        sending = asyncio.create_task(fleet(running, load))
        try:
            async with asyncio.timeout(START_S):
                await feed.receive()
            return 1000 * (time.monotonic() - began)
        except TimeoutError as error:
            raise Unreachable("the daemon of the measurement published no forecast") from error
        finally:
            feed.close()
            sending.cancel()
            with contextlib.suppress(asyncio.CancelledError, MonitorError):
                await sending


def cost_of(outcome: Outcome) -> float:
    """CPU seconds of the daemon for a thousand samples."""
    return 1000 * outcome.cpu_s / outcome.samples


def as_dict(outcome: Outcome) -> Mapping[str, Any]:
    """For a report."""
    told: Mapping[str, Any] = msgspec.to_builtins(outcome)
    return told
