"""A daemon in the test's own process, and noisy sines to send to it."""

from __future__ import annotations

import asyncio
import contextlib

import msgspec

from monitor.config import Config
from monitor.core.signals import NoisySine
from monitor.daemon import Daemon
from monitor.senders import blocks_of, signal_values
from monitor.sinks.alarmlog import AlarmLog

STREAMS = {"name": "sine/*", "models": ["sine-spikes", "sine-forecast"], "rate_hz": 50.0}


def settings(folder, **more) -> Config:
    return msgspec.convert(
        {
            "zeromq": {"listen": f"ipc://{folder}/samples"},
            "feed": {"publish": f"ipc://{folder}/feed", "control": f"ipc://{folder}/control"},
            "alarm_log": {"path": f"{folder}/log.db"},
            "streams": [STREAMS],
            **more,
        },
        Config,
    )


@contextlib.asynccontextmanager
async def running(config, models):
    with AlarmLog(config.alarm_log.path) as log:
        daemon = Daemon(config, models, log)
        task = asyncio.create_task(daemon.run())
        try:
            yield daemon
        finally:
            daemon.stop()
            await task


def sine(stream="sine/1", samples=1000, spikes=20.0, seed=1, block=10):
    signal = NoisySine(seed=seed, spikes_per_minute=spikes)
    return blocks_of(
        signal_values(signal, block), stream=stream, rate_hz=50.0, channels=("sine",), unit="", t0_ns=10**18,
        samples=samples,
    )  # fmt: skip


def state_of(daemon, stream="sine/1"):
    return next((s for s in daemon.engine.states() if s.stream == stream), None)


def received(daemon, samples, stream="sine/1"):
    def all_of_them():
        state = state_of(daemon, stream)
        return state is not None and state.ledger.received == samples and not daemon.engine.waiting()

    return all_of_them
