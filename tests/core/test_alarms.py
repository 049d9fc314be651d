from __future__ import annotations

import numpy as np
import pytest

from monitor.core.alarms import TRANSITIONS, Alarms, Signal
from monitor.core.blocks import NS, Kind, State
from monitor.core.rules import Rule, Track, rule_for


def one(**rule):
    rule = {"kind": Kind.CLASS, "label": "V", "raise_level": 0.8, "clear_level": 0.4, **rule}
    track = Track.of([Rule(**rule)], Kind.CLASS, "V", 0.5, "m@1")
    return Alarms([track], 4, lambda slot: f"s/{slot}")


def play(alarms, scores, step_s=1.0, slot=2):
    """Step through scores a second apart; the published (time, state) pairs."""
    told = []
    for i, score in enumerate(scores):
        t_ns = round(i * step_s * NS)
        changed = alarms.step(np.array([slot]), 0, np.array([t_ns]), np.array([score]))
        told += [(i, alarm.state.value) for _, alarm in changed]
    return told


def test_it_is_raised_at_once_and_cleared_after_clear_s():
    assert play(one(clear_s=2.0), [0, 0.9, 0.9, 0, 0, 0, 0]) == [(1, "active"), (5, "cleared")]


def test_it_waits_for_hold_s():
    assert play(one(hold_s=2.0, clear_s=0.0), [0.9, 0.9, 0, 0.9, 0.9, 0.9, 0]) == [(5, "active"), (6, "cleared")]


def test_between_the_levels_a_pending_alarm_is_given_up_and_an_active_one_goes_on():
    assert play(one(hold_s=1.0), [0.9, 0.6, 0.9, 0.6]) == []
    assert play(one(clear_s=1.0), [0.9, 0.6, 0.6, 0.6]) == [(0, "active")]


def test_clearing_begins_anew_when_the_score_comes_back():
    assert play(one(clear_s=2.0), [0.9, 0, 0, 0.5, 0, 0, 0]) == [(0, "active"), (6, "cleared")]
    alarms = one(clear_s=2.0)
    assert play(alarms, [0.9, 0, 0, 0.9]) == [(0, "active"), (3, "active")]  # that it came back is told
    assert alarms.open()[0].times == 2


def test_a_latching_alarm_stays_until_it_is_acknowledged():
    alarms = one(clear_s=1.0, latch=True)
    assert play(alarms, [0.9, 0, 0, 0, 0]) == [(0, "active"), (2, "latched")]
    (open_alarm,) = alarms.open()
    (cleared,) = alarms.acknowledge(open_alarm.id)
    assert (cleared.state, cleared.acknowledged) == (State.CLEARED, True)
    assert alarms.open() == []


def test_a_latched_alarm_that_comes_back_is_the_same_alarm():
    alarms = one(clear_s=1.0, latch=True)
    assert play(alarms, [0.9, 0, 0, 0.9]) == [(0, "active"), (2, "latched"), (3, "active")]
    assert len(alarms.open()) == 1


def test_acknowledged_while_active_it_clears_without_latching():
    alarms = one(clear_s=1.0, latch=True)
    play(alarms, [0.9])
    (changed,) = alarms.acknowledge("")
    assert (changed.state, changed.acknowledged) == (State.ACTIVE, True)
    assert alarms.acknowledge(changed.id) == []
    assert play(alarms, [0.9, 0, 0, 0]) == [(2, "cleared")]


def test_every_listed_transition_is_reached():
    reached = set()

    class Spy(dict):
        def get(self, key, default=None):
            if key in self:
                reached.add(key)
            return super().get(key, default)

    import monitor.core.alarms as module

    module.TRANSITIONS, kept = Spy(TRANSITIONS), module.TRANSITIONS
    try:
        play(one(clear_s=1.0), [0.9, 0, 0.9, 0, 0.5, 0, 0])
        play(one(hold_s=5.0), [0.9, 0.5, 0.9, 0])
        latching = one(clear_s=1.0, latch=True)
        play(latching, [0.9, 0, 0, 0.9, 0, 0])
        latching.acknowledge("")
    finally:
        module.TRANSITIONS = kept
    assert reached == set(TRANSITIONS)


def test_time_is_data_time_and_the_id_is_the_same_in_every_replay():
    fast, slow = one(hold_s=1.0), one(hold_s=1.0)
    assert play(fast, [0.9] * 5, step_s=0.5) == [(2, "active")]
    play(slow, [0.9] * 3, step_s=1.0)
    assert fast.open()[0].id == slow.open()[0].id
    assert fast.open()[0].raised_ns == 0
    assert fast.open()[0].stream == "s/2"


def test_streams_do_not_touch_each_other():
    alarms = one()
    changed = alarms.step(np.array([0, 1, 3]), 0, np.array([5, 6, 7]), np.array([0.1, 0.95, 0.9]))
    assert [(row, alarm.stream, alarm.raised_ns) for row, alarm in changed] == [(1, "s/1", 6), (2, "s/3", 7)]
    assert alarms.busy(np.array([0, 1, 3]))[:, 0].tolist() == [False, True, True]


def test_the_peak_is_kept():
    alarms = one()
    play(alarms, [0.85, 0.99, 0.9])
    assert alarms.open()[0].score == pytest.approx(0.99)


def test_rules_are_taken_in_order_and_patterns_match():
    own = [Rule(kind=Kind.CLASS, label="V*", priority="high"), Rule(kind=Kind.CLASS, label="*", priority="low")]
    assert rule_for(own, Kind.CLASS, "VT").priority == "high"
    assert rule_for(own, Kind.CLASS, "S").priority == "low"
    assert rule_for([], Kind.LIMIT, "heart-rate").priority == "high"


def test_the_models_threshold_counts_where_the_rule_names_none():
    track = Track.of([Rule(kind=Kind.CLASS)], Kind.CLASS, "V", 0.7)
    assert (track.raise_level, track.clear_level) == (0.7, pytest.approx(0.56))
    assert Signal.ABOVE in {signal for _, signal in TRANSITIONS}
