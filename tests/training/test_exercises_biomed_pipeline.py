"""The exercise biomed-pipeline: whole, quickly; what it cleans, how it splits, what it refuses."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from tests.training.exercising import check, refusal, run_quickly
from training.cli import cli
from training.exercises import biomed_pipeline
from training.exercises.next_value import split_at_random, split_by_time
from training.exercises.result import Options
from training.preparation import cut


@pytest.mark.slow
def test_biomed_pipeline_on_the_real_ecg(tmp_path: Path) -> None:
    result = run_quickly("biomed-pipeline", tmp_path, data=None)
    check("biomed-pipeline", result, tmp_path)
    assert set(result.figures) >= {"signal", "learning-curves", "true-against-predicted", "gradient-norms"}
    titles = " ".join(table.title for table in result.tables)
    for part in ("Preparation", "Key frequencies", "Computation time", "embedding", "Xavier", "clipping", "leak"):
        assert part in titles
    main = result.tables[2]
    assert {row[0] for row in main.rows} >= {"RNN", "LSTM", "GRU", "last value", "AR(20)"}
    assert result.run is not None
    told = CliRunner().invoke(cli, ["export", str(result.run), "--out", str(tmp_path / "best.onnx")])
    assert told.exit_code == 0, told.output
    assert (tmp_path / "best.onnx").is_file()


def write_series(folder: Path, name: str, values: list[str]) -> str:
    path = folder / f"{name}.csv"
    path.write_text("time,x\n" + "".join(f"{i / 50:.2f},{value}\n" for i, value in enumerate(values)))
    return str(path)


@pytest.mark.parametrize(
    ("name", "values", "words"),
    [
        ("short", [str(i % 9) for i in range(40)], "expected 51 samples or more"),
        ("scant", [str(i % 9) for i in range(120)], "none for validation and test"),
        ("constant", ["3"] * 800, "got the constant 3"),
        ("nothing", [""] * 800, "no finite value"),
    ],
)
def test_biomed_pipeline_refuses_what_no_network_can_learn(
    name: str, values: list[str], words: str, tmp_path: Path
) -> None:
    path = write_series(tmp_path, name, values)
    assert words in refusal("biomed-pipeline", "--quick", "--data", path, "--out", str(tmp_path))


def test_biomed_pipeline_refuses_a_missing_file(tmp_path: Path) -> None:
    assert "no such file" in refusal("biomed-pipeline", "--data", str(tmp_path / "none"), "--out", str(tmp_path))


def test_cleaning_replaces_outliers_and_missing_values(tmp_path: Path) -> None:
    values = [f"{math.sin(i / 5):.4f}" for i in range(800)]
    values[100], values[200] = "", "500"
    path = write_series(tmp_path, "dirty", values)
    prepared = biomed_pipeline.prepare(Options(quick=True, data=Path(path)))
    steps = {row[0]: row[1] for row in prepared.steps.rows}
    assert (steps["outliers"], steps["interpolate"]) == (1, 2)
    assert float(np.abs(prepared.clean).max()) < 1.1


def test_a_split_by_time_shares_no_sample_between_its_parts() -> None:
    windows, targets = cut(np.arange(1000, dtype=np.float32), 50, 3)
    parts = split_by_time(windows, targets, 3)
    for one, other in (("train", "validation"), ("validation", "test")):
        assert float(parts[one][1].max()) < float(parts[other][0].min())
    assert {len(part[0]) for part in parts.values()} != {0}
    lots = split_at_random(windows, targets, 0)
    assert sum(len(part[0]) for part in lots.values()) == len(windows)
    assert float(lots["train"][1].max()) > float(lots["test"][0].min())
