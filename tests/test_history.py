from __future__ import annotations

import numpy as np

from monitor.core.blocks import NS, Beat, Block, Event, Kind
from monitor.core.wire import decode_block
from monitor.history import History


def block(seq, n, values=None, t0_ns=None, run="r"):
    values = np.arange(seq, seq + n, dtype=np.float32)[:, None] if values is None else values
    return Block("s", values, run, seq, seq * NS // 100 if t0_ns is None else t0_ns, 100.0, ("I",), "mV")


def samples(history, seconds=1000.0):
    return [decode_block(raw) for raw in history.last("s", seconds)[0]]


def test_small_blocks_are_joined_and_old_ones_forgotten():
    history = History(5.0)
    for seq in range(0, 2000, 7):
        history.block(block(seq, 7))
    kept = samples(history)
    values = np.concatenate([b.values[:, 0] for b in kept])
    np.testing.assert_array_equal(values, np.arange(values[0], values[-1] + 1))
    assert 500 <= len(values) <= 700
    assert len(kept) <= 7
    assert kept[0].t0_ns == kept[0].seq * NS // 100


def test_only_the_seconds_asked_for():
    history = History(10.0)
    history.block(block(0, 500))
    history.block(block(500, 500))
    assert [b.seq for b in samples(history, 2.0)] == [500]


def test_a_gap_or_another_run_is_not_joined_over():
    history = History(60.0)
    for b in (block(0, 10), block(20, 10), block(30, 10, t0_ns=9 * NS), block(0, 10, run="other")):
        history.block(b)
    assert [(b.seq, b.run) for b in samples(history)] == [(0, "r"), (20, "r"), (30, "r"), (0, "other")]


def test_events_and_beats_of_the_time_asked_for():
    history = History(10.0)
    history.block(block(0, 1000))
    for t in (1, 9):
        history.notice(Event("s", Kind.CLASS, "V", t * NS, t * NS, t * NS, 1, 1))
        history.notice(Beat("s", t * NS, "N", 1, 1, 60))
    _, events, beats = history.last("s", 3.0)
    assert [e.t_ns for e in events] == [b.t_ns for b in beats] == [9 * NS]
    assert history.last("unknown", 3.0) == ([], [], [])
