"""ZeroMQ that does not lose: whatever is acknowledged was durable, whatever was not comes again."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from unittest.mock import Mock

import pytest
import zmq

from monitor.control import Client, GetStatus, Overview
from monitor.core.errors import Unreachable
from monitor.core.wire import encode_block
from monitor.outlets import open_outlet
from monitor.senders import send
from monitor.sinks.alarmlog import AlarmLog
from monitor.sockets import Socket
from tests.conftest import eventually
from tests.daemons import received, running, settings, sine, state_of


def reliable(folder, **more):
    config = {"listen": f"ipc://{folder}/samples", "listen_reliable": f"ipc://{folder}/reliable", **more}
    return settings(folder, zeromq=config)


async def test_everything_arrives_once_and_is_acknowledged(tmp_path, models):
    config = reliable(tmp_path, credit=7)
    async with running(config, models) as daemon:
        async with open_outlet("reliable+" + config.zeromq.listen_reliable, "signals") as outlet:
            await send(sine(), outlet, speed=0)
            await outlet.flush()
            assert outlet.acknowledged == 100
        ledger = state_of(daemon).ledger
    assert (ledger.received, ledger.missing, ledger.duplicated) == (1000, 0, 0)


async def test_what_comes_again_or_too_early_is_not_taken(tmp_path, models):
    config = reliable(tmp_path)
    blocks = [encode_block(block) for block in sine(samples=50)]
    async with running(config, models) as daemon:
        sender = Socket(zmq.DEALER, connect=config.zeromq.listen_reliable, options={zmq.ROUTING_ID: b"me"})
        for number in (0, 1, 1, 3, 0, 2, 3, 4):
            sender.send(bytes(8), number.to_bytes(8), b"signals/sine/1/samples", blocks[number])
        sender.send(b"short", b"frames")
        heard = []
        while not heard or heard[-1] != 5:
            heard += [int.from_bytes(frames[0]) for frames in await sender.receive()]
        sender.close()
        await eventually(received(daemon, 50), "all samples")
        ledger = state_of(daemon).ledger
    assert heard == sorted(heard)
    assert (ledger.missing, ledger.duplicated, ledger.late) == (0, 0, 0)


async def test_kill_9_of_the_daemon_loses_nothing(tmp_path):
    """The second daemon begins where the acknowledgements of the first ended, and knows its alarms."""
    config = reliable(tmp_path)
    flags = {
        "zeromq.listen": "",
        "zeromq.listen_reliable": config.zeromq.listen_reliable,
        "zeromq.credit": "16",
        "feed.publish": config.feed.publish,
        "feed.control": config.feed.control,
        "alarm_log.path": config.alarm_log.path,
    }
    command = [
        sys.executable,
        "-m",
        "monitor",
        "run",
        *(p for k, v in flags.items() for p in ("--set", f"{k}={v}")),
    ]
    samples = 6000
    first = start(command)
    second = None
    try:
        async with (
            open_outlet("reliable+" + config.zeromq.listen_reliable, "signals") as outlet,
            Client(config.feed.control, 20) as client,
        ):
            sending = asyncio.create_task(send(sine(samples=samples, spikes=60.0), outlet, speed=0))
            await eventually(lambda: outlet.acknowledged > 150, "some acknowledgements")
            first.kill()
            first.wait()
            kept_from = outlet.acknowledged
            assert kept_from < samples // 10
            second = start(command)
            assert (await sending).samples == samples
            await outlet.flush()
            (state,) = (await client.ask(GetStatus(), Overview)).streams
        ledger = state.ledger
        print(f"killed after {kept_from} acknowledgements: {ledger}")  # noqa: T201
        assert (ledger.received, ledger.missing, ledger.gaps, ledger.late) == (samples, 0, 0, 0)
    finally:
        for process in (first, second):
            if process is not None:
                process.kill()
                process.wait()
    with AlarmLog(config.alarm_log.path) as log:
        events = log.events(limit=-1)
        assert len({(e.stream, e.kind, e.label, e.t_ns) for e in events}) == len(events)  # none twice
        restart_ns = 10**18 + kept_from * 10 * 10**9 // 50
        assert [e for e in events if e.t_ns < restart_ns]
        assert [e for e in events if e.t_ns > restart_ns + 10**9]


def start(command: list[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command, stderr=subprocess.DEVNULL)


async def test_nobody_there_is_said_in_time(tmp_path, monkeypatch):
    monkeypatch.setattr("monitor.outlets.CONNECT_S", 0.1)
    monkeypatch.setattr("monitor.outlets.RESEND_S", 0.03)
    monkeypatch.setattr("monitor.outlets.LATE_S", 0.01)
    for way, error in (("", "no monitor listens at"), ("reliable+", "listen_reliable")):
        said: list[str] = []
        with pytest.raises(Unreachable, match=error):
            async with open_outlet(f"{way}ipc://{tmp_path}/none", "signals", say=said.append) as outlet:
                await send(sine(), outlet, speed=0)
        assert said == [f"no monitor has answered at ipc://{tmp_path}/none yet; waiting for one, 0.1 s at most"]


async def test_nothing_is_said_of_somebody_who_is_there(tmp_path, models, monkeypatch):
    config, said, timers = reliable(tmp_path), list[str](), list[Mock]()
    monkeypatch.setattr("monitor.outlets._late", lambda *_: timers.append(Mock()) or timers[-1])
    monkeypatch.setattr("monitor.outlets.RESEND_S", 30.0)  # a machine may be slow
    async with running(config, models):
        async with open_outlet(config.zeromq.listen, "signals", say=said.append):
            (timer,) = timers
            assert timer.cancel.called
        async with open_outlet("reliable+" + config.zeromq.listen_reliable, "signals", say=said.append) as outlet:
            await send(sine("sine/2"), outlet, speed=0)
    assert said == []
    assert len(timers) == 1
