"""What cannot be used is refused with one line and exit code 2, whichever verb it is given to."""

from __future__ import annotations

import builtins
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from training.cli import cli

SPIKES = ["--set", "task=classify", "--set", 'model.classes=["quiet","spike"]', "--set", "model.horizon=0"]


def fit(*words: object) -> Any:
    return CliRunner().invoke(cli, ["fit", *map(str, words)])


def refused(result: Any, complaint: str) -> None:
    assert result.exit_code == 2, result.output
    assert complaint in result.stderr
    told = [line for line in result.stderr.splitlines() if not line.startswith("override ")]
    assert len(told) == 1
    assert told[0].startswith("error: ")
    assert not result.stdout


def column(path: Path, values: list[object], header: str = "x") -> Path:
    path.write_text("\n".join([header, *map(str, values)]) + "\n")
    return path


WAVE = [f"{np.sin(i / 5):.4f}" for i in range(3000)]
SERIES: list[tuple[list[object], str]] = [
    ([], "expected at least one column and one row of values, got none"),
    (WAVE[:300], "expected at least 310 samples to learn from, got 300"),
    ([1.0] * 3000, "got the constant 1; is this the right channel?"),
    (["nan"] * 3000, "expected numbers, got no finite value"),
    ([*WAVE[:2700], *["nan"] * 300], "bad test, channel 1: expected numbers, got no finite value"),
    (["inf"] * 3000, "line 2, x: expected a number or nothing, got 'inf'"),
    ([*WAVE[:99], "oops"], "line 101, x: expected a number or nothing, got 'oops'"),
]


@pytest.mark.parametrize(("values", "complaint"), SERIES)
def test_series(tmp_path: Path, values: list[object], complaint: str) -> None:
    path = column(tmp_path / "bad.csv", values)
    refused(fit("--recording", path, "--rate-hz", 100, "--out", tmp_path / "runs"), complaint)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["nowhere.toml"], "nowhere.toml: cannot be read"),
        (["--recording", "nowhere.csv"], "nowhere.csv: expected a CSV file, got no such file"),
        (["--recording", "nowhere"], "nowhere: expected a WFDB record"),
        (["--symbols", "nowhere.txt"], "nowhere.txt: expected a text"),
        (["--resume", "nowhere"], "--resume nowhere: expected a run folder"),
        (["--signal", "noisy-sine", "--seed", "-1"], "seed: expected 0 or more, got -1"),
        (["--signal", "noisy-sine", "--set", "data.rate_hz=0"], "expected a rate above 0 Hz"),
        (["--signal", "noisy-sine", "--set", "data.minutes.test=0"], "noisy-sine test, channel 1: expected"),
        (["--signal", "noisy-sine", "--set", "data.minutes.test=0.01"], "expected at least 100"),
        (["--signal", "noisy-sine", "--set", "model.hiden=3"], "model.hiden: no such key; did you mean hidden?"),
        (["--signal", "noisy-sine", "--epochs", "0"], "train.epochs: expected 1 or more, got 0"),
        (["--signal", "noisy-sine", *SPIKES], "holds one class only ('quiet'), expected labels of spike"),
        (["--signal", "noisy-sine", "--out", "/dev/null/runs", "--set", "train.hop=50"], "--out /dev/null"),
    ],
)  # fmt: skip
def test_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], complaint: str) -> None:
    monkeypatch.chdir(tmp_path)
    refused(fit(*words), complaint)


def test_a_recording_without_labels_teaches_no_class(tmp_path: Path) -> None:
    path = column(tmp_path / "mine.csv", WAVE)
    refused(fit("--recording", path, "--rate-hz", 100, *SPIKES), "holds one class only ('quiet')")


def test_labels_of_other_names_are_no_class(tmp_path: Path) -> None:
    rows = [f"{value},{'bump' if i % 200 == 7 else ''}" for i, value in enumerate(WAVE)]
    path = column(tmp_path / "mine.csv", rows, "x,label")
    refused(
        fit("--recording", path, "--rate-hz", 100, *SPIKES), "or name the labels of this data in model.classes"
    )


@pytest.mark.parametrize(
    ("text", "words", "complaint"),
    [
        ("", [], "expected two different symbols or more to learn from, got none"),
        ("aaaaaaaaaa" * 100, [], "got only 'a'"),
        ("abcd" * 20, [], "the validation part has 8 samples"),
        (
            "abcd" * 400,
            ["--set", 'model.classes=["a","b"]'],
            "model.classes: expected every symbol of the data, 'c'",
        ),
        ("abcd" * 400, ["--set", "data.shares=[0.5,0.5,0.5,0.5]"], "data.shares: expected four positive shares"),
        ("abcd" * 400, ["--set", 'data.test=["t.txt"]'], "data.validation: expected paths for every part"),
        ("abcd" * 400, ["--set", "data.train=[]"], "data.train: expected the paths of one sequence or more"),
    ],
)
def test_symbols(tmp_path: Path, text: str, words: list[str], complaint: str) -> None:
    path = tmp_path / "t.txt"
    path.write_text(text)
    refused(fit("--symbols", path, *words), complaint)


def test_a_sequence_is_in_one_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("t.txt").write_text("abcd" * 400)
    sets = [f'data.{part}=["t.txt"]' for part in ("validation", "calibration", "test")]
    refused(
        fit("--symbols", "t.txt", *(w for s in sets for w in ("--set", s))), "stand in both train and validation"
    )


def test_a_column_that_is_not_there(tmp_path: Path) -> None:
    path = column(tmp_path / "states.csv", ["on", "off"] * 100, "state")
    refused(fit("--symbols", path, "--set", "data.column=mode"), "expected a column 'mode', got state")


@pytest.mark.parametrize("verb", [["export"], ["compare"]])
def test_no_run(tmp_path: Path, verb: list[str]) -> None:
    result = CliRunner().invoke(cli, [*verb, str(tmp_path)])
    refused(result, "expected a finished run, got no config.json")


def test_a_run_whose_weights_are_gone(tmp_path: Path) -> None:
    words = ["--signal", "noisy-sine", "--epochs", 1, "--out", tmp_path, "--set", "train.epoch_windows=64"]
    sets = [w for p in ("train", "validation", "calibration", "test") for w in ("--set", f"data.minutes.{p}=0.2")]
    run = Path(fit(*words, *sets).stdout.strip())
    weights = run / "weights.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:100])
    refused(CliRunner().invoke(cli, ["export", str(run)]), "expected a run of this version")
    weights.unlink()
    refused(CliRunner().invoke(cli, ["export", str(run)]), "got no weights.safetensors")


def test_tensorboard_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name.startswith("torch.utils.tensorboard"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    refused(fit("--signal", "noisy-sine", "--tensorboard"), "pip install tensorboard")
