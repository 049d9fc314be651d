"""Early warning for a heart rate: a trend is foreseen, and what hearts do all the time is not."""

from __future__ import annotations

import numpy as np
import pytest

from monitor.core.beats import Pulse
from monitor.core.blocks import NS, Alarm, Event, Kind
from monitor.core.engine import Engine
from monitor.core.rate_ahead import HORIZON, WARM_UP, WINDOW, RateOutlook
from monitor.core.stream import Plan
from tests.core.test_engine import cut
from tests.core.test_scoring import beats_card

ONE = np.array([0])
KNOWN = WINDOW + HORIZON + WARM_UP + 8
"""Beats after which a trend may be believed."""


def intervals(bpm, seed=0, variability=0.03):
    """RR intervals in s of a heart at each of `bpm` beats a minute."""
    return 60 / np.asarray(bpm) * np.exp(variability * np.random.default_rng(seed).standard_normal(len(bpm)))


def outlooks(rr_s, low=40.0, high=130.0):
    """Rate, scores now and ahead, and what is said, after each beat."""
    outlook, pulse, found = RateOutlook(1), Pulse(1), []
    outlook.limit(0, low, high)
    for at in np.cumsum(rr_s):
        when = np.array([round(at * NS)])
        pulse.note(ONE, when)
        rate = pulse.rate_bpm(ONE, when)
        outlook.note(ONE, np.where(pulse.is_settled(ONE), rate, np.nan))
        now, ahead = outlook.look(ONE, rate)[0]
        found.append((rate[0], now, ahead, outlook.said(0, rate[0], is_ahead=True) if ahead >= 1 else ""))
    return found


def test_a_drift_is_foreseen_and_the_time_that_is_left_is_about_right():
    rise = 70 + 0.3 * np.arange(250)
    rr_s = intervals([*np.full(300, 70.0), *rise])
    found = outlooks(rr_s)
    at_s = np.cumsum(rr_s)
    first = next(i for i, (_, _, ahead, _) in enumerate(found) if ahead >= 1)
    crossed = next(i for i, (rate, *_) in enumerate(found) if rate > 130)
    assert 300 < first < crossed
    lead_s = at_s[crossed] - at_s[first]
    assert 8 < lead_s < 30
    said = found[first][3].split()
    assert said[:6] == ["heart", "rate", "above", "130", "bpm", "in"]
    assert float(said[6]) == pytest.approx(lead_s, rel=0.5)
    assert all(ahead == 0 for _, now, ahead, _ in found if now >= 1)
    assert max(ahead for *_, ahead, _ in found[KNOWN:290]) < 1


def test_before_two_minutes_nothing_is_believed():
    found = outlooks(intervals(70 + 0.3 * np.arange(250)))
    scores = np.array([ahead for _, _, ahead, _ in found])
    assert np.isnan(scores[: KNOWN - 2]).all()
    assert not np.isnan(scores[KNOWN:]).any()


def test_a_rate_that_comes_and_goes_is_no_trend():
    """Swings of a minute, near the limit: the line alone would warn at each of them."""
    t = np.arange(2000)
    found = outlooks(intervals(110 + 8 * np.sin(2 * np.pi * t / 100)))
    assert np.nanmax([ahead for _, _, ahead, _ in found[600:]]) < 1


def test_premature_and_missed_beats_are_no_trend():
    random = np.random.default_rng(3)
    rr_s = intervals(np.full(1500, 115.0))
    early = np.sort(random.choice(np.arange(300, 1480, 4), 200, replace=False))  # 200 of 1200, some bigeminy
    rr_s[early] *= 0.6
    rr_s[early + 1] *= 1.4
    missed = random.choice(np.arange(302, 1480, 4), 20, replace=False)
    rr_s[missed] *= 2
    found = outlooks(rr_s)
    assert np.nanmax([ahead for _, _, ahead, _ in found]) < 1


