"""Windows with and without a spike, told apart by an RNN, an LSTM and a GRU.

The document's classes differ by more than the spike: the windows with a spike also have three times the noise. So
this exercise is done twice, on the document's windows and on fair ones, and the networks are set beside detectors
that need no training.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.metrics import precision_score, recall_score, roc_auc_score, roc_curve
from torch import Tensor, nn

from monitor.core.card import Cell as Kind
from training.baselines import Array
from training.exercises.learning import Recipe, begin, mean_of, spread_of, train
from training.exercises.plots import curves, loss_figure, new_figure
from training.exercises.result import Cell, Options, Result, Table
from training.exercises.spike_ceiling import log_odds
from training.exercises.spike_detectors import (
    Windows,
    best_threshold,
    document_windows,
    fair_windows,
    likelihood_ratio,
    matched_filter,
    noise_level,
    roughness,
)
from training.exercises.spikes_run import keep_finder, shape_of

TITLE = "Windows with and without a spike, told apart by three cells."

CELLS = {"RNN": nn.RNN, "LSTM": nn.LSTM, "GRU": nn.GRU}
KINDS: dict[str, Kind] = {"RNN": "rnn", "LSTM": "lstm", "GRU": "gru"}
TASKS: dict[str, Callable[[np.random.Generator, int], Windows]] = {
    "document": document_windows,
    "fair": fair_windows,
}
DETECTORS: dict[str, Callable[[Array], Array]] = {
    "roughness (sd of first differences)": roughness,
    "noise level (blind to spikes)": noise_level,
    "matched filter": matched_filter,
    "likelihood ratio": likelihood_ratio,
}
HIDDEN, BATCH = 48, 512
FRAME, HOP = 8, 3


class DocumentClassifier(nn.Module):
    """The document's network: one recurrent layer of 64, two logits from the last step."""

    def __init__(self, cell: str) -> None:
        super().__init__()
        self.recurrence = CELLS[cell](1, 64, batch_first=True)
        self.kind = nn.Linear(64, 2)

    def forward(self, window: Tensor) -> Tensor:
        """Logits (batch, 2) of `window` (batch, time, 1)."""
        states, _ = self.recurrence(window)  # (batch, time, hidden)
        logits: Tensor = self.kind(states[:, -1])  # (batch, 2)
        return logits


class SpikeFinder(nn.Module):
    """The improved network: it reads the window both ways, and any step may speak up, not only the last.

    A step is a frame of eight neighbouring samples, three further on than the one before, so that a spike and what
    surrounds it are seen at once, and the way through the window is 15 steps long, not 50.
    What came before a step and what comes after it meet in a small layer, which weighs the evidence for a spike at
    that step; the odds of a spike in the window are the sum of the odds over its steps, so that a spike at the
    start need not be remembered to the end.
    """

    def __init__(self, cell: str) -> None:
        super().__init__()
        layers = 2 if cell == "RNN" else 1
        self.recurrence = CELLS[cell](FRAME, HIDDEN, num_layers=layers, batch_first=True, bidirectional=True)
        self.both = nn.Linear(2 * HIDDEN, HIDDEN)
        self.evidence = nn.Linear(HIDDEN, 2)

    def forward(self, window: Tensor) -> tuple[Tensor, Tensor]:
        """Of `window` (batch, time, 1): the logit that it has a spike (batch,), and of each step (batch, step)."""
        states, _ = self.recurrence(window[..., 0].unfold(1, FRAME, HOP))  # (batch, step, 2 * hidden)
        evidence = self.evidence(torch.relu(self.both(states)))  # (batch, step, 2)
        return evidence[..., 0].logsumexp(dim=1), evidence[..., 1]


def train_as_published(task: Windows, cell: str, epochs: int) -> tuple[DocumentClassifier, list[float]]:
    """Full batches, cross-entropy, Adam at 1e-3; the loss of every epoch too."""
    windows, labels = _tensor(task.values), torch.from_numpy(task.labels)
    model = DocumentClassifier(cell)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)
    losses = []
    for _ in range(epochs):
        loss = nn.functional.cross_entropy(model(windows), labels)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        losses.append(loss.item())
    return model.eval(), losses


def train_finder(cell: str, draw: Callable[[], Windows], recipe: Recipe) -> SpikeFinder:
    """Learn from the windows that `draw` gives at each step: is there a spike, and at which samples?"""
    binary = nn.functional.binary_cross_entropy_with_logits

    def loss(model: SpikeFinder) -> Tensor:
        some = draw()
        logit, steps = model(_tensor(some.values))  # (batch,) and (batch, step)
        spike = torch.from_numpy(some.labels).float()
        here = torch.from_numpy(some.at).unfold(1, FRAME, HOP).any(dim=2).float()  # (batch, step)
        return binary(logit, spike) + binary(steps, here)

    return train(SpikeFinder(cell), loss, recipe)


