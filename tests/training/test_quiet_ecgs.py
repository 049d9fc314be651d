"""False-alarm budgets on ECGs: what counts as quiet, and the tail that is learned where it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner

from monitor.core.ecg import Ecg
from monitor.core.errors import ConfigError
from monitor.inference import find_models, load_model
from monitor.recorded import Recording
from training import quiet_ecgs
from training.cli import cli
from training.quiet_ecgs import is_quiet_record, kept_on_ecgs, learn_tail, quiet_seconds

RATE = 100.0


def recording(
    seconds: int, name: str = "a", odd_s: tuple[float, ...] = (), remarks: tuple[float, ...] = ()
) -> Recording:
    """A calm heart with spikes at `odd_s` and an artefact marked at each of `remarks`."""
    values, labels = Ecg(rate_hz=RATE, seed=3).next(round(seconds * RATE))
    for at_s in odd_s:
        values[round(at_s * RATE)] += 4
    beats = [(at, symbol) for at, symbol in labels if symbol in "NVA"]
    return Recording(
        name=name, rate_hz=RATE, channels=("MLII",), unit="mV", values=values,
        label_samples=np.array([at for at, _ in beats]), label_symbols=tuple(symbol for _, symbol in beats),
        start_ns=0, remarks=((0, "(N"), *((round(at_s * RATE), "|") for at_s in remarks)),
    )  # fmt: skip


def test_what_was_marked_is_not_quiet_and_a_rhythm_is_no_mark() -> None:
    one = recording(60, remarks=(30.0,))
    assert np.flatnonzero(~quiet_seconds(one)).tolist() == list(range(25, 35))
    assert is_quiet_record(one)
    some = list(one.label_symbols)
    some[10] = "V"
    other = msgspec.structs.replace(one, label_symbols=tuple(some))
    assert not is_quiet_record(other)
    assert not quiet_seconds(other)[int(one.label_samples[10] / RATE)]


def test_alarms_are_counted_away_from_marks() -> None:
    one = recording(210, odd_s=(170.0, 195.0), remarks=(195.0,))
    row = kept_on_ecgs([one], load_model(find_models(None)["ecg-forecast"]), (60.0,))
    (budget,) = row["budgets"]
    assert row["hours"] == pytest.approx(200 / 3600, abs=0.005)
    assert budget["raised"] >= 1
    assert budget["at_marks"] >= 1
    assert "without 5% near what was marked" in row["what"]


def test_the_lightest_tail_that_keeps_the_budget_is_learned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quiet_ecgs, "TAILS", (0.08, 0.6))
    asked: list[tuple[float, float]] = []

    def raised(records: Any, _: object, cards: Any, pieces: Any) -> list[tuple[int, Recording, float]]:
        asked.extend((card.tail, per_hour) for card, per_hour in cards)
        assert [record.name for record in records] == ["long"]
        assert pieces["long"].sum() == 400
        return [(0, records[0], 200.0)] * 2

    monkeypatch.setattr(quiet_ecgs, "_raised", raised)
    model = load_model(find_models(None)["ecg-forecast"])
    tail, table = learn_tail(model, [recording(400, "long"), recording(100, "short")])
    assert tail == 0.6
    assert asked == [(0.08, 1.0), (0.6, 1.0)]
    assert [row["raised"] for row in table] == [2, 0]
    with pytest.raises(ConfigError, match="quiet"):
        learn_tail(model, [recording(100)])
    with pytest.raises(ConfigError, match="forecaster"):
        learn_tail(load_model(find_models(None)["ecg-beats"]), [])


def test_the_command_says_where_records_should_be(tmp_path: Path) -> None:
    done = CliRunner().invoke(cli, ["tail", "ecg-forecast", str(tmp_path), "--out", str(tmp_path / "x.onnx")])
    assert done.exit_code == 2
    assert "expected WFDB records" in done.output
