from __future__ import annotations

import numpy as np
import pytest

from monitor.core.beats import BeatPicker, Pulse
from monitor.core.blocks import NS, Alarm, Beat, Event
from monitor.core.engine import Engine
from monitor.core.scoring import Continuity, DeviationScorer
from monitor.core.stream import Plan
from tests.core.test_engine import cut

ONE = np.array([0])


def beats_card(make_card, **changes):
    given = {"rate_hz": 72.0, "window": 10, "samples_per_step": 3, "hop": 1, "delay": 4}
    given |= {"classes": ("N", "V"), "thresholds": {"V": 0.6}, "beat_level": 0.5}
    return make_card("beats", **{**given, **changes})


def pick(picker, heats, classes=None, start=0, first=False, slot=ONE):
    step_ns = NS / 24
    found = []
    for i, heat in enumerate(heats):
        likely = [1.0, 0.0] if classes is None else classes[i]
        outputs = {"beat": np.array([[heat]], np.float32), "probabilities": np.array([likely], np.float32)}
        t_ns = np.array([round((start + i) * step_ns)])
        rows, when, p, _ = picker.step(slot, np.array([not (first and i == 0)]), t_ns, outputs)
        found += [(start + i, int(w), q) for _, w, q in zip(rows, when, p, strict=True)]
    return found


def test_a_beat_is_the_top_of_its_hill_told_one_step_later(make_card):
    picker = BeatPicker(beats_card(make_card), 1)
    ((told, when_ns, _),) = pick(picker, [0, 0, 0.1, 0.6, 0.9, 0.6, 0.1, 0], first=True)
    assert told == 5
    # step 4 is the top; the output speaks of 4 steps before the window's last step, whose middle is a sample back
    assert when_ns == pytest.approx((4 - 4) * NS / 24 - NS / 72, abs=2)


def test_the_time_is_refined_between_steps(make_card):
    left = pick(BeatPicker(beats_card(make_card), 1), [0, 0, 0.7, 0.9, 0.5, 0], first=True)[0][1]
    right = pick(BeatPicker(beats_card(make_card), 1), [0, 0, 0.5, 0.9, 0.7, 0], first=True)[0][1]
    assert 0 < right - left < NS / 24


@pytest.mark.parametrize(("gap", "beats"), [(4, 1), (6, 2)])
def test_two_tops_within_the_refractory_time_are_one_beat(make_card, gap, beats):
    heats = np.zeros(20)
    heats[[5, 5 + gap]] = 0.9
    assert len(pick(BeatPicker(beats_card(make_card), 1), heats, first=True)) == beats


def test_a_card_may_ask_for_the_mean_over_a_while(make_card):
    """What is off a little for long then counts as much as what is far off for a moment."""
    card = make_card("forecast", hop=1, score_steps=5, rate_hz=1.0)
    scorer = DeviationScorer(card, 1)
    nothing = np.zeros((1, 10, 1), np.float32)
    outputs = {"forecast": nothing, "lower": nothing - 1, "upper": nothing + 1}

    def score(value, follows=True):
        window = np.full((1, 10, 1), value, np.float32)
        return float(scorer.step(ONE, np.array([follows]), window, outputs, np.array([value > 1]))[0])

    for i in range(80):
        score(0.5, i > 0)
    quiet = score(0.5)
    assert quiet == pytest.approx(1.0, rel=0.05), "half a half-width is usual"
    once = [score(2.5), *(score(0.5) for _ in range(6))]
    assert max(once) / quiet == pytest.approx((0.5 * 4 + 2.5) / (0.5 * 5), rel=0.05)
    quiet = once[-1]
    assert max(score(1.5) for _ in range(6)) / quiet == pytest.approx(3.0, rel=0.05)
    assert np.isnan(score(0.5, follows=False))
    assert [np.isnan(score(0.5)) for _ in range(6)] == [True] * 4 + [False] * 2


def test_below_the_level_there_is_no_beat(make_card):
    assert pick(BeatPicker(beats_card(make_card), 1), [0, 0, 0.49, 0, 0], first=True) == []


def test_the_class_is_averaged_over_the_top_and_its_neighbours(make_card):
    heats = [0, 0, 0.6, 0.9, 0.6, 0]
    classes = [[1, 0]] * 2 + [[0.0, 1.0], [0.9, 0.1], [0.0, 1.0], [1, 0]]
    ((_, _, p),) = pick(BeatPicker(beats_card(make_card), 1), heats, classes, first=True)
    np.testing.assert_allclose(p, [0.3, 0.7], atol=1e-6)


def test_heart_rate_follows_and_sinks_when_a_beat_stays_away():
    pulse = Pulse(1)
    beats_ns = np.arange(30) * NS * 2 // 3
    for when_ns in beats_ns:
        pulse.note(ONE, np.array([when_ns]))
    now = beats_ns[-1:]
    assert pulse.rate_bpm(ONE, now)[0] == pytest.approx(90, abs=1)
    assert pulse.rr_s(0) == pytest.approx(2 / 3, abs=0.01)
    assert pulse.rate_bpm(ONE, now + 4 * NS)[0] == pytest.approx(15)
    pulse.start(ONE)
    assert np.isnan(pulse.rate_bpm(ONE, now)[0])