def _tensor(values: Array) -> Tensor:
    return torch.from_numpy(values.astype(np.float32))[:, :, None]  # (window, time, 1)


@torch.no_grad()
def logits_of(model: nn.Module, values: Array) -> Array:
    """How much rather a spike than none, (window,): above 0 for a spike."""
    parts = []
    for start in range(0, len(values), 1000):
        told = model(_tensor(values[start : start + 1000]))
        parts.append(told[0] if isinstance(told, tuple) else told[:, 1] - told[:, 0])
    return torch.cat(parts).numpy().astype(np.float64)


def run(options: Options) -> Result:
    """Both tasks, for each the document's networks, the improved ones and the detectors."""
    count, many = (500, 1000) if options.quick else (2000, 20_000)
    epochs, steps = (3, (10, 10)) if options.quick else (100, (400, 2500))
    scores: dict[tuple[str, str], list[dict[str, float]]] = {}
    losses: dict[str, list[float]] = {}
    figures: dict[str, Figure] = {}
    run_folder: Path | None = None
    for seed in begin(options, "spikes"):
        finders: dict[str, tuple[SpikeFinder, float]] = {}
        for task, make in TASKS.items():
            random = np.random.default_rng([seed, len(task)])
            learn, held = split(make(random, count))
            # The document holds a fifth back, 400 windows: too few to tell detectors of the fair task apart.
            judged = make(random, many) if task == "fair" else held
            told: dict[str, tuple[Array, float]] = {}
            for cell in CELLS:
                began = time.monotonic()
                torch.manual_seed(seed)
                model, losses[f"{cell}, {task} task"] = train_as_published(learn, cell, epochs)
                told[f"document's {cell}"] = logits_of(model, judged.values), 0.0
                middle = time.monotonic()
                torch.manual_seed(seed)
                finder = train_finder(cell, _drawing(task, learn, random), _recipe(task, cell, steps))
                told[f"improved {cell}"] = logits_of(finder, judged.values), 0.0
                ended = time.monotonic()
                finders[cell] = finder, ended - middle  # of the fair task, which comes last
                options.say(
                    f"seed {seed}, {task} task, {cell}: document's loss {losses[f'{cell}, {task} task'][-1]:.4f} "
                    f"after {middle - began:.0f} s, improved in {ended - middle:.0f} s"
                )
            if task == "fair":
                told["ceiling: the law of the windows known"] = log_odds(judged.values), 0.0
            known = make(random, many)  # of which the detectors only take their threshold
            for name, detector in DETECTORS.items():
                told[name] = detector(judged.values), best_threshold(detector(known.values), known.labels)
            for name, (score, threshold) in told.items():
                scores.setdefault((task, name), []).append(judge(score, threshold, judged.labels))
            if seed == options.seed:
                best = max(CELLS, key=lambda cell: scores[task, f"improved {cell}"][0]["AUROC"])
                figures[f"examples_{task}"] = examples(judged, *told["improved GRU"])
                figures[f"roc_{task}"] = roc_figure(judged.labels, told, task)
        if run_folder is None:
            run_folder = keep_best(best, *finders[best], seed, options, steps[1])
    figures["loss"] = loss_figure(losses, "The document's networks: cross-entropy")
    tables = [
        table_of(
            f"Spikes, the {task} task",
            {name: each for (of, name), each in scores.items() if of == task},
            f"Means over {options.seeds} seed(s), on {many if task == 'fair' else count // 5} windows not learned "
            f"from; the document's networks learn from {count * 4 // 5}. The networks flag above a probability of "
            "one half, the detectors above the threshold that was best on other windows."
            + (" The ceiling is no detector: it knows how these windows are drawn." if task == "fair" else ""),
        )
        for task in TASKS
    ]
    return Result(tables, figures, NOTES, run_folder)


def keep_best(cell: str, finder: SpikeFinder, seconds: float, seed: int, options: Options, steps: int) -> Path:
    """The run folder of the fair task's best network."""
    shape = shape_of(KINDS[cell], layers=finder.recurrence.num_layers, hidden=HIDDEN, frame=FRAME, frame_hop=HOP)
    return keep_finder(finder.state_dict(), shape, seed, options, steps=steps, batch=BATCH, seconds=seconds)


