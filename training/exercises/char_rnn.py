"""The next character of a text by a recurrent network; and the next beat of a heart, by the same network.

Part 1 is the exercise: number the characters, learn which follows which with the hidden state carried through
the text, and let the network say the text by itself (Karpathy 2015, The Unreasonable Effectiveness of Recurrent
Neural Networks, made this exercise popular; Elman 1990, Finding Structure in Time, began it).

Part 2 is what it is good for here. A rhythm is a text over few letters: N a normal beat, V a ventricular one,
S a supraventricular one, F a fusion of both. The surprise of a beat, -log p(what came), is near zero while a
rhythm goes on, however abnormal it is, and large where it changes.
"""

from __future__ import annotations

import re
import time
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from monitor.core.card import Cell as Kind
from monitor.core.errors import ConfigError
from training.exercises.plots import new_figure
from training.exercises.result import Cell, Options, Result, Table
from training.exercises.rhythm_run import Trained, keep_rhythms
from training.exercises.rhythms import EPISODES, PAUSE, inside_episodes, read_beats, simulate, split
from training.exercises.symbols import (
    NextSymbol,
    Vocabulary,
    count_surprises,
    decode_greedily,
    surprises,
    train_epoch,
)

TITLE = "The next character of a text, learned by heart; the next beat of a rhythm, and the surprise of what came."

TEXT = """A recurrent network reads a signal one step at a time. What it has read so far is folded into its \
state, a short row of numbers that it carries along. From the state it says what comes next: the next sample of a \
heart beat, the next letter of this sentence, the next beat of a rhythm. If it is right, nothing has happened. If \
it is surprised, something has, and the size of the surprise tells how much. A network that has learned a text by \
heart can say it again from its first letter, because each letter it says becomes the next one that it reads."""
LONGEST_TEXT = 2000
"""Characters; of a longer text the beginning is taken."""

RECORDINGS = (".hea", ".dat", ".atr", ".csv")


def run(options: Options) -> Result:
    """Learn a text by heart, then the rhythms of beats, and report both."""
    options.all_seeds("char-rnn")
    options.refuse_test("char-rnn")
    torch.set_num_threads(1)
    text = TEXT[:150] if options.quick else TEXT
    sequences: dict[str, str] = {}
    if options.data and (options.data.suffix in RECORDINGS or options.data.with_suffix(".hea").is_file()):
        sequences = read_beats([options.data])
    elif options.data and options.data.is_dir():
        sequences = read_beats(sorted(options.data.glob("*.hea")))
    elif options.data:
        text = _read_text(options.data)
    beats = split(sequences) if sequences else simulate(options.seed, quick=options.quick)
    by_heart, said = learn_text(text, options)
    (rhythm, episodes), figure, (folder, kept) = learn_beats(*beats, options)
    return Result([by_heart, rhythm, episodes], {"surprise": figure}, [said, *NOTES, kept], folder)


# ---------------------------------------------------------------------------------------------------- characters


