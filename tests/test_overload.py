"""More than the machine can infer, in leapfrog: hops are skipped, samples never, and the daemon still answers."""

from __future__ import annotations

import asyncio

from monitor.control import Client, GetStatus, Overview
from monitor.inference import Model
from monitor.outlets import open_outlet
from monitor.senders import send
from tests.conftest import eventually
from tests.daemons import running, settings, sine

STREAMS = 12


class Laborious(Model):
    """It computes every answer many times over, until it is told to stop that."""

    times = 400

    def step(self, window, state, seen, answers):
        for _ in range(self.times):
            super().step(window, state, seen, answers)
        return super().step(window, state, seen, answers)


def laborious(model):
    return Laborious(model.card, model._session, model.path)


async def test_hops_are_skipped_and_counted_before_samples_are_lost(tmp_path, models):
    config = settings(tmp_path, inference={"mode": "leapfrog", "max_waiting": 300, "max_batch": 32})
    slow = {name: laborious(model) for name, model in models.items()}
    async with (
        running(config, slow) as daemon,
        Client(config.feed.control, 30) as client,
        open_outlet(config.zeromq.listen, "signals") as outlet,
    ):
        sending = [
            asyncio.create_task(send(sine(f"sine/{i}", samples=4000, block=20), outlet, speed=0))
            for i in range(STREAMS)
        ]
        shares = []

        async def overloaded():
            overview = await client.ask(GetStatus(), Overview)  # it answers meanwhile
            shares.append(overview.status.skipped_share)
            return overview

        await asyncio.gather(*sending)
        received = 0
        while received < STREAMS * 4000:
            received = sum(state.ledger.received for state in (await overloaded()).streams)
        for model in slow.values():
            model.times = 0
        await eventually(lambda: not daemon.engine.waiting(), "what waits to be inferred")
        overview = await client.ask(GetStatus(), Overview)
        assert sum(state.ledger.missing for state in overview.streams) == 0
        assert overview.status.skipped > 0
        assert overview.status.skipped == sum(state.skipped for state in overview.streams)
        hops = 2 * STREAMS * (4000 // 5)
        assert overview.status.windows + overview.status.skipped <= hops  # the rest warmed up

        # It recovers by itself: who comes now misses nothing, and who was there goes on.
        skipped = overview.status.skipped
        await send(sine("sine/late", samples=1000, block=20), outlet, speed=0)
        await eventually(lambda: _windows(daemon, "sine/late") == 2 * ((1000 - 35) // 5 + 1), "every window")
        assert daemon.engine.count_skipped() == skipped
        await eventually(lambda: daemon.status().skipped_share == 0, "a second without a skipped hop")


def _windows(daemon, name):
    return {state.stream: state.windows for state in daemon.engine.states()}.get(name)


async def test_the_share_of_skipped_hops_is_told(tmp_path, models):
    config = settings(tmp_path)
    async with running(config, models) as daemon:
        daemon._telemetry.windows = 30
        daemon._telemetry.beat(10)
        assert daemon.status().skipped_share == 0.25
        daemon._telemetry.windows = 50
        daemon._telemetry.beat(10)
        assert daemon.status().skipped_share == 0
