"""What the shipped beat model must not do: cry wolf at a rhythm that is unusual, and steady."""

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
