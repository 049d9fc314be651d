from __future__ import annotations

import math
import weakref

import numpy as np

from monitor.core.blocks import NS, Beat, Block, Event, Kind
from monitor.core.pages import Page
from monitor.core.wire import decode_block
from monitor.history import History


def block(seq, n, values=None, t0_ns=None, run="r"):
    values = np.arange(seq, seq + n, dtype=np.float32)[:, None] if values is None else values
    return Block("s", values, run, seq, seq * NS // 100 if t0_ns is None else t0_ns, 100.0, ("I",), "mV")


def samples(history, seconds=1000.0):
    return [decode_block(raw) for raw in history.last("s", seconds)[0]]


def test_what_is_not_saved_yet_may_be_cut_later_less_what_has_gone_by_then():
    history = History(10.0)  # 1001 samples
    history.block(block(0, 900))
    unsaved = history.unsaved()
    history.block(block(900, 500))
    (piece,) = unsaved
    assert (piece.seq, len(piece.values)) == (399, 501)
    assert (piece.values[:, 0] == np.arange(399, 900)).all()
    assert [(b.seq, len(b.values)) for b in history.unsaved()] == [(900, 500)]
    assert list(history.unsaved()) == []


def test_of_streams_that_send_seldom_few_pages_wait():
    history = History(5.0)
    waiting = []
    for i in range(1000):
        values = np.zeros((1, 1, 1), np.float32)
        waiting.append(weakref.ref(values))
        history.page(
            Page([("s/1", "r", 1.0, ("1",), "")], np.array([0]), np.array([i]), np.array([i * NS]), values)
        )
    del values
    assert sum(values() is not None for values in waiting) <= 256


def test_pages_lie_in_the_history_as_blocks_would():
    alone, together = History(5.0), History(5.0)
    come = {"s/0": 0, "s/1": 0, "s/2": 0}
    run = "r"
    for nth in range(90):
        names = ["s/2", "s/0"] if nth % 3 else list(come)
        n = 7 if nth > 50 else 10
        starts = np.array([come[name] for name in names])
        whos = [(name, run if name == "s/1" else "r", 100.0, ("I",), "mV") for name in names]
        values = (starts[:, None] + np.arange(n)).astype(np.float32)[:, :, None]
        page = Page(whos, np.array([int(name[-1]) for name in names]), starts, starts * NS // 100, values)
        together.page(page)
        for row in range(len(page)):
            alone.block(page.block(row))
        come |= {name: come[name] + n for name in names}
        if nth == 40:  # a block that comes alone begins another run
            run, come["s/1"] = "x", 5
            for history in (alone, together):
                history.block(Block("s/1", np.ones((5, 1), np.float32), "x", 0, 0, 100.0, ("I",), "mV"))
    for name in come:
        assert together.last(name, 1000.0) == alone.last(name, 1000.0)
    assert {block.stream for block in together.unsaved()} == set(come)


def test_small_blocks_are_joined_and_old_ones_forgotten():
    history = History(5.0)
    for seq in range(0, 2000, 7):
        history.block(block(seq, 7))
    (kept,) = samples(history)
    np.testing.assert_array_equal(kept.values[:, 0], np.arange(2002 - 500, 2002))
    assert kept.t0_ns == kept.seq * NS // 100


def test_only_the_seconds_asked_for():
    history = History(10.0)
    history.block(block(0, 500))
    history.block(block(500, 500))
    assert [(b.seq, len(b.values)) for b in samples(history, 2.0)] == [(800, 200)]


def test_a_block_larger_than_all_that_is_kept():
    history = History(1.0)
    history.block(block(0, 30))
    history.block(block(30, 1000))
    (kept,) = samples(history)
    np.testing.assert_array_equal(kept.values[:, 0], np.arange(1030 - 101 + 1, 1030))


def test_long_histories_come_in_pieces_that_a_client_takes():
    history = History(1000.0)
    history.block(block(0, 50_000))
    kept = samples(history)
    assert max(len(b.values) for b in kept) <= 16_384
    np.testing.assert_array_equal(np.concatenate([b.values for b in kept])[:, 0], np.arange(50_000))


def test_many_streams_share_what_memory_there_is():
    history = History(30.0, total_bytes=100_000)
    for seq in range(0, 6000, 300):
        for stream in range(8):
            values = np.arange(seq, seq + 300, dtype=np.float32)[:, None]
            history.block(Block(f"s{stream}", values, "r", seq, seq * NS // 100, 100.0, ("I",), "mV"))
    for stream in range(8):
        (kept,) = [decode_block(raw) for raw in history.last(f"s{stream}", 1000.0)[0]]
        np.testing.assert_array_equal(kept.values[:, 0], np.arange(6000 - len(kept.values), 6000))
        assert 2000 <= len(kept.values) <= 3000  # an eighth of it is 3125 samples, the least are 2048
    assert history.count_bytes() <= 110_000


def test_a_stream_that_comes_does_not_look_at_all_others(monkeypatch):
    """Only when their share shrinks, and that is over when it is as small as it gets."""
    history, looked = History(30.0), []
    size = History._size
    monkeypatch.setattr(History, "_size", lambda self, *given: looked.append(1) or size(self, *given))
    values = np.zeros((10, 1), np.float32)
    for i in range(6000):
        history.block(Block(f"s/{i}", values, "r", 0, 0, 100.0, ("I",), "mV"))
    assert len(looked) < 3 * 6000


def test_a_stream_that_changes_its_rate_or_channels_begins_anew():
    history = History(30.0)
    history.block(block(0, 100))
    history.block(Block("s", np.zeros((10, 2), np.float32), "r", 100, NS, 100.0, ("I", "II"), "mV"))
    assert [b.values.shape for b in samples(history)] == [(10, 2)]


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


def test_events_and_beats_come_back_as_they_were():
    history = History(10.0)
    history.block(block(0, 1000))
    event = Event("s", Kind.SIGNAL, "gap", 3 * NS, 2 * NS, 4 * NS, 0.1, 0.2, "m@1", "7 samples")
    beats = [
        Beat("s", 5 * NS, "V", 0.7, 0.8, 61.5, "m@1", (0.1, 0.2, 0.7)),
        Beat("s", 2**60 + 1, "N", 0.9, math.nan, math.nan),
    ]
    for notice in (event, *beats):
        history.notice(notice)
    _, (kept,), kept_beats = history.last("s", 10.0)
    assert kept == event
    assert kept_beats[0] == beats[0]
    assert repr(kept_beats) == repr(beats)  # NaN is not equal to itself


def test_of_many_streams_fewer_notices_are_kept():
    history = History(1000.0, total_bytes=1000)
    for stream in range(400):
        history.block(Block(f"s{stream}", np.zeros((1, 1), np.float32), "r", 0, 1000 * NS, 1.0, ("I",), "mV"))
    for t in range(300):
        history.notice(Beat("s7", t * NS, "N", 1, 1, 60))
    _, _, beats = history.last("s7", 1000.0)
    assert [beat.t_ns // NS for beat in beats] == list(range(200, 300))


def test_of_a_slow_stream_enough_is_kept_for_its_windows():
    """Thirty seconds of a sample every five minutes would be one."""
    history = History(30.0)
    for i in range(600):
        history.block(Block("s", np.float32([[i]]), "r", i, i * 300 * NS, 1 / 300, ("x",), ""))
    assert sum(len(block.values) for block in samples(history, 30.0)) == 512
