from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner

from training import early_warning, rate_warning
from training.budgets import found_by, kept_on, kept_on_series
from training.cli import cli
from training.dynamic_threshold import flag, smooth
from training.early_warning import Line, Series, crossings, drifts, judge, warned
from training.quiet_signals import HOP, KINDS, QuietSignals, stand_in
from training.report_budgets import draw


def test_budgets_are_kept_on_signals_that_change():
    row = kept_on("changing", streams=16, hours=0.75, seed=3)
    ratios = {one["per_hour"]: one["ratio"] for one in row["budgets"]}
    assert [one["allowed"] for one in row["budgets"]] == [1.2, 12.0, 72.0]
    assert 1 / 1.5 < ratios[6.0] < 1.5
    assert ratios[1.0] < 2


def test_what_a_budget_finds(monkeypatch):
    monkeypatch.setattr("training.budgets.BURSTS_PER_HOUR", 6.0)
    rows = {row["method"]: row for row in found_by(streams=8, hours=0.4, seed=0)}
    assert rows["budget 6 an hour"]["recall"] > rows["fixed, 4 times the usual"]["recall"]
    assert rows["budget 6 an hour"]["delay_s"] <= 1.0
    assert rows["budget 6 an hour"]["bursts"] > 5


def test_quiet_signals_are_what_they_are_called():
    for kind in KINDS:
        signals = QuietSignals(kind, 200, seed=1)
        values = np.concatenate([signals.next()[0] for _ in range(40)], axis=1)
        assert values.shape == (200, 40 * HOP)
        assert 0.7 < np.diff(values).std() / np.sqrt(2) < 1.6
    signals = QuietSignals("steady", 200, seed=1, bursts_per_hour=360.0)
    heights = np.concatenate([signals.next()[1] for _ in range(40)])
    assert (heights[heights > 0] >= 3).all()
    assert 200 < (heights > 0).sum() < 600


def test_the_dynamic_threshold_flags_what_stands_out_and_prunes_what_does_not():
    errors = np.abs(np.random.default_rng(0).normal(size=4200))
    errors[3000:3004] = 12.0
    flagged = flag(errors)
    assert flagged[3000:3004].all()
    assert flagged.sum() < 20
    assert not flag(np.ones(2500)).any()
    assert smooth(np.ones(10))[-1] == 1.0
    assert smooth(np.array([0.0, 1.0, 1.0]), span=3).tolist() == [0.0, 0.5, 0.75]


def test_a_budget_on_a_recorded_series(tmp_path):
    values = np.random.default_rng(2).normal(size=4000)
    file = tmp_path / "series.csv"
    file.write_text("time,x\n" + "\n".join(f"{300 * i},{value:.4f}" for i, value in enumerate(values)) + "\n")
    row = kept_on_series(file, [0.1])
    assert row["hours"] == pytest.approx(4000 / 12, abs=2)
    assert 0.5 < row["budgets"][0]["ratio"] < 1.6


def test_a_line_foresees_drifts_and_is_judged_by_what_came():
    tests = drifts(8, seed=1)
    begins = [crossings(one, 90.0, np.inf) for one in tests]
    assert [len(one) for one in begins] == [1, 0] * 4
    told = warned(tests, stand_in("line", 50, 5, 1.0, 50), Line(), 90.0, np.inf)
    row = judge("drifts", "line", tests, told, 90.0, np.inf, 50)
    assert row["crossings"] == 4
    assert row["recall"] == 100
    assert 10 < row["lead_s"] < 100
    assert 0 < row["chance"] < 10
    ramp = Series(np.concatenate([np.full(100, 95.0), np.full(100, 85.0)]), 1.0)
    row = judge("step", "none", [ramp], [[(10, 20), (90, 95)]], 90.0, np.inf, 20)
    assert (row["precision"], row["lead_s"]) == (50.0, 12.0)  # the first was too early, and had gone


def test_the_command_prints_tables_and_draws_a_figure(tmp_path, monkeypatch):
    line = Line()  # stands for a network, which would take longer
    line.card = stand_in("line", 50, 5, 1.0, 50)
    monkeypatch.setattr(early_warning, "learned", lambda *_: line)
    monkeypatch.setattr(rate_warning, "SECONDS", 30)
    figure = tmp_path / "budget.svg"
    arguments = ["budget", "--streams", "2", "--hours", "0.2", "--figure", str(figure)]
    done = CliRunner().invoke(cli, [*arguments, "--json"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert {row["signal"] for row in told["kept"]} == set(KINDS)
    assert figure.read_text().startswith('<svg xmlns="http://www.w3.org/2000/svg"')
    assert draw(told) == figure.read_text()
    assert {row["forecaster"] for row in told["early"]} == {
        "GRU", "straight line", "trend less its usual error"
    }  # fmt: skip
