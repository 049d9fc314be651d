"""A cluster, to whom watches, is a daemon."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time

import pytest
import zmq

from monitor.cluster.gateway import run_gateway
from monitor.cluster.jetstream import JetStream, connected
from monitor.cluster.layout import make_streams
from monitor.control import (
    Acknowledge,
    Client,
    GetAlarms,
    GetHistory,
    GetModels,
    GetStatus,
    GetWhy,
    History,
    Mark,
    Overview,
    Reload,
    SetBudget,
    TestAlarm,
    Why,
)
from monitor.core.blocks import Alarm, Note
from monitor.core.errors import MonitorError
from monitor.core.evidence import array_of
from monitor.core.published import decode_event, decode_state
from monitor.core.wire import decode_block
from monitor.keys import make_key, write_key
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
        await asyncio.wait_for(task, 60)


@contextlib.asynccontextmanager
async def watched(folder):
    """A cluster of one worker, to which half a minute of two streams came, its gateway, and a client of that."""
    async with nodes(1, folder) as made:
        feed = {"publish": f"ipc://{folder}/feed", "control": f"ipc://{folder}/control"}
        latch = [{"kind": "class", "label": "spike", "latch": True}]
        config = cluster_config(made, feed=feed, alarm_log={"path": f"{folder}/log.db"}, alarms=latch)
        models, messages = load_models(config), entries(["sine/1", "ecg/1"], 30.0)
        async with connected(config.cluster, "test") as js:
            await make_streams(js, config.cluster)
            async with working(config, models), served(config, models), Client(feed["control"], 60) as client:
                await publish(js, messages[:100])
                while len((await client.ask(GetStatus(), Overview)).streams) < 2:  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
                for at in range(100, len(messages), 10):
                    await publish(js, messages[at : at + 10])
                    await asyncio.sleep(0.02)
                await caught_up(js, len(messages))
                yield js, client, models


async def open_alarm(client, label, stream):
    async with asyncio.timeout(60):
        while True:
            for alarm in await client.ask(GetAlarms(active=True, stream=stream), list[Alarm]):
                if alarm.label == label:
                    return alarm
            await asyncio.sleep(0.05)


async def test_dashboards_see_a_cluster_as_they_see_a_daemon(tmp_path, monkeypatch):
    monkeypatch.setattr(JetStream, "read_some", functools.partialmethod(JetStream.read_some, batch=40))
    heard, watching = {}, Socket(zmq.SUB, connect=f"ipc://{tmp_path}/feed")
    watching.subscribe(b"signals/ecg/1/")
    watching.subscribe(b"all/")

    async def listen():
        while True:
            for topic, payload in await watching.receive():
                heard.setdefault(topic.decode(), []).append(payload)

    listening = asyncio.create_task(listen())
    try:
        async with watched(tmp_path) as (js, client, models):
            expected = {
                "signals/ecg/1/samples",
                "signals/ecg/1/forecast",
                "all/signals/sine/1/events",
                "all/signals/ecg/1/state",
            }
            async with asyncio.timeout(60):
                while not (expected <= set(heard) and len(heard["all/signals/sine/1/events"]) >= 3):  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
            said = [decode_event(p) for p in heard["all/signals/sine/1/events"]]
            told = [n for o in await told_by(js) for n in o.notices]
            assert all(one in told for one in said)
            assert decode_state(heard["all/signals/ecg/1/state"][0]).stream == "ecg/1"
            overview = await client.ask(GetStatus(), Overview)
            assert {state.stream for state in overview.streams} == {"sine/1", "ecg/1"}
            history = await client.ask(GetHistory("sine/1", 600.0), History)
            assert sum(len(decode_block(raw).values) for raw in history.blocks) == 1500
            assert "spike" in {event.label for event in history.events}
            assert len((await client.ask(GetHistory("ecg/1", 600.0), History)).beats) > 20
            assert len(await client.ask(GetModels(), list)) == len(models)
    finally:
        listening.cancel()
        watching.close()


async def test_what_people_say_of_alarms_and_ask_about_them_goes_through(tmp_path):
    async with watched(tmp_path) as (_, client, _):
        latched = await open_alarm(client, "spike", "sine/1")
        why = await client.ask(GetWhy(latched.id), Why)
        assert why.evidence.model.startswith("sine-spikes")
        assert array_of(why.evidence.window, 1).shape == (50, 1)
        assert "spike" in {event.label for event in why.events}
        (seen,) = await client.ask(Acknowledge(latched.id), list[Alarm])
        assert (seen.id, seen.acknowledged) == (latched.id, True)
        assert await client.ask(Acknowledge(latched.id), list[Alarm]) == []
        assert await client.ask(SetBudget(2.0, "*"), list[str]) == ["ecg/1", "sine/1"]
        assert await client.ask(SetBudget(2.0, "pump/*"), list[str]) == []
        with pytest.raises(MonitorError, match="start its workers again"):
            await client.ask(Reload(), list[str])
        stale = await open_alarm(client, "stale", "ecg/1")  # nothing comes any more
        assert (await client.ask(GetWhy(stale.id), Why)).alarm.id == stale.id
        test = await client.ask(TestAlarm(), Alarm)
        assert test in await client.ask(GetAlarms(active=True), list[Alarm])
        note = await client.ask(Mark(latched.id, "true"), Note)
        assert note in (await client.ask(GetWhy(latched.id), Why)).notes


async def test_the_real_dashboard_shows_a_stream_of_the_cluster(tmp_path):
    pytest.importorskip("textual", reason="the extra `dashboard` is not installed")
    from monitor.dashboard.app import Dashboard
    from monitor.dashboard.choices import Choices
    from monitor.dashboard.link import Link
    from monitor.dashboard.state import Board
    from monitor.dashboard.widgets.waveform import Waveforms

    async with watched(tmp_path) as (js, client, _):
        board = Board()
        link = Link(board, f"ipc://{tmp_path}/feed", f"ipc://{tmp_path}/control", clock=time.monotonic)
        app = Dashboard(board, link, Choices(selected="sine/1"), frames_s=4)
        coming = iter(entries(["sine/1", "ecg/1"], 300.0)[300:])
        async with app.run_test(size=(100, 30)) as pilot:

            async def until(holds):
                async with asyncio.timeout(90):
                    while not holds():
                        await publish(js, [next(coming)])
                        await asyncio.sleep(0.1)  # as fast as time goes on

            await until(lambda: "sine/1" in board.streams and board.streams["sine/1"].forecast is not None)
            await until(lambda: "▸ sine/1" in app.screen.query_one(Waveforms).text)
            assert {"sine/1", "ecg/1"} <= set(board.streams)
            latched = await open_alarm(client, "spike", "sine/1")
            await until(lambda: any(alarm.id == latched.id for alarm in board.calling))
            await pilot.press("a")
            await until(lambda: all(alarm.id != latched.id for alarm in board.calling))
            assert (await client.ask(GetWhy(latched.id), Why)).alarm.acknowledged


async def test_a_gateway_that_comes_back_has_missed_nothing_and_says_when_nobody_obeys(tmp_path, monkeypatch):
    monkeypatch.setattr("monitor.cluster.reader._BEFORE_NS", 0)
    monkeypatch.setattr("monitor.cluster.gateway._ORDER_S", 0.2)
    async with nodes(1, tmp_path) as made:
        feed = {"publish": f"ipc://{tmp_path}/feed", "control": f"ipc://{tmp_path}/control"}
        config = cluster_config(made, feed=feed, alarm_log={"path": f"{tmp_path}/log.db"})
        models, messages = load_models(config), entries(["sine/1", "sine/2"], 30.0)
        async with connected(config.cluster, "test") as js:
            await make_streams(js, config.cluster)
            async with working(config, models):
                async with served(config, models), Client(feed["control"], 60) as client:
                    await client.ask(GetStatus(), Overview)  # it is there, and has read nothing
                await publish(js, messages)
                await caught_up(js, len(messages))
                raised = {n.id for o in await told_by(js) for n in o.notices if isinstance(n, Alarm)}
                async with served(config, models), Client(feed["control"], 60) as client:
                    assert raised
                    known, streams = set[str](), list[object]()
                    async with asyncio.timeout(60):
                        while not (raised <= known and len(streams) == 2):
                            await asyncio.sleep(0.05)
                            known = {alarm.id for alarm in await client.ask(GetAlarms(limit=1000), list[Alarm])}
                            streams = (await client.ask(GetStatus(), Overview)).streams
            async with served(config, models), Client(feed["control"], 60) as client:
                async with working(config, models):
                    while len((await client.ask(GetStatus(), Overview)).streams) < 2:  # noqa: ASYNC110
                        await asyncio.sleep(0.05)
                with pytest.raises(MonitorError, match="no worker has yet come to it in partition"):
                    await client.ask(SetBudget(2.0), list[str])


async def test_who_watches_a_cluster_may_ask_but_not_command(tmp_path):
    ours = make_key("daemon")
    nurse = make_key("nurse", ours.public)
    write_key(ours, tmp_path / "daemon.key")
    (tmp_path / "allowed.keys").write_text(f"{nurse.public} nurse watch\n")
    async with nodes(1, tmp_path) as made:
        config = cluster_config(
            made,
            feed={"publish": f"ipc://{tmp_path}/feed", "control": f"ipc://{tmp_path}/control"},
            alarm_log={"path": f"{tmp_path}/log.db"},
            keys={"secret_file": f"{tmp_path}/daemon.key", "allowed_file": f"{tmp_path}/allowed.keys"},
        )
        async with connected(config.cluster, "test") as js:
            await make_streams(js, config.cluster)
        who = Client(config.feed.control, 60, nurse.client_options())
        async with served(config, load_models(config)), who as client:
            assert (await client.ask(GetStatus(), Overview)).streams == []
            with pytest.raises(MonitorError, match="may ask, but not command: acknowledge"):
                await client.ask(Acknowledge(""), list[Alarm])