def test_continuity_breaks_with_the_segment_and_with_a_skipped_hop():
    follows = Continuity(1, hop=5)
    steps = [(1, 10), (1, 15), (1, 25), (1, 30), (2, 10), (2, 15)]
    told = [bool(follows.step(ONE, np.array([s]), np.array([e]))[0]) for s, e in steps]
    assert told == [False, True, False, True, False, True]


def deviations(scorer, values, frozen=False, hop=5, window=10):
    """Scores of a signal against the forecast that it stays at 0, give or take 1."""
    scores = []
    for end in range(window, len(values) + 1, hop):
        w = np.array(values[end - window : end], np.float32)[None, :, None]
        flat = np.zeros((1, 10, 1), np.float32)
        outputs = {"forecast": flat, "lower": flat - 1, "upper": flat + 1}
        follows = np.array([end > window])
        scores.append(float(scorer.step(ONE, follows, w, outputs, np.array([frozen]))[0]))
    return np.array(scores)


def test_warming_up_is_no_score_and_a_jump_is_a_high_one(make_card):
    scorer = DeviationScorer(make_card("forecast"), 1)
    rng = np.random.default_rng(0)
    values = rng.normal(0, 0.3, 3000)
    values[2500:2502] = 5
    scores = deviations(scorer, values)
    assert np.isnan(scores[:40]).all()
    quiet = np.delete(scores, np.s_[490:505])[41:]
    assert 0.02 < (quiet > 1).mean() < 0.10  # 1 is what one hop in twenty exceeds
    assert quiet.max() < 4
    assert scores[490:505].max() > 4


def test_the_usual_is_each_streams_own(make_card):
    for scale in (0.1, 10.0):
        scores = deviations(
            DeviationScorer(make_card("forecast"), 1), np.random.default_rng(1).normal(0, scale, 4000)
        )
        assert 0.02 < (scores[300:] > 1).mean() < 0.10


def test_what_is_flagged_is_not_learned_for_a_while(make_card):
    scorer = DeviationScorer(make_card("forecast"), 1)
    deviations(scorer, np.random.default_rng(0).normal(0, 0.3, 2000))
    loud = np.random.default_rng(0).normal(0, 3.0, 12_000)
    scores = deviations(scorer, loud, frozen=True)
    assert np.nanmedian(scores[1:500]) > 3  # it stays odd
    assert np.nanmedian(scores[-300:]) < 1.5  # but not for ever: the signal has changed


def test_skill_is_against_what_stays_as_it_is(make_card):
    scorer = DeviationScorer(make_card("forecast"), 1)
    assert np.isnan(scorer.skill(0))
    deviations(scorer, np.random.default_rng(0).normal(0, 1, 2000))  # white noise: 0 is twice as good as the last
    assert scorer.skill(0) == pytest.approx(0.5, abs=0.1)


def test_beats_become_notices_events_alarms_and_limits(make_card):
    """A stand-in model that sees a beat where the signal is above 1, ventricular above 2."""
    card = beats_card(make_card, rate_hz=50.0, samples_per_step=1, delay=2)

    def model(windows):
        at = windows[:, -3, 0]
        heat = (at > 1).astype(np.float32)[:, None]
        v = (windows[:, -4:-1, 0] > 2).any(axis=1).astype(np.float32)  # the class is sure around the beat
        return {"beat": heat, "probabilities": np.stack((1 - v, v), axis=1)}

    values = np.zeros((3000, 1), np.float32)
    values[25:2000:50] = 1.5  # 60 bpm
    values[[525, 575, 1525]] = 3.0
    values[2000::15] = 1.5  # 200 bpm
    plan = Plan(models=("b",), heart_rate_bpm=(40.0, 150.0), quality=False)
    engine = Engine({"b": card}, lambda _: plan, max_streams=1)
    found = []
    for block in cut(values, range(0, 3000, 40)):
        engine.push(block, 0, 0)
        while (batch := engine.ready("b", 16)) is not None:
            found += [n for _, n in engine.conclude(batch, model(batch.windows)).notices]
    beats = [n for n in found if isinstance(n, Beat)]
    truth = np.flatnonzero(values[:, 0] > 1)
    assert [round(b.t_ns * 50 / NS) for b in beats] == truth[: len(beats)].tolist()
    assert len(truth) - len(beats) <= 1
    assert beats[10].rate_bpm == pytest.approx(60, abs=0.5)
    flagged = [e for e in found if isinstance(e, Event) and e.label == "V"]
    assert [round(e.t_ns * 50 / NS) for e in flagged] == [525, 575, 1525]
    assert all(e.start_ns < e.t_ns < e.end_ns for e in flagged)
    alarms = [(a.label, a.state.value) for a in found if isinstance(a, Alarm)]
    # Two beats a second apart are one alarm that rose twice.
    assert alarms[:5] == [("V", state) for state in ("active", "active", "cleared", "active", "cleared")]
    assert alarms[5:] == [("heart-rate", "active")]
    (limit,) = [e for e in found if isinstance(e, Event) and e.label == "heart-rate"]
    assert limit.score > 1
    assert engine.states()[0].heart_rate_bpm == pytest.approx(200, abs=2)
