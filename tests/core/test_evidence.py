"""Why an alarm was raised: the window and the forecasts that go with it, by stand-in models."""

from __future__ import annotations

import numpy as np
import pytest

from monitor.core.blocks import Alarm, State
from monitor.core.evidence import MOST_VALUES, array_of, bytes_of
from tests.core.test_engine import RATE, cut, last_value_model, make_engine, signal, spike_model


def evidence_of(engine, blocks, batch=64, order=("forecast", "spikes"), at_once=1):
    """Everything that was raised with why, and for each forecaster's window its end and what it foretold.

    The models take their turns in `order`, after so many blocks `at_once`.
    """
    models = {"spikes": spike_model, "forecast": last_value_model(10)}
    found, raised, foretold = [], [], []
    for i, block in enumerate(blocks):
        engine.push(block, now_ns=0, mark=i)
        if (i + 1) % at_once:
            continue
        for name in order:
            while (ready := engine.ready(name, batch)) is not None:
                outputs = models[name](ready.windows)
                conclusion = engine.conclude(ready, outputs)
                found += conclusion.evidence
                alarms = [n for _, n in conclusion.notices if isinstance(n, Alarm)]
                raised += [a for a in alarms if a.state is State.ACTIVE and a.times == 1]
                if name == "forecast":
                    foretold += list(zip(ready.ends.tolist(), outputs["forecast"], strict=True))
    return found, raised, dict(foretold)


@pytest.mark.parametrize("batch", [1, 7, 64])
def test_an_alarm_carries_its_window_and_what_had_been_forecast_of_it(make_card, batch):
    values = signal()
    found, raised, foretold = evidence_of(make_engine(make_card), cut(values, range(0, 400, 5)), batch)
    assert [e.alarm for e in found] == [a.id for a in raised]
    assert {e.model for e in found} >= {"tiny@1"}
    spikes = [e for e, a in zip(found, raised, strict=True) if a.label == "spike"]
    assert len(spikes) == 2
    for evidence in spikes:
        end = round(evidence.end_ns / 1e9 * RATE) + 1
        np.testing.assert_array_equal(array_of(evidence.window, 1), values[end - 10 : end])
        assert (evidence.score, evidence.threshold, evidence.rate_hz) == (1.0, 0.9, RATE)
        seen = evidence.foreseen
        head = round(seen.end_ns / 1e9 * RATE) + 1
        came, mean = array_of(seen.came, 1), array_of(seen.mean, 1)
        np.testing.assert_array_equal(came, values[head - 10 : head])
        np.testing.assert_array_equal(mean[:5], foretold[head - 10][:5])
        np.testing.assert_array_equal(mean[5:10], foretold[head - 5][:5])
        np.testing.assert_array_equal(mean[10:], foretold[head])
        np.testing.assert_array_equal(array_of(seen.upper, 1), mean + 1)


def test_in_a_backlog_why_waits_for_the_forecaster(make_card):
    """One model sees all of the signal before the other sees any, and it is the same evidence."""
    blocks = cut(signal(), range(0, 400, 5))
    live, _, _ = evidence_of(make_engine(make_card), blocks, order=("spikes", "forecast"))
    late, raised, _ = evidence_of(
        make_engine(make_card), blocks, order=("spikes", "forecast"), at_once=len(blocks)
    )
    of_spikes = {a.id for a in raised if a.label == "spike"}
    assert len(of_spikes) == 2
    assert {e.alarm: e for e in late if e.alarm in of_spikes} == {e.alarm: e for e in live if e.alarm in of_spikes}
    assert all(e.foreseen is not None for e in late)


def test_nothing_is_foretold_across_a_gap(make_card):
    values = signal(spikes=(112,))
    blocks = [b for b in cut(values, range(0, 400, 5)) if not 60 <= b.seq < 100]
    found, raised, _ = evidence_of(make_engine(make_card), blocks)
    (evidence,) = [e for e, a in zip(found, raised, strict=True) if a.label == "spike"]
    assert round(evidence.end_ns / 1e9 * RATE) + 1 == 115
    np.testing.assert_array_equal(array_of(evidence.window, 1), values[105:115])
    came, mean = array_of(evidence.foreseen.came, 1), array_of(evidence.foreseen.mean, 1)
    np.testing.assert_array_equal(
        came, values[110:115]
    )  # the first window ended at 110: nothing before was foretold
    assert len(mean) == len(came) + 10


def test_what_was_foretold_long_before_is_left_out(make_card):
    engine = make_engine(make_card)
    blocks = cut(signal(), range(0, 400, 5))
    found = evidence_of(engine, blocks[:12])[0]
    for i, block in enumerate(blocks[12:24], 12):  # the forecaster has stopped
        engine.push(block, now_ns=0, mark=i)
        while (ready := engine.ready("spikes", 64)) is not None:
            found += engine.conclude(ready, spike_model(ready.windows)).evidence
    assert found == []
    (evidence,) = engine.rest()
    assert evidence.foreseen is None
    assert engine.rest() == []


def test_evidence_is_bounded():
    assert len(bytes_of(np.zeros((100_000, 3), np.float32))) <= 4 * MOST_VALUES
    assert array_of(bytes_of(np.arange(10_000, dtype=np.float32)[:, None]), 1)[-1] == 9999
