"""The exercise char-rnn: whole, quickly; the network over beats that it leaves, watched live."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from monitor.core.blocks import NS, Event
from monitor.core.engine import Engine
from monitor.core.stream import Plan
from monitor.inference import Model, load_model
from monitor.recordings import read_recording
from monitor.senders import blocks_of, recording_values
from tests.training.exercising import check, refusal, run_quickly
from training.cli import cli
from training.exercises import char_rnn, rhythms
from training.exercises.result import Options
from training.exercises.rhythm_run import Trained, keep_rhythms
from training.exercises.rhythms import PAUSE
from training.exercises.symbols import NextSymbol, Vocabulary, surprises, train_epoch
from training.export import export


def write_beats(folder: Path, name: str, symbols: str) -> Path:
    """A CSV recording whose labels are beats, ten samples apart."""
    lines = ["time,ecg,label"]
    lines += [f"{i / 100:.2f},{i % 7},{symbols[i // 10] if i % 10 == 5 else ''}" for i in range(10 * len(symbols))]
    path = folder / f"{name}.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.slow
def test_char_rnn_says_its_text_by_heart_and_knows_it_only_with_its_state_carried(tmp_path: Path) -> None:
    result = run_quickly("char-rnn", tmp_path)
    check("char-rnn", result, tmp_path)
    text = char_rnn.TEXT[:150]
    by_heart = {row[0]: row for row in result.tables[0].rows}
    for cell in ("RNN", "LSTM", "GRU"):
        assert by_heart[f"{cell}, state carried"][4:6] == (len(text), "yes")
    assert by_heart["RNN, state emptied every 50"][5] == "no"
    assert f'"{text}"' in result.notes[0]
    assert result.run is not None
    assert result.run.parent == tmp_path
    told = CliRunner().invoke(cli, ["export", str(result.run)])
    assert told.exit_code == 0, told.output
    assert load_model(Path(told.stdout.strip())).card.classes[0] == "N"


@pytest.mark.slow
def test_char_rnn_reads_a_text_and_annotated_beats(tmp_path: Path) -> None:
    text = tmp_path / "poem.txt"
    text.write_text("ein Ton, noch ein Ton, und dann Stille.\n")
    assert "und dann Stille" in run_quickly("char-rnn", tmp_path, data=text).notes[0]
    beats = write_beats(tmp_path, "beats", ("N" * 20 + "NV" * 6) * 10)
    result = run_quickly("char-rnn", tmp_path, data=beats)
    assert "of beats" in result.tables[1].note
    by_model = {row[0]: row[1] for row in result.tables[1].rows}
    assert by_model["GRU, hidden 32, state carried"] < by_model["counting, how rare a beat is"]


BIGEMINY = "N" * 20 + "NV" * 10
"""Forty beats, over and over: a V is expected after its first ones."""


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> tuple[Model, Trained, str, Path]:
    """The exported model of a network that knows bigeminies, and the stream to watch it on."""
    out = tmp_path_factory.mktemp("rhythms")
    train, test = BIGEMINY * 12, "N" * 7 + BIGEMINY * 4
    vocabulary = Vocabulary.of(PAUSE + train + test)
    torch.manual_seed(0)
    network = NextSymbol(len(vocabulary.idx2char), 8, 16, "gru")
    optimiser = torch.optim.Adam(network.parameters(), lr=2e-2)
    for _ in range(30):
        train_epoch(network, vocabulary.encode(PAUSE + train)[None], 50, optimiser)
    trained = Trained(network, vocabulary, "gru", 30, 1, 2e-2, 1.0)
    found = surprises(network, vocabulary.encode(PAUSE + test))
    run, note = keep_rhythms(trained, train, test, found, "of a test", Options(out=out))
    assert "windows of 50 beats" in note
    told: list[str] = []
    model = load_model(export(run, say=told.append))
    assert any("torch and onnxruntime differ" in line for line in told)
    return model, trained, test, out / "rhythms.csv"


def test_the_network_over_beats_is_served_as_it_was_trained(watched: tuple[Model, Trained, str, Path]) -> None:
    model, trained, test, stream = watched
    assert model.card.classes == ("N", "V", PAUSE)
    assert model.card.thresholds == {"V": 0.5}
    assert "exercise char-rnn" in model.card.source.name
    replayed = read_recording(stream)
    assert replayed.rate_hz == model.card.rate_hz
    windows = np.lib.stride_tricks.sliding_window_view(replayed.values[:, 0], model.card.window)
    told = model.run(windows[:, :, None].copy())["probabilities"]
    letters = ["".join(model.card.classes[int(n)] for n in window) for window in windows]
    assert [letters[i] for i in (0, -1)] == [test[: model.card.window], test[-model.card.window :]]
    with torch.no_grad():  # the exercise's own network, each window from an empty state
        logits = trained.model(torch.stack([trained.vocabulary.encode(window) for window in letters]))[0][:, -1]
    expected = torch.softmax(logits, dim=1)[:, [trained.vocabulary.char2idx[kind] for kind in model.card.classes]]
    np.testing.assert_allclose(told, expected.numpy(), atol=1e-5)


@pytest.mark.parametrize("block_samples", [1, 64])
def test_the_stream_of_beats_goes_through_the_engine(
    watched: tuple[Model, Trained, str, Path], block_samples: int
) -> None:
    model, _, test, path = watched
    stream = read_recording(path)
    engine = Engine({"next-beat": model.card}, lambda _: Plan(models=("next-beat",)), max_streams=1)
    scores, events = {}, []
    for block in blocks_of(
        recording_values(stream, block_samples), stream="beats/1", rate_hz=stream.rate_hz,
        channels=stream.channels, unit=stream.unit, t0_ns=0,
    ):  # fmt: skip
        engine.push(block, 0, 0)
        while (batch := engine.ready("next-beat", 16)) is not None:
            conclusion = engine.conclude(*engine.infer(batch, model))
            for row in range(len(batch)):
                (score,) = engine.scores(conclusion, row)
                scores[round(score.t_ns / NS)] = score.value
            events += [notice for _, notice in conclusion.notices if isinstance(notice, Event)]
    assert list(scores) == list(
        range(model.card.window - 1, len(test))
    )  # one answer a beat, from the first window
    # Deep in a bigeminy the next beat is known; in a quiet stretch no V is expected.
    sure = [at for at in scores if at + 1 < len(test) and "VNVNVNVN" in test[at - 9 : at + 1]]
    assert len(sure) > 10
    assert all((scores[at] > 0.5) == (test[at + 1] == "V") for at in sure if at % 40 != 7)  # there it has ended
    assert all(scores[at] < 0.5 for at in scores if test[at - 7 : at + 1] == "N" * 8 and at % 40 < 24)
    assert {event.label for event in events} == {"V"}


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