def test_after_a_gap_the_line_begins_anew_and_what_is_usual_stays():
    outlook = RateOutlook(2)
    outlook.limit(1, 40.0, 130.0)
    slot = np.array([1])
    rates = np.random.default_rng(0).normal(80, 2, KNOWN)
    for rate in rates:
        outlook.note(slot, np.array([rate]))
    assert not np.isnan(outlook.look(slot, np.array([80.0]))).any()
    outlook.start(slot)
    assert np.isnan(outlook.look(slot, np.array([80.0]))[0, 1])
    for rate in rates[:WINDOW]:
        outlook.note(slot, np.array([rate]))
    assert not np.isnan(outlook.look(slot, np.array([80.0]))).any()
    other = RateOutlook(1)
    other.limit(0, 40.0, 130.0)
    assert other.calibration(0) == {}
    other.calibrate(0, {"rate_error": float("nan"), "rate_errors": 9.0})
    assert other.calibration(0) == {}
    other.calibrate(0, outlook.calibration(1))
    for rate in rates[:WINDOW]:
        other.note(ONE, np.array([rate]))
    assert other.look(ONE, np.array([80.0])) == pytest.approx(outlook.look(slot, np.array([80.0])), abs=0.05)


@pytest.mark.parametrize(
    ("low", "high", "rate", "score"),
    [
        (40, 150, 150, 1.0), (40, 150, 36, 1.1), (40, 150, 48, 0.8), (60, 100, 110, 1.25), (60, 100, 70, 0.75),
        (-np.inf, 150, 165, 1.1), (40, np.inf, 400, 0.0), (np.nan, np.nan, 70, np.nan),
    ],
)  # fmt: skip
def test_the_limit_is_1_and_what_is_usual_again_ends_the_alarm(low, high, rate, score):
    outlook = RateOutlook(1)
    outlook.limit(0, low, high)
    assert outlook.look(ONE, np.array([float(rate)]))[0, 0] == pytest.approx(score, nan_ok=True)


@pytest.mark.parametrize(("block_samples", "batch"), [(40, 64), (7, 3)])
def test_the_engine_warns_before_the_limit(make_card, block_samples, batch):
    """A stand-in model that sees a beat where the signal is above 1; 100 beats a minute, then up to 170."""
    card = beats_card(make_card, rate_hz=50.0, samples_per_step=1, delay=2)

    def model(windows):
        heat = (windows[:, -3, 0] > 1).astype(np.float32)[:, None]
        return {"beat": heat, "probabilities": np.tile(np.array([1, 0], np.float32), (len(windows), 1))}

    rr_s = np.concatenate((intervals(np.full(250, 100.0)), intervals(100 + 0.4 * np.arange(175), seed=1)))
    at = np.rint(50 * np.cumsum(rr_s)).astype(int)
    values = np.zeros((at[-1] + 10, 1), np.float32)
    values[at] = 1.5
    plan = Plan(models=("b",), heart_rate_bpm=(40.0, 150.0), quality=False)
    engine = Engine({"b": card}, lambda _: plan, max_streams=1)
    found = []
    for block in cut(values, range(0, len(values), block_samples)):
        engine.push(block, 0, 0)
        while (ready := engine.ready("b", batch)) is not None:
            found += [n for _, n in engine.conclude(ready, model(ready.windows)).notices]
    alarms = [n for n in found if isinstance(n, Alarm) and n.label == "heart-rate"]
    ahead = [a for a in alarms if a.kind is Kind.LIMIT_AHEAD]
    limits = [a for a in alarms if a.kind is Kind.LIMIT]
    assert ahead[0].state == "active"
    assert ahead[0].detail.startswith("heart rate above 150 bpm in ")
    assert ahead[-1].state == "cleared"
    assert [(a.state.value, a.detail) for a in limits][:1] == [("active", "heart rate above 150 bpm")]
    lead_s = (limits[0].raised_ns - ahead[0].raised_ns) / NS
    assert 5 < lead_s < 30
    assert float(ahead[0].detail.split()[-2]) == pytest.approx(lead_s, abs=8)
    event = next(n for n in found if isinstance(n, Event) and n.kind is Kind.LIMIT_AHEAD)
    assert event.detail == ahead[0].detail
    (learned,) = next(iter(engine.memory.learn(engine.memory.save()))).calibration.values()
    assert learned["rate_errors"] > WARM_UP


def test_a_stream_that_is_given_a_range_later_begins_with_nothing():
    outlook, slots = RateOutlook(1), np.array([0])
    outlook.start(slots)
    outlook.limit(0, 40.0, 150.0)
    for _ in range(HORIZON):
        outlook.note(slots, np.array([70.0]))
    assert outlook.calibration(0) == {}
    assert np.isnan(outlook.look(slots, np.array([70.0]))[0, 1])