def learn_text(text: str, options: Options) -> tuple[Table, str]:
    """Train each cell until it says `text` by itself; the table, and what the network said."""
    vocabulary = Vocabulary.of(text)
    if len(text) < 2 or len(vocabulary.idx2char) < 2:
        raise ConfigError("--data: expected a text of two different characters or more; give a longer one")
    numbers = vocabulary.encode(text)  # (time,)
    most = 200 if options.quick else 400
    rows: list[tuple[Cell, ...]] = []
    said = ""
    forms: list[tuple[str, Kind, bool]] = [
        ("RNN, state carried", "rnn", True),
        ("LSTM, state carried", "lstm", True),
        ("GRU, state carried", "gru", True),
        ("RNN, state emptied every 50", "rnn", False),
    ]
    for label, cell, carry in forms:
        for seed in options.all_seeds("char-rnn"):
            torch.manual_seed(seed)
            began = time.perf_counter()
            model = NextSymbol(len(vocabulary.idx2char), 32, 128, cell)
            optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
            epoch, loss, told = 0, 0.0, ""
            epochs = most if carry else 100
            for epoch in range(1, epochs + 1):
                loss = train_epoch(model, numbers[None], 50, optimiser, carry=carry)  # a batch of one text
                if (epoch % 5 == 0 and loss < 0.3) or epoch == epochs:
                    told = vocabulary.decode(decode_greedily(model, int(numbers[0]), len(numbers)))
                    if told == text:
                        break
            right = next((i for i, (a, b) in enumerate(zip(told, text, strict=True)) if a != b), len(text))
            seconds = time.perf_counter() - began
            rows.append((label, seed, epoch, loss, right, "yes" if told == text else "no", seconds))
            options.say(f"{label}, seed {seed}: {right} of {len(text)} characters after {epoch} epochs")
            if cell == "rnn" and carry and seed == options.seed:
                said = told
    columns = ("model", "seed", "epochs", "nats a character", "right from the start", "whole text", "s")
    note = (
        f"{len(text)} characters, {len(vocabulary.idx2char)} different; embedding 32, hidden 128, Adam 3e-3, "
        "until greedy decoding from the first character gives the text. The document publishes no figure."
    )
    return Table("Next character: a text learned by heart", columns, rows, note), f'The RNN said: "{said}"'


def _read_text(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ConfigError(f"--data {path}: cannot be read: {error.strerror}; check the path") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"--data {path}: expected a text in UTF-8 or a recording with beats") from error
    return text[:LONGEST_TEXT]


# --------------------------------------------------------------------------------------------------------- beats


