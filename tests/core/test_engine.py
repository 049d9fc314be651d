"""The engine with stand-in models: pure numpy functions in place of onnxruntime."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.core.blocks import NS, Alarm, Block, Event
from monitor.core.engine import Engine
from monitor.core.errors import SchemaError
from monitor.core.stream import Plan

RATE = 50.0


def spike_model(windows):
    """Sure of a spike when one of the last five samples is above 2."""
    p = (windows[:, -5:, 0] > 2).any(axis=1).astype(np.float32)
    return {"probabilities": np.stack((1 - p, p), axis=1)}


def last_value_model(horizon):
    def run(windows):
        mean = np.repeat(windows[:, -1:], horizon, axis=1)
        return {"forecast": mean, "lower": mean - 1, "upper": mean + 1}

    return run


def make_engine(make_card, **plan):
    cards = {"spikes": make_card("classify", unit="mV"), "forecast": make_card("forecast")}
    plan = Plan(**{"models": ("spikes", "forecast"), "quality": False, **plan})
    return Engine(cards, lambda name: plan if name.startswith("s") else None, max_streams=4)


def run_through(engine, blocks, batch=64, every=1):
    """Push blocks, infer every so many; everything flagged, in order."""
    models = {"spikes": spike_model, "forecast": last_value_model(10)}
    flagged, forecasts = [], []

    def infer():
        for name, model in models.items():
            while (ready := engine.ready(name, batch)) is not None:
                conclusion = engine.conclude(ready, model(ready.windows))
                flagged.extend(notice for _, notice in conclusion.notices)
                if name == "forecast":
                    forecasts.extend(engine.forecast(conclusion, row) for row in range(len(ready)))

    for i, block in enumerate(blocks):
        flagged.extend(engine.push(block, now_ns=0, mark=i)[1])
        if i % every == 0:
            infer()
    infer()
    return flagged, forecasts


def cut(values, cuts, stream="s", run="r", seq=0, t0_ns=0):
    blocks = []
    for piece in np.split(values, sorted(set(cuts) - {0, len(values)})):
        at = t0_ns + round(seq * NS / RATE)
        blocks.append(Block(stream, piece, run, seq, at, RATE))
        seq += len(piece)
    return blocks


def signal(n=400, spikes=(100, 250)):
    values = np.sin(np.arange(n) / 10)[:, None].astype(np.float32)
    for at in spikes:
        values[at : at + 2] += 4
    return values


def labels(flagged, kind="class"):
    return [(e.label, e.t_ns) for e in flagged if isinstance(e, Event) and e.kind == kind]


def test_spikes_are_flagged_at_their_data_time(make_card):
    flagged, forecasts = run_through(make_engine(make_card), cut(signal(), range(0, 400, 20)))
    times = [t / NS * RATE for _, t in labels(flagged)]
    assert [round(t) for t in times] == [104, 254]  # the first window that ends on or after the spike
    states = [a.state.value for a in flagged if isinstance(a, Alarm) and a.kind == "class"]
    assert states == ["active", "cleared"] * 2
    assert len(forecasts) == (400 - 10) // 5 + 1
    assert forecasts[0].made_ns == round(9 * NS / RATE)


@settings(max_examples=40, deadline=None)
@given(
    cuts=st.lists(st.integers(1, 399), max_size=25),
    batch=st.integers(1, 9),
    every=st.integers(1, 7),
)
def test_neither_the_cut_nor_the_batch_nor_the_pace_matters(make_card, cuts, batch, every):
    values = signal()
    values[180:184] = np.nan  # a short hole, filled
    values[300:320] = np.nan  # a long one: a new segment
    whole, forecasts = run_through(make_engine(make_card), cut(values, []))
    pieces, more = run_through(make_engine(make_card), cut(values, cuts), batch, every)

    for kind in ("class", "deviation", "signal"):
        assert [n for n in pieces if n.kind == kind] == [n for n in whole if n.kind == kind]
    assert [f.made_ns for f in more] == [f.made_ns for f in forecasts]
    for a, b in zip(more, forecasts, strict=True):
        np.testing.assert_array_equal(a.mean, b.mean)


def test_a_gap_is_told_and_a_short_one_is_filled(make_card):
    values = signal()
    blocks = cut(values, [200, 203])
    flagged, forecasts = run_through(make_engine(make_card), [blocks[0], blocks[2]])
    (gap,) = [e for e in flagged if isinstance(e, Event) and e.kind == "signal"]
    assert (gap.label, gap.t_ns, gap.detail) == ("gap", 4 * NS, "3 samples missing")
    assert len(forecasts) == (400 - 10) // 5 + 1  # the windows go on as if nothing had been missing
    assert len(labels(flagged)) == 2


def test_after_a_long_gap_the_windows_warm_up_again(make_card):
    engine = make_engine(make_card)
    blocks = cut(signal(), [200, 260])
    flagged, forecasts = run_through(engine, [blocks[0], blocks[2]])
    made = [round(f.made_ns * RATE / NS) for f in forecasts]
    assert made == [*range(9, 200, 5), *range(269, 400, 5)]
    assert {e.label for e in flagged if isinstance(e, Event) and e.kind == "signal"} == {"gap", "segment"}
    (state,) = engine.states()
    assert (state.ledger.received, state.ledger.missing) == (340, 60)


def test_a_restarted_sender_begins_a_new_segment(make_card):
    engine = make_engine(make_card)
    again = cut(signal(), [], run="other", t0_ns=20 * NS)
    flagged, _ = run_through(engine, [*cut(signal(), []), *again])
    assert ("restart", 20 * NS) in labels(flagged, "signal")
    assert len(labels(flagged)) == 4


@pytest.mark.parametrize("jump_s", [5.0, -5.0])
def test_a_clock_that_jumps_begins_a_new_segment(make_card, jump_s):
    first, second = cut(signal(), [200])
    shifted = cut(signal()[200:], [], seq=200, t0_ns=round((jump_s + 10) * NS))
    flagged, forecasts = run_through(make_engine(make_card), [first, *shifted])
    assert [label for label, _ in labels(flagged, "signal")] == ["clock"]
    assert forecasts[39].made_ns == shifted[0].t0_ns + round(9 * NS / RATE)
    assert second.seq == 200


def test_a_clock_that_drifts_is_followed_without_a_break(make_card):
    blocks = []
    for i, block in enumerate(cut(signal(), range(0, 400, 20))):
        blocks.append(Block("s", block.values, "r", block.seq, block.t0_ns + i * 15_000_000, RATE))
    flagged, forecasts = run_through(make_engine(make_card), blocks)
    assert labels(flagged, "signal") == []
    assert abs(forecasts[-1].made_ns - (blocks[-1].t0_ns + 19 * NS // 50)) < 2e7


def test_duplicates_change_nothing(make_card):
    blocks = cut(signal(), range(0, 400, 20))
    engine = make_engine(make_card)
    once, _ = run_through(make_engine(make_card), blocks)
    twice, _ = run_through(engine, [b for b in blocks for _ in range(2)])
    assert twice == once
    assert engine.states()[0].ledger.duplicated == 400


def test_blocks_that_say_nothing_continue(make_card):
    engine = make_engine(make_card, rate_hz=RATE)
    values = signal()
    blocks = [Block("s", values[i : i + 20]) for i in range(0, 400, 20)]
    flagged, forecasts = run_through(engine, blocks)
    assert len(labels(flagged)) == 2
    assert len(forecasts) == 79
    assert engine.states()[0].ledger.missing == 0


def test_silence_is_a_gap_where_blocks_carry_neither_time_nor_number(make_card):
    engine = make_engine(make_card, rate_hz=RATE)
    block = Block("s", np.zeros((50, 1), np.float32))
    assert engine.push(block, NS, 0)[1] == []
    assert engine.push(block, 2 * NS, 0)[1] == []
    (event,) = engine.push(block, 60 * NS, 0)[1]
    assert event.label == "gap"


@pytest.mark.parametrize(
    ("block", "kind", "says"),
    [
        (Block("other", np.zeros((5, 1), np.float32), rate_hz=RATE), "unknown stream", r"\[\[streams\]\]"),
        (Block("s", np.zeros((5, 1), np.float32)), "rate", "rate_hz"),
        (Block("s", np.zeros((5, 2), np.float32), rate_hz=RATE), "channels", "expected 1 channels, got 2"),
        (Block("s", np.zeros((5, 1), np.float32), rate_hz=RATE, unit="V"), "unit", "expects mV, got V"),
    ],
)
def test_a_block_that_does_not_fit_is_refused_and_touches_nothing_else(make_card, block, kind, says):
    engine = make_engine(make_card, channels=("I",))
    good = cut(signal(), [], stream="s2")
    engine.push(good[0], 0, 0)
    with pytest.raises(SchemaError, match=says) as caught:
        engine.push(block, 0, 0)
    assert caught.value.kind == kind
    assert [s.stream for s in engine.states()] == ["s2"]
    assert engine.states()[0].ledger.refused == 0


def test_a_refused_block_of_a_known_stream_is_counted(make_card):
    engine = make_engine(make_card)
    engine.push(cut(signal(), [])[0], 0, 0)
    with pytest.raises(SchemaError, match="expected 1 channels, got 2"):
        engine.push(Block("s", np.zeros((5, 2), np.float32), "r", 400, None, RATE), 0, 0)
    engine.refuse("s")
    assert engine.states()[0].ledger.refused == 1


def test_too_many_streams_are_refused(make_card):
    engine = make_engine(make_card)
    for i in range(4):
        engine.push(cut(signal(50, ()), [], stream=f"s{i}")[0], 0, 0)
    with pytest.raises(SchemaError, match="at most 4 streams"):
        engine.push(cut(signal(50, ()), [], stream="s9")[0], 0, 0)


def test_overload_skips_the_oldest_hops_and_counts_them(make_card):
    cards = {"forecast": make_card("forecast")}
    plan = Plan(models=("forecast",))
    engine = Engine(cards, lambda _: plan, max_streams=2, max_waiting=20)
    for block in cut(signal(), range(0, 400, 10)):
        engine.push(block, 0, 0)
        engine.waiting()
    kept = engine.ready("forecast", 1000)
    state = engine.states()[0]
    assert len(kept) + state.skipped == 79
    assert len(kept) <= 20
    assert kept.t_ns[-1] == round(399 * NS / RATE)  # what is kept is the newest
    assert state.ledger.missing == 0


def test_many_streams_at_once_are_as_each_alone(make_card):
    rng = np.random.default_rng(0)
    streams = {f"s{i}": signal(300, tuple(rng.integers(20, 280, 3))) for i in range(4)}
    together = [
        block
        for blocks in zip(*(cut(v, range(0, 300, 15), stream=n) for n, v in streams.items()), strict=True)
        for block in blocks
    ]
    flagged, _ = run_through(make_engine(make_card), together, batch=7, every=5)
    for name, values in streams.items():
        alone, _ = run_through(make_engine(make_card), cut(values, [], stream=name))
        mine = [n for n in flagged if n.stream == name]
        assert [n for n in mine if n.model.startswith("tiny") and n.kind == "class"] == [
            n for n in alone if n.kind == "class"
        ]


def test_an_alarm_left_open_goes_on_when_its_stream_comes_back(make_card):
    """The engine ends in the middle of an alarm; another takes it over under the same id."""
    spike = signal(120, (112,))
    first = make_engine(make_card)
    run_through(first, cut(spike, []))
    left = [alarm for alarm in first.open_alarms() if alarm.kind == "class"]
    assert [alarm.state.value for alarm in left] == ["active"]
    second = make_engine(make_card)
    second.memory.restore(left)
    assert second.open_alarms() == left  # known before its stream is
    flagged, _ = run_through(second, cut(signal(200, ()), [], run="next", t0_ns=3 * NS))
    (over,) = [n for n in flagged if isinstance(n, Alarm) and n.kind == "class"]
    assert (over.id, over.state.value) == (left[0].id, "cleared")
    assert over.changed_ns > left[0].changed_ns
    assert second.open_alarms() == []


def test_an_alarm_whose_stream_stays_away_is_over_when_somebody_has_seen_it(make_card):
    first = make_engine(make_card)
    run_through(first, cut(signal(120, (112,)), []))
    left = [alarm for alarm in first.open_alarms() if alarm.kind == "class"]
    second = make_engine(make_card)
    second.memory.restore(left)
    (over,) = second.acknowledge(left[0].id)
    assert (over.state.value, over.acknowledged) == ("cleared", True)
    assert second.open_alarms() == []


def test_an_alarm_of_a_model_that_is_gone_waits_to_be_seen(make_card):
    first = make_engine(make_card)
    run_through(first, cut(signal(120, (112,)), []))
    (left,) = [alarm for alarm in first.open_alarms() if alarm.kind == "class"]
    second = make_engine(make_card)
    second.memory.restore([msgspec.structs.replace(left, model="gone@1")])
    run_through(second, cut(signal(200, ()), [], t0_ns=3 * NS))
    assert [alarm.id for alarm in second.open_alarms()] == [left.id]
