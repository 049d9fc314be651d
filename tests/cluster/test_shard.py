"""What a shard says: as a daemon would, whatever the deliveries, the moves and the silences."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from monitor.cluster.shard import Clock, Entry, Shard, build_engine
from monitor.configfile import load_config
from monitor.control import Acknowledge, SetBudget
from monitor.core.blocks import Alarm, Event, State
from monitor.core.expected import differences, in_order, parse, row_of
from monitor.core.wire import encode_block
from monitor.faults import without_gaps
from monitor.recordings import read_recording
from monitor.reload import load_models
from monitor.senders import blocks_of, recording_values
from tests.cluster.signals import START_NS, config_of, entries

SAMPLES = Path(__file__).parents[2] / "sample_streams"
MS = 10**6


def shard_of(config):
    models = load_models(config)
    return Shard(config, models, build_engine(config, models))


@pytest.fixture(scope="module")
def config():
    latch = [{"kind": "class", "label": "spike", "latch": True}]
    return config_of(alarms=latch)


@pytest.mark.parametrize(("name", "stream"), [("ecg-faults", "ecg/faults"), ("noisy-sine", "sine/sample")])
def test_it_flags_what_a_daemon_flags(name, stream):
    config, _ = load_config(SAMPLES / "monitor.toml", {})
    shard, recording = shard_of(config), read_recording(SAMPLES / f"{name}.csv")
    blocks = blocks_of(
        recording_values(recording, 50), stream=stream, rate_hz=recording.rate_hz, channels=recording.channels,
        unit=recording.unit, t0_ns=0,
    )  # fmt: skip
    messages = [
        Entry(n + 1, stream, encode_block(block), START_NS + n * 100 * MS)
        for n, block in enumerate(without_gaps(blocks))
    ]
    notices = [n for at in range(0, len(messages), 7) for n in shard.take(messages[at : at + 7]).notices]
    got = in_order(row_of(notice, 0) for notice in notices if isinstance(notice, Event | Alarm))
    expected = SAMPLES / "expected" / f"{name}.jsonl"
    assert differences(got, parse(expected.read_text(), str(expected)), 1e-3) == []


def silence(seconds, streams=("sine/1", "sine/2")):
    """Two streams in turns, a block each every 100 ms, of which the first is away from 10 s for so long."""
    both = entries(list(streams), 20.0)
    messages = [m._replace(seq=n + 1, at_ns=START_NS + n * 100 * MS) for n, m in enumerate(both)]
    return [
        m for m in messages if not (m.stream == streams[0] and 10e9 <= m.at_ns - START_NS < 10e9 + seconds * 1e9)
    ]


def stale(outcomes):
    return [
        (n.stream, n.state) for o in outcomes for n in o.notices if isinstance(n, Alarm) and n.label == "stale"
    ]


@pytest.mark.parametrize("step", [1, 13, 1000])
def test_a_stream_that_falls_silent_while_others_go_on_is_told_of(config, step):
    shard, messages, outcomes = shard_of(config), silence(4.0), []
    for at in range(0, len(messages), step):
        outcomes.append(shard.take(messages[at : at + step]))
        data, position = shard.freeze(), shard.position
        if step != 1:  # its next owner's clock goes on
            shard = shard_of(config)
            assert shard.thaw(data, position)
    assert stale(outcomes) == [("sine/1", State.ACTIVE), ("sine/1", State.CLEARED)]


def test_that_time_goes_on_is_an_order_too_and_that_the_cluster_was_silent_no_fault_of_the_streams(config):
    shard, messages = shard_of(config), entries(["sine/1"], 12.0)
    messages = [m._replace(seq=n + 1, at_ns=START_NS + n * 200 * MS) for n, m in enumerate(messages)]
    assert stale([shard.take(messages[:30])]) == []
    assert shard.engine.listens
    hour = 3600 * 10**9
    later = [m._replace(at_ns=m.at_ns + hour) for m in messages[30:]]
    assert stale([shard.take(later)]) == [], "nothing at all was stored for an hour"
    ticks = [Entry(1000 + n, "", b"", later[-1].at_ns + n * 500 * MS) for n in range(1, 9)]
    assert stale([shard.take(ticks)]) == [("sine/1", State.ACTIVE)]
    assert not shard.engine.listens


def test_a_clock_that_is_set_back_does_not_run_backwards():
    clock = Clock()
    said = [clock.is_due(at_ns * MS) for at_ns in (10_000, 10_400, 5_000, 10_500, 10_700)]
    assert said == [True, True, False, False, True]
    assert clock.now_s == pytest.approx(1.3)  # the first counts as 0.6


@pytest.mark.parametrize("step", [10, 70])
def test_every_alarm_of_a_model_says_why_however_its_messages_are_cut(config, step):
    """The same as when all is taken at once: the window, and what was forecast of it."""
    messages = entries(["sine/1", "ecg/1"], 40.0)

    def why(size):
        shard = shard_of(config)
        outcomes = [shard.take(messages[at : at + size]) for at in range(0, len(messages), size)]
        raised = {
            n.id
            for o in outcomes
            for n in o.notices
            if isinstance(n, Alarm) and n.state is State.ACTIVE and n.model and n.times == 1
        }
        return raised, {
            e.alarm: (e.end_ns, e.foreseen and e.foreseen.end_ns) for o in outcomes for e in o.evidence
        }

    raised, found = why(step)
    assert raised
    assert set(found) == raised
    assert all(foreseen for _, foreseen in found.values())
    assert found == why(len(messages))[1]


def test_orders_are_obeyed_in_their_turn(config):
    shard, messages = shard_of(config), entries(["sine/1"], 30.0)
    opened = {n.id: n for n in shard.take(messages).notices if isinstance(n, Alarm)}
    (latched,) = [a for a in opened.values() if a.state is not State.CLEARED]
    seen = Entry(1001, "", msgspec.msgpack.encode(Acknowledge(latched.id)), START_NS)
    assert [(a.id, a.acknowledged) for a in shard.take([seen]).notices] == [(latched.id, True)]
    budget = SetBudget(2.0, "sine/*")
    done = shard.take([Entry(1002, "", msgspec.msgpack.encode(budget), START_NS)])
    assert done.budgets == {1002: ["sine/1"]}
    bad = shard.take([Entry(1003, "", b"nonsense", START_NS)])
    assert "expected an order" in str(bad.refused[0])
    assert shard.position == 1003
