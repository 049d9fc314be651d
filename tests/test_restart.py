"""kill -9 at any moment: what was acknowledged is there, what was not comes again, nothing is told twice."""

from __future__ import annotations

import asyncio
import random
import sqlite3

import msgspec
import pytest

from monitor.config import AlarmLog as Retention
from monitor.config import State
from monitor.control import Acknowledge, Client, GetAlarms, GetHistory, History
from monitor.core.blocks import Alarm, Event, Kind
from monitor.core.ledger import Ledger
from monitor.core.memory import Saved
from monitor.core.wire import decode_block
from monitor.history import History as Recent
from monitor.keeper import Keeper
from monitor.outlets import open_outlet
from monitor.senders import send
from monitor.sinks.alarmlog import AlarmLog
from tests.conftest import eventually
from tests.daemons import received, running, settings, sine, state_of
from tests.processes import Process, check_database

pytestmark = pytest.mark.slow


def told(path):
    """Events and alarms in a log, without what depends on when they were changed."""
    with AlarmLog(path) as log:
        events = {(e.stream, e.kind, e.label, e.t_ns): e.score for e in log.events(limit=-1)}
        alarms = {(a.id, a.raised_ns, a.state) for a in log.alarms(limit=-1) if a.kind != Kind.DEVIATION}
    return events, alarms


