"""A cluster, to whom watches, is a daemon."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
import zmq

from monitor.cluster.gateway import run_gateway
from monitor.cluster.jetstream import connected
from monitor.cluster.layout import make_streams
from monitor.control import Acknowledge, Client, GetAlarms, GetHistory, GetModels, GetStatus, History, Overview
from monitor.core.blocks import Alarm
from monitor.core.wire import decode_block, decode_event, decode_state
from monitor.reload import load_models
from monitor.sockets import Socket
from tests.cluster.conftest import caught_up, cluster_config, nodes, publish, told_by, working
from tests.cluster.signals import entries

pytestmark = [pytest.mark.broker, pytest.mark.xdist_group("cluster")]


@contextlib.asynccontextmanager
async def served(config, models):
    stop = asyncio.Event()
    task = asyncio.create_task(run_gateway(config, models, stop))
    try:
        yield
    finally:
        stop.set()
        await asyncio.wait_for(task, 10)


async def test_dashboards_and_alarms_see_a_cluster_as_they_see_a_daemon(tmp_path):
    async with nodes(1, tmp_path) as made:
        feed = {"publish": f"ipc://{tmp_path}/feed", "control": f"ipc://{tmp_path}/control"}
        latch = [{"kind": "class", "label": "spike", "latch": True}]
        config = cluster_config(made, feed=feed, alarm_log={"path": f"{tmp_path}/log.db"}, alarms=latch)
        models, messages = load_models(config), entries(["sine/1", "ecg/1"], 30.0)
        heard, watching = {}, Socket(zmq.SUB, connect=feed["publish"])
        watching.subscribe(b"signals/ecg/1/")
        watching.subscribe(b"all/")

        async def listen():
            while True:
                for topic, payload in await watching.receive():
                    heard.setdefault(topic.decode(), []).append(payload)

        listening = asyncio.create_task(listen())
        try:
            async with connected(config.cluster, "test") as js:
                await make_streams(js, config.cluster)
                async with working(config, models), served(config, models), Client(feed["control"], 20) as client:
                    await publish(js, messages[:100])
                    while len((await client.ask(GetStatus(), Overview)).streams) < 2:  # noqa: ASYNC110
                        await asyncio.sleep(0.05)
                    for at in range(100, len(messages), 10):
                        await publish(js, messages[at : at + 10])
                        await asyncio.sleep(0.02)
                    await caught_up(js, len(messages))
                    expected = {
                        "signals/ecg/1/samples",
                        "signals/ecg/1/forecast",
                        "all/signals/sine/1/events",
                        "all/signals/ecg/1/state",
                    }
                    async with asyncio.timeout(20):
                        while not expected <= set(heard):  # noqa: ASYNC110
                            await asyncio.sleep(0.05)
                        told = [n for o in await told_by(js) for n in o.notices]
                        while len(heard.get("all/signals/sine/1/events", [])) < 3:  # noqa: ASYNC110
                            await asyncio.sleep(0.05)
                    overview = await client.ask(GetStatus(), Overview)
                    assert {state.stream for state in overview.streams} == {"sine/1", "ecg/1"}
                    assert decode_state(heard["all/signals/ecg/1/state"][0]).stream == "ecg/1"
                    said = [decode_event(p) for p in heard["all/signals/sine/1/events"]]
                    assert all(one in told for one in said)
                    history = await client.ask(GetHistory("sine/1", 30.0), History)
                    assert sum(len(decode_block(raw).values) for raw in history.blocks) >= 500
                    assert len(await client.ask(GetModels(), list)) == len(models)
                    (latched,) = [
                        a for a in await client.ask(GetAlarms(active=True), list[Alarm]) if a.label == "spike"
                    ]
                    await client.ask(Acknowledge(latched.id), list[Alarm])

                    async def acknowledged():
                        alarms = await client.ask(GetAlarms(), list[Alarm])
                        return next(a for a in alarms if a.id == latched.id).acknowledged

                    async with asyncio.timeout(10):
                        while not await acknowledged():  # noqa: ASYNC110 by the worker, and committed
                            await asyncio.sleep(0.05)
        finally:
            listening.cancel()
            watching.close()
