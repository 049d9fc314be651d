from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from safetensors.numpy import load_file

import training.fit
from monitor.core.errors import ConfigError
from tests.training.conftest import changed, tiny
from training.cli import cli
from training.config import FitConfig
from training.fit import fit, resume
from training.runs import CHECKPOINT

SIX: dict[str, Any] = {"epochs": 6, "epoch_windows": 300, "hop": 5}


def interrupt(monkeypatch: pytest.MonkeyPatch, config: FitConfig, out: Path, epoch: int) -> Path:
    """A run that is stopped in the middle of an epoch, as Ctrl-C would."""
    real, asked = training.fit._loss_of, 0

    def stop(*arguments: Any, **options: Any) -> float:
        nonlocal asked
        asked += 1
        if asked == epoch:
            raise KeyboardInterrupt
        return real(*arguments, **options)

    monkeypatch.setattr(training.fit, "_loss_of", stop)
    with pytest.raises(KeyboardInterrupt):
        fit(config, None, out)
    monkeypatch.setattr(training.fit, "_loss_of", real)
    return next(out.iterdir())


@pytest.mark.parametrize("schedule", ["one-cycle", "cosine", "constant"])
@pytest.mark.parametrize("stateful", [False, True])
def test_an_interrupted_run_goes_on_as_if_it_had_not_been(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, schedule: str, stateful: bool
) -> None:
    config = changed(tiny(), train=SIX | {"schedule": schedule, "stateful": stateful})
    at_once = fit(config, None, tmp_path / "once")
    run = interrupt(monkeypatch, config, tmp_path / "parts", epoch=4)
    assert (run / CHECKPOINT).is_file()
    assert not list(run.glob("*.partial"))
    assert len((run / "metrics.jsonl").read_text().splitlines()) == 3
    assert resume(run, None) == run
    whole, parts = (load_file(folder / "weights.safetensors") for folder in (at_once, run))
    assert list(whole) == list(parts)
    for name, value in whole.items():
        np.testing.assert_array_equal(value, parts[name])
    lines = [[json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
             for folder in (at_once, run)]  # fmt: skip
    for one, other in zip(*lines, strict=True):
        assert {**one, "seconds": 0} == {**other, "seconds": 0}
    outcomes = [json.loads((folder / "outcome.json").read_text()) for folder in (at_once, run)]
    for key in ("metrics", "best_epoch", "epochs", "validation_loss"):
        assert outcomes[0][key] == outcomes[1][key]
    assert not (run / CHECKPOINT).exists()


def test_a_line_written_after_the_checkpoint_is_written_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = interrupt(monkeypatch, changed(tiny(), train=SIX | {"epochs": 3}), tmp_path, epoch=2)
    with (run / "metrics.jsonl").open("a") as lines:
        lines.write('{"epoch":2')  # killed while writing
    resume(run, None)
    assert [json.loads(line)["epoch"] for line in (run / "metrics.jsonl").read_text().splitlines()] == [1, 2, 3]


def test_a_run_stopped_by_patience_does_not_train_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = changed(tiny(), train=SIX | {"epochs": 9, "patience": 2, "learning_rate": 1.0})
    at_once = json.loads((fit(config, None, tmp_path / "once") / "outcome.json").read_text())
    assert at_once["epochs"] < 9
    real = training.fit.calibrate

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(training.fit, "calibrate", stop)
    with pytest.raises(KeyboardInterrupt):
        fit(config, None, tmp_path / "parts")
    monkeypatch.setattr(training.fit, "calibrate", real)
    outcome = json.loads((resume(next((tmp_path / "parts").iterdir()), None) / "outcome.json").read_text())
    assert (outcome["epochs"], outcome["metrics"]) == (at_once["epochs"], at_once["metrics"])


def test_what_cannot_go_on_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    finished = fit(tiny(), None, tmp_path)
    wrong = [(tmp_path / "nowhere", "got no config.json"), (finished, "this run is finished")]
    run = interrupt(monkeypatch, changed(tiny(), train=SIX), tmp_path / "first", epoch=1)
    wrong.append((run, "ended before its first epoch"))
    run = interrupt(monkeypatch, changed(tiny(), train=SIX), tmp_path / "other", epoch=2)
    (run / "config.json").write_text((run / "config.json").read_text().replace('"noise": 0.1', '"noise": 0.2'))
    wrong.append((run, "its data are not what they were"))
    broken = interrupt(monkeypatch, changed(tiny(), train=SIX), tmp_path / "broken", epoch=2)
    (broken / CHECKPOINT).write_bytes((broken / CHECKPOINT).read_bytes()[:500])
    wrong.append((broken, "expected a checkpoint of this version"))
    for folder, complaint in wrong:
        result = CliRunner().invoke(cli, ["fit", "--resume", str(folder)])
        assert result.exit_code == 2, result.output
        assert complaint in result.stderr


@pytest.mark.parametrize(("epoch", "told"), [(1, "nothing to go on with"), (2, "fit --resume")])
def test_ctrl_c_says_how_to_go_on_where_one_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], epoch: int, told: str
) -> None:
    run = interrupt(monkeypatch, changed(tiny(), train=SIX), tmp_path, epoch=epoch)
    assert told in capsys.readouterr().err
    assert ("--resume" in CliRunner().invoke(cli, ["export", str(run)]).stderr) == (epoch > 1)


def test_ctrl_c_ends_a_verb_with_the_code_of_one_that_it_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(training.fit, "fit", stop)
    result = CliRunner().invoke(cli, ["fit", "--signal", "noisy-sine", "--out", str(tmp_path)])
    assert (result.exit_code, result.stderr) == (130, "")


def test_a_run_goes_on_with_what_it_was_given(tmp_path: Path) -> None:
    result = CliRunner().invoke(cli, ["fit", "--resume", str(tmp_path), "--epochs", "4"])
    assert result.exit_code == 2
    assert "--resume goes on with what its run was given" in result.stderr


def test_a_checkpoint_holds_no_pickle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = interrupt(monkeypatch, changed(tiny(), train=SIX), tmp_path, epoch=2)
    content = (run / CHECKPOINT).read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    assert {"plain"} == set(header.pop("__metadata__"))
    assert {name.partition(".")[0] for name in header} == {"model", "best", "optimiser", "generator"}


def test_a_loss_that_is_not_a_number_ends_the_run(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="lower train"):
        fit(changed(tiny(), train=SIX | {"learning_rate": 1e30, "clip": 0.0}), None, tmp_path)