def learn_beats(
    train: str, test: str, source: str, options: Options
) -> tuple[tuple[Table, Table], Figure, tuple[Path, str]]:
    """Train on the beats `train`, judge on `test`.

    Returns surprise by model and by episode, the plot, and the run folder with what there is to say of it.
    """
    vocabulary = Vocabulary.of(PAUSE + train + test)
    kinds = len(vocabulary.idx2char)
    past, asked = vocabulary.encode(PAUSE + train), vocabulary.encode(PAUSE + test)

    torch.manual_seed(options.seed)
    cell: Kind = "gru"
    model = NextSymbol(kinds, 8, 32, cell)
    epochs, rate = 4 if options.quick else 20, 5e-3
    began = time.perf_counter()
    optimiser = torch.optim.Adam(model.parameters(), lr=rate)
    rows_side_by_side = max(1, min(16, len(past) // 200))
    columns = len(past) // rows_side_by_side
    streams = past[: rows_side_by_side * columns].reshape(rows_side_by_side, columns)  # (batch, time)
    for epoch in range(1, epochs + 1):
        loss = train_epoch(model, streams, 50, optimiser)
        options.say(f"beats: epoch {epoch}/{epochs}, {loss:.4f} nats a beat")
    seconds = time.perf_counter() - began

    by_model = {"GRU, hidden 32, state carried": surprises(model, asked)}
    for order in (0, 1, 3):
        name = f"counting, after the last {order}" if order else "counting, how rare a beat is"
        by_model[name] = count_surprises(past.tolist(), asked.tolist(), kinds, order)
    inside = inside_episodes(test)
    real = np.array([beat != PAUSE for beat in test])
    rare = real & np.array([beat != "N" for beat in test])
    rows: list[tuple[Cell, ...]] = [
        (
            name,
            _mean(found[real]),
            _mean(found[real & ~inside]),
            _mean(found[rare & inside]),
            _mean(found[rare & ~inside]),
        )
        for name, found in by_model.items()
    ]
    heads = ("model", "nats a beat", "outside episodes", "V, S, F inside", "V, S, F outside")
    note = f"Beats {source}. An episode is a bigeminy, a trigeminy, or a run of three or more."
    found = by_model["GRU, hidden 32, state carried"]
    tables = (
        Table("Next beat: surprise of what came", heads, rows, note),
        _episodes(test, found, inside),
    )
    trained = Trained(model, vocabulary, cell, epochs, rows_side_by_side, rate, seconds)
    return tables, _plot(test, found), keep_rhythms(trained, train, test, found, source, options)


def _episodes(beats: str, surprise: NDArray[np.float64], inside: NDArray[np.bool_]) -> Table:
    """How surprising each kind of episode is where it begins, while it lasts, and where it ends."""
    rows: list[tuple[Cell, ...]] = []
    quiet = surprise[~inside]
    usual = _mean(sliding_window_view(quiet, 4).max(axis=1)) if len(quiet) >= 4 else None
    for kind, pattern in EPISODES.items():
        begins: list[float] = []
        lasts: list[float] = []
        ends: list[float] = []
        for match in re.finditer(pattern, beats):
            begins.append(surprise[match.start() : match.start() + 4].max())
            lasts.extend(surprise[match.start() + 4 : match.end()])
            if match.end() + 3 <= len(beats):
                ends.append(surprise[match.end() : match.end() + 3].max())
        rows.append((kind, len(begins), _mean(begins), _mean(lasts), _mean(ends), usual))
    columns = ("episode", "number", "at its start", "while it lasts", "at its end", "elsewhere")
    note = (
        "Surprise in nats. Start: the largest of its first four beats; end: of the three after it; elsewhere: of "
        "any four outside episodes; while it lasts: the mean from its fifth beat on."
    )
    return Table("Surprise marks where a rhythm changes", columns, rows, note)


def _mean(values: NDArray[np.float64] | list[float]) -> float | None:
    return float(np.mean(values)) if len(values) else None


def _plot(beats: str, surprise: NDArray[np.float64]) -> Figure:
    """The stretch of 150 beats that holds the most episodes: beats as letters, surprise as bars."""
    starts = [match.start() for pattern in EPISODES.values() for match in re.finditer(pattern, beats)]
    at = np.array(sorted(starts) or [0])
    first = int(max(at, key=lambda begin: np.sum((at >= begin) & (at < begin + 100)))) - 15
    first = max(0, min(first, len(beats) - 150))
    shown = slice(first, first + 150)
    figure, (axes,) = new_figure(width=12)
    colours = {"N": "#4c78a8", "V": "#d62728", "S": "#e39c24", "F": "#9467bd"}
    number = np.arange(len(beats))[shown]
    axes.bar(number, surprise[shown], color=[colours.get(beat, "#888888") for beat in beats[shown]])
    top = max(float(surprise[shown].max()), 1.0)
    for i in number:
        axes.text(i, -0.06 * top, beats[i], ha="center", va="center", fontsize=6)
    for kind, pattern in EPISODES.items():
        for match in re.finditer(pattern, beats):
            if first <= match.start() < first + 150:
                axes.axvspan(match.start() - 0.5, match.end() - 0.5, color="#000000", alpha=0.07)
                axes.text(match.start(), 1.03 * top, kind, fontsize=7)
    axes.set(xlim=(first - 1, first + 150), ylim=(-0.12 * top, 1.12 * top))
    axes.set(xlabel="beat", ylabel="surprise, -log p (nats)", title="What came, and how little it was expected")
    return figure


NOTES = [
    (
        "Carrying the state is what makes the text whole: at every 50th character the network that starts "
        "with an empty memory cannot know where in the text it is, and when it decodes, the state it meets "
        "after 50 characters is one it never met while it learned. Its loss is almost as low; it breaks off "
        "all the same."
    ),
    (
        "To say a text that was learned by heart proves memory, not understanding. There is no test part "
        "here, and there should be one before anybody speaks of a language model."
    ),
    (
        "The same network over beats: a bigeminy (N V N V ...) is surprising for its first beats and then "
        "is not any more, though every second beat is ventricular. A detector of V would ring all the time; "
        "the surprise rings when the rhythm changes, at the start and again at the end. It also rings for a "
        "single early beat, which at first looks the same: what tells them apart is the beats that follow."
    ),
    (
        "Counting what followed the last three beats comes most of the way to the network, since such "
        "rhythms are short loops: look at the two lines before you use a network. Both are causal: no beat "
        "is judged by what comes after."
    ),
]
