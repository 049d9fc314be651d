"""Faults of a signal itself: each is known soon, has an end, and is never taken for anything else."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.core.blocks import NS, Alarm, Block, Event, Kind
from monitor.core.ecg import Ecg, Episode
from monitor.core.engine import Engine
from monitor.core.quality import Quality
from monitor.core.rules import Rule
from monitor.core.staleness import Staleness
from monitor.core.stream import Plan
from monitor.core.vitals import VitalSign

RATE, SLOW = 100.0, 50.0


def noisy(n, seed=0):
    t = np.arange(n) / RATE
    rough = np.sin(2 * np.pi * t) + 0.05 * np.random.default_rng(seed).standard_normal(n)
    return rough.astype(np.float32)


def fed(values, cuts=(), rate_hz=RATE, rules=()):
    """What is told of one stream's samples, and which of them are sound."""
    quality = Quality(3, rules, lambda _: "s")
    quality.start(1, rate_hz, 0)
    sound, begins = np.ones(len(values), np.bool_), []
    at = 0
    for piece in np.split(values, sorted(set(cuts) - {0, len(values)})):
        cut = quality.feed(np.array([1]), piece[None, :, None], rate_hz)
        if 0 in cut:
            sound[at : at + len(piece)] = False
            for one in cut[0]:
                sound[at + one.begin : at + one.end] = True
                begins += [] if one.anew_ns is None else [(at + one.begin, one.anew_ns)]
        at += len(piece)
    return [notice for _, notice in quality.technical.take()], sound, begins


def events(told):
    return [(n.label, n.t_ns / NS) for n in told if isinstance(n, Event)]


def alarms(told):
    return [(n.label, n.state.value, n.changed_ns / NS) for n in told if isinstance(n, Alarm)]


def test_a_flat_line_is_known_soon_and_ends_with_the_first_sample_that_moves():
    values = noisy(1000)
    values[300:600] = values[300]
    told, sound, begins = fed(values)
    # 100 Hz: 30 equal samples are more than a quarter of a second
    assert events(told) == [("flat", 3.29)]
    assert next(n for n in told if isinstance(n, Event)).start_ns == 3 * NS
    assert alarms(told) == [("flat", "active", 3.29), ("flat", "cleared", 7.0)]
    assert np.flatnonzero(~sound).tolist() == list(range(330, 600))
    assert begins == [(600, 6 * NS)]


@pytest.mark.parametrize("edge", [5.0, -5.0])
def test_a_flat_line_beyond_all_that_was_seen_is_a_lead_that_is_off(edge):
    values = noisy(1000)
    values[500:800] = edge
    assert events(fed(values)[0]) == [("lead-off", 5.29)]


def test_what_rests_on_its_rails_again_and_again_is_saturated():
    values = noisy(1500)
    values[500:1000] = np.clip(20 * np.sin(np.arange(500) * 0.25), -2, 2)
    told, sound, _ = fed(values)
    ((label, t_s),) = events(told)
    assert label == "saturated"
    assert 5.0 < t_s < 7.0
    assert alarms(told)[-1][1] == "cleared"
    assert sound[:500].all()
    assert sound[-200:].all()
    assert not sound[700:1000].any()


def test_rough_waves_and_steps_are_no_fault():
    values = noisy(6000)
    values[3000:] += 10
    assert fed(values)[0] == []
    ecg, _ = Ecg(rate_hz=360, seed=3).next(360 * 60)
    coarse = (np.round(ecg[:, 0] / 0.005) * 0.005).astype(np.float32)  # as an ADC of 11 bits has it
    assert fed(coarse, rate_hz=360.0)[0] == []


def test_a_slow_sensor_may_say_the_same_twice_but_not_for_ever():
    values, _ = VitalSign(seed=2).next(900)
    assert fed(values[:, 0], rate_hz=1.0)[0] == []
    values, labels = VitalSign(seed=4, stale_at_s=120, stale_s=90).next(300)
    told, _, _ = fed(values[:, 0], rate_hz=1.0)
    ((label, t_s),) = events(told)
    (since,) = [at for at, name in labels if name == "stale"]
    assert label == "flat"
    assert since < t_s <= since + 30
    assert alarms(told)[-1][1] == "cleared"


@given(
    st.lists(st.tuples(st.integers(0, 900), st.integers(1, 250), st.sampled_from([0.0, 7.0, -7.0])), max_size=4),
    st.lists(st.integers(0, 1200), max_size=40),
)
def test_nothing_depends_on_how_samples_are_cut(holds, cuts):
    values = noisy(1200)
    for start, length, value in holds:
        values[start : start + length] = (
            value if length % 3 else np.clip(40 * values[start : start + length], -1, 1)
        )
    whole, cut = fed(values), fed(values, cuts)
    assert whole[0] == cut[0]
    np.testing.assert_array_equal(whole[1], cut[1])
    assert whole[2] == cut[2]


