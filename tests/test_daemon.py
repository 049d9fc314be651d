"""The daemon on real sockets, a real broker and real files, with the shipped models of the noisy sine."""

from __future__ import annotations

import asyncio
import itertools
import logging

import numpy as np
import pytest
import zmq

from monitor.configfile import load_config
from monitor.control import (
    Acknowledge,
    Client,
    GetAlarms,
    GetHistory,
    GetModels,
    GetStatus,
    History,
    Overview,
    SetBudget,
)
from monitor.core.blocks import Alarm, Block, Event
from monitor.core.errors import ConfigError, MonitorError, Unreachable
from monitor.core.published import decode_event, decode_forecast, decode_scores, decode_state, decode_status
from monitor.core.signals import NoisySine
from monitor.core.wire import decode_block, encode_block
from monitor.daemon import Daemon
from monitor.identity import identity
from monitor.outlets import open_outlet
from monitor.reload import load_models
from monitor.senders import send
from monitor.sinks.alarmlog import AlarmLog
from monitor.sockets import Socket
from tests.conftest import eventually
from tests.daemons import received, running, settings, sine, state_of


async def test_every_sample_arrives_and_every_spike_is_flagged(tmp_path, models):
    config = settings(tmp_path)
    async with running(config, models) as daemon:
        async with open_outlet(config.zeromq.listen, "signals") as outlet:
            sent = await send(sine(), outlet, speed=0)
        await eventually(received(daemon, 1000), "all samples")
        async with Client(config.feed.control) as client:
            await eventually(lambda: daemon.status().windows == 2 * 191, "all windows")
            overview = await client.ask(GetStatus(), Overview)
            alarms = await client.ask(GetAlarms(), list[Alarm])
    (state,) = overview.streams
    assert (sent.samples, state.ledger.received, state.ledger.missing) == (1000, 1000, 0)
    assert (state.windows, state.forecasts) == (382, 191)
    assert state.skill > 0.5
    assert overview.status.latency_p99_ms > 0
    _, truth = NoisySine(seed=1, spikes_per_minute=20.0).next(1000)
    raised = [(a.raised_ns - 10**18) / 1e9 * 50 for a in alarms if a.label == "spike"]
    missed = [at for at, _ in truth if at >= 50 and not any(at - 1 <= r <= at + 12 for r in raised)]
    assert len(missed) <= 0.4 * len(truth)
    assert not [r for r in raised if not any(at - 1 <= r <= at + 15 for at, _ in truth)]
    with AlarmLog(config.alarm_log.path) as log:
        assert {a.id for a in log.alarms(limit=-1)} >= {a.id for a in alarms}
        assert log.events()


async def test_the_feed_brings_what_was_asked_for(tmp_path, models):
    config = settings(tmp_path)
    heard: dict[str, list[bytes]] = {}
    async with running(config, models) as daemon:
        feed = Socket(zmq.SUB, connect=config.feed.publish)
        for topic in (b"signals/sine/1/", b"signals/monitor/status", b"all/"):
            feed.subscribe(topic)

        async def listen():
            while True:
                for topic, payload in await feed.receive():
                    heard.setdefault(topic.decode(), []).append(payload)

        listening = asyncio.create_task(listen())
        await eventually(lambda: "signals/monitor/status" in heard, "a heart beat")
        async with open_outlet(config.zeromq.listen, "signals") as outlet:
            await send(sine(), outlet, speed=0)
            await send(sine("sine/2"), outlet, speed=0)
        await eventually(received(daemon, 1000, "sine/2"), "the second stream")
        await eventually(lambda: "all/signals/sine/2/state" in heard, "its state")
        listening.cancel()
        feed.close()
    topics = {topic for topic in heard if topic.startswith("signals/")}
    own = {f"signals/sine/1/{what}" for what in ("samples", "forecast", "scores", "events", "state")}
    assert topics == own | {"signals/monitor/status"}  # nothing of sine/2, which was not asked for
    assert {f"all/signals/sine/{n}/{what}" for n in (1, 2) for what in ("events", "state")} <= set(heard)
    assert sum(len(decode_block(p).values) for p in heard["signals/sine/1/samples"]) == 1000
    forecast = decode_forecast(heard["signals/sine/1/forecast"][-1])
    assert forecast.mean.shape == (50, 1)
    assert (forecast.lower <= forecast.upper).all()
    assert {s.label for p in heard["signals/sine/1/scores"] for s in decode_scores(p)} == {"spike", "forecast"}
    kinds = [type(decode_event(p)) for p in heard["signals/sine/1/events"]]
    assert {Event, Alarm} == set(kinds)
    assert decode_status(heard["signals/monitor/status"][0]).state == "online"
    assert decode_state(heard["all/signals/sine/2/state"][-1]).stream == "sine/2"


