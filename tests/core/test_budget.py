from __future__ import annotations

import numpy as np
import pytest

from monitor.core.blocks import Alarm, Event, Kind
from monitor.core.budget import WARM_UP_BLOCKS, Budget
from monitor.core.engine import Engine
from monitor.core.rules import Rule
from monitor.core.stream import Plan
from tests.core.test_engine import cut, last_value_model

HOP_S = 5.0
HOUR = round(3600 / HOP_S)


def make(streams, per_hour, floor=0.0, frozen_s=60.0, **more):
    budget = Budget(streams, HOP_S, 1.0, floor, frozen_s, **more)
    for slot, allowed in enumerate(np.broadcast_to(per_hour, streams)):
        budget.allow(slot, float(allowed))
    return budget


def play(budget, scores):
    """Scores (hop, stream); whether each raised an alarm, which lasts until the score is below its level again."""
    slots = np.arange(scores.shape[1])
    busy = np.zeros(len(slots), bool)
    raised = []
    for score in scores:
        level, over = budget.levels(slots, (np.inf, np.inf))
        new = (score >= level) & ~busy
        budget.learn(slots, score, busy, new)
        busy = (busy | new) & (score >= over)
        raised.append(new)
    return np.array(raised)


SIGNALS = {
    "exponential": lambda random, size: random.exponential(size=size),
    "normal": lambda random, size: np.abs(random.normal(size=(*size, 20))).max(axis=2),
    "heavy": lambda random, size: np.abs(random.standard_t(5, size=(*size, 20))).max(axis=2),
}


@pytest.mark.parametrize("kind", SIGNALS)
def test_the_budget_is_kept_whatever_the_tail(kind):
    """Six hours of 150 streams, from the first minute on: 90 alarms are allowed at one in ten hours."""
    per_hour = np.repeat([0.1, 1.0, 6.0], [150, 50, 50])
    scores = SIGNALS[kind](np.random.default_rng(5), (6 * HOUR, len(per_hour)))
    raised = play(make(len(per_hour), per_hour), scores).sum(axis=0) / 6
    realised = np.array([raised[per_hour == one].mean() / one for one in (0.1, 1.0, 6.0)])
    assert (realised[1:] < 1.5).all()
    assert (realised[1:] > 1 / 1.5).all()
    assert 0.3 < realised[0] < 3  # the tail is not known yet, so far out


