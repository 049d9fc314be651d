from __future__ import annotations

import json
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors.numpy import load_file

from tests.training.conftest import MINUTES, changed, tiny
from training.cli import cli
from training.config import load_config
from training.fit import fit

CONFIGS = Path(__file__).parents[2] / "training" / "configs"

FORECAST = 'name = "x"\ntask = "forecast"\n[data]\n'
RECORDS = """
source = "records"
name = "n"
licence = "l"
folder = "f"
train = ["1"]
validation = ["2"]
calibration = ["2"]
test = ["3"]
"""


def test_a_seed_decides_everything(tmp_path: Path) -> None:
    runs = [fit(tiny(seed=seed), None, tmp_path) for seed in (3, 3, 4)]
    weights = [load_file(run / "weights.safetensors") for run in runs]
    for name, value in weights[0].items():
        np.testing.assert_array_equal(value, weights[1][name])
    assert any(not np.array_equal(value, weights[2][name]) for name, value in weights[0].items())
    outcomes = [json.loads((run / "outcome.json").read_text()) for run in runs]
    assert outcomes[0]["metrics"] == outcomes[1]["metrics"]
    assert outcomes[0]["data"] == outcomes[1]["data"]
    assert outcomes[0]["data"]["digest"] != outcomes[2]["data"]["digest"]
    assert len(set(runs)) == 3


def test_the_run_folder(tmp_path: Path) -> None:
    run = fit(tiny(), None, tmp_path)
    assert sorted(path.name for path in run.iterdir()) == [
        "config.json", "metrics.jsonl", "outcome.json", "weights.safetensors",
    ]  # fmt: skip
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1]
    assert lines[0]["validation_loss"] > 0


def test_training_stops_early_and_keeps_the_best(tmp_path: Path) -> None:
    train = {"epochs": 9, "patience": 2, "learning_rate": 1.0}  # far too high: it does not go on improving
    run = fit(changed(tiny(), train=train), None, tmp_path)
    outcome = json.loads((run / "outcome.json").read_text())
    losses = [json.loads(line)["validation_loss"] for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert outcome["best_epoch"] == int(np.argmin(losses)) + 1
    assert len(losses) < 9
    assert len(losses) - outcome["best_epoch"] == 2


def test_training_helps(tmp_path: Path) -> None:
    out = tmp_path / "runs"
    arguments = ["fit", "--signal", "noisy-sine", "--out", str(out), "--epochs", "3", "--seed", "1"]
    for key, value in MINUTES.items():
        arguments += ["--set", f"data.minutes.{key}={4 * value}"]
    result = CliRunner().invoke(cli, [*arguments, "--set", "train.hop=3"])
    assert result.exit_code == 0, result.output
    run = Path(result.stdout.strip())
    assert run.parent == out
    assert "override train.epochs=3" in result.stderr
    metrics = json.loads((run / "outcome.json").read_text())["metrics"]
    assert metrics["mse"] < 0.5 * metrics["mse_persistence"]
    assert 0.85 < metrics["coverage"] < 0.95
    assert CliRunner().invoke(cli, ["export", str(run)]).stdout.strip() == str(run / "noisy-sine-forecast.onnx")


def wave(path: Path, rows: int, value: str = "") -> str:
    lines = (value or f"{np.sin(i / 5):.4f}" for i in range(rows))
    path.write_text("x\n" + "\n".join(lines) + "\n")
    return str(path)


def test_a_recording_of_ones_own(tmp_path: Path) -> None:
    path = wave(tmp_path / "mine.csv", 3000)
    arguments = ["fit", "--recording", path, "--rate-hz", "100", "--cell", "rnn", "--epochs", "1"]
    result = CliRunner().invoke(cli, [*arguments, "--out", str(tmp_path / "runs")])
    assert result.exit_code == 0, result.output
    config = json.loads((Path(result.stdout.strip()) / "config.json").read_text())
    assert config["name"] == "mine-forecast"
    assert config["model"]["cell"] == "rnn"


@pytest.mark.parametrize(
    ("rows", "value", "complaint"),
    [
        (300, "", "expected at least 310 samples to learn from, got 300"),
        (3000, "1.0", "got the constant 1"),
        (3000, "nan", "got no finite value"),
        (0, "", "expected at least one column and one row"),
    ],
)
def test_useless_data_is_refused(tmp_path: Path, rows: int, value: str, complaint: str) -> None:
    path = wave(tmp_path / "bad.csv", rows, value)
    arguments = ["fit", "--recording", path, "--rate-hz", "100", "--out", str(tmp_path / "runs")]
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 2
    assert complaint in result.stderr
    assert result.stderr.splitlines()[-1].startswith("error: ")
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (None, "cannot be read"),
        ("name = ", "expected TOML"),
        ('name = "x"\ntask = "forecast"', "data: missing"),
        (
            'name = "x"\ntask = "dream"\n[data]\nsource = "simulated"',
            "task: expected one of beats, classify, forecast, got 'dream'",
        ),
        (
            'name = "x"\ntask = "forecast"\n[data]\nsource = "simulated"\nrate = 3',
            "data.rate: no such key; did you mean rate_hz?",
        ),
        ('name = "x"\ntask = "forecast"\n[data]\nsource = "simulated"', "model.horizon: expected 1 to 4096"),
        ('name = "x"\ntask = "classify"\n[data]\nsource = "simulated"', "model.classes: expected two or more"),
        (FORECAST + 'source = "recording"\npath = "nowhere.csv"\n[model]\nhorizon = 5', "nowhere.csv"),
        (FORECAST + RECORDS + "[model]\nhorizon = 5", "expected --data DIR"),
    ],
)
def test_a_wrong_configuration_says_where(tmp_path: Path, text: str | None, complaint: str) -> None:
    path = tmp_path / "c.toml"
    if text is not None:
        path.write_text(text)
    result = CliRunner().invoke(cli, ["fit", str(path), "--out", str(tmp_path / "runs")])
    assert result.exit_code == 2, result.output
    assert complaint in result.stderr


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "expected one of CONFIG"),
        (["--signal", "noisy-sine", "--recording", "x"], "expected one of CONFIG"),
        (["--signal", "noisy-sine", "--set", "nonsense"], "expected key=value"),
        (
            ["--signal", "noisy-sine", "--set", "model.colour=red"],
            "model.colour: no such key; expected one of cell",
        ),
        (
            ["--signal", "noisy-sine", "--set", "model.hidden=many"],
            "model.hidden: expected a whole number, got 'many'",
        ),
    ],
)
def test_wrong_flags_say_what(arguments: list[str], complaint: str) -> None:
    result = CliRunner().invoke(cli, ["fit", *arguments])
    assert result.exit_code == 2
    assert complaint in result.stderr


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has what the test wants missing")
def test_a_missing_gpu_is_named() -> None:
    result = CliRunner().invoke(cli, ["fit", "--signal", "noisy-sine", "--device", "cuda"])
    assert result.exit_code == 2
    assert "--device cuda: expected a CUDA device" in result.stderr


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.toml")), ids=lambda path: path.stem)
def test_committed_configurations_load(path: Path) -> None:
    assert load_config(path).name == path.stem


