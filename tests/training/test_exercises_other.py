"""The exercises on text, reviews and a real ECG: each whole, quickly; and what they refuse."""

from __future__ import annotations

import importlib
import math
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from training.cli import cli
from training.exercises import char_rnn, rhythms
from training.exercises.result import Options, Result, keep


def run_quickly(name: str, out: Path, **given: object) -> Result:
    module = importlib.import_module(f"training.exercises.{name}")
    options = Options(quick=True, out=out, say=lambda line: None, **given)  # type: ignore[arg-type]
    return module.run(options)  # type: ignore[no-any-return]


def check(name: str, result: Result, out: Path) -> None:
    for table in result.tables:
        assert table.rows, table.title
        for row in table.rows:
            assert len(row) == len(table.columns), table.title
            assert all(math.isfinite(cell) for cell in row if isinstance(cell, float)), (table.title, row)
    assert result.notes
    keep(name, result, out)
    assert {path.suffix for path in out.iterdir()} >= {".png", ".pdf", ".json", ".txt"}


def refusal(*arguments: str) -> str:
    told = CliRunner().invoke(cli, ["exercise", *arguments])
    assert told.exit_code == 2, told.output
    last = told.stderr.strip().splitlines()[-1]
    assert last.startswith("error: ")
    return last


def write_beats(folder: Path, name: str, symbols: str) -> Path:
    """A CSV recording whose labels are beats, ten samples apart."""
    lines = ["time,ecg,label"]
    lines += [f"{i / 100:.2f},{i % 7},{symbols[i // 10] if i % 10 == 5 else ''}" for i in range(10 * len(symbols))]
    path = folder / f"{name}.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


# char-rnn


@pytest.mark.slow
def test_char_rnn_says_its_text_by_heart_and_knows_it_only_with_its_state_carried(tmp_path: Path) -> None:
    result = run_quickly("char_rnn", tmp_path)
    check("char-rnn", result, tmp_path)
    text = char_rnn.TEXT[:150]
    by_heart = {row[0]: row for row in result.tables[0].rows}
    for cell in ("RNN", "LSTM", "GRU"):
        assert by_heart[f"{cell}, state carried"][4:6] == (len(text), "yes")
    assert by_heart["RNN, state emptied every 50"][5] == "no"
    assert f'"{text}"' in result.notes[0]


@pytest.mark.slow
def test_char_rnn_reads_a_text_and_annotated_beats(tmp_path: Path) -> None:
    text = tmp_path / "poem.txt"
    text.write_text("ein Ton, noch ein Ton, und dann Stille.\n")
    assert "und dann Stille" in run_quickly("char_rnn", tmp_path, data=text).notes[0]
    beats = write_beats(tmp_path, "beats", ("N" * 20 + "NV" * 6) * 10)
    result = run_quickly("char_rnn", tmp_path, data=beats)
    assert "of beats" in result.tables[1].note
    by_model = {row[0]: row[1] for row in result.tables[1].rows}
    assert by_model["GRU, hidden 32, state carried"] < by_model["counting, how rare a beat is"]


def test_char_rnn_refuses_what_it_cannot_learn(tmp_path: Path) -> None:
    empty = tmp_path / "empty.txt"
    empty.write_text("\n")
    assert "two different characters" in refusal(
        "char-rnn", "--quick", "--data", str(empty), "--out", str(tmp_path)
    )
    (tmp_path / "bytes.txt").write_bytes(b"\xff\xfe\x00\xff")
    assert "UTF-8" in refusal("char-rnn", "--quick", "--data", str(tmp_path / "bytes.txt"), "--out", str(tmp_path))
    assert "No such file" in refusal("char-rnn", "--data", str(tmp_path / "none"), "--out", str(tmp_path))
    folder = tmp_path / "folder"
    folder.mkdir()
    assert "no .hea file" in refusal("char-rnn", "--data", str(folder), "--out", str(tmp_path))
    same = write_beats(tmp_path, "same", "N" * 200)
    assert "1 kind(s)" in refusal("char-rnn", "--data", str(same), "--out", str(tmp_path))


def test_episodes_are_found_in_simulated_beats() -> None:
    beats = rhythms.simulate_beats(500, np.random.default_rng(1))
    assert len(beats) == 500
    assert set(beats) <= set("NVSF")
    assert not rhythms.inside_episodes("NNNNVNNNN").any()
    assert rhythms.inside_episodes("NN" + "NV" * 4 + "NN").sum() >= 8
