"""The link on real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import time

import pytest

from monitor.control import GetHistory, GetStatus
from monitor.core.blocks import NS, Event, Kind, State
from monitor.core.errors import ConfigError, Unreachable
from monitor.core.published import encode
from monitor.core.wire import encode_block
from monitor.dashboard.link import Link
from monitor.dashboard.state import Board
from tests.dashboard.conftest import Clock, until
from tests.dashboard.fake_feed import T0_NS, FakeDaemon, Sine
from tests.dashboard.making import alarm, block, state


@contextlib.asynccontextmanager
async def linked(feed: str, control: str, clock=time.monotonic):
    board = Board()
    link = Link(board, feed, control, clock=clock)
    task = asyncio.create_task(link.run())
    try:
        yield board, link
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        link.close()
    assert not isinstance(task.exception() if not task.cancelled() else None, Exception)


async def subscribed(daemon: FakeDaemon, board: Board) -> None:
    """Until the feed has taken note of the subscription, nothing published arrives."""

    def heard() -> bool:
        daemon.publish_status()
        return board.status is not None and board.heard_s is not None and board.version > before

    before = board.version
    await until(lambda: board.status is not None, "an overview")
    before = board.version
    await until(heard, "a status")


async def test_it_asks_for_everything_at_the_start(daemon):
    async with linked(daemon.feed, daemon.control, Clock()) as (board, link):
        await until(lambda: board.names == ["ecg/208", "sine/1"], "streams")
        assert board.is_connected(0.0)
        await until(lambda: len(board.alarms) == len(daemon.alarms), "alarms")
        link.want({"ecg/208": 8.0})
        await until(lambda: board.streams["ecg/208"].trace is not None, "history")
        view = board.streams["ecg/208"]
        assert view.trace.newest_ns == T0_NS + round((daemon.position["ecg/208"] - 1) / 360 * NS)
        assert len(view.beats) > 5
        assert view.bands
        assert board.streams["sine/1"].trace is None


async def test_samples_come_only_for_streams_that_are_shown(daemon):
    async with linked(daemon.feed, daemon.control) as (board, link):
        await subscribed(daemon, board)
        link.want({"sine/1": 8.0})
        await until(lambda: board.streams["sine/1"].trace is not None, "history")
        ecg, sine = daemon.streams

        def moved() -> bool:
            daemon.step(ecg)
            daemon.step(sine)
            return board.streams["sine/1"].forecast is not None and bool(board.streams["sine/1"].scores)

        await until(moved, "live details")
        assert board.streams["ecg/208"].trace is None
        assert board.streams["ecg/208"].forecast is None


async def test_a_stream_is_released_when_it_is_no_longer_shown(daemon):
    async with linked(daemon.feed, daemon.control) as (board, link):
        await subscribed(daemon, board)
        link.want({"sine/1": 8.0})
        await until(lambda: board.streams["sine/1"].trace is not None, "history")
        link.want({"ecg/208": 8.0})
        assert board.streams["sine/1"].trace is None
        link.want({"sine/1": 8.0})
        await until(lambda: board.streams["sine/1"].trace is not None, "history again")


async def test_a_longer_time_base_fetches_more(daemon):
    async with linked(daemon.feed, daemon.control) as (board, link):
        await subscribed(daemon, board)
        link.want({"sine/1": 8.0})
        await until(lambda: any(isinstance(r, GetHistory) for r in daemon.asked), "history")
        link.want({"sine/1": 9.0})
        link.want({"sine/1": 120.0})
        await until(lambda: GetHistory("sine/1", 120.0) in daemon.asked, "more history")
        assert [r.seconds for r in daemon.asked if isinstance(r, GetHistory)] == [30.0, 120.0]


async def test_events_and_states_of_all_streams_come_without_asking(daemon):
    async with linked(daemon.feed, daemon.control) as (board, _):
        await subscribed(daemon, board)
        daemon.publish("ward/1", "state", encode(state("ward/1")), to_all=True)
        daemon.publish("ward/1", "events", encode(alarm("x", stream="ward/1")), to_all=True)
        event = Event("ward/1", Kind.SIGNAL, "gap", T0_NS, T0_NS, T0_NS, 1.0, 1.0)
        daemon.publish("ward/1", "events", encode(event), to_all=True)
        await until(lambda: "ward/1" in board.streams and board.streams["ward/1"].bands, "event")
        assert board.alarm("x") is not None
        assert board.streams["ward/1"].state is not None


@pytest.mark.parametrize(
    ("topic", "payload"),
    [
        (b"all/signals/s/state", b"\xff not a message"),
        (b"all/signals/s/unheard-of", b""),
        (b"all/signals/", b""),
        (b"all/signals/\xff\xfe/state", b""),
        (b"all/signals/s/state", encode(state("another"))),
        (b"all/signals/s/state", encode(state("s", newest_s=1e10))),
        (b"all/signals/s/state", encode(state("s", silent_s=float("inf")))),
        (b"signals/monitor/status", b""),
        (b"signals/s/samples", b"{"),
    ],
    ids=["garbage", "what", "short", "not-ascii", "another-stream", "no-time", "no-span", "status", "block"],
)
async def test_what_cannot_be_read_is_counted_and_changes_nothing(daemon, topic, payload):
    async with linked(daemon.feed, daemon.control) as (board, link):
        await subscribed(daemon, board)
        link.want({"s": 1.0})
        names = board.names

        def refused() -> bool:
            daemon._feed.send(topic, payload)
            return board.refused > 0

        await until(refused, "a refusal")
        assert board.names == names
        daemon._feed.send(topic)  # a frame is missing
        daemon._feed.send(topic, payload, b"one too many")


async def test_details_on_their_way_to_a_stream_no_longer_shown_are_dropped(daemon):
    async with linked(daemon.feed, daemon.control) as (board, link):
        await subscribed(daemon, board)
        link._take([b"signals/sine/1/samples", encode_block(block([1.0], stream="sine/1"))])
        assert board.streams["sine/1"].trace is None
        assert board.refused == 0


async def test_after_silence_it_catches_up(daemon):
    clock = Clock(100.0)
    async with linked(daemon.feed, daemon.control, clock) as (board, link):
        await subscribed(daemon, board)
        link.want({"sine/1": 8.0})
        await until(lambda: board.streams["sine/1"].trace is not None, "history")
        kept = board.streams["sine/1"].trace.newest_ns
        clock.now_s += 10
        assert not board.is_connected(clock.now_s)
        await until(lambda: link._started_ns is None, "notice of the silence")
        assert board.streams["sine/1"].trace.newest_ns == kept  # what is on the screen stays
        daemon.warm(3)  # meanwhile; none of it reaches us in time
        board.streams["sine/1"].trace.clear()
        daemon.publish_status()
        await until(lambda: board.is_connected(clock.now_s), "the daemon")
        await until(
            lambda: board.streams["sine/1"].trace is not None and board.streams["sine/1"].trace.count > 600, "past"
        )
        assert sum(isinstance(r, GetStatus) for r in daemon.asked) == 2


async def test_an_alarm_that_is_on_is_known_however_many_have_come_since(daemon, monkeypatch):
    monkeypatch.setattr("monitor.dashboard.link.MANY_ALARMS", 3)
    daemon.alarms.clear()
    daemon.set_alarm(alarm("old", 0.0, stream="sine/1"))
    for i in range(5):
        daemon.set_alarm(alarm(str(i), 1.0 + i, stream="sine/1", state=State.CLEARED))
    async with linked(daemon.feed, daemon.control) as (board, _):
        await until(lambda: [a.id for a in board.alarms] == ["old", "4", "3", "2"], "the newest, and what is on")


async def test_a_daemon_that_restarts_is_asked_anew(daemon):
    async with linked(daemon.feed, daemon.control) as (board, _):
        await subscribed(daemon, board)
        daemon.started_ns += 1
        daemon.alarms.clear()
        daemon.publish_status()
        await until(lambda: sum(isinstance(r, GetStatus) for r in daemon.asked) == 2, "another overview")
        await until(lambda: board.alarms == [], "the alarms of the new one")


async def test_the_daemon_may_come_later(free_addresses):
    feed, control = free_addresses
    async with linked(feed, control) as (board, _):
        assert not board.is_connected(time.monotonic())
        late = FakeDaemon([Sine("sine/1", 0.5, 17.0, 3)], feed=feed, control=control)
        answering = asyncio.create_task(late.serve())
        try:
            await until(lambda: board.names == ["sine/1"], "the late daemon")
        finally:
            answering.cancel()
            await asyncio.gather(answering, return_exceptions=True)
            late.close()


async def test_acknowledging_reaches_the_daemon_and_comes_back(daemon, monkeypatch):
    monkeypatch.setattr("monitor.dashboard.link.ASK_S", 60.0)
    daemon.set_alarm(alarm("mine", stream="sine/1"))
    async with linked(daemon.feed, daemon.control) as (board, link):
        await until(lambda: board.alarm("mine") is not None, "the alarm")
        await link.acknowledge("mine")
        assert board.alarm("mine").acknowledged
        assert daemon.alarms["mine"].acknowledged


async def test_acknowledging_without_a_daemon_fails_and_is_not_done_later(free_addresses, monkeypatch):
    monkeypatch.setattr("monitor.dashboard.link.ASK_S", 0.1)
    feed, control = free_addresses
    link = Link(Board(), feed, control, clock=time.monotonic)
    with pytest.raises(Unreachable):
        await link.acknowledge("x")
    late = FakeDaemon([], feed=feed, control=control)
    answering = asyncio.create_task(late.serve())
    try:
        monkeypatch.setattr("monitor.dashboard.link.ASK_S", 60.0)
        await link.acknowledge("y")
        assert [getattr(request, "id", "") for request in late.asked] == ["y"]
    finally:
        answering.cancel()
        await asyncio.gather(answering, return_exceptions=True)
        late.close()
        link.close()


def test_an_address_that_cannot_be_used_is_told_at_once():
    with pytest.raises(ConfigError, match="nonsense"):
        Link(Board(), "nonsense", "tcp://127.0.0.1:1", clock=time.monotonic)


@pytest.fixture
def free_addresses(tmp_path):
    return f"ipc://{tmp_path}/feed", f"ipc://{tmp_path}/control"