def split(windows: Windows) -> tuple[Windows, Windows]:
    """The first 80 % to learn from, the rest to judge on; they were made in random order."""
    cut = len(windows.values) * 4 // 5
    first = Windows(windows.values[:cut], windows.labels[:cut], windows.at[:cut])
    return first, Windows(windows.values[cut:], windows.labels[cut:], windows.at[cut:])


def _drawing(task: str, learn: Windows, random: np.random.Generator) -> Callable[[], Windows]:
    """On the document's task from its 1600 windows, on the fair one new windows at every step."""

    def some() -> Windows:
        rows = random.integers(0, len(learn.values), BATCH)
        return Windows(learn.values[rows], learn.labels[rows], learn.at[rows])

    return some if task == "document" else lambda: fair_windows(random, BATCH)


def _recipe(task: str, cell: str, steps: tuple[int, int]) -> Recipe:
    fair, plain = task == "fair", cell == "RNN"
    return Recipe(steps[fair], rate=3e-3 if plain else 8e-3, weight_decay=1e-4)


def judge(scores: Array, threshold: float, labels: NDArray[np.int64]) -> dict[str, float]:
    """What share is right, of the flags, of the spikes; and how well the scores rank, whatever the threshold."""
    flags = scores >= threshold
    return {
        "accuracy": float((flags == labels).mean()),
        "precision": float(precision_score(labels, flags, zero_division=0)),
        "recall": float(recall_score(labels, flags)),
        "AUROC": float(roc_auc_score(labels, scores)),
    }


def table_of(title: str, scores: dict[str, list[dict[str, float]]], note: str) -> Table:
    """One task's figures: means over the seeds, and the range of accuracy and AUROC."""
    columns = ("model", "accuracy", "accuracy (range)", "precision", "recall", "AUROC", "AUROC (range)")
    rows: list[tuple[Cell, ...]] = []
    for name, each in scores.items():
        mean = {key: mean_of([one[key] for one in each]) for key in each[0]}
        ranges = {key: spread_of([one[key] for one in each]) for key in ("accuracy", "AUROC")}
        row = (name, mean["accuracy"], ranges["accuracy"], mean["precision"], mean["recall"])
        rows.append((*row, mean["AUROC"], ranges["AUROC"]))
    return Table(title, columns, rows, note)


def examples(windows: Windows, scores: Array, threshold: float) -> Figure:
    """Eight windows with their true and predicted label."""
    figure, axes = new_figure(2, 4, width=12, height=2.6)
    for i, one in enumerate(axes):
        truth, told = int(windows.labels[i]), int(scores[i] >= threshold)
        one.plot(windows.values[i], color="tab:red" if truth else "tab:blue", linewidth=1)
        one.set_title(f"true {truth}, predicted {told}", color="black" if truth == told else "red", fontsize=10)
    return figure


def roc_figure(labels: NDArray[np.int64], told: dict[str, tuple[Array, float]], task: str) -> Figure:
    """Spikes found against false alarms, for every threshold."""
    figure, (axes,) = new_figure(width=6, height=5)
    for name, (scores, _) in told.items():
        false_alarms, found, _ = roc_curve(labels, scores)
        axes.plot(false_alarms, found, "--" if name in DETECTORS else "-", linewidth=1, label=name)
    curves(axes, f"Spikes, the {task} task", "quiet windows flagged", "spikes found")
    return figure


NOTES = [
    (
        "In the document's windows the noise is 0.1 without a spike and 0.3 with one. So the noise level alone "
        "separates the classes: the row 'noise level' looks at a median that a spike hardly moves, and the "
        "roughness, the standard deviation of the first difference, does it too. A network that scores well "
        "here may never have looked at a spike."
    ),
    (
        "In the fair task both classes have the same noise, and a spike may be low, short, anywhere and of either "
        "sign. The document's recipe, the last step of one layer after 100 updates on 1600 windows, has to carry "
        "what it saw to the end of the window and has hardly been trained. Reading both ways, adding up the odds "
        "over the steps, telling the network in training where the spike is, and windows without end from the "
        "simulator bring it to the likelihood ratio, which knows the sine's period and the spike's shape."
    ),
    (
        "The best network of the fair task is a run folder: `training export` makes a file of it, and the monitor "
        "asks it ten times a second whether the last second holds a spike. fair-spikes.csv beside this table is a "
        "stream to watch it on: `monitor replay fair-spikes.csv`. `training fit` trains such networks too, with "
        'model.pool = "odds" and model.bidirectional = true.'
    ),
]
