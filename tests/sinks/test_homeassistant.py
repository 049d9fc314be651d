"""Home Assistant: what is announced is what its documentation asks for, and its templates read what we publish.

The names are those of home-assistant.io (MQTT, MQTT sensor, MQTT binary sensor) and of the schema of its MQTT
integration; unknown ones it ignores, so that a misspelt name would go unnoticed there.
"""

from __future__ import annotations

import asyncio
import json

import aiomqtt
import msgspec
import pytest

from monitor.configfile import load_config
from monitor.core.errors import ConfigError
from monitor.core.published import LedgerCounts, Status, StreamState
from monitor.outlets import open_outlet
from monitor.senders import send
from monitor.sinks.homeassistant import announce_daemon, announce_stream
from tests.conftest import eventually
from tests.daemons import running, settings, sine

AVAILABILITY = {"availability", "availability_mode", "availability_topic", "availability_template"}
DISCOVERY = {"device", "components", "origin", "state_topic", "command_topic", "qos", "encoding", *AVAILABILITY}
DEVICE = {
    "identifiers", "connections", "manufacturer", "model", "model_id", "name", "hw_version", "serial_number",
    "sw_version", "via_device", "suggested_area", "configuration_url",
}  # fmt: skip
ORIGIN = {"name", "sw_version", "support_url"}
ENTITY = {
    "platform", "name", "unique_id", "value_template", "expire_after", "entity_category", "icon", "device_class",
    "enabled_by_default", "force_update", "state_topic", "json_attributes_topic", "json_attributes_template",
}  # fmt: skip
PLATFORMS = {
    "sensor": ENTITY | {"unit_of_measurement", "state_class", "suggested_display_precision", "options"},
    "binary_sensor": ENTITY | {"payload_on", "payload_off", "off_delay"},
}
STATE_CLASSES = {"measurement", "total", "total_increasing", "measurement_angle"}


def state(**changes):
    given = {
        "stream": "ecg/208", "rate_hz": 360.0, "channels": ("MLII",), "unit": "mV", "models": ("ecg-beats@1",),
        "newest_ns": 1, "warming": False, "ledger": LedgerCounts(received=90, missing=10), "events": 3,
    }  # fmt: skip
    return StreamState(**{**given, **changes})


STATUS = Status("ward-3", "0.1", "online", 0, 0, streams=7, events=5, latency_p99_ms=12.5, skipped_share=0.125)
STREAM = announce_stream("homeassistant", "signals", "ward-3", state(heart_rate_bpm=71.5))
DAEMON = announce_daemon("homeassistant", "signals", "ward-3")


@pytest.mark.parametrize(("topic", "payload"), [STREAM, DAEMON], ids=["stream", "daemon"])
def test_names_are_those_of_the_documentation(topic, payload):
    _, component, ident, last = topic.split("/")
    assert (component, last) == ("device", "config")
    assert all(c.isalnum() or c in "_-" for c in ident)
    told = json.loads(payload)
    assert {"device", "components", "origin"} <= set(told) <= DISCOVERY
    assert {"identifiers", "name"} <= set(told["device"]) <= DEVICE
    assert {"name"} <= set(told["origin"]) <= ORIGIN
    for entity in told["components"].values():
        assert {"platform", "unique_id", "name"} <= set(entity) <= PLATFORMS[entity["platform"]]
        assert entity.get("state_class", "measurement") in STATE_CLASSES
        assert entity.get("entity_category", "diagnostic") == "diagnostic"
    assert [set(one) for one in told["availability"]] == [{"topic", "value_template"}]


def test_a_device_hangs_on_its_daemon_and_names_are_its_own():
    stream, daemon = json.loads(STREAM[1]), json.loads(DAEMON[1])
    assert stream["device"]["via_device"] in daemon["device"]["identifiers"]
    other = json.loads(announce_stream("homeassistant", "signals", "ward-3", state(stream="ecg/209"))[1])
    idents = [entity["unique_id"] for told in (stream, daemon, other) for entity in told["components"].values()]
    assert len(set(idents)) == len(idents)


def shown(announced, message) -> dict[str, str]:
    """What Home Assistant would show, its templates filled from a message of ours."""
    jinja2 = pytest.importorskip("jinja2", reason="jinja2 is not installed: templates are not filled")
    told = json.loads(announced)
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=False)
    values = {"value_json": json.loads(msgspec.json.encode(message))}
    return {
        name: environment.from_string(entity["value_template"]).render(values)
        for name, entity in told["components"].items()
    }


def test_its_templates_read_what_is_published():
    assert shown(STREAM[1], state(heart_rate_bpm=71.5, alarms=2)) == {
        "alarm": "ON", "events": "3", "missing": "10", "heart_rate": "71.5",
    }  # fmt: skip
    assert shown(STREAM[1], state())["alarm"] == "OFF"
    assert shown(STREAM[1], state())["heart_rate"] == "None", "which Home Assistant takes for unknown"
    assert shown(DAEMON[1], STATUS) == {"streams": "7", "events": "5", "skipped": "12.5", "latency": "12.5"}


def test_only_what_has_a_heart_rate_shows_one():
    quiet = json.loads(announce_stream("homeassistant", "signals", "ward-3", state())[1])
    assert set(quiet["components"]) == {"alarm", "events", "missing"}


def test_a_prefix_that_is_none_is_refused():
    with pytest.raises(ConfigError, match=r"mqtt.home_assistant"):
        load_config(None, {}, [("mqtt.home_assistant", "a/b")])


@pytest.mark.broker
@pytest.mark.xdist_group("broker")
async def test_streams_are_announced_and_the_broker_keeps_it(tmp_path, models, broker):
    mqtt = {"host": "127.0.0.1", "port": broker.port, "home_assistant": "ha"}
    config = settings(tmp_path, mqtt=mqtt, alarms=[{"kind": "class", "latch": True}])
    heard: dict[str, dict] = {}

    async def listen(*topics):
        async with aiomqtt.Client("127.0.0.1", broker.port) as client:
            for topic in topics:
                await client.subscribe(topic, qos=1)
            async for message in client.messages:
                heard[str(message.topic)] = json.loads(message.payload)

    listening = asyncio.create_task(listen("ha/#", "signals/sine/1/state"))
    async with running(config, models) as daemon:
        await eventually(lambda: daemon.doors.sources[-1].connected, "the broker")
        async with open_outlet(f"mqtt://127.0.0.1:{broker.port}", "signals") as outlet:
            await send(sine(samples=600), outlet, speed=0)
        await eventually(lambda: heard.get("signals/sine/1/state", {}).get("alarms"), "an open alarm in the state")
    listening.cancel()
    announced = {topic: told for topic, told in heard.items() if topic.startswith("ha/")}
    assert set(announced) == {f"ha/device/foretrace-monitor{end}/config" for end in ("", "-sine--1")}
    heard.clear()
    listening = asyncio.create_task(listen("ha/#"))
    await eventually(lambda: heard == announced, "what the broker has kept")
    listening.cancel()