def test_rules_hold_for_technical_alarms_as_well():
    values = noisy(1000)
    values[300:600] = 0
    rule = Rule(kind=Kind.SIGNAL, label="flat", hold_s=1.0, clear_s=2.0, priority="high")
    told, _, _ = fed(values, range(0, 1000, 7), rules=[rule])
    assert alarms(told) == [("flat", "active", 4.29), ("flat", "cleared", 8.0)]
    assert [n.priority for n in told if isinstance(n, Alarm)] == ["high", "high"]


def spikes(windows):
    p = (windows[:, -5:, 0] > 3).any(axis=1).astype(np.float32)
    return {"probabilities": np.stack((1 - p, p), axis=1)}


def through(make_card, values, size=10, **plan):
    """Everything flagged in one stream that a spike model watches; the engine that flagged it."""
    engine = Engine({"m": make_card("classify")}, lambda _: Plan(models=("m",), **plan), max_streams=1)
    found, evidence = [], []
    for at in range(0, len(values), size):
        block = Block("s", values[at : at + size, None], "r", at, round(at * NS / SLOW), SLOW)
        found += engine.push(block, 0, 0)[1]
        while (batch := engine.ready("m", 64)) is not None:
            conclusion = engine.conclude(batch, spikes(batch.windows))
            found += [notice for _, notice in conclusion.notices]
            evidence += conclusion.evidence
        found += engine.signals()
    return found, evidence, engine


@pytest.mark.parametrize("size", [1, 10, 700])
def test_the_way_into_a_fault_is_not_a_spike_but_a_spike_is_one(make_card, size):
    values = noisy(1000)
    values[300] = 4.0
    values[600:800] = 5.0
    found, evidence, _ = through(make_card, values, size)
    assert {(n.kind.value, n.label) for n in found if isinstance(n, Event)} == {
        ("class", "spike"), ("signal", "lead-off"),
    }  # fmt: skip
    (spike,) = [n for n in found if isinstance(n, Event) and n.kind == "class"]
    assert 6.0 <= spike.t_ns / NS <= 6.1
    (why,) = evidence
    assert why.end_ns == spike.t_ns
    assert 4.0 in np.frombuffer(why.window, "<f4")
    watched = through(make_card, values, size, quality=False)[0]
    assert sum(isinstance(n, Event) and n.label == "spike" for n in watched) > 1
    assert not any(n.kind == "signal" for n in watched)


def test_no_window_reaches_into_a_fault(make_card):
    values = noisy(1000)
    values[300:600] = 0.0
    seen = []

    def model(windows):
        seen.extend(windows[:, :, 0])
        return spikes(windows)

    engine = Engine({"m": make_card("classify")}, lambda _: Plan(models=("m",)), max_streams=1)
    engine.push(Block("s", values[:, None], "r", 0, 0, SLOW), 0, 0)
    while (batch := engine.ready("m", 64)) is not None:
        engine.conclude(batch, model(batch.windows))
    assert any(window[0] != 0 == window[-1] for window in seen)
    assert not any(window[0] == 0 != window[-1] for window in seen)
    (event, *_) = engine.signals()
    assert (event.label, engine.states()[0].events) == ("flat", 1)


def test_an_alarm_of_an_earlier_run_ends_when_the_signal_is_sound_again(make_card):
    values = noisy(400)
    values[300:] = 0.0
    _, _, first = through(make_card, values)
    (left,) = first.open_alarms()
    assert left.label == "flat"
    second = Engine({"m": make_card("classify")}, lambda _: Plan(models=("m",)), max_streams=1)
    second.memory.restore([left])
    second.push(Block("s", noisy(300)[:, None], "r", 400, 8 * NS, SLOW), 0, 0)
    assert second.waiting() > 0
    (over,) = second.signals()
    assert (over.id, over.state.value) == (left.id, "cleared")
    assert second.open_alarms() == []


def test_a_stream_that_falls_silent_is_stale_until_it_comes_again(make_card):
    _, _, engine = through(make_card, noisy(200))
    assert not engine.watch(10.0)
    assert not engine.watch(11.4)
    assert engine.watch(11.5)
    event, alarm = engine.signals()
    assert (event.label, alarm.state.value, alarm.raised_ns) == ("stale", "active", round(3.98 * NS))
    engine.push(Block("s", noisy(300)[:, None], "r", 200, 4 * NS, SLOW), 0, 0)
    engine.waiting()
    assert engine.watch(20.0)
    engine.push(Block("s", noisy(300)[:, None], "r", 500, 10 * NS, SLOW), 0, 0)
    engine.waiting()
    (over,) = engine.signals()
    assert (over.id, over.state.value) == (alarm.id, "cleared")


def test_episodes_of_a_simulated_ecg_are_known_within_two_seconds():
    episodes = [Episode("lead-off", 20, 8), Episode("flat", 40, 6), Episode("saturation", 60, 8)]
    ecg, _ = Ecg(rate_hz=360, seed=5, episodes=episodes).next(360 * 80)
    told = events(fed(ecg[:, 0], rate_hz=360.0)[0])
    assert [label for label, _ in told] == ["lead-off", "flat", "saturated"]
    assert all(0 < t_s - one.at_s < 2 for (_, t_s), one in zip(told, episodes, strict=True))


