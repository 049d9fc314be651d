"""A forecaster of one's own series by one command, and what the monitor then finds in it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from monitor.core.errors import ConfigError, RecordingError
from monitor.inference import load_model
from training.anomalies import find_cases
from training.cli import cli
from training.config import load_config
from training.datasets import load_data, without_gaps
from training.records import Raw
from training.series import base_of_series, longest_period, series_config

QUICK = ["--set", "train.epochs=1", "--set", "train.epoch_windows=256"]


def beats(samples: int, period: int = 60, odd: int = -1, seed: int = 0) -> np.ndarray:
    """A sharp wave and a slow one a period, with noise; from sample `odd` on for a period upside down."""
    at = np.arange(samples) % period / period
    values = np.exp(-0.5 * ((at - 0.3) / 0.03) ** 2) + 0.3 * np.sin(2 * np.pi * at)
    if odd >= 0:
        values[odd : odd + period] *= -0.6
    return 100 * values + np.random.default_rng(seed).normal(0, 2, samples)


def timed(path: Path, values: np.ndarray, step_s: int = 300, leave: range = range(0)) -> str:
    stamps = np.datetime64("2024-01-01T00:00:00") + np.arange(len(values)) * np.timedelta64(step_s, "s")
    rows = [f"{str(t).replace('T', ' ')},{v:.4f}" for i, (t, v) in enumerate(zip(stamps, values, strict=True))
            if i not in leave]  # fmt: skip
    path.write_text("timestamp,value\n" + "\n".join(rows) + "\n")
    return str(path)


def test_a_csv_becomes_a_model_by_one_command(tmp_path: Path) -> None:
    """Its rate from its times, its gaps left out, its shape from its period; exported, it knows its answer."""
    path = timed(tmp_path / "pump.csv", beats(2400), leave=range(700, 760))
    result = CliRunner().invoke(cli, ["fit", path, "--out", str(tmp_path / "runs"), "--no-report", *QUICK])
    assert result.exit_code == 0, result.output
    run = result.stdout.strip()
    told = CliRunner().invoke(cli, ["export", run, "--out", str(tmp_path / "pump.onnx")])
    assert told.exit_code == 0, told.output
    card = load_model(tmp_path / "pump.onnx").card
    assert card.rate_hz == pytest.approx(1 / 300)
    assert (card.name, card.window, card.samples_per_step, card.score_steps) == ("pump-forecast", 50, 2, 25)
    assert card.known_answer.outputs["forecast"].array().max() > 20, "in the unit of the series"
    judged = CliRunner().invoke(cli, ["evaluate", str(tmp_path / "pump.onnx"), path, "--json", "--jobs", "1"])
    assert judged.exit_code == 0, judged.output
    assert json.loads(judged.stdout)["total"]["forecast"]["forecasts"] > 100


def test_a_recording_is_cut_at_its_gaps(tmp_path: Path) -> None:
    path = timed(tmp_path / "gaps.csv", beats(2400), leave=range(700, 760))
    data = load_data(load_config(None, QUICK[1::2], base_of_series(path, None)), None)
    assert [len(series.values) for series in data.parts["train"]] == [700, 920]
    raw = Raw("x", 1.0, "", np.array([[1.0], [2], *[[np.nan]] * 11, [3], [5], *[[np.nan]] * 10, [4]], np.float32),
              np.array([1, 14]), ("a", "b"))  # fmt: skip
    pieces = without_gaps(raw)
    assert [(len(p.values), p.at.tolist(), p.symbols) for p in pieces] == [(2, [1], ("a",)), (13, [1], ("b",))]


@pytest.mark.parametrize(
    ("samples", "fold", "horizon"), [(20_000, 2, 50), (900, 1, 24), (400, 1, 24), (320, 1, 12)]
)
def test_what_is_asked_fits_what_there_is(tmp_path: Path, samples: int, fold: int, horizon: int) -> None:
    from monitor.recordings import read_recording

    recording = read_recording(timed(tmp_path / "x.csv", beats(samples)))
    config = load_config(None, (), series_config(recording, "x.csv", None))
    assert (config.model.samples_per_step, config.model.horizon) == (fold, horizon)
    with pytest.raises(RecordingError, match="expected at least 310 samples to learn from, got 300"):
        series_config(recording, "x.csv", None, 300)


def test_the_longest_period() -> None:
    assert longest_period(beats(5000, 80)[:, None]) == pytest.approx(80, rel=0.1)
    assert longest_period(np.full((100, 1), 3.0)) == 1.0
    assert longest_period(np.full((100, 1), np.nan)) == 1.0


@pytest.mark.slow
def test_an_odd_beat_is_where_the_score_is_highest(tmp_path: Path) -> None:
    """As the UCR archive has them; the amplitude of the oddity is within what is usual."""
    folder = tmp_path / "ucr"
    folder.mkdir()
    np.savetxt(folder / "001_UCR_Anomaly_made_4000_6000_6060.txt", beats(8000, odd=6000))
    command = ["anomalies", str(folder), "--out", str(tmp_path / "runs"), "--json"]
    told = json.loads(CliRunner().invoke(cli, command).stdout)
    (one,) = told["series"]
    assert one["highest_score"]["found"]
    assert one["highest_score"]["over_next_best"] > 1.3
    assert (one["learned"], one["anomalies"]) == (4000, [[6000, 6060]])
    assert told["total"]["highest_score_found"] == 1


def test_the_windows_of_nab_are_read(tmp_path: Path) -> None:
    timed(tmp_path / "a.csv", beats(1000))
    windows = {"real/a.csv": [["2024-01-01 01:00:00.0", "2024-01-01 02:00:00.0"],
                              ["2024-01-02 00:00:00.000000", "2024-01-02 05:00:00.000000"]]}  # fmt: skip
    (tmp_path / "windows.json").write_text(json.dumps(windows))
    (case,) = find_cases([tmp_path], 1.0)
    assert (case.learn, case.spans) == (150, ((288, 348),)), "what lies in the learned part is not judged"


@pytest.mark.parametrize(
    ("name", "beside", "complaint"),
    [
        ("a.csv", None, "expected a name that ends in _LEARN_BEGIN_END"),
        ("a.csv", "[]", "expected windows by file name"),
        ("a.csv", '{"b.csv": []}', "it has no windows of a.csv"),
        ("a_500_400_450.txt", None, "its name says _500_400_450, of 1000 samples"),
    ],
)
def test_a_series_that_does_not_say_where_is_refused(
    tmp_path: Path, name: str, beside: str | None, complaint: str
) -> None:
    timed(tmp_path / name, beats(1000))
    if beside is not None:
        (tmp_path / "windows.json").write_text(beside)
    with pytest.raises(ConfigError, match=complaint):
        find_cases([tmp_path / name], 1 / 300)


def test_a_series_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="got no such file"):
        find_cases([tmp_path / "nowhere"], 1.0)
