"""The shipped beat models: no alarm at a rhythm that is unusual and steady, and beats from two leads."""

from __future__ import annotations

import numpy as np
import pytest

from monitor.core.blocks import NS, Alarm, Beat, Block
from monitor.core.ecg import Ecg
from monitor.core.engine import Engine
from monitor.core.stream import Plan
from monitor.inference import find_models, load_model, second_tiers

RATE = 360


@pytest.mark.parametrize(("seed", "bpm"), [(1, 60), (2, 75), (3, 90)])
def test_a_paced_rhythm_is_found_and_raises_no_alarm(seed, bpm):
    values, labels = Ecg(seed=seed, heart_rate_bpm=bpm, variability=0.003, paced=True).next(RATE * 60)
    model = load_model(find_models(None)["ecg-beats"])
    plan = Plan(models=("b",), heart_rate_bpm=(40.0, 150.0))
    engine = Engine({"b": model.card}, lambda _: plan, max_streams=1, seconds=second_tiers({"b": model}))
    engine.push(Block("s", values, "r", 0, 0, float(RATE)), 0, 0)
    found = engine.signals()
    while (batch := engine.ready("b", 64)) is not None:
        found += [notice for _, notice in engine.conclude(*engine.infer(batch, model)).notices]
    told = np.array([notice.t_ns / NS for notice in found if isinstance(notice, Beat)])
    true = np.array([at / RATE for at, name in labels if name == "/"])
    known = true[(true > 3) & (true < 58)]  # neither before it was warm nor still waiting for what follows
    assert len(known) > 50
    assert all(np.abs(told - at).min() < 0.15 for at in known)
    assert len(told) <= len(true)
    assert [notice for notice in found if isinstance(notice, Alarm)] == []


def test_two_leads_are_watched_beside_a_model_of_one():
    values, labels = Ecg(seed=4, heart_rate_bpm=70, pvcs_per_minute=6).next(RATE * 60)
    other = 0.5 * values[:, 0] + 0.02 * np.random.default_rng(0).standard_normal(len(values))
    both = np.column_stack((values[:, 0], other)).astype(np.float32)
    models = {name: load_model(find_models(None)[name]) for name in ("ecg-beats-2", "ecg-forecast")}
    cards = {name: model.card for name, model in models.items()}
    engine = Engine(cards, lambda _: Plan(models=tuple(models)), max_streams=1, seconds=second_tiers(models))
    engine.push(Block("s", both, "r", 0, 0, float(RATE)), 0, 0)
    found = []
    for name, model in models.items():
        while (batch := engine.ready(name, 64)) is not None:
            found += [notice for _, notice in engine.conclude(*engine.infer(batch, model)).notices]
    beats = [notice for notice in found if isinstance(notice, Beat)]
    told = np.array([beat.t_ns / NS for beat in beats])
    for symbol in "NV":
        true = np.array([at / RATE for at, name in labels if name == symbol])
        known = true[(true > 3) & (true < 58)]
        near = [int(np.abs(told - at).argmin()) for at in known]
        assert np.abs(told[near] - known).max() < 0.15
        assert np.mean([beats[i].label == symbol for i in near]) > 0.9
