"""Film reviews as numbers of words (Maas et al. 2011, Word Vectors for Sentiment Analysis): read or invented.

Numbers are as Keras gives them: 0 padding, 1 the start of a review, 2 a word outside the vocabulary, and rank + 3
for the word of that rank among the most frequent.
"""

from __future__ import annotations

import re
import zipfile
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from monitor.core.blocks import Ints
from monitor.core.errors import ConfigError

START, UNKNOWN, FIRST_WORD = 1, 2, 4
KINDS = ("neg", "pos")


@dataclass(frozen=True)
class Reviews:
    """Reviews as word numbers, and what each thinks of its film."""

    words: list[Ints]
    likes: NDArray[np.float32]
    """1 for a review that likes it, 0 for one that does not."""

    def part(self, start: int, end: int) -> Reviews:
        """The reviews from `start` to before `end`."""
        return Reviews(self.words[start:end], self.likes[start:end])

    def padded(self, length: int, vocabulary: int, *, before: bool) -> Ints:
        """The last `length` words of each, zeros `before` or after shorter ones; (review, time)."""
        table = np.zeros((len(self.words), length), np.int64)
        for row, words in zip(table, self.words, strict=True):
            kept = words[-length:]
            kept = np.where(kept < vocabulary, kept, UNKNOWN)
            if before:
                row[length - len(kept) :] = kept
            else:
                row[: len(kept)] = kept
        return table


def read_reviews(data: Path, test: Path | None, seed: int) -> tuple[Reviews, Reviews, str]:
    """What to learn from, what to judge on, and where that came from."""
    if data.is_dir():
        if test is not None:
            raise ConfigError(f"--test {test}: the folder {data} has a test part of its own; leave --test out")
        ranks = _rank_words(_texts(data / "train"))
        learn, judge = (_read_folder(data / part, ranks, seed) for part in ("train", "test"))
        return learn, judge, "the folder's own training and test part"
    everything = _read_npz(data)
    if test is not None:
        return everything, _read_npz(test), "all of --data, judged on --test"
    cut = 4 * len(everything.words) // 5
    learn, judge = everything.part(0, cut), everything.part(cut, len(everything.words))
    for part in (learn, judge):
        _check(part, f"--data {data}, cut at four fifths")
    return learn, judge, "the first four fifths, judged on the last fifth"


def _read_npz(path: Path) -> Reviews:
    """Flat `x` with `offsets`, review i being x[offsets[i]:offsets[i + 1]], and `y`."""
    try:
        with np.load(path, allow_pickle=False) as file:
            flat, offsets, likes = (np.asarray(file[name]) for name in ("x", "offsets", "y"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}; check the path") from error
    except (KeyError, ValueError, TypeError, AttributeError, EOFError, zipfile.BadZipFile) as error:
        raise ConfigError(f"{path}: expected a .npz file with x, offsets and y, or the folder of texts") from error
    sound = (
        flat.ndim == offsets.ndim == likes.ndim == 1
        and all(np.issubdtype(array.dtype, np.integer) for array in (flat, offsets))
        and len(offsets) == len(likes) + 1
        and (np.diff(offsets) >= 0).all()
        and offsets[0] == 0
        and offsets[-1] == len(flat)
        and flat.min(initial=0) >= 0
    )
    if not sound:
        raise ConfigError(f"{path}: expected word numbers from 0 on, and offsets from 0 to the length of x")
    words = [flat[a:b].astype(np.int64) for a, b in pairwise(offsets)]
    reviews = Reviews(words, likes.astype(np.float32))
    _check(reviews, str(path))
    return reviews


def _check(reviews: Reviews, where: str) -> None:
    kinds = set(reviews.likes.tolist())
    if len(reviews.words) < 10 or kinds != {0.0, 1.0}:
        raise ConfigError(
            f"{where}: expected ten reviews or more of both classes, 0 and 1, got {len(reviews.words)} of "
            f"{sorted(kinds)}"
        )
    if sum(map(len, reviews.words)) == 0:
        raise ConfigError(f"{where}: expected words, all reviews are empty")


def _texts(folder: Path) -> list[tuple[str, int]]:
    """The text and the class of each review below folder/neg and folder/pos."""
    found = []
    for like, kind in enumerate(KINDS):
        paths = sorted((folder / kind).glob("*.txt"))
        if not paths:
            raise ConfigError(f"--data: expected texts in {folder / kind}, got none; is this the official folder?")
        try:
            found += [(path.read_text(encoding="utf-8"), like) for path in paths]
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{folder / kind}: cannot be read: {error}") from error
    return found


def _words_of(text: str) -> list[str]:
    return re.findall(r"[a-z0-9']+", text.lower().replace("<br />", " "))


def _rank_words(texts: list[tuple[str, int]]) -> dict[str, int]:
    counts = Counter(word for text, _ in texts for word in _words_of(text))
    return {word: FIRST_WORD + rank for rank, (word, _) in enumerate(counts.most_common())}


def _read_folder(folder: Path, ranks: dict[str, int], seed: int) -> Reviews:
    texts = _texts(folder)
    order = np.random.default_rng(seed).permutation(len(texts))  # they lie there sorted by class
    words = [np.array([START, *(ranks.get(w, UNKNOWN) for w in _words_of(texts[i][0]))], np.int64) for i in order]
    return Reviews(words, np.array([texts[i][1] for i in order], np.float32))


def invent_reviews(count: int, length: int, seed: int) -> Reviews:
    """Word numbers drawn by rank, and among them, early on, a few that praise (10-19) or damn (20-29)."""
    random = np.random.default_rng(seed)
    words, likes = [], random.integers(0, 2, count)
    for like in likes:
        review = 30 + np.minimum(random.zipf(1.3, random.integers(length // 2, length)), 150)
        at = random.choice(length // 2, 5, replace=False)
        review[at] = random.integers(10, 20, 5) + np.where(random.random(5) < 0.9, 1 - like, like) * 10
        words.append(np.concatenate(([START], review)).astype(np.int64))
    return Reviews(words, likes.astype(np.float32))
