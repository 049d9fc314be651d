from __future__ import annotations

import numpy as np
import pytest

from monitor.core.beats import BeatPicker
from monitor.core.card import Card, KnownAnswer, Source, Tensor
from training.metrics import (
    FoundBeats,
    conformal_factors,
    count_events,
    forecast_figures,
    match_beats,
    pick_beats,
    tally_beats,
    tally_class,
)


def test_events_are_counted_one_by_one() -> None:
    ends = np.arange(10, 201, 5)  # a window every 5 samples; each flag speaks of the 10 samples before its end
    at = np.array([52, 100, 150])
    flags = np.isin(ends, [55, 60, 105, 20, 25, 180])  # finds 52 and 100, misses 150, two false alarms
    count = count_events(flags, ends, at, reach=10, tail=4, rate_hz=50)
    assert (count.events, count.found, count.false_alarms) == (3, 2, 2)
    assert count.false_alarms_per_hour == pytest.approx(2 / (190 / 50 / 3600))


def test_a_spike_that_is_still_there_is_no_false_alarm_and_no_find() -> None:
    ends = np.arange(10, 201, 5)
    count = count_events(ends == 65, ends, np.array([53]), reach=10, tail=4, rate_hz=50)
    assert (count.found, count.false_alarms) == (0, 0)
    assert count_events(ends == 65, ends, np.array([], np.int64), 10, 4, 50).false_alarms == 1


def test_conformal_factors_hold_what_they_promise() -> None:
    random = np.random.default_rng(0)
    mean = random.standard_normal((40_000, 3, 1)).astype(np.float32)
    outputs = {"forecast": mean, "lower": mean - 1, "upper": mean + 2}
    spread = np.array([0.1, 1, 10])[:, None]
    came = (mean + spread * random.standard_normal(mean.shape)).astype(np.float32)
    factors = conformal_factors({k: v[:20_000] for k, v in outputs.items()}, came[:20_000], 0.9)
    assert factors.shape == (3, 1)
    fresh = {"forecast": mean[20_000:], "lower": mean[20_000:] - factors, "upper": mean[20_000:] + 2 * factors}
    figures = forecast_figures(fresh, came[20_000:], mean[20_000:, 0])
    assert figures["coverage_lowest_step"] > 0.88
    assert figures["coverage_highest_step"] < 0.92


def test_matching_is_one_to_one_and_nearest_first() -> None:
    assert match_beats(np.array([10.0, 20.0]), np.array([12.0, 19.0, 21.5]), 5).tolist() == [0, 1]
    assert match_beats(np.array([10.0, 12.0]), np.array([11.5]), 5).tolist() == [-1, 0]
    assert match_beats(np.array([10.0]), np.array([16.0]), 5).tolist() == [-1]


def test_tallies() -> None:
    at, kinds = np.array([100.0, 200, 300, 400]), np.array([0, 2, 2, 3])
    found = FoundBeats(np.array([101.0, 199, 350, 400]), np.zeros((4, 4)))
    beats = tally_beats(at, found, 72)
    assert (beats.hit, beats.missed, beats.false) == (3, 1, 1)
    called = np.array([False, True, True, True])  # right, on nothing, on a fusion beat
    tally = tally_class(at, kinds, found, called, 2, 3, 72)
    assert (tally.hit, tally.missed, tally.false) == (1, 1, 1)
    assert tally.figures("V") == {"V_se": 0.5, "V_ppv": 0.5, "V_f1": 0.5}


def test_beats_are_picked_as_the_monitor_picks_them() -> None:
    random = np.random.default_rng(5)
    n, fold, delay, rate_hz = 3000, 3, 8, 72.0
    heat = np.clip(np.convolve(random.uniform(size=n), np.ones(3) / 3, "same"), 0, 1).astype(np.float32)
    kinds = random.dirichlet(np.ones(4), n).astype(np.float32)
    ends = 150 + fold * np.arange(n)
    middles = (ends - 1 - delay * fold).astype(float) - (fold - 1) / 2
    reference = pick_beats(heat, kinds, middles, 0.6, 0.2 * rate_hz)

    nothing = KnownAnswer(Tensor.of(np.zeros((1, 150, 1), np.float32)), {})
    card = Card(
        name="x", version="1", task="beats", cell="gru", layers=1, hidden=1, parameters=1, rate_hz=rate_hz,
        window=50, samples_per_step=fold, hop=1, classes=("N", "S", "V", "F"), delay=delay, beat_level=0.6,
        source=Source("x"), seed=0, made="", code="", known_answer=nothing,
    )  # fmt: skip
    picker = BeatPicker(card, 1)
    at, probabilities = [], []
    for i in range(n):
        t_ns = np.array([round((ends[i] - 1) / rate_hz * 1e9)])
        outputs = {"beat": heat[i : i + 1, None], "probabilities": kinds[i : i + 1]}
        _, when, classes, _ = picker.step(np.array([0]), np.array([i > 0]), t_ns, outputs)
        at += (when / 1e9 * rate_hz).tolist()
        probabilities += list(classes)
    assert len(at) > 200
    np.testing.assert_allclose(at, reference.at, atol=1e-3)
    np.testing.assert_allclose(probabilities, reference.probabilities, atol=1e-6)