def test_help_does_not_wait_for_torch() -> None:
    code = (
        "import sys\nfrom training.cli import cli\n"
        "for words in (['--help'], *([verb, '--help'] for verb in ('fit', 'export', 'sweep', 'compare'))):\n"
        "    try: cli(words)\n"
        "    except SystemExit as end: assert end.code == 0\n"
        "slow = {'torch', 'onnx', 'onnxruntime', 'scipy', 'wfdb', 'optuna', 'matplotlib'} & set(sys.modules)\n"
        "assert not slow, slow\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def lines_of(run: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("schedule", ["one-cycle", "cosine", "constant"])
def test_the_learning_rate_goes_as_its_schedule_says(tmp_path: Path, schedule: str) -> None:
    train = {"schedule": schedule, "epochs": 8, "learning_rate": 0.01, "epoch_windows": 128, "batch": 16}
    rates = [line["learning_rate"] for line in lines_of(fit(changed(tiny(), train=train), None, tmp_path))]
    assert len(rates) == 8
    match schedule:
        case "constant":
            assert rates == [0.01] * 8
        case "cosine":  # the rate of step 7 of 64, of step 15, ...
            expected = [0.005 * (1 + np.cos(np.pi * (8 * epoch - 1) / 64)) for epoch in range(1, 9)]
            np.testing.assert_allclose(rates, expected, rtol=1e-6)
        case _:
            assert 1 <= int(np.argmax(rates)) <= 2  # it is highest after three tenths
            assert rates[-1] < 1e-6
            assert rates[0] > 4e-4


def test_a_line_tells_of_gradients_and_time(tmp_path: Path) -> None:
    train = {"epochs": 3, "epoch_windows": 128}
    cut = lines_of(fit(changed(tiny(), train=train | {"clip": 1e-3}), None, tmp_path))
    uncut = lines_of(fit(changed(tiny(), train=train | {"clip": 0.0}), None, tmp_path))
    for line in (*cut, *uncut):
        assert 0 < line["gradient_norm"] <= line["gradient_norm_highest"]
        assert line["seconds"] >= 0
    assert cut[0]["gradient_norm_highest"] > 0.1  # told as it was before it was cut
    assert cut[-1]["train_loss"] != uncut[-1]["train_loss"]


@pytest.mark.parametrize("loss", ["huber", "pinball"])
def test_other_losses_train_too(tmp_path: Path, loss: str) -> None:
    lines = lines_of(fit(changed(tiny(), train={"loss": loss, "epochs": 4}), None, tmp_path))
    assert lines[-1]["validation_loss"] < 0.8 * lines[0]["validation_loss"]


def test_tensorboard_gets_every_figure(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its own imports are behind the times
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        run = fit(changed(tiny(), train={"epochs": 2, "epoch_windows": 64}), None, tmp_path, tensorboard=True)
        board = EventAccumulator(str(run)).Reload()
    lines = lines_of(run)
    for name in ("validation_loss", "learning_rate", "gradient_norm"):
        told = [(event.step, event.value) for event in board.Scalars(name)]
        assert told == [(line["epoch"], pytest.approx(line[name])) for line in lines]
