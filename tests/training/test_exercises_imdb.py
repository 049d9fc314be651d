"""The exercise imdb: whole, quickly; what it reads, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.training.exercising import check, refusal, run_quickly
from training.exercises import imdb
from training.exercises.reviews import Reviews, invent_reviews, read_reviews


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
