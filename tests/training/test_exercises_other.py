"""The exercises on text, reviews and a real ECG: each whole, quickly; and what they refuse."""

from __future__ import annotations

import importlib
import json
import math
import sys
from pathlib import Path
from types import ModuleType

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
from training.cli import cli
from training.exercises import EXERCISES, biomed_pipeline, char_rnn, imdb, rhythms
from training.exercises.next_value import split_at_random, split_by_time
from training.exercises.result import Options, Result, keep
from training.exercises.reviews import Reviews, invent_reviews, read_reviews
from training.exercises.rhythm_run import Trained, keep_rhythms
from training.exercises.rhythms import PAUSE
from training.exercises.symbols import NextSymbol, Vocabulary, surprises, train_epoch
from training.export import export
from training.preparation import cut


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


@pytest.mark.parametrize(
    ("words", "missing"),
    [([], {"imdb"}), (["--data", "reviews.npz", "--test", "more.npz"], set()), (["--quick"], set())],
)
def test_all_of_them_run_and_imdb_where_there_are_reviews(
    words: list[str], missing: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: dict[str, Options] = {}

    def stand_in(name: str) -> ModuleType:
        module = ModuleType(name)
        module.run = lambda options: (ran.update({name: options}), Result([]))[1]  # type: ignore[attr-defined]
        return module

    for name in EXERCISES:
        monkeypatch.setitem(sys.modules, f"training.exercises.{name.replace('-', '_')}", stand_in(name))
    told = CliRunner().invoke(cli, ["exercise", "all", *words, "--json", "--out", str(tmp_path)])
    assert told.exit_code == 0, told.output
    assert set(EXERCISES) - set(ran) == missing
    assert [one["exercise"] for one in json.loads(told.stdout)] == list(ran)
    lines = told.stderr.splitlines()
    assert [line.partition(":")[0] for line in lines] == sorted(missing)
    for name, options in ran.items():  # what is given is for imdb: the others would not know what to do with it
        assert (options.data is not None) == ("--data" in words and name == "imdb")
        assert (options.test is not None) == ("--data" in words and name == "imdb")


@pytest.mark.parametrize("name", ["imdb", "char-rnn", "biomed-pipeline"])
def test_what_makes_no_sense_is_one_clear_line(name: str, tmp_path: Path) -> None:
    out = ("--quick", "--out", str(tmp_path))
    assert "--seed: expected 0 or more, got -1" in refusal(name, *out, "--seed", "-1")
    if name != "imdb":
        assert "no use for --test, got x.npz" in refusal(name, *out, "--test", "x.npz")


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
    assert result.run is not None
    assert result.run.parent == tmp_path
    told = CliRunner().invoke(cli, ["export", str(result.run)])
    assert told.exit_code == 0, told.output
    assert load_model(Path(told.stdout.strip())).card.classes[0] == "N"


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


# biomed-pipeline


@pytest.mark.slow
def test_biomed_pipeline_on_the_real_ecg(tmp_path: Path) -> None:
    result = run_quickly("biomed_pipeline", tmp_path, data=None)
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


# imdb


def write_reviews(path: Path, count: int = 60, *, kinds: int = 2) -> str:
    reviews = invent_reviews(count, 20, seed=1)
    np.savez(
        path,
        x=np.concatenate(reviews.words).astype(np.uint32),
        offsets=np.cumsum([0, *map(len, reviews.words)]),
        y=(reviews.likes if kinds == 2 else np.ones(count)).astype(np.int8),
    )
    return str(path)


@pytest.mark.slow
def test_imdb_on_invented_reviews(tmp_path: Path) -> None:
    result = run_quickly("imdb", tmp_path)
    check("imdb", result, tmp_path)
    (table,) = result.tables
    published = {row[0].partition(",")[0]: row[1] for row in table.rows if row[1]}
    assert published == {"RNN": 0.6815, "LSTM": 0.8348}
    assert "INVENTED" in table.note
    assert np.float32(1e-40) * np.float32(1.0) > 0  # what was set for the plain RNN is not left to the process
    assert float(torch.tensor([1e-40]) * 1.0) > 0


@pytest.mark.slow
def test_imdb_reads_both_layouts(tmp_path: Path) -> None:
    data = Path(write_reviews(tmp_path / "train.npz"))
    learn, judge, _ = read_reviews(data, None, 0)
    assert (len(learn.words), len(judge.words)) == (48, 12)
    _, judge, _ = read_reviews(data, Path(write_reviews(tmp_path / "test.npz", 30)), 0)
    assert len(judge.words) == 30
    for part in ("train", "test"):
        for kind, word in (("pos", "fine"), ("neg", "dull")):
            folder = tmp_path / "texts" / part / kind
            folder.mkdir(parents=True)
            for i in range(12):
                (folder / f"{i}.txt").write_text(f"A {word} film.<br />Unheard{part}{i}")
    learn, judge, _ = read_reviews(tmp_path / "texts", None, 0)
    assert len(learn.words) == len(judge.words) == 24
    assert all(words[0] == 1 for words in learn.words)
    assert all(words[-1] == 2 for words in judge.words)  # a word of the test part alone is unknown
    result = run_quickly("imdb", tmp_path, data=data)
    assert "last fifth" in result.tables[0].note


def test_reviews_are_cut_at_their_beginning_and_padded_on_either_side() -> None:
    reviews = Reviews([np.array([1, 5, 99]), np.array([1, 6, 7, 8, 9])], np.array([0, 1], np.float32))
    assert reviews.padded(4, 50, before=True).tolist() == [[0, 1, 5, 2], [6, 7, 8, 9]]
    assert reviews.padded(4, 50, before=False).tolist() == [[1, 5, 2, 0], [6, 7, 8, 9]]


def test_the_pooled_answer_does_not_depend_on_padding() -> None:
    torch.manual_seed(0)
    model = imdb.Sentiment("lstm", imdb.Size(20, 4, 4), pooled=True).eval()
    words = torch.tensor([[1, 7, 9]])
    assert torch.allclose(model(words), model(torch.tensor([[1, 7, 9, 0, 0, 0]])), atol=1e-6)


def test_imdb_refuses_what_it_cannot_learn(tmp_path: Path) -> None:
    out = ("--out", str(tmp_path))
    assert "expected --data" in refusal("imdb", *out)
    assert "check the path" in refusal("imdb", "--data", str(tmp_path / "none.npz"), *out)
    (tmp_path / "text.npz").write_text("no archive")
    assert "expected a .npz file" in refusal("imdb", "--data", str(tmp_path / "text.npz"), *out)
    one = write_reviews(tmp_path / "one.npz", kinds=1)
    assert "both classes" in refusal("imdb", "--data", one, *out)
    np.savez(tmp_path / "torn.npz", x=np.arange(5), offsets=np.array([0, 9]), y=np.array([1]))
    assert "offsets from 0" in refusal("imdb", "--data", str(tmp_path / "torn.npz"), *out)
    np.savez(tmp_path / "negative.npz", x=np.array([5, -3]), offsets=np.array([0, 2]), y=np.array([1]))
    assert "word numbers from 0 on" in refusal("imdb", "--data", str(tmp_path / "negative.npz"), *out)
    (tmp_path / "empty").mkdir()
    assert "official folder" in refusal("imdb", "--data", str(tmp_path / "empty"), *out)
    assert "needs --data" in refusal("imdb", "--quick", "--test", one, *out)
