"""The course's assignments: cost of the cells, longer segments, Xavier initialisation, clipping; the leak alone.

All on the signal split by time, with hidden size 32 or 64 and fewer epochs than the exercise itself.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import nn
from torch.nn import functional

from monitor.core.blocks import Floats
from training.exercises.next_value import NextValue, Part, error, split_by_time, train
from training.exercises.plots import curves, new_figure
from training.exercises.result import Cell as Entry
from training.exercises.result import Options, Table
from training.models import CELLS
from training.preparation import cut, embed

LONGEST_DELAY = 12
DIVERGED = 1e3
"""An error beyond this, in units of the variance, is no forecast any more."""


@dataclass(frozen=True)
class Assignments:
    """What the assignments found."""

    tables: list[Table]
    figures: dict[str, Figure]
    notes: list[str]


def run(scaled: Floats, hop: int, options: Options) -> Assignments:
    """All of them on the z-scored signal `scaled` (time,)."""
    lengths = (25, 50) if options.quick else (25, 50, 100, 200)
    clipping, figure = clip_gradients(scaled, hop, options)
    tables = [
        cost_of_cells(scaled, hop, lengths, options),
        delay_embedding(scaled, hop, options),
        initialise(scaled, hop, options),
        clipping,
        leak_alone(scaled, hop, options),
    ]
    return Assignments(tables, {"gradient-norms": figure}, NOTES)


def cost_of_cells(scaled: Floats, hop: int, lengths: tuple[int, ...], options: Options) -> Table:
    """Computation time and error of the three cells on ever longer segments."""
    hidden, epochs = (4, 1) if options.quick else (32, 30)
    rows: list[tuple[Entry, ...]] = []
    # Off by one sample at the start, the windows of another length would be asked for other values at the end.
    aligned = {length: scaled[(lengths[-1] - length) % hop :] for length in lengths}
    splits = [split_by_time(*cut(aligned[length], length, hop), hop) for length in lengths]
    count = min(len(parts["test"][0]) for parts in splits)
    for length, parts in zip(lengths, splits, strict=True):
        asked, truth = (part[-count:] for part in parts["test"])  # the same values for each length
        for cell in CELLS:
            torch.manual_seed(options.seed)
            model = NextValue(cell, hidden)
            history = train(model, parts, epochs=epochs, seed=options.seed)
            batches = len(history.norms)
            with torch.no_grad():
                model(asked[:1])
                began = time.perf_counter()
                for _ in range(50):
                    model(asked[:1])
                answer_us = 1e6 * (time.perf_counter() - began) / 50
            rows.append(
                (length, cell.upper(), 1e3 * history.seconds / batches, answer_us, error(model, (asked, truth)))
            )
        options.say(f"segments of {length}: done")
    columns = ("segment", "cell", "ms a training batch", "us an answer", "test error")
    note = (
        f"Hidden {hidden}, {epochs} epochs, batches of 64, one core; an answer is one window through the network."
    )
    return Table("Computation time, and growing segments", columns, rows, note)


def delay_embedding(scaled: Floats, hop: int, options: Options) -> Table:
    """The plain window beside one whose every step also holds two delayed values."""
    hidden, epochs = (4, 1) if options.quick else (32, 30)
    delay = first_decay(scaled)
    rows: list[tuple[Entry, ...]] = []
    forms = {"x(t)": scaled[2 * delay :], f"x(t), x(t-{delay}), x(t-{2 * delay})": embed(scaled, 3, delay)}
    for name, steps in forms.items():
        parts = split_by_time(*cut(steps, 50, hop), hop)
        for cell in CELLS:
            torch.manual_seed(options.seed)
            model = NextValue(cell, hidden, channels=parts["train"][0].shape[2])
            train(model, parts, epochs=epochs, seed=options.seed)
            rows.append((name, cell.upper(), error(model, parts["test"])))
    note = (
        f"Windows of 50, hidden {hidden}, {epochs} epochs. The delay, {delay} samples, is where the "
        f"autocorrelation first falls below 1/e, but {LONGEST_DELAY} at most; an embedded window looks "
        f"{2 * delay} samples further back."
    )
    return Table("Time-delay embedding", ("a step holds", "cell", "test error"), rows, note)


def first_decay(scaled: Floats) -> int:
    """The lag at which the autocorrelation first falls below 1/e, at least 1 and at most LONGEST_DELAY."""
    centred = scaled - scaled.mean()
    power = float(centred @ centred)
    for lag in range(1, LONGEST_DELAY):
        if float(centred[lag:] @ centred[:-lag]) < power / math.e:
            return lag
    return LONGEST_DELAY


def initialise(scaled: Floats, hop: int, options: Options) -> Table:
    """PyTorch's own initialisation against Xavier's, by the validation error on the way."""
    hidden, marks = (4, (1, 2)) if options.quick else (64, (1, 5, 20))
    parts = split_by_time(*cut(scaled, 50, hop), hop)
    rows: list[tuple[Entry, ...]] = []
    for cell in CELLS:
        for name in ("uniform, 1 / sqrt(hidden)", "Xavier"):
            torch.manual_seed(options.seed)
            model = NextValue(cell, hidden)
            if name == "Xavier":
                xavier(model, hidden)
            history = train(model, parts, epochs=marks[-1], seed=options.seed)
            rows.append((cell.upper(), name, *(min(history.validation[:mark]) for mark in marks)))
    columns = ("cell", "initialisation", *(f"best of {mark} epochs" for mark in marks))
    return Table("Xavier initialisation: validation error", columns, rows, f"Hidden {hidden}, windows of 50.")


def xavier(model: NextValue, hidden: int) -> None:
    """Glorot & Bengio 2010: as much variance out as in, each gate a matrix of its own; biases zero."""
    for name, weight in model.named_parameters():
        if weight.dim() < 2:
            nn.init.zeros_(weight)
        elif name.startswith("recurrence"):
            for gate in torch.split(weight, hidden):
                nn.init.xavier_uniform_(gate)
        else:
            nn.init.xavier_uniform_(weight)


def clip_gradients(scaled: Floats, hop: int, options: Options) -> tuple[Table, Figure]:
    """Plain gradient descent with large steps over long segments, with and without clipping."""
    hidden, length, epochs = (16, 50, 2) if options.quick else (64, 200, 10)
    parts = split_by_time(*cut(scaled, length, 2 * hop), 2 * hop)
    figure, (axes,) = new_figure()
    rows: list[tuple[Entry, ...]] = []
    for step in (0.1, 0.5):
        for clip in (math.inf, 1.0):
            name = f"step {step:g}, " + ("clipped at 1" if clip < math.inf else "not clipped")
            norms, losses = descend(parts["train"], hidden, epochs, step, clip, options.seed)
            ended = losses[-1] if losses[-1] < DIVERGED else None
            rows.append((name, float(np.median(norms)), float(max(norms)), len(losses), ended))
            axes.plot(np.arange(1, len(norms) + 1), norms, label=name)
    axes.set_yscale("log")
    curves(axes, f"Norm of the gradient before clipping, RNN over {length} steps", "batch", "norm")
    note = (
        f"RNN, hidden {hidden}, segments of {length}, plain gradient descent for {epochs} epochs. A dash: it "
        f"diverged, and was stopped when a batch's loss passed {DIVERGED:g}."
    )
    columns = ("gradient descent", "median norm", "largest norm", "batches", "loss, last epoch")
    return Table("Gradient clipping on long segments", columns, rows, note), figure


def descend(
    part: Part, hidden: int, epochs: int, step: float, clip: float, seed: int
) -> tuple[list[float], list[float]]:
    """Gradient norms and running losses, batch by batch, up to the end or to divergence."""
    torch.manual_seed(seed)
    model = NextValue("rnn", hidden)
    optimiser = torch.optim.SGD(model.parameters(), lr=step)
    norms: list[float] = []
    losses: list[float] = []
    windows, targets = part
    for _ in range(epochs):
        for rows in torch.split(torch.randperm(len(windows)), 64):
            loss = functional.mse_loss(model(windows[rows]), targets[rows])
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            norm = float(nn.utils.clip_grad_norm_(model.parameters(), clip))
            value = float(loss.detach())
            if not math.isfinite(norm) or not value < DIVERGED:
                losses.append(math.inf)
                return norms or [0.0], losses
            norms.append(norm)
            losses.append(value)
            optimiser.step()
    batches = len(losses) // epochs
    losses[-1] = float(np.mean(losses[-batches:]))
    return norms, losses


def leak_alone(scaled: Floats, hop: int, options: Options) -> Table:
    """One and the same test part, and as many windows to train on: with and without its neighbours among them."""
    hidden, epochs = (4, 1) if options.quick else (64, 60)
    windows, targets = cut(scaled, 50, hop)
    honest = split_by_time(windows, targets, hop)
    last = torch.arange(int(0.85 * len(windows)), len(windows))
    x, y = torch.tensor(windows), torch.tensor(targets[:, 0])
    test = x[last[::2]], y[last[::2]]
    known, answers = honest["train"]
    between = last[1::2]  # each shares all but a few samples with the test windows beside it
    spared = torch.randperm(len(known), generator=torch.Generator().manual_seed(options.seed))[len(between) :]
    leaking = torch.cat((known[spared], x[between])), torch.cat((answers[spared], y[between]))
    rows: list[tuple[Entry, ...]] = []
    for cell in CELLS:
        errors = []
        for part in (honest["train"], leaking):
            torch.manual_seed(options.seed)
            model = NextValue(cell, hidden)
            train(model, {"train": part, "validation": honest["validation"]}, epochs=epochs, seed=options.seed)
            errors.append(error(model, test))
        rows.append((cell.upper(), *errors, errors[1] / errors[0]))
    note = (
        f"Every second window of the last 15 %, judged by networks (hidden {hidden}, {epochs} epochs) that saw "
        f"{len(known)} windows from before in training, or as many of which {len(between)} are those in between."
    )
    columns = ("cell", "trained on the past", "with the neighbours", "ratio")
    return Table("The leak alone: the same test windows, with and without their neighbours", columns, rows, note)


NOTES = [
    (
        "An LSTM has four matrices where an RNN has one, and a GRU three; what that costs in time depends "
        "on how well the library runs each, so read the times and not the counts. A longer segment costs in "
        "proportion and here forecasts no better: half a second tells as much of the next value as four do. "
        "All are judged on the same values; an offset of one sample between them, so that one length is "
        "asked for other samples of the sharp peaks, changed the errors by a third."
    ),
    (
        "Clipping changes the length of a gradient, never its direction (Pascanu, Mikolov & Bengio 2013). "
        "Through 200 steps of a recurrence a batch can have a gradient hundreds of times the usual, and one "
        "such step throws the weights out of where anything can be learned. With small steps clipping "
        "hardly matters; with large ones it decides."
    ),
    (
        "The leak alone is small here: a network that is asked for one value of a sharp ECG cannot look it "
        "up in a neighbour three samples away. Look at the ratio, and at what a random split does besides: "
        "training and test then come from the same stretches of the recording, and the size of the network "
        "is chosen on such windows too."
    ),
]
