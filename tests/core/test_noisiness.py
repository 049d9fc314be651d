"""Too much noise: told as noise, and nothing else told meanwhile."""

from __future__ import annotations

import numpy as np
import pytest

from monitor.core.blocks import NS, Alarm, Beat, Block, Event
from monitor.core.card import Noisiness
from monitor.core.engine import Engine
from monitor.core.noisiness import FIGURES, figures
from monitor.core.stream import Plan

RATE = 50.0
BY_STEP = Noisiness(weights=(10.0, 0, 0, 0, 0, 0), bias=25.0, level=0.5)
"""Noise is where the median step is more than e**-2.5, 8 % of the range."""


def beating(n):
    """A beat a second."""
    values = 0.01 * np.sin(np.arange(n))
    values[25::50] = 1.0
    values[26::50] = -0.3
    return values.astype(np.float32)


def sees_peaks(windows):
    """A beat where the sample five steps before the end is above 0.9; all are V."""
    beat = (windows[:, -6, :1] > 0.9).astype(np.float32)
    return {"beat": beat, "probabilities": np.tile(np.array([0.1, 0.9], np.float32), (len(windows), 1))}


def watched(make_card, values, noise=BY_STEP, size=40):
    card = make_card(
        "beats", hop=1, delay=5, classes=("N", "V"), thresholds={"V": 0.5}, beat_level=0.5, noise=noise, window=100
    )
    plan = Plan(models=("b",), heart_rate_bpm=(40.0, 150.0), quality=False)
    engine, found = Engine({"b": card}, lambda _: plan, max_streams=1), []
    for at in range(0, len(values), size):
        engine.push(Block("s", values[at : at + size, None], "r", at, round(at * NS / RATE), RATE), 0, 0)
        while (batch := engine.ready("b", 16)) is not None:
            found += [notice for _, notice in engine.conclude(batch, sees_peaks(batch.windows)).notices]
    return found, engine


def test_scale_matters_to_the_range_alone():
    windows = np.random.default_rng(0).standard_normal((3, 150)).astype(np.float32)
    once, twice = figures(windows, np.zeros(3)), figures(2 * windows + 5, np.zeros(3))
    assert once.shape == (3, len(FIGURES))
    np.testing.assert_allclose(once[:, :4], twice[:, :4], atol=1e-4)
    np.testing.assert_allclose(twice[:, 4] - once[:, 4], np.log(2), atol=1e-4)


def test_white_noise_moves_all_the_time_and_a_pulse_now_and_then():
    noise = np.random.default_rng(1).standard_normal((1, 150)).astype(np.float32)
    step, kurtosis, *_ = (figures(noise, np.zeros(1)) - figures(beating(150)[None], np.zeros(1)))[0]
    assert step > 1
    assert kurtosis < -1


@pytest.mark.parametrize("size", [1, 40, 977])
def test_in_noise_no_beats_are_told_and_alarms_stay_as_they_are(make_card, size):
    values = beating(3000)
    values[1000:2000] = 2 * np.random.default_rng(2).random(1000)
    found, engine = watched(make_card, values, size=size)
    told = [(n.kind.value, n.label, n.t_ns / NS) for n in found if isinstance(n, Event) and n.kind != "class"]
    assert [what[:2] for what in told] == [("signal", "noise")]
    at_s = told[0][2]
    assert 20 < at_s <= 22
    beats = np.array([n.t_ns / NS for n in found if isinstance(n, Beat)])
    assert not ((beats > at_s) & (beats < 40)).any()
    assert (beats > 42).sum() > 15
    lives = [(n.label, n.state.value) for n in found if isinstance(n, Alarm)]
    assert lives.count(("V", "cleared")) == 0  # it was on before the noise, and is on after it
    assert lives[-1] == ("noise", "cleared") or ("noise", "cleared") in lives
    assert engine.states()[0].heart_rate_bpm == pytest.approx(60, abs=1)


def test_a_model_that_knows_no_noise_tells_all_it_sees(make_card):
    values = beating(3000)
    values[1000:2000] = 2 * np.random.default_rng(2).random(1000)
    found, _ = watched(make_card, values, noise=None)
    beats = np.array([n.t_ns / NS for n in found if isinstance(n, Beat)])
    assert ((beats > 22) & (beats < 40)).sum() > 10
