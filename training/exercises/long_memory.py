"""A slow and a fast sine: what six steps cannot hold, and what carrying the state can.

The document takes sin(0.1 t) + 0.5 sin(2 t + pi/4) + 0.1 N(0, 1) at t = linspace(0, 100, 1200), scaled to 0..1,
and tells the next value from the last six with RNNs of hidden 2 to 5. The slow wave has 753 samples a period, the
fast one 38: six samples see neither. So here a second network reads one sample at a time and keeps its state.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.lib.stride_tricks import sliding_window_view
from torch import Tensor, nn

from training.baselines import Array, fit_autoregression
from training.exercises.carrier import carried, forgetful, train_carrier
from training.exercises.learning import begin, mean_of, spread_of
from training.exercises.long_memory_run import keep_carrier
from training.exercises.next_value import NextValue
from training.exercises.plots import curves, loss_figure, new_figure
from training.exercises.result import Cell, Options, Result, Table

TITLE = "A slow and a fast sine: what six steps cannot hold."

SAMPLES, SPLIT, WINDOW = 1200, 960, 6
SIZES, EPOCHS = (2, 3, 4, 5), (10, 20, 30)
PUBLISHED = {
    2: (0.0843, 0.0069, 0.0032),
    3: (0.0312, 0.0413, 0.0025),
    4: (0.0153, 0.0029, 0.0196),
    5: (0.1234, 0.0185, 0.0037),
}
SPANS = (50, 100, 200)
IMPROVED = "improved: LSTM, state carried"
RATE_HZ = (SAMPLES - 1) / 100  # were t seconds


@dataclass(frozen=True)
class Task:
    """The series, scaled by its own smallest and largest value as in the document."""

    noisy: Array
    """(1200,), 0 to 1"""
    clean: Array
    """(1200,), the same without its noise, scaled alike"""
    low: float
    high: float

    def unscaled(self, values: Array) -> Array:
        """Back in the original unit."""
        return self.low + values * (self.high - self.low)


def waves(seed: int, samples: int) -> tuple[Array, Array]:
    """The document's series without noise and with the noise of `seed`, (time,) each; it may go on for longer."""
    t = np.linspace(0, 100 * (samples - 1) / (SAMPLES - 1), samples)
    clean = np.sin(0.1 * t) + 0.5 * np.sin(2 * t + np.pi / 4)
    return clean, clean + 0.1 * np.random.default_rng(seed).standard_normal(samples)


def make_task(seed: int) -> Task:
    """The document's series under the noise of `seed`."""
    clean, noisy = waves(seed, SAMPLES)
    low, high = float(noisy.min()), float(noisy.max())
    return Task((noisy - low) / (high - low), (clean - low) / (high - low), low, high)


def train_as_published(series: Array, hidden: int, epochs: int) -> tuple[NextValue, list[float]]:
    """Batches of 32 in random order, mean squared error, Adam at 5e-4; the mean loss of every epoch too."""
    windows, targets = cut(series)
    model = NextValue("rnn", hidden)
    optimiser = torch.optim.Adam(model.parameters(), lr=5e-4)
    losses = []
    for _ in range(epochs):
        total = 0.0
        for rows in torch.split(torch.randperm(len(windows)), 32):
            loss = nn.functional.mse_loss(model(windows[rows]), targets[rows])
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            total += loss.item() * len(rows)
        losses.append(total / len(windows))
    return model.eval(), losses


def cut(series: Array) -> tuple[Tensor, Tensor]:
    """Windows (n, 6, 1), and what comes next (n, 1)."""
    stretches = torch.from_numpy(sliding_window_view(series, WINDOW + 1).astype(np.float32))  # (n, 7)
    return stretches[:, :WINDOW, None], stretches[:, WINDOW:]


@torch.no_grad()
def told_by(model: NextValue, series: Array) -> Array:
    """What the document's network says of every value but the first six: (n,)."""
    values: Tensor = model(cut(series)[0])[:, 0]
    return values.numpy().astype(np.float64)


def run(options: Options) -> Result:
    """The document's table, in sample and on a hold-out, then the network with a memory, over the seeds."""
    epochs, steps = ((1, 2, 3), (15, 10)) if options.quick else (EPOCHS, (1000, 1500))
    grid: dict[tuple[int, int], dict[str, list[float]]] = {}
    memory: dict[str, dict[str, list[float]]] = {}
    losses: dict[str, list[float]] = {}
    shown: dict[str, Array] = {}
    run_folder: Path | None = None
    for seed in begin(options, "long-memory"):
        task = make_task(seed)
        held = task.noisy[SPLIT:]
        forecasts = without_network(task)
        for hidden in SIZES:
            for column, count in enumerate(epochs):
                cell = grid.setdefault((hidden, column), {"in sample": [], "hold-out": []})
                torch.manual_seed(seed)
                model, loss = train_as_published(task.noisy, hidden, count)
                told = told_by(model, task.noisy)
                cell["in sample"].append(float(np.square(told - task.noisy[WINDOW:]).mean()))
                torch.manual_seed(seed)
                honest, _ = train_as_published(task.noisy[:SPLIT], hidden, count)
                ahead = told_by(honest, task.noisy)[SPLIT - WINDOW :]
                cell["hold-out"].append(float(np.square(ahead - held).mean()))
            losses[f"hidden {hidden}"] = loss
        options.say(f"seed {seed}: the document's RNN of hidden {hidden}: loss {loss[-1]:.4f}")
        forecasts[f"document's RNN, hidden {hidden}, {count} epochs"] = ahead
        began = time.monotonic()
        torch.manual_seed(seed)
        carrier, centre, scale = train_carrier(task.noisy[:SPLIT], steps)
        seconds = time.monotonic() - began
        options.say(f"seed {seed}: the carried LSTM: {sum(steps)} steps in {seconds:.1f} s")
        if run_folder is None:
            spread = task.high - task.low
            run_folder = keep_carrier(
                carrier,
                (task.low + centre * spread, scale * spread),
                waves(seed, 3000 if options.quick else 12_000)[1],
                SPLIT,
                RATE_HZ,
                seed,
                options,
                steps=sum(steps),
                seconds=seconds,
            )
        forecasts[IMPROVED] = carried(carrier, task.noisy, centre, scale)[SPLIT - 1 :]
        for span in SPANS:
            name = f"the same, with the last {span} values only"
            forecasts[name] = forgetful(carrier, task.noisy, centre, scale, span, SPLIT)
        forecasts["floor: the noise of the hold-out"] = task.clean[SPLIT:]
        for name, values in forecasts.items():
            figures = memory.setdefault(name, {"mse": [], "excess": []})
            figures["mse"].append(float(np.square(values - held).mean()))
            figures["excess"].append(float(np.square(values - task.clean[SPLIT:]).mean()))
        options.say(f"seed {seed}: excess of the carried LSTM {memory[IMPROVED]['excess'][-1]:.2e}")
        if not shown:
            shown = {name: task.unscaled(values) for name, values in ({"actual": held} | forecasts).items()}
    tables = [grid_table(grid, epochs, options.seeds), memory_table(memory, options.seeds)]
    figures_drawn = {
        "loss": loss_figure(losses, "The document's RNNs: mean squared error, in sample"),
        "actual_predicted": hold_out_figure(shown),
    }
    return Result(tables, figures_drawn, NOTES, run_folder)


