from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from monitor.core.blocks import Floats
from tests.training.conftest import changed, tiny
from training.cli import cli
from training.fit import fit
from training.forms import best_times, compare_forms, slide


def steady(windows: Floats) -> Floats:
    """A rule that knows the future: each value is the one before it plus their last difference."""
    last, step = windows[:, -1:], windows[:, -1:] - windows[:, -2:-1]
    return last + step * np.arange(1, 8, dtype=np.float32)[None, :, None]


def test_sliding_a_perfect_rule_is_the_direct_answer() -> None:
    windows = np.random.default_rng(0).standard_normal((5, 12, 2)).astype(np.float32)
    np.testing.assert_allclose(slide(steady, windows, 7), steady(windows), atol=1e-4)
    np.testing.assert_allclose(
        slide(steady, windows, 11)[:, :7], steady(windows), atol=1e-4
    )  # further than it says


def test_sliding_uses_first_steps_only_and_forgets_the_oldest() -> None:
    seen = []

    def ask(windows: Floats) -> Floats:
        seen.append(windows[0, :, 0].tolist())
        return np.array([[[10.0 + len(seen)], [99.0]]], np.float32)

    made = slide(ask, np.array([[[1.0], [2.0], [3.0]]], np.float32), 3)
    assert made[0, :, 0].tolist() == [11, 12, 13]
    assert seen == [[1, 2, 3], [2, 3, 11], [3, 11, 12]]


def test_forms_are_judged_on_the_same_windows() -> None:
    windows = np.cumsum(np.ones((4, 12, 1), np.float32), axis=1)
    targets = steady(windows) + 0.5
    figures = compare_forms(steady, windows, targets)
    assert (figures.windows, figures.horizon) == (4, 7)
    assert figures.mse_direct == pytest.approx(0.25)
    assert figures.mse_slide == pytest.approx(0.25)
    assert figures.rms_apart == pytest.approx(0, abs=1e-6)


def test_the_best_of_interleaved_rounds() -> None:
    order: list[str] = []
    times = best_times([lambda: order.append("a"), lambda: order.append("b")], rounds=3, round_s=0.0)
    assert order == ["a", "a", "b", "b", *["a", "b"] * 3]
    assert all(0 <= t < 1 for t in times)


def runs(tmp_path: Path) -> list[Path]:
    configs = [tiny(cell="gru"), tiny(cell="lstm", layers=2), tiny("classify", cell="rnn")]
    return [fit(config, None, tmp_path) for config in configs]


def compare(*words: object) -> Any:
    return CliRunner().invoke(cli, ["compare", *map(str, words)])


def test_a_table_json_and_a_picture(tmp_path: Path) -> None:
    folders = runs(tmp_path)
    result = compare(*folders, "--out", tmp_path / "c.png", "--json")
    assert result.exit_code == 0, result.stderr
    gru, lstm, spikes = json.loads(result.stdout)
    assert [gru["run"], lstm["run"], spikes["run"]] == [str(folder) for folder in folders]
    outcome = json.loads((folders[1] / "outcome.json").read_text())
    assert lstm["metrics"] == outcome["metrics"]
    assert lstm["validation_loss"] == outcome["validation_loss"] > 0
    assert lstm["training_seconds"] == outcome["seconds"]
    assert lstm["parameters"] == outcome["parameters"] > gru["parameters"]
    for told in (gru, lstm):
        assert 0 < told["one_call_us"]["1"] < told["sliding_us"]["1"]
        assert told["one_call_us"]["1"] < told["one_call_us"]["64"] < told["sliding_us"]["64"]
        forms = told["forms"]
        # The test part is as long as half a minute at 50 Hz allows, every third window of it.
        assert forms["windows"] > 200
        assert forms["mse_direct"] == pytest.approx(told["metrics"]["mse"], rel=0.2)
        assert forms["mse_slide"] > 0
        assert forms["rms_apart"] > 0
    assert spikes["forms"] is None
    assert spikes["sliding_us"] is None
    assert (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")

    result = compare(*folders)
    assert result.exit_code == 0, result.stderr
    first = result.stdout.splitlines()[2]
    assert first.split() == ["1", "gru-6", "2", "lstm-6x2", "3", "rnn-6"]
    assert "test: spike_sensitivity" in result.stdout
    assert "forms: apart" in result.stdout


def test_runs_whose_losses_measure_different_things(tmp_path: Path) -> None:
    def warnings(*others: Path) -> list[str]:
        told = compare(first, *others)
        assert told.exit_code == 0, told.output
        return [line for line in told.stderr.splitlines() if line.startswith("warning: ")]

    first = fit(tiny(), None, tmp_path)
    assert not warnings(fit(tiny(hidden=3), None, tmp_path))
    (line,) = warnings(fit(changed(tiny(horizon=5), train={"loss": "huber"}), None, tmp_path))
    assert "over model.horizon and train.loss measure different things" in line


def test_data_that_are_not_what_they_were_are_not_judged(tmp_path: Path) -> None:
    folder = fit(tiny(), None, tmp_path)
    config = folder / "config.json"
    config.write_text(config.read_text().replace('"noise": 0.1', '"noise": 0.2'))
    result = compare(folder, "--json")
    assert result.exit_code == 0, result.output
    assert "the data are not what they were" in result.stderr
    told = json.loads(result.stdout)[0]
    assert told["forms"] is None
    assert told["sliding_us"]


def test_what_cannot_be_compared_says_why(tmp_path: Path) -> None:
    for words, complaint in (
        ((tmp_path / "nowhere",), "expected a finished run, got no config.json"),
        ((), "Missing argument"),
        ((fit(tiny(), None, tmp_path), "--out", tmp_path / "no" / "c.png"), "cannot be written"),
    ):
        result = compare(*words)
        assert result.exit_code == 2, result.output
        assert complaint in result.stderr


def test_an_unfinished_run_is_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import training.fit

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(training.fit, "calibrate", stop)
    with pytest.raises(KeyboardInterrupt):
        fit(tiny(), None, tmp_path)
    result = compare(next(tmp_path.iterdir()))
    assert result.exit_code == 2
    assert "got no outcome.json" in result.stderr


def test_a_model_of_symbols_is_compared_too(tmp_path: Path) -> None:
    text = tmp_path / "t.txt"
    text.write_text("abcabd" * 200)
    data = {"source": "symbols", "train": [str(text)]}
    base = tiny("classify", classes=[], label_steps=0)
    folder = fit(changed(base, data=data), None, tmp_path / "runs")
    assert compare(folder).exit_code == 0
    assert torch.get_num_threads() == 1