async def test_a_bad_block_is_counted_and_touches_nothing_else(tmp_path, models, caplog):
    config = settings(tmp_path)
    bad = [
        (b"signals/sine/1/samples", b"\xff\xfe garbage"),
        (b"signals/sine/1/samples", b'{"values": [1e999]}'),
        (b"signals/unknown/samples", b'{"values": [1]}'),
        (b"signals/sine/1/samples", encode_block(Block("sine/1", np.zeros((5, 2), np.float32), rate_hz=50.0))),
        (b"nonsense", b""),
    ]
    async with running(config, models) as daemon:
        async with open_outlet(config.zeromq.listen, "signals") as outlet:
            for i, block in enumerate(sine(samples=500)):
                await outlet.send("sine/1", encode_block(block))
                if i == 20:
                    sender = Socket(zmq.XPUB, connect=config.zeromq.listen)
                    await sender.receive()
                    for _ in range(3):
                        for frames in bad:
                            sender.send(*frames)
                    await eventually(lambda: daemon.status().refused == 15, "the refusals")
                    sender.close()
        await eventually(received(daemon, 500), "all good samples")
        state = state_of(daemon)
    assert (state.ledger.missing, state.ledger.refused) == (0, 9)
    lines = [r.message for r in caplog.records if "refused" in r.message]
    assert len(lines) == 5  # one for each kind and stream, however many came
    assert any("'sine/1': expected 1 channels, got 2" in line for line in lines)


async def test_a_sender_that_is_killed_and_started_again_is_a_restart(tmp_path, models):
    config = settings(tmp_path)
    async with running(config, models) as daemon:
        for _ in range(2):
            async with open_outlet(config.zeromq.listen, "signals") as outlet:
                await send(sine(samples=300), outlet, speed=0)
        await eventually(received(daemon, 600), "both runs")
        state = state_of(daemon)
    assert (state.ledger.runs, state.ledger.missing, state.ledger.duplicated) == (2, 0, 0)


async def test_who_asks_when_all_is_concluded_hears_of_every_window(tmp_path, models):
    config = settings(tmp_path, inference={"max_wait_ms": 1000.0, "max_batch": 4096})
    async with running(config, models) as daemon:
        async with open_outlet(config.zeromq.listen, "signals") as outlet:
            await send(sine(), outlet, speed=0)
        await eventually(lambda: state_of(daemon) and state_of(daemon).ledger.received == 1000, "all samples")
        async with Client(config.feed.control, 60) as client:
            overview = await client.ask(GetStatus(concluded=True), Overview)
    assert overview.streams[0].windows == 382


async def test_what_was_read_is_concluded_before_the_end(tmp_path, models):
    config = settings(tmp_path, inference={"max_wait_ms": 3_600_000.0, "max_batch": 4096})
    async with running(config, models) as daemon:
        async with open_outlet(config.zeromq.listen, "signals") as outlet:
            await send(sine(), outlet, speed=0)
        await eventually(lambda: state_of(daemon) and state_of(daemon).ledger.received == 1000, "all samples")
        assert daemon.status().windows == 0  # they wait for company
    assert daemon.status().windows == 382


async def test_control_answers_and_refuses(tmp_path, models):
    config = settings(tmp_path)
    async with running(config, models) as daemon, Client(config.feed.control) as client:
        async with open_outlet(config.zeromq.listen, "signals") as outlet:
            await send(sine(), outlet, speed=0)
        await eventually(received(daemon, 1000), "all samples")
        history = await client.ask(GetHistory("sine/1", 5.0), History)
        assert 250 <= sum(len(decode_block(raw).values) for raw in history.blocks) <= 350
        cards = await client.ask(GetModels(), list[dict])
        assert {card["name"] for card in cards} == {"sine-spikes", "sine-forecast"}
        assert await client.ask(GetAlarms(stream="sine/9"), list[Alarm]) == []
        with pytest.raises(MonitorError, match="known command"):
            await client.ask({"command": "dance"}, object)
        assert await client.ask(Acknowledge("nobody"), list[Alarm]) == []


async def test_acknowledging_reaches_log_and_feed(tmp_path, models):
    forever = {"kind": "class", "label": "spike", "clear_s": 1.0, "latch": True}
    config = settings(tmp_path, alarms=[forever])
    truth = [at for at, _ in NoisySine(seed=1, spikes_per_minute=20.0).next(3000)[1]]
    samples = next(a for a, b in itertools.pairwise(truth) if a > 100 and b - a > 150) + 140
    async with running(config, models) as daemon, Client(config.feed.control) as client:
        async with open_outlet(config.zeromq.listen, "signals") as outlet:
            await send(sine(samples=samples), outlet, speed=0)
        await eventually(received(daemon, samples), "all samples")
        await eventually(lambda: any(a.state == "latched" for a in daemon.engine.open_alarms()), "a latched alarm")
        (latched,) = [a for a in await client.ask(GetAlarms(active=True), list[Alarm]) if a.label == "spike"]
        (changed,) = await client.ask(Acknowledge(latched.id), list[Alarm])
        assert (changed.state, changed.acknowledged) == ("cleared", True)
    with AlarmLog(config.alarm_log.path) as log:
        assert next(a for a in log.alarms() if a.id == latched.id).acknowledged