def without_network(task: Task) -> dict[str, Array]:
    """One step ahead over the hold-out, by what needs no network: (240,) each."""
    forecasts = {"last value": task.noisy[SPLIT - 1 : -1]}
    for order in (6, 50, 100):
        histories = sliding_window_view(task.noisy, order)[SPLIT - order : -1]  # (240, order)
        forecasts[f"AR({order})"] = fit_autoregression(task.noisy[:SPLIT], order).forecast(histories)[:, 0]
    return forecasts


def grid_table(grid: dict[tuple[int, int], dict[str, list[float]]], epochs: tuple[int, ...], seeds: int) -> Table:
    """The document's 4 x 3 table beside ours."""
    columns = ("hidden", "epochs", "published", "in sample", "in sample (range)", "hold-out", "hold-out (range)")
    rows: list[tuple[Cell, ...]] = []
    for (hidden, column), cell in grid.items():
        row: list[Cell] = [f"{hidden}", epochs[column], PUBLISHED[hidden][column]]
        for values in cell.values():
            row += [mean_of(values), spread_of(values)]
        rows.append(tuple(row))
    note = (
        f"Mean squared error of the scaled signal, means over {seeds} seed(s). In sample, as published: learned "
        "from and judged on the whole series; hold-out: learned from the first 960 values, judged on the last 240."
    )
    return Table("The document's RNN, windows of 6", columns, rows, note)


def memory_table(memory: dict[str, dict[str, list[float]]], seeds: int) -> Table:
    """Short and long memory on the hold-out."""
    columns = ("model", "MSE", "MSE (range)", "excess", "excess (range)")
    rows: list[tuple[Cell, ...]] = []
    for name, of in memory.items():
        mse, excess = of["mse"], of["excess"]
        rows.append((name, mean_of(mse), spread_of(mse), mean_of(excess), spread_of(excess)))
    note = (
        f"One step ahead over the last 240 values, scaled, means over {seeds} seed(s); everything is learned from "
        "the first 960. MSE against the noisy value; excess against the signal without noise, so that the luck of "
        "the hold-out's noise is left out."
    )
    return Table("Memory, on the hold-out", columns, rows, note)


def hold_out_figure(shown: dict[str, Array]) -> Figure:
    """Actual against predicted, in the original unit, for the document's network and the carried one."""
    figure, axes = new_figure(2, 1)
    told = [name for name in shown if name.startswith(("document", "improved"))]
    for one, name in zip(axes, told, strict=True):
        one.plot(np.arange(SPLIT, SAMPLES), shown["actual"], color="black", linewidth=0.8, label="actual")
        one.plot(np.arange(SPLIT, SAMPLES), shown[name], "--", color="tab:red", label="predicted")
        curves(one, name, "sample", "value")
    return figure


NOTES = [
    (
        "Why six steps cannot hold it: they span 0.5 s, a sixth of the fast wave's period and a hundred-and-"
        "twenty-fifth of the slow one's. Where either wave stands has to be read from six noisy values, and six "
        "values average little noise away: the best linear forecast from six, AR(6), stops there too. More units "
        "or more epochs do not add information; between the document's sizes the seed matters more."
    ),
    (
        "Why carrying the state works: an LSTM whose state is never reset has seen every value so far, so it can "
        "average over whole periods of the fast wave and know where the slow one is. The rows below it are the "
        "very same network, started anew before every answer: what it loses is what was in its memory, and what "
        "it never learned, for in training no answer counted before the 150th value."
    ),
    (
        "How it is trained matters as much: it has to tell eighty values, not one, through five numbers, which "
        "only a state that follows both waves can do; from crops that are added up in pairs, which gives waves "
        "of the same two periods at any phase; and then again from the series as it sees it itself, under fresh "
        "noise."
    ),
    (
        "The run folder holds the same LSTM for the monitor, which starts each window from an empty state: so it "
        "is served over windows of 200 values, and does what the row 'with the last 200 values only' says. "
        "long-memory.csv beside this table is the signal going on, to watch it on: `monitor replay "
        "long-memory.csv`."
    ),
]
