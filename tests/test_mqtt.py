"""MQTT against a real broker."""

from __future__ import annotations

import asyncio
import json

import aiomqtt
import pytest

from monitor.broker import complain
from monitor.config import Mqtt
from monitor.core.errors import ConfigError, Unreachable
from monitor.outlets import open_outlet
from monitor.senders import send
from monitor.sources.mqtt import MqttSource
from monitor.verbs.cluster import _until_told
from tests.conftest import eventually, free_port, start_broker
from tests.daemons import received, running, settings, sine, state_of

pytestmark = [pytest.mark.broker, pytest.mark.xdist_group("broker")]


def over(broker, folder):
    return settings(folder, mqtt={"host": "127.0.0.1", "port": broker.port, "reconnect_max_s": 0.5})


async def subscribed(broker, heard, *topics):
    async with aiomqtt.Client("127.0.0.1", broker.port) as client:
        for topic in topics:
            await client.subscribe(topic, qos=1)
        async for message in client.messages:
            heard.append((str(message.topic), json.loads(message.payload)))


async def test_a_broker_that_is_away_is_complained_about_once(caplog):
    settings = Mqtt(host="127.0.0.1", port=free_port(), reconnect_max_s=0.01)
    source = MqttSource(settings, "signals", "test")
    with caplog.at_level("DEBUG", "monitor.sources.mqtt"):
        reading = asyncio.create_task(anext(source.deliveries()))
        await eventually(lambda: len(caplog.records) > 3, "some attempts")
        reading.cancel()
    assert [record.levelname for record in caplog.records][:4] == ["WARNING", "DEBUG", "DEBUG", "DEBUG"]
    assert f"127.0.0.1:{settings.port}" in caplog.text


async def test_a_lost_connection_is_a_line_and_a_fault_of_ours_a_traceback(caplog):
    loop = asyncio.get_running_loop()
    for error in (OSError(9, "Bad file descriptor"), aiomqtt.MqttError("gone"), ValueError("ours")):
        complain(loop, {"message": "Future exception was never retrieved", "exception": error})
    assert [record.exc_info is None for record in caplog.records] == [True, True, False]


def test_the_programs_of_a_cluster_say_no_more_of_it(caplog):
    async def work(_: asyncio.Event) -> None:
        loop = asyncio.get_running_loop()
        loop.call_exception_handler({"message": "never retrieved", "exception": aiomqtt.MqttError("gone")})

    _until_told(work, None)
    assert [(record.getMessage(), record.exc_info) for record in caplog.records] == [
        ("a connection was lost: gone", None)
    ]


async def test_samples_in_events_out(tmp_path, models, broker):
    config, heard = over(broker, tmp_path), []
    listening = asyncio.create_task(subscribed(broker, heard, "signals/+/+/events", "signals/monitor/status"))
    async with running(config, models) as daemon:
        await eventually(lambda: heard and daemon.doors.sources[-1].connected, "status and subscription")
        async with open_outlet(f"mqtt://127.0.0.1:{broker.port}", "signals") as outlet:
            await send(sine(samples=600), outlet, speed=0)
        await eventually(received(daemon, 600), "all samples")
        await eventually(lambda: any(m.get("what") == "event" for _, m in heard), "an event")
        assert state_of(daemon).ledger.missing == 0
    await eventually(lambda: heard[-1][1].get("state") == "offline", "the word that it is over")
    listening.cancel()
    assert {topic for topic, _ in heard} == {"signals/sine/1/events", "signals/monitor/status"}
    flagged = [m for _, m in heard if m.get("what") == "event" and m["kind"] == "class"]
    assert {m["label"] for m in flagged} == {"spike"}


async def test_json_from_a_device_needs_only_values(tmp_path, models, broker):
    config = over(broker, tmp_path)
    async with running(config, models) as daemon, aiomqtt.Client("127.0.0.1", broker.port) as device:

        async def publish_until_heard():
            while state_of(daemon) is None:
                await device.publish("signals/sine/1/samples", '{"values": [0.1, 0.2, 0.3]}')
                await asyncio.sleep(0.05)

        await asyncio.wait_for(publish_until_heard(), 20)
        state = state_of(daemon)
        assert state.ledger.received % 3 == 0
        assert state.rate_hz == 50.0


async def test_a_broker_that_dies_and_comes_back_is_found_again(tmp_path, models, broker):
    config = over(broker, tmp_path)
    async with running(config, models) as daemon:
        source = daemon.doors.sources[-1]
        await eventually(lambda: source.connected, "the subscription")
        async with open_outlet(f"mqtt://127.0.0.1:{broker.port}", "signals") as outlet:
            await send(sine(samples=300), outlet, speed=0)
        await eventually(received(daemon, 300), "the samples before")
        broker.process.kill()
        broker.process.wait()
        await eventually(lambda: not source.connected, "the loss to be noticed")
        again = start_broker(tmp_path, broker.port)
        try:
            await eventually(lambda: source.connected, "the second subscription")
            async with open_outlet(f"mqtt://127.0.0.1:{broker.port}", "signals") as outlet:
                await send(sine(samples=300, seed=2), outlet, speed=0)
            await eventually(received(daemon, 600), "the samples after")
        finally:
            again.process.kill()
            again.process.wait()
        assert state_of(daemon).ledger.runs == 2


async def test_no_broker_is_said_in_one_line(tmp_path):
    with pytest.raises(Unreachable, match=r"the broker at mqtt://127\.0\.0\.1:1 does not answer"):
        async with open_outlet("mqtt://127.0.0.1:1", "signals"):
            pass
    with pytest.raises(ConfigError, match=r"expected mqtt.s.://"):
        async with open_outlet("mqtt://:x", "signals"):
            pass
    with pytest.raises(ConfigError, match="password_file"):
        MqttSource(Mqtt(host="h", password_file=str(tmp_path / "none")), "signals", "m")
