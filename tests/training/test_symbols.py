from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from monitor.inference import load_model
from training.cli import cli
from training.runs import read_run
from training.sources import SymbolsData
from training.symbols import PARTS, read_symbols, symbol_figures


def test_a_text_is_learned_and_its_model_served(tmp_path: Path) -> None:
    text = tmp_path / "song.txt"
    text.write_text("abcabd" * 400)
    words = ["fit", "--symbols", str(text), "--epochs", "6", "--cell", "lstm", "--out", str(tmp_path)]
    sets = ["model.window=8", "train.first_step=4", "model.hidden=12", "train.learning_rate=0.02", "train.hop=1"]
    result = CliRunner().invoke(cli, [*words, *(w for s in sets for w in ("--set", s))])
    assert result.exit_code == 0, result.output
    run = Path(result.stdout.strip())
    metrics = json.loads((run / "outcome.json").read_text())["metrics"]
    assert metrics["accuracy"] == 1
    assert metrics["surprise"] < 0.1
    # After b comes c or d: one symbol alone does not tell which.
    assert metrics["accuracy_of_a_markov_chain"] == pytest.approx(5 / 6, abs=0.01)
    assert metrics["surprise_of_a_markov_chain"] == pytest.approx(np.log(2) / 3, abs=0.02)
    exported = CliRunner().invoke(cli, ["export", str(run)])
    assert exported.exit_code == 0, exported.output
    model = load_model(Path(exported.stdout.strip()))
    card = model.card
    assert (card.name, card.task, card.classes, card.channels) == ("song-next", "classify", tuple("abcd"), 1)
    assert card.training["data.source"] == "symbols"
    assert card.training["model.classes"] == list("abcd")
    window = np.array([["abcd".index(symbol) for symbol in "cabdabca"]], np.float32)[:, :, None]
    assert model.run(window)["probabilities"].argmax() == "abcd".index("b")
    assert read_run(run)[0].model.classes == tuple("abcd")


def test_each_text_is_split_by_time(tmp_path: Path) -> None:
    (tmp_path / "one.txt").write_text("a" * 700 + "b" * 100 + "c" * 100 + "d" * 100)
    (tmp_path / "two.txt").write_text("e" * 100)
    parts, classes = read_symbols(SymbolsData(train=("one.txt", "two.txt")), tmp_path, ())
    assert classes == tuple("abcde")
    assert list(parts) == list(PARTS)
    for i, part in enumerate(PARTS):
        (_, one), (_, two) = parts[part]
        assert set(one[:, 0].tolist()) == {float(i)}
        assert len(two) == (70, 10, 10, 10)[i]


def test_a_column_of_words(tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_text(
        "when,state\n" + "".join(f"{i},{'on' if i % 3 else 'off'}\n" for i in range(90))
    )
    parts, classes = read_symbols(SymbolsData(train=("s.csv",), column="state"), tmp_path, ("on", "off", "broken"))
    assert classes == ("on", "off", "broken")
    assert parts["train"][0][1][:4, 0].tolist() == [1, 0, 0, 1]


@pytest.mark.filterwarnings("ignore:The inplace keyword")
def test_the_beats_of_records_split_by_patient(tmp_path: Path) -> None:
    wfdb = pytest.importorskip("wfdb")
    for name in "abcd":
        wfdb.wrsamp(name, 100, ["mV"], ["I"], np.random.default_rng(0).standard_normal((3000, 1)),
                    fmt=["16"], write_dir=str(tmp_path))  # fmt: skip
        wfdb.wrann(
            name, "atr", np.arange(100, 3000, 100), (["N", "V", "+", "A"] * 8)[:29], write_dir=str(tmp_path)
        )
    source = SymbolsData(train=("a",), validation=("b",), calibration=("c",), test=("d",))
    parts, classes = read_symbols(source, tmp_path, ())
    assert classes == ("N", "S", "V")
    assert parts["test"][0][0] == "d"
    assert parts["test"][0][1][:4, 0].tolist() == [0, 2, 1, 0]  # a rhythm mark is no beat


def test_figures_against_a_chain_counted_by_hand() -> None:
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8]], np.float32)
    train = [np.array([0, 1, 0, 1, 0])]  # after 0 twice 1; after 1 twice 0
    figures = symbol_figures(probabilities, np.array([0, 0]), np.array([1, 0]), train)
    assert figures["accuracy"] == 0.5
    assert figures["surprise"] == pytest.approx(-(np.log(0.9) + np.log(0.2)) / 2)
    assert figures["accuracy_of_a_markov_chain"] == 0.5
    assert figures["surprise_of_a_markov_chain"] == pytest.approx(-(np.log(3 / 4) + np.log(1 / 4)) / 2)