def test_a_stream_that_sends_seldom_is_silent_later_and_one_may_be_left_in_peace():
    staleness, after_s, told = Staleness(2), np.array([1.5, 0.0]), []
    for tenth in range(600):
        now_s = tenth / 10
        blocks = min(int(now_s / 4), 10)  # one every four seconds, the last at 40 s
        silent, back = staleness.look(np.array([blocks, 1]), after_s, now_s)
        told += [(now_s, silent, back)] if silent or back else []
    assert told == [(5.5, [0], []), (8.0, [], [0]), (52.0, [0], [])]


@pytest.mark.parametrize("size", [1, 50, 3000])
def test_while_one_lead_is_off_another_is_looked_at(make_card, size):
    values = np.stack((noisy(3000), 100 + noisy(3000, 1)), axis=1)
    values[1000:2000, 0] = 7.0  # the first is off, then for a while both
    values[1500:1800, 1] = 0.0
    seen = []

    def model(batch):
        seen.extend(
            (round(t_ns / NS * SLOW), window[-1, 0])
            for t_ns, window in zip(batch.t_ns, batch.windows, strict=True)
        )
        return spikes(np.zeros_like(batch.windows))

    plan = Plan(models=("m",), any_lead=True)
    engine, told = Engine({"m": make_card("classify")}, lambda _: plan, max_streams=1), []
    for at in range(0, len(values), size):
        engine.push(Block("s", values[at : at + size], "r", at, round(at * NS / SLOW), SLOW), 0, 0)
        while (batch := engine.ready("m", 64)) is not None:
            engine.conclude(batch, model(batch))
        told += engine.signals()
    by_lead = {lead: [at for at, value in seen if (value > 50) == lead] for lead in (False, True)}
    # Known 30 samples after it began; a window is full 10 samples later.
    assert max(at for at in by_lead[False] if at < 1500) < 1030 <= min(by_lead[True]) < 1045
    assert not any(1530 < at < 1800 for at, _ in seen)
    assert max(by_lead[True]) > 2900  # there is no need to go back
    assert [label for label, _ in events(told)] == ["lead-off"]  # one alarm, as long as any lead is off
    over = [n.changed_ns / NS for n in told if isinstance(n, Alarm) and n.state == "cleared"]
    assert over == [2000 / SLOW + 1]


@pytest.mark.parametrize("size", [1, 50, 3000])
@pytest.mark.parametrize(
    ("leads", "expected"),
    [(2, ["01", "00", "01", "11", "01", "", "01"]), (3, ["01", "02", "02", "12", "12", "", "01"])],
)
def test_a_beat_model_of_two_leads_hears_two_that_are_sound_or_one_twice(make_card, leads, expected, size):
    levels = 100 * np.arange(leads)
    values = np.stack([level + noisy(2800, i) for i, level in enumerate(levels)], axis=1)
    values[400:800, 1] = values[1200:1600, 0] = values[2000:2400] = 7.0
    heard = []

    def model(batch):
        for t_ns, window in zip(batch.t_ns.tolist(), batch.windows, strict=True):
            lead = np.abs(window.round(-2) / 100).astype(int)  # (time, channel)
            pair = "".join(map(str, lead[0])) if (lead == lead[0]).all() else "torn"
            heard.append((round(t_ns / NS * SLOW), pair))
        return {"beat": np.zeros((len(batch), 1)), "probabilities": np.tile([1.0, 0.0], (len(batch), 1))}

    card, plan = make_card("beats", channels=2), Plan(models=("m",), any_lead=True)
    engine = Engine({"m": card}, lambda _: plan, max_streams=1)
    for at in range(0, len(values), size):
        engine.push(Block("s", values[at : at + size], "r", at, round(at * NS / SLOW), SLOW), 0, 0)
        while (batch := engine.ready("m", 64)) is not None:
            engine.conclude(batch, model(batch))
    # A fault is known 30 samples after it began; a window is full 10 samples later.
    told = [{pair for at, pair in heard if begin + 45 < at < begin + 400} for begin in range(0, 2800, 400)]
    assert told == [{pair} if pair else set() for pair in expected]


def test_a_forecaster_of_two_channels_never_takes_one_for_the_other(make_card):
    values = np.stack((noisy(1000), 100 + noisy(1000, 1)), axis=1)
    values[500:, 1] = 7.0
    plan = Plan(models=("m",), any_lead=True)
    engine = Engine({"m": make_card(channels=2)}, lambda _: plan, max_streams=1)
    engine.push(Block("s", values, "r", 0, 0, SLOW), 0, 0)
    batch = engine.ready("m", 999)
    assert batch is not None
    assert (batch.t_ns.max() / NS * SLOW) <= 530
