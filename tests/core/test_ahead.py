from __future__ import annotations

import numpy as np
import pytest

from monitor.core.ahead import Ranges, sees_values
from monitor.core.blocks import NS, Alarm, Event, Kind
from monitor.core.conditioning import Conditioning
from monitor.core.engine import Engine
from monitor.core.rules import Rule
from monitor.core.stream import Plan
from tests.core.test_engine import cut

ONE = np.array([0])


def look(ranges, newest, forecast, slots=ONE):
    """Rows of one or more channels; forecasts (n, horizon, channel)."""
    windows = np.zeros((len(slots), 4, np.shape(newest)[1]), np.float32)
    windows[:, -1] = newest
    return ranges.look(slots, windows, np.array(forecast, np.float32))


def test_the_limit_itself_is_1_and_the_lead_is_when_the_forecast_first_crosses_it(make_card):
    ranges = Ranges(make_card("forecast", rate_hz=2.0), 1)
    assert not ranges
    ranges.limit(0, ("SpO2",), {"SpO2": (90.0, 100.0)})
    outlook = look(ranges, [[95.0]], [[[93.0], [91.0], [90.0], [85.0]]])
    assert (outlook.now[0], outlook.ahead[0], outlook.lead_s[0]) == (0.5, 1.5, 1.5)
    assert ranges.said(0, outlook, 0, 1) == "SpO2 below 90 in 1.5 s"
    outlook = look(ranges, [[95.0]], [[[96.0], [98.0], [99.0], [97.0]]])
    assert outlook.ahead[0] == pytest.approx(0.9)
    assert np.isnan(outlook.lead_s[0])


def test_what_is_out_of_range_is_no_longer_ahead(make_card):
    ranges = Ranges(make_card("forecast"), 1)
    ranges.limit(0, ("SpO2",), {"*": (90.0, 100.0)})
    outlook = look(ranges, [[101.0]], [[[102.0], [103.0]]])
    assert (outlook.now[0], outlook.ahead[0]) == (pytest.approx(1.1), 0.0)
    assert ranges.said(0, outlook, 0, 0) == "SpO2 above 100"


def test_each_channel_has_its_own_and_the_worst_speaks(make_card):
    ranges = Ranges(make_card("forecast", channels=2), 2)
    ranges.limit(1, ("a", "b"), {"a": (-1.0, 1.0), "b": (-np.inf, 50.0)})
    forecast = [[[0.0, 0.0]], [[0.5, 60.0]]]
    outlook = look(ranges, [[9.0, 99.0], [0.0, 40.0]], forecast, np.array([0, 1]))
    assert np.isnan([outlook.now[0], outlook.ahead[0], outlook.lead_s[0]]).all()  # has no range
    assert outlook.ahead[1] == pytest.approx(1.2)
    assert ranges.said(1, outlook, 1, 1) == "b above 50 in 0.02 s"
    ranges.limit(1, ("a", "b"), {})
    assert not ranges


def test_a_model_that_does_not_see_the_streams_unit_watches_no_limit(make_card):
    card = make_card("forecast", conditioning=Conditioning(gain="running-range"))
    assert not sees_values(card)
    assert sees_values(make_card("forecast"))
    assert not sees_values(make_card("classify"))
    ranges = Ranges(card, 1)
    ranges.limit(0, ("x",), {"*": (0.0, 1.0)})
    assert not ranges


def line_model(windows):
    """Goes on as straight as the window goes."""
    steps = np.arange(1, 21)[None, :, None]
    slope = (windows[:, -1:] - windows[:, :1]) / (windows.shape[1] - 1)
    mean = windows[:, -1:] + steps * slope
    return {"forecast": mean, "lower": mean - 1, "upper": mean + 1}


@pytest.mark.parametrize(("block_samples", "batch"), [(40, 64), (7, 3)])
def test_an_early_warning_comes_before_the_limit_and_says_how_long_before(make_card, block_samples, batch):
    """0.1 a sample down from 95 at 50 Hz: below 90 after 50 samples, one second, foreseen 20 samples before."""
    card = make_card("forecast", horizon=20)
    plan = Plan(models=("f",), quality=False, limits={"*": (90.0, 100.0)}, channels=("SpO2",))
    values = np.full((1000, 1), 95.0, np.float32)
    values[500:600, 0] -= 0.1 * np.arange(100)
    values[600:] = values[599]
    rules = [Rule(kind=kind) for kind in (Kind.LIMIT, Kind.LIMIT_AHEAD)]  # at once
    engine, found = Engine({"f": card}, lambda _: plan, max_streams=1, rules=rules), []
    for block in cut(values, range(0, len(values), block_samples)):
        found += engine.push(block, 0, 0)[1]
        while (ready := engine.ready("f", batch)) is not None:
            found += [n for _, n in engine.conclude(ready, line_model(ready.windows)).notices]
    limits = [n for n in found if isinstance(n, Alarm) and n.kind is Kind.LIMIT]
    warnings = [n for n in found if isinstance(n, Alarm) and n.kind is Kind.LIMIT_AHEAD]
    crossed_ns = 551 * NS // 50
    early = [(crossed_ns - a.raised_ns) / NS for a in warnings if a.state == "active"]
    assert [a.state.value for a in warnings] == ["active", "cleared"]
    assert 0.2 < early[0] <= 0.42
    assert warnings[0].detail.startswith("SpO2 below 90 in 0.")
    assert warnings[-1].detail == warnings[0].detail  # also in the log, once it is over
    lead_s = float(warnings[0].detail.split()[-2])
    assert lead_s == pytest.approx(early[0], abs=0.1)
    assert [(a.state.value, a.label, a.detail) for a in limits][:1] == [("active", "value", "SpO2 below 90")]
    assert limits[0].raised_ns > warnings[0].raised_ns
    (event,) = [n for n in found if isinstance(n, Event) and n.kind is Kind.LIMIT_AHEAD]
    assert event.detail == warnings[0].detail