async def test_a_budget_that_is_asked_for_outlives_the_daemon(tmp_path, models):
    config = settings(tmp_path)

    def kept(daemon):
        (one,) = daemon.engine.memory.learn(daemon.engine.memory.save())
        return {key: value for some in one.calibration.values() for key, value in some.items() if "asked" in key}

    async with running(config, models) as daemon, Client(config.feed.control) as client:
        assert await client.ask(SetBudget(1.0), list[str]) == []  # nothing has come yet
        async with open_outlet(config.zeromq.listen, "signals") as outlet:
            await send(sine(), outlet, speed=0)
        await eventually(received(daemon, 1000), "all samples")
        assert await client.ask(SetBudget(1.0, stream="ecg/*"), list[str]) == []
        assert await client.ask(SetBudget(1.5), list[str]) == ["sine/1"]
        assert await client.ask(SetBudget(2.5, kind="class", label="sp*"), list[str]) == ["sine/1"]
        assert kept(daemon) == {"forecast.asked": 1.5, "spike.asked": 2.5}
        with pytest.raises(MonitorError, match="per_hour"):
            await client.ask(SetBudget(-1.0), list[str])
    async with running(config, models) as daemon, Client(config.feed.control) as client:
        async with open_outlet(config.zeromq.listen, "signals") as outlet:
            await send(sine(samples=2000), outlet, speed=0)
        await eventually(lambda: daemon.engine.count_streams() == 1, "the stream")
        await eventually(lambda: kept(daemon) == {"forecast.asked": 1.5, "spike.asked": 2.5}, "its budgets")
        assert daemon.engine.states()[0].warming
        assert await client.ask(SetBudget(None, kind="class"), list[str]) == ["sine/1"]
        assert kept(daemon) == {"forecast.asked": 1.5}


async def test_nobody_there_is_said_in_time(tmp_path):
    async with Client(f"ipc://{tmp_path}/none", timeout_s=0.1) as client:
        with pytest.raises(Unreachable, match="no daemon answered"):
            await client.ask(GetStatus(), Overview)


async def test_an_address_in_use_is_a_configuration_error(tmp_path, models):
    config = settings(tmp_path, zeromq={"listen": "tcp://127.0.0.1:*"}, feed={"publish": "ipc:///nowhere/at/all"})
    with AlarmLog(tmp_path / "x.db") as log, pytest.raises(ConfigError, match="nowhere"):
        Daemon(config, models, log)


def test_a_second_daemon_of_the_same_log_is_told_who_is_first(tmp_path):
    config = settings(tmp_path)
    with identity(config):
        with pytest.raises(ConfigError, match=r"another monitor \(monitor, process \d+\)"), identity(config):
            pass
        assert (tmp_path / "log.db.lock").exists()
    assert not (tmp_path / "log.db.lock").exists()


def test_a_model_that_is_not_there_is_refused_before_anything_starts(tmp_path):
    config, _ = load_config(None, {}, [("streams", '[{name = "a", models = ["no-such"]}]')])
    with pytest.raises(ConfigError, match=r"expected some of .*sine-spikes.*got no-such"):
        load_models(config)
    assert logging.getLogger("monitor").handlers == []


async def test_an_open_alarm_survives_the_daemon(tmp_path, models):
    forever = {"kind": "class", "label": "spike", "clear_s": 1.0, "latch": True}
    config = settings(tmp_path, alarms=[forever])
    async with running(config, models) as daemon:
        async with open_outlet(config.zeromq.listen, "signals") as outlet:
            await send(sine(), outlet, speed=0)
        await eventually(received(daemon, 1000), "all samples")
        await eventually(lambda: daemon.status().windows == 382, "all windows")
        before = [alarm for alarm in daemon.engine.open_alarms() if alarm.label == "spike"]
    async with running(config, models), Client(config.feed.control) as client:
        after = [a for a in await client.ask(GetAlarms(active=True), list[Alarm]) if a.label == "spike"]
        assert [(a.id, a.state) for a in after] == [(a.id, a.state) for a in before]
        await client.ask(Acknowledge(before[0].id), list[Alarm])
    async with running(config, models) as third:
        assert [a for a in third.engine.open_alarms() if a.label == "spike"] == []
