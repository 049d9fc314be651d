from __future__ import annotations

import json
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Self

import pytest
from click.testing import CliRunner

import training.sweep
from monitor.core.errors import ConfigError
from tests.training.conftest import MINUTES
from training.cli import cli
from training.ranking import rank, ranking_table
from training.sweep import Trial, read_over

optuna = pytest.importorskip("optuna")

CONFIG = f"""
name = "tiny"
task = "forecast"
[data]
source = "simulated"
minutes = {{ {", ".join(f"{key} = {value}" for key, value in MINUTES.items())} }}
[model]
hidden = 4
window = 12
horizon = 7
hop = 3
[train]
epochs = 1
first_step = 8
epoch_windows = 200
"""


class Here:
    """Does at once what a pool of processes would do."""

    def __init__(self, *_: Any) -> None:
        self.done = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def submit(self, function: Any, *arguments: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(function(*arguments))
        return future


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training.sweep, "ProcessPoolExecutor", Here)


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Folders of the trials that were really trained."""
    real, folders = training.sweep.train_one, []

    def count(config: Any, data: Any, folder: Path) -> tuple[str, str]:
        folders.append(folder)
        return real(config, data, folder)

    monkeypatch.setattr(training.sweep, "train_one", count)
    return folders


def run(tmp_path: Path, *words: str) -> Any:
    path = tmp_path / "c.toml"
    path.write_text(CONFIG)
    result = CliRunner().invoke(cli, ["sweep", str(path), "--out", str(tmp_path / "runs"), *words])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.mark.slow
def test_processes_train_side_by_side(tmp_path: Path) -> None:
    result = run(tmp_path, "--over", "model.cell=rnn,gru", "--over", "seed=1,2", "--jobs", "2", "--json")
    assert result.exit_code == 0, result.stderr
    told = json.loads(result.stdout)
    assert Path(told["storage"]) == tmp_path / "runs" / "sweeps.db"
    assert {setting["values"]["model.cell"] for setting in told["settings"]} == {"rnn", "gru"}
    for setting in told["settings"]:
        losses = [trial["validation_loss"] for trial in setting["trials"]]
        assert {trial["values"]["seed"] for trial in setting["trials"]} == {1, 2}
        assert setting["validation_loss"] == pytest.approx(sum(losses) / 2)
        assert setting["validation_loss_range"] == [min(losses), max(losses)]
        assert (Path(setting["run"]) / "weights.safetensors").is_file()
    losses = [setting["validation_loss"] for setting in told["settings"]]
    assert losses == sorted(losses)


@pytest.mark.usefixtures("here")
def test_the_same_command_goes_on_where_it_stopped(tmp_path: Path, trained: list[Path]) -> None:
    words = ["--over", "model.cell=rnn,lstm,gru", "--json"]
    run(tmp_path, *words, "--trials", "1")
    assert len(trained) == 1
    first = json.loads(run(tmp_path, *words).stdout)
    assert len(trained) == 3
    assert len(set(trained)) == 3
    assert json.loads(run(tmp_path, *words).stdout) == first
    assert len(trained) == 3
    run(tmp_path, *words, "--set", "model.hidden=5")  # another sweep in the same file
    assert len(trained) == 6


@pytest.mark.usefixtures("here")
def test_a_trial_under_way_goes_on_in_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trained: list[Path]
) -> None:
    import training.fit

    words = ["--over", "model.cell=rnn,gru", "--set", "train.epochs=3", "--json"]
    real, asked = training.fit._loss_of, 0

    def stop(*arguments: Any, **options: Any) -> float:
        nonlocal asked
        asked += 1
        if asked == 6:  # the third epoch of the second trial
            raise KeyboardInterrupt
        return real(*arguments, **options)

    monkeypatch.setattr(training.fit, "_loss_of", stop)
    assert run(tmp_path, *words).exit_code == 130
    told = json.loads(run(tmp_path, *words).stdout)
    assert len(trained) == 3
    assert trained[1] == trained[2]
    assert asked == 7
    assert len(list(trained[1].iterdir())) == 1
    assert len(told["settings"]) == 2
    assert all(len(setting["trials"]) == 1 for setting in told["settings"])
    lines = (Path(told["settings"][1]["run"]) / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [1, 2, 3]


@pytest.mark.usefixtures("here")
def test_tpe_chooses_and_trains_nothing_twice(tmp_path: Path, trained: list[Path]) -> None:
    words = ["--over", "model.hidden=2,4", "--over", "model.layers=1,2", "--sampler", "tpe", "--trials", "7"]
    result = run(tmp_path, *words)
    assert result.exit_code == 0, result.stderr
    assert 1 <= len(trained) <= 4
    rows = result.stdout.split("---\n", 1)[1].split("\n\n")[0].splitlines()
    assert len(rows) == len(trained)


@pytest.mark.usefixtures("here")
def test_a_failed_trial_is_told_and_the_others_go_on(tmp_path: Path) -> None:
    result = run(tmp_path, "--over", "train.learning_rate=0.01,1e30", "--set", "train.clip=0")
    assert result.exit_code == 0, result.stderr
    last = result.stdout.split("\n\n")[1].splitlines()[-1]
    assert "the loss became" in last
    assert run(tmp_path, "--over", "train.learning_rate=1e30", "--set", "train.clip=0").exit_code == 1


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ([], "--over: expected a key to vary"),
        (["--over", "seed"], "expected key=value"),
        (["--over", "seed=1,1"], "each value once"),
        (["--over", "seed=1,"], "expected key=value"),
        (["--over", "seed=1", "--over", "seed=2"], "each key"),
        (["--over", "model.colour=red,blue"], "model.colour: no such key"),
        (["--over", "model.window=12,4"], "train.first_step: expected 1 to model.window"),
        (["--over", "seed=1,2", "--storage", "/dev/null/x.db"], "--storage /dev/null/x.db"),
    ],
)
def test_a_wrong_sweep_says_what(tmp_path: Path, words: list[str], complaint: str) -> None:
    result = run(tmp_path, *words)
    assert result.exit_code == 2, result.output
    assert complaint in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("over", "told"),
    [("train.loss=mse,huber", "train.loss"), ("model.horizon=5,7", "model.horizon"), ("model.hidden=3,4", "")],
)
def test_losses_that_measure_different_things_are_told_apart(
    tmp_path: Path, trained: list[Path], over: str, told: str
) -> None:
    result = run(tmp_path, "--over", over)
    assert len(trained) == 2
    warnings = [line for line in result.stderr.splitlines() if line.startswith("warning: ")]
    assert len(warnings) == bool(told)
    assert all(f"over {told} measure different things" in line for line in warnings)


def test_a_file_that_is_no_storage_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.db").write_text("not a database, but long enough to be looked at " * 50)
    result = run(tmp_path, "--over", "seed=1,2", "--storage", str(tmp_path / "x.db"))
    assert result.exit_code == 2
    assert "expected a file for SQLite" in result.stderr


def test_values_of_every_kind() -> None:
    assert read_over(("a=1,2.5,1e-3", "b=true,false", "c=lstm, gru")) == {
        "a": (1, 2.5, 1e-3),
        "b": (True, False),
        "c": ("lstm", "gru"),
    }
    with pytest.raises(ConfigError):
        read_over(("=1,2",))


def trial(number: int, loss: float | None, **values: Any) -> Trial:
    return Trial(number, values, f"r{number}" if loss else "", loss, {"mse": 2 * loss} if loss else {}, 7, 1.0)


def test_settings_are_ranked_by_their_mean_over_seeds() -> None:
    losses = [("a", 1, 0.1), ("a", 2, 0.5), ("b", 1, 0.2), ("b", 2, 0.22), ("c", 1, None), ("b", 1, 0.2)]
    trials = [trial(i, loss, cell=cell, seed=seed) for i, (cell, seed, loss) in enumerate(losses)]
    settings = rank(trials)
    assert [setting.values for setting in settings] == [{"cell": "b"}, {"cell": "a"}, {"cell": "c"}]
    table = ranking_table(settings, "t")
    assert table.columns[:4] == ("cell", "validation loss", "lowest-highest", "mse")
    assert table.rows[0][:5] == ("b", pytest.approx(0.21), "0.2-0.22", pytest.approx(0.42), "0.4-0.44")
    assert table.rows[1][-1] == "r0"
    assert table.rows[2][1] is None