def test_it_is_kept_while_the_signal_drifts_and_changes():
    hours, streams = 8, 100
    random = np.random.default_rng(1)
    loud = np.exp(0.3 * np.sin(np.linspace(0, 12, hours * HOUR)))[:, None]
    loud[hours * HOUR // 2 :] *= 2.0  # a change for good
    raised = play(make(streams, 1.0), random.exponential(size=(hours * HOUR, streams)) * loud)
    assert 1 / 1.5 < raised.mean() * HOUR < 1.5


def test_a_heavier_tail_is_a_higher_level_until_the_streams_own_is_known():
    scores = np.random.default_rng(2).exponential(size=(12 * HOUR, 1))
    light, heavy = make(1, 1.0), make(1, 1.0, tail=0.6)
    levels = []
    for start, end in ((0, HOUR // 12), (HOUR // 12, 12 * HOUR)):
        for budget in (light, heavy):
            play(budget, scores[start:end])
        levels.append([float(one.levels(np.array([0]), (0.0, 0.0))[0][0]) for one in (light, heavy)])
    (early_light, early_heavy), (late_light, late_heavy) = levels
    assert early_heavy > 1.5 * early_light
    assert late_heavy == pytest.approx(late_light, rel=0.25)


def test_while_it_warms_up_there_is_no_level():
    budget = make(1, 6.0)
    scores = np.random.default_rng(0).exponential(size=(WARM_UP_BLOCKS, 1))
    assert not play(budget, scores[:-1]).any()
    assert budget.warming(np.array([0]))[0]
    play(budget, scores[-1:])
    assert not budget.warming(np.array([0]))[0]
    assert np.isfinite(budget.levels(np.array([0]), (np.inf, np.inf))[0][0])


def test_what_was_flagged_counts_once_however_large():
    """A spike of a million leaves the level where one just above it leaves it."""
    scores = np.repeat(np.random.default_rng(2).exponential(size=(2 * HOUR, 1)), 2, axis=1)
    budget = make(2, 1.0)
    play(budget, scores)
    level = budget.levels(np.arange(2), (0, 0))[0][0]
    play(budget, np.array([[1.01 * level, 1e6]]))
    after = budget.levels(np.arange(2), (0, 0))[0]
    assert after[0] == after[1]
    assert level < after[0] < 1.5 * level


def test_an_alarm_is_not_learned_while_it_lasts_but_a_change_for_good_is():
    scores = np.random.default_rng(3).exponential(size=(2 * HOUR, 1))
    loud = 30 + np.random.default_rng(4).exponential(size=(HOUR, 1))
    patient, not_so = make(1, 1.0, frozen_s=np.inf), make(1, 1.0, frozen_s=60.0)
    for budget in (patient, not_so):
        play(budget, scores)
        assert budget.levels(np.array([0]), (0, 0))[0][0] < 20
        play(budget, loud)
    assert patient.levels(np.array([0]), (0, 0))[0][0] < 20
    assert not_so.levels(np.array([0]), (0, 0))[0][0] > 30


def test_another_budget_moves_the_level_at_once_and_none_is_the_fixed_one():
    budget, slots = make(1, 1.0), np.array([0])
    play(budget, np.random.default_rng(6).exponential(size=(4 * HOUR, 1)))
    level = budget.levels(slots, (9.0, 8.0))[0][0]
    budget.ask(0, 6.0)
    assert budget.levels(slots, (9.0, 8.0))[0][0] == pytest.approx(level - np.log(6), abs=1.0)
    budget.ask(0, None)
    assert budget.levels(slots, (9.0, 8.0))[0][0] == level
    budget.ask(0, 0.0)
    assert [float(one[0]) for one in budget.levels(slots, (9.0, 8.0))] == [9.0, 8.0]
    assert not budget.is_on


def test_it_goes_on_after_a_restart():
    scores = np.random.default_rng(7).exponential(size=(3 * HOUR + 2, 1))
    one, other = make(1, 6.0), make(1, 6.0)
    one.ask(0, 3.0)
    first = play(one, scores[: HOUR + 1])
    other.calibrate(0, one.calibration(0))
    np.testing.assert_array_equal(play(one, scores[HOUR + 1 :]), play(other, scores[HOUR + 1 :]))
    assert first.any()
    assert other.per_hour(np.array([0]))[0] == 3.0
    broken = one.calibration(0) | {"base": np.nan}
    other.calibrate(0, broken)  # is left
    assert np.isfinite(other.levels(np.array([0]), (0, 0))[0][0])


def test_shares_are_looked_at_as_odds_and_never_below_the_threshold():
    random = np.random.default_rng(8)
    odds = random.logistic(-6, 1.0, size=(6 * HOUR, 20))
    budget = make(20, 1.0, floor=0.5, are_shares=True)
    raised = play(budget, 1 / (1 + np.exp(-odds)))
    levels = budget.levels(np.arange(20), (0.5, 0.4))[0]
    assert (levels >= 0.5).all()
    assert (levels < 1).all()
    assert raised.mean() * HOUR < 1.5
    sure = play(budget, np.ones((4 * HOUR, 20)))  # a class that never ends is one alarm
    assert (sure.sum(axis=0) == 1).all()


def deviating(block_samples, batch, plan, values, stand_in, restart_at=None):
    """What an engine flags of `values` at 50 Hz, with the thresholds it used, and its last state."""
    engine, saved = Engine({"f": stand_in}, lambda _: plan, max_streams=1), None
    found, model = [], last_value_model(25)
    for block in cut(values, range(0, len(values), block_samples)):
        if restart_at is not None and block.seq >= restart_at:
            saved = [*engine.memory.learn(engine.memory.save())]
            engine, restart_at = Engine({"f": stand_in}, lambda _: plan, max_streams=1), None
            engine.memory.resume(saved)
        found += engine.push(block, 0, 0)[1]
        while (ready := engine.ready("f", batch)) is not None:
            found += [n for _, n in engine.conclude(ready, model(ready.windows)).notices]
    told = [n for n in found if isinstance(n, Event | Alarm) and n.kind is Kind.DEVIATION]
    return told, engine


@pytest.fixture(scope="module")
def noise():
    values = np.random.default_rng(9).normal(size=(60_000, 1)).astype(np.float32)  # 20 minutes
    values[50_000:50_005] += 30
    return values


def test_a_stream_keeps_its_budget_however_it_is_cut(make_card, noise):
    plan = Plan(models=("f",), quality=False, budget_per_hour=6.0)
    card = make_card("forecast", window=25, hop=25, horizon=25)
    told, engine = deviating(500, 64, plan, noise, card)
    assert told == deviating(7, 3, plan, noise, card)[0]
    raised = [a for a in told if isinstance(a, Alarm) and a.times == 1 and a.state == "active"]
    assert 1 <= len(raised) <= 5
    assert any(a.raised_ns // 10**9 == 1000 for a in raised)
    assert len({a.threshold for a in raised}) == len(raised)  # each level its own
    assert all(e.score >= e.threshold for e in told if isinstance(e, Event))
    assert not engine.states()[0].warming


def test_a_stream_without_one_and_a_rule_with_one(make_card, noise):
    card = make_card("forecast", window=25, hop=25, horizon=25)
    plan = Plan(models=("f",), quality=False)
    told, _ = deviating(500, 64, plan, noise, card)
    assert {n.threshold for n in told} == {4.0}
    rule = Rule(kind=Kind.DEVIATION, budget_per_hour=6.0)
    engine = Engine({"f": card}, lambda _: plan, max_streams=1, rules=[rule])
    for block in cut(noise[:3000], range(0, 3000, 500)):
        engine.push(block, 0, 0)
        while (ready := engine.ready("f", 64)) is not None:
            conclusion = engine.conclude(ready, last_value_model(25)(ready.windows))
    assert engine.states()[0].warming  # a minute is not enough
    assert np.isfinite(conclusion.scores[:, 0]).all()
    assert engine.scores(conclusion, 0) == []  # and nothing is told that cannot be weighed


def test_a_restart_keeps_the_level(make_card, noise):
    plan = Plan(models=("f",), quality=False, budget_per_hour=6.0)
    card = make_card("forecast", window=25, hop=25, horizon=25)
    whole = deviating(500, 64, plan, noise, card)[1]
    again = deviating(500, 64, plan, noise, card, restart_at=30_000)[1]
    levels = [next(iter(engine.memory.learn(engine.memory.save()))).calibration for engine in (whole, again)]
    assert levels[1][card.ident]["forecast.blocks"] == pytest.approx(
        levels[0][card.ident]["forecast.blocks"], abs=2
    )
    assert levels[1][card.ident]["forecast.base"] == pytest.approx(levels[0][card.ident]["forecast.base"], rel=0.1)
