"""A feed that is not a daemon, and waiting that ends."""

from __future__ import annotations

import asyncio
import time

import pytest

from tests.dashboard.fake_feed import Ecg, FakeDaemon, Sine

DEADLINE_S = 60.0


class Clock:
    """A clock that stands unless a test moves it."""

    def __init__(self, now_s: float = 0.0) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s


async def until(holds, what: str = "") -> None:
    """Wait until it holds; fail when that takes too long."""
    end = time.monotonic() + DEADLINE_S
    while not holds():
        assert time.monotonic() < end, f"waited {DEADLINE_S:g} s in vain: {what or holds}"
        await asyncio.sleep(0.005)


@pytest.fixture
async def daemon():
    """A feed and a control socket with two streams; publishes only what a test tells it to, but answers."""
    running = FakeDaemon([Ecg("ecg/208", 74, 11, 1), Sine("sine/1", 0.5, 17.0, 3)])
    running.warm(12)
    answering = asyncio.create_task(running.serve())
    yield running
    answering.cancel()
    await asyncio.gather(answering, return_exceptions=True)
    running.close()
