"""Sequences of symbols read from files, as signals whose values are the symbols' numbers.

The signal of a text is the number of one character after the other; of a heart, that of one beat after the other.
Everything else is as for any signal: split, cut into windows, forecast. What is asked of a model is the next one.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from monitor.core.blocks import Floats, Ints
from monitor.core.errors import ConfigError, RecordingError
from monitor.recordings import AAMI, read_recording
from training.sources import SymbolsData

PARTS = ("train", "validation", "calibration", "test")


def read_symbols(
    source: SymbolsData, folder: Path | None, classes: tuple[str, ...]
) -> tuple[dict[str, list[tuple[str, Floats]]], tuple[str, ...]]:
    """Named sequences (time, 1) of each part, and the vocabulary: `classes`, or else every symbol there is."""
    if not source.train:
        raise ConfigError("data.train: expected the paths of one sequence or more, got none")
    given = {part: getattr(source, part) for part in PARTS}
    if not any(given[part] for part in PARTS[1:]):
        _check_shares(source.shares)
        whole = {path: _read(path, source, folder) for path in source.train}
        parts = {part: [(path, _share(whole[path], source.shares, i)) for path in whole]
                 for i, part in enumerate(PARTS)}  # fmt: skip
    elif all(given.values()):
        for part in PARTS[1:]:  # calibration may share with validation, neither of which trains
            if both := set(source.train) & set(given[part]):
                raise ConfigError(f"data: {sorted(both)} stand in both train and {part}; a sequence is in one")
        parts = {part: [(path, _read(path, source, folder)) for path in given[part]] for part in PARTS}
    else:
        missing = next(part for part in PARTS if not given[part])
        raise ConfigError(f"data.{missing}: expected paths for every part, or for train alone, got none")
    found = {symbol for part in parts.values() for _, symbols in part for symbol in symbols}
    learned = {symbol for _, symbols in parts["train"] for symbol in symbols}
    if len(learned) < 2:
        shown = f"only {learned.pop()!r}" if learned else "none"
        raise RecordingError(
            f"data: expected two different symbols or more to learn from, got {shown} in {source.train[0]}"
        )
    if classes and (unknown := found - set(classes)):
        raise ConfigError(f"model.classes: expected every symbol of the data, {min(unknown)!r} is not there")
    classes = classes or tuple(sorted(found))
    number = {symbol: i for i, symbol in enumerate(classes)}
    numbered = {
        part: [(path, np.array([number[s] for s in symbols], np.float32)[:, None]) for path, symbols in sequences]
        for part, sequences in parts.items()
    }
    return numbered, classes


def symbol_figures(probabilities: Floats, came: Ints, before: Ints, train: list[Ints]) -> dict[str, float]:
    """How well the next symbol was foreseen; `probabilities` (n, class) were given for `came` (n,).

    Surprise is -log p of what came, in nats: the loss of training. Beside it that of a table which counts in the
    sequences of `train` what followed the one symbol `before` (a Markov chain; one is added to every count).
    """
    classes = probabilities.shape[1]
    table = np.ones((classes, classes))
    for sequence in train:
        np.add.at(table, (sequence[:-1], sequence[1:]), 1)
    chain = (table / table.sum(axis=1, keepdims=True))[before]  # (n, class)
    rows = np.arange(len(came))
    return {
        "accuracy": float((probabilities.argmax(axis=1) == came).mean()),
        "surprise": float(-np.log(np.maximum(probabilities[rows, came], 1e-12)).mean()),
        "accuracy_of_a_markov_chain": float((chain.argmax(axis=1) == came).mean()),
        "surprise_of_a_markov_chain": float(-np.log(chain[rows, came]).mean()),
    }


def _read(path: str, source: SymbolsData, folder: Path | None) -> tuple[str, ...]:
    where = folder / path if folder else Path(path)
    if where.with_name(where.name + ".hea").is_file() or where.suffix == ".hea":
        return tuple(AAMI[symbol] for symbol in read_recording(where).label_symbols)
    try:
        text = where.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RecordingError(
            f"{where}: expected a text, a CSV file or a WFDB record, but it cannot be read ({error})"
        ) from error
    if where.suffix != ".csv":
        return tuple(text)
    rows = list(csv.DictReader(text.splitlines()))
    columns = list(rows[0]) if rows else []
    column = source.column or (columns[0] if columns else "")
    if column not in columns:
        raise RecordingError(f"{where}: expected a column {column!r}, got {', '.join(columns) or 'an empty file'}")
    return tuple((row[column] or "").strip() for row in rows)


def _check_shares(shares: tuple[float, ...]) -> None:
    if min(shares) <= 0 or abs(sum(shares) - 1) > 1e-6:
        raise ConfigError(f"data.shares: expected four positive shares that add up to 1, got {shares}")


def _share(symbols: tuple[str, ...], shares: tuple[float, ...], part: int) -> tuple[str, ...]:
    bounds = np.round(np.cumsum((0.0, *shares)) * len(symbols)).astype(int).tolist()
    return symbols[bounds[part] : bounds[part + 1]]
