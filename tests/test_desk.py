"""What people say to the daemon: kept, told to everybody, and silence that ends."""

from __future__ import annotations

import asyncio

import msgspec
import pytest
import zmq

from monitor.config import Config
from monitor.control import Annotate, Client, GetAlarms, GetNotes, Mark, Request, Silence, TestAlarm
from monitor.core.blocks import NS, Alarm, Kind, Note, State
from monitor.core.errors import MonitorError
from monitor.core.published import decode_event, decode_status
from monitor.daemon import Daemon
from monitor.desk import TEST_S, Desk
from monitor.sinks.alarmlog import AlarmLog
from monitor.sockets import Socket


class Place:
    """A desk, what it told, and a clock that stands."""

    def __init__(self, log: AlarmLog) -> None:
        self.now_ns, self.told, self.log = 1000 * NS, [], log
        self.alarms: list[Alarm] = []
        self.desk = Desk(self.tell, lambda: [*self.alarms, *self.desk.open_alarms], log, lambda: self.now_ns)

    def tell(self, notices) -> None:
        self.told += notices
        self.log.write(notices)


@pytest.fixture
def place(tmp_path):
    with AlarmLog(tmp_path / "log.db") as log:
        yield Place(log)


def alarm(identity: str, **more) -> Alarm:
    return Alarm(identity, "ecg/1", Kind.CLASS, "V", "high", State.ACTIVE, 10, 20, 0.9, 0.5, "m@1", **more)


def test_silence_is_for_what_calls_now_and_ends_by_itself(place):
    place.alarms = [alarm("a"), alarm("seen", acknowledged=True)]
    assert place.desk.answer(Silence(120.0)) == 120.0
    place.alarms.append(alarm("later"))
    place.now_ns += 30 * NS
    assert (place.desk.silence_left_s, place.desk.silenced) == (90.0, ("a",))
    place.now_ns += 90 * NS
    assert (place.desk.silence_left_s, place.desk.silenced) == (0.0, ())


def test_silence_can_be_taken_back_and_needs_an_alarm(place):
    assert place.desk.answer(Silence()) == 0.0
    place.alarms = [alarm("a")]
    place.desk.answer(Silence())
    assert place.desk.answer(Silence(0.0)) == 0.0
    assert place.desk.silenced == ()


def test_a_verdict_is_kept_and_the_last_one_counts(place):
    place.log.write([alarm("a")])
    place.desk.answer(Mark("a", "true"))
    note = place.desk.answer(Mark("a", "false", "a cable moved", "ann"))
    assert place.told[-1] == note
    assert (note.stream, note.t_ns, note.alarm, note.verdict) == ("ecg/1", 10, "a", "false")
    assert place.desk.answer(GetNotes()) == [note]
    place.desk.answer(Mark("a", ""))
    assert place.desk.answer(GetNotes()) == []


def test_a_verdict_on_no_alarm_is_refused(place):
    with pytest.raises(MonitorError, match="no alarm 'x'"):
        place.desk.answer(Mark("x", "true"))


def test_notes_are_kept_changed_and_taken_back(place):
    first = place.desk.answer(Annotate("ecg/1", 5, " patient moved "))
    other = place.desk.answer(Annotate("ecg/2", 6, "x"))
    assert first.text == "patient moved"
    assert place.desk.answer(GetNotes("ecg/1")) == [first]
    again = place.desk.answer(Annotate("ecg/1", 5, "patient slept", id=first.id))
    assert place.desk.answer(GetNotes("ecg/1")) == [again]
    place.desk.answer(Annotate("ecg/1", 5, "", id=first.id))
    assert place.desk.answer(GetNotes()) == [other]
    with pytest.raises(MonitorError, match="name of a stream"):
        place.desk.answer(Annotate("a b", 5, "x"))


def test_a_test_alarm_arrives_can_be_acknowledged_and_ends(place):
    raised = place.desk.answer(TestAlarm("medium"))
    assert (raised.stream, raised.priority, raised.kind) == ("monitor", "medium", Kind.SIGNAL)
    assert place.desk.answer(GetAlarms(active=True)) == [raised]
    assert [a.acknowledged for a in place.desk.acknowledge(raised.id)] == [True]
    assert place.desk.acknowledge("") == []
    place.desk.tick()
    assert place.desk.open_alarms != []
    place.now_ns += round(TEST_S * NS)
    place.desk.tick()
    assert place.desk.open_alarms == []
    assert (place.told[-1].id, place.told[-1].state) == (raised.id, State.CLEARED)


@pytest.mark.parametrize(
    "request_", [Silence(), TestAlarm("low"), Mark("a", "true"), Annotate("s", 1, "x"), GetNotes()]
)
def test_requests_survive_the_wire(request_):
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(request_), type=Request) == request_


@pytest.mark.parametrize(
    "bad", [Silence(-1), Silence(4000), Mark("a", "maybe"), Annotate("s", -1, "x"), Annotate("s", 1, "x" * 1001)]
)
def test_what_is_out_of_bounds_is_refused(bad):
    with pytest.raises(msgspec.ValidationError):
        msgspec.msgpack.decode(msgspec.msgpack.encode(bad), type=Request)


async def test_what_is_said_to_one_daemon_is_told_to_everybody(tmp_path):
    """Real sockets: a silence, a test alarm and a note come back on the feed."""
    config = msgspec.convert(
        {
            "zeromq": {"listen": f"ipc://{tmp_path}/samples"},
            "feed": {"publish": f"ipc://{tmp_path}/feed", "control": f"ipc://{tmp_path}/control"},
            "alarm_log": {"path": f"{tmp_path}/log.db"},
            "streams": [],
        },
        Config,
    )
    listener = Socket(zmq.SUB, connect=config.feed.publish)
    listener.subscribe(b"signals/")
    heard: list[object] = []
    with AlarmLog(config.alarm_log.path) as log:
        daemon = Daemon(config, {}, log)
        task = asyncio.create_task(daemon.run())
        async with asyncio.timeout(20), Client(config.feed.control) as client:
            while not any(isinstance(m, Note) for m in heard) or not any(
                getattr(m, "silenced", ()) for m in heard
            ):
                if not any(isinstance(m, Alarm) for m in heard):
                    await client.ask(TestAlarm(), Alarm)
                    await client.ask(Silence(), float)
                    said = await client.ask(Annotate("ecg/1", 5, "here"), Note)
                for topic, payload in await listener.receive():
                    decode = decode_status if topic.endswith(b"status") else decode_event
                    heard.append(decode(payload))
        daemon.stop()
        await task
        listener.close()
        assert said in log.notes()
    assert {m.text for m in heard if isinstance(m, Note)} == {"here"}
    assert {m.label for m in heard if isinstance(m, Alarm)} == {"test"}
