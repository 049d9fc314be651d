from __future__ import annotations

import itertools

import numpy as np
import pytest

from monitor.core.errors import ConfigError
from monitor.faults import Faults, Toll
from monitor.recordings import Recording
from monitor.senders import blocks_of, fleet_of, recording_values, send_due

RECORDING = Recording(
    "r", 10.0, ("I",), "mV", np.arange(25, dtype=np.float32)[:, None], np.zeros(0, np.int64), (), 0
)


def joined(pieces):
    return np.concatenate(list(pieces))[:, 0].tolist()


def test_a_recording_is_cut_from_where_it_shall_begin():
    assert joined(recording_values(RECORDING, 4)) == list(range(25))
    assert joined(recording_values(RECORDING, 4, start_s=1.2)) == list(range(12, 25))


def test_a_loop_begins_again_at_the_beginning():
    pieces = itertools.islice(recording_values(RECORDING, 7, start_s=2.0, loop=True), 6)
    assert joined(pieces) == [*range(20, 25), *range(25), *range(7)]


def test_a_start_behind_the_end_is_refused_at_once():
    with pytest.raises(ConfigError, match=r"r is 2\.5 s long, got 3"):
        recording_values(RECORDING, 4, start_s=3)


def test_blocks_are_numbered_and_timed_and_end_where_they_shall():
    pieces = recording_values(RECORDING, 4, loop=True)
    blocks = list(blocks_of(pieces, stream="s", rate_hz=10.0, channels=("I",), unit="mV", t0_ns=5, samples=30))
    assert [b.seq for b in blocks] == [0, 4, 8, 12, 16, 20, 24, 25, 29]
    assert blocks[-1].seq + len(blocks[-1].values) == 30
    assert [b.t0_ns for b in blocks] == [5 + b.seq * 10**8 for b in blocks]
    assert len({b.run for b in blocks}) == 1


def test_a_fleet_is_one_recording_many_times_each_from_a_place_of_its_own():
    due = list(fleet_of(RECORDING, 3, 5, stream="ecg/r", t0_ns=7, seed=1, samples=60))
    times = [at for at, _ in due]
    assert times == sorted(times)
    assert len(set(times)) == len(times), "they take turns"
    by_stream = {name: [b for _, b in due if b.stream == name] for name in ("ecg/r-1", "ecg/r-2", "ecg/r-3")}
    assert sum(len(blocks) for blocks in by_stream.values()) == len(due)
    starts = []
    for blocks in by_stream.values():
        values = np.concatenate([b.values for b in blocks])[:, 0]
        starts.append(int(values[0]))
        assert values.tolist() == [(starts[-1] + i) % 25 for i in range(60)]
        assert len({b.run for b in blocks}) == 1
        assert [b.t0_ns for b in blocks] == [7 + b.seq * 10**8 for b in blocks]
    assert len(set(starts)) == 3
    again = fleet_of(RECORDING, 3, 5, stream="ecg/r", t0_ns=7, seed=1, samples=60)
    assert [(at, b.stream, b.values.tolist()) for at, b in again] == [
        (at, b.stream, b.values.tolist()) for at, b in due
    ]


class Net:
    def __init__(self):
        self.sent = []

    async def send(self, stream, payload):
        self.sent.append((stream, payload))


async def test_what_was_sent_is_summed_over_the_streams():
    toll = Toll()
    faults = Faults(drop=0.5, duplicate=0.5, seed=3)
    due = fleet_of(RECORDING, 2, 5, stream="ecg/r", t0_ns=0, samples=500, faults=faults, toll=toll)
    net = Net()
    sent = await send_due(due, net, speed=0, toll=toll)
    assert sent.streams == 2
    assert sent.blocks == len(net.sent)
    assert sent.dropped == toll.dropped > 300
    assert sent.duplicated == toll.duplicated > 100
    assert 900 < sent.samples <= 1000


async def test_a_replay_in_time_waits_for_each_block(monkeypatch):
    slept = []

    async def sleep(seconds):
        slept.append(seconds)

    monkeypatch.setattr("monitor.senders.asyncio.sleep", sleep)
    monkeypatch.setattr("monitor.senders.time.monotonic", lambda: 100.0 + sum(slept))
    blocks = blocks_of(recording_values(RECORDING, 5), stream="s", rate_hz=10.0, channels=(), unit="", t0_ns=0)
    await send_due(with_times(blocks), Net(), speed=2)
    assert [round(s, 3) for s in slept] == [0.25] * 5


def with_times(blocks):
    for block in blocks:
        yield (block.seq + len(block.values)) / 10, block
