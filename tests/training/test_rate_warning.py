"""Warnings of a heart rate's limits, by the model that finds beats, on an ECG."""

from __future__ import annotations

import numpy as np
import pytest

from monitor.core.ecg import Ecg
from monitor.core.rate_ahead import RateOutlook
from monitor.inference import find_models, load_model
from training import rate_warning
from training.rate_warning import RATE_HZ, Heart, StraightLine, drifting_hearts, rates_of, warned_of

ONE = np.array([0])


def test_the_rate_at_each_second_is_that_of_the_last_eight_intervals() -> None:
    beats_s = np.concatenate((np.arange(0.5, 20), np.arange(20, 40, 0.5)))
    rates = rates_of(beats_s, 40)
    assert rates[:20].tolist() == [60.0] * 20
    assert rates[25:].tolist() == [120.0] * 15


def test_a_straight_line_is_believed_as_it_is() -> None:
    line, trend = StraightLine(1), RateOutlook(1)
    rates = 100 + np.random.default_rng(1).normal(0, 5, 300)
    for one in (line, trend):
        one.limit(0, 40.0, 102.0)
        for rate in rates:
            one.note(ONE, np.array([rate]))
    straight, believed = (float(one.look(ONE, np.array([100.0]))[0, 1]) for one in (line, trend))
    assert believed == pytest.approx(1 - 2 / 62)  # as it is now
    assert abs(straight - believed) > 0.005


def test_a_drift_is_warned_of_before_the_limit() -> None:
    ecg = Ecg(rate_hz=RATE_HZ, seed=4, heart_rate_bpm=[(75, 150.0), (115, 200.0)])
    values, labels = ecg.next(round(110 * RATE_HZ))
    beats_s = np.array([at for at, label in labels if label == "N"]) / RATE_HZ
    heart = Heart("a", values, RATE_HZ, "mV", beats_s, (40.0, 180.0))
    believed, straight = warned_of([heart], load_model(find_models(None)["ecg-beats"]))
    crossed = int(np.flatnonzero(rates_of(beats_s, 110) > 180)[0])
    assert 78 < believed[0][0][0] < crossed - 3
    assert straight[0]


def test_every_other_simulated_heart_leaves_the_range(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate_warning, "RATE_HZ", 50.0)
    leaves, turns = (rates_of(heart.beats_s, heart.seconds) for heart in drifting_hearts(2, seed=2))
    assert ((leaves < 40) | (leaves > 130)).any()
    assert not ((turns < 40) | (turns > 130)).any()
    assert np.ptp(turns) > 20