@pytest.mark.parametrize(("seed", "checkpoint_s"), [(1, 0.2), (2, 60.0)])
async def test_killed_at_random_points_nothing_is_lost_or_told_twice(tmp_path, seed, checkpoint_s):
    """Eight kills in one load, with many checkpoints and with none: the log is as without any."""
    rng, samples = random.Random(seed), 16_000
    (tmp_path / "calm").mkdir()
    daemon = Process(tmp_path, zeromq__credit=32, state__checkpoint_s=checkpoint_s).start(wait=False)
    calm = Process(tmp_path / "calm").start(wait=False)
    try:
        async with open_outlet(calm.reliable, "signals") as outlet:
            await send(sine(samples=samples, spikes=60.0), outlet, speed=0)
        assert calm.stop() == 0
        async with open_outlet(daemon.reliable, "signals") as outlet:
            sending = asyncio.create_task(send(sine(samples=samples, spikes=60.0), outlet, speed=0))
            for _ in range(8):
                target = min(outlet.acknowledged + rng.randrange(10, 180), samples // 10 - 1)
                await eventually(lambda: outlet.acknowledged >= target, "acknowledgements", 30)  # noqa: B023
                await asyncio.sleep(rng.random() * 0.03)
                daemon.kill()
                check_database(daemon.db)
                daemon.start(wait=False)
            await sending
        ledger = (await daemon.states())["sine/1"].ledger
        assert daemon.stop() == 0
    finally:
        daemon.kill()
        calm.kill()
    print(f"8 kills: {ledger}")  # noqa: T201 the numbers belong to the test's output
    assert (ledger.received, ledger.missing, ledger.late) == (samples, 0, 0)
    check_database(daemon.db)
    (events, alarms), (calm_events, calm_alarms) = told(daemon.db), told(calm.db)
    spikes = {key: score for key, score in events.items() if key[2] == "spike"}
    calm_spikes = {key: score for key, score in calm_events.items() if key[2] == "spike"}
    assert set(spikes) ^ set(calm_spikes) == set()
    assert spikes == pytest.approx(calm_spikes, abs=1e-5)
    assert {a for a in alarms if a[2] != "active"} == {a for a in calm_alarms if a[2] != "active"}


async def test_what_was_known_before_the_crash_is_known_after_it(tmp_path):
    """Ledger, calibration, history, alarms and their acknowledgement; over PUB/SUB, which acknowledges nothing."""
    latch = '[{kind = "class", label = "spike", latch = true}]'
    with Process(tmp_path, state__checkpoint_s=0.1, alarms=latch) as daemon:
        async with open_outlet(daemon.samples, "signals") as outlet:
            await send(sine(samples=3000), outlet, speed=0)
        async with Client(daemon.control, 20) as client:

            async def latched():
                alarms = await client.ask(GetAlarms(active=True), list[Alarm])
                return [a for a in alarms if a.label == "spike"]

            while not await latched() or (await daemon.states())["sine/1"].ledger.received < 3000:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
            (seen,) = await client.ask(Acknowledge((await latched())[0].id), list[Alarm])
        await asyncio.to_thread(wait_for_checkpoint, daemon.db, 3000)
        before = (await daemon.states())["sine/1"]
        daemon.kill()
        daemon.start()
        after = (await daemon.states())["sine/1"]
        async with Client(daemon.control, 20) as client:
            history = await client.ask(GetHistory("sine/1", 30.0), History)
            alarms = {a.id: a for a in await client.ask(GetAlarms(), list[Alarm])}
        assert daemon.stop() == 0
    assert after.ledger == before.ledger
    assert after.skill == pytest.approx(before.skill, abs=0.01)
    assert not after.warming
    assert alarms[seen.id].acknowledged
    assert sum(len(decode_block(raw).values) for raw in history.blocks) >= 30 * 50
    assert history.events
    assert "going on with 1 streams" in daemon.text()


async def test_that_a_stream_is_silent_goes_on_over_kill_9_and_ends_when_it_comes_again(tmp_path):
    """One alarm under one id, over a kill, a restart in order, and the samples that end it."""
    silent = '[{name = "sine/*", models = ["sine-spikes"], rate_hz = 50.0, stale_s = 0.2}]'
    blocks = list(sine(samples=2000, spikes=0.0))

    async def stale(daemon, state):
        async with Client(daemon.control, 20) as client:
            alarms = await client.ask(GetAlarms(), list[Alarm])
        return {a.id for a in alarms if (a.label, a.state) == ("stale", state)}

    async def until(holds):
        async with asyncio.timeout(60):
            while not await holds():  # noqa: ASYNC110 another process does it
                await asyncio.sleep(0.02)

    async def more(daemon, part):
        async with open_outlet(daemon.samples, "signals") as outlet:
            await send(iter(part), outlet, speed=0)

    with Process(tmp_path, state__checkpoint_s=0.1, streams=silent) as daemon:
        await more(daemon, blocks[:100])
        await asyncio.to_thread(wait_for_checkpoint, daemon.db, 1000)  # all of it is in: now it is silent
        await until(lambda: stale(daemon, "active"))
        (first,) = await stale(daemon, "active")
        daemon.kill()
        daemon.start()
        assert await stale(daemon, "active") == {first}
        assert daemon.stop() == 0
        daemon.start()
        assert await stale(daemon, "active") == {first}
        await more(daemon, blocks[100:])

        async def is_over():
            return first in await stale(daemon, "cleared")

        await until(is_over)
        assert daemon.stop() == 0
    check_database(daemon.db)


def wait_for_checkpoint(path, next_seq):
    from tests.conftest import wait_until

    def is_there():
        db = sqlite3.connect(path)
        rows = db.execute("SELECT state FROM stream").fetchall()
        db.close()
        return rows and msgspec.msgpack.decode(rows[0][0], type=Saved).ledger.next_seq == next_seq

    wait_until(is_there, "a checkpoint")


async def test_a_restart_in_order_goes_on_without_a_gap(tmp_path, models):
    config = settings(tmp_path)
    blocks = list(sine(samples=2000))
    for part, total in ((blocks[:100], 1000), (blocks[100:], 2000)):
        async with running(config, models) as daemon:
            async with open_outlet(config.zeromq.listen, "signals") as outlet:
                await send(iter(part), outlet, speed=0)
            await eventually(received(daemon, total), "the samples")
    ledger = state_of(daemon).ledger
    assert (ledger.missing, ledger.duplicated, ledger.runs) == (0, 0, 1)
    spikes, _ = told(config.alarm_log.path)
    (tmp_path / "other").mkdir()
    other = settings(tmp_path / "other")
    async with running(other, models) as daemon:
        async with open_outlet(other.zeromq.listen, "signals") as outlet:
            await send(iter(blocks), outlet, speed=0)
        await eventually(received(daemon, 2000), "the samples")
    whole, _ = told(other.alarm_log.path)
    assert {k for k in spikes if k[2] == "spike"} == {k for k in whole if k[2] == "spike"}


async def test_what_cannot_be_read_is_left_out_and_the_daemon_starts(tmp_path, models, caplog):
    config = settings(tmp_path)
    with AlarmLog(config.alarm_log.path) as log:
        log._db.execute("INSERT INTO stream VALUES ('sine/1', x'c1c1')")
    async with running(config, models) as daemon:
        await eventually(lambda: daemon.pages.is_ready, "the daemon")
        assert daemon.engine.states() == []
    assert "cannot be read, and is left out" in caplog.text


async def test_a_stream_that_the_configuration_no_longer_wants_does_not_come_back(tmp_path, models):
    config = settings(tmp_path)
    async with running(config, models) as daemon:
        async with open_outlet(config.zeromq.listen, "signals") as outlet:
            await send(sine(samples=100), outlet, speed=0)
        await eventually(received(daemon, 100), "the samples")
    other = settings(tmp_path, streams=[{"name": "ecg/*", "models": ["sine-spikes"]}])
    async with running(other, models) as daemon:
        await eventually(lambda: daemon.pages.is_ready, "the daemon")
        assert daemon.engine.states() == []


async def test_streams_that_stay_away_are_forgotten(tmp_path, models):
    config = settings(tmp_path)
    async with running(config, models) as daemon:
        async with open_outlet(config.zeromq.listen, "signals") as outlet:
            await send(sine(samples=100), outlet, speed=0)
        await eventually(received(daemon, 100), "the samples")
    clock = Clock()
    with AlarmLog(config.alarm_log.path) as log:
        keeper = Keeper(log, State(forget_days=3.0), Retention(), Recent(10.0), clock)
        clock.now = keeper.load().saved[0].seen_s + 2 * 86400
        (kept,) = keeper.load().saved
        assert keeper.states([msgspec.structs.replace(kept, seen_s=0.0)])[0].rows is not None
        clock.now += 2 * 86400
        assert keeper.load() == ([], [], [])
        log.write([], [*keeper.checkpoint(), *keeper.states([])])
        assert log.read("SELECT name FROM stream") == log.read("SELECT stream FROM recent") == []


class Clock:
    def __init__(self):
        self.now = 1e9

    def __call__(self):
        return self.now


def event(i):
    return Event("s", Kind.CLASS, "spike", i, i, i, 1.0, 0.5)


def test_the_file_stays_small_by_number_and_by_age(tmp_path):
    clock = Clock()
    with AlarmLog(tmp_path / "log.db") as log:
        keeper = Keeper(log, State(), Retention(keep_events=1000, keep_days=2.0), Recent(10.0), clock)
        for day in range(6):
            for i in range(0, 300, 100):
                log.write([event(day * 1000 + i + n) for n in range(100)], keeper.checkpoint())
                clock.now += 2 * 3600
            clock.now += 18 * 3600
        days = {e.t_ns // 1000 for e in log.events(limit=-1)}
        assert min(days) >= 3
        assert {4, 5} <= days
        for i in range(50):
            log.write([event(10**6 + i * 100 + n) for n in range(100)], keeper.checkpoint())
        log.write([], keeper.checkpoint())
        assert len(log.events(limit=-1)) <= 1000
        assert log.read("SELECT count(*) FROM watermark")[0][0] < 20


def test_only_so_many_seconds_of_samples_are_kept(tmp_path):
    with AlarmLog(tmp_path / "log.db") as log:
        recent = Recent(10.0)
        keeper = Keeper(log, State(), Retention(), recent, Clock())
        log.write([], keeper.states([Saved("sine/1", Ledger("sine/1").state, ())]))
        for i, block in enumerate(sine(samples=20_000)):
            recent.block(msgspec.structs.replace(block, channels=("1",)))
            if i % 50 == 49:
                log.write([], keeper.checkpoint())
        kept = sum(len(block.values) for block in keeper.load().recent)
        assert 10 * 50 <= kept <= 10 * 50 + 1000
        rows = log.read("SELECT count(*) FROM recent")[0][0]
        recent.block(next(sine(samples=10)))  # the sender's clock goes back to the beginning
        log.write([], keeper.checkpoint())
        assert log.read("SELECT count(*) FROM recent")[0][0] == 1 < rows
